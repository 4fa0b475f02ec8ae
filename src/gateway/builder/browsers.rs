//! What concerns browsers, and the wire.

use super::GatewayBuilder;
use crate::gateway::slot::Slot;
use http::{HeaderName, HeaderValue, header};
use std::time::Duration;
use tower_http::{
    compression::{CompressionLayer, DefaultPredicate, Predicate, predicate::NotForContentType},
    cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer},
    set_header::SetResponseHeaderLayer,
};

/// What a page may read of an answer, besides the few headers that any may.
const EXPOSED: [HeaderName; 15] = [
    // The id of a request, where OpenAI's clients look for it, and Anthropic's.
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-upstream-request-id"),
    // Whether to try again and when, in the clients of both.
    header::RETRY_AFTER,
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
    HeaderName::from_static("openai-processing-ms"),
    HeaderName::from_static("x-gateway-loss"),
    HeaderName::from_static("x-gateway-estimate"),
    HeaderName::from_static("x-gateway-explain"),
];

impl GatewayBuilder {
    /// Lets pages of these origins call, such as `https://app.example.com`. `*` lets all of them call,
    /// without cookies.
    ///
    /// They can read what stock clients look for in an answer: `x-request-id`, `request-id`, `retry-after`,
    /// `x-should-retry`, `openai-processing-ms`, the headers of a rate limit, and the gateway's own.
    pub fn cors(mut self, origins: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut list = Vec::new();
        let mut any = false;
        for origin in origins {
            let origin = origin.as_ref();
            any |= origin == "*";
            match HeaderValue::from_str(origin) {
                Ok(value) if origin == "*" || origin.contains("://") => list.push(value),
                _ => self.fault(
                    "cors",
                    format!("{origin:?} is not an origin such as https://app.example.com"),
                ),
            }
        }
        let origins = if any {
            AllowOrigin::any()
        } else {
            AllowOrigin::list(list)
        };
        let layer = CorsLayer::new()
            .allow_origin(origins)
            .allow_methods(AllowMethods::mirror_request())
            // `*` would not cover `Authorization`, says the Fetch standard.
            .allow_headers(AllowHeaders::mirror_request())
            .max_age(Duration::from_secs(600))
            .expose_headers(EXPOSED);
        self.layer_at(Slot::Edge, layer)
    }

    /// Compresses answers with gzip or brotli for clients that ask for it. Event streams are left
    /// alone: they would be held back.
    pub fn compression(self) -> Self {
        let predicate = DefaultPredicate::new().and(NotForContentType::new("text/event-stream"));
        self.layer_at(Slot::Edge, CompressionLayer::new().compress_when(predicate))
    }

    /// Adds `X-Content-Type-Options: nosniff`, `X-Frame-Options: DENY` and `Referrer-Policy:
    /// no-referrer` to answers that do not say otherwise.
    pub fn security_headers(mut self) -> Self {
        for (name, value) in [
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            let value = HeaderValue::from_static(value);
            self = self.layer_at(
                Slot::Edge,
                SetResponseHeaderLayer::if_not_present(name, value),
            );
        }
        self
    }
}
