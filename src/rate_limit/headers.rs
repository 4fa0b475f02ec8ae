//! What callers are told of their quotas.

use super::{meter::Decision, quota::Quota};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Which headers tell callers what is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Headers {
    /// Both kinds.
    #[default]
    All,
    /// `RateLimit` and `RateLimit-Policy`, as draft-ietf-httpapi-ratelimit-headers-11 has them.
    Ietf,
    /// `x-ratelimit-limit-requests`, `-remaining-requests` and `-reset-requests`, as OpenAI's
    /// clients know them.
    OpenAi,
    /// None. Refusals still say `Retry-After`.
    Off,
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");

/// What does not change from call to call.
#[derive(Debug)]
pub(super) struct Lines {
    which: Headers,
    /// The value of `RateLimit-Policy`.
    policy: HeaderValue,
    /// `"name";r=` and `x-ratelimit-limit-requests` of each quota. `None`: it is a shadow, and nobody
    /// is told of it.
    quotas: Box<[Option<Line>]>,
}

type Line = (Box<[u8]>, HeaderValue);

impl Lines {
    pub(super) fn new(which: Headers, quotas: &[Quota]) -> Self {
        let mut policy = Vec::new();
        let lines = quotas.iter().map(|quota| {
            if quota.is_shadow() {
                return None;
            }
            let name = quoted(quota.label());
            comma(&mut policy);
            policy.extend_from_slice(&name);
            policy.extend_from_slice(b";q=");
            integer(&mut policy, quota.limit());
            policy.extend_from_slice(b";w=");
            integer(&mut policy, quota.window());
            let head = [&*name, b";r="].concat();
            Some((head.into(), quota.limit().into()))
        });
        let quotas = lines.collect();
        Self {
            which,
            policy: value(policy.into()),
            quotas,
        }
    }

    pub(super) fn silent(&self) -> bool {
        self.which == Headers::Off || self.quotas.iter().all(Option::is_none)
    }

    /// Adds to what limiters further in have said, and overrides only what was less strict.
    pub(super) fn write(&self, decisions: &[Decision], headers: &mut HeaderMap) {
        if self.silent() {
            return;
        }
        let told = || {
            let told = self.quotas.iter().zip(decisions);
            told.filter_map(|(line, decision)| Some((line.as_ref()?, decision.left)))
        };
        // One buffer for all that is told anew.
        let mut text = Vec::with_capacity(128);
        if self.which != Headers::OpenAi {
            for ((head, _), left) in told() {
                comma(&mut text);
                text.extend_from_slice(head);
                integer(&mut text, left.remaining);
                if left.next > 0 {
                    text.extend_from_slice(b";t=");
                    integer(&mut text, left.next.div_ceil(1_000_000));
                }
            }
        }
        let current = text.len();
        let tightest = told()
            .min_by_key(|(_, left)| (left.remaining, std::cmp::Reverse(left.reset)))
            .filter(|_| self.which != Headers::Ietf)
            .filter(|(_, left)| said(headers).is_none_or(|said| left.remaining < said));
        if let Some((_, left)) = tightest {
            decimal(&mut text, left.remaining);
        }
        let remaining = text.len();
        if let Some((_, left)) = tightest {
            go_duration(&mut text, left.reset);
        }
        let text = Bytes::from(text);
        if self.which != Headers::OpenAi {
            headers.append(RATE_LIMIT, value(text.slice(..current)));
            headers.append(RATE_LIMIT_POLICY, self.policy.clone());
        }
        if let Some(((_, limit), _)) = tightest {
            headers.insert(LIMIT, limit.clone());
            headers.insert(REMAINING, value(text.slice(current..remaining)));
            headers.insert(RESET, value(text.slice(remaining..)));
        }
    }
}

/// What a limiter further in says is left.
fn said(headers: &HeaderMap) -> Option<u64> {
    headers.get(REMAINING)?.to_str().ok()?.trim().parse().ok()
}

fn value(text: Bytes) -> HeaderValue {
    // Only names come from outside, and `Quota::name` let nothing through that could not stand here.
    HeaderValue::from_maybe_shared(text).unwrap_or(HeaderValue::from_static(""))
}

fn comma(list: &mut Vec<u8>) {
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
}

/// A string as RFC 9651 §3.3.3 has it.
fn quoted(name: &str) -> Vec<u8> {
    let mut out = vec![b'"'];
    for byte in name.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
    out
}

/// An integer as RFC 9651 §3.3.1 has it: of more than 15 digits it makes the whole field void.
fn integer(out: &mut Vec<u8>, number: u64) {
    decimal(out, number.min(999_999_999_999_999));
}

fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] += (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// As Go prints durations: `12ms`, `1.5s`, `6m0s`, `1h0m0s`. Rounded up to milliseconds.
fn go_duration(out: &mut Vec<u8>, micros: u64) {
    let millis = micros.div_ceil(1000);
    let (seconds, thousandths) = (millis / 1000, millis % 1000);
    if seconds == 0 && thousandths > 0 {
        decimal(out, thousandths);
        out.extend_from_slice(b"ms");
        return;
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if hours > 0 {
        decimal(out, hours);
        out.push(b'h');
    }
    if seconds >= 60 {
        decimal(out, minutes);
        out.push(b'm');
    }
    decimal(out, seconds % 60);
    if thousandths > 0 {
        let digits = [
            b'.',
            b'0' + (thousandths / 100) as u8,
            b'0' + (thousandths / 10 % 10) as u8,
            b'0' + (thousandths % 10) as u8,
        ];
        let mut shown = &digits[..];
        while let [more @ .., b'0'] = shown {
            shown = more;
        }
        out.extend_from_slice(shown);
    }
    out.push(b's');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::meter::Left;

    fn decision(remaining: u64, next: u64, reset: u64) -> Decision {
        Decision {
            allowed: true,
            retry_after: Some(0),
            left: Left {
                remaining,
                next,
                reset,
            },
        }
    }

    fn written(which: Headers, headers: &mut HeaderMap) {
        let quotas = [Quota::per_minute(60), Quota::per_day(500).name("a \"day\"")];
        let told = [
            decision(59, 1_000_000, 1_000_000),
            decision(3, 172_800_000, 360_000_000),
        ];
        Lines::new(which, &quotas).write(&told, headers);
    }

    fn lines<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        let values = headers.get_all(name).into_iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn tells_all_quotas_and_the_tightest() {
        let mut headers = HeaderMap::new();
        written(Headers::All, &mut headers);
        assert_eq!(
            lines(&headers, "ratelimit"),
            [r#""per-minute";r=59;t=1, "a \"day\"";r=3;t=173"#]
        );
        assert_eq!(
            lines(&headers, "ratelimit-policy"),
            [r#""per-minute";q=60;w=60, "a \"day\"";q=500;w=86400"#]
        );
        assert_eq!(lines(&headers, "x-ratelimit-limit-requests"), ["500"]);
        assert_eq!(lines(&headers, "x-ratelimit-remaining-requests"), ["3"]);
        assert_eq!(lines(&headers, "x-ratelimit-reset-requests"), ["6m0s"]);
    }

    #[test]
    fn a_shadow_is_not_told_of() {
        let told = [decision(1, 1, 1), decision(7, 1, 1)];
        let quotas = [Quota::per_minute(60).shadow(), Quota::per_day(9)];
        let mut headers = HeaderMap::new();
        Lines::new(Headers::All, &quotas).write(&told, &mut headers);
        assert_eq!(lines(&headers, "ratelimit"), [r#""per-day";r=7;t=1"#]);
        assert_eq!(lines(&headers, "ratelimit-policy").len(), 1);
        assert_eq!(lines(&headers, "x-ratelimit-remaining-requests"), ["7"]);
        assert!(Lines::new(Headers::All, &quotas[..1]).silent());
    }

    #[test]
    fn no_integer_has_more_digits_than_a_parser_takes() {
        let quotas = [Quota::per_minute(u64::MAX)];
        let mut headers = HeaderMap::new();
        let told = [decision(quotas[0].limit().max(1 << 60), 0, 0)];
        Lines::new(Headers::All, &quotas).write(&told, &mut headers);
        assert_eq!(
            lines(&headers, "ratelimit"),
            [r#""per-minute";r=999999999999999"#]
        );
        let policy = lines(&headers, "ratelimit-policy")[0];
        let q = policy.split(';').find_map(|part| part.strip_prefix("q="));
        assert!(q.unwrap().len() <= 15, "{policy}");
    }

    #[test]
    fn what_was_stricter_stays() {
        for (inner, outer) in [("2", "2"), ("3", "3"), ("4", "3"), ("soon", "3")] {
            let mut headers = HeaderMap::new();
            headers.insert("ratelimit", HeaderValue::from_static(r#""inner";r=2"#));
            headers.insert(REMAINING, HeaderValue::from_static(inner));
            written(Headers::All, &mut headers);
            assert_eq!(lines(&headers, "x-ratelimit-remaining-requests"), [outer]);
            assert_eq!(lines(&headers, "ratelimit")[0], r#""inner";r=2"#);
            assert_eq!(lines(&headers, "ratelimit").len(), 2);
        }
    }

    #[test]
    fn only_what_was_chosen_is_told() {
        let told = |which| {
            let mut headers = HeaderMap::new();
            written(which, &mut headers);
            (
                headers.contains_key(RATE_LIMIT),
                headers.contains_key(LIMIT),
            )
        };
        assert_eq!(told(Headers::Ietf), (true, false));
        assert_eq!(told(Headers::OpenAi), (false, true));
        assert_eq!(told(Headers::Off), (false, false));
    }

    #[test]
    fn durations_read_as_in_go() {
        for (micros, text) in [
            (0, "0s"),
            (1, "1ms"),
            (11_001, "12ms"),
            (1_000_000, "1s"),
            (1_500_000, "1.5s"),
            (8_640_000, "8.64s"),
            (60_000_000, "1m0s"),
            (86_400_000, "1m26.4s"),
            (360_000_000, "6m0s"),
            (3_600_000_000, "1h0m0s"),
            (90_061_002_000, "25h1m1.002s"),
            (u64::MAX, "5124095576h1m49.552s"),
        ] {
            let mut out = Vec::new();
            go_duration(&mut out, micros);
            assert_eq!(out, text.as_bytes(), "{}", String::from_utf8_lossy(&out));
        }
    }
}
