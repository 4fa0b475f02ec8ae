//! Arguments of a call that come in pieces, each with its place: `{"jsonPath":"$.city",
//! "stringValue":"Bos","willContinue":true}`.

use serde_json::{Map, Value};

/// A call whose arguments are not all there.
pub(super) struct Partial {
    index: u32,
    arguments: Value,
    /// The place whose text goes on.
    goes_on: Option<String>,
    /// How many elements may yet be made.
    room: usize,
}

/// A vendor that counts elements in billions does not make us take room for them.
const MOST_ELEMENTS: usize = 4096;
/// In all lists of one call: a short place can name a list in a list in a list.
const MOST_MADE: usize = 1 << 16;
const DEEPEST: usize = 64;

impl Partial {
    pub(super) fn new(index: u32, arguments: Option<Value>) -> Self {
        Self {
            index,
            arguments: arguments.unwrap_or_else(|| Map::new().into()),
            goes_on: None,
            room: MOST_MADE,
        }
    }

    /// Adds a piece. One whose place cannot be read is left out.
    pub(super) fn push(&mut self, piece: &Value) {
        let Some(path) = piece.get("jsonPath").and_then(Value::as_str) else {
            return;
        };
        let keys = ["stringValue", "numberValue", "boolValue", "nullValue"];
        let mut values = keys.iter().filter_map(|key| Some((*key, piece.get(*key)?)));
        let value = match values.next() {
            Some(("nullValue", _)) | None => Value::Null,
            Some((_, value)) => value.clone(),
        };
        let more = self.goes_on.take().is_some_and(|before| before == path);
        if let Some(place) = place(&mut self.arguments, path, &mut self.room) {
            match (place, value) {
                (Value::String(text), Value::String(piece)) if more => text.push_str(&piece),
                // The end of a text that has no more to say.
                (Value::String(_), Value::Null) if more => {}
                (place, value) => *place = value,
            }
        }
        if piece.get("willContinue") == Some(&Value::Bool(true)) {
            self.goes_on = Some(path.to_owned());
        }
    }

    /// Which call it is, and the text of its arguments.
    pub(super) fn finish(self) -> (u32, String) {
        (self.index, self.arguments.to_string())
    }
}

/// The value at `$.a.b[0]['c']`, made if it is not there.
fn place<'a>(root: &'a mut Value, path: &str, room: &mut usize) -> Option<&'a mut Value> {
    let mut rest = path.strip_prefix('$')?;
    let mut at = root;
    let mut depth = 0;
    while !rest.is_empty() {
        depth += 1;
        if depth > DEEPEST {
            return None;
        }
        if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            at = field(at, &name[..end])?;
            rest = &name[end..];
        } else if let Some(quoted) = rest.strip_prefix("['") {
            let (name, after) = quoted.split_once("']")?;
            at = field(at, name)?;
            rest = after;
        } else {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            at = element(at, index.parse().ok()?, room)?;
            rest = after;
        }
    }
    Some(at)
}

fn field<'a>(of: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    if of.is_null() {
        *of = Map::new().into();
    }
    let fields = of.as_object_mut()?;
    Some(fields.entry(name).or_insert(Value::Null))
}

fn element<'a>(of: &'a mut Value, index: usize, room: &mut usize) -> Option<&'a mut Value> {
    if of.is_null() {
        *of = Value::Array(Vec::new());
    }
    let all = of.as_array_mut()?;
    if index >= MOST_ELEMENTS {
        return None;
    }
    if all.len() <= index {
        *room = room.checked_sub(index + 1 - all.len())?;
        all.resize(index + 1, Value::Null);
    }
    all.get_mut(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn few_pieces_do_not_make_much() {
        let mut partial = Partial::new(0, None);
        for at in 0..100 {
            let path = format!("$.a{at}{}", "[4095]".repeat(60));
            partial.push(&json!({"jsonPath": path, "numberValue": 1}));
        }
        assert!(partial.finish().1.len() < 1 << 20);
    }

    #[test]
    fn pieces_find_their_places() {
        let mut partial = Partial::new(0, None);
        for piece in [
            json!({"jsonPath": "$.city", "stringValue": "New ", "willContinue": true}),
            json!({"jsonPath": "$.city", "stringValue": "Delhi"}),
            json!({"jsonPath": "$.days[1].n", "numberValue": 2}),
            json!({"jsonPath": "$['a.b']", "boolValue": true}),
            json!({"jsonPath": "$.none", "nullValue": "NULL_VALUE"}),
            json!({"jsonPath": "$.city", "stringValue": "Agra"}),
            json!({"jsonPath": "$.x[99999999999]", "numberValue": 1}),
            json!({"jsonPath": "no path", "numberValue": 1}),
            json!({"jsonPath": "$.city.deeper", "numberValue": 1}),
        ] {
            partial.push(&piece);
        }
        let (_, text) = partial.finish();
        let read: Value = serde_json::from_str(&text).unwrap();
        let expected =
            json!({"city": "Agra", "days": [null, {"n": 2}], "a.b": true, "none": null, "x": []});
        assert_eq!(read, expected);
    }
}
