//! What a policy must know of the answers that pass through it.
//!
//! A few small traits ask one question each. [`http::Response`] and
//! [`ChatResponse`](https://docs.rs/tower-gateway/latest/tower_gateway/llm/struct.ChatResponse.html)
//! answer all of them. For a response type of your own, write what your policies ask for; the
//! compiler says which.
//!
//! | trait | question | HTTP | chat |
//! |---|---|---|---|
//! | [`Reject`] | How is a call refused? | a problem document | an error |
//! | [`Health`] | What does an answer say about the service, and what would mend it? | its status | the kind of its error |
//! | [`Follow`](crate::Follow) | When is it over, how did it end, and may I end it? | with the last byte of its body | with its event stream |
//! | [`Begin`] | From when on may no other answer take its place? | its head | its first content |
//!
//! ```
//! use tower_gateway::{
//!     End, Follow, Health, Reject, Rejection,
//!     answer::Outcome,
//!     circuit_breaker::CircuitBreakerLayer,
//! };
//! use std::task::{Context, Poll};
//! use tower::{Service, ServiceBuilder};
//!
//! struct Reply(String);
//!
//! enum Failed {
//!     Refused(Rejection),
//!     Broken,
//! }
//!
//! impl Reject<Failed> for Reply {
//!     fn reject(rejection: Rejection) -> Result<Self, Failed> {
//!         Err(Failed::Refused(rejection))
//!     }
//! }
//!
//! impl Health<Failed> for Reply {
//!     fn health(answer: Result<&Self, &Failed>) -> Outcome {
//!         match answer {
//!             Ok(_) => Outcome::Success,
//!             Err(Failed::Refused(rejection)) => rejection.into(),
//!             Err(Failed::Broken) => Outcome::Failure,
//!         }
//!     }
//! }
//!
//! // Whole when it arrives, so it is over at once and nobody can cut it short.
//! impl Follow<Failed> for Reply {
//!     type Followed = Self;
//!
//!     fn follow(self, end: impl FnOnce(End<'_, Failed>) + Send + 'static) -> Self {
//!         end(End::Complete);
//!         self
//!     }
//!
//!     fn cut(self, _: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static) -> Self {
//!         self
//!     }
//! }
//!
//! let service = ServiceBuilder::new()
//!     .layer(CircuitBreakerLayer::new())
//!     .service_fn(async |name: String| if name.is_empty() { Err(Failed::Broken) } else { Ok(Reply(name)) });
//! # fn check(_: impl Service<String, Response = Reply, Error = Failed>) {}
//! # check(service);
//! ```

use crate::{End, Rejection, rejection::Kind};
use std::time::Duration;

/// How a policy answers in the place of the service that it guards.
///
/// `E` is the error of that service, which the policy keeps. A type whose answers carry their own
/// failures, as HTTP does, makes a response; any other makes an error.
#[diagnostic::on_unimplemented(
    message = "a policy cannot refuse a call that is answered by `Result<{Self}, {E}>`",
    label = "no `Reject<{E}>` for `{Self}`",
    note = "an `http::Response<B>` can be refused if `B: From<Bytes>`: give a layer further in, \
            such as `tower_http::map_response_body::MapResponseBodyLayer`, the work of boxing `B`",
    note = "for a response or an error type of your own, write `impl Reject<{E}> for {Self}`"
)]
pub trait Reject<E>: Sized {
    /// Answers with `rejection`.
    #[expect(clippy::missing_errors_doc, reason = "the error is the answer")]
    fn reject(rejection: Rejection) -> Result<Self, E>;
}

/// What an answer says about the service that gave it.
///
/// Policies that judge services go by this unless they are given another [`Classify`].
#[diagnostic::on_unimplemented(
    message = "nothing says which of the answers `Result<{Self}, {E}>` are failures",
    label = "no `Health<{E}>` for `{Self}`",
    note = "pass a closure `Fn(Result<&{Self}, &{E}>) -> Outcome` to `.classify(…)`, \
            or write `impl Health<{E}> for {Self}`"
)]
pub trait Health<E> {
    /// Judges one answer, or one error that came after the head of an answer.
    fn health(answer: Result<&Self, &E>) -> Outcome;

    /// Says what would mend it. That is another question: a 429 says nothing of a service's health,
    /// and yet another service, or the same one later, may do.
    ///
    /// By default a failure may be mended by asking again, and nothing else needs mending.
    #[must_use]
    fn remedy(answer: Result<&Self, &E>) -> Remedy {
        match Self::health(answer) {
            Outcome::Failure => Remedy::Again { after: None },
            Outcome::Success | Outcome::Neutral => Remedy::Nothing,
        }
    }

    /// Whether it is certain that the service has not seen the request, so that even one that is not
    /// idempotent can be sent again (RFC 9110 §9.2.2). By default nothing is. See
    /// [`Rejection::is_unsent`].
    #[must_use]
    fn is_unsent(answer: Result<&Self, &E>) -> bool {
        let _ = answer;
        false
    }

    /// When it says to come back, if it does. By default that is what its [remedy](Self::remedy) says.
    #[must_use]
    fn retry_after(answer: Result<&Self, &E>) -> Option<Duration> {
        match Self::remedy(answer) {
            Remedy::Again { after } => after,
            Remedy::Nothing | Remedy::Elsewhere => None,
        }
    }

    /// The same answer with another time to come back. By default, which suits answers that tell of none,
    /// it stays as it is.
    #[expect(clippy::missing_errors_doc, reason = "the error is the answer")]
    fn with_retry_after(answer: Result<Self, E>, after: Duration) -> Result<Self, E>
    where
        Self: Sized,
    {
        let _ = after;
        answer
    }

    /// Whether a failure came about on the way to the service, or for want of an answer, and is not the
    /// answer of the service itself. By default every error is such a one.
    #[must_use]
    fn is_local(answer: Result<&Self, &E>) -> bool {
        answer.is_err()
    }
}

/// A verdict on a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service is well.
    Success,
    /// The service is not well.
    Failure,
    /// Neither, such as a call that was cancelled or that never reached the service.
    Neutral,
}

impl From<&Rejection> for Outcome {
    fn from(rejection: &Rejection) -> Self {
        if rejection.kind().blames_service() {
            Self::Failure
        } else {
            Self::Neutral
        }
    }
}

/// Whether to ask again, and whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The answer stands.
    Nothing,
    /// The same service may do better, not before `after`. So may another, at once.
    Again {
        /// How long the service asked to be left alone. Never more than [`Remedy::LONGEST`].
        after: Option<Duration>,
    },
    /// Only another service may.
    Elsewhere,
}

impl Remedy {
    /// The longest wait that a service may ask for. Whoever says more is taken to mean this.
    pub const LONGEST: Duration = Duration::from_secs(60 * 60);

    /// To ask again, after a delay that the service named.
    #[must_use]
    pub fn again(after: Option<Duration>) -> Self {
        let after = after.map(|after| after.min(Self::LONGEST));
        Self::Again { after }
    }
}

impl From<&Rejection> for Remedy {
    fn from(rejection: &Rejection) -> Self {
        match rejection.kind() {
            kind if kind.blames_caller() => Self::Nothing,
            Kind::UpstreamAuth
            | Kind::UpstreamQuota
            | Kind::CircuitOpen
            | Kind::RateLimited
            | Kind::Overloaded
            | Kind::AuthUnavailable
            | Kind::LimiterUnavailable
            | Kind::Draining => Self::Elsewhere,
            _ => Self::again(rejection.retry_after()),
        }
    }
}

/// When an answer has begun for good, after which no other may take its place.
#[diagnostic::on_unimplemented(
    message = "nothing says when an answer of `Result<{Self}, {E}>` has begun",
    label = "no `Begin<{E}>` for `{Self}`",
    note = "write `impl Begin<{E}> for {Self} {{}}` if that is when it arrives"
)]
pub trait Begin<E>: Sized {
    /// Waits until then.
    ///
    /// By default that is when its head is there. A stream that breaks off before its first content
    /// never began, and is an error here.
    fn begin(self) -> impl Future<Output = Result<Self, E>> + Send
    where
        Self: Send,
        E: Send,
    {
        async { Ok(self) }
    }
}

/// Judges answers.
///
/// Closures `Fn(Result<&Res, &E>) -> Outcome` implement this.
#[diagnostic::on_unimplemented(
    message = "nothing says which of the answers `Result<{Res}, {E}>` are failures",
    label = "`{Self}` cannot judge them",
    note = "`ByHealth`, the default, asks for `impl Health<{E}> for {Res}`",
    note = "a closure must name its argument's type: `.classify(|answer: Result<&{Res}, &{E}>| …)`"
)]
pub trait Classify<Res, E> {
    /// Judges one answer, or one error that came after the head of an answer.
    fn classify(&self, answer: Result<&Res, &E>) -> Outcome;

    /// Judges the end of an answer whose head was judged before.
    fn judge_end(&self, end: End<'_, E>) -> Outcome {
        match end {
            End::Complete => Outcome::Success,
            End::Failed(error) => self.classify(Err(error)),
            End::Broken(error) => error
                .downcast_ref::<Rejection>()
                .map_or(Outcome::Failure, Outcome::from),
            End::Dropped => Outcome::Neutral,
        }
    }
}

impl<Res, E, F> Classify<Res, E> for F
where
    F: Fn(Result<&Res, &E>) -> Outcome,
{
    fn classify(&self, answer: Result<&Res, &E>) -> Outcome {
        self(answer)
    }
}

/// Judges answers by their own [`Health`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ByHealth;

impl<Res: Health<E>, E> Classify<Res, E> for ByHealth {
    fn classify(&self, answer: Result<&Res, &E>) -> Outcome {
        Res::health(answer)
    }
}

/// Says what would mend an answer, to whoever may ask again or somebody else.
///
/// Closures `Fn(Result<&Res, &E>) -> Remedy` implement this. Whether a request *may* be sent again is
/// another question, which they are not asked.
#[diagnostic::on_unimplemented(
    message = "nothing says what would mend the answers `Result<{Res}, {E}>`",
    label = "`{Self}` cannot say",
    note = "`ByRemedy`, the default, asks for `impl Health<{E}> for {Res}`",
    note = "a closure must name its argument's type: `.when(|answer: Result<&{Res}, &{E}>| …)`"
)]
pub trait When<Res, E> {
    /// What would mend this answer, or this error.
    fn remedy(&self, answer: Result<&Res, &E>) -> Remedy;
}

impl<Res, E, F> When<Res, E> for F
where
    F: Fn(Result<&Res, &E>) -> Remedy,
{
    fn remedy(&self, answer: Result<&Res, &E>) -> Remedy {
        self(answer)
    }
}

/// As the answers' own [`Health::remedy`] has it.
///
/// Over HTTP that is to ask again after 429, 502, 503 and 504, and where there is no answer; of a language
/// model, whatever is not the caller's fault nor that of an account.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ByRemedy;

impl<Res: Health<E>, E> When<Res, E> for ByRemedy {
    fn remedy(&self, answer: Result<&Res, &E>) -> Remedy {
        Res::remedy(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_may_ask_for_a_wait_without_end() {
        let rejection = Rejection::new(Kind::UpstreamRateLimited).with_retry_after(Duration::MAX);
        let after = Some(Remedy::LONGEST);
        assert_eq!(Remedy::from(&rejection), Remedy::Again { after });
    }

    #[test]
    fn whatever_failed_is_left_alone_as_long_as_it_asks() {
        let seconds = Some(Duration::from_secs(7));
        for kind in [
            Kind::UpstreamRateLimited,
            Kind::UpstreamOverloaded,
            Kind::BadGateway,
            Kind::Timeout,
            Kind::Internal,
        ] {
            let told = Rejection::new(kind).with_retry_after(Duration::from_secs(7));
            assert_eq!(Remedy::from(&told), Remedy::again(seconds), "{kind:?}");
            assert_eq!(Remedy::from(&kind.into()), Remedy::again(None), "{kind:?}");
        }
        let open = Rejection::new(Kind::CircuitOpen).with_retry_after(Duration::from_secs(7));
        assert_eq!(Remedy::from(&open), Remedy::Elsewhere);
    }

    #[test]
    fn what_the_caller_did_wrong_nobody_else_mends() {
        for kind in [Kind::InvalidRequest, Kind::Forbidden, Kind::ModelNotFound] {
            assert_eq!(Remedy::from(&kind.into()), Remedy::Nothing);
            assert_eq!(Outcome::from(&kind.into()), Outcome::Neutral);
        }
    }
}
