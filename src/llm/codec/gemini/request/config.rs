//! How an answer is made: `generationConfig`, read.

use super::{camel, schema, under};
use crate::{
    Rejection,
    llm::{
        Chat, ResponseFormat, Sampling,
        codec::value::{Fields, Path},
    },
};
use serde_json::Value;

/// Other dialects want a name for a schema.
const SCHEMA: &str = "answer";
pub(super) const PLACE: &str = "generationConfig";
pub(super) const THINKING: &str = "generationConfig.thinkingConfig";

pub(super) fn read(value: Value, path: Path<'_>, chat: &mut Chat) -> Result<(), Rejection> {
    let mut fields = Fields::new(camel(value, path)?, path)?;
    let at = path.key("stopSequences");
    let stop = fields.array("stopSequences")?.into_iter().enumerate();
    let stop = stop
        .map(|(index, text)| at.index(index).string(text))
        .collect::<Result<_, _>>()?;
    let top_k = match fields.number("topK")? {
        // The vendor has it as a float.
        Some(number) if number < 0.0 || number.fract() != 0.0 => {
            return Err(path
                .key("topK")
                .fault("Expected a whole number that is not negative."));
        }
        number => number.map(|number| number as u64),
    };
    let detail = "Expected a whole number from 1 to 128.";
    chat.sampling = Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("topP")?,
        top_k,
        max_tokens: fields.count("maxOutputTokens")?,
        stop,
        seed: fields.integer("seed")?,
        frequency_penalty: fields.number("frequencyPenalty")?,
        presence_penalty: fields.number("presencePenalty")?,
        n: fields.at_least_one("candidateCount", 128, detail)?,
    };
    let mime = fields.string("responseMimeType")?;
    let own = fields.take("responseSchema").map(schema::plain);
    let wanted = fields.take("responseJsonSchema").or(own);
    chat.response_format = match (mime.as_deref(), wanted) {
        (None | Some("application/json"), Some(wanted)) => Some(ResponseFormat::JsonSchema {
            name: SCHEMA.into(),
            description: None,
            schema: Some(wanted),
            strict: None,
        }),
        (Some("application/json"), None) => Some(ResponseFormat::JsonObject),
        (Some("text/plain"), None) => Some(ResponseFormat::Text),
        (None, None) => None,
        (Some(mime), wanted) => {
            let mut whole = serde_json::json!({"responseMimeType": mime});
            if let Some(wanted) = wanted {
                whole["responseJsonSchema"] = wanted;
            }
            Some(ResponseFormat::Other(whole))
        }
    };
    if let Some(value) = fields.take("thinkingConfig") {
        thinking(value, path.key("thinkingConfig"), chat)?;
    }
    under(PLACE, fields.rest()?, &mut chat.extra);
    Ok(())
}

/// A word goes to its place; a number of tokens is kept, and said in a word too.
fn thinking(value: Value, path: Path<'_>, chat: &mut Chat) -> Result<(), Rejection> {
    let mut fields = Fields::new(camel(value, path)?, path)?;
    let level = fields
        .string("thinkingLevel")?
        .map(|level| level.to_ascii_lowercase());
    chat.effort = level.filter(|level| level != "thinking_level_unspecified");
    let budget = fields.integer("thinkingBudget")?;
    if let Some(budget) = budget {
        let key = format!("{THINKING}.thinkingBudget");
        chat.extra.insert(key, budget.into());
        let word = match budget {
            ..0 => None,
            0 => Some("none"),
            1..=1024 => Some("low"),
            1025..=8192 => Some("medium"),
            _ => Some("high"),
        };
        chat.effort = chat.effort.take().or(word.map(str::to_owned));
    }
    under(THINKING, fields.rest()?, &mut chat.extra);
    Ok(())
}
