//! A call that is passed on as it is, and its answer likewise.

use super::{
    Inner, address, answer,
    call::{along, configure, head, passed_back},
    framing::{self, collected, content, is_encoded},
    refusal::{self, malformed, refusal},
};
use crate::{
    Body, BoxError, Exchange, Extensible, Rejection,
    llm::{
        Batch, Batches, ChatRequest, ChatResponse, Error, Event, Framing, Passthrough, Protocol,
        Spoken, Usage, Want, Wire,
        codec::{self, fault, skim, sse},
    },
    rejection::Kind,
};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderValue, Method,
    header::{ACCEPT, CONTENT_TYPE},
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::Value;
use std::{
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, ready},
};

const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

pub(super) async fn pass(
    provider: Arc<Inner>,
    mut request: ChatRequest,
    asked: Passthrough,
) -> Result<ChatResponse, Error> {
    let wire = request
        .wire()
        .filter(|wire| wire.protocol == Protocol::OpenAi);
    let (Some(wire), Protocol::OpenAi) = (wire, provider.protocol) else {
        let detail = "The provider does not speak this part of OpenAI's protocol.";
        return Err(Rejection::new(Kind::NotSupported)
            .with_detail(detail)
            .into());
    };
    let codec = codec::of(provider.protocol);
    let (first, rest) = body(wire, request.model(), asked)?;
    let path = address::path(&provider, provider.protocol, &request)?;
    let (content_type, along) = (
        request.headers().get(CONTENT_TYPE),
        along(request.headers()),
    );
    let content_type = content_type.cloned().unwrap_or(framing::JSON);
    let mut call = head(&provider.base, Method::POST, &path, request.take_headers())?;
    let headers = call.headers_mut();
    headers.insert(ACCEPT, ANYTHING);
    headers.insert(CONTENT_TYPE, content_type);
    headers.extend(along);
    configure(&provider, codec, headers)?;
    if let Some(exchange) = Exchange::of(&request) {
        exchange.update(|facts| {
            facts.attempts = facts.attempts.saturating_add(1);
            facts.upstream = Some(provider.name.clone());
            facts.upstream_model = Some(request.model().clone());
        });
    }
    let operation = request.operation();
    drop(request);

    // What is still to come cannot be signed.
    let call = call.map(|()| first);
    let call = match &provider.credential {
        Some(credential) => credential.authorize(call).await?,
        None => call,
    };
    let call = call.map(|first| match rest {
        Some(rest) => Body::boxed(Outgoing { first, rest }),
        None => Body::from(first),
    });
    let response = provider.client.send(call).await;
    let response = response.inspect_err(|rejection| refusal::unreachable(&provider, rejection))?;
    let (parts, body) = response.into_parts();
    if !parts.status.is_success() {
        return Err(refusal(&provider, codec, parts.status, &parts.headers, body).await);
    }
    if is_encoded(&parts.headers) {
        let reason = "an answer in an encoding that was not asked for";
        return Err(malformed(&provider, reason));
    }
    let framing = content(&parts.headers);
    let spoken = Spoken {
        protocol: Protocol::OpenAi,
        framing: framing.unwrap_or(Framing::Opaque),
        operation,
    };
    let rest = match framing {
        Some(Framing::Json) => {
            let raw = collected(body, None, framing::MOST_ANSWER).await?;
            let found = scan(&raw, Framing::Json);
            if let Some(error) = found.error {
                let error = error.with_vendor(provider.name.clone());
                let error = refusal::screened(&provider, &raw, error);
                refusal::log(&error);
                return Err(error.into());
            }
            Rest::Document(Some((raw, found.usage)))
        }
        Some(Framing::Sse) => Rest::Events(body, sse::Framer::new()),
        _ => Rest::Bytes(body),
    };
    let mut answer = ChatResponse::new(Source {
        provider,
        spoken,
        want: Want::Bytes,
        rest: Some(rest),
    });
    let told = parts.headers.get(CONTENT_TYPE).cloned().unwrap_or(BYTES);
    *answer.headers_mut() = passed_back(parts.headers);
    answer.headers_mut().insert(CONTENT_TYPE, told);
    Ok(answer)
}

/// The client's own bytes, with the model's name in its place if it is another, and what is still to
/// come.
fn body(wire: &Wire, model: &str, asked: Passthrough) -> Result<(Bytes, Option<Body>), Rejection> {
    let named = wire.model.clone();
    let own = wire
        .model
        .as_ref()
        .and_then(|at| wire.bytes.get(at.clone()));
    let Some(upload) = &wire.upload else {
        let name = Value::from(model).to_string();
        let bytes = match named {
            Some(at) if own != Some(name.as_bytes()) => spliced(&wire.bytes, at, name.as_bytes())?,
            None if asked.default_model() != Some(model) => {
                let open = memchr::memchr(b'{', &wire.bytes).map_or(0, |at| at + 1);
                let empty = wire.bytes[open..].trim_ascii_start().starts_with(b"}");
                let comma = if empty { "" } else { "," };
                let field = format!("\"model\":{name}{comma}");
                spliced(&wire.bytes, open..open, field.as_bytes())?
            }
            _ => wire.bytes.clone(),
        };
        return Ok((bytes, None));
    };
    if model.contains(['\r', '\n']) {
        return Err(Kind::Internal.into());
    }
    let first = match named {
        Some(at) if own != Some(model.as_bytes()) => spliced(&wire.bytes, at, model.as_bytes())?,
        None if asked.default_model() != Some(model) => {
            let field = format!(
                "--{}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n",
                upload.boundary
            );
            spliced(&wire.bytes, 0..0, field.as_bytes())?
        }
        _ => wire.bytes.clone(),
    };
    let rest = upload.take().map_err(|()| {
        Rejection::new(Kind::BadGateway).with_detail(
            "The upload went to another provider, which failed: it cannot be sent twice.",
        )
    })?;
    Ok((first, rest))
}

fn spliced(bytes: &Bytes, at: std::ops::Range<usize>, text: &[u8]) -> Result<Bytes, Rejection> {
    let (Some(before), Some(after)) = (bytes.get(..at.start), bytes.get(at.end..)) else {
        return Err(Kind::Internal.into());
    };
    let mut out = BytesMut::with_capacity(before.len() + text.len() + after.len());
    out.extend_from_slice(before);
    out.extend_from_slice(text);
    out.extend_from_slice(after);
    Ok(out.freeze())
}

/// What was held of an upload, and what is still to come.
struct Outgoing {
    first: Bytes,
    rest: Body,
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            let first = std::mem::take(&mut this.first);
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        Pin::new(&mut this.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.size_hint();
        let first = self.first.len() as u64;
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(first));
        }
        hint.set_lower(rest.lower().saturating_add(first));
        hint
    }
}

/// Where the batches of an answer come from.
struct Source {
    provider: Arc<Inner>,
    spoken: Spoken,
    want: Want,
    /// `None`: it is over.
    rest: Option<Rest>,
}

enum Rest {
    Document(Option<(Bytes, Option<Usage>)>),
    Events(Body, sse::Framer),
    Bytes(Body),
}

impl Source {
    fn batch(&self, raw: Bytes, usage: Option<Usage>) -> Batch {
        // Whoever waits for content has it.
        let events = match self.want {
            Want::Bytes => Vec::new(),
            _ => vec![Event::Opaque],
        };
        Batch::new(Some(raw), events, usage)
    }

    fn events(&mut self, raw: Bytes) -> Result<Batch, Error> {
        let found = scan(&raw, Framing::Sse);
        if let Some(error) = found.error {
            self.rest = None;
            let error = error.with_vendor(self.provider.name.clone());
            let error = refusal::screened(&self.provider, &raw, error);
            refusal::log(&error);
            return Err(error.into());
        }
        Ok(self.batch(raw, found.usage))
    }
}

impl Batches for Source {
    fn spoken(&self) -> Option<Spoken> {
        Some(self.spoken)
    }

    fn want(&mut self, want: Want) {
        self.want = self.want.max(want);
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
        loop {
            let (body, framer) = match &mut self.rest {
                None => return Poll::Ready(None),
                Some(Rest::Document(document)) => {
                    let document = document.take();
                    self.rest = None;
                    return Poll::Ready(document.map(|(raw, usage)| Ok(self.batch(raw, usage))));
                }
                Some(Rest::Events(body, framer)) => (body, Some(framer)),
                Some(Rest::Bytes(body)) => (body, None),
            };
            let raw = match (ready!(Pin::new(body).poll_frame(cx)), framer) {
                (Some(Err(error)), _) => {
                    self.rest = None;
                    return Poll::Ready(Some(Err(answer::broken(error).into())));
                }
                (Some(Ok(frame)), None) => match frame.into_data() {
                    Ok(data) => return Poll::Ready(Some(Ok(self.batch(data, None)))),
                    Err(_trailers) => continue,
                },
                (Some(Ok(frame)), Some(framer)) => match frame.into_data() {
                    Ok(data) => framer.push(data),
                    Err(_trailers) => continue,
                },
                (None, framer) => {
                    let last = framer.and_then(sse::Framer::finish);
                    self.rest = None;
                    let Some(last) = last else {
                        return Poll::Ready(None);
                    };
                    Ok(Some(last))
                }
            };
            match raw {
                Ok(None) => {}
                Ok(Some(raw)) => return Poll::Ready(Some(self.events(raw))),
                Err(_) => {
                    self.rest = None;
                    return Poll::Ready(Some(Err(answer::too_long())));
                }
            }
        }
    }
}

/// The usage of pictures and of sound is told in counts of their own.
fn scan(raw: &[u8], framing: Framing) -> codec::Scan {
    static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
    let usage = KEY.find(raw).and_then(|_| match framing {
        Framing::Sse => sse::events(raw)
            .filter_map(|event| usage(&event.data))
            .last(),
        _ => usage(raw),
    });
    codec::Scan {
        usage,
        error: fault::scan(raw, framing),
    }
}

/// The field of a document, without a parse of the picture beside it.
fn usage(data: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Holder {
        usage: Option<Value>,
    }
    let mut found = None;
    let skimmed = skim::object(data, |name, value| {
        if name == b"usage" {
            found = Some(value);
        }
        Some(())
    });
    let told: Value = match skimmed {
        Some(_) => serde_json::from_slice(found?).ok()?,
        None => serde_json::from_slice::<Holder>(data).ok()?.usage?,
    };
    let count = |of: &Value, key: &str| of.get(key).and_then(Value::as_u64);
    let (input, output) = (count(&told, "input_tokens"), count(&told, "output_tokens"));
    let (input, output) = (
        input.or(count(&told, "prompt_tokens")),
        output.or(count(&told, "completion_tokens")),
    );
    if input.is_none() && output.is_none() {
        // A time, most often.
        return None;
    }
    let mut usage = Usage::new(input.unwrap_or(0), output.unwrap_or(0));
    let details = ["input_token_details", "input_tokens_details"];
    let details = details.iter().find_map(|key| told.get(*key));
    usage.audio_input = details.and_then(|details| count(details, "audio_tokens"));
    Some(usage)
}
