//! Whether a request is for the name that its connection was made for.
//!
//! A client names a server twice: in the handshake of TLS (RFC 6066 section 3, SNI), by which certificates
//! are chosen and those of clients are asked for, and in each request (`Host`, `:authority`), by which
//! routes are. Who asks for `public.example` in the one and for `admin.example` in the other has passed the
//! checks of one name and reaches what is behind another. Such a request is answered with 421, upon which a
//! client makes a connection of its own for the other name (RFC 9110 section 15.5.20, RFC 9113 section
//! 9.1.1). HTTP/2 clients share connections among names of one certificate, and mean no harm.
//!
//! # Example
//!
//! ```
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use tower::ServiceExt;
//! use tower_gateway::{server_name::ServerNameLayer, tls::TlsInfo};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app: Router = Router::new().route("/", get(async || "hello")).layer(ServerNameLayer::new());
//!
//! let ask = async |host: &str| {
//!     // From the server that ends TLS.
//!     let tls = TlsInfo::new().server_name("public.example").one_name();
//!     let request = Request::get("/").header("host", host).extension(tls).body(Body::empty());
//!     app.clone().oneshot(request.unwrap()).await.unwrap().status().as_u16()
//! };
//! assert_eq!(ask("public.example:8443").await, 200);
//! assert_eq!(ask("admin.example").await, 421);
//! # }
//! ```
//!
//! # Where it holds
//!
//! On connections of which [`TlsInfo::one_name`] says so. A gateway's `Tls` says it where it
//! chooses among certificates by name, or asks clients for theirs, unless it is told otherwise. A connection
//! without TLS, or by which no name was asked for, has nothing to compare with: RFC 6066 has no names that
//! are addresses. Names are compared without their ports, without a dot at the end, and in lower case. All
//! that a request says of its host must be that name.
//!
//! # Answers
//!
//! | request | status | code | headers |
//! |---|--:|---|---|
//! | for the name of the connection, or by one that is for any | the service's | | |
//! | for another name | 421 | `misdirected_request` | |
//!
//! **What if its store is down**: there is none. Nothing is kept, and nothing is shared.

use crate::{
    Rejection,
    admit::{Admit, Admitted},
    rejection::Kind,
    tls::TlsInfo,
};
use http::{Request, header, uri::Authority};
use tower_layer::Layer;

/// Applies [`ServerName`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerNameLayer(());

impl ServerNameLayer {
    /// Refuses requests for another name than that of their connection, where that is for one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for ServerNameLayer {
    type Service = ServerName<S>;

    fn layer(&self, inner: S) -> ServerName<S> {
        Admitted::new(inner, *self)
    }
}

impl<B> Admit<Request<B>> for ServerNameLayer {
    fn admit(&self, request: &mut Request<B>) -> Result<(), Rejection> {
        match is_misdirected(request) {
            true => Err(Kind::Misdirected.into()),
            false => Ok(()),
        }
    }
}

/// Turns away requests that are for another name than their connection.
///
/// See the [module docs](self) for an example.
pub type ServerName<S> = Admitted<S, ServerNameLayer>;

fn is_misdirected<B>(request: &Request<B>) -> bool {
    let tls = request.extensions().get::<TlsInfo>();
    let Some(name) = tls
        .filter(|tls| tls.is_of_one_name())
        .and_then(TlsInfo::name)
    else {
        return false;
    };
    let uri = request.uri().host();
    if uri.is_some_and(|host| !same(name, host)) {
        return true;
    }
    // What cannot be read is no name, and so not this one.
    let mut headers = request.headers().get_all(header::HOST).iter();
    headers.any(|host| {
        let authority = Authority::try_from(host.as_bytes());
        authority.map_or(true, |authority| !same(name, authority.host()))
    })
}

fn same(name: &str, host: &str) -> bool {
    let plain = |name: &str| name.strip_suffix('.').unwrap_or(name).len();
    name[..plain(name)].eq_ignore_ascii_case(&host[..plain(host)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misdirected(uri: &str, hosts: &[&str], tls: Option<TlsInfo>) -> bool {
        let mut request = Request::get(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        let mut request = request.body(()).unwrap();
        if let Some(tls) = tls {
            request.extensions_mut().insert(tls);
        }
        is_misdirected(&request)
    }

    #[test]
    fn all_that_a_request_says_of_its_host_is_compared() {
        let tls = || Some(TlsInfo::new().server_name("a.example").one_name());
        for (uri, hosts, wrong) in [
            ("/", &["a.example"][..], false),
            ("/", &["A.Example:8443"], false),
            ("/", &["a.example."], false),
            ("/", &[], false),
            ("https://a.example/", &[], false),
            ("https://a.example:8443/", &["a.example"], false),
            ("/", &["b.example"], true),
            ("/", &["a.example.org"], true),
            ("/", &["a.exampl"], true),
            ("/", &["192.0.2.1"], true),
            ("/", &["[2001:db8::1]:443"], true),
            ("/", &["a.example@b.example"], true),
            ("/", &["a.example, b.example"], true),
            ("/", &["a.example", "b.example"], true),
            ("/", &["b.example", "a.example"], true),
            ("https://b.example/", &["a.example"], true),
            ("https://a.example/", &["b.example"], true),
        ] {
            assert_eq!(misdirected(uri, hosts, tls()), wrong, "{uri} {hosts:?}");
        }
    }

    #[test]
    fn where_there_is_nothing_to_compare_with_all_is_well() {
        for tls in [
            None,
            Some(TlsInfo::new().one_name()),
            Some(TlsInfo::new().server_name("a.example")),
        ] {
            assert!(!misdirected("/", &["b.example"], tls));
        }
    }
}
