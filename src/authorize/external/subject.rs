//! Requests of which can be asked.

use super::Excerpt;
use crate::{Body, BoxError, Extensible, Rejection, path::Rules, rejection::Kind};
use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::{
    borrow::Cow,
    collections::VecDeque,
    error::Error,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// How long a caller may take for the part of its body that is read.
const WITHIN: Duration = Duration::from_secs(10);

/// A request of which can be asked.
///
/// Implemented for every `http::Request<B>` whose `B` is a body of [`Bytes`], and for chat requests. For
/// a request of your own:
///
/// ```
/// use http::{Extensions, HeaderMap};
/// use tower_gateway::{Extensible, authorize::external::Subject};
///
/// #[derive(Default)]
/// struct Job {
///     headers: HeaderMap,
///     extensions: Extensions,
/// }
///
/// impl Extensible for Job {
///     fn headers(&self) -> &HeaderMap {
///         &self.headers
///     }
///     fn headers_mut(&mut self) -> &mut HeaderMap {
///         &mut self.headers
///     }
///     fn extensions(&self) -> &Extensions {
///         &self.extensions
///     }
///     fn extensions_mut(&mut self) -> &mut Extensions {
///         &mut self.extensions
///     }
/// }
///
/// impl Subject for Job {
///     type Asked = Self;
///
///     fn asked(self) -> Self {
///         self
///     }
/// }
/// # fn check(_: impl Subject) {}
/// # check(Job::default());
/// ```
#[diagnostic::on_unimplemented(
    message = "nobody can be asked about a `{Self}`",
    note = "`http::Request<B>` can be asked about if `B: http_body::Body<Data = Bytes> + Send + 'static`, and so can `ChatRequest`; for your own type write `impl Subject for {Self}`"
)]
pub trait Subject: Extensible + Send + Sized + 'static {
    /// What the service gets: `http::Request<Body>` for every `http::Request<B>`, and else most often
    /// `Self`.
    type Asked: Extensible + Send + 'static;

    /// The request for the service. Its body was not looked at.
    fn asked(self) -> Self::Asked;

    /// The same after so many bytes of its body were read, which are still in it. By default it has
    /// none.
    ///
    /// # Errors
    ///
    /// If the body broke off or did not come.
    fn read(
        self,
        most: usize,
    ) -> impl Future<Output = Result<(Self::Asked, Excerpt), Rejection>> + Send {
        let _ = most;
        async { Ok((self.asked(), Excerpt::default())) }
    }

    /// Whether it can be read in one way only. By default it can.
    ///
    /// # Errors
    ///
    /// What is answered if not: nobody is asked then.
    fn check(&self) -> Result<(), Rejection> {
        Ok(())
    }

    /// The method.
    fn method(&self) -> Method {
        Method::POST
    }

    /// The URI.
    fn uri(&self) -> Uri {
        Uri::from_static("/")
    }

    /// The model that is asked.
    fn model(&self) -> Option<Arc<str>> {
        None
    }
}

impl<B> Subject for Request<B>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Asked = Request<Body>;

    fn asked(self) -> Request<Body> {
        self.map(Body::new)
    }

    async fn read(self, most: usize) -> Result<(Request<Body>, Excerpt), Rejection> {
        let (head, body) = self.into_parts();
        let reading = read(Body::new(body), most);
        let (body, excerpt) = match tokio::time::timeout(WITHIN, reading).await {
            Ok(read) => read?,
            Err(_) => return Err(Kind::RequestTimeout.into()),
        };
        Ok((Request::from_parts(head, body), excerpt))
    }

    /// As a router sees a path, so does whoever is asked: in its [normal form](crate::path).
    fn check(&self) -> Result<(), Rejection> {
        let hosts = Request::headers(self).get_all(http::header::HOST);
        if hosts.iter().nth(1).is_some() {
            let detail = "The request has several hosts.";
            return Err(Rejection::new(Kind::InvalidRequest).with_detail(detail));
        }
        let path = Request::uri(self).path();
        // The name of a model may hold an encoded slash; routes refuse it.
        let rules = Rules::new().keep_encoded_slashes();
        match rules.normalise(path)? {
            // Only the digits of escapes may change their case.
            Cow::Owned(normal) if !normal.eq_ignore_ascii_case(path) => {
                let detail = "The path is not in its normal form.";
                Err(Rejection::new(Kind::InvalidRequest).with_detail(detail))
            }
            _ => Ok(()),
        }
    }

    fn method(&self) -> Method {
        Request::method(self).clone()
    }

    fn uri(&self) -> Uri {
        Request::uri(self).clone()
    }
}

async fn read(mut body: Body, most: usize) -> Result<(Body, Excerpt), Rejection> {
    let mut frames = VecDeque::new();
    let mut bytes = BytesMut::new();
    // One byte more than is asked for says that there are more.
    while bytes.len() <= most && !body.is_end_stream() {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(frame) = frame.transpose().map_err(broken)? else {
            break;
        };
        if let Some(data) = frame.data_ref() {
            let room = most.saturating_add(1) - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(room)]);
        }
        frames.push_back(frame);
    }
    let truncated = bytes.len() > most;
    bytes.truncate(most);
    let excerpt = Excerpt::new(bytes.freeze(), truncated);
    if frames.is_empty() {
        return Ok((body, excerpt));
    }
    Ok((Body::boxed(Again { frames, rest: body }), excerpt))
}

/// What a layer further out ended the body with, wherever frameworks have wrapped it; else the caller did.
fn broken(error: BoxError) -> Rejection {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(error) = cause {
        if let Some(rejection) = error.downcast_ref::<Rejection>() {
            return rejection.clone();
        }
        cause = error.source();
    }
    Rejection::new(Kind::InvalidRequest)
        .with_detail("The body broke off.")
        .with_source(error)
}

/// A body of which the beginning was read, and is there once more.
struct Again {
    frames: VecDeque<Frame<Bytes>>,
    rest: Body,
}

impl HttpBody for Again {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.frames.iter().filter_map(Frame::data_ref);
        let again: u64 = data.map(|data| data.remaining() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(again)) {
            hint.set_upper(upper);
        }
        hint.set_lower(rest.lower().saturating_add(again));
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_refused() {
        for (uri, fine) in [
            ("/", true),
            ("/a%2Fb?c", true),
            ("/a%c3%a9", true),
            ("http://a/b", true),
            ("/a/../b", false),
            ("/a/%2e%2e/b", false),
            ("//b", false),
            ("/%61", false),
            ("/a/%zz", false),
            ("*", false),
        ] {
            let request = Request::get(uri).body(Body::empty()).unwrap();
            assert_eq!(request.check().is_ok(), fine, "{uri}");
        }
    }
}
