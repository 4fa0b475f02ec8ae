//! A prompt is asked.

use super::{
    Settings,
    answer::{Flaw, Noted, answered, refusal, repair, sum},
    asked::{Query, name, wants_events},
    events::Events,
    json,
};
use crate::{
    Body, BoxError, End, Exchange, Extensible, Rejection,
    json::{Strict, TWICE},
    llm::{ChatRequest, ChatResponse, Completion, Error, Prompted, serve},
    principal::Carried,
    prompt::{Found, Outcome, Registry, Variables},
    rejection::Kind,
};
use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Response, header, request::Parts,
};
use http_body::Body as HttpBody;
use serde_json::Value;
use std::{future::poll_fn, mem, time::Duration};
use tokio::time::Instant;
use tower_service::Service;

const PROMPT: HeaderName = HeaderName::from_static("x-gateway-prompt");
const VERSION: HeaderName = HeaderName::from_static("x-gateway-prompt-version");
const LABEL: HeaderName = HeaderName::from_static("x-gateway-prompt-label");

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
    S: Service<ChatRequest, Response = ChatResponse>,
    S::Error: Into<Error>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let query = Query::read(parts.uri.query(), &["version", "label", "stream"])?;
    let streams = wants_events(&parts.headers, &query)?;
    let found = settings.find(&name(asked)?, query.chosen()?, &parts).await?;
    let bytes = serve::json_body(&parts.headers, body, settings.limit, TIME).await?;
    let variables = object(&bytes)?;
    let model = settings.model_of(&found)?;
    let carried = Carried {
        headers: parts.headers,
        extensions: parts.extensions,
    };
    let exchange = carried.extensions.get::<Exchange>().cloned();
    let request = request(&found, &variables, &model, carried)?;
    let request = if streams { request } else { request.whole() };
    let call = Call {
        record: Record::new(settings.registry.clone(), found),
        exchange,
        chat,
    };
    if streams {
        call.events(request).await
    } else {
        call.whole(request).await
    }
}

/// What the model is asked.
pub(crate) fn request(
    found: &Found,
    variables: &Variables,
    model: &str,
    carried: Carried,
) -> Result<ChatRequest, Rejection> {
    let rendered = found.version.render(variables)?;
    let mut request = ChatRequest::new().for_model(model).with_carried(carried);
    *request.chat_mut()? = rendered;
    let version = &found.version;
    let label = found.label.as_ref().map(|label| label.as_arc().clone());
    let prompted = Prompted::new(version.name().as_arc().clone(), version.number(), label, model);
    request.extensions_mut().insert(prompted);
    Ok(request)
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

/// Tells the registry how a call went, whatever becomes of it.
pub(super) struct Record {
    registry: Registry,
    pub(super) found: Found,
    began: Instant,
    outcome: Option<Outcome>,
}

impl Record {
    fn new(registry: Registry, found: Found) -> Self {
        Self {
            registry,
            found,
            began: Instant::now(),
            outcome: Some(Outcome::default().error("dropped")),
        }
    }

    /// It is over.
    pub(super) fn over(
        &mut self,
        usage: Option<crate::llm::Usage>,
        error: Option<&'static str>,
    ) {
        let outcome = Outcome::default();
        let outcome = usage.map_or(outcome.clone(), |usage| outcome.usage(usage));
        self.outcome = Some(error.map_or(outcome.clone(), |code| outcome.error(code)));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(mut outcome) = self.outcome.take() {
            outcome.latency = self.began.elapsed();
            self.registry.record(&self.found, outcome);
        }
    }
}

/// The head of an answer: what goes on to the caller.
type Head = (HeaderMap, Extensions);

struct Call<S> {
    record: Record,
    exchange: Option<Exchange>,
    chat: S,
}

impl<S> Call<S>
where
    S: Service<ChatRequest, Response = ChatResponse>,
    S::Error: Into<Error>,
{
    async fn ask(&mut self, request: ChatRequest) -> Result<(Head, ChatResponse), Error> {
        poll_fn(|cx| self.chat.poll_ready(cx))
            .await
            .map_err(Into::into)?;
        let mut answer = self.chat.call(request).await.map_err(Into::into)?;
        let head = (
            mem::take(answer.headers_mut()),
            mem::take(answer.extensions_mut()),
        );
        Ok((head, followed(answer, self.exchange.clone())))
    }

    /// Notes an error, and says what the caller is told of it.
    fn failed(&mut self, error: &Error) -> Rejection {
        self.record.over(None, Some(error.kind().code()));
        refusal(error)
    }

    async fn read(&mut self, request: ChatRequest) -> Result<(Head, Completion), Rejection> {
        let answer = async {
            let (head, answer) = self.ask(request).await?;
            Ok((head, answer.completion().await?))
        };
        let answer: Result<_, Error> = answer.await;
        answer.map_err(|error| self.failed(&error))
    }

    /// In one piece, repaired once.
    async fn whole(mut self, request: ChatRequest) -> Result<Response<Body>, Rejection> {
        let (head, completion) = self.read(request.clone()).await?;
        let mut noted = Noted {
            usage: completion.usage,
            attempts: 1,
        };
        let (head, document) = match answered(&self.record.found, &completion, &noted) {
            Ok(document) => (head, document),
            Err(Flaw::Repairable(said, faults)) => {
                let mut request = request;
                request.chat_mut()?.messages.extend(repair(said, &faults));
                let (head, again) = self.read(request).await?;
                noted = Noted {
                    usage: sum(noted.usage, again.usage),
                    attempts: 2,
                };
                if let Some(exchange) = &self.exchange {
                    exchange.update(|facts| facts.usage = noted.usage);
                }
                let document = answered(&self.record.found, &again, &noted);
                (head, document.map_err(|flaw| self.invalid(&noted, flaw))?)
            }
            Err(flaw) => return Err(self.invalid(&noted, flaw)),
        };
        self.record.over(noted.usage, None);
        if let Some(exchange) = &self.exchange {
            let elapsed = exchange.start().elapsed();
            exchange.update(|facts| {
                facts.first_content.get_or_insert(elapsed);
            });
        }
        Ok(self.headed(json(&document), head))
    }

    fn invalid(&mut self, noted: &Noted, flaw: Flaw) -> Rejection {
        let rejection = flaw.into_rejection();
        let code = rejection.kind().code();
        self.record.over(noted.usage, Some(code));
        rejection
    }

    /// As it comes.
    async fn events(mut self, request: ChatRequest) -> Result<Response<Body>, Rejection> {
        let (head, answer) = match self.ask(request).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.failed(&error)),
        };
        let response = self.headed(Response::new(()), head);
        let (mut parts, ()) = response.into_parts();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-store"),
            // nginx and others in front of us hold event streams back unless they are told not to.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ] {
            parts.headers.insert(name, HeaderValue::from_static(value));
        }
        let body = Events::new(answer, self.record, self.exchange);
        Ok(Response::from_parts(parts, Body::boxed(body)))
    }

    /// With the head of the model's answer, and what version it is from.
    fn headed<B>(&self, mut response: Response<B>, (headers, extensions): Head) -> Response<B> {
        let own = mem::take(response.headers_mut());
        *response.headers_mut() = headers;
        *response.extensions_mut() = extensions;
        let headers = response.headers_mut();
        for (name, value) in &own {
            headers.insert(name, value.clone());
        }
        let found = &self.record.found;
        let mut tell = |name, text: &str| {
            // Names are of letters that headers may hold.
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        tell(PROMPT, found.version.name());
        tell(VERSION, &found.version.number().to_string());
        if let Some(label) = &found.label {
            tell(LABEL, label);
        }
        response
    }
}

/// Lets the exchange know what the answer came to.
fn followed(answer: ChatResponse, exchange: Option<Exchange>) -> ChatResponse {
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
