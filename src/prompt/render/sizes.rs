//! How large a prompt may be, and what its parts may be called.

use super::{engine, screen};
use crate::prompt::{
    content::Prompt,
    fault::{Fault, below, what},
};
use serde_json::Value;

/// The largest prompt, as text in bytes.
const LARGEST: usize = 1 << 20;

/// How deep its form is.
const DEEPEST: usize = 64;

const MOST_MESSAGES: usize = 256;
const MOST_PARTS: usize = 256;
const MOST_VARIABLES: usize = 128;
const MOST_PARTIALS: usize = 64;
const MOST_TOOLS: usize = 128;
const MOST_METADATA: usize = 32;
const LONGEST_METADATA: usize = 1024;
const LONGEST_WORD: usize = 256;

/// What is too large, or does not go together.
pub(super) fn check(prompt: &Prompt) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut check = |good: bool, at: &str, what| {
        if !good {
            faults.push(Fault::new(at, what));
        }
    };
    let parts = prompt.messages.iter().map(|message| message.parts.len());
    let one = prompt.text.is_some() == prompt.messages.is_empty();
    check(one, "", what::NOTHING_SAID);
    check(
        prompt.messages.len() <= MOST_MESSAGES,
        "/messages",
        "There are more than 256 messages.",
    );
    check(
        parts.sum::<usize>() <= MOST_PARTS + MOST_MESSAGES,
        "/messages",
        "There are more than 512 parts.",
    );
    check(
        prompt.variables.len() <= MOST_VARIABLES,
        "/variables",
        "There are more than 128 variables.",
    );
    check(
        prompt.partials.len() <= MOST_PARTIALS,
        "/partials",
        "There are more than 64 partials.",
    );
    check(
        prompt.tools.len() <= MOST_TOOLS,
        "/tools",
        "There are more than 128 tools.",
    );
    check(
        prompt.metadata.len() <= MOST_METADATA,
        "/metadata",
        "There are more than 32 texts.",
    );
    let model = prompt.model.as_ref();
    check(
        model.is_none_or(|model| !model.is_empty() && model.len() <= LONGEST_WORD),
        "/model",
        "The name of a model has 1 to 256 bytes.",
    );
    for (name, text) in &prompt.metadata {
        check(
            name.len() <= LONGEST_WORD && text.len() <= LONGEST_METADATA,
            "/metadata",
            "A text has 1024 bytes at the most, and its name 256.",
        );
    }
    for name in prompt.variables.keys() {
        let mut chars = name.chars();
        let begins = chars.next().is_some_and(|char| char.is_ascii_alphabetic());
        let goes_on = chars.all(|char| char.is_ascii_alphanumeric() || char == '_');
        let reserved = ["loop", "self", "super", "caller"].contains(&name.as_str())
            || engine::FUNCTIONS.contains(&name.as_str())
            || screen::is_word(name);
        check(
            begins && goes_on && name.len() <= 64 && !reserved,
            &below("/variables", name),
            "The name of a variable is a letter and up to 63 letters, digits and `_`, and no word of the templates.",
        );
    }
    for name in prompt.partials.keys() {
        check(
            !name.is_empty() && name.len() <= 128 && !name.contains(['/', '~', '\\', '"', '\'']),
            &below("/partials", name),
            "The name of a partial has 1 to 128 bytes, and neither quotes nor slashes nor `~`.",
        );
    }
    if faults.is_empty() {
        let form = prompt.to_json();
        // Whatever reads it again has a bound of its own, of 128 and more.
        if is_deeper(&form, DEEPEST) {
            faults.push(Fault::new("", "The prompt is more than 64 deep."));
        } else if form.to_string().len() > LARGEST {
            faults.push(Fault::new("", "The prompt is larger than 1 MiB."));
        }
    }
    faults
}

fn is_deeper(value: &Value, than: usize) -> bool {
    let Some(rest) = than.checked_sub(1) else {
        return true;
    };
    match value {
        Value::Array(all) => all.iter().any(|value| is_deeper(value, rest)),
        Value::Object(map) => map.values().any(|value| is_deeper(value, rest)),
        _ => false,
    }
}
