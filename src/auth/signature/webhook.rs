//! What is signed, and by what: the Standard Webhooks specification. No clock, no lock.

use crate::auth::base64::{Form, decode};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;
use std::{error::Error, fmt};
use subtle::{Choice, ConstantTimeEq};

pub(super) const ID: &str = "webhook-id";
pub(super) const TIMESTAMP: &str = "webhook-timestamp";
pub(super) const SIGNATURE: &str = "webhook-signature";

/// The fewest and the most bytes of a secret.
const SHORTEST: usize = 24;
const LONGEST: usize = 512;
/// The most signatures that are looked at.
const MOST: usize = 16;

/// HMAC-SHA256 of a message.
pub(super) type Tag = [u8; 32];

/// A secret, ready to sign.
#[derive(Clone)]
pub(super) struct Key(Hmac<Sha256>);

impl Key {
    /// `whsec_` and Base64, or Base64 alone.
    pub(super) fn read(text: &str) -> Result<Self, InvalidSecret> {
        let base64 = text.strip_prefix("whsec_").unwrap_or(text);
        let secret = decode(Form::Padded, base64.as_bytes()).ok_or(InvalidSecret(()))?;
        if !(SHORTEST..=LONGEST).contains(&secret.len()) {
            return Err(InvalidSecret(()));
        }
        let key = Hmac::new_from_slice(&secret).map_err(|_| InvalidSecret(()))?;
        Ok(Self(key))
    }

    /// Begins to sign: all that stands before the body is in.
    pub(super) fn begin(&self, claim: &Claim) -> Signing {
        let mut mac = self.0.clone();
        for part in [claim.id.as_bytes(), b".", claim.timestamp.as_bytes(), b"."] {
            mac.update(part);
        }
        Signing(mac)
    }
}

/// A signature that waits for the body.
pub(super) struct Signing(Hmac<Sha256>);

impl Signing {
    pub(super) fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    pub(super) fn finish(self) -> Tag {
        self.0.finalize().into_bytes().into()
    }
}

/// What a request says of itself.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) id: Box<str>,
    timestamp: Box<str>,
    /// Seconds since 1970.
    pub(super) at: u64,
    tags: Vec<Tag>,
}

/// What is wrong with what a request says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It says nothing.
    Absent,
    /// It says half of it, or twice, or in another form.
    Malformed,
    /// It says nothing that could be right.
    Unsigned,
}

impl Claim {
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Fault> {
        let mut values = [ID, TIMESTAMP, SIGNATURE].map(|name| headers.get_all(name).iter());
        let firsts = values.each_mut().map(Iterator::next);
        if firsts.iter().all(Option::is_none) {
            return Err(Fault::Absent);
        }
        let twice = values.iter_mut().any(|values| values.next().is_some());
        let [Some(id), Some(timestamp), Some(signature)] = firsts else {
            return Err(Fault::Malformed);
        };
        let text = |value: &http::HeaderValue| value.to_str().map(Box::from).ok();
        let (Some(id), Some(timestamp), Some(signature), false) =
            (text(id), text(timestamp), text(signature), twice)
        else {
            return Err(Fault::Malformed);
        };
        // A full stop would let the end of one part be taken for the beginning of the next.
        let fine_id = |id: &str| (1..=256).contains(&id.len()) && !id.contains(['.', ' ', '\t']);
        if !fine_id(&id) {
            return Err(Fault::Malformed);
        }
        let digits = timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let canonical = timestamp.len() <= 12 && digits && !timestamp.starts_with('0');
        let (true, Ok(at)) = (canonical, timestamp.parse()) else {
            return Err(Fault::Malformed);
        };
        let signature: Box<str> = signature;
        let tags: Vec<Tag> = signature
            .split(' ')
            .take(MOST)
            .filter_map(|one| one.strip_prefix("v1,"))
            .filter_map(|base64| decode(Form::Padded, base64.as_bytes())?.try_into().ok())
            .collect();
        if tags.is_empty() {
            return Err(Fault::Unsigned);
        }
        Ok(Self {
            id,
            timestamp,
            at,
            tags,
        })
    }

    /// Whether one of its signatures is this. Takes as long for each.
    pub(super) fn bears(&self, tag: &Tag) -> Choice {
        let none = Choice::from(0);
        let tags = self.tags.iter();
        tags.fold(none, |found, own| found | own.ct_eq(tag))
    }
}

/// A secret that is not 24 to 512 bytes in Base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSecret(());

impl fmt::Display for InvalidSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret is 24 to 512 bytes, in Base64 with padding, after `whsec_` or alone")
    }
}

impl Error for InvalidSecret {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const HEADERS: [(&str, &str); 3] = [
        (ID, "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        (TIMESTAMP, "1614265330"),
        (SIGNATURE, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];

    fn sign(key: &Key, claim: &Claim, body: &[u8]) -> Tag {
        let mut signing = key.begin(claim);
        signing.update(body);
        signing.finish()
    }

    fn read(headers: &[(&'static str, &str)]) -> Result<Claim, Fault> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Claim::read(&map)
    }

    fn but(nth: usize, value: &str) -> Result<Claim, Fault> {
        let mut headers = HEADERS;
        headers[nth].1 = value;
        read(&headers)
    }

    #[test]
    fn the_example_of_the_specification_holds() {
        let (key, claim) = (Key::read(SECRET).unwrap(), read(&HEADERS).unwrap());
        let is = |claim: &Claim, body: &[u8]| bool::from(claim.bears(&sign(&key, claim, body)));
        assert!(is(&claim, BODY));
        assert!(!is(&claim, b"{\"test\": 2432232315}"));
        assert!(!is(&but(0, "msg_other").unwrap(), BODY));
        assert!(!is(&but(1, "1614265331").unwrap(), BODY));
        let several = format!("v1a,xyz v1,{} {}", "A".repeat(43) + "=", HEADERS[2].1);
        assert!(is(&but(2, &several).unwrap(), BODY));
    }

    #[test]
    fn what_is_half_there_or_twice_or_otherwise_is_malformed() {
        assert_eq!(read(&[]).unwrap_err(), Fault::Absent);
        for one in HEADERS {
            let others: Vec<_> = HEADERS.into_iter().filter(|other| *other != one).collect();
            assert_eq!(read(&others).unwrap_err(), Fault::Malformed);
            let twice = [&HEADERS[..], &[one]].concat();
            assert_eq!(read(&twice).unwrap_err(), Fault::Malformed);
        }
        for id in ["", "a.b", "a b"] {
            assert_eq!(but(0, id).unwrap_err(), Fault::Malformed, "{id}");
        }
        for timestamp in [
            "",
            "-1",
            "+1614265330",
            "01614265330",
            "1.5",
            "1e9",
            "16142653300000",
        ] {
            assert_eq!(
                but(1, timestamp).unwrap_err(),
                Fault::Malformed,
                "{timestamp}"
            );
        }
        let bare = HEADERS[2].1.trim_start_matches("v1,");
        for signature in [
            "",
            "v1,",
            "v1",
            bare,
            "v2,AAAA",
            "v1,AAAA",
            "v1,!",
            &format!("v1, {bare}"),
        ] {
            assert_eq!(
                but(2, signature).unwrap_err(),
                Fault::Unsigned,
                "{signature}"
            );
        }
        let late = format!("{} {}", ["v1a,x"; MOST].join(" "), HEADERS[2].1);
        assert_eq!(
            but(2, &late).unwrap_err(),
            Fault::Unsigned,
            "too many to look at"
        );
    }

    #[test]
    fn a_secret_is_long_and_in_base64() {
        for secret in [
            "",
            "whsec_",
            "whsec_AAAA",
            "not base64!",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa",
        ] {
            assert!(Key::read(secret).is_err(), "{secret}");
        }
        assert!(Key::read(SECRET.trim_start_matches("whsec_")).is_ok());
    }
}
