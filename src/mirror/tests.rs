use super::*;
use crate::{Body, BoxError, Exchange, deadline::Deadline};
use http::{Request, Response, StatusCode};
use std::{
    future::{Ready, pending, ready},
    sync::Mutex,
};
use tokio::sync::mpsc;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{ServiceExt, limit::ConcurrencyLimit, service_fn};

fn plain(request: Request<Body>) -> Ready<Result<Response<Body>, BoxError>> {
    drop(request);
    ready(Ok(Response::new(Body::from("main"))))
}

/// A shadow that hands over what it gets.
fn listener() -> (
    impl Service<Request<Body>, Response = Response<Body>, Error = BoxError, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static,
    mpsc::UnboundedReceiver<Request<Body>>,
) {
    let (heard, hears) = mpsc::unbounded_channel();
    let service = service_fn(move |request| {
        heard.send(request).unwrap();
        let mut response = Response::new(Body::from("shadow"));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        ready(Ok(response))
    });
    (service, hears)
}

fn post(text: &'static str) -> Request<Body> {
    Request::post("/a?b").body(Body::from(text)).unwrap()
}

async fn settled(layer: &MirrorLayer<impl Sized>) -> MirrorStats {
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let stats = layer.handle().stats();
        if stats.in_flight == 0 {
            return stats;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_shadow_gets_the_same_request_and_nothing_of_the_exchange() {
    let (shadow, mut hears) = listener();
    let layer = MirrorLayer::new(shadow, 10_000).carry::<u8>();
    let service = layer.layer(service_fn(plain));
    let mut request = post("hello");
    let exchange = Exchange::enter(&mut request);
    let deadline = Deadline::enter(&mut request);
    request.extensions_mut().insert(Principal::new("alice"));
    request.extensions_mut().insert(7_u8);
    request.extensions_mut().insert(7_u16);
    let answer = service.clone().oneshot(request).await.unwrap();
    assert_eq!(crate::collect(answer.into_body(), 9).await.unwrap(), "main");

    let copy = hears.recv().await.unwrap();
    assert_eq!(
        (copy.method().as_str(), copy.uri().to_string()),
        ("POST", "/a?b".to_owned())
    );
    assert_eq!(copy.headers()["x-gateway-mirrored"], "true");
    let extensions = copy.extensions();
    assert!(extensions.get::<Exchange>().is_none() && extensions.get::<Deadline>().is_none());
    assert_eq!(Principal::of(&copy).unwrap().id().as_ref(), "alice");
    assert_eq!(
        (extensions.get::<u8>(), extensions.get::<u16>()),
        (Some(&7), None)
    );
    let vouched = Vouched::of(&copy).unwrap().names();
    assert_eq!(
        vouched,
        [X_GATEWAY_MIRRORED],
        "so that a proxy passes it on"
    );
    assert_eq!(crate::collect(copy.into_body(), 9).await.unwrap(), "hello");
    assert_eq!(
        (exchange.facts().attempts, deadline.left()),
        (0, Deadline::ATTEMPTS - 1)
    );

    let stats = settled(&layer).await;
    assert_eq!((stats.sent, stats.answered, stats.failed), (1, 1, 0));

    let mut again = post("hello");
    again
        .headers_mut()
        .insert(X_GATEWAY_MIRRORED, "true".parse().unwrap());
    service.oneshot(again).await.unwrap();
    assert_eq!(
        layer.handle().stats().sent,
        1,
        "what is mirrored is not mirrored again"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_shadow_and_beyond_the_bound_there_is_none() {
    let shadow = service_fn(|_: Request<Body>| pending::<Result<Response<Body>, BoxError>>());
    let layer = MirrorLayer::new(shadow, 10_000)
        .at_once(2)
        .timeout(Duration::from_secs(5));
    let service = layer.layer(service_fn(plain));
    for _ in 0..5 {
        assert!(service.clone().oneshot(post("x")).await.is_ok());
    }
    let stats = layer.handle().stats();
    assert_eq!((stats.sent, stats.in_flight, stats.full), (2, 2, 3));
    tokio::time::sleep(Duration::from_secs(6)).await;
    let stats = layer.handle().stats();
    assert_eq!((stats.in_flight, stats.failed), (0, 2), "it takes too long");
    service.oneshot(post("x")).await.unwrap();
    assert_eq!(layer.handle().stats().sent, 3, "there is room again");
}

#[tokio::test(start_paused = true)]
async fn neither_a_panic_nor_a_failure_reaches_the_call() {
    let shadow = service_fn(|request: Request<Body>| {
        assert_ne!(request.uri().query(), Some("b"), "as the test wants it");
        ready(Err::<Response<Body>, BoxError>("down".into()))
    });
    let layer = MirrorLayer::new(shadow, 10_000);
    let service = layer.layer(service_fn(plain));
    service.clone().oneshot(post("panics")).await.unwrap();
    service
        .oneshot(Request::new(Body::from("fails")))
        .await
        .unwrap();
    let stats = settled(&layer).await;
    assert_eq!((stats.sent, stats.answered, stats.failed), (2, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_goes_to_the_service_alone() {
    let (shadow, mut hears) = listener();
    let layer = MirrorLayer::new(shadow, 10_000).body_limit(4);
    let service = layer.layer(service_fn(async |request: Request<Body>| {
        let body = crate::collect(request.into_body(), 9).await.unwrap();
        Ok::<_, BoxError>(Response::new(Body::from(body)))
    }));
    for (text, sent) in [("four", 1), ("fives", 1)] {
        let answer = service.clone().oneshot(post(text)).await.unwrap();
        assert_eq!(crate::collect(answer.into_body(), 9).await.unwrap(), text);
        assert_eq!(layer.handle().stats().sent, sent);
    }
    assert!(hears.recv().await.is_some());
    let stats = settled(&layer).await;
    assert_eq!((stats.too_large, stats.full), (1, 0));
    assert_eq!(layer.shared.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_share_is_a_share_and_can_be_changed() {
    let (shadow, _hears) = listener();
    let layer = MirrorLayer::new(shadow, 2_500).at_once(100_000);
    let service = layer.layer(service_fn(plain));
    for _ in 0..2_000 {
        service.clone().oneshot(post("x")).await.unwrap();
    }
    let sent = layer.handle().stats().sent;
    assert!((400..600).contains(&sent), "{sent}");
    layer.handle().set_share(0);
    for _ in 0..100 {
        service.clone().oneshot(post("x")).await.unwrap();
    }
    assert_eq!(layer.handle().stats().sent, sent);
}

#[tokio::test(start_paused = true)]
async fn both_answers_can_be_compared() {
    let (shadow, _hears) = listener();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let layer = MirrorLayer::new(shadow, 10_000)
        .compare(move |compared| sink.lock().unwrap().push(*compared));
    let slow = layer.layer(service_fn(async |_: Request<Body>| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, BoxError>(Response::new(Body::empty()))
    }));
    slow.clone().oneshot(post("x")).await.unwrap();
    settled(&layer).await;
    let compared = seen.lock().unwrap().pop().unwrap();
    assert_eq!(compared.main.status, Some(StatusCode::OK));
    assert_eq!(compared.shadow.status, Some(StatusCode::IM_A_TEAPOT));
    assert_eq!(compared.main.after, Duration::from_secs(1));
    assert!(compared.shadow.after < Duration::from_secs(1) && compared.complete);

    // Dropped half-way: the copy goes its own way, and there is nothing to compare it with.
    let mut call = task::spawn(slow.oneshot(post("x")));
    assert_pending!(call.poll());
    drop(call);
    assert_eq!(settled(&layer).await.answered, 2);
    assert!(seen.lock().unwrap().is_empty());
}

/// A body that never ends.
struct Endless;

impl http_body::Body for Endless {
    type Data = bytes::Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, BoxError>>> {
        let data = bytes::Bytes::from_static(&[0; 1024]);
        Poll::Ready(Some(Ok(http_body::Frame::data(data))))
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_read_up_to_the_limit() {
    let shadow = service_fn(|_: Request<Body>| ready(Ok::<_, BoxError>(Response::new(Endless))));
    let layer = MirrorLayer::new(shadow, 10_000);
    layer
        .layer(service_fn(plain))
        .oneshot(post("x"))
        .await
        .unwrap();
    assert_eq!(settled(&layer).await.answered, 1);
}

#[tokio::test(start_paused = true)]
async fn the_inner_service_that_is_ready_is_the_one_that_is_called() {
    let (shadow, _hears) = listener();
    let layer = MirrorLayer::new(shadow, 10_000);
    let limited = ConcurrencyLimit::new(service_fn(plain), 1);
    let mut service = layer.layer(limited);
    for _ in 0..3 {
        let ready = task::spawn(service.ready()).poll();
        assert!(ready.is_ready());
        assert_ready_ok!(task::spawn(service.call(post("x"))).poll());
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_may_apply_the_layer_for_each_request_and_state_stays() {
    let (shadow, _hears) = listener();
    let layer = MirrorLayer::new(shadow, 10_000);
    let layered = layer.clone();
    let app = axum::Router::new()
        .route("/", axum::routing::get(async || "hello"))
        .layer(tower::layer::layer_fn(move |inner| {
            let boxed = tower::util::MapRequest::new(inner, |request: Request<Body>| {
                request.map(axum::body::Body::new)
            });
            tower::util::MapRequest::new(layered.layer(boxed), |request: axum::extract::Request| {
                request.map(Body::new)
            })
        }));
    for _ in 0..3 {
        let request = Request::new(axum::body::Body::empty());
        app.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(layer.handle().stats().sent, 3);
}

/// What is no HTTP.
#[derive(Clone, Default)]
struct Note(crate::principal::Carried);

impl Extensible for Note {
    fn headers(&self) -> &http::HeaderMap {
        &self.0.headers
    }
    fn headers_mut(&mut self) -> &mut http::HeaderMap {
        &mut self.0.headers
    }
    fn extensions(&self) -> &http::Extensions {
        &self.0.extensions
    }
    fn extensions_mut(&mut self) -> &mut http::Extensions {
        &mut self.0.extensions
    }
}

impl Reissue for Note {
    type Copy = Self;

    fn is_idempotent(&self) -> bool {
        true
    }

    async fn keep(self, _: usize) -> Result<(Self, Option<Self>), Rejection> {
        let copy = self.clone();
        Ok((self, Some(copy)))
    }

    fn again(copy: &Self) -> Self {
        copy.clone()
    }
}

struct Reply;

impl Exhaust for Reply {}

impl Status<String> for Reply {}

impl Reject<String> for Reply {
    fn reject(rejection: Rejection) -> Result<Self, String> {
        Err(rejection.kind().code().to_owned())
    }
}

#[tokio::test(start_paused = true)]
async fn any_service_can_be_mirrored() {
    let service = || service_fn(|_: Note| ready(Ok::<_, String>(Reply)));
    let layer = MirrorLayer::new(service(), 10_000);
    assert!(
        layer
            .layer(service())
            .oneshot(Note::default())
            .await
            .is_ok()
    );
    assert_eq!(settled(&layer).await.answered, 1);
}

/// A body of four bytes that do not come.
struct Slow;

impl http_body::Body for Slow {
    type Data = bytes::Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, BoxError>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(4)
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_its_copy_is_made_has_none_and_leaves_its_room() {
    let (shadow, mut hears) = listener();
    let layer = MirrorLayer::new(shadow, 10_000).at_once(1);
    let service = layer.layer(service_fn(plain));
    let mut call = task::spawn(service.clone().oneshot(Request::new(Body::new(Slow))));
    assert_pending!(call.poll());
    drop(call);
    let stats = layer.handle().stats();
    assert_eq!((stats.sent, stats.full, stats.too_large), (0, 0, 0));
    service.oneshot(post("x")).await.unwrap();
    assert_eq!(layer.handle().stats().sent, 1);
    assert!(hears.recv().await.is_some());
}
