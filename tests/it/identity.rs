//! Who callers say they are, and what becomes of it: the cases of abuse that concern identity, each
//! through a whole gateway to an upstream behind it, and through the layers alone.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_gateway::{
    Body, Principal,
    auth::{ApiKeys, AuthLayer, Credential, Place, PrincipalHeadersLayer},
    client_addr::{ClientAddr, ClientAddrLayer, PeerAddr},
    gateway::{Gateway, GatewayBuilder, Slot},
    identity::Vouched,
    key::{ByHeader, Key},
    llm::{Provider, Simulator},
    proxy::Proxy,
    testing::{MockUpstream, Reply},
};

const KEY: &str = "a-secret-of-alice";

/// What upstreams believe, in the spellings in which they do.
const CLAIMS: [&str; 24] = [
    "x-user",
    "x-user-id",
    "X-User_Id",
    "x_user_id",
    "x-user-roles",
    "x-auth-request-user",
    "x_auth_request_email",
    "x-authenticated-user",
    "x-consumer-id",
    "X_Consumer_Username",
    "x-anonymous-consumer",
    "x-credential-identifier",
    "x-gateway-user",
    "x-gateway_principal",
    "x-userinfo",
    "x-remote-user",
    "remote-user",
    "Remote_User",
    "remote-groups",
    "x-webauth-user",
    "x-forwarded-user",
    "x_forwarded_email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
];
/// What says that the caller is one of us, or that it asks for something else than it does.
const BYPASSES: [&str; 10] = [
    "x-internal",
    "X_Internal",
    "x-internal-token",
    "x-original-url",
    "X-Original_URL",
    "x-original-uri",
    "x-rewrite-url",
    "x-override-url",
    "x-http-method-override",
    "x_method_override",
];

fn keys() -> ApiKeys {
    ApiKeys::new().add("alice", KEY)
}

fn admitting() -> GatewayBuilder {
    Gateway::builder().api_keys(keys())
}

fn name(name: &str) -> HeaderName {
    name.parse().unwrap()
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn request(path: &str, headers: Pairs<'_>) -> Request<Body> {
    let mut request = Request::get(path).header("host", "gate");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

/// The status, and the headers that a proxy behind the gateway sent, if it did.
async fn sent(builder: GatewayBuilder, request: Request<Body>) -> (u16, Option<HeaderMap>) {
    sent_by(builder, request, |proxy| proxy).await
}

async fn sent_by(
    builder: GatewayBuilder,
    request: Request<Body>,
    set: impl FnOnce(Proxy) -> Proxy,
) -> (u16, Option<HeaderMap>) {
    let upstream = MockUpstream::start(Reply::status(204)).await.unwrap();
    let proxy = set(Proxy::to(upstream.url()).unwrap());
    let gateway = builder.route("/{*rest}", proxy).build().unwrap();
    let response = gateway.oneshot(request).await.unwrap();
    let headers = upstream.last().map(|got| got.headers);
    (response.status().as_u16(), headers)
}

/// The headers that a service of one's own sees behind the gateway, and the principal.
async fn seen(
    builder: GatewayBuilder,
    request: Request<Body>,
) -> Option<(HeaderMap, Option<Principal>)> {
    let seen = Arc::<Mutex<Option<_>>>::default();
    let keep = seen.clone();
    let service = service_fn(move |request: Request<Body>| {
        let principal = Principal::of(&request).cloned();
        *keep.lock().unwrap() = Some((request.headers().clone(), principal));
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    });
    let gateway = builder.route("/{*rest}", service).build().unwrap();
    gateway.oneshot(request).await.unwrap();
    seen.lock().unwrap().take()
}

fn lies(headers: &HeaderMap) -> Vec<&str> {
    let lies = |name: &HeaderName| headers.get_all(name).iter().any(|value| value == "lie");
    let names = headers.keys().filter(|name| lies(name));
    names.map(HeaderName::as_str).collect()
}

fn with_lies(names: &[&'static str], headers: Pairs<'_>) -> Request<Body> {
    let lies = names.iter().map(|name| (*name, "lie"));
    let all: Vec<_> = lies.chain(headers.iter().copied()).collect();
    request("/a", &all)
}

#[tokio::test]
async fn abuse_1_connection_takes_out_nothing_that_is_for_the_upstream() {
    for nominated in [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "x-forwarded-user",
        "Forwarded",
        "Authorization",
        "Cookie",
        "Host",
        "X-User-Id",
        "x-internal",
        "Remote-User",
        "close, authorization",
        "keep-alive,X-Real-IP",
    ] {
        let headers = [("x-api-key", KEY), ("connection", nominated)];
        let (status, got) = sent(admitting(), request("/a", &headers)).await;
        assert_eq!((status, got), (400, None), "{nominated}");
    }
    // That alone of TE which is for the upstream arrives, and it cannot be taken out either.
    for connection in ["te", "TE, close"] {
        let headers = [
            ("x-api-key", KEY),
            ("connection", connection),
            ("te", "trailers, deflate"),
        ];
        let (status, got) = sent(admitting(), request("/a", &headers)).await;
        assert_eq!(status, 204);
        assert_eq!(got.unwrap()["te"], "trailers");
    }
}

#[tokio::test]
async fn abuse_1_connection_takes_out_nothing_that_a_layer_has_written() {
    let told = || PrincipalHeadersLayer::new().id("x-who").team("x-user-team");
    let builder = || admitting().layer_at(Slot::Auth, told());
    let headers = [("x-api-key", KEY), ("x-who", "lie"), ("x_who", "lie")];
    let (status, got) = sent(builder(), request("/a", &headers)).await;
    let got = got.unwrap();
    assert_eq!(
        (status, &got["x-who"]),
        (204, &HeaderValue::from_static("alice"))
    );
    assert!(lies(&got).is_empty(), "{got:?}");
    for connection in ["x-who", "close, X-Who", "x-user-team"] {
        let headers = [("x-api-key", KEY), ("connection", connection)];
        let (status, got) = sent(builder(), request("/a", &headers)).await;
        assert_eq!((status, got), (400, None), "{connection}");
    }
}

#[tokio::test]
async fn abuse_2_5_9_what_callers_say_of_themselves_arrives_nowhere() {
    let all = [&CLAIMS[..], &BYPASSES].concat();
    let optional = || AuthLayer::new(keys()).optional();
    let key = [("x-api-key", KEY)];
    for (case, builder, headers) in [
        ("on", admitting as fn() -> GatewayBuilder, &key[..]),
        ("off", Gateway::builder, &[]),
        ("off, with a key", Gateway::builder, &key),
    ] {
        let (status, got) = sent(builder(), with_lies(&all, headers)).await;
        assert_eq!(status, 204, "{case}");
        assert!(lies(&got.unwrap()).is_empty(), "{case}");
        let (got, who) = seen(builder(), with_lies(&all, headers)).await.unwrap();
        assert_eq!(lies(&got), [""; 0], "{case}, a service of one's own");
        assert_eq!(who.is_some(), case == "on");
    }
    for headers in [&key[..], &[]] {
        let builder = Gateway::builder().layer_at(Slot::Auth, optional());
        let (got, who) = seen(builder, with_lies(&all, headers)).await.unwrap();
        assert_eq!(lies(&got), [""; 0], "optional");
        assert_eq!(who.is_some(), !headers.is_empty());
    }
    // Where it failed nothing arrives at all.
    let wrong = [("x-api-key", "another key that is wrong")];
    let (status, got) = sent(admitting(), with_lies(&all, &wrong)).await;
    assert_eq!((status, got), (401, None));
    let builder = Gateway::builder().layer_at(Slot::Auth, optional());
    let (status, got) = sent(builder, with_lies(&all, &wrong)).await;
    assert_eq!((status, got), (401, None), "optional, and wrong");
}

/// Layers of a user's own see nothing of it either, wherever they stand.
#[tokio::test]
async fn abuse_5_no_layer_sees_what_callers_say_of_themselves() {
    for slot in [Slot::Trace, Slot::Edge, Slot::Auth, Slot::Inner] {
        let seen = Arc::<Mutex<HeaderMap>>::default();
        let keep = seen.clone();
        let spy = tower::layer::layer_fn(move |inner| {
            let keep = keep.clone();
            tower::util::MapRequest::new(inner, move |request: Request<Body>| {
                *keep.lock().unwrap() = request.headers().clone();
                request
            })
        });
        let builder = Gateway::builder().layer_at(slot, spy);
        let all = [&CLAIMS[..], &BYPASSES].concat();
        sent(builder, with_lies(&all, &[])).await;
        let seen = seen.lock().unwrap();
        assert!(seen.contains_key("host"));
        assert_eq!(lies(&seen), [""; 0], "{slot:?}");
    }
}

#[tokio::test]
async fn abuse_5_an_auth_layer_alone_takes_it_out() {
    let all = [&CLAIMS[..], &BYPASSES].concat();
    let key = [("x-api-key", KEY)];
    let layer = AuthLayer::new(keys());
    for (layer, headers) in [
        (layer.clone(), &key[..]),
        (layer.clone().keep_credentials(), &key),
        (layer.clone().optional(), &key),
        (layer.clone().optional(), &[]),
        (layer.or_outer(), &key),
    ] {
        let inner = service_fn(async |request: Request<Body>| {
            let mut response = Response::new(Body::empty());
            *response.headers_mut() = request.headers().clone();
            Ok::<_, Infallible>(response)
        });
        let service = layer.layer(inner);
        let response = service.oneshot(with_lies(&all, headers)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(lies(response.headers()), [""; 0], "{layer:?}");
    }
}

/// A proxy in front that authenticates is believed where that is said, and then by all further in.
#[tokio::test]
async fn abuse_5_who_is_believed_is_named() {
    let builder = |builder: GatewayBuilder| builder.keep_headers([name("x-forwarded-user")]);
    let headers = [
        ("x-api-key", KEY),
        ("x-forwarded-user", "bob"),
        ("x_forwarded_user", "lie"),
        ("x-forwarded-email", "lie"),
    ];
    let from = |peer: [u8; 4]| {
        let mut request = request("/a", &headers);
        request.extensions_mut().insert(PeerAddr((peer, 7).into()));
        request
    };
    let trusting = || {
        let layer = ClientAddrLayer::new().trusted_proxies(["192.0.2.1"]);
        builder(admitting()).client_addr(layer.unwrap())
    };
    let (_, got) = sent(trusting(), from([192, 0, 2, 1])).await;
    let got = got.unwrap();
    assert_eq!(got["x-forwarded-user"], "bob", "as the proxy wrote it");
    assert!(lies(&got).is_empty());
    let (_, got) = sent(trusting(), from([192, 0, 2, 2])).await;
    assert!(
        !got.unwrap().contains_key("x-forwarded-user"),
        "from a stranger"
    );
}

#[tokio::test]
async fn abuse_5_a_principal_in_the_extensions_is_nobodys() {
    let mut request = request("/a", &[]);
    request.extensions_mut().insert(Principal::new("admin"));
    let builder = Gateway::builder().layer_at(Slot::Auth, AuthLayer::new(keys()).optional());
    let (_, who) = seen(builder, request).await.unwrap();
    assert_eq!(who, None);
}

#[tokio::test]
async fn abuse_6_7_two_credentials_are_none() {
    let bearer = format!("Bearer {KEY}");
    let cases: [Pairs<'_>; 8] = [
        &[
            ("authorization", &bearer),
            ("authorization", "Bearer other"),
        ],
        &[
            ("authorization", "Bearer other"),
            ("authorization", &bearer),
        ],
        &[("authorization", &bearer), ("authorization", &bearer)],
        &[("authorization", &bearer), ("x-api-key", "other")],
        &[("authorization", &bearer), ("x-api-key", KEY)],
        &[("authorization", "Basic YTpi"), ("x-api-key", KEY)],
        &[("api-key", KEY), ("x-goog-api-key", "other")],
        &[("x-api-key", "other"), ("x-api-key", KEY)],
    ];
    for headers in cases {
        let (status, got) = sent(admitting(), request("/a", headers)).await;
        assert_eq!((status, got), (400, None), "{headers:?}");
    }
    // In one line they are one, which is nobody's.
    let joined = format!("Bearer {KEY}, Bearer other");
    let headers = [("authorization", &*joined)];
    let (status, got) = sent(admitting(), request("/a", &headers)).await;
    assert_eq!((status, got), (401, None));
    // And what some servers take for a place is none, and arrives nowhere.
    let headers = [("x-api-key", KEY), ("x_api_key", "lie"), ("api_key", "lie")];
    let (status, got) = sent(admitting(), request("/a", &headers)).await;
    assert_eq!(status, 204);
    assert!(lies(&got.unwrap()).is_empty());
}

#[tokio::test]
async fn abuse_8_all_values_are_seen_or_none() {
    for headers in [
        &[("x-role", "user"), ("x-role", "admin")][..],
        &[("x-role", "user,admin")],
    ] {
        let (got, _) = seen(Gateway::builder(), request("/a", headers))
            .await
            .unwrap();
        let roles: Vec<_> = got.get_all("x-role").iter().collect();
        assert_eq!(roles.len(), headers.len());
    }
    // A key for limits is not the first of several.
    let twice = request("/a", &[("x-tenant", "a"), ("x-tenant", "b")]);
    assert_eq!(ByHeader::new("x-tenant").key(&twice), None);
    let once = request("/a", &[("x-tenant", "a,b")]);
    assert_eq!(ByHeader::new("x-tenant").key(&once).as_deref(), Some("a,b"));
}

#[tokio::test]
async fn abuse_9_no_header_leads_past_a_guard() {
    let upstream = MockUpstream::start(Reply::status(204)).await.unwrap();
    let guarded = AuthLayer::new(keys()).layer(Proxy::to(upstream.url()).unwrap());
    let gateway = Gateway::builder()
        .route("/public/{*rest}", Proxy::to(upstream.url()).unwrap())
        .route("/admin/{*rest}", guarded)
        .build()
        .unwrap();
    for bypass in [&CLAIMS[..], &BYPASSES].concat() {
        for value in ["1", "true", "/public/a", "127.0.0.1", "alice"] {
            let request = request("/admin/a", &[(bypass, value)]);
            let response = gateway.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 401, "{bypass}: {value}");
        }
        let request = request("/public/a", &[(bypass, "/admin/a")]);
        let response = gateway.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 204);
        let got = upstream.last().unwrap();
        assert_eq!(got.path, "/public/a");
        assert!(!got.headers.contains_key(bypass), "{bypass}");
    }
}

#[tokio::test]
async fn abuse_10_no_name_breaks_out_of_a_header() {
    for (id, told) in [
        ("alice\r\nX-Admin: 1", "alice%0D%0AX-Admin:%201"),
        ("alice\0", "alice%00"),
        ("alice\n", "alice%0A"),
        ("alic\u{e9}", "alic%C3%A9"),
        ("50%", "50%25"),
        ("a b", "a%20b"),
    ] {
        let auth = AuthLayer::new(move |_: Credential| async move {
            let principal = Principal::new(id).with_key_id(id).with_team(id);
            let principal = principal.with_tenant(id).with_scopes([id]);
            Ok(principal.with_roles([id]))
        });
        let told_all = PrincipalHeadersLayer::new()
            .id("x-user-id")
            .key_id("x-user-key")
            .team("x-user-team")
            .tenant("x-user-tenant")
            .scopes("x-user-scopes")
            .roles("x-user-roles");
        let builder = Gateway::builder()
            .layer_at(Slot::Auth, auth)
            .layer_at(Slot::Auth, told_all);
        let headers = [
            ("x-api-key", KEY),
            ("x-user-id", "lie"),
            ("x_user_key", "lie"),
        ];
        let (status, got) = sent(builder, request("/a", &headers)).await;
        let got = got.unwrap();
        assert_eq!(status, 204);
        for name in ["id", "key", "team", "tenant", "scopes", "roles"] {
            assert_eq!(got[&*format!("x-user-{name}")], told, "{name}");
        }
        assert!(!got.contains_key("x-admin") && lies(&got).is_empty());
    }
}

#[tokio::test]
async fn abuse_11_credentials_arrive_at_no_upstream() {
    let bearer = format!("Bearer {KEY}");
    for credential in [
        ("authorization", &*bearer),
        ("x-api-key", KEY),
        ("api-key", KEY),
        ("x-goog-api-key", KEY),
    ] {
        let headers = [credential, ("proxy-authorization", "Basic c2VjcmV0")];
        let (status, got) = sent(admitting(), request("/a", &headers)).await;
        let got = got.unwrap();
        assert_eq!(status, 204);
        let shown = format!("{got:?}");
        assert!(
            !shown.contains(KEY) && !shown.contains("c2VjcmV0"),
            "{shown}"
        );
    }
    // Neither a key in a cookie nor one in the query is taken for one.
    let cookie = format!("key={KEY}");
    for (path, headers) in [
        ("/a", &[("cookie", &*cookie)][..]),
        ("/a?key=a-secret-of-alice", &[]),
        ("/a?api_key=a-secret-of-alice", &[]),
        ("/a?access_token=a-secret-of-alice", &[]),
    ] {
        let (status, got) = sent(admitting(), request(path, headers)).await;
        assert_eq!((status, got), (401, None), "{path}");
    }
    // What is the gateway's own goes there, and what a caller sends under its name does not.
    let own = |proxy: Proxy| {
        proxy
            .header(name("x-upstream-key"), HeaderValue::from_static("ours"))
            .remove_header(name("cookie"))
    };
    let headers = [
        ("x-api-key", KEY),
        ("x-upstream-key", "lie"),
        ("x_upstream_key", "lie"),
        ("cookie", "session=lie"),
    ];
    let (_, got) = sent_by(admitting(), request("/a", &headers), own).await;
    let got = got.unwrap();
    assert_eq!(got["x-upstream-key"], "ours");
    assert!(lies(&got).is_empty() && !got.contains_key("cookie"));
}

#[tokio::test]
async fn abuse_11_a_place_of_ones_own_is_kept_for_whoever_looks_there() {
    let place = || Place::header(name("x-auth-token"));
    let builder = |builder: GatewayBuilder| {
        builder.layer_at(Slot::Auth, AuthLayer::new(keys()).places([place()]))
    };
    let headers = [("x-auth-token", KEY), ("x_auth_token", "lie")];
    let told = Gateway::builder().keep_headers([name("x-auth-token")]);
    let (status, got) = sent(builder(told), request("/a", &headers)).await;
    assert_eq!(status, 204);
    let got = got.unwrap();
    assert!(!got.contains_key("x-auth-token") && lies(&got).is_empty());
    // Without that nobody gets in, rather than anybody.
    let (status, got) = sent(builder(Gateway::builder()), request("/a", &headers)).await;
    assert_eq!((status, got), (401, None));
}

#[tokio::test]
async fn abuse_11_a_vendor_gets_nothing_of_the_callers_and_its_key_comes_back_to_nobody() {
    const OWN: &str = "sk-the-key-of-the-gateway-0123456789";
    let echo = format!(r#"{{"error":{{"message":"Incorrect API key provided: {OWN}"}}}}"#);
    let vendor = MockUpstream::start(
        Reply::json(401, &echo)
            .header("x-api-key", OWN)
            .header("authorization", OWN)
            .header("set-cookie", "vendor=1"),
    )
    .await
    .unwrap();
    let provider = Provider::custom("lab", vendor.url()).unwrap().key(OWN);
    let gateway = admitting().vendor(provider).build().unwrap();
    let call = Request::post("/v1/chat/completions")
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .header("cookie", "session=secret")
        .header("x-user-id", "lie")
        .header("x-forwarded-for", "192.0.2.1")
        .body(Body::from(
            r#"{"model":"lab/m","messages":[{"role":"user","content":"Hi"}]}"#,
        ))
        .unwrap();
    let response = gateway.oneshot(call).await.unwrap();
    let (head, body) = response.into_parts();
    let body = tower_gateway::collect(body, 100_000).await.unwrap();
    let shown = format!("{head:?} {}", String::from_utf8_lossy(&body));
    assert!(
        !shown.contains(OWN) && !shown.contains("vendor=1"),
        "{shown}"
    );
    let all = vendor.requests();
    let got = all.iter().find(|got| got.method == "POST").unwrap();
    assert_eq!(got.header("authorization"), Some(&*format!("Bearer {OWN}")));
    let shown = format!("{:?}", got.headers);
    assert!(!shown.contains(KEY) && !shown.contains("secret"), "{shown}");
    for name in ["cookie", "x-user-id", "x-forwarded-for"] {
        assert!(!got.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn abuse_3_4_who_calls_from_where_is_for_trusted_proxies_to_say() {
    let many = "1.1.1.1,".repeat(2000);
    for (peer, header, client) in [
        ([192, 0, 2, 1], "203.0.113.7", [203, 0, 113, 7]),
        ([192, 0, 2, 1], "6.6.6.6, 203.0.113.7", [203, 0, 113, 7]),
        ([192, 0, 2, 9], "203.0.113.7", [192, 0, 2, 9]),
        ([192, 0, 2, 1], "a", [192, 0, 2, 1]),
        ([192, 0, 2, 1], "127.0.0.1, localhost", [192, 0, 2, 1]),
        ([192, 0, 2, 1], &*many, [192, 0, 2, 1]),
    ] {
        let found = Arc::<Mutex<Option<ClientAddr>>>::default();
        let keep = found.clone();
        let service = service_fn(move |request: Request<Body>| {
            *keep.lock().unwrap() = request.extensions().get().copied();
            async { Ok::<_, Infallible>(Response::new(Body::empty())) }
        });
        let layer = ClientAddrLayer::new().trusted_proxies(["192.0.2.1"]);
        let gateway = Gateway::builder()
            .client_addr(layer.unwrap())
            .simulator(Simulator::new())
            .route("/{*rest}", service)
            .build()
            .unwrap();
        let mut request = request("/a", &[("x-forwarded-for", header)]);
        request.extensions_mut().insert(PeerAddr((peer, 7).into()));
        gateway.oneshot(request).await.unwrap();
        let found = found.lock().unwrap().take();
        assert_eq!(found, Some(ClientAddr(client.into())), "{:.40}", header);
    }
}

/// A user's own layer that writes who calls, and says so.
#[tokio::test]
async fn what_a_layer_vouches_for_arrives() {
    let writes = tower::util::MapRequestLayer::new(|mut request: Request<Body>| {
        let headers = request.headers_mut();
        headers.insert("x-user-id", HeaderValue::from_static("7"));
        Vouched::new([HeaderName::from_static("x-user-id")]).add(&mut request);
        request
    });
    let builder = admitting().layer_at(Slot::Auth, writes);
    let (_, got) = sent(builder, request("/a", &[("x-api-key", KEY)])).await;
    assert_eq!(got.unwrap()["x-user-id"], "7");
}
