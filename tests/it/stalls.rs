//! Vendors that keep a connection open, and say nothing.

use futures_util::StreamExt;
use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};
use tower::{ServiceBuilder, ServiceExt};
use tower_gateway::{
    llm::{Batch, Batches, ChatRequest, ChatResponse, Error, Spoken, Want},
    rejection::Kind,
    timeout::TimeoutLayer,
};

/// A vendor that says a word, and then keeps the connection open and says no more.
struct Pings {
    with: &'static str,
    said: bool,
    next: Pin<Box<Sleep>>,
}

impl Batches for Pings {
    fn spoken(&self) -> Option<Spoken> {
        None
    }

    fn want(&mut self, _: Want) {}

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
        let bytes = if self.said {
            ready!(self.next.as_mut().poll(cx));
            self.next = Box::pin(sleep(Duration::from_secs(1)));
            self.with
        } else {
            self.said = true;
            "data: {\"word\": 1}\n\n"
        };
        Poll::Ready(Some(Ok(Batch::new(Some(bytes.into()), Vec::new(), None))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_only_pings_has_stalled() {
    let service = |with| {
        ServiceBuilder::new()
            .layer(TimeoutLayer::new().idle(Duration::from_secs(5)))
            .service_fn(move |_: ChatRequest| async move {
                Ok::<_, Error>(ChatResponse::new(Pings {
                    with,
                    said: false,
                    next: Box::pin(sleep(Duration::from_secs(1))),
                }))
            })
    };
    for with in [
        ": OPENROUTER PROCESSING\n\n",
        "event: ping\ndata: {\"type\": \"ping\"}\n\n",
        ":\r\n\r\nevent: keepalive\r\ndata: {}\r\n\r\n",
    ] {
        let answer = service(with).oneshot(ChatRequest::new()).await.unwrap();
        let begin = Instant::now();
        let batches: Vec<_> = answer.collect().await;
        let end = batches.last().unwrap().as_ref().unwrap_err();
        assert_eq!(end.kind(), Kind::Timeout, "{with}");
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(7), "{with}: {took:?}");
    }
    for with in [
        "event: delta\ndata: {}\n\n",
        "event: ping\ndata: {}\n\ndata: {}\n\n",
    ] {
        let mut answer = service(with).oneshot(ChatRequest::new()).await.unwrap();
        for _ in 0..60 {
            let batch = poll_fn(|cx| answer.poll_batch(cx)).await;
            assert!(batch.unwrap().is_ok(), "{with}");
        }
    }
}
