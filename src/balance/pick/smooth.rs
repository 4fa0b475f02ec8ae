//! In turn, by weight, the heavy ones spread out.

/// In turn, each as often as its weight says, and those of a heavy one not all in a row: nginx's smooth
/// weighted round robin. Weights 5, 1, 1 make `a a b a c a a`, where `a a a a a b c` would be a burst.
///
/// The turns repeat, so they are worked out once, and a pick is one look. No more than 4096 are kept
/// (of 256 candidates and more, 2²⁰ divided by their number): where weights without a common divisor add
/// up to more, they are rounded to that many turns, and whoever weighs anything has one turn at least.
#[derive(Clone, Debug, Default)]
pub struct SmoothWeighted {
    turns: Box<[u32]>,
}

impl SmoothWeighted {
    /// For candidates of these weights. Zero has no turns, unless all are zero: then they weigh the same.
    #[must_use]
    pub fn new(weights: &[u32]) -> Self {
        let most = 4096
            .min((1 << 20) / weights.len().max(1))
            .max(weights.len());
        let weights = turns(weights, most as u64);
        let total: i64 = weights.iter().sum();
        let mut current = vec![0_i64; weights.len()];
        let turns = (0..total).map(|_| {
            let mut best = 0;
            for (at, weight) in weights.iter().enumerate() {
                current[at] += weight;
                if current[at] > current[best] {
                    best = at;
                }
            }
            current[best] -= total;
            best as u32
        });
        Self {
            turns: turns.collect(),
        }
    }

    /// Whose turn it is. `None`: there is nobody.
    #[must_use]
    pub fn at(&self, turn: u64) -> Option<usize> {
        let at = turn.checked_rem(self.turns.len() as u64)?;
        Some(self.turns[at as usize] as usize)
    }
}

/// The weights, so small that they add up to no more than `most`.
fn turns(weights: &[u32], most: u64) -> Vec<i64> {
    if weights.iter().all(|&weight| weight == 0) {
        return vec![1; weights.len()];
    }
    let divisor = weights.iter().fold(0, |a, &b| gcd(a, b));
    let exact = weights.iter().map(|&weight| u64::from(weight / divisor));
    let total: u64 = exact.clone().sum();
    if total <= most {
        return exact.map(|weight| weight as i64).collect();
    }
    let part = |weight: u64| {
        let rounded = (weight * most + total / 2) / total;
        rounded.max(u64::from(weight > 0)) as i64
    };
    exact.map(part).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(weights: &[u32], picks: u64) -> Vec<u64> {
        let smooth = SmoothWeighted::new(weights);
        let mut counts = vec![0; weights.len()];
        for turn in 0..picks {
            counts[smooth.at(turn).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn weights_hold_within_one_percent_over_100_000_picks() {
        for weights in [
            vec![5, 1, 1],
            vec![100, 0, 50, 7],
            vec![1_000_003, 999_983, 500_009],
            (1..=300).collect(),
        ] {
            let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            for (count, &weight) in counts(&weights, 100_000).into_iter().zip(&weights) {
                let due = 100_000.0 * f64::from(weight) / total as f64;
                let off = (count as f64 - due).abs();
                assert!(
                    off <= 1000.0 && (off <= 2.0 || total > 4096),
                    "{count} of {due}"
                );
            }
        }
    }

    #[test]
    fn a_heavy_one_does_not_come_in_a_row() {
        let smooth = SmoothWeighted::new(&[3, 3, 3]);
        assert_eq!(smooth.turns.len(), 3, "a common divisor is left out");
        let smooth = SmoothWeighted::new(&[2, 1, 1]);
        assert!((0..8).all(|turn| smooth.at(turn) != smooth.at(turn + 1) || turn % 4 == 3));
    }

    #[test]
    fn zero_has_no_turn_and_zeros_alone_are_equals() {
        assert_eq!(counts(&[0, 2], 10), [0, 10]);
        assert_eq!(counts(&[0, 0], 10), [5, 5]);
        assert_eq!(SmoothWeighted::new(&[]).at(3), None);
        assert_eq!(
            counts(&[u32::MAX, 1], 4097)[1],
            1,
            "whoever weighs anything"
        );
    }
}
