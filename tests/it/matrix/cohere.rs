//! Cohere's chat, by hand.

use super::{
    KEY, Protocol, Tells,
    meaning::{Ask, Choice, Said, Tool, Turn, json, list, string},
    openai::user,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tower_gateway::{llm::Provider, testing::Recorded};

pub(super) fn protocol() -> Protocol {
    Protocol {
        name: "cohere",
        models: ["command-a-03-2025", "command-a-reasoning-08-2025"],
        tells: Tells {
            cache_read: true,
            cache_write: false,
            thoughts: true,
            refusal: false,
        },
        refuses: false,
        provider: |vendor| Provider::cohere(KEY).base_url(vendor.url()).unwrap(),
        hears: |mut ask| {
            match ask.choice.take() {
                // One tool cannot be named: no other is offered.
                Some(Choice::One(name)) => {
                    ask.tools.retain(|tool| tool.name == name);
                    ask.choice = Some(Choice::Any);
                }
                // It is what happens anyway.
                Some(Choice::Auto) => {}
                choice => ask.choice = choice,
            }
            (ask, false)
        },
        asked,
    }
}

fn asked(request: &Recorded) -> Ask {
    assert_eq!(request.path, "/v2/chat");
    assert_eq!(
        request.header("authorization"),
        Some(&*format!("Bearer {KEY}"))
    );
    let body = request.json();
    let mut ask = Ask::default();
    let mut names = BTreeMap::new();
    for message in list(&body["messages"]) {
        let parts = match &message["content"] {
            Value::String(text) => vec![json!({"type": "text", "text": text})],
            parts => list(parts).to_vec(),
        };
        match message["role"].as_str().unwrap() {
            "system" => ask
                .system
                .extend(parts.iter().map(|part| string(&part["text"]))),
            "tool" => {
                let tool = names[message["tool_call_id"].as_str().unwrap()];
                let text = parts.iter().map(|part| string(&part["text"])).collect();
                user(&mut ask.turns).push(Said::Result {
                    tool: string(tool),
                    text,
                });
            }
            "user" => {
                for part in parts {
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
                let thought = |text: &Value| Said::Thought {
                    text: string(text),
                    proof: "bW9jaw==".to_owned(),
                };
                said.extend(message.get("tool_plan").map(thought));
                said.extend(
                    parts
                        .iter()
                        .map(|part| match part["type"].as_str().unwrap() {
                            "text" => Said::Text(string(&part["text"])),
                            "thinking" => thought(&part["thinking"]),
                            other => panic!("no part of a model's: {other}"),
                        }),
                );
                for call in list(&message["tool_calls"]) {
                    let function = &call["function"];
                    names.insert(call["id"].as_str().unwrap(), &function["name"]);
                    let arguments = json(&string(&function["arguments"]));
                    said.push(Said::call(&string(&function["name"]), arguments));
                }
                ask.turns.push(Turn::Model(said));
            }
            other => panic!("no role: {other}"),
        }
    }
    let tools = list(&body["tools"]).iter().map(|tool| &tool["function"]);
    ask.tools = tools
        .map(|function| Tool {
            name: string(&function["name"]),
            description: string(&function["description"]),
            schema: function["parameters"].clone(),
        })
        .collect();
    ask.choice = match body["tool_choice"].as_str() {
        None => None,
        Some("REQUIRED") => Some(Choice::Any),
        Some("NONE") => Some(Choice::None),
        Some(other) => panic!("no choice: {other}"),
    };
    let format = &body["response_format"];
    ask.schema = format.get("schema").or(format.get("json_schema")).cloned();
    ask.thinks = body["thinking"]["type"] == "enabled";
    ask.most = body["max_tokens"].as_u64();
    ask.stop = list(&body["stop_sequences"]).iter().map(string).collect();
    ask
}
