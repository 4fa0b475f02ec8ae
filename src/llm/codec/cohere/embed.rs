//! Vectors.

use super::usage;
use crate::{
    Rejection,
    llm::{
        ChatRequest, Embed, EmbedInput, Error, Event, Start, VendorError, VendorFault,
        codec::{Encoded, Losses, Names, base64},
    },
    rejection::Kind,
};
use serde_json::{Map, Value};

/// Fields of the vendor that others have not, taken from clients of any protocol.
const OWN: [&str; 4] = ["input_type", "truncate", "max_tokens", "priority"];

/// The request. What a text is embedded for must be told: it is to be found, unless the client says
/// otherwise.
pub(super) fn write(request: &ChatRequest, embed: &Embed) -> Result<Encoded, Rejection> {
    let mut losses = Losses::default();
    let mut out = Map::new();
    for (key, value) in &embed.extra {
        let task = value.as_str().and_then(task);
        match &**key {
            own if OWN.contains(&own) => {
                out.insert(key.clone(), value.clone());
            }
            // The form of the answer is made here.
            "encoding_format" => {}
            "taskType" if task.is_some() => {
                out.insert("input_type".into(), task.into());
            }
            _ if value.is_null() => {}
            _ => losses.add(key, "The provider's protocol has no such field."),
        }
    }
    out.entry("input_type").or_insert("search_document".into());
    let texts = embed.inputs.iter().map(|input| match input {
        EmbedInput::Text(text) => Ok(Value::from(&**text)),
        EmbedInput::Tokens(_) => Err(Rejection::new(Kind::UnsupportedParameter)
            .with_param("input")
            .with_detail("The provider takes texts, not tokens.")),
    });
    let texts: Vec<_> = texts.collect::<Result<_, _>>()?;
    out.insert("model".into(), (&**request.model()).into());
    out.insert("texts".into(), texts.into());
    out.insert("embedding_types".into(), vec!["float"].into());
    if let Some(dimensions) = embed.dimensions {
        out.insert("output_dimension".into(), dimensions.into());
    }
    Ok(Encoded {
        body: Value::from(out).to_string().into(),
        losses: losses.into_vec(),
        names: Names::default(),
    })
}

/// What Gemini calls the same.
fn task(word: &str) -> Option<&'static str> {
    Some(match word {
        "RETRIEVAL_QUERY" => "search_query",
        "RETRIEVAL_DOCUMENT" => "search_document",
        "CLASSIFICATION" => "classification",
        "CLUSTERING" => "clustering",
        _ => return None,
    })
}

/// Kinds of vectors, those first that say most.
const KINDS: [&str; 6] = ["float", "base64", "int8", "uint8", "binary", "ubinary"];

/// Reads vectors, in their order.
pub(super) fn decode(whole: &Value, events: &mut Vec<Event>) -> Result<(), Error> {
    let malformed = || VendorError::new(VendorFault::Malformed);
    let id = whole["id"].as_str().unwrap_or_default();
    events.push(Event::Start(Start::new(id, "", 0)));
    let all = match &whole["embeddings"] {
        Value::Array(all) => all,
        kinds => {
            let kind = KINDS.iter().find_map(|kind| kinds[*kind].as_array());
            kind.ok_or_else(malformed)?
        }
    };
    for (index, one) in (0..).zip(all) {
        let vector = match one {
            Value::String(text) => floats(text),
            Value::Array(numbers) => {
                let numbers = numbers.iter().filter_map(Value::as_f64);
                Some(numbers.map(|number| number as f32).collect())
            }
            _ => None,
        };
        let vector = vector.ok_or_else(malformed)?;
        events.push(Event::Embedding { index, vector });
    }
    events.extend(usage::read(&whole["meta"]).map(Event::Usage));
    Ok(())
}

/// IEEE 754 of 32 bits, the lowest byte first.
fn floats(text: &str) -> Option<Vec<f32>> {
    let bytes = base64::decode(text)?;
    let (groups, rest) = bytes.as_chunks::<4>();
    let floats = groups.iter().map(|group| f32::from_le_bytes(*group));
    rest.is_empty().then(|| floats.collect())
}
