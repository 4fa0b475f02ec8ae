//! JSON that a caller sent, read so that a fault has a place.

use crate::{
    Rejection,
    json::{Strict, TWICE},
    llm::Extra,
    rejection::Kind,
};
use serde_json::{Map, Value};
use std::fmt;

/// Reads a document in which no object gives a field twice: of those, each reader would take another,
/// and what a guard has read would not be what the vendor reads.
pub(crate) fn document(bytes: &[u8]) -> Result<Value, Rejection> {
    let Strict(value) = serde_json::from_slice(bytes).map_err(|error| not_json(&error))?;
    Ok(value)
}

/// What a caller is told of text that is not JSON, or not the JSON that is meant.
pub(crate) fn not_json(error: &serde_json::Error) -> Rejection {
    let detail = match error.classify() {
        serde_json::error::Category::Eof => "The body ends in the middle of the JSON.",
        serde_json::error::Category::Data if error.to_string().starts_with(TWICE) => TWICE,
        serde_json::error::Category::Data => "Expected a JSON object.",
        _ if error.to_string().starts_with("recursion limit") => {
            "The JSON is nested more than 127 levels deep."
        }
        _ => "The body is not valid JSON.",
    };
    Rejection::new(Kind::InvalidRequest)
        .with_detail(detail)
        // At an end it counts what came before.
        .with_position(error.line().max(1), error.column().max(1))
}

/// Where in a document a value stands.
#[derive(Clone, Copy)]
pub(crate) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// The field of this name.
    pub(crate) fn key<'a>(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }

    /// The element in this place.
    pub(crate) fn index(&self, index: usize) -> Path<'_> {
        Path::Index(self, index)
    }

    /// What is wrong with the value here.
    pub(crate) fn fault(&self, detail: &'static str) -> Rejection {
        let rejection = Rejection::new(Kind::InvalidRequest).with_detail(detail);
        match self {
            Path::Root => rejection,
            _ => rejection.with_param(self.to_string()),
        }
    }

    pub(crate) fn object(self, value: Value) -> Result<Map<String, Value>, Rejection> {
        match value {
            Value::Object(map) => Ok(map),
            _ => Err(self.fault("Expected an object.")),
        }
    }

    pub(crate) fn array(self, value: Value) -> Result<Vec<Value>, Rejection> {
        match value {
            Value::Array(all) => Ok(all),
            _ => Err(self.fault("Expected an array.")),
        }
    }

    pub(crate) fn string(self, value: Value) -> Result<String, Rejection> {
        match value {
            Value::String(text) => Ok(text),
            _ => Err(self.fault("Expected a string.")),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// An object whose fields are taken one by one; what is left is kept as it is.
pub(crate) struct Fields<'p> {
    map: Map<String, Value>,
    path: Path<'p>,
    known: Vec<&'static str>,
}

impl<'p> Fields<'p> {
    pub(crate) fn new(value: Value, path: Path<'p>) -> Result<Self, Rejection> {
        let map = path.object(value)?;
        let known = Vec::new();
        Ok(Self { map, path, known })
    }

    /// The field, unless it is missing or null.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.map.remove(key).filter(|value| !value.is_null())
    }

    /// The field as it came, to be looked at before it is taken.
    pub(crate) fn peek(&mut self, key: &'static str) -> Option<&Value> {
        self.known.push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        detail: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Rejection> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        match read(&value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.path.key(key).fault(detail)),
        }
    }

    pub(crate) fn string(&mut self, key: &'static str) -> Result<Option<String>, Rejection> {
        self.take(key)
            .map(|value| self.path.key(key).string(value))
            .transpose()
    }

    pub(crate) fn required(&mut self, key: &'static str) -> Result<String, Rejection> {
        match self.string(key)? {
            Some(text) => Ok(text),
            None => Err(self.path.key(key).fault("A string is required.")),
        }
    }

    pub(crate) fn array(&mut self, key: &'static str) -> Result<Vec<Value>, Rejection> {
        match self.take(key) {
            Some(value) => self.path.key(key).array(value),
            None => Ok(Vec::new()),
        }
    }

    pub(crate) fn bool(&mut self, key: &'static str) -> Result<Option<bool>, Rejection> {
        self.read(key, "Expected true or false.", Value::as_bool)
    }

    pub(crate) fn number(&mut self, key: &'static str) -> Result<Option<f64>, Rejection> {
        self.read(key, "Expected a number.", Value::as_f64)
    }

    pub(crate) fn count(&mut self, key: &'static str) -> Result<Option<u64>, Rejection> {
        let detail = "Expected a whole number that is not negative.";
        self.read(key, detail, Value::as_u64)
    }

    pub(crate) fn integer(&mut self, key: &'static str) -> Result<Option<i64>, Rejection> {
        self.read(key, "Expected a whole number.", Value::as_i64)
    }

    /// A whole number from 1 to `most`, where `detail` says so.
    pub(crate) fn at_least_one(
        &mut self,
        key: &'static str,
        most: u32,
        detail: &'static str,
    ) -> Result<Option<u32>, Rejection> {
        let read = |value: &Value| {
            let number = u32::try_from(value.as_u64()?).ok()?;
            (1..=most).contains(&number).then_some(number)
        };
        self.read(key, detail, read)
    }

    /// What was not taken. A field that differs from a known one only in case is refused: some
    /// vendors would take it for the known one.
    pub(crate) fn rest(self) -> Result<Extra, Rejection> {
        for key in self.map.keys() {
            // One that was looked at and left is itself.
            let alike = |known: &&str| key.eq_ignore_ascii_case(known) && key != *known;
            if self.known.iter().any(alike) {
                let path = self.path.key(key);
                return Err(path.fault("Differs from a known field in upper and lower case only."));
            }
        }
        Ok(self.map)
    }
}
