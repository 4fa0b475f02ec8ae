//! Answers that last longer than the key that asked for them.

use super::{StoredKeys, look_up::Shared};
use crate::{Extensible, Follow, Principal, Rejection, auth::SecondPrincipal, rejection::Kind};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, Sleep, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

/// Ends answers whose key is revoked or over. It stands further in than the
/// [`AuthLayer`](crate::auth::AuthLayer) with the same keys. Where two credentials
/// [were asked for](crate::auth::AuthLayer::and_outer), either of them ends it.
///
/// An answer that streams is looked after twice in a [`ttl`](StoredKeys::ttl), with one look-up for
/// all answers of one key, and ends before its next piece within a `ttl` of the revocation, however fast
/// it comes. To the client it breaks off; on the plane of language models it ends in an event
/// that says so. While the store does not answer, answers go on.
///
/// ```
/// use tower_gateway::auth::{AuthLayer, stored::{EndRevokedLayer, MemoryKeys, Pepper, StoredKeys}};
///
/// let pepper = Pepper::new(1, "some 32 bytes or more that nobody knows")?;
/// let keys = StoredKeys::new(MemoryKeys::new(), pepper);
/// let layers = (AuthLayer::new(keys.clone()), EndRevokedLayer::new(&keys));
/// # Ok::<_, tower_gateway::storage::StoreError>(())
/// ```
#[derive(Clone)]
pub struct EndRevokedLayer(Arc<Shared>);

impl EndRevokedLayer {
    /// Looks after the answers to callers with one of these keys. Other callers are left alone.
    #[must_use]
    pub fn new(keys: &StoredKeys) -> Self {
        Self(keys.0.clone())
    }
}

impl fmt::Debug for EndRevokedLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndRevokedLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for EndRevokedLayer {
    type Service = EndRevoked<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let shared = self.0.clone();
        EndRevoked { inner, shared }
    }
}

/// Ends answers of the inner service whose key is revoked or over.
///
/// See [`EndRevokedLayer`].
#[derive(Clone)]
pub struct EndRevoked<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S: fmt::Debug> fmt::Debug for EndRevoked<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndRevoked")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, Req> Service<Req> for EndRevoked<S>
where
    S: Service<Req>,
    S::Response: Follow<S::Error>,
    Req: Extensible,
{
    type Response = <S::Response as Follow<S::Error>>::Followed;
    type Error = S::Error;
    type Future = EndRevokedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Req) -> Self::Future {
        let second = req.extensions().get().map(|SecondPrincipal(second)| second);
        let found = [Principal::of(&req), second];
        let [one, other] = found.map(|who| who.and_then(Principal::key_id).cloned());
        let other = other.filter(|other| one.as_ref() != Some(other));
        let ids = [one, other].into_iter().flatten();
        let watches = ids.map(|id| Watch::new(self.shared.clone(), id)).collect();
        EndRevokedFuture {
            future: self.inner.call(req),
            watches,
        }
    }
}

pin_project! {
    /// Response future of [`EndRevoked`].
    pub struct EndRevokedFuture<F> {
        #[pin]
        future: F,
        watches: Vec<Watch>,
    }
}

impl<F, Res, E> Future for EndRevokedFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    Res: Follow<E>,
{
    type Output = Result<Res::Followed, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.future.poll(cx));
        let mut watches = mem::take(this.watches);
        Poll::Ready(answer.map(|answer| match watches.is_empty() {
            true => answer.unfollowed(),
            false => answer.cut_between(move |cx, _| {
                let over = |watch: &mut Watch| watch.poll(cx).is_ready();
                // Each is asked, so that each can wake the task.
                match watches
                    .iter_mut()
                    .map(over)
                    .fold(false, |any, one| any | one)
                {
                    true => Poll::Ready(revoked()),
                    false => Poll::Pending,
                }
            }),
        }))
    }
}

impl<F> fmt::Debug for EndRevokedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndRevokedFuture").finish_non_exhaustive()
    }
}

type Check = Pin<Box<dyn Future<Output = Verdict> + Send>>;

enum Verdict {
    Good,
    Over,
    /// It is no key of the store.
    None,
    /// The store does not answer.
    Unknown,
}

/// The key behind one answer.
struct Watch {
    shared: Arc<Shared>,
    id: Arc<str>,
    /// How often it is looked after.
    every: Duration,
    next: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
    check: Option<Check>,
    /// Whether it was one of the store.
    known: bool,
    /// Whether it is not.
    foreign: bool,
}

impl Watch {
    fn new(shared: Arc<Shared>, id: Arc<str>) -> Self {
        let every = (shared.config.ttl / 2).max(Duration::from_millis(10));
        Self {
            every,
            next: Instant::now() + every,
            sleep: None,
            check: None,
            known: shared.known.get(&id).is_some(),
            foreign: false,
            shared,
            id,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.foreign {
            if let Some(check) = &mut self.check {
                let verdict = ready!(check.as_mut().poll(cx));
                self.check = None;
                match verdict {
                    Verdict::Good => self.known = true,
                    Verdict::Over => return Poll::Ready(()),
                    Verdict::None if self.known => return Poll::Ready(()),
                    Verdict::None => self.foreign = true,
                    Verdict::Unknown => {}
                }
                self.next = Instant::now() + self.every;
            }
            let next = self.next;
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(sleep_until(next)));
            if sleep.deadline() != next {
                sleep.as_mut().reset(next);
            }
            ready!(sleep.as_mut().poll(cx));
            let (shared, id, age) = (self.shared.clone(), self.id.clone(), self.every);
            self.check = Some(Box::pin(async move {
                match shared.within(&id, age).await {
                    Ok(Some(known)) if known.is_good(SystemTime::now()) => Verdict::Good,
                    Ok(Some(_)) => Verdict::Over,
                    Ok(None) => Verdict::None,
                    Err(_) => Verdict::Unknown,
                }
            }));
        }
        Poll::Pending
    }
}

fn revoked() -> Rejection {
    Rejection::new(Kind::InvalidCredentials)
}
