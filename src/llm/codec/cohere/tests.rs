//! Recorded traffic of the vendor, where a folder of it lies beside the project.

use super::*;
use crate::llm::{
    Completion, Content, Error, Event, FinishReason,
    codec::{
        self, Asked,
        reading::{self, completion},
        recordings, sse,
    },
};
use bytes::BytesMut;
use serde_json::Value;

/// What was asked.
#[derive(Clone, Copy)]
struct Asks(Operation);

type Exchange = recordings::Exchange<Asks>;

fn exchanges() -> Option<Vec<Exchange>> {
    recordings::exchanges(|all| {
        if all["provider"] != "cohere" {
            return None;
        }
        match all["request"]["path"].as_str()? {
            "/v2/chat" => Some(Asks(Operation::Chat)),
            "/v1/embed" | "/v2/embed" => Some(Asks(Operation::Embeddings)),
            _ => None,
        }
    })
}

#[test]
fn recordings_are_read() {
    recordings::hold(exchanges(), 19, Exchange::check);
}

fn decoded(
    operation: Operation,
    framing: Framing,
    raw: &[u8],
    size: usize,
) -> (Vec<Event>, Option<Error>) {
    let size = match framing {
        Framing::Json => raw.len(),
        _ => size,
    };
    reading::read(&Cohere, operation, framing, raw.chunks(size))
}

fn thought(once: &Completion) -> String {
    let parts = once.choices[0].message.parts.iter();
    let thoughts = parts.filter_map(|part| match &part.content {
        Content::Reasoning(thought) => Some(&*thought.text),
        _ => None,
    });
    thoughts.collect()
}

impl Exchange {
    fn check(&self) {
        if self.status >= 400 {
            return self.check_error();
        }
        let (framing, raw) = match self.response["sse"].as_str() {
            Some(sse) => (Framing::Sse, sse.to_owned()),
            None => (Framing::Json, self.response["body"].to_string()),
        };
        match self.of.0 {
            Operation::Chat => self.check_chat(framing, raw.as_bytes()),
            _ => {
                let (events, error) = decoded(self.of.0, framing, raw.as_bytes(), 1);
                let all = completion(events);
                assert!(error.is_none() && all.embeddings.len() == 1);
                assert!(all.embeddings.iter().all(|vector| vector.len() > 100));
                let scanned = Cohere.scan(raw.as_bytes(), framing, None);
                assert_eq!(scanned.usage, all.usage);
            }
        }
    }

    fn check_error(&self) {
        let status = StatusCode::from_u16(self.status).unwrap();
        let body = Bytes::from(self.response["body"].to_string());
        let error = Cohere.decode_error(status, &HeaderMap::new(), &body);
        let expected = match self.status {
            400 => VendorFault::ContextLength,
            _ => VendorFault::UnknownModel,
        };
        assert_eq!(error.fault(), expected, "{error:?}");
        assert!(!error.message().is_empty());
    }

    fn check_chat(&self, framing: Framing, raw: &[u8]) {
        let (events, error) = decoded(self.of.0, framing, raw, usize::MAX);
        let once = completion(events.clone());
        for size in [1, 2, 3, 7, 64, 1000] {
            let (again, failed) = decoded(self.of.0, framing, raw, size);
            assert_eq!(completion(again), once, "chunks of {size}");
            assert_eq!(failed.is_some(), error.is_some());
        }
        let scan = Cohere.scan(raw, framing, None);
        assert_eq!(scan.usage, once.usage);
        let fault = |error: &VendorError| (error.fault(), error.message().to_owned());
        match (&error, &scan.error) {
            (None, None) => {}
            (Some(Error::Vendor(one)), Some(two)) => assert_eq!(fault(one), fault(two)),
            both => panic!("{both:?}"),
        }
        self.check_said(&once, framing, raw);
        if error.is_some() {
            assert_eq!(once.choices[0].finish, None);
            return;
        }
        // Clients of all protocols are told the same.
        for protocol in [Protocol::OpenAi, Protocol::Anthropic, Protocol::Gemini] {
            for form in [Framing::Json, Framing::Sse] {
                let codec = codec::of(protocol);
                let mut encoder = codec.encoder(Asked {
                    operation: Operation::Chat,
                    model: "m".into(),
                    framing: form,
                    include_usage: true,
                    base64: false,
                    single: false,
                    repeated: None,
                });
                let mut out = BytesMut::new();
                for event in events.clone() {
                    encoder.events(vec![event], &mut out);
                }
                encoder.finish(&mut out);
                let mut decoder = codec.decoder(Operation::Chat, form);
                let mut again = Vec::new();
                decoder.decode(&out, &mut again).unwrap();
                let again = completion(again);
                assert_eq!(again.text(), once.text());
                assert_eq!(thought(&again), thought(&once));
                let calls = |all: &Completion| -> Vec<_> {
                    let calls = all.tool_calls();
                    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
                    calls
                        .map(|call| (call.id.clone(), call.name.clone(), read(&call.arguments)))
                        .collect()
                };
                assert_eq!(calls(&again), calls(&once));
                assert_eq!(again.choices[0].finish, once.choices[0].finish);
                let counts = |all: &Completion| all.usage.map(|usage| (usage.input, usage.output));
                assert_eq!(counts(&again), counts(&once));
            }
        }
    }

    /// What it says, put together the simplest way.
    fn check_said(&self, once: &Completion, framing: Framing, raw: &[u8]) {
        let documents: Vec<Value> = match framing {
            Framing::Sse => sse::events(raw)
                .filter_map(|event| serde_json::from_slice(&event.data).ok())
                .map(|mut event: Value| event["delta"].take())
                .collect(),
            _ => vec![serde_json::from_slice(raw).unwrap()],
        };
        let (mut text, mut thoughts, mut calls, mut citations) =
            (String::new(), String::new(), 0, 0);
        for document in &documents {
            let message = &document["message"];
            let parts = match &message["content"] {
                Value::Array(parts) => &parts[..],
                part => std::slice::from_ref(part),
            };
            for part in parts {
                text += part["text"].as_str().unwrap_or_default();
                thoughts += part["thinking"].as_str().unwrap_or_default();
            }
            thoughts += message["tool_plan"].as_str().unwrap_or_default();
            let count = |of: &Value| match of {
                Value::Array(all) => all.len(),
                one => usize::from(one.is_object()),
            };
            // Only the first piece of a call has a name.
            calls += match &message["tool_calls"] {
                Value::Array(all) => all.len(),
                one => usize::from(one["function"]["name"].is_string()),
            };
            citations += count(&message["citations"]);
        }
        assert_eq!(once.text(), text);
        assert_eq!(thought(once), thoughts);
        assert_eq!(once.tool_calls().count(), calls);
        for call in once.tool_calls() {
            assert!(
                serde_json::from_str::<Value>(&call.arguments)
                    .unwrap()
                    .is_object()
            );
        }
        let told = Value::from(once.choices[0].extra.clone());
        let told = told["message"]["citations"].as_array();
        assert_eq!(told.map_or(0, Vec::len), citations);
        let reason = documents
            .iter()
            .find_map(|document| document["finish_reason"].as_str());
        let expected = match reason.unwrap() {
            "COMPLETE" | "STOP_SEQUENCE" => Some(FinishReason::Stop),
            "MAX_TOKENS" => Some(FinishReason::Length),
            "TOOL_CALL" => Some(FinishReason::ToolCalls),
            _ => None,
        };
        assert_eq!(once.choices[0].finish, expected);
    }
}

/// Worked out by hand: of the two counts that the vendor tells, `tokens` is taken, for that is what the
/// model saw and wrote; what was cached is in its input, what was thought in its output.
#[test]
fn rule_11_usage_of_recordings_is_right_to_the_token() {
    let Some(exchanges) = exchanges() else {
        println!("recordings: skipped (no shared folder)");
        return;
    };
    for (name, input, output, cached, thoughts) in [
        // Billed: 8 and 50. 38 of the 55 were thoughts.
        (
            "cohere_chat_v2__json__chat_with_extended_thinking_cohere_command_a_reasoning_08_2025_preserv",
            1394,
            55,
            Some(1360),
            Some(38),
        ),
        (
            "cohere_chat_v2__json__chat_citations_with_cohere_command_a_plus_05_2026_cites_tool_results_r",
            379,
            164,
            Some(144),
            Some(54),
        ),
        // Billed: 10 and 1, for a word of an answer that was stopped.
        (
            "cohere_chat_v2__json__agent_stop_sequences_are_forwarded",
            505,
            9,
            Some(448),
            None,
        ),
        // No cache is told of.
        (
            "cohere_chat_v2__json__test_cohere_with_structured_output_person_json_schema_expected1",
            92,
            17,
            None,
            None,
        ),
        // A cache that held nothing.
        (
            "cohere_chat_v2__json__test_langgraph_react_agent",
            1886,
            44,
            Some(0),
            None,
        ),
        // From the last event of a stream; of the 502, 259 are a picture.
        (
            "cohere_chat_v2__stream__test_astream_with_vision",
            502,
            141,
            Some(480),
            None,
        ),
        (
            "cohere_chat_v2__stream__streaming_streaming_smoke",
            553,
            64,
            Some(480),
            None,
        ),
        // Only what is billed is told of vectors.
        (
            "embeddings__json__test_langchain_cohere_aembedding_documents_int8_embedding_type",
            2,
            0,
            None,
            None,
        ),
    ] {
        let named = |exchange: &&Exchange| exchange.name == name;
        let exchange = exchanges
            .iter()
            .find(named)
            .unwrap_or_else(|| panic!("{name}"));
        let (framing, raw) = match exchange.response["sse"].as_str() {
            Some(sse) => (Framing::Sse, sse.to_owned()),
            None => (Framing::Json, exchange.response["body"].to_string()),
        };
        let usage = Cohere.scan(raw.as_bytes(), framing, None).usage.unwrap();
        let told = (usage.input, usage.output, usage.cache_read, usage.reasoning);
        assert_eq!(told, (input, output, cached, thoughts), "{name}");
    }
}

/// What clients of other protocols were recorded to ask can be said to vendors of these, or is refused
/// for a reason that names its place.
#[test]
fn recorded_requests_of_other_protocols_are_written() {
    let exchanges = recordings::exchanges(|all| {
        let path = all["request"]["path"].as_str()?;
        match path.split('?').next()? {
            "/v1/chat/completions" => Some(Protocol::OpenAi),
            "/v1/messages" => Some(Protocol::Anthropic),
            _ => None,
        }
    });
    let mut count = 0;
    for exchange in exchanges.into_iter().flatten() {
        let bytes = Bytes::from(exchange.request.to_string());
        let ask = Operation::Chat.into();
        let Ok(request) = codec::of(exchange.of).peek(&ask, bytes) else {
            continue;
        };
        for protocol in [Protocol::Cohere, Protocol::Ollama] {
            let maker = Maker {
                protocol,
                vendor: "lab".into(),
                model: request.model().clone(),
            };
            match codec::of(protocol).encode_request(&request, &maker) {
                Ok(encoded) => {
                    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
                    assert!(body["messages"].is_array(), "{}", exchange.name);
                    count += 1;
                }
                Err(refused) => assert!(refused.param().is_some(), "{}", exchange.name),
            }
        }
    }
    println!("recordings: {count} requests written");
}
