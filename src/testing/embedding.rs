//! Vectors that mean nothing, always the same for the same text.

use super::vendor;
use serde_json::{Value, json};

/// The `data` of an answer, and the tokens of its input.
pub(super) fn vectors(body: &Value) -> (Vec<Value>, u64) {
    let dimensions = body["dimensions"].as_u64().unwrap_or(8).clamp(1, 4096);
    let base64 = body["encoding_format"] == "base64";
    // One text, many texts, the tokens of one, the tokens of many.
    let inputs = match &body["input"] {
        Value::Array(items) if items.iter().all(|item| !item.is_number()) => items.clone(),
        one => vec![one.clone()],
    };
    let data = inputs.iter().enumerate().map(|(index, input)| {
        let vector = vector(&input.to_string(), dimensions);
        let embedding = if base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            json!(encode(&bytes))
        } else {
            json!(vector)
        };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    });
    let tokens = inputs.iter().map(vendor::input).sum();
    (data.collect(), tokens)
}

/// Of length one. By xorshift from the FNV-1a hash of the text.
fn vector(text: &str, dimensions: u64) -> Vec<f32> {
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }) | 1;
    let mut vector = Vec::new();
    for _ in 0..dimensions {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let part = u16::try_from(state >> 48).unwrap_or_default();
        vector.push(f32::from(part) / 32_768.0 - 1.0);
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length.max(1e-6));
    vector
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 of RFC 4648 §4.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            let six = (bits >> (18 - 6 * n)) & 63;
            text.push(if n <= group.len() {
                char::from(ALPHABET[six as usize])
            } else {
                '='
            });
        }
    }
    text
}

/// Base64 of RFC 4648 §4, with or without its padding; `None` if it is none.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for char in text.trim_end_matches('=').bytes() {
        let six = ALPHABET.iter().position(|known| *known == char)?;
        bits = bits << 6 | u32::try_from(six).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded).as_deref(), Some(plain.as_bytes()));
        }
        assert_eq!(decode("Zm 9v"), None);
    }

    #[test]
    fn the_same_text_has_the_same_vector_of_length_one() {
        let (first, tokens) = vectors(&json!({ "input": ["a b", "c"], "dimensions": 3 }));
        let (second, _) = vectors(&json!({ "input": "a b", "dimensions": 3 }));
        assert_eq!((first.len(), tokens), (2, 3));
        assert_eq!(first[0], second[0]);
        let parts = first[0]["embedding"].as_array().unwrap();
        let square: f64 = parts.iter().map(|x| x.as_f64().unwrap().powi(2)).sum();
        assert!((square - 1.0).abs() < 1e-6, "{square}");
    }

    #[test]
    fn base64_holds_the_same_floats() {
        let (plain, _) = vectors(&json!({ "input": [1, 2, 3] }));
        let (coded, tokens) = vectors(&json!({ "input": [1, 2, 3], "encoding_format": "base64" }));
        assert_eq!((plain.len(), tokens), (1, 3));
        let bytes = decode(coded[0]["embedding"].as_str().unwrap()).unwrap();
        let floats = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|four| f32::from_le_bytes(*four));
        assert_eq!(json!(floats.collect::<Vec<_>>()), plain[0]["embedding"]);
    }
}
