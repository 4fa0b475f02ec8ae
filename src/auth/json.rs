//! JSON in which no two parsers could read different things.

use crate::json::Strict;
use serde_json::{Map, Value};

/// Reads an object of which no member, at any depth, has a name twice. Numbers that a double cannot
/// hold, text after the object, and more than 128 levels are no JSON here.
pub(super) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Strict(Value::Object(object))) => Some(object),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            r#"{"a":1e400}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1}x"#,
            r#"{"a":1}{"a":1}"#,
            "\u{feff}{}",
            r#"{"a":1/**/}"#,
            r#"{"a":01}"#,
            r#"{"a":"\ud800"}"#,
            "[1]",
            "\"a\"",
            "",
        ] {
            assert_eq!(object(text.as_bytes()), None, "{text}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), None);
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert_eq!(object(deep.as_bytes()), None);
    }

    #[test]
    fn the_rest_is_read_as_ever() {
        let text = r#" {"a":[1,-2,1.5,null,true,"x"],"b":{"c":{}}} "#;
        let read = object(text.as_bytes()).unwrap();
        assert_eq!(
            Value::Object(read),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }
}
