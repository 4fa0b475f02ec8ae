//! Times as RFC 3339 has them, in UTC, to the millisecond.

use std::time::{Duration, SystemTime};

/// `2026-11-22T08:10:50.123Z`.
pub(super) fn write(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let date = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    match millis {
        0 => format!("{date}Z"),
        millis => format!("{date}.{millis:03}Z"),
    }
}

/// What [`write`] makes; the part of a second may have one to nine digits.
pub(super) fn read(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_at_checked(19)?;
    let fraction = rest.strip_suffix('Z')?;
    let millis = match fraction.strip_prefix('.') {
        None => fraction.is_empty().then_some(0)?,
        Some(digits) => {
            let good =
                (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            good.then(|| format!("{digits:0<3}")[..3].parse::<u64>().ok())??
        }
    };
    let part = |from: usize, to: usize| {
        let digits = date.get(from..to)?;
        let good = digits.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| digits.parse::<u64>().ok())?
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let marked = marks
        .iter()
        .all(|&(at, mark)| date.as_bytes().get(at) == Some(&mark));
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    if !marked || year < 1970 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days(year, month, day)?;
    // There is no 30th of February.
    if civil(days) != (year, month, day) {
        return None;
    }
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(seconds * 1000 + millis))
}

/// Year, month and day, so many days after 1970-01-01. By Howard Hinnant's `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// The way back: `days_from_civil`.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    (era * 146_097 + of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_335_050_123, "2026-11-22T08:10:50.123Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (4_107_542_399_007, "2100-02-28T23:59:59.007Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(write(time), text);
            assert_eq!(read(text), Some(time));
        }
        let short = read("1970-01-01T00:00:01.5Z").unwrap();
        assert_eq!(write(short), "1970-01-01T00:00:01.500Z");
        for bad in [
            "",
            "2026-11-22",
            "2026-11-22T08:10:50",
            "2026-02-30T08:10:50Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T08:10:50+01:00",
            "2026-11-22T08:10:50.Z",
            "1969-11-22T08:10:50Z",
            "2026-11-22 08:10:50Zé",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
