//! Why a language model did not answer, or did not finish.

use super::{Protocol, RateLimits};
use crate::{BoxError, Rejection, rejection::Kind};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

/// Why a language model did not answer, or did not finish.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A policy refused the call, or the vendor could not be reached.
    Rejected(Box<Rejection>),
    /// The vendor answered with an error, at once or in the middle of a stream.
    Vendor(Box<VendorError>),
}

/// What a vendor found fault with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VendorFault {
    /// The request.
    InvalidRequest,
    /// The model's name.
    UnknownModel,
    /// The size of the request.
    TooLarge,
    /// The length of the conversation.
    ContextLength,
    /// What was said in it.
    ContentFilter,
    /// What it was asked to do: it has no such path, or cannot do this.
    NotSupported,
    /// The credentials or the account of the gateway.
    Auth,
    /// How often, or how much, the gateway asks it.
    RateLimited,
    /// The money, or the quota that ends, of the gateway's account: it is used up.
    Quota,
    /// It has too much to do.
    Overloaded,
    /// Itself.
    Failed,
    /// It did not finish in its own time.
    Timeout,
    /// It answered with something that cannot be read.
    Malformed,
}

impl VendorFault {
    /// What a caller is told.
    fn kind(self) -> Kind {
        match self {
            Self::InvalidRequest | Self::ContextLength | Self::ContentFilter => {
                Kind::InvalidRequest
            }
            Self::UnknownModel => Kind::ModelNotFound,
            Self::NotSupported => Kind::NotSupported,
            Self::TooLarge => Kind::TooLarge,
            Self::Auth => Kind::UpstreamAuth,
            Self::RateLimited => Kind::UpstreamRateLimited,
            Self::Quota => Kind::UpstreamQuota,
            Self::Overloaded => Kind::UpstreamOverloaded,
            Self::Failed => Kind::BadGateway,
            Self::Timeout => Kind::Timeout,
            Self::Malformed => Kind::UpstreamMalformed,
        }
    }

    /// Whether the vendor's own words are about the caller's request, and so for the caller to read.
    /// All else may echo what is ours: key fragments, account names, hosts.
    #[must_use]
    pub fn concerns_caller(self) -> bool {
        matches!(
            self,
            Self::InvalidRequest
                | Self::UnknownModel
                | Self::TooLarge
                | Self::ContextLength
                | Self::ContentFilter
                | Self::NotSupported
        )
    }
}

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An error that a vendor answered with.
///
/// Neither `Debug` nor `Display` shows the vendor's words, which may echo fragments of keys:
/// [`message`](Self::message) gives them, for a log.
#[derive(Clone)]
pub struct VendorError {
    fault: VendorFault,
    vendor: Arc<str>,
    status: Option<StatusCode>,
    code: Option<Box<str>>,
    message: Box<str>,
    param: Option<Box<str>>,
    retry_after: Option<Duration>,
    limits: Option<Box<RateLimits>>,
    original: Option<(Protocol, Bytes)>,
    headers: HeaderMap,
}

impl VendorError {
    /// An error without particulars.
    #[must_use]
    pub fn new(fault: VendorFault) -> Self {
        Self {
            fault,
            vendor: "".into(),
            status: None,
            code: None,
            message: "".into(),
            param: None,
            retry_after: None,
            limits: None,
            original: None,
            headers: HeaderMap::new(),
        }
    }

    /// Names the vendor.
    #[must_use]
    pub fn with_vendor(mut self, vendor: Arc<str>) -> Self {
        self.vendor = vendor;
        self
    }

    /// The HTTP status that the vendor answered with.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// The vendor's code for programs.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Box<str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The vendor's words.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<Box<str>>) -> Self {
        self.message = message.into();
        self
    }

    /// The parameter that the vendor names.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<Box<str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// When the vendor wants to be asked again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }

    /// What the vendor says of its limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Option<RateLimits>) -> Self {
        self.limits = limits.map(Box::new);
        self
    }

    /// Forgets what the vendor said, in whatever form.
    #[cfg(feature = "client")]
    #[must_use]
    pub(crate) fn without_words(mut self) -> Self {
        self.message = "".into();
        self.original = None;
        self
    }

    /// The body of the vendor's answer, for a caller that speaks the same protocol.
    #[must_use]
    pub fn with_original(mut self, protocol: Protocol, body: Bytes) -> Self {
        self.original = Some((protocol, body));
        self
    }

    /// The headers of the vendor's answer that a caller may see.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// What it found fault with.
    #[must_use]
    pub fn fault(&self) -> VendorFault {
        self.fault
    }

    /// Who it is.
    #[must_use]
    pub fn vendor(&self) -> &Arc<str> {
        &self.vendor
    }

    /// The HTTP status, if it was not in the middle of a stream.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Its code for programs.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Its words. They may echo fragments of the gateway's key unless the fault
    /// [concerns the caller](VendorFault::concerns_caller).
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The parameter that it names.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// When it wants to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What it says of its limits, which are those of the gateway's account.
    #[must_use]
    pub fn limits(&self) -> Option<&RateLimits> {
        self.limits.as_deref()
    }

    /// The body of its answer, if it concerns the caller and is in the words of `protocol`.
    #[must_use]
    pub fn original(&self, protocol: Protocol) -> Option<&Bytes> {
        let (spoken, body) = self.original.as_ref()?;
        (self.fault.concerns_caller() && *spoken == protocol).then_some(body)
    }

    /// The headers of its answer that a caller may see.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// What a caller is told of it.
    #[must_use]
    pub fn rejection(&self) -> Rejection {
        let mut rejection = Rejection::new(self.fault.kind());
        let waits = !matches!(self.fault, VendorFault::Auth | VendorFault::Quota);
        if let Some(after) = self.retry_after.filter(|_| waits) {
            rejection = rejection.with_retry_after(after);
        }
        if !waits {
            // The SDKs of OpenAI and Anthropic would try a 502 twice more.
            let no = HeaderValue::from_static("false");
            rejection = rejection.with_header(SHOULD_RETRY, no);
        }
        // What it is about is as much the vendor's word as the rest.
        if let Some(param) = &self.param
            && self.fault.concerns_caller()
        {
            rejection = rejection.with_param(param);
        }
        rejection = match self.fault {
            VendorFault::InvalidRequest => {
                rejection.with_detail("The provider found fault with the request.")
            }
            VendorFault::NotSupported => {
                rejection.with_detail("The provider cannot do what was asked of it.")
            }
            VendorFault::ContextLength => {
                rejection.with_detail("The conversation is longer than the model's context window.")
            }
            VendorFault::ContentFilter => {
                rejection.with_detail("The provider's content filter held the request back.")
            }
            _ => rejection,
        };
        rejection
    }
}

impl fmt::Debug for VendorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VendorError")
            .field("fault", &self.fault)
            .field("vendor", &self.vendor)
            .field("status", &self.status)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}

impl Error {
    /// What a caller is told of it, and what policies judge it by.
    #[must_use]
    pub fn rejection(&self) -> Cow<'_, Rejection> {
        match self {
            Self::Rejected(rejection) => Cow::Borrowed(rejection),
            Self::Vendor(error) => Cow::Owned(error.rejection()),
        }
    }

    /// The kind of it, without a copy.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Rejected(rejection) => rejection.kind(),
            Self::Vendor(error) => error.fault.kind(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rejection().fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rejected(rejection) => rejection.source(),
            Self::Vendor(_) => None,
        }
    }
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(Box::new(rejection))
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Rejection::new(kind).into()
    }
}

impl From<VendorError> for Error {
    fn from(error: VendorError) -> Self {
        Self::Vendor(Box::new(error))
    }
}

/// For layers that are not ours: what they threw of ours is found again.
impl From<BoxError> for Error {
    fn from(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => *own,
            Err(error) => match error.downcast::<Rejection>() {
                Ok(rejection) => Self::Rejected(rejection),
                Err(error) => Rejection::new(Kind::Internal).with_source(error).into(),
            },
        }
    }
}
