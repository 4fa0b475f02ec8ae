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
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
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

/// Whether a host may be this very machine, in any of the ways in which resolvers let it be written: what
/// nobody out there may have us fetch from. More hosts than those that [are told to be](is_loopback).
pub(crate) fn may_be_this_machine(uri: &Uri) -> bool {
    let Some(host) = uri.host() else {
        return true;
    };
    let own = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<Ipv6Addr>() {
        // `::127.0.0.1`, too, is taken for an IPv4 address by some.
        return own(ip.into())
            || own(ip.to_canonical())
            || ip.to_ipv4().is_some_and(|v4| own(v4.into()));
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if let Ok(ip) = name.parse::<Ipv4Addr>() {
        // All of 0.0.0.0/8 is this host on this network, RFC 1122 §3.2.1.3.
        return own(ip.into()) || ip.octets()[0] == 0;
    }
    // `127.1`, `0x7f000001` and `0177.0.0.1` are addresses of old, of which nobody need write one.
    let last = name.rsplit('.').next().unwrap_or_default();
    let number = last.starts_with(|first: char| first.is_ascii_digit());
    number || name == "localhost" || name.ends_with(".localhost")
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
    #[test]
    fn this_machine_is_known_however_it_is_written() {
        let own =
            |host: &str| may_be_this_machine(&format!("https://{host}/jwks").parse().unwrap());
        for host in [
            "localhost",
            "LOCALHOST.",
            "keys.localhost",
            "127.0.0.1",
            "127.9.9.9:8443",
            "127.0.0.1.",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]:8443",
            "[::127.0.0.1]",
        ] {
            assert!(own(host), "{host}");
        }
        for host in [
            "issuer.example",
            "localhost.example",
            "127.0.0.1.example",
            "192.0.2.1",
            "[2001:db8::1]",
            "1.issuer.example",
        ] {
            assert!(!own(host), "{host}");
        }
    }
}
