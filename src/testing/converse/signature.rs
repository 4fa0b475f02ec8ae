//! Amazon's signature of a request, checked over the bytes that came: Signature Version 4, written from
//! its description so that it shares nothing with what signs.

use super::super::Recorded;
use sha2::{Digest, Sha256};
use std::fmt::Write;

const SERVICE: &str = "bedrock";

/// The keys that a mock vendor takes.
#[derive(Clone)]
pub(in super::super) struct Keys {
    pub(in super::super) access_key: String,
    pub(in super::super) secret: String,
    pub(in super::super) region: String,
}

/// Whether a request is signed with these keys, or the name of the vendor's error.
pub(in super::super) fn verified(request: &Recorded, keys: &Keys) -> Result<(), &'static str> {
    let told = request.header("authorization").unwrap_or_default();
    let Some(told) = told.strip_prefix("AWS4-HMAC-SHA256 ") else {
        return Err("MissingAuthenticationTokenException");
    };
    let field = |name: &str| {
        let mut fields = told.split(", ");
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let (Some(scope), Some(signed), Some(signature)) = (
        field("Credential"),
        field("SignedHeaders"),
        field("Signature"),
    ) else {
        return Err("IncompleteSignatureException");
    };
    let time = request.header("x-amz-date").unwrap_or_default();
    let day = time.get(..8).unwrap_or_default();
    let place = format!("{day}/{}/{SERVICE}/aws4_request", keys.region);
    match scope.split_once('/') {
        Some((access_key, _)) if access_key != keys.access_key => {
            return Err("UnrecognizedClientException");
        }
        Some((_, theirs)) if theirs == place => {}
        _ => return Err("InvalidSignatureException"),
    }
    let mut needed = vec!["host", "x-amz-date"];
    if request.headers.contains_key("x-amz-security-token") {
        needed.push("x-amz-security-token");
    }
    if needed
        .iter()
        .any(|name| !signed.split(';').any(|one| one == *name))
    {
        return Err("InvalidSignatureException");
    }
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{place}\n{}",
        hex(&Sha256::digest(canonical(request, signed)))
    );
    let mut key = format!("AWS4{}", keys.secret).into_bytes();
    for part in [day, &*keys.region, SERVICE, "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    match hex(&hmac(&key, text.as_bytes())) == signature {
        true => Ok(()),
        false => Err("InvalidSignatureException"),
    }
}

/// The request as it is signed: the path is encoded once more.
fn canonical(request: &Recorded, signed: &str) -> String {
    let mut path = String::new();
    for byte in request.route().bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                path.push(char::from(byte));
            }
            _ => {
                let _ = write!(path, "%{byte:02X}");
            }
        }
    }
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.sort_unstable();
    let mut out = format!("{}\n{path}\n{}\n", request.method, pairs.join("&"));
    for name in signed.split(';') {
        let value = request.header(name).unwrap_or_default().trim();
        let _ = writeln!(out, "{name}:{value}");
    }
    let _ = write!(out, "\n{signed}\n{}", hex(&Sha256::digest(&request.body)));
    out
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // None of the keys here is longer than a block.
    let pad = |with: u8| {
        let mut block = [with; 64];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
        block
    };
    let mut inner = Sha256::new();
    inner.update(pad(0x36));
    inner.update(text);
    let mut outer = Sha256::new();
    outer.update(pad(0x5c));
    outer.update(inner.finalize());
    outer.finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
