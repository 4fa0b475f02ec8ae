//! What layers ask of an answer, whatever it is of.

use super::ChatResponse;
use crate::{
    End, Follow, Health, Reject, Rejection,
    answer::{Begin, Outcome, Remedy},
    describe::Status,
    llm::{Error, VendorFault},
    mirror::Exhaust,
    principal::Extensible,
};
use http::{Extensions, HeaderMap, StatusCode};
use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

impl Extensible for ChatResponse {
    fn headers(&self) -> &HeaderMap {
        &self.0.head.headers
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.0.head.headers
    }

    fn extensions(&self) -> &Extensions {
        &self.0.head.extensions
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.0.head.extensions
    }
}

impl Reject<Error> for ChatResponse {
    fn reject(rejection: Rejection) -> Result<Self, Error> {
        Err(rejection.into())
    }
}

/// A vendor that found fault with the request was well enough to read it. One that refuses an account may do so
/// for one request alone: that says nothing of how it is.
impl Health<Error> for ChatResponse {
    fn health(answer: Result<&Self, &Error>) -> Outcome {
        match answer {
            Ok(_) => Outcome::Success,
            Err(Error::Vendor(error)) if error.fault().concerns_caller() => Outcome::Success,
            Err(Error::Vendor(error))
                if matches!(error.fault(), VendorFault::Auth | VendorFault::Quota) =>
            {
                Outcome::Neutral
            }
            Err(error) => Outcome::from(&*error.rejection()),
        }
    }

    fn remedy(answer: Result<&Self, &Error>) -> Remedy {
        match answer {
            Ok(_) => Remedy::Nothing,
            Err(error) => Remedy::from(&*error.rejection()),
        }
    }

    fn is_unsent(answer: Result<&Self, &Error>) -> bool {
        matches!(answer, Err(Error::Rejected(rejection)) if rejection.is_unsent())
    }

    fn retry_after(answer: Result<&Self, &Error>) -> Option<Duration> {
        answer.err()?.rejection().retry_after()
    }

    fn with_retry_after(answer: Result<Self, Error>, after: Duration) -> Result<Self, Error> {
        answer.map_err(|error| match error {
            Error::Rejected(rejection) => rejection.with_retry_after(after).into(),
            Error::Vendor(error) => error.with_retry_after(Some(after)).into(),
        })
    }

    fn is_local(answer: Result<&Self, &Error>) -> bool {
        answer.is_err_and(|error| error.kind().is_local())
    }
}

impl Status<Error> for ChatResponse {
    fn status(answer: Result<&Self, &Error>) -> Option<StatusCode> {
        Some(answer.map_or_else(|error| error.kind().status(), |_| StatusCode::OK))
    }

    fn code(answer: Result<&Self, &Error>) -> Option<&'static str> {
        answer.err().map(|error| error.kind().code())
    }
}

impl Begin<Error> for ChatResponse {
    async fn begin(self) -> Result<Self, Error> {
        self.primed().await
    }
}

impl Exhaust for ChatResponse {
    async fn exhaust(mut self, limit: usize) -> bool {
        let mut read = 0_usize;
        while read <= limit {
            match poll_fn(|cx| self.poll_batch(cx)).await {
                None => break,
                Some(Err(_)) => return false,
                Some(Ok(batch)) => read = read.saturating_add(batch.size()),
            }
        }
        true
    }
}

impl Follow<Error> for ChatResponse {
    type Followed = Self;

    fn follow(self, end: impl FnOnce(End<'_, Error>) + Send + 'static) -> Self {
        self.settle(move |ended, _| end(ended))
    }

    fn unfollowed(self) -> Self {
        self
    }

    fn cut(
        mut self,
        cut: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
    ) -> Self {
        self.0.followers.push_cut(cut);
        self
    }

    fn cut_between(
        mut self,
        cut: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
    ) -> Self {
        self.0.followers.push_cut_between(cut);
        self
    }
}
