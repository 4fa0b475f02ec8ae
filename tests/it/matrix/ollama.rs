//! Ollama's own chat, by hand.

use super::{
    KEY, Protocol, Tells,
    meaning::{Ask, Choice, Said, Tool, Turn, list, string},
    openai::user,
};
use serde_json::Value;
use tower_gateway::{
    llm::{self, Provider},
    testing::Recorded,
};

pub(super) fn protocol() -> Protocol {
    Protocol {
        name: "ollama",
        models: ["llama3.2:1b", "qwen3:8b"],
        tells: Tells {
            cache_read: false,
            cache_write: false,
            thoughts: false,
            refusal: false,
        },
        refuses: false,
        provider: |vendor| {
            let provider = Provider::ollama().key(KEY).speaking(llm::Protocol::Ollama);
            provider.base_url(vendor.url()).unwrap()
        },
        hears,
        asked,
    }
}

fn hears(mut ask: Ask) -> (Ask, bool) {
    let choice = ask.choice.take();
    // A tool is called or not, as the model sees fit. The one that is named is the only one on offer.
    if let Some(Choice::One(name)) = &choice {
        ask.tools.retain(|tool| tool.name == *name);
    }
    if choice == Some(Choice::None) {
        ask.tools.clear();
    }
    let lossy = matches!(choice, Some(Choice::Any | Choice::One(_)));
    if !ask.system.is_empty() {
        ask.system = vec![ask.system.join("\n\n")];
    }
    // A message has one text, and pictures beside it.
    for turn in &mut ask.turns {
        let Turn::User(said) = turn else { continue };
        if !said.iter().any(|one| matches!(one, Said::Image { .. })) {
            continue;
        }
        let texts = said.iter().filter_map(|one| match one {
            Said::Text(text) => Some(&**text),
            _ => None,
        });
        let text = Said::Text(texts.collect::<Vec<_>>().join("\n\n"));
        said.retain(|one| !matches!(one, Said::Text(_)));
        said.insert(0, text);
    }
    (ask, lossy)
}

fn asked(request: &Recorded) -> Ask {
    assert_eq!(request.path, "/api/chat");
    assert_eq!(
        request.header("authorization"),
        Some(&*format!("Bearer {KEY}"))
    );
    let body = request.json();
    let mut ask = Ask::default();
    for message in list(&body["messages"]) {
        let text = string(&message["content"]);
        match message["role"].as_str().unwrap() {
            "system" => ask.system.push(text),
            "tool" => {
                let tool = string(&message["tool_name"]);
                user(&mut ask.turns).push(Said::Result { tool, text });
            }
            "user" => {
                let said = user(&mut ask.turns);
                said.push(Said::Text(text));
                said.extend(list(&message["images"]).iter().map(|data| Said::Image {
                    // Nothing but the bytes is told.
                    mime: "image/png".to_owned(),
                    base64: string(data),
                }));
            }
            "assistant" => {
                let mut said = Vec::new();
                // The vendor signs nothing, and takes back what it said.
                if let Some(text) = message["thinking"].as_str() {
                    let (text, proof) = (text.to_owned(), "bW9jaw==".to_owned());
                    said.push(Said::Thought { text, proof });
                }
                said.push(Said::Text(text));
                for call in list(&message["tool_calls"]) {
                    let function = &call["function"];
                    let arguments = function["arguments"].clone();
                    said.push(Said::call(&string(&function["name"]), arguments));
                }
                ask.turns.push(Turn::Model(said));
            }
            other => panic!("no role: {other}"),
        }
    }
    // Several texts are one, or several messages.
    if !ask.system.is_empty() {
        ask.system = vec![ask.system.join("\n\n")];
    }
    let tools = list(&body["tools"]).iter().map(|tool| &tool["function"]);
    ask.tools = tools
        .map(|function| Tool {
            name: string(&function["name"]),
            description: string(&function["description"]),
            schema: function["parameters"].clone(),
        })
        .collect();
    ask.schema = body
        .get("format")
        .filter(|format| format.is_object())
        .cloned();
    ask.thinks = !matches!(body["think"], Value::Null | Value::Bool(false));
    ask.most = body["options"]["num_predict"].as_u64();
    ask.stop = list(&body["options"]["stop"]).iter().map(string).collect();
    ask
}
