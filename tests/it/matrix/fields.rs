//! Vendors of OpenAI's protocol that prove thoughts in fields of their own: whatever a client speaks, they
//! get their fields back as they were, and nobody else does.

use super::{
    call, dialects,
    meaning::{Answer, Ask, Said, Turn},
};
use serde_json::{Value, json};
use tower_gateway::{
    llm::{self, Provider},
    testing::{MockUpstream, Reply},
};

const MODEL: &str = "thinker";
const FIELDS: [&str; 3] = ["reasoning_details", "extra_content", "thought_signature"];

/// The same answer in one piece and in many.
struct Case {
    name: &'static str,
    message: Value,
    deltas: Value,
}

fn cases() -> Vec<Case> {
    let function = |name: &str| json!({"name": name, "arguments": "{\"a\":1}"});
    let called = |name: &str| json!({"id": format!("call_{name}"), "type": "function", "function": function(name)});
    let proven = || {
        let mut call = called("f");
        call["extra_content"] = json!({"google": {"thought_signature": "cHJvb2Y="}});
        call
    };
    let begun = |at: u32, name: &str| json!({"index": at, "id": format!("call_{name}"), "type": "function", "function": {"name": name, "arguments": ""}});
    let more = |at: u32| json!({"index": at, "function": {"arguments": "{\"a\":1}"}});
    let claude = |text: &str| json!({"type": "reasoning.text", "text": text, "format": "anthropic-claude-v1", "index": 0});
    let signature = json!({"type": "reasoning.text", "signature": "EsoDCkg", "format": "anthropic-claude-v1", "index": 0});
    let mut signed = claude("So it is.\n\nIs it?");
    signed["signature"] = "EsoDCkg".into();
    let summary = |text: &str| json!({"type": "reasoning.summary", "summary": text, "format": "openai-responses-v1", "index": 0});
    let sealed = json!({"type": "reasoning.encrypted", "data": "gAAAAB", "id": "rs_05bf", "format": "openai-responses-v1", "index": 0});
    vec![
        Case {
            name: "a signed thought, and calls",
            message: json!({"role": "assistant", "content": "", "reasoning": "So it is.\n\nIs it?",
                "reasoning_details": [signed], "tool_calls": [called("f"), called("g")]}),
            deltas: json!([
                {"role": "assistant", "content": "", "reasoning": "So it is.\n", "reasoning_details": [claude("So it is.\n")]},
                {"role": "assistant", "content": "", "reasoning": "\nIs it?", "reasoning_details": [claude("\nIs it?")]},
                {"role": "assistant", "content": "", "reasoning_details": [signature]},
                {"role": "assistant", "content": null, "tool_calls": [begun(0, "f")]},
                {"tool_calls": [more(0)]},
                {"tool_calls": [begun(1, "g")]},
                {"tool_calls": [more(1)]},
            ]),
        },
        Case {
            name: "a summary, and a thought that is sealed",
            message: json!({"role": "assistant", "content": "Hello.", "reasoning": "**In short**",
                "reasoning_details": [summary("**In short**"), sealed]}),
            deltas: json!([
                {"role": "assistant", "content": "", "reasoning": "**In ", "reasoning_details": [summary("**In ")]},
                {"role": "assistant", "content": "", "reasoning": "short**", "reasoning_details": [summary("short**")]},
                {"role": "assistant", "content": "", "reasoning": null, "reasoning_details": [sealed]},
                {"role": "assistant", "content": "Hel"},
                {"role": "assistant", "content": "lo."},
            ]),
        },
        Case {
            name: "the first of parallel calls",
            message: json!({"role": "assistant", "tool_calls": [proven(), called("g")]}),
            deltas: json!([{"role": "assistant", "tool_calls": [proven()]}, {"role": "assistant", "tool_calls": [called("g")]}]),
        },
        Case {
            name: "a text",
            message: json!({"role": "assistant", "content": "Hello.", "thought_signature": "AVSoXO4/lu90",
                "extra_content": {"google": {"thought": true, "thought_signature": "AVSoXO4/lu90"}}}),
            deltas: json!([
                {"role": "assistant", "content": "Hello."},
                {"role": "assistant", "content": "", "thought_signature": "AVSoXO4/lu90",
                    "extra_content": {"google": {"thought": true, "thought_signature": "AVSoXO4/lu90"}}},
            ]),
        },
    ]
}

impl Case {
    fn reply(&self, stream: bool, size: usize) -> Reply {
        let calls = self.message.get("tool_calls").is_some();
        let end = if calls { "tool_calls" } else { "stop" };
        let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
        let whole = |object: &str, choices: Value| json!({"id": "c", "object": object, "created": 1, "model": MODEL, "choices": choices});
        if !stream {
            let choice = json!({"index": 0, "message": self.message, "finish_reason": end});
            let mut whole = whole("chat.completion", json!([choice]));
            whole["usage"] = usage;
            return Reply::json(200, whole);
        }
        let chunk = |delta: &Value, end: Value| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": end});
            whole("chat.completion.chunk", json!([choice]))
        };
        let deltas = self.deltas.as_array().unwrap().iter();
        let mut chunks: Vec<_> = deltas.map(|delta| chunk(delta, Value::Null)).collect();
        chunks.push(chunk(&json!({}), end.into()));
        let mut last = whole("chat.completion.chunk", json!([]));
        last["usage"] = usage;
        chunks.push(last);
        let events = chunks.iter().map(|chunk| format!("data: {chunk}\n\n"));
        let events = events.chain(["data: [DONE]\n\n".to_owned()]);
        Reply::pieces("text/event-stream", events).split_every(size)
    }

    /// What the client says next.
    fn next(&self, read: &Answer) -> Turn {
        match &read.calls[..] {
            [] => Turn::User(vec![Said::text("And then?")]),
            calls => Turn::User(
                calls
                    .iter()
                    .map(|(tool, _)| Said::result(tool, "Done."))
                    .collect(),
            ),
        }
    }
}

#[tokio::test]
async fn what_proves_a_thought_goes_back_into_the_vendors_own_field() {
    for case in cases() {
        for dialect in dialects().iter().filter(|dialect| dialect.name != "openai") {
            for (stream, size) in [(false, 1), (true, 1), (true, 5), (true, 1 << 20)] {
                let what = format!("{}: {}, {stream} {size}", case.name, dialect.name);
                let upstream = MockUpstream::start(case.reply(stream, size)).await.unwrap();
                let vendor = |name: &str| Provider::custom(name, upstream.url()).unwrap();
                let mut ask = Ask {
                    turns: vec![Turn::User(vec![Said::text("Say hello.")])],
                    ..Ask::default()
                };
                let request = (dialect.write)(&ask, MODEL, stream);
                let answer = call(vendor("lab"), request).await;
                let read = (dialect.read)(&answer, stream).unwrap();
                let said = |key: &str| case.message[key].as_str().unwrap_or_default();
                assert_eq!(read.thoughts, said("reasoning"), "{what}");
                assert_eq!(read.text, said("content"), "{what}");
                ask.turns.push(Turn::Echo(read.turn.clone()));
                ask.turns.push(case.next(&read));

                let request = || (dialect.write)(&ask, MODEL, stream);
                let answer = call(vendor("lab"), request()).await;
                assert_eq!(answer.status(), 200, "{what}: {:?}", answer.body());
                assert!(
                    !answer.headers().contains_key("x-gateway-loss"),
                    "{what}: {:?}",
                    answer.headers()
                );
                let sent = upstream.last().unwrap().json()["messages"][1].clone();
                for field in FIELDS {
                    assert_eq!(sent.get(field), case.message.get(field), "{what}: {sent}");
                }
                assert_eq!(
                    sent.get("tool_calls"),
                    case.message.get("tool_calls"),
                    "{what}"
                );
                assert_eq!(
                    sent.get("reasoning_content"),
                    None,
                    "{what}: it was said in the details"
                );

                let strangers = [
                    vendor("another"),
                    vendor("lab").model("another"),
                    vendor("another").speaking(llm::Protocol::Anthropic),
                    vendor("another").speaking(llm::Protocol::Gemini),
                    vendor("another").speaking(llm::Protocol::Responses),
                ];
                for stranger in strangers {
                    let answer = call(stranger, request()).await;
                    let body = upstream.last().unwrap().body;
                    let body = String::from_utf8(body.to_vec()).unwrap();
                    for secret in [
                        "EsoDCkg",
                        "gAAAAB",
                        "cHJvb2Y",
                        "AVSoXO4",
                        "tg1:",
                        "dGcxO",
                        "reasoning_details",
                        "thought_signature",
                    ] {
                        assert!(!body.contains(secret), "{what}: {body}");
                    }
                    // An answer in another protocol than was asked for is an error, with no word of losses.
                    let told = answer.headers().contains_key("x-gateway-loss");
                    assert!(told || answer.status() != 200, "{what}");
                }
            }
        }
    }
}
