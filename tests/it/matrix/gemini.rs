//! `generateContent`, by hand.

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
    cache_write: false,
    thoughts: true,
    refusal: true,
};

pub(super) fn dialect() -> Dialect {
    Dialect {
        name: "gemini",
        tells: TELLS,
        says: |ask| ask,
        write,
        read,
        fault,
    }
}

pub(super) fn protocol() -> Protocol {
    Protocol {
        name: "gemini",
        models: ["gemini-2.5-flash", "gemini-3-pro-preview"],
        tells: Tells {
            refusal: false,
            ..TELLS
        },
        refuses: true,
        provider: |vendor| Provider::gemini(KEY).base_url(vendor.url()).unwrap(),
        hears: |ask| (ask, false),
        asked,
    }
}

fn fault(fault: Fault) -> (u16, &'static str) {
    match fault {
        Fault::Limit => (429, "RESOURCE_EXHAUSTED"),
        Fault::Overload => (503, "UNAVAILABLE"),
        Fault::Key | Fault::Middle | Fault::Cut => (502, "INTERNAL"),
        Fault::TooLong => (400, "INVALID_ARGUMENT"),
        Fault::NoModel => (404, "NOT_FOUND"),
    }
}

fn write(ask: &Ask, model: &str, stream: bool) -> (String, Value) {
    let mut ids = BTreeMap::new();
    let mut contents = Vec::new();
    for (at, turn) in ask.turns.iter().enumerate() {
        let part = |said: &Said, ids: &mut BTreeMap<String, String>| match said {
            Said::Text(text) => json!({"text": text}),
            Said::Image { mime, base64 } => {
                json!({"inlineData": {"mimeType": mime, "data": base64}})
            }
            Said::Call { tool, arguments } => {
                let id = format!("{tool}-{at}");
                ids.insert(tool.clone(), id.clone());
                json!({"functionCall": {"id": id, "name": tool, "args": arguments}})
            }
            Said::Result { tool, text } => {
                let id = &ids[tool];
                json!({"functionResponse": {"id": id, "name": tool, "response": {"output": text}}})
            }
            said => panic!("not written by a client: {said:?}"),
        };
        let (role, said) = match turn {
            Turn::User(said) => ("user", said),
            Turn::Model(said) => ("model", said),
            Turn::Echo(content) => {
                let calls = list(&content["parts"])
                    .iter()
                    .filter_map(|part| part.get("functionCall"));
                ids.extend(calls.map(|call| (string(&call["name"]), string(&call["id"]))));
                contents.push(content.clone());
                continue;
            }
        };
        let parts: Vec<_> = said.iter().map(|said| part(said, &mut ids)).collect();
        contents.push(json!({"role": role, "parts": parts}));
    }
    let mut body = json!({"contents": contents});
    if !ask.system.is_empty() {
        let parts: Vec<_> = ask
            .system
            .iter()
            .map(|text| json!({"text": text}))
            .collect();
        body["systemInstruction"] = json!({"parts": parts});
    }
    if !ask.tools.is_empty() {
        let declared = ask.tools.iter().map(|tool| {
            json!({"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.schema})
        });
        body["tools"] = json!([{"functionDeclarations": declared.collect::<Vec<_>>()}]);
    }
    let config = match &ask.choice {
        None => None,
        Some(Choice::Auto) => Some(json!({"mode": "AUTO"})),
        Some(Choice::None) => Some(json!({"mode": "NONE"})),
        Some(Choice::Any) => Some(json!({"mode": "ANY"})),
        Some(Choice::One(name)) => Some(json!({"mode": "ANY", "allowedFunctionNames": [name]})),
    };
    if let Some(config) = config {
        body["toolConfig"] = json!({"functionCallingConfig": config});
    }
    let mut config = json!({});
    if let Some(schema) = &ask.schema {
        config["responseMimeType"] = "application/json".into();
        config["responseJsonSchema"] = schema.clone();
    }
    if ask.thinks {
        config["thinkingConfig"] = json!({"thinkingLevel": "LOW", "includeThoughts": true});
    }
    if let Some(most) = ask.most {
        config["maxOutputTokens"] = most.into();
    }
    if !ask.stop.is_empty() {
        config["stopSequences"] = json!(ask.stop);
    }
    if config != json!({}) {
        body["generationConfig"] = config;
    }
    let method = if stream {
        "streamGenerateContent?alt=sse"
    } else {
        "generateContent"
    };
    (format!("/v1beta/models/{model}:{method}"), body)
}

fn read(answer: &Response<Bytes>, stream: bool) -> Result<Answer, Failed> {
    let kind = answer.headers()["content-type"].to_str().unwrap();
    let mut documents = match stream && answer.status() == 200 {
        true => {
            assert!(kind.starts_with("text/event-stream"), "{kind}");
            let all = events(answer.body());
            assert!(
                all.iter().all(|(name, _)| name.is_none()),
                "events have no names"
            );
            all.iter().map(|(_, data)| json(data)).collect()
        }
        false => {
            assert!(kind.starts_with("application/json"), "{kind}");
            vec![json(std::str::from_utf8(answer.body()).unwrap())]
        }
    };
    let error = documents
        .last()
        .filter(|last| last.get("error").is_some())
        .cloned();
    if error.is_some() {
        documents.pop();
    }
    let mut told = Answer::default();
    let mut parts: Vec<Value> = Vec::new();
    for document in &documents {
        assert!(
            document.get("error").is_none(),
            "something comes after the error"
        );
        assert_eq!(told.end, End::Open, "something comes after the end");
        assert!(document["responseId"].is_string() && document["modelVersion"].is_string());
        let candidate = &document["candidates"][0];
        assert_eq!(candidate["content"]["role"], "model", "{document}");
        parts.extend(list(&candidate["content"]["parts"]).iter().cloned());
        if let Some(reason) = candidate["finishReason"].as_str() {
            told.end = match reason {
                "STOP" => End::Stop,
                "MAX_TOKENS" => End::Length,
                "SAFETY" | "PROHIBITED_CONTENT" => End::Filtered,
                // The vendor's own word, from it.
                "WHAT_NOBODY_KNOWS" => End::Stop,
                other => panic!("no reason of the dialect: {other}"),
            };
        }
        let usage = &document["usageMetadata"];
        let count = |key: &str| usage[key].as_u64().unwrap_or(0);
        if usage.is_object() {
            let used = Used {
                input: count("promptTokenCount"),
                // What is thought is told apart from it.
                output: count("candidatesTokenCount") + count("thoughtsTokenCount"),
                cache_read: count("cachedContentTokenCount"),
                cache_write: 0,
                thoughts: count("thoughtsTokenCount"),
            };
            assert_eq!(
                count("totalTokenCount"),
                used.input + used.output,
                "{usage}"
            );
            told.used = Some(used);
        }
    }
    for part in &parts {
        let text = part["text"].as_str().unwrap_or_default();
        match part.get("functionCall") {
            Some(call) => {
                assert!(call["args"].is_object(), "{call}");
                told.calls
                    .push((string(&call["name"]), call["args"].clone()));
            }
            None if part["thought"] == true => told.thoughts += text,
            None => told.text += text,
        }
    }
    if let Some(error) = error {
        return Err(failed(&error, answer.status().as_u16(), told.text));
    }
    assert_ne!(told.end, End::Open, "it has no end");
    if !told.calls.is_empty() && told.end == End::Stop {
        // The dialect has no word for it.
        told.end = End::Calls;
    }
    told.refused = told.end == End::Filtered;
    told.turn = json!({"role": "model", "parts": parts});
    Ok(told)
}

fn failed(whole: &Value, status: u16, before: String) -> Failed {
    let error = &whole["error"];
    assert!(error["message"].is_string(), "{whole}");
    if before.is_empty() {
        assert_eq!(error["code"], status, "the code is the status");
    }
    let details = list(&error["details"]).iter();
    let delay = details
        .filter_map(|detail| detail["retryDelay"].as_str())
        .next();
    Failed {
        kind: string(&error["status"]),
        after: delay.map(|delay| delay.strip_suffix('s').unwrap().parse().unwrap()),
        before,
    }
}

fn asked(request: &Recorded) -> Ask {
    assert_eq!(request.header("x-goog-api-key"), Some(KEY));
    assert!(!request.path.contains("key="), "{}", request.path);
    let body = request.json();
    let texts = |parts: &Value| -> Vec<String> {
        list(parts)
            .iter()
            .map(|part| string(&part["text"]))
            .collect()
    };
    let mut ask = Ask {
        system: texts(&body["systemInstruction"]["parts"]),
        ..Ask::default()
    };
    for content in list(&body["contents"]) {
        let mut said = Vec::new();
        let mut proof = String::new();
        for part in list(&content["parts"]) {
            if let Some(own) = part["thoughtSignature"].as_str() {
                assert!(proof.is_empty(), "a second proof in a turn");
                proof = own.to_owned();
            }
            let one = if let Some(call) = part.get("functionCall") {
                Said::call(&string(&call["name"]), call["args"].clone())
            } else if let Some(answer) = part.get("functionResponse") {
                let text = string(&answer["response"]["output"]);
                Said::Result {
                    tool: string(&answer["name"]),
                    text,
                }
            } else if let Some(data) = part.get("inlineData") {
                Said::Image {
                    mime: string(&data["mimeType"]),
                    base64: string(&data["data"]),
                }
            } else if part["thought"] == true {
                assert_eq!(
                    part.get("thoughtSignature"),
                    None,
                    "the proof stands in what follows"
                );
                Said::Thought {
                    text: string(&part["text"]),
                    proof: String::new(),
                }
            } else {
                Said::Text(string(&part["text"]))
            };
            // A client of the dialect sends back the pieces that it got.
            match (said.last_mut(), one) {
                (Some(Said::Thought { text, .. }), Said::Thought { text: more, .. }) => {
                    text.push_str(&more)
                }
                (_, one) => said.push(one),
            }
        }
        for one in &mut said {
            if let Said::Thought { proof: place, .. } = one {
                place.clone_from(&proof);
            }
        }
        ask.turns.push(match content["role"].as_str() {
            Some("model") => Turn::Model(said),
            _ => Turn::User(said),
        });
    }
    for tool in list(&body["tools"]) {
        for function in list(&tool["functionDeclarations"]) {
            ask.tools.push(Tool {
                name: string(&function["name"]),
                description: string(&function["description"]),
                schema: function["parametersJsonSchema"].clone(),
            });
        }
    }
    let config = &body["toolConfig"]["functionCallingConfig"];
    ask.choice = match (
        config["mode"].as_str(),
        list(&config["allowedFunctionNames"]),
    ) {
        (None, _) => None,
        (Some("AUTO"), []) => Some(Choice::Auto),
        (Some("NONE"), _) => Some(Choice::None),
        (Some("ANY"), []) => Some(Choice::Any),
        (Some("ANY"), [one]) => Some(Choice::One(string(one))),
        other => panic!("no choice: {other:?}"),
    };
    let config = &body["generationConfig"];
    if config["responseMimeType"] == "application/json" {
        ask.schema = config.get("responseJsonSchema").cloned();
    }
    let thinking = &config["thinkingConfig"];
    ask.thinks = thinking.is_object() && thinking["thinkingBudget"] != 0;
    ask.most = config["maxOutputTokens"].as_u64();
    ask.stop = list(&config["stopSequences"]).iter().map(string).collect();
    ask
}
