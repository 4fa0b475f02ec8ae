//! Whatever is told of a request is told in the words of the client, and is there to be found.

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
fn leads(mut at: &Value, path: &str) -> bool {
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

/// A kind of loss or fault: what a client says, and where.
type Row = (Protocol, Value, Vec<&'static str>);

fn rows() -> Vec<Row> {
    let mut all = settings();
    all.extend(turns());
    all.extend(parts());
    all.extend(tools());
    all
}

fn settings() -> Vec<Row> {
    let many = ["a", "b", "c", "d", "e", "f", "g"];
    let schema = json!({"type": "object", "properties": {"a": {"$ref": "#"}}});
    let config = |key: &str, value: Value| json!({"generationConfig": {key: value}});
    vec![
        (OPENAI, json!({"n": 2}), vec!["n"]),
        (
            GEMINI,
            config("candidateCount", json!(2)),
            vec!["generationConfig.candidateCount"],
        ),
        (
            GEMINI,
            json!({"generation_config": {"candidate_count": 2}}),
            vec!["generation_config.candidate_count"],
        ),
        (OPENAI, json!({"stop": many}), vec!["stop"]),
        (
            ANTHROPIC,
            json!({"stop_sequences": many}),
            vec!["stop_sequences"],
        ),
        (
            GEMINI,
            config("stopSequences", json!(many)),
            vec!["generationConfig.stopSequences"],
        ),
        (OPENAI, json!({"stop": " "}), vec!["stop"]),
        (OPENAI, json!({"top_k": 900}), vec!["top_k"]),
        (ANTHROPIC, json!({"top_k": 900}), vec!["top_k"]),
        (
            GEMINI,
            config("topK", json!(900)),
            vec!["generationConfig.topK"],
        ),
        (OPENAI, json!({"temperature": 1.5}), vec!["temperature"]),
        (
            GEMINI,
            config("temperature", json!(1.5)),
            vec!["generationConfig.temperature"],
        ),
        (OPENAI, json!({"top_p": 0.001}), vec!["top_p"]),
        (
            GEMINI,
            config("topP", json!(0.001)),
            vec!["generationConfig.topP"],
        ),
        (OPENAI, json!({"seed": -1}), vec!["seed"]),
        (
            GEMINI,
            config("seed", json!(-1)),
            vec!["generationConfig.seed"],
        ),
        (
            OPENAI,
            json!({"presence_penalty": -1.0}),
            vec!["presence_penalty"],
        ),
        (
            GEMINI,
            config("presencePenalty", json!(-1.0)),
            vec!["generationConfig.presencePenalty"],
        ),
        (
            GEMINI,
            config("frequencyPenalty", json!(-1.0)),
            vec!["generationConfig.frequencyPenalty"],
        ),
        (
            OPENAI,
            json!({"max_completion_tokens": 1}),
            vec!["max_completion_tokens"],
        ),
        (OPENAI, json!({"max_tokens": 1}), vec!["max_tokens"]),
        (ANTHROPIC, json!({"max_tokens": 1}), vec!["max_tokens"]),
        (
            GEMINI,
            config("maxOutputTokens", json!(1)),
            vec!["generationConfig.maxOutputTokens"],
        ),
        (
            OPENAI,
            json!({"reasoning_effort": "high"}),
            vec!["reasoning_effort"],
        ),
        (
            RESPONSES,
            json!({"reasoning": {"effort": "high"}}),
            vec!["reasoning.effort"],
        ),
        (
            ANTHROPIC,
            json!({"output_config": {"effort": "high"}}),
            vec!["output_config.effort"],
        ),
        (
            ANTHROPIC,
            json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}),
            vec!["thinking", "thinking.budget_tokens"],
        ),
        (
            GEMINI,
            config("thinkingConfig", json!({"thinkingBudget": 2000})),
            vec!["generationConfig.thinkingConfig.thinkingBudget"],
        ),
        (
            OPENAI,
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}),
            vec!["response_format", "response_format.json_schema.schema"],
        ),
        (
            RESPONSES,
            json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": schema}}}),
            vec!["text.format", "text.format.schema"],
        ),
        (
            ANTHROPIC,
            json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}),
            vec!["output_config.format"],
        ),
        (
            GEMINI,
            config("responseJsonSchema", schema.clone()),
            vec!["generationConfig.responseJsonSchema"],
        ),
        (OPENAI, json!({"logit_bias": {"1": 1}}), vec!["logit_bias"]),
        (
            RESPONSES,
            json!({"max_tool_calls": 1}),
            vec!["max_tool_calls"],
        ),
        (
            ANTHROPIC,
            json!({"inference_geo": "eu"}),
            vec!["inference_geo"],
        ),
        (
            ANTHROPIC,
            json!({"metadata": {"user_id": "é".repeat(300)}}),
            vec!["metadata", "metadata.user_id"],
        ),
        (
            GEMINI,
            json!({"safety_settings": [{"category": "c"}]}),
            vec!["safety_settings"],
        ),
        (
            GEMINI,
            config("media_resolution", json!("LOW")),
            vec!["generationConfig.media_resolution"],
        ),
    ]
}

fn turns() -> Vec<Row> {
    let user = |content: Value| json!({"role": "user", "content": content});
    let said = |content: Value| json!({"role": "assistant", "content": content});
    let call =
        json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "[1]"}});
    let calls = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let result = json!({"role": "tool", "tool_call_id": "a", "content": "x"});
    let item = json!({"type": "function_call", "call_id": "a", "name": "f", "arguments": "[1]"});
    let output = json!({"type": "function_call_output", "call_id": "a", "output": "x"});
    let use_a = said(json!([{"type": "tool_use", "id": "a", "name": "f", "input": {}}]));
    let answer = |more: Value| {
        let mut block = json!({"type": "tool_result", "tool_use_id": "a", "content": "x"});
        block
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        user(json!([block]))
    };
    let parts = |role: &str, parts: Value| json!({"role": role, "parts": parts});
    let function = json!([{"functionCall": {"name": "f", "args": {}}}]);
    let failed = json!([{"functionResponse": {"name": "f", "response": {"error": "x"}}}]);
    let hi = || user(json!("hi"));
    vec![
        // Arguments that are no object.
        (
            OPENAI,
            json!({"messages": [hi(), calls, result]}),
            vec!["messages[1].tool_calls[0].function.arguments"],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [hi(), item, output]}),
            vec!["input[1].arguments"],
        ),
        // A call without an answer, and an answer without a call.
        (
            OPENAI,
            json!({"messages": [hi(), {"role": "assistant", "content": "a"}, result, hi()]}),
            vec!["messages[2]"],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [hi(), said(json!("a")), output, hi()]}),
            vec!["input[2]"],
        ),
        (
            ANTHROPIC,
            json!({"system": "a", "messages": [hi(), use_a]}),
            vec!["messages", "messages[1]"],
        ),
        (
            ANTHROPIC,
            json!({"system": "a", "messages": [hi(), said(json!("a")), answer(json!({})), said(json!("a")), hi()]}),
            vec!["messages[2].content[0]"],
        ),
        (
            GEMINI,
            json!({"systemInstruction": {"parts": [{"text": "a"}]}, "contents": [
                parts("user", json!([{"text": "hi"}])), parts("model", function.clone())]}),
            vec!["contents", "contents[1]"],
        ),
        // What failed.
        (
            ANTHROPIC,
            json!({"system": "a", "messages": [hi(), use_a, answer(json!({"is_error": true}))]}),
            vec!["messages[2].content[0].is_error"],
        ),
        (
            GEMINI,
            json!({"system_instruction": "a", "contents": [
                parts("user", json!([{"text": "hi"}])), parts("model", function), parts("user", failed)]}),
            vec!["contents[2].parts[0].functionResponse.response.error"],
        ),
        // The last turn is the model's.
        (
            OPENAI,
            json!({"messages": [hi(), said(json!("so"))]}),
            vec!["messages", "messages[1]"],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [hi(), said(json!("so"))]}),
            vec!["input", "input[1]"],
        ),
        (
            ANTHROPIC,
            json!({"system": "a", "messages": [hi(), said(json!("so"))]}),
            vec!["messages", "messages[1]"],
        ),
        (
            GEMINI,
            json!({"systemInstruction": "a", "contents": [
                parts("user", json!([{"text": "hi"}])), parts("model", json!([{"text": "so"}]))]}),
            vec!["contents", "contents[1]"],
        ),
        // What the operator says later.
        (
            OPENAI,
            json!({"messages": [hi(), {"role": "system", "content": "a"}, hi()]}),
            vec!["messages[1]"],
        ),
        (
            RESPONSES,
            json!({"instructions": "b", "input": [hi(), {"role": "developer", "content": "a"}, hi()]}),
            vec!["input[1]"],
        ),
        (
            ANTHROPIC,
            json!({"system": "b", "messages": [hi(), {"role": "system", "content": "a"}, hi()]}),
            vec!["messages[1]"],
        ),
        // Nothing is said.
        (
            OPENAI,
            json!({"messages": [user(json!([]))]}),
            vec!["messages"],
        ),
        (RESPONSES, json!({"input": []}), vec!["input"]),
        (
            ANTHROPIC,
            json!({"messages": [user(json!([]))]}),
            vec!["messages"],
        ),
        (
            GEMINI,
            json!({"contents": [parts("user", json!([]))]}),
            vec!["contents"],
        ),
    ]
}

fn parts() -> Vec<Row> {
    let user = |content: Value| json!({"role": "user", "content": content});
    let said = |content: Value| json!({"role": "assistant", "content": content});
    let hi = || user(json!("hi"));
    let text = json!({"type": "text", "text": "a"});
    let input = json!({"type": "input_text", "text": "a"});
    let url = "https://a.example/b.png";
    let google = |part: Value| {
        json!({"systemInstruction": {"parts": [{"text": "s"}]},
        "contents": [{"role": "user", "parts": [{"text": "a"}, part]}]})
    };
    let proof = json!({"type": "thinking", "thinking": "hm", "signature": "s"});
    vec![
        // Thoughts of another.
        (
            OPENAI,
            json!({"messages": [hi(), {"role": "assistant", "content": "a", "reasoning_content": "hm"}, hi()]}),
            vec!["messages[1].reasoning_content"],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [hi(),
                {"type": "reasoning", "summary": [], "encrypted_content": "x"}, said(json!("a")), hi()]}),
            vec!["input[1]"],
        ),
        (
            ANTHROPIC,
            json!({"system": "s", "messages": [hi(), said(json!([proof, text])), hi()]}),
            vec!["messages[1].content[0]"],
        ),
        (
            GEMINI,
            json!({"systemInstruction": "s", "contents": [
                {"role": "user", "parts": [{"text": "a"}]},
                {"role": "model", "parts": [{"text": "hm", "thought": true, "thoughtSignature": "cA=="}, {"text": "a"}]},
                {"role": "user", "parts": [{"text": "a"}]}]}),
            vec!["contents[1].parts[0]"],
        ),
        // Fields of parts.
        (
            OPENAI,
            json!({"messages": [user(json!([text, {"type": "text", "text": "b", "odd": 1}]))]}),
            vec!["messages[0].content[1].odd"],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [user(json!([input, {"type": "input_text", "text": "b", "odd": 1}]))]}),
            vec!["input[0].content[1].odd"],
        ),
        (
            ANTHROPIC,
            json!({"system": "s", "messages": [user(json!([text, {"type": "text", "text": "b", "odd": 1}]))]}),
            vec!["messages[0].content[1].odd"],
        ),
        (
            ANTHROPIC,
            json!({"system": [{"type": "text", "text": "b", "odd": 1}]}),
            vec!["system[0].odd"],
        ),
        (
            GEMINI,
            google(json!({"text": "b", "odd": 1})),
            vec!["contents[0].parts[1].odd"],
        ),
        (
            OPENAI,
            json!({"messages": [{"role": "user", "content": "a", "name": "ann"}]}),
            vec!["messages[0].name"],
        ),
        // Parts of a kind that nobody else has.
        (
            OPENAI,
            json!({"messages": [user(json!([text, {"type": "odd"}]))]}),
            vec!["messages[0].content[1]"],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [user(json!([input, {"type": "odd"}]))]}),
            vec!["input[0].content[1]"],
        ),
        (
            ANTHROPIC,
            json!({"system": "s", "messages": [user(json!([text, {"type": "odd"}]))]}),
            vec!["messages[0].content[1]"],
        ),
        (
            GEMINI,
            google(json!({"executableCode": {"code": "1"}})),
            vec!["contents[0].parts[1]"],
        ),
        // Pictures by URL, and how closely to look.
        (
            OPENAI,
            json!({"messages": [user(json!([text, {"type": "image_url", "image_url": {"url": url, "detail": "low"}}]))]}),
            vec![
                "messages[0].content[1]",
                "messages[0].content[1].image_url.detail",
            ],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [user(json!([input, {"type": "input_image", "image_url": url, "detail": "low"}]))]}),
            vec!["input[0].content[1]", "input[0].content[1].detail"],
        ),
        (
            ANTHROPIC,
            json!({"system": "s", "messages": [user(json!([text, {"type": "image", "source": {"type": "url", "url": url}}]))]}),
            vec!["messages[0].content[1]"],
        ),
        (
            GEMINI,
            google(json!({"fileData": {"fileUri": url}})),
            vec!["contents[0].parts[1]"],
        ),
        // What a vendor keeps.
        (
            OPENAI,
            json!({"messages": [user(json!([text, {"type": "file", "file": {"file_id": "file-1"}}]))]}),
            vec!["messages[0].content[1]"],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [user(json!([input, {"type": "input_file", "file_id": "file-1"}]))]}),
            vec!["input[0].content[1]"],
        ),
        (
            ANTHROPIC,
            json!({"system": "s", "messages": [user(json!([text, {"type": "document", "source": {"type": "file", "file_id": "f"}}]))]}),
            vec!["messages[0].content[1]"],
        ),
        (
            GEMINI,
            google(json!({"file_data": {"file_uri": "gs://b/a.pdf"}})),
            vec!["contents[0].parts[1]"],
        ),
        (
            GEMINI,
            json!({"cached_content": "cachedContents/1"}),
            vec!["cached_content"],
        ),
    ]
}

fn tools() -> Vec<Row> {
    let parameters = json!({"type": "object"});
    let chat = json!({"type": "function", "function": {"name": "f", "parameters": parameters}});
    let strict = json!({"type": "function", "function": {"name": "g", "parameters": parameters, "strict": true}});
    let plain = json!({"type": "function", "name": "f", "parameters": parameters, "strict": false});
    let mut held = plain.clone();
    (held["name"], held["strict"]) = ("g".into(), true.into());
    let claude = json!({"name": "f", "input_schema": parameters});
    let google = json!({"functionDeclarations": [{"name": "f"}, {"name": "g", "odd": 1}]});
    vec![
        (
            OPENAI,
            json!({"tools": [chat, strict]}),
            vec!["tools[1].function.strict"],
        ),
        (
            RESPONSES,
            json!({"tools": [plain, held]}),
            vec!["tools[1].strict"],
        ),
        (
            ANTHROPIC,
            json!({"tools": [claude, {"name": "g", "input_schema": parameters, "strict": true}]}),
            vec!["tools[1].strict"],
        ),
        (
            GEMINI,
            json!({"tools": [google]}),
            vec!["tools[0].functionDeclarations[1].odd"],
        ),
        // The vendor's own.
        (
            OPENAI,
            json!({"tools": [chat, {"type": "odd"}]}),
            vec!["tools[1]"],
        ),
        (
            RESPONSES,
            json!({"tools": [plain, {"type": "web_search"}]}),
            vec!["tools[1]"],
        ),
        (
            ANTHROPIC,
            json!({"tools": [claude, {"type": "web_search_20250305", "name": "w"}]}),
            vec!["tools[1]"],
        ),
        (
            GEMINI,
            json!({"tools": [{"function_declarations": [{"name": "f"}]}, {"google_search": {}}]}),
            vec!["tools[1].google_search"],
        ),
        // A choice of none.
        (
            OPENAI,
            json!({"tool_choice": "required"}),
            vec!["tool_choice"],
        ),
        (
            RESPONSES,
            json!({"tool_choice": "required"}),
            vec!["tool_choice"],
        ),
        (
            ANTHROPIC,
            json!({"tool_choice": {"type": "any"}}),
            vec!["tool_choice"],
        ),
        (
            GEMINI,
            json!({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
            vec!["toolConfig.functionCallingConfig"],
        ),
        // One at a time.
        (
            OPENAI,
            json!({"tools": [chat], "parallel_tool_calls": false}),
            vec!["parallel_tool_calls"],
        ),
        (
            RESPONSES,
            json!({"tools": [plain], "parallel_tool_calls": false}),
            vec!["parallel_tool_calls"],
        ),
        (
            ANTHROPIC,
            json!({"tools": [claude], "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
            vec!["tool_choice.disable_parallel_tool_use"],
        ),
    ]
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
                !CLOSED.contains(&&***key) && !(*key == "input" && value.is_object())
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
