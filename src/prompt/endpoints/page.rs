//! A page to try prompts: one document, which asks nobody but this server.

use crate::{Body, exchange::fresh_id};
use http::{HeaderName, HeaderValue, Response, header};

const PAGE: &str = include_str!("page.html");

/// What stands in it for what is new every time.
const PLACE: &str = "NONCE";

/// The page. It is the same for everyone, but for the nonce that lets its own script and style run and nothing else.
pub(super) fn page() -> Response<Body> {
    let nonce = fresh_id();
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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn the_page_runs_its_own_script_and_asks_nobody_else() {
        let (one, other) = (page(), page());
        let policy = one.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert_ne!(
            policy,
            other.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap()
        );
        let nonce = policy.split("'nonce-").nth(1).unwrap();
        let nonce = nonce.split('\'').next().unwrap().to_owned();
        let text = one.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&text).unwrap();
        assert_eq!(text.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
        assert_eq!(text.matches("<script").count(), 1);
        for never in ["NONCE", "http:", "https:", "innerHTML", "eval(", "document.write", "insertAdjacent"] {
            assert!(!text.contains(never), "{never}");
        }
    }
}
