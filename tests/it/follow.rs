//! When an answer is over: what is told, to whom, once, and in which order.

mod server;
mod stacks;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future, stream};
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody};
use std::{
    convert::Infallible,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tokio_test::{assert_pending, assert_ready, task};
use tower_gateway::{
    Body, BoxError, CollectError, End, Follow, Health, Reject, Rejection, answer::Outcome, collect,
    rejection::Kind,
};

/// A response that the crate does not know, whole when it arrives.
#[derive(Debug, PartialEq)]
pub(crate) struct Reply(pub(crate) &'static str);

impl Reject<BoxError> for Reply {
    fn reject(rejection: Rejection) -> Result<Self, BoxError> {
        Err(rejection.into())
    }
}

impl Health<BoxError> for Reply {
    fn health(answer: Result<&Self, &BoxError>) -> Outcome {
        match answer {
            Ok(_) => Outcome::Success,
            Err(error) => error
                .downcast_ref::<Rejection>()
                .map_or(Outcome::Failure, Outcome::from),
        }
    }
}

impl Follow<BoxError> for Reply {
    type Followed = Self;

    fn follow(self, end: impl FnOnce(End<'_, BoxError>) + Send + 'static) -> Self {
        end(End::Complete);
        self
    }

    fn cut(
        self,
        _: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
    ) -> Self {
        self
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Notes its end under a name.
    fn follow(&self, answer: Response<Body>, name: &'static str) -> Response<Body> {
        let log = self.clone();
        Follow::<Infallible>::follow(answer, move |end| {
            log.note(format!("{name} {}", how(end)));
        })
    }

    /// A body of these parts that notes when it is dropped.
    fn body<S, E>(&self, parts: S) -> Response<Body>
    where
        S: Stream<Item = Result<&'static str, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let gone = OnDrop(self.clone());
        let frames = parts.map(move |part| {
            let _ = &gone;
            part.map(|text| Frame::data(Bytes::from_static(text.as_bytes())))
        });
        Response::new(Body::new(StreamBody::new(frames)))
    }
}

struct OnDrop(Log);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.note("body");
    }
}

fn how<E>(end: End<'_, E>) -> &'static str {
    match end {
        End::Complete => "complete",
        End::Failed(_) => "failed",
        End::Broken(error) if error.is::<Rejection>() => "rejected",
        End::Broken(_) => "broken",
        End::Dropped => "dropped",
    }
}

type Part = Result<&'static str, io::Error>;

fn broken() -> impl Stream<Item = Part> {
    stream::iter([Ok("a"), Err(io::Error::other("gone"))])
}

fn whole() -> impl Stream<Item = Part> {
    stream::iter([Ok("a"), Ok("b")])
}

fn endless() -> impl Stream<Item = Part> {
    stream::iter([Ok("a")]).chain(stream::pending())
}

fn cut<F>(answer: Response<Body>, cut: F) -> Response<Body>
where
    F: FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
{
    Follow::<Infallible>::cut(answer, cut)
}

/// Reads to the end or the error, and then asks twice more.
async fn read(answer: Response<Body>) -> Body {
    let mut body = answer.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    assert!(body.frame().await.is_none() && body.frame().await.is_none());
    body
}

#[tokio::test]
async fn a_follower_is_told_once_and_after_the_body_is_gone() {
    let log = Log::default();
    drop(read(log.follow(log.body(whole()), "one")).await);
    assert_eq!(log.take(), ["body", "one complete"]);

    drop(read(log.follow(log.body(broken()), "one")).await);
    assert_eq!(log.take(), ["body", "one broken"]);

    drop(log.follow(log.body(whole()), "one"));
    assert_eq!(log.take(), ["body", "one dropped"], "never polled");

    let mut body = log.follow(log.body(endless()), "one").into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(log.take(), [""; 0], "not over");
    drop(body);
    assert_eq!(log.take(), ["body", "one dropped"]);

    let answer = log.follow(log.body(endless()), "one");
    drop(read(cut(answer, |_, _| Poll::Ready(Kind::Timeout.into()))).await);
    assert_eq!(log.take(), ["body", "one dropped"], "cut");
}

#[tokio::test]
async fn bytes_that_are_there_are_followed_too() {
    let log = Log::default();
    drop(read(log.follow(Response::new("hello".into()), "one")).await);
    assert_eq!(log.take(), ["one complete"]);
    drop(log.follow(Response::new("hello".into()), "one"));
    assert_eq!(log.take(), ["one dropped"]);
    drop(log.follow(Response::new(Body::empty()), "one"));
    assert_eq!(log.take(), ["one complete"], "there was nothing to send");
}

#[tokio::test]
async fn a_body_that_panics_is_told_of_when_it_is_dropped() {
    let log = Log::default();
    let parts = stream::poll_fn(|_| -> Poll<Option<Part>> { panic!("on purpose") });
    let mut answer = log.follow(log.body(parts), "one");
    let poll = || task::spawn(answer.body_mut().frame()).poll().is_ready();
    assert!(catch_unwind(AssertUnwindSafe(poll)).is_err());
    assert_eq!(log.take(), [""; 0]);
    drop(answer);
    assert_eq!(log.take(), ["body", "one dropped"]);
}

#[tokio::test]
async fn followers_are_told_from_the_inside_out() {
    let log = Log::default();
    let mut answer = log.body(whole());
    for name in ["inner", "middle", "outer"] {
        answer = log.follow(answer, name);
    }
    read(answer).await;
    let told = [
        "body",
        "inner complete",
        "middle complete",
        "outer complete",
    ];
    assert_eq!(log.take(), told);
}

#[tokio::test]
async fn those_within_the_one_who_cuts_see_a_hang_up_and_those_without_the_rejection() {
    let log = Log::default();
    let answer = log.follow(log.body(endless()), "inner");
    let answer = cut(answer, |_, _| Poll::Ready(Kind::Timeout.into()));
    let mut body = log.follow(answer, "outer").into_body();

    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "a"
    );
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(
        error.downcast_ref::<Rejection>().unwrap().kind(),
        Kind::Timeout
    );
    assert_eq!(log.take(), ["body", "inner dropped", "outer rejected"]);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn of_two_who_cut_the_inner_comes_first() {
    let log = Log::default();
    let answer = cut(log.body(endless()), |_, _| {
        Poll::Ready(Kind::Timeout.into())
    });
    let answer = log.follow(answer, "between");
    let answer = cut(answer, |_, _| Poll::Ready(Kind::Draining.into()));
    read(answer).await;
    assert_eq!(log.take(), ["body", "between rejected"]);
}

#[tokio::test(start_paused = true)]
async fn a_late_piece_wins_over_a_timer_that_fired_meanwhile() {
    let second = Duration::from_secs(1);
    let late = stream::once(async move {
        tokio::time::sleep(2 * second).await;
        Ok::<_, Infallible>("late")
    });
    let mut timer = Box::pin(tokio::time::sleep(second));
    let answer = cut(Log::default().body(late), move |cx, _| {
        timer.as_mut().poll(cx).map(|()| Kind::Timeout.into())
    });
    let mut body = task::spawn(answer.into_body());
    assert_pending!(body.enter(|cx, body| body.poll_frame(cx)));
    tokio::time::advance(3 * second).await;
    let frame = assert_ready!(body.enter(|cx, body| body.poll_frame(cx)));
    assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "late");
    assert_ready!(body.enter(|cx, body| body.poll_frame(cx)))
        .ok_or(())
        .unwrap_err();
}

#[tokio::test]
async fn whoever_may_cut_is_asked_only_while_there_is_nothing_and_told_what_moved() {
    let (asked, log) = (Log::default(), Log::default());
    // a, pause, pause, b, c, pause, the end.
    let mut script = "a..bc.".chars();
    let parts = stream::poll_fn(move |cx| match script.next() {
        Some('.') => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Some(_) => Poll::Ready(Some(Ok::<_, Infallible>("x"))),
        None => Poll::Ready(None),
    });
    let answer = cut(log.body(parts), {
        let asked = asked.clone();
        move |_, moved| {
            asked.note(if moved { "moved" } else { "still" });
            Poll::Pending
        }
    });
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "xxx"
    );
    assert_eq!(asked.take(), ["moved", "still", "moved"]);
}

#[tokio::test]
async fn a_body_around_a_body_is_the_same_body() {
    let log = Log::default();
    let answer = log.follow(log.body(whole()), "inner");
    let answer = answer.map(Body::new).map(Body::new);
    assert_eq!(log.take(), [""; 0], "nobody is told that a body moved");
    read(log.follow(answer, "outer")).await;
    assert_eq!(log.take(), ["body", "inner complete", "outer complete"]);
}

#[tokio::test]
async fn other_bytes_in_its_place_are_followed_to_their_own_end() {
    let log = Log::default();
    let mut answer = log.follow(log.body(endless()), "one");
    answer.body_mut().replace(Bytes::from_static(b"sorry"));
    assert_eq!(
        log.take(),
        ["body"],
        "what was to come is gone, the answer is not over"
    );
    read(answer).await;
    assert_eq!(log.take(), ["one complete"]);
}

#[test]
fn a_body_stays_small() {
    assert!(size_of::<Body>() <= 56, "{}", size_of::<Body>());
}

fn pieces(parts: &[&'static str]) -> Body {
    let parts: Vec<_> = parts
        .iter()
        .map(|part| Ok::<_, Infallible>(*part))
        .collect();
    Log::default().body(stream::iter(parts)).into_body()
}

#[tokio::test]
async fn as_much_is_collected_as_may_be_and_no_byte_more() {
    for parts in [&["abc"][..], &["a", "bc"], &["", "a", "", "b", "c", ""]] {
        assert!(matches!(
            collect(pieces(parts), 2).await,
            Err(CollectError::TooLarge)
        ));
        assert_eq!(collect(pieces(parts), 3).await.unwrap(), "abc");
        assert_eq!(collect(pieces(parts), usize::MAX).await.unwrap(), "abc");
    }
    assert_eq!(collect(Body::empty(), 0).await.unwrap(), "");
    assert!(matches!(
        collect(pieces(&["a"]), 0).await,
        Err(CollectError::TooLarge)
    ));
}

/// Promises four bytes, and must not be asked for them.
struct Promise;

impl HttpBody for Promise {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        unreachable!("it was said beforehand that it is too large")
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(4)
    }
}

#[tokio::test]
async fn what_is_promised_too_large_is_not_read() {
    assert!(matches!(
        collect(Promise, 3).await,
        Err(CollectError::TooLarge)
    ));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_taken_for_a_short_one() {
    let body = Log::default().body(broken()).into_body();
    let Err(CollectError::Broken(error)) = collect(body, 100).await else {
        panic!("it broke off");
    };
    assert_eq!(error.to_string(), "gone");
}

#[tokio::test]
async fn a_body_of_one_piece_is_not_copied_and_trailers_are_dropped() {
    let bytes = Bytes::from("a".repeat(100));
    let collected = collect(Body::from(bytes.clone()), 100).await.unwrap();
    assert_eq!(collected.as_ptr(), bytes.as_ptr());

    let trailers = future::ready(Some(Ok(http::HeaderMap::new())));
    let body = Body::from(bytes.clone()).with_trailers(trailers);
    let collected = collect(body, 100).await.unwrap();
    assert_eq!(collected.as_ptr(), bytes.as_ptr());
}
