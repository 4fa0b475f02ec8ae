//! Variables, as templates see them.

use minijinja::{Value as Given, value::Object};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

/// How deep they may be.
const DEEPEST_VALUE: usize = 64;

/// Whether a value is small enough.
pub(super) fn fits(value: &Value, depth: usize, left: &mut usize) -> bool {
    let Some(rest) = left.checked_sub(1) else {
        return false;
    };
    *left = rest;
    match value {
        _ if depth > DEEPEST_VALUE => false,
        Value::Array(all) => all.iter().all(|value| fits(value, depth + 1, left)),
        Value::Object(map) => map.values().all(|value| fits(value, depth + 1, left)),
        _ => true,
    }
}

/// A value for templates: data, and nothing that can be called.
pub(super) fn given(value: &Value) -> Given {
    match value {
        Value::Null => Given::from(()),
        Value::Bool(flag) => Given::from(*flag),
        Value::Number(number) => {
            let whole = number.as_u64().map(Given::from);
            let whole = whole.or_else(|| number.as_i64().map(Given::from));
            whole.unwrap_or_else(|| Given::from(number.as_f64().unwrap_or_default()))
        }
        Value::String(text) => Given::from(text.as_str()),
        Value::Array(all) => all.iter().map(given).collect(),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| (key.clone(), given(value)));
            Given::from(pairs.collect::<BTreeMap<_, _>>())
        }
    }
}

/// The variables.
pub(super) struct Root(pub(super) HashMap<Box<str>, Given>);

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Given) -> Option<Given> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Given> {
        self.0.get(key).cloned()
    }
}
