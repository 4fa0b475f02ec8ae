//! What the vendor's two protocols have in common.

use super::{ITEM, says_nothing};
use crate::llm::{Chat, Content, Extra, Part};
use serde_json::Value;

/// Takes out of a request of this protocol what says nothing in the other one, and what that has too,
/// which is answered in its words.
pub(in super::super::super) fn shared(chat: &mut Chat) -> Extra {
    for message in &mut chat.messages {
        plain(&mut message.extra);
        message.parts.iter_mut().for_each(part);
    }
    chat.extra.retain(|key, value| !says_nothing(key, value));
    let mut out = Extra::new();
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

fn part(part: &mut Part) {
    plain(&mut part.extra);
    if let Content::ToolResult { parts, .. } = &mut part.content {
        parts.iter_mut().for_each(self::part);
    }
}

fn plain(extra: &mut Extra) {
    if extra.get(ITEM).is_some_and(|item| says_nothing(ITEM, item)) {
        extra.remove(ITEM);
    }
}
