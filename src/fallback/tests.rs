use super::*;
use crate::{
    Body, BoxError, Rejection, answer::Outcome, collect, deadline::Deadline, rejection::Kind,
};
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, header};
use std::{
    convert::Infallible,
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, task};
use tower::{
    Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit, service_fn,
    util::BoxCloneSyncService,
};

type Http = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Answers with this status, and counts.
fn status(status: u16, calls: &Arc<AtomicUsize>) -> Http {
    let calls = calls.clone();
    Http::new(service_fn(move |request: Request<Body>| {
        calls.fetch_add(1, Ordering::SeqCst);
        async move {
            let body = collect(request.into_body(), usize::MAX).await.unwrap();
            let mut answer = Response::new(Body::from(body));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            Ok(answer)
        }
    }))
}

fn refuses(rejection: Rejection) -> Http {
    Http::new(service_fn(move |_| {
        let answer = Response::reject(rejection.clone());
        async { answer }
    }))
}

fn stuck() -> Http {
    Http::new(service_fn(|_| pending()))
}

fn request(method: Method, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("/")
        .body(body.into())
        .unwrap()
}

fn counter() -> Arc<AtomicUsize> {
    Arc::default()
}

fn read(calls: &AtomicUsize) -> usize {
    calls.load(Ordering::SeqCst)
}

#[tokio::test]
async fn the_next_is_asked_with_the_same_request_when_one_has_failed() {
    let calls = counter();
    let services = Fallback::new(status(503, &calls))
        .or(status(502, &calls))
        .or(status(200, &calls))
        .or(status(200, &calls));
    let answer = services
        .oneshot(request(Method::PUT, "hello"))
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(collect(answer.into_body(), 9).await.unwrap(), "hello");
    assert_eq!(read(&calls), 3, "and nobody after that");
}

#[tokio::test]
async fn what_the_caller_did_wrong_stands() {
    let calls = counter();
    for wrong in [400, 404, 413, 500] {
        let services = Fallback::new(status(wrong, &calls)).or(status(200, &calls));
        let answer = services.oneshot(request(Method::GET, "")).await.unwrap();
        assert_eq!(answer.status(), wrong);
    }
    let services = Fallback::new(status(500, &calls))
        .or(status(200, &calls))
        .when_status(|status| status.is_server_error());
    let answer = services.oneshot(request(Method::GET, "")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "it was asked for");
}

#[tokio::test]
async fn what_is_not_idempotent_falls_over_only_if_nothing_was_sent() {
    let calls = counter();
    let post = || request(Method::POST, "once");
    let services = Fallback::new(status(503, &calls)).or(status(200, &calls));
    let answer = services.clone().oneshot(post()).await.unwrap();
    assert_eq!((answer.status().as_u16(), read(&calls)), (503, 1));
    let answer = services.any_method().oneshot(post()).await.unwrap();
    assert_eq!((answer.status().as_u16(), read(&calls)), (200, 3));

    for (kind, other) in [
        (Kind::CircuitOpen, true),
        (Kind::Overloaded, true),
        (Kind::Draining, true),
        (Kind::ConnectTimeout, true),
        (Kind::BadGateway, false),
        (Kind::Timeout, false),
        (Kind::UpstreamRateLimited, false),
    ] {
        let services = Fallback::new(refuses(kind.into())).or(status(200, &calls));
        let answer = services.oneshot(post()).await.unwrap();
        assert_eq!(answer.status() == StatusCode::OK, other, "{kind:?}");
    }
}

#[tokio::test]
async fn who_was_not_called_used_up_no_attempt() {
    let calls = counter();
    let services = Fallback::new(refuses(Kind::CircuitOpen.into()))
        .or(refuses(Kind::CircuitOpen.into()))
        .or(refuses(Kind::CircuitOpen.into()));
    let mut call = request(Method::GET, "");
    let deadline = Deadline::new().attempts(1);
    call.extensions_mut().insert(deadline.clone());
    let services = Fallback::new(BoxCloneSyncService::new(services))
        .or(BoxCloneSyncService::new(status(200, &calls)));
    let answer = services.oneshot(call).await.unwrap();
    assert_eq!((answer.status(), read(&calls)), (StatusCode::OK, 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_given_up_for_whom_nobody_else_may_be_asked() {
    let calls = counter();
    let services = Fallback::new(stuck())
        .or(status(200, &calls))
        .stall(Duration::from_secs(1));
    let mut get = request(Method::GET, "");
    get.extensions_mut().insert(Deadline::new().attempts(1));
    let mut call = task::spawn(services.oneshot(get));
    assert_pending!(call.poll());
    advance(Duration::from_secs(1000)).await;
    assert_pending!(call.poll());
    assert_eq!(read(&calls), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_idempotent_is_not_given_up_for_stalled() {
    let calls = counter();
    let services = Fallback::new(stuck())
        .or(status(200, &calls))
        .stall(Duration::from_secs(1));
    let mut call = task::spawn(services.oneshot(request(Method::POST, "")));
    assert_pending!(call.poll());
    advance(Duration::from_secs(1000)).await;
    assert_pending!(call.poll());
    assert_eq!(read(&calls), 0);
}

#[tokio::test]
async fn a_body_too_large_to_keep_goes_to_the_first_alone() {
    let calls = counter();
    let services = Fallback::new(status(503, &calls)).or(status(200, &calls));
    let large = || request(Method::PUT, "x".repeat(65_537));
    let answer = services.clone().oneshot(large()).await.unwrap();
    assert_eq!((answer.status().as_u16(), read(&calls)), (503, 1));
    let sent = collect(answer.into_body(), usize::MAX).await.unwrap();
    assert_eq!(sent.len(), 65_537);
    let services = services.body_limit(65_537);
    let answer = services.oneshot(large()).await.unwrap();
    assert_eq!((answer.status().as_u16(), read(&calls)), (200, 3));
}

#[tokio::test(start_paused = true)]
async fn one_that_stalls_is_left_and_the_last_is_waited_for() {
    let slow = Http::new(service_fn(async |_| {
        sleep(Duration::from_secs(1000)).await;
        Ok(Response::new(Body::from("slow")))
    }));
    let services = Fallback::new(stuck()).or(stuck()).or(slow);
    let start = Instant::now();
    let answer = services
        .stall(Duration::from_secs(2))
        .oneshot(request(Method::GET, ""))
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(start.elapsed(), Duration::from_secs(1004));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_ready_does_not_block_the_others() {
    let calls = counter();
    let full = ConcurrencyLimit::new(stuck(), 1);
    let mut holds = full.clone();
    holds.ready().await.unwrap();
    let services = Fallback::new(Http::new(full)).or(status(200, &calls));
    let start = Instant::now();
    // Nothing was sent, so that it may be anything.
    let answer = services.oneshot(request(Method::POST, "")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(start.elapsed(), Duration::from_secs(5));
}

#[tokio::test]
async fn limits_within_are_kept_and_given_back() {
    let limited = |calls| ConcurrencyLimit::new(status(503, calls), 1);
    let calls = counter();
    let services = Fallback::new(limited(&calls)).or(limited(&calls));
    for _ in 0..3 {
        let answer = services
            .clone()
            .oneshot(request(Method::GET, ""))
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(read(&calls), 6);
    let mut all = services.services().to_vec();
    for service in &mut all {
        assert!(task::spawn(service.ready()).poll().is_ready());
    }
}

#[tokio::test]
async fn a_failed_answer_is_gone_before_the_next_is_asked() {
    struct Held(Arc<AtomicUsize>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let (held, most) = (counter(), counter());
    let down = || {
        let (held, most) = (held.clone(), most.clone());
        Http::new(service_fn(move |_: Request<Body>| {
            most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            answer.extensions_mut().insert(Arc::new(Held(held.clone())));
            async { Ok(answer) }
        }))
    };
    let services = Fallback::new(down()).or(down()).or(down());
    drop(services.oneshot(request(Method::GET, "")).await);
    assert_eq!((read(&held), read(&most)), (0, 1));
}

#[tokio::test]
async fn all_that_try_again_share_one_budget() {
    let calls = counter();
    let three = || {
        let down = || status(503, &calls);
        Http::new(Fallback::new(down()).or(down()).or(down()))
    };
    let nested = Fallback::new(three()).or(three()).or(three());
    let mut get = request(Method::GET, "");
    get.extensions_mut().insert(Deadline::new().attempts(5));
    let answer = nested.oneshot(get).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(read(&calls) <= 5, "{}", read(&calls));
    assert!(read(&calls) >= 3, "each has its turn");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_after_the_deadline() {
    let calls = counter();
    let late = Http::new(service_fn(async |_| {
        sleep(Duration::from_secs(2)).await;
        Response::reject(Kind::BadGateway.into())
    }));
    let services = Fallback::new(late).or(status(200, &calls));
    let mut get = request(Method::GET, "");
    let deadline = Deadline::new().until(Instant::now() + Duration::from_secs(1));
    get.extensions_mut().insert(deadline.clone());
    let answer = services.oneshot(get).await.unwrap();
    assert_eq!((answer.status().as_u16(), read(&calls)), (502, 0));
    assert_eq!(deadline.left(), 4, "what was reserved is given back");
}

#[tokio::test]
async fn the_shortest_time_that_was_named_is_told() {
    let seconds = Duration::from_secs;
    let open = |after| Rejection::new(Kind::CircuitOpen).with_retry_after(seconds(after));
    let limited = Rejection::new(Kind::UpstreamRateLimited).with_retry_after(seconds(7));
    let services = Fallback::new(refuses(open(30)))
        .or(refuses(limited))
        .or(refuses(open(0)))
        .or(refuses(Kind::BadGateway.into()));
    let answer = services.oneshot(request(Method::GET, "")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(answer.headers()[header::RETRY_AFTER], "7");
    let rejection = answer.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.retry_after(), Some(seconds(7)));
}

#[tokio::test]
async fn a_fixed_answer_stands_in_for_whatever_has_failed() {
    let calls = counter();
    let layer = AnswerLayer::new(StatusCode::OK)
        .header(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )
        .body(r#"{"items":[]}"#);
    let ask = async |inner| {
        let service: AnswerInstead<Http> = layer.clone().layer(inner);
        // Neither the method nor the size matters, for nothing is sent again.
        service
            .oneshot(request(Method::POST, "x".repeat(100_000)))
            .await
            .unwrap()
    };
    for failed in [status(502, &calls), refuses(Kind::Timeout.into())] {
        let answer = ask(failed).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
        assert!(answer.extensions().get::<Rejection>().is_none());
        assert_eq!(
            collect(answer.into_body(), 99).await.unwrap(),
            r#"{"items":[]}"#
        );
    }
    assert_eq!(
        ask(status(404, &calls)).await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_layer_takes_a_service_of_another_type() {
    let calls = counter();
    let spare = service_fn(async |_: Request<Body>| Ok(Response::new(Body::from("spare"))));
    let layer = FallbackLayer::new(spare);
    // A router may wrap for each request.
    for _ in 0..2 {
        let service = layer.layer(status(504, &calls));
        let answer = service.oneshot(request(Method::GET, "")).await.unwrap();
        assert_eq!(collect(answer.into_body(), 9).await.unwrap(), "spare");
    }
}

/// A question that the crate does not know, and its answer word by word.
#[derive(Clone, Debug, Default)]
struct Question {
    headers: HeaderMap,
    extensions: Extensions,
}

impl Extensible for Question {
    fn headers(&self) -> &HeaderMap {
        &self.headers
    }
    fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }
    fn extensions(&self) -> &Extensions {
        &self.extensions
    }
    fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }
}

impl Reissue for Question {
    type Copy = Self;

    fn is_idempotent(&self) -> bool {
        true
    }

    async fn keep(self, _: usize) -> Result<crate::reissue::Kept<Self>, Rejection> {
        let copy = self.clone();
        Ok((self, Some(copy)))
    }

    fn again(copy: &Self) -> Self {
        copy.clone()
    }
}

/// So many turns before it has begun, and a permit that it holds.
#[derive(Debug)]
struct Talk {
    turns: usize,
    broken: bool,
    _permit: Permit,
}

#[derive(Debug)]
struct Permit(Arc<AtomicUsize>);

impl Permit {
    fn new(out: &Arc<AtomicUsize>) -> Self {
        out.fetch_add(1, Ordering::SeqCst);
        Self(out.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Reject<BoxError> for Talk {
    fn reject(rejection: Rejection) -> Result<Self, BoxError> {
        Err(rejection.into())
    }
}

impl Health<BoxError> for Talk {
    fn health(answer: Result<&Self, &BoxError>) -> Outcome {
        match answer {
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Failure,
        }
    }
}

impl Begin<BoxError> for Talk {
    async fn begin(mut self) -> Result<Self, BoxError> {
        while self.turns > 0 {
            self.turns -= 1;
            tokio::task::yield_now().await;
        }
        if self.broken {
            Err("it broke off".into())
        } else {
            Ok(self)
        }
    }
}

type Talks = BoxCloneSyncService<Question, Talk, BoxError>;

/// Takes so many turns to be called and to begin, and may break off before.
fn talks(turns: usize, broken: bool, out: &Arc<AtomicUsize>) -> Talks {
    let out = out.clone();
    Talks::new(service_fn(move |_| {
        let permit = Permit::new(&out);
        async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            Ok(Talk {
                turns,
                broken,
                _permit: permit,
            })
        }
    }))
}

#[tokio::test]
async fn an_answer_that_breaks_off_before_it_has_begun_falls_over() {
    let out = counter();
    let services = Fallback::new(talks(1, true, &out)).or(talks(1, false, &out));
    let answer = services.oneshot(Question::default()).await.unwrap();
    assert_eq!((answer.turns, read(&out)), (0, 1), "the first is gone");
    let services = Fallback::new(talks(0, true, &out)).or(talks(0, true, &out));
    let error = services.oneshot(Question::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "it broke off");
}

#[tokio::test]
async fn where_the_last_was_not_called_the_error_of_one_that_was_stands() {
    let out = counter();
    let refused = Talks::new(service_fn(async |_| {
        Err::<Talk, BoxError>(Rejection::new(Kind::CircuitOpen).into())
    }));
    // This type does not say which of its errors are rejections, so the last one stands.
    let services = Fallback::new(talks(0, true, &out)).or(refused);
    let error = services.oneshot(Question::default()).await.unwrap_err();
    assert!(error.is::<Rejection>());
    // One that fails to be ready was not called, whatever its type says.
    let services = Fallback::new(talks(0, true, &out)).or(Talks::new(NeverReady));
    let error = services.oneshot(Question::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "it broke off");
}

#[derive(Clone)]
struct NeverReady;

impl Service<Question> for NeverReady {
    type Response = Talk;
    type Error = BoxError;
    type Future = std::future::Pending<Result<Talk, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Err("dead".into()))
    }

    fn call(&mut self, _: Question) -> Self::Future {
        pending()
    }
}

/// Whatever the poll after which the caller goes, nothing is left behind.
#[tokio::test]
async fn a_call_that_is_dropped_after_any_poll_gives_everything_back() {
    let mut finished = false;
    for polls in 0..20 {
        let (out, called) = (counter(), counter());
        let limited = |broken| {
            let called = called.clone();
            ServiceBuilder::new()
                .map_request(move |question: Question| {
                    called.fetch_add(1, Ordering::SeqCst);
                    question
                })
                .service(ConcurrencyLimit::new(talks(2, broken, &out), 1))
        };
        let services = Fallback::new(limited(true))
            .or(limited(true))
            .or(limited(false));
        let deadline = Deadline::new();
        let mut question = Question::default();
        question.extensions.insert(deadline.clone());
        let mut call = task::spawn(services.clone().oneshot(question));
        for _ in 0..polls {
            if call.poll().is_ready() {
                finished = true;
                break;
            }
        }
        drop(call);
        assert_eq!(read(&out), 0, "after {polls} polls");
        let mut all = services.services().to_vec();
        for service in &mut all {
            assert!(
                task::spawn(service.ready()).poll().is_ready(),
                "after {polls} polls"
            );
        }
        let further = read(&called).saturating_sub(1) as u32;
        let left = Deadline::ATTEMPTS - 1 - further;
        assert_eq!(deadline.left(), left, "after {polls} polls");
    }
    assert!(finished);
}
