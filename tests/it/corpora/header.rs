//! What is for one hop stays there, what callers do not get to say is not said, all else arrives as it
//! came, and a message with two readings is refused.

use super::{Upstream, block_on};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version, header};
use tower::ServiceExt;
use tower_gateway::{Body, client_addr::PeerAddr, identity::is_identity, proxy::Proxy};

const HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "http2-settings",
    "transfer-encoding",
    "upgrade",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
    "expect",
];
/// What the proxy writes itself, or joins.
const OWN: [&str; 8] = [
    "host",
    "via",
    "te",
    "cookie",
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
];

pub(super) fn check(input: &[u8]) {
    let [kind, text @ ..] = input else {
        return;
    };
    let cut = text
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(text.len());
    let (asked, answered) = text.split_at(cut);
    let asked = headers(asked);
    let answered = headers(answered.get(1..).unwrap_or_default());
    let version = [Version::HTTP_11, Version::HTTP_10, Version::HTTP_2][usize::from(kind % 3)];
    let method = [Method::GET, Method::POST, Method::CONNECT][usize::from((kind >> 2) % 3)].clone();
    let uri = ["/a?b", "http://gate/a?b", "http://gate:80/a?b"][usize::from((kind >> 4) % 3)];

    let mut answer = Response::new(Body::empty());
    *answer.headers_mut() = answered.clone();
    let upstream = Upstream::of(answer);
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method.clone();
    *request.version_mut() = version;
    *request.uri_mut() = uri.parse().unwrap();
    *request.headers_mut() = asked.clone();
    request
        .extensions_mut()
        .insert(PeerAddr(([192, 0, 2, 1], 1).into()));
    let proxy = Proxy::to("http://up.internal").unwrap();
    let proxy = proxy.client(upstream.clone()).header(
        HeaderName::from_static("x-gate-key"),
        HeaderValue::from_static("secret"),
    );
    let answer = block_on(proxy.oneshot(request)).unwrap();

    let twice = |name: HeaderName| asked.get_all(name).iter().count() > 1;
    let both =
        asked.contains_key(header::CONTENT_LENGTH) && asked.contains_key(header::TRANSFER_ENCODING);
    let nominated = nominated(&asked);
    let Some(seen) = upstream.take() else {
        assert!(
            matches!(answer.status().as_u16(), 400 | 405 | 508),
            "{answer:?}"
        );
        return;
    };
    assert!(method != Method::CONNECT && !both);
    assert!(!twice(header::HOST) && !twice(header::CONTENT_LENGTH));
    let seen = seen.headers();
    for name in HOP {
        assert!(!seen.contains_key(name), "{name}");
    }
    for name in &nominated {
        let own = ["te", "x-gate-key", "x-forwarded-for"].contains(&&**name);
        assert!(own || !seen.contains_key(&**name), "{name} was nominated");
    }
    assert_eq!(all(seen, "host"), [b"up.internal"]);
    assert_eq!(all(seen, "x-gate-key"), [b"secret"]);
    assert_eq!(all(seen, "x-forwarded-for"), [b"192.0.2.1"]);
    assert!(all(seen, "te").iter().all(|te| *te == b"trailers"));
    assert!(all(seen, "cookie").len() <= 1);
    for name in seen.keys().map(HeaderName::as_str) {
        let plain = name.replace('_', "-");
        for forged in [
            "x-forwarded-",
            "x-user-",
            "x-auth-",
            "x-consumer-",
            "x-gateway-",
        ] {
            assert!(plain == name || !plain.starts_with(forged), "{name}");
        }
    }
    assert!(!seen.contains_key("x_gate_key"));
    // All else is as it came.
    for name in asked.keys() {
        if is_plain(name.as_str()) && !nominated.contains(&name.as_str().to_owned()) {
            assert_eq!(
                all(seen, name.as_str()),
                all(&asked, name.as_str()),
                "{name}"
            );
        }
    }

    let back = answer.headers();
    for name in HOP.iter().filter(|name| **name != "expect") {
        assert!(!back.contains_key(*name), "{name} in the answer");
    }
    for name in self::nominated(&answered) {
        assert!(
            name == "via" || !back.contains_key(&*name),
            "{name} was nominated"
        );
    }
}

fn headers(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n').take(64) {
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.trim_ascii()), value) {
            headers.append(name, value);
        }
    }
    headers
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect()
}

fn nominated(headers: &HeaderMap) -> Vec<String> {
    let mut names = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let value = String::from_utf8_lossy(value.as_bytes());
        let tokens = value
            .split(',')
            .map(|name| name.trim().to_ascii_lowercase());
        names.extend(
            tokens
                .filter(|name| HeaderName::from_bytes(name.as_bytes()).is_ok() && name != "close"),
        );
    }
    names
}

fn is_plain(name: &str) -> bool {
    let identity = HeaderName::from_bytes(name.as_bytes());
    let identity = identity.is_ok_and(|name| is_identity(&name));
    let special = ["x-forwarded-", "x-gate-key"];
    !HOP.contains(&name)
        && !OWN.contains(&name)
        && !name.contains('_')
        && !identity
        && name != "cf-connecting-ip"
        && !special.iter().any(|begin| name.starts_with(begin))
}
