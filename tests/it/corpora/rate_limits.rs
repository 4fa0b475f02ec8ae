//! Whatever a vendor says of its limits is read within bounds, and the same twice.

use super::in_time;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;
use tower_gateway::llm::RateLimits;

pub(super) fn check(input: &[u8]) {
    let mut headers = HeaderMap::new();
    // With a date nothing depends on the clock.
    headers.insert(
        "date",
        HeaderValue::from_static("Wed, 21 Oct 2026 07:28:00 GMT"),
    );
    for line in input.split(|byte| *byte == b'\n').take(500) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..at], line[at + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            && name != "date"
        {
            headers.append(name, value);
        }
    }
    let Some(limits) = in_time(input.len(), || RateLimits::read(&headers)) else {
        return;
    };
    assert_eq!(RateLimits::read(&headers), Some(limits));
    for limit in [
        limits.requests,
        limits.tokens,
        limits.input_tokens,
        limits.output_tokens,
    ] {
        assert!(
            limit
                .reset
                .is_none_or(|reset| reset <= Duration::from_secs(31 * 86_400))
        );
        let _ = limit.is_exhausted();
    }
}
