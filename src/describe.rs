//! What a call is, and with what it was answered, for those who tell of it.
//!
//! [`TraceLayer`](crate::trace::TraceLayer), [`AccessLogLayer`](crate::access_log::AccessLogLayer)
//! and [`MetricsLayer`](https://docs.rs/tower-gateway/latest/tower_gateway/metrics/struct.MetricsLayer.html)
//! ask two questions that a request and an answer of HTTP, and of chat, can be asked. For types of
//! your own, answer them:
//!
//! ```
//! use tower_gateway::describe::{Describe, Described, Status};
//!
//! struct Question(String);
//! struct Reply(String);
//!
//! impl Describe for Question {
//!     fn describe(&self) -> Described<'_> {
//!         Described::new("ask")
//!     }
//! }
//!
//! // It has neither a status nor codes for its errors.
//! impl<E> Status<E> for Reply {}
//!
//! let question = Question("Why?".into());
//! assert_eq!(question.describe().method, "ask");
//! let get = http::Request::new(());
//! assert_eq!((get.describe().method, get.describe().path), ("GET", Some("/")));
//! ```

use crate::{End, Exchange, Extensible, Follow, Rejection, exchange::Facts};
use http::{Extensions, Method, Request, Response, StatusCode};
use std::{fmt, sync::Arc, thread, time::Duration};
use tokio::time::Instant;

/// What a request asks for, in words that are safe to count by.
#[diagnostic::on_unimplemented(
    message = "nothing says what a `{Self}` asks for",
    note = "for a request of your own, write `impl Describe for {Self}`"
)]
pub trait Describe {
    /// Says it.
    fn describe(&self) -> Described<'_>;
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Described<'a> {
    /// The method. It is written in a program, not by a caller, so there are few: for HTTP the nine
    /// standard ones, and `other`.
    pub method: &'static str,
    /// The path, as the caller sent it: without the query, and not fit to count by.
    pub path: Option<&'a str>,
}

impl<'a> Described<'a> {
    /// A method, and no path.
    #[must_use]
    pub fn new(method: &'static str) -> Self {
        Self { method, path: None }
    }

    /// Adds the path.
    #[must_use]
    pub fn with_path(mut self, path: &'a str) -> Self {
        self.path = Some(path);
        self
    }
}

impl<B> Describe for Request<B> {
    fn describe(&self) -> Described<'_> {
        Described::new(standard(self.method())).with_path(self.uri().path())
    }
}

/// RFC 9110 section 9, and RFC 5789.
fn standard(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => HEAD,
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => OTHER,
    }
}

const HEAD: &str = "HEAD";
/// What stands for all that is not told apart.
pub(crate) const OTHER: &str = "other";

/// With what a call was answered.
///
/// An answer that has neither a status nor codes implements it with an empty block.
#[diagnostic::on_unimplemented(
    message = "nothing says which status `Result<{Self}, {E}>` has",
    label = "no `Status<{E}>` for `{Self}`",
    note = "write `impl Status<{E}> for {Self} {{}}` if it has none"
)]
pub trait Status<E> {
    /// The HTTP status that was, or would be, the answer's.
    #[must_use]
    fn status(answer: Result<&Self, &E>) -> Option<StatusCode> {
        let _ = answer;
        None
    }

    /// The code of the error, also of one that came after the head. It is written in a program, so
    /// there are few.
    #[must_use]
    fn code(answer: Result<&Self, &E>) -> Option<&'static str> {
        let _ = answer;
        None
    }
}

/// The status, and the code of the rejection that a policy left in the extensions.
impl<B, E> Status<E> for Response<B> {
    fn status(answer: Result<&Self, &E>) -> Option<StatusCode> {
        answer.ok().map(Response::status)
    }

    fn code(answer: Result<&Self, &E>) -> Option<&'static str> {
        let rejection = answer.ok()?.extensions().get::<Rejection>()?;
        Some(rejection.kind().code())
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// All of the answer went out, whatever it says.
    Complete,
    /// There was an error in the place of an answer, or the answer broke off.
    Failed,
    /// The caller hung up before the end. Before the head, the status is said to be 499.
    ClientGone,
}

impl Ending {
    /// `complete`, `failed` or `client_gone`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::ClientGone => "client_gone",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Hears of one exchange, when it is over.
pub(crate) trait Watcher: Send + 'static {
    fn over(self, told: &Told<'_>);
}

/// An exchange that is over.
pub(crate) struct Told<'a> {
    pub(crate) exchange: &'a Exchange,
    pub(crate) status: Option<StatusCode>,
    pub(crate) ending: Ending,
    /// How many bytes went out, where an answer is made of bytes.
    pub(crate) bytes: Option<u64>,
    head_code: Option<&'static str>,
    end_code: Option<&'static str>,
}

impl Told<'_> {
    pub(crate) fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.exchange.start())
    }

    /// The code of the error, the latest that is known.
    pub(crate) fn error(&self, facts: &Facts) -> Option<&'static str> {
        self.end_code.or(facts.error).or(self.head_code)
    }
}

/// Waits in the call, then in its answer, and tells its watcher exactly once: also if the call or the
/// answer is dropped.
pub(crate) struct Watch<W: Watcher> {
    exchange: Exchange,
    watcher: Option<W>,
    /// A server drops what a `HEAD` is answered with, and nobody has hung up.
    head_only: bool,
    answered: bool,
    status: Option<StatusCode>,
    head_code: Option<&'static str>,
    bytes: Option<u64>,
}

impl<W: Watcher> Watch<W> {
    pub(crate) fn new(exchange: Exchange, method: &'static str, watcher: W) -> Self {
        Self {
            exchange,
            watcher: Some(watcher),
            head_only: method == HEAD,
            answered: false,
            status: None,
            head_code: None,
            bytes: None,
        }
    }

    /// Moves on into the answer.
    pub(crate) fn answered<Res, E>(mut self, answer: Result<Res, E>) -> Result<Res::Followed, E>
    where
        Res: Follow<E> + Status<E>,
    {
        self.answered = true;
        self.status = Res::status(answer.as_ref());
        self.head_code = Res::code(answer.as_ref());
        match answer {
            Ok(response) => Ok(response.follow_bytes(move |end, bytes| {
                self.bytes = bytes;
                match end {
                    End::Complete => self.settle(Ending::Complete, None),
                    End::Failed(error) => self.settle(Ending::Failed, Res::code(Err(error))),
                    End::Broken(error) => {
                        let rejection = error.downcast_ref::<Rejection>();
                        let code = rejection.map(|rejection| rejection.kind().code());
                        self.settle(Ending::Failed, code);
                    }
                    // Its drop tells.
                    End::Dropped => drop(self),
                }
            })),
            Err(error) => {
                self.settle(Ending::Failed, None);
                Err(error)
            }
        }
    }

    fn settle(&mut self, ending: Ending, end_code: Option<&'static str>) {
        if let Some(watcher) = self.watcher.take() {
            let broke_off = ending == Ending::Complete && self.exchange.broke_off();
            let ending = if broke_off { Ending::Failed } else { ending };
            watcher.over(&Told {
                exchange: &self.exchange,
                status: self.status,
                ending,
                bytes: self.bytes,
                head_code: self.head_code,
                end_code,
            });
        }
    }
}

impl<W: Watcher> Drop for Watch<W> {
    fn drop(&mut self) {
        if thread::panicking() {
            return self.settle(Ending::Failed, None);
        }
        if self.answered && self.head_only {
            return self.settle(Ending::Complete, None);
        }
        if !self.answered {
            self.status = StatusCode::from_u16(499).ok();
        }
        self.settle(Ending::ClientGone, None);
    }
}

/// Finds the template of a route that something foreign has matched.
#[derive(Clone, Default)]
pub(crate) struct RouteOf(Option<Arc<Find>>);

type Find = dyn Fn(&Extensions) -> Option<Arc<str>> + Send + Sync;

impl RouteOf {
    pub(crate) fn new(
        find: impl Fn(&Extensions) -> Option<Arc<str>> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(find)))
    }

    /// Adds it to what is known, unless a route is.
    pub(crate) fn note(&self, carrier: &impl Extensible, exchange: &Exchange) {
        let found = self.0.as_ref().and_then(|find| find(carrier.extensions()));
        if let Some(route) = found {
            exchange.update(|facts| {
                facts.route.get_or_insert(route);
            });
        }
    }
}

impl fmt::Debug for RouteOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RouteOf").field(&self.0.is_some()).finish()
    }
}
