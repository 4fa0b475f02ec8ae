//! Times of the day and days of the week.

use std::{error::Error, fmt, time::SystemTime};

/// Hours of days of the week, in UTC, such as `Mon-Fri 08:00-18:00`.
///
/// Days and hours may be left out: `Sat,Sun` or `22:00-06:00`. The first minute is within, the last one is
/// not. What goes on past midnight belongs to the day on which it begins.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use tower_gateway::authorize::Window;
///
/// let nights = Window::utc("Fri-Sat 22:00-06:00")?;
/// // The first of January 1970 was a Thursday.
/// let at = |day: u64, hour: u64| UNIX_EPOCH + Duration::from_secs((day * 24 + hour) * 60 * 60);
/// assert_eq!(nights.holds(at(0, 23)), Some(false));
/// assert_eq!(nights.holds(at(1, 23)), Some(true));
/// assert_eq!(nights.holds(at(3, 5)), Some(true), "Sunday morning");
/// assert_eq!(nights.holds(at(3, 6)), Some(false));
/// # Ok::<_, tower_gateway::authorize::InvalidWindow>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// A bit for each day, Monday's is the lowest.
    days: u8,
    /// In minutes.
    start: u16,
    end: u16,
}

const DAY: u16 = 24 * 60;
const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Window {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`InvalidWindow`] if the text is none of those, or begins when it ends.
    pub fn utc(text: &str) -> Result<Self, InvalidWindow> {
        Self::parse(text.trim()).ok_or_else(|| InvalidWindow(text.into()))
    }

    fn parse(text: &str) -> Option<Self> {
        let is_hours = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
        let (days, hours) = match text.split_once(' ') {
            Some((days, hours)) => (Some(days), Some(hours.trim_start())),
            None if is_hours(text) => (None, Some(text)),
            None => (Some(text), None),
        };
        let days = days.map_or(Some(0x7f), self::days)?;
        let (start, end) = hours.map_or(Some((0, DAY)), self::hours)?;
        Some(Self { days, start, end })
    }

    /// Whether a time is within. `None`: it is before 1970.
    #[must_use]
    pub fn holds(&self, now: SystemTime) -> Option<bool> {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let minutes = seconds / 60;
        let minute = u16::try_from(minutes % u64::from(DAY)).ok()?;
        // It began with a Thursday.
        let day = (minutes / u64::from(DAY) + 3) % 7;
        let on = |day: u64| self.days >> day & 1 == 1;
        let (after, before) = (minute >= self.start, minute < self.end);
        Some(if self.start < self.end {
            on(day) && after && before
        } else {
            on(day) && after || on((day + 6) % 7) && before
        })
    }
}

fn days(text: &str) -> Option<u8> {
    let day = |name: &str| NAMES.iter().position(|day| name.eq_ignore_ascii_case(day));
    let mut days = 0;
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (mut at, last) = (day(first)?, day(last)?);
        days |= 1 << at;
        while at != last {
            at = (at + 1) % 7;
            days |= 1 << at;
        }
    }
    Some(days)
}

fn hours(text: &str) -> Option<(u16, u16)> {
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let number = |text: &str| {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u16>().ok()).flatten()
        };
        let (hour, minute) = (number(hour)?, number(minute)?);
        let all = hour * 60 + minute;
        (minute < 60 && all <= DAY).then_some(all)
    };
    let (start, end) = text.split_once('-')?;
    let (start, end) = (minute(start)?, minute(end)?);
    (start != end && start < DAY && end > 0).then_some((start, end))
}

/// A text that names no hours of days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidWindow(Box<str>);

impl fmt::Display for InvalidWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not of the form `Mon-Fri 08:00-18:00`, `Sat,Sun` or `22:00-06:00`",
            self.0
        )
    }
}

impl Error for InvalidWindow {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_text_is_read_whole_or_not_at_all() {
        for good in [
            "08:00-18:00",
            "00:00-24:00",
            "mon",
            "Sat,SUN",
            "Fri-Mon 22:00-06:00",
            "Mon-Wed,Fri 00:00-00:01",
        ] {
            assert!(Window::utc(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "8:00-18:00",
            "08:00",
            "08:00-08:00",
            "08:00-24:01",
            "24:00-08:00",
            "08:60-09:00",
            "Mo",
            "Mon-",
            "Mon Tue",
            "Mon,",
            "Mon 08:00-18:00 Tue",
            "08:00-18:00 Mon",
            "+8:00-18:00",
            "08:00-00:00",
        ] {
            assert!(Window::utc(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_week_wraps() {
        let week = Window::utc("Sun-Tue").unwrap();
        let on: Vec<_> = (0..7)
            // From the fifth of January 1970 on, a Monday.
            .map(|day| SystemTime::UNIX_EPOCH + Duration::from_secs((4 + day) * 86400))
            .map(|now| week.holds(now).unwrap())
            .collect();
        assert_eq!(on, [true, true, false, false, false, false, true]);
    }

    #[test]
    fn before_1970_no_hour_is_known() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Window::utc("Mon-Sun").unwrap().holds(before), None);
    }
}
