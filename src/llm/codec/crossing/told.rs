//! Whatever is told of a request is told in the words of the client, and is there to be found.

mod rows;

use self::rows::rows;
use super::{
    google::{FLASH, GEMINI},
    *,
};
use proptest::prelude::*;

const RESPONSES: Protocol = Protocol::Responses;
const BEDROCK: Protocol = Protocol::Bedrock;
const COHERE: Protocol = Protocol::Cohere;
const OLLAMA: Protocol = Protocol::Ollama;

const DIALECTS: [Protocol; 4] = [OPENAI, RESPONSES, ANTHROPIC, GEMINI];

pub(super) const VENDORS: [(Protocol, &str); 7] = [
    (OPENAI, "gpt-4o"),
    (RESPONSES, "gpt-4o"),
    (ANTHROPIC, CLAUDE),
    (GEMINI, FLASH),
    (BEDROCK, "anthropic.claude-3-5-haiku-20241022-v1:0"),
    (COHERE, "command-a-03-2025"),
    (OLLAMA, "llama3.2"),
];

/// A request of a client of this dialect: what is not said is what each must say.
pub(super) fn of_client(from: Protocol, model: &str, mut body: Value) -> (ChatRequest, Value) {
    let fields = body.as_object_mut().unwrap();
    let hello = json!([{"role": "user", "content": "hi"}]);
    match from {
        GEMINI => {
            let hello = json!([{"role": "user", "parts": [{"text": "hi"}]}]);
            fields.entry("contents").or_insert(hello);
        }
        RESPONSES => {
            fields.entry("input").or_insert(hello);
        }
        _ => {
            fields.entry("messages").or_insert(hello);
        }
    }
    if from == ANTHROPIC {
        fields.entry("max_tokens").or_insert(4096.into());
    }
    let mut ask: Ask = Operation::Chat.into();
    if from == GEMINI {
        ask.model = Some(model.to_owned());
        ask.stream = Some(false);
    } else {
        fields.insert("model".into(), model.into());
    }
    let bytes = Bytes::from(body.to_string());
    (of(from).peek(&ask, bytes).unwrap(), body)
}

/// What a client is told: what is lost, or what is at fault.
pub(super) fn told(request: &ChatRequest, to: Protocol) -> Vec<String> {
    match encoded(request, &maker(to, request.model())) {
        Ok(encoded) => encoded
            .losses
            .iter()
            .map(|loss| loss.field.to_string())
            .collect(),
        Err(refused) => {
            let faults = refused.faults().iter().map(|fault| fault.param.to_string());
            refused
                .param()
                .map(str::to_owned)
                .into_iter()
                .chain(faults)
                .collect()
        }
    }
}

/// Whether a path leads to a value.
pub(super) fn leads(mut at: &Value, path: &str) -> bool {
    for step in path.split('.') {
        let (key, indices) = step.split_at(step.find('[').unwrap_or(step.len()));
        if key.is_empty() {
            return false;
        }
        at = &at[key];
        for index in indices.split('[').skip(1) {
            let index: usize = index.trim_end_matches(']').parse().unwrap();
            at = &at[index];
        }
    }
    !at.is_null()
}

#[test]
fn what_is_told_stands_in_the_clients_own_request() {
    let mut faults = Vec::new();
    for (from, body, expected) in rows() {
        let mut found: Vec<String> = Vec::new();
        for (to, model) in VENDORS {
            if to == from {
                continue;
            }
            let (request, body) = of_client(from, model, body.clone());
            for path in told(&request, to) {
                if !expected.contains(&&*path) || !leads(&body, &path) {
                    faults.push(format!(
                        "{from:?} over {to:?}: {path}, not {expected:?}\n  {body}"
                    ));
                }
                found.push(path);
            }
        }
        for path in expected {
            if !found.iter().any(|found| found == path) {
                faults.push(format!("{from:?}: nobody tells of {path}\n  {body}"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn each_kind_is_told_to_clients_of_each_dialect() {
    for from in DIALECTS {
        assert!(
            rows().iter().filter(|(of, ..)| *of == from).count() >= 15,
            "{from:?}"
        );
    }
}

/// The objects of a document, but not those in schemas and arguments.
fn objects<'v>(value: &'v mut Value, out: &mut Vec<&'v mut serde_json::Map<String, Value>>) {
    const CLOSED: [&str; 7] = [
        "parameters",
        "parametersJsonSchema",
        "input_schema",
        "args",
        "response",
        "generationConfig",
        "tool_choice",
    ];
    match value {
        Value::Array(all) => all.iter_mut().for_each(|one| objects(one, out)),
        Value::Object(fields) => {
            let deeper = fields
                .values()
                .any(|value| value.is_object() || value.is_array());
            if !deeper {
                out.push(fields);
                return;
            }
            // An input is arguments with one, and all that is said with another.
            let inside = fields.iter_mut().filter(|(key, value)| {
                !(CLOSED.contains(&&***key) || *key == "input" && value.is_object())
            });
            for (_, value) in inside {
                objects(value, out);
            }
        }
        _ => {}
    }
}

proptest! {
    /// Whatever is said that nobody knows, anywhere, is found where it is told to be.
    #[test]
    fn each_path_that_is_told_leads_to_something(
        body in laws::conversation(),
        odd in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4), 1..5),
        cut in any::<bool>(),
    ) {
        for from in DIALECTS {
            let first = sent(OPENAI, &body);
            let mut said = match from {
                OPENAI => body.clone(),
                _ => gets(from, &first).0,
            };
            for (at, kind) in &odd {
                let mut all = Vec::new();
                objects(&mut said, &mut all);
                if all.is_empty() {
                    continue;
                }
                let nth = at.index(all.len());
                let fields = &mut all[nth];
                match kind {
                    0 => fields.insert("odd".into(), json!(1)),
                    1 => fields.insert("cache_control".into(), json!({"type": "ephemeral"})),
                    2 => fields.insert("odd".into(), json!([{"a": 1}])),
                    _ => fields.insert("name.of[0]".into(), json!(true)),
                };
            }
            if cut {
                // A call, or an answer to one, has nobody any more.
                for key in ["messages", "contents", "input"] {
                    if let Some(Value::Array(all)) = said.get_mut(key)
                        && all.len() > 2
                    {
                        all.remove(1);
                    }
                }
            }
            for (to, model) in VENDORS {
                let (request, said) = of_client(from, model, said.clone());
                if to == from || request.chat().is_err() {
                    continue;
                }
                for path in told(&request, to) {
                    let known = path.contains("name.of[0]") || leads(&said, &path);
                    prop_assert!(known, "{:?} over {:?}: {} in {}", from, to, path, said);
                }
            }
        }
    }
}
