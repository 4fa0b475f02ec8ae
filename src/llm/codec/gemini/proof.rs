//! Proofs of thoughts in a field that holds base64.
//!
//! A signature of the vendor's own goes through as it is. The envelope of another's is text, so it is
//! encoded, for clients that decode what they get.

use crate::llm::{Reasoning, codec::base64};

const MARK: &str = "tg1:";
const REDACTED: &str = "redacted ";

/// A proof as a client of this protocol gets it.
pub(super) fn write(proof: &str) -> String {
    match proof.starts_with(MARK) {
        true => base64::encode(proof.as_bytes()),
        false => proof.to_owned(),
    }
}

/// A thought that only its maker can read.
pub(super) fn write_redacted(data: &str) -> String {
    base64::encode(format!("{REDACTED}{data}").as_bytes())
}

/// Whether what was written is the envelope of another's.
pub(super) fn is_envelope_written(proof: &str) -> bool {
    opened(proof).is_some()
}

/// What a client sends back.
pub(super) fn read(text: String, signature: Option<String>) -> Reasoning {
    let mut thought = Reasoning {
        text,
        ..Reasoning::default()
    };
    let Some(signature) = signature else {
        return thought;
    };
    match opened(&signature) {
        Some(envelope) => match envelope.strip_prefix(REDACTED) {
            Some(data) => thought.redacted = Some(data.to_owned()),
            None => thought.signature = Some(envelope),
        },
        None => thought.signature = Some(signature),
    }
    thought
}

/// What stands in an envelope: base64 of either alphabet.
fn opened(signature: &str) -> Option<String> {
    // The first letters of what is encoded.
    if !(signature.starts_with("dGcxO") || signature.starts_with("cmVkYWN0ZWQg")) {
        return None;
    }
    let plain = signature.replace('-', "+").replace('_', "/");
    let text = String::from_utf8(base64::decode(&plain)?).ok()?;
    let inside = text.strip_prefix(REDACTED).unwrap_or(&text);
    inside.starts_with(MARK).then_some(text)
}

/// Whether these bytes of a client may hold an envelope: they cannot go on as they are.
pub(super) fn is_in(bytes: &[u8]) -> bool {
    ["\"dGcxO", "\"cmVkYWN0ZWQgdGcxO"]
        .iter()
        .any(|start| memchr::memmem::find(bytes, start.as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_goes_there_and_back_in_either_alphabet() {
        let sealed = "tg1:anthropic:lab:claude:\u{ff}\u{fe}?>~proof";
        let written = write(sealed);
        let body = format!("{{\"thoughtSignature\":\"{written}\"}}");
        assert!(is_in(body.as_bytes()));
        let url = written.replace('+', "-").replace('/', "_");
        for written in [written, url] {
            assert_eq!(
                read(String::new(), Some(written)).signature.as_deref(),
                Some(sealed)
            );
        }
        let redacted = write_redacted(sealed);
        assert!(is_in(format!("\"{redacted}\"").as_bytes()));
        assert_eq!(
            read(String::new(), Some(redacted)).redacted.as_deref(),
            Some(sealed)
        );
        let own = "EvsDCvgDAQw51sfOm202";
        assert_eq!(write(own), own);
        assert_eq!(
            read(String::new(), Some(own.into())).signature.as_deref(),
            Some(own)
        );
    }
}
