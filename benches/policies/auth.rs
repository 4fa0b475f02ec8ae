//! Who calls.

use crate::measure::{both, within};
use http::{Request, Response};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::ServiceFn};
use tower_gateway::{
    Body, BoxError,
    auth::{
        ApiKeys, AuthLayer,
        client_cert::{CertHeader, ClientCertLayer},
        introspection::Introspection,
        jwt::{Issuer, JwkSet, Jwt},
        signature::SignatureLayer,
        stored::{Grant, Keyring, MemoryKeys, Pepper, StoredKeys},
    },
    client_addr::{ClientAddrLayer, PeerAddr},
    rate_limit::{Quota, RateLimitLayer},
    tls::TlsInfo,
};

const MOST_NANOS: f64 = 3000.0;
const KEY: &str = "bench-0123456789abcdef";

/// Signed until the year 2100, by keys of which only the public part is left; and those.
const TOKENS: [(&str, &str, &str); 4] = [
    (
        "HS256",
        "eyJhbGciOiJIUzI1NiIsImtpZCI6IkhTMjU2In0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoiZ2F0ZXdheSIsInN1YiI6ImFsaWNlIiwic2NvcGUiOiJjaGF0IGZpbGVzIiwiaWF0IjoxNzk1MDAwMDAwLCJleHAiOjQxMDI0NDQ4MDB9.vGaxhpUSuU2ws5EQuEgB6xmQVvPEpHFj-y8zrGMvjRA",
        r#"{"kty": "oct", "kid": "HS256", "k": "YSBzZWNyZXQgb2YgMzIgYnl0ZXMsIHdoaWNoIGlzLi4"}"#,
    ),
    (
        "RS256",
        "eyJhbGciOiJSUzI1NiIsImtpZCI6IlJTMjU2In0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoiZ2F0ZXdheSIsInN1YiI6ImFsaWNlIiwic2NvcGUiOiJjaGF0IGZpbGVzIiwiaWF0IjoxNzk1MDAwMDAwLCJleHAiOjQxMDI0NDQ4MDB9.E-EelJl31amEuGpfBFW1LG0nzcuPgA9jLC8ChEy1XYgKwrXJO6R_myKsPgNR3WmHolcGQUK-aQDPdycqs6hCbTyiEOlBMKI75Fu1NftMUgo5gnYob4LNFYYJKPU_hIhVL6WtovOj6rr32n0b4XAeSaEUd9TxIqen7ui-sOFlbmhQIQPgX0Tmj0xnr75OBC57TmfF7l41X6pUEaYBcFzetRY-9ddzWTwNw10uFrbbxGoX5pb-lEsNDDhRgZcjyZAncnWK8Bficn0gpCn2QyHuXPYSG1L8NQeOv0NiMpB_2CSCJkOQQBH9HTN0qamoh5xsqwMtPNG4tkeLcaLMBToTSw",
        r#"{"kty": "RSA", "kid": "RS256", "n": "sKO_VJNa30sbVFU2Un0odJ7KlWNPO8ksSWP0D1wH6SLLtWyg5FDk8ukJ5NjJCM3F_i6YwI5NtyAVIFv7b2o70reZbtDE0CDVpNbqF6QhCn_3a8qsdc2PXEHxZFzc9GF9zFGJS_UOvDgq9fSdboQPitjzg-xdp__IP1MSY3rh0TzJRENYO9s7abTXtHxHqKr7f2gt1gEhQhCHpSR9DB-mpudfywqNt3wne6E2GCUiJJVP-oGgk_ypOGIcvV049FP1nAfU04sXC5w2lQIV4LBdryzhIuQODDh_v_LZZGfWjRXjRS8YNASQqqfuQOGEu40T-J2OIEnbZXeXI4GbowzGHw", "e": "AQAB"}"#,
    ),
    (
        "EdDSA",
        "eyJhbGciOiJFZERTQSIsImtpZCI6IkVkRFNBIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoiZ2F0ZXdheSIsInN1YiI6ImFsaWNlIiwic2NvcGUiOiJjaGF0IGZpbGVzIiwiaWF0IjoxNzk1MDAwMDAwLCJleHAiOjQxMDI0NDQ4MDB9.XqX_32QK4lPQP4LVCD6pDAl4kHsDJueOKwB6CTrQer-40Bfd6y2F1vTunnAPOpB8P6jMBMZUbqpL6wdPcs4eAA",
        r#"{"kty": "OKP", "crv": "Ed25519", "kid": "EdDSA", "x": "eLH9Q8m-Z3wILupGrS39vMG_JL8664Y1rSFBFKhQ_H0"}"#,
    ),
    (
        "ES256",
        "eyJhbGciOiJFUzI1NiIsImtpZCI6IkVTMjU2In0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoiZ2F0ZXdheSIsInN1YiI6ImFsaWNlIiwic2NvcGUiOiJjaGF0IGZpbGVzIiwiaWF0IjoxNzk1MDAwMDAwLCJleHAiOjQxMDI0NDQ4MDB9.lMd75W7vVr4rF8sfkmnbvYXtw9QaFe8Q24p2E5p-c7EOUpvUm8Ne1ACId3OhTigX7hcT1jt6xpUlaqGV1r01Ag",
        r#"{"kty": "EC", "crv": "P-256", "kid": "ES256", "x": "RWCX3-i8fqjb6cL34DqS8-UyI_-PMxcMZl0fs3q3hsQ", "y": "HGVnu52-mJQMF8HQL6y10U5w5AHc0igz9L44Er-5P5w"}"#,
    ),
];

type Base = ServiceFn<fn(Request<Body>) -> Ready<Result<Response<Body>, Infallible>>>;

fn plain() -> Base {
    service_fn(|_| ready(Ok(Response::new(Body::from("Hello")))))
}

async fn call<S>(service: &mut S, request: Request<Body>)
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Into<BoxError>,
{
    let Ok(service) = service.ready().await else {
        panic!("not ready");
    };
    let Ok(response) = service.call(request).await else {
        panic!("no answer");
    };
    assert_eq!(response.status(), 200);
    black_box(response);
}

/// What a layer adds to a call.
async fn row<L>(name: &str, layer: L, request: impl Fn() -> Request<Body>) -> f64
where
    L: Layer<Base>,
    L::Service: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>>,
{
    let (mut base, mut service) = (plain(), layer.layer(plain()));
    let (base, whole) = both(
        async || call(&mut base, request()).await,
        async || call(&mut service, request()).await,
    )
    .await;
    let added = whole - base;
    println!("{name:<44}{added:>10.0}");
    added
}

fn bearer(token: &str) -> Request<Body> {
    Request::get("/api/hello")
        .header("host", "bench.test")
        .header("authorization", format!("Bearer {token}"))
        .header("user-agent", "bench/1")
        .extension(PeerAddr(([192, 0, 2, 1], 7).into()))
        .body(Body::empty())
        .unwrap_or_default()
}

fn jwt(key: &str) -> Result<Jwt, BoxError> {
    let keys = JwkSet::from_json(key)?;
    Ok(Jwt::new([
        Issuer::new("https://issuer.example", keys).audience("gateway")
    ])?)
}

/// Whether it is fast enough.
pub(crate) async fn run() -> bool {
    match rows().await {
        Ok(nanos) => within(nanos, MOST_NANOS),
        Err(error) => {
            println!("{error}");
            false
        }
    }
}

async fn rows() -> Result<f64, BoxError> {
    let keys = (0..1000).fold(ApiKeys::new().add("bench", KEY), |keys, n| {
        keys.add(format!("caller-{n}"), format!("a-key-of-caller-{n:04}"))
    });
    row("API key, of 1001", AuthLayer::new(keys), || bearer(KEY)).await;
    let (store, pepper) = (Arc::new(MemoryKeys::new()), Pepper::new(1, [7; 32])?);
    let keyring = Keyring::new(store.clone(), pepper.clone());
    let (_, secret) = keyring.issue(Grant::new("bench").scopes(["chat"])).await?;
    let stored = AuthLayer::new(StoredKeys::new(store, pepper));
    let shown = || bearer(secret.expose());
    row("API key in a store, looked up before", stored, shown).await;
    for (name, token, key) in TOKENS {
        let jwt = jwt(key)?;
        let cached = format!("JWT {name}, verified before");
        row(&cached, AuthLayer::new(jwt.clone()), || bearer(token)).await;
        let each = format!("JWT {name}, verified each time");
        row(&each, AuthLayer::new(jwt.keep(0)), || bearer(token)).await;
    }

    let issuer = service_fn(|_| {
        let says = r#"{"active":true,"sub":"alice","scope":"chat"}"#;
        ready(Ok::<_, Infallible>(Response::new(Body::from(says))))
    });
    let introspection = Introspection::new("https://issuer.example/", "id", "secret")?;
    let introspection = AuthLayer::new(introspection.client(issuer));
    let opaque = || bearer("an-opaque-token-of-some-length-0123456789");
    row("introspection, asked before", introspection, opaque).await;
    let each = Introspection::new("https://issuer.example/", "id", "secret")?
        .client(issuer)
        .keep_for(Duration::ZERO);
    let name = "introspection, asked each time (in process)";
    row(name, AuthLayer::new(each), opaque).await;

    let shown = rcgen::generate_simple_self_signed(["billing.example".to_owned()])?;
    let info = TlsInfo::new().peer_certificates([shown.cert.der().to_vec()]);
    let request = || {
        let mut request = bearer("");
        request.headers_mut().remove("authorization");
        request.extensions_mut().insert(info.clone());
        request
    };
    row("certificate of a client", ClientCertLayer::new(), request).await;
    let told = ClientCertLayer::new().trusted_proxies(["192.0.2.0/24"], CertHeader::Xfcc)?;
    let request = || {
        let mut request = bearer("");
        let xfcc = http::HeaderValue::from_static("URI=spiffe://acme.example/ns/billing");
        request.headers_mut().remove("authorization");
        request
            .headers_mut()
            .insert("x-forwarded-client-cert", xfcc);
        request
    };
    row("certificate of a client, by XFCC", told, request).await;

    let signed = SignatureLayer::new()
        .secret("billing", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?
        .remembered(usize::MAX)
        .clock(|| UNIX_EPOCH + Duration::from_secs(1_614_265_330));
    let (nth, body) = (AtomicU64::new(0), "x".repeat(1024));
    let request = || {
        // Each is another one: a signature is taken once.
        let id = format!("msg_{}", nth.fetch_add(1, Ordering::Relaxed));
        let signature = sign(&id, &body);
        Request::post("/hook")
            .header("webhook-id", id)
            .header("webhook-timestamp", "1614265330")
            .header("webhook-signature", format!("v1,{signature}"))
            .body(Body::from(body.clone()))
            .unwrap_or_default()
    };
    row("signature over 1 KiB", signed, request).await;

    let (_, token, key) = TOKENS[1];
    let chain = ServiceBuilder::new()
        .layer(ClientAddrLayer::new())
        .layer(AuthLayer::new(jwt(key)?).require_scope("chat"))
        .layer(RateLimitLayer::new(Quota::per_second(1_000_000_000)));
    let name = "admission: address, JWT verified before, quota";
    Ok(row(name, chain, || bearer(token)).await)
}

fn sign(id: &str, body: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    // `MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw` in Base64.
    const SECRET: [u8; 24] = [
        49, 242, 144, 246, 191, 6, 41, 138, 171, 79, 8, 212, 60, 63, 8, 44, 246, 72, 163, 98, 218,
        45, 164, 176,
    ];
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(&SECRET) else {
        return String::new();
    };
    mac.update(format!("{id}.1614265330.{body}").as_bytes());
    let tag = mac.finalize().into_bytes();
    let mut out = String::new();
    for group in tag.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let index = bits >> (18 - 6 * at) & 63;
            out.push(if at > group.len() {
                '='
            } else {
                char::from(ALPHABET[index as usize])
            });
        }
    }
    out
}
