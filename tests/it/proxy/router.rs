//! Behind a router that matches paths as they came.

use http::{HeaderValue, Request, Response, StatusCode, header::HOST};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};
use tower_gateway::{Body, Rejection, proxy::Proxy, route::NormalisePathLayer};

/// What an upstream that echoes its path answers behind a router that matches the path as it came.
async fn behind_axum(path: &str, normalised: bool) -> (StatusCode, Option<HeaderValue>) {
    let echo = service_fn(async |request: Request<Body>| {
        let path = HeaderValue::try_from(request.uri().path()).unwrap();
        let response = Response::builder().header("path", path);
        Ok::<_, Rejection>(response.body(Body::empty()).unwrap())
    });
    let proxy = Proxy::to("http://upstream").unwrap().client(echo);
    let router = axum::Router::new().route_service("/public/{*rest}", proxy);
    let request = Request::builder().uri(path).header(HOST, "gate");
    let request = request.body(axum::body::Body::empty()).unwrap();
    let router = ServiceExt::<Request<axum::body::Body>>::map_response(
        router,
        |response: Response<axum::body::Body>| response.map(Body::new),
    );
    let response: Result<_, Infallible> = if normalised {
        NormalisePathLayer::new()
            .layer(router)
            .oneshot(request)
            .await
    } else {
        router.oneshot(request).await
    };
    let response = response.unwrap();
    (response.status(), response.headers().get("path").cloned())
}

#[tokio::test]
async fn a_path_that_another_router_matched_is_not_rewritten_behind_it() {
    for path in [
        "/public/%2e%2e/admin",
        "/public/../admin",
        "/public/.//admin",
        "/public/%61dmin",
    ] {
        let refused = (StatusCode::BAD_REQUEST, None);
        assert_eq!(behind_axum(path, false).await, refused, "{path}");
    }
    for path in ["/public/a", "/public/caf%C3%A9", "/public/caf%c3%a9"] {
        let (status, seen) = behind_axum(path, false).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_eq!(seen.unwrap(), path);
    }
}

#[tokio::test]
async fn a_path_that_was_rewritten_before_it_was_matched_is_forwarded() {
    let (status, seen) = behind_axum("/x/../public/./%61", true).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(seen.unwrap(), "/public/a");
    let (status, _) = behind_axum("/public/%2e%2e/admin", true).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
