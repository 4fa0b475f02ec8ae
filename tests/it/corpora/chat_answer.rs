//! A vendor's answer means the same however its bytes are cut and whoever looks at it, and passes
//! through as it came.

use super::{Answer, Vendor, block_on, pieces, said, with_vendor};
use bytes::Bytes;
use std::future::poll_fn;
use tower::ServiceExt;
use tower_gateway::{
    collect,
    llm::{ChatRequest, Event, Operation, Protocol, Usage, Want, Wire, serve::Serve},
};

/// All that can be known of an answer.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    raw: Vec<u8>,
    events: Vec<Event>,
    usage: Option<Usage>,
    fault: Option<String>,
}

pub(super) fn check(input: &[u8]) {
    let [kind, seed, answer @ ..] = input else {
        return;
    };
    let operation = match kind & 3 {
        0 | 1 => Operation::Chat,
        2 => Operation::Completions,
        _ => Operation::Embeddings,
    };
    let stream = kind & 4 == 0 && operation != Operation::Embeddings;
    // The content type is right, or says nothing.
    let content_type = match (kind & 8 == 0, stream) {
        (false, _) => "text/plain",
        (true, true) => "text/event-stream",
        (true, false) => "application/json",
    };
    with_vendor(|vendor| {
        let see = |seed: u8, want: Want, include_usage: bool| {
            vendor.answers(Answer {
                content_type,
                pieces: pieces(answer, seed)
                    .into_iter()
                    .map(Bytes::copy_from_slice)
                    .collect(),
                broken: kind & 16 != 0,
            });
            see(vendor, request(operation, stream, include_usage), want)
        };
        let whole = see(7, Want::Bytes, true);
        assert!(answer.starts_with(&whole.raw), "other bytes");
        if whole.fault.is_none() {
            assert_eq!(whole.raw, answer, "bytes are missing");
        }
        let mut pieces = see(*seed, Want::Bytes, true);
        if whole.fault.is_some() && whole.raw.is_empty() && pieces.raw.trim_ascii().is_empty() {
            // Empty lines have gone through before what cannot be read.
            pieces.raw.clear();
        }
        assert_eq!(pieces, whole, "another cut");

        let read = see(7, Want::Events, true);
        let cut = see(*seed, Want::Events, true);
        assert_eq!(said(&cut.events), said(&read.events), "another cut");
        assert_eq!(cut.fault, read.fault, "another cut");
        if read.fault.is_none() {
            assert_eq!((&read.raw, &cut.raw), (&whole.raw, &whole.raw));
            assert_eq!(whole.fault, None);
            // The name of a field may be written with escapes, which a quick look does not see.
            if !answer.windows(2).any(|pair| pair == b"\\u") {
                let told = read.events.iter().rev().find_map(|event| match event {
                    Event::Usage(usage) => Some(*usage),
                    _ => None,
                });
                assert_eq!((told, read.usage), (whole.usage, whole.usage), "the usage");
            }
        }
        let without = see(*seed, Want::Bytes, false);
        assert_eq!(
            (&without.usage, &without.fault),
            (&whole.usage, &whole.fault)
        );
        let raw = see(7, Want::Bytes, false).raw;
        assert_eq!(
            raw.trim_ascii_start(),
            without.raw.trim_ascii_start(),
            "another cut"
        );

        serve(vendor, operation, stream);
    });
}

fn request(operation: Operation, stream: bool, include_usage: bool) -> ChatRequest {
    let bytes = Bytes::from_static(br#"{"model":"m","messages":[],"input":"","prompt":""}"#);
    let mut wire = Wire::new(Protocol::OpenAi, bytes);
    wire.model = Some(9..12);
    ChatRequest::from_wire(operation, "m", stream, include_usage, wire)
}

fn see(vendor: &Vendor, request: ChatRequest, want: Want) -> Seen {
    block_on(async {
        let mut seen = Seen::default();
        let mut answer = match vendor.provider.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(error) => {
                seen.fault = Some(error.to_string());
                return seen;
            }
        };
        answer.want(want);
        while let Some(batch) = poll_fn(|cx| answer.poll_batch(cx)).await {
            match batch {
                Ok(batch) => {
                    seen.raw
                        .extend_from_slice(batch.raw().map_or(&[], |raw| raw));
                    seen.usage = batch.usage().or(seen.usage);
                    seen.events.extend(batch.into_events());
                }
                Err(error) => seen.fault = Some(error.to_string()),
            }
        }
        seen
    })
}

/// What reaches a client is JSON in the frame that it asked for.
fn serve(vendor: &Vendor, operation: Operation, stream: bool) {
    let path = match operation {
        Operation::Completions => "/v1/completions",
        Operation::Embeddings => "/v1/embeddings",
        _ => "/v1/chat/completions",
    };
    let body = format!(r#"{{"model":"m","messages":[],"input":"","prompt":"","stream":{stream}}}"#);
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(tower_gateway::Body::from(body))
        .unwrap();
    let (parts, body) = block_on(async {
        let response = Serve::new(vendor.provider.clone())
            .oneshot(request)
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        (parts, collect(body, usize::MAX).await)
    });
    let body = body.expect("a fault is told in the answer");
    if parts.status != 200 {
        let error: serde_json::Value = serde_json::from_slice(&body).expect("an error is JSON");
        assert!(error["error"]["message"].is_string());
    }
}
