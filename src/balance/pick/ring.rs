//! The same one for the same key, as long as it is there.

use super::{GOLDEN, mix};
use std::hash::{Hash, Hasher};

/// The same candidate for the same key: consistent hashing on a ring (Karger et al., 1997).
///
/// Each candidate has points on the ring, 1024 by default for one of the greatest weight and as many less
/// as it weighs less. A key belongs to the next point after its [`hash`]. A candidate that comes or goes
/// takes or leaves its own keys, about one in n, and moves no other: where its points lie depends on its
/// name alone. Who is left out for a while is walked past, so that its keys spread over all others, and
/// come back with it.
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
}

impl Ring {
    /// How many points a candidate of the greatest weight has by default.
    pub const POINTS: u32 = 1024;

    /// So many points are walked past before those that are left out are not walked past any more.
    const WALK: usize = 4096;

    /// For candidates of these names and weights. What weighs nothing has no points, unless all weigh
    /// nothing.
    #[must_use]
    pub fn new<'a>(candidates: impl IntoIterator<Item = (&'a str, u32)>, points: u32) -> Self {
        let candidates: Vec<_> = candidates.into_iter().collect();
        let most = candidates.iter().map(|&(_, weight)| weight).max();
        let most = u64::from(most.unwrap_or_default());
        let points_of = |weight: u32| match most {
            0 => u64::from(points),
            most => (u64::from(weight) * u64::from(points)).div_ceil(most),
        };
        let mut all = Vec::new();
        for (at, &(name, weight)) in candidates.iter().enumerate() {
            let seed = hash(name);
            for point in 0..points_of(weight) {
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

/// The most calls that a candidate may have out, the next one among them, for its load to be bounded: so
/// many times its share, rounded up, of all that are out and the next one (Mirrokni, Thorup and
/// Zadimoghaddam, "Consistent hashing with bounded loads", 2018). 1.25 is what they and Envoy suggest.
#[must_use]
pub fn bound(factor: f64, outstanding: u64, share: f64) -> u32 {
    let most = factor.max(1.0) * (outstanding as f64 + 1.0) * share;
    most.ceil() as u32
}

/// Where on a ring a key is. The same in every process that runs this version, so that two gateways send
/// a key to the same place: FNV-1a, spread out. Not for secrets: callers who know it can choose where they
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
