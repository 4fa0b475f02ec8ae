//! Why a policy answered in the place of the service that it guards.
//!
//! A [`Rejection`] says as much as a caller may know: which [`Kind`], when to come back, a sentence
//! that was written in the source code, and typed particulars (which parameter, which line, which
//! quota). It never holds a value that the caller sent, nor a secret. What went wrong inside is its
//! [`source`](Error::source), which is for logs and is never sent.
//!
//! ```
//! use tower_gateway::{Rejection, rejection::Kind};
//!
//! let rejection = Rejection::new(Kind::InvalidRequest)
//!     .with_param("messages[2].role")
//!     .with_detail("Expected a string.");
//! assert_eq!(rejection.kind().status(), 400);
//! assert_eq!(rejection.message(), "messages[2].role: Expected a string.");
//! ```

mod kind;

pub use self::kind::Kind;

use http::{HeaderMap, HeaderName, HeaderValue};
use std::{borrow::Cow, error::Error, fmt, sync::Arc, sync::LazyLock, time::Duration};

/// Where in a text a fault was found, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The byte within the line.
    pub column: usize,
}

/// One of several faults of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The path of the parameter, such as `messages[0].content`.
    pub param: Box<str>,
    /// What is wrong with it.
    pub detail: &'static str,
}

/// An answer that a policy gives in the place of the service that it guards.
///
/// How the caller gets it depends on the response type, see [`Reject`](crate::Reject).
#[derive(Clone, Debug)]
pub struct Rejection {
    kind: Kind,
    unsent: bool,
    retry_after: Option<Duration>,
    detail: Option<&'static str>,
    source: Option<Arc<dyn Error + Send + Sync>>,
    particulars: Option<Box<Particulars>>,
}

/// What only some rejections know.
#[derive(Clone, Debug, Default)]
struct Particulars {
    param: Option<Box<str>>,
    position: Option<Position>,
    faults: Vec<Fault>,
    violated: Vec<Box<str>>,
    abnormal: bool,
    headers: HeaderMap,
}

impl Rejection {
    /// Creates a rejection that says no more than its kind.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            unsent: kind.is_before_the_call(),
            retry_after: None,
            detail: None,
            source: None,
            particulars: None,
        }
    }

    /// Says when the caller may try again.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Says that the service has not seen the request, so that it can be sent again whatever it asks for
    /// (RFC 9110 §9.2.2). Only for whoever knows.
    #[must_use]
    pub fn unsent(mut self) -> Self {
        self.unsent = true;
        self
    }

    /// Replaces the summary of the kind. It is static, so that it cannot quote what is secret.
    #[must_use]
    pub fn with_detail(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Keeps the cause, for logs only.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// Names the parameter that is at fault, by its path: `tools[3].function.name`.
    ///
    /// A path may hold names that the caller chose. It is cut at 256 bytes, and control characters
    /// become `?`.
    #[must_use]
    pub fn with_param(mut self, path: impl AsRef<str>) -> Self {
        self.particulars().param = Some(printable(path.as_ref()));
        self
    }

    /// Says where in the text of the request the fault is, counted from 1.
    #[must_use]
    pub fn with_position(mut self, line: usize, column: usize) -> Self {
        self.particulars().position = Some(Position { line, column });
        self
    }

    /// Adds one of several faults.
    #[must_use]
    pub fn with_fault(mut self, param: impl AsRef<str>, detail: &'static str) -> Self {
        let param = printable(param.as_ref());
        self.particulars().faults.push(Fault { param, detail });
        self
    }

    /// Adds the name of a quota that is used up.
    #[must_use]
    pub fn with_violated_policy(mut self, name: impl AsRef<str>) -> Self {
        self.particulars().violated.push(printable(name.as_ref()));
        self
    }

    /// Adds what HTTP says beside the status: a challenge, a quota, the methods that are allowed.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.particulars().headers.append(name, value);
        self
    }

    /// Says that it is for what the caller does, and not for how much.
    #[cfg(feature = "auth")]
    pub(crate) fn for_abnormal_usage(mut self) -> Self {
        self.particulars().abnormal = true;
        self
    }

    pub(crate) fn is_for_abnormal_usage(&self) -> bool {
        self.particulars.as_ref().is_some_and(|more| more.abnormal)
    }

    /// Gives the parameters other paths.
    #[cfg(feature = "llm")]
    pub(crate) fn map_params(mut self, told: impl Fn(&str) -> String) -> Self {
        if let Some(more) = &mut self.particulars {
            let params = more.faults.iter_mut().map(|fault| &mut fault.param);
            for param in params.chain(&mut more.param) {
                *param = printable(&told(param));
            }
        }
        self
    }

    fn particulars(&mut self) -> &mut Particulars {
        self.particulars.get_or_insert_default()
    }

    /// Why the call was refused.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it is certain that the service has not seen the request: a policy did not let it through,
    /// there was no connection, or the server says so (HTTP/2: `REFUSED_STREAM`, or a `GOAWAY` that leaves
    /// it out).
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        self.unsent
    }

    /// How long the caller should wait before it tries again, if that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// A sentence for people.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        self.detail.unwrap_or(self.kind.summary())
    }

    /// The path of the parameter that is at fault.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        self.particulars.as_ref()?.param.as_deref()
    }

    /// Where in the text of the request the fault is.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.particulars.as_ref()?.position
    }

    /// The faults, if there are several.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        self.particulars.as_ref().map_or(&[], |more| &more.faults)
    }

    /// The names of the quotas that are used up.
    pub fn violated_policies(&self) -> impl Iterator<Item = &str> {
        let names = self
            .particulars
            .as_ref()
            .map_or(&[][..], |more| &more.violated);
        names.iter().map(|name| &**name)
    }

    /// What HTTP says beside the status.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        self.particulars
            .as_ref()
            .map_or(&NONE, |more| &more.headers)
    }

    /// The detail with the parameter and the position, as one sentence.
    #[must_use]
    pub fn message(&self) -> Cow<'static, str> {
        match (self.param(), self.position()) {
            (None, None) => self.detail().into(),
            (Some(param), None) => format!("{param}: {}", self.detail()).into(),
            (None, Some(at)) => {
                format!("{} (line {}, column {})", self.detail(), at.line, at.column).into()
            }
            (Some(param), Some(at)) => format!(
                "{param}: {} (line {}, column {})",
                self.detail(),
                at.line,
                at.column
            )
            .into(),
        }
    }
}

/// A text that can stand in a log and in a header of an answer.
fn printable(text: &str) -> Box<str> {
    const MOST: usize = 256;
    let mut out = String::with_capacity(text.len().min(MOST));
    for char in text.chars() {
        if out.len() + char.len_utf8() > MOST {
            break;
        }
        out.push(if char.is_control() { '?' } else { char });
    }
    out.into()
}

impl From<Kind> for Rejection {
    fn from(kind: Kind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_stays_small() {
        assert!(size_of::<Rejection>() <= 64, "{}", size_of::<Rejection>());
    }

    #[test]
    fn a_path_cannot_break_a_log_line_or_fill_it() {
        let rejection =
            Rejection::new(Kind::InvalidRequest).with_param(format!("a\r\nb{}", "é".repeat(300)));
        let param = rejection.param().unwrap();
        assert!(param.starts_with("a??b") && param.len() <= 256);
    }

    #[test]
    fn the_message_says_where() {
        let rejection = Rejection::new(Kind::InvalidRequest)
            .with_detail("Not JSON.")
            .with_position(1, 7);
        assert_eq!(rejection.message(), "Not JSON. (line 1, column 7)");
        assert_eq!(
            rejection.with_param("tools").message(),
            "tools: Not JSON. (line 1, column 7)"
        );
    }

    #[test]
    fn what_a_policy_refused_has_not_left() {
        for kind in [Kind::CircuitOpen, Kind::Overloaded, Kind::ConnectTimeout] {
            assert!(Rejection::new(kind).is_unsent(), "{kind:?}");
        }
        for kind in [Kind::Timeout, Kind::BadGateway, Kind::UpstreamRateLimited] {
            assert!(!Rejection::new(kind).is_unsent(), "{kind:?}");
            assert!(Rejection::new(kind).unsent().is_unsent());
        }
    }

    #[test]
    fn a_source_is_never_shown() {
        let rejection = Rejection::new(Kind::Internal).with_source("secret-canary");
        assert!(!rejection.to_string().contains("canary"));
        assert!(rejection.source().is_some(), "but logged");
    }
}
