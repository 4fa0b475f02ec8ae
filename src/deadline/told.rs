//! How a time that is left is written in headers: gRPC's, and that of Envoy.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

pub(super) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// In the extensions of a request: the header, beside gRPC's, that told how much time it has.
#[derive(Clone, Debug)]
pub(super) struct TimeHeader(pub(super) HeaderName);

/// The units of gRPC, in nanoseconds, from the finest.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60 * 1_000_000_000),
    (b'H', 60 * 60 * 1_000_000_000),
];

/// The most that eight digits say.
const MOST: u64 = 99_999_999;

/// One to eight digits and a unit.
pub(super) fn grpc(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    let (_, nanos) = UNITS.iter().find(|(name, _)| name == unit)?;
    let count = number(digits, 8)?;
    // The most is eleven thousand years, and nanoseconds of that are more than 64 bits.
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    Some(Duration::from_secs(count * seconds) + Duration::from_nanos(count * rest))
}

/// One to ten digits, of milliseconds.
pub(super) fn milliseconds(value: &HeaderValue) -> Option<Duration> {
    number(value.as_bytes(), 10).map(Duration::from_millis)
}

fn number(digits: &[u8], most: usize) -> Option<u64> {
    if digits.is_empty() || digits.len() > most {
        return None;
    }
    digits.iter().try_fold(0, |number: u64, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        Some(number * 10 + u64::from(digit))
    })
}

/// In the finest unit that has room. Rounded down, for an upstream must not think that it has more.
fn write_grpc(rest: Duration) -> HeaderValue {
    let nanos = rest.as_nanos();
    let fits = |(_, unit): &&(u8, u64)| nanos / u128::from(*unit) <= u128::from(MOST);
    let (count, name) = match UNITS.iter().find(fits) {
        Some((name, unit)) => (nanos / u128::from(*unit), *name),
        None => (u128::from(MOST), b'H'),
    };
    let text = format!("{}{}", count.max(1), char::from(name));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("1n"))
}

/// Writes what is left in the place of what was asked for, where something was.
pub(super) fn replace(rest: Duration, own: Option<&TimeHeader>, headers: &mut HeaderMap) {
    if headers.contains_key(GRPC_TIMEOUT) {
        headers.insert(GRPC_TIMEOUT, write_grpc(rest));
    }
    if let Some(TimeHeader(name)) = own
        && headers.contains_key(name)
    {
        let rest = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        headers.insert(name, rest.max(1).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<Duration> {
        grpc(&HeaderValue::from_str(text).unwrap())
    }

    #[test]
    fn a_time_of_grpc_has_at_most_eight_digits_and_a_unit() {
        let seconds = Duration::from_secs;
        assert_eq!(read("1H"), Some(seconds(3600)));
        assert_eq!(read("2M"), Some(seconds(120)));
        assert_eq!(read("30S"), Some(seconds(30)));
        assert_eq!(read("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(read("7u"), Some(Duration::from_micros(7)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(read("99999999H"), Some(seconds(99_999_999 * 3600)));
        assert_eq!(read("0S"), Some(seconds(0)));
        for wrong in [
            "",
            "S",
            "1",
            "1s",
            "1 S",
            "-1S",
            "+1S",
            "1.5S",
            "123456789S",
            "1SS",
            "é1S",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_time_in_milliseconds_has_at_most_ten_digits() {
        let read = |text| milliseconds(&HeaderValue::from_static(text));
        assert_eq!(read("250"), Some(Duration::from_millis(250)));
        assert_eq!(
            read("9999999999"),
            Some(Duration::from_millis(9_999_999_999))
        );
        for wrong in ["", "1s", "-1", "1.5", "12345678901", " 1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_named_no_time_is_told_none() {
        let mut headers = HeaderMap::new();
        let own = TimeHeader(HeaderName::from_static("x-time"));
        replace(Duration::from_secs(1), Some(&own), &mut headers);
        assert!(headers.is_empty());
        headers.insert("x-time", 5000.into());
        headers.insert(GRPC_TIMEOUT, HeaderValue::from_static("5S"));
        replace(Duration::from_secs(1), Some(&own), &mut headers);
        assert_eq!(headers["x-time"], "1000");
        assert_eq!(headers["grpc-timeout"], "1000000u");
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read_and_is_never_more(nanos in 1_u64..) {
            let rest = Duration::from_nanos(nanos);
            let told = grpc(&write_grpc(rest)).unwrap();
            prop_assert!(told <= rest);
            // Seven digits of it are right, or it is exact.
            prop_assert!(rest - told <= rest / 1_000_000, "{told:?} of {rest:?}");
        }
    }
}
