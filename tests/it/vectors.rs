//! What attackers send, written down by others, where a folder of it lies beside the project: each
//! case goes through the whole of a gateway, or of a proxy, and is judged by what arrives.

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use serde_json::Value;
use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tower::{ServiceExt, service_fn};
use tower_gateway::{
    Body, Principal,
    auth::ApiKeys,
    client_addr::{ClientAddr, ClientAddrLayer, PeerAddr},
    gateway::{Gateway, GatewayService},
    llm::{Provider, Simulator},
    proxy::Proxy,
    testing::{MockUpstream, Recorded, Reply},
};

const KEY: &str = "a-secret-of-alice";

/// The cases of a file, from `$SECURITY_VECTORS`, or from beside the project.
fn cases(file: &str) -> Option<Vec<Value>> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/security/own");
    let folder = std::env::var_os("SECURITY_VECTORS").map_or_else(beside, PathBuf::from);
    let Ok(text) = std::fs::read_to_string(folder.join(file)) else {
        println!("vectors: {file}: skipped (none beside the project)");
        return None;
    };
    Some(serde_json::from_str(&text).unwrap())
}

fn done(file: &str, cases: usize, floor: usize, failed: &[String]) {
    println!("vectors: {file}: {cases} cases, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(cases >= floor, "{cases}");
}

/// Behind a router that guards by the path: what is below `/public` is for all, the rest is not.
#[tokio::test]
async fn no_spelling_of_a_path_leads_past_a_guard() {
    const FILE: &str = "path_normalisation.json";
    let Some(cases) = cases(FILE) else {
        return;
    };
    let reached = Arc::<Mutex<Option<String>>>::default();
    let keep = reached.clone();
    let service = service_fn(move |req: Request<Body>| {
        *keep.lock().unwrap() = Some(req.uri().path().to_owned());
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    });
    let open = Gateway::builder()
        .simulator(Simulator::new())
        .route("/public", service.clone())
        .route("/public/{*rest}", service.clone())
        .build()
        .unwrap();
    let guarded = Gateway::builder()
        .api_keys(ApiKeys::new().add("alice", KEY))
        .simulator(Simulator::new())
        .route("/{*rest}", service)
        .build()
        .unwrap();
    let mut failed = Vec::new();
    for case in &cases {
        let (path, expect) = (case["path"].as_str().unwrap(), &case["expect"]);
        let Ok(uri) = path.parse::<Uri>() else {
            // Neither hyper nor this crate hands on what is no URI.
            continue;
        };
        let ask = async |gateway: &GatewayService| {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = uri.clone();
            let host = HeaderValue::from_static("host");
            request.headers_mut().insert("host", host);
            reached.lock().unwrap().take();
            let response = gateway.clone().oneshot(request).await.unwrap();
            (response.status(), reached.lock().unwrap().take())
        };
        let (status, public) = ask(&open).await;
        let leaks = public.is_some_and(|path| !path.starts_with("/public"));
        let fine = match expect.as_str() {
            Some("public-ok") => status == StatusCode::OK,
            _ => !leaks && status.is_client_error(),
        };
        let (status, secret) = ask(&guarded).await;
        if !fine || secret.is_some() || !matches!(status.as_u16(), 400 | 401 | 404) {
            failed.push(format!("{case}: {status} {secret:?}"));
        }
    }
    done(FILE, cases.len(), 18, &failed);
}

/// What a caller's headers come to: the gateway's answer, and what the upstream got.
#[tokio::test]
async fn no_header_says_what_callers_do_not_get_to_say() {
    const FILE: &str = "header_abuse.json";
    let Some(cases) = cases(FILE) else {
        return;
    };
    let mut failed = Vec::new();
    for case in &cases {
        let upstream = MockUpstream::start(Reply::status(204)).await.unwrap();
        let proxy = Proxy::to(upstream.url()).unwrap();
        let seen = Arc::<Mutex<Option<(Option<ClientAddr>, Option<Principal>)>>>::default();
        let keep = seen.clone();
        let inner = service_fn(move |req: Request<Body>| {
            let extensions = req.extensions();
            *keep.lock().unwrap() = Some((extensions.get().copied(), extensions.get().cloned()));
            proxy.clone().oneshot(req)
        });
        let gateway = Gateway::builder()
            .api_keys(ApiKeys::new().add("alice", KEY))
            .client_addr(
                ClientAddrLayer::new()
                    .trusted_proxies(["192.0.2.1"])
                    .unwrap(),
            )
            .simulator(Simulator::new())
            .route("/{*rest}", inner)
            .build()
            .unwrap();
        let id = case["id"].as_str().unwrap();
        let mut request = Request::get("http://gate/a").body(Body::empty()).unwrap();
        request
            .extensions_mut()
            .insert(PeerAddr(([192, 0, 2, 1], 7).into()));
        let pairs = case["headers"].as_array().unwrap();
        let brings_key = |pair: &Value| pair[0] == "Authorization" || pair[0] == "X-API-Key";
        if !pairs.iter().any(brings_key) {
            let key = HeaderValue::from_static("Bearer a-secret-of-alice");
            request.headers_mut().insert("authorization", key);
        }
        for pair in pairs {
            let name: HeaderName = pair[0].as_str().unwrap().parse().unwrap();
            let mut value = pair[1].as_str().unwrap().to_owned();
            if let Some((text, times)) = value
                .strip_prefix("@repeat:")
                .and_then(|it| it.rsplit_once(':'))
            {
                value = text.repeat(times.parse().unwrap());
            }
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let status = gateway.oneshot(request).await.unwrap().status();
        let seen = seen.lock().unwrap().take();
        let client = seen.as_ref().and_then(|(client, _)| *client);
        let principal = seen.as_ref().and_then(|(_, principal)| principal.clone());
        let got = upstream.last();
        let header = |name: &str| {
            got.as_ref()
                .and_then(|got| got.header(name))
                .map(str::to_owned)
        };
        let arrived = status == 204 && principal.is_some_and(|it| &**it.id() == "alice");
        let fine = match id {
            "underscore" => {
                arrived && header("x_forwarded_for").is_none() && header("x_auth_user").is_none()
            }
            // It is no address: the one who is trusted counts, and nothing further out.
            "xff-garbage" => arrived && client == Some(ClientAddr([192, 0, 2, 1].into())),
            "xff-many" => arrived && client == Some(ClientAddr([192, 0, 2, 1].into())),
            "forwarded-rfc7239" => {
                arrived
                    && client == Some(ClientAddr([192, 0, 2, 1].into()))
                    && header("forwarded").is_none()
            }
            "identity-spoof" => {
                arrived && header("x-gateway-user").is_none() && header("x-consumer-id").is_none()
            }
            "dup-auth" | "multi-token-places" => {
                matches!(status.as_u16(), 400 | 401) && got.is_none()
            }
            "cl-te" | "te-obfuscated" => status == 400 && got.is_none(),
            "rbac-multi" | "rbac-comma" => arrived && roles(&got) == "user,admin",
            "method-override" => arrived && got.as_ref().is_some_and(|got| got.method == "GET"),
            "expect" => arrived && header("expect").is_none(),
            // To an upstream of one's own they go; to a vendor, nothing of the caller's does.
            "cookie-forward" => arrived && to_a_vendor("cookie", "session=1").await.is_none(),
            _ => {
                failed.push(format!("nobody knows what {id} must come to"));
                true
            }
        };
        if !fine {
            failed.push(format!("{case}: {status}, {client:?}, {got:?}"));
        }
    }
    done(FILE, cases.len(), 14, &failed);
}

/// All values of the header, in order.
fn roles(got: &Option<Recorded>) -> String {
    let lines = got.iter().flat_map(|got| got.headers.get_all("x-role"));
    let roles: Vec<_> = lines.map(|line| line.to_str().unwrap()).collect();
    roles.join(",")
}

/// What of a caller's header reaches a vendor of language models.
async fn to_a_vendor(name: &'static str, value: &'static str) -> Option<String> {
    let vendor = MockUpstream::start(Reply::json(200, "{}")).await.unwrap();
    let gateway = Gateway::builder()
        .api_keys(ApiKeys::new().add("alice", KEY))
        .vendor(Provider::custom("lab", vendor.url()).unwrap())
        .build()
        .unwrap();
    let request = Request::post("/v1/chat/completions")
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .header(name, value)
        .body(Body::from(
            r#"{"model":"lab/m","messages":[{"role":"user","content":"Hi"}]}"#,
        ))
        .unwrap();
    gateway.oneshot(request).await.unwrap();
    let all = vendor.requests();
    let call = all.iter().find(|got| got.method == "POST").expect("a call");
    call.header(name).map(str::to_owned)
}
