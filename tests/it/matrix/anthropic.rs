//! Messages, by hand.

use super::{
    Dialect, KEY, Protocol, Tells,
    meaning::{
        Answer, Ask, Choice, End, Failed, Fault, Said, Tool, Turn, Used, events, json, list, string,
    },
};
use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
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
        name: "anthropic",
        tells: TELLS,
        says: |ask| ask,
        write,
        read,
        fault,
    }
}

pub(super) fn protocol() -> Protocol {
    Protocol {
        name: "anthropic",
        models: ["claude-sonnet-4-5"; 2],
        tells: TELLS,
        refuses: true,
        provider: |vendor| Provider::anthropic(KEY).base_url(vendor.url()).unwrap(),
        hears: |ask| (ask, false),
        asked,
    }
}

fn fault(fault: Fault) -> (u16, &'static str) {
    match fault {
        Fault::Limit => (429, "rate_limit_error"),
        Fault::Overload => (529, "overloaded_error"),
        Fault::Key | Fault::Middle | Fault::Cut => (502, "api_error"),
        Fault::TooLong => (400, "invalid_request_error"),
        Fault::NoModel => (404, "not_found_error"),
    }
}

fn write(ask: &Ask, model: &str, stream: bool) -> (String, Value) {
    let text = |text: &str| json!({"type": "text", "text": text});
    let mut ids = BTreeMap::new();
    let mut messages = Vec::new();
    for (at, turn) in ask.turns.iter().enumerate() {
        let block = |said: &Said, ids: &mut BTreeMap<String, String>| match said {
            Said::Text(said) => text(said),
            Said::Image { mime, base64 } => {
                json!({"type": "image", "source": {"type": "base64", "media_type": mime, "data": base64}})
            }
            Said::Call { tool, arguments } => {
                let id = format!("toolu_{at}_{tool}");
                ids.insert(tool.clone(), id.clone());
                json!({"type": "tool_use", "id": id, "name": tool, "input": arguments})
            }
            Said::Result { tool, text } => {
                json!({"type": "tool_result", "tool_use_id": ids[tool], "content": text})
            }
            said => panic!("not written by a client: {said:?}"),
        };
        let (role, said) = match turn {
            Turn::User(said) => ("user", said),
            Turn::Model(said) => ("assistant", said),
            Turn::Echo(message) => {
                for call in list(&message["content"])
                    .iter()
                    .filter(|block| block["type"] == "tool_use")
                {
                    ids.insert(string(&call["name"]), string(&call["id"]));
                }
                messages.push(message.clone());
                continue;
            }
        };
        let blocks: Vec<_> = said.iter().map(|said| block(said, &mut ids)).collect();
        messages.push(json!({"role": role, "content": blocks}));
    }
    let mut body =
        json!({"model": model, "messages": messages, "max_tokens": ask.most.unwrap_or(4000)});
    if !ask.system.is_empty() {
        body["system"] = ask.system.iter().map(|said| text(said)).collect();
    }
    if !ask.tools.is_empty() {
        let tools = ask.tools.iter().map(|tool| {
            json!({"name": tool.name, "description": tool.description, "input_schema": tool.schema})
        });
        body["tools"] = tools.collect();
    }
    match &ask.choice {
        None => {}
        Some(Choice::Auto) => body["tool_choice"] = json!({"type": "auto"}),
        Some(Choice::None) => body["tool_choice"] = json!({"type": "none"}),
        Some(Choice::Any) => body["tool_choice"] = json!({"type": "any"}),
        Some(Choice::One(name)) => body["tool_choice"] = json!({"type": "tool", "name": name}),
    }
    if let Some(schema) = &ask.schema {
        body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
    }
    if ask.thinks {
        body["thinking"] = json!({"type": "enabled", "budget_tokens": 2048});
    }
    if !ask.stop.is_empty() {
        body["stop_sequences"] = json!(ask.stop);
    }
    if stream {
        body["stream"] = true.into();
    }
    ("/v1/messages".to_owned(), body)
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
        return Ok(meant(&json(std::str::from_utf8(answer.body()).unwrap())));
    }
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let all = events(answer.body());
    let mut message = Value::Null;
    let (mut open, mut input, mut stopped) = (false, String::new(), false);
    for (name, data) in &all {
        let event = json(data);
        let kind = event["type"].as_str().unwrap();
        assert_eq!(
            name.as_deref(),
            Some(kind),
            "the event has another name than its data"
        );
        assert!(!stopped, "something comes after the last event");
        let content = |message: &mut Value| match &mut message["content"] {
            Value::Array(all) => std::mem::take(all),
            other => panic!("no content: {other}"),
        };
        match kind {
            "ping" => {}
            "message_start" => {
                assert!(message.is_null(), "a second start");
                message = event["message"].clone();
            }
            "content_block_start" => {
                let mut blocks = content(&mut message);
                assert!(
                    !std::mem::replace(&mut open, true),
                    "a block within a block"
                );
                assert_eq!(event["index"], blocks.len());
                blocks.push(event["content_block"].clone());
                message["content"] = blocks.into();
                input.clear();
            }
            "content_block_delta" => {
                let mut blocks = content(&mut message);
                assert!(open, "more of no block");
                assert_eq!(event["index"], blocks.len() - 1);
                let block = blocks.last_mut().unwrap();
                let delta = &event["delta"];
                let mut add = |key: &str| {
                    block[key] = (string(&block[key]) + delta[key].as_str().unwrap()).into();
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => add("text"),
                    "thinking_delta" => add("thinking"),
                    "signature_delta" => add("signature"),
                    "input_json_delta" => input.push_str(delta["partial_json"].as_str().unwrap()),
                    other => panic!("no delta: {other}"),
                }
                message["content"] = blocks.into();
            }
            "content_block_stop" => {
                assert!(std::mem::replace(&mut open, false), "the end of no block");
                let mut blocks = content(&mut message);
                let block = blocks.last_mut().unwrap();
                if !input.is_empty() {
                    block["input"] = json(&input);
                }
                message["content"] = blocks.into();
            }
            "message_delta" => {
                assert!(!open, "a block is open");
                for (key, value) in event["delta"].as_object().unwrap() {
                    message[key] = value.clone();
                }
                for (key, value) in event["usage"].as_object().unwrap() {
                    message["usage"][key] = value.clone();
                }
            }
            "message_stop" => {
                assert!(message["stop_reason"].is_string(), "no reason is told");
                stopped = true;
            }
            "error" => {
                assert_eq!(
                    data,
                    &all.last().unwrap().1,
                    "something comes after the error"
                );
                let blocks = list(&message["content"]);
                let before = blocks.iter().map(|block| string(&block["text"])).collect();
                return Err(failed(&event, None, before));
            }
            other => panic!("no event: {other}"),
        }
    }
    assert!(stopped, "it has no end");
    Ok(meant(&message))
}

fn failed(whole: &Value, after: Option<u64>, before: String) -> Failed {
    assert_eq!(whole["type"], "error", "{whole}");
    assert!(whole["error"]["message"].is_string(), "{whole}");
    let kind = string(&whole["error"]["type"]);
    Failed {
        kind,
        after,
        before,
    }
}

fn meant(message: &Value) -> Answer {
    assert_eq!(
        (&message["type"], &message["role"]),
        (&json!("message"), &json!("assistant"))
    );
    assert!(
        message["id"].is_string() && message["model"].is_string(),
        "{message}"
    );
    let mut answer = Answer::default();
    for block in list(&message["content"]) {
        match block["type"].as_str().unwrap() {
            "text" => answer.text += block["text"].as_str().unwrap(),
            "thinking" => {
                assert!(block["signature"].is_string(), "{block}");
                answer.thoughts += block["thinking"].as_str().unwrap();
            }
            "redacted_thinking" => assert!(block["data"].is_string(), "{block}"),
            "tool_use" => {
                assert!(
                    block["id"].as_str().is_some_and(|id| !id.is_empty()),
                    "{block}"
                );
                assert!(block["input"].is_object(), "{block}");
                answer
                    .calls
                    .push((string(&block["name"]), block["input"].clone()));
            }
            other => panic!("no block: {other}"),
        }
    }
    let reason = message["stop_reason"].as_str().unwrap();
    answer.end = match reason {
        "end_turn" | "stop_sequence" => End::Stop,
        "max_tokens" | "model_context_window_exceeded" => End::Length,
        "tool_use" => End::Calls,
        "refusal" => End::Filtered,
        // The vendor's own word, from it.
        "what_nobody_knows" => End::Stop,
        other => panic!("no reason of the dialect: {other}"),
    };
    answer.refused = reason == "refusal";
    if answer.text.is_empty() {
        answer.text = string(&message["stop_details"]["explanation"]);
    }
    let usage = &message["usage"];
    let count = |key: &str| usage[key].as_u64().unwrap_or(0);
    let cached = (
        count("cache_read_input_tokens"),
        count("cache_creation_input_tokens"),
    );
    answer.used = Some(Used {
        // What the cache held is told apart from it.
        input: usage["input_tokens"].as_u64().unwrap() + cached.0 + cached.1,
        output: usage["output_tokens"].as_u64().unwrap(),
        cache_read: cached.0,
        cache_write: cached.1,
        thoughts: usage["output_tokens_details"]["thinking_tokens"]
            .as_u64()
            .unwrap_or(0),
    });
    answer.turn = json!({"role": "assistant", "content": message["content"]});
    answer
}

fn asked(request: &Recorded) -> Ask {
    assert_eq!(request.path, "/v1/messages");
    assert_eq!(request.header("x-api-key"), Some(KEY));
    let body = request.json();
    let blocks = |content: &Value| -> Vec<Value> {
        match content {
            Value::String(text) => vec![json!({"type": "text", "text": text})],
            content => list(content).to_vec(),
        }
    };
    let texts = |content: &Value| -> Vec<String> {
        blocks(content)
            .iter()
            .map(|block| string(&block["text"]))
            .collect()
    };
    let mut ask = Ask {
        system: texts(&body["system"]),
        ..Ask::default()
    };
    let mut names = BTreeMap::new();
    for message in list(&body["messages"]) {
        let mut said = Vec::new();
        for block in blocks(&message["content"]) {
            said.push(match block["type"].as_str().unwrap() {
                "text" => Said::Text(string(&block["text"])),
                "image" => {
                    assert_eq!(block["source"]["type"], "base64");
                    Said::Image {
                        mime: string(&block["source"]["media_type"]),
                        base64: string(&block["source"]["data"]),
                    }
                }
                "tool_use" => {
                    names.insert(string(&block["id"]), string(&block["name"]));
                    Said::call(&string(&block["name"]), block["input"].clone())
                }
                "tool_result" => {
                    let tool = names[block["tool_use_id"].as_str().unwrap()].clone();
                    Said::Result {
                        tool,
                        text: texts(&block["content"]).concat(),
                    }
                }
                "thinking" => Said::Thought {
                    text: string(&block["thinking"]),
                    proof: string(&block["signature"]),
                },
                other => panic!("no block: {other}"),
            });
        }
        ask.turns.push(match message["role"].as_str().unwrap() {
            "user" => Turn::User(said),
            "assistant" => Turn::Model(said),
            other => panic!("no role: {other}"),
        });
    }
    ask.tools = list(&body["tools"])
        .iter()
        .map(|tool| Tool {
            name: string(&tool["name"]),
            description: string(&tool["description"]),
            schema: tool["input_schema"].clone(),
        })
        .collect();
    ask.choice = match body["tool_choice"]["type"].as_str() {
        None => None,
        Some("auto") => Some(Choice::Auto),
        Some("none") => Some(Choice::None),
        Some("any") => Some(Choice::Any),
        Some("tool") => Some(Choice::One(string(&body["tool_choice"]["name"]))),
        Some(other) => panic!("no choice: {other}"),
    };
    let format = &body["output_config"]["format"];
    ask.schema = (format["type"] == "json_schema").then(|| format["schema"].clone());
    ask.thinks = matches!(
        body["thinking"]["type"].as_str(),
        Some("enabled" | "adaptive")
    );
    ask.most = body["max_tokens"].as_u64();
    assert!(
        ask.most.is_some(),
        "the vendor must be told the most tokens"
    );
    ask.stop = list(&body["stop_sequences"]).iter().map(string).collect();
    ask
}
