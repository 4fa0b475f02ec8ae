//! What the vendor's two protocols have in common.

use super::{ITEM, says_nothing};
use crate::llm::{Chat, Content, Extra, Part, ToolChoice};
use serde_json::{Value, json};

/// Takes out of a request of this protocol what says nothing in the other one, and what that has too,
/// which is answered in its words.
pub(in super::super::super) fn shared(chat: &mut Chat) -> Extra {
    for message in &mut chat.messages {
        plain(&mut message.extra);
        message.parts.iter_mut().for_each(part);
    }
    chat.extra.retain(|key, value| !says_nothing(key, value));
    let mut out = Extra::new();
    if let Some(ToolChoice::Other(choice)) = &chat.tool_choice
        && let Some(choice) = for_chat(choice)
    {
        out.insert("tool_choice".to_owned(), choice);
        chat.tool_choice = None;
    }
    for key in [
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "user",
    ] {
        if let Some(value) = chat.extra.remove(key) {
            out.insert(key.to_owned(), value);
        }
    }
    if let Some(Value::Object(text)) = chat.extra.get_mut("text") {
        if let Some(verbosity) = text.remove("verbosity") {
            out.insert("verbosity".to_owned(), verbosity);
        }
        if text.is_empty() {
            chat.extra.remove("text");
        }
    }
    let count = chat.extra.remove("top_logprobs");
    let mut wanted = count.is_some();
    if let Some(Value::Array(include)) = chat.extra.get_mut("include") {
        let before = include.len();
        include.retain(|one| one != "message.output_text.logprobs");
        wanted |= include.len() < before;
        let rest = Value::from(std::mem::take(include));
        chat.extra.remove("include");
        if !says_nothing("include", &rest) {
            chat.extra.insert("include".to_owned(), rest);
        }
    }
    if wanted {
        out.insert("logprobs".to_owned(), true.into());
    }
    if let Some(count) = count {
        out.insert("top_logprobs".to_owned(), count);
    }
    out
}

/// A choice among some of the functions, which the other protocol has one level deeper.
fn for_chat(choice: &Value) -> Option<Value> {
    let tools = functions(choice, |tool| tool.get("name"))?;
    let tools = tools.map(|name| json!({"type": "function", "function": {"name": name}}));
    let allowed = json!({"mode": choice["mode"], "tools": tools.collect::<Vec<_>>()});
    Some(json!({"type": ALLOWED, ALLOWED: allowed}))
}

/// The reverse.
pub(super) fn from_chat(choice: &Value) -> Option<Value> {
    (choice.get("type")? == ALLOWED).then_some(())?;
    let mut inside = choice.get(ALLOWED)?.clone();
    inside["type"] = ALLOWED.into();
    let tools = functions(&inside, |tool| tool.get("function")?.get("name"))?;
    let tools = tools.map(|name| json!({"type": "function", "name": name}));
    Some(json!({"type": ALLOWED, "mode": inside["mode"], "tools": tools.collect::<Vec<_>>()}))
}

const ALLOWED: &str = "allowed_tools";

/// The names of those that may be called, if all are functions.
fn functions<'a>(
    choice: &'a Value,
    name: impl Fn(&'a Value) -> Option<&'a Value>,
) -> Option<impl Iterator<Item = &'a Value>> {
    (choice.get("type")? == ALLOWED).then_some(())?;
    let tools = choice.get("tools")?.as_array()?.iter();
    let names: Option<Vec<_>> = tools
        .map(|tool| name(tool).filter(|_| tool["type"] == "function"))
        .collect();
    Some(names?.into_iter())
}

fn part(part: &mut Part) {
    plain(&mut part.extra);
    if let Content::ToolResult { parts, .. } = &mut part.content {
        parts.iter_mut().for_each(self::part);
    }
}

fn plain(extra: &mut Extra) {
    for key in [ITEM, "parsed", "parsed_arguments"] {
        if extra.get(key).is_some_and(|value| says_nothing(key, value)) {
            extra.remove(key);
        }
    }
}
