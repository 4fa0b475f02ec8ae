//! Proofs of thoughts in a field that holds base64.
//!
//! A signature of the vendor's own goes through as it is. The envelope of another's is text, so it is
//! encoded, for clients that decode what they get. One of a vendor of this protocol, where there are
//! several, gets a [mark](mark) before it, which is whole groups of base64: it is as long as the two
//! together, and need not be decoded for it.

use crate::llm::{Reasoning, codec::base64};

const MARK: &str = "tg1:";
const REDACTED: &str = "redacted ";
/// What a mark begins with, before and after it is encoded.
const BOUND: &str = "tg2:";
const BOUND_ENCODED: &str = "dGcyO";

/// What stands before a proof that was made in this protocol, of the address of its maker.
pub(crate) fn mark(address: &str) -> String {
    let rest = address.strip_prefix(MARK).unwrap_or(address);
    let mut mark = format!("{BOUND}{rest}");
    while mark.len() % 3 != 0 {
        mark.push(':');
    }
    base64::encode(mark.as_bytes())
}

/// The envelope of a proof that is marked.
fn bound(signature: &str) -> Option<String> {
    let (mut address, mut colons) = (Vec::new(), 0);
    let mut left = signature;
    // Of its colons the fourth is the last that is not there to fill a group.
    while colons < 4 {
        let (group, rest) = left.split_at_checked(4)?;
        let group = base64::decode(&standard(group))?;
        colons += group.iter().filter(|byte| **byte == b':').count();
        address.extend(group);
        left = rest;
    }
    let address = String::from_utf8(address).ok()?;
    let maker = address.strip_prefix(BOUND)?.trim_end_matches(':');
    Some(format!("{MARK}{maker}:{left}"))
}

/// A mark and a proof, of an envelope that was made for this protocol and is not empty.
fn rebound(envelope: &str) -> Option<String> {
    let maker = envelope.strip_prefix(MARK)?;
    let mut colons = maker.match_indices(':').map(|(at, _)| at + 1);
    let end = colons.nth(2)?;
    let (address, proof) = maker.split_at(end);
    let own = address.starts_with("gemini:") && !proof.is_empty();
    own.then(|| mark(address) + proof)
}

/// Letters of either alphabet in that of RFC 4648 §4.
fn standard(text: &str) -> String {
    text.replace('-', "+").replace('_', "/")
}

/// A proof as a client of this protocol gets it.
pub(super) fn write(proof: &str) -> String {
    match proof.starts_with(MARK) {
        true => rebound(proof).unwrap_or_else(|| base64::encode(proof.as_bytes())),
        false => proof.to_owned(),
    }
}

/// A thought that only its maker can read.
pub(super) fn write_redacted(data: &str) -> String {
    base64::encode(format!("{REDACTED}{data}").as_bytes())
}

/// Whether what was written is the envelope of another's.
pub(super) fn is_envelope_written(proof: &str) -> bool {
    !proof.starts_with(BOUND_ENCODED) && opened(proof).is_some()
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
    if signature.starts_with(BOUND_ENCODED) {
        return bound(signature);
    }
    // The first letters of what is encoded.
    if !(signature.starts_with("dGcxO") || signature.starts_with("cmVkYWN0ZWQg")) {
        return None;
    }
    let text = String::from_utf8(base64::decode(&standard(signature))?).ok()?;
    let inside = text.strip_prefix(REDACTED).unwrap_or(&text);
    inside.starts_with(MARK).then_some(text)
}

/// What an envelope begins with, as it stands in the text of JSON.
const STARTS: [&str; 3] = ["\"dGcxO", "\"dGcyO", "\"cmVkYWN0ZWQgdGcxO"];

/// Whether these bytes of a client may hold an envelope: they cannot go on as they are.
pub(crate) fn is_in(bytes: &[u8]) -> bool {
    let is_in = |start: &&str| memchr::memmem::find(bytes, start.as_bytes()).is_some();
    STARTS.iter().any(is_in)
}

/// Whether a proof is one, as it stands within its quotes.
pub(crate) fn is_marked(proof: &[u8]) -> bool {
    STARTS
        .iter()
        .any(|start| proof.starts_with(&start.as_bytes()[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a client, who may be anybody.
    #[test]
    fn a_mark_without_an_end_is_read_once() {
        let endless = "dGcyO".to_owned() + &"A".repeat(3 << 20);
        let raw = read(String::new(), Some(endless.clone()));
        assert!(raw.signature == Some(endless));
    }

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
        for vendor in ["v", "ve", "ven"] {
            let envelope = format!("tg1:gemini:{vendor}:gemini-3-pro:EvsDCvgDAQw51sfOm202");
            let written = write(&envelope);
            assert!(written.ends_with("EvsDCvgDAQw51sfOm202") && !is_envelope_written(&written));
            assert!(base64::decode(&written).is_some());
            assert_eq!(read(String::new(), Some(written)).signature, Some(envelope));
        }
        for broken in [
            "dGcyO",
            "dGcyOmdlbWluaQ==",
            "dGcyOm\u{e9}\u{e9}\u{e9}",
            "dGcyO!!!!!!!",
        ] {
            let raw = read(String::new(), Some(broken.to_owned()));
            assert_eq!(raw.signature.as_deref(), Some(broken));
        }
        let own = "EvsDCvgDAQw51sfOm202";
        assert_eq!(write(own), own);
        assert_eq!(
            read(String::new(), Some(own.into())).signature.as_deref(),
            Some(own)
        );
    }
}
