//! Answers with vectors.

use super::{decode, usage};
use crate::llm::{
    Completion, Error, Event, Start, VendorError, VendorFault,
    codec::{base64, fault},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    data: Vec<Row>,
    #[serde(default)]
    usage: Option<usage::Wire>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    index: Option<u32>,
    embedding: Vector,
}

/// Numbers, or their bytes in base64: IEEE 754 of 32 bits, the lowest byte first.
#[derive(Deserialize)]
#[serde(untagged)]
enum Vector {
    Base64(String),
    Numbers(Vec<f32>),
}

/// Reads a document of vectors, which come in the order of their index.
pub(super) fn decode(document: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
    let wire: Wire = serde_json::from_slice(document).map_err(|error| fault::malformed(&error))?;
    if wire.error.is_some() {
        let whole = serde_json::from_slice(document).map_err(|error| fault::malformed(&error))?;
        return Err(fault::within(&whole).into());
    }
    let mut start = Start::default();
    decode::head(wire.rest, &mut start);
    events.push(Event::Start(start));
    let mut rows = Vec::with_capacity(wire.data.len());
    for (at, row) in (0..).zip(wire.data) {
        let vector = match row.embedding {
            Vector::Numbers(numbers) => Some(numbers),
            Vector::Base64(text) => floats(&text),
        };
        let malformed = || VendorError::new(VendorFault::Malformed);
        rows.push((row.index.unwrap_or(at), vector.ok_or_else(malformed)?));
    }
    rows.sort_by_key(|(index, _)| *index);
    let rows = rows.into_iter();
    events.extend(rows.map(|(index, vector)| Event::Embedding { index, vector }));
    events.extend(wire.usage.map(|usage| Event::Usage(usage.into())));
    Ok(())
}

fn floats(text: &str) -> Option<Vec<f32>> {
    let bytes = base64::decode(text)?;
    let (groups, rest) = bytes.as_chunks::<4>();
    let floats = groups.iter().map(|group| f32::from_le_bytes(*group));
    rest.is_empty().then(|| floats.collect())
}

/// Writes a document of vectors.
pub(super) fn encode(completion: &Completion, model: &str, base64: bool) -> Value {
    let vector = |vector: &Vec<f32>| -> Value {
        if base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            return base64::encode(&bytes).into();
        }
        vector.clone().into()
    };
    let rows = (0_u32..).zip(&completion.embeddings).map(
        |(index, one)| json!({"object": "embedding", "index": index, "embedding": vector(one)}),
    );
    let usage = completion.usage.unwrap_or_default();
    json!({
        "object": "list",
        "data": rows.collect::<Vec<_>>(),
        "model": model,
        "usage": {"prompt_tokens": usage.input, "total_tokens": usage.total()},
    })
}
