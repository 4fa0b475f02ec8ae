//! Who calls.

use axum::{Router, body::Body, routing::get};
use http::{HeaderName, Request, Response, StatusCode, header};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_gateway::{
    Exchange, Extensible, Principal, Reject, Rejection,
    auth::{ApiKey, ApiKeys, AuthLayer, Credential, FailureLimit, Grant, Place},
    client_addr::ClientAddr,
    principal::Carried,
    rejection::Kind,
};

const ALICE: &str = "the-key-that-alice-has";
const CHALLENGE: &str = r#"Bearer realm="api""#;

fn keys() -> ApiKeys {
    ApiKeys::new().add("alice", ALICE)
}

/// Answers with the name of the caller, and shows the headers that came through.
fn router() -> Router {
    Router::new().route(
        "/",
        get(async |request: Request<Body>| {
            let name = Principal::of(&request).map_or("nobody".into(), |who| who.id().to_string());
            let mut response = Response::new(Body::from(name));
            response
                .extensions_mut()
                .insert(Seen(request.headers().clone()));
            response
        }),
    )
}

#[derive(Clone)]
struct Seen(http::HeaderMap);

fn app() -> Router {
    router().layer(AuthLayer::new(keys()))
}

async fn call(app: &Router, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 10_000).await;
    String::from_utf8(bytes.unwrap().to_vec()).unwrap()
}

/// The status, the kind and the challenge.
fn refusal(response: &Response<Body>) -> (u16, Kind, &str) {
    let rejection = response.extensions().get::<Rejection>().unwrap();
    let challenge = response.headers().get(header::WWW_AUTHENTICATE);
    let challenge = challenge.map_or("", |value| value.to_str().unwrap());
    (response.status().as_u16(), rejection.kind(), challenge)
}

#[tokio::test]
async fn a_key_is_found_where_clients_send_it() {
    let bearer = format!("bEARER  {ALICE}");
    for place in [
        ("authorization", &*format!("Bearer {ALICE}")),
        ("authorization", &*bearer),
        ("x-api-key", ALICE),
        ("api-key", ALICE),
        ("X-Goog-Api-Key", ALICE),
    ] {
        let response = call(&app(), &[place]).await;
        assert_eq!(response.status(), StatusCode::OK, "{place:?}");
        assert_eq!(text(response).await, "alice");
    }
}

#[tokio::test]
async fn no_credential_is_another_answer_than_a_bad_one() {
    let none = call(&app(), &[]).await;
    assert_eq!(refusal(&none), (401, Kind::Unauthenticated, CHALLENGE));
    let basic = call(&app(), &[("authorization", "Basic YTpi")]).await;
    assert_eq!(refusal(&basic), (401, Kind::Unauthenticated, CHALLENGE));
    let unknown = call(&app(), &[("x-api-key", "sixteen characters")]).await;
    let challenge = r#"Bearer realm="api", error="invalid_token""#;
    assert_eq!(
        refusal(&unknown),
        (401, Kind::InvalidCredentials, challenge)
    );
}

#[tokio::test]
async fn abuse_53_unknown_wrong_early_and_late_are_answered_alike() {
    let hour = Duration::from_secs(3600);
    let now = SystemTime::now();
    let keys = keys()
        .add(
            Grant::new("late").expires_at(now - hour),
            "a key that is too late",
        )
        .add(
            Grant::new("early").not_before(now + hour),
            "a key that is too early",
        )
        .add(
            Grant::new("fine").expires_at(now + hour),
            "a key that is just fine",
        );
    let app = router().layer(AuthLayer::new(keys));
    let mut answers = Vec::new();
    for key in [
        "a key that is too late",
        "a key that is too early",
        "a key that is not there",
        "short",
        &ALICE[1..],
        &*ALICE.to_uppercase(),
    ] {
        let response = call(&app, &[("x-api-key", key)]).await;
        let headers = format!("{:?}", response.headers());
        answers.push((response.status(), headers, text(response).await));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    let fine = call(&app, &[("x-api-key", "a key that is just fine")]).await;
    assert_eq!(fine.status(), 200);
}

#[tokio::test]
async fn abuse_06_07_more_than_one_credential_is_refused() {
    let bearer = format!("Bearer {ALICE}");
    for headers in [
        [("authorization", &*bearer), ("authorization", &*bearer)],
        [
            ("authorization", &*bearer),
            ("x-api-key", "another key of alice"),
        ],
        [("authorization", &*bearer), ("x-api-key", ALICE)],
        [("authorization", "Basic YTpi"), ("x-api-key", ALICE)],
        [("api-key", ALICE), ("api-key", "")],
    ] {
        let challenge = r#"Bearer realm="api", error="invalid_request""#;
        let response = call(&app(), &headers).await;
        assert_eq!(
            refusal(&response),
            (400, Kind::InvalidRequest, challenge),
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_a_credential_is_malformed() {
    let long = "x".repeat(8193);
    for header in [
        ("authorization", "Bearer"),
        ("authorization", ALICE),
        ("authorization", ""),
        ("x-api-key", ""),
        ("x-api-key", &*long),
    ] {
        let response = call(&app(), &[header]).await;
        assert_eq!(refusal(&response).0, 400, "{header:?}");
    }
    let mut request = Request::get("/").body(Body::empty()).unwrap();
    let bytes = http::HeaderValue::from_bytes(b"Bearer \xff\xfe").unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, bytes);
    let response = app().oneshot(request).await.unwrap();
    assert_eq!(
        refusal(&response).0,
        401,
        "bytes are a key, though nobody's"
    );
}

#[tokio::test]
async fn abuse_11_the_credential_goes_no_further() {
    let seen = |response: &Response<Body>| response.extensions().get::<Seen>().unwrap().0.clone();
    let sent = [("x-api-key", ALICE), ("x-other", "stays")];
    let headers = seen(&call(&app(), &sent).await);
    assert!(!headers.contains_key("x-api-key") && headers.contains_key("x-other"));

    let keeping = router().layer(AuthLayer::new(keys()).keep_credentials());
    let headers = seen(&call(&keeping, &sent).await);
    assert_eq!(headers["x-api-key"], ALICE);
    assert!(headers["x-api-key"].is_sensitive());
}

#[tokio::test]
async fn abuse_05_a_principal_from_outside_does_not_count() {
    let optional = AuthLayer::new(keys()).optional();
    for (layer, key, name) in [
        (AuthLayer::new(keys()), Some(ALICE), "alice"),
        (optional.clone(), Some(ALICE), "alice"),
        (optional, None, "nobody"),
    ] {
        let mut request = Request::get("/").body(Body::empty()).unwrap();
        if let Some(key) = key {
            let headers = request.headers_mut();
            headers.insert("x-api-key", key.parse().unwrap());
        }
        request.extensions_mut().insert(Principal::new("admin"));
        let response = router().layer(layer).oneshot(request).await.unwrap();
        assert_eq!(text(response).await, name);
    }
}

#[tokio::test]
async fn where_a_key_is_optional_a_bad_one_still_fails() {
    let app = router().layer(AuthLayer::new(keys()).optional());
    assert_eq!(text(call(&app, &[]).await).await, "nobody");
    assert_eq!(
        text(call(&app, &[("x-api-key", ALICE)]).await).await,
        "alice"
    );
    for (header, status) in [
        (("x-api-key", "sixteen characters"), 401),
        (("authorization", "Basic YTpi"), 401),
        (("authorization", "Bearer"), 400),
    ] {
        assert_eq!(call(&app, &[header]).await.status(), status, "{header:?}");
    }
}

#[tokio::test]
async fn a_scope_that_is_required_must_be_there() {
    let keys = keys().add(
        Grant::new("bob").scopes(["chat", "files"]),
        "the-key-that-bob-has",
    );
    let layer = AuthLayer::new(keys).require_scope("chat").realm("a \"b\"");
    let app = router().layer(layer.clone());
    assert_eq!(
        text(call(&app, &[("api-key", "the-key-that-bob-has")]).await).await,
        "bob"
    );
    let challenge = r#"Bearer realm="a \"b\"", error="insufficient_scope", scope="chat""#;
    let lacking = call(&app, &[("api-key", ALICE)]).await;
    assert_eq!(refusal(&lacking), (403, Kind::Forbidden, challenge));

    let optional = router().layer(layer.optional());
    assert_eq!(
        call(&optional, &[]).await.status(),
        401,
        "nobody has no scope"
    );
    let both = router().layer(
        AuthLayer::new(self::keys())
            .require_scope("a")
            .require_scope("b"),
    );
    let lacking = call(&both, &[("api-key", ALICE)]).await;
    assert!(refusal(&lacking).2.ends_with(r#"scope="a b""#));
}

#[tokio::test]
async fn keys_stand_only_where_they_may() {
    let places = [
        Place::scheme("ApiKey"),
        Place::header(HeaderName::from_static("x-team-key")),
    ];
    let app = router().layer(AuthLayer::new(keys()).places(places));
    for (name, value, status) in [
        ("authorization", format!("apikey {ALICE}"), 200),
        ("x-team-key", ALICE.to_owned(), 200),
        ("authorization", format!("Bearer {ALICE}"), 401),
        ("x-api-key", ALICE.to_owned(), 401),
    ] {
        let response = call(&app, &[(name, &value)]).await;
        assert_eq!(response.status(), status, "{name}: {value}");
        if status == 401 {
            assert!(refusal(&response).2.starts_with("ApiKey realm="));
        }
    }
}

#[tokio::test]
async fn what_goes_with_a_key_reaches_the_handler_and_the_exchange() {
    let grant = Grant::new("alice")
        .team("red")
        .tenant("acme")
        .scopes(["chat"]);
    let (key, secret) = ApiKey::generate("test", grant).unwrap();
    let key = key.id("k1");
    let service = ServiceBuilder::new()
        .layer(AuthLayer::new(ApiKeys::new().add_key(key)))
        .service_fn(async |request: Request<()>| {
            let who = Principal::of(&request).unwrap();
            assert_eq!(&**who.key_id().unwrap(), "k1");
            assert_eq!(&**who.team().unwrap(), "red");
            assert_eq!(&**who.tenant().unwrap(), "acme");
            assert!(who.has_scope("chat"));
            Ok::<_, Infallible>(Response::new(axum::body::Bytes::new()))
        });
    let mut request = Request::new(());
    let exchange = Exchange::enter(&mut request);
    let value = format!("Bearer {}", secret.expose());
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, value.parse().unwrap());
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    assert_eq!(exchange.facts().principal.as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_look_up_may_wait() {
    let layer = AuthLayer::new(async |credential: Credential| {
        tokio::task::yield_now().await;
        match credential.expose() {
            b"open sesame" => Ok(Principal::new("ali baba")),
            b"trouble" => Err(Rejection::new(Kind::Internal)),
            _ => Err(Kind::InvalidCredentials.into()),
        }
    });
    // An inner service that panics if it is called without having been ready.
    let inner = ServiceBuilder::new().concurrency_limit(1).service(router());
    let app = ServiceBuilder::new()
        .layer(layer.require_scope("x"))
        .service(inner.clone());
    for (key, status) in [("open sesame", 403), ("trouble", 500), ("nobody", 401)] {
        let request = Request::get("/")
            .header("x-api-key", key)
            .body(Body::empty());
        let response = app.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{key}");
    }
    let layer = AuthLayer::new(async |_: Credential| {
        tokio::task::yield_now().await;
        Ok(Principal::new("anybody"))
    });
    let mut app = layer.layer(inner);
    for _ in 0..3 {
        let request = Request::get("/")
            .header("x-api-key", "key")
            .body(Body::empty());
        let ready = ServiceExt::<Request<Body>>::ready(&mut app).await.unwrap();
        let call = ready.call(request.unwrap());
        assert_eq!(text(call.await.unwrap()).await, "anybody");
    }
}

#[tokio::test]
async fn a_call_dropped_while_it_is_looked_up_never_reaches_the_service() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let inner = tower::service_fn(move |_: Request<()>| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, Infallible>(Response::new(axum::body::Bytes::new())) }
    });
    let look_up =
        async |_: Credential| std::future::pending::<Result<Principal, Rejection>>().await;
    let mut service = AuthLayer::new(look_up).layer(inner);
    let request = Request::builder()
        .header("x-api-key", "key")
        .body(())
        .unwrap();
    let mut call = tokio_test::task::spawn(service.call(request));
    assert!(call.poll().is_pending());
    drop(call);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[derive(Default)]
struct Ask(Carried);

impl Extensible for Ask {
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

struct Reply(Arc<str>);

impl Reject<Rejection> for Reply {
    fn reject(rejection: Rejection) -> Result<Self, Rejection> {
        Err(rejection)
    }
}

#[tokio::test]
async fn any_request_that_has_headers_will_do() {
    let service = ServiceBuilder::new()
        .layer(AuthLayer::new(keys()))
        .service_fn(async |ask: Ask| {
            Ok::<_, Rejection>(Reply(Principal::of(&ask).unwrap().id().clone()))
        });
    let mut ask = Ask::default();
    ask.headers_mut().insert("api-key", ALICE.parse().unwrap());
    assert_eq!(
        &*service
            .clone()
            .oneshot(ask)
            .await
            .unwrap_or_else(|_| panic!())
            .0,
        "alice"
    );
    let Err(rejection) = service.oneshot(Ask::default()).await else {
        panic!("nobody was let in");
    };
    assert_eq!(rejection.kind(), Kind::Unauthenticated);
}

#[tokio::test]
async fn abuse_51_no_answer_shows_what_was_sent() {
    let canary = "canary-canary-canary";
    let bearer = format!("Bearer {canary}");
    for headers in [
        &[("x-api-key", canary)][..],
        &[("authorization", &bearer)],
        &[("authorization", canary)],
        &[("x-api-key", canary), ("api-key", canary)],
    ] {
        let response = call(&app(), headers).await;
        let head = format!(
            "{:?} {:?}",
            response.headers(),
            response.extensions().get::<Rejection>()
        );
        assert!(!head.contains("canary") && !text(response).await.contains("canary"));
    }
    let layer = AuthLayer::new(ApiKeys::new().add("alice", canary));
    assert!(!format!("{layer:?} {:?}", layer.layer(())).contains("canary"));
}

#[cfg(feature = "llm")]
#[tokio::test]
async fn a_language_model_asks_for_keys_as_well() {
    use tower_gateway::llm::{ChatRequest, Error, Simulator};

    let service = AuthLayer::new(keys()).layer(Simulator::new());
    let Err(Error::Rejected(rejection)) = service.clone().oneshot(ChatRequest::new()).await else {
        panic!("nobody was let in");
    };
    assert_eq!(rejection.kind(), Kind::Unauthenticated);
    let mut ask = ChatRequest::new().user("Hello");
    ask.headers_mut().insert("api-key", ALICE.parse().unwrap());
    assert!(service.oneshot(ask).await.is_ok());
}

/// The status for a key, shown from an address.
async fn shown(app: &Router, from: &str, key: &str) -> u16 {
    let mut request = Request::get("/").header("x-api-key", key);
    if let Some(extensions) = request.extensions_mut()
        && let Ok(address) = from.parse()
    {
        extensions.insert(ClientAddr(address));
    }
    let request = request.body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    response.status().as_u16()
}

async fn all_shown<const N: usize>(app: &Router, calls: [(&str, &str); N]) -> [u16; N] {
    let mut told = [0; N];
    for (told, (from, key)) in told.iter_mut().zip(calls) {
        *told = shown(app, from, key).await;
    }
    told
}

#[tokio::test(start_paused = true)]
async fn an_address_may_show_twenty_wrong_keys_in_a_minute() {
    let app = app();
    for nth in 0..20 {
        assert_eq!(shown(&app, "192.0.2.1", &format!("wrong {nth}")).await, 401);
    }
    tokio::time::advance(Duration::from_secs(20)).await;
    let mut request = Request::get("/").header("x-api-key", "wrong");
    let extensions = request.extensions_mut().unwrap();
    extensions.insert(ClientAddr([192, 0, 2, 1].into()));
    let request = request.body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    assert_eq!(refusal(&response), (429, Kind::RateLimited, ""));
    assert_eq!(response.headers()[header::RETRY_AFTER], "40");

    // Others are not concerned, nor are good keys, nor calls that show none.
    assert_eq!(shown(&app, "192.0.2.2", "wrong").await, 401);
    assert_eq!(shown(&app, "192.0.2.1", ALICE).await, 200);
    tokio::time::advance(Duration::from_secs(40)).await;
    assert_eq!(shown(&app, "192.0.2.1", "wrong").await, 401);
}

#[tokio::test(start_paused = true)]
async fn one_customer_of_ipv6_is_one_address_and_nobody_is_none() {
    let layer = AuthLayer::new(keys()).failure_limit(FailureLimit::per_minute(1));
    let app = router().layer(layer);
    let calls = [
        ("2001:db8::1", "wrong"),
        ("2001:db8::ffff:2", "wrong"),
        ("2001:db8:0:1::1", "wrong"),
        ("nobody knows", "wrong"),
        ("nobody knows", "wrong"),
    ];
    assert_eq!(all_shown(&app, calls).await, [401, 429, 401, 401, 401]);
}

#[tokio::test(start_paused = true)]
async fn where_it_is_strict_a_good_key_waits_too_and_where_it_is_off_nobody_does() {
    let calls = [
        ("192.0.2.1", "wrong"),
        ("192.0.2.1", "wrong"),
        ("192.0.2.1", ALICE),
        ("192.0.2.2", ALICE),
    ];
    let strict = FailureLimit::per_minute(1).strict();
    for (limit, told) in [
        (Some(strict), [401, 429, 429, 200]),
        (None, [401, 401, 200, 200]),
    ] {
        let app = router().layer(AuthLayer::new(keys()).failure_limit(limit));
        assert_eq!(all_shown(&app, calls).await, told);
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_up_is_not_made_for_an_address_over_its_limit() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let authenticate = move |credential: Credential| {
        let count = count.clone();
        async move {
            count.fetch_add(1, Ordering::Relaxed);
            match credential.expose() == ALICE.as_bytes() {
                true => Ok(Principal::new("alice")),
                false => Err(Rejection::new(Kind::InvalidCredentials)),
            }
        }
    };
    let layer = AuthLayer::new(authenticate).failure_limit(FailureLimit::per_minute(2));
    let app = router().layer(layer);
    let calls = [
        ("192.0.2.1", "wrong"),
        ("192.0.2.1", ALICE),
        ("192.0.2.1", "wrong"),
        ("192.0.2.1", "wrong"),
        ("192.0.2.1", ALICE),
    ];
    assert_eq!(all_shown(&app, calls).await, [401, 200, 401, 429, 429]);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(shown(&app, "192.0.2.1", ALICE).await, 200);
}

#[tokio::test(start_paused = true)]
async fn wrong_keys_are_counted_by_the_layer_and_not_by_its_services() {
    let base = AuthLayer::new(keys()).failure_limit(FailureLimit::per_minute(1));
    let apps = [base.clone(), base.clone().require_scope("chat"), base];
    let apps = apps.map(|layer| router().layer(layer));
    let mut told = [0; 3];
    for (told, app) in told.iter_mut().zip(&apps) {
        *told = shown(app, "192.0.2.1", "wrong").await;
    }
    assert_eq!(told, [401, 429, 429]);
}
