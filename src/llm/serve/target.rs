//! What a request asks for: its path in its dialect, and its method.

use super::unserved;
use crate::{
    Rejection,
    llm::{
        Protocol,
        codec::{self, Target},
    },
    rejection::Kind,
};
use http::{HeaderValue, Method, Uri, header};
use std::sync::Arc;

/// What is asked for, and the template of the path, for labels.
pub(super) fn of(
    protocol: Option<Protocol>,
    method: &Method,
    uri: &Uri,
) -> Result<(Target, Arc<str>), Rejection> {
    let protocol = protocol.ok_or(Kind::NotFound)?;
    let found = codec::of(protocol).target(uri.path(), uri.query());
    let other = || codec::of(protocol).unserved(uri.path());
    let (target, template) =
        found.ok_or_else(|| unserved::refusal(uri.path()).unwrap_or_else(other))?;
    // A model's name may have a colon, but whoever posts to one means what stands behind it.
    if let (Target::List(Some(id)), Protocol::Gemini, &Method::POST) = (&target, protocol, method)
        && id.contains(':')
    {
        return Err(Kind::NotSupported.into());
    }
    let (allowed, allow) = match target {
        Target::Model(_) => (*method == Method::POST, "POST"),
        Target::List(_) => (matches!(*method, Method::GET | Method::HEAD), "GET, HEAD"),
    };
    if allowed {
        return Ok((target, template));
    }
    let allow = HeaderValue::from_static(allow);
    Err(Rejection::new(Kind::MethodNotAllowed).with_header(header::ALLOW, allow))
}

/// The name of a model in a path, where clients escape slashes and colons. What is not an escape
/// stays.
pub(in crate::llm) fn decoded(segment: &str) -> String {
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let escape = rest.get(..2).filter(|_| *first == b'%');
        let value = escape
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(value.unwrap_or(*first));
        bytes = if value.is_some() { &rest[2..] } else { rest };
    }
    String::from_utf8_lossy(&out).into_owned()
}
