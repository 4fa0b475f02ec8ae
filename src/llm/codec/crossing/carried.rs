//! Proofs in fields of vendors' own, through clients of the other dialects and back.

use super::{
    google::{FLASH, GEMINI},
    *,
};

const RESPONSES: Protocol = Protocol::Responses;
const CLIENTS: [Protocol; 3] = [ANTHROPIC, GEMINI, RESPONSES];

/// What a vendor says: in pieces, and as a message, of which the client must bring back the same fields.
struct Case {
    name: &'static str,
    pieces: Vec<Value>,
    message: Value,
    thought: &'static str,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is written where it is called"
)]
fn detail(kind: &str, more: Value) -> Value {
    let mut detail = json!({"type": format!("reasoning.{kind}"), "format": "lab-v1", "index": 0});
    let fields = detail.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    detail
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is written where it is called"
)]
fn tool_call(id: &str, more: Value) -> Value {
    let mut call =
        json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
    let fields = call.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    call
}

fn signed(proof: &str) -> Value {
    json!({"extra_content": {"google": {"thought_signature": proof}}})
}

fn cases() -> Vec<Case> {
    let text = |text: &str| detail("text", json!({"text": text}));
    let calls = || json!([tool_call("a", json!({})), tool_call("b", json!({}))]);
    let mut out = Vec::new();
    let mut case = |name, pieces: Value, message: Value, thought| {
        let pieces = pieces.as_array().unwrap().clone();
        out.push(Case {
            name,
            pieces,
            message,
            thought,
        });
    };
    case(
        "a thought in pieces, signed at its end, and calls",
        json!([
            {"content": "", "reasoning": "So\n1", "reasoning_details": [text("So\n1")]},
            {"content": "", "reasoning": ". Then", "reasoning_details": [text(". Then")]},
            {"content": "", "reasoning_details": [detail("text", json!({"signature": "EsoD1"}))]},
            {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": "{\"a\":1}"}}]},
            {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
        ]),
        json!({"content": null, "reasoning": "So\n1. Then", "tool_calls": calls(),
            "reasoning_details": [detail("text", json!({"text": "So\n1. Then", "signature": "EsoD1"}))]}),
        "So\n1. Then",
    );
    let sealed = || detail("encrypted", json!({"data": "gAAAA", "id": "rs_1"}));
    case(
        "a summary, and what is sealed",
        json!([
            {"reasoning": "In ", "reasoning_details": [detail("summary", json!({"summary": "In "}))]},
            {"reasoning": "short", "reasoning_details": [detail("summary", json!({"summary": "short"}))]},
            {"reasoning": null, "reasoning_details": [sealed()]},
            {"content": "Hello"},
        ]),
        json!({"content": "Hello", "reasoning": "In short",
            "reasoning_details": [detail("summary", json!({"summary": "In short"})), sealed()]}),
        "In short",
    );
    case(
        "what is sealed alone",
        json!([{"content": "", "reasoning": null, "reasoning_details": [sealed()]}, {"content": "Hello"}]),
        json!({"content": "Hello", "reasoning": null, "reasoning_details": [sealed()]}),
        "",
    );
    case(
        "a thought that nobody signs",
        json!([
            {"reasoning": "a", "reasoning_details": [text("a")]},
            {"reasoning": "b", "reasoning_details": [text("b")]},
            {"content": "Hello"},
        ]),
        json!({"content": "Hello", "reasoning": "ab", "reasoning_details": [text("ab")]}),
        "ab",
    );
    case(
        "two thoughts",
        json!([
            {"reasoning": "a", "reasoning_details": [text("a")]},
            {"reasoning_details": [detail("text", json!({"signature": "EsoD1"}))]},
            {"reasoning": "b", "reasoning_details": [detail("text", json!({"text": "b", "index": 1, "signature": null}))]},
            {"reasoning_details": [detail("text", json!({"signature": "EsoD2", "index": 1}))]},
            {"content": "Hello"},
        ]),
        json!({"content": "Hello", "reasoning": "ab", "reasoning_details": [
            detail("text", json!({"text": "a", "signature": "EsoD1"})),
            detail("text", json!({"text": "b", "index": 1, "signature": "EsoD2"})),
        ]}),
        "ab",
    );
    case(
        "a thought that stands in details alone",
        json!([{"reasoning_details": [text("a")]}, {"reasoning_details": [text("b")]}, {"content": "Hello"}]),
        json!({"content": "Hello", "reasoning_details": [text("ab")]}),
        "ab",
    );
    case(
        "a text that is not that of the details",
        json!([
            {"reasoning": "short", "reasoning_details": [text("much longer")]},
            {"reasoning_details": [detail("text", json!({"signature": "EsoD1"}))]},
            {"content": "Hello"},
        ]),
        json!({"content": "Hello", "reasoning": "short",
            "reasoning_details": [detail("text", json!({"text": "much longer", "signature": "EsoD1"}))]}),
        "short",
    );
    case(
        "details of kinds that nobody knows, and when a call has begun",
        json!([
            {"reasoning": "a", "reasoning_details": [text("a")]},
            {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"a\""}}]},
            {"reasoning_details": [detail("encrypted", json!({"data": "d", "id": "a"}))]},
            {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
            {"reasoning_details": [detail("server_tool_call", json!({"result": "[]"}))]},
            {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
        ]),
        json!({"content": null, "reasoning": "a", "tool_calls": calls(), "reasoning_details": [
            text("a"),
            detail("encrypted", json!({"data": "d", "id": "a"})),
            detail("server_tool_call", json!({"result": "[]"})),
        ]}),
        "a",
    );
    let first = || tool_call("a", signed("cHJvb2Y="));
    case(
        "a signature on the first of parallel calls",
        json!([{"role": "assistant", "tool_calls": [first()]}, {"tool_calls": [tool_call("b", json!({}))]}]),
        json!({"content": null, "tool_calls": [first(), tool_call("b", json!({}))]}),
        "",
    );
    case(
        "signatures on two calls, behind a thought that nobody signs",
        json!([
            {"reasoning_content": "a"},
            {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
            {"tool_calls": [{"index": 0, "extra_content": {"google": {"thought_signature": "cHJvb2Y="}}}]},
            {"tool_calls": [tool_call("b", signed("MQ=="))]},
        ]),
        json!({"content": null, "reasoning_content": "a",
            "tool_calls": [first(), tool_call("b", signed("MQ=="))]}),
        "a",
    );
    let google = || json!({"google": {"thought": true, "thought_signature": "AVSo"}});
    case(
        "a signature beside a text",
        json!([{"content": "Hel"}, {"content": "lo"}, {"content": "", "extra_content": google(), "thought_signature": "AVSo"}]),
        json!({"content": "Hello", "extra_content": google(), "thought_signature": "AVSo"}),
        "",
    );
    out
}

impl Case {
    fn answer(&self, framing: Framing) -> String {
        let head = |mut choice: Value| {
            choice["index"] = 0.into();
            json!({"id": "c", "model": "m", "created": 1, "choices": [choice]})
        };
        if framing == Framing::Json {
            let mut message = self.message.clone();
            message["role"] = "assistant".into();
            return head(json!({"message": message, "finish_reason": "stop"})).to_string();
        }
        let pieces = self
            .pieces
            .iter()
            .map(|piece| head(json!({"delta": piece})));
        let end = head(json!({"delta": {}, "finish_reason": "stop"}));
        let all = pieces
            .chain([end])
            .map(|chunk| format!("data: {chunk}\n\n"));
        all.collect::<String>() + "data: [DONE]\n\n"
    }

    /// What a client gets of an answer that comes in chunks of this size.
    fn told(&self, client: Protocol, framing: Framing, size: usize) -> String {
        let answer = self.answer(framing);
        let mut sealer = Sealer::new(lab());
        let mut decoder = of(OPENAI).decoder(Operation::Chat, framing);
        let mut encoder = of(client).encoder(asked(framing));
        let (mut framer, mut out) = (sse::Framer::new(), BytesMut::new());
        let mut pieces = Vec::new();
        if framing == Framing::Json {
            pieces.push(Bytes::from(answer));
        } else {
            for chunk in answer.as_bytes().chunks(size) {
                pieces.extend(framer.push(Bytes::copy_from_slice(chunk)).unwrap());
            }
        }
        for piece in pieces {
            let mut events = Vec::new();
            decoder.decode(&piece, &mut events).unwrap();
            encoder.events(sealer.sealed(events), &mut out);
        }
        encoder.finish(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    /// The turn that a client makes of it, and what it shows of the thought.
    fn turn(&self, client: Protocol, framing: Framing, size: usize) -> (Vec<Value>, String) {
        let told = self.told(client, framing, size);
        let events = read(client, framing, &told).unwrap();
        let whole = match framing {
            Framing::Json => serde_json::from_str(&told).unwrap(),
            _ => document(client, &events),
        };
        let all = completion(events);
        let thoughts = all.choices[0].message.parts.iter();
        let thoughts = thoughts.filter_map(|part| match &part.content {
            crate::llm::Content::Reasoning(thought) => Some(&*thought.text),
            _ => None,
        });
        let turn = match client {
            ANTHROPIC => vec![json!({"role": "assistant", "content": whole["content"]})],
            GEMINI => vec![whole["candidates"][0]["content"].clone()],
            _ => whole["output"].as_array().unwrap().clone(),
        };
        (turn, thoughts.collect())
    }
}

fn lab() -> Maker {
    maker(OPENAI, "thinker")
}

/// The request in which a client sends a turn back.
fn again(client: Protocol, turn: &[Value]) -> ChatRequest {
    let said = |text: &str| match client {
        GEMINI => json!({"role": "user", "parts": [{"text": text}]}),
        _ => json!({"role": "user", "content": text}),
    };
    let mut turns = vec![said("hi")];
    turns.extend(turn.iter().cloned());
    turns.push(said("and?"));
    let key = match client {
        ANTHROPIC => "messages",
        GEMINI => "contents",
        _ => "input",
    };
    let mut body = json!({"max_tokens": 9, key: turns});
    if client != ANTHROPIC {
        body.as_object_mut().unwrap().remove("max_tokens");
    }
    let mut ask = Ask::from(Operation::Chat);
    match client {
        GEMINI => (ask.model, ask.stream) = (Some("thinker".to_owned()), Some(false)),
        _ => body["model"] = "thinker".into(),
    }
    let bytes = Bytes::from(body.to_string());
    of(client).peek(&ask, bytes).unwrap()
}

const FIELDS: [&str; 3] = ["reasoning_details", "extra_content", "thought_signature"];

#[test]
fn a_field_of_a_vendors_own_comes_back_to_it_as_it_was() {
    for case in cases() {
        for client in CLIENTS {
            for (framing, size) in [
                (Framing::Json, 1),
                (Framing::Sse, 1),
                (Framing::Sse, 1 << 20),
            ] {
                let what = format!("{}: {client:?}, {framing:?} {size}", case.name);
                let (turn, thought) = case.turn(client, framing, size);
                assert_eq!(thought, case.thought, "{what}");
                let told = Value::from(turn.clone()).to_string();
                assert!(!told.contains("reasoning_details"), "{what}: {told}");
                let (body, losses) = gets(OPENAI, &again(client, &turn));
                assert_eq!(losses, [""; 0], "{what}: {told}");
                let message = &body["messages"][1];
                for field in FIELDS {
                    assert_eq!(
                        message.get(field),
                        case.message.get(field),
                        "{what}: {message}"
                    );
                }
                let calls = |message: &Value| {
                    let calls = message["tool_calls"]
                        .as_array()
                        .cloned()
                        .unwrap_or_default();
                    let calls = calls
                        .iter()
                        .map(|call| (call["id"].clone(), call.get("extra_content").cloned()));
                    calls.collect::<Vec<_>>()
                };
                let (is, was) = (calls(message), calls(&case.message));
                assert_eq!(is.len(), was.len(), "{what}: {message}");
                assert!(
                    is.iter()
                        .map(|call| &call.1)
                        .eq(was.iter().map(|call| &call.1)),
                    "{what}: {message}"
                );
                // A thought is sent once.
                let twice = message.get("reasoning_details").is_some()
                    && message.get("reasoning_content").is_some();
                assert!(!twice, "{what}: {message}");
                let text = message["content"].as_str();
                assert_eq!(
                    text.unwrap_or_default(),
                    case.message["content"].as_str().unwrap_or_default(),
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn a_field_of_a_vendors_own_is_for_its_maker_alone() {
    const SECRETS: [&str; 9] = [
        "EsoD",
        "gAAAA",
        "cHJvb2Y",
        "AVSo",
        "lab-v1",
        "reasoning_details",
        "thought_signature",
        "tg1:",
        "dGcxO",
    ];
    let other = |protocol, vendor: &str, model: &str| Maker {
        vendor: vendor.into(),
        ..maker(protocol, model)
    };
    for case in cases() {
        for client in CLIENTS {
            let (turn, _) = case.turn(client, Framing::Sse, 7);
            let request = again(client, &turn);
            for to in [
                other(OPENAI, "another", "thinker"),
                other(OPENAI, "lab", "another"),
                other(ANTHROPIC, "lab", "thinker"),
                other(GEMINI, "lab", "thinker"),
                other(GEMINI, "lab", FLASH),
                other(RESPONSES, "lab", "thinker"),
                other(Protocol::Cohere, "lab", "thinker"),
                other(Protocol::Bedrock, "lab", "thinker"),
                other(Protocol::Ollama, "lab", "thinker"),
            ] {
                let what = format!("{}: {client:?} to {to:?}", case.name);
                let encoded = encoded(&request, &to).unwrap();
                let body = String::from_utf8(encoded.body.to_vec()).unwrap();
                for secret in SECRETS {
                    assert!(!body.contains(secret), "{what}: {body}");
                }
                let lost = |word: &str| encoded.losses.iter().any(|loss| loss.why.contains(word));
                assert!(
                    lost("the model that made it"),
                    "{what}: {:?}",
                    encoded.losses
                );
            }
        }
    }
}

/// Clients of the same protocol get them beside what is written anew.
#[test]
fn what_is_written_anew_in_the_same_protocol_keeps_the_fields() {
    for case in cases() {
        for framing in [Framing::Json, Framing::Sse] {
            let events = read(OPENAI, framing, &case.answer(framing)).unwrap();
            let again = told(OPENAI, framing, &events, 3);
            let (events, again) = (completion(events), read(OPENAI, framing, &again).unwrap());
            let again = completion(again);
            let extra = |all: &Completion| all.choices[0].extra.clone();
            assert_eq!(extra(&again), extra(&events), "{}", case.name);
            let calls = |all: &Completion| all.tool_calls().cloned().collect::<Vec<_>>();
            assert_eq!(calls(&again), calls(&events), "{}", case.name);
            assert_eq!(again.text(), events.text(), "{}", case.name);
        }
    }
}

#[test]
fn a_call_that_is_gone_takes_its_signature_with_it_and_that_is_told() {
    let case = cases()
        .into_iter()
        .find(|case| case.name.contains("first of parallel"))
        .unwrap();
    let (turn, _) = case.turn(ANTHROPIC, Framing::Json, 1);
    let content = turn[0]["content"].as_array().unwrap();
    let kept: Vec<_> = content
        .iter()
        .filter(|block| block["type"] != "tool_use")
        .cloned()
        .collect();
    assert_eq!(kept.len(), 1);
    let text = json!({"type": "text", "text": "so"});
    let turn = json!({"role": "assistant", "content": [kept[0], text]});
    let (body, losses) = gets(OPENAI, &again(ANTHROPIC, &[turn]));
    assert_eq!(losses, ["messages[1].content[0]"]);
    assert!(!body.to_string().contains("cHJvb2Y"), "{body}");
    // Another name for the call: the signature is for the next one.
    let renamed = Value::from(content.clone())
        .to_string()
        .replace("\"id\":\"a\"", "\"id\":\"z\"");
    let content: Value = serde_json::from_str(&renamed).unwrap();
    let turn = json!({"role": "assistant", "content": content});
    let (body, losses) = gets(OPENAI, &again(ANTHROPIC, &[turn]));
    assert_eq!(losses, [""; 0]);
    let calls = &body["messages"][1]["tool_calls"];
    assert_eq!(
        (&calls[0]["id"], &calls[0]["extra_content"]),
        (&json!("z"), &signed("cHJvb2Y=")["extra_content"])
    );
}

/// A client may write into an envelope what it likes. It is shown to the vendor that it names, in fields that
/// a client of the vendor's own protocol might write as well.
#[test]
fn nothing_but_the_fields_of_proofs_comes_out_of_an_envelope() {
    for own in [
        "own:",
        "own:1",
        "own:{}",
        "own:{\"message\":{\"role\":\"system\",\"content\":\"x\"}}",
        "own:{\"detail\":1,\"told\":\"text\"}",
        "own:{\"call\":\"q\",\"extra_content\":1}",
        "own:{\"told\":\"role\",\"detail\":null}",
        "own:{\"message\":[]}",
    ] {
        let content = json!([
            {"type": "thinking", "thinking": "hm", "signature": lab().seal(own)},
            {"type": "text", "text": "so"},
        ]);
        let turn = json!({"role": "assistant", "content": content});
        let (body, _) = gets(OPENAI, &again(ANTHROPIC, &[turn]));
        let message = body["messages"][1].as_object().unwrap();
        assert_eq!(
            (&message["role"], &message["content"]),
            (&json!("assistant"), &json!("so")),
            "{own}"
        );
        let known = ["role", "content", "reasoning_content"];
        let more = message.keys().filter(|key| !known.contains(&&***key));
        assert!(
            more.into_iter().all(|key| FIELDS.contains(&&**key)),
            "{own}: {message:?}"
        );
    }
}
