//! Tokens that are bound to a certificate, RFC 8705, over real connections.

use crate::{
    jwt::{base64url, hs256},
    tls::caller::{Authority, Identity, get},
};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Empty;
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::timeout;
use tower::{ServiceExt, service_fn};
use tower_gateway::{
    Body, Principal,
    auth::{
        Thumbprint,
        client_cert::{CertHeader, ClientCertLayer},
        introspection::Introspection,
        jwt::{Algorithm, Issuer, JwkSet, Jwt},
    },
    client_addr::{ClientAddrLayer, ForwardedHeader, PeerAddr},
    gateway::{Gateway, GatewayBuilder, GatewayService, Server, Tls},
    tls::TlsInfo,
};

const ISSUER: &str = "https://issuer.example";
const SECRET: &[u8] = b"a secret of 32 bytes, which is..";
/// No test waits longer.
const SOON: Duration = Duration::from_secs(10);

fn jwt(set: impl FnOnce(Issuer) -> Issuer) -> Jwt {
    let keys = JwkSet::from_secret(Algorithm::HS256, SECRET).unwrap();
    Jwt::new([set(Issuer::new(ISSUER, keys).audience("gateway"))]).unwrap()
}

fn token(cnf: Option<Value>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let exp = now.as_secs() + 600;
    let mut claims = json!({"iss": ISSUER, "aud": "gateway", "sub": "alice", "exp": exp});
    if let Some(cnf) = cnf {
        claims["cnf"] = cnf;
    }
    hs256(r#"{"alg":"HS256"}"#, &claims.to_string())
}

fn cnf(certificate: &[u8]) -> Value {
    json!({"x5t#S256": base64url(Thumbprint::of(certificate).as_bytes())})
}

fn gateway(admission: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> GatewayService {
    let who = service_fn(async |request: Request<Body>| {
        let name = Principal::of(&request).map_or("nobody".into(), |who| who.id().to_string());
        Ok::<_, Infallible>(Response::new(Body::from(name)))
    });
    let builder = Gateway::builder().route("/who", who);
    admission(builder).build().unwrap()
}

/// A server that ends TLS, and whoever calls it.
struct Served {
    authority: Authority,
    addr: SocketAddr,
}

impl Served {
    fn start(name: &str, gateway: GatewayService) -> Self {
        let authority = Authority::new(name);
        let (certificate, key) = authority.files("localhost");
        let tls = Tls::files(certificate, key).unwrap();
        let tls = tls.client_authorities(authority.file("ca.pem")).unwrap();
        let tls = tls.optional_client_certificates().unwrap();
        let server = Server::bind(gateway, "127.0.0.1:0").unwrap().tls(tls);
        let addr = server.local_addr().unwrap();
        tokio::spawn(server.run_until(std::future::pending()));
        Self { authority, addr }
    }

    /// The status, and the challenge if there is one.
    async fn ask(&self, own: Option<&Identity>, token: &str) -> (u16, Option<String>) {
        let mut told = Vec::new();
        for http2 in [false, true] {
            let request = get("localhost", "/who", http2)
                .header("authorization", format!("Bearer {token}"))
                .body(Empty::<Bytes>::new());
            let requests = vec![request.unwrap()];
            let asked = self
                .authority
                .ask(self.addr, ("localhost", own, http2), requests);
            let answer = timeout(SOON, asked).await.unwrap().pop().unwrap();
            let challenge = answer.headers().get(header::WWW_AUTHENTICATE);
            let challenge = challenge.map(|it| it.to_str().unwrap().to_owned());
            told.push((answer.status().as_u16(), challenge));
        }
        assert_eq!(told[0], told[1], "both versions of HTTP");
        told.remove(0)
    }
}

fn refused() -> (u16, Option<String>) {
    let challenge = r#"Bearer realm="api", error="invalid_token""#;
    (401, Some(challenge.to_owned()))
}

#[tokio::test]
async fn a_token_lets_in_by_its_certificate_alone() {
    let gateway = gateway(|builder| builder.auth(jwt(|issuer| issuer)));
    let served = Served::start("bound", gateway);
    let (alice, eve) = (served.authority.sign("alice"), served.authority.sign("eve"));
    let bound = token(Some(cnf(&alice.der())));
    // Twice: what is known of the token is known on all connections.
    for _ in 0..2 {
        assert_eq!(served.ask(Some(&alice), &bound).await, (200, None));
        assert_eq!(served.ask(Some(&eve), &bound).await, refused());
        assert_eq!(served.ask(None, &bound).await, refused());
    }
    let anyones = token(None);
    for own in [None, Some(&eve)] {
        assert_eq!(served.ask(own, &anyones).await, (200, None));
    }
    let both = json!({"x5t#S256": cnf(&alice.der())["x5t#S256"], "jkt": "A".repeat(43)});
    for other in [json!({"jkt": "A".repeat(43)}), both, json!({})] {
        assert_eq!(
            served.ask(Some(&alice), &token(Some(other))).await,
            refused()
        );
    }
}

#[tokio::test]
async fn it_can_be_asked_of_all_tokens() {
    let strict = jwt(Issuer::require_certificate);
    let served = Served::start("required", gateway(|builder| builder.auth(strict)));
    let alice = served.authority.sign("alice");
    let bound = token(Some(cnf(&alice.der())));
    assert_eq!(served.ask(Some(&alice), &bound).await, (200, None));
    assert_eq!(served.ask(Some(&alice), &token(None)).await, refused());
}

#[tokio::test]
async fn the_issuer_may_say_so_when_it_is_asked() {
    let says = Arc::new(std::sync::Mutex::new(
        json!({"active": true, "sub": "alice"}),
    ));
    let asked = Arc::new(AtomicUsize::new(0));
    let (said, counted) = (says.clone(), asked.clone());
    let issuer = service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::Relaxed);
        let says = said.lock().unwrap().to_string();
        async move { Ok::<_, Infallible>(Response::new(Body::from(says))) }
    });
    let url = "https://issuer.example/introspect";
    let introspection = Introspection::new(url, "gateway", "its secret").unwrap();
    let introspection = introspection.client(issuer);
    let served = Served::start("asked", gateway(|builder| builder.auth(introspection)));
    let (alice, eve) = (served.authority.sign("alice"), served.authority.sign("eve"));
    says.lock().unwrap()["cnf"] = cnf(&alice.der());
    // The wrong one first: that it was refused there is not kept for the right one.
    assert_eq!(served.ask(Some(&eve), "opaque").await, refused());
    assert_eq!(served.ask(Some(&alice), "opaque").await, (200, None));
    assert_eq!(served.ask(None, "opaque").await, refused());
    assert_eq!(asked.load(Ordering::Relaxed), 1, "what it said is kept");
    says.lock().unwrap()["cnf"] = json!({"jkt": "A".repeat(43)});
    assert_eq!(served.ask(Some(&alice), "another").await, refused());
}

/// A proxy ends TLS, and tells of the certificate; its own is not the caller's.
#[tokio::test]
async fn a_trusted_proxy_may_tell_of_the_certificate() {
    let authority = Authority::new("proxied");
    let (alice, eve, proxy) = ("alice", "eve", "proxy");
    let [alice, eve, proxy] = [alice, eve, proxy].map(|name| authority.sign(name).der());
    let hex = |der: &[u8]| {
        let print = Thumbprint::of(der);
        print
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let der = |der: &[u8]| {
        let text = base64url(der).replace('-', "+").replace('_', "/");
        let padding = "=".repeat((4 - text.len() % 4) % 4);
        format!(":{text}{padding}:")
    };
    for (header, name, right, wrong) in [
        (
            CertHeader::ClientCert,
            "client-cert",
            der(&alice),
            der(&eve),
        ),
        (
            CertHeader::Xfcc,
            "x-forwarded-client-cert",
            format!("Hash={};URI=spiffe://acme/alice", hex(&alice)),
            format!("Hash={};URI=spiffe://acme/alice", hex(&eve)),
        ),
    ] {
        let layer = ClientCertLayer::new().trusted_proxies(["10.0.0.0/8"], header);
        let layer = layer.unwrap().for_tokens();
        let gateway = gateway(|builder| {
            // Of whichever family the addresses are.
            let trusted = ClientAddrLayer::new().header(ForwardedHeader::Forwarded);
            let trusted = trusted.trusted_proxies(["10.0.0.0/8"]).unwrap();
            let builder = builder.client_addr(trusted).client_certificates(layer);
            builder.auth(jwt(|issuer| issuer))
        });
        let ask = async |peer: [u8; 4], told: Option<&str>, token: &str| {
            let mut request =
                Request::get("/who").header("authorization", format!("Bearer {token}"));
            if let Some(told) = told {
                request = request.header(name, told);
            }
            let tls = TlsInfo::new().peer_certificates([proxy.clone()]);
            let request = request
                .extension(PeerAddr((peer, 4711).into()))
                .extension(tls)
                .body(Body::empty());
            let response = gateway.clone().oneshot(request.unwrap()).await.unwrap();
            response.status().as_u16()
        };
        let bound = token(Some(cnf(&alice)));
        let (near, far) = ([10, 1, 2, 3], [192, 0, 2, 1]);
        assert_eq!(ask(near, Some(&right), &bound).await, 200);
        assert_eq!(ask(near, Some(&wrong), &bound).await, 401);
        assert_eq!(ask(near, None, &bound).await, 401);
        assert_eq!(
            ask(far, Some(&right), &bound).await,
            401,
            "a stranger is not believed"
        );
        assert_eq!(ask(near, None, &token(None)).await, 200);
        // The connection is the proxy's, and so is its certificate.
        let proxys = token(Some(cnf(&proxy)));
        assert_eq!(ask(near, None, &proxys).await, 401);
        assert_eq!(
            ask(far, None, &proxys).await,
            200,
            "without a proxy it is the caller's"
        );
    }
}
