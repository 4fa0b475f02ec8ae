//! Where the services stand.

use super::*;

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

#[tokio::test]
async fn both_stand_in_a_nest_of_axum() {
    let registry = registry().await;
    let endpoints = Endpoints::new(registry.clone())
        .root("")
        .mounted_at("/prompts")
        .chat(Simulator::new());
    let manage = Manage::new(registry).root("").mounted_at("/admin/prompts");
    let app = axum::Router::<()>::new()
        .nest_service("/prompts", endpoints)
        .nest_service("/admin/prompts", manage)
        .layer(AuthLayer::new(|_: Credential| async {
            let owner = Principal::new("alice").with_scopes(["prompts:admin"]);
            Ok::<_, Rejection>(owner)
        }));
    let send = async |method: &str, path: &str, accept: &str, body: &Value| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", "Bearer x")
            .header("content-type", "application/json")
            .header("accept", accept)
            .body(axum::body::Body::from(body.to_string()))
            .unwrap();
        let response: Result<Response<axum::body::Body>, Infallible> =
            app.clone().oneshot(request).await;
        let (parts, body) = response.unwrap().into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let told: Value = serde_json::from_slice(&body).unwrap_or_default();
        (parts.status.as_u16(), parts.headers, told)
    };
    let none = Value::Null;
    for path in ["/prompts", "/prompts/"] {
        let (status, _, told) = send("GET", path, "*/*", &none).await;
        assert_eq!((status, told["prompts"].is_array()), (200, true), "{path}");
        let (status, headers, _) = send("GET", path, "text/html", &none).await;
        assert_eq!(status, 200, "{path}");
        assert_eq!(
            headers["content-type"], "text/html; charset=utf-8",
            "{path}"
        );
    }
    let (status, _, document) = send("GET", "/prompts/openapi.json", "*/*", &none).await;
    assert_eq!(status, 200);
    // Each path is one that answers.
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 5, "{document}");
    for path in paths.keys() {
        assert_eq!(send("GET", path, "*/*", &none).await.0, 200, "{path}");
    }
    let hello = json!({"text": "Hello"});
    let (status, headers, _) = send("POST", "/prompts/translate", "*/*", &hello).await;
    assert_eq!(
        (status, &headers["x-gateway-prompt"]),
        (200, &"translate@1".parse().unwrap())
    );

    let (status, _, told) = send("GET", "/admin/prompts", "*/*", &none).await;
    assert_eq!((status, told["prompts"].is_array()), (200, true));
    let prompt = json!({"prompt": {"messages": [{"role": "user", "content": "Hi"}]}});
    let (status, headers, _) = send("POST", "/admin/prompts/hi/versions", "*/*", &prompt).await;
    assert_eq!(status, 201);
    let place = headers["location"].to_str().unwrap();
    assert_eq!(send("GET", place, "*/*", &none).await.0, 200, "{place}");
}

#[tokio::test]
async fn prompts_are_asked_nowhere_where_models_are() {
    let registry = registry().await;
    let endpoints = |root: &str| Endpoints::new(registry.clone()).root(root);
    let manage = |root: &str| Manage::new(registry.clone()).root(root);
    for (built, at) in [
        (
            builder().prompt_endpoints(endpoints("/v1/prompts")),
            "prompt_endpoints(\"/v1/prompts\")",
        ),
        (
            builder().prompt_endpoints(endpoints("/v1beta")),
            "prompt_endpoints(\"/v1beta\")",
        ),
        (
            builder().manage_prompts(manage("/v1/admin/")),
            "manage_prompts(\"/v1/admin\")",
        ),
    ] {
        let error = built.build().unwrap_err().to_string();
        assert!(
            error.contains(at) && error.contains("choose another"),
            "{error}"
        );
    }
    assert!(
        builder()
            .prompt_endpoints(endpoints("/v1x"))
            .build()
            .is_ok()
    );
}
