//! The same one for the same key, as long as it is there.

use super::{GOLDEN, mix};
use std::hash::{Hash, Hasher};

/// The same candidate for the same key: consistent hashing on a ring (Karger et al., 1997).
///
/// Each candidate has points on the ring, as many as its weight times the *scale*. A key belongs to the
/// next point after its [`hash`]. Where the points of a candidate lie depends on its name, and how many
/// they are on its weight and the scale: as long as that stays, a candidate that comes, goes or weighs
/// something else takes or leaves its own keys, and moves none between the others. Who is left out for a
/// while is walked past, so that its keys spread over all others, and come back with it.
///
/// # Scale
///
/// A power of two, of points for each unit of weight, and less than one where weights are great. A
/// [new](Self::new) ring has the greatest by which a candidate of mean weight has no more than 1024 points.
/// A ring that is [changed](Self::changed) keeps it until the mean is above twice that or below a quarter of
/// it; then it is halved or doubled, and about half of the keys move. That takes a mean weight that doubles,
/// or that is halved: ten equals and one more of ten times their weight do not do it.
///
/// Two gateways send a key to the same place as long as their rings have one scale. They have if they had
/// the same candidates all along, and mostly if they have them now.
///
/// No ring has more than 4,194,304 points, or as many as there are candidates: 48 MiB.
///
/// With [`bound`] a key moves on, too, where a candidate has too many calls out.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// By position; the candidate in the low half.
    points: Box<[u64]>,
    /// Of each slice of positions the index of the first point that is in it or after it.
    starts: Box<[u32]>,
    /// By how much a position is shifted to be a slice.
    shift: u32,
    candidates: usize,
    /// Points for each unit of weight: the power of two.
    scale: i32,
}

impl Ring {
    /// How many points a candidate of mean weight has by default, at the most in a new ring.
    pub const POINTS: u32 = 1024;

    /// The most points of a new ring; a changed one has twice as many.
    const MOST: u64 = 1 << 21;

    /// So many points are walked past before those that are left out are not walked past any more.
    const WALK: usize = 4096;

    /// For candidates of these names and weights, of which one of mean weight has so many points at the
    /// most. What weighs nothing has none, unless all weigh nothing: then they weigh the same.
    #[must_use]
    pub fn new<'a>(candidates: impl IntoIterator<Item = (&'a str, u32)>, points: u32) -> Self {
        Self::scaled(candidates.into_iter().collect(), points, None)
    }

    /// The ring that comes after this one: with the same scale, if it can be kept.
    #[must_use]
    pub fn changed<'a>(
        &self,
        candidates: impl IntoIterator<Item = (&'a str, u32)>,
        points: u32,
    ) -> Self {
        let kept = (self.candidates > 0).then_some(self.scale);
        Self::scaled(candidates.into_iter().collect(), points, kept)
    }

    fn scaled(mut candidates: Vec<(&str, u32)>, points: u32, kept: Option<i32>) -> Self {
        if candidates.iter().all(|&(_, weight)| weight == 0) {
            candidates.iter_mut().for_each(|(_, weight)| *weight = 1);
        }
        let weights: Vec<_> = candidates.iter().map(|&(_, weight)| weight).collect();
        let scale = scale(&weights, points, kept);
        let mut all = Vec::new();
        for (at, &(name, weight)) in candidates.iter().enumerate() {
            let seed = hash(name);
            for point in 0..points_of(weight, scale) {
                let position = mix(seed.wrapping_add(point.wrapping_mul(GOLDEN)));
                all.push((position & !0xffff_ffff) | at as u64);
            }
        }
        all.sort_unstable();
        // One slice for each point or two.
        let bits = all.len().max(2).ilog2();
        let shift = 64 - bits;
        let mut starts = vec![0_u32; (1 << bits) + 1];
        for point in &all {
            starts[(point >> shift) as usize + 1] += 1;
        }
        for slice in 1..starts.len() {
            starts[slice] += starts[slice - 1];
        }
        Self {
            points: all.into(),
            starts: starts.into(),
            shift,
            candidates: candidates.len(),
            scale,
        }
    }

    /// Whose the key of this [`hash`] is: the first that `may` take it. `None`: there is nobody who may.
    pub fn pick(&self, hash: u64, mut may: impl FnMut(usize) -> bool) -> Option<usize> {
        let slice = (hash >> self.shift) as usize;
        let mut at = *self.starts.get(slice)? as usize;
        while self.points.get(at).is_some_and(|&point| point < hash) {
            at += 1;
        }
        let (before, after) = self.points.split_at_checked(at)?;
        let mut asked = usize::MAX;
        for point in after.iter().chain(before).take(Self::WALK) {
            let candidate = (point & 0xffff_ffff) as usize;
            if candidate != asked && may(candidate) {
                return Some(candidate);
            }
            asked = candidate;
        }
        // Nearly all are left out.
        let first = (hash % self.candidates.max(1) as u64) as usize;
        let round = (first..self.candidates).chain(0..first);
        round.into_iter().find(|&candidate| may(candidate))
    }
}

/// How many points this weight has, rounded up.
fn points_of(weight: u32, scale: i32) -> u64 {
    let weight = u64::from(weight);
    match scale {
        0.. => weight << scale,
        _ => weight.div_ceil(1 << -scale),
    }
}

/// Which scale suits these weights, if need be another than the one that was `kept`.
fn scale(weights: &[u32], points: u32, kept: Option<i32>) -> i32 {
    const SCALES: std::ops::RangeInclusive<i32> = -32..=31;
    let all = weights.iter().filter(|&&weight| weight > 0).count() as u64;
    let most = all.saturating_mul(points.into()).min(Ring::MOST);
    let total = |scale: i32| {
        let points = weights.iter().map(|&weight| points_of(weight, scale));
        points.fold(0_u64, u64::saturating_add)
    };
    let (mut scale, least, most) = match kept {
        Some(scale) => (scale, most / 4, 2 * most),
        None => (*SCALES.end(), 0, most),
    };
    while total(scale) > most && scale > *SCALES.start() {
        scale -= 1;
    }
    while total(scale) < least && scale < *SCALES.end() {
        scale += 1;
    }
    scale
}

/// The most calls that a candidate may have out, the next one among them, for its load to be bounded: so
/// many times its share, rounded up, of all that are out and the next one (Mirrokni, Thorup and
/// Zadimoghaddam, "Consistent hashing with bounded loads", 2018). 1.25 is what they and Envoy suggest.
#[must_use]
pub fn bound(factor: f64, outstanding: u64, share: f64) -> u32 {
    let most = factor.max(1.0) * (outstanding as f64 + 1.0) * share;
    most.ceil() as u32
}

/// Where on a ring a key is. The same in every process that runs this version, so that two gateways whose
/// rings have one [scale](Ring#scale) send a key to the same place: FNV-1a, spread out. Not for secrets: callers who know it can choose where they
/// go, which only [`bound`] bounds.
#[must_use]
pub fn hash(key: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    key.hash(&mut hasher);
    hasher.finish()
}

struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        mix(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 20_000;

    fn names(n: usize) -> Vec<String> {
        (0..n)
            .map(|at| format!("10.0.{}.{}:8080", at / 256, at % 256))
            .collect()
    }

    fn ring(names: &[String]) -> Ring {
        Ring::new(names.iter().map(|name| (&**name, 1)), Ring::POINTS)
    }

    fn all<'a>(ring: &Ring, names: &'a [String]) -> Vec<&'a str> {
        let pick = |key| ring.pick(hash(&key), |_| true).unwrap();
        (0..KEYS).map(|key| &*names[pick(key)]).collect()
    }

    #[test]
    fn who_comes_or_goes_moves_no_more_than_its_share_and_two_percent() {
        for n in [2, 3, 5, 10, 30] {
            let many = names(n);
            let before = all(&ring(&many), &many);
            for gone in 0..n {
                let mut fewer = many.clone();
                let name = fewer.remove(gone);
                let after = all(&ring(&fewer), &fewer);
                let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
                let share = moved as f64 / KEYS as f64;
                assert!(share <= 1.0 / n as f64 + 0.02, "{share} of {n}");
                let others = before
                    .iter()
                    .zip(&after)
                    .filter(|(a, b)| a != b && **a != name);
                assert_eq!(others.count(), 0, "only its own keys move");
            }
        }
    }

    /// Which share of the keys that were with somebody who stays, and are with somebody who was there
    /// before, is with another now.
    fn strayed(
        (before, were): (&Ring, &[(String, u32)]),
        (after, are): (&Ring, &[(String, u32)]),
    ) -> f64 {
        let knows = |of: &[(String, u32)], name: &str| of.iter().any(|(other, _)| other == name);
        let moved = (0..KEYS).filter(|key| {
            let was = &were[before.pick(hash(key), |_| true).unwrap()].0;
            let is = &are[after.pick(hash(key), |_| true).unwrap()].0;
            was != is && knows(are, was) && knows(were, is)
        });
        moved.count() as f64 / KEYS as f64
    }

    fn weighed(of: &[(String, u32)]) -> impl Iterator<Item = (&str, u32)> {
        of.iter().map(|(name, weight)| (&**name, *weight))
    }

    #[test]
    fn whatever_another_weighs_keys_stay_with_those_who_stay() {
        let weights = [1, 2, 3, 5, 1, 4, 10, 7, 1, 2];
        for n in [2, 3, 5, 10] {
            for extra in [1, 2, 3, 7] {
                let few: Vec<_> = names(n).into_iter().zip(weights).collect();
                let before = Ring::new(weighed(&few), Ring::POINTS);
                let mut more = few.clone();
                more.insert(n / 2, ("10.9.9.9:80".to_owned(), extra));
                let after = before.changed(weighed(&more), Ring::POINTS);
                let strayed_by_coming = strayed((&before, &few), (&after, &more));
                assert!(strayed_by_coming <= 0.02, "{n} and one of {extra}");
                let again = after.changed(weighed(&few), Ring::POINTS);
                let strayed_by_going = strayed((&after, &more), (&again, &few));
                assert!(strayed_by_going <= 0.02, "{n} without one of {extra}");
                assert_eq!(before.points, again.points);
            }
        }
        // Who weighs something else takes from the others, and they not from one another.
        let few: Vec<_> = names(4).into_iter().zip([1; 4]).collect();
        let before = Ring::new(weighed(&few), Ring::POINTS);
        let mut heavier = few.clone();
        heavier[0].1 = 2;
        let after = before.changed(weighed(&heavier), Ring::POINTS);
        for key in 0..KEYS {
            let (was, is) = (
                before.pick(hash(&key), |_| true),
                after.pick(hash(&key), |_| true),
            );
            assert!(was == is || is == Some(0));
        }
    }

    #[test]
    fn a_ring_is_neither_too_large_nor_too_coarse_whatever_weighs_what() {
        let set = |n, weight| {
            names(n)
                .into_iter()
                .zip(vec![weight; n])
                .collect::<Vec<_>>()
        };
        let mut ring = Ring::default();
        for (n, weight) in [
            (3, 1),
            (3, 100),
            (3, u32::MAX),
            (3, 0),
            (300, 7),
            (2, 1),
            (1, 3),
        ] {
            let set = set(n, weight);
            ring = ring.changed(weighed(&set), Ring::POINTS);
            let mean = ring.points.len() / n;
            assert!((256..=2048).contains(&mean), "{mean} for {n} of {weight}");
            let anew = Ring::new(weighed(&set), Ring::POINTS);
            let mean = anew.points.len() / n;
            assert!((512..=1024).contains(&mean), "{mean} for {n} of {weight}");
        }
        let uneven = [("a".to_owned(), u32::MAX), ("b".to_owned(), 1)];
        let ring = Ring::new(weighed(&uneven), Ring::POINTS);
        assert!((1024..=2049).contains(&ring.points.len()));
        assert_eq!(Ring::new([("a", 1)], 0).points.len(), 1);
        // Of very many each has fewer.
        let total = |scale| 4096 * points_of(1000, scale);
        assert_eq!(total(scale(&[1000; 4096], Ring::POINTS, None)), 500 * 4096);
        let kept = scale(&[1000; 4096], Ring::POINTS, Some(10));
        assert_eq!(total(kept), 1000 * 4096);
        assert_eq!(1 << scale(&[1], u32::MAX, None), Ring::MOST);
    }

    #[test]
    fn who_is_left_out_is_walked_past_as_if_it_were_gone() {
        let many = names(10);
        let (whole, fewer) = (ring(&many), ring(&many[1..]));
        for key in 0..KEYS {
            let passed = whole.pick(hash(&key), |at| at != 0).unwrap();
            assert_eq!(passed - 1, fewer.pick(hash(&key), |_| true).unwrap());
        }
        assert_eq!(whole.pick(7, |at| at == 3), Some(3));
        assert_eq!(whole.pick(7, |_| false), None);
        assert_eq!(Ring::default().pick(7, |_| true), None);
        assert_eq!(Ring::new([], 9).pick(7, |_| true), None);
        assert_eq!(Ring::new([("a", 0)], 1).pick(u64::MAX, |_| true), Some(0));
    }

    #[test]
    fn keys_spread_by_weight() {
        let ring = Ring::new([("a", 1), ("b", 2), ("c", 0)], Ring::POINTS);
        let mut counts = [0_u32; 3];
        for key in 0..KEYS {
            counts[ring.pick(hash(&key), |_| true).unwrap()] += 1;
        }
        let share = f64::from(counts[1]) / KEYS as f64;
        assert!(
            (share - 2.0 / 3.0).abs() < 0.03 && counts[2] == 0,
            "{counts:?}"
        );
    }

    #[test]
    fn a_bounded_load_is_never_above_a_quarter_more_than_the_mean() {
        let many = names(10);
        let ring = ring(&many);
        let mut out = [0_u32; 10];
        for call in 0..2000_u64 {
            // A tenth of the keys have all of the calls.
            let key = hash(&(call % 3));
            let most = bound(1.25, call, 0.1);
            let at = ring.pick(key, |at| out[at] < most).unwrap();
            out[at] += 1;
            let mean = (call + 1) as f64 / 10.0;
            assert!(f64::from(out[at]) <= 1.25 * mean + 1.0);
        }
        assert_eq!(
            bound(0.1, 0, 1.0),
            1,
            "nobody is bounded to less than its share"
        );
    }

    #[test]
    fn a_hash_is_the_same_in_every_process() {
        assert_eq!(hash("10.0.0.1:8080"), hash(&"10.0.0.1:8080".to_owned()));
        assert_eq!(hash(&[1_u8, 2][..]), hash(&vec![1_u8, 2]));
        assert_ne!(hash("a"), hash("b"));
    }
}
