//! W3C Trace Context, as data.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

const SAMPLED: u8 = 0b01;
/// The bits that have a meaning: sampled, and random trace id (level 2). Others must not be passed on.
const KNOWN: u8 = 0b11;

/// Section 3.3.1.1 of the recommendation.
const MOST_MEMBERS: usize = 32;
/// It asks for 512 at least.
const MOST_BYTES: usize = 4096;

/// Where an exchange stands in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TraceContext {
    /// In digits, as it came and goes.
    trace: [u8; 32],
    /// The caller's span, if it is the caller's trace.
    parent: Option<u64>,
    span: u64,
    flags: u8,
}

impl TraceContext {
    /// Goes on with the caller's trace if there is exactly one, and it is valid, and trusted.
    pub(super) fn new(headers: &HeaderMap, trusted: bool, request_id: &str, sampled: bool) -> Self {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let said = match (lines.next(), lines.next()) {
            (Some(line), None) if trusted => parse(line.as_bytes()),
            _ => None,
        };
        let span = random();
        if let Some((trace, parent, flags)) = said {
            let parent = Some(parent);
            return Self {
                trace,
                parent,
                span,
                flags: flags & KNOWN,
            };
        }
        // A request id of ours is fit to be a trace id, and whoever has one then has both.
        let trace = trace_id(request_id.as_bytes()).unwrap_or_else(|| {
            let mut id = [0; 32];
            id.chunks_exact_mut(16)
                .for_each(|half| digits(half, random()));
            id
        });
        Self {
            trace,
            parent: None,
            span,
            flags: if sampled { SAMPLED } else { 0 },
        }
    }

    /// Tells the next hop. The state of a trace that is not gone on with is dropped.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        if self.parent.is_none() || !is_state(headers) {
            headers.remove(TRACESTATE);
        }
        if let Ok(value) = HeaderValue::from_bytes(&self.bytes()) {
            headers.insert(TRACEPARENT, value);
        }
    }

    /// As the header has it. By hand: `format!` would be a third of what a trace costs.
    fn bytes(self) -> [u8; 55] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        out[3..35].copy_from_slice(&self.trace);
        digits(&mut out[36..52], self.span);
        digits(&mut out[53..], self.flags.into());
        out
    }

    pub(super) fn trace_id(self) -> impl fmt::Display {
        format_args_of(move |f| f.write_str(str::from_utf8(&self.trace).unwrap_or_default()))
    }

    pub(super) fn span_id(self) -> impl fmt::Display {
        format_args_of(move |f| write!(f, "{:016x}", self.span))
    }

    pub(super) fn parent_id(self) -> Option<impl fmt::Display> {
        let parent = self.parent?;
        Some(format_args_of(move |f| write!(f, "{parent:016x}")))
    }
}

fn format_args_of(write: impl Fn(&mut fmt::Formatter<'_>) -> fmt::Result) -> impl fmt::Display {
    struct By<F>(F);
    impl<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> fmt::Display for By<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            (self.0)(f)
        }
    }
    By(write)
}

/// Trace, parent and flags. Version 00 has this length; a later one may have more, after a hyphen.
fn parse(value: &[u8]) -> Option<([u8; 32], u64, u8)> {
    let (value, more) = value.split_at_checked(55)?;
    let version = hex(&value[..2], 2)?;
    let whole = more.is_empty() || (version != 0 && more[0] == b'-');
    if version == 0xff || !whole || [2, 35, 52].iter().any(|at| value[*at] != b'-') {
        return None;
    }
    let trace = trace_id(&value[3..35])?;
    let parent = hex(&value[36..52], 16).filter(|id| *id != 0)?;
    let flags = hex(&value[53..55], 2)?;
    Some((trace, parent, u8::try_from(flags).ok()?))
}

/// Fills `out` with digits, the last ones of `number`.
fn digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

/// The id of a trace: 32 digits, none of them in upper case, and not all of them zero.
fn trace_id(text: &[u8]) -> Option<[u8; 32]> {
    let id: [u8; 32] = text.try_into().ok()?;
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    // All are counted, so that many are looked at at a time.
    let digits = id.iter().filter(|byte| is_digit(byte)).count();
    (digits == id.len() && id != [b'0'; 32]).then_some(id)
}

/// Exactly so many digits, 16 at the most, none of them in upper case.
fn hex(text: &[u8], digits: usize) -> Option<u64> {
    if text.len() != digits {
        return None;
    }
    text.iter().try_fold(0, |number, byte| match byte {
        b'0'..=b'9' => Some(number << 4 | u64::from(byte - b'0')),
        b'a'..=b'f' => Some(number << 4 | u64::from(byte - b'a' + 10)),
        _ => None,
    })
}

/// Whether all lines together are a list that is worth passing on.
fn is_state(headers: &HeaderMap) -> bool {
    let (mut members, mut bytes) = (0, 0);
    for line in headers.get_all(TRACESTATE) {
        bytes += line.len();
        members += line.as_bytes().split(|byte| *byte == b',').count();
        if line.to_str().is_err() {
            return false;
        }
    }
    members <= MOST_MEMBERS && bytes <= MOST_BYTES
}

/// 64 bits that nobody outside can guess the next of, and that are not all zero.
fn random() -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    KEY.hash_one(COUNT.fetch_add(1, Ordering::Relaxed)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";
    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    /// What the next hop is told for these lines: the trace, the flags, and the states.
    fn told(parents: &[&str], states: &[&str], trusted: bool) -> (String, String, usize) {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, parent.parse().unwrap());
        }
        for state in states {
            headers.append(
                TRACESTATE,
                HeaderValue::from_bytes(state.as_bytes()).unwrap(),
            );
        }
        TraceContext::new(&headers, trusted, ID, true).write(&mut headers);
        let told = headers[TRACEPARENT].to_str().unwrap();
        assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
        assert!(parse(told.as_bytes()).is_some(), "{told}");
        assert!(!told.contains(PARENT), "every hop has a span of its own");
        let states = headers.get_all(TRACESTATE).iter().count();
        (told[3..35].into(), told[53..].into(), states)
    }

    #[test]
    fn a_valid_trace_goes_on() {
        for (parent, flags) in [
            (format!("00-{TRACE}-{PARENT}-01"), "01"),
            (format!("00-{TRACE}-{PARENT}-00"), "00"),
            (format!("00-{TRACE}-{PARENT}-03"), "03"),
            (format!("00-{TRACE}-{PARENT}-ff"), "03"),
            // Of a later version is read what this one knows.
            (format!("cc-{TRACE}-{PARENT}-01"), "01"),
            (format!("cc-{TRACE}-{PARENT}-01-more"), "01"),
        ] {
            let told = told(&[&parent], &["a=1", "b=2"], true);
            assert_eq!(told, (TRACE.into(), flags.into(), 2), "{parent}");
        }
    }

    #[test]
    fn any_other_starts_again_and_drops_the_state() {
        let upper = TRACE.to_uppercase();
        let zeros = "0".repeat(32);
        for parent in [
            format!("00-{upper}-{PARENT}-01"),
            format!("00-{TRACE}-{}-01", PARENT.to_uppercase()),
            format!("00-{TRACE}-{PARENT}-0A"),
            format!("00-{zeros}-{PARENT}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("00-{TRACE}-{PARENT}-01-"),
            format!("cc-{TRACE}-{PARENT}-01more"),
            format!("00-{TRACE}-{PARENT}-1"),
            format!("00-{TRACE}-{PARENT}"),
            format!("00_{TRACE}_{PARENT}_01"),
            format!("00-{TRACE}-{PARENT}-0g"),
            format!(" 00-{TRACE}-{PARENT}-01"),
            format!("+0-{TRACE}-{PARENT}-01"),
            String::new(),
        ] {
            let told = told(&[&parent], &["a=1"], true);
            assert_eq!(told, (ID.into(), "01".into(), 0), "{parent}");
        }
        let valid = &*format!("00-{TRACE}-{PARENT}-01");
        assert_eq!(told(&[valid, valid], &["a=1"], true).0, ID, "two are none");
        assert_eq!(told(&[], &["a=1"], true), (ID.into(), "01".into(), 0));
        assert_eq!(told(&[valid], &["a=1"], false).0, ID, "not trusted");
    }

    #[test]
    fn a_state_without_end_is_dropped() {
        let valid = &*format!("00-{TRACE}-{PARENT}-01");
        let members = |count| vec!["a=1"; count].join(",");
        let long = "x".repeat(MOST_BYTES);
        for (states, kept) in [
            (vec![&*members(32)], 1),
            (vec![&*members(33)], 0),
            (vec![&*members(16), &*members(17)], 0),
            (vec![&*format!("a={long}")], 0),
            (vec!["a=\u{e9}"], 0),
        ] {
            assert_eq!(told(&[valid], &states, true).2, kept, "{states:?}");
        }
    }

    #[test]
    fn a_foreign_request_id_is_no_trace_id() {
        for id in ["", "order-7", &"0".repeat(32), &ID.to_uppercase()] {
            let context = TraceContext::new(&HeaderMap::new(), true, id, false);
            assert!(parse(&context.bytes()).is_some());
            assert!(context.bytes().ends_with(b"-00"), "nobody records it");
        }
    }
}
