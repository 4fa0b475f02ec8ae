use super::{
    Deadline,
    told::{self, TimeHeader},
};
use crate::{Follow, Reject, Rejection, principal::Extensible, rejection::Kind};
use http::{HeaderMap, HeaderName};
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

/// From here on a limit is none: the instant of its end must be one that the clock can tell.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Applies [`Deadlined`] to a service: sets how long an exchange may take, with all its attempts and the
/// waits between them, and how many attempts it has.
///
/// ```
/// use std::{convert::Infallible, time::Duration};
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_gateway::{Body, deadline::{Deadline, DeadlineLayer}};
/// # use http::{Request, Response};
/// # use tokio::time::sleep;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # tokio::time::pause();
/// let service = ServiceBuilder::new()
///     .layer(DeadlineLayer::new().within(Duration::from_secs(30)).attempts(3))
///     .service_fn(async |request: Request<Body>| {
///         assert_eq!(Deadline::of(&request).unwrap().left(), 2);
///         sleep(Duration::from_secs(2)).await;
///         Ok::<_, Infallible>(Response::new(Body::empty()))
///     });
///
/// let patient = Request::new(Body::empty());
/// assert_eq!(service.clone().oneshot(patient).await.unwrap().status(), 200);
/// let hasty = Request::get("/").header("grpc-timeout", "1S").body(Body::empty()).unwrap();
/// assert_eq!(service.oneshot(hasty).await.unwrap().status(), 504);
/// # }
/// ```
///
/// # Whose time holds
///
/// The shortest of: what a layer further out has set, what this one sets, what the caller names in
/// `grpc-timeout` (any unit, up to eight digits), and in a [header](Self::header) of your choice. So a caller
/// can only shorten it. What cannot be read is passed over. An upstream is told
/// [what is left](Deadline::tell), at each attempt.
///
/// Under another one further out the budget of attempts is that one's, whatever is set here.
///
/// # Answers
///
/// | answer | status | code | headers |
/// |---|--:|---|---|
/// | in time | the service's | | |
/// | none in time | 504 | `timeout` | |
/// | too long after it began | what it was; with [`whole`](Self::whole) cut off | `timeout`, as the error of its body or stream | |
///
/// An answer is in time that is handed out before the end: with its head, and where a
/// [retry](crate::retry), a hedge or a fallback further in holds it back until it has begun, with its
/// first content. After that it is left alone, however long it goes on.
///
/// **What if its store is down**: there is none.
///
/// # What an operator must know
///
/// Put it outside of whatever asks again, and outside of breakers. It is the caller who names how
/// short the time is: to what stands further in the call was dropped, which is nobody's fault, but
/// further out a [`Kind::Timeout`] blames the service.
#[derive(Clone, Debug)]
pub struct DeadlineLayer {
    within: Option<Duration>,
    attempts: u32,
    header: Option<HeaderName>,
    whole: bool,
}

impl DeadlineLayer {
    /// No time but that of `grpc-timeout`, and 5 attempts in all.
    #[must_use]
    pub fn new() -> Self {
        Self {
            within: None,
            attempts: Deadline::ATTEMPTS,
            header: None,
            whole: false,
        }
    }

    /// Sets how long it may take until there is an answer. A year or more is no limit.
    #[must_use]
    pub fn within(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.within = limit.into();
        self
    }

    /// Sets how many attempts there are in all, the first among them. Zero is taken as one.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Reads how much time the caller has from this header too: so many milliseconds from now on, one to
    /// ten digits, as Envoy's `x-envoy-expected-rq-timeout-ms`.
    #[must_use]
    pub fn header(mut self, name: HeaderName) -> Self {
        self.header = Some(name);
        self
    }

    /// Ends answers too that have begun, so that the time holds for all of an exchange. Wrong for
    /// whatever is healthy however long it lasts, such as the stream of a language model.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// How much time there is, from now on.
    fn time(&self, headers: &HeaderMap) -> Option<Duration> {
        let grpc = headers.get(told::GRPC_TIMEOUT).and_then(told::grpc);
        let own = self.header.as_ref().and_then(|name| headers.get(name));
        let own = own.and_then(told::milliseconds);
        let shortest = [self.within, grpc, own].into_iter().flatten().min();
        shortest.filter(|time| *time < NEVER)
    }
}

impl Default for DeadlineLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadlined<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let layer = self.clone();
        Deadlined { inner, layer }
    }
}

/// Ends calls of the inner service when their time is over. See [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub struct Deadlined<S> {
    inner: S,
    layer: DeadlineLayer,
}

impl<S, Req> Service<Req> for Deadlined<S>
where
    S: Service<Req>,
    S::Response: Follow<S::Error>,
    Req: Extensible,
{
    type Response = <S::Response as Follow<S::Error>>::Followed;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut req: Req) -> Self::Future {
        let layer = &self.layer;
        let mut deadline = match Deadline::of(&req) {
            Some(outer) => outer.clone(),
            None => Deadline::new().attempts(layer.attempts),
        };
        let time = layer.time(req.headers());
        if time.is_some() || deadline.at().is_some() {
            let now = Instant::now();
            if let Some(at) = time.and_then(|time| now.checked_add(time)) {
                deadline = deadline.until(at);
            }
            if deadline.is_over(now) {
                return ResponseFuture {
                    call: Call::Refused { never_called: true },
                };
            }
        }
        let at = deadline.at();
        let own = layer.header.as_ref();
        if let Some(name) = own.filter(|name| req.headers().contains_key(*name)) {
            req.extensions_mut().insert(TimeHeader(name.clone()));
        }
        req.extensions_mut().insert(deadline);
        let timer = at.map(|at| Timer { at, sleep: None });
        ResponseFuture {
            call: Call::Called {
                whole: layer.whole,
                future: self.inner.call(req),
                timer,
            },
        }
    }
}

pin_project! {
    /// Response future of [`Deadlined`].
    pub struct ResponseFuture<F> {
        #[pin]
        call: Call<F>,
    }
}

pin_project! {
    #[project = CallProj]
    enum Call<F> {
        Called {
            #[pin]
            future: F,
            timer: Option<Timer>,
            whole: bool,
        },
        Refused { never_called: bool },
    }
}

impl<F, Res, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    Res: Follow<E>,
{
    type Output = Result<Res::Followed, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut call = self.project().call;
        let rejection = match call.as_mut().project() {
            CallProj::Called {
                future,
                timer,
                whole,
            } => match (future.poll(cx), timer) {
                // The answer is asked first, so that one that comes late still counts.
                (Poll::Ready(answer), timer) => {
                    let timer = timer.take().filter(|_| *whole);
                    return Poll::Ready(answer.map(|answer| match timer {
                        Some(mut timer) => answer.cut_between(move |cx, _| {
                            ready!(timer.poll(cx));
                            Poll::Ready(over("The time for the answer is over."))
                        }),
                        None => answer.unfollowed(),
                    }));
                }
                (Poll::Pending, Some(timer)) => {
                    ready!(timer.poll(cx));
                    over("There was no answer in time.")
                }
                (Poll::Pending, None) => return Poll::Pending,
            },
            CallProj::Refused { never_called } if *never_called => {
                over("There is no time left.").unsent()
            }
            CallProj::Refused { .. } => panic!("polled after completion"),
        };
        // What the call holds must be free before its caller goes on.
        call.set(Call::Refused {
            never_called: false,
        });
        Poll::Ready(Res::Followed::reject(rejection))
    }
}

fn over(detail: &'static str) -> Rejection {
    Rejection::new(Kind::Timeout).with_detail(detail)
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// Registered when it is first waited for.
struct Timer {
    at: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        let sleep = self.sleep.get_or_insert_with(|| {
            let mut sleep = Box::pin(sleep_until(at));
            // Sets the timer, which the first poll would not if the budget of the task is used up.
            sleep.as_mut().reset(at);
            sleep
        });
        // One that has gone off does not say so to a poll without budget.
        if sleep.is_elapsed() {
            Poll::Ready(())
        } else {
            sleep.as_mut().poll(cx)
        }
    }
}

#[cfg(test)]
mod tests;
