//! The outer half: which version, for which model.

use super::{Call, Settings, sticky};
use crate::{
    Exchange, Extensible, Principal, Rejection,
    llm::{Chat, ChatRequest, ChatResponse, Error, Prompted, Unprompted, names_model},
    prompt::{Found, RegistryError},
    rejection::Kind,
};
use pin_project_lite::pin_project;
use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// What the outer half came to, for the inner one. In the extensions of the request.
#[derive(Clone)]
pub(super) enum Chosen {
    Version(Arc<Choice>),
    /// Whoever stands between the halves decides on this call as on any other of that name: what it is refused
    /// for would tell a caller without a right to the prompt whether there is one.
    Refused(Arc<Rejection>),
}

#[derive(Clone)]
pub(super) struct Choice {
    pub(super) call: Call,
    pub(super) found: Found,
    /// What the request says beside the prompt.
    pub(super) own: Chat,
    pub(super) is_locked: bool,
    /// `name@version`
    pub(super) tag: Arc<str>,
}

/// Finds the version of a prompt that a request names, and the model that is asked.
///
/// See the [module docs](super) for an example.
#[derive(Clone)]
pub struct Prompting<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> Prompting<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }
}

impl<S: fmt::Debug> fmt::Debug for Prompting<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prompting")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S> Service<ChatRequest> for Prompting<S>
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = ChatResponse;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: ChatRequest) -> Self::Future {
        let is_called = request.names_prompt() || request.extensions().get::<Call>().is_some();
        if !is_called {
            let future = self.inner.call(request);
            return ResponseFuture {
                state: State::Plain { future },
            };
        }
        // The one that was ready. It is called once the version is there, which it is most often.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let settings = self.settings.clone();
        let future = Box::pin(async move {
            choose(&settings, &mut request).await?;
            inner.call(request).await
        });
        ResponseFuture {
            state: State::Prompted { future },
        }
    }
}

pin_project! {
    /// Response future of [`Prompting`].
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Plain {
            #[pin]
            future: F,
        },
        Prompted {
            future: Pin<Box<dyn Future<Output = Result<ChatResponse, Error>> + Send>>,
        },
    }
}

impl<F: Future<Output = Result<ChatResponse, Error>>> Future for ResponseFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().state.project() {
            StateProj::Plain { future } => future.poll(cx),
            StateProj::Prompted { future } => future.as_mut().poll(cx),
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// What is called, and what is said beside it.
fn called(request: &mut ChatRequest) -> Result<(Call, Chat), Rejection> {
    let beside = request.beside_prompt().transpose()?;
    let call = match request.extensions().get::<Call>() {
        Some(_) => request.extensions_mut().remove::<Call>(),
        None => None,
    };
    match (call, beside) {
        (Some(call), Some((_, own))) => Ok((call, own)),
        (Some(call), None) => Ok((call, request.chat()?.clone())),
        (None, Some((named, own))) => Ok((Call::read(named)?, own)),
        (None, None) => Err(Kind::Internal.into()),
    }
}

/// Leaves in the request what was chosen.
async fn choose(settings: &Settings, request: &mut ChatRequest) -> Result<(), Rejection> {
    let (call, own) = called(request)?;
    let name = call.name.as_arc().clone();
    let chosen = match chosen(settings, request, call, own).await {
        Ok(choice) => Chosen::Version(Arc::new(choice)),
        Err(rejection) => {
            request.extensions_mut().insert(Unprompted(name));
            Chosen::Refused(Arc::new(rejection))
        }
    };
    request.extensions_mut().insert(chosen);
    Ok(())
}

async fn chosen(
    settings: &Settings,
    request: &mut ChatRequest,
    call: Call,
    own: Chat,
) -> Result<Choice, Rejection> {
    let found = found(settings, request, &call, &own).await?;
    let (name, number) = (found.version.name(), found.version.number());
    let tag: Arc<str> = format!("{name}@{number}").into();
    let exchange = Exchange::enter(request);
    exchange.update(|facts| facts.prompt = Some(tag.clone()));
    let is_locked = (settings.locked)(&found.version);
    let model = model(request, &found, is_locked)?;
    request.set_model(&model);
    let may_not = |who: &Principal| !who.may_use_model(&model);
    if Principal::of(request).is_some_and(may_not) {
        return Err(Rejection::new(Kind::ModelNotFound).with_param("model"));
    }
    let label = found.label.as_ref().map(|label| label.as_arc().clone());
    let prompted = Prompted::new(name.as_arc().clone(), number, label, model);
    request.extensions_mut().insert(prompted);
    Ok(Choice {
        call,
        found,
        own,
        is_locked,
        tag,
    })
}

async fn found(
    settings: &Settings,
    request: &mut ChatRequest,
    call: &Call,
    own: &Chat,
) -> Result<Found, Rejection> {
    let found = match request.extensions().get::<Found>() {
        Some(_) => request.extensions_mut().remove::<Found>(),
        None => None,
    };
    // Someone further out may have found it.
    if let Some(found) = found.filter(|found| *found.version.name() == call.name) {
        return Ok(found);
    }
    call.may_choose(Principal::of(request), settings.choice_scope.as_deref())?;
    let at = call.at.as_ref().unwrap_or(&settings.at);
    let key = match &settings.sticky {
        Some(sticky) => sticky(request, own),
        None => sticky::by_default(request, own),
    };
    let found = settings.registry.find(&call.name, at, key.as_deref());
    found.await.map_err(|error| not_found(call, error))
}

/// The request's, unless the prompt is locked, and else the prompt's.
fn model(request: &ChatRequest, found: &Found, is_locked: bool) -> Result<Arc<str>, Rejection> {
    let own = Some(request.model()).filter(|own| names_model(own));
    let prompts = found.version.model();
    let model = match is_locked {
        true => prompts.or(own),
        false => own.or(prompts),
    };
    model.cloned().ok_or_else(|| {
        Rejection::new(Kind::InvalidRequest)
            .with_param("model")
            .with_detail("A model is required: the prompt names none.")
    })
}

fn not_found(call: &Call, error: RegistryError) -> Rejection {
    let field = match &error {
        RegistryError::NoPrompt => "/name",
        RegistryError::NoVersion(_) => "/version",
        RegistryError::NoLabel => "/label",
        RegistryError::Store(_) => return error.into(),
        // What is wrong with a version that is kept is nothing that a caller could mend.
        _ => return Rejection::new(Kind::PromptsUnavailable).with_source(error),
    };
    call.placed(error.into(), field)
}
