//! Chat Completions, by hand.

use super::{
    Dialect, KEY, Protocol, Tells,
    meaning::{
        Answer, Ask, Choice, End, Failed, Fault, Said, Tool, Turn, Used, events, json, list, string,
    },
};
use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tower_gateway::{llm::Provider, testing::Recorded};

const TELLS: Tells = Tells {
    cache_read: true,
    cache_write: true,
    thoughts: true,
    refusal: true,
};

pub(super) fn dialect() -> Dialect {
    Dialect {
        name: "openai",
        tells: TELLS,
        says: |ask| ask,
        write,
        read,
        fault,
    }
}

pub(super) fn protocol() -> Protocol {
    Protocol {
        name: "openai",
        models: ["gpt-4o", "gpt-5"],
        tells: Tells {
            // No word of the vendor itself.
            cache_write: false,
            ..TELLS
        },
        refuses: true,
        provider: |vendor| {
            let provider = Provider::openai(KEY).base_url(vendor.base_url()).unwrap();
            provider.speaking_besides([])
        },
        hears: |ask| (ask, false),
        asked,
    }
}

fn fault(fault: Fault) -> (u16, &'static str) {
    match fault {
        Fault::Limit => (429, "rate_limit_error/upstream_rate_limited"),
        Fault::Overload => (503, "server_error/upstream_overloaded"),
        Fault::Key => (502, "server_error/upstream_auth"),
        Fault::TooLong => (400, "invalid_request_error/context_length_exceeded"),
        Fault::NoModel => (404, "invalid_request_error/model_not_found"),
        Fault::Middle | Fault::Cut => (502, "server_error/bad_gateway"),
    }
}

fn write(ask: &Ask, model: &str, stream: bool) -> (String, Value) {
    let mut messages = Vec::new();
    for text in &ask.system {
        messages.push(json!({"role": "system", "content": text}));
    }
    // The names of calls, for their results.
    let mut ids = BTreeMap::new();
    for (at, turn) in ask.turns.iter().enumerate() {
        match turn {
            Turn::Echo(message) => {
                for call in list(&message["tool_calls"]) {
                    ids.insert(string(&call["function"]["name"]), string(&call["id"]));
                }
                messages.push(message.clone());
            }
            Turn::Model(said) => {
                let mut message = json!({"role": "assistant", "content": null});
                let mut calls = Vec::new();
                for said in said {
                    match said {
                        Said::Text(text) => message["content"] = text.as_str().into(),
                        Said::Call { tool, arguments } => {
                            let id = format!("call_{at}_{tool}");
                            ids.insert(tool.clone(), id.clone());
                            calls.push(json!({"id": id, "type": "function", "function": {
                                "name": tool, "arguments": arguments.to_string(),
                            }}));
                        }
                        said => panic!("not said by a model: {said:?}"),
                    }
                }
                if !calls.is_empty() {
                    message["tool_calls"] = calls.into();
                }
                messages.push(message);
            }
            Turn::User(said) => {
                let mut parts = Vec::new();
                for said in said {
                    match said {
                        Said::Text(text) => parts.push(json!({"type": "text", "text": text})),
                        Said::Image { mime, base64 } => {
                            let url = format!("data:{mime};base64,{base64}");
                            parts.push(json!({"type": "image_url", "image_url": {"url": url}}));
                        }
                        Said::Result { tool, text } => {
                            messages.push(
                                json!({"role": "tool", "tool_call_id": ids[tool], "content": text}),
                            );
                        }
                        said => panic!("not said by a user: {said:?}"),
                    }
                }
                match &parts[..] {
                    [] => {}
                    [one] if one["type"] == "text" => {
                        messages.push(json!({"role": "user", "content": one["text"]}));
                    }
                    _ => messages.push(json!({"role": "user", "content": parts})),
                }
            }
        }
    }
    let mut body = json!({"model": model, "messages": messages});
    if !ask.tools.is_empty() {
        let tools = ask.tools.iter().map(|tool| {
            json!({"type": "function", "function": {
                "name": tool.name, "description": tool.description, "parameters": tool.schema,
            }})
        });
        body["tools"] = tools.collect();
    }
    match &ask.choice {
        None => {}
        Some(Choice::Auto) => body["tool_choice"] = "auto".into(),
        Some(Choice::None) => body["tool_choice"] = "none".into(),
        Some(Choice::Any) => body["tool_choice"] = "required".into(),
        Some(Choice::One(name)) => {
            body["tool_choice"] = json!({"type": "function", "function": {"name": name}});
        }
    }
    if let Some(schema) = &ask.schema {
        body["response_format"] = json!({"type": "json_schema", "json_schema": {
            "name": "place", "schema": schema, "strict": true,
        }});
    }
    if ask.thinks {
        body["reasoning_effort"] = "medium".into();
    }
    if let Some(most) = ask.most {
        body["max_completion_tokens"] = most.into();
    }
    if !ask.stop.is_empty() {
        body["stop"] = json!(ask.stop);
    }
    if stream {
        body["stream"] = true.into();
        body["stream_options"] = json!({"include_usage": true});
    }
    ("/v1/chat/completions".to_owned(), body)
}

fn read(answer: &Response<Bytes>, stream: bool) -> Result<Answer, Failed> {
    if answer.status() != 200 {
        let after = answer.headers().get("retry-after");
        let after = after.map(|after| after.to_str().unwrap().parse().unwrap());
        let error = json(std::str::from_utf8(answer.body()).unwrap());
        return Err(failed(&error, after, String::new()));
    }
    let kind = answer.headers()["content-type"].to_str().unwrap();
    if !stream {
        assert!(kind.starts_with("application/json"), "{kind}");
        let whole = json(std::str::from_utf8(answer.body()).unwrap());
        assert_eq!(whole["object"], "chat.completion");
        let choice = &whole["choices"][0];
        return Ok(meant(
            choice["message"].clone(),
            &choice["finish_reason"],
            &whole["usage"],
        ));
    }
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let mut message = json!({"role": "assistant", "content": null});
    let (mut calls, mut end, mut usage) = (Vec::<Value>::new(), Value::Null, Value::Null);
    let (mut id, mut roles) = (None, 0);
    let mut all = events(answer.body());
    let last = all.pop().expect("an event");
    for (name, data) in &all {
        assert_eq!(*name, None);
        let chunk = json(data);
        assert!(
            chunk.get("error").is_none(),
            "something comes after the error"
        );
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(id.get_or_insert_with(|| chunk["id"].clone()), &chunk["id"]);
        if !chunk["usage"].is_null() {
            assert_eq!(chunk["choices"], json!([]), "usage has a chunk of its own");
            usage = chunk["usage"].clone();
            continue;
        }
        assert!(usage.is_null(), "something comes after the usage");
        for choice in list(&chunk["choices"]) {
            assert!(end.is_null(), "something comes after the end: {chunk}");
            end = choice["finish_reason"].clone();
            for (key, value) in choice["delta"].as_object().unwrap() {
                match (&**key, value) {
                    ("role", _) => roles += 1,
                    ("tool_calls", deltas) => list(deltas)
                        .iter()
                        .for_each(|delta| piece(&mut calls, delta)),
                    (_, Value::Null) => {}
                    (key, Value::String(more)) => {
                        let before = string(&message[key]);
                        message[key] = (before + more).into();
                    }
                    (key, Value::Array(more)) => {
                        let mut all = list(&message[key]).to_vec();
                        all.extend(more.clone());
                        message[key] = all.into();
                    }
                    (key, value) => panic!("{key}: {value}"),
                }
            }
        }
    }
    if last.1 != "[DONE]" {
        return Err(failed(&json(&last.1), None, string(&message["content"])));
    }
    assert_eq!(roles, 1, "the role is told once");
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    Ok(meant(message, &end, &usage))
}

/// More of a call.
fn piece(calls: &mut Vec<Value>, delta: &Value) {
    let at = usize::try_from(delta["index"].as_u64().expect("an index")).unwrap();
    assert!(at <= calls.len(), "an index is left out");
    if at == calls.len() {
        assert!(
            delta["id"].is_string() && delta["function"]["name"].is_string(),
            "{delta}"
        );
        calls
            .push(json!({"id": "", "type": "function", "function": {"name": "", "arguments": ""}}));
    }
    let call = &mut calls[at];
    call["id"] = (string(&call["id"]) + delta["id"].as_str().unwrap_or_default()).into();
    for key in ["name", "arguments"] {
        let more = delta["function"][key].as_str().unwrap_or_default();
        call["function"][key] = (string(&call["function"][key]) + more).into();
    }
}

fn failed(error: &Value, after: Option<u64>, before: String) -> Failed {
    let error = &error["error"];
    assert!(error["message"].is_string(), "{error}");
    let kind = format!("{}/{}", string(&error["type"]), string(&error["code"]));
    Failed {
        kind,
        after,
        before,
    }
}

fn meant(message: Value, end: &Value, usage: &Value) -> Answer {
    assert_eq!(message["role"], "assistant");
    let refusal = string(&message["refusal"]);
    let calls = list(&message["tool_calls"]).iter().map(|call| {
        assert!(
            call["id"].as_str().is_some_and(|id| !id.is_empty()),
            "{call}"
        );
        let function = &call["function"];
        (
            string(&function["name"]),
            json(&string(&function["arguments"])),
        )
    });
    let end = match end.as_str() {
        // The vendor's own word, from it.
        Some("stop" | "what_nobody_knows") => End::Stop,
        Some("length") => End::Length,
        Some("tool_calls") => End::Calls,
        Some("content_filter") => End::Filtered,
        other => panic!("no reason of the dialect: {other:?}"),
    };
    let count = |details: &str, key: &str| usage[details][key].as_u64().unwrap_or(0);
    let used = usage.is_object().then(|| Used {
        input: usage["prompt_tokens"].as_u64().unwrap(),
        output: usage["completion_tokens"].as_u64().unwrap(),
        cache_read: count("prompt_tokens_details", "cached_tokens"),
        cache_write: count("prompt_tokens_details", "cache_write_tokens"),
        thoughts: count("completion_tokens_details", "reasoning_tokens"),
    });
    if let Some(used) = used {
        assert_eq!(
            usage["total_tokens"].as_u64(),
            Some(used.input + used.output)
        );
    }
    let refused = !refusal.is_empty() || end == End::Filtered;
    Answer {
        thoughts: string(&message["reasoning_content"]),
        text: string(&message["content"]) + &refusal,
        refused,
        calls: calls.collect(),
        // A refusal in the dialect's own field has no reason of its own.
        end: if refused { End::Filtered } else { end },
        used,
        turn: message,
    }
}

fn asked(request: &Recorded) -> Ask {
    assert_eq!(request.path, "/v1/chat/completions");
    assert_eq!(
        request.header("authorization"),
        Some(&*format!("Bearer {KEY}"))
    );
    let body = request.json();
    let mut ask = Ask::default();
    let mut names = Map::new();
    for message in list(&body["messages"]) {
        let texts = |content: &Value| -> Vec<Value> {
            match content {
                Value::String(text) => vec![json!({"type": "text", "text": text})],
                content => list(content).to_vec(),
            }
        };
        match message["role"].as_str().unwrap() {
            "system" | "developer" => {
                let parts = texts(&message["content"]);
                ask.system
                    .extend(parts.iter().map(|part| string(&part["text"])));
            }
            "tool" => {
                let tool = string(&names[message["tool_call_id"].as_str().unwrap()]);
                let parts = texts(&message["content"]);
                let text = parts.iter().map(|part| string(&part["text"])).collect();
                user(&mut ask.turns).push(Said::Result { tool, text });
            }
            "user" => {
                for part in texts(&message["content"]) {
                    user(&mut ask.turns).push(match part["type"].as_str().unwrap() {
                        "text" => Said::Text(string(&part["text"])),
                        "image_url" => {
                            let url = string(&part["image_url"]["url"]);
                            let (mime, base64) = url
                                .strip_prefix("data:")
                                .unwrap()
                                .split_once(";base64,")
                                .unwrap();
                            Said::Image {
                                mime: mime.to_owned(),
                                base64: base64.to_owned(),
                            }
                        }
                        other => panic!("no part of a user's: {other}"),
                    });
                }
            }
            "assistant" => {
                let mut said = Vec::new();
                // The vendor signs nothing, and takes back what it said.
                if let Some(text) = message["reasoning_content"].as_str() {
                    assert_eq!(message.get("reasoning_details"), None);
                    said.push(Said::Thought {
                        text: text.to_owned(),
                        proof: "bW9jaw==".to_owned(),
                    });
                }
                let parts = texts(&message["content"]);
                said.extend(parts.iter().map(|part| Said::Text(string(&part["text"]))));
                for call in list(&message["tool_calls"]) {
                    names.insert(string(&call["id"]), call["function"]["name"].clone());
                    let arguments = json(&string(&call["function"]["arguments"]));
                    said.push(Said::call(&string(&call["function"]["name"]), arguments));
                }
                ask.turns.push(Turn::Model(said));
            }
            other => panic!("no role: {other}"),
        }
    }
    ask.tools = list(&body["tools"])
        .iter()
        .map(|tool| {
            assert_eq!(tool["type"], "function");
            let function = &tool["function"];
            Tool {
                name: string(&function["name"]),
                description: string(&function["description"]),
                schema: function["parameters"].clone(),
            }
        })
        .collect();
    ask.choice = match &body["tool_choice"] {
        Value::Null => None,
        Value::String(word) => Some(match &**word {
            "auto" => Choice::Auto,
            "none" => Choice::None,
            "required" => Choice::Any,
            other => panic!("no choice: {other}"),
        }),
        one => Some(Choice::One(string(&one["function"]["name"]))),
    };
    let format = &body["response_format"];
    ask.schema = (format["type"] == "json_schema").then(|| format["json_schema"]["schema"].clone());
    ask.thinks = !matches!(body["reasoning_effort"].as_str(), None | Some("none"));
    ask.most = body["max_completion_tokens"]
        .as_u64()
        .or(body["max_tokens"].as_u64());
    ask.stop = list(&body["stop"]).iter().map(string).collect();
    ask
}

/// The user's turn that is open, or a new one.
pub(super) fn user(turns: &mut Vec<Turn>) -> &mut Vec<Said> {
    if !matches!(turns.last(), Some(Turn::User(_))) {
        turns.push(Turn::User(Vec::new()));
    }
    match turns.last_mut() {
        Some(Turn::User(said)) => said,
        _ => unreachable!("it was pushed"),
    }
}
