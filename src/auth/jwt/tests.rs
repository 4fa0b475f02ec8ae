use super::*;
use crate::{
    Body,
    auth::{AuthLayer, Place},
};
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use jsonwebtoken::{EncodingKey, crypto::aws_lc};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    sync::{Mutex, MutexGuard},
};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_service::Service;

const ISSUER: &str = "https://issuer.example";
/// Ed25519: the private and the public part.
const A: [&str; 2] = [
    "DKxI3pwpKYCohiFMO7mDoYRK1l4wfPTD9RdplozfTyI",
    "xUWgXJI3zRws9FEkCCYJYs2hhV7B5Tm5dSRwB5wxM74",
];
const B: [&str; 2] = [
    "-2Zk0vsBv4_JrWrfoX8Ixdk01CxKr2SI5YHZJNpYD1Y",
    "I9J2FLSfsq66rIALohGB85yPvUpNoD68wbpKfjtlwLs",
];

fn jwk(kid: &str, [_, x]: [&str; 2]) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x})
}

fn set(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

/// Signs, as an issuer does.
fn signed(kid: &str, [d, _]: [&str; 2], claims: &Value) -> String {
    use super::super::base64::{Form, decode, encode};
    let header = json!({"alg": "EdDSA", "kid": kid});
    let part = |value: &Value| encode(Form::Url, value.to_string().as_bytes());
    let message = format!("{}.{}", part(&header), part(claims));
    // A private key as RFC 8410 §7 has it.
    let mut der = vec![
        0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
    ];
    der.extend(decode(Form::Url, d.as_bytes()).unwrap());
    let key = EncodingKey::from_ed_der(&der);
    let algorithm = jsonwebtoken::Algorithm::EdDSA;
    let signer = (aws_lc::DEFAULT_PROVIDER.signer_factory)(&algorithm, &key).unwrap();
    let signature = jsonwebtoken::signature::Signer::sign(&*signer, message.as_bytes());
    format!("{message}.{}", encode(Form::Url, &signature))
}

const NOW: u64 = 1_800_000_000;

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "gateway", "sub": "alice", "exp": NOW + 3600})
}

fn token(kid: &str, key: [&str; 2]) -> String {
    signed(kid, key, &claims())
}

/// The time of the tests, which passes as tokio's does.
fn clock() -> impl Fn() -> SystemTime + Send + Sync + 'static {
    let start = Instant::now();
    move || SystemTime::UNIX_EPOCH + Duration::from_secs(NOW) + start.elapsed()
}

fn jwt(keys: impl Into<Jwks>) -> Jwt {
    let issuer = Issuer::new(ISSUER, keys)
        .audience("gateway")
        .leeway(Duration::ZERO);
    Jwt::new([issuer]).unwrap().clock(clock())
}

/// What comes of a call with a token: the principal, or the status.
async fn call(jwt: &Jwt, token: &str) -> Result<Principal, u16> {
    let inner = service_fn(async |request: Request<()>| {
        let mut response = Response::new(bytes::Bytes::new());
        if let Some(principal) = Principal::of(&request) {
            response.extensions_mut().insert(principal.clone());
        }
        Ok::<_, Infallible>(response)
    });
    let layer = AuthLayer::new(jwt.clone()).places([Place::bearer()]);
    let request = Request::builder()
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(())
        .unwrap();
    let response = layer.layer(inner).oneshot(request).await.unwrap();
    let principal = response.extensions().get::<Principal>().cloned();
    principal.ok_or(response.status().as_u16())
}

/// An issuer that answers as it is told.
#[derive(Clone, Default)]
struct Published(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    documents: HashMap<String, (StatusCode, HeaderMap, String)>,
    delay: Duration,
    asked: Vec<(Uri, HeaderMap)>,
}

const KEYS: &str = "https://issuer.example/jwks";

impl Published {
    fn keys(keys: &[Value]) -> Self {
        let this = Self::default();
        this.publish(KEYS, set(keys));
        this
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    fn publish(&self, url: &str, document: impl Into<String>) {
        let answer = (StatusCode::OK, HeaderMap::new(), document.into());
        self.script().documents.insert(url.into(), answer);
    }

    fn header(&self, name: &'static str, value: &str) {
        let mut script = self.script();
        let headers = &mut script.documents.get_mut(KEYS).unwrap().1;
        headers.insert(name, value.parse().unwrap());
    }

    fn status(&self, status: u16) {
        let status = StatusCode::from_u16(status).unwrap();
        self.script().documents.get_mut(KEYS).unwrap().0 = status;
    }

    fn asked(&self) -> usize {
        self.script().asked.len()
    }

    fn service(
        &self,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static {
        let this = self.clone();
        service_fn(move |request: Request<Body>| {
            let this = this.clone();
            async move {
                let (head, _) = request.into_parts();
                let delay = {
                    let mut script = this.script();
                    script.asked.push((head.uri.clone(), head.headers));
                    script.delay
                };
                tokio::time::sleep(delay).await;
                let url = head.uri.to_string();
                let answer = this.script().documents.get(&url).cloned();
                let missing = || (StatusCode::NOT_FOUND, HeaderMap::new(), String::new());
                let (status, headers, body) = answer.unwrap_or_else(missing);
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                Ok(response)
            }
        })
    }

    fn jwks(&self) -> Jwks {
        Jwks::url(KEYS).unwrap().client(self.service())
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_once_for_all_who_wait_and_kept() {
    let published = Published::keys(&[jwk("a", A)]);
    published.script().delay = Duration::from_secs(1);
    let jwt = jwt(published.jwks()).keep(0);
    let fine = token("a", A);
    let calls = (0..20).map(|_| call(&jwt, &fine));
    for called in futures_util::future::join_all(calls).await {
        assert_eq!(&**called.unwrap().id(), "alice");
    }
    assert!(call(&jwt, &fine).await.is_ok());
    assert_eq!(published.asked(), 1);
    let (uri, headers) = published.script().asked[0].clone();
    assert_eq!(uri, KEYS);
    assert!(!headers.contains_key(header::AUTHORIZATION));
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_when_its_first_token_comes() {
    let published = Published::keys(&[jwk("a", A)]);
    let jwt = jwt(published.jwks());
    assert!(call(&jwt, &token("a", A)).await.is_ok());
    published.publish(KEYS, set(&[jwk("b", B)]));
    let new = token("b", B);
    let calls = (0..20).map(|_| call(&jwt, &new));
    for called in futures_util::future::join_all(calls).await {
        assert!(called.is_ok(), "{called:?}");
    }
    assert_eq!(published.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_unknown_names_costs_the_issuer_nothing() {
    let published = Published::keys(&[jwk("a", A)]);
    let jwt = jwt(published.jwks());
    assert!(call(&jwt, &token("a", A)).await.is_ok());
    pass(1).await;
    assert_eq!(call(&jwt, &token("0", A)).await, Err(401));
    for n in 1..300 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(call(&jwt, &token(&format!("{n}"), A)).await, Err(503));
    }
    assert_eq!(published.asked(), 2, "one for them all");
    assert!(call(&jwt, &token("a", A)).await.is_ok());
    pass(10).await;
    assert_eq!(call(&jwt, &token("299", A)).await, Err(401));
    assert_eq!(published.asked(), 3);
}

/// Somebody without any key sends names that are made up, as often as pleases, and also the one that the
/// next key will have. Nothing is set.
#[tokio::test(start_paused = true)]
async fn no_good_token_is_refused_as_a_wrong_one_while_keys_are_rotated_and_names_made_up() {
    let names = ["a", "b", "c", "d"];
    for every in [100, 9_900, 10_000, 30_000] {
        let published = Published::keys(&[jwk(names[0], A)]);
        published.script().delay = Duration::from_millis(20);
        let jwt = jwt(published.jwks()).keep(0);
        assert!(call(&jwt, &token(names[0], A)).await.is_ok());
        let storm = async {
            for n in 0.. {
                let made_up = [&*format!("{n}"), names[1 + n % 3]][n % 2].to_owned();
                let _ = call(&jwt, &token(&made_up, B)).await;
                tokio::time::sleep(Duration::from_millis(every)).await;
            }
        };
        let good = async {
            for kid in &names[1..] {
                pass(61).await;
                // Published and used at once, the worst that an issuer may do.
                published.publish(KEYS, set(&[jwk(kid, A)]));
                let rotated = Instant::now();
                loop {
                    match call(&jwt, &token(kid, A)).await {
                        Ok(_) => break,
                        Err(status) => assert_eq!(status, 503, "{every}: {kid}"),
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                let took = rotated.elapsed();
                assert!(took <= Duration::from_secs(11), "{every}: {kid}: {took:?}");
            }
        };
        tokio::select! {
            () = storm => unreachable!("it has no end"),
            () = good => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_no_key_makes_good_is_refused_without_asking_for_one() {
    let published = Published::keys(&[jwk("a", A)]);
    let jwt = jwt(published.jwks());
    assert!(call(&jwt, &token("a", A)).await.is_ok());
    for (claim, value) in [("exp", json!(NOW - 3600)), ("aud", json!("others"))] {
        let mut claims = claims();
        claims[claim] = value;
        pass(1).await;
        assert_eq!(call(&jwt, &signed("b", B, &claims)).await, Err(401));
    }
    assert_eq!(published.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_are_refreshed_behind_the_back_of_a_call_and_conditionally() {
    let published = Published::keys(&[jwk("a", A)]);
    published.header("cache-control", "public, max-age=100");
    published.header("etag", "\"1\"");
    let jwt = jwt(published.jwks()).keep(0);
    let fine = token("a", A);
    assert!(call(&jwt, &fine).await.is_ok());
    pass(79).await;
    assert!(call(&jwt, &fine).await.is_ok());
    assert_eq!(published.asked(), 1);
    published.status(304);
    published.script().delay = Duration::from_secs(1);
    pass(1).await;
    let before = Instant::now();
    assert!(call(&jwt, &fine).await.is_ok());
    assert_eq!(before.elapsed(), Duration::ZERO, "nobody waits");
    pass(2).await;
    assert_eq!(published.asked(), 2);
    assert_eq!(
        published.script().asked[1].1[header::IF_NONE_MATCH],
        "\"1\""
    );
    // And they are as fresh as if they had been sent.
    pass(70).await;
    assert!(call(&jwt, &fine).await.is_ok());
    assert_eq!(published.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_withdrawn_is_gone_when_the_keys_are_old() {
    let published = Published::keys(&[jwk("a", A), jwk("b", B)]);
    let jwt = jwt(published.jwks());
    assert!(call(&jwt, &token("a", A)).await.is_ok());
    published.publish(KEYS, set(&[jwk("b", B)]));
    pass(601).await;
    assert_eq!(call(&jwt, &token("a", A)).await, Err(401));
    assert!(call(&jwt, &token("b", B)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_last_good_keys_go_on_while_the_issuer_is_down() {
    let published = Published::keys(&[jwk("a", A)]);
    let jwt = jwt(published.jwks().max_stale(Duration::from_secs(2000)));
    let fine = || {
        signed("a", A, &{
            let mut claims = claims();
            claims["exp"] = json!(NOW + 100_000);
            claims
        })
    };
    assert!(call(&jwt, &fine()).await.is_ok());
    for status in [500, 404, 302, 304] {
        published.status(status);
        pass(450).await;
        assert!(call(&jwt, &fine()).await.is_ok(), "{status}");
        // Whether its key is a new one nobody can say.
        assert_eq!(call(&jwt, &token("b", B)).await, Err(503), "{status}");
    }
    pass(300).await;
    assert_eq!(call(&jwt, &fine()).await, Err(503), "they are too old");
    published.status(200);
    pass(61).await;
    assert!(call(&jwt, &fine()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn without_keys_it_is_not_the_token_that_is_wrong() {
    for (status, document) in [
        (500, set(&[jwk("a", A)])),
        (301, set(&[jwk("a", A)])),
        (304, String::new()),
        (200, "<html>".into()),
        (200, set(&[])),
        (200, set(&[jwk("a", A), jwk("a", B)])),
        (
            200,
            json!({"keys": [{"kty": "oct", "k": "a".repeat(64)}]}).to_string(),
        ),
        (
            200,
            format!("{}{}", set(&[jwk("a", A)]), " ".repeat(512 * 1024)),
        ),
    ] {
        let published = Published::default();
        published.publish(KEYS, document);
        published.status(status);
        let jwt = jwt(published.jwks());
        assert_eq!(call(&jwt, &token("a", A)).await, Err(503), "{status}");
        assert_eq!(call(&jwt, &token("a", A)).await, Err(503), "{status}");
        assert_eq!(published.asked(), 1, "it is not asked again at once");
        assert!(jwt.ready().await.is_err());
        published.publish(KEYS, set(&[jwk("a", A)]));
        pass(1).await;
        assert!(call(&jwt, &token("a", A)).await.is_ok());
        assert!(jwt.ready().await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_does_not_answer_holds_nobody_for_long() {
    let published = Published::keys(&[jwk("a", A)]);
    published.script().delay = Duration::from_secs(3600);
    let jwt = jwt(published.jwks());
    let before = Instant::now();
    assert_eq!(call(&jwt, &token("a", A)).await, Err(503));
    assert_eq!(before.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_takes_no_keys_along() {
    let published = Published::keys(&[jwk("a", A)]);
    published.script().delay = Duration::from_secs(2);
    let jwt = jwt(published.jwks());
    let fine = token("a", A);
    let dropped = tokio::time::timeout(Duration::from_secs(1), call(&jwt, &fine));
    assert!(dropped.await.is_err());
    pass(2).await;
    let before = Instant::now();
    assert!(call(&jwt, &fine).await.is_ok());
    assert_eq!((before.elapsed(), published.asked()), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_says_itself_where_its_keys_are() {
    for document in [
        "https://issuer.example/.well-known/openid-configuration",
        "https://issuer.example/.well-known/oauth-authorization-server",
    ] {
        let published = Published::keys(&[jwk("a", A)]);
        let says = json!({
            "issuer": ISSUER, "jwks_uri": KEYS,
            "id_token_signing_alg_values_supported": ["EdDSA"],
        });
        published.publish(document, says.to_string());
        let keys = Jwks::discover(ISSUER).unwrap().client(published.service());
        let jwt = jwt(keys);
        assert!(call(&jwt, &token("a", A)).await.is_ok());
        // The document is asked for again for a new key, and not when keys are merely old.
        let asked = published.asked();
        pass(601).await;
        assert!(call(&jwt, &token("a", A)).await.is_ok());
        assert_eq!(published.asked(), asked + 1);
        assert_eq!(call(&jwt, &token("b", B)).await, Err(401));
        assert_eq!(published.asked(), asked + 1 + asked);
    }
    for says in [
        json!({"issuer": "https://issuer.example/", "jwks_uri": KEYS}),
        json!({"issuer": ISSUER, "jwks_uri": "http://issuer.example/jwks"}),
    ] {
        let published = Published::keys(&[jwk("a", A)]);
        let document = "https://issuer.example/.well-known/openid-configuration";
        published.publish(document, says.to_string());
        let keys = Jwks::discover(ISSUER).unwrap().client(published.service());
        assert_eq!(call(&jwt(keys), &token("a", A)).await, Err(503), "{says}");
        assert_eq!(published.asked(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn algorithms_are_those_that_both_sides_name() {
    let published = Published::keys(&[jwk("a", A)]);
    let says = json!({
        "issuer": ISSUER, "jwks_uri": KEYS,
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    let document = "https://issuer.example/.well-known/openid-configuration";
    published.publish(document, says.to_string());
    let keys = Jwks::discover(ISSUER).unwrap().client(published.service());
    let discovered = jwt(keys);
    assert_eq!(call(&discovered, &token("a", A)).await, Err(401));
    // The issuer changes its mind, and is asked again before long.
    let says = says.to_string().replace("RS256", "EdDSA");
    published.publish(document, says);
    pass(301).await;
    assert!(call(&discovered, &token("a", A)).await.is_ok());

    let issuer = Issuer::new(ISSUER, published.jwks())
        .audience("gateway")
        .algorithms([Algorithm::ES256]);
    let pinned = Jwt::new([issuer]).unwrap().clock(clock());
    let asked = published.asked();
    assert_eq!(call(&pinned, &token("a", A)).await, Err(401));
    assert_eq!(published.asked(), asked, "nothing is fetched for it");
}

#[tokio::test]
async fn keys_in_a_file_are_read_again_for_a_new_name() {
    let file = std::env::temp_dir().join(format!("tower-gateway-jwks-{}", std::process::id()));
    std::fs::write(&file, set(&[jwk("a", A)])).unwrap();
    let jwt = jwt(Jwks::file(&file));
    assert!(call(&jwt, &token("a", A)).await.is_ok());
    std::fs::write(&file, set(&[jwk("b", B)])).unwrap();
    assert!(call(&jwt, &token("b", B)).await.is_ok());
    std::fs::remove_file(&file).unwrap();
    assert!(call(&jwt, &token("b", B)).await.is_ok());
    assert_eq!(
        call(&self::jwt(Jwks::file(&file)), &token("b", B)).await,
        Err(503)
    );
}

#[tokio::test(start_paused = true)]
async fn a_verified_token_is_kept_whole_and_no_longer_than_it_lives() {
    let keys = || JwkSet::from_json(set(&[jwk("a", A)])).unwrap();
    let jwt = jwt(keys());
    let mut short = claims();
    short["exp"] = json!(NOW + 10);
    let short = signed("a", A, &short);
    assert!(call(&jwt, &short).await.is_ok());
    assert_eq!(jwt.kept(), 1);
    pass(9).await;
    assert!(call(&jwt, &short).await.is_ok());
    pass(1).await;
    assert_eq!(call(&jwt, &short).await, Err(401));

    // One that begins and ends as another does is another.
    let fine = token("a", A);
    assert!(call(&jwt, &fine).await.is_ok());
    let kept = jwt.kept();
    for at in [30, fine.len() / 2, fine.len() - 30] {
        let mut other = fine.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).unwrap();
        assert_eq!(call(&jwt, &other).await, Err(401), "{at}");
    }
    assert_eq!(jwt.kept(), kept, "what is refused is not kept");
    assert_eq!(call(&jwt, &fine[..fine.len() - 1]).await, Err(401));
}

#[tokio::test(start_paused = true)]
async fn each_issuer_vouches_for_its_own() {
    let keys = |key| JwkSet::from_json(set(&[jwk("k", key)])).unwrap();
    let other = "https://other.example";
    let jwt = Jwt::new([
        Issuer::new(ISSUER, keys(A))
            .audience("gateway")
            .prefix("a:"),
        Issuer::new(other, keys(B)).audience("gateway").prefix("b:"),
    ]);
    let jwt = jwt.unwrap().clock(clock());
    let mut others = claims();
    others["iss"] = json!(other);
    let name = |called: Result<Principal, u16>| called.map(|who| who.id().to_string());
    assert_eq!(
        name(call(&jwt, &token("k", A)).await).as_deref(),
        Ok("a:alice")
    );
    assert_eq!(
        name(call(&jwt, &signed("k", B, &others)).await).as_deref(),
        Ok("b:alice")
    );
    assert_eq!(name(call(&jwt, &signed("k", A, &others)).await), Err(401));
    assert_eq!(name(call(&jwt, &token("k", B)).await), Err(401));
    for iss in [
        json!("https://third.example"),
        json!([ISSUER]),
        json!(null),
        json!(""),
    ] {
        let mut claims = claims();
        claims["iss"] = iss;
        assert_eq!(name(call(&jwt, &signed("k", A, &claims)).await), Err(401));
    }
}

#[tokio::test(start_paused = true)]
async fn a_type_that_is_not_that_of_an_access_token_is_refused() {
    use super::super::base64::{Form, decode, encode};
    let keys = JwkSet::from_secret(Algorithm::HS256, &[7; 32]).unwrap();
    let typed = |typ: &str| {
        let part = |value: &Value| encode(Form::Url, value.to_string().as_bytes());
        let header = json!({"alg": "HS256", "typ": typ});
        let message = format!("{}.{}", part(&header), part(&claims()));
        let key = EncodingKey::from_secret(&[7; 32]);
        let algorithm = jsonwebtoken::Algorithm::HS256;
        let signer = (aws_lc::DEFAULT_PROVIDER.signer_factory)(&algorithm, &key).unwrap();
        let signature = jsonwebtoken::signature::Signer::sign(&*signer, message.as_bytes());
        format!("{message}.{}", encode(Form::Url, &signature))
    };
    assert!(decode(Form::Url, b"e30").is_some());
    let usual = jwt(keys.clone());
    let issuer = Issuer::new(ISSUER, keys).audience("gateway").typ("at+jwt");
    let pinned = Jwt::new([issuer]).unwrap().clock(clock());
    for (typ, usually, if_pinned) in [
        ("JWT", true, false),
        ("at+jwt", true, true),
        ("application/AT+JWT", true, true),
        ("dpop+jwt", false, false),
        ("logout+jwt", false, false),
        ("secevent+jwt", false, false),
    ] {
        assert_eq!(call(&usual, &typed(typ)).await.is_ok(), usually, "{typ}");
        assert_eq!(call(&pinned, &typed(typ)).await.is_ok(), if_pinned, "{typ}");
    }
}

#[test]
fn nothing_printable_shows_a_key_or_a_token() {
    let keys =
        JwkSet::from_secret(Algorithm::HS256, b"canary canary canary canary canary").unwrap();
    let jwt = jwt(keys);
    assert!(!format!("{jwt:?}").contains("canary"));
}
