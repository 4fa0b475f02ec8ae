//! Every scheme and every limiter by the builder of a gateway, on both planes.

mod limits;

use http::{HeaderMap, Request, Response};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tower::{ServiceExt, service_fn};
use tower_gateway::{
    Body, Principal,
    address_list::{AddressListLayer, Addresses},
    auth::{
        AnyOf, ApiKeys, AuthLayer, Credential, Grant,
        client_cert::{CertHeader, ClientCertLayer},
        introspection::Introspection,
        jwt::{Algorithm, Issuer, JwkSet, Jwt},
        signature::SignatureLayer,
        stored::{Keyring, MemoryKeys, Pepper, StoredKeys},
    },
    client_addr::{ClientAddrLayer, PeerAddr},
    collect,
    gateway::{Gateway, GatewayBuilder, GatewayService},
    llm::Simulator,
    rejection::Kind,
};

const KEY: &str = "a-secret-of-alice";
const ISSUER: &str = "https://issuer.example";
const SECRET: &[u8] = b"a secret of 32 bytes, which is..";

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// Two models, and a route that says who calls.
fn gateway(admission: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> GatewayService {
    let who = service_fn(async |request: Request<Body>| {
        let name = Principal::of(&request).map_or("nobody".into(), |who| who.id().to_string());
        Ok::<_, Infallible>(Response::new(Body::from(name)))
    });
    let builder = Gateway::builder()
        .model("fast", [Simulator::new()])
        .model("slow", [Simulator::new()])
        .route("/who", who)
        .route("/other", who);
    let trusted = ClientAddrLayer::new().trusted_proxies(["10.0.0.0/8"]);
    let builder = builder.client_addr(trusted.unwrap());
    admission(builder).build().unwrap()
}

/// What a caller sends beside the request.
#[derive(Clone, Default)]
struct Dress {
    headers: HeaderMap,
    peer: Option<IpAddr>,
    /// To be signed by the secret of this letter.
    signed: Option<u8>,
}

impl Dress {
    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    fn bearer(token: &str) -> Self {
        Self::default().header("authorization", &format!("Bearer {token}"))
    }

    fn from(mut self, peer: &str) -> Self {
        self.peer = Some(peer.parse().unwrap());
        self
    }

    fn put_on(&self, path: &str, body: &str) -> Request<Body> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let method = if body.is_empty() { "GET" } else { "POST" };
        let request = Request::builder().method(method).uri(path);
        let mut request = request
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        request.headers_mut().extend(self.headers.clone());
        if let Some(peer) = self.peer {
            request
                .extensions_mut()
                .insert(PeerAddr((peer, 4711).into()));
        }
        if let Some(secret) = self.signed {
            let id = format!("msg_{}", NEXT.fetch_add(1, Ordering::Relaxed));
            let at = now();
            let signature = crate::signature::sign(secret, &id, at, body.as_bytes());
            for (name, value) in [
                ("webhook-id", id),
                ("webhook-timestamp", at.to_string()),
                ("webhook-signature", signature),
            ] {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        request
    }
}

async fn ask(gateway: &GatewayService, request: Request<Body>) -> (u16, String) {
    let response = gateway.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = collect(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn chat(gateway: &GatewayService, dress: &Dress, model: &str) -> u16 {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]});
    let request = dress.put_on("/v1/chat/completions", &body.to_string());
    ask(gateway, request).await.0
}

async fn listed(gateway: &GatewayService, dress: &Dress) -> Vec<String> {
    let (status, list) = ask(gateway, dress.put_on("/v1/models", "")).await;
    assert_eq!(status, 200, "{list}");
    let list: Value = serde_json::from_str(&list).unwrap();
    let ids = list["data"].as_array().unwrap().iter();
    ids.map(|model| model["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Who shows nothing, or something wrong, is let in on neither plane.
async fn keeps_out(gateway: &GatewayService, wrong: &Dress) {
    for dress in [&Dress::default(), wrong] {
        assert_eq!(ask(gateway, dress.put_on("/who", "")).await.0, 401);
        assert_eq!(ask(gateway, dress.put_on("/v1/models", "")).await.0, 401);
        assert_eq!(chat(gateway, dress, "fast").await, 401);
    }
    assert_eq!(
        ask(gateway, Dress::default().put_on("/health/live", ""))
            .await
            .0,
        200
    );
}

/// Who is let in is the same on both planes, and may use these models.
async fn lets_in(gateway: &GatewayService, dress: &Dress, name: &str, models: &[&str]) {
    let who = ask(gateway, dress.put_on("/who", "")).await;
    assert_eq!(who, (200, name.into()));
    assert_eq!(listed(gateway, dress).await, models);
    for model in ["fast", "slow"] {
        let expected = if models.contains(&model) { 200 } else { 404 };
        assert_eq!(chat(gateway, dress, model).await, expected, "{model}");
    }
}

fn gauge(gateway: &GatewayService, name: &str) -> Option<i64> {
    let text = gateway.metrics().encode();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

fn jwt(set: impl FnOnce(Issuer) -> Issuer) -> Jwt {
    let keys = JwkSet::from_secret(Algorithm::HS256, SECRET).unwrap();
    Jwt::new([set(Issuer::new(ISSUER, keys).audience("gateway"))]).unwrap()
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "gateway", "sub": "alice", "scope": "chat", "exp": now() + 600})
}

fn token(claims: &Value) -> String {
    crate::jwt::hs256(r#"{"alg":"HS256"}"#, &claims.to_string())
}

#[tokio::test]
async fn fixed_keys_and_what_they_grant() {
    let grant = Grant::new("alice").models(["fast"]);
    let keys = ApiKeys::new()
        .add(grant, KEY)
        .add("bob", "a-secret-that-bob-has");
    let gateway = gateway(|builder| builder.api_keys(keys));
    keeps_out(&gateway, &Dress::bearer("another-secret-key")).await;
    lets_in(&gateway, &Dress::bearer(KEY), "alice", &["fast"]).await;
    let bob = Dress::default().header("x-api-key", "a-secret-that-bob-has");
    lets_in(&gateway, &bob, "bob", &["fast", "slow"]).await;
    assert_eq!(gauge(&gateway, "gateway_auth_known_credentials"), Some(2));
}

#[tokio::test]
async fn keys_in_a_store() {
    let store = Arc::new(MemoryKeys::new());
    let pepper = Pepper::new(1, "what a generator of random numbers has said").unwrap();
    let keyring = Keyring::new(store.clone(), pepper.clone());
    let grant = Grant::new("alice")
        .models(["fast"])
        .routes(["/who", "/v1/*"]);
    let (_, secret) = keyring.issue(grant).await.unwrap();
    let gateway = gateway(|builder| builder.stored_keys(StoredKeys::new(store, pepper)));
    keeps_out(&gateway, &Dress::bearer("tgw_nobody")).await;
    let alice = Dress::bearer(secret.expose());
    lets_in(&gateway, &alice, "alice", &["fast"]).await;
    assert_eq!(ask(&gateway, alice.put_on("/other", "")).await.0, 403);
    assert_eq!(gauge(&gateway, "gateway_auth_known_credentials"), Some(1));
}

#[tokio::test]
async fn tokens_that_say_themselves_whose_they_are() {
    let jwt = jwt(|issuer| issuer.models("models"));
    let gateway = gateway(|builder| builder.auth(jwt));
    let with = |models: Value| {
        let mut claims = claims();
        claims["models"] = models;
        Dress::bearer(&token(&claims))
    };
    keeps_out(&gateway, &Dress::bearer(&token(&claims()))).await;
    lets_in(&gateway, &with(json!(["fast"])), "alice", &["fast"]).await;
    lets_in(
        &gateway,
        &with(json!("fast sl*")),
        "alice",
        &["fast", "slow"],
    )
    .await;
    lets_in(&gateway, &with(json!([])), "alice", &[]).await;
    assert_eq!(gauge(&gateway, "gateway_auth_known_credentials"), Some(3));
}

#[tokio::test]
async fn tokens_of_which_the_issuer_is_asked() {
    let issuer = service_fn(async |request: Request<Body>| {
        let asked = collect(request.into_body(), 10_000).await.unwrap();
        let good = asked.starts_with(b"token=opaque&");
        let says = json!({"active": good, "sub": "alice", "models": ["slow"]});
        Ok::<_, Infallible>(Response::new(Body::from(says.to_string())))
    });
    let url = "https://issuer.example/introspect";
    let introspection = Introspection::new(url, "gateway", "its secret").unwrap();
    let introspection = introspection.client(issuer).models("models");
    let gateway = gateway(|builder| builder.auth(introspection));
    keeps_out(&gateway, &Dress::bearer("unknown")).await;
    lets_in(&gateway, &Dress::bearer("opaque"), "alice", &["slow"]).await;
    assert_eq!(gauge(&gateway, "gateway_auth_known_credentials"), Some(1));
}

#[tokio::test]
async fn certificates_that_a_proxy_tells_of() {
    let layer = ClientCertLayer::new().trusted_proxies(["10.0.0.0/8"], CertHeader::Xfcc);
    let gateway = gateway(|builder| builder.client_certificates(layer.unwrap()));
    let shown = Dress::default().header("x-forwarded-client-cert", "URI=spiffe://acme/billing");
    keeps_out(&gateway, &shown.clone().from("192.0.2.1")).await;
    let proxy = shown.from("10.1.2.3");
    lets_in(&gateway, &proxy, "spiffe://acme/billing", &["fast", "slow"]).await;
}

#[tokio::test]
async fn requests_that_are_signed() {
    let of = Principal::new("billing").with_models(["fast"]);
    let layer = SignatureLayer::new().secret_of(of, "whsec_YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh");
    let gateway = gateway(|builder| builder.signed_requests(layer.unwrap()));
    let by = |secret| Dress {
        signed: Some(secret),
        ..Dress::default()
    };
    keeps_out(&gateway, &by(b'b')).await;
    lets_in(&gateway, &by(b'a'), "billing", &["fast"]).await;
    assert_eq!(
        gauge(&gateway, "gateway_auth_remembered_signatures"),
        Some(4)
    );
}

#[tokio::test]
async fn any_of_several_schemes() {
    let keys = ApiKeys::new().add(Grant::new("bob").models(["slow"]), KEY);
    let any = AnyOf::new(jwt(|issuer| issuer), keys);
    let gateway = gateway(|builder| builder.auth(AuthLayer::new(any).realm("both")));
    keeps_out(&gateway, &Dress::bearer("neither-of-the-two")).await;
    let alice = Dress::bearer(&token(&claims()));
    lets_in(&gateway, &alice, "alice", &["fast", "slow"]).await;
    lets_in(&gateway, &Dress::bearer(KEY), "bob", &["slow"]).await;
    let both = alice.header("x-api-key", KEY);
    assert_eq!(chat(&gateway, &both, "fast").await, 400);
    assert_eq!(gauge(&gateway, "gateway_auth_known_credentials"), Some(2));
}

#[tokio::test]
async fn whoever_shows_nothing_may_be_nobody() {
    let layer = AuthLayer::new(ApiKeys::new().add("alice", KEY)).optional();
    let gateway = gateway(|builder| builder.auth(layer));
    lets_in(&gateway, &Dress::default(), "nobody", &["fast", "slow"]).await;
    lets_in(&gateway, &Dress::bearer(KEY), "alice", &["fast", "slow"]).await;
    let wrong = Dress::bearer("another-secret-key");
    assert_eq!(ask(&gateway, wrong.put_on("/who", "")).await.0, 401);
}

#[tokio::test]
async fn a_certificate_or_a_key_or_both() {
    let certificate = |optional| {
        let layer = ClientCertLayer::new().trusted_proxies(["10.0.0.0/8"], CertHeader::Xfcc);
        let layer = layer.unwrap();
        if optional { layer.optional() } else { layer }
    };
    let keys = || AuthLayer::new(ApiKeys::new().add(Grant::new("alice").models(["fast"]), KEY));
    let proxy = Dress::default()
        .header("x-forwarded-client-cert", "DNS=billing.example")
        .from("10.1.2.3");
    let key = Dress::bearer(KEY).from("192.0.2.1");
    let both = proxy
        .clone()
        .header("authorization", &format!("Bearer {KEY}"));

    let either = gateway(|builder| {
        let builder = builder.client_certificates(certificate(true));
        builder.auth(keys().or_outer())
    });
    lets_in(&either, &proxy, "billing.example", &["fast", "slow"]).await;
    lets_in(&either, &key, "alice", &["fast"]).await;
    keeps_out(&either, &Dress::bearer("another-secret-key")).await;
    assert_eq!(ask(&either, both.put_on("/who", "")).await.0, 400);

    let all = gateway(|builder| {
        let builder = builder.client_certificates(certificate(false));
        builder.auth(keys().and_outer())
    });
    assert_eq!(
        ask(&all, both.put_on("/who", "")).await,
        (200, "billing.example".into())
    );
    for one in [&proxy, &key] {
        assert_eq!(ask(&all, one.put_on("/who", "")).await.0, 401);
    }
}

#[tokio::test]
async fn a_closure_and_what_it_needs() {
    let ali = |credential: Credential| async move {
        match credential.expose() {
            b"open sesame" => Ok(Principal::new("ali baba").with_models(["fast"])),
            _ => Err(Kind::InvalidCredentials.into()),
        }
    };
    let gateway = gateway(|builder| builder.auth(ali));
    keeps_out(&gateway, &Dress::bearer("open barley")).await;
    lets_in(
        &gateway,
        &Dress::bearer("open sesame"),
        "ali baba",
        &["fast"],
    )
    .await;
}

#[tokio::test]
async fn addresses_are_looked_at_before_anybody_is_asked_who_they_are() {
    let list = AddressListLayer::new(Addresses::new().deny(["192.0.2.0/24"]).unwrap());
    let keys = ApiKeys::new().add("alice", KEY);
    let gateway = gateway(|builder| builder.api_keys(keys).address_list(list.clone()));
    let ask = async |path, dress: &Dress| ask(&gateway, dress.put_on(path, "")).await.0;
    let denied = Dress::bearer(KEY).from("192.0.2.7");
    assert_eq!(ask("/who", &denied).await, 403);
    assert_eq!(ask("/v1/models", &denied).await, 403);
    assert_eq!(
        ask("/v1/models", &Dress::default().from("192.0.2.7")).await,
        403
    );
    assert_eq!(ask("/health/live", &denied).await, 200);
    assert_eq!(
        ask("/who", &Dress::bearer(KEY).from("198.51.100.1")).await,
        200
    );
    list.replace(Addresses::new());
    assert_eq!(ask("/who", &denied).await, 200);
}

#[test]
fn what_would_be_forgotten_is_a_fault() {
    let fault = |admission: fn(GatewayBuilder) -> GatewayBuilder| {
        let builder = admission(Gateway::builder().simulator(Simulator::new()));
        builder.build().unwrap_err().to_string()
    };
    let twice = fault(|builder| builder.auth(ApiKeys::new()).auth(ApiKeys::new()));
    assert!(twice.contains("or_outer"), "{twice}");
    let late = fault(|builder| {
        builder
            .auth(ApiKeys::new())
            .client_certificates(ClientCertLayer::new())
    });
    assert!(late.contains("client_certificates"), "{late}");
    let late = fault(|builder| {
        builder
            .auth(ApiKeys::new())
            .signed_requests(SignatureLayer::new())
    });
    assert!(late.contains("signed_requests"), "{late}");
}

/// Time enough for a machine that is busy.
const SOON: Duration = Duration::from_secs(5);
