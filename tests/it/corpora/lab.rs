//! What several checks need. It is a part of the fuzzers' crate, too.
#![allow(unreachable_pub)]

#[path = "pieces.rs"]
mod pieces;

pub use self::pieces::pieces;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};
use tower::Service;
use tower_gateway::{
    Body, Rejection,
    client::Client,
    llm::{Event, Provider},
};

/// Frames of Amazon's event streams with the right sums: of each line the first word is the kind of event,
/// or of exception if it begins with `!`, and the rest is what it says.
pub fn framed(lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let space = line.iter().position(|byte| *byte == b' ');
        let (kind, payload) = line.split_at(space.unwrap_or(line.len()));
        let (name, message, kind) = match kind.strip_prefix(b"!") {
            Some(kind) => (&b":exception-type"[..], &b"exception"[..], kind),
            None => (&b":event-type"[..], &b"event"[..], kind),
        };
        let mut headers = Vec::new();
        for (name, value) in [(name, kind), (b":message-type", message)] {
            let value = &value[..value.len().min(1000)];
            headers.push(name.len() as u8);
            headers.extend_from_slice(name);
            headers.push(7);
            headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
            headers.extend_from_slice(value);
        }
        let mut frame = Vec::new();
        let length = 12 + headers.len() + payload.len() + 4;
        frame.extend_from_slice(&(length as u32).to_be_bytes());
        frame.extend_from_slice(&(headers.len() as u32).to_be_bytes());
        frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
        frame.extend_from_slice(&headers);
        frame.extend_from_slice(payload);
        frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
        out.extend_from_slice(&frame);
    }
    out
}

/// What was said, as text, for a number in a vector may be none. An id that was made here is another each time.
pub fn said(events: &[Event]) -> String {
    const MADE: &str = "call_";
    const LONG: usize = 16;
    let text = format!("{events:?}");
    let mut out = String::with_capacity(text.len());
    let mut pieces = text.split(MADE);
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let made = piece.get(..LONG);
        let made = made.is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        out.push_str(MADE);
        out.push_str(if made { &piece[LONG..] } else { piece });
    }
    out
}

thread_local! {
    // Never dropped: what a thread keeps is dropped in no order, and a runtime needs what goes before it.
    static RUNTIME: &'static Runtime =
        Box::leak(Box::new(Builder::new_current_thread().enable_all().build().unwrap()));
}

/// Runs a future, and what was spawned before as long as it takes.
pub fn block_on<F: Future>(future: F) -> F::Output {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// An upstream in memory, which keeps the request that came and answers with what it was given.
#[derive(Clone, Default)]
pub struct Upstream(Arc<Mutex<Kept>>);

/// The request, and the answer.
type Kept = (Option<Request<Body>>, Option<Response<Body>>);

impl Upstream {
    pub fn of(answer: Response<Body>) -> Self {
        Self(Arc::new(Mutex::new((None, Some(answer)))))
    }

    pub fn take(&self) -> Option<Request<Body>> {
        self.0.lock().unwrap().0.take()
    }
}

impl Service<Request<Body>> for Upstream {
    type Response = Response<Body>;
    type Error = Rejection;
    type Future = Ready<Result<Response<Body>, Rejection>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut state = self.0.lock().unwrap();
        state.0 = Some(request);
        ready(Ok(state.1.take().unwrap_or_default()))
    }
}

/// What a vendor answers.
#[derive(Clone, Default)]
pub struct Answer {
    pub content_type: &'static str,
    pub pieces: Vec<Bytes>,
    /// It breaks off behind the pieces.
    pub broken: bool,
}

/// A vendor on this machine over HTTP/2, where each piece of an answer arrives as it was sent, and
/// many calls share one connection.
pub struct Vendor {
    pub provider: Provider,
    /// Another one at the same place.
    pub other: Provider,
    state: Arc<Mutex<(Answer, Bytes)>>,
}

impl Vendor {
    fn start() -> Self {
        let state = Arc::<Mutex<(Answer, Bytes)>>::default();
        let shared = state.clone();
        let address = block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).unwrap();
                    let shared = shared.clone();
                    let service = service_fn(move |request| answer(request, shared.clone()));
                    tokio::spawn(
                        http2::Builder::new(TokioExecutor::new())
                            .serve_connection(TokioIo::new(stream), service),
                    );
                }
            });
            address
        });
        let named = |name: &'static str| {
            let provider = Provider::custom(name, format!("http://{address}/v1")).unwrap();
            provider.client(Client::new().http2_only())
        };
        Self {
            provider: named("lab"),
            other: named("other"),
            state,
        }
    }

    pub fn answers(&self, answer: Answer) {
        self.state.lock().unwrap().0 = answer;
    }

    /// The body that came last.
    pub fn received(&self) -> Bytes {
        std::mem::take(&mut self.state.lock().unwrap().1)
    }
}

/// Runs something with the one vendor of this thread.
pub fn with_vendor<T>(run: impl FnOnce(&Vendor) -> T) -> T {
    thread_local!(static VENDOR: &'static Vendor = Box::leak(Box::new(Vendor::start())));
    VENDOR.with(|vendor| run(vendor))
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<(Answer, Bytes)>>,
) -> Result<Response<Parts>, Infallible> {
    let body = tower_gateway::collect(request.into_body(), 64 << 20).await;
    let mut state = state.lock().unwrap();
    state.1 = body.unwrap_or_default();
    let Answer {
        content_type,
        pieces,
        broken,
    } = state.0.clone();
    let response = Response::builder().header("content-type", content_type);
    Ok(response.body(Parts(pieces.into(), broken)).unwrap())
}

/// A body that comes in pieces.
pub struct Parts(VecDeque<Bytes>, bool);

impl Parts {
    pub fn new(pieces: Vec<Bytes>) -> Self {
        Self(pieces.into(), false)
    }
}

impl http_body::Body for Parts {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(match self.0.pop_front() {
            Some(piece) => Some(Ok(Frame::data(piece))),
            None if std::mem::take(&mut self.1) => Some(Err(std::io::ErrorKind::Other.into())),
            None => None,
        })
    }
}
