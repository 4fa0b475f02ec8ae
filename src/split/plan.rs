//! Which variant has which of ten thousand buckets.

use super::InvalidSplit;
use std::{collections::HashSet, sync::Arc};

/// As many as there are basis points.
pub(super) const BUCKETS: u32 = 10_000;

/// As many variants as an index of one byte tells apart.
const MOST: usize = 256;

const LONGEST_NAME: usize = 64;

/// A split of the buckets among variants, told by their place in a list.
///
/// Each variant but the first grows from a place of its own, in a direction of its own, and the first
/// has what is left. So what a variant has depends on its own weight alone, as long as it does not run
/// into another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    weights: Box<[u32]>,
    variants: Box<[u8]>,
}

impl Plan {
    /// Of weights that are 10,000 together, at most 256 of them.
    pub(crate) fn new(weights: Vec<u32>) -> Self {
        let mut free = vec![true; BUCKETS as usize];
        let mut variants = vec![0; BUCKETS as usize];
        for (variant, &weight) in weights.iter().enumerate().skip(1) {
            let (home, forward) = home(variant - 1);
            let walk = (0..BUCKETS).map(|step| match forward {
                true => (home + step) % BUCKETS,
                false => (home + BUCKETS - 1 - step) % BUCKETS,
            });
            let mut left = weight;
            for bucket in walk {
                if left == 0 {
                    break;
                }
                let bucket = bucket as usize;
                if std::mem::take(&mut free[bucket]) {
                    variants[bucket] = u8::try_from(variant).unwrap_or_default();
                    left -= 1;
                }
            }
        }
        Self {
            weights: weights.into(),
            variants: variants.into(),
        }
    }

    pub(super) fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// Whose bucket this is.
    pub(crate) fn variant(&self, bucket: u32) -> usize {
        let variant = self.variants.get(bucket as usize);
        variant.copied().map_or(0, usize::from)
    }
}

/// Where the nth that does not take what is left begins, and whether it grows upwards: pairs that grow
/// apart, from 0, then from the middle, then from the quarters, and so on (van der Corput's sequence).
fn home(nth: usize) -> (u32, bool) {
    let pair = u32::try_from(nth / 2).unwrap_or_default();
    let place = (u64::from(pair.reverse_bits()) * u64::from(BUCKETS)) >> 32;
    (
        u32::try_from(place).unwrap_or_default(),
        nth.is_multiple_of(2),
    )
}

/// Checks the names of variants.
pub(super) fn check_names(names: &[Arc<str>]) -> Result<(), InvalidSplit> {
    if names.is_empty() {
        return Err(InvalidSplit::of_all("there is no variant"));
    }
    let mut seen = HashSet::new();
    for (nth, name) in names.iter().enumerate() {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(fits) {
            let what = "the name must be 1 to 64 letters, digits, `-`, `_` and `.`, all ASCII";
            return Err(InvalidSplit::of(name, what));
        }
        if !seen.insert(name) {
            return Err(InvalidSplit::of(name, "the name is taken"));
        }
        if nth >= MOST {
            return Err(InvalidSplit::of(name, "there are more than 256 variants"));
        }
    }
    Ok(())
}

/// Checks that weights are 10,000 together.
pub(super) fn exact(names: &[Arc<str>], weights: &[u32]) -> Result<Plan, InvalidSplit> {
    let pairs = names.iter().zip(weights);
    for (name, &weight) in pairs {
        if weight > BUCKETS {
            let what = "the weight is more than 10,000 basis points";
            return Err(InvalidSplit::of(name, what));
        }
    }
    let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    if sum != u64::from(BUCKETS) {
        let pairs = names.iter().zip(weights);
        let told: Vec<_> = pairs
            .map(|(name, weight)| format!("{name} {weight}"))
            .collect();
        return Err(InvalidSplit::of_all(format!(
            "the weights are {sum} basis points together, and not 10000: {}",
            told.join(", ")
        )));
    }
    Ok(Plan::new(weights.to_vec()))
}

/// Brings weights of any size to 10,000 together, by largest remainder.
pub(super) fn relative(names: &[Arc<str>], weights: &[u32]) -> Result<Plan, InvalidSplit> {
    let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    if sum == 0 {
        return Err(InvalidSplit::of_all("all weights are zero"));
    }
    let whole = u64::from(BUCKETS);
    let parts = weights.iter().map(|&weight| u64::from(weight) * whole);
    let mut shares: Vec<u64> = parts.clone().map(|part| part / sum).collect();
    let mut rests: Vec<_> = parts.map(|part| part % sum).enumerate().collect();
    rests.sort_by_key(|&(_, rest)| std::cmp::Reverse(rest));
    let missing = whole - shares.iter().sum::<u64>();
    for (nth, _) in rests.into_iter().take(missing as usize) {
        shares[nth] += 1;
    }
    for ((name, &weight), &share) in names.iter().zip(weights).zip(&shares) {
        if weight > 0 && share == 0 {
            let what = "its share is less than one basis point";
            return Err(InvalidSplit::of(name, what));
        }
    }
    let shares = shares.into_iter().map(|share| share as u32);
    Ok(Plan::new(shares.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn has(plan: &Plan, variant: usize) -> HashSet<u32> {
        let mine = (0..BUCKETS).filter(|&bucket| plan.variant(bucket) == variant);
        mine.collect()
    }

    /// What each but the first has, and the first what is left.
    fn plan(others: &[u32]) -> Plan {
        let first = BUCKETS - others.iter().sum::<u32>();
        Plan::new([&[first], others].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn each_has_as_many_buckets_as_its_weight(cuts in prop::collection::vec(0..=BUCKETS, 0..9)) {
            let mut cuts = [&cuts[..], &[0, BUCKETS]].concat();
            cuts.sort_unstable();
            let weights: Vec<u32> = cuts.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let plan = Plan::new(weights.clone());
            for (variant, &weight) in weights.iter().enumerate() {
                prop_assert_eq!(has(&plan, variant).len(), weight as usize);
            }
        }

        #[test]
        fn of_three_whoever_grows_only_gains(a in 0..=BUCKETS, b in 0..=BUCKETS, c in 0..=BUCKETS, d in 0..=BUCKETS) {
            let (before, after) = ([a.min(b), BUCKETS - a.max(b)], [c.min(d), BUCKETS - c.max(d)]);
            let (old, new) = (plan(&before), plan(&after));
            for variant in [1, 2] {
                let (had, has) = (has(&old, variant), has(&new, variant));
                if after[variant - 1] >= before[variant - 1] {
                    prop_assert!(has.is_superset(&had));
                } else {
                    prop_assert!(has.is_subset(&had));
                }
            }
        }

        #[test]
        fn of_five_that_stay_below_a_quarter_whoever_grows_only_gains(
            before in prop::array::uniform4(0..=BUCKETS / 4),
            after in prop::array::uniform4(0..=BUCKETS / 4),
        ) {
            let (old, new) = (plan(&before), plan(&after));
            for variant in 1..=4 {
                let (had, has) = (has(&old, variant), has(&new, variant));
                let grew = after[variant - 1] >= before[variant - 1];
                let kept = if grew { has.is_superset(&had) } else { has.is_subset(&had) };
                prop_assert!(kept);
            }
        }

        #[test]
        fn relative_weights_are_rounded_and_never_lost(weights in prop::collection::vec(1_u32..1000, 1..9)) {
            let names: Vec<Arc<str>> = (0..weights.len()).map(|nth| nth.to_string().into()).collect();
            let plan = relative(&names, &weights).unwrap();
            prop_assert_eq!(plan.weights().iter().sum::<u32>(), BUCKETS);
            let sum: u32 = weights.iter().sum();
            for (&share, &weight) in plan.weights().iter().zip(&weights) {
                let fair = f64::from(weight) * f64::from(BUCKETS) / f64::from(sum);
                prop_assert!((f64::from(share) - fair).abs() < 1.0);
            }
        }
    }

    #[test]
    fn places_are_far_apart() {
        let homes: Vec<_> = (0..8).map(home).collect();
        let places = [0, 0, 5000, 5000, 2500, 2500, 7500, 7500];
        assert!(homes.iter().map(|(place, _)| *place).eq(places));
        assert!(homes.iter().map(|(_, up)| *up).eq([true, false].repeat(4)));
    }

    #[test]
    fn a_share_that_rounds_to_nothing_is_named() {
        let names: Vec<Arc<str>> = vec!["all".into(), "few".into()];
        let error = relative(&names, &[1_000_000, 1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "variant \"few\": its share is less than one basis point"
        );
        assert!(relative(&names, &[0, 0]).is_err());
        assert_eq!(relative(&names, &[0, 7]).unwrap().weights(), [0, BUCKETS]);
    }
}
