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

/// What a value counts in bytes, beside its text.
const BYTES: usize = 32;

/// How much variables may still be.
pub(super) struct Room {
    values: usize,
    bytes: usize,
}

impl Room {
    /// 10,000 values, 4 MiB.
    pub(super) const ALL: Self = Self {
        values: 10_000,
        bytes: 4 << 20,
    };

    /// How many bytes were taken.
    pub(super) fn taken(&self) -> usize {
        Self::ALL.bytes - self.bytes
    }

    /// Whether there is room for a value, which is taken.
    pub(super) fn fits(&mut self, value: &Value) -> bool {
        self.fits_at(value, 0)
    }

    fn fits_at(&mut self, value: &Value, depth: usize) -> bool {
        let text = value.as_str().map_or(0, str::len);
        depth <= DEEPEST_VALUE
            && self.value()
            && self.text(text)
            && match value {
                Value::Array(all) => all.iter().all(|value| self.fits_at(value, depth + 1)),
                Value::Object(map) => map
                    .iter()
                    .all(|(key, value)| self.text(key.len()) && self.fits_at(value, depth + 1)),
                _ => true,
            }
    }

    fn value(&mut self) -> bool {
        let Some(values) = self.values.checked_sub(1) else {
            return false;
        };
        self.values = values;
        self.text(BYTES)
    }

    fn text(&mut self, length: usize) -> bool {
        match self.bytes.checked_sub(length) {
            Some(bytes) => {
                self.bytes = bytes;
                true
            }
            None => false,
        }
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
