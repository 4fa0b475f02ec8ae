//! Requests and answers of language models, as policies meet them.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_gateway::{
    End, Follow, Rejection,
    circuit_breaker::CircuitBreakerLayer,
    concurrency::ConcurrencyLayer,
    llm::{
        Batch, Batches, ChatRequest, ChatResponse, Delta, Error, Event, FinishReason, Spoken,
        Usage, VendorError, VendorFault, Want, pool::Pool,
    },
    rejection::Kind,
    timeout::TimeoutLayer,
};

fn text(text: &str) -> Event {
    Event::Delta {
        choice: 0,
        delta: Delta::Text(text.into()),
    }
}

fn finish() -> Event {
    Event::Finish {
        choice: 0,
        reason: FinishReason::Stop,
    }
}

/// A vendor's stream: bytes always, events only where they are wanted.
struct Wire {
    batches: VecDeque<Result<(&'static str, Event), Error>>,
    want: Want,
    /// Never ends.
    hangs: bool,
}

impl Wire {
    fn new(batches: impl IntoIterator<Item = Result<(&'static str, Event), Error>>) -> Self {
        Self {
            batches: batches.into_iter().collect(),
            want: Want::Bytes,
            hangs: false,
        }
    }
}

impl Batches for Wire {
    fn spoken(&self) -> Option<Spoken> {
        None
    }

    fn want(&mut self, want: Want) {
        self.want = self.want.max(want);
    }

    fn poll_batch(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
        let Some(next) = self.batches.pop_front() else {
            return if self.hangs {
                Poll::Pending
            } else {
                Poll::Ready(None)
            };
        };
        Poll::Ready(Some(next.map(|(raw, event)| {
            let usage = if let Event::Usage(usage) = event {
                Some(usage)
            } else {
                None
            };
            let events = if self.want > Want::Bytes {
                vec![event]
            } else {
                vec![]
            };
            Batch::new(Some(Bytes::from_static(raw.as_bytes())), events, usage)
        })))
    }
}

fn words() -> Wire {
    Wire::new([
        Ok(("one", text("One "))),
        Ok(("two", text("two"))),
        Ok(("usage", Event::Usage(Usage::new(7, 2)))),
        Ok(("end", finish())),
    ])
}

async fn raw(mut answer: ChatResponse) -> Vec<Option<Bytes>> {
    let mut all = Vec::new();
    while let Some(batch) = std::future::poll_fn(|cx| answer.poll_batch(cx)).await {
        all.push(batch.unwrap().raw().cloned());
    }
    all
}

fn some(words: &[&'static str]) -> Vec<Option<Bytes>> {
    words
        .iter()
        .map(|word| Some(Bytes::from_static(word.as_bytes())))
        .collect()
}

#[tokio::test]
async fn nothing_is_decoded_that_nobody_asked_for() {
    let mut answer = ChatResponse::new(words());
    let batch = std::future::poll_fn(|cx| answer.poll_batch(cx))
        .await
        .unwrap()
        .unwrap();
    assert!(batch.events().is_empty() && batch.raw().is_some());
}

#[tokio::test]
async fn a_policy_that_reads_leaves_the_bytes() {
    let seen = Arc::new(Mutex::new(0));
    let count = seen.clone();
    let answer = ChatResponse::new(words())
        .inspect(move |_| *count.lock().unwrap() += 1)
        .inspect(|_| {});
    assert_eq!(raw(answer).await, some(&["one", "two", "usage", "end"]));
    assert_eq!(*seen.lock().unwrap(), 4);
}

#[tokio::test]
async fn a_policy_that_rewrites_gives_up_the_bytes_of_what_changed() {
    let answer = ChatResponse::new(words()).map(|event| match event {
        Event::Delta {
            choice,
            delta: Delta::Text(word),
        } if word == "two" => Event::Delta {
            choice,
            delta: Delta::Text("2".into()),
        },
        event => event,
    });
    let mut expected = some(&["one", "two", "usage", "end"]);
    expected[1] = None;
    assert_eq!(raw(answer).await, expected);
}

#[tokio::test]
async fn a_wish_reaches_the_source_through_every_wrapper() {
    let answer = ChatResponse::new(words())
        .map(|event| event)
        .inspect(|_| {});
    assert_eq!(answer.text().await.unwrap(), "One two");
}

#[tokio::test]
async fn usage_is_known_at_the_end_without_events() {
    let known = Arc::new(Mutex::new(None));
    let tell = known.clone();
    let answer = ChatResponse::new(words()).settle(move |end, summary| {
        assert!(matches!(end, End::Complete));
        *tell.lock().unwrap() = summary.usage;
    });
    raw(answer).await;
    assert_eq!(*known.lock().unwrap(), Some(Usage::new(7, 2)));
}

fn ends(answer: ChatResponse) -> (ChatResponse, Arc<Mutex<Vec<String>>>) {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let tell = ends.clone();
    let answer = answer.follow(move |end: End<'_, Error>| {
        tell.lock().unwrap().push(match end {
            End::Failed(error) => error.kind().code().to_owned(),
            end => format!("{end:?}"),
        });
    });
    (answer, ends)
}

#[tokio::test]
async fn followers_are_called_once_however_it_ends() {
    let broken = || Err(VendorError::new(VendorFault::Failed).into());
    for (source, read, told) in [
        (words(), 9, "Complete"),
        (words(), 1, "Dropped"),
        (
            Wire::new([Ok(("one", text("One"))), broken()]),
            9,
            "bad_gateway",
        ),
    ] {
        let (mut answer, ends) = ends(ChatResponse::new(source));
        for _ in 0..read {
            if answer.next().await.is_none() {
                break;
            }
        }
        drop(answer);
        assert_eq!(*ends.lock().unwrap(), [told]);
    }
}

#[tokio::test]
async fn a_stream_that_shows_nothing_is_an_error_when_primed() {
    let failed = || Err(VendorError::new(VendorFault::Overloaded).into());
    for (source, kind) in [
        (
            Wire::new([Ok(("usage", Event::Usage(Usage::new(1, 0)))), failed()]),
            Kind::UpstreamOverloaded,
        ),
        (Wire::new([]), Kind::UpstreamMalformed),
        (
            Wire::new([Ok(("empty", text("")))]),
            Kind::UpstreamMalformed,
        ),
    ] {
        let error = ChatResponse::new(source).primed().await.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
}

#[tokio::test]
async fn whoever_follows_an_answer_that_shows_nothing_hears_of_a_failure() {
    let (answer, heard) = ends(ChatResponse::new(Wire::new([Ok((
        "usage",
        Event::Usage(Usage::new(7, 0)),
    ))])));
    assert!(answer.primed().await.is_err());
    assert_eq!(*heard.lock().unwrap(), [Kind::UpstreamMalformed.code()]);
}

#[tokio::test]
async fn no_more_than_a_mebibyte_is_held_back() {
    let piece: &str = ":".repeat(300_000).leak();
    let mut wire = Wire::new((0..5).map(|_| Ok((piece, Event::Usage(Usage::new(7, 0))))));
    wire.hangs = true;
    let mut answer = ChatResponse::new(wire).primed().await.unwrap();
    for _ in 0..5 {
        let batch = std::future::poll_fn(|cx| answer.poll_batch(cx)).await;
        assert_eq!(batch.unwrap().unwrap().raw().unwrap(), piece);
    }
}

#[tokio::test]
async fn a_completion_is_bounded() {
    let piece: &str = " ".repeat(16 << 20).leak();
    let wire = Wire::new((0..5).map(|_| Ok((piece, text("x")))));
    let (answer, heard) = ends(ChatResponse::new(wire));
    let error = answer.completion().await.unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamTooLarge);
    assert_eq!(*heard.lock().unwrap(), [Kind::UpstreamTooLarge.code()]);
}

#[tokio::test]
async fn what_was_held_back_is_not_lost() {
    let source = Wire::new([
        Ok(("usage", Event::Usage(Usage::new(1, 0)))),
        Ok(("one", text("One"))),
        Ok(("end", finish())),
    ]);
    let answer = ChatResponse::new(source).primed().await.unwrap();
    assert_eq!(raw(answer).await, some(&["usage", "one", "end"]));
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_is_cut_with_an_error() {
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new().idle(Duration::from_secs(5)))
        .service_fn(async |_: ChatRequest| {
            let mut source = words();
            source.hangs = true;
            Ok::<_, Error>(ChatResponse::new(source))
        });
    let answer = service
        .ready()
        .await
        .unwrap()
        .call(ChatRequest::new())
        .await
        .unwrap();
    let events: Vec<_> = answer.collect().await;
    assert_eq!(events.len(), 5);
    assert!(matches!(&events[4], Err(error) if error.kind() == Kind::Timeout));
}

#[tokio::test]
async fn a_permit_lasts_as_long_as_the_stream() {
    let layer = ConcurrencyLayer::new(1);
    let mut service = ServiceBuilder::new()
        .layer(layer.clone())
        .service_fn(async |_: ChatRequest| Ok::<_, Error>(ChatResponse::new(words())));
    let answer = service
        .ready()
        .await
        .unwrap()
        .call(ChatRequest::new())
        .await
        .unwrap();
    let refused = service
        .ready()
        .await
        .unwrap()
        .call(ChatRequest::new())
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), Kind::Overloaded);
    answer.text().await.unwrap();
    assert_eq!(layer.available(), 1);
}

#[tokio::test]
async fn a_bad_request_is_not_the_fault_of_the_vendor() {
    let fault = VendorError::new(VendorFault::InvalidRequest);
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new().minimum_calls(1))
        .service_fn(move |_: ChatRequest| {
            let error = fault.clone();
            async move { Err::<ChatResponse, Error>(error.into()) }
        });
    for _ in 0..3 {
        let error = service
            .ready()
            .await
            .unwrap()
            .call(ChatRequest::new())
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Vendor(_)),
            "the circuit stays closed"
        );
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_opens_the_circuit() {
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new().minimum_calls(1))
        .service_fn(async |_: ChatRequest| {
            let broken = VendorError::new(VendorFault::Failed);
            Ok::<_, Error>(ChatResponse::from_events(stream::iter([
                Ok(text("One")),
                Err(broken.into()),
            ])))
        });
    let answer = service
        .ready()
        .await
        .unwrap()
        .call(ChatRequest::new())
        .await
        .unwrap();
    answer.text().await.unwrap_err();
    let error = service
        .ready()
        .await
        .unwrap()
        .call(ChatRequest::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::CircuitOpen);
}

/// A service that answers as it is told.
fn vendor(
    answer: fn() -> Result<ChatResponse, Error>,
) -> impl Service<ChatRequest, Response = ChatResponse, Error = Error, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    tower::service_fn(move |_| std::future::ready(answer()))
}

type Answer = fn() -> Result<ChatResponse, Error>;

#[tokio::test]
async fn another_answers_when_one_has_shown_nothing() {
    let down: Answer = || Err(VendorError::new(VendorFault::Overloaded).into());
    let breaks: Answer = || {
        let broken = VendorError::new(VendorFault::Failed);
        Ok(ChatResponse::from_events(stream::iter([
            Ok(Event::Usage(Usage::new(1, 0))),
            Err(broken.into()),
        ])))
    };
    let refuses: Answer = || Err(Rejection::new(Kind::CircuitOpen).into());
    let well: Answer = || Ok(ChatResponse::new(words()));
    for first in [down, breaks, refuses] {
        let pool = Pool::new().entry(vendor(first)).entry(vendor(well));
        let answer = pool.oneshot(ChatRequest::new()).await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "One two");
    }
}

#[tokio::test]
async fn nobody_else_is_asked_what_the_caller_did_wrong() {
    let wrong: Answer = || Err(VendorError::new(VendorFault::ContextLength).into());
    let well: Answer = || Ok(ChatResponse::new(words()));
    let error = Pool::new()
        .entry(vendor(wrong))
        .entry(vendor(well))
        .oneshot(ChatRequest::new())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Vendor(error) if error.fault() == VendorFault::ContextLength));
}

#[tokio::test]
async fn an_answer_that_has_begun_stands() {
    let breaks: Answer = || {
        let broken = VendorError::new(VendorFault::Failed);
        Ok(ChatResponse::from_events(stream::iter([
            Ok(text("One")),
            Err(broken.into()),
        ])))
    };
    let well: Answer = || Ok(ChatResponse::new(words()));
    let answer = Pool::new()
        .entry(vendor(breaks))
        .entry(vendor(well))
        .oneshot(ChatRequest::new())
        .await
        .unwrap();
    let events: Vec<_> = answer.collect().await;
    assert!(
        matches!(events[..], [Ok(_), Err(_)]),
        "nothing is said twice"
    );
}

#[cfg(feature = "metrics")]
mod told {
    use super::*;
    use crate::telling::{Fields, Told};
    use tower_gateway::{
        Exchange, Extensible,
        access_log::AccessLogLayer,
        metrics::{Metrics, MetricsLayer},
        trace::TraceLayer,
    };

    /// Tells of a service in all three ways. What is told: the span, the metrics, the line.
    fn told_of<S>(service: S, read: bool) -> (Fields, String, String)
    where
        S: Service<ChatRequest, Response = ChatResponse, Error = Error>,
    {
        let (told, metrics) = (Told::default(), Metrics::new());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let service = ServiceBuilder::new()
            .layer(TraceLayer::new())
            .layer(MetricsLayer::new(&metrics))
            .layer(AccessLogLayer::new().sink(move |record| {
                sink.lock().unwrap().push(record.to_string());
            }))
            .service(service);
        tracing::subscriber::with_default(told.clone(), || {
            tokio_test::block_on(async {
                let Ok(answer) = service.oneshot(ChatRequest::new().user("Hello")).await else {
                    return;
                };
                assert_eq!(answer.headers()["x-request-id"].len(), 32);
                assert_eq!(told.open().0, 1, "its end is not there yet");
                assert!(lines.lock().unwrap().is_empty());
                if read {
                    let _ = answer.text().await;
                }
            });
        });
        assert_eq!(told.open().0, 0);
        let [span] = told.closed().try_into().unwrap();
        let [line] = std::mem::take(&mut *lines.lock().unwrap())
            .try_into()
            .unwrap();
        (span, metrics.encode(), line)
    }

    #[test]
    fn what_tells_of_http_tells_of_chat() {
        let wire = || {
            tower::service_fn(async |request: ChatRequest| {
                let exchange = Exchange::of(&request).unwrap().clone();
                exchange.update(|facts| facts.model = Some("fast".into()));
                let told = ChatResponse::new(words()).settle(move |_, summary| {
                    exchange.update(|facts| facts.usage = summary.usage);
                });
                Ok(told)
            })
        };
        let broken = || {
            tower::service_fn(async |_: ChatRequest| {
                let late = Err(Kind::UpstreamMalformed.into());
                Ok(ChatResponse::new(Wire::new([
                    Ok(("one", text("One "))),
                    late,
                ])))
            })
        };
        let refused =
            tower::service_fn(async |_: ChatRequest| Err(Error::from(Kind::ModelNotFound)));
        let cases = [
            (told_of(wire(), true), "200", "complete", None),
            (told_of(wire(), false), "200", "client_gone", None),
            (
                told_of(broken(), true),
                "200",
                "failed",
                Some("upstream_malformed"),
            ),
            (
                told_of(refused, true),
                "404",
                "failed",
                Some("model_not_found"),
            ),
        ];
        for ((span, metrics, line), status, outcome, code) in cases {
            assert_eq!(span["http.response.status_code"], status, "{span:?}");
            assert_eq!(span["outcome"], outcome, "{span:?}");
            assert_eq!(span.get("error.type").map(String::as_str), code);
            assert!(line.contains(" method=chat "), "{line}");
            assert!(line.contains(&format!(" status={status} ")), "{line}");
            assert!(line.ends_with(&format!(" outcome={outcome}")), "{line}");
            let counted = format!("method=\"chat\",status=\"{status}\"}} 1\n");
            assert!(metrics.contains(&counted), "{metrics}");
            assert!(metrics.contains("gateway_http_requests_in_flight 0\n"));
            if outcome == "complete" {
                assert_eq!(span["gen_ai.usage.input_tokens"], "7");
                let tokens = "gateway_tokens_total{model=\"fast\",type=\"input\"} 7\n";
                assert!(metrics.contains(tokens), "{metrics}");
            }
        }
    }
}
