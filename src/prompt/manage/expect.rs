//! The cases of a test set, and what is expected of their answers.

use super::change::variables;
use crate::prompt::{
    Variables,
    form::{Faults, Fields},
};
use serde_json::{Number, Value};

/// One question.
pub(super) struct Case {
    pub(super) name: Option<String>,
    pub(super) variables: Variables,
    pub(super) expect: Option<Expect>,
}

/// What is expected of an answer.
pub(super) enum Expect {
    Text(String),
    Contains(String),
    Output(Value),
}

pub(super) fn case(value: &Value, at: &str, faults: &Faults) -> Option<Case> {
    let mut fields = Fields::new(faults.object(value, at)?, at, faults);
    let name = fields.text("name");
    let variables = variables(&mut fields, faults)?;
    let expect = fields.one("expect", |value, at| {
        let mut fields = Fields::new(faults.object(value, at)?, at, faults);
        let text = fields.text("text").map(Expect::Text);
        let contains = fields.text("contains").map(Expect::Contains);
        let output = fields.value("output").map(Expect::Output);
        fields.finish();
        let mut all = [text, contains, output].into_iter().flatten();
        match (all.next(), all.next()) {
            (Some(only), None) => Some(only),
            _ => faults.add(at, "Expected one of `text`, `contains` and `output`."),
        }
    });
    fields.finish();
    Some(Case {
        name,
        variables,
        expect,
    })
}

impl Expect {
    pub(super) fn holds(&self, answer: &Value) -> bool {
        match self {
            Self::Text(text) => answer.get("text").is_some_and(|said| said == text),
            Self::Contains(text) => match (answer.get("text"), answer.get("output")) {
                (Some(Value::String(said)), _) => said.contains(&**text),
                (_, Some(said)) => said.to_string().contains(&**text),
                _ => false,
            },
            Self::Output(output) => answer
                .get("output")
                .is_some_and(|said| is_same(said, output)),
        }
    }
}

/// As JSON schemas compare (JSON Schema Core §4.2.2): numbers by their value, objects in any order.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || is_same_number(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_there =
                |(key, one): (&String, &Value)| other.get(key).is_some_and(|it| is_same(one, it));
            one.len() == other.len() && one.iter().all(is_there)
        }
        _ => one == other,
    }
}

/// To the digit: a float is a whole number where it has no fraction, and 2^53 + 1 is none.
fn is_same_number(one: &Number, other: &Number) -> bool {
    let whole = |number: &Number| match number.as_i128() {
        Some(whole) => Some(whole),
        None => number
            .as_f64()
            .filter(|float| float.fract() == 0.0 && float.abs() < 1e38)
            .map(|float| float as i128),
    };
    whole(one).is_some_and(|one| whole(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_output_is_compared_as_a_schema_would() {
        for (one, other, wanted) in [
            (json!(1), json!(1.0), true),
            (json!(-3.0), json!(-3), true),
            (json!(1), json!(1.5), false),
            (json!(0.1), json!(0.1), true),
            (
                json!(9_007_199_254_740_993_u64),
                json!(9_007_199_254_740_992.0),
                false,
            ),
            (json!(u64::MAX), json!(u64::MAX), true),
            (json!(1e300), json!(1e300), true),
            (json!(1), json!(true), false),
            (json!("1"), json!(1), false),
            (
                json!({"a": [1, {"b": 2.0}], "c": null}),
                json!({"c": null, "a": [1.0, {"b": 2}]}),
                true,
            ),
            (json!({"a": 1}), json!({"a": 1, "b": null}), false),
            (json!([1, 2]), json!([2, 1]), false),
            (json!([1]), json!([1, 1]), false),
        ] {
            assert_eq!(is_same(&one, &other), wanted, "{one} {other}");
            assert_eq!(is_same(&other, &one), wanted, "{other} {one}");
        }
    }
}
