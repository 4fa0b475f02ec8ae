//! Names of operations and schemas, of the names of prompts.

use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

/// Which operations and schemas belong to which prompt: no two have the same.
pub(super) struct Names<'n> {
    operations: HashMap<&'n str, String>,
    schemas: HashMap<&'n str, String>,
}

impl<'n> Names<'n> {
    pub(super) fn new(names: impl Iterator<Item = &'n str> + Clone) -> Self {
        let taken = |operation: &str| {
            operation.starts_with("describe_")
                || ["list_prompts", "get_openapi"].contains(&operation)
        };
        Self {
            operations: unique(names.clone(), snake, taken, "_"),
            schemas: unique(names, pascal, |_| false, ""),
        }
    }

    /// What its operation is called, as a function.
    pub(super) fn operation(&self, name: &str) -> String {
        self.operations.get(name).cloned().unwrap_or_default()
    }

    /// What its schemas begin with, as those of a type.
    pub(super) fn schema(&self, name: &str) -> String {
        self.schemas.get(name).cloned().unwrap_or_default()
    }
}

/// What each is called. Of those that would be called the same each has a few digits more, which depend
/// on nothing but its name.
fn unique<'n>(
    names: impl Iterator<Item = &'n str> + Clone,
    called: fn(&str) -> String,
    taken: impl Fn(&str) -> bool,
    joint: &str,
) -> HashMap<&'n str, String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for name in names.clone() {
        // Some languages do not tell letters by their case.
        *counts.entry(called(name).to_lowercase()).or_default() += 1;
    }
    let named = |name: &'n str| {
        let mut own = called(name);
        if taken(&own)
            || counts
                .get(&own.to_lowercase())
                .is_some_and(|&count| count > 1)
        {
            let digest = Sha256::digest(name.as_bytes());
            let digits: String = digest
                .iter()
                .take(4)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            own = format!("{own}{joint}{digits}");
        }
        (name, own)
    };
    names.map(named).collect()
}

/// `support.translate-all` as `support_translate_all`.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        out.push_str("p_");
    }
    let letter = |char: char| {
        if char.is_ascii_alphanumeric() {
            char
        } else {
            '_'
        }
    };
    out.extend(name.chars().map(letter));
    out
}

/// `support.translate-all` as `SupportTranslateAll`.
pub(super) fn pascal(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 1);
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        out.push('P');
    }
    let mut begins = true;
    for char in name.chars() {
        if !char.is_ascii_alphanumeric() {
            begins = true;
        } else if std::mem::take(&mut begins) {
            out.push(char.to_ascii_uppercase());
        } else {
            out.push(char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_prompts_are_called_the_same() {
        let all = [
            "translate",
            "a.b",
            "a-b",
            "0",
            "describe_a",
            "list_prompts",
            "get_openapi",
            "ab",
            "a_b",
        ];
        let names = Names::new(all.into_iter());
        assert_eq!(names.operation("translate"), "translate");
        assert_eq!(names.schema("translate"), "Translate");
        assert_eq!(
            (names.operation("0"), names.schema("0")),
            ("p_0".into(), "P0".into())
        );
        assert!(names.operation("a.b").starts_with("a_b_"));
        let operations: std::collections::HashSet<_> = all
            .iter()
            .flat_map(|name| {
                let own = names.operation(name);
                [format!("describe_{own}"), own]
            })
            .chain(["list_prompts".to_owned(), "get_openapi".to_owned()])
            .collect();
        assert_eq!(operations.len(), 2 * all.len() + 2);
        let schemas: std::collections::HashSet<_> =
            all.iter().map(|name| names.schema(name)).collect();
        assert_eq!(schemas.len(), all.len());
    }
}
