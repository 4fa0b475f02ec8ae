//! The inner half: the version rendered, and how the call of it went.

use super::{
    Settings,
    choose::{Choice, Chosen},
    combine::combined,
};
use crate::{
    End, Exchange, Extensible, Principal, Rejection,
    exchange::Usage,
    llm::{ChatRequest, ChatResponse, Error, Operation, Prompted},
    prompt::{CallOutcome, Found, price::price},
};
use http::{HeaderName, HeaderValue};
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::SystemTime,
};
use tokio::time::Instant;
use tower_service::Service;

/// Which version was used.
const USED: HeaderName = HeaderName::from_static("x-gateway-prompt");

/// By what name the call can be scored.
const CALL: HeaderName = HeaderName::from_static("x-gateway-prompt-call");

/// Renders the version that was found.
///
/// See the [module docs](super) for an example.
#[derive(Clone)]
pub struct Rendered<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> Rendered<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }

    /// The request as the vendor is asked, and all that is to be told of it. Where no model answers there is no
    /// call to be told of.
    fn render(
        &self,
        choice: Choice,
        request: &mut ChatRequest,
    ) -> Result<(Option<Running>, Option<HeaderValue>), Rejection> {
        let rendered = choice.found.version.render(&choice.call.variables);
        let rendered = rendered.map_err(|error| choice.call.placed_variables(error.into()))?;
        request.set_chat(combined(rendered, choice.own, choice.is_locked)?);
        if request.operation() != Operation::Chat {
            return Ok((None, None));
        }
        let principal = Principal::of(request);
        let scored = self
            .settings
            .scores
            .called(principal, &choice.tag, SystemTime::now());
        let running = Running {
            settings: self.settings.clone(),
            found: choice.found,
            exchange: Exchange::of(request).cloned(),
            start: Instant::now(),
            is_over: false,
        };
        let scored = scored.and_then(|scored| HeaderValue::try_from(scored).ok());
        Ok((Some(running), scored))
    }
}

impl<S: fmt::Debug> fmt::Debug for Rendered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendered")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S> Service<ChatRequest> for Rendered<S>
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error>,
{
    type Response = ChatResponse;
    type Error = Error;
    type Future = RenderedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: ChatRequest) -> Self::Future {
        // Most requests have none, and are not to be copied for that.
        let chosen = match request.extensions().get::<Chosen>() {
            Some(_) => request.extensions_mut().remove::<Chosen>(),
            None => None,
        };
        let choice = match chosen {
            Some(Chosen::Version(choice)) => choice,
            Some(Chosen::Refused(rejection)) => {
                let error = Some(Arc::unwrap_or_clone(rejection).into());
                return RenderedFuture {
                    state: State::Refused { error },
                };
            }
            None => {
                return RenderedFuture {
                    state: State::Called {
                        future: self.inner.call(request),
                        told: None,
                    },
                };
            }
        };
        let used = HeaderValue::try_from(&*choice.tag).ok();
        let state = match self.render(Arc::unwrap_or_clone(choice), &mut request) {
            Err(rejection) => State::Refused {
                error: Some(with_header(rejection.into(), used)),
            },
            Ok((running, scored)) => {
                let prompted = request.extensions().get::<Prompted>().cloned();
                let told = Told {
                    running,
                    prompted,
                    used,
                    scored,
                };
                State::Called {
                    told: Some(Box::new(told)),
                    future: self.inner.call(request),
                }
            }
        };
        RenderedFuture { state }
    }
}

/// What is told with the answer.
struct Told {
    /// `None`: it is no call of a model.
    running: Option<Running>,
    prompted: Option<Prompted>,
    used: Option<HeaderValue>,
    scored: Option<HeaderValue>,
}

impl Told {
    fn with(self, answer: Result<ChatResponse, Error>) -> Result<ChatResponse, Error> {
        let running = self.running;
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                if let Some(running) = running {
                    running.over(Some(error.kind().code()), None);
                }
                return Err(with_header(error, self.used));
            }
        };
        let headers = answer.headers_mut();
        for (name, value) in [(USED, self.used), (CALL, self.scored)] {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        if let Some(prompted) = self.prompted {
            answer.extensions_mut().insert(prompted);
        }
        let Some(running) = running else {
            return Ok(answer);
        };
        Ok(answer.settle(move |end, summary| {
            let error = match end {
                End::Failed(error) => Some(error.kind().code()),
                End::Broken(_) => Some(crate::rejection::Kind::BadGateway.code()),
                End::Complete | End::Dropped => None,
            };
            running.over(error, summary.usage);
        }))
    }
}

/// An error that says which version it was.
fn with_header(error: Error, used: Option<HeaderValue>) -> Error {
    let Some(used) = used else {
        return error;
    };
    match error {
        Error::Rejected(rejection) => rejection.with_header(USED, used).into(),
        Error::Vendor(vendor) => {
            let mut headers = vendor.headers().clone();
            headers.insert(USED, used);
            vendor.with_headers(headers).into()
        }
    }
}

/// A call that is not over. It is recorded when it is, or when it is dropped.
struct Running {
    settings: Arc<Settings>,
    found: Found,
    exchange: Option<Exchange>,
    start: Instant,
    is_over: bool,
}

impl Running {
    fn over(mut self, error: Option<&'static str>, usage: Option<Usage>) {
        self.record(error, usage);
    }

    fn record(&mut self, error: Option<&'static str>, usage: Option<Usage>) {
        self.is_over = true;
        let mut outcome = CallOutcome::new(self.start.elapsed());
        outcome.price = usage.and_then(|usage| self.price(&usage));
        outcome.usage = usage;
        outcome.error = error;
        self.settings.registry.record(&self.found, &outcome);
    }

    /// By the vendor that was called last, and its model.
    fn price(&self, usage: &Usage) -> Option<i128> {
        price(
            self.exchange.as_ref()?,
            usage,
            self.settings.catalog.as_ref(),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over {
            self.record(None, None);
        }
    }
}

pin_project! {
    /// Response future of [`Rendered`].
    pub struct RenderedFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Called {
            #[pin]
            future: F,
            told: Option<Box<Told>>,
        },
        Refused {
            error: Option<Error>,
        },
    }
}

impl<F: Future<Output = Result<ChatResponse, Error>>> Future for RenderedFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        Poll::Ready(match self.project().state.project() {
            StateProj::Called { future, told } => {
                let answer = ready!(future.poll(cx));
                match told.take() {
                    Some(told) => told.with(answer),
                    None => answer,
                }
            }
            StateProj::Refused { error } => Err(error.take().expect("polled after completion")),
        })
    }
}

impl<F> fmt::Debug for RenderedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenderedFuture").finish_non_exhaustive()
    }
}
