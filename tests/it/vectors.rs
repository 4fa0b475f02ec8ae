//! What attackers send, byte for byte to the socket of a gateway, and judged by what comes back and by what
//! arrives at the upstream. Beside our own cases those that were written down by others, where a folder of
//! them lies beside the project.

mod site;

use self::site::{KEY, Site, Told};
use serde_json::Value;
use std::path::PathBuf;

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

const AUTHORIZED: (&str, &str) = ("Authorization", "Bearer a-secret-of-alice");

/// What becomes of a path without a key: it is refused, or nothing is served there, or it is public. With
/// a key it comes to the same path, or is refused in the same way. The fault, if there is one.
async fn guarded(site: &Site, method: &str, path: &str) -> Result<Told, String> {
    let nobody = site.ask(method, path, &[], "").await;
    let alice = site.ask(method, path, &[AUTHORIZED], "").await;
    let arrived = |told: &Told| told.got.as_ref().map(|got| got.path.clone());
    let fault = match (nobody.status, arrived(&nobody)) {
        (200, Some(at)) if is_below(&at, "/public") || is_below(&at, "/below") => {
            arrived(&alice) != Some(at) || alice.status != 200
        }
        // The key is what was missing, and then it is the guarded path that arrives.
        (401, None) => {
            alice.status != 200 || !arrived(&alice).is_some_and(|at| is_below(&at, "/admin"))
        }
        (400 | 404, None) => alice.status != nobody.status || alice.got.is_some(),
        _ => true,
    };
    if fault {
        return Err(format!("{method} {path}: {nobody:?}, with a key {alice:?}"));
    }
    Ok(nobody)
}

/// As an upstream reads a path that reads it in every way at once.
fn is_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    rest.is_some_and(|rest| {
        let path = rest.split('?').next().unwrap_or_default();
        let lower = path.to_ascii_lowercase().replace("%2e", ".");
        !lower.split(['/', '\\']).any(|segment| segment == "..")
            && !lower.contains("%2f")
            && !lower.contains("%5c")
    })
}

/// Paths of others that are not told to be guarded or refused, for nothing is served there: 404, with a
/// key and without.
const NOWHERE: [(&str, &str); 3] = [
    ("/ADMIN", "letters of another case are another path"),
    ("/admin%20", "a space is part of the name"),
    ("/api../admin", "a prefix ends with its segment"),
];

#[tokio::test]
async fn no_spelling_of_a_path_leads_past_a_guard() {
    const FILE: &str = "path_normalisation.json";
    let Some(cases) = cases(FILE) else {
        return;
    };
    let site = Site::start().await;
    let mut failed = Vec::new();
    for case in &cases {
        let path = case["path"].as_str().unwrap();
        let nowhere = NOWHERE.iter().find(|(known, _)| *known == path);
        for method in ["GET", "POST", "HEAD"] {
            let told = match guarded(&site, method, path).await {
                Ok(told) => told,
                Err(fault) => {
                    failed.push(format!("{case}: {fault}"));
                    continue;
                }
            };
            let fine = match (case["expect"].as_str(), nowhere) {
                (Some("public-ok"), _) => told.status == 200,
                (Some("auth-enforced-or-400"), Some(_)) => told.status == 404,
                (Some("auth-enforced-or-400"), None) => matches!(told.status, 400 | 401),
                _ => false,
            };
            if !fine {
                failed.push(format!("{case}: {method} {told:?}"));
            }
        }
    }
    for (path, why) in NOWHERE {
        println!("vectors: {FILE}: {path} is served nowhere: {why}");
    }
    done(FILE, cases.len(), 18, &failed);
}

/// Ours. What is decoded once and no more is a name.
#[tokio::test]
async fn abuse_18_no_way_to_write_a_path_leads_past_a_guard() {
    const REFUSED: [&str; 55] = [
        "/admin",
        "/admin/",
        "/admin/x",
        "/admin?x=/public",
        "/admin#/public",
        "//admin",
        "///admin",
        "/./admin",
        "/.//admin",
        "/%61dmin",
        "/%41DMIN/../admin",
        "/admin/.",
        "/admin/x/..",
        "/public/../admin",
        "/public/./../admin",
        "/public//../admin",
        "/public/x/../../admin",
        "/public/%2e%2e/admin",
        "/public/%2E%2E/admin",
        "/public/.%2e/admin",
        "/public/%2e./admin",
        "/api/../admin",
        "/api/%2e%2e/admin",
        "/api/x/../../admin",
        "/api/..;/admin",
        "/api//../admin",
        "/public/..%2fadmin",
        "/public/..%2Fadmin",
        "/public%2f../admin",
        "/public%2f..%2fadmin",
        "/public/..;/admin",
        "/public/..;a=b/admin",
        "/public/%2e%2e;/admin",
        "/public/..%3b/admin",
        "/public/;/../admin",
        "/public/../../admin",
        "/../admin",
        "/admin%2fx",
        "/admin%2Fx",
        "/admin%00",
        "/admin%09",
        "/admin%0d%0a",
        "/admin%20",
        "/admin;x",
        "/ADMIN",
        "/Admin/x",
        "/public/%5c..%5cadmin",
        "/public\\..\\admin",
        "/public/..\\admin",
        "\\admin",
        "/public/%c0%ae%c0%ae/admin",
        "/public/%zz",
        "/public/%",
        "http://gate/admin",
        "http://gate/public/../admin",
    ];
    const PUBLIC: [&str; 9] = [
        "/public",
        "/public?/../admin",
        "/public/../public",
        "/public/%252e%252e/admin",
        "/public/...../admin",
        "/public/\u{ff0e}\u{ff0e}/admin",
        "/public/admin",
        "/api/admin",
        "http://gate/public",
    ];
    let site = Site::start().await;
    for path in REFUSED {
        let told = guarded(&site, "GET", path).await.unwrap();
        assert!(told.got.is_none(), "{path}: {told:?}");
        assert!(matches!(told.status, 400 | 401 | 404), "{path}: {told:?}");
    }
    for path in PUBLIC {
        let told = guarded(&site, "GET", path).await.unwrap();
        assert_eq!(told.status, 200, "{path}: {told:?}");
    }
    for target in ["*", "admin", "http:/admin", "gate:80", "/admin x", ""] {
        let told = site.ask("GET", target, &[], "").await;
        assert_eq!(
            (told.status, told.got.is_none()),
            (400, true),
            "{target}: {told:?}"
        );
    }
}

/// All values of the header, in order.
fn roles(told: &Told) -> String {
    let lines = told
        .got
        .iter()
        .flat_map(|got| got.headers.get_all("x-role"));
    let roles: Vec<_> = lines.map(|line| line.to_str().unwrap()).collect();
    roles.join(",")
}

/// What of a caller's header reaches a vendor of language models.
async fn to_a_vendor(site: &Site, name: &str, value: &str) -> Option<String> {
    let body = r#"{"model":"lab/m","messages":[{"role":"user","content":"Hi"}]}"#;
    let length = body.len().to_string();
    let headers = [
        AUTHORIZED,
        ("Content-Type", "application/json"),
        ("Content-Length", &length),
        (name, value),
    ];
    site.ask("POST", "/v1/chat/completions", &headers, body)
        .await;
    let all = site.vendor.requests();
    let call = all
        .iter()
        .rfind(|got| got.method == "POST")
        .expect("a call");
    call.header(name).map(str::to_owned)
}

/// Whether nothing is read behind a request with these headers and chunks.
async fn is_the_last(site: &Site, headers: &[(&str, &str)]) -> bool {
    let before = site.upstream.count();
    let mut text = "POST /admin/a HTTP/1.1\r\nHost: gate\r\n".to_owned();
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n0\r\n\r\nGET /public HTTP/1.1\r\nHost: gate\r\n\r\n");
    let answer = site.raw(text.as_bytes()).await;
    answer.matches("HTTP/1.").count() == 1 && site.upstream.count() == before + 1
}

/// What a caller's headers come to: the gateway's answer, and what the upstream got.
#[tokio::test]
async fn no_header_says_what_callers_do_not_get_to_say() {
    const FILE: &str = "header_abuse.json";
    let Some(cases) = cases(FILE) else {
        return;
    };
    let site = Site::start().await;
    let mut failed = Vec::new();
    for case in &cases {
        let id = case["id"].as_str().unwrap();
        let pairs = case["headers"].as_array().unwrap();
        let mut headers: Vec<(&str, String)> = Vec::new();
        let brings_key = |pair: &Value| pair[0] == "Authorization" || pair[0] == "X-API-Key";
        if !pairs.iter().any(brings_key) {
            headers.push((AUTHORIZED.0, AUTHORIZED.1.to_owned()));
        }
        for pair in pairs {
            let value = pair[1].as_str().unwrap();
            let repeated = value.strip_prefix("@repeat:");
            let value = match repeated.and_then(|it| it.rsplit_once(':')) {
                Some((text, times)) => text.repeat(times.parse().unwrap()),
                None => value.to_owned(),
            };
            headers.push((pair[0].as_str().unwrap(), value));
        }
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let chunked = headers.contains(&("Transfer-Encoding", "chunked"));
        let body = if chunked { "0\r\n\r\n" } else { "" };
        let told = site.ask("GET", "/admin/a", &headers, body).await;
        let arrived = told.status == 200 && told.header("x-seen-who") == Some("alice");
        // The one who is trusted counts, and nothing further out that is no address.
        let peer = told.header("x-seen-client") == Some("127.0.0.1");
        let absent = |name: &str| told.header(name).is_none();
        let fine = match id {
            "underscore" => arrived && absent("x_forwarded_for") && absent("x_auth_user"),
            "xff-garbage" | "xff-many" => arrived && peer,
            "forwarded-rfc7239" => arrived && peer && absent("forwarded"),
            "identity-spoof" => arrived && absent("x-gateway-user") && absent("x-consumer-id"),
            "dup-auth" | "multi-token-places" => {
                matches!(told.status, 400 | 401) && told.got.is_none()
            }
            "te-obfuscated" => told.status == 400 && told.got.is_none(),
            // Chunks win, the length is dropped, and nothing behind it on the connection counts.
            "cl-te" => arrived && absent("content-length") && is_the_last(&site, &headers).await,
            "rbac-multi" | "rbac-comma" => arrived && roles(&told) == "user,admin",
            "method-override" => {
                arrived
                    && absent("x-http-method-override")
                    && told.got.as_ref().is_some_and(|got| got.method == "GET")
            }
            "expect" => arrived && absent("expect"),
            // To an upstream of one's own they go; to a vendor, nothing of the caller's does.
            "cookie-forward" => {
                arrived && to_a_vendor(&site, "Cookie", "session=1").await.is_none()
            }
            _ => {
                failed.push(format!("nobody knows what {id} must come to"));
                true
            }
        };
        if !fine {
            failed.push(format!("{case}: {told:?}"));
        }
    }
    done(FILE, cases.len(), 14, &failed);
}

/// Ours, of the same kinds.
#[tokio::test]
async fn abuse_1_to_11_over_the_wire() {
    let site = Site::start().await;
    let ask = async |headers: &[(&str, &str)]| site.ask("GET", "/admin/a", headers, "").await;
    // Without a key no header helps.
    for (name, value) in [
        ("X-Forwarded-For", "127.0.0.1"),
        ("X_Forwarded_For", "127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1"),
        ("X-Internal", "1"),
        ("X-Original-URL", "/public"),
        ("X-Rewrite-URL", "/public"),
        ("X-Forwarded-Prefix", "/public"),
        ("X-Forwarded-User", "alice"),
        ("Remote-User", "alice"),
        ("X-User-Id", "alice"),
        ("X-Gateway-Principal", "alice"),
        ("Cookie", "key=a-secret-of-alice"),
        ("Proxy-Authorization", AUTHORIZED.1),
        ("Authorization", "bearer"),
        ("Authorization", "Bearer"),
        ("Authorization", "Bearer a-secret-of-alic"),
        ("Authorization", "Bearer a-secret-of-alice\0"),
        ("authorization_", AUTHORIZED.1),
        ("Authorization ", AUTHORIZED.1),
    ] {
        let told = ask(&[(name, value)]).await;
        assert!(matches!(told.status, 400 | 401), "{name}: {told:?}");
        assert!(told.got.is_none(), "{name}: {told:?}");
        assert!(!told.head.contains(KEY), "{told:?}");
    }
    // With one they arrive nowhere.
    for name in [
        "X-Internal",
        "X-Original-URL",
        "X_Rewrite_URL",
        "X-Forwarded-User",
        "Remote_User",
        "X-User_Id",
        "x-gateway-principal",
        "X_API_Key",
        "X-HTTP-Method-Override",
    ] {
        let told = ask(&[AUTHORIZED, (name, "lie")]).await;
        assert_eq!(told.status, 200, "{name}: {told:?}");
        let got = told.got.unwrap();
        let lies = got.headers.values().any(|value| value == "lie");
        assert!(!lies, "{name}: {got:?}");
        assert_eq!(got.method, "GET");
    }
    // Nor can what is for the upstream be taken out.
    for nominated in ["Authorization", "Host", "X-Forwarded-For", "cookie, close"] {
        let told = ask(&[
            AUTHORIZED,
            ("Connection", nominated),
            ("Connection", "close"),
        ])
        .await;
        assert_eq!(
            (told.status, told.got.is_none()),
            (400, true),
            "{nominated}"
        );
    }
    // Two are none.
    for second in [
        ("authorization", "Bearer other"),
        ("API-Key", KEY),
        ("x-goog-api-key", "a"),
    ] {
        for headers in [[AUTHORIZED, second], [second, AUTHORIZED]] {
            let told = ask(&headers).await;
            assert_eq!((told.status, told.got.is_none()), (400, true), "{second:?}");
        }
    }
    // Nobody gets in from an address that is not let in, and saying so twice does not help.
    for (headers, status) in [
        (&[("X-Forwarded-For", "203.0.113.66")][..], 403),
        (&[("X-Forwarded-For", "127.0.0.1, 203.0.113.66")], 403),
        (
            &[
                ("X-Forwarded-For", "203.0.113.66"),
                ("X-Forwarded-For", "198.51.100.1"),
            ],
            200,
        ),
        (
            &[
                ("X-Forwarded-For", "198.51.100.1"),
                ("X-Forwarded-For", "203.0.113.66"),
            ],
            403,
        ),
        (&[("X-Forwarded-For", "::ffff:203.0.113.66")], 403),
    ] {
        let told = ask(&[&[AUTHORIZED], headers].concat()).await;
        assert_eq!(told.status, status, "{headers:?}: {told:?}");
    }
    // And the quota was asked.
    let told = ask(&[AUTHORIZED]).await;
    assert!(told.head.contains("\r\nratelimit: "), "{told:?}");
    // The key is in nothing that arrived.
    for got in site.upstream.requests() {
        let head = String::from_utf8_lossy(&got.head);
        assert!(
            !head.contains(KEY) || head.contains("cookie: key="),
            "{head}"
        );
    }
}

#[tokio::test]
async fn abuse_12_13_15_a_body_that_is_refused_is_not_the_next_request() {
    let site = Site::start().await;
    let hidden = "GET /admin/hidden HTTP/1.1\r\nHost: gate\r\n\r\n";
    let last = "GET /public HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n";
    let length = hidden.len();
    for head in [
        format!("POST /admin HTTP/1.1\r\nHost: gate\r\nContent-Length: {length}\r\n"),
        format!("POST /admin HTTP/1.1\r\nHost: gate\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n"),
        format!("GET /a/%zz HTTP/1.1\r\nHost: gate\r\nContent-Length: {length}\r\n"),
        format!("GET /a HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer wrong-key-of-alice\r\nContent-Length: {length}\r\n"),
        "POST /public HTTP/1.1\r\nHost: gate\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "POST /public HTTP/1.1\r\nHost: gate\r\nContent-Length: 5\r\nContent-Length: 6\r\n".to_owned(),
        "POST /public HTTP/1.1\r\nHost: gate\r\nContent-Length: +5\r\n".to_owned(),
        "POST /public HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: xchunked\r\n".to_owned(),
        "POST /public HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding : chunked\r\n".to_owned(),
        "POST /public HTTP/1.0\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n".to_owned(),
    ] {
        let answer = site.raw(format!("{head}\r\n{hidden}{last}").as_bytes()).await;
        let answers: Vec<_> = answer
            .match_indices("HTTP/1.")
            .filter_map(|(at, _)| answer.get(at + 9..at + 12))
            .filter(|status| *status != "100")
            .collect();
        assert!(answers.len() <= 2, "{head}: {answers:?}");
        assert!(matches!(answers[0], "400" | "401" | "404"), "{head}: {answers:?}");
        assert!(answers.get(1).is_none_or(|last| *last == "200"), "{head}: {answers:?}");
    }
    for got in site.upstream.requests() {
        assert_eq!(got.path, "/public", "{got:?}");
        assert!(got.body.is_empty());
    }
}
