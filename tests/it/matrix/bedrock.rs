//! Bedrock's Converse, by hand.

use super::{
    KEY, Protocol, Tells,
    meaning::{Ask, Choice, Said, Tool, Turn, json, list, string},
};
use std::collections::BTreeMap;
use tower_gateway::{llm::Provider, testing::Recorded};

const CLAUDE: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";

pub(super) fn protocol() -> Protocol {
    Protocol {
        name: "bedrock",
        models: [CLAUDE; 2],
        tells: Tells {
            cache_read: true,
            cache_write: true,
            thoughts: false,
            refusal: false,
        },
        refuses: true,
        provider: |vendor| {
            let provider = Provider::bedrock_with_key("eu-central-1", KEY).unwrap();
            provider.base_url(vendor.url()).unwrap()
        },
        hears: |mut ask| {
            // It has no word for it: nothing is on offer.
            if ask.choice == Some(Choice::None) {
                ask.choice = None;
                ask.tools.clear();
            }
            (ask, false)
        },
        asked,
    }
}

fn asked(request: &Recorded) -> Ask {
    let method = request.path.rsplit('/').next().unwrap();
    assert!(
        ["converse", "converse-stream"].contains(&method),
        "{}",
        request.path
    );
    assert_eq!(
        request.header("authorization"),
        Some(&*format!("Bearer {KEY}"))
    );
    let body = request.json();
    let mut ask = Ask::default();
    let system = list(&body["system"]).iter();
    ask.system = system.map(|block| string(&block["text"])).collect();
    let mut names = BTreeMap::new();
    for message in list(&body["messages"]) {
        let mut said = Vec::new();
        for block in list(&message["content"]) {
            let fields = block.as_object().unwrap();
            assert_eq!(fields.len(), 1, "a block is one thing: {block}");
            let (kind, inner) = fields.iter().next().unwrap();
            said.push(match &**kind {
                "text" => Said::Text(string(inner)),
                "image" => Said::Image {
                    mime: format!("image/{}", string(&inner["format"])),
                    base64: string(&inner["source"]["bytes"]),
                },
                "toolUse" => {
                    names.insert(string(&inner["toolUseId"]), string(&inner["name"]));
                    Said::call(&string(&inner["name"]), inner["input"].clone())
                }
                "toolResult" => {
                    let tool = names[inner["toolUseId"].as_str().unwrap()].clone();
                    let parts = list(&inner["content"]).iter();
                    let text = parts.map(|part| string(&part["text"])).collect();
                    Said::Result { tool, text }
                }
                "reasoningContent" => Said::Thought {
                    text: string(&inner["reasoningText"]["text"]),
                    proof: string(&inner["reasoningText"]["signature"]),
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
    for tool in list(&body["toolConfig"]["tools"]) {
        let spec = &tool["toolSpec"];
        ask.tools.push(Tool {
            name: string(&spec["name"]),
            description: string(&spec["description"]),
            schema: spec["inputSchema"]["json"].clone(),
        });
    }
    let choice = &body["toolConfig"]["toolChoice"];
    let choice = choice.as_object().and_then(|fields| fields.iter().next());
    ask.choice = choice.map(|(kind, inner)| match &**kind {
        "auto" => Choice::Auto,
        "any" => Choice::Any,
        "tool" => Choice::One(string(&inner["name"])),
        other => panic!("no choice: {other}"),
    });
    let format = &body["outputConfig"]["textFormat"];
    if format["type"] == "json_schema" {
        ask.schema = Some(json(&string(&format["structure"]["jsonSchema"]["schema"])));
    }
    let thinking = &body["additionalModelRequestFields"]["thinking"];
    ask.thinks = matches!(thinking["type"].as_str(), Some("enabled" | "adaptive"));
    let config = &body["inferenceConfig"];
    ask.most = config["maxTokens"].as_u64();
    ask.stop = list(&config["stopSequences"]).iter().map(string).collect();
    ask
}
