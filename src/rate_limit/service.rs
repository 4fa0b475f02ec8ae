//! The services, and their futures.

use super::{InProcess, RateLimitLayer, Shared, plan::Told};
use crate::{
    Extensible, Reject, Rejection,
    key::{ByPrincipal, Cost, Key, One},
};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_layer::Layer;
use tower_service::Service;

impl<S, K: Clone, C: Clone, B: Clone> Layer<S> for RateLimitLayer<K, C, B> {
    type Service = RateLimit<S, K, C, B>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit {
            inner,
            layer: self.clone(),
        }
    }
}

/// Turns away calls for which the quota of their key does not suffice.
///
/// See the [module docs](super) for an example.
#[derive(Clone, Debug)]
pub struct RateLimit<S, K = ByPrincipal, C = One, B = InProcess> {
    inner: S,
    layer: RateLimitLayer<K, C, B>,
}

impl<S, K, C, Req> Service<Req> for RateLimit<S, K, C>
where
    S: Service<Req>,
    S::Response: Reject<S::Error> + Extensible,
    K: Key<Req>,
    C: Cost<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    // A quota that is used up does not show here: it is another one for every caller.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Req) -> Self::Future {
        let RateLimitLayer {
            core, key, cost, ..
        } = &self.layer;
        let plan = core.plans.of(key.limits(&req));
        let apart = plan.limited.then(|| key.limited_as(&req)).flatten();
        let decided = match core.slot(key.key(&req).as_ref(), apart.as_deref()) {
            Ok(None) => Ok(None),
            Ok(Some(slot)) => {
                let decided = core.take_here(slot, &plan, cost.cost(&req));
                core.judge(plan, decided)
            }
            Err(rejection) => Err(rejection),
        };
        let state = match decided {
            Ok(told) => State::Called {
                future: self.inner.call(req),
                told,
            },
            Err(rejection) => State::Rejected {
                rejection: Some(rejection),
            },
        };
        ResponseFuture { state }
    }
}

pin_project! {
    /// Response future of [`RateLimit`].
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Called {
            #[pin]
            future: F,
            told: Option<Told>,
        },
        Rejected {
            rejection: Option<Rejection>,
        },
    }
}

impl<F, Res, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    Res: Reject<E> + Extensible,
{
    type Output = Result<Res, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().state.poll(cx)
    }
}

impl<F> State<F> {
    fn poll<Res, E>(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Res, E>>
    where
        F: Future<Output = Result<Res, E>>,
        Res: Reject<E> + Extensible,
    {
        Poll::Ready(match self.project() {
            StateProj::Called { future, told } => {
                let mut answer = ready!(future.poll(cx));
                if let (Ok(response), Some(told)) = (&mut answer, told.take()) {
                    told.write(response.headers_mut());
                }
                answer
            }
            StateProj::Rejected { rejection } => {
                Res::reject(rejection.take().expect("polled after completion"))
            }
        })
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<S, K, C, Req> Service<Req> for RateLimit<S, K, C, Shared>
where
    S: Service<Req> + Clone,
    S::Response: Reject<S::Error> + Extensible,
    K: Key<Req>,
    C: Cost<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = SharedFuture<S, S::Future, Req>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Req) -> Self::Future {
        let RateLimitLayer {
            core,
            key,
            cost,
            buckets,
        } = &self.layer;
        let name = key.key(&req);
        let plan = core.plans.of(key.limits(&req));
        let apart = plan.limited.then(|| key.limited_as(&req)).flatten();
        let state = match core.slot(name.as_ref(), apart.as_deref()) {
            Ok(None) => Step::Decided {
                state: State::Called {
                    future: self.inner.call(req),
                    told: None,
                },
            },
            Ok(Some(slot)) => {
                let bucket = buckets.bucket(name.as_ref(), apart.as_deref());
                let cost = cost.cost(&req);
                let shared = buckets.clone();
                // The one that is ready is called, and its clone is asked the next time.
                let clone = self.inner.clone();
                Step::Asking {
                    decided: Box::pin(shared.decide(core.clone(), plan, slot, bucket, cost)),
                    call: Some((mem::replace(&mut self.inner, clone), req)),
                }
            }
            Err(rejection) => Step::Decided {
                state: State::Rejected {
                    rejection: Some(rejection),
                },
            },
        };
        SharedFuture { state }
    }
}

type Deciding = Pin<Box<dyn Future<Output = Result<Option<Told>, Rejection>> + Send>>;

pin_project! {
    /// Response future of [`RateLimit`] whose buckets are [`Shared`].
    pub struct SharedFuture<S, F, Req> {
        #[pin]
        state: Step<S, F, Req>,
    }
}

pin_project! {
    #[project = StepProj]
    enum Step<S, F, Req> {
        Asking {
            decided: Deciding,
            call: Option<(S, Req)>,
        },
        Decided {
            #[pin]
            state: State<F>,
        },
    }
}

impl<S, F, Req, Res, E> Future for SharedFuture<S, F, Req>
where
    S: Service<Req, Response = Res, Error = E, Future = F>,
    F: Future<Output = Result<Res, E>>,
    Res: Reject<E> + Extensible,
{
    type Output = Result<Res, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().state;
        loop {
            let state = match step.as_mut().project() {
                StepProj::Decided { state } => return state.poll(cx),
                StepProj::Asking { decided, call } => match ready!(decided.as_mut().poll(cx)) {
                    Ok(told) => {
                        let (mut service, req) = call.take().expect("polled after completion");
                        let future = service.call(req);
                        State::Called { future, told }
                    }
                    Err(rejection) => State::Rejected {
                        rejection: Some(rejection),
                    },
                },
            };
            step.set(Step::Decided { state });
        }
    }
}

impl<S, F, Req> fmt::Debug for SharedFuture<S, F, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedFuture").finish_non_exhaustive()
    }
}
