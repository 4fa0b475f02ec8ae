//! `Via`, RFC 9110 §7.6.3: which way a message came, and whether it came this way before.

use http::{HeaderMap, HeaderValue, Version, header};
use std::hash::{BuildHasher, RandomState};

/// The name of one proxy among others: nobody else's, and nobody can guess it.
#[derive(Clone, Debug)]
pub(super) struct Pseudonym {
    name: Box<str>,
    /// What it says of a message, by the version.
    hops: [HeaderValue; 4],
}

impl Pseudonym {
    pub(super) fn new() -> Self {
        let name = format!("tower-gateway-{:016x}", RandomState::new().hash_one(0));
        let hops = ["1.0", "1.1", "2", "3"].map(|version| {
            let hop = HeaderValue::try_from(format!("{version} {name}"));
            hop.unwrap_or(HeaderValue::from_static("1.1 tower-gateway"))
        });
        let name = name.into();
        Self { name, hops }
    }

    /// Whether a message was here before.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut lines = headers.get_all(header::VIA).iter();
        lines.any(|line| {
            let mut hops = line.as_bytes().split(|&byte| byte == b',');
            hops.any(|hop| {
                let mut words = hop
                    .split(u8::is_ascii_whitespace)
                    .filter(|it| !it.is_empty());
                words
                    .nth(1)
                    .is_some_and(|name| *name == *self.name.as_bytes())
            })
        })
    }

    /// Says that a message of this version came by.
    pub(super) fn add_to(&self, headers: &mut HeaderMap, received: Version) {
        let hop = match received {
            Version::HTTP_09 | Version::HTTP_10 => 0,
            Version::HTTP_2 => 2,
            Version::HTTP_3 => 3,
            _ => 1,
        };
        headers.append(header::VIA, self.hops[hop].clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_knows_its_own_name_only() {
        let (ours, other) = (Pseudonym::new(), Pseudonym::new());
        let mut headers = HeaderMap::new();
        other.add_to(&mut headers, Version::HTTP_10);
        assert!(!ours.is_in(&headers));
        let chain = format!("1.1 fred, HTTP/2   {} (comment)", ours.name);
        headers.append(header::VIA, HeaderValue::try_from(chain).unwrap());
        assert!(ours.is_in(&headers) && other.is_in(&headers));
        assert_eq!(headers[header::VIA], format!("1.0 {}", other.name));
    }
}
