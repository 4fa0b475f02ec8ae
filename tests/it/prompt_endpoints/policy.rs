//! A policy decides on prompts.

use super::*;
use tower::util::MapRequestLayer;
use tower_gateway::{
    authorize::{Policy, Role, Rule},
    gateway::Slot,
};

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
        ("/prompts/think", "POST", 403),
        ("/prompts/think", "GET", 403),
        ("/prompts/think", "HEAD", 403),
        ("/prompts/%74hink", "POST", 403),
        ("/prompts/translate", "PUT", 403),
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

/// The status, and what tells one refusal from another.
async fn refused(gateway: &GatewayService, method: &str, path: &str) -> (u16, Value, Value) {
    let body = json!({"text": "Hello"});
    let (status, problem) = call(gateway, "alice", method, path, &body).await;
    (status, problem["code"].clone(), problem["detail"].clone())
}

#[tokio::test]
async fn what_a_policy_hides_is_as_what_is_not_there() {
    let policy = policy().rule(
        Rule::allow("more")
            .roles(["translator"])
            .prompts(["thin*"])
            .models(["fast"]),
    );
    let gateway =
        gateway(|builder, registry| builder.authorize(policy.conceal()).prompts(registry)).await;
    assert_eq!(
        status(&gateway, "alice", "GET", "/prompts/translate").await,
        200
    );
    for method in ["GET", "POST"] {
        let nothing = refused(&gateway, method, "/prompts/thing").await;
        assert_eq!((nothing.0, &nothing.1), (404, &json!("prompt_not_found")));
        for path in [
            "/prompts/think",
            "/prompts/think?version=1",
            "/prompts/think?version=7",
            "/prompts/summarise",
            "/prompts/none",
        ] {
            assert_eq!(refused(&gateway, method, path).await, nothing, "{path}");
        }
    }
}

#[tokio::test]
async fn a_route_beside_the_prompts_is_none_of_them() {
    let upload = || axum::Router::<()>::new().fallback(async || "uploaded");
    let alice = |id: &str| Rule::allow(id).principals(["alice"]);
    for rule in [
        alice("chat").models(["fast"]),
        alice("all").prompts(["*"]),
        alice("both").prompts(["*"]).models(["fast"]),
    ] {
        let gateway = gateway(|builder, registry| {
            builder
                .authorize(Policy::new().rule(rule))
                .prompt_endpoints(Endpoints::new(registry).root("/api"))
                .route("/api/upload", upload())
                .route("files.example.com/api/{name}", upload())
        })
        .await;
        for (host, path, wanted) in [
            ("api.example.com", "/api/translate", 200),
            ("api.example.com", "/api/upload", 403),
            ("files.example.com", "/api/translate", 403),
            ("files.example.com", "/api/upload", 403),
        ] {
            for method in ["POST", "GET"] {
                let request = Request::builder()
                    .method(method)
                    .uri(path)
                    .header("host", host)
                    .header("authorization", "Bearer alice")
                    .header("content-type", "application/json")
                    .body(Full::new(Bytes::from(r#"{"text":"Hello"}"#)))
                    .unwrap();
                let response = gateway.clone().oneshot(request).await.unwrap();
                assert_eq!(response.status(), wanted, "{method} {host}{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_rule_that_denies_a_prompt_denies_nothing_else() {
    let policy = || {
        Policy::new()
            .role(Role::new("admin").may_all("*", ["*"]))
            .rule(Rule::deny("secret").prompts(["think"]))
    };
    let own = || axum::Router::<()>::new().fallback(async || "mine");
    let gateway = gateway(|builder, registry| {
        builder
            .authorize(policy())
            .prompts(registry.clone())
            .manage_prompts(Manage::new(registry))
            .route("/own", own())
    })
    .await;
    for (method, path, wanted) in [
        ("GET", "/prompts", 200),
        ("GET", "/prompts/openapi.json", 200),
        ("GET", "/prompts/", 200),
        ("GET", "/prompts/translate", 200),
        ("POST", "/prompts/translate", 200),
        ("GET", "/prompts/think", 403),
        ("POST", "/prompts/think", 403),
        ("PUT", "/prompts/think", 403),
        ("GET", "/admin/prompts", 200),
        ("GET", "/admin/prompts/think", 200),
        ("GET", "/own", 200),
        ("GET", "/v1/models", 200),
    ] {
        let told = format!("{method} {path}");
        assert_eq!(
            status(&gateway, "root", method, path).await,
            wanted,
            "{told}"
        );
    }
    let (_, told) = call(&gateway, "root", "GET", "/prompts", &Value::Null).await;
    let names = told["prompts"].as_array().unwrap().iter();
    assert!(names.clone().all(|one| one["name"] != "think") && names.count() == 2);
    let chat = |prompt: Value| {
        let gateway = gateway.clone();
        async move {
            call(&gateway, "root", "POST", "/v1/chat/completions", &prompt)
                .await
                .0
        }
    };
    let named = |name: &str| json!({"prompt": {"name": name, "variables": {"text": "Hello"}}});
    assert_eq!(chat(named("think")).await, 403);
    assert_eq!(chat(named("translate")).await, 200);
    let plain = json!({"model": "slow", "messages": [{"role": "user", "content": "Hello"}]});
    assert_eq!(chat(plain).await, 200);

    // Nor where there are no prompts at all.
    let without = builder()
        .authorize(policy())
        .route("/own", own())
        .build()
        .unwrap();
    assert_eq!(status(&without, "root", "GET", "/own").await, 200);
}

#[tokio::test]
async fn a_run_is_held_by_the_policy_too() {
    let policy = policy()
        .rule(
            Rule::allow("managing")
                .principals(["bob"])
                .routes(["/admin/prompts*"]),
        )
        // The route of a run calls no prompt: it is its models that are called as one.
        .rule(
            Rule::deny("thinking")
                .principals(["bob"])
                .prompts(["think"]),
        );
    let gateway = gateway(|builder, registry| {
        builder
            .authorize(policy)
            .prompts(registry.clone())
            .manage_prompts(Manage::new(registry))
    })
    .await;
    for (who, name, code) in [
        ("bob", "translate", Value::Null),
        ("bob", "think", json!("insufficient_permissions")),
        ("root", "think", Value::Null),
    ] {
        let path = format!("/admin/prompts/{name}/runs");
        let body = json!({"versions": [1], "cases": [{"variables": {"text": "x"}}]});
        let (status, told) = call(&gateway, who, "POST", &path, &body).await;
        assert_eq!(status, 200, "{told}");
        let version = &told["versions"][0];
        assert_eq!(version["errors"], u64::from(!code.is_null()), "{told}");
        assert_eq!(version["cases"][0]["error"]["code"], code, "{told}");
    }
}

#[tokio::test]
async fn endpoints_of_ones_own_are_named_by_a_layer_of_ones_own() {
    let policy = Policy::new()
        .role(Role::new("admin").may_all("*", ["*"]))
        .rule(Rule::deny("secret").prompts(["think"]));
    let gateway = gateway(|builder, registry| {
        let mine = Endpoints::new(registry)
            .root("/mine")
            .chat(Simulator::new());
        builder
            .authorize(policy)
            .layer_at(Slot::Limits, mine.name_layer())
            .route("/mine/{name}", mine)
    })
    .await;
    for (path, wanted) in [("/mine/think", 403), ("/mine/translate", 200)] {
        for method in ["GET", "POST"] {
            let got = status(&gateway, "root", method, path).await;
            assert_eq!(got, wanted, "{method} {path}");
        }
    }
}
