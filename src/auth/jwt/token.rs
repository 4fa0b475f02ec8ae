//! A token as it is written: RFC 7515 §3.1 and RFC 7519, and of what they permit only what cannot be
//! read in two ways.

use super::algorithm::Algorithm;
use crate::auth::{
    base64::{Form, decode},
    json,
};
use serde_json::{Map, Value};

/// The most bytes of a token.
pub(super) const LONGEST: usize = 8 * 1024;

/// Why a token is not taken. For logs; callers do not hear it.
pub(super) type Reason = &'static str;

/// A token in compact form. Nothing of it is verified.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) header: Header,
    /// Of which the signature is.
    pub(super) signed: &'a str,
    pub(super) signature: Vec<u8>,
    payload: &'a str,
}

/// What of a header is looked at. `jku`, `x5u`, `jwk` and `x5c` would let a token bring its own key
/// (RFC 8725 §3.10): they are not among it.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<Box<str>>,
    pub(super) typ: Option<Box<str>>,
}

impl<'a> Token<'a> {
    pub(super) fn read(token: &'a [u8]) -> Result<Self, Reason> {
        if token.len() > LONGEST {
            return Err("it is too long");
        }
        let token = str::from_utf8(token).map_err(|_| "it is not Base64")?;
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("it has not three parts");
        };
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err("one of its parts is empty");
        }
        let signature = decode(Form::Url, signature.as_bytes())
            .ok_or("its signature is not canonical Base64")?;
        let signed = token
            .get(..header.len() + 1 + payload.len())
            .unwrap_or_default();
        Ok(Self {
            header: Header::read(header)?,
            signed,
            signature,
            payload,
        })
    }

    pub(super) fn payload(&self) -> Result<Vec<u8>, Reason> {
        decode(Form::Url, self.payload.as_bytes()).ok_or("its payload is not canonical Base64")
    }

    /// The claims, of which the signature says whether they are true.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, Reason> {
        json::object(&self.payload()?).ok_or("its payload is not one plain JSON object")
    }
}

impl Header {
    fn read(part: &str) -> Result<Self, Reason> {
        let bytes =
            decode(Form::Url, part.as_bytes()).ok_or("its header is not canonical Base64")?;
        let header = json::object(&bytes).ok_or("its header is not one plain JSON object")?;
        // No extension is understood here, and a list of none is not allowed (RFC 7515 §4.1.11).
        if header.contains_key("crit") {
            return Err("its header has `crit`");
        }
        if header.contains_key("b64") {
            return Err("its header has `b64`, which no JWT may (RFC 7797 §7)");
        }
        if header.contains_key("enc") || header.contains_key("zip") {
            return Err("it is encrypted");
        }
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err("a parameter of its header is no string"),
        };
        if text("cty")?.is_some_and(|cty| media_type(cty).eq_ignore_ascii_case("jwt")) {
            return Err("it holds another token");
        }
        let algorithm = text("alg")?.ok_or("its header has no `alg`")?;
        Ok(Self {
            algorithm: Algorithm::named(algorithm).ok_or("its algorithm is not known")?,
            kid: text("kid")?.map(Into::into),
            typ: text("typ")?.map(Into::into),
        })
    }

    /// Whether it is of this type; `application/` may be left out (RFC 7515 §4.1.9).
    pub(super) fn is_of(&self, typ: &str) -> bool {
        let own = self.typ.as_deref().map(media_type);
        own.is_some_and(|own| own.eq_ignore_ascii_case(media_type(typ)))
    }
}

fn media_type(text: &str) -> &str {
    let prefix = "application/";
    match text.get(..prefix.len()) {
        Some(start) if start.eq_ignore_ascii_case(prefix) => &text[prefix.len()..],
        _ => text,
    }
}

/// Whether this looks like a token: three parts, of which the first begins as an object does.
pub(super) fn looks_like_one(credential: &[u8]) -> bool {
    let dots = credential.iter().filter(|byte| **byte == b'.').count();
    credential.first() == Some(&b'e') && dots == 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::base64::encode;
    use proptest::prelude::*;

    fn token(header: &str, payload: &str) -> String {
        let part = |text: &str| encode(Form::Url, text.as_bytes());
        format!("{}.{}.{}", part(header), part(payload), part("signature"))
    }

    fn header(header: &str) -> Result<Header, Reason> {
        Token::read(token(header, "{}").as_bytes()).map(|token| token.header)
    }

    #[test]
    fn a_header_is_read() {
        let read =
            header(r#"{"alg":"ES256","kid":"a","typ":"application/AT+jwt","x":[1]}"#).unwrap();
        assert_eq!(read.algorithm, Algorithm::ES256);
        assert_eq!(read.kid.as_deref(), Some("a"));
        assert!(read.is_of("at+jwt") && !read.is_of("jwt"));
        assert!(header(r#"{ "alg" :"EdDSA"}"#).unwrap().kid.is_none());
    }

    #[test]
    fn a_header_that_says_what_is_not_done_here_is_refused() {
        for text in [
            r#"{}"#,
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"NONE"}"#,
            r#"{"alg":"nOnE"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":null}"#,
            r#"{"alg":256}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"HS256 "}"#,
            r#"{"alg":"ES256K"}"#,
            r#"{"alg":"ES521"}"#,
            r#"{"alg":"RSA-OAEP"}"#,
            r#"{"alg":"dir","enc":"A128GCM"}"#,
            r#"{"alg":"HS256","alg":"HS256"}"#,
            r#"{"alg":"HS256","\u0061lg":"none"}"#,
            r#"{"alg":"HS256","kid":1}"#,
            r#"{"alg":"HS256","kid":null}"#,
            r#"{"alg":"HS256","typ":["JWT"]}"#,
            r#"{"alg":"HS256","crit":[]}"#,
            r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
            r#"{"alg":"HS256","crit":"b64"}"#,
            r#"{"alg":"HS256","crit":null}"#,
            r#"{"alg":"HS256","b64":false}"#,
            r#"{"alg":"HS256","b64":true}"#,
            r#"{"alg":"HS256","zip":"DEF"}"#,
            r#"{"alg":"HS256","cty":"JWT"}"#,
            r#"{"alg":"HS256","cty":"application/jwt"}"#,
            r#"["HS256"]"#,
            "null",
        ] {
            assert!(header(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_has_three_parts_and_one_spelling() {
        let fine = token(r#"{"alg":"HS256"}"#, r#"{"sub":"alice"}"#);
        assert!(Token::read(fine.as_bytes()).unwrap().claims().is_ok());
        assert!(looks_like_one(fine.as_bytes()));
        let parts: Vec<_> = fine.split('.').collect();
        let (header, payload, signature) = (parts[0], parts[1], parts[2]);
        for text in [
            String::new(),
            "..".into(),
            "....".into(),
            header.into(),
            format!("{header}.{payload}"),
            format!("{header}.{payload}."),
            format!("{header}..{signature}"),
            format!(".{payload}.{signature}"),
            format!("{fine}."),
            format!("{fine}.{signature}"),
            format!("{fine}=="),
            format!("{fine} "),
            format!(" {fine}"),
            format!("{fine}\n"),
            format!("\"{fine}\""),
            format!("{fine}\u{a0}"),
            format!("Bearer {fine}"),
            format!("{header}.{payload}.{signature}A"),
            format!("{header}.{payload}.{}", signature.replace('c', "+")),
            format!("{{\"payload\":\"{payload}\"}}"),
            format!("{fine}{}", "A".repeat(LONGEST)),
        ] {
            let refused = match Token::read(text.as_bytes()) {
                Ok(token) => token.claims().is_err(),
                Err(_) => true,
            };
            assert!(refused, "{text}");
        }
    }

    proptest! {
        #[test]
        fn anything_may_be_asked_about(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in 0..60_usize,
            byte in any::<u8>(),
        ) {
            let _ = Token::read(&bytes).map(|token| token.claims());
            let mut token = token(r#"{"alg":"HS256","kid":"a"}"#, r#"{"exp":1}"#).into_bytes();
            let at = at.min(token.len() - 1);
            token[at] = byte;
            let _ = Token::read(&token).map(|token| token.claims());
        }
    }

    #[test]
    fn claims_are_one_plain_object() {
        for payload in [
            r#"{"sub":"alice","sub":"admin"}"#,
            r#"{"sub":"alice","\u0073ub":"admin"}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"exp":1e400}"#,
            "[1]",
            "\"x\"",
            "1",
            "{} {}",
            "\u{feff}{}",
            "eyJhbGciOiJIUzI1NiJ9.e30.c2ln",
        ] {
            let token = token(r#"{"alg":"HS256"}"#, payload);
            assert!(
                Token::read(token.as_bytes()).unwrap().claims().is_err(),
                "{payload}"
            );
        }
    }
}
