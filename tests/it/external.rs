//! Someone else decides: over HTTP and in process, over axum, in bare hyper, of a request of its own.

mod time;

use axum::{Router, routing::any};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_gateway::{
    Body, Exchange, Extensible, Principal, Reject, Rejection,
    access_log::AccessLogLayer,
    authorize::external::{
        Decision, ExternalLayer, HttpDecider, OnFailure, OnLarger, Question, Subject,
    },
    client::Client,
    client_addr::ClientAddr,
    identity::Vouched,
    llm::{ChatRequest, Simulator},
    proxy::Proxy,
    rejection::Kind,
    testing::{ClosedPort, MockUpstream, Recorded, Reply},
};

const TIER: HeaderName = HeaderName::from_static("x-tier");

fn value(text: &'static str) -> HeaderValue {
    HeaderValue::from_static(text)
}

async fn decider(script: impl tower_gateway::testing::Script) -> MockUpstream {
    MockUpstream::start(script).await.unwrap()
}

/// No answer of a mock is late, however busy the machine is.
fn layer(mock: &MockUpstream) -> ExternalLayer<HttpDecider> {
    ExternalLayer::new(HttpDecider::new(format!("{}/check", mock.url())).unwrap())
        .timeout(Duration::from_secs(30))
}

/// Shows the headers and the body that reached it.
async fn shows(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let vouched = Vouched::of(&request).cloned();
    let (head, body) = request.into_parts();
    let mut response = Response::new(body);
    response.extensions_mut().insert(Seen(head.headers));
    vouched.map(|vouched| response.extensions_mut().insert(vouched));
    Ok(response)
}

#[derive(Clone)]
struct Seen(HeaderMap);

async fn ask<D>(layer: &ExternalLayer<D>, request: Request<Body>) -> Response<Body>
where
    D: tower_gateway::authorize::external::Decide,
{
    let service = layer.layer(service_fn(shows));
    service.oneshot(request).await.unwrap()
}

fn get(path: &str) -> Request<Body> {
    let request = Request::get(path).header("host", "api.example");
    request.body(Body::empty()).unwrap()
}

fn by(principal: Principal, path: &str) -> Request<Body> {
    let mut request = get(path);
    request.extensions_mut().insert(principal);
    request
}

/// The status and the kind.
fn refusal(response: &Response<Body>) -> (u16, Kind) {
    let rejection = response.extensions().get::<Rejection>().unwrap();
    (response.status().as_u16(), rejection.kind())
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn the_decider_is_told_who_asks_for_what_and_no_secret() {
    let mock = decider(Reply::status(200)).await;
    let token = HeaderName::from_static("x-policy-token");
    let http = HttpDecider::new(format!("{}/check/", mock.url()))
        .unwrap()
        .request_headers([HeaderName::from_static("x-team-hint")])
        .unwrap()
        .header(token, value("of the gateway"));
    let layer = ExternalLayer::new(http).timeout(Duration::from_secs(30));
    let principal = Principal::new("al\r\nice")
        .with_key_id("k1")
        .with_tenant("acme")
        .with_scopes(["chat", "read all"])
        .with_roles(["admin"]);
    let mut request = by(principal, "/users/7?x=1");
    *request.method_mut() = Method::DELETE;
    request
        .extensions_mut()
        .insert(ClientAddr([192, 0, 2, 7].into()));
    Exchange::enter(&mut request).update(|facts| facts.route = Some("/users/{id}".into()));
    for (name, text) in [
        ("authorization", "Bearer secret"),
        ("cookie", "session=secret"),
        ("x-team-hint", "red"),
        ("x-other", "stays here"),
        ("x-gateway-principal", "admin"),
        ("x-gateway-team", "admins"),
        ("x-policy-token", "guess"),
    ] {
        request.headers_mut().append(name, value(text));
    }
    request.headers_mut().append("x-team-hint", value("blue"));
    assert_eq!(ask(&layer, request).await.status(), 200);
    let asked: Recorded = mock.last().unwrap();
    assert_eq!(asked.method, Method::DELETE);
    assert_eq!(asked.path, "/check/users/7?x=1");
    let hints: Vec<_> = asked.headers.get_all("x-team-hint").iter().collect();
    assert_eq!(hints, ["red", "blue"], "all values");
    for (name, sent) in [
        ("x-forwarded-host", Some("api.example")),
        ("x-gateway-principal", Some("al%0D%0Aice")),
        ("x-gateway-key-id", Some("k1")),
        ("x-gateway-team", None),
        ("x-gateway-tenant", Some("acme")),
        ("x-gateway-scopes", Some("chat read%20all")),
        ("x-gateway-roles", Some("admin")),
        ("x-gateway-client", Some("192.0.2.7")),
        ("x-gateway-route", Some("/users/{id}")),
        ("x-gateway-model", None),
        ("x-policy-token", Some("of the gateway")),
        ("authorization", None),
        ("cookie", None),
        ("x-other", None),
        ("host", Some(&*mock.address().to_string())),
    ] {
        assert_eq!(asked.header(name), sent, "{name}");
    }
    assert!(asked.body.is_empty());
    assert_eq!((layer.stats().allowed(), layer.stats().denied()), (1, 0));
}

#[tokio::test]
async fn the_host_is_the_callers_where_that_is_asked_for() {
    let mock = decider(Reply::status(204)).await;
    let http = HttpDecider::new(mock.url()).unwrap().preserve_host();
    let layer = ExternalLayer::new(http).timeout(Duration::from_secs(30));
    assert_eq!(ask(&layer, get("/a")).await.status(), 200);
    assert_eq!(mock.last().unwrap().header("host"), Some("api.example"));
}

#[tokio::test]
async fn only_the_decider_says_what_stands_in_its_headers() {
    let answers = vec![
        Reply::status(200)
            .header("x-tier", "gold")
            .header("x-user-id", "7")
            .header("x-not-asked-for", "1"),
        Reply::status(200),
        Reply::status(200),
    ];
    let mock = decider(answers).await;
    let upstream = MockUpstream::start(Reply::status(204)).await.unwrap();
    let user = HeaderName::from_static("x-user-id");
    let layer = layer(&mock).upstream_headers([TIER, user]);
    let service = layer.layer(Proxy::to(upstream.url()).unwrap());
    for (told, user) in [(Some("gold"), Some("7")), (None, None)] {
        let mut request = get("/a");
        for (name, text) in [
            ("x-tier", "mine"),
            ("x-tier", "mine too"),
            ("x_tier", "mine"),
            ("x-user-id", "admin"),
            ("x_user_id", "admin"),
        ] {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value(text));
        }
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 204);
        let got = upstream.last().unwrap();
        assert_eq!(got.header("x-tier"), told);
        assert_eq!(got.header("x-user-id"), user, "also through a proxy");
        for name in ["x_tier", "x_user_id", "x-not-asked-for"] {
            assert_eq!(got.header(name), None, "{name}");
        }
    }
    // Nor can a caller have it taken out.
    let mut request = get("/a");
    request.headers_mut().insert("connection", value("x-tier"));
    let refused = service.oneshot(request).await.unwrap();
    assert_eq!(refused.status(), 400);
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_denial_is_in_the_words_of_the_gateway() {
    let denials = [
        (401, 401, Kind::Unauthenticated),
        (403, 403, Kind::Forbidden),
        (404, 404, Kind::NotFound),
        (418, 403, Kind::Forbidden),
        (302, 403, Kind::Forbidden),
        (429, 429, Kind::RateLimited),
    ];
    for (status, told, kind) in denials {
        let answer = Reply::bytes(status, "text/html", "<b>internal: rule 7</b>")
            .header("x-reason", "quota")
            .header("x-internal-rule", "7")
            .header("location", "https://elsewhere.example")
            .header("retry-after", "17");
        let mock = decider(answer).await;
        let http = HttpDecider::new(mock.url())
            .unwrap()
            .client_headers([HeaderName::from_static("x-reason")])
            .unwrap();
        let layer = ExternalLayer::new(http).timeout(Duration::from_secs(30));
        let response = ask(&layer, get("/a")).await;
        assert_eq!(refusal(&response), (told, kind));
        let headers = response.headers();
        assert_eq!(headers["x-reason"], "quota");
        assert_eq!(headers.get_all("retry-after").iter().count(), 1);
        assert_eq!(headers["retry-after"], "17");
        assert_eq!(headers["content-type"], "application/problem+json");
        assert!(!headers.contains_key("x-internal-rule") && !headers.contains_key("location"));
        assert_eq!(headers.contains_key("www-authenticate"), told == 401);
        assert!(!text(response).await.contains("rule 7"));
        assert_eq!(layer.stats().denied(), 1);
    }
    let answer = Reply::status(401).header("www-authenticate", "DPoP");
    let mock = decider(answer).await;
    let response = ask(&layer(&mock), by(Principal::new("alice"), "/a")).await;
    assert_eq!(refusal(&response), (401, Kind::InvalidCredentials));
    assert_eq!(response.headers()["www-authenticate"], "DPoP");
}

#[tokio::test]
async fn whoever_does_not_answer_is_not_whoever_denies() {
    let port = ClosedPort::new().unwrap();
    let gone = HttpDecider::new(port.url()).unwrap();
    let failing = decider(Reply::status(500)).await;
    let broken = decider(Reply::hang_up()).await;
    for decider in [
        gone,
        HttpDecider::new(failing.url()).unwrap(),
        HttpDecider::new(broken.url()).unwrap(),
    ] {
        let layer = ExternalLayer::new(decider)
            .timeout(Duration::from_secs(30))
            .upstream_headers([TIER]);
        let response = ask(&layer, get("/a")).await;
        assert_eq!(refusal(&response), (503, Kind::AuthUnavailable));
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(layer.stats().undecided(), 1);

        let open = layer.on_failure(OnFailure::Allow);
        let mut request = get("/a");
        request.headers_mut().insert(TIER, value("mine"));
        let exchange = Exchange::enter(&mut request);
        let response = ask(&open, request).await;
        assert_eq!(response.status(), 200);
        let Seen(headers) = response.extensions().get().unwrap();
        assert!(!headers.contains_key(TIER), "it was decided by nobody");
        assert!(exchange.facts().failed_open);
        assert_eq!(open.stats().failed_open(), 1);
    }
}

#[tokio::test]
async fn whoever_was_let_in_undecided_is_told_of() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let keep = lines.clone();
    let log = AccessLogLayer::new().sink(move |record| {
        keep.lock().unwrap().push(record.to_string());
    });
    let open = ExternalLayer::new(|_: Question| async { Decision::unknown("no") })
        .on_failure(OnFailure::Allow);
    let service = log.layer(open.layer(service_fn(shows)));
    text(service.oneshot(get("/")).await.unwrap()).await;
    let lines = lines.lock().unwrap();
    assert!(lines[0].contains(" failed_open=true "), "{lines:?}");
}

#[tokio::test]
async fn a_header_that_cannot_be_read_is_no_decision() {
    let long: &'static str = Box::leak("a".repeat(9000).into_boxed_str());
    for bad in ["caf\u{e9}", long] {
        let layer = ExternalLayer::new(move |_: Question| async move {
            Decision::allow().with_header(
                TIER,
                HeaderValue::from_str(bad)
                    .unwrap_or_else(|_| HeaderValue::from_bytes(bad.as_bytes()).unwrap()),
            )
        });
        assert_eq!(
            ask(&layer, get("/")).await.status(),
            200,
            "nobody asked for it"
        );
        let told = layer.upstream_headers([TIER]);
        assert_eq!(ask(&told, get("/")).await.status(), 503);
    }
}

#[tokio::test]
async fn so_much_of_a_body_is_read_and_all_of_it_goes_on() {
    let mock = decider(Reply::status(200)).await;
    let post = |body: &'static str| Request::post("/a").body(Body::from(body)).unwrap();
    let whole = layer(&mock).body(10, OnLarger::Refuse);
    assert_eq!(
        text(ask(&whole, post("0123456789")).await).await,
        "0123456789"
    );
    let asked = mock.last().unwrap();
    assert_eq!(asked.body, "0123456789");
    assert_eq!(asked.header("x-gateway-body-truncated"), None);
    let refused = ask(&whole, post("0123456789a")).await;
    assert_eq!(refusal(&refused), (413, Kind::TooLarge));
    assert_eq!(mock.count(), 1, "nobody was asked");

    let part = whole.body(4, OnLarger::Truncate);
    let pieces = ["01", "23", "45", "67"].map(|piece| {
        Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(piece.as_bytes())))
    });
    let stream = StreamBody::new(futures_util::stream::iter(pieces));
    let request = Request::post("/a").body(Body::new(stream)).unwrap();
    assert_eq!(text(ask(&part, request).await).await, "01234567");
    let asked = mock.last().unwrap();
    assert_eq!(asked.body, "0123");
    assert_eq!(asked.header("x-gateway-body-truncated"), Some("true"));
    // Without the setting nothing of it is looked at.
    ask(&layer(&mock), post("secret")).await;
    assert!(mock.last().unwrap().body.is_empty());
}

#[tokio::test]
async fn a_connection_to_the_decider_is_used_again() {
    let mock = decider(Reply::json(200, r#"{"allow":true}"#)).await;
    let layer = layer(&mock);
    for _ in 0..10 {
        assert_eq!(ask(&layer, get("/a")).await.status(), 200);
    }
    assert_eq!((mock.count(), mock.connections()), (10, 1));
}

#[tokio::test]
async fn a_path_that_can_be_read_in_two_ways_is_nothing_to_ask_for() {
    let mock = decider(Reply::status(200)).await;
    for path in ["/public/../admin", "//admin", "/%61dmin", "/a/%00"] {
        let refused = ask(&layer(&mock), get(path)).await;
        assert_eq!(refusal(&refused), (400, Kind::InvalidRequest), "{path}");
    }
    assert_eq!(mock.count(), 0);
}

#[tokio::test]
async fn over_axum_and_where_the_layer_is_applied_for_each_request() {
    let mock = decider(Reply::status(500)).await;
    let layer = layer(&mock);
    // A router without state applies its layers for each request.
    let app: Router = Router::new()
        .route("/", any(async || "hello"))
        .layer(layer.clone());
    for _ in 0..5 {
        let request = Request::get("/").body(axum::body::Body::empty()).unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), 503);
    }
    assert_eq!(mock.count(), 3, "the pause is the layer's");
    assert_eq!(layer.stats().undecided(), 5);
}

#[tokio::test]
async fn in_bare_hyper() {
    let layer = ExternalLayer::new(|question: Question| async move {
        match question.uri.path() {
            "/open" => Decision::allow(),
            _ => Decision::deny(),
        }
    });
    for (path, status) in [("/open", "200"), ("/closed", "403")] {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let service = TowerToHyperService::new(layer.layer(service_fn(shows)));
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service);
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let (served, read) = tokio::join!(serving, client.read_to_string(&mut answer));
        served.unwrap();
        read.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
}

#[derive(Default)]
struct Job {
    headers: HeaderMap,
    extensions: http::Extensions,
}

impl Extensible for Job {
    fn headers(&self) -> &HeaderMap {
        &self.headers
    }
    fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }
    fn extensions(&self) -> &http::Extensions {
        &self.extensions
    }
    fn extensions_mut(&mut self) -> &mut http::Extensions {
        &mut self.extensions
    }
}

impl Subject for Job {
    type Asked = Self;

    fn asked(self) -> Self {
        self
    }
}

#[derive(Debug)]
struct Done;

impl Reject<Rejection> for Done {
    fn reject(rejection: Rejection) -> Result<Self, Rejection> {
        Err(rejection)
    }
}

#[tokio::test]
async fn any_request_that_has_headers_can_be_asked_about() {
    let layer = ExternalLayer::new(|question: Question| async move {
        assert_eq!((question.method, question.uri.path()), (Method::POST, "/"));
        match question.principal {
            Some(_) => Decision::allow(),
            None => Decision::Deny(Kind::Unauthenticated.into()),
        }
    });
    let service = layer.layer(service_fn(async |_: Job| Ok::<_, Rejection>(Done)));
    let refused = service.clone().oneshot(Job::default()).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Unauthenticated);
    let mut job = Job::default();
    job.extensions.insert(Principal::new("alice"));
    assert!(service.oneshot(job).await.is_ok());
}

#[tokio::test]
async fn a_decider_is_asked_for_a_model_by_its_name() {
    let mock = decider(|asked: &Recorded| match asked.header("x-gateway-model") {
        Some("fast") => Reply::status(200),
        _ => Reply::status(403),
    })
    .await;
    let service = layer(&mock).layer(Simulator::new().answer("Paris"));
    let ask = |model: &str| {
        let request = ChatRequest::new().for_model(model).user("Hi");
        service.clone().oneshot(request)
    };
    assert_eq!(ask("fast").await.unwrap().text().await.unwrap(), "Paris");
    assert_eq!(ask("slow").await.unwrap_err().kind(), Kind::Forbidden);
    let asked = mock.last().unwrap();
    assert_eq!((asked.method, &*asked.path), (Method::POST, "/check/"));
}

#[tokio::test]
async fn a_client_of_ones_own_asks() {
    let mock = decider(Reply::status(200)).await;
    let http = HttpDecider::new(mock.url()).unwrap();
    let layer = ExternalLayer::new(http.client(Client::new().http1_only()))
        .timeout(Duration::from_secs(30));
    assert_eq!(ask(&layer, get("/a")).await.status(), 200);
    let dead =
        HttpDecider::new(mock.url())
            .unwrap()
            .client(service_fn(async |_: Request<Body>| {
                Err::<Response<Body>, _>("dead")
            }));
    assert_eq!(
        ask(&ExternalLayer::new(dead), get("/a")).await.status(),
        503
    );
}

#[cfg(feature = "gateway")]
#[tokio::test]
async fn in_a_gateway_it_stands_behind_authentication() {
    use tower_gateway::{
        auth::ApiKeys,
        gateway::{Gateway, Slot},
    };
    let mock = decider(
        |asked: &Recorded| match asked.header("x-gateway-principal") {
            Some("alice") if asked.path == "/check/files/a" => Reply::status(200),
            _ => Reply::status(403),
        },
    )
    .await;
    let gateway = Gateway::builder()
        .api_keys(
            ApiKeys::new()
                .add("alice", "a-secret-of-alice")
                .add("bob", "a-secret-of-bobby"),
        )
        .layer_at(Slot::Authorize, layer(&mock))
        .route("/{*rest}", service_fn(shows))
        .build()
        .unwrap();
    for (key, path, status) in [
        ("a-secret-of-alice", "/files/a", 200),
        ("a-secret-of-alice", "/other/../files/a", 200),
        ("a-secret-of-alice", "/files/b", 403),
        ("a-secret-of-bobby", "/files/a", 403),
        ("a-secret-of-carol", "/files/a", 401),
    ] {
        let request = Request::get(path)
            .header("host", "gate")
            .header("x-api-key", key)
            .header("x-gateway-principal", "alice")
            .body(Body::empty())
            .unwrap();
        let response = gateway.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{key} {path}");
    }
    assert_eq!(mock.count(), 4);
    assert!(
        mock.requests()
            .iter()
            .all(|asked| asked.header("x-api-key").is_none())
    );
}
