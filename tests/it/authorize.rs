//! A policy as a user meets it: over axum, over chat, over a service of its own, dropped half-way.

use crate::follow::Reply;
use axum::{Router, body::Body, extract::MatchedPath, routing::get};
use http::{Extensions, HeaderMap, Method, Request, Response};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use tokio_test::{assert_pending, task};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt};
use tower_gateway::{
    Exchange, Extensible, Principal, Rejection,
    access_log::AccessLogLayer,
    authorize::{Ask, Asked, AuthorizeLayer, Policy, Role, Rule},
    principal::Carried,
    rejection::Kind,
    route::NormalisePathLayer,
};

fn staff() -> Principal {
    Principal::new("alice").with_roles(["staff"])
}

fn matched(asked: &Asked<'_>) -> Option<Arc<str>> {
    let route: &MatchedPath = asked.extensions().get()?;
    Some(route.as_str().into())
}

/// Staff may read tickets, and whoever may close may delete them.
fn policy() -> Policy {
    Policy::new()
        .role(Role::new("staff").may(Method::GET, "/tickets/{id}", ["*"]))
        .rule(
            Rule::allow("closing")
                .all_scopes(["tickets:close"])
                .methods([Method::DELETE]),
        )
        .rule(Rule::deny("suspended").teams(["suspended"]))
}

fn router() -> Router {
    let tickets = get(async || "a ticket").delete(async || "closed");
    Router::new()
        .route("/tickets/{id}", tickets)
        .route("/admin/keys", get(async || "keys").post(async || "made"))
}

async fn ask(app: &Router, method: Method, path: &str, who: Option<Principal>) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(who) = who {
        request = request.extension(who);
    }
    let request = request.body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn a_router_lets_in_whom_the_policy_allows() {
    let app = router().layer(AuthorizeLayer::new(policy()).route(matched));
    let closer = || staff().with_scopes(["tickets:close"]);
    for (method, path, who, status) in [
        (Method::GET, "/tickets/7", Some(staff()), 200),
        (Method::HEAD, "/tickets/7", Some(staff()), 200),
        (Method::GET, "/tickets/7", Some(Principal::new("bob")), 403),
        (Method::GET, "/tickets/7", None, 403),
        (Method::DELETE, "/tickets/7", Some(closer()), 200),
        (
            Method::GET,
            "/tickets/7",
            Some(staff().with_team("suspended")),
            403,
        ),
        (Method::GET, "/admin/keys", Some(staff()), 403),
        (Method::GET, "/nowhere", Some(staff()), 403),
    ] {
        let told = format!("{method} {path} {who:?}");
        let response = ask(&app, method, path, who).await;
        assert_eq!(response.status(), status, "{told}");
    }
    let refused = ask(&app, Method::DELETE, "/tickets/7", Some(staff())).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(
        refused.headers()["www-authenticate"],
        r#"Bearer error="insufficient_scope", scope="tickets:close""#
    );
    let rejection = refused.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), Kind::Forbidden);
    let body = axum::body::to_bytes(refused.into_body(), 10_000)
        .await
        .unwrap();
    let body = std::str::from_utf8(&body).unwrap();
    assert!(body.contains("insufficient_permissions"), "{body}");
    assert!(
        !body.contains("closing") && !body.contains("default"),
        "{body}"
    );
}

#[tokio::test]
async fn a_policy_applied_for_each_request_is_one_policy() {
    // Without state axum applies the layer anew for each request.
    let layer = AuthorizeLayer::new(policy()).route(matched);
    let stats = layer.policy().stats();
    let lazy = router().layer(layer.clone());
    for _ in 0..3 {
        let refused = ask(&lazy, Method::GET, "/admin/keys", Some(staff())).await;
        assert_eq!(refused.status(), 403);
    }
    let other: Router = router().layer(layer);
    assert_eq!(
        ask(&other, Method::GET, "/admin/keys", None).await.status(),
        403
    );
    assert_eq!(stats.denied(), 4);
}

#[tokio::test]
async fn what_is_concealed_looks_like_what_is_not_there() {
    let layer = AuthorizeLayer::new(policy().conceal()).route(matched);
    let app = router().layer(layer);
    let hidden = ask(&app, Method::GET, "/admin/keys", Some(staff())).await;
    let nowhere = ask(&app, Method::GET, "/nowhere", Some(staff())).await;
    assert_eq!(
        (hidden.status(), nowhere.status()),
        (http::StatusCode::NOT_FOUND, http::StatusCode::NOT_FOUND)
    );
    let body = |response: Response<Body>| axum::body::to_bytes(response.into_body(), 10_000);
    assert_eq!(body(hidden).await.unwrap(), body(nowhere).await.unwrap());
}

#[tokio::test]
async fn a_shadow_is_told_of_and_does_nothing() {
    let strict = Policy::new().rule(Rule::allow("nobody").roles(["nobody"]));
    let watched = policy().shadow(strict);
    let lines = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = lines.clone();
    let log = AccessLogLayer::new().sink(move |line| sink.lock().unwrap().push(line.to_string()));
    let stats = watched.stats();
    let app = router()
        .layer(AuthorizeLayer::new(watched).route(matched))
        .layer(log);
    assert_eq!(
        ask(&app, Method::GET, "/tickets/7", Some(staff()))
            .await
            .status(),
        200
    );
    assert_eq!(
        ask(&app, Method::GET, "/admin/keys", Some(staff()))
            .await
            .status(),
        403
    );
    let lines = lines.lock().unwrap();
    for (line, told) in lines.iter().zip([
        "rule=role:staff shadow=deny shadow_rule=default",
        "rule=default shadow=deny shadow_rule=default",
    ]) {
        assert!(line.contains(told), "{line}");
    }
    assert!(lines[1].contains("route=/admin/keys"), "{}", lines[1]);
    assert_eq!(
        (
            stats.denied(),
            stats.shadow_denied(),
            stats.shadow_allowed()
        ),
        (1, 1, 0)
    );
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn rules_are_counted() {
    use tower_gateway::metrics::{Metrics, MetricsLayer};
    let metrics = Metrics::new();
    let lenient = Policy::new().rule(Rule::allow("all"));
    let layer = AuthorizeLayer::new(policy().shadow(lenient)).route(matched);
    let app = router().layer(layer).layer(MetricsLayer::new(&metrics));
    for path in ["/tickets/7", "/tickets/8", "/admin/keys"] {
        let response = ask(&app, Method::GET, path, Some(staff())).await;
        axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
    }
    let text = metrics.encode();
    for (rule, effect, count) in [
        ("role:staff", "allow", 2),
        ("default", "deny", 1),
        ("all", "shadow_allow", 3),
    ] {
        let line =
            format!(r#"gateway_authorizations_total{{rule="{rule}",effect="{effect}"}} {count}"#);
        assert!(text.lines().any(|other| other == line), "{line} in {text}");
    }
}

/// A request of one's own.
struct Question {
    model: &'static str,
    carried: Carried,
}

impl Extensible for Question {
    fn headers(&self) -> &HeaderMap {
        &self.carried.headers
    }
    fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.carried.headers
    }
    fn extensions(&self) -> &Extensions {
        &self.carried.extensions
    }
    fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.carried.extensions
    }
}

impl Ask for Question {
    fn ask(&self) -> Asked<'_> {
        Asked::of(self).with_model(self.model)
    }
}

fn question(model: &'static str, who: Principal) -> Question {
    let mut carried = Carried::default();
    carried.extensions.insert(who);
    Question { model, carried }
}

#[tokio::test]
async fn a_service_of_its_own_answers_as_it_does() {
    let policy = Policy::new().rule(Rule::allow("some").roles(["staff"]).models(["fast"]));
    let service = ServiceBuilder::new()
        .layer(AuthorizeLayer::new(policy))
        .service_fn(async |_: Question| Ok::<_, BoxError>(Reply("let in")));
    let reply = service.clone().oneshot(question("fast", staff())).await;
    assert_eq!(reply.unwrap(), Reply("let in"));
    for refused in [
        question("slow", staff()),
        question("fast", Principal::new("bob")),
    ] {
        let error = service.clone().oneshot(refused).await.unwrap_err();
        let rejection: &Rejection = error.downcast_ref().expect("a refusal");
        assert_eq!(rejection.kind(), Kind::Forbidden);
    }
}

#[tokio::test]
async fn a_request_that_says_its_model_comes_later_is_denied_where_nobody_defers() {
    struct Late(Question);
    impl Extensible for Late {
        fn headers(&self) -> &HeaderMap {
            self.0.headers()
        }
        fn headers_mut(&mut self) -> &mut HeaderMap {
            self.0.headers_mut()
        }
        fn extensions(&self) -> &Extensions {
            self.0.extensions()
        }
        fn extensions_mut(&mut self) -> &mut Extensions {
            self.0.extensions_mut()
        }
    }
    impl Ask for Late {
        fn ask(&self) -> Asked<'_> {
            Asked::of(self).with_model_later()
        }
    }
    let policy = Policy::new().rule(Rule::allow("some").models(["fast"]));
    let service = AuthorizeLayer::new(policy).layer(tower::service_fn(async |_: Late| {
        Ok::<_, BoxError>(Reply("let in"))
    }));
    let late = Late(question("fast", staff()));
    assert!(service.oneshot(late).await.is_err());
}

/// Counts its calls, and never answers.
#[derive(Clone, Default)]
struct Hanging(Arc<AtomicUsize>);

impl Service<Question> for Hanging {
    type Response = Reply;
    type Error = BoxError;
    type Future = std::future::Pending<Result<Reply, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Question) -> Self::Future {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::future::pending()
    }
}

#[tokio::test]
async fn a_refused_call_never_reaches_the_service_and_a_dropped_one_leaves_no_trace() {
    let policy = Policy::new().rule(Rule::allow("some").roles(["staff"]));
    let stats = policy.stats();
    let inner = Hanging::default();
    let mut service = AuthorizeLayer::new(policy).layer(inner.clone());
    let mut dropped = task::spawn(service.call(question("fast", staff())));
    assert_pending!(dropped.poll());
    drop(dropped);
    let refused = service.call(question("fast", Principal::new("bob"))).await;
    assert!(refused.is_err());
    assert_eq!((inner.0.load(Ordering::Relaxed), stats.denied()), (1, 1));
}

#[cfg(feature = "llm")]
#[tokio::test]
async fn around_a_model_rules_may_name_it() {
    use tower_gateway::llm::{ChatRequest, Simulator};
    let policy = Policy::new()
        .rule(Rule::allow("fast").roles(["staff"]).models(["fast*"]))
        .rule(Rule::deny("trial").models(["fast-2"]));
    let ask = async |policy: &Policy, model: &str| {
        let chat = ServiceBuilder::new()
            .layer(AuthorizeLayer::new(policy.clone()))
            .service(Simulator::new().answer("Paris"));
        let mut request = ChatRequest::new()
            .for_model(model)
            .user("The capital of France?");
        request.extensions_mut().insert(staff());
        let exchange = Exchange::enter(&mut request);
        let kind = chat.oneshot(request).await.err().map(|error| error.kind());
        (
            kind,
            exchange.facts().rule.map(|ruling| ruling.rule.to_string()),
        )
    };
    assert_eq!(ask(&policy, "fast").await, (None, Some("fast".into())));
    let forbidden = Some(Kind::Forbidden);
    assert_eq!(
        ask(&policy, "slow").await,
        (forbidden, Some("default".into()))
    );
    assert_eq!(
        ask(&policy, "fast-2").await,
        (forbidden, Some("trial".into()))
    );
    let (concealed, _) = ask(&policy.conceal(), "slow").await;
    assert_eq!(concealed, Some(Kind::ModelNotFound));
}

#[tokio::test]
async fn abuse_18_no_spelling_of_a_path_leads_around_a_rule() {
    let policy = Policy::new()
        .rule(Rule::allow("public").routes(["/public/*"]))
        .rule(Rule::allow("tickets").routes(["/tickets/{id}"]));
    let app = || {
        let public = get(async || "public");
        router()
            .route("/public/{*rest}", public)
            .layer(AuthorizeLayer::new(policy.clone()).route(matched))
    };
    // With one spelling of each path, and with what axum makes of it by itself.
    let normal = Router::new().fallback_service(NormalisePathLayer::new().layer(app()));
    for path in [
        "/admin/keys",
        "//admin/keys",
        "/admin//keys",
        "/./admin/keys",
        "/public/../admin/keys",
        "/public/%2e%2e/admin/keys",
        "/public/..%2fadmin/keys",
        "/public/..%5cadmin/keys",
        "/public/%2e%2e%2fadmin%2fkeys",
        "/public/..;/admin/keys",
        "/public/.;x/../../admin/keys",
        "/%61dmin/keys",
        "/admin/%6Beys",
        "/admin/keys/",
        "/admin/keys%00",
        "/public/%252e%252e/%252e/admin/keys%2f..",
        "/tickets/..%2f..%2fadmin%2fkeys",
        "/ADMIN/keys",
        "/admin/keys;x=1",
    ] {
        for app in [&normal, &app()] {
            let response = ask(app, Method::GET, path, Some(staff())).await;
            let status = response.status().as_u16();
            assert!(matches!(status, 400 | 403), "{path}: {status}");
        }
    }
    let normal = ask(&normal, Method::GET, "/x/../public/%61", None).await;
    assert_eq!(normal.status(), 200, "and the way that is open stays so");
}

#[tokio::test]
async fn abuse_19_a_header_that_names_another_method_is_not_heeded() {
    let reads = Policy::new().rule(Rule::allow("reads").methods([Method::GET]));
    let app = router().layer(AuthorizeLayer::new(reads).route(matched));
    for header in [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "_method",
    ] {
        for (method, override_, status) in [("POST", "GET", 403), ("GET", "POST", 200)] {
            let request = Request::builder()
                .method(method)
                .uri("/admin/keys?_method=GET")
                .header(header, override_)
                .body(Body::empty())
                .unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{header}: {method}");
        }
    }
    let none = Policy::new()
        .rule(Rule::allow("reads").methods([Method::GET]))
        .rule(
            Rule::deny("override")
                .header_present(http::HeaderName::from_static("x-http-method-override")),
        );
    let app = router().layer(AuthorizeLayer::new(none).route(matched));
    let request = Request::get("/admin/keys").header("x-http-method-override", "DELETE");
    let response = app
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn abuse_20_a_preflight_is_not_the_request_that_it_asks_for() {
    let reads = Policy::new().rule(Rule::allow("reads").methods([Method::GET]));
    let app = router().layer(AuthorizeLayer::new(reads).route(matched));
    let request = Request::options("/admin/keys")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "GET");
    let response = app
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 403);
}
