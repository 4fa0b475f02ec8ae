//! Credentials that are made for each call.
//!
//! A [key](super::Provider::key) stands in a header and stays the same. Whatever else shows a vendor who
//! calls is a [`Credential`]: it gets the call as it will be sent, may wait, and may sign all of it.
//!
//! ```
//! use std::time::Duration;
//! use tower_gateway::llm::{Provider, provider::Token};
//!
//! # async fn ask_the_token_service() -> Result<(String, u64), std::io::Error> {
//! #     Ok(("ya29.example".to_owned(), 3600))
//! # }
//! # fn main() -> Result<(), tower_gateway::llm::provider::InvalidProvider> {
//! let vertex = Provider::custom("vertex", "https://example.com/v1")?.bearer(|| async {
//!     let (token, seconds) = ask_the_token_service().await?;
//!     Ok::<_, std::io::Error>(Token::new(token).expires_in(Duration::from_secs(seconds)))
//! });
//! assert!(!format!("{vertex:?}").contains("ya29"));
//! # Ok(())
//! # }
//! ```
//!
//! # How long what a closure gives is kept
//!
//! Until its expiry, for ever if it has none. In the last three minutes (in the last tenth of its time, if
//! that is less) one call asks for the next, and all others go on with the one there is; so does the
//! one that asked, if there is none to be had. Without one that is good, calls wait for the one that
//! asks, which is given 10 seconds. A failure is the answer to all calls of the next second. One that
//! the vendor refuses (401, 403) is dropped, if it is older than half a minute.
//!
//! # What is shared, and cancellation
//!
//! Clones of a provider share what was made. A call that is dropped while it asks leaves the asking to
//! the next one.

use super::key::ApiKey;
use crate::{BoxError, Rejection, rejection::Kind};
use bytes::Bytes;
use http::{Request, header::AUTHORIZATION};
use std::{
    fmt,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

/// The future of [`Credential::authorize`].
pub type Authorizing<'a> =
    Pin<Box<dyn Future<Output = Result<Request<Bytes>, Rejection>> + Send + 'a>>;

/// Shows a vendor who calls. See the [module docs](self).
pub trait Credential: Send + Sync + 'static {
    /// The call, with what the vendor wants to see. It comes with all of its headers but those that
    /// the connection adds (`host`, `content-length`), and is sent as it is returned.
    ///
    /// # Errors
    ///
    /// Most often [`Kind::UpstreamAuth`]: there is nothing to show.
    fn authorize(&self, call: Request<Bytes>) -> Authorizing<'_>;

    /// Is told that the vendor refused what it was shown.
    fn refused(&self) {}

    /// Whether a secret stands somewhere in these words of a vendor. They reach nobody then.
    fn is_in(&self, words: &[u8]) -> bool {
        let _ = words;
        false
    }
}

/// A token for `authorization: Bearer`, and how long it is good for.
///
/// White space around it is left out. One that cannot stand in a header fails every call with
/// [`Kind::UpstreamAuth`].
#[derive(Clone)]
pub struct Token {
    value: ApiKey,
    until: Option<Instant>,
}

impl Token {
    /// A token that is good for ever.
    #[must_use]
    pub fn new(value: impl AsRef<str>) -> Self {
        Self {
            value: ApiKey::new(value.as_ref()),
            until: None,
        }
    }

    /// Sets how long it is good for from now on. At most a year.
    #[must_use]
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.until = Some(Instant::now() + time.min(YEAR));
        self
    }

    /// Sets until when it is good. At most a year from now on.
    #[must_use]
    pub fn expires_at(self, time: SystemTime) -> Self {
        self.expires_in(left_until(time))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

/// How long it is until then.
pub(super) fn left_until(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::now()).unwrap_or_default()
}

/// Tokens of a closure.
pub(super) struct Bearer(Kept<Token>);

impl Bearer {
    pub(super) fn new<F, Fut, E>(tokens: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Token, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self(Kept::new(tokens))
    }
}

impl Credential for Bearer {
    fn authorize(&self, mut call: Request<Bytes>) -> Authorizing<'_> {
        Box::pin(async move {
            let token = self.0.get().await?;
            let header = token.value.header("Bearer ").ok_or_else(unfit)?;
            call.headers_mut().insert(AUTHORIZATION, header);
            Ok(call)
        })
    }

    fn refused(&self) {
        self.0.refused();
    }

    fn is_in(&self, words: &[u8]) -> bool {
        self.0.any(|token| token.value.is_in(words))
    }
}

/// What is to be shown has characters that no key has.
pub(super) fn unfit() -> Rejection {
    let reason = "the credentials have characters that none have";
    Rejection::new(Kind::UpstreamAuth).with_source(reason)
}

/// What has an end.
pub(super) trait Lasts {
    /// Until when it is good.
    fn until(&self) -> Option<Instant>;
}

impl Lasts for Token {
    fn until(&self) -> Option<Instant> {
        self.until
    }
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long before its end the next one is asked for. Some services give out the same one until five
/// minutes before its end.
const AHEAD: Duration = Duration::from_secs(3 * 60);
/// How long nobody asks again for one that is good.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a failure stands.
const FAILED: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

type Made<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// What a closure gives, until it ends.
pub(super) struct Kept<T> {
    make: Box<dyn Fn() -> Made<T> + Send + Sync>,
    held: Mutex<Held<T>>,
    /// Held by the one who asks.
    asking: AsyncMutex<()>,
}

struct Held<T> {
    value: Option<Entry<T>>,
    failure: Option<(Instant, Rejection)>,
}

struct Entry<T> {
    value: T,
    made: Instant,
    /// From when on the next one is asked for.
    renew: Option<Instant>,
}

/// What there is.
enum Found<T> {
    Good(T),
    /// Good, but not for long.
    Old(T),
    Failed(Rejection),
    None,
}

impl<T: Lasts + Clone> Held<T> {
    fn find(&self, now: Instant) -> Found<T> {
        if let Some(entry) = &self.value
            && entry.value.until().is_none_or(|until| now < until)
        {
            let value = entry.value.clone();
            return match entry.renew {
                Some(renew) if renew <= now => Found::Old(value),
                _ => Found::Good(value),
            };
        }
        match &self.failure {
            Some((until, rejection)) if now < *until => Found::Failed(rejection.clone()),
            _ => Found::None,
        }
    }

    fn keep(&mut self, value: T, now: Instant) {
        let renew = value.until().map(|until| {
            let ahead = AHEAD.min(until.saturating_duration_since(now) / 10);
            let renew = until.checked_sub(ahead).unwrap_or(until);
            // Whoever gave the same one again is not asked at every call.
            renew.max(now + PAUSE)
        });
        self.failure = None;
        self.value = Some(Entry {
            value,
            made: now,
            renew,
        });
    }
}

impl<T: Lasts + Clone + Send + 'static> Kept<T> {
    pub(super) fn new<F, Fut, E>(make: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self {
            make: Box::new(move || {
                let made = make();
                Box::pin(async move { made.await.map_err(Into::into) })
            }),
            held: Mutex::new(Held {
                value: None,
                failure: None,
            }),
            asking: AsyncMutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self) -> Found<T> {
        self.held().find(Instant::now())
    }

    pub(super) async fn get(&self) -> Result<T, Rejection> {
        match self.find() {
            Found::Good(value) => return Ok(value),
            Found::Failed(rejection) => return Err(rejection),
            Found::Old(value) => {
                let Ok(_asking) = self.asking.try_lock() else {
                    return Ok(value);
                };
                return Ok(match self.make().await {
                    Ok(next) => next,
                    Err(_) => {
                        if let Some(entry) = &mut self.held().value {
                            entry.renew = Some(Instant::now() + PAUSE);
                        }
                        value
                    }
                });
            }
            Found::None => {}
        }
        let _asking = self.asking.lock().await;
        // Whoever held it may have brought one.
        match self.find() {
            Found::Good(value) | Found::Old(value) => Ok(value),
            Found::Failed(rejection) => Err(rejection),
            Found::None => self.make().await,
        }
    }

    async fn make(&self) -> Result<T, Rejection> {
        let made = match tokio::time::timeout(PATIENCE, (self.make)()).await {
            Ok(made) => made,
            Err(_) => Err("the credentials did not come in time".into()),
        };
        let now = Instant::now();
        let made = made.and_then(|value| match value.until() {
            Some(until) if until <= now => Err("the credentials that came have expired".into()),
            _ => Ok(value),
        });
        let mut held = self.held();
        match made {
            Ok(value) => {
                held.keep(value.clone(), now);
                Ok(value)
            }
            Err(error) => {
                tracing::warn!(error, "no credentials for a vendor");
                let rejection = Rejection::new(Kind::UpstreamAuth)
                    .with_detail("The gateway has no credentials for the provider.")
                    .with_source(error);
                held.failure = Some((now + FAILED, rejection.clone()));
                Err(rejection)
            }
        }
    }

    /// Drops what is there, unless it is quite new: it was refused for another reason then.
    pub(super) fn refused(&self) {
        let mut held = self.held();
        let old = |entry: &Entry<T>| entry.made + PAUSE <= Instant::now();
        if held.value.as_ref().is_some_and(old) {
            held.value = None;
        }
    }

    /// Whether there is one of which this holds.
    pub(super) fn any(&self, holds: impl FnOnce(&T) -> bool) -> bool {
        let held = self.held();
        held.value.as_ref().is_some_and(|entry| holds(&entry.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    /// Counts how often it is asked, and gives its count as a token of an hour.
    fn counting(fails: fn(usize) -> bool) -> (Arc<AtomicUsize>, Bearer) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let bearer = Bearer::new(move || {
            let now = count.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                match fails(now) {
                    true => Err("canary-no-token"),
                    false => {
                        let token = Token::new(format!("canary-{now}"));
                        Ok(token.expires_in(Duration::from_secs(3600)))
                    }
                }
            }
        });
        (asked, bearer)
    }

    async fn shown(bearer: &Bearer) -> Result<String, Rejection> {
        let call = bearer.authorize(Request::new(Bytes::new())).await?;
        let header = &call.headers()[AUTHORIZATION];
        assert!(header.is_sensitive());
        Ok(header.to_str().unwrap().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_asked_for_once_by_many_and_renewed_ahead_of_its_end() {
        let (asked, bearer) = counting(|_| false);
        let (one, two) = tokio::join!(shown(&bearer), shown(&bearer));
        assert_eq!((one.unwrap(), two.unwrap()), both("Bearer canary-1"));
        tokio::time::advance(Duration::from_secs(3600 - 181)).await;
        assert_eq!(shown(&bearer).await.unwrap(), "Bearer canary-1");
        tokio::time::advance(Duration::from_secs(1)).await;
        // One asks, the other goes on.
        let (one, two) = tokio::join!(shown(&bearer), shown(&bearer));
        assert_eq!(one.unwrap(), "Bearer canary-2");
        assert_eq!(two.unwrap(), "Bearer canary-1");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert!(bearer.is_in(b"no canary-2 here"));
    }

    fn both(text: &str) -> (String, String) {
        (text.to_owned(), text.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_good_outlives_a_failure() {
        let (asked, bearer) = counting(|now| now > 1);
        shown(&bearer).await.unwrap();
        tokio::time::advance(Duration::from_secs(3600 - 100)).await;
        for _ in 0..3 {
            assert_eq!(shown(&bearer).await.unwrap(), "Bearer canary-1");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(shown(&bearer).await.unwrap_err().kind(), Kind::UpstreamAuth);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_the_answer_to_all_who_wait_and_is_tried_again() {
        let (asked, bearer) = counting(|now| now == 1);
        let (one, two) = tokio::join!(shown(&bearer), shown(&bearer));
        for refused in [one.unwrap_err(), two.unwrap_err()] {
            assert_eq!(refused.kind(), Kind::UpstreamAuth);
            assert!(!refused.to_string().contains("canary"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(shown(&bearer).await.unwrap(), "Bearer canary-2");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_refused_is_not_shown_again_unless_it_is_new() {
        let (_, bearer) = counting(|_| false);
        shown(&bearer).await.unwrap();
        bearer.refused();
        assert_eq!(shown(&bearer).await.unwrap(), "Bearer canary-1");
        tokio::time::advance(Duration::from_secs(31)).await;
        bearer.refused();
        assert_eq!(shown(&bearer).await.unwrap(), "Bearer canary-2");
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_leaves_the_asking_to_the_next() {
        let (asked, bearer) = counting(|_| false);
        let given_up = tokio::time::timeout(Duration::from_millis(1), shown(&bearer)).await;
        assert!(given_up.is_err());
        assert_eq!(shown(&bearer).await.unwrap(), "Bearer canary-2");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_or_has_expired_is_refused() {
        let never = Bearer::new(std::future::pending::<Result<Token, BoxError>>);
        assert_eq!(shown(&never).await.unwrap_err().kind(), Kind::UpstreamAuth);
        let expired = Bearer::new(|| {
            let token = Token::new("canary").expires_at(SystemTime::UNIX_EPOCH);
            std::future::ready(Ok::<_, BoxError>(token))
        });
        assert_eq!(
            shown(&expired).await.unwrap_err().kind(),
            Kind::UpstreamAuth
        );
        let unfit = Bearer::new(|| std::future::ready(Ok::<_, BoxError>(Token::new("a b"))));
        let refused = shown(&unfit).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::UpstreamAuth);
        assert!(!format!("{refused:?} {:?}", Token::new("canary")).contains("canary"));
    }
}
