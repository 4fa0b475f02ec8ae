//! Prompts as endpoints of a gateway, and their management.

mod mounted;
mod policy;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use std::{convert::Infallible, num::NonZeroU32};
use tower::{Layer, ServiceExt};
use tower_gateway::{
    Body, Principal, Rejection,
    auth::{AuthLayer, Credential},
    collect,
    gateway::{Gateway, GatewayBuilder, GatewayService},
    llm::Simulator,
    prompt::{Actor, Assignment, Change, Prompt, Registry, endpoints::Endpoints, manage::Manage},
    rejection::Kind,
};

async fn registry() -> Registry {
    let registry = Registry::in_memory();
    let code = Actor::code("test");
    for (name, model) in [
        ("translate", "fast"),
        ("summarise", "fast"),
        ("think", "slow"),
    ] {
        let prompt = Prompt::new()
            .model(model)
            .system(format!("This is {name}."))
            .user("{{ text }}")
            .variable("text", json!({"type": "string"}));
        registry
            .create(&code, name, prompt, Change::new())
            .await
            .unwrap();
        let to = Some(Assignment::to(NonZeroU32::MIN));
        let moved = registry.move_label(&code, name, "production", to, Change::new());
        moved.await.unwrap();
    }
    registry
}

fn builder() -> GatewayBuilder {
    let who = AuthLayer::new(|credential: Credential| async move {
        let name = std::str::from_utf8(credential.expose()).unwrap_or_default();
        match name {
            "alice" => Ok(Principal::new("alice").with_roles(["translator"])),
            "bob" => Ok(Principal::new("bob").with_scopes(["prompts:admin", "prompts:release"])),
            "root" => Ok(Principal::new("root")
                .with_roles(["admin"])
                .with_scopes(["prompts:admin"])),
            _ => Err(Rejection::new(Kind::InvalidCredentials)),
        }
    });
    Gateway::builder()
        .auth(who)
        .model("fast", [Simulator::new()])
        .model("slow", [Simulator::new()])
}

async fn gateway(build: impl FnOnce(GatewayBuilder, Registry) -> GatewayBuilder) -> GatewayService {
    build(builder(), registry().await).build().unwrap()
}

async fn send(
    gateway: &GatewayService,
    who: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> (u16, HeaderMap, Bytes) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {who}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let response: Response<Body> = gateway.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = collect(body, 1 << 20).await.unwrap();
    (parts.status.as_u16(), parts.headers, body)
}

async fn call(
    gateway: &GatewayService,
    who: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> (u16, Value) {
    let (status, _, body) = send(gateway, who, method, path, body).await;
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn status(gateway: &GatewayService, who: &str, method: &str, path: &str) -> u16 {
    let body = json!({"text": "Hello"});
    call(gateway, who, method, path, &body).await.0
}

#[tokio::test]
async fn one_call_makes_prompts_endpoints_and_names_in_chats() {
    let gateway = gateway(|builder, registry| builder.prompts(registry)).await;
    let (status, headers, body) = send(
        &gateway,
        "alice",
        "POST",
        "/prompts/translate",
        &json!({"text": "Hello"}),
    )
    .await;
    assert_eq!(status, 200);
    assert_eq!(headers["x-gateway-prompt"], "translate@1");
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert!(told["text"].as_str().unwrap().contains("Hello"), "{told}");
    let chat = json!({"prompt": {"name": "translate", "variables": {"text": "Hello"}}});
    assert_eq!(
        call(&gateway, "alice", "POST", "/v1/chat/completions", &chat)
            .await
            .0,
        200
    );
    let (_, told) = call(
        &gateway,
        "alice",
        "GET",
        "/prompts/openapi.json",
        &Value::Null,
    )
    .await;
    assert!(told["paths"]["/prompts/think"]["post"].is_object());
    let (status, problem) = call(&gateway, "alice", "POST", "/prompts/translate", &json!({})).await;
    assert_eq!((status, &problem["param"]), (400, &json!("/text")));
    assert!(problem["request_id"].is_string() || problem["code"].is_string());
    let (status, headers, _) = send(&gateway, "nobody", "GET", "/prompts/", &Value::Null).await;
    assert_eq!(
        (status, headers.contains_key("www-authenticate")),
        (401, true)
    );
}

#[tokio::test]
async fn endpoints_are_none_elsewhere_or_shown_as_one_says() {
    let none = gateway(|builder, registry| builder.prompts(registry).prompt_endpoints(None)).await;
    assert_eq!(
        status(&none, "alice", "POST", "/prompts/translate").await,
        404
    );
    let elsewhere = gateway(|builder, registry| {
        builder.prompt_endpoints(Endpoints::new(registry).root("/ask/it").public_page())
    })
    .await;
    assert_eq!(
        status(&elsewhere, "alice", "POST", "/ask/it/translate").await,
        200
    );
    assert_eq!(
        status(&elsewhere, "alice", "POST", "/prompts/translate").await,
        404
    );
    let (status, headers, page) = send(&elsewhere, "nobody", "GET", "/ask/it/", &Value::Null).await;
    assert_eq!(
        (status, &headers["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert!(!String::from_utf8_lossy(&page).contains("translate"));
    let (status, ..) = send(&elsewhere, "nobody", "GET", "/ask/it", &Value::Null).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn prompts_are_managed_where_one_says() {
    let gateway = gateway(|builder, registry| {
        builder
            .prompts(registry.clone())
            .manage_prompts(Manage::new(registry).root("/internal/prompts"))
    })
    .await;
    assert_eq!(
        status(&gateway, "alice", "GET", "/internal/prompts").await,
        403
    );
    assert_eq!(
        status(&gateway, "nobody", "GET", "/internal/prompts").await,
        401
    );
    assert_eq!(status(&gateway, "bob", "GET", "/admin/prompts").await, 404);
    let run = json!({"versions": [1], "cases": [{"variables": {"text": "Hello"}, "expect": {"contains": "Hello"}}]});
    let (status, told) = call(
        &gateway,
        "bob",
        "POST",
        "/internal/prompts/translate/runs",
        &run,
    )
    .await;
    assert_eq!(
        (status, &told["versions"][0]["passed"]),
        (200, &json!(1)),
        "{told}"
    );
    let prompt =
        json!({"prompt": {"model": "fast", "messages": [{"role": "user", "content": "Hi"}]}});
    let (status, told) = call(
        &gateway,
        "bob",
        "POST",
        "/internal/prompts/hi/versions",
        &prompt,
    )
    .await;
    assert_eq!((status, &told["version"]), (201, &json!(1)));
    let path = "/internal/prompts/hi/labels/production";
    let (status, told) = call(&gateway, "bob", "PUT", path, &json!({"to": 1})).await;
    assert_eq!((status, &told["by"]), (200, &json!("bob")));
    assert_eq!(
        call(&gateway, "alice", "POST", "/prompts/hi", &json!({}))
            .await
            .0,
        200
    );
    // Who may manage, and may not release.
    let (status, _) = call(&gateway, "root", "PUT", path, &json!({"to": null})).await;
    assert_eq!(status, 403);
}
