//! The one body of the crate.
//!
//! Policies that hold something until the last byte, or that end an answer before its time, answer
//! with `http::Response<Body>` whatever the body was before. It is boxed at most once, and never
//! grows in type: a `Body` around a `Body` is the same `Body`.
//!
//! A body that a server has sent is over when its trailers are out, or its last byte: the last that it
//! has, or that `Content-Length` allows for. hyper drops it then without asking for the `None`. It drops
//! the body of an answer to `HEAD` without asking for anything, so that such an answer counts as dropped
//! unless it was empty.

use crate::{BoxError, End, Rejection, follow::Followers};
use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::{
    any::Any,
    convert::Infallible,
    fmt,
    future::poll_fn,
    mem,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

type Dyn = Pin<Box<dyn HttpBody<Data = Bytes, Error = BoxError> + Send>>;

enum Inner {
    Full(Bytes),
    Dyn(Dyn),
}

const UNKNOWN: u64 = u64::MAX;

/// Bytes that are there, or any other body in a box, and the followers that wait for its end.
pub struct Body {
    inner: Inner,
    /// How many bytes went out, counted for followers only.
    sent: u64,
    /// How many there are to go out, or `UNKNOWN`.
    promised: u64,
    /// In a box, so that a body stays small: each layer moves it.
    followers: Option<Box<Followers<Infallible, u64>>>,
}

impl Body {
    /// A body without a byte.
    #[must_use]
    pub fn empty() -> Self {
        Bytes::new().into()
    }

    /// Boxes a body, unless it is a `Body` already.
    #[must_use]
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut slot = Some(body);
        if let Some(own) = (&mut slot as &mut dyn Any).downcast_mut::<Option<Self>>() {
            return own.take().unwrap_or_default();
        }
        match slot {
            Some(inner) => Self::boxed(Mapped { inner }),
            None => Self::empty(),
        }
    }

    /// Boxes a body whose errors need no change: one hop less than [`new`](Self::new).
    #[must_use]
    pub fn boxed(body: impl HttpBody<Data = Bytes, Error = BoxError> + Send + 'static) -> Self {
        Self {
            inner: Inner::Dyn(Box::pin(body)),
            sent: 0,
            promised: UNKNOWN,
            followers: None,
        }
    }

    /// Puts other bytes in the place of what was to come, for the same followers: they wait for what
    /// really goes out.
    pub fn replace(&mut self, bytes: Bytes) {
        self.promised = self.sent + bytes.len() as u64;
        self.inner = Inner::Full(bytes);
    }

    /// Notes how many bytes there will be, by the head of the answer or else by the body itself.
    pub(crate) fn promise(mut self, content_length: impl FnOnce() -> Option<u64>) -> Self {
        if self.promised == UNKNOWN {
            let promised = content_length().or_else(|| self.size_hint().exact());
            self.promised = promised.unwrap_or(UNKNOWN);
        }
        self
    }

    pub(crate) fn followed(
        mut self,
        end: impl FnOnce(End<'_, Infallible>) + Send + 'static,
    ) -> Self {
        self.followers().push(move |ended, _| end(ended));
        self
    }

    pub(crate) fn followed_bytes(
        mut self,
        end: impl FnOnce(End<'_, Infallible>, u64) + Send + 'static,
    ) -> Self {
        self.followers().push(move |ended, sent| end(ended, *sent));
        self
    }

    pub(crate) fn cut(
        mut self,
        cut: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
    ) -> Self {
        self.followers().push_cut(cut);
        self
    }

    pub(crate) fn cut_between(
        mut self,
        cut: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
    ) -> Self {
        self.followers().push_cut_between(cut);
        self
    }

    fn followers(&mut self) -> &mut Followers<Infallible, u64> {
        let fresh = || Box::new(Followers::new());
        self.followers.get_or_insert_with(fresh)
    }

    /// Lets go of what the body was made of, and only then tells the followers.
    fn finish(&mut self, end: End<'_, Infallible>) {
        drop(mem::replace(&mut self.inner, Inner::Full(Bytes::new())));
        if let Some(mut followers) = self.followers.take() {
            followers.end(end, &self.sent);
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self {
            inner: Inner::Full(bytes),
            sent: 0,
            promised: UNKNOWN,
            followers: None,
        }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = match &mut this.inner {
            Inner::Full(bytes) if bytes.is_empty() => None,
            Inner::Full(bytes) => Some(Ok(Frame::data(mem::take(bytes)))),
            Inner::Dyn(body) => {
                let Some(followers) = &mut this.followers else {
                    return body.as_mut().poll_frame(cx);
                };
                let cut = match followers.poll_cut_between(cx) {
                    Poll::Ready(cut) => Err(cut),
                    Poll::Pending => match body.as_mut().poll_frame(cx) {
                        Poll::Ready(frame) => Ok(frame),
                        Poll::Pending => Err(ready!(followers.poll_cut(cx))),
                    },
                };
                match cut {
                    Ok(frame) => {
                        followers.moved();
                        frame
                    }
                    Err(cut) => {
                        this.inner = Inner::Full(Bytes::new());
                        followers.end_inside(&cut, &this.sent);
                        Some(Err(cut.rejection.into()))
                    }
                }
            }
        };
        match &frame {
            None => this.finish(End::Complete),
            Some(Err(error)) => this.finish(End::Broken(error)),
            // Nothing comes after trailers, and servers do not ask for it.
            Some(Ok(frame)) if frame.is_trailers() => this.finish(End::Complete),
            Some(Ok(frame)) => this.sent += frame.data_ref().map_or(0, |data| data.len() as u64),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Full(bytes) => bytes.is_empty(),
            Inner::Dyn(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Dyn(body) => body.size_hint(),
        }
    }
}

/// A server that has sent the last byte may drop the body without asking for the `None`.
impl Drop for Body {
    fn drop(&mut self) {
        if self.followers.is_some() {
            let end = if self.is_end_stream() || self.sent >= self.promised {
                End::Complete
            } else {
                End::Dropped
            };
            self.finish(end);
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

pin_project_lite::pin_project! {
    struct Mapped<B> {
        #[pin]
        inner: B,
    }
}

impl<B> HttpBody for Mapped<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.project().inner.poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Why a body could not be collected.
#[derive(Debug)]
#[non_exhaustive]
pub enum CollectError {
    /// It has more bytes than it may.
    TooLarge,
    /// It broke off.
    Broken(BoxError),
}

/// Reads a body to its end, unless it has more than `limit` bytes. Trailers are dropped.
///
/// A body that says beforehand that it is too large is not read at all. A body of one piece is not
/// copied.
///
/// # Errors
///
/// [`CollectError::TooLarge`] as soon as there is one byte too many, [`CollectError::Broken`] with
/// the error of the body.
pub async fn collect<B>(body: B, limit: usize) -> Result<Bytes, CollectError>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let expected = body.size_hint().lower();
    if expected > limit as u64 {
        return Err(CollectError::TooLarge);
    }
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(data) = frame
            .map_err(|error| CollectError::Broken(error.into()))?
            .into_data()
        else {
            continue;
        };
        if data.len() > limit - rest.len().max(first.len()) {
            return Err(CollectError::TooLarge);
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
            // To ask for the end would cost as much as to ask for the piece.
            if body.is_end_stream() {
                break;
            }
            continue;
        }
        if rest.is_empty() {
            // What was promised is not yet there: take room as it comes, a megabyte at most at once.
            let promised = usize::try_from(expected).unwrap_or(0).min(1 << 20);
            rest.reserve(promised.max(first.len() + data.len()));
            rest.extend_from_slice(&mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() {
        first
    } else {
        rest.freeze()
    })
}
