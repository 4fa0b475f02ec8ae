//! What a vendor says of its limits: how much of them is left for the gateway's account, and when there
//! will be more.
//!
//! ```
//! use http::HeaderMap;
//! use std::time::Duration;
//! use tower_gateway::llm::RateLimits;
//!
//! let mut headers = HeaderMap::new();
//! headers.insert("x-ratelimit-limit-tokens", "30000".parse().unwrap());
//! headers.insert("x-ratelimit-remaining-tokens", "29987".parse().unwrap());
//! headers.insert("x-ratelimit-reset-tokens", "26ms".parse().unwrap());
//! let limits = RateLimits::read(&headers).unwrap();
//! assert_eq!(limits.tokens.remaining, Some(29_987));
//! assert_eq!(limits.tokens.reset, Some(Duration::from_millis(26)));
//! assert_eq!(limits.requests.limit, None);
//! ```
//!
//! A [provider](super::provider) puts them into the extensions of its answer, and into the
//! [`VendorError`](super::VendorError). They are about the gateway's account and not about its callers,
//! and are not passed on.
//!
//! # Whose headers are read
//!
//! | vendor | names | form of a reset |
//! |---|---|---|
//! | OpenAI, Groq, xAI, many | `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` | a duration: `2ms`, `17.4s`, `6m0s`, `1h2m3s`; a bare `0` |
//! | Azure | the same | seconds |
//! | Cerebras | the same, with `-day` and `-minute` behind | seconds |
//! | Fireworks | `…-tokens-prompt`, `…-tokens-generated` beside `…-requests` | none |
//! | Anthropic | `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}` | RFC 3339 |
//! | Mistral | `x-ratelimit-{limit,remaining}-req-minute`, `…-tokens-minute` and others | none |
//! | Together | `x-ratelimit-{limit,remaining,reset}`, `x-tokenlimit-{limit,remaining}` | seconds |
//! | OpenRouter | `x-ratelimit-{limit,remaining,reset}` | milliseconds since 1970 |
//! | Cohere (trial keys) | `x-trial-endpoint-call-{limit,remaining}` | none |
//! | drafts of the IETF | `ratelimit-{limit,remaining,reset}` | seconds |
//!
//! Where there are several windows for one thing (a minute, a day, a month), the one counts of which the
//! least part is left. A point in time becomes a duration by the `date` of the same answer, else by the
//! clock of this machine. What cannot be read is absent; a reset is 31 days at most.

use crate::{
    answer::Remedy,
    retry_after::{LONGEST_TEXT, clock, days, digits, http_date, number},
};
use http::{HeaderMap, header};
use std::time::{Duration, SystemTime};

/// The limits of the gateway's account with a vendor, as one answer tells of them.
///
/// See the [module docs](self).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimits {
    /// Calls.
    pub requests: Limit,
    /// Tokens, of input and output together.
    pub tokens: Limit,
    /// Tokens of input.
    pub input_tokens: Limit,
    /// Tokens of output.
    pub output_tokens: Limit,
}

/// One of the limits. What the vendor does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// How much there is when nothing is used.
    pub limit: Option<u64>,
    /// How much is left.
    pub remaining: Option<u64>,
    /// How long until there is all of it again.
    pub reset: Option<Duration>,
}

impl Limit {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.remaining == Some(0)
    }

    /// How much is left of all, from 0 to 1.
    #[must_use]
    pub fn left(&self) -> Option<f64> {
        let (left, limit) = (self.remaining?, self.limit.filter(|limit| *limit > 0)?);
        Some((left as f64 / limit as f64).min(1.0))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Requests,
    Tokens,
    Input,
    Output,
}

#[derive(Clone, Copy)]
enum What {
    Limit,
    Remaining,
    Reset,
}

/// One window of a limit.
struct Window<'a> {
    of: Of,
    name: &'a str,
    limit: Limit,
}

/// As many windows as are looked at.
const MOST_WINDOWS: usize = 16;

impl RateLimits {
    /// The longest time until a reset. Whoever says more is taken to mean this.
    pub const LONGEST: Duration = Duration::from_secs(31 * 24 * 60 * 60);

    /// Reads the headers of an answer. `None`: they tell nothing.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut windows: Vec<Window<'_>> = Vec::new();
        for (name, value) in headers {
            let Some((of, what, name)) = field(name.as_str()) else {
                continue;
            };
            let Some(text) = value.to_str().ok().map(str::trim) else {
                continue;
            };
            let found = windows
                .iter()
                .position(|window| window.of == of && window.name == name);
            let at = match found {
                Some(at) => at,
                None if windows.len() < MOST_WINDOWS => {
                    let limit = Limit::default();
                    windows.push(Window { of, name, limit });
                    windows.len() - 1
                }
                None => continue,
            };
            let limit = &mut windows[at].limit;
            match what {
                What::Limit => limit.limit = count(text).or(limit.limit),
                What::Remaining => limit.remaining = count(text).or(limit.remaining),
                What::Reset => limit.reset = reset(text, headers).or(limit.reset),
            }
        }
        let tightest = |of: Of| {
            let own = windows.iter().filter(|window| window.of == of);
            let left = |window: &&Window<'_>| window.limit.left().unwrap_or(f64::INFINITY);
            let least = own.min_by(|one, other| left(one).total_cmp(&left(other)));
            least.map_or_else(Limit::default, |window| window.limit)
        };
        let limits = Self {
            requests: tightest(Of::Requests),
            tokens: tightest(Of::Tokens),
            input_tokens: tightest(Of::Input),
            output_tokens: tightest(Of::Output),
        };
        (limits != Self::default()).then_some(limits)
    }

    /// How long until none of them is exhausted, as far as that is told. `None`: none is.
    #[must_use]
    pub fn exhausted_for(&self) -> Option<Duration> {
        let all = [
            self.requests,
            self.tokens,
            self.input_tokens,
            self.output_tokens,
        ];
        let exhausted = all.iter().filter(|limit| limit.is_exhausted());
        exhausted.filter_map(|limit| limit.reset).max()
    }
}

/// What a header tells of, and in which window.
fn field(name: &str) -> Option<(Of, What, &str)> {
    if let Some(rest) = name.strip_prefix("anthropic-ratelimit-") {
        let (of, what) = rest.rsplit_once('-')?;
        return Some((of_tokens(of)?, what_is(what)?, ""));
    }
    if let Some(what) = name.strip_prefix("x-tokenlimit-") {
        return Some((Of::Tokens, what_is(what)?, ""));
    }
    if let Some(what) = name.strip_prefix("x-trial-endpoint-call-") {
        return Some((Of::Requests, what_is(what)?, ""));
    }
    if let Some(what) = name.strip_prefix("ratelimit-") {
        return Some((Of::Requests, what_is(what)?, ""));
    }
    let rest = name.strip_prefix("x-ratelimit-")?;
    let (what, of) = rest.split_once('-').unwrap_or((rest, ""));
    let what = what_is(what)?;
    if let Some(of) = of_tokens(of) {
        return Some((of, what, ""));
    }
    let (of, window) = match of.split_once('-') {
        Some(("requests" | "req", window)) => (Of::Requests, window),
        Some(("tokens", window)) => (Of::Tokens, window),
        _ => return None,
    };
    let windows = ["second", "minute", "hour", "day", "month"];
    let known = windows.iter().any(|known| window.ends_with(known));
    known.then_some((of, what, window))
}

fn of_tokens(name: &str) -> Option<Of> {
    Some(match name {
        "" | "requests" | "req" => Of::Requests,
        "tokens" => Of::Tokens,
        "input-tokens" | "tokens-prompt" => Of::Input,
        "output-tokens" | "tokens-generated" => Of::Output,
        _ => return None,
    })
}

fn what_is(name: &str) -> Option<What> {
    Some(match name {
        "limit" => What::Limit,
        "remaining" => What::Remaining,
        "reset" => What::Reset,
        _ => return None,
    })
}

/// A whole number. Those with a fraction are rounded down.
fn count(text: &str) -> Option<u64> {
    if let Ok(count) = text.parse() {
        return Some(count);
    }
    let count = number(text)?;
    // Beyond it not every number can be told from the next, and none is meant.
    (count < 9.0e15).then_some(count as u64)
}

/// How long until a reset, however it is told.
fn reset(text: &str, headers: &HeaderMap) -> Option<Duration> {
    if text.len() > LONGEST_TEXT {
        return None;
    }
    let told = match number(text) {
        // Plain seconds are never as many as have passed since 1970.
        Some(number) if number >= 1.0e11 => until(number / 1000.0, headers),
        Some(number) if number >= 1.0e9 => until(number, headers),
        Some(number) => Duration::try_from_secs_f64(number).ok(),
        None => match duration(text) {
            Some(duration) => Some(duration),
            None => until(timestamp(text)?, headers),
        },
    };
    told.map(|told| told.min(RateLimits::LONGEST))
}

/// How long until a time, in seconds since 1970. The vendor's clock is the one that counts.
fn until(seconds: f64, headers: &HeaderMap) -> Option<Duration> {
    let now = now(headers)?;
    Duration::try_from_secs_f64((seconds - now).clamp(0.0, 1.0e12)).ok()
}

fn now(headers: &HeaderMap) -> Option<f64> {
    let date = headers
        .get(header::DATE)
        .and_then(|date| date.to_str().ok());
    date.and_then(http_date).or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Some(now.ok()?.as_secs_f64())
    })
}

/// `6m0s`, `17.4s`, `2ms`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, 0.0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let number = number(&rest[..digits]).filter(|_| digits > 0)?;
        let after = &rest[digits..];
        let letters = after.find(|char: char| char.is_ascii_digit() || char == '.');
        let (unit, more) = after.split_at(letters.unwrap_or(after.len()));
        total += number
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = more;
    }
    // What has no end is the longest, as is what has one far away.
    Duration::try_from_secs_f64(total.min(1.0e12)).ok()
}

/// A time of RFC 3339, in seconds since 1970: `2026-08-19T14:34:19Z`, with a fraction or an offset.
fn timestamp(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let fits = bytes.len() >= 20
        && text.is_ascii()
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't' | b' ')
        && bytes[13] == b':'
        && bytes[16] == b':';
    if !fits {
        return None;
    }
    let part = |from: usize, to: usize| digits(&text[from..to]);
    let day = days(part(0, 4)?, part(5, 7)?, part(8, 10)?)?;
    let time = clock(part(11, 13)?, part(14, 16)?, part(17, 19)?)?;
    let rest = &text[19..];
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (fraction, zone) = rest.split_at(zone);
    let fraction = match fraction {
        "" => 0.0,
        fraction => number(fraction).filter(|fraction| *fraction < 1.0)?,
    };
    let offset = match zone {
        "Z" | "z" => 0,
        zone => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let seconds = clock(digits(hours)?, digits(minutes)?, 0)?;
            if zone.starts_with('-') {
                -seconds
            } else {
                seconds
            }
        }
    };
    Some((day * 86_400 + time - offset) as f64 + fraction)
}

/// When to come back: as it says itself, or what the limits say. An hour at most.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    crate::retry_after::retry_after(headers).or_else(|| {
        let after = RateLimits::read(headers)?.exhausted_for()?;
        Some(after.min(Remedy::LONGEST))
    })
}

#[cfg(test)]
mod tests;
