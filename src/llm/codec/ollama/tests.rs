//! Recorded traffic of the vendor, where a folder of it lies beside the project.

use super::*;
use crate::llm::{
    Completion, Content, Event, FinishReason, VendorFault,
    codec::{
        self, Asked, lines,
        reading::{self, completion},
        recordings,
    },
};
use bytes::BytesMut;
use serde_json::Value;

/// What was asked.
#[derive(Clone, Copy)]
struct Asks(Operation);

type Exchange = recordings::Exchange<Asks>;

fn exchanges() -> Option<Vec<Exchange>> {
    recordings::exchanges(|all| match all["request"]["path"].as_str()? {
        "/api/chat" => Some(Asks(Operation::Chat)),
        "/api/embed" | "/api/embeddings" => Some(Asks(Operation::Embeddings)),
        _ => None,
    })
}

#[test]
fn recordings_are_read() {
    recordings::hold(exchanges(), 12, Exchange::check);
}

fn decoded(operation: Operation, framing: Framing, raw: &[u8], size: usize) -> Vec<Event> {
    reading::events(&Ollama, operation, framing, raw, size)
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
            let status = StatusCode::from_u16(self.status).unwrap();
            let body = Bytes::from(self.response["body"].to_string());
            let error = Ollama.decode_error(status, &HeaderMap::new(), &body);
            assert_eq!(error.fault(), VendorFault::UnknownModel, "{error:?}");
            return assert!(!error.message().is_empty());
        }
        let (framing, raw) = match self.response["ndjson"].as_str() {
            Some(lines) => (Framing::Ndjson, lines.to_owned()),
            None => (Framing::Json, self.response["body"].to_string()),
        };
        let once = completion(decoded(self.of.0, framing, raw.as_bytes(), usize::MAX));
        if self.of.0 == Operation::Embeddings {
            return assert!(once.embeddings[0].len() > 100);
        }
        for size in [1, 2, 3, 7, 64, 1000] {
            let again = completion(decoded(self.of.0, framing, raw.as_bytes(), size));
            assert_eq!(again, once, "chunks of {size}");
        }
        let scan = Ollama.scan(raw.as_bytes(), framing, None);
        assert_eq!(scan.usage, once.usage);
        assert!(scan.error.is_none() && once.usage.is_some());
        assert!(once.start.created > 0 || raw.contains("1970-01-01"));
        self.check_said(&once, framing, raw.as_bytes());
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
                encoder.events(decoded(self.of.0, framing, raw.as_bytes(), 1000), &mut out);
                encoder.finish(&mut out);
                let mut decoder = codec.decoder(Operation::Chat, form);
                let mut again = Vec::new();
                decoder.decode(&out, &mut again).unwrap();
                let again = completion(again);
                assert_eq!(again.text(), once.text());
                assert_eq!(thought(&again), thought(&once));
                assert_eq!(again.tool_calls().count(), once.tool_calls().count());
                assert_eq!(again.choices[0].finish, once.choices[0].finish);
                let counts = |all: &Completion| all.usage.map(|usage| (usage.input, usage.output));
                assert_eq!(counts(&again), counts(&once));
            }
        }
    }

    /// What it says, put together the simplest way.
    fn check_said(&self, once: &Completion, framing: Framing, raw: &[u8]) {
        let documents: Vec<Value> = match framing {
            Framing::Ndjson => lines::of(raw)
                .map(|line| serde_json::from_slice(line).unwrap())
                .collect(),
            _ => vec![serde_json::from_slice(raw).unwrap()],
        };
        let (mut text, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
        for document in &documents {
            let message = &document["message"];
            text += message["content"].as_str().unwrap_or_default();
            thoughts += message["thinking"].as_str().unwrap_or_default();
            calls.extend(message["tool_calls"].as_array().into_iter().flatten());
        }
        assert_eq!(once.text(), text);
        assert_eq!(thought(once), thoughts);
        let told: Vec<_> = once.tool_calls().collect();
        assert_eq!(told.len(), calls.len());
        for (told, call) in told.iter().zip(&calls) {
            assert_eq!(call["function"]["name"], *told.name);
            let arguments: Value = serde_json::from_str(&told.arguments).unwrap();
            assert_eq!(call["function"]["arguments"], arguments);
            assert!(!told.id.is_empty());
        }
        let last = documents.last().unwrap();
        let expected = match last["done_reason"].as_str().unwrap() {
            "length" => FinishReason::Length,
            _ if calls.is_empty() => FinishReason::Stop,
            _ => FinishReason::ToolCalls,
        };
        assert_eq!(once.choices[0].finish, Some(expected));
        assert_eq!(
            once.choices[0].extra["total_duration"],
            last["total_duration"]
        );
    }
}

/// Worked out by hand: the counts of the last line. Thoughts are in the output, as everything that the
/// model wrote.
#[test]
fn rule_11_usage_of_recordings_is_right_to_the_token() {
    let Some(exchanges) = exchanges() else {
        println!("recordings: skipped (no shared folder)");
        return;
    };
    for (name, input, output) in [
        ("ollama_chat__json__agentic_native_mode", 172, 32),
        // Most of it was thought.
        (
            "ollama_chat__json__agentic_structured_output_with_tools",
            835,
            662,
        ),
        (
            "ollama_chat__stream__reasoning_tool_roundtrip_streaming",
            792,
            478,
        ),
        // As many as `num_predict` lets it have.
        (
            "ollama_chat__stream__raw_stream_capture_matrix_stream_raw_exposes_terminal_durations",
            18,
            64,
        ),
        (
            "ollama_chat__stream__streaming_grammar_parallel_tool_calls",
            262,
            473,
        ),
    ] {
        let named = |exchange: &&Exchange| exchange.name == name;
        let exchange = exchanges
            .iter()
            .find(named)
            .unwrap_or_else(|| panic!("{name}"));
        let raw = match exchange.response["ndjson"].as_str() {
            Some(lines) => lines.to_owned(),
            None => exchange.response["body"].to_string(),
        };
        let usage = Ollama.scan(raw.as_bytes(), Framing::Ndjson, None).usage;
        assert_eq!(usage, Some(Usage::new(input, output)), "{name}");
    }
}
