//! What is measured.

use crate::{
    meter::{self, Cost},
    wire::{self, ALL, SERVED},
};
use bytes::Bytes;
use futures_util::StreamExt;
use http::Request;
use http_body::Body as HttpBody;
use std::{
    future::{poll_fn, ready},
    hint::black_box,
    pin::pin,
    sync::{Arc, Mutex},
};
use tower::{Service, ServiceExt, service_fn};
use tower_gateway::{
    Body, Rejection,
    llm::{
        ChatRequest, ChatResponse, Delta, Error, Event, FinishReason, Protocol, Provider, Usage,
        provider::credential::{Authorizing, Credential},
        serve::Serve,
    },
    rejection::Kind,
    testing::{MockUpstream, Reply},
};

/// Enough that the connection's share of an event is small.
const EVENTS: usize = 2_000;
const SIZES: [usize; 3] = [1 << 10, 100 << 10, 1 << 20];
const COLUMNS: [&str; 3] = ["1 KB", "100 KB", "1 MB"];

/// A client's protocol over a vendor's, for each event.
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) cost: Cost,
    /// What the client's own protocol costs.
    pub(crate) own: Cost,
}

/// Measures all, and prints it but for the pairs.
pub(crate) async fn measured() -> Vec<Pair> {
    requests().await;
    answers().await;
    events().await;
    pairs().await
}

fn head(what: &str, columns: &[&str]) {
    print!("\n{:<44}", format!("{what}, µs and allocations"));
    for column in columns {
        print!("{column:>24}");
    }
    println!();
}

fn line(what: &str, costs: &[Cost]) {
    print!("{what:<44}");
    for cost in costs {
        print!("{:>14.2}{:>10.1}", cost.micros, cost.allocations);
    }
    println!();
}

/// What a service does with a request.
type Look = fn(&ChatRequest);

async fn requests() {
    head("requests", &COLUMNS);
    let served = |look: Look| {
        Serve::new(service_fn(move |request: ChatRequest| {
            look(&request);
            ready(Ok::<_, Error>(ChatResponse::from_events(
                futures_util::stream::empty(),
            )))
        }))
    };
    let looks: [(&str, Look); 2] = [
        ("served, nobody reads it", |request| {
            black_box(request.model());
        }),
        ("served, and read", |request| {
            assert!(black_box(request.chat()).is_ok());
        }),
    ];
    for protocol in SERVED {
        for (what, look) in looks {
            let mut service = served(look);
            let mut figures = Vec::new();
            for size in SIZES {
                let body = wire::request(protocol, size, false);
                let turn = async || {
                    post(&mut service, protocol, false, &body).await;
                };
                figures.push(meter::of(turn).await);
            }
            line(&format!("{protocol:?}: {what}"), &figures);
        }
    }
    for protocol in ALL {
        let provider = unreached(protocol);
        let mut figures = Vec::new();
        for size in SIZES {
            let request = foreign(protocol, size, false).await;
            let turn = async || {
                let answer = provider.clone().oneshot(request.clone()).await;
                assert!(answer.is_err_and(|error| error.kind() == Kind::UpstreamAuth));
            };
            figures.push(meter::of(turn).await);
        }
        line(&format!("{protocol:?}: written"), &figures);
    }
}

async fn answers() {
    head("answers in one piece, with the connection", &COLUMNS);
    for protocol in ALL {
        let (mut bytes, mut events) = (Vec::new(), Vec::new());
        for size in SIZES {
            let body = wire::answer(protocol, size);
            let reply = Reply::bytes(200, "application/json", body);
            let (_upstream, provider) = vendor(protocol, reply).await;
            let request = foreign(protocol, 1 << 10, false).await;
            bytes.push(meter::of(async || drained(&provider, &request).await).await);
            let turn = async || assert!(read(&provider, &request).await > 1);
            events.push(meter::of(turn).await);
        }
        line(&format!("{protocol:?}: received as bytes"), &bytes);
        line(&format!("{protocol:?}: read"), &events);
    }
}

async fn events() {
    head("an event of a stream", &["each"]);
    let each = |cost: Cost| [cost.each(EVENTS)];
    for protocol in ALL {
        let (_upstream, provider) = streaming(protocol).await;
        let request = foreign(protocol, 1 << 10, true).await;
        let bytes = meter::of(async || drained(&provider, &request).await).await;
        line(
            &format!("{protocol:?}: received as bytes, and scanned"),
            &each(bytes),
        );
        let turn = async || assert!(read(&provider, &request).await >= EVENTS);
        let events = meter::of(turn).await;
        line(&format!("{protocol:?}: read"), &each(events));
    }
    for protocol in SERVED {
        let mut service = Serve::new(service_fn(|_: ChatRequest| {
            let text = |_| Event::Delta {
                choice: 0,
                delta: Delta::Text(" word".into()),
            };
            let last = [
                Event::Finish {
                    choice: 0,
                    reason: FinishReason::Stop,
                },
                Event::Usage(Usage::new(9, 2000)),
            ];
            let events = (0..EVENTS).map(text).chain(last).map(Ok);
            let events = futures_util::stream::iter(events);
            ready(Ok::<_, Error>(ChatResponse::from_events(events)))
        }));
        let body = wire::request(protocol, 1 << 10, true);
        let turn = async || {
            let written = post(&mut service, protocol, true, &body).await;
            assert!(written > EVENTS * 5);
        };
        let written = meter::of(turn).await;
        line(&format!("{protocol:?}: written"), &each(written));
    }
}

async fn pairs() -> Vec<Pair> {
    head("an event, vendor to client", &["own", "this"]);
    let mut pairs = Vec::new();
    for client in SERVED {
        let body = wire::request(client, 1 << 10, true);
        let (_own, provider) = streaming(client).await;
        let mut own = Serve::new(provider);
        for protocol in ALL {
            let (_upstream, provider) = streaming(protocol).await;
            // Of its own protocol, with a look for proofs in each event.
            let mut other = Serve::new(provider.bind_reasoning(true));
            let both = meter::both(
                async || {
                    post(&mut own, client, true, &body).await;
                },
                async || {
                    let written = post(&mut other, client, true, &body).await;
                    assert!(written > EVENTS * 5, "{written} bytes");
                },
            );
            let (own, cost) = both.await;
            let name = match protocol == client {
                true => format!("{client:?}, its proofs bound"),
                false => format!("{client:?} over {protocol:?}"),
            };
            let pair = Pair {
                name,
                cost: cost.each(EVENTS),
                own: own.each(EVENTS),
            };
            line(&pair.name, &[pair.own, pair.cost]);
            pairs.push(pair);
        }
    }
    println!();
    pairs
}

/// A vendor that streams.
async fn streaming(protocol: Protocol) -> (MockUpstream, Provider) {
    // Made once: what the mock has to do must not count.
    let answer = wire::chunked(protocol, &wire::stream(protocol, EVENTS));
    vendor(protocol, Reply::raw(answer)).await
}

async fn vendor(protocol: Protocol, reply: Reply) -> (MockUpstream, Provider) {
    let upstream = MockUpstream::start(reply).await;
    let upstream = upstream.unwrap_or_else(|error| panic!("{error}"));
    let provider = of(protocol, &upstream.url()).key("none");
    (upstream, provider)
}

fn of(protocol: Protocol, url: &str) -> Provider {
    let provider = Provider::custom("mock", url).unwrap_or_else(|error| panic!("{error}"));
    provider.speaking(protocol).model("any")
}

/// One where each call ends when all of it is there but the connection.
fn unreached(protocol: Protocol) -> Provider {
    struct Refusing;
    impl Credential for Refusing {
        fn authorize(&self, call: Request<Bytes>) -> Authorizing<'_> {
            black_box(call.body());
            Box::pin(ready(Err(Rejection::new(Kind::UpstreamAuth))))
        }
    }
    of(protocol, "http://127.0.0.1:1").credential(Refusing)
}

/// A request that was read already, and came in another protocol than this.
async fn foreign(protocol: Protocol, size: usize, stream: bool) -> ChatRequest {
    let from = match protocol {
        Protocol::OpenAi => Protocol::Anthropic,
        _ => Protocol::OpenAi,
    };
    let found = Arc::new(Mutex::new(None));
    let keep = found.clone();
    let mut serve = Serve::new(service_fn(move |request: ChatRequest| {
        assert!(request.chat().is_ok());
        if let Ok(mut keep) = keep.lock() {
            *keep = Some(request);
        }
        ready(Err::<ChatResponse, Error>(Kind::Internal.into()))
    }));
    let body = wire::request(from, size, stream);
    post(&mut serve, from, stream, &body).await;
    let request = found.lock().ok().and_then(|mut found| found.take());
    request.unwrap_or_else(|| panic!("a request of {from:?} that is refused"))
}

/// One call, and its answer to the end: how long it is.
async fn post<S>(service: &mut S, protocol: Protocol, stream: bool, body: &Bytes) -> usize
where
    S: Service<Request<Body>, Response = http::Response<Body>>,
{
    let request = Request::post(wire::path(protocol, stream))
        .header("content-type", "application/json")
        .body(Body::from(body.clone()))
        .unwrap_or_default();
    let Ok(response) = service.call(request).await else {
        panic!("no answer");
    };
    let mut body = pin!(response.into_body());
    let mut length = 0;
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.unwrap_or_else(|error| panic!("{error}"));
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    length
}

async fn called(provider: &Provider, request: &ChatRequest) -> ChatResponse {
    let answer = provider.clone().oneshot(request.clone()).await;
    answer.unwrap_or_else(|error| panic!("{error}"))
}

async fn drained(provider: &Provider, request: &ChatRequest) {
    let mut answer = called(provider, request).await;
    while let Some(batch) = poll_fn(|cx| answer.poll_batch(cx)).await {
        assert!(black_box(batch).is_ok());
    }
}

/// How many events there are.
async fn read(provider: &Provider, request: &ChatRequest) -> usize {
    let mut answer = called(provider, request).await;
    let mut count = 0;
    while let Some(event) = answer.next().await {
        assert!(black_box(event).is_ok());
        count += 1;
    }
    count
}
