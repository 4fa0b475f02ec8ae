//! Parts of a content, read.

use super::{super::proof, camel};
use crate::{
    Rejection,
    llm::{
        Content, Extra, Media, Part, ToolCall,
        codec::value::{Fields, Path},
    },
};
use serde_json::{Map, Value};
use std::collections::{HashMap, VecDeque};

/// The calls of a conversation so far. What has no id is given one, and an answer without one is for
/// the first call of its name that has none yet.
#[derive(Default)]
pub(super) struct Calls {
    all: Vec<Open>,
    /// The first of each id.
    by_id: HashMap<String, usize>,
    /// Those of each name that may have no answer, in order.
    waiting: HashMap<String, VecDeque<usize>>,
}

struct Open {
    id: String,
    name: String,
    answered: bool,
}

/// How an id begins that was made here. It does not go to the vendor.
pub(super) const MADE: &str = "gemini_call_";

impl Calls {
    fn call(&mut self, id: Option<String>, name: &str) -> String {
        let at = self.all.len();
        let id = id.unwrap_or_else(|| format!("{MADE}{at}"));
        self.by_id.entry(id.clone()).or_insert(at);
        self.waiting
            .entry(name.to_owned())
            .or_default()
            .push_back(at);
        self.all.push(Open {
            id: id.clone(),
            name: name.to_owned(),
            answered: false,
        });
        id
    }

    /// The id of the call that is answered, and whether there is such a call.
    fn answer(&mut self, id: Option<String>, name: &str) -> (String, bool) {
        let all = &mut self.all;
        let found = match &id {
            Some(id) => self.by_id.get(id).copied(),
            None => self.waiting.get_mut(name).and_then(|waiting| {
                let open = |at: &usize| all.get(*at).is_some_and(|open| !open.answered);
                std::iter::from_fn(|| waiting.pop_front()).find(open)
            }),
        };
        if let Some(open) = found.and_then(|at| all.get_mut(at)) {
            open.answered = true;
            return (open.id.clone(), open.name == name);
        }
        let id = id.unwrap_or_else(|| format!("{MADE}of_nobody_{}", self.all.len()));
        (id, false)
    }
}

/// Reads a part: with the proof that stands in it, it may be two.
pub(super) fn read(
    value: Value,
    path: Path<'_>,
    calls: &mut Calls,
    out: &mut Vec<Part>,
) -> Result<(), Rejection> {
    let whole = camel(value, path)?;
    let kinds = [
        "text",
        "inlineData",
        "fileData",
        "functionCall",
        "functionResponse",
    ];
    let has = |key: &str| whole.get(key).is_some_and(|value| !value.is_null());
    let kind = kinds.into_iter().find(|kind| has(kind));
    let mut fields = Fields::new(whole.clone(), path)?;
    let signature = fields
        .string("thoughtSignature")?
        .filter(|text| !text.is_empty());
    let thinks = fields.bool("thought")?.unwrap_or(false);
    if thinks && (kind == Some("text") || kind.is_none() && signature.is_some()) {
        let text = fields.string("text")?.unwrap_or_default();
        let thought = proof::read(text, signature);
        let open = out.last_mut().map(|part| &mut part.content);
        match open {
            // A thought that came in pieces is one.
            Some(Content::Reasoning(before))
                if before.signature.is_none()
                    && before.redacted.is_none()
                    && thought.redacted.is_none() =>
            {
                before.text.push_str(&thought.text);
                before.signature = thought.signature;
            }
            _ => out.push(Content::Reasoning(thought).into()),
        }
        return Ok(());
    }
    let proven = signature.is_some();
    if let Some(signature) = signature {
        let thought = proof::read(String::new(), Some(signature));
        out.push(Content::Reasoning(thought).into());
    }
    let mut more = Extra::new();
    let content = match kind {
        Some("text") => Some(Content::Text(fields.string("text")?.unwrap_or_default())),
        Some("inlineData") => media(fields.take("inlineData"), path.key("inlineData"), &mut more)?,
        Some("fileData") => file(fields.take("fileData"), path.key("fileData"), &mut more)?,
        Some("functionCall") => {
            let at = path.key("functionCall");
            let call = fields.take("functionCall").unwrap_or_default();
            let mut call = Fields::new(camel(call, at)?, at)?;
            let name = call.required("name")?;
            let arguments = match call.take("args") {
                None => "{}".to_owned(),
                Some(args @ Value::Object(_)) => args.to_string(),
                Some(_) => return Err(at.key("args").fault("Expected an object.")),
            };
            let id = calls.call(call.string("id")?.filter(|id| !id.is_empty()), &name);
            kept("functionCall", call.rest()?, &mut more);
            Some(Content::ToolCall(ToolCall {
                id,
                name,
                arguments,
            }))
        }
        Some("functionResponse") => {
            let answer = fields.take("functionResponse").unwrap_or_default();
            Some(result(
                answer,
                path.key("functionResponse"),
                calls,
                &mut more,
            )?)
        }
        // A proof by itself.
        _ if proven && whole.as_object().is_some_and(|fields| fields.len() == 1) => return Ok(()),
        _ => None,
    };
    let Some(content) = content else {
        // It is written again whole.
        let mut whole = whole;
        if let Some(fields) = whole.as_object_mut() {
            fields.remove("thoughtSignature");
        }
        out.push(Content::Other(whole).into());
        return Ok(());
    };
    let mut extra = fields.rest()?;
    extra.extend(more);
    out.push(Part { content, extra });
    Ok(())
}

fn kept(key: &str, fields: Extra, more: &mut Extra) {
    if !fields.is_empty() {
        more.insert(key.into(), fields.into());
    }
}

/// What is here, by its media type; `None` for what has no place.
fn media(
    value: Option<Value>,
    path: Path<'_>,
    more: &mut Extra,
) -> Result<Option<Content>, Rejection> {
    let mut fields = Fields::new(camel(value.unwrap_or_default(), path)?, path)?;
    let mime = fields.required("mimeType")?;
    let base64 = fields.required("data")?.replace('-', "+").replace('_', "/");
    let name = fields.string("displayName")?;
    kept("inlineData", fields.rest()?, more);
    let source = Media::Data {
        mime: mime.clone(),
        base64,
    };
    Ok(of_kind(&mime, source, name))
}

fn file(
    value: Option<Value>,
    path: Path<'_>,
    more: &mut Extra,
) -> Result<Option<Content>, Rejection> {
    let mut fields = Fields::new(camel(value.unwrap_or_default(), path)?, path)?;
    let uri = fields.required("fileUri")?;
    let mime = fields.string("mimeType")?;
    let name = fields.string("displayName")?;
    kept("fileData", fields.rest()?, more);
    let guessed = guessed(&uri);
    let told = mime.as_deref().or(guessed).unwrap_or_default().to_owned();
    if mime.is_some() && mime.as_deref() != guessed {
        more.insert("mimeType".into(), told.clone().into());
    }
    // Files that were given to the vendor are nobody else's.
    let own = uri.contains("generativelanguage.googleapis.com/");
    let source = match (uri.starts_with("https://") || uri.starts_with("http://")) && !own {
        true => Media::Url(uri),
        false => Media::Id(uri),
    };
    Ok(of_kind(&told, source, name))
}

fn of_kind(mime: &str, source: Media, name: Option<String>) -> Option<Content> {
    let kind = mime.split('/').next().unwrap_or_default();
    Some(match kind {
        "image" => Content::Image {
            source,
            detail: None,
        },
        "audio" => Content::Audio(source),
        "application" | "text" | "" => Content::File { source, name },
        _ => return None,
    })
}

/// The media type that the name of a file tells.
pub(super) fn guessed(uri: &str) -> Option<&'static str> {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let (_, end) = path.rsplit_once('.')?;
    Some(match &*end.to_ascii_lowercase() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        _ => return None,
    })
}

/// What a tool answered. A text by itself stands in `output`, or in `error`; anything else is JSON.
fn result(
    value: Value,
    path: Path<'_>,
    calls: &mut Calls,
    more: &mut Extra,
) -> Result<Content, Rejection> {
    let mut fields = Fields::new(camel(value, path)?, path)?;
    let name = fields.required("name")?;
    let id = fields.string("id")?.filter(|id| !id.is_empty());
    let (call_id, same) = calls.answer(id, &name);
    if !same {
        more.insert("name".into(), name.into());
    }
    let response = match fields.take("response") {
        None => Map::new(),
        Some(Value::Object(response)) => response,
        Some(_) => return Err(path.key("response").fault("Expected an object.")),
    };
    let alone = |key: &str| match response.get(key) {
        Some(Value::String(text)) if response.len() == 1 && !is_object(text) => Some(text.clone()),
        _ => None,
    };
    let (text, is_error) = match (alone("output"), alone("error")) {
        (Some(text), _) => (text, None),
        (_, Some(text)) => (text, Some(true)),
        _ => (Value::from(response).to_string(), None),
    };
    let mut parts = vec![Part::text(text)];
    let at = path.key("parts");
    for (index, value) in fields.array("parts")?.into_iter().enumerate() {
        read(value, at.index(index), calls, &mut parts)?;
    }
    kept("functionResponse", fields.rest()?, more);
    Ok(Content::ToolResult {
        call_id,
        parts,
        is_error,
    })
}

/// Whether a text is that of a JSON object.
pub(super) fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<Map<String, Value>>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_for_the_first_call_that_has_none() {
        let mut calls = Calls::default();
        let made = [calls.call(None, "f"), calls.call(None, "f")];
        let own = calls.call(Some("own".into()), "f");
        let last = calls.call(None, "f");
        assert_eq!(calls.answer(None, "f"), (made[0].clone(), true));
        assert_eq!(calls.answer(Some("own".into()), "g"), (own, false));
        assert_eq!(calls.answer(None, "f"), (made[1].clone(), true));
        assert_eq!(calls.answer(None, "f"), (last, true));
        assert!(!calls.answer(None, "f").1);
        assert_eq!(calls.answer(Some("x".into()), "f"), ("x".to_owned(), false));
    }

    /// As many as fit into a body.
    #[test]
    fn an_answer_is_found_without_a_look_at_every_call() {
        const MANY: usize = 200_000;
        let mut calls = Calls::default();
        for _ in 0..MANY {
            calls.call(None, "f");
        }
        for at in 0..MANY {
            assert_eq!(calls.answer(None, "f"), (format!("{MADE}{at}"), true));
            assert!(!calls.answer(None, "g").1);
        }
    }
}
