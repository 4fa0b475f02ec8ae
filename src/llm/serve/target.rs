//! What a path asks for.

use crate::{Rejection, llm::Operation, rejection::Kind};
use http::{HeaderValue, Method, header};
use std::sync::{Arc, LazyLock};

/// What a path asks for.
pub(super) enum Target {
    Ask(Operation),
    List(Option<String>),
}

impl Target {
    /// Its path, for labels. Made once, and shared.
    pub(super) fn template(&self) -> Arc<str> {
        static TEMPLATES: LazyLock<[Arc<str>; 5]> = LazyLock::new(|| {
            [
                "/v1/chat/completions".into(),
                "/v1/completions".into(),
                "/v1/embeddings".into(),
                "/v1/models".into(),
                "/v1/models/{id}".into(),
            ]
        });
        let index = match self {
            Self::Ask(Operation::Chat) => 0,
            Self::Ask(Operation::Completions) => 1,
            Self::Ask(Operation::Embeddings) => 2,
            Self::List(None) => 3,
            Self::List(Some(_)) => 4,
        };
        TEMPLATES[index].clone()
    }

    pub(super) fn of(method: &Method, path: &str) -> Result<Self, Rejection> {
        let (target, allowed) = match path {
            "/v1/chat/completions" => (Self::Ask(Operation::Chat), Method::POST),
            "/v1/completions" => (Self::Ask(Operation::Completions), Method::POST),
            "/v1/embeddings" => (Self::Ask(Operation::Embeddings), Method::POST),
            "/v1/models" => (Self::List(None), Method::GET),
            _ => match path.strip_prefix("/v1/models/") {
                Some(id) if !id.is_empty() => (Self::List(Some(decoded(id))), Method::GET),
                _ if path.starts_with("/v1/") => return Err(Kind::NotSupported.into()),
                _ => return Err(Kind::NotFound.into()),
            },
        };
        if *method == allowed || (*method == Method::HEAD && allowed == Method::GET) {
            return Ok(target);
        }
        let allow = HeaderValue::from_static(if allowed == Method::POST {
            "POST"
        } else {
            "GET, HEAD"
        });
        Err(Rejection::new(Kind::MethodNotAllowed).with_header(header::ALLOW, allow))
    }
}

/// The name of a model in a path, where clients escape slashes and colons. What is not an escape
/// stays.
fn decoded(segment: &str) -> String {
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
