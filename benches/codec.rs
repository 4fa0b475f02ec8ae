//! What it costs to know what is in a request or an answer: a peek, a full parse, an event.
//!
//! ```sh
//! cargo bench --bench codec --features testing
//! ```

mod measure;

use bytes::Bytes;
use futures_util::StreamExt;
use http::Request;
use http_body::Body as HttpBody;
use measure::nanos;
use std::{
    env,
    future::{poll_fn, ready},
    hint::black_box,
    pin::pin,
};
use tower::{Service, ServiceExt, service_fn};
use tower_gateway::{
    Body, BoxError,
    llm::{
        ChatRequest, ChatResponse, Delta, Error, Event, Operation, Protocol, Provider, Wire,
        serve::Serve,
    },
    testing::{MockUpstream, Reply},
};

/// Enough that the socket's share of an event is small.
const EVENTS: usize = 2_000;

fn document(size: usize, stream: bool) -> Bytes {
    let start = format!(
        r#"{{"model":"m","stream":{stream},"temperature":0.7,"tools":[{{"type":"function","function":{{"name":"weather","parameters":{{"type":"object","properties":{{"city":{{"type":"string"}}}}}}}}}}],"messages":[{{"role":"system","content":"You are terse."}}"#
    );
    let mut document = start;
    while document.len() + 2 < size {
        document.push_str(r#",{"role":"user","content":"The quick brown fox jumps over the lazy dog, and all of it counts.\n"}"#);
    }
    document.push_str("]}");
    document.into()
}

/// As the codec makes it of such a document.
fn request(document: &Bytes, stream: bool) -> ChatRequest {
    let mut wire = Wire::new(Protocol::OpenAi, document.clone());
    wire.model = Some(9..12);
    ChatRequest::from_wire(Operation::Chat, "m", stream, stream, wire)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    // `cargo test --benches` only wants to see that it starts.
    if !env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    println!("{:<52}{:>12}{:>10}", "requests", "ns", "ns/KB");
    for size in [1 << 10, 100 << 10, 1 << 20] {
        let name = format!("{} KB", size >> 10);
        let body = document(size, false);
        let line = |what: &str, nanos: f64| {
            let kilobytes = size as f64 / 1024.0;
            println!(
                "{:<52}{nanos:>12.0}{:>10.1}",
                format!("{name}: {what}"),
                nanos / kilobytes
            );
        };
        let served = |look: fn(&ChatRequest)| {
            Serve::new(service_fn(move |request: ChatRequest| {
                look(&request);
                ready(Ok::<_, Error>(ChatResponse::from_events(
                    futures_util::stream::empty(),
                )))
            }))
        };
        let mut peek = served(|request| {
            black_box(request.model());
        });
        line(
            "served, nobody reads it",
            nanos(async || post(&mut peek, &body).await).await,
        );
        let mut parse = served(|request| {
            black_box(request.chat().is_ok());
        });
        line(
            "served, and parsed",
            nanos(async || post(&mut parse, &body).await).await,
        );
        let parsed = nanos(async || {
            black_box(request(&body, false).chat().is_ok());
        });
        line("parsed, alone", parsed.await);
    }

    println!("\n{:<52}{:>12}", "an event of a stream", "ns");
    // Made once: what the mock has to do must not count.
    let chunk = |n: usize| {
        format!(
            "data: {{\"id\":\"chatcmpl-9xYz0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1731000000,\"model\":\"gpt-5-mini-2026-01-01\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0123456789\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word{n}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null}}\n\n"
        )
    };
    let events: String = (0..EVENTS).map(chunk).collect();
    let reply = Reply::pieces("text/event-stream", [events + "data: [DONE]\n\n"]);
    let upstream = MockUpstream::start(reply).await?;
    let provider = Provider::custom("mock", upstream.url())?.model("any");
    let body = document(1 << 10, true);
    let line = |what: &str, nanos: f64| println!("{what:<52}{:>12.0}", nanos / EVENTS as f64);
    let bytes = nanos(async || {
        let answer = provider.clone().oneshot(request(&body, true)).await;
        let mut answer = answer.unwrap_or_else(|error| panic!("{error}"));
        while let Some(batch) = poll_fn(|cx| answer.poll_batch(cx)).await {
            black_box(batch.is_ok());
        }
    });
    line("received as bytes, framed and scanned", bytes.await);
    let events = nanos(async || {
        let answer = provider.clone().oneshot(request(&body, true)).await;
        let mut answer = answer.unwrap_or_else(|error| panic!("{error}"));
        while let Some(event) = answer.next().await {
            black_box(event.is_ok());
        }
    });
    line("received as events", events.await);
    let mut encode = Serve::new(service_fn(|_: ChatRequest| {
        let text = |_| {
            Ok(Event::Delta {
                choice: 0,
                delta: Delta::Text(" word".into()),
            })
        };
        let events = futures_util::stream::iter(0..EVENTS).map(text);
        ready(Ok::<_, Error>(ChatResponse::from_events(events)))
    }));
    line(
        "written",
        nanos(async || post(&mut encode, &body).await).await,
    );
    Ok(())
}

/// One call, and its answer to the end.
async fn post<S>(service: &mut S, body: &Bytes)
where
    S: Service<Request<Body>, Response = http::Response<Body>>,
{
    let request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Body::from(body.clone()))
        .unwrap_or_default();
    let Ok(response) = service.call(request).await else {
        panic!("no answer");
    };
    let mut body = pin!(response.into_body());
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        black_box(frame.is_ok());
    }
}
