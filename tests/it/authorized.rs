//! A policy in a gateway: decided on both planes, and no way around it.

use axum::{Router, body::Body, body::to_bytes, routing::get};
use http::{Method, Request, Response, Uri};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tower::{ServiceExt, util::MapRequestLayer};
use tower_gateway::{
    Principal, Rejection,
    access_log::AccessLogLayer,
    auth::{AuthLayer, Credential},
    authorize::{Policy, Role, Rule},
    gateway::{Gateway, GatewayBuilder, GatewayService, Slot},
    llm::Simulator,
    rejection::Kind,
};

fn builder(policy: Policy) -> GatewayBuilder {
    let who = AuthLayer::new(|credential: Credential| async move {
        match credential.expose() {
            b"alice" => Ok(Principal::new("alice").with_roles(["analyst"])),
            b"root" => Ok(Principal::new("root").with_roles(["admin"])),
            _ => Err(Rejection::new(Kind::InvalidCredentials)),
        }
    });
    Gateway::builder()
        .layer_at(Slot::Auth, who)
        .authorize(policy)
        .model("fast", [Simulator::new()])
        .model("slow", [Simulator::new()])
        .route(
            "/reports/{id}",
            Router::new().fallback(get(async || "a report")),
        )
        .route(
            "/admin/{*rest}",
            Router::new().fallback(get(async || "admin")),
        )
}

/// Analysts may talk to what is fast, list it, and read reports.
fn policy() -> Policy {
    Policy::new()
        .role(
            Role::new("analyst")
                .may(Method::POST, "/v1/chat/completions", ["fast*"])
                .may(Method::GET, "/v1/models*", ["*"])
                .may(Method::GET, "/reports/{id}", ["*"]),
        )
        .role(Role::new("admin").may_all("*", ["*"]))
}

fn request(method: Method, path: &str, who: &str, body: &Value) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {who}"))
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

fn chat(model: &str, who: &str) -> Request<Body> {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]});
    request(Method::POST, "/v1/chat/completions", who, &body)
}

fn read(path: &str, who: &str) -> Request<Body> {
    request(Method::GET, path, who, &Value::Null)
}

async fn call(gateway: &GatewayService, request: Request<Body>) -> Response<tower_gateway::Body> {
    gateway.clone().oneshot(request).await.unwrap()
}

async fn status(gateway: &GatewayService, request: Request<Body>) -> u16 {
    call(gateway, request).await.status().as_u16()
}

async fn text(response: Response<tower_gateway::Body>) -> String {
    let bytes = to_bytes(Body::new(response.into_body()), 1 << 20)
        .await
        .unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn it_stands_behind_auth_and_before_all_layers_around_the_models() {
    let gateway = builder(policy())
        .rate_limit(tower_gateway::rate_limit::Quota::per_minute(60))
        .chat_layer(tower_gateway::timeout::TimeoutLayer::llm())
        .build()
        .unwrap();
    let told = gateway.describe();
    for lines in [
        "http  Auth         AuthLayer\nhttp  Authorize    AuthorizeLayer\nhttp  RateLimit    RateLimitLayer\n",
        "llm   DrainLayer\nllm   AuthorizeLayer\nllm   TimeoutLayer\n",
    ] {
        assert!(told.contains(lines), "{told}");
    }
    let twice = builder(policy()).authorize(policy()).build().unwrap_err();
    assert!(
        twice
            .to_string()
            .contains("put all rules into one `Policy`"),
        "{twice}"
    );
}

#[tokio::test]
async fn a_model_is_decided_on_where_it_is_known() {
    let gateway = builder(policy()).build().unwrap();
    assert_eq!(status(&gateway, chat("fast", "alice")).await, 200);
    let refused = call(&gateway, chat("slow", "alice")).await;
    assert_eq!(refused.status(), 403);
    let refused = text(refused).await;
    assert!(
        refused.contains("insufficient_permissions") && !refused.contains("role:"),
        "{refused}"
    );
    assert_eq!(status(&gateway, chat("slow", "root")).await, 200);
    assert_eq!(status(&gateway, chat("fast", "nobody")).await, 401);

    // The same model by another route is another thing.
    let gemini = "/v1beta/models/fast:generateContent";
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]});
    for (path, who, expected) in [
        (gemini, "alice", 403),
        (gemini, "root", 200),
        ("/v1/messages", "alice", 403),
        // No route, and so nothing but a list of models or a refusal.
        ("/v1/chat/completions/", "alice", 404),
        ("//v1/chat/completions", "alice", 400),
        ("/v1/files", "alice", 404),
    ] {
        let got = status(&gateway, request(Method::POST, path, who, &body)).await;
        assert_eq!(got, expected, "{path} {who}");
    }
}

#[tokio::test]
async fn what_does_not_need_the_model_is_denied_before_a_body_is_read() {
    let policy = policy().rule(Rule::deny("suspended").principals(["alice"]));
    let gateway = builder(policy).build().unwrap();
    let mut request = chat("fast", "alice");
    // One that would break if anybody read it.
    let broken = futures_util::stream::once(async { Err::<bytes::Bytes, _>("broken") });
    *request.body_mut() = Body::from_stream(broken);
    assert_eq!(status(&gateway, request).await, 403);
}

#[tokio::test]
async fn a_list_shows_what_may_be_used() {
    let gateway = builder(policy()).build().unwrap();
    let list = async |who: &str| {
        let response = call(&gateway, read("/v1/models", who)).await;
        let list: Value = serde_json::from_str(&text(response).await).unwrap();
        let ids = list["data"].as_array().unwrap().iter();
        ids.map(|model| model["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(list("alice").await, ["fast"]);
    assert_eq!(list("root").await, ["fast", "slow"]);
    assert_eq!(
        status(&gateway, read("/v1/models/fast", "alice")).await,
        200
    );
    assert_eq!(
        status(&gateway, read("/v1/models/slow", "alice")).await,
        404
    );
    let none = Policy::new().role(Role::new("analyst").may(
        Method::POST,
        "/v1/chat/completions",
        ["fast"],
    ));
    let gateway = builder(none).build().unwrap();
    assert_eq!(status(&gateway, read("/v1/models", "alice")).await, 403);
}

#[tokio::test]
async fn what_never_comes_to_a_model_is_decided_at_once() {
    let by_model = Policy::new()
        .rule(Rule::allow("fast").models(["fast"]))
        .rule(Rule::allow("reports").routes(["/reports/{id}"]));
    let gateway = builder(by_model).build().unwrap();
    assert_eq!(status(&gateway, chat("fast", "alice")).await, 200);
    assert_eq!(status(&gateway, read("/reports/7", "alice")).await, 200);
    assert_eq!(status(&gateway, read("/admin/x", "alice")).await, 403);
    assert_eq!(status(&gateway, read("/nowhere", "alice")).await, 403);
    // Nobody will ever say which model that is.
    let never = Policy::new()
        .rule(Rule::allow("all"))
        .rule(Rule::deny("slow").models(["slow"]));
    let gateway = builder(never).build().unwrap();
    assert_eq!(status(&gateway, chat("fast", "alice")).await, 200);
    assert_eq!(status(&gateway, chat("slow", "alice")).await, 403);
    assert_eq!(status(&gateway, chat("SLOW", "alice")).await, 403);
    assert_eq!(status(&gateway, read("/reports/7", "alice")).await, 403);
}

/// Which of several answers is up to the vendor, and nobody has decided on the others.
#[tokio::test]
async fn only_one_model_may_be_named_where_not_everyone_may_use_all() {
    let rules = Policy::new().rule(Rule::allow("fast").models(["fast"]));
    let gateway = builder(rules).build().unwrap();
    let message = json!([{"role": "user", "content": "Hello"}]);
    for (others, expected) in [(json!(["slow"]), 403), (json!([]), 403), (json!(null), 200)] {
        let body = json!({"model": "fast", "models": others, "messages": message});
        let request = request(Method::POST, "/v1/chat/completions", "alice", &body);
        let response = call(&gateway, request).await;
        assert_eq!(response.status(), expected, "{others}");
        let answer: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(
            answer["error"]["param"] == "models",
            expected == 403,
            "{answer}"
        );
    }
}

/// Leads requests to another path, just outside of the routes.
fn led(policy: Policy, from: &'static str, to: &'static str) -> GatewayService {
    let layer = MapRequestLayer::new(move |mut request: Request<tower_gateway::Body>| {
        if request.uri().path() == from {
            *request.uri_mut() = to.parse().unwrap();
        }
        request
    });
    builder(policy).layer(layer).build().unwrap()
}

#[tokio::test]
async fn a_request_that_is_led_elsewhere_is_decided_on_again() {
    let gateway = led(policy(), "/reports/7", "/admin/keys");
    assert_eq!(status(&gateway, read("/reports/7", "alice")).await, 403);
    assert_eq!(status(&gateway, read("/reports/8", "alice")).await, 200);
    assert_eq!(status(&gateway, read("/reports/7", "root")).await, 200);
    let gateway = led(policy(), "/reports/7", "/reports/8");
    assert_eq!(status(&gateway, read("/reports/7", "alice")).await, 200);
    // Neither one that was allowed, nor one that was left to the models.
    let gateway = led(policy(), "/v1/chat/completions", "/admin/keys");
    assert_eq!(status(&gateway, chat("fast", "alice")).await, 403);
    let gateway = led(policy(), "/reports/7", "/v1/chat/completions");
    let body = json!({"model": "slow", "messages": [{"role": "user", "content": "Hello"}]});
    let request = request(Method::GET, "/reports/7", "alice", &body);
    assert_ne!(status(&gateway, request).await, 200);
}

/// Not what the client has sent, but what the models are asked, is what rules for them go by.
#[tokio::test]
async fn a_request_that_is_led_to_a_model_is_decided_on_by_what_it_has_become() {
    let body = json!({"model": "fast", "messages": [{"role": "user", "content": "Hello"}]});
    for (denied, expected) in [(Method::POST, 403), (Method::GET, 200)] {
        let policy = Policy::new().rule(Rule::allow("all")).rule(
            Rule::deny("chats")
                .methods([denied])
                .routes(["/v1/chat/completions"]),
        );
        let lead = MapRequestLayer::new(|mut request: Request<tower_gateway::Body>| {
            *request.method_mut() = Method::POST;
            *request.uri_mut() = Uri::from_static("/v1/chat/completions");
            request
        });
        let gateway = builder(policy).layer(lead).build().unwrap();
        let request = request(Method::GET, "/reports/7", "alice", &body);
        assert_eq!(status(&gateway, request).await, expected);
    }
}

#[tokio::test]
async fn abuse_18_what_is_authorised_is_what_is_served() {
    let gateway = builder(policy()).build().unwrap();
    for path in [
        "/admin/x",
        "//admin/x",
        "/reports/../admin/x",
        "/reports/%2e%2e/admin/x",
        "/reports/..%2fadmin/x",
        "/reports/..%5cadmin/x",
        "/reports/..;/admin/x",
        "/reports/.%00./admin/x",
        "/./admin/./x",
        "/%61dmin/x",
        "/%2561dmin/x",
        "/admin%2fx",
        "/reports/7/../../admin/x",
        "/reports/%252e%252e%252fadmin",
        "/v1/../admin/x",
        "/v1/%2e%2e/admin/x",
        "/v1/..%2fadmin/x",
    ] {
        let response = call(&gateway, read(path, "alice")).await;
        let (status, body) = (response.status().as_u16(), text(response).await);
        assert_ne!(body, "admin", "{path}");
        assert!(matches!(status, 200 | 400 | 403), "{path}: {status}");
        assert!(status != 200 || body == "a report", "{path}: {body}");
    }
    let same = call(&gateway, read("/x/..//reports/%37", "alice")).await;
    assert_eq!(text(same).await, "a report");
}

#[tokio::test]
async fn abuse_20_a_preflight_is_answered_and_opens_nothing() {
    let gateway = builder(policy())
        .cors(["https://app.example.com"])
        .build()
        .unwrap();
    let preflight = Request::options("/admin/x")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "GET")
        .body(Body::empty())
        .unwrap();
    let preflight = call(&gateway, preflight).await;
    assert!(preflight.status().is_success(), "{}", preflight.status());
    assert_eq!(status(&gateway, read("/admin/x", "alice")).await, 403);
    let metrics = gateway.metrics().encode();
    assert!(
        metrics.contains("gateway_authorize_denied 1"),
        "the preflight is not counted: {metrics}"
    );
}

#[tokio::test]
async fn the_log_names_the_rule_of_each_plane() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = lines.clone();
    let log = AccessLogLayer::new().sink(move |line| sink.lock().unwrap().push(line.to_string()));
    let shadow = Policy::new().rule(Rule::allow("slow-only").models(["slow"]));
    let policy = policy()
        .rule(Rule::deny("no-slow").models(["slow"]))
        .shadow(shadow);
    let gateway = builder(policy).access_log(log).build().unwrap();
    for request in [chat("fast", "alice"), chat("slow", "alice")] {
        text(call(&gateway, request).await).await;
    }
    let lines = lines.lock().unwrap();
    assert!(
        lines[0].contains("rule=role:analyst shadow=deny shadow_rule=default"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].contains("rule=no-slow shadow=allow shadow_rule=slow-only"),
        "{}",
        lines[1]
    );
    let metrics = gateway.metrics().encode();
    for line in [
        "gateway_authorize_denied 1",
        "gateway_authorize_shadow_denied 1",
        "gateway_authorize_shadow_allowed 1",
        r#"gateway_authorizations_total{rule="no-slow",effect="deny"} 1"#,
    ] {
        assert!(
            metrics.lines().any(|other| other == line),
            "{line} in {metrics}"
        );
    }
}

#[tokio::test]
async fn what_is_concealed_is_answered_as_an_unknown_model() {
    let gateway = builder(policy().conceal()).build().unwrap();
    let (hidden, unknown) = (
        call(&gateway, chat("slow", "alice")).await,
        call(&gateway, chat("nobody", "root")).await,
    );
    assert_eq!(
        (hidden.status().as_u16(), unknown.status().as_u16()),
        (404, 404)
    );
    let (hidden, unknown) = (text(hidden).await, text(unknown).await);
    assert_eq!(hidden, unknown);
    let (hidden, unknown) = (read("/admin/x", "alice"), read("/nowhere", "alice"));
    let (hidden, unknown) = (call(&gateway, hidden).await, call(&gateway, unknown).await);
    assert_eq!(hidden.status(), 404);
    assert_eq!(hidden.headers().len(), unknown.headers().len());
}
