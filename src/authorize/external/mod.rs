//! Someone else says who may do what: an external decision, over HTTP or in this process.
//!
//! Before a call is made the layer asks a [`Decide`]: a policy server over HTTP, in the manner of Envoy's
//! `ext_authz`, by
#![cfg_attr(feature = "client", doc = "an [`HttpDecider`],")]
#![cfg_attr(not(feature = "client"), doc = "an `HttpDecider`,")]
//! or a closure of yours. It stands behind authentication, so that it can say who calls.
//!
//! # Example
//!
//! ```
//! use axum::{Router, routing::get};
//! use http::{HeaderMap, HeaderName, HeaderValue};
//! use tower::ServiceExt;
//! use tower_gateway::authorize::external::{Decision, ExternalLayer, Question};
//! # use axum::{body::Body, http::Request};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! const TIER: HeaderName = HeaderName::from_static("x-tier");
//!
//! let layer = ExternalLayer::new(|question: Question| async move {
//!     match question.uri.path() {
//!         "/open" => Decision::allow().with_header(TIER, HeaderValue::from_static("gold")),
//!         "/closed" => Decision::deny(),
//!         _ => Decision::unknown("nobody has thought of that"),
//!     }
//! })
//! .upstream_headers([TIER]);
//!
//! let tier = async |headers: HeaderMap| headers["x-tier"].to_str().unwrap().to_owned();
//! let app: Router = Router::new().route("/{*rest}", get(tier)).layer(layer.clone());
//! # let ask = |path: &str| app.clone().oneshot(Request::get(path).header("x-tier", "mine").body(Body::empty()).unwrap());
//!
//! let open = ask("/open").await.unwrap();
//! assert_eq!(tower_gateway::collect(open.into_body(), 100).await.unwrap(), "gold");
//! assert_eq!(ask("/closed").await.unwrap().status(), 403);
//!
//! let unknown = ask("/other").await.unwrap();
//! assert_eq!(unknown.status(), 503);
//! assert_eq!(unknown.headers()["retry-after"], "1");
//! assert_eq!(layer.stats().undecided(), 1);
//! # }
//! ```
//!
//! # Answers
//!
//! | what was decided | status | code | headers |
//! |---|--:|---|---|
//! | to allow | that of the service | | |
//! | to deny: an `HttpDecider` was answered 401 by nobody's request, or by somebody's | 401 | `missing_api_key`, `invalid_api_key` | its `WWW-Authenticate`, and those of its headers that are [asked for](HttpDecider::client_headers) |
//! | the same, 404 | 404 | `not_found` | the same |
//! | the same, 429 | 429 | `rate_limit_exceeded` | the same, and its `Retry-After` |
//! | the same, any other 4xx or 3xx; [`Decision::deny`] | 403 | `insufficient_permissions` | the same |
//! | [`Decision::Deny`] | that of its [`Rejection`] | | its own |
//! | nothing: no connection, no answer in 200 ms, 5xx, [`Decision::Unknown`] | 503 | `auth_unavailable` | `Retry-After: 1` |
//! | nothing, with [`OnFailure::Allow`] | that of the service | | |
//! | nobody was asked: the path is not in its [normal form](crate::path), in which a router sees it | 400 | `invalid_request` | |
//! | nobody was asked: the body is larger than is [read](ExternalLayer::body) | 413 | `request_too_large` | |
//! | nobody was asked: that part of the body did not come in 10 s | 408 | `request_timeout` | |
//!
//! **What if its store is down**, that is, whoever decides: [`on_failure`](ExternalLayer::on_failure) says,
//! and by default nobody is let in. After three failures in a row it is left alone for a second, in which
//! calls do not wait for it; then one call asks, and by that one's answer it is left alone again, or asked
//! by all. A line in the log tells of each change, [`Stats`] how it stands, and an exchange in which a call
//! was let in undecided says so ([`Facts::failed_open`](crate::exchange::Facts::failed_open)).
//!
//! # What the service is told
//!
//! Of the headers of a decision those that [`upstream_headers`](ExternalLayer::upstream_headers) names, and
//! no others. What callers send under these names is taken out always (with `_` for `-` too), whatever was
//! decided and also if the decision gives none, so that what the service finds there was decided. A proxy
//! further in passes them on, whatever they are called, and a caller cannot have them taken out by
//! `Connection`: the layer [vouches](crate::identity::Vouched) for them. A value that is not printable
//! ASCII, or more than 8 KiB of them, is a decision that cannot be read, which is none.
//!
//! # What is kept
//!
//! Nothing, unless [`cache`](ExternalLayer::cache) is set.
//!
//! # What is shared
//!
//! Decisions that are kept, counts, and whether the decider is left alone belong to the layer value: all
//! services that it wraps share them, and so do its clones. Every setter starts afresh.
//!
//! # Cancellation
//!
//! The service is called only after the decision. A call that is dropped before drops its question, and
//! counts neither as a failure of the decider nor as an answer.

mod cache;
mod decide;
#[cfg(feature = "client")]
mod remote;
mod service;
mod stats;
mod subject;

pub use self::{
    decide::{Decide, Decision, Excerpt, Question},
    service::{External, ResponseFuture},
    stats::Stats,
    subject::Subject,
};
#[cfg(feature = "client")]
pub use self::{
    outward::InvalidUrl,
    remote::{HttpDecider, HttpDecision, InvalidHeader},
};

use self::{
    cache::{Cache, Kept, Name},
    stats::Counts,
};
#[cfg(feature = "client")]
use crate::client::outward;
use crate::{
    BoxError, Exchange, Extensible, Rejection,
    identity::{self, Vouched},
    pause::{Pause, Turn},
    rejection::Kind,
};
use http::{HeaderMap, HeaderName};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};
use tower_layer::Layer;

/// The most bytes of what a decision tells a service.
const MOST_TOLD: usize = 8 * 1024;

/// What is done with calls of which nobody says whether they may be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// They are refused with 503 `auth_unavailable`.
    #[default]
    Deny,
    /// They are let in, undecided. Each is counted, and its exchange says so.
    Allow,
}

/// What is done with a body that is larger than is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLarger {
    /// The call is refused with 413, and nobody is asked.
    Refuse,
    /// Its beginning is sent, and that there is more.
    Truncate,
}

/// Applies [`External`] to a service.
///
/// See the [module docs](self) for an example.
pub struct ExternalLayer<D> {
    decider: Arc<D>,
    config: Arc<Config>,
    shared: Arc<Shared>,
}

#[derive(Clone, Debug)]
struct Config {
    timeout: Duration,
    on_failure: OnFailure,
    pause: Duration,
    told: Vouched,
    body: Option<(usize, OnLarger)>,
    cache: Option<(Duration, usize)>,
}

struct Shared {
    pause: Mutex<Pause>,
    cache: Option<Mutex<Cache>>,
    counts: Counts,
}

impl<D> ExternalLayer<D> {
    /// Waits 200 ms for a decision, refuses where there is none, tells the service nothing, reads no body
    /// and keeps no decision.
    #[must_use]
    pub fn new(decider: D) -> Self {
        Self::of(
            Arc::new(decider),
            Config {
                timeout: Duration::from_millis(200),
                on_failure: OnFailure::Deny,
                pause: Duration::from_secs(1),
                told: Vouched::new([]),
                body: None,
                cache: None,
            },
        )
    }

    fn of(decider: Arc<D>, config: Config) -> Self {
        let cache = config.cache;
        let cache = cache.map(|(holds, most)| Mutex::new(Cache::new(holds, most)));
        Self {
            decider,
            config: Arc::new(config),
            shared: Arc::new(Shared {
                pause: Mutex::default(),
                cache,
                counts: Counts::default(),
            }),
        }
    }

    fn set(self, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = Arc::unwrap_or_clone(self.config);
        set(&mut config);
        Self::of(self.decider, config)
    }

    /// Sets how long a decision may take. 200 ms by default, a minute at the most.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|config| config.timeout = timeout.min(Duration::from_secs(60)))
    }

    /// Sets what is done where nobody decides. By default calls are [refused](OnFailure::Deny).
    #[must_use]
    pub fn on_failure(self, on_failure: OnFailure) -> Self {
        self.set(|config| config.on_failure = on_failure)
    }

    /// Sets for how long a decider is left alone that did not answer three times in a row. A second by
    /// default, a minute at the most.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        self.set(|config| config.pause = pause.min(Duration::from_secs(60)))
    }

    /// Sets which headers of a decision reach the service, in the place of what callers send under these
    /// names. None by default. Those that say how a message is read, such as `content-length`, are left
    /// out. See the [module docs](self#what-the-service-is-told).
    #[must_use]
    pub fn upstream_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let framing = |name: &HeaderName| !is_framing(name);
        self.set(|config| config.told = Vouched::new(names.into_iter().filter(framing)))
    }

    /// Reads so many bytes of a body, and lets them be looked at; without it none is read. The service
    /// gets all of the body, and what is behind these bytes as it comes.
    ///
    /// Not for services whose callers wait for an answer before they go on sending: the part is waited for,
    /// for 10 seconds.
    #[must_use]
    pub fn body(self, bytes: usize, on_larger: OnLarger) -> Self {
        self.set(|config| config.body = Some((bytes, on_larger)))
    }

    /// Keeps decisions, either way, for so long and of so many questions. None by default. At most an hour.
    ///
    /// What one principal may do from one address, by one method of one host, on one path with its query and
    /// of one model, is then decided once: whoever decides by anything else, such as a header, must not be
    /// kept. Of calls of nobody, and where a
    /// [body](Self::body) is read, nothing is kept.
    #[must_use]
    pub fn cache(self, holds: Duration, decisions: usize) -> Self {
        let holds = holds.min(Duration::from_secs(60 * 60));
        self.set(|config| config.cache = Some((holds, decisions)))
    }

    /// How it went so far. For gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(self.shared.clone())
    }
}

impl<D> Clone for ExternalLayer<D> {
    fn clone(&self) -> Self {
        Self {
            decider: self.decider.clone(),
            config: self.config.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<D> fmt::Debug for ExternalLayer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalLayer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl<S, D> Layer<S> for ExternalLayer<D> {
    type Service = External<S, D>;

    fn layer(&self, inner: S) -> Self::Service {
        External::new(inner, self.clone())
    }
}

impl<D> ExternalLayer<D> {
    /// What was decided of a question before, if that still holds.
    fn kept(&self, name: &Name) -> Option<Result<HeaderMap, Rejection>> {
        let cache = lock(self.shared.cache.as_ref()?);
        let kept = cache.get(name, Instant::now())?;
        Some(match kept {
            Kept::Allow(headers) => Ok(headers.clone()),
            Kept::Deny(rejection) => Err(rejection.clone()),
        })
    }

    /// In whose name a decision would be kept.
    fn name(&self, question: &Question) -> Option<Name> {
        if self.config.body.is_some() || self.shared.cache.is_none() {
            return None;
        }
        cache::name(question)
    }
}

impl<D: Decide> ExternalLayer<D> {
    /// Asks, and prepares the request for the service.
    async fn admit<R: Subject>(
        self,
        request: R,
        mut question: Question,
        name: Option<Name>,
    ) -> Result<R::Asked, Rejection> {
        let mut request = match self.config.body {
            None => request.asked(),
            Some((most, on_larger)) => {
                let (request, excerpt) = request.read(most).await?;
                if excerpt.truncated && on_larger == OnLarger::Refuse {
                    return Err(Kind::TooLarge.into());
                }
                question.body = Some(excerpt);
                request
            }
        };
        match self.ask(question).await {
            Ok(decided) => {
                // Whoever is asked to come back later may then be let in.
                let later = |rejection: &Rejection| rejection.retry_after().is_some();
                let name = name.filter(|_| !decided.as_ref().is_err_and(later));
                if let (Some(cache), Some(name)) = (&self.shared.cache, name) {
                    let kept = match &decided {
                        Ok(headers) => Kept::Allow(headers.clone()),
                        Err(rejection) => Kept::Deny(rejection.clone()),
                    };
                    lock(cache).put(name, kept, Instant::now());
                }
                self.shared.counts.decided(decided.is_ok());
                self.tell(&mut request, decided?);
            }
            Err(error) => self.undecided(&mut request, error)?,
        }
        Ok(request)
    }

    /// What was decided, in time and so that it can be told; or why nothing was.
    async fn ask(&self, question: Question) -> Result<Result<HeaderMap, Rejection>, BoxError> {
        let turn = lock(&self.shared.pause).turn(Instant::now());
        let turn = turn.ok_or("it did not answer, and is left alone for a while")?;
        let mut asking = Asking {
            shared: &self.shared,
            turn: Some(turn),
        };
        let deciding = self.decider.decide(question);
        let decision = timeout(self.config.timeout, deciding).await;
        let decision = decision.unwrap_or_else(|_| Decision::unknown("no decision in time"));
        match decision {
            Decision::Unknown(error) => {
                asking.failed(&*error, &self.config);
                Err(error)
            }
            Decision::Allow(headers) => {
                asking.answered();
                self.readable(&headers).map(Ok)
            }
            Decision::Deny(rejection) => {
                asking.answered();
                Ok(Err(rejection))
            }
        }
    }

    /// Those headers of a decision that the service is told.
    fn readable(&self, headers: &HeaderMap) -> Result<HeaderMap, BoxError> {
        let mut told = HeaderMap::new();
        let mut bytes = 0;
        for name in self.config.told.names() {
            for value in headers.get_all(name) {
                let printable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
                if !value.as_bytes().iter().all(printable) {
                    return Err("a header of the decision is not printable".into());
                }
                bytes += name.as_str().len() + value.len();
                told.append(name, value.clone());
            }
        }
        if bytes > MOST_TOLD {
            return Err("the headers of the decision are too large".into());
        }
        Ok(told)
    }
}

impl<D> ExternalLayer<D> {
    /// Takes out what callers say under the names of decisions.
    fn strip(&self, request: &mut impl Extensible) {
        identity::remove(request.headers_mut(), self.config.told.names());
    }

    /// Tells the service.
    fn tell(&self, request: &mut impl Extensible, headers: HeaderMap) {
        let mut last = None;
        for (name, value) in headers {
            last = name.or(last);
            if let Some(name) = &last {
                request.headers_mut().append(name, value);
            }
        }
        self.config.told.add(request);
    }

    fn undecided(&self, request: &mut impl Extensible, error: BoxError) -> Result<(), Rejection> {
        let lets_in = self.config.on_failure == OnFailure::Allow;
        self.shared.counts.undecided(lets_in);
        if !lets_in {
            let wait = self.config.pause.max(Duration::from_secs(1));
            return Err(Rejection::new(Kind::AuthUnavailable)
                .with_detail("Whether this is permitted cannot be found out for now.")
                .with_retry_after(wait)
                .with_source(error));
        }
        if let Some(exchange) = Exchange::of(request) {
            exchange.update(|facts| facts.failed_open = true);
        }
        self.tell(request, HeaderMap::new());
        Ok(())
    }
}

/// Headers that say how a message is read, and to whom it goes.
fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "expect"
            | "host"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

// What is locked here is valid after every statement, whoever panicked with the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A question that is asked. Dropped before it is answered, it makes room for another.
struct Asking<'a> {
    shared: &'a Shared,
    turn: Option<Turn>,
}

impl Asking<'_> {
    fn answered(&mut self) {
        self.turn = None;
        if lock(&self.shared.pause).answered() {
            tracing::info!("authorization: who decides answers again");
        }
    }

    fn failed(&mut self, error: &(dyn std::error::Error + 'static), config: &Config) {
        let Some(turn) = self.turn.take() else { return };
        if lock(&self.shared.pause).failed(turn, Instant::now(), config.pause) {
            let instead = config.on_failure;
            tracing::warn!(
                error,
                ?instead,
                "authorization: who decides does not answer"
            );
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn {
            lock(&self.shared.pause).dropped(turn);
        }
    }
}
