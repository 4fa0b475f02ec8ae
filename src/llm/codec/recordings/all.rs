//! Every recording through the codec of its protocol, in ways that hold for all of them: an answer says
//! the same however its bytes are cut, written again and read again, streamed or not.

use super::{Exchange, exchanges};
use crate::llm::{
    Completion, Content, Error, Event, FinishReason, Operation, Protocol, Usage, VendorFault,
    codec::{
        self, Asked, Framing, base64,
        reading::{self, completion},
        translation,
    },
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use std::{collections::BTreeMap, panic};

/// Whose words an answer is in, and what of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::llm::codec) enum Kind {
    Answer(Protocol, Operation),
    Models(Protocol),
}

impl Kind {
    fn protocol(self) -> Protocol {
        match self {
            Self::Answer(protocol, _) | Self::Models(protocol) => protocol,
        }
    }
}

/// What an answer means: all of its events, and the error that it ends with.
pub(super) fn read<'a>(
    (protocol, operation): (Protocol, Operation),
    framing: Framing,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Event>, Option<Error>) {
    reading::read(codec::of(protocol), operation, framing, chunks)
}

/// What a recording is, or why no codec reads it.
pub(in crate::llm::codec) fn kind(all: &Value) -> Result<Kind, &'static str> {
    use Operation::{Chat, CountTokens, Embeddings};
    use Protocol::{Anthropic, Bedrock, Cohere, Gemini, Ollama, OpenAi, Responses};
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let path = text(&all["request"]["path"]);
    let path = path.split('?').next().unwrap_or_default();
    let provider = text(&all["provider"]);
    let refused = all["response"]["status"].as_u64() >= Some(400);
    Ok(match (&*text(&all["endpoint"]), &*provider) {
        ("chat_completions", _) => Kind::Answer(OpenAi, Chat),
        ("messages", _) => Kind::Answer(Anthropic, Chat),
        ("generate_content" | "stream_generate_content", _) => Kind::Answer(Gemini, Chat),
        ("count_tokens", "anthropic") => Kind::Answer(Anthropic, CountTokens),
        ("count_tokens", "gemini" | "vertexai") => Kind::Answer(Gemini, CountTokens),
        ("embeddings", _) if path.ends_with(":predict") => {
            return Err("the older of Vertex's two forms");
        }
        ("embeddings", "gemini" | "vertexai") => Kind::Answer(Gemini, Embeddings),
        ("embeddings", _) if path == "/api/embeddings" => Kind::Answer(Ollama, Embeddings),
        ("embeddings", "cohere") => Kind::Answer(Cohere, Embeddings),
        ("embeddings", _) => Kind::Answer(OpenAi, Embeddings),
        ("models", "anthropic") => Kind::Models(Anthropic),
        ("models", "gemini") => Kind::Models(Gemini),
        ("models", _) => Kind::Models(OpenAi),
        // A model of Anthropic's in its own words, behind another door.
        ("invoke", _) if !refused => Kind::Answer(Anthropic, Chat),
        ("invoke_with_response_stream", _) if !refused => {
            return Err("frames with the words of any model's own protocol in them");
        }
        ("responses", _) => Kind::Answer(Responses, Chat),
        ("cohere_chat_v2", _) => Kind::Answer(Cohere, Chat),
        ("ollama_chat", _) => Kind::Answer(Ollama, Chat),
        ("converse" | "converse_stream", _) => Kind::Answer(Bedrock, Chat),
        ("count_tokens", "bedrock") => Kind::Answer(Bedrock, CountTokens),
        // Refused before any model was asked.
        ("invoke" | "invoke_with_response_stream", _) => Kind::Answer(Bedrock, Chat),
        (_, _) => return Err("nobody knows what it is"),
    })
}

/// The bytes of an answer, and how they are framed.
pub(in crate::llm::codec) fn raw(response: &Value) -> (Framing, Vec<u8>) {
    let text = |key: &str| response[key].as_str().map(|text| text.as_bytes().to_vec());
    if let Some(sse) = text("sse") {
        return (Framing::Sse, sse);
    }
    if let Some(frames) = response["eventstream_base64"].as_str() {
        return (Framing::EventStream, base64::decode(frames).unwrap());
    }
    if let Some(lines) = text("ndjson") {
        return (Framing::Ndjson, lines);
    }
    match &response["body"] {
        Value::Null => (Framing::Json, text("text").unwrap_or_default()),
        // As it comes, over several lines.
        body @ Value::Array(_) => (Framing::Array, serde_json::to_vec_pretty(body).unwrap()),
        body => (Framing::Json, body.to_string().into_bytes()),
    }
}

/// What is said, in the words of nobody.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    text: String,
    thoughts: String,
    proofs: Vec<String>,
    calls: Vec<(String, Value)>,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
}

fn said(completion: &Completion) -> Said {
    let mut said = Said {
        usage: completion.usage,
        ..Said::default()
    };
    let Some(choice) = completion.choices.first() else {
        return said;
    };
    said.finish.clone_from(&choice.finish);
    for part in &choice.message.parts {
        match &part.content {
            Content::Text(text) | Content::Refusal(text) => said.text += text,
            Content::Reasoning(thought) => {
                said.thoughts += &thought.text;
                said.proofs.extend(thought.signature.clone());
                said.proofs.extend(thought.redacted.clone());
            }
            Content::ToolCall(call) => {
                let arguments = &call.arguments;
                // What is cut off at the limit is wrapped where it must be an object.
                let arguments = translation::object_of(arguments).0;
                said.calls.push((call.name.clone(), arguments));
            }
            _ => {}
        }
    }
    said
}

/// The protocols that answers are written in.
const WRITTEN: [Protocol; 4] = [
    Protocol::OpenAi,
    Protocol::Responses,
    Protocol::Anthropic,
    Protocol::Gemini,
];

fn written(protocol: Protocol, framing: Framing, events: &[Event]) -> Vec<u8> {
    let mut encoder = codec::of(protocol).encoder(Asked {
        operation: Operation::Chat,
        model: "m".into(),
        framing,
        include_usage: true,
        base64: false,
        single: false,
        repeated: None,
    });
    let mut out = BytesMut::new();
    for event in events {
        encoder.events(vec![event.clone()], &mut out);
    }
    encoder.finish(&mut out);
    out.to_vec()
}

impl Exchange<Result<Kind, &'static str>> {
    fn check(&self, kind: Kind) {
        if self.status >= 400 {
            return self.check_error(kind.protocol());
        }
        let (framing, raw) = raw(&self.response);
        match kind {
            Kind::Models(protocol) => {
                let models = codec::of(protocol).decode_models(&raw).unwrap();
                assert!(!models.is_empty() && models.iter().all(|name| !name.is_empty()));
            }
            Kind::Answer(protocol, Operation::CountTokens) => {
                let of = (protocol, Operation::CountTokens);
                let (events, error) = read(of, framing, [&raw[..]]);
                assert!(error.is_none() && completion(events).tokens > Some(0));
            }
            Kind::Answer(protocol, Operation::Embeddings) => {
                let of = (protocol, Operation::Embeddings);
                let (events, error) = read(of, framing, [&raw[..]]);
                assert!(error.is_none(), "{error:?}");
                let vectors = completion(events).embeddings;
                assert!(!vectors.is_empty() && vectors.iter().all(|vector| vector.len() > 10));
            }
            Kind::Answer(protocol, _) => check_answer(protocol, framing, &raw),
        }
    }

    fn check_error(&self, protocol: Protocol) {
        let status = StatusCode::from_u16(self.status).unwrap();
        let (_, raw) = raw(&self.response);
        let body = Bytes::from(raw);
        let codec = codec::of(protocol);
        let error = codec.decode_error(status, &HeaderMap::new(), &body);
        assert!(body.is_empty() || !error.message().is_empty(), "{body:?}");
        let fault = error.fault();
        let fits = match self.status {
            401 | 403 => fault == VendorFault::Auth,
            429 => fault == VendorFault::RateLimited,
            500.. => !matches!(fault, VendorFault::UnknownModel | VendorFault::RateLimited),
            _ => fault.concerns_caller() || fault == VendorFault::Auth,
        };
        assert!(fits, "{}: {fault:?} {body:?}", self.status);
        // It can be told in every dialect.
        for dialect in WRITTEN {
            let told = codec::of(dialect).encode_error(&error.clone().into());
            assert!(told.status.is_client_error() || told.status.is_server_error());
            let told: Value = serde_json::from_slice(&told.body).unwrap();
            assert!(told["error"]["message"].is_string(), "{told}");
        }
    }
}

/// About as many bytes as are read of one recording.
const WORK: usize = 150_000;

fn check_answer(protocol: Protocol, framing: Framing, raw: &[u8]) {
    let of = (protocol, Operation::Chat);
    let (events, error) = read(of, framing, [raw]);
    let whole = completion(events.clone());
    let same = |chunks: &mut dyn Iterator<Item = &[u8]>, how: &dyn Fn() -> String| {
        let (mut events, again) = read(of, framing, chunks);
        if whole.start.id.is_empty() {
            // What has no name is given another each time.
            events.retain(|event| !matches!(event, Event::Start(_)));
            assert_eq!(said(&completion(events)), said(&whole), "{}", how());
        } else {
            assert_eq!(completion(events), whole, "{}", how());
        }
        assert_eq!(again.is_some(), error.is_some(), "{}", how());
    };
    if framing != Framing::Json {
        for size in [1, 2, 3, 5, 8, 13, 100, 4096] {
            same(&mut raw.chunks(size), &|| format!("chunks of {size}"));
        }
        // Every place where two chunks may meet; of long answers some, and all near the end.
        let step = (raw.len() * raw.len() / WORK).max(1);
        let end = raw.len().saturating_sub(WORK / raw.len().max(1) / 8);
        for at in (0..raw.len()).step_by(step).chain(end..raw.len()) {
            let (one, other) = raw.split_at(at);
            same(&mut [one, other].into_iter(), &|| format!("cut at {at}"));
        }
    }
    let scan = codec::of(protocol).scan(raw, framing, None);
    assert_eq!(scan.error.is_some(), error.is_some());
    if error.is_some() {
        return;
    }
    assert_eq!(scan.usage, whole.usage, "what is found in passing");
    let truth = said(&whole);
    assert!(
        truth.finish.is_some() || truth != Said::default(),
        "it says nothing"
    );
    for dialect in WRITTEN {
        let of = (dialect, Operation::Chat);
        let told = |framing, events: &[Event]| {
            let raw = written(dialect, framing, events);
            let (events, error) = read(of, framing, [&raw[..]]);
            assert!(error.is_none(), "{dialect:?}: {error:?}");
            (said(&completion(events.clone())), events)
        };
        let (streamed, again) = told(Framing::Sse, &events);
        let (document, _) = told(Framing::Json, &events);
        assert_eq!(streamed, document, "{dialect:?}: streamed or not");
        assert_eq!(
            told(Framing::Sse, &again).0,
            streamed,
            "{dialect:?}: the second time"
        );
        // What every dialect has a word for.
        assert_eq!(streamed.text, truth.text, "{dialect:?}");
        assert_eq!(streamed.thoughts, truth.thoughts, "{dialect:?}");
        assert_eq!(streamed.calls.len(), truth.calls.len(), "{dialect:?}");
        let total = |usage: Option<Usage>| usage.map(|usage| (usage.input, usage.output));
        if let Some(used) = total(truth.usage) {
            assert_eq!(total(streamed.usage), Some(used), "{dialect:?}");
        }
        if dialect == protocol {
            let Said { finish, calls, .. } = &streamed;
            assert_eq!((finish, calls), (&truth.finish, &truth.calls));
            assert_eq!(streamed.proofs, truth.proofs);
        }
    }
}

/// So many are there, and so many are read by a codec.
const ALL: usize = 383;
const READ: usize = 380;

#[test]
fn every_recording_is_read() {
    let Some(exchanges) = exchanges(|all| Some(kind(all))) else {
        println!("recordings: skipped (no shared folder)");
        return;
    };
    let mut counts = BTreeMap::<String, [usize; 2]>::new();
    let (mut exceptions, mut failed, mut read) = (Vec::new(), Vec::new(), 0);
    for exchange in &exchanges {
        let error = if exchange.status >= 400 {
            ", errors"
        } else {
            ""
        };
        let provider = exchange.provider.clone();
        let Ok(kind) = exchange.of else {
            let why = exchange.of.unwrap_err();
            exceptions.push(format!("{provider}/{}: {why}", exchange.name));
            continue;
        };
        let what = match kind {
            Kind::Models(_) => "models".to_owned(),
            Kind::Answer(_, operation) => format!("{operation:?}").to_ascii_lowercase(),
        };
        let check = panic::AssertUnwindSafe(|| exchange.check(kind));
        let good = panic::catch_unwind(check).is_ok();
        let count = counts
            .entry(format!("{provider}: {what}{error}"))
            .or_default();
        count[usize::from(!good)] += 1;
        read += usize::from(good);
        if !good {
            failed.push(format!("{provider}/{}", exchange.name));
        }
    }
    for (what, [good, bad]) in &counts {
        println!("{what}: {good} read, {bad} failed");
    }
    println!("not read: {}\n{}", exceptions.len(), exceptions.join("\n"));
    let all = exchanges.len();
    println!(
        "recordings: {all} exchanges, {read} read, {} failed",
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(all >= ALL && read >= READ, "{read} of {all}");
}

/// The same request was recorded streamed and not. Models say it in other words each time, but they
/// come to the same kind of end, call the same tools, and are charged the same for the question.
#[test]
fn recorded_pairs_of_a_stream_and_a_document_agree() {
    let plain = |all: &Value| {
        let mut request = all["request"]["body"].clone();
        let fields = request.as_object_mut()?;
        fields.remove("stream");
        fields.remove("stream_options");
        let kind = kind(all).ok()?;
        let refused = all["response"]["status"].as_u64() >= Some(400);
        (!refused).then_some((kind, request))
    };
    let Some(exchanges) = exchanges(plain) else {
        println!("recordings: skipped (no shared folder)");
        return;
    };
    let streamed = |exchange: &Exchange<_>| raw(&exchange.response).0 != Framing::Json;
    let mut count = 0;
    for one in exchanges.iter().filter(|one| streamed(one)) {
        let same = |other: &&Exchange<(Kind, Value)>| {
            !streamed(other) && other.provider == one.provider && other.of == one.of
        };
        let Some(other) = exchanges.iter().find(same) else {
            continue;
        };
        let (Kind::Answer(protocol, operation), _) = one.of else {
            continue;
        };
        let said = |exchange: &Exchange<_>| {
            let (framing, raw) = raw(&exchange.response);
            let (events, error) = read((protocol, operation), framing, [&raw[..]]);
            assert!(error.is_none(), "{}", exchange.name);
            said(&completion(events))
        };
        let (stream, document) = (said(one), said(other));
        assert_eq!(stream.finish, document.finish, "{}", one.name);
        let names = |said: &Said| -> Vec<String> {
            said.calls.iter().map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(names(&stream), names(&document), "{}", one.name);
        let input = |said: &Said| said.usage.map(|usage| usage.input);
        println!("{}: {:?} {:?}", one.name, input(&stream), input(&document));
        count += 1;
    }
    println!("recordings: {count} pairs");
    assert!(count >= 8, "{count}");
}
