//! Paths of the protocol, which have the model's name in them, and lists of models.

use crate::llm::{
    Operation,
    catalog::Kind,
    codec::{Ask, Target},
    serve::{Model, decoded},
};
use serde_json::{Value, json};
use std::{
    fmt::Write,
    sync::{Arc, LazyLock},
};

/// What of the query makes a stream one of events.
pub(super) const SSE: &str = "alt=sse";

const METHODS: [&str; 5] = [
    "generateContent",
    "streamGenerateContent",
    "countTokens",
    "embedContent",
    "batchEmbedContents",
];

/// Whether a path ends as only this protocol's do, whatever version stands before.
pub(crate) fn ends_in_method(path: &str) -> bool {
    let method = path.rsplit_once(':').map(|(_, method)| method);
    method.is_some_and(|method| METHODS.contains(&method))
}

/// What a path asks for, and its template, made once and shared.
pub(super) fn of(path: &str, query: Option<&str>) -> Option<(Target, Arc<str>)> {
    static TEMPLATES: LazyLock<[Arc<str>; 7]> = LazyLock::new(|| {
        let ask = |method: &str| Arc::from(format!("/v1beta/models/{{model}}:{method}"));
        let [a, b, c, d, e] = METHODS.map(ask);
        [
            a,
            b,
            c,
            d,
            e,
            "/v1beta/models".into(),
            "/v1beta/models/{id}".into(),
        ]
    });
    let told = |target, at: usize| Some((target, TEMPLATES[at].clone()));
    let below = path
        .strip_prefix("/v1beta/")
        .or_else(|| path.strip_prefix("/v1/"))?;
    if below == "models" {
        return told(Target::List(None), 5);
    }
    let name = match below.strip_prefix("models/") {
        Some(name) => decoded(name),
        None if below.starts_with("tunedModels/") => decoded(below),
        None => return None,
    };
    let (model, method) = name.rsplit_once(':').unwrap_or((&name, ""));
    let Some(at) = METHODS.iter().position(|known| *known == method) else {
        // A name may have a colon of its own, but nobody's ends like a method.
        let is_method = method == "predict" || method.bytes().any(|byte| byte.is_ascii_uppercase());
        return (!is_method && !bare(&name).is_empty())
            .then(|| told(Target::List(Some(bare(&name).to_owned())), 6))?;
    };
    let model = bare(model);
    if model.is_empty() {
        return None;
    }
    let (operation, stream) = match at {
        0 => (Operation::Chat, false),
        1 => (Operation::Chat, true),
        2 => (Operation::CountTokens, false),
        _ => (Operation::Embeddings, false),
    };
    let sse = |pair: &str| matches!(&*decoded(pair), SSE | "$alt=sse");
    let sse = stream && query.is_some_and(|query| query.split('&').any(sse));
    let ask = Ask {
        operation,
        model: Some(model.to_owned()),
        stream: Some(stream),
        query: sse.then_some(SSE),
    };
    told(Target::Model(ask), at)
}

/// The name of a model without the collection that it is in.
pub(super) fn bare(name: &str) -> &str {
    name.strip_prefix("models/").unwrap_or(name)
}

/// A model's name as it stands in a path.
pub(super) fn escaped(model: &str) -> String {
    let model = bare(model);
    let (mut out, name) = match model.strip_prefix("tunedModels/") {
        Some(name) => ("/tunedModels/".to_owned(), name),
        None => ("/models/".to_owned(), model),
    };
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// What may be asked of a model, as far as is known what it is for.
fn methods(model: &Model) -> &'static [&'static str] {
    match model.facts.as_ref().map(|facts| facts.kind) {
        Some(Kind::Chat) => &METHODS[..3],
        Some(Kind::Embeddings) => &METHODS[3..],
        Some(Kind::Rerank) => &[],
        None => &METHODS,
    }
}

/// A model, as it is listed.
pub(super) fn model(model: &Model) -> Value {
    let mut out = json!({
        "name": format!("models/{}", model.id),
        "displayName": model.display_name(),
        "supportedGenerationMethods": methods(model),
    });
    if let Some(facts) = &model.facts {
        for (key, tokens) in [
            ("inputTokenLimit", facts.window),
            ("outputTokenLimit", facts.max_output),
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
    json!({"models": models.iter().map(model).collect::<Vec<_>>()})
}

/// The vendor's list.
#[cfg_attr(not(feature = "client"), allow(dead_code))]
pub(super) fn models(body: &[u8]) -> Option<Vec<String>> {
    let names = super::super::openai::models(body)?;
    Some(names.iter().map(|name| bare(name).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::catalog::ModelFacts;

    #[test]
    fn paths_name_a_model_and_what_is_asked_of_it() {
        let ask = |path: &str, query| match of(path, query) {
            Some((Target::Model(ask), template)) => {
                Some((ask.model?, ask.operation, ask.stream?, ask.query, template))
            }
            _ => None,
        };
        for (path, query, model, operation, stream) in [
            (
                "gemini-2.5-flash:generateContent",
                None,
                "gemini-2.5-flash",
                Operation::Chat,
                None,
            ),
            (
                "gpt-5:streamGenerateContent",
                Some("alt=sse"),
                "gpt-5",
                Operation::Chat,
                Some(true),
            ),
            (
                "gpt-5:streamGenerateContent",
                Some("a=b&%24alt=sse"),
                "gpt-5",
                Operation::Chat,
                Some(true),
            ),
            (
                "gpt-5:streamGenerateContent",
                Some("alt=json"),
                "gpt-5",
                Operation::Chat,
                Some(false),
            ),
            (
                "openai%2Fgpt-5:countTokens",
                None,
                "openai/gpt-5",
                Operation::CountTokens,
                None,
            ),
            (
                "openai/gpt-5%3AcountTokens",
                None,
                "openai/gpt-5",
                Operation::CountTokens,
                None,
            ),
            (
                "models%2Fllama3:8b:embedContent",
                None,
                "llama3:8b",
                Operation::Embeddings,
                None,
            ),
            (
                "e:batchEmbedContents",
                None,
                "e",
                Operation::Embeddings,
                None,
            ),
        ] {
            let found = ask(&format!("/v1beta/models/{path}"), query).unwrap();
            assert_eq!(
                (&*found.0, found.1, found.2),
                (model, operation, stream.is_some()),
                "{path}"
            );
            assert_eq!(found.3.is_some(), stream == Some(true));
            assert!(found.4.starts_with("/v1beta/models/{model}:"));
        }
        // Google's own client asks for this version.
        let stable = ask("/v1/models/m:streamGenerateContent", Some("alt=sse")).unwrap();
        assert_eq!((&*stable.0, stable.2), ("m", true));
        let tuned = ask("/v1beta/tunedModels/own:generateContent", None).unwrap();
        assert_eq!(tuned.0, "tunedModels/own");
        assert_eq!(escaped(&tuned.0), "/tunedModels/own");
        assert_eq!(escaped("models/a/b?c#d"), "/models/a%2Fb%3Fc%23d");
    }

    #[test]
    fn a_model_claims_what_its_kind_can_do() {
        let claimed = |kind: Option<Kind>| {
            let mut one = Model::new("m", "lab");
            one.facts = kind.map(|kind| {
                let mut facts = ModelFacts::new("lab", "m");
                facts.kind = kind;
                Arc::new(facts)
            });
            model(&one)["supportedGenerationMethods"].clone()
        };
        assert_eq!(claimed(None), json!(METHODS));
        assert_eq!(claimed(Some(Kind::Chat)), json!(METHODS[..3]));
        assert_eq!(claimed(Some(Kind::Embeddings)), json!(METHODS[3..]));
        assert_eq!(claimed(Some(Kind::Rerank)), json!([]));
    }

    #[test]
    fn other_paths_are_models_or_nothing() {
        let listed = |path| match of(path, None) {
            Some((Target::List(id), _)) => Some(id),
            _ => None,
        };
        assert_eq!(listed("/v1beta/models"), Some(None));
        assert_eq!(
            listed("/v1beta/models/llama3:8b"),
            Some(Some("llama3:8b".into()))
        );
        assert_eq!(listed("/v1beta/models/a%2Fb"), Some(Some("a/b".into())));
        for path in [
            "/v1beta",
            "/v1beta/",
            "/v1beta/models/",
            "/v1beta/models/:generateContent",
            "/v1beta/models/m:bidiGenerateContent",
            "/v1beta/models/m:predict",
            "/v1beta/files",
            "/v1beta/openai/chat/completions",
        ] {
            assert!(of(path, None).is_none(), "{path}");
        }
    }
}
