//! Whether, and how, a request can be sent once more.

use crate::{BoxError, CollectError, Rejection, collect, rejection::Kind};
use bytes::Bytes;
use http::{Method, Request, request::Parts};
use http_body::Body as HttpBody;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

/// A request that can be sent again, to the same service or to another.
///
/// Implemented for `http::Request<B>` whose body is made of bytes and can be made from them, and for
/// chat requests, which are cheap to clone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent a second time",
    label = "no `Reissue` for `{Self}`",
    note = "an `http::Request<B>` can if `B: http_body::Body<Data = Bytes> + From<Bytes> + Send + 'static`",
    note = "for a request of your own, write `impl Reissue for {Self}`"
)]
pub trait Reissue: Sized + Send + 'static {
    /// What is kept of it, from which it is made again.
    type Copy: Send + Sync + 'static;

    /// Whether a second one changes nothing that the first has not changed (RFC 9110 §9.2.2).
    fn is_idempotent(&self) -> bool;

    /// Whether each call costs money, also one that nobody waits for. By default none does.
    fn is_billed(&self) -> bool {
        false
    }

    /// Keeps a copy, unless that takes more than `limit` bytes. Whether it does is decided beforehand: a
    /// body that does not say how large it is, or says that it is larger, is left a stream, and there is no
    /// copy.
    ///
    /// # Errors
    ///
    /// What the caller broke off with while its body was read.
    fn keep(self, limit: usize) -> impl Future<Output = Result<Kept<Self>, Rejection>> + Send;

    /// The same request once more.
    fn again(copy: &Self::Copy) -> Self;
}

/// A request, and what it can be made from once more, if it can.
pub type Kept<R> = (R, Option<<R as Reissue>::Copy>);

/// `GET`, `HEAD`, `OPTIONS`, `TRACE`, `PUT` and `DELETE` are idempotent. Trailers of a request that is kept
/// are dropped.
impl<B> Reissue for Request<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + From<Bytes> + Send + 'static,
{
    type Copy = HttpCopy;

    fn is_idempotent(&self) -> bool {
        self.method().is_idempotent()
    }

    async fn keep(self, limit: usize) -> Result<Kept<Self>, Rejection> {
        // An upgrade takes the connection over, and there is only one.
        let upgrades = self.headers().contains_key(http::header::UPGRADE);
        let largest = self.body().size_hint().upper();
        if upgrades || largest.is_none_or(|largest| largest > limit as u64) {
            return Ok((self, None));
        }
        let (parts, body) = self.into_parts();
        let body = collect(body, limit).await.map_err(refusal)?;
        let copy = HttpCopy {
            head: parts.clone(),
            body: body.clone(),
        };
        Ok((Self::from_parts(parts, body.into()), Some(copy)))
    }

    fn again(copy: &HttpCopy) -> Self {
        Self::from_parts(copy.head.clone(), copy.body.clone().into())
    }
}

/// What is kept of an HTTP request: all of it, for its body is small.
#[derive(Clone)]
pub struct HttpCopy {
    head: Parts,
    body: Bytes,
}

impl HttpCopy {
    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.head.method
    }
}

// Headers and bodies hold secrets.
impl fmt::Debug for HttpCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCopy")
            .field("method", &self.head.method)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

fn refusal(error: CollectError) -> Rejection {
    match error {
        CollectError::TooLarge => Kind::TooLarge.into(),
        CollectError::Broken(error) => match error.downcast::<Rejection>() {
            Ok(rejection) => *rejection,
            Err(error) => Rejection::new(Kind::InvalidRequest)
                .with_detail("The body of the request broke off.")
                .with_source(error),
        },
    }
}

/// Response future of a service that may send a request more than once.
// In a box, for the futures of `Reissue` and `Begin` have no names.
pub struct ResponseFuture<Res, E>(Pin<Box<dyn Future<Output = Result<Res, E>> + Send>>);

impl<Res, E> ResponseFuture<Res, E> {
    pub(crate) fn new(future: impl Future<Output = Result<Res, E>> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl<Res, E> Future for ResponseFuture<Res, E> {
    type Output = Result<Res, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<Res, E> fmt::Debug for ResponseFuture<Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Body;

    #[tokio::test]
    async fn what_is_small_is_kept_and_what_is_not_stays_a_stream() {
        let request = |text: &'static str| Request::put("/").body(Body::from(text)).unwrap();
        let (sent, copy) = request("four").keep(4).await.unwrap();
        assert_eq!(collect(sent.into_body(), 9).await.unwrap(), "four");
        let again = Request::<Body>::again(&copy.unwrap());
        assert_eq!(again.method(), Method::PUT);
        assert_eq!(collect(again.into_body(), 9).await.unwrap(), "four");

        let (sent, copy) = request("fives").keep(4).await.unwrap();
        assert!(copy.is_none());
        assert_eq!(collect(sent.into_body(), 9).await.unwrap(), "fives");
    }

    #[tokio::test]
    async fn a_connection_that_is_to_be_taken_over_cannot_be_asked_for_twice() {
        let request = Request::get("/").header("upgrade", "websocket");
        let request = request.body(Body::empty()).unwrap();
        assert!(request.keep(9).await.unwrap().1.is_none());
    }
}
