//! Requests that two servers could read in two ways.

use crate::{Rejection, rejection::Kind};
use http::{
    HeaderMap, HeaderValue, Method, Version, header,
    request::Parts,
    uri::{Authority, Scheme},
};

/// Refuses what is ambiguous, and says which host is asked for.
pub(super) fn check(parts: &Parts) -> Result<HeaderValue, Rejection> {
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        // TRACE would send back credentials that the caller's scripts cannot see.
        let allow = HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
        return Err(Rejection::new(Kind::MethodNotAllowed).with_header(header::ALLOW, allow));
    }
    length(&parts.headers, parts.version)?;
    host(parts)
}

pub(super) fn bad(detail: &'static str) -> Rejection {
    Rejection::new(Kind::InvalidRequest).with_detail(detail)
}

/// RFC 9112 §6.3. hyper has settled most of this before; not every server in front of a service is
/// hyper.
fn length(headers: &HeaderMap, version: Version) -> Result<(), Rejection> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(coding) = codings.next() {
        if headers.contains_key(header::CONTENT_LENGTH) {
            return Err(bad(
                "Transfer-Encoding and Content-Length exclude each other.",
            ));
        }
        if version != Version::HTTP_11 {
            return Err(bad("Transfer-Encoding is for HTTP/1.1 only."));
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(bad("The only transfer coding is chunked."));
        }
    }
    if let Some(length) = lengths.next() {
        let digits = length.as_bytes();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(bad("Content-Length is not a number."));
        }
        if lengths.next().is_some() {
            return Err(bad("Content-Length is there twice."));
        }
    }
    Ok(())
}

/// RFC 9112 §3.2, RFC 9113 §8.3.1.
fn host(parts: &Parts) -> Result<HeaderValue, Rejection> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("Host is there twice."));
    }
    if let (None, Some(host)) = (parts.uri.authority(), host)
        && is_plain(host.as_bytes())
    {
        return Ok(host.clone());
    }
    let named = match host {
        None => None,
        Some(host) => {
            let authority = Authority::try_from(host.as_bytes());
            let authority = authority.ok().filter(|it| !it.as_str().contains('@'));
            Some(authority.ok_or_else(|| bad("Host is not a host."))?)
        }
    };
    match (parts.uri.authority(), named, host) {
        (None, Some(_), Some(host)) => Ok(host.clone()),
        (Some(own), named, _) => {
            let scheme = parts.uri.scheme();
            let same = |named: &Authority| {
                own.host().eq_ignore_ascii_case(named.host())
                    && port(own, scheme) == port(named, scheme)
            };
            if own.as_str().contains('@') || !named.as_ref().is_none_or(same) {
                return Err(bad("Host is not the host of the URI."));
            }
            HeaderValue::try_from(own.as_str()).map_err(|_| bad("The host is not a host."))
        }
        _ => Err(bad("The request names no host.")),
    }
}

/// Whether this is a host of letters, digits, hyphens and dots, perhaps with a port: most are, and need no
/// closer look.
fn is_plain(host: &[u8]) -> bool {
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let end = host.iter().position(|byte| !name(byte));
    let (host, port) = host.split_at(end.unwrap_or(host.len()));
    let is_port = |port: &[u8]| match port {
        [b':', digits @ ..] => digits.len() <= 4 && digits.iter().all(u8::is_ascii_digit),
        _ => port.is_empty(),
    };
    !host.is_empty() && is_port(port)
}

fn port(authority: &Authority, scheme: Option<&Scheme>) -> Option<u16> {
    authority.port_u16().or_else(|| match scheme {
        Some(scheme) if *scheme == Scheme::HTTPS => Some(443),
        Some(_) => Some(80),
        None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn checked(uri: &str, version: Version, headers: &[(&str, &str)]) -> Result<String, String> {
        let mut request = Request::builder().uri(uri).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let host = check(&parts).map_err(|rejection| rejection.detail().to_owned())?;
        Ok(host.to_str().unwrap().to_owned())
    }

    #[test]
    fn abuse_12_what_has_two_lengths_is_refused() {
        let host = ("host", "a");
        let chunked = ("transfer-encoding", "chunked");
        let five = ("content-length", "5");
        let check = |version, headers: &[_]| checked("/", version, &[&[host], headers].concat());
        assert!(check(Version::HTTP_11, &[chunked]).is_ok());
        assert!(check(Version::HTTP_11, &[five]).is_ok());
        for headers in [
            &[chunked, five][..],
            &[chunked, chunked],
            &[five, five],
            &[("transfer-encoding", "xchunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked, chunked")],
            &[("transfer-encoding", "identity")],
            &[("transfer-encoding", "\u{b}chunked")],
            &[("content-length", "+5")],
            &[("content-length", "5, 5")],
            &[("content-length", "0x5")],
            &[("content-length", "")],
        ] {
            // Some of these are no header values at all.
            if headers
                .iter()
                .all(|(_, value)| HeaderValue::from_str(value).is_ok())
            {
                assert!(check(Version::HTTP_11, headers).is_err(), "{headers:?}");
            }
        }
        assert!(check(Version::HTTP_10, &[chunked]).is_err());
        assert!(check(Version::HTTP_2, &[chunked]).is_err());
    }

    #[test]
    fn a_request_is_for_one_host() {
        let check = |uri, hosts: &[&'static str]| {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            checked(uri, Version::HTTP_11, &headers)
        };
        assert_eq!(check("/", &["a:80"]).as_deref(), Ok("a:80"));
        assert_eq!(check("http://a/", &[]).as_deref(), Ok("a"));
        assert_eq!(check("http://A/", &["a:80"]).as_deref(), Ok("A"));
        assert_eq!(
            check("https://[::1]:443/", &["[::1]"]).as_deref(),
            Ok("[::1]:443")
        );
        for host in [
            "a",
            "a.b-c.9",
            "a:8080",
            "127.0.0.1:65535",
            "a:",
            "[::1]:80",
        ] {
            assert_eq!(check("/", &[host]).as_deref(), Ok(host));
            let plain = is_plain(host.as_bytes());
            assert!(!plain || Authority::try_from(host).is_ok(), "{host}");
        }
        for (uri, hosts) in [
            ("/", &[][..]),
            ("/", &["a", "a"]),
            ("/", &["a", "b"]),
            ("/", &["u:p@a"]),
            ("/", &["a/b"]),
            ("/", &[""]),
            ("http://a/", &["b"]),
            ("http://a/", &["a:81"]),
            ("https://a/", &["a:80"]),
        ] {
            assert!(check(uri, hosts).is_err(), "{uri} {hosts:?}");
        }
    }
}
