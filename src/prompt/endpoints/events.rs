//! An answer, piece by piece: server-sent events.

use super::{
    answer::{Noted, refusal},
    call::Checked,
};
use crate::{
    BoxError, Exchange, Rejection,
    llm::{ChatResponse, Completion, Delta, Error, Event},
    problem,
    rejection::Kind,
};
use bytes::Bytes;
use futures_core::Stream;
use http_body::{Body as HttpBody, Frame};
use serde_json::{Map, Value, json};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// The most bytes of an answer: it is held to the end, to be told and checked as a whole.
const MOST: usize = 16 << 20;

/// What each piece of it takes beside its text, in bytes.
const EACH: usize = 32;

/// The events of a call.
pub(super) struct Events {
    /// `None`: it is over.
    answer: Option<ChatResponse>,
    checked: Checked,
    exchange: Option<Exchange>,
    completion: Completion,
    size: usize,
    begun: bool,
}

impl Events {
    pub(super) fn new(answer: ChatResponse, checked: Checked, exchange: Option<Exchange>) -> Self {
        Self {
            answer: Some(answer),
            checked,
            exchange,
            completion: Completion::default(),
            size: 0,
            begun: false,
        }
    }

    /// The text that an event adds to what is shown.
    fn shown(event: &Event) -> Option<&str> {
        match event {
            Event::Delta {
                choice: 0,
                delta: Delta::Text(text),
            } if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// The last event.
    fn end(&mut self) -> Bytes {
        self.answer = None;
        let usage = self.completion.usage;
        let noted = Noted { usage, attempts: 1 };
        match self.checked.answered(&self.completion, &noted) {
            Ok(document) => event("done", &document.to_string()),
            Err(flaw) => self.failed(&flaw.into_rejection()),
        }
    }

    fn failed(&mut self, rejection: &Rejection) -> Bytes {
        self.answer = None;
        let code = rejection.kind().code();
        let id = self.exchange.as_ref().map(|exchange| {
            exchange.update(|facts| {
                facts.broke_off = true;
                facts.error = Some(code);
            });
            exchange.id()
        });
        let document = problem::document(rejection, id);
        // It was made of text.
        event("error", std::str::from_utf8(&document).unwrap_or("{}"))
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true)
            && let Some(exchange) = &self.exchange
        {
            let elapsed = exchange.start().elapsed();
            exchange.update(|facts| {
                facts.first_content.get_or_insert(elapsed);
            });
        }
    }

    fn take(&mut self, piece: Result<Event, Error>) -> Option<Bytes> {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => return Some(self.failed(&refusal(&error))),
        };
        self.size = self.size.saturating_add(room(&piece));
        if self.size > MOST {
            let error = Kind::UpstreamTooLarge.into();
            if let Some(answer) = self.answer.take() {
                answer.fail(&error);
            }
            return Some(self.failed(&refusal(&error)));
        }
        let shown =
            Self::shown(&piece).map(|text| event("text", &json!({"text": text}).to_string()));
        self.completion.push(piece);
        if shown.is_some() {
            self.begin();
        }
        shown
    }
}

/// About how many bytes of an answer that is held an event takes.
fn room(event: &Event) -> usize {
    let own = match event {
        Event::Start(start) => start.id.len() + start.model.len() + room_of_all(&start.extra),
        Event::Delta { delta, .. } => match delta {
            Delta::Text(text)
            | Delta::Reasoning(text)
            | Delta::Signature(text)
            | Delta::Redacted(text)
            | Delta::Refusal(text) => text.len(),
            Delta::ToolCall {
                id,
                name,
                arguments,
                ..
            } => {
                let names = [id, name].into_iter().flatten();
                arguments.len() + names.map(String::len).sum::<usize>()
            }
            Delta::Audio(value) => room_of(value),
            Delta::Extra(extra) => room_of_all(extra),
        },
        _ => 0,
    };
    own.saturating_add(EACH)
}

fn room_of(value: &Value) -> usize {
    let own = match value {
        Value::String(text) => text.len(),
        Value::Array(all) => all.iter().map(room_of).sum(),
        Value::Object(map) => room_of_all(map),
        _ => 0,
    };
    own + EACH
}

fn room_of_all(map: &Map<String, Value>) -> usize {
    let all = map.iter();
    all.map(|(key, value)| key.len() + room_of(value)).sum()
}

/// An event. JSON has no line breaks in it.
fn event(name: &str, data: &str) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            let Some(answer) = &mut this.answer else {
                return Poll::Ready(None);
            };
            let bytes = match ready!(Pin::new(answer).poll_next(cx)) {
                None => Some(this.end()),
                Some(piece) => this.take(piece),
            };
            if let Some(bytes) = bytes {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_none()
    }
}
