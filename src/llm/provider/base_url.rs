//! Where a vendor is.

use super::InvalidProvider;
use crate::{Rejection, client::has_plain_port, rejection::Kind};
use http::{
    Uri,
    uri::{Authority, InvalidUri, Parts, Scheme},
};
use std::{fmt, sync::Arc};

/// An address of `http` or `https`, without credentials and without a query, to which paths are added.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct BaseUrl {
    scheme: Scheme,
    authority: Authority,
    /// Empty, or with a slash at its start and none at its end.
    path: Arc<str>,
}

impl BaseUrl {
    pub(super) fn new(text: &str) -> Result<Self, InvalidProvider> {
        let wrong = |reason| Err(InvalidProvider::new(reason));
        if text.contains(['?', '#']) {
            return wrong("the base URL has a query or a fragment");
        }
        let Ok(uri) = text.parse::<Uri>() else {
            return wrong("the base URL is not a URL");
        };
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return wrong("the base URL does not begin with http:// or https:// and a host");
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return wrong("the base URL is neither of http nor of https");
        }
        if authority.as_str().contains('@') {
            return wrong("the base URL has credentials in it");
        }
        if authority.host().is_empty() {
            return wrong("the base URL names no host");
        }
        if !has_plain_port(&authority) {
            return wrong("the port of the base URL is not a number from 1 to 65535");
        }
        let path = parts.path_and_query.as_ref().map_or("", |path| path.path());
        let path = path.trim_end_matches('/').into();
        Ok(Self {
            scheme,
            authority,
            path,
        })
    }

    /// With `path` at its end, if it is not there yet.
    pub(super) fn below(mut self, path: &str) -> Self {
        if !self.path.ends_with(path) {
            self.path = format!("{}{path}", self.path).into();
        }
        self
    }

    /// Without `path` at its end, if it is there.
    pub(super) fn above(mut self, path: &str) -> Self {
        if let Some(above) = self.path.strip_suffix(path) {
            self.path = above.into();
        }
        self
    }

    /// The URI of a path that begins with a slash.
    pub(super) fn join(&self, path: &str) -> Result<Uri, Rejection> {
        let wrong = |error: http::Error| Rejection::new(Kind::Internal).with_source(error);
        let mut whole = String::with_capacity(self.path.len() + path.len());
        whole.push_str(&self.path);
        whole.push_str(path);
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(
            whole
                .try_into()
                .map_err(|error| wrong(InvalidUri::into(error)))?,
        );
        Uri::from_parts(parts).map_err(|error| wrong(error.into()))
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_base_is_refused_without_being_repeated() {
        for text in [
            "",
            "example.com/v1",
            "/v1",
            "ftp://example.com",
            "https://user:secret-canary@example.com",
            "https://example.com/v1?key=secret-canary",
            "https://example.com/#secret-canary",
            "https:///v1",
            "https://example.com:",
            "https://example.com:0",
            "https://example.com:99999",
            "https://[::1]:99999",
            "https://exa mple.com/secret-canary",
        ] {
            let error = BaseUrl::new(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("canary"), "{text}");
        }
    }

    #[test]
    fn paths_are_added_below_it() {
        for base in ["http://a:1/v1", "http://a:1/v1/", "http://a:1/v1//"] {
            let uri = BaseUrl::new(base).unwrap().join("/models").unwrap();
            assert_eq!(uri, "http://a:1/v1/models");
        }
        let uri = BaseUrl::new("https://a").unwrap().join("/models").unwrap();
        assert_eq!(uri, "https://a/models");
        for base in ["http://a:1", "http://a:1/v1/"] {
            let base = BaseUrl::new(base).unwrap().above("/v1");
            assert_eq!(base.to_string(), "http://a:1");
            assert_eq!(base.below("/v1").to_string(), "http://a:1/v1");
        }
    }
}
