//! When an answer says to come back: `Retry-After`, in both of its forms (RFC 9110 §10.2.3), and
//! `retry-after-ms`, which some vendors send beside it and is more exact.
//!
//! A date becomes a delay by the `Date` of the same answer: the clock of whoever says it is the one that
//! counts. Without one it says nothing. What cannot be read says nothing either.

use crate::answer::Remedy;
use http::{HeaderMap, header};
use std::time::Duration;

/// What is longer is no number and no time.
pub(crate) const LONGEST_TEXT: usize = 64;

/// How long to wait, [`Remedy::LONGEST`] at most; not at all for a date that is over.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds.min(1.0e12)).ok();
    let date = |until: &str| {
        let (until, now) = (http_date(until)?, http_date(text(header::DATE.as_str())?)?);
        seconds((until - now).max(0.0))
    };
    let exact = || seconds(number(text("retry-after-ms")?)? / 1000.0);
    let told = || {
        let told = text(header::RETRY_AFTER.as_str())?;
        number(told).map_or_else(|| date(told), seconds)
    };
    let after = exact().or_else(told)?;
    Some(after.min(Remedy::LONGEST))
}

/// A number that is none below zero and not without end. Words such as `inf` are none.
pub(crate) fn number(text: &str) -> Option<f64> {
    let plain = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let fits = text.len() <= LONGEST_TEXT && text.bytes().all(plain);
    fits.then(|| text.parse().ok())?
}

/// A date of HTTP, in seconds since 1970, in each of the forms that RFC 9110 §5.6.7 has recipients read:
/// `Wed, 21 Oct 2026 07:28:00 GMT`, and the two that are obsolete.
pub(crate) fn http_date(text: &str) -> Option<f64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = text.split_ascii_whitespace();
    let mut next = || words.next();
    let (day, month, year, time) = if next()?.ends_with(',') {
        let day = next()?;
        let date = match day.split_once('-') {
            None => (day, next()?, next()?, next()?),
            Some((day, rest)) => {
                let (month, year) = rest.split_once('-')?;
                (day, month, year, next()?)
            }
        };
        (next()? == "GMT").then_some(date)?
    } else {
        let (month, day, time) = (next()?, next()?, next()?);
        (day, month, next()?, time)
    };
    let month = MONTHS.iter().position(|name| *name == month)?;
    let year = match (digits(year)?, year.len()) {
        (year, 4) => year,
        (year @ 70.., 2) => 1900 + year,
        (year, 2) => 2000 + year,
        _ => return None,
    };
    let mut time = time.split(':');
    let mut part = || digits(time.next()?);
    let seconds = clock(part()?, part()?, part()?)?;
    let day = days(year, i64::try_from(month).ok()? + 1, digits(day)?)?;
    (words.next().is_none() && time.next().is_none()).then_some((day * 86_400 + seconds) as f64)
}

/// Up to four digits.
pub(crate) fn digits(text: &str) -> Option<i64> {
    let few = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    few.then(|| text.parse().ok())?
}

/// Seconds since midnight. A leap second counts as the next.
pub(crate) fn clock(hours: i64, minutes: i64, seconds: i64) -> Option<i64> {
    let fits = hours < 24 && minutes < 60 && seconds <= 60;
    fits.then_some(hours * 3600 + minutes * 60 + seconds)
}

/// Days since 1970-01-01 in the Gregorian calendar, counted from a March: Howard Hinnant's
/// `days_from_civil`.
pub(crate) fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    Some(era * 146_097 + of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn told(fields: &[(&'static str, &'static str)]) -> Option<Duration> {
        let field = |&(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        retry_after(&fields.iter().map(field).collect())
    }

    // The example of RFC 9110 §5.6.7.
    #[test]
    fn a_date_has_three_forms() {
        for date in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(http_date(date), Some(784_111_777.0), "{date}");
        }
        assert_eq!(
            http_date("Sunday, 02-Aug-26 00:00:00 GMT"),
            http_date("Sun, 02 Aug 2026 00:00:00 GMT")
        );
        for none in [
            "",
            "soon",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37:00 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT+1",
            "Sun, 06 Brumaire 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT x",
            "Sun, 06 Nov 194 08:49:37 GMT",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov 08:49:37 GMT",
            "Sun Nov 6 25:49:37 1994",
        ] {
            assert_eq!(http_date(none), None, "{none}");
        }
    }

    #[test]
    fn a_date_is_a_delay_by_the_clock_of_who_says_it() {
        let date = ("date", "Wed, 19 Aug 2026 14:34:09 GMT");
        let after = ("retry-after", "Wed, 19 Aug 2026 14:34:39 GMT");
        assert_eq!(told(&[date, after]), Some(Duration::from_secs(30)));
        assert_eq!(told(&[after]), None);
        let over = ("retry-after", "Wed, 19 Aug 2026 14:34:08 GMT");
        assert_eq!(told(&[date, over]), Some(Duration::ZERO));
        let years = ("retry-after", "Fri, 19 Aug 9999 14:34:08 GMT");
        assert_eq!(told(&[date, years]), Some(Remedy::LONGEST));
    }

    #[test]
    fn milliseconds_come_before_seconds() {
        let seconds = ("retry-after", " 2 ");
        assert_eq!(told(&[seconds]), Some(Duration::from_secs(2)));
        let exact = ("retry-after-ms", "1250.5");
        let due = Some(Duration::from_micros(1_250_500));
        assert_eq!(told(&[seconds, exact]), due);
        let mad = ("retry-after-ms", "-1");
        assert_eq!(told(&[seconds, mad]), Some(Duration::from_secs(2)));
        let large = ("retry-after", "99999999999999999999999999999999999999");
        assert_eq!(told(&[large]), Some(Remedy::LONGEST));
        for none in ["", "-1", "1e3", "inf", "2s", "1.2.3"] {
            assert_eq!(told(&[("retry-after", none)]), None, "{none}");
        }
        assert_eq!(told(&[]), None);
    }
}
