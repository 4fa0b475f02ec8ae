//! What a request says of things that are kept from one call to the next: responses, conversations,
//! items. Here nothing is kept, and what a vendor keeps for the gateway's one key would be shown to
//! whoever knows its name.

use crate::{
    Rejection,
    llm::{
        Wire,
        codec::{
            skim,
            value::{Path, document},
        },
    },
    rejection::Kind,
};
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, collections::BTreeMap, ops::Range};

/// The fields of a document that is known to be an object, and what stands in them.
pub(super) fn fields(bytes: &[u8]) -> Vec<(Cow<'_, str>, &[u8])> {
    let mut all = Vec::new();
    let plain = skim::object(bytes, |name, value| {
        all.push((Cow::Borrowed(std::str::from_utf8(name).ok()?), value));
        Some(())
    });
    if plain.is_some() {
        return all;
    }
    let whole: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_slice(bytes).unwrap_or_default();
    whole
        .into_iter()
        .map(|(name, value)| (name, value.get().as_bytes()))
        .collect()
}

/// Refuses what refers to anything kept, and decides that the vendor keeps nothing unless the client
/// says so.
pub(super) fn check(wire: &mut Wire) -> Result<(), Rejection> {
    const WHOLE: &str =
        "Responses are not kept here: the whole conversation is to be sent as `input`.";
    let mut store: Option<Range<usize>> = None;
    let bytes = wire.bytes.clone();
    for (name, value) in fields(&bytes) {
        let null = value == b"null";
        match &*name {
            "previous_response_id" | "conversation" if !null => {
                let param = name.into_owned();
                return Err(Rejection::new(Kind::NotSupported)
                    .with_param(param)
                    .with_detail(WHOLE));
            }
            "background" if value == b"true" => {
                return Err(Rejection::new(Kind::NotSupported)
                    .with_param("background")
                    .with_detail("Responses are not kept here: none can be fetched later."));
            }
            "store" => {
                let start = value.as_ptr() as usize - bytes.as_ptr() as usize;
                store = Some(if null {
                    start..start + value.len()
                } else {
                    0..0
                });
            }
            "input" => no_references(value)?,
            _ => {}
        }
    }
    wire.decided = match store {
        Some(span) => (!span.is_empty()).then_some((span, "false")),
        None => {
            let model = wire.model.as_ref().map(|model| model.end..model.end);
            model.map(|at| (at, ",\"store\":false"))
        }
    };
    Ok(())
}

const REFERENCE: &str = "item_reference";

/// Refuses items that are nothing but the name of one.
fn no_references(input: &[u8]) -> Result<(), Rejection> {
    let (mut at, mut found) = (0, None);
    let plain = skim::array(input, |item| {
        if is_reference(item)? {
            found = found.or(Some(at));
        }
        at += 1;
        Some(())
    });
    if plain.is_none() && input.starts_with(b"[") {
        let Value::Array(all) = document(input)? else {
            return Ok(());
        };
        found = all.iter().position(|item| {
            let kind = item.get("type").and_then(Value::as_str);
            refers(kind, item.get("role").is_some(), item.get("id").is_some())
        });
    }
    match found {
        Some(at) => Err(reference(Path::Root.key("input").index(at))),
        None => Ok(()),
    }
}

/// What is told of an item that refers to another.
pub(super) fn reference(path: Path<'_>) -> Rejection {
    Rejection::new(Kind::UnsupportedParameter)
        .with_param(path.to_string())
        .with_detail("Items are not kept here: each is to be sent whole.")
}

/// `None` where that cannot be seen at a glance.
fn is_reference(item: &[u8]) -> Option<bool> {
    if !item.starts_with(b"{") {
        return Some(false);
    }
    let (mut kind, mut role, mut id) = (None, false, false);
    skim::object(item, |name, value| {
        match name {
            b"type" if value.contains(&b'\\') => return None,
            // Of a field that is given twice, each reader takes another.
            b"type" if kind == Some(REFERENCE) => {}
            b"type" => {
                let text = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
                kind = std::str::from_utf8(text).ok();
            }
            b"role" => role = true,
            b"id" => id = true,
            _ => {}
        }
        Some(())
    })?;
    Some(refers(kind, role, id))
}

/// The kind of a reference may be left out, as may that of a message.
pub(super) fn refers(kind: Option<&str>, role: bool, id: bool) -> bool {
    match kind {
        Some(kind) => kind == REFERENCE,
        None => id && !role,
    }
}
