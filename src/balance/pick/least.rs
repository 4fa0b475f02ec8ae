//! Who has the fewest calls out.

use super::{Alias, Dice};

/// Of so many all are looked at.
const ALL: usize = 16;
/// Of more, so many.
const DRAWN: usize = 8;

/// Who has the fewest calls out for its weight: the least of (calls + 1) / weight, chance between equals.
///
/// Up to 16 candidates are all looked at. Of more, 8 are drawn by weight, and the least of those is taken:
/// of so many choices the longest queue is hardly longer than with all of them (Mitzenmacher, "The power
/// of two choices", 2001), and a pick over 300 costs no more than one over 16.
#[derive(Clone, Debug, Default)]
pub struct LeastOutstanding {
    /// One divided by the weight; infinite for what weighs nothing.
    inverse: Box<[f32]>,
    drawn: Alias,
}

impl LeastOutstanding {
    /// For candidates of these weights. What is not above zero is not taken, unless all are so: then they
    /// weigh the same.
    #[must_use]
    pub fn new(weights: &[f64]) -> Self {
        let even = !weights.iter().any(|&weight| weight > 0.0);
        let inverse = |&weight: &f64| match weight > 0.0 {
            _ if even => 1.0,
            true => (1.0 / weight) as f32,
            false => f32::INFINITY,
        };
        Self {
            inverse: weights.iter().map(inverse).collect(),
            drawn: Alias::new(weights),
        }
    }

    /// One of them. `outstanding` says how many calls a candidate has out; `None` leaves it out. `None`:
    /// there is nobody, or nobody who was not left out among those that were drawn.
    pub fn pick(
        &self,
        dice: &mut Dice,
        outstanding: impl Fn(usize) -> Option<u32>,
    ) -> Option<usize> {
        let score = |at: usize| Some((outstanding(at)? as f32 + 1.0) * self.inverse[at]);
        let mut least = None;
        let mut lowest = f32::INFINITY;
        if self.inverse.len() <= ALL {
            let mut equals = 1;
            for at in 0..self.inverse.len() {
                let Some(score) = score(at) else { continue };
                if score < lowest {
                    (least, lowest, equals) = (Some(at), score, 1);
                } else if score == lowest && least.is_some() {
                    // Each of the equals so far is as likely as any.
                    equals += 1;
                    if dice.below(equals) == 0 {
                        least = Some(at);
                    }
                }
            }
        } else {
            for _ in 0..DRAWN {
                // Of equals the first that is drawn is taken by chance already.
                if let Some(at) = self.drawn.pick(dice)
                    && let Some(score) = score(at)
                    && score < lowest
                {
                    (least, lowest) = (Some(at), score);
                }
            }
        }
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_are_taken_by_chance_and_weights_count() {
        let even = LeastOutstanding::new(&[1.0; 4]);
        let mut dice = Dice::new(3);
        let mut counts = [0_u32; 4];
        for _ in 0..40_000 {
            counts[even.pick(&mut dice, |_| Some(2)).unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|count| count.abs_diff(10_000) < 300),
            "{counts:?}"
        );

        // 5 / 4 is less than 3 / 2.
        let weighted = LeastOutstanding::new(&[4.0, 2.0, 0.0]);
        let out = [4, 2, 0];
        assert_eq!(weighted.pick(&mut dice, |at| Some(out[at])), Some(0));
        assert_eq!(weighted.pick(&mut dice, |at| (at == 2).then_some(0)), None);
    }

    #[test]
    fn calls_that_stay_out_spread_by_weight() {
        for n in [3, 12, 60] {
            let weights: Vec<_> = (0..n).map(|at| f64::from(1 + at % 3)).collect();
            let least = LeastOutstanding::new(&weights);
            let mut dice = Dice::new(5);
            let mut out = vec![0_u32; n as usize];
            let total: f64 = weights.iter().sum();
            for _ in 0..(total as usize * 50) {
                let at = least.pick(&mut dice, |at| Some(out[at])).unwrap();
                out[at] += 1;
            }
            for (calls, weight) in out.into_iter().zip(weights) {
                let off = (f64::from(calls) / weight - 50.0).abs();
                assert!(off < 3.0, "{calls} at {weight}");
            }
        }
    }

    #[test]
    fn nobody_is_taken_of_nobody() {
        assert_eq!(
            LeastOutstanding::new(&[]).pick(&mut Dice::new(1), |_| Some(0)),
            None
        );
        let many = LeastOutstanding::new(&[1.0; 40]);
        assert_eq!(many.pick(&mut Dice::new(1), |_| None), None);
    }
}
