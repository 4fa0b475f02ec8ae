//! How long to wait before asking again.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Full jitter: before the nth further attempt a wait from `[0, (2ⁿ−1)·base)`, but below `cap`. Each as
/// likely as any other, so that those who failed together do not come back together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pub(super) base: Duration,
    pub(super) cap: Duration,
}

impl Backoff {
    /// The wait before the nth further attempt, counted from 1, by dice of 64 bits.
    pub(super) fn wait(self, nth: u32, dice: u64) -> Duration {
        let waits = 1_u32.checked_shl(nth).map_or(u32::MAX, |power| power - 1);
        let most = self.base.saturating_mul(waits).min(self.cap);
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        // The upper half of the product is below `nanos`, and no division is.
        let part = (u128::from(nanos) * u128::from(dice)) >> 64;
        Duration::from_nanos(part as u64)
    }
}

/// 64 bits that differ each time. Nobody can guess them from outside, nor need they.
pub(super) fn dice() -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    KEYS.hash_one(COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_millis(25),
        cap: Duration::from_millis(250),
    };

    #[test]
    fn the_waits_are_those_of_envoy() {
        for (nth, most) in [(1, 25), (2, 75), (3, 175), (4, 250), (5, 250), (40, 250)] {
            let most = Duration::from_millis(most);
            assert_eq!(BACKOFF.wait(nth, 0), Duration::ZERO);
            assert_eq!(BACKOFF.wait(nth, u64::MAX), most - Duration::from_nanos(1));
            assert_eq!(BACKOFF.wait(nth, 1 << 63), most / 2);
        }
    }

    #[test]
    fn dice_are_even() {
        let mut tenths = [0_u32; 10];
        for _ in 0..10_000 {
            let wait = BACKOFF.wait(4, dice());
            tenths[wait.as_millis() as usize / 25] += 1;
        }
        // Five standard deviations of a fair one.
        assert!(
            tenths.iter().all(|&count| count.abs_diff(1000) < 150),
            "{tenths:?}"
        );
    }

    proptest! {
        #[test]
        fn a_wait_is_below_its_bound_and_below_the_cap(
            nth in 1_u32.., dice: u64, base in 0_u64..1 << 40, cap: u64,
        ) {
            let (base, cap) = (Duration::from_nanos(base), Duration::from_nanos(cap));
            let wait = Backoff { base, cap }.wait(nth, dice);
            let bound = base.saturating_mul(2_u32.saturating_pow(nth)).saturating_sub(base);
            prop_assert!(wait.is_zero() || (wait < cap && wait < bound));
        }
    }
}
