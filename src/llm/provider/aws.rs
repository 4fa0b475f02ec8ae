//! Amazon's access keys, and the signatures that they make: [Signature Version 4][sigv4].
//!
//! ```
//! use tower_gateway::llm::{Provider, provider::AwsCredentials};
//!
//! # fn main() -> Result<(), tower_gateway::llm::provider::InvalidProvider> {
//! # async fn assume_role() -> Result<(String, String, String, std::time::SystemTime), std::io::Error> {
//! #     Err(std::io::ErrorKind::Other.into())
//! # }
//! let bedrock = Provider::bedrock("eu-central-1", || async {
//!     let (access_key, secret, session_token, expiry) = assume_role().await?;
//!     Ok::<_, std::io::Error>(
//!         AwsCredentials::new(access_key, secret)
//!             .session_token(session_token)
//!             .expires_at(expiry),
//!     )
//! })?;
//! assert_eq!(bedrock.name(), "bedrock");
//! # Ok(())
//! # }
//! ```
//!
//! What is signed is the method, the path, the query, `content-type`, `host`, the headers that begin with
//! `x-amz-`, and the body as it is sent. Whatever else stands between the gateway and Amazon may add to the
//! other headers.
//!
//! A closure is asked as [`credential`](super::credential) says.
//!
//! [sigv4]: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html

use super::{
    Credential,
    credential::{Authorizing, Kept, Lasts, left_until, unfit},
};
use crate::{BoxError, Rejection, rejection::Kind};
use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header::CONTENT_TYPE};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// By which Amazon knows whose keys they are for: both of Bedrock's hosts have it.
const SERVICE: &str = "bedrock";
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// What is shorter is found by chance.
const SHORTEST: usize = 8;

/// An access key, its secret, and how long they are good for. Shown nowhere.
#[derive(Clone)]
pub struct AwsCredentials {
    access_key: Arc<str>,
    secret: Arc<str>,
    session_token: Option<Arc<str>>,
    until: Option<Instant>,
}

impl AwsCredentials {
    /// Keys that are good for ever.
    #[must_use]
    pub fn new(access_key: impl AsRef<str>, secret: impl AsRef<str>) -> Self {
        Self {
            access_key: access_key.as_ref().trim().into(),
            secret: secret.as_ref().trim().into(),
            session_token: None,
            until: None,
        }
    }

    /// Those of the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, and if it is there,
    /// `AWS_SESSION_TOKEN`. `None` without the first two. How long they are good for is not told there.
    #[must_use]
    pub fn from_env() -> Option<Self> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The same for an environment of another kind.
    #[must_use]
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        let keys = Self::new(
            variable("AWS_ACCESS_KEY_ID")?,
            variable("AWS_SECRET_ACCESS_KEY")?,
        );
        Some(match variable("AWS_SESSION_TOKEN") {
            Some(token) => keys.session_token(token),
            None => keys,
        })
    }

    /// Adds the token that belongs to temporary keys.
    #[must_use]
    pub fn session_token(mut self, token: impl AsRef<str>) -> Self {
        self.session_token = Some(token.as_ref().trim().into());
        self
    }

    /// Sets how long they are good for from now on. At most a year.
    #[must_use]
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.until = Some(Instant::now() + time.min(YEAR));
        self
    }

    /// Sets until when they are good. At most a year from now on.
    #[must_use]
    pub fn expires_at(self, time: SystemTime) -> Self {
        self.expires_in(left_until(time))
    }

    fn is_in(&self, words: &[u8]) -> bool {
        let mut all = [Some(&self.secret), self.session_token.as_ref()].into_iter();
        all.any(|secret| {
            let secret = secret.filter(|secret| secret.len() >= SHORTEST);
            secret.is_some_and(|it| memchr::memmem::find(words, it.as_bytes()).is_some())
        })
    }
}

impl Lasts for AwsCredentials {
    fn until(&self) -> Option<Instant> {
        self.until
    }
}

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsCredentials").finish_non_exhaustive()
    }
}

/// Signs every call with what a closure gives.
pub(super) struct Signer {
    region: Arc<str>,
    keys: Kept<AwsCredentials>,
}

impl Signer {
    pub(super) fn new<F, Fut, E>(region: &str, keys: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<AwsCredentials, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self {
            region: region.into(),
            keys: Kept::new(keys),
        }
    }
}

impl Credential for Signer {
    fn authorize(&self, call: Request<Bytes>) -> Authorizing<'_> {
        Box::pin(async move {
            let keys = self.keys.get().await?;
            signed(call, &keys, &self.region, SERVICE, SystemTime::now())
        })
    }

    fn refused(&self) {
        self.keys.refused();
    }

    fn is_in(&self, words: &[u8]) -> bool {
        self.keys.any(|keys| keys.is_in(words))
    }
}

/// The call with its signature.
fn signed(
    mut call: Request<Bytes>,
    keys: &AwsCredentials,
    region: &str,
    service: &str,
    now: SystemTime,
) -> Result<Request<Bytes>, Rejection> {
    let failed = |error: BoxError| Rejection::new(Kind::Internal).with_source(error);
    let token = keys.session_token.as_deref().map(str::to_owned);
    let identity = Credentials::new(&*keys.access_key, &*keys.secret, token, None, "").into();
    // Its defaults are those of all services but one: the path is encoded a second time.
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| failed(error.into()))?
        .into();
    let named = |name: &HeaderName| *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-");
    let headers = call.headers().iter().filter(|(name, _)| named(name));
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let signable = SignableRequest::new(
        call.method().as_str(),
        call.uri().to_string(),
        headers,
        SignableBody::Bytes(call.body()),
    );
    // Why it cannot be is told of keys that cannot stand in a header, and tells them.
    let signable = signable.map_err(|error| failed(error.into()))?;
    let (instructions, _) = sign(signable, &params).map_err(|_| unfit())?.into_parts();
    let mut made = Vec::new();
    for (name, value) in instructions.headers() {
        let name = HeaderName::try_from(name).map_err(|error| failed(error.into()))?;
        let mut value = HeaderValue::try_from(value).map_err(|_| unfit())?;
        value.set_sensitive(true);
        made.push((name, value));
    }
    call.headers_mut().extend(made);
    Ok(call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, header::AUTHORIZATION};

    /// 2015-08-30T12:36:00Z.
    const THEN: Duration = Duration::from_secs(1_440_938_160);
    const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

    fn keys() -> AwsCredentials {
        AwsCredentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    }

    fn signature(
        method: &Method,
        url: &str,
        body: &str,
        keys: &AwsCredentials,
        of: &str,
    ) -> String {
        let mut call = Request::new(Bytes::copy_from_slice(body.as_bytes()));
        call.method_mut().clone_from(method);
        *call.uri_mut() = url.parse().unwrap();
        if of == SERVICE && method == Method::POST {
            let json = HeaderValue::from_static("application/json");
            call.headers_mut().insert(CONTENT_TYPE, json);
        }
        // What is not signed.
        let agent = HeaderValue::from_static("x");
        call.headers_mut().insert("user-agent", agent.clone());
        call.headers_mut().insert("traceparent", agent);
        let then = SystemTime::UNIX_EPOCH + THEN;
        let call = signed(call, keys, "us-east-1", of, then).unwrap();
        assert_eq!(call.headers()["x-amz-date"], "20150830T123600Z");
        let told = &call.headers()[AUTHORIZATION];
        assert!(told.is_sensitive());
        let told = told.to_str().unwrap();
        assert!(told.starts_with(&format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{of}/aws4_request, "
        )));
        told.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    /// `get-vanilla`, `post-vanilla` and `post-sts-header-before` of Amazon's test suite for the
    /// signature, `aws-sig-v4-test-suite`.
    #[test]
    fn the_published_examples_hold() {
        let with_token = keys().session_token(TOKEN);
        for (method, keys, expected) in [
            (
                Method::GET,
                keys(),
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                Method::POST,
                keys(),
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                Method::POST,
                with_token,
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
        ] {
            let url = "https://example.amazonaws.com/";
            assert_eq!(signature(&method, url, "", &keys, "service"), expected);
        }
    }

    /// As `SigV4Auth` of botocore 1.44.5 signs the same calls at that time.
    #[test]
    fn amazons_own_library_signs_alike() {
        let host = "https://bedrock-runtime.us-east-1.amazonaws.com/model";
        let claude = "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0";
        let arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.amazon.nova-lite-v1%3A0";
        let list =
            "https://bedrock.us-east-1.amazonaws.com/foundation-models?byOutputModality=TEXT";
        let with_token = keys().session_token("token/+=");
        let post = &Method::POST;
        for (method, url, body, keys, expected) in [
            (
                post,
                &format!("{host}/{claude}/converse-stream"),
                "{\"messages\":[]}",
                keys(),
                "84398646bf3400b6fe124cbb6c76b1ed0ceebcfcb83d3c5a6503a351fa906a98",
            ),
            (
                post,
                &format!("{host}/{arn}/converse"),
                "{\"é\":1}",
                with_token,
                "3ed89e80044492bf9e113c0a5e264ebdffa87ec1dc90bab84802bb671dc7e832",
            ),
            (
                &Method::GET,
                &list.to_owned(),
                "",
                keys(),
                "4fb207d6bec0b4e8e8ebf955aa402d72175e4b0cff140513d81e4d3b10b66fb3",
            ),
            (
                post,
                &"http://127.0.0.1:8080/model/m/converse".to_owned(),
                "{}",
                keys(),
                "25046d8323fc3e5216d8bb6b9a1f841ae3009f8393e3bc46cf90a7237df56671",
            ),
        ] {
            assert_eq!(
                signature(method, url, body, &keys, SERVICE),
                expected,
                "{url}"
            );
        }
    }

    #[test]
    fn keys_are_shown_nowhere_and_found_everywhere() {
        let keys = keys().session_token("canary-token");
        assert!(!format!("{keys:?}").contains("wJalr") && !format!("{keys:?}").contains("canary"));
        assert!(keys.is_in(b"so canary-token is wrong"));
        assert!(keys.is_in(b"so wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY is wrong"));
        assert!(!keys.is_in(b"all is well"));
        let wrong = AwsCredentials::new("AK\u{7f}", "s\n\u{e9}canary").session_token("a\nb");
        let call = Request::get("https://a/").body(Bytes::new()).unwrap();
        let refused = signed(call, &wrong, "us-east-1", SERVICE, SystemTime::UNIX_EPOCH);
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), Kind::UpstreamAuth);
        assert!(!format!("{refused:?}").contains("canary"));
    }

    #[test]
    fn an_environment_without_both_halves_has_no_keys() {
        let of = |all: &'static [(&str, &str)]| {
            AwsCredentials::from_variables(|name| {
                let found = all.iter().find(|(key, _)| *key == name)?;
                Some(found.1.to_owned())
            })
        };
        assert!(of(&[("AWS_ACCESS_KEY_ID", "a")]).is_none());
        let half = &[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", " ")];
        assert!(of(half).is_none());
        let all = of(&[
            ("AWS_ACCESS_KEY_ID", "a\n"),
            ("AWS_SECRET_ACCESS_KEY", "b"),
            ("AWS_SESSION_TOKEN", "c"),
        ])
        .unwrap();
        assert_eq!(
            (&*all.access_key, all.session_token.as_deref()),
            ("a", Some("c"))
        );
    }
}
