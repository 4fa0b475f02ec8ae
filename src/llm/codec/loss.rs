//! What a protocol cannot say: collected while a request is written, by where it stands in the view of it.
//! See [`words`](super::words) for how that becomes a path of the client's.

use crate::llm::Loss;
use http::{HeaderName, HeaderValue};
use std::fmt::Display;

/// What was lost. A request of very many parts does not make us write a book.
#[derive(Debug, Default)]
pub(crate) struct Losses(Vec<Loss>);

const MOST: usize = 256;

impl Losses {
    /// Adds one.
    pub(crate) fn add(&mut self, field: impl Display, why: &'static str) {
        if self.0.len() < MOST {
            self.0.push(Loss::new(field.to_string(), why));
        }
    }

    /// All of them.
    pub(crate) fn into_vec(self) -> Vec<Loss> {
        self.0
    }
}

/// The header of an answer that names what its request lost.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-gateway-loss");

const MOST_NAMED: usize = 16;
const LONGEST: usize = 64;

/// The paths of what was lost, 16 at the most, and how many there are besides. Never a value.
pub(crate) fn header(losses: &[Loss]) -> Option<HeaderValue> {
    let plain = |char: char| match char {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' | '[' | ']' => char,
        _ => '_',
    };
    let named = losses.iter().take(MOST_NAMED);
    let named = named.map(|loss| loss.field.chars().take(LONGEST).map(plain).collect());
    let mut all: Vec<String> = named.collect();
    if let Some(more @ 1..) = losses.len().checked_sub(MOST_NAMED) {
        all.push(format!("+{more}"));
    }
    HeaderValue::try_from(all.join(", "))
        .ok()
        .filter(|_| !losses.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_bounded_and_holds_no_more_than_paths() {
        assert_eq!(header(&[]), None);
        let mut losses = Losses::default();
        losses.add("messages[0].content[1].cache_control", "");
        losses.add("a\r\nb, c\u{e9}", "");
        let all = header(&losses.into_vec()).unwrap();
        assert_eq!(all, "messages[0].content[1].cache_control, a__b__c_");
        let mut losses = Losses::default();
        for _ in 0..1000 {
            losses.add("x".repeat(1000), "");
        }
        let losses = losses.into_vec();
        assert_eq!(losses.len(), MOST);
        let all = header(&losses).unwrap();
        assert!(all.len() < 1200 && all.to_str().unwrap().ends_with(", +240"));
    }
}
