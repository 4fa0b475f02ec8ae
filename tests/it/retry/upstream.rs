//! Over sockets: an upstream behind a proxy, and a vendor.

use super::*;
use tower_gateway::{
    Exchange,
    client::Client,
    llm::{ChatRequest, Provider},
    proxy::Proxy,
    testing::{ClosedPort, MockUpstream, MockVendor, Reply, Turn},
    timeout::TimeoutLayer,
};

fn asking_for(method: &str) -> Request<Body> {
    let request = Request::builder()
        .method(method)
        .uri("/a")
        .header("host", "gateway");
    let request = request.header("grpc-timeout", "9S");
    let mut request = request.body(Body::from("some")).unwrap();
    Exchange::enter(&mut request);
    request
}

#[tokio::test]
async fn each_attempt_at_an_upstream_is_counted_and_told_what_time_is_left() {
    let script = vec![Reply::status(503), Reply::hang_up(), Reply::status(200)];
    let upstream = MockUpstream::start(script).await.unwrap();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new())
        .layer(RetryLayer::new())
        .service(Proxy::to(upstream.url()).unwrap());
    let request = asking_for("PUT");
    let exchange = Exchange::of(&request).unwrap().clone();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    assert_eq!((upstream.count(), exchange.facts().attempts), (3, 3));
    let told: Vec<_> = upstream
        .requests()
        .iter()
        .map(|request| {
            let told = request.header("grpc-timeout").unwrap();
            told.strip_suffix('u').unwrap().parse::<u32>().unwrap()
        })
        .collect();
    assert!(
        told.is_sorted_by(|a, b| a > b) && told[0] < 9_000_000,
        "{told:?}"
    );
}

#[tokio::test]
async fn what_was_sent_is_not_sent_twice_and_what_was_not_is() {
    let upstream = MockUpstream::start(vec![Reply::hang_up(), Reply::status(200)])
        .await
        .unwrap();
    let retry = RetryLayer::new();
    let proxy = Proxy::to(upstream.url()).unwrap();
    let answer = retry
        .layer(proxy)
        .oneshot(asking_for("POST"))
        .await
        .unwrap();
    assert_eq!((answer.status().as_u16(), upstream.count()), (502, 1));

    let closed = ClosedPort::new().unwrap();
    let answers: &'static AtomicU32 = Box::leak(Box::default());
    let proxy = Proxy::to(closed.url()).unwrap();
    let counted = ServiceBuilder::new()
        .layer(retry.clone())
        .map_response(|answer: Response<Body>| {
            answers.fetch_add(1, Ordering::Relaxed);
            answer
        })
        .service(proxy);
    let answer = counted.oneshot(asking_for("POST")).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answers.load(Ordering::Relaxed)),
        (502, 3)
    );

    // The same around a client, whose errors are rejections.
    let client = retry.clone().layer(Client::new());
    let request = Request::post(closed.url())
        .body(Body::from("some"))
        .unwrap();
    let before = retry.stats().retries();
    client.oneshot(request).await.unwrap_err();
    assert_eq!(retry.stats().retries(), before + 2);
}

#[tokio::test]
async fn a_vendor_is_asked_again_when_it_says_and_each_attempt_is_counted() {
    let vendor = MockVendor::start(vec![
        Turn::rate_limited(Duration::ZERO),
        Turn::server_error(),
        Turn::text("at last"),
    ])
    .await
    .unwrap();
    let provider = Provider::custom("lab", vendor.base_url())
        .unwrap()
        .key("sk-test");
    let mut request = ChatRequest::new().for_model("lab-1").user("Hello");
    let exchange = Exchange::enter(&mut request);
    let answer = RetryLayer::new()
        .layer(provider)
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(answer.text().await.unwrap(), "at last");
    assert_eq!(exchange.facts().attempts, 3);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_falls_silent_before_its_first_word_is_asked_again() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: thinking\n\n";
    let vendor = MockVendor::start(vec![
        Turn::reply(Reply::silent()),
        Turn::reply(Reply::raw(head).stall_after(head.len())),
        Turn::text("at last"),
    ])
    .await
    .unwrap();
    let provider = Provider::custom("lab", vendor.base_url())
        .unwrap()
        .key("sk-test");
    let limits = TimeoutLayer::new().first_byte(2 * SECOND).idle(2 * SECOND);
    let chat = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(limits)
        .service(provider);
    let request = ChatRequest::new().for_model("lab-1").user("Hello");
    let start = Instant::now();
    let answer = chat.oneshot(request).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "at last");
    assert!(start.elapsed() < 5 * SECOND, "{:?}", start.elapsed());
    vendor.hung_up(2).await;
}

#[tokio::test]
async fn a_vendor_that_lost_a_race_is_counted_too() {
    let vendor = MockVendor::start(vec![
        Turn::text("slow").on_wire(|reply| reply.delay(Duration::from_secs(60))),
        Turn::text("fast"),
    ])
    .await
    .unwrap();
    let provider = Provider::custom("lab", vendor.base_url())
        .unwrap()
        .key("sk-test");
    let hedge = HedgeLayer::after(Duration::from_millis(50)).billed();
    let mut request = ChatRequest::new().for_model("lab-1").user("Hello");
    let exchange = Exchange::enter(&mut request);
    let answer = hedge.layer(provider).oneshot(request).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "fast");
    assert_eq!(exchange.facts().attempts, 2);
    vendor.hung_up(1).await;
}
