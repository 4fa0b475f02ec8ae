//! Prompts as endpoints of a gateway, and their management.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use std::{convert::Infallible, num::NonZeroU32};
use tower::{Layer, ServiceExt, util::MapRequestLayer};
use tower_gateway::{
    Body, Principal, Rejection,
    auth::{AuthLayer, Credential},
    authorize::{Policy, Role, Rule},
    collect,
    gateway::{Gateway, GatewayBuilder, GatewayService, Slot},
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

/// Alice may translate and summarise; what is slow is not for her.
fn policy() -> Policy {
    Policy::new()
        .rule(
            Rule::allow("translators")
                .roles(["translator"])
                .routes(["/prompts/{name}"])
                .prompts(["translate", "think"])
                .models(["fast"]),
        )
        .rule(
            Rule::allow("describing")
                .roles(["translator"])
                .methods([http::Method::GET])
                .routes(["/prompts/{name}"])
                .prompts(["translate", "think"]),
        )
        .rule(
            Rule::allow("listing")
                .roles(["translator"])
                .routes(["/prompts", "/prompts/openapi.json"]),
        )
        .role(Role::new("admin").may_all("*", ["*"]))
}

#[tokio::test]
async fn a_policy_decides_on_prompt_and_model() {
    let gateway = gateway(|builder, registry| builder.authorize(policy()).prompts(registry)).await;
    let (_, told) = call(&gateway, "alice", "GET", "/prompts", &Value::Null).await;
    let names: Vec<_> = told["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["translate"]);
    for (path, method, wanted) in [
        ("/prompts/translate", "POST", 200),
        ("/prompts/translate", "GET", 200),
        ("/prompts/summarise", "POST", 403),
        ("/prompts/summarise", "GET", 403),
        ("/prompts/nothing", "POST", 403),
        // The prompt is allowed and its model is not.
        ("/prompts/think", "POST", 404),
        ("/prompts/think", "GET", 404),
        ("/prompts/%74hink", "POST", 404),
        ("/prompts/", "GET", 403),
    ] {
        assert_eq!(
            status(&gateway, "alice", method, path).await,
            wanted,
            "{method} {path}"
        );
    }
    for path in ["/prompts/think", "/prompts/summarise"] {
        assert_eq!(status(&gateway, "root", "POST", path).await, 200, "{path}");
    }
    assert_eq!(
        status(&gateway, "bob", "POST", "/prompts/translate").await,
        403
    );
    // The same rule is no leave to name it in a chat.
    let chat = json!({"prompt": {"name": "translate", "variables": {"text": "Hello"}}});
    assert_eq!(
        call(&gateway, "alice", "POST", "/v1/chat/completions", &chat)
            .await
            .0,
        403
    );
}

#[tokio::test]
async fn a_layer_that_leads_elsewhere_leads_to_no_other_prompt() {
    let lead = MapRequestLayer::new(|mut request: Request<Body>| {
        if let Some(to) = request.headers().get("x-lead").cloned() {
            *request.uri_mut() = to.to_str().unwrap().parse().unwrap();
        }
        request
    });
    let gateway = gateway(|builder, registry| {
        builder
            .authorize(policy())
            .layer_at(Slot::Cache, lead)
            .prompts(registry)
    })
    .await;
    for (from, to, method, wanted) in [
        ("/prompts/translate", "/prompts/summarise", "POST", 403),
        ("/prompts/translate", "/prompts/summarise", "GET", 403),
        (
            "/prompts/translate",
            "/prompts/translate?stream=false",
            "POST",
            200,
        ),
        ("/prompts", "/prompts/summarise", "GET", 403),
        ("/prompts", "/prompts/translate", "GET", 200),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(from)
            .header("authorization", "Bearer alice")
            .header("content-type", "application/json")
            .header("x-lead", to)
            .body(Full::new(Bytes::from(r#"{"text":"Hello"}"#)))
            .unwrap();
        let response = gateway.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), wanted, "{method} {from} → {to}");
    }
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

#[tokio::test]
async fn a_run_is_held_by_the_policy_too() {
    let policy = policy().rule(
        Rule::allow("managing")
            .principals(["bob"])
            .routes(["/admin/prompts*"])
            .models(["*"]),
    );
    let policy = policy.rule(
        Rule::deny("slow")
            .principals(["bob"])
            .when_model(|_, model| Some(model == "slow")),
    );
    let gateway = gateway(|builder, registry| {
        builder
            .authorize(policy)
            .prompts(registry.clone())
            .manage_prompts(Manage::new(registry))
    })
    .await;
    let run = |name: &str| {
        (
            format!("/admin/prompts/{name}/runs"),
            json!({"versions": [1], "cases": [{"variables": {"text": "x"}}]}),
        )
    };
    let (path, body) = run("translate");
    // A rule that denies by the model cannot be decided where none is asked.
    let (status, _) = call(&gateway, "bob", "POST", &path, &body).await;
    assert_eq!(status, 403);
    let (path, body) = run("think");
    let (status, told) = call(&gateway, "root", "POST", &path, &body).await;
    assert_eq!(
        (status, &told["versions"][0]["errors"]),
        (200, &json!(0)),
        "{told}"
    );
}

#[tokio::test]
async fn endpoints_stand_in_a_router_of_axum_with_layers_of_ones_own() {
    let endpoints = Endpoints::new(registry().await).chat(Simulator::new());
    let named = endpoints.name_layer().layer(endpoints.clone());
    let app = axum::Router::<()>::new()
        .route_service("/prompts", named.clone())
        .route_service("/prompts/{*rest}", named)
        .layer(AuthLayer::new(|_: Credential| async {
            Ok::<_, Rejection>(Principal::new("alice"))
        }));
    let request = Request::post("/prompts/translate")
        .header("authorization", "Bearer x")
        .header("content-type", "application/json")
        .body(axum::body::Body::from(r#"{"text":"Hello"}"#))
        .unwrap();
    let response: Result<_, Infallible> = app.oneshot(request).await;
    assert_eq!(response.unwrap().status(), 200);
}
