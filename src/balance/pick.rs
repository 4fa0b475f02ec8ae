//! Which of several to take. Plain arithmetic: no lock, no clock, no runtime.
//!
//! Each strategy is a value that is made once for a list of candidates, and asked for an index into that
//! list. What changes from call to call (how many calls are out, how long answers took, who is to be left
//! out) is handed in by closures; chance is handed in as [`Dice`], so that a test can repeat it.
//!
//! ```
//! use tower_gateway::balance::pick::{Dice, LeastOutstanding, SmoothWeighted};
//!
//! let turns = SmoothWeighted::new(&[5, 1, 1]);
//! let order: Vec<_> = (0..7).filter_map(|turn| turns.at(turn)).collect();
//! assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
//!
//! let outstanding = [4, 2, 9];
//! let least = LeastOutstanding::new(&[1.0; 3]);
//! assert_eq!(least.pick(&mut Dice::new(7), |at| Some(outstanding[at])), Some(1));
//! // Who was tried before is left out.
//! assert_eq!(least.pick(&mut Dice::new(7), |at| (at != 1).then_some(outstanding[at])), Some(0));
//! ```
//!
//! | strategy | cost of a pick | made from |
//! |---|---|---|
//! | [`round_robin`] | O(1) | |
//! | [`SmoothWeighted`] | O(1) | weights |
//! | [`Alias`], random | O(1) | weights |
//! | [`LeastOutstanding`] | all are looked at up to 16, 8 of more | weights, calls that are out |
//! | [`PeakEwma`] | two are looked at | weights, calls that are out, [`Latency`] |
//! | [`Ring`] | O(1), and a walk past those that are left out | names, weights |

mod alias;
mod least;
mod levels;
mod peak_ewma;
mod ring;
mod slow_start;
mod smooth;

pub use self::{
    alias::Alias,
    least::LeastOutstanding,
    levels::{Level, Levels, Share},
    peak_ewma::{Latency, PeakEwma},
    ring::{Ring, bound, hash},
    slow_start::SlowStart,
    smooth::SmoothWeighted,
};

/// Each in turn, whatever its weight. `None`: there is nobody.
#[must_use]
pub fn round_robin(turn: u64, candidates: usize) -> Option<usize> {
    let at = turn.checked_rem(candidates as u64)?;
    usize::try_from(at).ok()
}

/// Chance: SplitMix64 (Steele, Lea and Flood, 2014). Not for secrets.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same numbers for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Less than `n`; zero if `n` is.
    pub fn below(&mut self, n: usize) -> usize {
        scale(self.roll() >> 32, n)
    }

    /// From zero to less than one.
    pub fn unit(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// 2⁶⁴ divided by the golden ratio.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads what differs in a few bits over all of them.
pub(super) fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// 32 bits, as an index below `n`.
fn scale(bits: u64, n: usize) -> usize {
    ((bits * n as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_robin_comes_round() {
        let order: Vec<_> = (0..5).filter_map(|turn| round_robin(turn, 3)).collect();
        assert_eq!(order, [0, 1, 2, 0, 1]);
        assert_eq!(round_robin(7, 0), None);
    }

    #[test]
    fn dice_are_fair() {
        let mut dice = Dice::new(1);
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[dice.below(6)] += 1;
        }
        assert!(counts.iter().all(|&count| count.abs_diff(10_000) < 400));
        assert_eq!(dice.below(0), 0);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&dice.unit())));
    }
}
