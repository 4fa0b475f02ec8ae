//! The answer: the vendor's bytes, or its events in the client's words, or an error.

use crate::{
    Body, BoxError, End, Exchange,
    llm::{
        ChatResponse, Error, Event, Framing, Protocol, Start, Want,
        codec::{self, Asked, Encode, Maker, Sealer, envelope::Bound, gemini, responses::Trail},
        dialect,
        response::MOST_WHOLE,
    },
    principal::Extensible,
    problem,
    rejection::Kind,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, header};
use http_body::{Body as HttpBody, Frame};
use std::{
    future::poll_fn,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Lets the exchange know what the answer came to.
pub(super) fn followed(answer: ChatResponse, exchange: Option<Exchange>) -> ChatResponse {
    let Some(exchange) = exchange else {
        return answer;
    };
    answer.settle(move |end, summary| {
        exchange.update(|facts| {
            facts.usage = summary.usage;
            if let End::Failed(error) = end {
                facts.error = Some(error.kind().code());
            }
        });
    })
}

pub(super) fn tell(exchange: Option<&Exchange>, error: &Error) {
    if let Some(exchange) = exchange {
        exchange.update(|facts| facts.error = Some(error.kind().code()));
    }
}

/// An error in place of an answer, in the words of a protocol.
///
/// The rejection is left in the extensions, and with it the mark that it was rendered.
pub(super) fn refusal(
    protocol: Protocol,
    error: &Error,
    exchange: Option<&Exchange>,
) -> Response<Body> {
    let answer = dialect::error(protocol, error, exchange);
    let rejection = error.rejection().into_owned();
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    problem::write_headers(&rejection, headers);
    if let Error::Vendor(error) = error {
        headers.extend(error.headers().clone());
    }
    headers.insert(header::CONTENT_TYPE, JSON);
    response.extensions_mut().insert(rejection);
    response.extensions_mut().insert(dialect::Rendered);
    response
}

/// The answer as an HTTP response.
pub(super) async fn written(
    mut answer: ChatResponse,
    protocol: Protocol,
    asked: Asked,
    exchange: Option<Exchange>,
) -> Result<Response<Body>, Error> {
    let headers = mem::take(answer.headers_mut());
    let maker = answer.extensions_mut().remove::<Maker>();
    let maker = maker.filter(|maker| maker.protocol != protocol);
    let bound = answer.extensions_mut().remove::<Bound>();
    let maker = maker.or(bound.map(|bound| bound.0));
    let extensions = mem::take(answer.extensions_mut());
    let framing = asked.framing;
    let mut body = ChatBody::new(answer, protocol, asked, maker, exchange);
    let (body, content_type) = match framing {
        Framing::Sse => (
            Body::boxed(body),
            HeaderValue::from_static("text/event-stream"),
        ),
        Framing::Array => (Body::boxed(body), JSON),
        Framing::Ndjson => (
            Body::boxed(body),
            HeaderValue::from_static("application/x-ndjson"),
        ),
        // No client is answered in frames.
        Framing::Json | Framing::EventStream | Framing::Opaque => {
            (Body::from(body.whole().await?), JSON)
        }
    };
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    *response.extensions_mut() = extensions;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    if framing != Framing::Json {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // nginx and others in front of us hold event streams back unless they are told not to.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    Ok(response)
}

/// Tells the exchange when the first bytes went out, once.
pub(super) fn begun(begun: &mut bool, exchange: Option<&Exchange>) {
    if !mem::replace(begun, true)
        && let Some(exchange) = exchange
    {
        let elapsed = exchange.start().elapsed();
        exchange.update(|facts| {
            facts.first_content.get_or_insert(elapsed);
        });
    }
}

/// How much room is made for what is encoded, and when there is too little of it.
const ROOM: usize = 8 << 10;
const LEAST_ROOM: usize = 1 << 10;

/// The bytes of an answer: the vendor's own where they are in the client's words, else encoded.
struct ChatBody {
    answer: ChatResponse,
    protocol: Protocol,
    asked: Asked,
    /// Whether the vendor's bytes are in the client's words.
    same: bool,
    /// Binds thoughts to their maker where they are written anew.
    sealer: Option<Sealer>,
    /// Made when the first events must be encoded.
    encoder: Option<Box<dyn Encode>>,
    /// Room for what it writes, cut off batch by batch.
    room: BytesMut,
    /// The head, seen in bytes that went out as they came, for an encoder that is made later.
    start: Option<Start>,
    /// What the last word of a stream must repeat of bytes that went out as they came.
    trail: Option<Trail>,
    /// How much came of an answer in one piece: none of it is let go before its end.
    size: usize,
    /// Whether anything went out.
    wrote: bool,
    /// Whether the last bytes that went out as they came held the end.
    ended: bool,
    over: bool,
    begun: bool,
    exchange: Option<Exchange>,
}

impl ChatBody {
    /// Whoever needs more than bytes says so at the head, once.
    fn new(
        mut answer: ChatResponse,
        protocol: Protocol,
        asked: Asked,
        maker: Option<Maker>,
        exchange: Option<Exchange>,
    ) -> Self {
        let same = answer.spoken().is_some_and(|spoken| {
            (spoken.protocol, spoken.framing, spoken.operation)
                == (protocol, asked.framing, asked.operation)
        });
        if !same {
            answer.want(Want::Events);
        }
        let trails = same && protocol == Protocol::Responses && asked.framing == Framing::Sse;
        Self {
            answer,
            protocol,
            asked,
            same,
            sealer: maker.map(Sealer::new),
            encoder: None,
            room: BytesMut::new(),
            start: None,
            trail: trails.then(Trail::default),
            size: 0,
            ended: false,
            wrote: false,
            over: false,
            begun: false,
            exchange,
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            let Some(mut batch) = ready!(self.answer.poll_batch(cx)).transpose()? else {
                self.over = true;
                return Poll::Ready(self.end().map(Ok));
            };
            if self.asked.framing == Framing::Json {
                self.size = self.size.saturating_add(batch.size());
                if self.size > MOST_WHOLE {
                    self.over = true;
                    return Poll::Ready(Some(Err(Kind::UpstreamTooLarge.into())));
                }
            }
            let raw = if self.same { batch.take_raw() } else { None };
            let bytes = match raw {
                Some(raw) => {
                    self.passed(&raw, batch.events());
                    raw
                }
                // Its events would refer to those that went out as they came.
                None if self.trail.is_some() => Bytes::new(),
                None => {
                    let mut events = batch.into_events();
                    if let Some(sealer) = &mut self.sealer {
                        events = sealer.sealed(events);
                    }
                    self.encoded(events)
                }
            };
            if !bytes.is_empty() {
                self.wrote = true;
                self.begun(&bytes);
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
    }

    /// Remembers of bytes that go out as they came what an encoder would have to know later.
    fn passed(&mut self, raw: &Bytes, events: &[Event]) {
        if let Some(trail) = &mut self.trail {
            trail.see(raw);
            return;
        }
        // A chunk that holds nothing but the end has no events.
        if events.is_empty() && self.encoder.is_none() {
            return;
        }
        self.ended |= codec::of(self.protocol).is_end(raw);
        if self.start.is_none() {
            self.start = events.iter().find_map(|event| match event {
                Event::Start(start) => Some(start.clone()),
                _ => None,
            });
        }
    }

    fn encoded(&mut self, events: Vec<Event>) -> Bytes {
        // Once what went out of it is sent, the same room is written in again.
        if self.asked.framing != Framing::Json && self.room.capacity() < LEAST_ROOM {
            self.room.reserve(ROOM);
        }
        let encoder = self.encoder.get_or_insert_with(|| {
            let mut encoder = codec::of(self.protocol).encoder(self.asked.clone());
            if let Some(start) = self.start.take() {
                // What it writes of the head went out before.
                encoder.events(vec![Event::Start(start)], &mut BytesMut::new());
            }
            encoder
        });
        encoder.events(events, &mut self.room);
        self.ended = false;
        if self.room.is_empty() {
            return Bytes::new();
        }
        let out = self.room.split();
        self.joined(out)
    }

    /// What an encoder adds at the end. A vendor's own bytes have their end in them.
    fn end(&mut self) -> Option<Bytes> {
        let encoder = match (&mut self.encoder, self.same) {
            (Some(encoder), _) if !self.ended => encoder,
            (None, false) => self
                .encoder
                .insert(codec::of(self.protocol).encoder(self.asked.clone())),
            _ => return None,
        };
        // In one piece it is about as long as what came.
        let mut out = BytesMut::with_capacity(self.size);
        encoder.finish(&mut out);
        (!out.is_empty()).then(|| self.joined(out))
    }

    /// An array is begun once, whoever wrote its first elements.
    fn joined(&self, out: BytesMut) -> Bytes {
        match self.asked.framing {
            Framing::Array => gemini::joined(out, self.wrote).freeze(),
            _ => out.freeze(),
        }
    }

    /// What a client is told of an error after the head, in whole words. Whoever sees only bytes would take
    /// it for an answer.
    fn broken_off(&mut self, error: &Error) -> Bytes {
        self.over = true;
        if let Some(exchange) = &self.exchange {
            exchange.update(|facts| facts.broke_off = true);
        }
        if let Some(trail) = &self.trail {
            return trail.failed(error);
        }
        if self.asked.framing == Framing::Array {
            return self.joined(gemini::error_element(error));
        }
        let mut out = BytesMut::new();
        if let Some(encoder) = &mut self.encoder {
            encoder.fail(error, &mut out);
        }
        match out.is_empty() {
            true => dialect::error_event(self.protocol, error, self.exchange.as_ref()),
            false => out.freeze(),
        }
    }

    /// Tells the exchange when the first bytes went out, other than comments that keep a connection
    /// open.
    fn begun(&mut self, bytes: &Bytes) {
        if bytes.first() == Some(&b':') {
            return;
        }
        begun(&mut self.begun, self.exchange.as_ref());
    }

    /// All of it, for an answer in one piece.
    async fn whole(&mut self) -> Result<Bytes, Error> {
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(bytes) = poll_fn(|cx| self.poll_bytes(cx)).await {
            let bytes = bytes?;
            if first.is_empty() && all.is_empty() {
                first = bytes;
            } else {
                all.extend_from_slice(&mem::take(&mut first));
                all.extend_from_slice(&bytes);
            }
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }
}

impl HttpBody for ChatBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let bytes = match ready!(this.poll_bytes(cx)) {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => this.broken_off(&error),
            None => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{Batch, Batches, Delta, Operation, Spoken};
    use std::collections::VecDeque;

    struct Wire(VecDeque<Batch>);

    impl Batches for Wire {
        fn spoken(&self) -> Option<Spoken> {
            Some(Spoken {
                protocol: Protocol::OpenAi,
                framing: Framing::Sse,
                operation: Operation::Chat,
            })
        }

        fn want(&mut self, _: Want) {}

        fn poll_batch(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    fn asked() -> Asked {
        Asked {
            operation: Operation::Chat,
            model: "m".into(),
            framing: Framing::Sse,
            include_usage: false,
            base64: false,
            single: false,
            repeated: None,
        }
    }

    /// What goes out of a vendor's chunks when `old` is rewritten to `new`.
    async fn rewritten(chunks: &[&'static str]) -> String {
        let mut decoder = codec::of(Protocol::OpenAi).decoder(Operation::Chat, Framing::Sse);
        let batches = chunks.iter().map(|chunk| {
            let mut events = Vec::new();
            decoder.decode(chunk.as_bytes(), &mut events).unwrap();
            Batch::new(Some(Bytes::from_static(chunk.as_bytes())), events, None)
        });
        let answer = ChatResponse::new(Wire(batches.collect())).map(|event| match event {
            Event::Delta {
                choice,
                delta: Delta::Text(text),
            } => Event::Delta {
                choice,
                delta: Delta::Text(text.replace("old", "new")),
            },
            event => event,
        });
        let mut body = ChatBody::new(answer, Protocol::OpenAi, asked(), None, None);
        let all = body.whole().await.unwrap();
        String::from_utf8(all.into()).unwrap()
    }

    #[tokio::test]
    async fn a_stream_ends_once_whatever_was_rewritten_in_it() {
        let text = concat!(
            r#"data: {"id":"x","choices":[{"index":0,"delta":{"content":"say [DONE]"}}]}"#,
            "\n\n"
        );
        let changed = concat!(
            r#"data: {"id":"x","choices":[{"index":0,"delta":{"content":"old"}}]}"#,
            "\n\n"
        );
        let finish = concat!(
            r#"data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            "\n\n"
        );
        let done = "data: [DONE]\n\n";
        let out = rewritten(&[text, changed, finish, done]).await;
        assert_eq!(out.matches("finish_reason\":\"stop").count(), 1, "{out}");
        assert_eq!(out.matches("data: [DONE]").count(), 1, "{out}");
        assert!(out.contains("new") && out.ends_with(done), "{out}");
        // A vendor that leaves it out has it added, whatever the model says.
        let out = rewritten(&[changed, text]).await;
        assert_eq!(out.matches("data: [DONE]").count(), 1, "{out}");
    }

    #[tokio::test]
    async fn an_answer_in_one_piece_is_bounded() {
        let piece = Bytes::from(vec![b' '; 16 << 20]);
        let batches = (0..5).map(|_| Batch::new(Some(piece.clone()), Vec::new(), None));
        let answer = ChatResponse::new(Wire(batches.collect()));
        let asked = Asked {
            framing: Framing::Json,
            ..asked()
        };
        let mut body = ChatBody::new(answer, Protocol::OpenAi, asked, None, None);
        assert_eq!(
            body.whole().await.unwrap_err().kind(),
            Kind::UpstreamTooLarge
        );
    }
}
