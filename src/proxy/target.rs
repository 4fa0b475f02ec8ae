//! Where requests go.

use crate::{Rejection, client::has_plain_port, path::Rules, rejection::Kind};
use http::{
    HeaderValue, Uri,
    uri::{Authority, Parts, PathAndQuery, Scheme},
};
use std::{error::Error, fmt, net::SocketAddr};

/// An upstream: scheme and authority, and what comes before each path.
#[derive(Clone, Debug)]
pub(super) struct Target {
    scheme: Scheme,
    authority: Authority,
    /// The authority once more, as a value of `Host`.
    pub(super) host: HeaderValue,
    /// Without a slash at its end.
    before: Box<str>,
    pub(super) strip: Box<str>,
}

/// What was given as an upstream is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUpstream(pub(super) &'static str);

impl fmt::Display for InvalidUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for InvalidUpstream {}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, InvalidUpstream> {
        let uri: Uri = url.parse().map_err(|_| InvalidUpstream("not a URL"))?;
        let scheme = uri.scheme().ok_or(InvalidUpstream("no scheme"))?.clone();
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(InvalidUpstream("the scheme is neither http nor https"));
        }
        let authority = uri.authority().ok_or(InvalidUpstream("no host"))?.clone();
        if authority.as_str().contains('@') {
            return Err(InvalidUpstream("credentials do not belong into a URL"));
        }
        if !has_plain_port(&authority) {
            return Err(InvalidUpstream("the port is not a number from 1 to 65535"));
        }
        if uri.query().is_some() {
            return Err(InvalidUpstream("an upstream has no query"));
        }
        let path = Rules::new().normalise(uri.path());
        let before = path.map_err(|_| InvalidUpstream("the path has no normal form"))?;
        let before = before.trim_end_matches('/').into();
        let host = HeaderValue::try_from(authority.as_str());
        Ok(Self {
            host: host.map_err(|_| InvalidUpstream("the host is not one"))?,
            scheme,
            authority,
            before,
            strip: "".into(),
        })
    }

    pub(super) fn name(&self) -> &str {
        self.authority.as_str()
    }

    /// The same at another host and port. An address is asked in the name of this one, which TLS could not
    /// verify: there is none then.
    pub(super) fn found(&self, name: &str) -> Option<Self> {
        let authority: Authority = name.parse().ok()?;
        let is_address = name.parse::<SocketAddr>().is_ok();
        let unnamed = is_address && self.scheme == Scheme::HTTPS;
        if name.contains('@') || !has_plain_port(&authority) || unnamed {
            return None;
        }
        let host = if is_address {
            self.host.clone()
        } else {
            HeaderValue::try_from(name).ok()?
        };
        Some(Self {
            scheme: self.scheme.clone(),
            authority,
            host,
            before: self.before.clone(),
            strip: self.strip.clone(),
        })
    }

    /// A path of the upstream itself, at this port or another.
    pub(super) fn at(&self, port: Option<u16>, path: PathAndQuery) -> Result<Uri, http::Error> {
        let authority = match port {
            Some(port) => Authority::try_from(format!("{}:{port}", self.authority.host()))?,
            None => self.authority.clone(),
        };
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(authority);
        parts.path_and_query = Some(path);
        Ok(Uri::from_parts(parts)?)
    }

    /// The URI at the upstream for one at the gateway, whose path is normal.
    pub(super) fn uri(&self, uri: &Uri) -> Result<Uri, Rejection> {
        let path_and_query = match uri.path_and_query() {
            Some(same) if self.strip.is_empty() && self.before.is_empty() => same.clone(),
            _ => {
                let rest = uri.path().strip_prefix(&*self.strip);
                // Part of a segment is no prefix: `/api` is none of `/api../admin`.
                let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with('/'));
                let rest = rest.ok_or(Kind::NotFound)?;
                let query = uri.query().map_or(0, |query| query.len() + 1);
                let length = self.before.len() + rest.len() + query;
                let mut joined = String::with_capacity(length.max(1));
                joined.push_str(&self.before);
                joined.push_str(rest);
                if joined.is_empty() {
                    joined.push('/');
                }
                if let Some(query) = uri.query() {
                    joined.push('?');
                    joined.push_str(query);
                }
                PathAndQuery::try_from(joined)
                    .map_err(|error| Rejection::new(Kind::InvalidRequest).with_source(error))?
            }
        };
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path_and_query);
        Uri::from_parts(parts)
            .map_err(|error| Rejection::new(Kind::InvalidRequest).with_source(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(upstream: &str, strip: &str, uri: &str) -> Option<String> {
        let mut target = Target::parse(upstream).unwrap();
        target.strip = strip.into();
        let uri = target.uri(&uri.parse().unwrap());
        uri.ok().map(|uri| uri.to_string())
    }

    #[test]
    fn paths_are_joined_with_one_slash() {
        for (upstream, strip, uri, expected) in [
            ("http://up", "", "/a?b=c", "http://up/a?b=c"),
            ("http://up/", "", "http://gate/a", "http://up/a"),
            ("http://up:81/v1/", "", "/a/", "http://up:81/v1/a/"),
            ("http://up/v1", "/api", "/api/a?b", "http://up/v1/a?b"),
            ("http://up/v1", "/api", "/api", "http://up/v1"),
            ("http://up", "/api", "/api?x", "http://up/?x"),
            ("https://[::1]:8443", "", "/", "https://[::1]:8443/"),
        ] {
            assert_eq!(joined(upstream, strip, uri).as_deref(), Some(expected));
        }
    }

    #[test]
    fn part_of_a_segment_is_no_prefix() {
        for uri in ["/api../admin", "/apix", "/", "/v1/api"] {
            assert_eq!(joined("http://up", "/api", uri), None, "{uri}");
        }
    }

    #[test]
    fn what_is_found_takes_the_place_of_host_and_port() {
        let target = |url| Target::parse(url).unwrap();
        let plain = target("http://users.internal:81/v1");
        let found = plain.found("10.0.0.1:8080").unwrap();
        assert_eq!(
            found.host, "users.internal:81",
            "the name that the address was found by"
        );
        let uri = found.uri(&"/a".parse().unwrap()).unwrap();
        assert_eq!(uri, "http://10.0.0.1:8080/v1/a");
        assert_eq!(plain.found("b.internal:82").unwrap().host, "b.internal:82");
        let health = || PathAndQuery::from_static("/health");
        assert_eq!(
            found.at(Some(9), health()).unwrap(),
            "http://10.0.0.1:9/health"
        );
        let six = plain.found("[::1]:8080").unwrap();
        assert_eq!(six.at(Some(9), health()).unwrap(), "http://[::1]:9/health");
        for name in ["", "a b", "u@up:1", "up:", "up:0", "http://up"] {
            assert!(plain.found(name).is_none(), "{name}");
        }
        let tls = target("https://users.internal");
        assert!(tls.found("10.0.0.1:443").is_none() && tls.found("b.internal:443").is_some());
    }

    #[test]
    fn an_upstream_is_a_url_without_secrets() {
        for url in [
            "",
            "up",
            "/path",
            "up:80",
            "ftp://up",
            "http://u:p@up",
            "http://up?q",
            "http://up/..",
            "http://up:",
            "http://up:0",
            "http://up:99999",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
