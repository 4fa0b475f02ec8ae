//! Numbers that differ every time, for choices of which nothing depends on that nobody foresees them.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// 64 bits: a counter under a keyed hash.
pub(crate) fn random() -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(Default::default);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    KEY.hash_one(COUNT.fetch_add(1, Ordering::Relaxed))
}

/// One of so many, from zero: all alike, as far as 64 bits can be.
pub(crate) fn below(bits: u64, many: u32) -> u32 {
    let scaled = (u128::from(bits) * u128::from(many)) >> 64;
    // It is less than `many`.
    u32::try_from(scaled).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_ten_comes_as_often_as_the_others() {
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            counts[below(random(), 10) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)));
        assert_eq!((below(u64::MAX, 7), below(0, 7), below(9, 0)), (6, 0, 0));
    }
}
