//! A prompt is asked.

use super::{
    Settings,
    answer::{Flaw, Noted, answered, is_json, refusal, repair, sum},
    asked::{Query, name, wants_events},
    events::Events,
    json,
};
use crate::{
    Body, BoxError, End, Exchange, Extensible, Rejection,
    json::{Strict, TWICE},
    llm::{ChatRequest, ChatResponse, Completion, Error, Usage, serve},
    principal::Carried,
    prompt::{Call, Found, Registry, Variables},
    rejection::Kind,
};
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Response, header, request::Parts};
use http_body::Body as HttpBody;
use serde_json::Value;
use std::{future::poll_fn, mem, time::Duration};
use tower_service::Service;

/// The score of a version that tells how many of its outputs were of its schema.
const VALID: &str = "output_valid";

/// How long a body may take to arrive.
pub(crate) const TIME: Duration = Duration::from_secs(60);

pub(super) async fn call<S, B>(
    settings: &Settings,
    chat: S,
    asked: &str,
    parts: Parts,
    body: B,
) -> Result<Response<Body>, Rejection>
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let query = Query::read(parts.uri.query(), &["version", "label", "stream"])?;
    let streams = wants_events(&parts.headers, &query)?;
    let found = settings
        .find(&name(asked)?, query.chosen()?, &parts)
        .await?;
    let bytes = serve::json_body(&parts.headers, body, settings.limit, TIME).await?;
    let variables = object(&bytes)?;
    let model = settings.model_of(&found)?;
    let call = Call::new(found.version.name().clone()).variables(variables);
    let mut carried = Carried {
        headers: parts.headers,
        extensions: parts.extensions,
    };
    let exchange = carried.extensions.get::<Exchange>().cloned();
    carried.extensions.insert(call);
    carried.extensions.insert(found.clone());
    let request = ChatRequest::new().for_model(&model).with_carried(carried);
    let request = if streams { request } else { request.whole() };
    let asking = Asking {
        checked: Checked {
            registry: settings.registry.clone(),
            found,
        },
        used: None,
        exchange,
        chat,
    };
    if streams {
        asking.events(request).await
    } else {
        asking.whole(request).await
    }
}

/// JSON in which no field is given twice.
pub(crate) fn parsed(bytes: &[u8]) -> Result<Value, Rejection> {
    serde_json::from_slice(bytes)
        .map(|Strict(value)| value)
        .map_err(|error| {
            let detail = if error.is_data() {
                TWICE
            } else {
                "The body is not one JSON document."
            };
            let rejection = Rejection::new(Kind::InvalidRequest).with_detail(detail);
            rejection.with_position(error.line(), error.column())
        })
}

fn object(bytes: &[u8]) -> Result<Variables, Rejection> {
    match parsed(bytes)? {
        Value::Object(map) => Ok(map),
        _ => Err(Rejection::new(Kind::InvalidRequest)
            .with_detail("Expected an object of the variables.")),
    }
}

/// What an answer is checked by.
pub(super) struct Checked {
    registry: Registry,
    found: Found,
}

impl Checked {
    /// The document that answers. The registry is told whether an output is of its schema.
    pub(super) fn answered(&self, completion: &Completion, noted: &Noted) -> Result<Value, Flaw> {
        let document = answered(&self.found, completion, noted);
        let version = &self.found.version;
        if is_json(version.prompt().output.as_ref()) {
            let value = if document.is_ok() { 1.0 } else { 0.0 };
            // One that there is no room for is not counted.
            let _ = self
                .registry
                .score(version.name(), version.number(), VALID, value);
        }
        document
    }
}

/// The head of an answer: what goes on to the caller.
type Head = (HeaderMap, Extensions);

struct Asking<S> {
    checked: Checked,
    /// What earlier attempts have used.
    used: Option<Usage>,
    exchange: Option<Exchange>,
    chat: S,
}

impl<S> Asking<S>
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error>,
{
    async fn ask(&mut self, request: ChatRequest) -> Result<(Head, ChatResponse), Error> {
        poll_fn(|cx| self.chat.poll_ready(cx)).await?;
        let mut answer = self.chat.call(request).await?;
        let head = (
            mem::take(answer.headers_mut()),
            mem::take(answer.extensions_mut()),
        );
        Ok((head, followed(answer, self.exchange.clone(), self.used)))
    }

    async fn read(&mut self, request: ChatRequest) -> Result<(Head, Completion), Rejection> {
        let answer = async {
            let (head, answer) = self.ask(request).await?;
            Ok((head, answer.completion().await?))
        };
        let answer: Result<_, Error> = answer.await;
        answer.map_err(|error| refusal(&error))
    }

    /// In one piece, repaired once.
    async fn whole(mut self, mut request: ChatRequest) -> Result<Response<Body>, Rejection> {
        let (mut head, completion) = self.read(request.clone()).await?;
        let mut noted = Noted {
            usage: completion.usage,
            attempts: 1,
        };
        let mut answered = self.checked.answered(&completion, &noted);
        if let Err(Flaw::Repairable(said, faults)) = answered {
            self.used = noted.usage;
            // They stand after what the prompt says.
            request.chat_mut()?.messages.extend(repair(said, &faults));
            let (again, completion) = self.read(request).await?;
            head = again;
            noted = Noted {
                usage: sum(noted.usage, completion.usage),
                attempts: 2,
            };
            answered = self.checked.answered(&completion, &noted);
        }
        let document = answered.map_err(|flaw| refused(flaw.into_rejection(), &head))?;
        if let Some(exchange) = &self.exchange {
            let elapsed = exchange.start().elapsed();
            exchange.update(|facts| {
                facts.first_content.get_or_insert(elapsed);
            });
        }
        Ok(headed(json(&document), head))
    }

    /// As it comes.
    async fn events(mut self, request: ChatRequest) -> Result<Response<Body>, Rejection> {
        let (head, answer) = self.ask(request).await.map_err(|error| refusal(&error))?;
        let body = Events::new(answer, self.checked, self.exchange);
        let mut response = Response::new(Body::boxed(body));
        for (name, value) in [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-store"),
            // nginx and others in front of us hold event streams back unless they are told not to.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ] {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        Ok(headed(response, head))
    }
}

/// With what the model's answer says in its head.
fn headed(mut response: Response<Body>, (headers, extensions): Head) -> Response<Body> {
    let own = mem::replace(response.headers_mut(), headers);
    *response.extensions_mut() = extensions;
    for (name, value) in &own {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// The same of an error: which version it was, and how the caller's limits stand.
fn refused(rejection: Rejection, (headers, _): &Head) -> Rejection {
    let own = [
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::CACHE_CONTROL,
    ];
    let headers = headers.iter().filter(|(name, _)| !own.contains(name));
    headers.fold(rejection, |rejection, (name, value)| {
        rejection.with_header(name.clone(), value.clone())
    })
}

/// Lets the exchange know what the answer came to, beside what was used before.
fn followed(answer: ChatResponse, exchange: Option<Exchange>, used: Option<Usage>) -> ChatResponse {
    let Some(exchange) = exchange else {
        return answer;
    };
    answer.settle(move |end, summary| {
        exchange.update(|facts| {
            facts.usage = sum(used, summary.usage);
            if let End::Failed(error) = end {
                facts.error = Some(error.kind().code());
            }
        });
    })
}
