//! Refusals in the words of the client's protocol.

use axum::{Router, body::to_bytes, routing::get};
use http::{Method, Request, Response, StatusCode, header};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tower::{Layer, ServiceExt};
use tower_gateway::{
    Body, End, Follow, Reject, Rejection, collect, concurrency::ConcurrencyLayer,
    llm::dialect::DialectLayer, rejection::Kind,
};

const PATHS: [(&str, &str); 2] = [
    ("/v1/models", "application/json"),
    ("/files", "application/problem+json"),
];

fn request(method: Method, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(())
        .unwrap()
}

type Ends = Arc<Mutex<Vec<&'static str>>>;

/// A refusal that says how long it is, of a service that waits for its end.
async fn refused(method: Method, path: &str, ends: &Ends) -> Response<Body> {
    let ends = ends.clone();
    let service = tower::service_fn(move |_: Request<()>| {
        let ends = ends.clone();
        async move {
            let rejection = Rejection::new(Kind::Unauthorized);
            let mut answer = <Response<Body> as Reject<Infallible>>::reject(rejection)?;
            let headers = answer.headers_mut();
            headers.insert(header::CONTENT_LENGTH, "7777".parse().unwrap());
            headers.insert("x-own", "stays".parse().unwrap());
            Ok::<_, Infallible>(Follow::<Infallible>::follow(answer, move |end| {
                let how = match end {
                    End::Complete => "complete",
                    End::Dropped => "dropped",
                    _ => "other",
                };
                ends.lock().unwrap().push(how);
            }))
        }
    });
    let service = DialectLayer::new().layer(service);
    service.oneshot(request(method, path)).await.unwrap()
}

fn take(ends: &Ends) -> Vec<&'static str> {
    std::mem::take(&mut *ends.lock().unwrap())
}

#[tokio::test]
async fn head_is_refused_without_a_body_or_a_stale_length() {
    for (path, media_type) in PATHS {
        for method in [Method::HEAD, Method::GET] {
            let ends = Ends::default();
            let answer = refused(method.clone(), path, &ends).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
            assert!(!answer.headers().contains_key(header::CONTENT_LENGTH));
            assert_eq!(answer.headers()[header::CONTENT_TYPE], media_type);
            assert_eq!(answer.headers()["x-own"], "stays");
            assert!(answer.extensions().get::<Rejection>().is_some());
            let body = collect(answer.into_body(), 10_000).await.unwrap();
            assert_eq!(body.is_empty(), method == Method::HEAD, "{body:?}");
        }
    }
}

#[tokio::test]
async fn those_who_wait_for_the_end_wait_for_the_new_body() {
    for (path, _) in PATHS {
        let ends = Ends::default();
        let answer = refused(Method::GET, path, &ends).await;
        assert_eq!(take(&ends), [""; 0], "it has yet to go out");
        collect(answer.into_body(), 10_000).await.unwrap();
        assert_eq!(take(&ends), ["complete"]);

        drop(refused(Method::GET, path, &ends).await);
        assert_eq!(take(&ends), ["dropped"]);

        drop(refused(Method::HEAD, path, &ends).await);
        assert_eq!(take(&ends), ["complete"], "nothing was to go out");
    }
}

#[tokio::test]
async fn in_axum_a_head_request_is_refused_like_any_other() {
    let app: Router = Router::new()
        .route("/v1/models", get(async || "hello"))
        .layer(ConcurrencyLayer::new(0))
        .layer(DialectLayer::new());
    let request = Request::head("/v1/models").body(axum::body::Body::empty());
    let answer = app.oneshot(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body = to_bytes(answer.into_body(), 10_000).await.unwrap();
    assert!(body.is_empty());
}

#[tokio::test]
async fn what_is_no_refusal_passes_as_it_is() {
    let service = DialectLayer::new().layer(tower::service_fn(async |_: Request<()>| {
        let answer = Response::builder().status(404).header("content-length", "5");
        Ok::<_, Infallible>(answer.body(Body::from("hello")).unwrap())
    }));
    let answer = service.oneshot(request(Method::GET, "/v1/models"));
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["content-length"], "5");
    assert_eq!(collect(answer.into_body(), 10).await.unwrap(), "hello");
}
