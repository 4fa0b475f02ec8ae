//! The two bodies, and whose fault it is when one breaks off.

use super::fault::{broken_off, causes};
use crate::{Body, BoxError, Rejection, rejection::Kind};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

/// What the body of a request broke off with. hyper tells of it over HTTP/1.1 only: over HTTP/2 it
/// resets the stream, which then looks like the server's doing.
#[derive(Clone, Default)]
pub(super) struct Sent(Arc<Report>);

#[derive(Default)]
struct Report {
    fault: OnceLock<Rejection>,
    over: AtomicBool,
}

impl Sent {
    pub(super) fn fault(&self) -> Option<Rejection> {
        self.0.fault.get().cloned()
    }

    /// Whether the body has been let go, most often because all of it was read.
    pub(super) fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }
}

/// The body of a request.
pub(super) struct Outgoing {
    body: Body,
    sent: Option<Sent>,
}

impl Outgoing {
    pub(super) fn empty() -> Self {
        Self {
            body: Body::empty(),
            sent: None,
        }
    }

    pub(super) fn new(body: Body, sent: Sent) -> Self {
        Self {
            body,
            sent: Some(sent),
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(sent) = &self.sent {
            sent.0.over.store(true, Ordering::Relaxed);
        }
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        frame.map_err(|error| {
            let known = causes(&*error).find_map(|cause| cause.downcast_ref::<Rejection>());
            let rejection = known.cloned().unwrap_or_else(|| {
                Rejection::new(Kind::InvalidRequest)
                    .with_detail("The body of the request broke off.")
                    .with_source(error)
            });
            if let Some(sent) = &self.sent {
                let _ = sent.0.fault.set(rejection.clone());
            }
            rejection.into()
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer. Its errors are rejections, as those of its head are.
pub(super) struct Answer(Incoming);

impl Answer {
    pub(super) fn body(incoming: Incoming) -> Body {
        if incoming.is_end_stream() {
            Body::empty()
        } else {
            Body::boxed(Self(incoming))
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.0).poll_frame(cx);
        frame.map_err(|error| broken_off(error).into())
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
