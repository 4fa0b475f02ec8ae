//! Amounts of money, exact.

use std::{
    error::Error,
    fmt,
    iter::Sum,
    ops::{Add, AddAssign},
    str::FromStr,
};

/// An amount of US dollars, in whole picodollars (10⁻¹² $).
///
/// Sums stop at the ends of 128 bits, some 10²⁶ dollars.
///
/// ```
/// use tower_gateway::llm::catalog::Money;
///
/// let cent = Money::from_picos(10_000_000_000);
/// assert_eq!((cent + cent).to_string(), "$0.02");
/// assert_eq!("0.02".parse(), Ok(cent + cent));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Money(i128);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many picodollars.
    #[must_use]
    pub const fn from_picos(picos: i128) -> Self {
        Self(picos)
    }

    /// How many picodollars it is.
    #[must_use]
    pub const fn picos(self) -> i128 {
        self.0
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, Add::add)
    }
}

/// All of its digits, and no more: `$0.0000125`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}$")?;
        write_decimal(f, self.0.unsigned_abs(), 12)
    }
}

impl FromStr for Money {
    type Err = NotDecimal;

    /// Reads dollars, of twelve decimals at the most.
    fn from_str(text: &str) -> Result<Self, NotDecimal> {
        let picos = decimal(text, 12).ok_or(NotDecimal)?;
        i128::try_from(picos).map(Self).map_err(|_| NotDecimal)
    }
}

/// A text that is no decimal number, or has too many digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotDecimal;

impl fmt::Display for NotDecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a decimal number of dollars, or one of too many digits")
    }
}

impl Error for NotDecimal {}

/// A decimal number in units of its last place.
pub(super) fn decimal(text: &str, places: usize) -> Option<u128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = part.len() <= places && !whole.is_empty() && digits(whole) && digits(part);
    if !fits || (part.is_empty() && text.ends_with('.')) {
        return None;
    }
    format!("{whole}{part:0<places$}").parse().ok()
}

pub(super) fn write_decimal(f: &mut fmt::Formatter<'_>, units: u128, places: usize) -> fmt::Result {
    let digits = format!("{units:0>width$}", width = places + 1);
    let (whole, part) = digits.split_at(digits.len() - places);
    let part = part.trim_end_matches('0');
    match part {
        "" => f.write_str(whole),
        part => write!(f, "{whole}.{part}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICOS: i128 = 1_000_000_000_000;

    #[test]
    fn amounts_are_read_and_written_to_the_last_digit() {
        for (text, picos, shown) in [
            ("0", 0, "$0"),
            ("1", PICOS, "$1"),
            ("0.000000000001", 1, "$0.000000000001"),
            ("12.50", 12_500_000_000_000, "$12.5"),
        ] {
            let money: Money = text.parse().unwrap();
            assert_eq!((money.picos(), &*money.to_string()), (picos, shown));
        }
        assert_eq!(Money::from_picos(-PICOS / 2).to_string(), "-$0.5");
        for text in ["", ".", "1.", ".5", "-1", "1e3", "0.0000000000001", "１"] {
            assert_eq!(text.parse::<Money>(), Err(NotDecimal), "{text}");
        }
    }

    #[test]
    fn sums_stop_at_the_end() {
        let most = Money::from_picos(i128::MAX);
        assert_eq!([most, most].into_iter().sum::<Money>(), most);
    }
}
