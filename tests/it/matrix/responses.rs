//! OpenAI's Responses, by hand.

use super::{
    Dialect, KEY, Protocol, Tells,
    meaning::{
        Answer, Ask, Choice, End, Failed, Fault, Said, Tool, Turn, Used, events, json, list, string,
    },
    openai::user,
};
use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tower_gateway::{llm, llm::Provider, testing::Recorded};

const TELLS: Tells = Tells {
    cache_read: true,
    cache_write: true,
    thoughts: true,
    refusal: true,
};

pub(super) fn dialect() -> Dialect {
    Dialect {
        name: "responses",
        tells: TELLS,
        says: without_stops,
        write,
        read,
        fault,
    }
}

pub(super) fn protocol() -> Protocol {
    Protocol {
        name: "responses",
        models: ["gpt-4o", "gpt-5"],
        tells: TELLS,
        refuses: true,
        provider: |vendor| {
            let provider = Provider::openai(KEY).base_url(vendor.base_url()).unwrap();
            provider.speaking(llm::Protocol::Responses)
        },
        hears: |ask| {
            let lossy = !ask.stop.is_empty();
            (without_stops(ask), lossy)
        },
        asked,
    }
}

/// There is no word for them.
fn without_stops(mut ask: Ask) -> Ask {
    ask.stop.clear();
    ask
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
    let mut body = json!({"model": model});
    let mut input = Vec::new();
    match &ask.system[..] {
        [] => {}
        [one] => body["instructions"] = one.as_str().into(),
        all => input.extend(
            all.iter()
                .map(|text| json!({"role": "system", "content": text})),
        ),
    }
    // The names of calls, for their results.
    let mut ids = BTreeMap::new();
    for (at, turn) in ask.turns.iter().enumerate() {
        match turn {
            Turn::Echo(items) => {
                for item in list(items) {
                    if item["type"] == "function_call" {
                        ids.insert(string(&item["name"]), string(&item["call_id"]));
                    }
                    input.push(item.clone());
                }
            }
            Turn::Model(said) => {
                for said in said {
                    input.push(match said {
                        Said::Text(text) => json!({"role": "assistant", "content": text}),
                        Said::Call { tool, arguments } => {
                            let id = format!("call_{at}_{tool}");
                            ids.insert(tool.clone(), id.clone());
                            json!({
                                "type": "function_call", "call_id": id, "name": tool,
                                "arguments": arguments.to_string(),
                            })
                        }
                        said => panic!("not said by a model: {said:?}"),
                    });
                }
            }
            Turn::User(said) => {
                let mut parts = Vec::new();
                for said in said {
                    match said {
                        Said::Text(text) => parts.push(json!({"type": "input_text", "text": text})),
                        Said::Image { mime, base64 } => {
                            let url = format!("data:{mime};base64,{base64}");
                            parts.push(json!({"type": "input_image", "image_url": url}));
                        }
                        Said::Result { tool, text } => input.push(json!({
                            "type": "function_call_output", "call_id": ids[tool], "output": text,
                        })),
                        said => panic!("not said by a user: {said:?}"),
                    }
                }
                if !parts.is_empty() {
                    input.push(json!({"type": "message", "role": "user", "content": parts}));
                }
            }
        }
    }
    body["input"] = input.into();
    if !ask.tools.is_empty() {
        let tools = ask.tools.iter().map(|tool| {
            json!({
                "type": "function", "name": tool.name, "description": tool.description,
                "parameters": tool.schema, "strict": false,
            })
        });
        body["tools"] = tools.collect();
    }
    match &ask.choice {
        None => {}
        Some(Choice::Auto) => body["tool_choice"] = "auto".into(),
        Some(Choice::None) => body["tool_choice"] = "none".into(),
        Some(Choice::Any) => body["tool_choice"] = "required".into(),
        Some(Choice::One(name)) => {
            body["tool_choice"] = json!({"type": "function", "name": name});
        }
    }
    if let Some(schema) = &ask.schema {
        body["text"] = json!({"format": {
            "type": "json_schema", "name": "place", "schema": schema, "strict": true,
        }});
    }
    if ask.thinks {
        body["reasoning"] = json!({"effort": "medium", "summary": "auto"});
        body["include"] = json!(["reasoning.encrypted_content"]);
    }
    if let Some(most) = ask.most {
        body["max_output_tokens"] = most.into();
    }
    if stream {
        body["stream"] = true.into();
    }
    ("/v1/responses".to_owned(), body)
}

fn read(answer: &Response<Bytes>, stream: bool) -> Result<Answer, Failed> {
    if answer.status() != 200 {
        let after = answer.headers().get("retry-after");
        let after = after.map(|after| after.to_str().unwrap().parse().unwrap());
        let error = &json(std::str::from_utf8(answer.body()).unwrap())["error"];
        assert!(error["message"].is_string(), "{error}");
        return Err(Failed {
            kind: format!("{}/{}", string(&error["type"]), string(&error["code"])),
            after,
            before: String::new(),
        });
    }
    let kind = answer.headers()["content-type"].to_str().unwrap();
    if !stream {
        assert!(kind.starts_with("application/json"), "{kind}");
        return Ok(meant(&json(std::str::from_utf8(answer.body()).unwrap())));
    }
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let mut output: Vec<Value> = Vec::new();
    let mut text = String::new();
    let mut last = Value::Null;
    for (number, (name, data)) in events(answer.body()).into_iter().enumerate() {
        assert!(
            last["response"]["status"] == Value::Null
                || last["response"]["status"] == "in_progress",
            "something comes after the end"
        );
        let event = json(&data);
        assert_eq!(name.as_deref(), event["type"].as_str());
        assert_eq!(event["sequence_number"], number);
        let kind = string(&event["type"]);
        text += match &*kind {
            "response.output_text.delta" | "response.refusal.delta" => {
                event["delta"].as_str().unwrap()
            }
            _ => "",
        };
        let at = event["output_index"].as_u64();
        match (&*kind, at.and_then(|at| usize::try_from(at).ok())) {
            ("response.output_item.added", at) => {
                assert_eq!(at, Some(output.len()));
                output.push(Value::Null);
            }
            ("response.output_item.done", Some(at)) => {
                assert!(output[at].is_null(), "it ends once");
                output[at] = event["item"].clone();
            }
            (_, Some(at)) => assert!(output[at].is_null(), "{event}"),
            _ => {}
        }
        last = event;
    }
    let response = &last["response"];
    if last["type"] == "response.failed" {
        assert_eq!(response["status"], "failed");
        let error = &response["error"];
        assert!(error["message"].is_string(), "{error}");
        return Err(Failed {
            kind: format!("server_error/{}", string(&error["code"])),
            after: None,
            before: text,
        });
    }
    assert_eq!(list(&response["output"]), output);
    let answer = meant(response);
    assert_eq!(answer.text, text);
    Ok(answer)
}

fn meant(response: &Value) -> Answer {
    assert_eq!(response["object"], "response");
    let (mut thoughts, mut text, mut refusal) = (String::new(), String::new(), String::new());
    let mut calls = Vec::new();
    for item in list(&response["output"]) {
        assert!(item["id"].as_str().is_some_and(|id| id.len() <= 64));
        match item["type"].as_str().unwrap() {
            "reasoning" => {
                for part in list(&item["summary"]) {
                    thoughts += part["text"].as_str().unwrap();
                }
            }
            "message" => {
                for part in list(&item["content"]) {
                    match part["type"].as_str().unwrap() {
                        "output_text" => text += part["text"].as_str().unwrap(),
                        "refusal" => refusal += part["refusal"].as_str().unwrap(),
                        other => panic!("no part of a message: {other}"),
                    }
                }
            }
            "function_call" => {
                assert!(item["call_id"].as_str().is_some_and(|id| !id.is_empty()));
                calls.push((string(&item["name"]), json(&string(&item["arguments"]))));
            }
            other => panic!("no item: {other}"),
        }
    }
    let why = &response["incomplete_details"]["reason"];
    let end = match (response["status"].as_str(), why.as_str()) {
        (Some("completed"), None) if calls.is_empty() => End::Stop,
        (Some("completed"), None) => End::Calls,
        (Some("incomplete"), Some("max_output_tokens")) => End::Length,
        (Some("incomplete"), Some("content_filter")) => End::Filtered,
        other => panic!("no end of the dialect: {other:?}"),
    };
    let usage = &response["usage"];
    let count = |details: &str, key: &str| usage[details][key].as_u64().unwrap_or(0);
    let used = usage.is_object().then(|| Used {
        input: usage["input_tokens"].as_u64().unwrap(),
        output: usage["output_tokens"].as_u64().unwrap(),
        cache_read: count("input_tokens_details", "cached_tokens"),
        cache_write: count("input_tokens_details", "cache_write_tokens"),
        thoughts: count("output_tokens_details", "reasoning_tokens"),
    });
    if let Some(used) = used {
        assert_eq!(
            usage["total_tokens"].as_u64(),
            Some(used.input + used.output)
        );
    }
    let refused = !refusal.is_empty() || end == End::Filtered;
    Answer {
        thoughts,
        text: text + &refusal,
        refused,
        calls,
        // A refusal in the dialect's own part has no reason of its own.
        end: if refused { End::Filtered } else { end },
        used,
        turn: response["output"].clone(),
    }
}

fn asked(request: &Recorded) -> Ask {
    assert_eq!(request.path, "/v1/responses");
    assert_eq!(
        request.header("authorization"),
        Some(&*format!("Bearer {KEY}"))
    );
    let body = request.json();
    assert_eq!(body["store"], false);
    let mut ask = Ask::default();
    ask.system
        .extend(body["instructions"].as_str().map(str::to_owned));
    let mut names = Map::new();
    let texts = |content: &Value| -> Vec<Value> {
        match content {
            Value::String(text) => vec![json!({"type": "text", "text": text})],
            content => list(content).to_vec(),
        }
    };
    for item in list(&body["input"]) {
        let role = item["role"].as_str().unwrap_or_default();
        match (item["type"].as_str().unwrap_or("message"), role) {
            ("message", "system" | "developer") => {
                let parts = texts(&item["content"]);
                ask.system
                    .extend(parts.iter().map(|part| string(&part["text"])));
            }
            ("message", "user") => {
                for part in texts(&item["content"]) {
                    user(&mut ask.turns).push(match part["type"].as_str().unwrap() {
                        "text" | "input_text" => Said::Text(string(&part["text"])),
                        "input_image" => {
                            let url = string(&part["image_url"]);
                            let url = url.strip_prefix("data:").unwrap();
                            let (mime, base64) = url.split_once(";base64,").unwrap();
                            Said::Image {
                                mime: mime.to_owned(),
                                base64: base64.to_owned(),
                            }
                        }
                        other => panic!("no part of a user's: {other}"),
                    });
                }
            }
            ("message", "assistant") => {
                let parts = texts(&item["content"]);
                let parts = parts.iter().map(|part| Said::Text(string(&part["text"])));
                model(&mut ask.turns).extend(parts);
            }
            ("reasoning", _) => {
                let parts = list(&item["summary"]).iter();
                let text = parts.map(|part| string(&part["text"])).collect();
                model(&mut ask.turns).push(Said::Thought {
                    text,
                    proof: string(&item["encrypted_content"]),
                });
            }
            ("function_call", _) => {
                names.insert(string(&item["call_id"]), item["name"].clone());
                let arguments = json(&string(&item["arguments"]));
                model(&mut ask.turns).push(Said::call(&string(&item["name"]), arguments));
            }
            ("function_call_output", _) => {
                let tool = string(&names[item["call_id"].as_str().unwrap()]);
                let parts = texts(&item["output"]);
                let text = parts.iter().map(|part| string(&part["text"])).collect();
                user(&mut ask.turns).push(Said::Result { tool, text });
            }
            other => panic!("no item: {other:?}"),
        }
    }
    ask.tools = list(&body["tools"])
        .iter()
        .map(|tool| {
            assert_eq!(tool["type"], "function");
            // Else the vendor would hold the model to the letter of any schema.
            assert_eq!(tool["strict"], false);
            Tool {
                name: string(&tool["name"]),
                description: string(&tool["description"]),
                schema: tool["parameters"].clone(),
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
        one => Some(Choice::One(string(&one["name"]))),
    };
    let format = &body["text"]["format"];
    ask.schema = (format["type"] == "json_schema").then(|| format["schema"].clone());
    let effort = body["reasoning"]["effort"].as_str();
    ask.thinks = !matches!(effort, None | Some("none"));
    ask.most = body["max_output_tokens"].as_u64();
    ask
}

/// The model's turn that is open, or a new one.
fn model(turns: &mut Vec<Turn>) -> &mut Vec<Said> {
    if !matches!(turns.last(), Some(Turn::Model(_))) {
        turns.push(Turn::Model(Vec::new()));
    }
    match turns.last_mut() {
        Some(Turn::Model(said)) => said,
        _ => unreachable!("it was pushed"),
    }
}
