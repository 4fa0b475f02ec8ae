//! Requests and answers of any kind: over HTTP, around a model, and of one's own.

use super::*;
use http::{Extensions, HeaderMap};
use tower::ServiceBuilder;
#[cfg(feature = "llm")]
use tower_gateway::key::ByPrincipal;
use tower_gateway::{Extensible, Principal, Reject, principal::Carried};

/// A question and an answer that are not HTTP.
#[derive(Default)]
struct Ask(Carried);

#[derive(Debug)]
struct Reply(Carried);

macro_rules! carried {
    ($($name:ident)*) => {
        $(impl Extensible for $name {
            fn headers(&self) -> &HeaderMap {
                &self.0.headers
            }
            fn headers_mut(&mut self) -> &mut HeaderMap {
                &mut self.0.headers
            }
            fn extensions(&self) -> &Extensions {
                &self.0.extensions
            }
            fn extensions_mut(&mut self) -> &mut Extensions {
                &mut self.0.extensions
            }
        })*
    };
}

carried!(Ask Reply);

impl Reject<Rejection> for Reply {
    fn reject(rejection: Rejection) -> Result<Self, Rejection> {
        Err(rejection)
    }
}

#[tokio::test(start_paused = true)]
async fn any_request_and_any_answer_will_do() {
    let service = ServiceBuilder::new()
        .layer(RateLimitLayer::new(Quota::per_minute(1)))
        .service_fn(async |_: Ask| Ok::<_, Rejection>(Reply(Carried::default())));
    let ask = |name: &'static str| {
        let mut ask = Ask::default();
        ask.extensions_mut().insert(Principal::new(name));
        service.clone().oneshot(ask)
    };
    let reply = ask("alice").await.unwrap();
    assert_eq!(reply.headers()["x-ratelimit-remaining-requests"], "0");
    let rejection = ask("alice").await.unwrap_err();
    assert_eq!(rejection.kind(), Kind::RateLimited);
    assert_eq!(rejection.headers()["ratelimit"], r#""per-minute";r=0;t=60"#);
    assert!(ask("bob").await.is_ok());
}

#[tokio::test]
async fn in_bare_hyper_a_new_connection_brings_no_new_quota() {
    use http_body_util::Full;
    use hyper_util::{rt::TokioIo, service::TowerToHyperService};

    let layer = RateLimitLayer::new(Quota::per_hour(2)).key(Global);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let (client, server) = tokio::io::duplex(4096);
        let inner = tower::service_fn(async |_: Request<hyper::body::Incoming>| {
            Ok::<_, Infallible>(Response::new(Full::<axum::body::Bytes>::default()))
        });
        let service = TowerToHyperService::new(layer.layer(inner));
        let server = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service);
        let server = tokio::spawn(async move { server.await.unwrap() });
        let io = TokioIo::new(client);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        let client = tokio::spawn(async move { connection.await.unwrap() });
        let request = Request::new(Full::<axum::body::Bytes>::default());
        let answer = sender.send_request(request).await.unwrap();
        answers.push(answer.status().as_u16());
        drop((answer, sender));
        client.await.unwrap();
        server.await.unwrap();
    }
    assert_eq!(answers, [200, 200, 429]);
}

#[cfg(feature = "llm")]
#[tokio::test(start_paused = true)]
async fn a_language_model_has_limits_by_caller_and_model() {
    use tower_gateway::llm::{ByModel, ChatRequest, Error, Simulator};

    let layer = RateLimitLayer::new(Quota::per_minute(1)).key((ByPrincipal, ByModel));
    let service = layer.layer(Simulator::new());
    let ask = |name: &'static str, model: &'static str| {
        let mut ask = ChatRequest::new().user("Hello").for_model(model);
        ask.extensions_mut().insert(Principal::new(name));
        service.clone().oneshot(ask)
    };
    let answer = ask("alice", "fast").await.unwrap();
    assert_eq!(answer.headers()["ratelimit"], r#""per-minute";r=0;t=60"#);
    assert!(ask("alice", "slow").await.is_ok());
    assert!(ask("bob", "fast").await.is_ok());
    let Err(Error::Rejected(rejection)) = ask("alice", "fast").await else {
        panic!("the quota is used up");
    };
    assert_eq!(rejection.kind(), Kind::RateLimited);
    assert_eq!(rejection.retry_after(), Some(MINUTE));
}

/// What depends on the model is decided around the model, where it is known.
#[cfg(feature = "llm")]
#[tokio::test(start_paused = true)]
async fn a_model_has_a_quota_of_its_own_in_tokens() {
    use tower_gateway::llm::{ByModel, ChatRequest, Simulator};
    let layer = RateLimitLayer::all([
        Quota::per_minute(100).name("tokens"),
        Quota::per_day(10_000).fixed_window().name("tokens-a-day"),
    ])
    .key((ByPrincipal, ByModel))
    .cost(|req: &ChatRequest| u64::from(req.model().len() > 4) * 40 + 40)
    .headers(Headers::Ietf);
    let chat = layer.layer(Simulator::new().answer("Paris"));
    let ask = |model: &str| {
        let mut request = ChatRequest::new().for_model(model).user("The capital?");
        request.extensions_mut().insert(Principal::new("alice"));
        chat.clone().oneshot(request)
    };
    let answer = ask("fast").await.unwrap();
    assert!(
        answer.headers()["ratelimit"]
            .to_str()
            .unwrap()
            .starts_with(r#""tokens";r=60"#)
    );
    assert!(ask("fast").await.is_ok());
    let refusal = ask("fast").await.unwrap_err();
    assert_eq!(refusal.kind(), Kind::RateLimited);
    assert!(ask("thorough").await.is_ok(), "80 of its own");
    assert_eq!(ask("thorough").await.unwrap_err().kind(), Kind::RateLimited);
}
