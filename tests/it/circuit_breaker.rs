//! The breaker as a user meets it: over a mock, over a stream of their own, and over axum.

mod http;

use crate::follow::Reply;
use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    io,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};
use tower_gateway::{
    End, Follow, Health, Reject, Rejection,
    answer::Outcome,
    circuit_breaker::{CircuitBreakerLayer, State},
    rejection::Kind,
};
use tower_test::{assert_request_eq, mock};

const COOL_DOWN: Duration = Duration::from_secs(30);

/// Opens at the first failure, closes at the first success.
fn touchy() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new()
        .minimum_calls(1)
        .probes(1)
        .cool_down(COOL_DOWN)
}

#[tokio::test(start_paused = true)]
async fn opens_then_probes_then_closes() {
    let layer = touchy();
    let (mut service, mut upstream) = mock::spawn_layer::<&str, Reply, _>(layer.clone());

    assert_ready_ok!(service.poll_ready());
    let failed = service.call("one");
    assert_request_eq!(upstream, "one").send_error("down");
    assert_eq!(failed.await.unwrap_err().to_string(), "down");
    assert_eq!(layer.state(), State::Open);

    assert_ready_ok!(service.poll_ready(), "an open circuit is still ready");
    let mut refused = task::spawn(service.call("two"));
    let error = assert_ready_err!(refused.poll());
    let rejection = error.downcast_ref::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), Kind::CircuitOpen);
    assert_eq!(rejection.retry_after(), Some(COOL_DOWN));
    assert_pending!(upstream.poll_request());

    tokio::time::advance(COOL_DOWN).await;
    for prompt in ["three", "four"] {
        assert_ready_ok!(service.poll_ready());
        let answer = service.call(prompt);
        assert_request_eq!(upstream, prompt).send_response(Reply("up"));
        assert_eq!(answer.await.unwrap(), Reply("up"));
        assert_eq!(layer.state(), State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_probe_leaves_room_for_the_next() {
    let layer = touchy();
    let (mut service, mut upstream) = mock::spawn_layer::<&str, Reply, _>(layer.clone());

    assert_ready_ok!(service.poll_ready());
    let failed = service.call("one");
    assert_request_eq!(upstream, "one").send_error("down");
    failed.await.unwrap_err();
    tokio::time::advance(COOL_DOWN).await;

    assert_ready_ok!(service.poll_ready());
    drop(service.call("cancelled"));
    let _ = upstream.next_request().await;
    assert_eq!(layer.state(), State::HalfOpen);

    assert_ready_ok!(service.poll_ready());
    let probe = service.call("again");
    assert_ready_ok!(service.poll_ready());
    let error = assert_ready_err!(task::spawn(service.call("one too many")).poll());
    let rejection = error.downcast_ref::<Rejection>().unwrap();
    assert_eq!(
        (rejection.kind(), rejection.retry_after()),
        (Kind::CircuitOpen, None)
    );

    assert_request_eq!(upstream, "again").send_response(Reply("up"));
    assert_eq!(probe.await.unwrap(), Reply("up"));
    assert_eq!(layer.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn of_a_crowd_only_the_probes_get_through() {
    let layer = touchy().probes(3);
    let (mut service, mut upstream) = mock::spawn_layer::<&str, Reply, _>(layer.clone());
    upstream.allow(100);
    assert_ready_ok!(service.poll_ready());
    let failed = service.call("one");
    assert_request_eq!(upstream, "one").send_error("down");
    failed.await.unwrap_err();
    tokio::time::advance(COOL_DOWN).await;

    let mut crowd = Vec::new();
    for _ in 0..50 {
        assert_ready_ok!(service.poll_ready());
        crowd.push(task::spawn(service.call("probe")));
    }
    let mut through = Vec::new();
    while let Poll::Ready(Some(request)) = upstream.poll_request() {
        through.push(request);
    }
    let mut probes = Vec::new();
    for mut call in crowd {
        match call.poll() {
            Poll::Ready(answer) => assert!(answer.unwrap_err().is::<Rejection>()),
            Poll::Pending => probes.push(call),
        }
    }
    assert_eq!((through.len(), probes.len()), (3, 3));
    for (_, sender) in through {
        sender.send_response(Reply("up"));
    }
    for mut probe in probes {
        assert_ready_ok!(probe.poll());
    }
    assert_eq!(layer.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn callers_who_lose_patience_with_a_slow_service_open_the_circuit() {
    let slow = Duration::from_secs(5);
    for (patience, state) in [(slow, State::Open), (slow / 2, State::Closed)] {
        let layer = touchy().slow_calls(slow, 100);
        let (mut service, _upstream) = mock::spawn_layer::<&str, Reply, _>(layer.clone());
        assert_ready_ok!(service.poll_ready());
        let call = service.call("hello");
        tokio::time::advance(patience).await;
        drop(call);
        assert_eq!(layer.state(), state);
    }
}

/// What a subscriber of `tracing` writes down.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn every_change_of_state_is_told_once() {
    let written = Written::default();
    let _guard = tracing::subscriber::set_default(
        tracing_subscriber::fmt()
            .with_writer({
                let written = written.clone();
                move || written.clone()
            })
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .finish(),
    );
    let mut service = ServiceBuilder::new().layer(touchy()).service_fn(talk);
    for _ in 0..3 {
        ask(&mut service, "fail").await.unwrap_err();
    }
    tokio::time::advance(COOL_DOWN).await;
    for _ in 0..2 {
        ask(&mut service, "hello").await.unwrap();
    }
    let lines = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = lines.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "WARN circuit opened",
            "INFO circuit is half open",
            "INFO circuit closed"
        ]
    );
}

#[tokio::test]
async fn a_closure_may_judge_instead() {
    let layer = touchy().classify(|answer: Result<&Reply, &BoxError>| match answer {
        Ok(Reply("")) => Outcome::Failure,
        _ => Outcome::Success,
    });
    let mut service = ServiceBuilder::new()
        .layer(layer)
        .service_fn(async |reply| Ok::<_, BoxError>(Reply(reply)));

    let answer = service.ready().await.unwrap().call("").await;
    assert_eq!(answer.unwrap(), Reply(""));
    let answer = service.ready().await.unwrap().call("hello").await;
    assert!(answer.unwrap_err().is::<Rejection>());
}

#[tokio::test]
async fn layers_made_from_one_another_share_nothing_and_clones_everything() {
    let layer = touchy();
    let fail = async |_: &str| Err::<Reply, BoxError>("down".into());
    for (layer, refused) in [
        (layer.clone(), false),
        (layer.clone().probes(2), false),
        (layer.clone(), true),
    ] {
        let service = ServiceBuilder::new().layer(layer).service_fn(fail);
        let error = service.oneshot("").await.unwrap_err();
        assert_eq!(error.is::<Rejection>(), refused);
    }
}

#[tokio::test]
async fn readiness_within_is_respected_and_kept_by_a_refusal() {
    let (mut service, mut upstream) = mock::spawn_layer::<&str, Reply, _>(
        ServiceBuilder::new()
            .layer(touchy())
            .layer(ConcurrencyLimitLayer::new(1))
            .into_inner(),
    );
    assert_ready_ok!(service.poll_ready());
    let mut failed = task::spawn(service.call("one"));
    assert_pending!(service.poll_ready(), "the inner limit holds");
    assert_request_eq!(upstream, "one").send_error("down");
    assert_ready_err!(failed.poll());
    drop(failed);

    for _ in 0..3 {
        assert_ready_ok!(service.poll_ready(), "a refusal uses no permit up");
        assert_ready_err!(task::spawn(service.call("two")).poll());
    }
}

/// An answer that comes word by word.
struct Talk {
    words: VecDeque<Result<&'static str, Fault>>,
    followers: Vec<Follower>,
}

type Follower = Box<dyn FnOnce(End<'_, Fault>) + Send>;

#[derive(Debug)]
enum Fault {
    BadRequest,
    Unavailable,
    Refused(Rejection),
}

impl Talk {
    fn new(words: impl IntoIterator<Item = Result<&'static str, Fault>>) -> Self {
        Self {
            words: words.into_iter().collect(),
            followers: Vec::new(),
        }
    }

    fn next(&mut self) -> Option<Result<&'static str, Fault>> {
        let word = self.words.pop_front();
        match &word {
            Some(Ok(_)) => {}
            Some(Err(fault)) => self.end(End::Failed(fault)),
            None => self.end(End::Complete),
        }
        word
    }

    fn end(&mut self, end: End<'_, Fault>) {
        for follower in self.followers.drain(..) {
            follower(end);
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.end(End::Dropped);
    }
}

impl fmt::Debug for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Talk").finish_non_exhaustive()
    }
}

impl Reject<Fault> for Talk {
    fn reject(rejection: Rejection) -> Result<Self, Fault> {
        Err(Fault::Refused(rejection))
    }
}

impl Health<Fault> for Talk {
    fn health(answer: Result<&Self, &Fault>) -> Outcome {
        match answer {
            Ok(_) => Outcome::Success,
            Err(Fault::BadRequest) => Outcome::Neutral,
            Err(Fault::Unavailable) => Outcome::Failure,
            Err(Fault::Refused(rejection)) => rejection.into(),
        }
    }
}

impl Follow<Fault> for Talk {
    type Followed = Self;

    fn follow(mut self, end: impl FnOnce(End<'_, Fault>) + Send + 'static) -> Self {
        self.followers.push(Box::new(end));
        self
    }

    fn cut(
        self,
        _: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
    ) -> Self {
        self
    }
}

/// Says a word, and then fails if it was told to.
async fn talk(prompt: &str) -> Result<Talk, Fault> {
    let end = match prompt {
        "bad request" => return Err(Fault::BadRequest),
        "fail" => return Err(Fault::Unavailable),
        "break off" => Err(Fault::Unavailable),
        _ => Ok("."),
    };
    Ok(Talk::new([Ok("Well"), end]))
}

async fn begin<S>(service: &mut S, prompt: &'static str) -> Result<Talk, Fault>
where
    S: Service<&'static str, Response = Talk, Error = Fault>,
{
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(prompt).await
}

async fn ask<S>(
    service: &mut S,
    prompt: &'static str,
) -> Result<Vec<Result<&'static str, Fault>>, Fault>
where
    S: Service<&'static str, Response = Talk, Error = Fault>,
{
    let mut talk = begin(service, prompt).await?;
    Ok(std::iter::from_fn(|| talk.next()).collect())
}

#[tokio::test]
async fn a_response_that_is_not_http_is_refused_with_its_own_error() {
    let mut service = ServiceBuilder::new().layer(touchy()).service_fn(talk);
    let error = ask(&mut service, "fail").await.unwrap_err();
    assert!(matches!(error, Fault::Unavailable));
    let error = ask(&mut service, "hello").await.unwrap_err();
    assert!(matches!(error, Fault::Refused(r) if r.kind() == Kind::CircuitOpen));
}

#[tokio::test]
async fn a_bad_request_is_not_the_fault_of_the_service() {
    let mut service = ServiceBuilder::new().layer(touchy()).service_fn(talk);
    for _ in 0..3 {
        let error = ask(&mut service, "bad request").await.unwrap_err();
        assert!(matches!(error, Fault::BadRequest));
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_a_failure() {
    let mut service = ServiceBuilder::new().layer(touchy()).service_fn(talk);

    assert_eq!(ask(&mut service, "hello").await.unwrap().len(), 2);
    let words = ask(&mut service, "break off").await.unwrap();
    assert!(matches!(words[..], [Ok(_), Err(Fault::Unavailable)]));

    let error = ask(&mut service, "hello").await.unwrap_err();
    assert!(
        matches!(error, Fault::Refused(_)),
        "half of the calls have failed"
    );
}

/// Otherwise failures, which are quick, would be all that the breaker sees of long streams.
#[tokio::test]
async fn a_stream_counts_before_it_ends() {
    let layer = touchy().minimum_calls(2);
    let mut service = ServiceBuilder::new().layer(layer).service_fn(talk);

    let mut streaming = Vec::new();
    for _ in 0..3 {
        streaming.push(begin(&mut service, "hello").await.unwrap());
    }
    for _ in 0..2 {
        ask(&mut service, "fail").await.unwrap_err();
    }
    assert!(
        ask(&mut service, "hello").await.is_ok(),
        "two of five have failed"
    );
}

#[tokio::test]
async fn a_stream_that_the_caller_drops_stays_a_success() {
    let layer = touchy();
    let mut service = ServiceBuilder::new().layer(layer.clone()).service_fn(talk);
    for _ in 0..3 {
        drop(begin(&mut service, "break off").await.unwrap());
    }
    assert_eq!(layer.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_outer_breaker_does_not_count_what_an_inner_one_refused() {
    let mut service = ServiceBuilder::new()
        .layer(touchy().minimum_calls(2).cool_down(COOL_DOWN * 2))
        .layer(touchy())
        .service_fn(talk);

    ask(&mut service, "fail").await.unwrap_err();
    for _ in 0..3 {
        let error = ask(&mut service, "hello").await.unwrap_err();
        assert!(
            matches!(error, Fault::Refused(r) if r.retry_after() == Some(COOL_DOWN)),
            "refused by the inner breaker"
        );
    }
}

#[tokio::test]
async fn an_endless_cool_down_can_be_asked_for() {
    let layer = touchy().cool_down(Duration::MAX);
    let mut service = ServiceBuilder::new().layer(layer).service_fn(talk);
    ask(&mut service, "fail").await.unwrap_err();
    let error = ask(&mut service, "hello").await.unwrap_err();
    assert!(matches!(error, Fault::Refused(_)));
}

#[test]
fn types_are_send_and_sync() {
    fn check<T: Send + Sync + Clone + fmt::Debug>(_: &T) {}
    let layer = touchy().classify_status(|_| Outcome::Neutral);
    check(&layer);
    check(&tower::Layer::layer(&layer, ()));
}
