//! An answer that is passed on as it is: a document, an event stream, or bytes of any kind.

use super::write::{JSON, begun};
use crate::{
    Body, BoxError, Exchange, Extensible,
    llm::{ChatResponse, Error, Framing, Protocol, codec},
};
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::{Body as HttpBody, Frame};
use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// The answer as an HTTP response, under the content type that the vendor told.
pub(super) async fn passed(
    mut answer: ChatResponse,
    exchange: Option<Exchange>,
) -> Result<Response<Body>, Error> {
    let mut headers = mem::take(answer.headers_mut());
    let extensions = mem::take(answer.extensions_mut());
    let framing = answer.spoken().map(|spoken| spoken.framing);
    headers.entry(header::CONTENT_TYPE).or_insert(JSON);
    let mut body = PassedBody {
        answer,
        events: framing == Some(Framing::Sse),
        over: false,
        begun: false,
        exchange,
    };
    let body = match framing {
        // It is there, whole.
        Some(Framing::Json) => {
            let next = std::future::poll_fn(|cx| body.poll_bytes(cx)).await;
            Body::from(next.transpose()?.unwrap_or_default())
        }
        _ => Body::boxed(body),
    };
    let mut response = Response::new(body);
    if framing == Some(Framing::Sse) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    *response.headers_mut() = headers;
    *response.extensions_mut() = extensions;
    Ok(response)
}

struct PassedBody {
    answer: ChatResponse,
    /// An event stream: what it breaks off with is told in it.
    events: bool,
    over: bool,
    begun: bool,
    exchange: Option<Exchange>,
}

impl PassedBody {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            let batch = ready!(self.answer.poll_batch(cx));
            let Some(batch) = batch.transpose()? else {
                self.over = true;
                return Poll::Ready(None);
            };
            if let Some(raw) = batch.raw().filter(|raw| !raw.is_empty()) {
                begun(&mut self.begun, self.exchange.as_ref());
                return Poll::Ready(Some(Ok(raw.clone())));
            }
        }
    }
}

impl HttpBody for PassedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Some(bytes) = ready!(this.poll_bytes(cx)) else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(match bytes {
            Ok(bytes) => Ok(Frame::data(bytes)),
            Err(error) => {
                this.over = true;
                if let Some(exchange) = &this.exchange {
                    exchange.update(|facts| facts.broke_off = true);
                }
                match this.events {
                    true => Ok(Frame::data(
                        codec::of(Protocol::OpenAi).encode_error_event(&error),
                    )),
                    // Of bytes that nobody here can read, only that they end too soon can be told.
                    false => Err(error.into()),
                }
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}
