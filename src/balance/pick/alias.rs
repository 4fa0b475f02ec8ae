//! At random, by weight.

use super::{Dice, scale};

/// At random, each as often as its weight says: Walker's alias method, as Vose builds it (1991). A pick
/// costs the same over three candidates as over three thousand.
#[derive(Clone, Debug, Default)]
pub struct Alias {
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Below this, of 2³², the slot is its own candidate's.
    own: u64,
    other: u32,
}

impl Alias {
    /// For candidates of these weights. What is not above zero is never drawn, unless all are so: then
    /// they weigh the same.
    #[must_use]
    pub fn new(weights: &[f64]) -> Self {
        let n = weights.len();
        let weight = |weight: f64| {
            if weight.is_finite() {
                weight.max(0.0)
            } else {
                0.0
            }
        };
        let mut total: f64 = weights.iter().copied().map(weight).sum();
        let even = total <= 0.0;
        if even {
            total = n as f64;
        }
        // How full each slot is, on average one.
        let mut full: Vec<f64> = weights
            .iter()
            .map(|&one| if even { 1.0 } else { weight(one) } * n as f64 / total)
            .collect();
        let mut slots: Box<[Slot]> = (0..n as u32)
            .map(|other| Slot {
                own: 1 << 32,
                other,
            })
            .collect();
        let (mut small, mut large): (Vec<_>, Vec<_>) = (0..n).partition(|&at| full[at] < 1.0);
        while let Some(&giver) = large.last() {
            let Some(taker) = small.pop() else { break };
            slots[taker] = Slot {
                own: (full[taker] * (1_u64 << 32) as f64) as u64,
                other: giver as u32,
            };
            full[giver] -= 1.0 - full[taker];
            if full[giver] < 1.0 {
                large.pop();
                small.push(giver);
            }
        }
        // What rounding left over is as good as full, but for those that weigh nothing.
        for at in small {
            if !even && weight(weights[at]) == 0.0 {
                let heaviest = (0..n).max_by(|&a, &b| weights[a].total_cmp(&weights[b]));
                let other = heaviest.unwrap_or_default() as u32;
                slots[at] = Slot { own: 0, other };
            }
        }
        Self { slots }
    }

    /// One of them. `None`: there is nobody.
    pub fn pick(&self, dice: &mut Dice) -> Option<usize> {
        let bits = dice.roll();
        let at = scale(bits >> 32, self.slots.len());
        let slot = self.slots.get(at)?;
        let own = bits & 0xffff_ffff < slot.own;
        Some(if own { at } else { slot.other as usize })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(weights: &[f64], picks: u32) -> Vec<f64> {
        let alias = Alias::new(weights);
        let mut dice = Dice::new(42);
        let mut counts = vec![0_u32; weights.len()];
        for _ in 0..picks {
            counts[alias.pick(&mut dice).unwrap()] += 1;
        }
        let share = |count| f64::from(count) / f64::from(picks);
        counts.into_iter().map(share).collect()
    }

    #[test]
    fn weights_hold_within_one_percent_over_100_000_picks() {
        let weights = [5.0, 0.0, 1.0, 3.0, 0.5];
        for (share, weight) in shares(&weights, 100_000).into_iter().zip(weights) {
            assert!((share - weight / 9.5).abs() < 0.01, "{share} of {weight}");
        }
    }

    #[test]
    fn nobody_is_drawn_of_nobody_and_equals_of_those_that_weigh_nothing() {
        assert_eq!(Alias::new(&[]).pick(&mut Dice::new(1)), None);
        for share in shares(&[0.0, f64::NAN], 10_000) {
            assert!((share - 0.5).abs() < 0.02);
        }
    }

    proptest! {
        #[test]
        fn what_weighs_nothing_is_never_drawn(
            weights in prop::collection::vec(0_u32..4, 1..20),
            seed in any::<u64>(),
        ) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let alias = Alias::new(&weights.iter().map(|&w| f64::from(w)).collect::<Vec<_>>());
            let mut dice = Dice::new(seed);
            for _ in 0..200 {
                let at = alias.pick(&mut dice).unwrap();
                prop_assert!(weights[at] > 0);
            }
        }
    }
}
