//! More than one who may know a credential.

use super::{Authenticate, Credential, Verdict};
use crate::{Principal, Rejection};
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

/// Asks the first authenticator if it [recognises](Authenticate::recognises) the credential, and else
/// the second.
///
/// Whoever is asked decides: a credential that one of them refuses is not shown to the other. Put last
/// who recognises everything.
///
/// ```
/// use tower_gateway::auth::{AnyOf, ApiKeys, AuthLayer, Authenticate, Credential, Verdict};
/// # use tower_gateway::{Principal, Rejection, rejection::Kind};
/// # use std::future::{Ready, ready};
///
/// struct Tickets;
///
/// impl Authenticate for Tickets {
/// #   type Future = Ready<Result<Principal, Rejection>>;
///     fn recognises(&self, credential: &Credential) -> bool {
///         credential.expose().starts_with(b"ticket-")
///     }
///     // …
/// #   fn verify(&self, _: Credential) -> Verdict<Self::Future> {
/// #       Verdict::Later(ready(Err(Kind::InvalidCredentials.into())))
/// #   }
/// }
///
/// let keys = ApiKeys::new().add("alice", "the key that alice has");
/// let layer = AuthLayer::new(AnyOf::new(Tickets, keys));
/// ```
#[derive(Clone, Debug)]
pub struct AnyOf<A, B>(A, B);

impl<A, B> AnyOf<A, B> {
    /// The first, and the one for all that it does not recognise.
    #[must_use]
    pub fn new(first: A, second: B) -> Self {
        Self(first, second)
    }
}

impl<A: Authenticate, B: Authenticate> Authenticate for AnyOf<A, B> {
    type Future = AnyOfFuture<A::Future, B::Future>;

    fn verify(&self, credential: Credential) -> Verdict<Self::Future> {
        if self.0.recognises(&credential) {
            match self.0.verify(credential) {
                Verdict::Now(verdict) => Verdict::Now(verdict),
                Verdict::Later(future) => {
                    let either = Either::First { future };
                    Verdict::Later(AnyOfFuture { either })
                }
            }
        } else {
            match self.1.verify(credential) {
                Verdict::Now(verdict) => Verdict::Now(verdict),
                Verdict::Later(future) => {
                    let either = Either::Second { future };
                    Verdict::Later(AnyOfFuture { either })
                }
            }
        }
    }

    fn recognises(&self, credential: &Credential) -> bool {
        self.0.recognises(credential) || self.1.recognises(credential)
    }

    fn kept(&self) -> usize {
        self.0.kept() + self.1.kept()
    }
}

pin_project! {
    /// What is awaited of [`AnyOf`].
    pub struct AnyOfFuture<A, B> {
        #[pin]
        either: Either<A, B>,
    }
}

pin_project! {
    #[project = EitherProj]
    enum Either<A, B> {
        First { #[pin] future: A },
        Second { #[pin] future: B },
    }
}

impl<A, B> Future for AnyOfFuture<A, B>
where
    A: Future<Output = Result<Principal, Rejection>>,
    B: Future<Output = Result<Principal, Rejection>>,
{
    type Output = Result<Principal, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().either.project() {
            EitherProj::First { future } => future.poll(cx),
            EitherProj::Second { future } => future.poll(cx),
        }
    }
}

impl<A, B> fmt::Debug for AnyOfFuture<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyOfFuture").finish_non_exhaustive()
    }
}
