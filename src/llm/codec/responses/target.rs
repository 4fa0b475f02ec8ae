//! Paths of the protocol.

use crate::{
    Rejection,
    llm::{Operation, codec::Target},
    rejection::Kind,
};
use std::sync::{Arc, LazyLock};

/// What a path asks for, and its template, made once and shared.
pub(super) fn of(path: &str) -> Option<(Target, Arc<str>)> {
    static TEMPLATES: LazyLock<[Arc<str>; 2]> =
        LazyLock::new(|| ["/v1/responses".into(), "/v1/responses/input_tokens".into()]);
    let (operation, at) = match path {
        "/v1/responses" => (Operation::Chat, 0),
        "/v1/responses/input_tokens" => (Operation::CountTokens, 1),
        _ => return None,
    };
    Some((Target::Model(operation.into()), TEMPLATES[at].clone()))
}

/// What is told of any other: most ask for a response that was kept.
pub(super) fn unserved(path: &str) -> Rejection {
    let rejection = Rejection::new(Kind::NotSupported);
    match path.strip_prefix("/v1/responses/") {
        Some(rest) if !rest.is_empty() => rejection
            .with_param("response_id")
            .with_detail("Responses are not kept here."),
        _ => rejection,
    }
}
