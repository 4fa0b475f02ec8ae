//! Keys that may use some routes and models only.

use http::{Request, Response};
use std::{convert::Infallible, future::ready};
use tower::{ServiceExt, service_fn};
use tower_gateway::{
    Body, Principal,
    route::{Methods, Routes},
};
#[cfg(feature = "llm")]
use tower_gateway::{Rejection, rejection::Kind};

fn request(uri: &str, who: Option<&Principal>) -> Request<Body> {
    let mut request = Request::get(uri).body(Body::empty()).unwrap();
    if let Some(who) = who {
        request.extensions_mut().insert(who.clone());
    }
    request
}

#[tokio::test]
async fn a_route_that_a_key_may_not_use_is_403() {
    let service =
        service_fn(|_: Request<Body>| ready(Ok::<_, Infallible>(Response::new(Body::empty()))));
    let router = Routes::new()
        .route("/users/{id}", Methods::ANY, service)
        .route("/admin", Methods::ANY, service)
        .build()
        .unwrap();
    let bound = Principal::new("alice").with_routes(["/users/{id}"]);
    let free = Principal::new("bob");
    for (uri, who, status) in [
        ("/users/7", Some(&bound), 200),
        ("/admin", Some(&bound), 403),
        ("/users/../admin", Some(&bound), 403),
        ("/nowhere", Some(&bound), 404),
        ("/admin", Some(&free), 200),
        ("/admin", None, 200),
    ] {
        let response = router.clone().oneshot(request(uri, who)).await.unwrap();
        assert_eq!(response.status(), status, "{uri} {who:?}");
    }
}

#[cfg(feature = "llm")]
#[tokio::test]
async fn a_model_that_a_key_may_not_use_does_not_exist_for_it() {
    use http_body_util::{BodyExt as _, Full};
    use tower_gateway::llm::{
        Simulator,
        serve::{Model, Serve},
    };

    let models = ["sim-chat", "sim-embed"].map(|name| Model::new(name, "simulator"));
    let serve = Serve::new(Simulator::new()).models(models.to_vec());
    let ask = async |uri: &str, model: Option<&str>, who: &Principal| {
        let text = model.map(|model| {
            format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"Hello"}}]}}"#)
        });
        let mut request =
            Request::builder()
                .uri(uri)
                .method(if text.is_some() { "POST" } else { "GET" });
        request = request.header("content-type", "application/json");
        let body = Full::new(bytes::Bytes::from(text.unwrap_or_default()));
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(who.clone());
        let response = serve.clone().oneshot(request).await.unwrap();
        let kind = response
            .extensions()
            .get::<Rejection>()
            .map(Rejection::kind);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.into()).unwrap())
    };
    let chat = "/v1/chat/completions";
    let bound = Principal::new("alice").with_models(["sim-embed"]);
    let free = Principal::new("bob");
    assert_eq!(ask(chat, Some("sim-chat"), &free).await.0, 200);
    let (status, _, body) = ask(chat, Some("sim-chat"), &bound).await;
    assert_eq!(status, 404);
    assert!(body.contains("model_not_found"), "{body}");
    let (_, _, listed) = ask("/v1/models", None, &bound).await;
    assert!(
        listed.contains("sim-embed") && !listed.contains("sim-chat"),
        "{listed}"
    );
    assert_eq!(ask("/v1/models/sim-chat", None, &bound).await.0, 404);
    assert_eq!(ask("/v1/models/sim-embed", None, &bound).await.0, 200);

    let routed = Principal::new("carol").with_routes(["/v1/models*"]);
    assert_eq!(ask("/v1/models", None, &routed).await.0, 200);
    let (status, kind, body) = ask(chat, Some("sim-chat"), &routed).await;
    assert_eq!(status, 403, "{body}");
    assert!(kind.is_none_or(|kind| kind == Kind::Forbidden));
}

#[cfg(feature = "gateway")]
#[tokio::test]
async fn a_gateway_lets_in_by_keys_in_a_store() {
    use std::sync::Arc;
    use tower_gateway::{
        auth::stored::{Grant, Keyring, MemoryKeys, StoredKeys},
        gateway::Gateway,
        llm::Simulator,
    };

    let store = Arc::new(MemoryKeys::new());
    let keyring = Keyring::new(store.clone(), super::pepper());
    let grant = Grant::new("alice").models(["sim-chat"]);
    let (key, secret) = keyring.issue(grant).await.unwrap();
    let keys = StoredKeys::new(store, super::pepper());
    let gateway = Gateway::builder()
        .stored_keys(keys.clone())
        .simulator(Simulator::new());
    let gateway = gateway.build().unwrap();
    let status = async |model: &str, secret: &str| {
        let body =
            format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"Hello"}}]}}"#);
        let request = Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {secret}"))
            .body(Body::from(body));
        let response = gateway.clone().oneshot(request.unwrap()).await.unwrap();
        response.status().as_u16()
    };
    assert_eq!(status("sim-chat", secret.expose()).await, 200);
    assert_eq!(status("sim-embed", secret.expose()).await, 404);
    assert_eq!(status("sim-chat", "somebody's key").await, 401);
    keyring.revoke(key.id()).await.unwrap();
    keys.forget(key.id());
    assert_eq!(status("sim-chat", secret.expose()).await, 401);

    let fixed = tower_gateway::auth::ApiKeys::new();
    let both = Gateway::builder().api_keys(fixed).stored_keys(keys);
    assert!(both.simulator(Simulator::new()).build().is_err());
}
