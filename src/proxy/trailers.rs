//! What a caller says after its body, which some servers take for headers (RFC 9110 §6.5.1).

use super::hop;
use crate::{Body, BoxError};
use bytes::Bytes;
use http::{HeaderName, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// Leaves out of the trailers of a request what is for its head, and these names, which are ours to say.
pub(super) fn guarded<'a>(
    body: Body,
    version: Version,
    ours: impl Iterator<Item = &'a HeaderName>,
) -> Body {
    // HTTP/1.1 has trailers after chunks alone, whose number nobody knows.
    let counted = body.size_hint().exact().is_some() && version < Version::HTTP_2;
    if counted || body.is_end_stream() {
        return body;
    }
    Body::boxed(Guarded {
        body,
        ours: ours.cloned().collect(),
    })
}

struct Guarded {
    body: Body,
    ours: Box<[HeaderName]>,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        frame.map_ok(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                hop::strip_trailers(trailers, &self.ours);
            }
            frame
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
