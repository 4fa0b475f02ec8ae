//! What differs from one version to another, to be read.

use super::content::Prompt;
use serde_json::Value;
use similar::TextDiff;
use std::{fmt::Write as _, time::Duration};

/// How many lines are shown around a change.
const AROUND: usize = 3;

/// How long is searched for a short diff. After that it is a longer one.
const SEARCH: Duration = Duration::from_millis(200);

/// The unified diff of two prompts, line by line, under these names. Empty: they say the same.
///
/// ```
/// use tower_gateway::prompt::{Prompt, diff};
///
/// let (old, new) = (Prompt::new().user("Hello.\nHow are you?"), Prompt::new().user("Hello.\nBye."));
/// assert_eq!(
///     diff("v1", &old, "v2", &new),
///     "--- v1\n+++ v2\n@@ -1,4 +1,4 @@\n messages.0.role: user\n messages.0.content: |\n   Hello.\n-  How are you?\n+  Bye.\n"
/// );
/// ```
#[must_use]
pub fn diff(old_name: &str, old: &Prompt, new_name: &str, new: &Prompt) -> String {
    let (old, new) = (readable(old), readable(new));
    if old == new {
        return String::new();
    }
    let mut config = TextDiff::configure();
    config.timeout(SEARCH);
    let diff = config.diff_lines(old.as_str(), new.as_str());
    let mut unified = diff.unified_diff();
    unified.context_radius(AROUND).header(old_name, new_name);
    unified.to_string()
}

/// A prompt as text: a line for each field, under its path, and texts of several lines as they are.
pub(super) fn readable(prompt: &Prompt) -> String {
    let mut out = String::new();
    line(&mut out, &mut String::new(), &prompt.to_json());
    out
}

fn line(out: &mut String, path: &mut String, value: &Value) {
    let inner = |out: &mut String, path: &mut String, key: &str, value: &Value| {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(key);
        line(out, path, value);
        path.truncate(length);
    };
    // Writing to a string cannot fail.
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                inner(out, path, key, value);
            }
        }
        Value::Array(all) if !all.is_empty() => {
            for (nth, value) in all.iter().enumerate() {
                inner(out, path, &nth.to_string(), value);
            }
        }
        Value::String(text) if text.contains('\n') => {
            let _ = writeln!(out, "{path}: |");
            for line in text.split('\n') {
                let _ = writeln!(out, "  {line}");
            }
        }
        Value::String(text) => {
            let _ = writeln!(out, "{path}: {text}");
        }
        _ => {
            let _ = writeln!(out, "{path}: {value}");
        }
    }
}
