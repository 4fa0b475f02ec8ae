//! What is said to the next hop only, RFC 9110 §7.6.1.

use super::framing::bad;
use crate::{
    Rejection,
    identity::{alike, is_identity_name},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Whether a header concerns one connection only (RFC 9110 §7.6.1), whatever `Connection` names.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
    )
}

/// Takes out of a request what is for us, and what it nominates.
///
/// `protected` are names that a caller may not have taken out, beside those that are known, and
/// `removed` those that are not passed on from callers.
pub(super) fn strip_request(
    headers: &mut HeaderMap,
    protected: &[HeaderName],
    removed: &[HeaderName],
) -> Result<(), Rejection> {
    // To look at the few that there are costs less than to ask for each that there could be.
    let of_interest = |name: &HeaderName| match name.as_str() {
        "te" | "expect" | "cookie" => true,
        name => is_hop_by_hop(name) || name.contains('_') || is_identity_name(name),
    };
    if !headers.keys().any(of_interest) {
        return Ok(());
    }
    for name in nominated(headers) {
        let name = name.map_err(|()| bad("Connection names what is no header."))?;
        if is_protected(name.as_str()) || protected.contains(&name) {
            return Err(bad("Connection names a header that is for the upstream."));
        }
        if name != header::TE {
            headers.remove(name);
        }
    }
    let trailers = accepts_trailers(headers);
    strip(headers);
    headers.remove(header::TE);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    // A `100 Continue` is given by the server in front of us when the body is first asked for.
    headers.remove(header::EXPECT);
    strip_forged(headers, protected, removed);
    join_cookies(headers);
    Ok(())
}

/// Takes out of an answer what is for us, and what it nominates.
pub(super) fn strip_response(headers: &mut HeaderMap) {
    if !headers.keys().any(|name| is_hop_by_hop(name.as_str())) {
        return;
    }
    for name in nominated(headers).into_iter().flatten() {
        headers.remove(name);
    }
    strip(headers);
}

/// Takes out of the trailers of a request what is for its head: framing, routing, credentials, whatever tells
/// who calls, and the names that are `ours`.
pub(super) fn strip_trailers(trailers: &mut HeaderMap, ours: &[HeaderName]) {
    let is_for_the_head = |name: &&HeaderName| {
        let meant = name.as_str().replace('_', "-");
        is_protected(&meant)
            || is_hop_by_hop(&meant)
            || matches!(
                &*meant,
                "te" | "trailer" | "expect" | "max-forwards" | "x-csrf-token"
            )
            || ours.iter().any(|ours| alike(ours.as_str(), name.as_str()))
    };
    let found: Vec<_> = trailers.keys().filter(is_for_the_head).cloned().collect();
    for name in found {
        trailers.remove(name);
    }
}

fn strip(headers: &mut HeaderMap) {
    let names = headers.keys().filter(|name| is_hop_by_hop(name.as_str()));
    let names: Vec<_> = names.cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// The names in `Connection`.
fn nominated(headers: &HeaderMap) -> Vec<Result<HeaderName, ()>> {
    let values = headers.get_all(header::CONNECTION).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    names
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"close"))
        .map(|name| HeaderName::from_bytes(name).map_err(|_| ()))
        .collect()
}

/// Whether `Connection` names `Upgrade`, and `Upgrade` names this protocol and no other.
pub(super) fn upgrades_to(headers: &HeaderMap, protocol: &str) -> bool {
    let mut protocols = headers.get_all(header::UPGRADE).iter();
    let named = protocols
        .next()
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(protocol.as_bytes()));
    named && protocols.next().is_none() && nominated(headers).contains(&Ok(header::UPGRADE))
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Whether a header tells the upstream who calls, or what the message means.
fn is_protected(name: &str) -> bool {
    matches!(
        name,
        "authorization"
            | "cookie"
            | "host"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "content-range"
            | "cache-control"
            | "range"
            | "origin"
            | "forwarded"
            | "via"
            | "x-real-ip"
            | "x-client-ip"
            | "x-api-key"
            | "api-key"
            | "x-goog-api-key"
            | "x-request-id"
            | "true-client-ip"
            | "cf-connecting-ip"
            | "traceparent"
            | "tracestate"
            | "idempotency-key"
    ) || name.starts_with("x-forwarded-")
        || name.starts_with("x-envoy-")
        || is_identity_name(name)
}

/// Takes out what callers do not get to say. `X_Forwarded_For` is `X-Forwarded-For` to servers that
/// make variables of headers.
fn strip_forged(headers: &mut HeaderMap, protected: &[HeaderName], removed: &[HeaderName]) {
    let is_forged = |name: &&HeaderName| {
        if protected.contains(*name) {
            return false;
        }
        if !name.as_str().contains('_') {
            return is_identity_name(name.as_str());
        }
        let meant = name.as_str().replace('_', "-");
        let mut known = protected.iter().chain(removed);
        is_protected(&meant)
            || is_hop_by_hop(&meant)
            || known.any(|known| alike(known.as_str(), name.as_str()))
    };
    let forged: Vec<_> = headers.keys().filter(is_forged).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
}

/// HTTP/2 may bring a cookie in crumbs, which HTTP/1.1 does not know (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for crumb in [second].into_iter().chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(mut cookie) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        cookie.set_sensitive(true);
        headers.insert(header::COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn nothing_of_the_head_stands_in_trailers() {
        let mut trailers = map(&[
            ("x-user-id", "admin"),
            ("X_Forwarded_For", "10.0.0.1"),
            ("authorization", "Bearer forged"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
            ("x-tenant", "other"),
            ("x-checksum", "1f"),
            ("grpc-status", "0"),
        ]);
        strip_trailers(&mut trailers, &[HeaderName::from_static("x-tenant")]);
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["grpc-status", "x-checksum"]);
    }

    fn stripped(headers: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let mut headers = map(headers);
        strip_request(&mut headers, &[], &[]).unwrap();
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect();
        left.sort();
        left
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn what_is_for_one_hop_stays_there() {
        let left = stripped(&[
            ("connection", "close, X-Mine,, keep-alive"),
            ("connection", "te"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip;q=0.5, Trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAARAAAAA"),
            ("proxy-authorization", "Basic eA=="),
            ("expect", "100-continue"),
            ("accept", "*/*"),
            ("trailer", "x-sum"),
        ]);
        assert_eq!(
            left,
            pairs(&[("accept", "*/*"), ("te", "trailers"), ("trailer", "x-sum")])
        );
    }

    #[test]
    fn abuse_1_what_is_for_the_upstream_cannot_be_nominated() {
        for name in [
            "Authorization",
            "cookie",
            "HOST",
            "X-Forwarded-For",
            "x-forwarded-anything",
            "Forwarded",
            "Via",
            "X-Real-IP",
            "X-User-Id",
            "Content-Length",
            "keep-alive, authorization",
            "x mine",
        ] {
            let mut headers = map(&[]);
            headers.insert(header::CONNECTION, HeaderValue::from_str(name).unwrap());
            assert!(strip_request(&mut headers, &[], &[]).is_err(), "{name}");
        }
        let mine = [HeaderName::from_static("x-mine")];
        let mut headers = map(&[("connection", "x-mine")]);
        assert!(strip_request(&mut headers, &mine, &[]).is_err());
    }

    #[test]
    fn abuse_2_aliases_with_underscores_are_dropped() {
        let left = stripped(&[
            ("x_forwarded_for", "127.0.0.1"),
            ("x_auth_user", "admin"),
            ("x-forwarded_proto", "https"),
            ("transfer_encoding", "chunked"),
            ("proxy_authorization", "Basic x"),
            ("x_other", "stays"),
        ]);
        assert_eq!(left, pairs(&[("x_other", "stays")]));
    }

    #[test]
    fn who_calls_is_not_for_callers_to_say() {
        let left = stripped(&[
            ("x-user-id", "admin"),
            ("x-auth-request-email", "admin@example.com"),
            ("x-consumer-username", "admin"),
            ("x-gateway-secret", "guess"),
            ("x_gateway_secret", "guess"),
            ("x-original-url", "/admin"),
            ("x_rewrite_url", "/admin"),
            ("x-username", "stays"),
        ]);
        assert_eq!(left, pairs(&[("x-username", "stays")]));
    }

    #[test]
    fn a_protected_name_is_passed_on_and_its_aliases_are_not() {
        let mine = [HeaderName::from_static("x-user-id")];
        let mut headers = map(&[("x-user-id", "7"), ("x_user_id", "8"), ("x-user-role", "9")]);
        strip_request(&mut headers, &mine, &[]).unwrap();
        assert_eq!(headers, map(&[("x-user-id", "7")]));
    }

    #[test]
    fn aliases_of_what_is_removed_and_of_keys_are_dropped() {
        let removed = [
            HeaderName::from_static("x-internal-secret"),
            HeaderName::from_static("x_debug"),
        ];
        let mut headers = map(&[
            ("x_internal_secret", "guess"),
            ("x-internal_secret", "guess"),
            ("x_debug", "1"),
            ("api_key", "guess"),
            ("x_goog_api_key", "guess"),
            ("api-key", "stays"),
        ]);
        strip_request(&mut headers, &[], &removed).unwrap();
        assert_eq!(headers, map(&[("api-key", "stays")]));
    }

    #[test]
    fn crumbs_become_one_cookie_and_other_lists_stay() {
        let left = stripped(&[
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("x-a", "1"),
            ("x-a", "2"),
        ]);
        assert_eq!(
            left,
            pairs(&[("cookie", "a=1; b=2"), ("x-a", "1"), ("x-a", "2")])
        );
    }

    #[test]
    fn an_upgrade_is_asked_for_in_two_headers() {
        for (headers, asked) in [
            (
                &[
                    ("connection", "keep-alive, Upgrade"),
                    ("upgrade", "WebSocket"),
                ][..],
                true,
            ),
            (&[("upgrade", "websocket")], false),
            (&[("connection", "upgrade"), ("upgrade", "h2c")], false),
            (
                &[("connection", "upgrade"), ("upgrade", "websocket, h2c")],
                false,
            ),
            (
                &[
                    ("connection", "upgrade"),
                    ("upgrade", "websocket"),
                    ("upgrade", "h2c"),
                ],
                false,
            ),
        ] {
            assert_eq!(
                upgrades_to(&map(headers), "websocket"),
                asked,
                "{headers:?}"
            );
        }
    }
}
