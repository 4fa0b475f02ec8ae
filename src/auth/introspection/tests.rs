use super::*;
use crate::auth::{AuthLayer, Place};
use http_body_util::BodyExt;
use serde_json::json;
use std::convert::Infallible;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example";

/// What an issuer says, and what it was asked.
#[derive(Clone, Default)]
struct Issuer(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    status: u16,
    says: String,
    delay: Duration,
    asked: Vec<(http::HeaderMap, String)>,
}

impl Issuer {
    fn says(says: &Value) -> Self {
        let this = Self::default();
        this.now_says(200, says.to_string());
        this
    }

    fn now_says(&self, status: u16, says: impl Into<String>) {
        let mut script = self.0.lock().unwrap();
        (script.status, script.says) = (status, says.into());
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }

    fn introspection(&self) -> Introspection {
        let this = self.clone();
        let client = service_fn(move |request: Request<Body>| {
            let this = this.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = String::from_utf8(body.to_vec()).unwrap();
                let delay = {
                    let mut script = this.0.lock().unwrap();
                    script.asked.push((head.headers, body));
                    script.delay
                };
                tokio::time::sleep(delay).await;
                let script = this.0.lock().unwrap();
                let mut response = Response::new(Body::from(script.says.clone()));
                *response.status_mut() = StatusCode::from_u16(script.status).unwrap();
                Ok::<_, Infallible>(response)
            }
        });
        let start = Instant::now();
        let url = "https://issuer.example/introspect";
        Introspection::new(url, "gate way", "se:cret+")
            .unwrap()
            .issuer(ISSUER)
            .audience("gateway")
            .client(client)
            .clock(move || SystemTime::UNIX_EPOCH + Duration::from_secs(NOW) + start.elapsed())
    }
}

fn active() -> Value {
    json!({
        "active": true, "iss": ISSUER, "aud": ["gateway"], "sub": "alice", "scope": "chat files",
        "exp": NOW + 3600,
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut members = active();
    members[name] = value;
    members
}

async fn call(introspection: &Introspection, token: &str) -> Result<Principal, u16> {
    let inner = service_fn(async |request: Request<()>| {
        let mut response = Response::new(bytes::Bytes::new());
        if let Some(principal) = Principal::of(&request) {
            response.extensions_mut().insert(principal.clone());
        }
        Ok::<_, Infallible>(response)
    });
    let layer = AuthLayer::new(introspection.clone())
        .places([Place::bearer()])
        .failure_limit(None);
    let request = Request::builder()
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(())
        .unwrap();
    let response = layer.layer(inner).oneshot(request).await.unwrap();
    let principal = response.extensions().get::<Principal>().cloned();
    principal.ok_or(response.status().as_u16())
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_issuer_is_asked_once_in_a_form_and_as_a_client() {
    let issuer = Issuer::says(&active());
    issuer.0.lock().unwrap().delay = Duration::from_secs(1);
    let introspection = issuer.introspection();
    let calls = (0..20).map(|_| call(&introspection, "a&b=c+d/%"));
    for called in futures_util::future::join_all(calls).await {
        let principal = called.unwrap();
        assert_eq!(&**principal.id(), "alice");
        assert!(principal.has_scope("files"));
    }
    let (headers, body) = issuer.0.lock().unwrap().asked[0].clone();
    assert_eq!(issuer.asked(), 1);
    assert_eq!(
        body,
        "token=a%26b%3Dc%2Bd%2F%25&token_type_hint=access_token"
    );
    // "gate%20way:se%3Acret%2B"
    assert_eq!(
        headers[header::AUTHORIZATION],
        "Basic Z2F0ZSUyMHdheTpzZSUzQWNyZXQlMkI="
    );
    assert!(headers[header::AUTHORIZATION].is_sensitive());
    assert_eq!(
        headers[header::CONTENT_TYPE],
        "application/x-www-form-urlencoded"
    );
}

#[tokio::test(start_paused = true)]
async fn that_a_token_is_active_holds_for_a_minute_or_until_it_expires() {
    for (exp, after, asked) in [(3600, 59, 1), (3600, 60, 2), (10, 9, 1)] {
        let issuer = Issuer::says(&with("exp", json!(NOW + exp)));
        let introspection = issuer.introspection();
        assert!(call(&introspection, "token").await.is_ok());
        pass(after).await;
        assert!(call(&introspection, "token").await.is_ok());
        assert_eq!(issuer.asked(), asked, "{exp} {after}");
    }
    let issuer = Issuer::says(&with("exp", json!(NOW + 10)));
    let introspection = issuer.introspection().leeway(Duration::ZERO);
    assert!(call(&introspection, "token").await.is_ok());
    pass(10).await;
    assert_eq!(call(&introspection, "token").await, Err(401));
}

#[tokio::test(start_paused = true)]
async fn what_can_be_no_token_is_not_asked_for() {
    let issuer = Issuer::says(&active());
    for token in ["a b", "é", "a\tb"] {
        assert_eq!(call(&issuer.introspection(), token).await, Err(401));
    }
    assert_eq!(issuer.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn that_it_is_not_holds_for_ten_seconds() {
    let issuer = Issuer::says(&json!({"active": false}));
    let introspection = issuer.introspection();
    assert_eq!(call(&introspection, "token").await, Err(401));
    issuer.now_says(200, active().to_string());
    pass(9).await;
    assert_eq!(call(&introspection, "token").await, Err(401));
    assert_eq!(issuer.asked(), 1);
    pass(1).await;
    assert!(call(&introspection, "token").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_the_issuer_says_is_looked_at() {
    for members in [
        json!({"active": false}),
        with("active", json!(false)),
        with("iss", json!("https://issuer.example/")),
        with("iss", json!([ISSUER])),
        with("iss", json!(null)),
        with("aud", json!("other")),
        with("aud", json!([])),
        with("exp", json!(NOW - 60)),
        with("exp", json!("later")),
        with("nbf", json!(NOW + 61)),
        with("sub", json!("")),
        with("sub", json!(null)),
    ] {
        let introspection = Issuer::says(&members).introspection();
        assert_eq!(call(&introspection, "token").await, Err(401), "{members}");
    }
    let mut without = active();
    for member in ["exp", "scope"] {
        without.as_object_mut().unwrap().remove(member);
    }
    assert!(
        call(&Issuer::says(&without).introspection(), "token")
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_does_not_tell_is_not_a_token_that_is_wrong() {
    for (status, says) in [
        (500, active().to_string()),
        (401, active().to_string()),
        (302, active().to_string()),
        (200, String::new()),
        (200, "[]".into()),
        (200, r#"{"active":"true"}"#.into()),
        (200, r#"{"active":false,"active":true}"#.into()),
        (200, "{}".into()),
        (200, format!("{}{}", active(), " ".repeat(LARGEST))),
    ] {
        let issuer = Issuer::says(&active());
        let introspection = issuer.introspection();
        assert!(call(&introspection, "known").await.is_ok());
        issuer.now_says(status, says.clone());
        assert_eq!(
            call(&introspection, "token").await,
            Err(503),
            "{status} {says}"
        );
        assert!(
            call(&introspection, "known").await.is_ok(),
            "what it said holds"
        );
        issuer.now_says(200, active().to_string());
        assert!(
            call(&introspection, "token").await.is_ok(),
            "nothing is kept of it"
        );
    }
    let issuer = Issuer::says(&active());
    issuer.0.lock().unwrap().delay = Duration::from_secs(3600);
    let before = Instant::now();
    assert_eq!(call(&issuer.introspection(), "token").await, Err(503));
    assert_eq!(before.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_wrong_tokens_drives_out_none_that_is_right_and_leaves_little() {
    let issuer = Issuer::says(&active());
    let introspection = issuer.introspection().keep(64);
    assert!(call(&introspection, "right").await.is_ok());
    issuer.now_says(200, r#"{"active":false}"#);
    for n in 0..500 {
        assert_eq!(call(&introspection, &format!("wrong{n}")).await, Err(401));
    }
    assert!(call(&introspection, "right").await.is_ok());
    assert!(introspection.kept() <= 128);
    assert!(introspection.shared.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_does_not_take_the_question_along() {
    let issuer = Issuer::says(&active());
    issuer.0.lock().unwrap().delay = Duration::from_secs(2);
    let introspection = issuer.introspection();
    let dropped = tokio::time::timeout(Duration::from_secs(1), call(&introspection, "token"));
    assert!(dropped.await.is_err());
    assert!(call(&introspection, "token").await.is_ok());
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_of_them_share_nothing() {
    let (one, other) = (
        Issuer::says(&active()),
        Issuer::says(&json!({"active": false})),
    );
    let (one, other) = (one.introspection(), other.introspection());
    assert!(call(&one, "token").await.is_ok());
    assert_eq!(call(&other, "token").await, Err(401));
}

#[test]
fn nothing_printable_shows_the_secret() {
    let introspection = Introspection::new("https://a.example/", "id", "canary").unwrap();
    let shown = format!("{introspection:?}");
    assert!(
        !shown.contains("canary") && !shown.contains("Basic"),
        "{shown}"
    );
}
