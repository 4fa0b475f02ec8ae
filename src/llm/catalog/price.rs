//! What tokens cost.

use super::money::{Money, NotDecimal, decimal, write_decimal};
use crate::llm::Usage;
use std::{error::Error, fmt, str::FromStr};

/// What one token costs, in whole picodollars: as much as a million tokens cost in microdollars.
///
/// ```
/// use tower_gateway::llm::catalog::Rate;
///
/// let rate: Rate = "1.25".parse()?; // dollars for a million
/// assert_eq!(rate, Rate::micros_per_million(1_250_000));
/// assert_eq!(rate.to_string(), "1.25");
/// # Ok::<_, tower_gateway::llm::catalog::NotDecimal>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// So many microdollars for a million tokens.
    #[must_use]
    pub const fn micros_per_million(micros: u64) -> Self {
        Self(micros)
    }

    /// What so many tokens cost.
    #[must_use]
    pub fn of(self, tokens: u64) -> Money {
        Money::from_picos(i128::from(self.0).saturating_mul(tokens.into()))
    }
}

impl FromStr for Rate {
    type Err = NotDecimal;

    /// Reads dollars for a million tokens, of six decimals at the most.
    fn from_str(text: &str) -> Result<Self, NotDecimal> {
        let micros = decimal(text, 6).ok_or(NotDecimal)?;
        u64::try_from(micros).map(Self).map_err(|_| NotDecimal)
    }
}

/// Dollars for a million tokens.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0.into(), 6)
    }
}

/// What each kind of token costs. `None` is not known, which is not free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rates {
    /// Input that is none of the kinds below.
    pub input: Option<Rate>,
    /// Output that is none of the kinds below.
    pub output: Option<Rate>,
    /// Input from the vendor's cache.
    pub cache_read: Option<Rate>,
    /// Input written to the vendor's cache, for five minutes where there is a choice.
    pub cache_write: Option<Rate>,
    /// Input written to the vendor's cache for an hour.
    pub cache_write_1h: Option<Rate>,
    /// Reasoning, where it costs something else than output does.
    pub reasoning: Option<Rate>,
    /// Images in the input, where they cost something else than text does.
    pub image_input: Option<Rate>,
    /// Sound in the input.
    pub audio_input: Option<Rate>,
    /// Sound in the output.
    pub audio_output: Option<Rate>,
}

/// What a vendor asks for the tokens of a model, in US dollars, by its list for calls that are
/// answered at once and without priority.
///
/// ```
/// use tower_gateway::llm::{Usage, catalog::Catalog};
///
/// let catalog = Catalog::builtin();
/// let found = catalog.get("anthropic", "claude-sonnet-4-5").expect("a known model");
/// let price = found.price().expect("of its own vendor");
/// let mut usage = Usage::new(10_000, 500);
/// usage.cache_read = Some(8_000);
/// // 2,000 at $3, 8,000 at $0.30 and 500 at $15 for a million.
/// assert_eq!(price.cost(&usage)?.to_string(), "$0.0159");
/// # Ok::<_, tower_gateway::llm::catalog::Unpriced>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Price {
    /// The rates, unless a tier holds.
    pub base: Rates,
    /// Rates for long inputs, the shortest first.
    pub tiers: Vec<Tier>,
    /// What one search costs: a call for rerank with at most as many documents as the vendor counts
    /// as one. Not part of [`cost`](Self::cost).
    pub search: Option<Money>,
    /// Whether calls cost something besides their tokens, which is not part of
    /// [`cost`](Self::cost).
    pub fees: bool,
}

/// Rates that hold for all tokens of a call whose input is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tier {
    /// An input of more tokens than this is long.
    pub above: u64,
    /// What they cost then.
    pub rates: Rates,
}

impl Tier {
    /// Rates for inputs of more tokens than this.
    #[must_use]
    pub fn new(above: u64, rates: Rates) -> Self {
        Self { above, rates }
    }
}

impl Rates {
    /// So much for input and for output. What else there is, is not known.
    #[must_use]
    pub fn new(input: Rate, output: Rate) -> Self {
        Self {
            input: Some(input),
            output: Some(output),
            ..Self::default()
        }
    }
}

impl From<Rates> for Price {
    /// At these rates, however long the input is.
    fn from(base: Rates) -> Self {
        Self {
            base,
            ..Self::default()
        }
    }
}

impl Price {
    /// The rates for a call with so many tokens of input, those of the cache among them.
    #[must_use]
    pub fn rates(&self, input: u64) -> &Rates {
        let long = self.tiers.iter().rev().find(|tier| input > tier.above);
        long.map_or(&self.base, |tier| &tier.rates)
    }

    /// What these tokens cost, to the last picodollar.
    ///
    /// Cached parts and sound are taken out of the input, and priced by themselves; so are sound and,
    /// where it has a price of its own, reasoning out of the output. What was written to the cache is
    /// priced as for five minutes, but for the part that the usage tells to be kept for an hour.
    ///
    /// # Errors
    ///
    /// The first kind of token that was used and has no price here.
    pub fn cost(&self, usage: &Usage) -> Result<Money, Unpriced> {
        let rates = self.rates(usage.input);
        let cost = |rate: Option<Rate>, tokens: u64, kind: Unpriced| match (tokens, rate) {
            (0, _) => Ok(Money::ZERO),
            (_, Some(rate)) => Ok(rate.of(tokens)),
            (_, None) => Err(kind),
        };
        let part = |tokens: Option<u64>| tokens.unwrap_or(0);
        let (read, all) = (part(usage.cache_read), part(usage.cache_write));
        let hour = part(usage.cache_write_1h).min(all);
        let write = all - hour;
        let (heard, said) = (part(usage.audio_input), part(usage.audio_output));
        // Reasoning is output like any other, unless the list says otherwise.
        let thought = rates.reasoning.map_or(0, |_| part(usage.reasoning));
        let input = [read, all, heard]
            .into_iter()
            .fold(usage.input, u64::saturating_sub);
        let output = [said, thought]
            .into_iter()
            .fold(usage.output, u64::saturating_sub);
        [
            cost(rates.input, input, Unpriced::Input),
            cost(rates.cache_read, read, Unpriced::CacheRead),
            cost(rates.cache_write, write, Unpriced::CacheWrite),
            cost(rates.cache_write_1h, hour, Unpriced::CacheWrite),
            cost(rates.audio_input, heard, Unpriced::AudioInput),
            cost(rates.output, output, Unpriced::Output),
            cost(rates.reasoning, thought, Unpriced::Output),
            cost(rates.audio_output, said, Unpriced::AudioOutput),
        ]
        .into_iter()
        .sum()
    }
}

/// A kind of token that was used and whose price is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unpriced {
    /// Input.
    Input,
    /// Output.
    Output,
    /// Input from the vendor's cache.
    CacheRead,
    /// Input written to the vendor's cache.
    CacheWrite,
    /// Sound in the input.
    AudioInput,
    /// Sound in the output.
    AudioOutput,
}

impl fmt::Display for Unpriced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "the price of input is not known",
            Self::Output => "the price of output is not known",
            Self::CacheRead => "the price of cached input is not known",
            Self::CacheWrite => "the price of writing to the cache is not known",
            Self::AudioInput => "the price of sound in the input is not known",
            Self::AudioOutput => "the price of sound in the output is not known",
        })
    }
}

impl Error for Unpriced {}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Option<Rate> {
        Some(text.parse().unwrap())
    }

    fn price() -> Price {
        let base = Rates {
            cache_read: rate("0.30"),
            cache_write: rate("3.75"),
            ..Rates::new("3".parse().unwrap(), "15".parse().unwrap())
        };
        let long = Rates {
            cache_read: rate("0.60"),
            ..Rates::new("6".parse().unwrap(), "22.5".parse().unwrap())
        };
        Price {
            tiers: vec![Tier::new(200_000, long)],
            ..base.into()
        }
    }

    #[test]
    fn parts_of_the_input_are_priced_once() {
        let mut usage = Usage::new(1_000_000, 0);
        usage.input = 100_000;
        usage.cache_read = Some(60_000);
        usage.cache_write = Some(30_000);
        // 10,000 × 3 + 60,000 × 0.30 + 30,000 × 3.75 microdollars.
        let picos = (30_000 + 18_000 + 112_500) * 1_000_000;
        assert_eq!(price().cost(&usage), Ok(Money::from_picos(picos)));
    }

    #[test]
    fn what_is_cached_for_an_hour_has_its_own_price() {
        let mut usage = Usage::new(1000, 0);
        (usage.cache_write, usage.cache_write_1h) = (Some(1000), Some(400));
        assert_eq!(price().cost(&usage), Err(Unpriced::CacheWrite));
        let mut price = price();
        price.base.cache_write_1h = rate("6");
        // 600 × 3.75 + 400 × 6 microdollars.
        assert_eq!(price.cost(&usage).unwrap().to_string(), "$0.00465");
    }

    #[test]
    fn a_long_input_is_priced_by_its_tier_from_the_first_token() {
        let at = |input| price().cost(&Usage::new(input, 1000)).unwrap();
        assert_eq!(at(200_000).to_string(), "$0.615");
        // 200,001 × 6 + 1,000 × 22.5 microdollars.
        assert_eq!(at(200_001).to_string(), "$1.222506");
        let mut usage = Usage::new(300_000, 0);
        usage.cache_read = Some(300_000);
        assert_eq!(price().cost(&usage).unwrap().to_string(), "$0.18");
    }

    #[test]
    fn what_has_no_price_is_named_and_only_if_it_was_used() {
        let mut usage = Usage::new(300_000, 0);
        usage.cache_write = Some(0);
        assert!(price().cost(&usage).is_ok());
        usage.cache_write = Some(1);
        assert_eq!(price().cost(&usage), Err(Unpriced::CacheWrite));
        let mut usage = Usage::new(10, 10);
        usage.audio_output = Some(10);
        assert_eq!(price().cost(&usage), Err(Unpriced::AudioOutput));
        assert_eq!(
            Price::default().cost(&Usage::new(1, 0)),
            Err(Unpriced::Input)
        );
        assert_eq!(
            Price::default().cost(&Usage::new(0, 0)),
            Ok(Money::ZERO),
            "nothing costs nothing"
        );
    }

    #[test]
    fn reasoning_is_output_unless_it_has_a_price() {
        let mut usage = Usage::new(0, 1000);
        usage.reasoning = Some(400);
        assert_eq!(price().cost(&usage).unwrap().to_string(), "$0.015");
        let mut apart = price();
        apart.base.reasoning = rate("3");
        // 600 × 15 + 400 × 3 microdollars.
        assert_eq!(apart.cost(&usage).unwrap().to_string(), "$0.0102");
    }

    #[test]
    fn a_vendor_that_counts_without_bound_does_no_harm() {
        let mut usage = Usage::new(u64::MAX, u64::MAX);
        usage.cache_read = Some(u64::MAX);
        usage.cache_write = None;
        let dear = Rate::micros_per_million(u64::MAX);
        let rates = Rates {
            cache_read: Some(dear),
            ..Rates::new(dear, dear)
        };
        assert!(Price::from(rates).cost(&usage).unwrap() > Money::ZERO);
    }
}
