//! Endpoints that are looked up, now and then.

use crate::{BoxError, balance::Endpoint};
use futures_core::Stream;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// What was found, and for how long that is to be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The endpoints. If there are none, what was found before stays.
    pub endpoints: Vec<Endpoint>,
    /// When to look again.
    pub valid_for: Duration,
}

type Look = Pin<Box<dyn Future<Output = Result<Found, BoxError>> + Send>>;

/// Endpoints that a closure looks up, again and again, as often as what it finds says: what `dns` is made
/// of, and what a registry of services can be asked by.
pub struct Lookups {
    of: Box<str>,
    ask: Box<dyn Fn() -> Look + Send>,
    least: Duration,
    most: Duration,
    timer: Pin<Box<Sleep>>,
    asking: Option<Look>,
    last: Option<Vec<Endpoint>>,
}

impl Lookups {
    /// Asks `ask` for the endpoints `of` something, which is named in logs. What is found is believed for 5
    /// seconds at the least and 5 minutes at the most, whatever it says; after a failure it is asked again
    /// in 5 seconds.
    #[must_use]
    pub fn new<F, Fut>(of: impl Into<Box<str>>, ask: F) -> Self
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Found, BoxError>> + Send + 'static,
    {
        Self {
            of: of.into(),
            ask: Box::new(move || Box::pin(ask())),
            least: Duration::from_secs(5),
            most: Duration::from_secs(300),
            timer: Box::pin(sleep_until(Instant::now())),
            asking: None,
            last: None,
        }
    }

    /// Sets for how long what is found is believed at the least and at the most. After a failure it is
    /// asked again when the least is over. At least ten milliseconds, at most a day.
    #[must_use]
    pub fn ttl(self, least: Duration, most: Duration) -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        let least = least.clamp(Duration::from_millis(10), day);
        let most = most.clamp(least, day);
        Self {
            least,
            most,
            ..self
        }
    }

    /// What is new in what was found, and when to look again.
    fn news(&mut self, found: Result<Found, BoxError>) -> (Option<Vec<Endpoint>>, Duration) {
        let of = &*self.of;
        let found = found.and_then(|mut found| {
            // In whatever order they come, it is the same set.
            found
                .endpoints
                .sort_unstable_by(|a, b| a.name().cmp(b.name()));
            found.endpoints.dedup_by(|a, b| a.name() == b.name());
            match found.endpoints.is_empty() {
                true => Err("nothing was found".into()),
                false => Ok(found),
            }
        });
        match found {
            Ok(found) => {
                let wait = found.valid_for.clamp(self.least, self.most);
                if self.last.as_ref() == Some(&found.endpoints) {
                    return (None, wait);
                }
                tracing::info!(of, count = found.endpoints.len(), "endpoints are found");
                self.last = Some(found.endpoints.clone());
                (Some(found.endpoints), wait)
            }
            Err(error) => {
                tracing::error!(of, %error, "endpoints cannot be found: those that were found before stay");
                (None, self.least)
            }
        }
    }
}

impl Stream for Lookups {
    type Item = Vec<Endpoint>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(asking) = &mut this.asking else {
                ready!(this.timer.as_mut().poll(cx));
                this.asking = Some((this.ask)());
                continue;
            };
            let found = ready!(asking.as_mut().poll(cx));
            this.asking = None;
            let (news, wait) = this.news(found);
            this.timer.as_mut().reset(Instant::now() + wait);
            if let Some(news) = news {
                return Poll::Ready(Some(news));
            }
        }
    }
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups")
            .field("of", &self.of)
            .finish_non_exhaustive()
    }
}
