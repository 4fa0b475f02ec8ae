//! See the module of the same name.

use crate::telling::{Call, Failed, Reply, Told};
use axum::{Router, extract::MatchedPath, routing::get};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::StreamBody;
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_gateway::{
    Body, BoxError, Exchange, Extensible, Principal, Reject, Rejection, access_log::AccessLogLayer,
    client_addr::ClientAddr, collect, exchange::Usage, rejection::Kind,
};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn layer(&self) -> AccessLogLayer {
        let lines = self.clone();
        AccessLogLayer::new().sink(move |record| lines.0.lock().unwrap().push(record.to_string()))
    }

    /// All lines so far, without the id.
    fn take(&self) -> Vec<String> {
        let lines = std::mem::take(&mut *self.0.lock().unwrap());
        let bare = |line: String| line.split_once(' ').unwrap().1.to_owned();
        lines.into_iter().map(bare).collect()
    }

    fn one(&self) -> String {
        let lines = self.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.into_iter().next().unwrap()
    }
}

fn streamed(frames: Vec<Result<&'static str, BoxError>>) -> Response<Body> {
    let frames = frames
        .into_iter()
        .map(|frame| frame.map(|text| http_body::Frame::data(Bytes::from_static(text.as_bytes()))));
    Response::new(Body::boxed(StreamBody::new(futures_util::stream::iter(
        frames,
    ))))
}

#[tokio::test(start_paused = true)]
async fn a_line_has_all_that_became_known() {
    let lines = Lines::default();
    let service = ServiceBuilder::new()
        .layer(lines.layer())
        .service_fn(async |req: Request<()>| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let exchange = Exchange::of(&req).unwrap().clone();
            exchange.update(|facts| {
                facts.route = Some("/v1/chat/completions".into());
                facts.principal = Some("alice".into());
                facts.client = Some([192, 0, 2, 1].into());
                facts.model = Some("fast".into());
                facts.upstream = Some("anthropic".into());
                facts.attempts = 2;
                facts.first_content = Some(Duration::from_millis(12));
                facts.usage = Some(Usage::new(7, 11));
            });
            Ok::<_, Infallible>(streamed(vec![Ok("data: 1\n\n"), Ok("data: 2\n\n")]))
        });
    let request = Request::post("/v1/chat/completions?api_key=secret")
        .header("authorization", "Bearer secret")
        .body(())
        .unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert!(lines.take().is_empty(), "not before the end");
    collect(response.into_body(), 100).await.unwrap();
    assert_eq!(
        lines.one(),
        "method=POST route=/v1/chat/completions status=200 principal=alice client=192.0.2.1 \
         model=fast upstream=anthropic input_tokens=7 output_tokens=11 attempts=2 duration_ms=20 \
         first_content_ms=12 bytes=18 outcome=complete"
    );
}

#[tokio::test(start_paused = true)]
async fn the_path_is_told_if_asked_for_and_never_the_query() {
    let lines = Lines::default();
    for (paths, path) in [(false, ""), (true, " path=/a%0ab")] {
        let service = ServiceBuilder::new()
            .layer(lines.layer().paths(paths))
            .service_fn(async |_: Request<()>| {
                let response: Result<_, Infallible> =
                    Response::<Body>::reject(Kind::NotFound.into());
                response
            });
        let request = Request::get("/a%0ab?q=secret").body(()).unwrap();
        drop(service.oneshot(request).await.unwrap());
        let line = lines.one();
        let start = format!("method=GET{path} status=404 attempts=0 duration_ms=0 bytes=0");
        assert!(line.starts_with(&start), "{line}");
        assert!(!line.contains("secret"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hang_up_is_told_once() {
    let lines = Lines::default();
    // Before the head.
    let mut service = lines
        .layer()
        .layer(tower::service_fn(async |_: Request<()>| {
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }));
    let mut call = tokio_test::task::spawn(service.call(Request::new(())));
    assert!(call.poll().is_pending());
    drop(call);
    let gone = "method=GET status=499 attempts=0 duration_ms=0 outcome=client_gone";
    assert_eq!(lines.one(), gone);
    // Not even polled.
    drop(service.call(Request::new(())));
    assert_eq!(lines.one(), gone);

    // In the middle of the body.
    let service = lines
        .layer()
        .layer(tower::service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(streamed(vec![Ok("one"), Ok("two")]))
        }));
    let response = service.oneshot(Request::new(())).await.unwrap();
    let mut body = response.into_body();
    http_body_util::BodyExt::frame(&mut body)
        .await
        .unwrap()
        .unwrap();
    drop(body);
    let line = lines.one();
    assert!(
        line.contains(" status=200 ") && line.ends_with(" bytes=3 outcome=client_gone"),
        "{line}"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_hung_up_on_a_head_request() {
    let lines = Lines::default();
    let service = lines
        .layer()
        .layer(tower::service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(streamed(vec![Ok("one")]))
        }));
    let request = Request::head("/").body(()).unwrap();
    // A server drops the body without asking for it.
    drop(service.oneshot(request).await.unwrap());
    assert!(lines.one().ends_with(" bytes=0 outcome=complete"));
}

#[tokio::test(start_paused = true)]
async fn an_error_is_told_by_its_code() {
    let lines = Lines::default();
    let answer = async |answer: fn() -> Result<Response<Body>, BoxError>| {
        let service = lines
            .layer()
            .layer(tower::service_fn(async |_: Request<()>| answer()));
        if let Ok(response) = service.oneshot(Request::new(())).await {
            collect(response.into_body(), 1000).await.ok();
        }
        lines.one()
    };
    let refused = answer(|| Response::reject(Kind::RateLimited.into())).await;
    assert!(refused.contains(" status=429 "), "{refused}");
    assert!(
        refused.ends_with(" error=rate_limit_exceeded outcome=complete"),
        "{refused}"
    );

    let cut = answer(|| {
        Ok(streamed(vec![
            Ok("one"),
            Err(Rejection::new(Kind::Timeout).into()),
        ]))
    });
    let cut = cut.await;
    assert!(cut.contains(" status=200 "), "{cut}");
    assert!(
        cut.ends_with(" bytes=3 error=timeout outcome=failed"),
        "{cut}"
    );

    let failed = answer(|| Err("postgres://user:secret@db refused".into())).await;
    assert_eq!(failed, "method=GET attempts=0 duration_ms=0 outcome=failed");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_no_hang_up() {
    let lines = Lines::default();
    let service = lines
        .layer()
        .layer(tower::service_fn(async |req: Request<()>| {
            assert!(req.uri().path().is_empty(), "a fault in a handler");
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }));
    let call = tokio::spawn(service.oneshot(Request::new(())));
    assert!(call.await.unwrap_err().is_panic());
    assert!(lines.one().ends_with(" outcome=failed"));
}

#[tokio::test(start_paused = true)]
async fn what_stands_further_out_has_found_is_told_too() {
    let lines = Lines::default();
    let service = lines
        .layer()
        .layer(tower::service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }));
    let mut request = Request::builder().method("BREW").body(()).unwrap();
    request
        .extensions_mut()
        .insert(Principal::new("eve\noutcome=ok"));
    request
        .extensions_mut()
        .insert(ClientAddr([192, 0, 2, 1].into()));
    drop(service.oneshot(request).await.unwrap());
    let line = lines.one();
    let who = r#"method=other status=200 principal="eve\u{a}outcome=ok" client=192.0.2.1 "#;
    assert!(line.starts_with(who), "{line}");
}

#[tokio::test(start_paused = true)]
async fn over_axum() {
    let lines = Lines::default();
    let app: Router = Router::new()
        .route("/users/{id}", get(async || "hello"))
        .layer(
            lines
                .layer()
                .route(|extensions| Some(extensions.get::<MatchedPath>()?.as_str().into())),
        );
    let request = Request::get("/users/7").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(collect(response.into_body(), 100).await.unwrap(), "hello");
    let line = lines.one();
    assert!(
        line.starts_with("method=GET route=/users/{id} status=200 "),
        "{line}"
    );
}

#[tokio::test(start_paused = true)]
async fn over_an_answer_of_its_own() {
    let lines = Lines::default();
    let service = lines.layer().layer(tower::service_fn(async |call: Call| {
        if call.headers().contains_key("fail") {
            return Err(Failed::Broken);
        }
        Ok(Reply::new("hello"))
    }));
    service.clone().oneshot(Call::default()).await.unwrap();
    assert_eq!(
        lines.one(),
        "method=call attempts=0 duration_ms=0 outcome=complete"
    );
    let mut call = Call::default();
    call.headers_mut()
        .insert("fail", HeaderValue::from_static("1"));
    service.oneshot(call).await.unwrap_err();
    assert_eq!(
        lines.one(),
        "method=call attempts=0 duration_ms=0 error=broken outcome=failed"
    );
}

#[test]
fn by_default_it_is_an_event() {
    let told = Told::default();
    tracing::subscriber::with_default(told.clone(), || {
        let service = AccessLogLayer::new().layer(tower::service_fn(async |req: Request<()>| {
            Exchange::of(&req).unwrap().update(|facts| {
                facts.principal = Some("eve\u{1b}[2J".into());
                facts.usage = Some(Usage::new(7, 11));
            });
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }));
        let request = Request::get("/secret?secret")
            .header("x", "secret")
            .body(())
            .unwrap();
        let response = tokio_test::block_on(service.oneshot(request)).unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    });
    let events = told.events("tower_gateway::access");
    assert_eq!(events.len(), 1);
    let names: Vec<_> = events[0].keys().copied().collect();
    assert_eq!(
        names,
        [
            "attempts",
            "bytes",
            "duration_ms",
            "input_tokens",
            "method",
            "outcome",
            "output_tokens",
            "principal",
            "request_id",
            "status"
        ]
    );
    assert_eq!(events[0]["status"], "200");
    assert_eq!(events[0]["principal"], r"eve\u{1b}[2J");
    assert!(!format!("{events:?}").contains("secret"));
}

/// The line of an exchange with a server of hyper's, whose client hangs up as soon as it has read
/// `last`.
async fn served(lines: &Lines, method: &str, last: &str, frames: usize) -> String {
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let service = lines.layer().layer(tower::service_fn(
        move |_: Request<hyper::body::Incoming>| {
            let frames = (0..frames).map(|_| Ok("0123456789")).collect();
            std::future::ready(Ok::<_, Infallible>(streamed(frames)))
        },
    ));
    let (mut client, server) = tokio::io::duplex(256);
    let service = hyper_util::service::TowerToHyperService::new(service);
    let server = hyper::server::conn::http1::Builder::new()
        .half_close(false)
        .serve_connection(TokioIo::new(server), service);
    let server = tokio::spawn(server);
    let request = format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(last.as_bytes()) {
        let byte = tokio::time::timeout(Duration::from_secs(60), client.read_u8());
        answer.push(byte.await.expect("no end").unwrap());
    }
    drop(client);
    drop(server.await.unwrap());
    lines.one()
}

#[tokio::test(start_paused = true)]
async fn in_bare_hyper() {
    let lines = Lines::default();
    let line = served(&lines, "GET", "\r\n0\r\n\r\n", 2).await;
    assert!(line.ends_with(" bytes=20 outcome=complete"), "{line}");

    let line = served(&lines, "GET", "0123456789", 1_000_000).await;
    assert!(line.contains(" status=200 "), "{line}");
    assert!(line.ends_with(" outcome=client_gone"), "{line}");

    let line = served(&lines, "HEAD", "\r\n\r\n", 2).await;
    assert!(line.ends_with(" bytes=0 outcome=complete"), "{line}");
}
