//! The kinds of rejections: one table.

use http::StatusCode;

/// Why a call was refused.
///
/// Each kind has one HTTP status, one code for programs and one sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The caller named no credentials.
    Unauthenticated,
    /// The credentials are unknown, wrong, expired or revoked; which of these is not told.
    InvalidCredentials,
    /// The credentials cannot be checked: what knows of them does not answer.
    AuthUnavailable,
    /// The caller is known and may not do this.
    Forbidden,
    /// The caller has sent this very request before, and it may be had only once.
    Replayed,
    /// Nobody is let in from where the caller is, or with what it sent. Why is not told.
    Blocked,
    /// What the caller sent cannot be understood or is not allowed.
    InvalidRequest,
    /// The content type or the content encoding is not one that is read here.
    UnsupportedMediaType,
    /// The body is larger than is read here.
    TooLarge,
    /// The URI is longer than is read here.
    UriTooLong,
    /// There are more headers, or more bytes of them, than are read here.
    HeadersTooLarge,
    /// The caller was too slow in sending its request.
    RequestTimeout,
    /// Nothing is served under this path.
    NotFound,
    /// The request is for another name than the connection that it came by.
    Misdirected,
    /// The path is served, by other methods.
    MethodNotAllowed,
    /// No model of this name is offered to the caller.
    ModelNotFound,
    /// There is no prompt of this name, or no such version of it.
    PromptNotFound,
    /// Prompts cannot be had: what keeps them does not answer.
    PromptsUnavailable,
    /// What is to be changed is not what the caller believes it to be.
    Conflict,
    /// The protocol knows this path or feature, and it is not offered here.
    NotSupported,
    /// The vendor's protocol cannot say all that the request says, and nothing may be left out.
    UnsupportedParameter,
    /// The caller has used up what it was granted.
    RateLimited,
    /// What the caller has used cannot be counted: what counts it does not answer.
    LimiterUnavailable,
    /// More calls at once than are let in.
    Overloaded,
    /// The service is failing, and calls to it are suspended.
    CircuitOpen,
    /// The gateway is shutting down.
    Draining,
    /// The service was called and did not answer, or not go on answering, in time.
    Timeout,
    /// The upstream could not be reached, or broke off.
    BadGateway,
    /// The upstream did not accept a connection in time.
    ConnectTimeout,
    /// The upstream's answer is larger than is read here.
    UpstreamTooLarge,
    /// The upstream's answer cannot be understood.
    UpstreamMalformed,
    /// A model answered, twice, what is not of the schema that it was given.
    OutputInvalid,
    /// The upstream refuses the credentials of the gateway.
    UpstreamAuth,
    /// The gateway's account with the upstream has no money or quota left. Nobody is helped by asking
    /// again, until the operator has paid.
    UpstreamQuota,
    /// The upstream's own limit is reached.
    UpstreamRateLimited,
    /// The upstream says that it has too much to do.
    UpstreamOverloaded,
    /// The request came back to where it had been.
    LoopDetected,
    /// A fault of the gateway.
    Internal,
}

/// Whose fault a rejection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    Caller,
    /// A limit that was set here, or a fault of ours.
    Gateway,
    Service,
}

struct Row(u16, &'static str, Blame, &'static str);

impl Kind {
    /// The one table.
    fn row(self) -> Row {
        use Blame::{Caller, Gateway, Service};
        match self {
            Self::Unauthenticated => {
                Row(401, "missing_api_key", Caller, "No credentials were given.")
            }
            Self::InvalidCredentials => Row(
                401,
                "invalid_api_key",
                Caller,
                "The credentials are not valid.",
            ),
            Self::AuthUnavailable => Row(
                503,
                "auth_unavailable",
                Gateway,
                "Credentials cannot be checked for now.",
            ),
            Self::Forbidden => Row(
                403,
                "insufficient_permissions",
                Caller,
                "The credentials do not permit this.",
            ),
            Self::Replayed => Row(
                409,
                "replay",
                Caller,
                "This very request was received before.",
            ),
            Self::Blocked => Row(403, "request_blocked", Caller, "The request is blocked."),
            Self::InvalidRequest => {
                Row(400, "invalid_request", Caller, "The request is not valid.")
            }
            Self::UnsupportedMediaType => Row(
                415,
                "unsupported_media_type",
                Caller,
                "The content type or encoding is not supported.",
            ),
            Self::TooLarge => Row(
                413,
                "request_too_large",
                Caller,
                "The request is too large.",
            ),
            Self::UriTooLong => Row(414, "uri_too_long", Caller, "The URI is too long."),
            Self::HeadersTooLarge => Row(
                431,
                "headers_too_large",
                Caller,
                "The headers are too many or too large.",
            ),
            Self::RequestTimeout => Row(
                408,
                "request_timeout",
                Caller,
                "The request did not arrive in time.",
            ),
            Self::NotFound => Row(
                404,
                "not_found",
                Caller,
                "Nothing is served under this path.",
            ),
            Self::Misdirected => Row(
                421,
                "misdirected_request",
                Caller,
                "The connection was made for another host.",
            ),
            Self::MethodNotAllowed => Row(
                405,
                "method_not_allowed",
                Caller,
                "The path does not allow this method.",
            ),
            Self::ModelNotFound => Row(
                404,
                "model_not_found",
                Caller,
                "The model does not exist, or you do not have access to it.",
            ),
            Self::PromptNotFound => {
                Row(404, "prompt_not_found", Caller, "There is no such prompt.")
            }
            Self::PromptsUnavailable => Row(
                503,
                "prompts_unavailable",
                Gateway,
                "Prompts cannot be had for now.",
            ),
            Self::Conflict => Row(
                409,
                "conflict",
                Caller,
                "It was changed by someone else meanwhile.",
            ),
            Self::UnsupportedParameter => Row(
                400,
                "unsupported_parameter",
                Caller,
                "The provider's protocol cannot express all of the request.",
            ),
            Self::NotSupported => Row(404, "not_supported", Caller, "This is not supported here."),
            Self::RateLimited => Row(
                429,
                "rate_limit_exceeded",
                Gateway,
                "Too many calls in a short time.",
            ),
            Self::LimiterUnavailable => Row(
                503,
                "rate_limiter_unavailable",
                Gateway,
                "Limits cannot be checked for now.",
            ),
            Self::Overloaded => Row(503, "overloaded", Gateway, "Too many calls at once."),
            Self::CircuitOpen => Row(
                503,
                "upstream_unavailable",
                Gateway,
                "The service is failing and is not called for now.",
            ),
            Self::Draining => Row(503, "draining", Gateway, "The gateway is shutting down."),
            Self::Timeout => Row(
                504,
                "timeout",
                Service,
                "The service did not answer in time.",
            ),
            Self::BadGateway => Row(
                502,
                "bad_gateway",
                Service,
                "The upstream could not be reached or broke off.",
            ),
            Self::ConnectTimeout => Row(
                504,
                "connect_timeout",
                Service,
                "The upstream did not accept a connection in time.",
            ),
            Self::UpstreamTooLarge => Row(
                502,
                "upstream_response_too_large",
                Service,
                "The upstream's answer is too large.",
            ),
            Self::UpstreamMalformed => Row(
                502,
                "upstream_malformed",
                Service,
                "The upstream's answer cannot be read.",
            ),
            Self::OutputInvalid => Row(
                502,
                "output_invalid",
                Service,
                "The model's answer is not of the form that was asked for.",
            ),
            Self::UpstreamAuth => Row(
                502,
                "upstream_auth",
                Service,
                "The upstream refused the credentials of the gateway.",
            ),
            Self::UpstreamQuota => Row(
                502,
                "upstream_quota",
                Service,
                "The gateway's account with the upstream provider is used up.",
            ),
            Self::UpstreamRateLimited => Row(
                429,
                "upstream_rate_limited",
                Gateway,
                "The rate limit of the upstream provider is reached.",
            ),
            Self::UpstreamOverloaded => Row(
                503,
                "upstream_overloaded",
                Service,
                "The upstream provider is overloaded.",
            ),
            Self::LoopDetected => Row(
                508,
                "loop_detected",
                Caller,
                "The request has been here before.",
            ),
            Self::Internal => Row(500, "internal_error", Service, "Something went wrong."),
        }
    }

    /// The HTTP status that reports this.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// A name for programs. It does not change between versions.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.row().1
    }

    /// A sentence for people. It may change between versions.
    #[must_use]
    pub fn summary(self) -> &'static str {
        self.row().3
    }

    /// Whether the guarded service brought this about, so that a breaker further out counts it.
    #[must_use]
    pub fn blames_service(self) -> bool {
        self.row().2 == Blame::Service
    }

    /// Whether it came about on the way to an upstream, or for want of its answer.
    pub(crate) fn is_local(self) -> bool {
        matches!(
            self,
            Self::BadGateway | Self::ConnectTimeout | Self::Timeout
        )
    }

    /// Whether the caller brought this about, so that nobody else can mend it.
    #[must_use]
    pub fn blames_caller(self) -> bool {
        self.row().2 == Blame::Caller
    }

    /// Whether it is of a policy that did not let the call through, or of a connection that never came
    /// about.
    pub(super) fn is_before_the_call(self) -> bool {
        let limit_of_upstream = self == Self::UpstreamRateLimited;
        self == Self::ConnectTimeout || self.row().2 == Blame::Gateway && !limit_of_upstream
    }
}
