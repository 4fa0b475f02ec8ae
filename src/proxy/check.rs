//! Asking an upstream over HTTP how it is.

use super::{Proxy, target::InvalidUpstream};
use crate::{Body, BoxError, Rejection, balance::Checks, collect};
use http::{HeaderValue, Request, Response, header, uri::PathAndQuery};
use std::{future::poll_fn, ops::RangeInclusive};
use tower_service::Service;

/// How an upstream is asked over HTTP how it is, and what is a good answer.
///
/// It goes by the client of the pool, and past all that is done to requests of callers: the path is that of
/// the upstream itself, whatever path comes before those that are forwarded.
#[derive(Clone, Debug)]
pub struct HttpCheck {
    path: PathAndQuery,
    statuses: RangeInclusive<u16>,
    port: Option<u16>,
    checks: Checks,
}

/// The most that is read of an answer, so that its connection can be used again.
const MOST_READ: usize = 64 * 1024;

impl HttpCheck {
    /// By `GET` of this path, such as `/health`. Any status from 200 to 299 is a good one. How often, and how
    /// many make a difference, is as of [`Checks::new`].
    ///
    /// # Errors
    ///
    /// [`InvalidUpstream`] if that is no path.
    pub fn get(path: &str) -> Result<Self, InvalidUpstream> {
        let parsed = PathAndQuery::try_from(path).ok();
        let parsed = parsed.filter(|_| path.starts_with('/'));
        Ok(Self {
            path: parsed.ok_or(InvalidUpstream("the path of a check begins with a slash"))?,
            statuses: 200..=299,
            port: None,
            checks: Checks::new(),
        })
    }

    /// Sets which statuses are good ones.
    #[must_use]
    pub fn statuses(self, statuses: RangeInclusive<u16>) -> Self {
        Self { statuses, ..self }
    }

    /// Asks at another port of the same host.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        let port = Some(port);
        Self { port, ..self }
    }

    /// Sets how often, for how long, and how many make a difference.
    #[must_use]
    pub fn every(self, checks: Checks) -> Self {
        Self { checks, ..self }
    }

    pub(super) fn checks(&self) -> &Checks {
        &self.checks
    }

    /// Asks the upstream of this proxy.
    pub(super) async fn ask<C>(&self, proxy: Proxy<C>) -> Result<(), BoxError>
    where
        C: Service<Request<Body>, Response = Response<Body>, Error = Rejection>,
    {
        let target = &proxy.shared.target;
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = target.at(self.port, self.path.clone())?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, target.host.clone());
        let agent = HeaderValue::from_static("tower-gateway");
        headers.insert(header::USER_AGENT, agent);
        let mut client = proxy.client;
        poll_fn(|cx| client.poll_ready(cx)).await?;
        let response = client.call(request).await?;
        let status = response.status().as_u16();
        // What it says in words is not judged, nor whether it is all.
        let _ = collect(response.into_body(), MOST_READ).await;
        if self.statuses.contains(&status) {
            Ok(())
        } else {
            Err(format!("the status is {status}").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one() {
        assert!(HttpCheck::get("/health?deep=1").is_ok());
        for path in ["", "health", "http://up/health", "/a b"] {
            assert!(HttpCheck::get(path).is_err(), "{path}");
        }
    }
}
