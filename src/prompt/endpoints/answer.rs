//! What a model said, as an endpoint says it.

use crate::{
    Rejection,
    llm::{Completion, Content, Error, FinishReason, Message, ResponseFormat, Role, Usage},
    prompt::{Fault, Found},
    rejection::Kind,
};
use serde_json::{Value, json};

/// What is wrong with an output.
#[derive(Debug)]
pub(crate) enum Flaw {
    /// It may be mended by asking again: what was said, and what is wrong with it.
    Repairable(String, Vec<Fault>),
    /// It may not.
    Final(Rejection),
}

impl Flaw {
    fn last(detail: &'static str) -> Self {
        Self::Final(Rejection::new(Kind::OutputInvalid).with_detail(detail))
    }

    pub(crate) fn into_rejection(self) -> Rejection {
        match self {
            Self::Final(rejection) => rejection,
            Self::Repairable(_, faults) => {
                let rejection = Rejection::new(Kind::OutputInvalid);
                faults.iter().fold(rejection, |rejection, fault| {
                    rejection.with_fault(&fault.pointer, fault.what)
                })
            }
        }
    }
}

/// What is said of a call beside its answer.
pub(crate) struct Noted {
    pub(crate) usage: Option<Usage>,
    pub(crate) attempts: u32,
}

/// Whether an answer is JSON, by its prompt.
pub(super) fn is_json(format: Option<&ResponseFormat>) -> bool {
    matches!(
        format,
        Some(ResponseFormat::JsonSchema { .. } | ResponseFormat::JsonObject)
    )
}

/// The document that answers.
pub(crate) fn answered(
    found: &Found,
    completion: &Completion,
    noted: &Noted,
) -> Result<Value, Flaw> {
    let version = &found.version;
    let mut document = json!({
        "prompt": version.name().as_str(),
        "version": version.number(),
    });
    let mut put = |name: &str, value: Value| {
        if let Some(map) = document.as_object_mut() {
            map.insert(name.to_owned(), value);
        }
    };
    if let Some(label) = &found.label {
        put("label", label.as_str().into());
    }
    if is_refused(completion) {
        return Err(Flaw::last("The model refused to answer."));
    }
    let calls: Vec<_> = completion
        .tool_calls()
        .map(|call| json!({"id": call.id, "name": call.name, "arguments": call.arguments}))
        .collect();
    if is_json(version.prompt().output.as_ref()) {
        // A model that calls tools first answers when it has their results.
        if calls.is_empty() {
            put("output", output(found, completion)?);
        }
    } else {
        put("text", completion.text().into());
    }
    if !calls.is_empty() {
        put("tool_calls", calls.into());
    }
    if let Some(finish) = completion
        .choices
        .first()
        .and_then(|one| one.finish.as_ref())
    {
        put("finish_reason", word(finish).into());
    }
    if let Some(usage) = noted.usage {
        let usage = json!({"input_tokens": usage.input, "output_tokens": usage.output});
        put("usage", usage);
    }
    put("attempts", noted.attempts.into());
    Ok(document)
}

/// Whether the model says, in the place of an answer, that it gives none.
fn is_refused(completion: &Completion) -> bool {
    let first = completion.choices.first();
    let mut parts = first.into_iter().flat_map(|choice| &choice.message.parts);
    parts.any(|part| matches!(part.content, Content::Refusal(_)))
}

fn output(found: &Found, completion: &Completion) -> Result<Value, Flaw> {
    let first = completion.choices.first();
    match first.and_then(|choice| choice.finish.as_ref()) {
        Some(FinishReason::Length) => {
            return Err(Flaw::last(
                "The model's answer was cut off: it is as long as it may be.",
            ));
        }
        Some(FinishReason::ContentFilter) => {
            return Err(Flaw::last(
                "The model's answer was held back by its provider.",
            ));
        }
        _ => {}
    }
    let text = completion.text();
    let value = match serde_json::from_str::<crate::json::Strict>(bare(&text)) {
        Ok(value) => value.0,
        Err(_) => {
            let fault = Fault::new("", "It is not one JSON value.");
            return Err(Flaw::Repairable(text, vec![fault]));
        }
    };
    let is_free = matches!(
        found.version.prompt().output,
        Some(ResponseFormat::JsonObject)
    );
    let faults = if is_free && !value.is_object() {
        vec![Fault::new("", "It is not an object.")]
    } else {
        found.version.check_output(&value)
    };
    if faults.is_empty() {
        return Ok(value);
    }
    Err(Flaw::Repairable(text, faults))
}

/// JSON without the fence of Markdown that models like to put around it.
fn bare(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text
        .strip_prefix("```")
        .and_then(|text| text.strip_suffix("```"))
    else {
        return text;
    };
    inner.strip_prefix("json").unwrap_or(inner).trim()
}

/// What the model is told of an answer that is wrong: its own words, and where it went wrong in them.
pub(super) fn repair(said: String, faults: &[Fault]) -> [Message; 2] {
    let mut told = "This is not valid by the JSON schema:".to_owned();
    for fault in faults {
        told.push_str("\n- ");
        if !fault.pointer.is_empty() {
            // Without line breaks: a pointer has names that the model made up.
            told.extend(
                fault
                    .pointer
                    .chars()
                    .filter(|char| !char.is_control())
                    .take(256),
            );
            told.push_str(": ");
        }
        told.push_str(fault.what);
    }
    told.push_str("\nAnswer again with the whole JSON, corrected, and with nothing else.");
    // Some vendors refuse a message without text.
    let said = if said.trim().is_empty() {
        "{}".to_owned()
    } else {
        said
    };
    [
        Message::text(Role::Assistant, said),
        Message::text(Role::User, told),
    ]
}

/// The sum of what two calls used.
pub(crate) fn sum(one: Option<Usage>, other: Option<Usage>) -> Option<Usage> {
    let (Some(mut one), Some(other)) = (one, other) else {
        return one.or(other);
    };
    let add = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    };
    one.input = one.input.saturating_add(other.input);
    one.output = one.output.saturating_add(other.output);
    one.cache_read = add(one.cache_read, other.cache_read);
    one.cache_write = add(one.cache_write, other.cache_write);
    one.cache_write_1h = add(one.cache_write_1h, other.cache_write_1h);
    one.reasoning = add(one.reasoning, other.reasoning);
    one.audio_input = add(one.audio_input, other.audio_input);
    one.audio_output = add(one.audio_output, other.audio_output);
    one.searches = add(one.searches, other.searches);
    Some(one)
}

/// What a caller is told of an error of the model, with the headers that go with it.
pub(crate) fn refusal(error: &Error) -> Rejection {
    let rejection = error.rejection().into_owned();
    let Error::Vendor(vendor) = error else {
        return rejection;
    };
    let headers = vendor.headers().iter();
    headers.fold(rejection, |rejection, (name, value)| {
        rejection.with_header(name.clone(), value.clone())
    })
}

fn word(finish: &FinishReason) -> &'static str {
    match finish {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Paused => "paused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_no_part_of_json() {
        for text in [
            "{}",
            " {} ",
            "```json\n{}\n```",
            "```\n{}\n```\n",
            "```{}```",
        ] {
            assert_eq!(bare(text), "{}", "{text}");
        }
        assert_eq!(bare("``` {}"), "``` {}");
    }

    #[test]
    fn what_the_model_made_up_adds_no_line_to_what_it_is_told() {
        let fault = Fault::new("/a\n- b", "It is too long.");
        let [said, told] = repair("  ".into(), &[fault]);
        assert_eq!(said.all_text(), "{}");
        assert!(told.all_text().contains("\n- /a- b: It is too long.\n"));
    }
}
