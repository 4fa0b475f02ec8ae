//! Recorded traffic of vendors, where a folder of it lies beside the project.

#[path = "../../../../tests/it/corpora/event_stream.rs"]
mod fuzzed;

use super::*;
use crate::llm::{
    Content, Event, VendorFault,
    codec::{
        base64,
        pieces::pieces,
        reading::{self, completion},
        recordings,
    },
};

/// The operation, and the frames of a stream.
type Exchange = recordings::Exchange<(Operation, Option<Vec<u8>>)>;

/// All that is of this protocol, errors of its other operations among them.
fn exchanges() -> Option<Vec<Exchange>> {
    recordings::exchanges(|all| {
        let failed = all["response"]["status"].as_u64()? >= 400;
        let operation = match all["endpoint"].as_str()? {
            _ if all["provider"] != "bedrock" => return None,
            "converse" | "converse_stream" => Operation::Chat,
            "count_tokens" => Operation::CountTokens,
            _ if failed => Operation::Chat,
            _ => return None,
        };
        let frames = all["response"]["eventstream_base64"].as_str();
        Some((operation, frames.and_then(base64::decode)))
    })
}

/// What the fuzzer begins with.
#[test]
fn frames_of_the_corpus_are_the_same_however_they_are_cut() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/event_stream");
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        let raw = std::fs::read(file.path()).unwrap();
        for seed in 0..24 {
            fuzzed::check(&[&[seed], &*raw].concat());
        }
    }
}

#[test]
fn recordings_are_read() {
    recordings::hold(exchanges(), 31, Exchange::check);
}

fn read(framing: Framing, raw: &[u8], size: usize) -> Vec<Event> {
    reading::events(&Bedrock, Operation::Chat, framing, raw, size)
}

impl Exchange {
    fn check(&self) {
        if self.status >= 400 {
            return self.check_error();
        }
        match &self.of.1 {
            Some(raw) => self.check_stream(raw),
            None => check_document(&self.response["body"]),
        }
    }

    fn check_error(&self) {
        let mut headers = HeaderMap::new();
        for (name, value) in self.response["headers"].as_object().unwrap() {
            let name = HeaderName::try_from(name).unwrap();
            headers.insert(name, value.as_str().unwrap().parse().unwrap());
        }
        let status = StatusCode::from_u16(self.status).unwrap();
        let body = Bytes::from(self.response["body"].to_string());
        let error = Bedrock.decode_error(status, &headers, &body);
        let expected = match self.status {
            400 if self.name.contains("multimodal") => VendorFault::InvalidRequest,
            400 | 404 => VendorFault::UnknownModel,
            _ => VendorFault::Auth,
        };
        assert_eq!(error.fault(), expected);
        assert!(!error.message().is_empty());
    }

    fn check_stream(&self, raw: &[u8]) {
        let once = completion(read(Framing::EventStream, raw, raw.len()));
        assert!(once.choices[0].finish.is_some() && once.usage.is_some());
        for size in [1, 2, 3, 7, 64, 1000] {
            let cut = completion(read(Framing::EventStream, raw, size));
            assert_eq!(cut, once, "{size}");
        }
        for at in 1..raw.len().min(2000) {
            let mut cutter = frame::Cutter::default();
            let (one, two) = raw.split_at(at);
            let pieces = [one, two].map(|chunk| cutter.push(Bytes::copy_from_slice(chunk)));
            let whole = pieces.map(|(piece, _)| piece.unwrap_or_default());
            assert_eq!(whole.concat(), raw);
        }
        // What it says, put together the simplest way.
        let (mut text, mut thoughts, mut arguments) = (String::new(), String::new(), String::new());
        let (mut foreign, mut redacted) = (Vec::new(), 0);
        for event in self.response["events"].as_array().unwrap() {
            let payload = &event["payload"];
            let at = &payload["contentBlockIndex"];
            let start = &payload["start"]["toolUse"];
            if start["type"] == "server_tool_use" {
                foreign.push(at);
            }
            let delta = &payload["delta"];
            text.push_str(delta["text"].as_str().unwrap_or_default());
            let thought = &delta["reasoningContent"];
            thoughts.push_str(thought["text"].as_str().unwrap_or_default());
            redacted += usize::from(thought["redactedContent"].is_string());
            if !foreign.contains(&at) {
                arguments.push_str(delta["toolUse"]["input"].as_str().unwrap_or_default());
            }
        }
        assert_eq!(once.text(), text);
        let mut thought = String::new();
        for part in &once.choices[0].message.parts {
            if let Content::Reasoning(part) = &part.content {
                thought.push_str(&part.text);
                redacted -= usize::from(part.redacted.is_some());
            }
        }
        assert_eq!((thought, redacted), (thoughts, 0));
        let called: String = once.tool_calls().map(|call| &*call.arguments).collect();
        assert_eq!(called.replace("{}", ""), arguments.replace("{}", ""));
        let scan = Bedrock.scan(raw, Framing::EventStream, None);
        assert!(scan.usage == once.usage && scan.error.is_none());
    }
}

fn check_document(body: &Value) {
    let raw = body.to_string();
    let whole = completion(read(Framing::Json, raw.as_bytes(), 0));
    let blocks = body["output"]["message"]["content"].as_array().unwrap();
    let cited = |block: &'static str| {
        move |all: &Value| -> String {
            let said = all[block]["content"].as_array().into_iter().flatten();
            said.filter_map(|said| said["text"].as_str()).collect()
        }
    };
    let texts = blocks.iter().map(|block| {
        let text = block["text"].as_str().unwrap_or_default();
        text.to_owned() + &cited("citationsContent")(block)
    });
    assert_eq!(whole.text(), texts.collect::<String>());
    let calls = blocks.iter().map(|block| &block["toolUse"]);
    let calls = calls.filter(|call| call.is_object() && call["type"] != "server_tool_use");
    assert_eq!(whole.tool_calls().count(), calls.count());
    assert!(whole.usage.is_some() && whole.choices[0].finish.is_some());
    for raw in [raw.into_bytes(), serde_json::to_vec_pretty(body).unwrap()] {
        assert_eq!(Bedrock.scan(&raw, Framing::Json, None).usage, whole.usage);
    }
    if body.get("trace").is_some() {
        assert_eq!(whole.choices[0].extra["trace"], body["trace"]);
    }
}

/// Worked out by hand: input is `inputTokens` and what the cache held.
#[test]
fn rule_11_usage_of_recordings_is_right_to_the_token() {
    let Some(exchanges) = exchanges() else {
        println!("recordings: skipped (no shared folder)");
        return;
    };
    for (name, input, output, cache) in [
        // 3 + 2074 read + 297 written; with 61 of output the vendor's own total of 2435.
        (
            "converse__json__test_bedrock_cache_messages_with_image",
            2374,
            61,
            Some((2074, 297)),
        ),
        (
            "converse__json__chat_citations_with_bedrock_claude_haiku_4_5_cites_text",
            672,
            39,
            Some((0, 0)),
        ),
        ("converse__json__test_converse_with_content", 8, 10, None),
        (
            "converse__json__test_bedrock_model_with_code_execution_tool",
            1148,
            59,
            None,
        ),
        (
            "converse_stream__stream__test_bedrock_model_thinking_part_redacted",
            92,
            253,
            None,
        ),
        (
            "converse_stream__stream__test_converse_stream_no_content_tool_call",
            415,
            195,
            None,
        ),
    ] {
        let exchange = exchanges.iter().find(|one| one.name.starts_with(name));
        let exchange = exchange.expect(name);
        let events = match &exchange.of.1 {
            Some(raw) => read(Framing::EventStream, raw, raw.len()),
            None => read(
                Framing::Json,
                exchange.response["body"].to_string().as_bytes(),
                0,
            ),
        };
        let mut expected = Usage::new(input, output);
        expected.cache_read = cache.map(|(read, _)| read);
        expected.cache_write = cache.map(|(_, written)| written);
        assert_eq!(completion(events).usage, Some(expected), "{name}");
    }
}

#[test]
fn a_model_of_any_name_has_one_path() {
    let sent = |model: &str, stream: bool| {
        let request = ChatRequest::new().for_model(model).user("hi");
        let request = if stream { request } else { request.whole() };
        Bedrock.path(&request).into_owned()
    };
    assert_eq!(
        sent("us.anthropic.claude-haiku-4-5-20251001-v1:0", true),
        "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse-stream"
    );
    assert_eq!(
        sent(
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0",
            false
        ),
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.amazon.nova-lite-v1%3A0/converse"
    );
    assert_eq!(
        sent("../a?b#c é", false),
        "/model/..%2Fa%3Fb%23c%20%C3%A9/converse"
    );
}

#[test]
fn lists_are_of_models_that_can_be_called_by_their_names() {
    let models = br#"{"modelSummaries":[
        {"modelId":"amazon.nova-lite-v1:0","inferenceTypesSupported":["ON_DEMAND"]},
        {"modelId":"anthropic.claude-sonnet-4-5-20250929-v1:0","inferenceTypesSupported":["INFERENCE_PROFILE"]},
        {"modelId":"new.model"}]}"#;
    let listed = Bedrock.decode_models(models).unwrap();
    assert_eq!(listed, ["amazon.nova-lite-v1:0", "new.model"]);
    let profiles = br#"{"inferenceProfileSummaries":[{"inferenceProfileId":"us.a.b"},{}]}"#;
    assert_eq!(Bedrock.decode_models(profiles).unwrap(), ["us.a.b"]);
    assert_eq!(Bedrock.decode_models(b"{}"), None);
}
