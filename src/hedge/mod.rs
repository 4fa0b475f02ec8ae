//! Asking a second time what is slow to answer, and taking the answer that begins first.
//!
//! ```text
//!  call ──▶ first ─────────────────────────────────╳ dropped
//!             └─ delay ─▶ second ──▶ begun ──▶ the caller's
//! ```
//!
//! It is for the few answers that take far longer than others, for a reason that the next one does not have:
//! a lost packet, a pause of one server among several. It is no cure for a service that is slow
//! altogether, nor for one that fails: for that see [`retry`](crate::retry).
//!
//! # Example
//!
//! ```
//! use std::{convert::Infallible, sync::atomic::{AtomicU32, Ordering}, time::Duration};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_gateway::{Body, hedge::HedgeLayer};
//! # use http::{Request, Response};
//! # use tokio::time::{Instant, sleep};
//!
//! static CALLS: AtomicU32 = AtomicU32::new(0);
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # tokio::time::pause();
//! let hedge = HedgeLayer::after(Duration::from_millis(100));
//! let service = ServiceBuilder::new().layer(hedge.clone()).service_fn(async |_: Request<Body>| {
//!     if CALLS.fetch_add(1, Ordering::Relaxed) == 0 {
//!         sleep(Duration::from_secs(5)).await;
//!     }
//!     Ok::<_, Infallible>(Response::new(Body::empty()))
//! });
//!
//! let start = Instant::now();
//! service.oneshot(Request::new(Body::empty())).await.unwrap();
//! assert!(start.elapsed() < Duration::from_millis(110));
//! assert_eq!((hedge.stats().hedges(), hedge.stats().won()), (1, 1));
//! # }
//! ```
//!
//! # When
//!
//! After a [fixed](HedgeLayer::after) delay, or after that in which [95 %](HedgeLayer::new) of the answers
//! of the last half to whole minute have begun; of fewer than 20 nothing is known, and nothing is asked
//! twice. If there is no answer after the same time again, a third may be [asked for](HedgeLayer::extra).
//!
//! # Which requests
//!
//! Those that are idempotent (RFC 9110 §9.2.2) and can be [kept](crate::reissue): a body of at most
//! [64 KiB](HedgeLayer::body_limit) that says how large it is. A call of a language model costs money even
//! if nobody waits for it, so it is asked twice only if [that is meant](HedgeLayer::billed).
//!
//! # Who wins
//!
//! The answer that [begins](crate::answer::Begin) first: over HTTP with its head, of a language model with
//! its first content. One that failed does not win while another runs; it is dropped, and what the last of
//! them says holds. The others are dropped *before* the winner is handed out, with their permits and
//! connections. A breaker further in counts them as nobody's fault, unless it minds slow calls and they
//! already were.
//!
//! # How much
//!
//! Further attempts come from the [`Deadline`] of the exchange, as those of a retry do, and from a
//! [`Budget`]: by default 10 % of the calls of the last 10 seconds, and one a second beside. A service that
//! has become slow altogether is not asked twice as much for it. All attempts stand in
//! [`Exchange`](crate::Exchange), losers too.
//!
//! # Answers
//!
//! | answer | status | code | headers |
//! |---|--:|---|---|
//! | that begins first | the service's | | |
//! | the body of the request broke off while it was read | 400, or what its error says | `invalid_request` | |
//!
//! **What if its store is down**: there is none. Percentile and budget are of one process.
//!
//! # What is shared
//!
//! Budget, counts and what is known of latencies belong to the layer value: its clones, and all services
//! that they wrap, have them in common. Every setter starts fresh ones, but a budget that was
//! [given](HedgeLayer::budget) stays.
//!
//! # Cancellation
//!
//! To drop the future drops all attempts.

mod latency;
mod race;
mod stats;

pub use self::stats::Stats;

pub use crate::reissue::ResponseFuture;

use self::{latency::Latencies, race::hedged, stats::Counts};
use crate::{Extensible, Health, Reject, answer::Begin, deadline::Budget, reissue::Reissue};
use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

#[cfg(doc)]
use crate::deadline::Deadline;

/// Applies [`Hedge`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct HedgeLayer {
    shared: Arc<Shared>,
    /// Whether the budget was given.
    given: bool,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    budget: Option<Budget>,
    latencies: Mutex<Latencies>,
    counts: Counts,
}

#[derive(Clone, Debug)]
struct Config {
    delay: Delay,
    extra: u32,
    body_limit: usize,
    billed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Delay {
    Fixed(Duration),
    Percentile(u32),
}

impl HedgeLayer {
    /// Asks a second time after the delay in which 95 % of the answers have begun.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Delay::Percentile(95))
    }

    /// Asks a second time after this delay.
    #[must_use]
    pub fn after(delay: Duration) -> Self {
        Self::of(Delay::Fixed(delay))
    }

    fn of(delay: Delay) -> Self {
        let config = Config {
            delay,
            extra: 1,
            body_limit: 64 * 1024,
            billed: false,
        };
        let budget = Budget::rate().percent(10).minimum(1);
        Self {
            shared: Arc::new(Shared::new(config, Some(budget))),
            given: false,
        }
    }

    /// Asks after the delay in which so many of a hundred answers have begun. Taken as from 1 to 99.
    #[must_use]
    pub fn percentile(self, percent: u8) -> Self {
        let delay = Delay::Percentile(percent.clamp(1, 99).into());
        self.set(|config| config.delay = delay)
    }

    /// Sets how often it is asked beside the first time: once by default, and twice at most.
    #[must_use]
    pub fn extra(self, attempts: u32) -> Self {
        self.set(|config| config.extra = attempts.min(2))
    }

    /// Sets how large a body may be that is kept, in bytes. 64 KiB by default.
    #[must_use]
    pub fn body_limit(self, bytes: usize) -> Self {
        self.set(|config| config.body_limit = bytes)
    }

    /// Asks a second time also where [each call costs money](Reissue::is_billed), as those of language
    /// models do: the loser is paid for, too.
    #[must_use]
    pub fn billed(self) -> Self {
        self.set(|config| config.billed = true)
    }

    /// Sets how much may be asked a second time all in all, or `None`: no limit but that of each exchange.
    #[must_use]
    pub fn budget(mut self, budget: impl Into<Option<Budget>>) -> Self {
        self.given = true;
        self.shared = Arc::new(Shared::new(self.shared.config.clone(), budget.into()));
        self
    }

    /// After how long a call is asked a second time just now. `None`: too little is known.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.shared.delay()
    }

    /// What was asked a second time, up to now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counts.stats()
    }

    fn set(mut self, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.shared.config.clone();
        set(&mut config);
        let budget = self.shared.budget.as_ref();
        let budget = budget.map(|budget| {
            if self.given {
                budget.clone()
            } else {
                budget.fresh()
            }
        });
        self.shared = Arc::new(Shared::new(config, budget));
        self
    }
}

impl Default for HedgeLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl Shared {
    fn new(config: Config, budget: Option<Budget>) -> Self {
        let percent = match config.delay {
            Delay::Percentile(percent) => percent,
            Delay::Fixed(_) => 0,
        };
        Self {
            config,
            budget,
            latencies: Mutex::new(Latencies::new(percent)),
            counts: Counts::default(),
        }
    }

    fn delay(&self) -> Option<Duration> {
        match self.config.delay {
            Delay::Fixed(delay) => Some(delay),
            Delay::Percentile(_) => self.lock().percentile(),
        }
    }

    fn record(&self, start: Instant) {
        if let Delay::Percentile(_) = self.config.delay {
            let now = Instant::now();
            self.lock().record(now - start, now);
        }
    }

    // What is in it is valid after every statement.
    fn lock(&self) -> MutexGuard<'_, Latencies> {
        self.latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Layer<S> for HedgeLayer {
    type Service = Hedge<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let shared = self.shared.clone();
        Hedge { inner, shared }
    }
}

/// Asks the inner service a second time if it is slow to answer.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct Hedge<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, Req> Service<Req> for Hedge<S>
where
    S: Service<Req> + Clone + Send + 'static,
    S::Response: Health<S::Error> + Begin<S::Error> + Reject<S::Error> + Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send,
    Req: Reissue + Extensible,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Req) -> Self::Future {
        // The clone has not been made ready.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        ResponseFuture::new(hedged(inner, req, self.shared.clone()))
    }
}

#[cfg(test)]
mod tests;
