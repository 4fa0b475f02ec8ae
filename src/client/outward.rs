//! Asking someone of whom a policy depends, such as an issuer: where, and how much it may answer in how much
//! time.

use super::{Client, has_plain_port};
use crate::{Body, BoxError, CollectError, collect};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, uri::Scheme};
use std::{
    error::Error,
    fmt,
    future::poll_fn,
    net::{Ipv4Addr, Ipv6Addr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tower_service::Service;

/// How long an issuer may take, from the connection to the last byte.
pub(crate) const WITHIN: Duration = Duration::from_secs(5);

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

/// A client, of whatever type.
#[derive(Clone)]
pub(crate) struct Caller(Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>);

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Of a 200, and else empty.
    pub(crate) body: Bytes,
}

impl Caller {
    pub(crate) fn new<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        Self(Arc::new(move |request| {
            let mut service = service.clone();
            Box::pin(async move {
                let ready = poll_fn(|cx| service.poll_ready(cx)).await;
                ready.map_err(Into::into)?;
                service.call(request).await.map_err(Into::into)
            })
        }))
    }

    /// Waits for the head of an answer.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        (self.0)(request).await
    }

    /// Asks. A redirect is an answer like any other.
    pub(crate) async fn ask(
        &self,
        request: Request<Body>,
        most: usize,
    ) -> Result<Answer, BoxError> {
        let asking = async {
            let (head, body) = self.send(request).await?.into_parts();
            let body = if head.status == StatusCode::OK {
                collect(body, most).await.map_err(|error| match error {
                    CollectError::Broken(error) => error,
                    CollectError::TooLarge => "the answer is too large".into(),
                })?
            } else {
                Bytes::new()
            };
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body,
            })
        };
        match tokio::time::timeout(WITHIN, asking).await {
            Ok(answer) => answer,
            Err(_) => Err("no answer in time".into()),
        }
    }
}

impl Default for Caller {
    fn default() -> Self {
        Self::new(Client::new())
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller")
    }
}

/// Reads the URL of an issuer: `https`, or `http` to this very machine.
pub(crate) fn endpoint(url: &str) -> Result<Uri, InvalidUrl> {
    let uri: Uri = url.parse().map_err(|_| InvalidUrl(()))?;
    let authority = uri.authority().ok_or(InvalidUrl(()))?;
    let safe = uri.scheme() == Some(&Scheme::HTTPS)
        || uri.scheme() == Some(&Scheme::HTTP) && is_loopback(&uri);
    let plain =
        !authority.as_str().contains('@') && has_plain_port(authority) && !url.contains('#');
    if safe && plain {
        Ok(uri)
    } else {
        Err(InvalidUrl(()))
    }
}

/// Whether a URL points to this very machine.
pub(crate) fn is_loopback(uri: &Uri) -> bool {
    let Some(host) = uri.host() else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback())
        || bare.parse().is_ok_and(|ip: Ipv6Addr| ip.is_loopback())
}

/// No URL that an issuer may have: neither `https`, nor `http` to this very machine; or one with a user
/// or a fragment in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUrl(pub(crate) ());

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an https URL, nor an http URL of this machine")
    }
}

impl Error for InvalidUrl {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_reached_by_https_or_on_this_machine() {
        for url in [
            "https://issuer.example",
            "https://issuer.example:8443/a/b?c=d",
            "http://127.0.0.1:3000/",
            "http://127.8.8.8/",
            "http://[::1]:3000/",
            "http://localhost:3000",
            "http://LOCALHOST/",
        ] {
            assert!(endpoint(url).is_ok(), "{url}");
        }
        for url in [
            "http://issuer.example",
            "http://127.0.0.1.issuer.example/",
            "http://localhost.issuer.example/",
            "http://128.0.0.1/",
            "http://[::2]/",
            "https://user@issuer.example/",
            "http://127.0.0.1@issuer.example/",
            "https://issuer.example/#a",
            "https://issuer.example:x/",
            "ftp://issuer.example/",
            "file:///etc/passwd",
            "/keys",
            "issuer.example",
            "",
        ] {
            assert!(endpoint(url).is_err(), "{url}");
        }
    }
}
