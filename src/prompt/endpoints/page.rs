//! A page to try prompts: one document, which asks nobody but this server.

use super::asked::Place;
use crate::{Body, prompt::random};
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;

const PAGE: &str = include_str!("page.html");

/// What stands in it for what is new every time.
const PLACE: &str = "NONCE";

/// The page. It is the same for everyone, but for the nonce that lets its own script and style run and
/// nothing else.
pub(super) fn page() -> Response<Body> {
    // A policy with an empty one lets nothing run.
    let nonce = random::bytes::<16>().map_or_else(String::new, |bytes| {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    });
    let mut response = Response::new(Body::from(PAGE.replace(PLACE, &nonce)));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = response.headers_mut();
    // A nonce is of hexadecimal digits.
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Answers with the page to try prompts, for callers whom nobody has asked yet who they are: a browser
/// that comes for the first time has no token to show.
///
/// It stands outside of authentication, and answers `GET` and `HEAD` of `{root}/` and nothing else.
#[derive(Clone, Debug)]
pub struct PageLayer {
    root: Arc<str>,
}

impl PageLayer {
    /// For [`Endpoints`](super::Endpoints) below this path, as requests have it here.
    #[must_use]
    pub fn new(root: impl Into<Arc<str>>) -> Self {
        Self { root: root.into() }
    }
}

impl<S> Layer<S> for PageLayer {
    type Service = Page<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Page {
            inner,
            root: self.root.clone(),
        }
    }
}

/// The service that [`PageLayer`] makes.
#[derive(Clone, Debug)]
pub struct Page<S> {
    inner: S,
    root: Arc<str>,
}

impl<S, B> Service<Request<B>> for Page<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = PageFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_page = [Method::GET, Method::HEAD].contains(request.method())
            && Place::asked(&self.root, request.uri().path(), request.headers())
                == Some(Place::Page);
        let state = if is_page {
            State::Page
        } else {
            State::Called {
                future: self.inner.call(request),
            }
        };
        PageFuture { state }
    }
}

pin_project! {
    /// Response future of [`Page`].
    pub struct PageFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Called {
            #[pin]
            future: F,
        },
        Page,
    }
}

impl<F, E> Future for PageFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().state.project() {
            StateProj::Called { future } => future.poll(cx),
            StateProj::Page => Poll::Ready(Ok(page())),
        }
    }
}

impl<F> fmt::Debug for PageFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn the_page_runs_its_own_script_and_asks_nobody_else() {
        let (one, other) = (page(), page());
        let policy = one.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert_ne!(
            policy,
            other.headers()[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap()
        );
        let nonce = policy.split("'nonce-").nth(1).unwrap();
        let nonce = nonce.split('\'').next().unwrap().to_owned();
        let text = one.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&text).unwrap();
        assert_eq!(text.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
        assert_eq!(text.matches("<script").count(), 1);
        for never in [
            "NONCE",
            "http:",
            "https:",
            "innerHTML",
            "eval(",
            "document.write",
            "insertAdjacent",
        ] {
            assert!(!text.contains(never), "{never}");
        }
    }
}
