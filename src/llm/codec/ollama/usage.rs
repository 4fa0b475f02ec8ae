//! What was used: counted by the vendor in the last line.

use crate::llm::{Usage, codec::lines};
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// Takes the counts out of the fields of a line. Thoughts are part of the output; what was in the
/// cache of the model may not be counted at all.
pub(super) fn take(fields: &mut Map<String, Value>) -> Option<Usage> {
    let mut count = |key: &str| {
        let number = fields.remove(key)?;
        let number = number.as_number()?;
        number
            .as_u64()
            .or_else(|| number.as_f64().map(|float| float as u64))
    };
    let (input, output) = (count("prompt_eval_count"), count("eval_count"));
    if input.is_none() && output.is_none() {
        return None;
    }
    Some(Usage::new(input.unwrap_or(0), output.unwrap_or(0)))
}

/// The last usage in whole lines, or in a document.
pub(super) fn scan(raw: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Counts {
        #[serde(default)]
        prompt_eval_count: Option<Value>,
        #[serde(default)]
        eval_count: Option<Value>,
    }
    static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"eval_count\""));
    // What a model says cannot look like this: its quotes are escaped.
    KEY.find(raw)?;
    let found = |data: &[u8]| {
        KEY.find(data)?;
        let counts: Counts = serde_json::from_slice(data).ok()?;
        let counts = [
            ("prompt_eval_count", counts.prompt_eval_count),
            ("eval_count", counts.eval_count),
        ];
        let counts = counts
            .into_iter()
            .filter_map(|(key, count)| Some((key.to_owned(), count?)));
        take(&mut counts.collect())
    };
    // A document may have several lines, a line is always a document.
    found(raw).or_else(|| lines::of(raw).filter_map(found).last())
}
