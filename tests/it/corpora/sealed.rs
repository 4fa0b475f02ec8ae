//! What proves a thought goes through a client of another dialect and comes back to who made it, to the
//! letter, and to nobody else.

use super::{Answer, block_on, in_time, with_vendor};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_gateway::{
    Body, collect,
    llm::{Protocol, Provider, serve::Serve},
};

const VENDORS: [Protocol; 3] = [Protocol::Anthropic, Protocol::Gemini, Protocol::Bedrock];

pub(super) fn check(input: &[u8]) {
    let [kind, text @ ..] = input else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let (proof, model) = text.split_once('\n').unwrap_or((text, "m"));
    let vendor = VENDORS[usize::from(kind & 15) % VENDORS.len()];
    let clients: &[fn(&str) -> Client] = match vendor {
        Protocol::Anthropic => &[chat, responses, gemini],
        Protocol::Gemini => &[chat, responses, anthropic],
        _ => &[chat, responses, anthropic, gemini],
    };
    let client = clients[usize::from(kind >> 4) % clients.len()](model);
    in_time(input.len(), || goes_round(vendor, client, proof));
}

fn goes_round(vendor: Protocol, mut client: Client, proof: &str) {
    let (own, other) = with_vendor(|lab| (lab.provider.clone(), lab.other.clone()));
    let answer = said(vendor, proof);
    let Some((answer, _)) = call(&own, vendor, &client, &answer) else {
        return;
    };
    let Some(turn) = answer.pointer(client.answer) else {
        return;
    };
    let place = client.body.pointer_mut(client.turns);
    let turns = place.and_then(Value::as_array_mut).expect("its turns");
    let question = turns[0].clone();
    match turn {
        Value::Array(items) if client.items => turns.extend(items.iter().cloned()),
        Value::Array(parts) => turns.push(json!({"role": "assistant", "content": parts})),
        turn => turns.push(turn.clone()),
    }
    turns.push(question);
    let plain = proof.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if let Some((_, sent)) = call(&own, vendor, &client, b"{}") {
        let mut proofs = Vec::new();
        found(&sent, &mut proofs);
        assert!(proofs.iter().all(|one| *one == proof), "{proofs:?}");
        assert!(proofs.len() == 1 || !plain || proof.is_empty(), "{sent}");
    }
    if let Some((_, sent)) = call(&other, vendor, &client, b"{}") {
        let mut proofs = Vec::new();
        found(&sent, &mut proofs);
        assert!(proofs.iter().all(|one| !one.contains(proof)), "{proofs:?}");
    }
}

/// A client, and where it keeps what.
struct Client {
    path: String,
    body: Value,
    turns: &'static str,
    answer: &'static str,
    /// What comes are turns, and not parts of one.
    items: bool,
}

fn chat(model: &str) -> Client {
    Client {
        path: "/v1/chat/completions".into(),
        body: json!({"model": model, "messages": [{"role": "user", "content": "a"}]}),
        turns: "/messages",
        answer: "/choices/0/message",
        items: false,
    }
}

fn responses(model: &str) -> Client {
    let question = json!({"type": "message", "role": "user", "content": "a"});
    let include = ["reasoning.encrypted_content"];
    Client {
        path: "/v1/responses".into(),
        body: json!({"model": model, "input": [question], "include": include, "store": false}),
        turns: "/input",
        answer: "/output",
        items: true,
    }
}

fn anthropic(model: &str) -> Client {
    let question = json!({"role": "user", "content": "a"});
    Client {
        path: "/v1/messages".into(),
        body: json!({"model": model, "max_tokens": 5000, "messages": [question],
            "thinking": {"type": "enabled", "budget_tokens": 1024}}),
        turns: "/messages",
        answer: "/content",
        items: false,
    }
}

fn gemini(_: &str) -> Client {
    Client {
        path: "/v1beta/models/m:generateContent".into(),
        body: json!({"contents": [{"role": "user", "parts": [{"text": "a"}]}],
            "generationConfig": {"thinkingConfig": {"includeThoughts": true}}}),
        turns: "/contents",
        answer: "/candidates/0/content",
        items: false,
    }
}

/// An answer with a thought that has this proof.
fn said(vendor: Protocol, proof: &str) -> Bytes {
    let answer = match vendor {
        Protocol::Anthropic => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": proof},
                {"type": "text", "text": "b"},
            ],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 1, "output_tokens": 2},
        }),
        Protocol::Gemini => json!({
            "candidates": [{
                "content": {"role": "model", "parts": [
                    {"text": "t", "thought": true},
                    {"text": "b", "thoughtSignature": proof},
                ]},
                "finishReason": "STOP", "index": 0,
            }],
            "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3},
        }),
        _ => json!({
            "output": {"message": {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "t", "signature": proof}}},
                {"text": "b"},
            ]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
        }),
    };
    answer.to_string().into()
}

/// What the client is answered, and what the vendor got.
fn call(
    provider: &Provider,
    protocol: Protocol,
    client: &Client,
    answer: &[u8],
) -> Option<(Value, Value)> {
    let answer = Bytes::copy_from_slice(answer);
    let received = with_vendor(|vendor| {
        vendor.received();
        vendor.answers(Answer {
            content_type: "application/json",
            pieces: vec![answer],
            broken: false,
        });
        let request = Request::post(&client.path)
            .header("content-type", "application/json")
            .body(Body::from(client.body.to_string()))
            .unwrap();
        let provider = provider.clone().speaking(protocol).key("none");
        let told = block_on(async {
            let response = Serve::new(provider).oneshot(request).await.unwrap();
            collect(response.into_body(), 64 << 20).await
        });
        (told.expect("an answer"), vendor.received())
    });
    let (told, sent) = received;
    let sent = serde_json::from_slice(&sent).ok()?;
    Some((serde_json::from_slice(&told).expect("JSON"), sent))
}

/// What stands in the fields for proofs.
fn found<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (&**name, value) {
                    ("signature" | "thoughtSignature", Value::String(proof)) => out.push(proof),
                    (_, value) => found(value, out),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|one| found(one, out)),
        _ => {}
    }
}
