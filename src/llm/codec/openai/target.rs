//! Paths of the protocol, and lists of models.

use crate::llm::{
    Operation, Passthrough,
    codec::Target,
    serve::{Model, decoded},
};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// What a path asks for, and its template, made once and shared.
pub(super) fn of(path: &str) -> Option<(Target, Arc<str>)> {
    static TEMPLATES: LazyLock<[Arc<str>; 5]> = LazyLock::new(|| {
        [
            "/v1/chat/completions".into(),
            "/v1/completions".into(),
            "/v1/embeddings".into(),
            "/v1/models".into(),
            "/v1/models/{id}".into(),
        ]
    });
    static PASSED: LazyLock<[Arc<str>; 7]> =
        LazyLock::new(|| Passthrough::ALL.map(|asked| format!("/v1{}", asked.path()).into()));
    if let Some(at) = PASSED.iter().position(|template| **template == *path) {
        let asked = Operation::Passthrough(Passthrough::ALL[at]);
        return Some((Target::Model(asked.into()), PASSED[at].clone()));
    }
    let ask = |operation: Operation| Target::Model(operation.into());
    let (target, at) = match path {
        "/v1/chat/completions" => (ask(Operation::Chat), 0),
        "/v1/completions" => (ask(Operation::Completions), 1),
        "/v1/embeddings" => (ask(Operation::Embeddings), 2),
        "/v1/models" => (Target::List(None), 3),
        _ => {
            let id = path.strip_prefix("/v1/models/")?;
            let id = (!id.is_empty()).then(|| decoded(id))?;
            (Target::List(Some(id)), 4)
        }
    };
    Some((target, TEMPLATES[at].clone()))
}

/// A model, as it is listed.
pub(super) fn model(model: &Model) -> Value {
    json!({"id": &*model.id, "object": "model", "created": 0, "owned_by": &*model.owner})
}

/// A vendor that lists more is not believed.
const MOST_MODELS: usize = 10_000;

/// `{"data":[{"id":…}]}`; some call it `models`, and some have no object around the list.
pub(in super::super) fn models(body: &[u8]) -> Option<Vec<String>> {
    let whole: Value = serde_json::from_slice(body).ok()?;
    let list = match &whole {
        Value::Array(list) => list,
        whole => whole.get("data").or(whole.get("models"))?.as_array()?,
    };
    let name = |model: &Value| {
        let id = model.get("id").or(model.get("name"));
        id.unwrap_or(model).as_str().map(str::to_owned)
    };
    let names: Vec<_> = list.iter().filter_map(name).take(MOST_MODELS).collect();
    // An empty array is no list of models, for nothing says that it is one.
    (whole.is_object() || !names.is_empty()).then_some(names)
}
