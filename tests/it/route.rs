//! Routes over the services of others, and the paths that led past guards elsewhere.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use std::{convert::Infallible, pin::Pin, sync::Arc};
use tower::{Service, ServiceExt, service_fn};
use tower_gateway::{
    Body, Exchange,
    path::{Rules, Slashes},
    route::{Methods, NormalisePathLayer, PathParams, Router, Routes},
};
use tower_layer::Layer;

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// A service that says who it is, what it was asked for, and the parameters.
fn named(
    name: &'static str,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer>
+ Clone
+ Send
+ Sync
+ 'static {
    service_fn(move |request: Request<Body>| -> Answer {
        let params = request.extensions().get::<PathParams>();
        let params: String = params
            .into_iter()
            .flat_map(PathParams::iter)
            .map(|(name, value)| format!(" {name}={value}"))
            .collect();
        let text = format!("{name} {}{params}", request.uri());
        Box::pin(async move { Ok(Response::new(text.into())) })
    })
}

async fn ask(router: &Router, method: Method, uri: &str, host: Option<&str>) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(uri);
    if let Some(host) = host {
        request = request.header("host", host);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.into()).unwrap())
}

async fn get(router: &Router, uri: &str) -> (u16, String) {
    ask(router, Method::GET, uri, None).await
}

#[tokio::test]
async fn parameters_are_decoded_and_the_uri_is_normal() {
    let router = Routes::new()
        .route("/users/{id}/{*rest}", Methods::ANY, named("user"))
        .build()
        .unwrap();
    assert_eq!(
        get(&router, "/x/../users/J%c3%bcrgen/a/b%20c?q=%2e").await,
        (
            200,
            "user /users/J%C3%BCrgen/a/b%20c?q=%2e id=Jürgen rest=a/b c".into()
        )
    );
}

#[tokio::test]
async fn head_is_answered_by_get_and_options_is_not_automatic() {
    let router = Routes::new()
        .route("/a", Method::GET, named("get"))
        .route("/a", [Method::PUT, Method::PATCH], named("put"))
        .route("/b", Method::GET, named("get"))
        .route("/b", Method::HEAD, named("head"))
        .route("/b", Methods::ANY, named("any"))
        .build()
        .unwrap();
    let ask = async |method, path| ask(&router, method, path, None).await.1;
    assert_eq!(ask(Method::HEAD, "/a").await, "get /a");
    assert_eq!(ask(Method::PATCH, "/a").await, "put /a");
    assert_eq!(ask(Method::HEAD, "/b").await, "head /b");
    assert_eq!(ask(Method::OPTIONS, "/b").await, "any /b");

    let request = Request::options("/a").body(Body::empty()).unwrap();
    let refused: Result<_, Infallible> = router.oneshot(request).await;
    let refused = refused.unwrap();
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.headers()["allow"], "GET, HEAD, PATCH, PUT");
}

#[tokio::test]
async fn abuse_19_a_method_in_a_header_is_not_looked_at() {
    let router = Routes::new()
        .route("/a", Method::DELETE, named("delete"))
        .build()
        .unwrap();
    let request = Request::post("/a").header("x-http-method-override", "DELETE");
    let request = request.body(Body::empty()).unwrap();
    let refused = router.oneshot(request).await.unwrap();
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_most_particular_host_decides() {
    let router = Routes::new()
        .route("/a", Method::GET, named("anyone"))
        .route("/b", Method::GET, named("anyone"))
        .route("*.example.com/a", Method::GET, named("below"))
        .route("*.eu.example.com/a", Method::GET, named("eu"))
        .route("api.example.com/a", Method::POST, named("api"))
        .build()
        .unwrap();
    for (host, uri, answer) in [
        (Some("else.org"), "/a", "anyone"),
        (None, "/a", "anyone"),
        (Some("example.com"), "/a", "anyone"),
        (Some("www.Example.com.:8080"), "/a", "below"),
        (Some("x.eu.example.com"), "/a", "eu"),
        (Some("x.eu.example.com"), "/b", "anyone"),
        (Some("else.org"), "http://www.example.com/a", "below"),
    ] {
        let (_, text) = ask(&router, Method::GET, uri, host).await;
        assert!(text.starts_with(answer), "{host:?} {uri}: {text}");
    }
    let (status, _) = ask(&router, Method::GET, "/a", Some("api.example.com")).await;
    assert_eq!(status, 405, "not the route of a less particular host");
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let faults = Routes::<Body>::new()
        .route("/ok/{id}", Method::GET, named(""))
        .route("/ok/{name}", Method::GET, named(""))
        .route("no-path", Method::GET, named(""))
        .route("Example.com:80/", Method::GET, named(""))
        .route("/a/../b", Method::GET, named(""))
        .route("/a%2e", Method::GET, named(""))
        .route("/a-{id}", Method::GET, named(""))
        .route("/{}", Method::GET, named(""))
        .route("/{*rest}/a", Method::GET, named(""))
        .route("/{a}/{a}", Method::GET, named(""))
        .route("/b", [], named(""))
        .build()
        .unwrap_err();
    assert_eq!(faults.iter().count(), 10, "{faults}");
    let first = faults.to_string();
    let first = first.lines().next().unwrap();
    assert_eq!(
        first,
        "route `/ok/{name}`: Another route answers to the same."
    );
}

#[tokio::test]
async fn the_template_is_told_and_not_the_path() {
    let router = Routes::new()
        .route("/users/{id}", Method::GET, named("user"))
        .build()
        .unwrap();
    let mut request = Request::get("/users/secret").body(Body::empty()).unwrap();
    let exchange = Exchange::enter(&mut request);
    router.oneshot(request).await.unwrap();
    assert_eq!(exchange.facts().route.as_deref(), Some("/users/{id}"));
}

#[tokio::test]
async fn services_with_bodies_and_errors_of_their_own_are_routed() {
    let axum = axum::Router::new().route("/axum", axum::routing::get(async || "hello"));
    let router = Routes::new()
        .route("/axum", Methods::ANY, axum)
        .route(
            "/full",
            Methods::ANY,
            service_fn(async |_: Request<Body>| Ok(Response::new(Full::new(Bytes::from("full"))))),
        )
        .build()
        .unwrap();
    assert_eq!(get(&router, "/axum").await.1, "hello");
    assert_eq!(get(&router, "/full").await.1, "full");

    let failing = service_fn(async |_: Request<Body>| Err::<Response<Body>, _>("failed"));
    let router = Routes::new().route("/", Methods::ANY, failing).build();
    let request = Request::get("/").body(Body::empty()).unwrap();
    assert_eq!(
        router.unwrap().oneshot(request).await.unwrap_err(),
        "failed"
    );
}

#[tokio::test]
async fn a_router_is_a_service_of_axum() {
    let router = Routes::<axum::body::Body>::new()
        .route(
            "/api/{id}",
            Method::GET,
            service_fn(async |_: Request<axum::body::Body>| {
                Ok::<_, Infallible>(Response::new(Body::from("ours")))
            }),
        )
        .build()
        .unwrap();
    let app = axum::Router::<()>::new().fallback_service(router);
    let request = Request::get("/api/1")
        .body(axum::body::Body::empty())
        .unwrap();
    let body = app.oneshot(request).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "ours");
}

#[tokio::test]
async fn a_service_is_made_ready_for_each_call_and_dropped_with_it() {
    let held = Arc::new(());
    let inside = held.clone();
    let hanging = service_fn(move |_: Request<Body>| {
        let inside = inside.clone();
        async move {
            let _inside = inside;
            std::future::pending::<Result<Response<Body>, Infallible>>().await
        }
    });
    // This panics if it is called before it is ready.
    let limited = tower::limit::ConcurrencyLimit::new(hanging, 1);
    let router = Routes::new()
        .route("/", Methods::ANY, limited)
        .build()
        .unwrap();
    let before = Arc::strong_count(&held);
    let request = || Request::get("/").body(Body::empty()).unwrap();
    let mut first = tokio_test::task::spawn(router.clone().oneshot(request()));
    let mut second = tokio_test::task::spawn(router.clone().oneshot(request()));
    tokio_test::assert_pending!(first.poll());
    tokio_test::assert_pending!(second.poll());
    assert!(Arc::strong_count(&held) > before);
    drop((first, second));
    assert_eq!(Arc::strong_count(&held), before);
}

/// A guard on `/admin` that goes by the path it sees.
async fn guarded(path: &str) -> Option<(u16, String)> {
    let router = Routes::new()
        .route("/public", Methods::ANY, named("public"))
        .route("/public/{*rest}", Methods::ANY, named("public"))
        .route("/admin", Methods::ANY, named("admin"))
        .route("/admin/{*rest}", Methods::ANY, named("admin"))
        .build()
        .unwrap();
    let guard = service_fn(move |request: Request<Body>| {
        let router = router.clone();
        async move {
            let path = request.uri().path();
            if path == "/admin" || path.starts_with("/admin/") {
                let refused = Response::builder().status(401).body(Body::empty());
                return Ok(refused.unwrap());
            }
            router.oneshot(request).await
        }
    });
    let request = Request::get(path).body(Body::empty()).ok()?;
    let response: Result<_, Infallible> = NormalisePathLayer::new()
        .layer(guard)
        .oneshot(request)
        .await;
    let response = response.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Some((status, String::from_utf8(body.into()).unwrap()))
}

#[tokio::test]
async fn abuse_18_no_way_to_write_a_path_leads_past_a_guard() {
    for path in [
        "/admin",
        "//admin",
        "///admin",
        "/./admin",
        "/%61dmin",
        "/%41DMIN/../admin",
        "/public/../admin",
        "/public/..%2fadmin",
        "/public/..%2Fadmin",
        "/public%2f../admin",
        "/public/%2e%2e/admin",
        "/public/%2E%2E/admin",
        "/public/.%2e/admin",
        "/public/%2e./admin",
        "/public/..;/admin",
        "/public/..;a=b/admin",
        "/public/%2e%2e;/admin",
        "/public/x/../../admin",
        "/public//../admin",
        "/public/../../admin",
        "/../admin",
        "/api../admin",
        "/admin/",
        "/admin/.",
        "/admin/x/..",
        "/admin%2fx",
        "/admin%2Fx",
        "/admin%20",
        "/admin%00",
        "/admin%09",
        "/admin;x",
        "/public/%5c..%5cadmin",
        "/public\\..\\admin",
        "/public/%c0%ae%c0%ae/admin",
        "/public/%zz",
        "/public/%",
        "/admin?x=/public",
        "http://host/admin",
        "*",
    ] {
        // What the http crate does not take for a URI never gets here.
        let Some((status, text)) = guarded(path).await else {
            continue;
        };
        assert!(matches!(status, 400 | 401 | 404), "{path}: {status} {text}");
    }
    assert_eq!(guarded("/public").await.unwrap().0, 200);
    assert_eq!(
        guarded("/public/%252e%252e/admin").await.unwrap().1,
        "public /public/%252e%252e/admin rest=%2e%2e/admin"
    );
}

#[tokio::test]
async fn the_router_goes_by_the_rules_it_is_given() {
    let rules = Rules::new().slashes(Slashes::Keep).keep_encoded_slashes();
    let router = Routes::new()
        .route("/{*all}", Methods::ANY, named("all"))
        .path_rules(rules)
        .build()
        .unwrap();
    assert_eq!(
        get(&router, "/a//b%2fc").await.1,
        "all /a//b%2Fc all=a//b/c"
    );
}
