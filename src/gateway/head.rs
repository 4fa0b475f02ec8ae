//! How large the head of a request may be.

use crate::{Body, Reject, Rejection, rejection::Kind};
use http::{HeaderValue, Request, Response, Version, header};

/// What holds for the head of a request, whatever the protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) uri_bytes: usize,
    pub(super) headers: usize,
    /// Of names and values, with the 32 bytes that HTTP/2 counts for each (RFC 9113 section 10.5.1).
    pub(super) header_bytes: usize,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            uri_bytes: 16 << 10,
            headers: 100,
            header_bytes: 64 << 10,
        }
    }
}

impl Head {
    /// What is too much, if anything is.
    pub(super) fn exceeded<B>(&self, request: &Request<B>) -> Option<Kind> {
        let uri = request.uri();
        let query = uri.query().map_or(0, |query| query.len() + 1);
        if uri.path().len() + query > self.uri_bytes {
            return Some(Kind::UriTooLong);
        }
        let headers = request.headers();
        if headers.len() > self.headers {
            return Some(Kind::HeadersTooLarge);
        }
        let sizes = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32);
        (sizes.sum::<usize>() > self.header_bytes).then_some(Kind::HeadersTooLarge)
    }
}

/// The answer in the place of one that nobody makes. The body of the request is not read.
pub(super) fn refused<B>(kind: Kind, request: &Request<B>) -> Response<Body> {
    let mut rejection = Rejection::new(kind);
    if request.version() < Version::HTTP_2 {
        let close = HeaderValue::from_static("close");
        rejection = rejection.with_header(header::CONNECTION, close);
    }
    let answer: Result<_, std::convert::Infallible> = Response::reject(rejection);
    match answer {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head {
        uri_bytes: 10,
        headers: 2,
        header_bytes: 100,
    };

    fn exceeded(uri: &str, headers: &[(&str, &str)]) -> Option<Kind> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        HEAD.exceeded(&request.body(()).unwrap())
    }

    #[test]
    fn a_head_that_is_just_small_enough_is_let_in() {
        let most = "a".repeat(100 - 32 - 1);
        assert_eq!(exceeded("/123456789", &[("a", &most)]), None);
        assert_eq!(exceeded("/12345?789", &[("a", ""), ("a", "")]), None);
        assert_eq!(exceeded("http://a-long-host.example/", &[]), None);
    }

    #[test]
    fn one_byte_or_one_header_more_is_not() {
        let more = "a".repeat(100 - 32);
        let too_large = Some(Kind::HeadersTooLarge);
        assert_eq!(exceeded("/", &[("a", &more)]), too_large);
        assert_eq!(exceeded("/", &[("a", ""), ("a", ""), ("b", "")]), too_large);
        for uri in ["/1234567890", "/123456?890"] {
            assert_eq!(exceeded(uri, &[]), Some(Kind::UriTooLong));
        }
    }
}
