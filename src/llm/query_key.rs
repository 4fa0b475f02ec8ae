//! Takes a key out of a URI.
//!
//! Older clients of Gemini send their key in the query, `?key=…`, where every log and every proxy sees
//! it. [`QueryKeyLayer`] moves it into the header `x-goog-api-key`, so that it is looked for in one
//! place, is marked as sensitive, and is in no URI that anyone further in could write down. It stands
//! outermost. Looked at are paths of Google's (below `/v1beta`, `/v1alpha`, `/upload/v1beta` and
//! `/upload/v1alpha`, or with one of its methods at the end) and the models below `/v1/models`, which
//! Google's clients of `v1` ask for. There the header makes the client Google's for all further in.
//!
//! A request with different keys in header and query has two values in the header then, and
//! authentication refuses it.
//!
//! ```
//! use http::Request;
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_gateway::llm::query_key::QueryKeyLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let service = QueryKeyLayer::new().layer(service_fn(async |request: Request<()>| {
//!     assert_eq!(request.uri(), "/v1beta/models?pageSize=5");
//!     assert_eq!(request.headers()["x-goog-api-key"], "secret+1");
//!     Ok::<_, ()>(())
//! }));
//! let request = Request::get("/v1beta/models?key=secret%2B1&pageSize=5").body(()).unwrap();
//! service.oneshot(request).await.unwrap();
//! # }
//! ```

use super::{Protocol, dialect, serve::decoded};
use http::{HeaderName, HeaderValue, Request, Uri, uri::PathAndQuery};
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

const HEADER: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Applies [`QueryKey`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct QueryKeyLayer;

impl QueryKeyLayer {
    /// Looks at paths of Google's, and at `/v1/models`.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for QueryKeyLayer {
    type Service = QueryKey<S>;

    fn layer(&self, inner: S) -> QueryKey<S> {
        QueryKey { inner }
    }
}

/// Moves a key from the query to a header.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct QueryKey<S> {
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for QueryKey<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let path = request.uri().path();
        let listed = path.strip_prefix("/v1/models");
        let listed = listed.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if request.uri().query().is_some()
            && (listed || dialect::of(path, request.headers()) == Some(Protocol::Gemini))
        {
            moved(&mut request);
        }
        self.inner.call(request)
    }
}

fn moved<B>(request: &mut Request<B>) {
    let query = request.uri().query().unwrap_or_default();
    let key_of = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name) == "key").then(|| decoded(value))
    };
    let (mut keys, mut rest) = (Vec::new(), Vec::new());
    for pair in query.split('&') {
        match key_of(pair) {
            Some(key) => keys.push(key),
            None => rest.push(pair),
        }
    }
    if keys.is_empty() {
        return;
    }
    let path = request.uri().path();
    let path = match rest.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", rest.join("&")),
    };
    let mut parts = request.uri().clone().into_parts();
    // It was a part of one that could be parsed.
    parts.path_and_query = Some(
        path.parse()
            .unwrap_or_else(|_| PathAndQuery::from_static("/v1beta")),
    );
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    for key in keys {
        let Ok(mut value) = HeaderValue::try_from(key) else {
            continue;
        };
        value.set_sensitive(true);
        let headers = request.headers_mut();
        if !headers.get_all(HEADER).iter().any(|known| *known == value) {
            headers.append(HEADER, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(uri: &str, header: Option<&'static str>) -> (String, Vec<String>) {
        let mut request = Request::get(uri).body(()).unwrap();
        if let Some(header) = header {
            let value = HeaderValue::from_static(header);
            request.headers_mut().insert(HEADER, value);
        }
        moved(&mut request);
        let keys = request.headers().get_all(HEADER).iter();
        let keys = keys.map(|key| key.to_str().unwrap().to_owned());
        (request.uri().to_string(), keys.collect())
    }

    #[tokio::test]
    async fn googles_paths_are_looked_at_and_no_others() {
        for (path, kept) in [
            ("/v1beta/models", false),
            ("/v1alpha/models/m:generateContent", false),
            ("/upload/v1beta/files", false),
            ("/upload/v1alpha/files", false),
            ("/v1/models", false),
            ("/v1/models/m", false),
            ("/v1/models/m:generateContent", false),
            ("/v1/modelsque", true),
            ("/v1/chat/completions", true),
            ("/upload", true),
        ] {
            let seen = tower::service_fn(async |request: Request<()>| {
                Ok::<_, ()>((request.uri().query().is_some(), request.headers().len()))
            });
            let mut service = QueryKeyLayer::new().layer(seen);
            let request = Request::get(format!("{path}?key=k")).body(()).unwrap();
            let answer = service.call(request).await;
            assert_eq!(answer, Ok((kept, usize::from(!kept))), "{path}");
        }
    }

    #[test]
    fn a_key_leaves_the_uri_and_nothing_else_does() {
        for (uri, header, left, keys) in [
            ("/v1beta/m?key=k", None, "/v1beta/m", &["k"][..]),
            (
                "/v1beta/m?alt=sse&key=k&a=%26",
                None,
                "/v1beta/m?alt=sse&a=%26",
                &["k"],
            ),
            ("/v1beta/m?%6bey=k%2d1", None, "/v1beta/m", &["k-1"]),
            ("/v1beta/m?key=k", Some("k"), "/v1beta/m", &["k"]),
            (
                "/v1beta/m?key=k&key=l",
                Some("m"),
                "/v1beta/m",
                &["m", "k", "l"],
            ),
            ("/v1beta/m?monkey=k", None, "/v1beta/m?monkey=k", &[]),
            ("/v1beta/m?key=%0a", None, "/v1beta/m", &[]),
            (
                "http://h:1/v1beta/m?key=k",
                None,
                "http://h:1/v1beta/m",
                &["k"],
            ),
        ] {
            let (uri, found) = after(uri, header);
            assert_eq!(
                (&*uri, found),
                (left, keys.iter().map(|key| (*key).to_owned()).collect())
            );
        }
    }
}
