//! Documents: what they are called, and what must stand beside them.

use crate::llm::codec::{Losses, Numbered};
use serde_json::{Value, json};

/// Fields of a document in other protocols that this one shares.
pub(super) const FIELDS: &[&str] = &["citations", "context"];

const LONGEST: usize = 200;

/// Names of documents, none of them twice.
#[derive(Debug)]
pub(super) struct Titles(Numbered);

impl Default for Titles {
    fn default() -> Self {
        Self(Numbered::new(LONGEST, '-'))
    }
}

impl Titles {
    /// A name that the vendor takes: letters, digits, single spaces, hyphens, and brackets that are
    /// round or square.
    pub(super) fn of(&mut self, name: Option<&str>) -> String {
        let mut plain = String::new();
        for char in name.unwrap_or_default().trim().chars().take(LONGEST) {
            match char {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '(' | ')' | '[' | ']' => plain.push(char),
                _ if char.is_whitespace() => {
                    if !plain.ends_with(' ') {
                        plain.push(' ');
                    }
                }
                _ => plain.push('-'),
            }
        }
        if !plain.contains(|char: char| char.is_ascii_alphanumeric()) {
            "document".clone_into(&mut plain);
        }
        self.0.free(plain)
    }
}

/// The vendor wants a text beside every document of a turn.
pub(super) fn accompany(content: &mut Vec<Value>, losses: &mut Losses) {
    let has = |key: &str| content.iter().any(|block| block.get(key).is_some());
    if has("document") && !has("text") {
        let why = "The provider wants a text beside a document: one is added.";
        losses.add("messages", why);
        content.push(json!({"text": "."}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn rule_20_the_work_for_names_that_collide_grows_with_their_number_alone() {
        let mut titles = Titles::default();
        let all: HashSet<_> = (0..20_000).map(|_| titles.of(Some("a.pdf"))).collect();
        assert_eq!(all.len(), 20_000);
        assert!(all.contains("a-pdf-20000"));
    }

    #[test]
    fn rule_20_names_of_documents_are_plain_and_differ() {
        let mut titles = Titles::default();
        let long = "x".repeat(300);
        for (name, plain) in [
            (Some("Report  (final) [2].pdf"), "Report (final) [2]-pdf"),
            (Some("Report (final) [2].pdf"), "Report (final) [2]-pdf-2"),
            (Some("\u{e9}\u{1f980}"), "document"),
            (None, "document-2"),
            (Some(&long), &"x".repeat(200)),
            (Some(&long), &format!("{}-2", "x".repeat(198))),
        ] {
            assert_eq!(titles.of(name), plain);
        }
    }
}
