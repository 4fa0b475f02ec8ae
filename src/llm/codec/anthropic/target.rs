//! Paths of the protocol, and lists of models.

use crate::llm::{
    Operation,
    codec::{Ask, Target},
    serve::{Model, decoded},
};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// What a path asks for, and its template, made once and shared.
pub(super) fn of(path: &str, query: Option<&str>) -> Option<(Target, Arc<str>)> {
    static TEMPLATES: LazyLock<[Arc<str>; 4]> = LazyLock::new(|| {
        [
            "/v1/messages".into(),
            "/v1/messages/count_tokens".into(),
            "/v1/models".into(),
            "/v1/models/{id}".into(),
        ]
    });
    const BETA: &str = "beta=true";
    let beta = query.is_some_and(|query| query.split('&').any(|pair| pair == BETA));
    let ask = |operation: Operation| {
        Target::Model(Ask {
            query: beta.then_some(BETA),
            ..operation.into()
        })
    };
    let (target, at) = match path {
        "/v1/messages" => (ask(Operation::Chat), 0),
        "/v1/messages/count_tokens" => (ask(Operation::CountTokens), 1),
        "/v1/models" => (Target::List(None), 2),
        _ => {
            let id = path.strip_prefix("/v1/models/")?;
            let id = (!id.is_empty()).then(|| decoded(id))?;
            (Target::List(Some(id)), 3)
        }
    };
    Some((target, TEMPLATES[at].clone()))
}

/// A model, as it is listed. When it was made is not known.
pub(super) fn model(model: &Model) -> Value {
    let mut out = json!({
        "type": "model",
        "id": &*model.id,
        "display_name": model.display_name(),
        "created_at": "1970-01-01T00:00:00Z",
    });
    if let Some(facts) = &model.facts {
        for (key, tokens) in [
            ("max_input_tokens", facts.window),
            ("max_tokens", facts.max_output),
        ] {
            if let Some(tokens) = tokens {
                out[key] = tokens.into();
            }
        }
    }
    out
}

/// All of them on one page.
pub(super) fn list(models: &[Model]) -> Value {
    json!({
        "data": models.iter().map(model).collect::<Vec<_>>(),
        "has_more": false,
        "first_id": models.first().map(|model| &*model.id),
        "last_id": models.last().map(|model| &*model.id),
    })
}
