//! YAML with the lines in which values stand.

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Spanned, options::DuplicateKeyPolicy};
use std::{collections::BTreeMap, fmt};

/// How deep values stand in one another.
const DEEPEST: usize = 64;

/// How many values there are.
const MOST_VALUES: usize = 50_000;

/// How often a value refers to another one.
const MOST_ALIASES: usize = 100;

/// A document that was read: as JSON, and where each of its values stands.
pub(super) struct Document {
    pub(super) value: Value,
    /// The lines of the text, from 1, by JSON pointers.
    pub(super) lines: BTreeMap<String, usize>,
}

/// Why a text is no document, and in which line, from 1.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) line: Option<usize>,
    pub(super) what: String,
}

/// Reads one document of YAML 1.2: `true` and `false` alone are booleans, no key is given twice.
pub(super) fn read(text: &str) -> Result<Document, Broken> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEEPEST,
            max_nodes: MOST_VALUES,
            max_aliases: MOST_ALIASES,
            max_documents: 1,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    let root: Option<Spanned<Node>> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| Broken {
            line: error
                .location()
                .and_then(|at| usize::try_from(at.line()).ok()),
            what: error.to_string(),
        })?;
    let mut lines = BTreeMap::new();
    let value = match root {
        Some(root) => value(root, &mut String::new(), &mut lines),
        None => Value::Null,
    };
    Ok(Document { value, lines })
}

/// A value as it stands in the text.
enum Node {
    Leaf(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(String, Spanned<Node>)>),
}

fn value(node: Spanned<Node>, at: &mut String, lines: &mut BTreeMap<String, usize>) -> Value {
    if let Ok(line) = usize::try_from(node.referenced.line()) {
        lines.insert(at.clone(), line);
    }
    let length = at.len();
    let value = match node.value {
        Node::Leaf(value) => value,
        Node::List(all) => {
            let all = all.into_iter().enumerate().map(|(nth, node)| {
                at.truncate(length);
                at.push('/');
                at.push_str(&nth.to_string());
                value(node, at, lines)
            });
            Value::Array(all.collect())
        }
        Node::Map(all) => {
            let all = all.into_iter().map(|(key, node)| {
                let below = crate::prompt::fault::below(&at[..length], &key);
                *at = below;
                (key, value(node, at, lines))
            });
            Value::Object(all.collect::<Map<_, _>>())
        }
    };
    at.truncate(length);
    value
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value);
        let number = number.ok_or_else(|| E::custom("a number is finite"))?;
        Ok(Node::Leaf(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(node) = seq.next_element()? {
            all.push(node);
        }
        Ok(Node::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = map.next_entry()? {
            all.push(entry);
        }
        Ok(Node::Map(all))
    }
}

/// Writes the fields of an object, in blocks as people write them.
pub(super) fn write(value: &Map<String, Value>) -> String {
    if value.is_empty() {
        return String::new();
    }
    let blocks = serde_saphyr::to_string(value).unwrap_or_default();
    let back = read(&blocks).map(|document| document.value);
    let same = back.is_ok_and(|back| back.as_object() == Some(value));
    // A line of three dashes would end what it stands in.
    if same && !blocks.lines().any(|line| line.trim_end() == "---") {
        return blocks;
    }
    let mut text = String::new();
    for (key, value) in value {
        text.push_str(&flow(&Value::from(key.as_str())));
        text.push_str(": ");
        text.push_str(&flow(value));
        text.push('\n');
    }
    text
}

/// In one line of printable ASCII.
pub(super) fn flow(value: &Value) -> String {
    let json = value.to_string();
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        match u32::from(char) {
            0x20..=0x7e => text.push(char),
            code @ 0..=0xffff => text.push_str(&format!("\\u{code:04x}")),
            code => text.push_str(&format!("\\U{code:08x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_read_with_their_lines() {
        let text = "a: 1\nb:\n  - x\n  - c/d: |\n      text\n      more\nno: no\nhalf: 0.5\nnil:\n";
        let document = read(text).unwrap();
        let expected = json!({
            "a": 1, "b": ["x", {"c/d": "text\nmore\n"}], "no": "no", "half": 0.5, "nil": null
        });
        assert_eq!(document.value, expected);
        let line = |pointer: &str| document.lines[pointer];
        assert_eq!((line("/a"), line("/b/0"), line("/b/1/c~1d")), (1, 3, 5));
        assert_eq!(line("/no"), 7);
        // A block is found at its first line that is not blank.
        let blank = read("a: |+ # c\n\n\n  x\nb: >\n  y\n").unwrap();
        assert_eq!(blank.value, json!({"a": "\n\nx\n", "b": "y\n"}));
        assert_eq!((blank.lines["/a"], blank.lines["/b"]), (4, 6));
        assert_eq!(read("").unwrap().value, Value::Null);
    }

    #[test]
    fn what_is_no_document_has_a_line() {
        for (text, line) in [
            ("a: 1\nb: [1, 2\n", None),
            ("a: 1\nb: 2\na: 3\n", Some(3)),
            ("a: 1\n\tb: 2\n", None),
            ("a: 1\n---\nb: 2\n", None),
        ] {
            let Err(broken) = read(text) else {
                panic!("{text} was read");
            };
            assert!(broken.line.is_some(), "{text}: {broken:?}");
            assert!(line.is_none() || broken.line == line, "{text}: {broken:?}");
        }
        let deep = "[".repeat(1000);
        assert!(read(&deep).is_err());
        let mut laughs = "a0: &a0 [x]\n".to_owned();
        for nth in 1..40 {
            let last = nth - 1;
            laughs.push_str(&format!("a{nth}: &a{nth} [*a{last}, *a{last}]\n"));
        }
        assert!(read(&laughs).is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let hard = json!({
            "a": "yes", "b": "1", "c": " led\n\n  and trailed \n\n", "d": "---\n", "e": "\u{0}\u{7f}\u{85}\u{feff}",
            "f": "😀 #: {}[]", "g": 0.1, "h": 1e300, "i": u64::MAX, "j": i64::MIN, "k": null, "l": [], "m": {},
            "n": "x ".repeat(100), "o": {"": [[["~"]], "null", "1_000", "0x10", "1e3", ".5", "=", "<<"]}
        });
        let hard = hard.as_object().unwrap();
        let text = write(hard);
        assert_eq!(read(&text).unwrap().value.as_object(), Some(hard), "{text}");
        for (key, value) in hard {
            let one = Map::from_iter([(key.clone(), value.clone())]);
            let text = write(&one);
            assert_eq!(read(&text).unwrap().value, Value::Object(one), "{text}");
        }
    }
}
