//! Tokens, over HTTP.

mod oidc;
mod vectors;

use axum::{Router, routing::get};
use http::{Request, Response, header};
use jsonwebtoken::{EncodingKey, crypto::aws_lc};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tower::{ServiceExt, service_fn};
use tower_gateway::{
    Body, Principal, Rejection,
    auth::{
        AnyOf, ApiKeys, AuthLayer, Place, SecondPrincipal,
        introspection::Introspection,
        jwt::{Algorithm, Issuer, JwkSet, Jwks, Jwt},
        signature::SignatureLayer,
    },
    client::Client,
    testing::{MockUpstream, Recorded, Reply},
};

const ISSUER: &str = "https://issuer.example";
const SECRET: &[u8] = b"a secret of 32 bytes, which is..";
const ALICE: &str = "the-key-that-alice-has";

pub(crate) fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=group.len() {
            let index = bits >> (18 - 6 * at) & 63;
            out.push(char::from(ALPHABET[index as usize]));
        }
    }
    out
}

fn sign(header: &str, payload: &str, key: &EncodingKey, algorithm: &str) -> String {
    let message = format!(
        "{}.{}",
        base64url(header.as_bytes()),
        base64url(payload.as_bytes())
    );
    let algorithm = algorithm.parse().unwrap();
    let signer = (aws_lc::DEFAULT_PROVIDER.signer_factory)(&algorithm, key).unwrap();
    format!("{message}.{}", base64url(&signer.sign(message.as_bytes())))
}

/// Signed by the secret of the tests.
pub(crate) fn hs256(header: &str, payload: &str) -> String {
    sign(header, payload, &EncodingKey::from_secret(SECRET), "HS256")
}

fn claims() -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    json!({"iss": ISSUER, "aud": "gateway", "sub": "alice", "scope": "chat", "exp": now + 600})
}

fn token() -> String {
    hs256(r#"{"alg":"HS256"}"#, &claims().to_string())
}

fn jwt() -> Jwt {
    let keys = JwkSet::from_secret(Algorithm::HS256, SECRET).unwrap();
    Jwt::new([Issuer::new(ISSUER, keys).audience("gateway")]).unwrap()
}

/// Says who called, and who vouched for them too.
fn router() -> Router {
    Router::new().route(
        "/",
        get(async |request: Request<axum::body::Body>| {
            let name =
                |who: Option<&Principal>| who.map_or("nobody".into(), |it| it.id().to_string());
            let second = request.extensions().get::<SecondPrincipal>();
            let second = second.map(|SecondPrincipal(who)| format!(" and {}", who.id()));
            assert!(!request.headers().contains_key(header::AUTHORIZATION));
            format!(
                "{}{}",
                name(Principal::of(&request)),
                second.unwrap_or_default()
            )
        }),
    )
}

/// Serves for as long as the runtime of the test lasts, and says where.
async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn ask(client: &Client, url: &str, headers: &[(&str, &[u8])]) -> Option<Response<Body>> {
    let mut request = Request::get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    // What is no header nobody can send.
    let request = request.body(Body::empty()).ok()?;
    Some(client.send(request).await.unwrap())
}

async fn text(response: Response<Body>) -> String {
    let body = tower_gateway::collect(response.into_body(), 10_000).await;
    String::from_utf8(body.unwrap().to_vec()).unwrap()
}

async fn told(app: &Router, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let challenge = response.headers().get(header::WWW_AUTHENTICATE);
    let challenge = challenge.map(|it| it.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(response.into_body(), 10_000)
        .await
        .unwrap();
    match challenge {
        Some(challenge) => (status, challenge),
        None => (status, String::from_utf8(body.to_vec()).unwrap()),
    }
}

#[tokio::test]
async fn answers_are_those_of_rfc_6750() {
    let layer = AuthLayer::new(jwt()).places([Place::bearer()]);
    let app = router().layer(layer.clone());
    let bearer = format!("Bearer {}", token());
    let challenge = |with: &str| format!(r#"Bearer realm="api"{with}"#);
    let none = told(&app, &[]).await;
    assert_eq!(none, (401, challenge("")));
    let fine = told(&app, &[("authorization", &bearer)]).await;
    assert_eq!(fine, (200, "alice".into()));
    let wrong = told(&app, &[("authorization", &bearer[..bearer.len() - 2])]).await;
    assert_eq!(wrong, (401, challenge(r#", error="invalid_token""#)));
    let twice = told(
        &app,
        &[("authorization", &bearer), ("authorization", &bearer)],
    )
    .await;
    assert_eq!(twice, (400, challenge(r#", error="invalid_request""#)));
    let scoped = router().layer(layer.require_scope("admin"));
    let lacking = told(&scoped, &[("authorization", &bearer)]).await;
    let scope = r#", error="insufficient_scope", scope="admin""#;
    assert_eq!(lacking, (403, challenge(scope)));
}

#[tokio::test]
async fn any_of_several_schemes_lets_in_and_never_two_at_once() {
    let keys = ApiKeys::new().add("bob", ALICE);
    let app = router().layer(AuthLayer::new(AnyOf::new(jwt(), keys)));
    let (bearer, key) = (format!("Bearer {}", token()), format!("Bearer {ALICE}"));
    for (headers, expected) in [
        (&[("authorization", &*bearer)][..], (200, "alice")),
        (&[("authorization", &*key)], (200, "bob")),
        (&[("x-api-key", ALICE)], (200, "bob")),
        (
            &[("x-api-key", ALICE), ("authorization", &*bearer)],
            (400, ""),
        ),
        (&[("authorization", "Bearer eyJ.e30.x")], (401, "")),
        (
            &[("authorization", "Bearer a key that is nobody's")],
            (401, ""),
        ),
        (&[], (401, "")),
    ] {
        let (status, said) = told(&app, headers).await;
        assert_eq!(status, expected.0, "{headers:?}");
        assert!(status != 200 || said == expected.1, "{said}");
    }
}

#[tokio::test]
async fn all_of_several_schemes_must_let_in() {
    let header = Place::header(http::HeaderName::from_static("x-api-key"));
    let outer = AuthLayer::new(ApiKeys::new().add("app", ALICE)).places([header]);
    let inner = AuthLayer::new(jwt()).places([Place::bearer()]);
    let app = router().layer(inner.clone().and_outer().require_scope("chat"));
    let app = app.layer(outer.clone());
    let bearer = format!("Bearer {}", token());
    let both = [("x-api-key", ALICE), ("authorization", &*bearer)];
    assert_eq!(told(&app, &both).await, (200, "app and alice".into()));
    for headers in [&both[..1], &both[1..], &[]] {
        assert_eq!(told(&app, headers).await.0, 401, "{headers:?}");
    }
    // Without it each layer is for itself, and the last one names the caller.
    let app = router().layer(inner).layer(outer.clone());
    assert_eq!(told(&app, &both).await, (200, "alice".into()));
    // Nobody further out is not somebody.
    let app = router().layer(AuthLayer::new(jwt()).places([Place::bearer()]).and_outer());
    let app = app.layer(outer.optional());
    assert_eq!(told(&app, &both[1..]).await.0, 401);
}

#[tokio::test]
async fn a_scheme_of_its_own_layer_is_one_of_several() {
    const WEBHOOK: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let signed = SignatureLayer::new()
        .secret("billing", WEBHOOK)
        .unwrap()
        .optional()
        .clock(|| UNIX_EPOCH + Duration::from_secs(1_614_265_330));
    let app = |scope: Option<&str>| {
        let mut inner = AuthLayer::new(jwt()).or_outer();
        if let Some(scope) = scope {
            inner = inner.require_scope(scope);
        }
        Router::new()
            .route(
                "/",
                axum::routing::any(async |request: Request<axum::body::Body>| {
                    Principal::of(&request).unwrap().id().to_string()
                }),
            )
            .layer(inner)
            .layer(signed.clone().remembered(10))
    };
    let bearer = format!("Bearer {}", token());
    let call = async |app: &Router, webhook: bool, bearer: Option<&str>| {
        let mut request = Request::post("/");
        if webhook {
            request = request
                .header("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
                .header("webhook-timestamp", "1614265330")
                .header(
                    "webhook-signature",
                    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
                );
        }
        if let Some(bearer) = bearer {
            request = request.header("authorization", bearer);
        }
        let request = request.body(Body::from(r#"{"test": 2432232314}"#)).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(call(&app(None), true, None).await, (200, "billing".into()));
    assert_eq!(
        call(&app(None), false, Some(&bearer)).await,
        (200, "alice".into())
    );
    assert_eq!(call(&app(None), true, Some(&bearer)).await.0, 400);
    assert_eq!(call(&app(None), false, None).await.0, 401);
    assert_eq!(
        call(&app(Some("chat")), true, None).await.0,
        403,
        "it has no scope"
    );
}

#[tokio::test]
async fn keys_and_verified_tokens_survive_a_layer_that_is_applied_for_each_request() {
    let upstream = MockUpstream::start(Reply::json(200, keys())).await.unwrap();
    let keys = Jwks::url(format!("{}/jwks", upstream.url())).unwrap();
    let jwt = Jwt::new([Issuer::new(ISSUER, keys).audience("gateway")]).unwrap();
    let layer = AuthLayer::new(jwt.clone());
    // A router without `with_state` applies its layers anew for each request.
    let app = Router::<()>::new()
        .route("/", get(async || "fine"))
        .layer(layer);
    let url = serve(app).await;
    let client = Client::new();
    let bearer = format!("Bearer {}", es256());
    for _ in 0..5 {
        let answer = ask(&client, &url, &[("authorization", bearer.as_bytes())]).await;
        assert_eq!(answer.unwrap().status(), 200);
    }
    assert_eq!((upstream.count(), jwt.kept()), (1, 1));
    let asked = upstream.last().unwrap();
    assert_eq!((asked.method.as_str(), asked.route()), ("GET", "/jwks"));
    assert_eq!(asked.header("authorization"), None);
}

/// A key that was made for these tests: its private part as PKCS #8.
const EC: [&str; 3] = [
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgD4zhnnEfiwaN2AkbAP+AOrUUwKGqgc1fIMfaW6GWtlWhRANCAART0/QJ22i05PDGdyHvE+vanyRfxkr4W0GkfTXGIs29w7xZy5UKApA6A8rExam4MtbHB90EZ8v7xtGxSkFUo6yS",
    "U9P0CdtotOTwxnch7xPr2p8kX8ZK-FtBpH01xiLNvcM",
    "vFnLlQoCkDoDysTFqbgy1scH3QRny_vG0bFKQVSjrJI",
];

fn keys() -> Value {
    json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "ec", "x": EC[1], "y": EC[2]}]})
}

fn es256() -> String {
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        EC[0]
    );
    let key = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
    sign(
        r#"{"alg":"ES256","kid":"ec"}"#,
        &claims().to_string(),
        &key,
        "ES256",
    )
}

#[tokio::test]
async fn nothing_that_a_token_says_is_fetched() {
    let trap = MockUpstream::start(Reply::json(200, keys())).await.unwrap();
    let app = router().layer(AuthLayer::new(jwt()));
    let url = trap.url();
    for header in [
        json!({"alg": "ES256", "kid": "ec", "jku": format!("{url}/jwks")}),
        json!({"alg": "ES256", "x5u": format!("{url}/cert")}),
        json!({"alg": "ES256", "jwk": keys()["keys"][0]}),
        json!({"alg": "ES256", "kid": format!("{url}/jwks")}),
    ] {
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            EC[0]
        );
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
        let mut claims = claims();
        let forged = sign(&header.to_string(), &claims.to_string(), &key, "ES256");
        assert_eq!(
            told(&app, &[("authorization", &format!("Bearer {forged}"))])
                .await
                .0,
            401
        );
        claims["iss"] = json!(url);
        let forged = sign(&header.to_string(), &claims.to_string(), &key, "ES256");
        assert_eq!(
            told(&app, &[("authorization", &format!("Bearer {forged}"))])
                .await
                .0,
            401
        );
    }
    assert_eq!(trap.connections(), 0);
}

/// Attacks of our own, each signed as if all were well.
#[tokio::test]
async fn a_signature_that_is_right_does_not_help_what_is_wrong() {
    let app = router().layer(AuthLayer::new(jwt()).failure_limit(None));
    let plain = r#"{"alg":"HS256"}"#;
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        claims.to_string()
    };
    let claimed = claims().to_string();
    let added = |more: &str| format!("{},{more}}}", &claimed[..claimed.len() - 1]);
    let mut attacks = vec![
        (plain.to_owned(), added(r#""sub":"admin""#)),
        (plain.to_owned(), added(r#""\u0073ub":"admin""#)),
        (plain.to_owned(), added(r#""exp":1e400"#)),
        (plain.to_owned(), added(r#""a":{"b":1,"b":2}"#)),
        (plain.to_owned(), format!("{claimed} {claimed}")),
        (plain.to_owned(), format!("[{claimed}]")),
        (plain.to_owned(), format!("\u{feff}{claimed}")),
        (plain.to_owned(), "7".into()),
        (plain.to_owned(), "\"alice\"".into()),
        (
            plain.to_owned(),
            added(&format!(r#""a":{}{}"#, "[".repeat(300), "]".repeat(300))),
        ),
    ];
    for (name, value) in [
        ("exp", json!("4102444800")),
        ("exp", json!(null)),
        ("exp", json!([4_102_444_800_u64])),
        ("exp", json!(-1)),
        ("exp", json!(1)),
        ("exp", json!(1e30)),
        ("nbf", json!(4_102_444_800_u64)),
        ("nbf", json!("1")),
        ("iat", json!(4_102_444_800_u64)),
        ("iat", json!(true)),
        ("aud", json!([])),
        ("aud", json!("gateway/")),
        ("aud", json!("GATEWAY")),
        ("aud", json!(["x", 1])),
        ("aud", json!(null)),
        ("iss", json!("https://issuer.example/")),
        ("iss", json!(["https://issuer.example"])),
        ("iss", json!("https://issuer.example\0")),
        ("sub", json!("")),
        ("sub", json!(7)),
    ] {
        attacks.push((plain.into(), with(name, value)));
    }
    for header in [
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","b64":false}"#,
        r#"{"alg":"HS256","zip":"DEF"}"#,
        r#"{"alg":"HS256","cty":"JWT"}"#,
        r#"{"alg":"HS256","typ":"logout+jwt"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","kid":"other"}"#,
        r#"{"alg":"HS256","kid":null}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS384"}"#,
        r#"{"alg":"none"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"typ":"JWT"}"#,
    ] {
        attacks.push((header.into(), claimed.clone()));
    }
    for (header, payload) in &attacks {
        let bearer = format!("Bearer {}", hs256(header, payload));
        let told = told(&app, &[("authorization", &bearer)]).await;
        assert_eq!(told.0, 401, "{header} {payload}");
    }
    let bearer = format!("Bearer {}", token());
    assert_eq!(told(&app, &[("authorization", &bearer)]).await.0, 200);
    let long = hs256(plain, &with("more", json!("x".repeat(9000))));
    assert_eq!(
        told(&app, &[("authorization", &format!("Bearer {long}"))])
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn a_claim_with_a_line_break_is_no_header() {
    let seen = Arc::<Mutex<Option<Principal>>>::default();
    let keep = seen.clone();
    let inner = service_fn(move |request: Request<Body>| {
        *keep.lock().unwrap() = Principal::of(&request).cloned();
        async { Ok::<_, std::convert::Infallible>(Response::new(bytes::Bytes::new())) }
    });
    let service = tower::Layer::layer(&AuthLayer::new(jwt()), inner);
    for subject in ["alice\r\nx-role: admin", "alice\0admin"] {
        let mut claims = claims();
        claims["sub"] = json!(subject);
        let token = hs256(r#"{"alg":"HS256"}"#, &claims.to_string());
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        assert_eq!(
            service.clone().oneshot(request).await.unwrap().status(),
            200
        );
        let principal = seen.lock().unwrap().take().unwrap();
        assert_eq!(&**principal.id(), subject);
        assert!(http::HeaderValue::try_from(&**principal.id()).is_err());
    }
}

#[tokio::test]
async fn an_issuer_is_asked_over_http_and_its_answer_kept() {
    let issuer = MockUpstream::start(|asked: &Recorded| {
        let active = asked.body.starts_with(b"token=opaque&");
        Reply::json(
            200,
            json!({"active": active, "sub": "carol", "scope": "chat"}),
        )
    });
    let issuer = issuer.await.unwrap();
    let endpoint = format!("{}/introspect", issuer.url());
    let introspection = Introspection::new(endpoint, "gateway", "secret").unwrap();
    let layer = AuthLayer::new(AnyOf::new(jwt(), introspection)).require_scope("chat");
    let url = serve(router().layer(layer)).await;
    let client = Client::new();
    for (bearer, status) in [
        ("Bearer opaque".to_owned(), 200),
        ("Bearer opaque".to_owned(), 200),
        ("Bearer revoked".to_owned(), 401),
        ("Bearer revoked".to_owned(), 401),
        (format!("Bearer {}", token()), 200),
    ] {
        let answer = ask(&client, &url, &[("authorization", bearer.as_bytes())]).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), status, "{bearer}");
        if bearer == "Bearer opaque" {
            assert_eq!(text(answer).await, "carol");
        }
    }
    assert_eq!(issuer.count(), 2);
    let asked = issuer.last().unwrap();
    assert_eq!(
        (asked.method.as_str(), asked.route()),
        ("POST", "/introspect")
    );
    assert_eq!(
        asked.header("authorization"),
        Some("Basic Z2F0ZXdheTpzZWNyZXQ=")
    );
}

#[tokio::test]
async fn what_is_down_is_told_apart_from_what_is_wrong() {
    let closed = tower_gateway::testing::ClosedPort::new().unwrap();
    let keys = Jwks::url(format!("{}/jwks", closed.url())).unwrap();
    let jwt = Jwt::new([Issuer::new(ISSUER, keys).audience("gateway")]).unwrap();
    let introspection = Introspection::new(format!("{}/i", closed.url()), "a", "b").unwrap();
    let app = router().layer(AuthLayer::new(AnyOf::new(jwt, introspection)));
    for token in [es256(), "opaque".into()] {
        let mut request = Request::new(Body::empty());
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert_eq!(rejection.kind().code(), "auth_unavailable");
    }
}
