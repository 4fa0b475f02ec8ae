//! Calls of a service of models as its clients make them, and what came back.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::Value;
use tower::{Service, ServiceExt};
use tower_gateway::{
    Body, collect,
    llm::{
        ChatRequest, ChatResponse, Error,
        serve::{Model, Serve},
    },
};

/// A request in JSON.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is written where it is called"
)]
pub(crate) fn post(path: &str, body: impl ToString) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}

/// All of an answer, where two models are listed.
pub(crate) async fn call<S>(service: S, request: Request<Full<Bytes>>) -> Response<Bytes>
where
    S: Service<ChatRequest, Response = ChatResponse> + Clone + Send + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
{
    let models = vec![Model::new("a", "lab"), Model::new("b/c", "lab")];
    let serve = Serve::new(service).models(models);
    let (parts, body): (_, Body) = serve.oneshot(request).await.unwrap().into_parts();
    Response::from_parts(parts, collect(body, 1 << 20).await.unwrap())
}

/// An answer in one piece.
pub(crate) fn document(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body())
        .unwrap_or_else(|error| panic!("{error}: {:?}", answer.body()))
}

/// The documents of a stream, of events or in an array.
pub(crate) fn data(answer: &Response<Bytes>) -> Vec<Value> {
    let text = std::str::from_utf8(answer.body()).unwrap();
    if text.starts_with('[') {
        return serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    }
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.filter_map(|data| serde_json::from_str(data).ok())
        .collect()
}
