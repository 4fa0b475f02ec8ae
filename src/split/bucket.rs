//! In which bucket a caller is.

#![expect(
    deprecated,
    reason = "`SipHasher` is the one hash in std whose algorithm is written down"
)]

use super::plan::BUCKETS;
use crate::random::{below, random};
use std::hash::{Hash, Hasher, SipHasher};

/// The salt of an experiment: the key of SipHash-2-4 (Aumasson and Bernstein, 2012), so that of two
/// experiments neither tells anything of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Salt(u64, u64);

/// Whose name it is. The same text of two sources is two names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Key = 0,
    Cookie = 1,
}

impl Salt {
    pub(crate) fn new(experiment: &str) -> Self {
        let half = |which| {
            let mut hasher = Stable::new(0, which);
            hasher.write(experiment.as_bytes());
            hasher.finish()
        };
        Self(half(0), half(1))
    }

    /// That of a name: the same in every process, and whatever the weights are.
    pub(crate) fn bucket(self, source: Source, name: &impl Hash) -> u32 {
        let mut hasher = Stable::new(self.0, self.1);
        hasher.write_u8(source as u8);
        name.hash(&mut hasher);
        below(hasher.finish(), BUCKETS)
    }
}

/// That of nobody: any.
pub(crate) fn any() -> u32 {
    below(random(), BUCKETS)
}

/// Numbers are taken in one byte order and one size, so that it is the same on all machines.
struct Stable(SipHasher);

impl Stable {
    fn new(high: u64, low: u64) -> Self {
        Self(SipHasher::new_with_keys(high, low))
    }
}

macro_rules! little_endian {
    ($($write:ident $given:ty as $taken:ty),*) => {
        $(fn $write(&mut self, number: $given) {
            self.0.write(&(number as $taken).to_le_bytes());
        })*
    };
}

impl Hasher for Stable {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }

    little_endian!(
        write_u8 u8 as u8, write_u16 u16 as u16, write_u32 u32 as u32, write_u64 u64 as u64,
        write_u128 u128 as u128, write_usize usize as u64,
        write_i8 i8 as i8, write_i16 i16 as i16, write_i32 i32 as i32, write_i64 i64 as i64,
        write_i128 i128 as i128, write_isize isize as i64
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_the_same_for_all_time() {
        // Whoever changes one of these moves users of running experiments.
        let salt = Salt::new("checkout");
        let buckets = ["alice", "bob", ""].map(|name| salt.bucket(Source::Key, &name));
        assert_eq!(buckets, BUCKETS_OF_OLD);
        assert_eq!(
            salt.bucket(Source::Key, &7_usize),
            salt.bucket(Source::Key, &7_u64)
        );
    }

    const BUCKETS_OF_OLD: [u32; 3] = [5709, 6467, 4127];

    #[test]
    fn the_hash_is_siphash_2_4() {
        // From the reference implementation: key 00…0f, input 00…0e.
        let mut hasher = Stable::new(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        hasher.write(&(0..15).collect::<Vec<u8>>());
        assert_eq!(hasher.finish(), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn buckets_are_even_and_two_experiments_independent() {
        let (one, other) = (Salt::new("one"), Salt::new("other"));
        let in_tenth = |salt: Salt, nth: u32| salt.bucket(Source::Key, &nth) < BUCKETS / 10;
        let all = 100_000;
        let first = (0..all).filter(|&nth| in_tenth(one, nth)).count();
        assert!((9_500..10_500).contains(&first), "{first}");
        let both = (0..all).filter(|&nth| in_tenth(one, nth) && in_tenth(other, nth));
        let both = both.count();
        assert!((850..1_150).contains(&both), "{both}");
    }
}
