//! Several upstreams that stand for one.

use super::{Proxy, check::HttpCheck, target::InvalidUpstream};
use crate::{
    Body, Rejection,
    balance::{Balance, Endpoint, Endpoints, Rules},
    client::Client,
    key::Global,
};
use futures_core::Stream;
use http::{Request, Response};
use std::{
    collections::HashSet,
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::runtime::Handle;
use tower_service::Service;

/// An upstream of a [`Pool`]: a URL, a weight and a priority.
///
/// Texts are upstreams of weight 1 and priority 0.
#[derive(Clone)]
pub struct Upstream {
    url: Box<str>,
    weight: u32,
    priority: u8,
}

impl Upstream {
    /// Of weight 1 and priority 0.
    #[must_use]
    pub fn new(url: impl Into<Box<str>>) -> Self {
        Self {
            url: url.into(),
            weight: 1,
            priority: 0,
        }
    }

    /// Sets how much it can take, compared to the others of its priority. Zero takes no calls.
    #[must_use]
    pub fn weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }

    /// Sets its priority, from 0, which is asked first, to 15.
    #[must_use]
    pub fn priority(self, priority: u8) -> Self {
        Self { priority, ..self }
    }
}

/// What is given as a URL may hold a secret, until it is found to be one that must not.
impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("weight", &self.weight)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}

macro_rules! urls {
    ($($url:ty),*) => {
        $(impl From<$url> for Upstream {
            fn from(url: $url) -> Self {
                Self::new(url)
            }
        })*
    };
}

urls!(&str, String, Box<str>);

impl From<&String> for Upstream {
    fn from(url: &String) -> Self {
        Self::new(url.as_str())
    }
}

/// What was given is no pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPool {
    /// Which upstream, from 1.
    upstream: Option<usize>,
    what: InvalidUpstream,
}

impl fmt::Display for InvalidPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.upstream {
            // The URL itself may hold a secret.
            Some(nth) => write!(f, "upstream {nth}: {}", self.what),
            None => self.what.fmt(f),
        }
    }
}

impl Error for InvalidPool {}

type Sets = Pin<Box<dyn Stream<Item = Vec<Endpoint>> + Send>>;

/// Several upstreams that stand for one, before they are [a service](Self::build).
///
/// See the [module docs](super#pools) for an example.
#[must_use]
pub struct Pool<C = Client, K = Global> {
    /// To the first of them.
    proxy: Proxy<C>,
    upstreams: Vec<Upstream>,
    rules: Rules,
    key: K,
    check: Option<HttpCheck>,
    sets: Option<Sets>,
}

/// A pool, as it is called. [`Balance::endpoints`] is the handle to its upstreams.
pub type PoolService<C = Client, K = Global> = Balance<Proxy<C>, K>;

impl Proxy {
    /// Forwards to several upstreams that stand for one another, by one [`Client`] with a pool of
    /// connections for each.
    ///
    /// # Errors
    ///
    /// [`InvalidPool`] if there is none, if one is no URL as of [`to`](Self::to), or if two have one host
    /// and port. It says which one it is, and not what was given.
    pub fn pool<U: Into<Upstream>>(
        upstreams: impl IntoIterator<Item = U>,
    ) -> Result<Pool, InvalidPool> {
        let upstreams: Vec<Upstream> = upstreams.into_iter().map(Into::into).collect();
        let mut names = HashSet::new();
        let mut first = None;
        for (nth, upstream) in upstreams.iter().enumerate() {
            let fault = |what| InvalidPool {
                upstream: Some(nth + 1),
                what,
            };
            let proxy = Self::to(&upstream.url).map_err(fault)?;
            if !names.insert(proxy.shared.name.clone()) {
                return Err(fault(InvalidUpstream("its host and port are there twice")));
            }
            first.get_or_insert(proxy);
        }
        let Some(proxy) = first else {
            return Err(InvalidPool {
                upstream: None,
                what: InvalidUpstream("a pool has at least one upstream"),
            });
        };
        Ok(Pool {
            proxy,
            upstreams,
            rules: Rules::default(),
            key: Global,
            check: None,
            sets: None,
        })
    }
}

impl<C, K> Pool<C, K> {
    /// Sets how calls are spread: a [`Strategy`](crate::balance::Strategy), or all of the [`Rules`]. By
    /// default to whoever has the fewest, and without those that [fail](crate::balance::Outlier).
    pub fn rules(self, rules: impl Into<Rules>) -> Self {
        let rules = rules.into();
        Self { rules, ..self }
    }

    /// Sets by what [`RingHash`](crate::balance::Strategy::RingHash) tells calls apart.
    pub fn key<T>(self, key: T) -> Pool<C, T> {
        Pool {
            proxy: self.proxy,
            upstreams: self.upstreams,
            rules: self.rules,
            key,
            check: self.check,
            sets: self.sets,
        }
    }

    /// Calls the upstreams, and checks them, by another client.
    pub fn client<T>(self, client: T) -> Pool<T, K> {
        Pool {
            proxy: self.proxy.client(client),
            upstreams: self.upstreams,
            rules: self.rules,
            key: self.key,
            check: self.check,
            sets: self.sets,
        }
    }

    /// Sets what is said of a [`Proxy`] for all of them: which prefix to strip, which headers to send.
    pub fn each(self, set: impl FnOnce(Proxy<C>) -> Proxy<C>) -> Self {
        let proxy = set(self.proxy);
        Self { proxy, ..self }
    }

    /// Asks each upstream now and then how it is. One that does not say that it is well gets no calls.
    pub fn check(self, check: HttpCheck) -> Self {
        let check = Some(check);
        Self { check, ..self }
    }

    /// Takes the upstreams from a source, each set of them in the place of the one before: from a
    /// [file or the DNS](crate::balance::discover), or any stream. Those that were given are the first set.
    ///
    /// The name of an endpoint is a host and a port. Scheme and path are those of the first upstream that
    /// was given, and so is the `Host` of endpoints that are addresses. Over `https` an address is left out:
    /// it is not the name that a certificate is for.
    pub fn discover<T>(self, sets: T) -> Self
    where
        T: Stream<Item = Vec<Endpoint>> + Send + 'static,
    {
        let sets: Option<Sets> = Some(Box::pin(sets));
        Self { sets, ..self }
    }

    /// Makes it a service. What [checks](Self::check) and [feeds](Self::discover) it runs as a task of
    /// this runtime, until the last clone of the service and the last handle are dropped.
    ///
    /// # Errors
    ///
    /// [`InvalidPool`] if there is such a task, and this is not called from within tokio.
    pub fn build(self) -> Result<PoolService<C, K>, InvalidPool>
    where
        C: Service<Request<Body>, Response = Response<Body>, Error = Rejection, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let Self {
            proxy,
            upstreams,
            rules,
            key,
            check,
            sets,
        } = self;
        let endpoints = Endpoints::new(rules);
        for (nth, upstream) in upstreams.iter().enumerate() {
            let one = proxy.beside(&upstream.url).map_err(|what| InvalidPool {
                upstream: Some(nth + 1),
                what,
            })?;
            let endpoint = Endpoint::new(one.shared.name.clone())
                .weight(upstream.weight)
                .priority(upstream.priority);
            endpoints.insert(endpoint, one);
        }
        if check.is_some() || sets.is_some() {
            let runtime = Handle::try_current().map_err(|_| InvalidPool {
                upstream: None,
                what: InvalidUpstream("checks and sources of upstreams run within tokio alone"),
            })?;
            if let Some(check) = check {
                runtime.spawn(endpoints.check(
                    check.checks().clone(),
                    move |_, proxy: Proxy<C>| {
                        let check = check.clone();
                        async move { check.ask(proxy).await }
                    },
                ));
            }
            if let Some(sets) = sets {
                let found = Found {
                    sets,
                    proxy: proxy.clone(),
                };
                // Those that cannot be called were left out.
                let make = move |endpoint: &Endpoint| {
                    let found = proxy.found(endpoint.name());
                    found.unwrap_or_else(|| proxy.clone())
                };
                runtime.spawn(endpoints.feed(found, make));
            }
        }
        Ok(Balance::new(endpoints).key(key))
    }
}

impl<C, K> fmt::Debug for Pool<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("upstreams", &self.upstreams)
            .field("rules", &self.rules)
            .field("check", &self.check)
            .finish_non_exhaustive()
    }
}

/// Sets of endpoints, without those that cannot be called.
struct Found<C> {
    sets: Sets,
    proxy: Proxy<C>,
}

/// The sets are in a box, and nothing else is ever pinned.
impl<C> Unpin for Found<C> {}

impl<C: Clone> Stream for Found<C> {
    type Item = Vec<Endpoint>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Vec<Endpoint>>> {
        loop {
            let Some(mut set) = ready!(self.sets.as_mut().poll_next(cx)) else {
                return Poll::Ready(None);
            };
            let named = set.len();
            set.retain(|endpoint| self.proxy.found(endpoint.name()).is_some());
            if set.len() < named {
                let left_out = named - set.len();
                tracing::warn!(left_out, "endpoints were found that cannot be called");
            }
            // A set that nobody can be reached by is no better than the last one.
            if !set.is_empty() {
                return Poll::Ready(Some(set));
            }
        }
    }
}
