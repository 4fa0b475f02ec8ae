//! What is asked, and where the answer comes from.

use super::{Endpoints, asked::Place, call, page};
use crate::{
    Body, BoxError, Exchange, Reject, Rejection,
    llm::{ChatRequest, ChatResponse, Error},
    rejection::Kind,
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body::Body as HttpBody;
use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};
use tower_service::Service;

impl<S, B> Service<Request<B>> for Endpoints<S>
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    // The body is read before the chat service is called: its readiness is awaited there.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let endpoints = self.clone();
        let (parts, body) = request.into_parts();
        ResponseFuture(Box::pin(async move {
            let exchange = parts.extensions.get::<Exchange>().cloned();
            let answer = endpoints.answer(parts, body).await;
            answer.or_else(|rejection| {
                if let Some(exchange) = exchange {
                    exchange.update(|facts| facts.error = Some(rejection.kind().code()));
                }
                Response::reject(rejection)
            })
        }))
    }
}

impl<S> Endpoints<S> {
    async fn answer<B>(self, parts: Parts, body: B) -> Result<Response<Body>, Rejection>
    where
        S: Service<ChatRequest, Response = ChatResponse, Error = Error> + Clone + Send + 'static,
        S::Future: Send,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (settings, chat) = (self.settings, self.chat);
        let path = parts.uri.path().to_owned();
        let place = Place::asked(&settings.root, &path, &parts.headers).ok_or(Kind::NotFound)?;
        if let Some(allow) = place.method(&parts.method)? {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().insert(header::ALLOW, allow);
            return Ok(response);
        }
        let mut answer = match place {
            Place::Page => page::page(),
            Place::List => settings.list(&parts)?,
            Place::Document => settings.document(&parts)?,
            Place::Prompt(name) if parts.method == Method::POST => {
                call::call(&settings, chat, name, parts, body).await?
            }
            Place::Prompt(name) => settings.description(name, &parts).await?,
        };
        if settings.root.is_empty() && matches!(place, Place::Page | Place::List) {
            let accept = HeaderValue::from_static("accept");
            answer.headers_mut().insert(header::VARY, accept);
        }
        Ok(answer)
    }
}

/// A document of JSON, for this caller and not to be kept.
pub(crate) fn json(document: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(document.to_string()));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Response future of [`Endpoints`].
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>);

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
