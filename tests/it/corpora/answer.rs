//! The answer of a vendor of any protocol means the same however its bytes are cut and whoever looks at
//! it, passes through as it came, and is written for the clients of each.

use super::{Answer, block_on, framed, in_time, pieces, said, with_vendor};
use bytes::Bytes;
use http::Request;
use std::future::poll_fn;
use tower::ServiceExt;
use tower_gateway::{
    Body, collect,
    llm::{
        ChatRequest, Embed, Event, Operation, Protocol, Provider, Rerank, Usage, Want, serve::Serve,
    },
};

const PROTOCOLS: [Protocol; 7] = [
    Protocol::OpenAi,
    Protocol::Responses,
    Protocol::Anthropic,
    Protocol::Gemini,
    Protocol::Bedrock,
    Protocol::Cohere,
    Protocol::Ollama,
];

/// How clients of each ask for a stream, and for one piece.
const CLIENTS: [(&str, &str, &str); 4] = [
    (
        "/v1/chat/completions",
        "/v1/chat/completions",
        r#""messages":[{"role":"user","content":"a"}]"#,
    ),
    ("/v1/responses", "/v1/responses", r#""input":"a""#),
    (
        "/v1/messages",
        "/v1/messages",
        r#""max_tokens":9,"messages":[{"role":"user","content":"a"}]"#,
    ),
    (
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        "/v1beta/models/m:generateContent",
        r#""contents":[{"parts":[{"text":"a"}]}]"#,
    ),
];

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
    let protocol = PROTOCOLS[usize::from(kind % 8) % 7];
    let operation = match kind >> 3 & 7 {
        6 => Operation::Embeddings,
        7 => Operation::Rerank,
        _ => Operation::Chat,
    };
    let stream = operation == Operation::Chat && kind & 0x20 == 0;
    let frames = stream && protocol == Protocol::Bedrock;
    // What has the right sums can be read.
    let answer = match frames && kind & 0x40 == 0 {
        true => framed(answer),
        false => answer.to_vec(),
    };
    let content_type = match protocol {
        _ if kind & 0x80 != 0 => "text/plain",
        _ if !stream => "application/json",
        Protocol::Bedrock => "application/vnd.amazon.eventstream",
        Protocol::Ollama => "application/x-ndjson",
        _ => "text/event-stream",
    };
    with_vendor(|vendor| {
        let provider = vendor.provider.clone().speaking(protocol).key("none");
        let give = |seed: u8| {
            let pieces = pieces(&answer, seed).into_iter();
            vendor.answers(Answer {
                content_type,
                pieces: pieces.map(Bytes::copy_from_slice).collect(),
                broken: false,
            });
        };
        let see = |seed: u8, want: Want| {
            give(seed);
            in_time(input.len(), || {
                see(&provider, request(operation, stream), want)
            })
        };
        let whole = see(7, Want::Bytes);
        // A mark at the start may be left out.
        let sent = answer.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&answer);
        if whole.fault.is_none() && operation != Operation::Rerank {
            assert!(whole.raw == answer || whole.raw == sent, "other bytes");
        }
        let read = see(7, Want::Events);
        let cut = see(*seed, Want::Events);
        assert_eq!(said(&cut.events), said(&read.events), "another cut");
        assert_eq!(cut.fault, read.fault, "another cut");
        if operation == Operation::Chat {
            give(*seed);
            let client = CLIENTS[usize::from(seed % 4)];
            in_time(input.len(), || serve(&provider, client, stream));
        }
    });
}

fn request(operation: Operation, stream: bool) -> ChatRequest {
    let request = match operation {
        Operation::Embeddings => ChatRequest::embed(Embed::default()),
        Operation::Rerank => ChatRequest::rerank(Rerank::new("a", ["a", "b"])),
        _ if stream => ChatRequest::new().user("a"),
        _ => ChatRequest::new().user("a").whole(),
    };
    request.for_model("m")
}

fn see(provider: &Provider, request: ChatRequest, want: Want) -> Seen {
    block_on(async {
        let mut seen = Seen::default();
        let mut answer = match provider.clone().oneshot(request).await {
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
                    let raw = batch.raw().map_or(&[][..], |raw| raw);
                    seen.raw.extend_from_slice(raw);
                    seen.usage = batch.usage().or(seen.usage);
                    seen.events.extend(batch.into_events());
                }
                Err(error) => seen.fault = Some(error.to_string()),
            }
        }
        seen
    })
}

/// What reaches a client is in the frame that it asked for.
fn serve(provider: &Provider, client: (&str, &str, &str), stream: bool) {
    let (streamed, whole, said) = client;
    let path = if stream { streamed } else { whole };
    let body = format!(r#"{{"model":"m",{said},"stream":{stream}}}"#);
    let body = match path.starts_with("/v1beta") {
        true => format!("{{{said}}}"),
        false => body,
    };
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    let (parts, body) = block_on(async {
        let response = Serve::new(provider.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts, collect(body, usize::MAX).await)
    });
    let body = body.expect("a fault is told in the answer");
    assert_ne!(parts.status, 500);
    // What a vendor says in the client's own words is passed on, whatever it is.
    let passed = parts.status == 200;
    if parts.headers["content-type"] == "application/json" && !passed {
        serde_json::from_slice::<serde_json::Value>(&body).expect("an error is JSON");
    }
}
