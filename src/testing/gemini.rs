//! A mock vendor in Gemini's words, written from the vendor's documentation.

use super::{
    Recorded, Reply, embedding,
    turn::{Answer, Asked, tokens},
    vendor,
};
use crate::exchange::Usage;
use serde_json::{Map, Value, json};

/// What a path asks of a model.
pub(super) struct Call {
    pub(super) model: String,
    pub(super) method: String,
    /// A stream of events, and not an array.
    sse: bool,
}

impl Call {
    /// `…/models/{model}:{method}`.
    pub(super) fn of(request: &Recorded) -> Option<Self> {
        let (_, name) = request.route().rsplit_once("/models/")?;
        let (model, method) = name.rsplit_once(':')?;
        let (_, query) = request.path.split_once('?').unwrap_or_default();
        Some(Self {
            model: model.replace("%2F", "/"),
            method: method.to_owned(),
            sse: query.split('&').any(|pair| pair == "alt=sse"),
        })
    }

    pub(super) fn streams(&self) -> bool {
        self.method == "streamGenerateContent"
    }
}

/// Whether the vendor's own list is asked for, and not one in OpenAI's form.
pub(super) fn is_listed(request: &Recorded) -> bool {
    request.route().starts_with("/v1beta/") && request.header("authorization").is_none()
}

/// The body with the names of its fields in the one spelling. The vendor takes either.
pub(super) fn camel(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| {
                let mut name = String::new();
                let mut upper = false;
                for char in key.chars() {
                    match char {
                        '_' => upper = true,
                        _ if std::mem::take(&mut upper) => name.push(char.to_ascii_uppercase()),
                        _ => name.push(char),
                    }
                }
                // What these hold is named by the caller.
                let own = [
                    "args",
                    "response",
                    "parametersJsonSchema",
                    "responseJsonSchema",
                ];
                let value = match (&*name, value) {
                    (name, value) if own.contains(&name) => value,
                    ("properties", Value::Object(all)) => {
                        let all = all.into_iter();
                        Value::Object(all.map(|(name, schema)| (name, camel(schema))).collect())
                    }
                    (_, value) => camel(value),
                };
                (name, value)
            });
            Value::Object(fields.collect())
        }
        Value::Array(all) => all.into_iter().map(camel).collect(),
        other => other,
    }
}

/// Fields of a request that the vendor knows. It refuses any other.
const KNOWN: [&str; 9] = [
    "model",
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "cachedContent",
    "serviceTier",
];

const CONFIG: [&str; 21] = [
    "stopSequences",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "candidateCount",
    "maxOutputTokens",
    "temperature",
    "topP",
    "topK",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "enableEnhancedCivicAnswers",
    "speechConfig",
    "thinkingConfig",
    "imageConfig",
    "mediaResolution",
    "routingConfig",
];

const PART: [&str; 8] = [
    "text",
    "thought",
    "thoughtSignature",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "videoMetadata",
];

/// What the vendor would find fault with.
pub(super) fn fault(body: &Value, model: &str) -> Option<String> {
    let unknown = |of: &Value, known: &[&str], at: &str| {
        let mut keys = of.as_object().into_iter().flat_map(Map::keys);
        let key = keys.find(|key| !known.contains(&&***key))?;
        Some(format!(
            "Invalid JSON payload received. Unknown name \"{key}\"{at}: Cannot find field."
        ))
    };
    let config = &body["generationConfig"];
    if let Some(fault) =
        unknown(body, &KNOWN, "").or_else(|| unknown(config, &CONFIG, " at 'generation_config'"))
    {
        return Some(fault);
    }
    if config.get("responseSchema").is_some() && config.get("responseJsonSchema").is_some() {
        return Some("Only one of response_schema and response_json_schema may be set.".to_owned());
    }
    if config["stopSequences"]
        .as_array()
        .is_some_and(|all| all.len() > 5)
    {
        return Some("stop_sequences: at most 5 are allowed".to_owned());
    }
    for name in functions(body).map(|function| function["name"].as_str().unwrap_or_default()) {
        let starts = name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_');
        let plain = |char: char| char.is_ascii_alphanumeric() || "_-.:".contains(char);
        if !starts || name.len() > 64 || !name.chars().all(plain) {
            return Some(format!(
                "GenerateContentRequest.tools[0].function_declarations[0].name: Invalid function name: {name}"
            ));
        }
    }
    let Some(contents) = body["contents"].as_array().filter(|all| !all.is_empty()) else {
        return Some("* GenerateContentRequest.contents: contents is not specified".to_owned());
    };
    let mut open = 0;
    for (at, content) in contents.iter().enumerate() {
        let role = content["role"].as_str().unwrap_or("user");
        if !["user", "model"].contains(&role) {
            return Some("Please use a valid role: user, model.".to_owned());
        }
        let parts = content["parts"].as_array().map_or(&[][..], Vec::as_slice);
        if parts.is_empty() {
            return Some(format!(
                "* GenerateContentRequest.contents[{at}].parts: contents.parts must not be empty."
            ));
        }
        for part in parts {
            if let Some(fault) = unknown(part, &PART, &format!(" at 'contents[{at}].parts[0]'")) {
                return Some(fault);
            }
            let data = [
                "text",
                "inlineData",
                "fileData",
                "functionCall",
                "functionResponse",
            ];
            if data.iter().filter(|key| part.get(**key).is_some()).count() != 1 {
                return Some(format!(
                    "* GenerateContentRequest.contents[{at}].parts[0].data: required oneof field 'data' must have one initialized field"
                ));
            }
            if part.get("text").is_some_and(|text| !text.is_string()) {
                return Some(format!(
                    "Invalid value at 'contents[{at}].parts[0]' (text): Expected a string"
                ));
            }
            let bytes = [&part["thoughtSignature"], &part["inlineData"]["data"]];
            let mut bytes = bytes.into_iter().filter_map(Value::as_str);
            let is_bytes = |text: &str| {
                let plain = text.replace('-', "+").replace('_', "/");
                text == SKIP || embedding::decode(&plain).is_some()
            };
            if !bytes.all(is_bytes) {
                return Some("Invalid value: Base64 decoding failed".to_owned());
            }
        }
        let count = |key: &str| parts.iter().filter(|part| part.get(key).is_some()).count();
        let (calls, answers) = (count("functionCall"), count("functionResponse"));
        if answers != open {
            return Some("Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.".to_owned());
        }
        if calls > 0 && (at == 0 || role != "model") {
            return Some("Please ensure that function call turn comes immediately after a user turn or after a function response turn.".to_owned());
        }
        let mut called = parts
            .iter()
            .filter(|part| part.get("functionCall").is_some());
        let unsigned = |part: &Value| part.get("thoughtSignature").is_none();
        if model.starts_with("gemini-3") && called.next().is_some_and(unsigned) {
            return Some(
                "Function call is missing a thought_signature in functionCall parts.".to_owned(),
            );
        }
        open = calls;
    }
    None
}

fn functions(body: &Value) -> impl Iterator<Item = &Value> {
    let tools = body["tools"].as_array().into_iter().flatten();
    let declared = tools.filter_map(|tool| tool["functionDeclarations"].as_array());
    declared.flatten()
}

/// As much of a request in OpenAI's words as scripts look at.
pub(super) fn as_chat(body: &Value, model: &str, streams: bool) -> Value {
    let mut messages = Vec::new();
    if let Some(parts) = body["systemInstruction"].get("parts") {
        messages.push(json!({"role": "system", "content": parts}));
    }
    for content in body["contents"].as_array().into_iter().flatten() {
        let parts = content["parts"].as_array().into_iter().flatten();
        let last = parts.clone().last().unwrap_or(&Value::Null);
        messages.push(match last.get("functionResponse") {
            Some(answer) => {
                json!({"role": "tool", "content": answer["response"].to_string()})
            }
            None => {
                let role = if content["role"] == "model" {
                    "assistant"
                } else {
                    "user"
                };
                json!({"role": role, "content": content["parts"]})
            }
        });
    }
    let mut chat = json!({"model": model, "messages": messages, "stream": streams});
    let tools = functions(body).map(|function| {
        let schema = function.get("parametersJsonSchema");
        let schema = schema.unwrap_or(&function["parameters"]);
        json!({"type": "function", "function": {
            "name": function["name"], "parameters": in_lower_case(schema),
        }})
    });
    let tools: Vec<_> = tools.collect();
    if !tools.is_empty() {
        chat["tools"] = tools.into();
    }
    let choice = &body["toolConfig"]["functionCallingConfig"];
    match (choice["mode"].as_str(), &choice["allowedFunctionNames"][0]) {
        (Some("NONE"), _) => chat["tool_choice"] = "none".into(),
        (Some("ANY"), Value::String(name)) => {
            chat["tool_choice"] = json!({"function": {"name": name}});
        }
        _ => {}
    }
    let config = &body["generationConfig"];
    if config["responseMimeType"] == "application/json" {
        let schema = config
            .get("responseJsonSchema")
            .or(config.get("responseSchema"));
        chat["response_format"] = match schema {
            Some(schema) => {
                json!({"type": "json_schema", "json_schema": {"schema": in_lower_case(schema)}})
            }
            None => json!({"type": "json_object"}),
        };
    }
    chat
}

/// The vendor's own schemas have the names of types in upper case.
fn in_lower_case(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| {
                let value = match value {
                    Value::String(kind) if key == "type" => kind.to_ascii_lowercase().into(),
                    value => in_lower_case(value),
                };
                (key.clone(), value)
            });
            Value::Object(fields.collect())
        }
        Value::Array(all) => all.iter().map(in_lower_case).collect(),
        other => other.clone(),
    }
}

/// An error of OpenAI's as one of this vendor's, which says in the body when to come back.
pub(super) fn refused(reply: Reply) -> Reply {
    let after = reply.named("retry-after").map(str::to_owned);
    let reply = reply.reworded(|status, body| {
        let error: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = error["error"]["message"].clone();
        let (status, document) = match status {
            401 => (400, invalid_key()),
            429 => (429, error_of(429, "RESOURCE_EXHAUSTED", &message, after)),
            404 => (404, error_of(404, "NOT_FOUND", &message, None)),
            503 => (503, error_of(503, "UNAVAILABLE", &message, None)),
            500.. => (500, error_of(500, "INTERNAL", &message, None)),
            status => (status, error_of(status, "INVALID_ARGUMENT", &message, None)),
        };
        (status, document.to_string())
    });
    reply.only(&["content-type"])
}

fn invalid_key() -> Value {
    json!({"error": {
        "code": 400,
        "message": "API key not valid. Please pass a valid API key.",
        "status": "INVALID_ARGUMENT",
        "details": [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
        }],
    }})
}

fn error_of(code: u16, status: &str, message: &Value, after: Option<String>) -> Value {
    let mut error = json!({"code": code, "message": message, "status": status});
    if let Some(after) = after {
        let kind = "type.googleapis.com/google.rpc.RetryInfo";
        error["details"] = json!([{"@type": kind, "retryDelay": format!("{after}s")}]);
    }
    json!({"error": error})
}

fn usage(billed: Usage) -> Value {
    let thoughts = billed.reasoning.unwrap_or(0).min(billed.output);
    let mut usage = json!({
        "promptTokenCount": billed.input,
        "candidatesTokenCount": billed.output - thoughts,
        "totalTokenCount": billed.total(),
    });
    if thoughts > 0 {
        usage["thoughtsTokenCount"] = thoughts.into();
    }
    if let Some(cached @ 1..) = billed.cache_read {
        usage["cachedContentTokenCount"] = cached.into();
    }
    usage
}

fn reason(answer: &Answer) -> String {
    match answer.finish.as_deref() {
        Some("length") => "MAX_TOKENS".to_owned(),
        Some("content_filter") => "SAFETY".to_owned(),
        None if !answer.refusal.is_empty() => "PROHIBITED_CONTENT".to_owned(),
        None | Some("stop" | "tool_calls") => "STOP".to_owned(),
        Some(other) => other.to_ascii_uppercase(),
    }
}

const SIGNATURE: &str = "bW9jaw==";
/// What the vendor documents for calls of other vendors' models.
const SKIP: &str = "skip_thought_signature_validator";

/// The parts of an answer: whole, or in these pieces. What is said first is signed if it was thought
/// about.
fn parts(answer: &Answer, asked: &Asked<'_>, whole: bool) -> Vec<Value> {
    let pieces = |text: &str| match whole {
        true => vec![text.to_owned()],
        false => answer.batches(&tokens(text)),
    };
    let mut parts = Vec::new();
    if !answer.reasoning.is_empty() {
        let thoughts = pieces(&answer.reasoning).into_iter();
        parts.extend(thoughts.map(|text| json!({"text": text, "thought": true})));
    }
    let said = parts.len();
    if !answer.text.is_empty() {
        let texts = pieces(&answer.text).into_iter();
        parts.extend(texts.map(|text| json!({"text": text})));
    }
    for (n, (name, arguments)) in answer.calls.iter().enumerate() {
        let args: Value = serde_json::from_str(arguments).unwrap_or_default();
        let id = format!("{}_{n}", asked.id);
        parts.push(json!({"functionCall": {"id": id, "name": name, "args": args}}));
    }
    let thinks = !answer.reasoning.is_empty() || asked.model.starts_with("gemini-3");
    if let Some(first) = parts.get_mut(said).filter(|_| thinks) {
        first["thoughtSignature"] = SIGNATURE.into();
    }
    parts
}

fn envelope(asked: &Asked<'_>, candidates: &[Value], billed: Usage) -> Value {
    json!({
        "candidates": candidates, "usageMetadata": usage(billed),
        "modelVersion": asked.model, "responseId": asked.id,
    })
}

pub(super) fn whole(answer: &Answer, asked: &Asked<'_>, billed: Usage) -> Reply {
    let candidates = (0..asked.choices).map(|index| {
        let content = json!({"parts": parts(answer, asked, true), "role": "model"});
        json!({"content": content, "finishReason": reason(answer), "index": index})
    });
    let candidates: Vec<_> = candidates.collect();
    Reply::json(200, envelope(asked, &candidates, billed))
}

pub(super) fn stream(answer: &Answer, asked: &Asked<'_>, billed: Usage, call: &Call) -> Reply {
    let parts = parts(answer, asked, false).into_iter().map(|part| {
        let content = json!({"parts": [part], "role": "model"});
        let so_far = Usage::new(billed.input, 1);
        envelope(asked, &[json!({"content": content, "index": 0})], so_far)
    });
    let mut chunks: Vec<_> = parts.collect();
    let content = json!({"parts": [{"text": ""}], "role": "model"});
    let last = json!({"content": content, "finishReason": reason(answer), "index": 0});
    chunks.push(envelope(asked, &[last], billed));
    if let Some(after) = answer.fails_after {
        // Another vendor's stream begins with an event that says nothing.
        chunks.truncate(after.saturating_sub(1));
        let message = json!("An internal error has occurred.");
        chunks.push(error_of(500, "INTERNAL", &message, None));
    }
    if call.sse {
        let events = chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n"));
        return Reply::pieces("text/event-stream", events);
    }
    let chunks = chunks.iter().enumerate().map(|(at, chunk)| {
        let before = if at == 0 { "[" } else { ",\r\n" };
        format!("{before}{chunk}")
    });
    let end = ["]".to_owned()];
    Reply::pieces("application/json; charset=UTF-8", chunks.chain(end))
}

/// What is to be embedded in OpenAI's words, and whether one vector is asked for.
pub(super) fn as_embedding(body: &Value) -> Option<(Value, bool)> {
    let single = body.get("requests").is_none();
    let requests = match body["requests"].as_array() {
        Some(all) => all.clone(),
        None => vec![body.clone()],
    };
    let texts = requests.iter().map(|request| {
        let parts = request["content"]["parts"].as_array()?.iter();
        let texts: Option<Vec<_>> = parts.map(|part| part["text"].as_str()).collect();
        Some(texts?.join("\n"))
    });
    let mut asked = json!({"input": texts.collect::<Option<Vec<_>>>()?});
    if let Some(dimensions) = requests.first()?.get("outputDimensionality") {
        asked["dimensions"] = dimensions.clone();
    }
    Some((asked, single))
}

pub(super) fn embedded(vectors: &[Value], input: u64, single: bool) -> Reply {
    let mut vectors = vectors
        .iter()
        .map(|one| json!({"values": one["embedding"]}));
    let usage = json!({"promptTokenCount": input});
    let body = match single {
        true => json!({"embedding": vectors.next(), "usageMetadata": usage}),
        false => {
            json!({"embeddings": vectors.collect::<Vec<_>>(), "usageMetadata": usage})
        }
    };
    Reply::json(200, body)
}

/// What a conversation has: everything that is text.
pub(super) fn counted(body: &Value) -> u64 {
    let body = body.get("generateContentRequest").unwrap_or(body);
    let contents = body["contents"].as_array().into_iter().flatten();
    let contents = contents.chain(body.get("systemInstruction"));
    contents
        .map(|content| vendor::input(&content["parts"]))
        .sum()
}

pub(super) fn model(id: &str) -> Value {
    json!({
        "name": format!("models/{id}"), "version": "001", "displayName": id,
        "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent"],
    })
}
