//! One call: let through, followed to its end, or refused.

use super::shared::{Circuits, Permit};
use crate::{
    Follow, Reject, Rejection,
    answer::{ByHealth, Classify, Outcome},
    key::{Global, Key},
};
use http::{Response, StatusCode};
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// Turns calls away while the inner service keeps failing.
///
/// See the [module docs](super) for an example.
#[derive(Clone)]
pub struct CircuitBreaker<S, C = ByHealth, K = Global> {
    pub(super) inner: S,
    pub(super) circuits: Circuits,
    pub(super) classify: C,
    pub(super) key: K,
}

impl<S, C, K, Req> Service<Req> for CircuitBreaker<S, C, K>
where
    S: Service<Req>,
    S::Response: Follow<S::Error>,
    C: Classify<S::Response, S::Error> + Clone + Send + 'static,
    K: Key<Req>,
{
    type Response = <S::Response as Follow<S::Error>>::Followed;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C>;

    // An open circuit does not show here: an error from `poll_ready` means that the service is
    // dead for good, and `Pending` would hold the caller where it asked for a fast answer.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Req) -> Self::Future {
        let call = match self.circuits.of(&self.key, &req).admit() {
            Ok(permit) => Call::Admitted {
                future: self.inner.call(req),
                judge: Some((permit, self.classify.clone())),
            },
            Err(rejection) => Call::Refused {
                rejection: Some(rejection),
            },
        };
        ResponseFuture { call }
    }
}

impl<S: fmt::Debug, C, K> fmt::Debug for CircuitBreaker<S, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.inner)
            .field("circuits", &self.circuits)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// Response future of [`CircuitBreaker`].
    pub struct ResponseFuture<F, C> {
        #[pin]
        call: Call<F, C>,
    }
}

pin_project! {
    #[project = CallProj]
    enum Call<F, C> {
        Admitted {
            #[pin]
            future: F,
            judge: Option<(Permit, C)>,
        },
        Refused {
            rejection: Option<Rejection>,
        },
    }
}

impl<F, C, Res, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Res, E>>,
    Res: Follow<E>,
    C: Classify<Res, E> + Send + 'static,
{
    type Output = Result<Res::Followed, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().call.project() {
            CallProj::Admitted { future, judge } => {
                let answer = ready!(future.poll(cx));
                let (mut permit, classify) = judge.take().expect("polled after completion");
                permit.record(classify.classify(answer.as_ref()));
                answer.map(|answer| {
                    answer.follow(move |end| {
                        if classify.judge_end(end) == Outcome::Failure {
                            permit.revise();
                        }
                    })
                })
            }
            CallProj::Refused { rejection } => {
                Res::Followed::reject(rejection.take().expect("polled after completion"))
            }
        })
    }
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// Judges HTTP answers by their status. See [`classify_status`](super::CircuitBreakerLayer::classify_status).
#[derive(Clone, Copy)]
pub struct ByStatus<F>(pub(super) F);

impl<B, E, F> Classify<Response<B>, E> for ByStatus<F>
where
    F: Fn(StatusCode) -> Outcome,
{
    fn classify(&self, answer: Result<&Response<B>, &E>) -> Outcome {
        let Ok(response) = answer else {
            return Outcome::Failure;
        };
        match response.extensions().get::<Rejection>() {
            Some(rejection) => rejection.into(),
            None => self.0(response.status()),
        }
    }
}

impl<F> fmt::Debug for ByStatus<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByStatus").finish_non_exhaustive()
    }
}
