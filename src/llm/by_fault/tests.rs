use super::*;
use crate::{
    Follow, Rejection,
    concurrency::ConcurrencyLayer,
    deadline::Deadline,
    fallback::Fallback,
    llm::{ChatRequest, Completion, Delta, Event, FinishReason, Start, VendorError},
    principal::Extensible,
    timeout::TimeoutLayer,
};
use futures_util::{StreamExt, stream};
use std::{
    future::ready,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tokio_test::task;
use tower::{ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

fn falls_over(when: ByFault, error: impl Into<Error>) -> bool {
    when.remedy(Err(&error.into())) != Remedy::Nothing
}

#[test]
fn what_one_vendor_cannot_another_may_and_what_is_wrong_stays_wrong() {
    use VendorFault as F;
    let plain = ByFault::new();
    let elsewhere = [
        F::ContextLength,
        F::TooLarge,
        F::UnknownModel,
        F::NotSupported,
        F::Auth,
        F::RateLimited,
        F::Quota,
        F::Overloaded,
        F::Failed,
        F::Timeout,
        F::Malformed,
    ];
    for fault in elsewhere {
        assert!(falls_over(plain, VendorError::new(fault)), "{fault:?}");
    }
    let asked = ByFault::new().bad_requests().content_filters();
    for fault in [F::InvalidRequest, F::ContentFilter] {
        assert!(!falls_over(plain, VendorError::new(fault)), "{fault:?}");
        assert!(falls_over(asked, VendorError::new(fault)), "{fault:?}");
    }
    assert!(falls_over(
        plain,
        Rejection::new(Kind::UnsupportedParameter)
    ));
    assert!(
        !falls_over(asked, Rejection::new(Kind::Forbidden)),
        "the gateway's own word"
    );
}

type Model = BoxCloneSyncService<ChatRequest, ChatResponse, Error>;
type Told = Result<Event, Error>;

fn start(of: &str) -> Told {
    Ok(Event::Start(Start::new("1", of, 0)))
}

fn text(text: &str) -> Told {
    let delta = Delta::Text(text.into());
    Ok(Event::Delta { choice: 0, delta })
}

fn finish() -> Told {
    let reason = FinishReason::Stop;
    Ok(Event::Finish { choice: 0, reason })
}

/// How a stream goes on when it has told its events.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Ends,
    Fails,
    Stalls,
}

/// A model that tells these events, and notes how its answers end.
fn model(events: &[Told], then: Then, ends: &Ends) -> Model {
    let (events, ends) = (events.to_vec(), ends.clone());
    Model::new(service_fn(move |_| {
        let told = stream::iter(events.clone());
        let answer = match then {
            Then::Ends => ChatResponse::from_events(told),
            Then::Fails => {
                let cut = stream::iter([Err(Kind::BadGateway.into())]);
                ChatResponse::from_events(told.chain(cut))
            }
            Then::Stalls => ChatResponse::from_events(told.chain(stream::pending())),
        };
        ends.called();
        ready(Ok(ends.follow(answer)))
    }))
}

/// How answers end.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<String>>>, Arc<AtomicU32>);

impl Ends {
    fn called(&self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }

    fn calls(&self) -> u32 {
        self.1.load(Ordering::SeqCst)
    }

    fn follow(&self, answer: ChatResponse) -> ChatResponse {
        let ends = self.0.clone();
        answer.follow(move |end| {
            let name = format!("{end:?}");
            let name = name.split(['(', ' ']).next().unwrap_or_default();
            ends.lock().unwrap().push(name.to_owned());
        })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn good(ends: &Ends) -> Model {
    let said = [start("good"), text("All "), text("well."), finish()];
    model(&said, Then::Ends, ends)
}

/// Reads it as a client does: what it was told, and the error that it ended with.
async fn read(mut answer: ChatResponse) -> (String, Option<Error>) {
    let mut events = Vec::new();
    let mut error = None;
    while let Some(event) = answer.next().await {
        match event {
            Ok(event) => events.push(event),
            Err(failed) => error = Some(failed),
        }
    }
    let mut completion = Completion::default();
    completion.extend(events);
    (completion.text(), error)
}

const STALL: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_shown_nothing_falls_over_and_ends_once() {
    let silent: [&[Told]; 3] = [&[], &[start("bad")], &[start("bad"), text("")]];
    for events in silent {
        for then in [Then::Ends, Then::Fails, Then::Stalls] {
            let ends = Ends::default();
            let models = Fallback::new(model(events, then, &ends)).or(good(&ends));
            let begun = Instant::now();
            let answer = models
                .stall(STALL)
                .oneshot(ChatRequest::new().user("Hi"))
                .await;
            let waited = begun.elapsed();
            assert_eq!(
                waited,
                if then == Then::Stalls {
                    STALL
                } else {
                    Duration::ZERO
                }
            );
            let (text, error) = read(answer.unwrap()).await;
            assert!(error.is_none());
            assert_eq!(text, "All well.");
            let first = if then == Then::Stalls {
                "Dropped"
            } else {
                "Failed"
            };
            assert_eq!(ends.take(), [first, "Complete"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_shown_something_stands_and_is_never_told_twice() {
    let ends = Ends::default();
    let shown = [start("bad"), text("All "), text("is")];
    let failing = model(&shown, Then::Fails, &ends);
    let models = Fallback::new(failing).or(good(&ends)).stall(STALL);
    let answer = models.oneshot(ChatRequest::new().user("Hi")).await.unwrap();
    let (text, error) = read(answer).await;
    assert_eq!(text, "All is");
    assert_eq!(
        error.unwrap().kind(),
        Kind::BadGateway,
        "the error as it is"
    );
    assert_eq!((ends.take(), ends.calls()), (vec!["Failed".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn a_stall_between_tokens_is_for_the_timeout_further_in() {
    let idle = Duration::from_secs(30);
    for held_back in [0, 5] {
        let ends = Ends::default();
        // Some time passes before the first content, too, of which the timeout knows.
        let slow = stream::once(async move {
            sleep(Duration::from_secs(held_back)).await;
            text("All ")
        });
        let slow = Mutex::new(Some(slow));
        let (noted, stalling) = (ends.clone(), Arc::new(slow));
        let stalling = service_fn(move |_: ChatRequest| {
            let told = stalling.lock().unwrap().take().unwrap();
            let told = stream::iter([start("bad")])
                .chain(told)
                .chain(stream::pending());
            noted.called();
            ready(Ok::<_, Error>(
                noted.follow(ChatResponse::from_events(told)),
            ))
        });
        let layer = TimeoutLayer::llm().idle(idle);
        let stalling = ServiceBuilder::new().layer(layer).service(stalling);
        let models = Fallback::new(Model::new(stalling))
            .or(good(&ends))
            .stall(STALL * 10);
        let begun = Instant::now();
        let answer = models.oneshot(ChatRequest::new().user("Hi")).await.unwrap();
        let (text, error) = read(answer).await;
        assert_eq!(
            (text.as_str(), error.unwrap().kind()),
            ("All ", Kind::Timeout)
        );
        assert_eq!(begun.elapsed(), idle + Duration::from_secs(held_back));
        assert_eq!((ends.take(), ends.calls()), (vec!["Dropped".to_owned()], 1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_reaches_the_client_once_and_in_order() {
    let ends = Ends::default();
    let models = Fallback::new(good(&ends)).or(good(&ends));
    let mut answer = models.oneshot(ChatRequest::new().user("Hi")).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = answer.next().await {
        events.push(Ok::<_, Error>(event.unwrap()));
    }
    let told: Vec<Event> = events.into_iter().flatten().collect();
    let given = [start("good"), text("All "), text("well."), finish()];
    assert_eq!(told, given.map(Result::unwrap));
    assert_eq!(
        (ends.take(), ends.calls()),
        (vec!["Complete".to_owned()], 1)
    );
}

#[tokio::test]
async fn when_all_fail_the_error_of_the_last_that_was_asked_stands() {
    let fails = |error: Error| Model::new(service_fn(move |_| ready(Err(error.clone()))));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let limited = VendorError::new(VendorFault::RateLimited).with_retry_after(seconds(20));
    let open = Rejection::new(Kind::CircuitOpen).with_retry_after(Duration::from_secs(30));
    let models = Fallback::new(fails(limited.into())).or(fails(open.clone().into()));
    let error = models.oneshot(ChatRequest::new()).await.unwrap_err();
    assert_eq!(
        error.kind(),
        Kind::UpstreamRateLimited,
        "nobody asked the other"
    );
    assert_eq!(error.rejection().retry_after(), seconds(20));
    let failed = VendorError::new(VendorFault::Failed);
    let models = Fallback::new(fails(open.into())).or(fails(failed.into()));
    let error = models.oneshot(ChatRequest::new()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BadGateway);
    assert_eq!(error.rejection().retry_after(), seconds(30));
}

/// Whatever the poll after which the client goes, each permit is free and each answer is over.
#[tokio::test(start_paused = true)]
async fn a_client_that_goes_after_any_poll_leaves_nothing_behind() {
    let mut whole = false;
    for polls in 0..30 {
        let ends = Ends::default();
        let called = Arc::new(AtomicU32::new(0));
        let limits = [ConcurrencyLayer::new(1), ConcurrencyLayer::new(1)];
        let slow = |limit: &ConcurrencyLayer, then| {
            let (noted, called) = (ends.clone(), called.clone());
            let inner = service_fn(move |_: ChatRequest| {
                called.fetch_add(1, Ordering::Relaxed);
                let noted = noted.clone();
                async move {
                    tokio::task::yield_now().await;
                    let said = [start("slow"), text("All "), finish()];
                    let said: Vec<Told> = match then {
                        Then::Fails => vec![start("slow"), Err(Kind::BadGateway.into())],
                        _ => said.into(),
                    };
                    let said = stream::iter(said).then(async |event| {
                        tokio::task::yield_now().await;
                        event
                    });
                    noted.called();
                    Ok::<_, Error>(noted.follow(ChatResponse::from_events(said)))
                }
            });
            Model::new(ServiceBuilder::new().layer(limit.clone()).service(inner))
        };
        let models = Fallback::new(slow(&limits[0], Then::Fails)).or(slow(&limits[1], Then::Ends));
        let deadline = Deadline::new();
        let mut request = ChatRequest::new().user("Hi");
        request.extensions_mut().insert(deadline.clone());
        let mut call = task::spawn(async { read(models.oneshot(request).await.unwrap()).await });
        for _ in 0..polls {
            if call.poll().is_ready() {
                whole = true;
                break;
            }
        }
        drop(call);
        for limit in &limits {
            assert_eq!(limit.available(), 1, "after {polls} polls");
        }
        assert_eq!(
            ends.take().len() as u32,
            ends.calls(),
            "after {polls} polls"
        );
        let further = called.load(Ordering::Relaxed).saturating_sub(1);
        let left = Deadline::ATTEMPTS - 1 - further;
        assert_eq!(deadline.left(), left, "after {polls} polls");
    }
    assert!(whole);
}
