//! What a request asks, and what the vendor would refuse of it.

use super::SIGNATURE;
use crate::testing::embedding;
use serde_json::{Map, Value, json};

/// What the vendor documents for calls of other vendors' models.
const SKIP: &str = "skip_thought_signature_validator";

/// The body with the names of its fields in the one spelling. The vendor takes either.
pub(in super::super) fn camel(value: Value) -> Value {
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
pub(in super::super) fn fault(body: &Value, model: &str) -> Option<String> {
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
        let signed = parts
            .iter()
            .filter_map(|part| part["thoughtSignature"].as_str());
        let mut forged = signed.filter(|proof| ![SIGNATURE, SKIP].contains(proof));
        if forged.next().is_some() {
            return Some("Thought signature is not valid.".to_owned());
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
pub(in super::super) fn as_chat(body: &Value, model: &str, streams: bool) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_vendor_would_refuse_is_refused() {
        let user = |part: Value| json!({"role": "user", "parts": [part]});
        let call = |more: Value| {
            let mut part = json!({"functionCall": {"name": "f", "args": {}}});
            if let (Some(part), Value::Object(more)) = (part.as_object_mut(), more) {
                part.extend(more);
            }
            json!({"role": "model", "parts": [part]})
        };
        let answer = json!({"functionResponse": {"name": "f", "response": {}}});
        let hello = user(json!({"text": "hi"}));
        let third = "gemini-3-pro-preview";
        for (model, body, word) in [
            (
                "m",
                json!({"contents": [hello], "messages": []}),
                "Unknown name",
            ),
            ("m", json!({"contents": []}), "not specified"),
            (
                "m",
                json!({"contents": [user(json!({"text": 5}))]}),
                "a string",
            ),
            (
                "m",
                json!({"contents": [user(json!({"inlineData": {"data": "*"}}))]}),
                "Base64",
            ),
            (
                "m",
                json!({"contents": [hello, call(json!({})), hello]}),
                "equal to the number",
            ),
            (
                "m",
                json!({"contents": [hello], "tools": [{"functionDeclarations": [{"name": "2d"}]}]}),
                "function name",
            ),
            (
                third,
                json!({"contents": [hello, call(json!({})), user(answer.clone())]}),
                "missing a thought_signature",
            ),
            (
                third,
                json!({"contents": [hello, call(json!({"thoughtSignature": "QUFB"})), user(answer.clone())]}),
                "not valid",
            ),
        ] {
            let fault = fault(&body, model).unwrap_or_default();
            assert!(fault.contains(word), "{word}: {fault}");
        }
        let signed = call(json!({"thoughtSignature": SKIP}));
        let body = json!({"contents": [hello, signed, user(answer)]});
        assert_eq!(fault(&body, third), None);
    }

    #[test]
    fn fields_are_read_in_either_spelling_but_for_the_callers_own() {
        let body = json!({"generation_config": {"response_schema": {"properties": {"a_b": {"min_length": 1}}}},
            "contents": [{"parts": [{"function_call": {"args": {"a_b": 1}}}]}]});
        let expected = json!({"generationConfig": {"responseSchema": {"properties": {"a_b": {"minLength": 1}}}},
            "contents": [{"parts": [{"functionCall": {"args": {"a_b": 1}}}]}]});
        assert_eq!(camel(body), expected);
    }
}
