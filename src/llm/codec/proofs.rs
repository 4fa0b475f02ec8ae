//! Proofs in bytes that pass between a client and a vendor of one protocol.
//!
//! Such bytes are not decoded, so a proof gets its [envelope](super::envelope) by a splice: the mark of
//! its maker is put before it, within its quotes, and on the way back it is cut off again. All other
//! bytes stay as they are, and an event in which no proof stands is not copied.
//!
//! Where a proof can stand is told by a [table](Place), and read by [skim](super::skim), so that the same
//! words in the arguments of a tool are no proof. What that reader declines is passed on without a mark,
//! and of a request, left to those who read all of it.
//!
//! To look for a proof takes 15 to 25 ns an event, of the half microsecond and more that it takes to pass
//! one on; to mark one, less than a microsecond. The bench `codec` tells the ratio: `its proofs bound`.

#[cfg(test)]
mod tests;

use super::{
    Framing, Maker, envelope,
    gemini::{self, proof},
    skim,
    sse::{self, without_bom},
};
use crate::llm::Protocol;
use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use std::{borrow::Cow, sync::LazyLock};

/// An object of a protocol, as far as proofs go: of its requests and its answers in one, for no field
/// means something else in the other.
struct Place {
    /// The fields in which more of it stands: an object, or a list of them.
    inside: &'static [(&'static str, &'static Place)],
    /// The fields that are proofs, and the `type` that the object must have for it.
    proofs: &'static [(&'static str, Option<&'static str>)],
}

static BLOCK: Place = Place {
    inside: &[],
    proofs: &[
        ("signature", Some("thinking")),
        ("signature", Some("signature_delta")),
        ("data", Some("redacted_thinking")),
    ],
};
static MESSAGE: Place = Place {
    inside: &[("content", &BLOCK)],
    proofs: &[],
};
static ANTHROPIC: Place = Place {
    inside: &[
        ("delta", &BLOCK),
        ("content_block", &BLOCK),
        ("content", &BLOCK),
        ("message", &MESSAGE),
        ("messages", &MESSAGE),
    ],
    proofs: &[],
};

static PART: Place = Place {
    inside: &[],
    proofs: &[("thoughtSignature", None), ("thought_signature", None)],
};
static CONTENT: Place = Place {
    inside: &[("parts", &PART)],
    proofs: &[],
};
static CANDIDATE: Place = Place {
    inside: &[("content", &CONTENT)],
    proofs: &[],
};
static COUNTED: Place = Place {
    inside: &[("contents", &CONTENT)],
    proofs: &[],
};
static GEMINI: Place = Place {
    inside: &[
        ("candidates", &CANDIDATE),
        ("contents", &CONTENT),
        ("generateContentRequest", &COUNTED),
        ("generate_content_request", &COUNTED),
    ],
    proofs: &[],
};

/// A thought, and what a conversation was compacted to.
static ITEM: Place = Place {
    inside: &[],
    proofs: &[("encrypted_content", None)],
};
static RESPONSE: Place = Place {
    inside: &[("output", &ITEM)],
    proofs: &[],
};
static RESPONSES: Place = Place {
    inside: &[
        ("item", &ITEM),
        ("input", &ITEM),
        ("output", &ITEM),
        ("response", &RESPONSE),
    ],
    proofs: &[],
};

/// What vendors have in fields of their own.
static DETAIL: Place = Place {
    inside: &[],
    proofs: &[("signature", None), ("data", None)],
};
static GOOGLE: Place = Place {
    inside: &[],
    proofs: &[("thought_signature", None)],
};
static EXTRA: Place = Place {
    inside: &[("google", &GOOGLE)],
    proofs: &[],
};
static CALL: Place = Place {
    inside: &[("extra_content", &EXTRA)],
    proofs: &[],
};
/// Google has one beside a text in two places.
static SAID: Place = Place {
    inside: &[
        ("reasoning_details", &DETAIL),
        ("tool_calls", &CALL),
        ("extra_content", &EXTRA),
    ],
    proofs: &[("thought_signature", None)],
};
static CHOICE: Place = Place {
    inside: &[("delta", &SAID), ("message", &SAID)],
    proofs: &[],
};
static CHAT: Place = Place {
    inside: &[("choices", &CHOICE), ("messages", &SAID)],
    proofs: &[],
};

/// Names without which there is no proof. In the text of a string their quotes would have escapes.
type Needles = LazyLock<Vec<Finder<'static>>>;

static IN_ANTHROPIC: Needles = LazyLock::new(|| {
    let names = ["\"signature\"", "\"redacted_thinking\""];
    names.map(Finder::new).into()
});
static IN_CHAT: Needles = LazyLock::new(|| {
    let names = ["\"reasoning_details\"", "\"thought_signature\""];
    names.map(Finder::new).into()
});
static IN_GEMINI: Needles = LazyLock::new(|| vec![Finder::new("\"thoughtSignature\"")]);
static IN_RESPONSES: Needles = LazyLock::new(|| vec![Finder::new("\"encrypted_content\"")]);

/// What is known of a protocol.
struct Known {
    place: &'static Place,
    names: &'static [Finder<'static>],
}

impl Known {
    fn of(protocol: Protocol) -> Option<Self> {
        let (place, names) = match protocol {
            Protocol::Anthropic => (&ANTHROPIC, &IN_ANTHROPIC),
            Protocol::Gemini => (&GEMINI, &IN_GEMINI),
            Protocol::Responses => (&RESPONSES, &IN_RESPONSES),
            Protocol::OpenAi => (&CHAT, &IN_CHAT),
            // They have no clients.
            Protocol::Bedrock | Protocol::Cohere | Protocol::Ollama => return None,
        };
        Some(Self { place, names })
    }

    fn may_stand_in(&self, text: &[u8]) -> bool {
        self.names.iter().any(|name| name.find(text).is_some())
    }

    /// The proofs in one document of an answer.
    fn find<'a>(&self, text: &'a [u8]) -> Vec<&'a [u8]> {
        let looked = self.may_stand_in(text).then(|| self.place.all(text));
        looked.flatten().unwrap_or_default()
    }

    /// Where they stand in whole events, or in the one document.
    fn places(&self, raw: &[u8], framing: Framing) -> Vec<usize> {
        let text = without_bom(raw);
        let mut places = Vec::new();
        let mut add = |proofs: Vec<&[u8]>| {
            places.extend(proofs.into_iter().map(|proof| offset(proof, raw)));
        };
        match framing {
            Framing::Json => add(self.find(text)),
            Framing::Array => gemini::elements(text).for_each(|one| add(self.find(one))),
            Framing::Sse => {
                let mut events = sse::events(text);
                loop {
                    let from = events.rest();
                    match events.next().map(|event| event.data) {
                        None => break,
                        Some(Cow::Borrowed(data)) => add(self.find(data)),
                        Some(Cow::Owned(data)) => {
                            let proofs = self.find(&data).into_iter();
                            let at = proofs.filter_map(|at| in_lines(from, offset(at, &data)));
                            add(at.collect());
                        }
                    }
                }
            }
            Framing::EventStream | Framing::Ndjson | Framing::Opaque => {}
        }
        places
    }
}

impl Place {
    /// Finds the proofs in an object, and answers what stands after it.
    fn find<'a>(&self, text: &'a [u8], found: &mut Vec<&'a [u8]>) -> Option<&'a [u8]> {
        let mut kind = &b""[..];
        let mut said = Vec::new();
        let rest = skim::object(text, |name, value| {
            let of = |field: &str| field.as_bytes() == name;
            if let Some((_, place)) = self.inside.iter().find(|(field, _)| of(field)) {
                match value.first()? {
                    b'{' => place.find(value, found).map(drop)?,
                    b'[' => skim::array(value, |one| match one.first()? {
                        b'{' => place.find(one, found).map(drop),
                        _ => Some(()),
                    })
                    .map(drop)?,
                    _ => {}
                }
            } else if self.proofs.iter().any(|(field, _)| of(field)) {
                said.push((name, value));
            } else if name == b"type" {
                kind = value;
            }
            Some(())
        })?;
        let kind = inside(kind).unwrap_or_default();
        found.extend(said.into_iter().filter_map(|(name, value)| {
            let proves = |(field, of): &(&str, Option<&str>)| {
                field.as_bytes() == name && of.is_none_or(|of| of.as_bytes() == kind)
            };
            let proof = inside(value).filter(|proof| !proof.is_empty())?;
            self.proofs.iter().any(proves).then_some(proof)
        }));
        Some(rest)
    }

    /// The proofs in a whole document, in order: what stands within their quotes. `None` where it is not
    /// plainly one.
    fn all<'a>(&self, text: &'a [u8]) -> Option<Vec<&'a [u8]>> {
        let mut found = Vec::new();
        let rest = self.find(text, &mut found)?;
        found.sort_unstable_by_key(|proof| proof.as_ptr());
        skim::is_blank(rest).then_some(found)
    }
}

/// What stands within the quotes of a string.
fn inside(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// Where a part of some bytes stands in them.
fn offset(part: &[u8], whole: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// What stands before a proof of this maker, as it stands in the text of JSON.
///
/// Where proofs are base64 the mark is too, in whole groups of it: both together are the base64 of both
/// together, so that a client that decodes what it gets may.
fn mark(maker: &Maker) -> Vec<u8> {
    let address = maker.address();
    match maker.protocol {
        Protocol::Gemini => proof::mark(&address).into_bytes(),
        _ => {
            let text = serde_json::Value::from(address).to_string().into_bytes();
            inside(&text).unwrap_or_default().to_vec()
        }
    }
}

/// Marks the proofs of one answer.
#[derive(Debug)]
pub(crate) struct Marker {
    protocol: Protocol,
    mark: Vec<u8>,
}

impl Marker {
    pub(crate) fn new(maker: &Maker) -> Self {
        Self {
            protocol: maker.protocol,
            mark: mark(maker),
        }
    }

    /// Whole events, or the one document, with a mark before each proof. The bytes as they came if
    /// there is none.
    pub(crate) fn marked(&self, raw: Bytes, framing: Framing) -> Bytes {
        let Some(known) = Known::of(self.protocol) else {
            return raw;
        };
        if !known.may_stand_in(&raw) {
            return raw;
        }
        let at = known.places(&raw, framing);
        if at.is_empty() {
            return raw;
        }
        let mut out = BytesMut::with_capacity(raw.len() + at.len() * self.mark.len());
        let mut from = 0;
        for at in at {
            out.extend_from_slice(&raw[from..at]);
            out.extend_from_slice(&self.mark);
            from = at;
        }
        out.extend_from_slice(&raw[from..]);
        out.freeze()
    }
}

/// What begins at a byte of the data of an event whose data stand in several lines.
fn in_lines(event: &[u8], mut at: usize) -> Option<&[u8]> {
    for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let data = match line.strip_prefix(b"data") {
            Some([]) => &[],
            Some([b':', b' ', data @ ..] | [b':', data @ ..]) => data,
            _ => continue,
        };
        if at < data.len() {
            return Some(&data[at..]);
        }
        // They are joined by a line feed.
        at = at.checked_sub(data.len() + 1)?;
    }
    None
}

/// The bytes of a client, for a vendor of its protocol: as they are if no proof in them is marked, and
/// without the marks if all are of this maker. `None`: one is another's, or cannot be told from here, and
/// the whole must be read.
pub(crate) fn homeward(bytes: Bytes, to: &Maker) -> Option<Bytes> {
    let in_base64 = to.protocol == Protocol::Gemini;
    let may_hold = envelope::is_in(&bytes) || in_base64 && proof::is_in(&bytes);
    if !may_hold {
        return Some(bytes);
    }
    let is_marked = |text: &[u8]| text.starts_with(b"tg1:") || in_base64 && proof::is_marked(text);
    let place = Known::of(to.protocol)?.place;
    let mark = mark(to);
    let mut cuts = Vec::new();
    for proof in place.all(&bytes)? {
        let own = proof
            .get(..mark.len())
            .is_some_and(|start| match in_base64 {
                // A client may write either alphabet of it.
                true => start.iter().map(plain).eq(mark.iter().map(plain)),
                false => start == mark,
            });
        match own {
            // A thought that was never proven.
            true if proof.len() == mark.len() => return None,
            true => cuts.push(offset(proof, &bytes)),
            false if is_marked(proof) => return None,
            false => {}
        }
    }
    if cuts.is_empty() {
        // Somebody only says such words.
        return Some(bytes);
    }
    let mut out = BytesMut::with_capacity(bytes.len());
    let mut from = 0;
    for at in cuts {
        out.extend_from_slice(&bytes[from..at]);
        from = at + mark.len();
    }
    out.extend_from_slice(&bytes[from..]);
    Some(out.freeze())
}

fn plain(letter: &u8) -> u8 {
    match letter {
        b'-' => b'+',
        b'_' => b'/',
        letter => *letter,
    }
}
