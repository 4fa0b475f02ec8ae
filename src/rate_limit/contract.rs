//! What every store of buckets must do, whatever it is.

use super::{
    MemoryStore, Quota,
    store::{Rules, Store, Take, Taken},
};
use std::sync::Arc;

const SECOND: u64 = 1_000_000;
/// 2026-11-21, about noon.
const NOON: u64 = 1_795_262_400 * SECOND;

pub(super) async fn all(store: &impl Store) {
    takes_until_there_is_no_more(store).await;
    takes_from_all_or_from_none(store).await;
    windows_begin_with_the_clock(store).await;
    a_shadow_stops_nothing(store).await;
    buckets_and_quotas_are_kept_apart(store).await;
    a_period_that_alternates_refills_nothing(store).await;
    quotas_that_come_and_go_refill_nothing(store).await;
    a_crowd_gets_the_quota_and_no_more(store).await;
    a_clock_that_is_set_back_refuses_nobody_for_longer(store).await;
    its_own_clock_goes_on(store).await;
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    all(&MemoryStore::new(1000)).await;
}

fn take(quotas: &[Quota], bucket: &str, cost: u64) -> Take {
    Take {
        bucket: bucket.into(),
        rules: Arc::new(Rules::new(quotas)),
        known: Box::default(),
        cost,
        now: None,
    }
}

async fn fits(store: &impl Store, take: Take) -> Vec<bool> {
    let taken: Taken = store.take(take).await.unwrap();
    taken.buckets().map(|(fits, _)| fits).collect()
}

async fn takes_until_there_is_no_more(store: &impl Store) {
    for quota in [
        Quota::per_minute(3),
        Quota::per_minute(3).sliding_window(),
        Quota::per_minute(3).fixed_window(),
        Quota::per_month(3),
    ] {
        let bucket = format!("simple {quota:?}");
        let once = async |cost, now| {
            let take = take(std::slice::from_ref(&quota), &bucket, cost).at(now);
            fits(store, take).await == [true]
        };
        assert!(once(0, NOON).await && once(2, NOON).await, "{quota:?}");
        assert!(!once(2, NOON).await, "{quota:?}");
        assert!(once(1, NOON).await && !once(1, NOON).await, "{quota:?}");
        assert!(!once(4, NOON + SECOND).await && !once(u64::MAX, NOON).await);
        let month = 31 * 86_400 * SECOND;
        assert!(once(3, NOON + month).await, "{quota:?}");
    }
}

async fn takes_from_all_or_from_none(store: &impl Store) {
    let quotas = [
        Quota::per_second(5),
        Quota::per_hour(5).sliding_window(),
        Quota::per_day(1).fixed_window(),
    ];
    let at = |now| take(&quotas, "several", 1).at(now);
    assert_eq!(fits(store, at(NOON)).await, [true; 3]);
    let first = store.take(at(NOON)).await.unwrap();
    let second = store.take(at(NOON)).await.unwrap();
    assert_eq!(first, second, "a refusal takes nothing");
    let refused: Vec<_> = first.buckets().map(|(fits, _)| fits).collect();
    assert_eq!(refused, [true, true, false]);
}

async fn windows_begin_with_the_clock(store: &impl Store) {
    let month = [Quota::per_month(1)];
    // 2026-11-30, 23:59:59.999999, and a microsecond later.
    let last = 20_788 * 86_400 * SECOND - 1;
    let once = async |now| fits(store, take(&month, "months", 1).at(now)).await[0];
    assert!(once(NOON).await && !once(last).await && once(last + 1).await);
    assert!(!once(last).await, "a clock that goes back");
    let taken = store.take(take(&month, "months", 0).at(last + 1)).await;
    let (_, state) = taken.unwrap().buckets().next().unwrap();
    assert_eq!(state.numbers(), [last + 1, 1, 0]);
}

async fn a_shadow_stops_nothing(store: &impl Store) {
    let quotas = [Quota::per_day(1).shadow(), Quota::per_day(3).name("real")];
    for expected in [[true, true], [false, true], [false, true], [false, false]] {
        assert_eq!(
            fits(store, take(&quotas, "shadow", 1).at(NOON)).await,
            expected
        );
    }
}

async fn buckets_and_quotas_are_kept_apart(store: &impl Store) {
    let one = [Quota::per_day(1)];
    for bucket in ["apart", "apart:", "", "apart\0", "{apart}"] {
        assert_eq!(fits(store, take(&one, bucket, 1).at(NOON)).await, [true]);
        assert_eq!(fits(store, take(&one, bucket, 1).at(NOON)).await, [false]);
    }
}

/// Two keys of one owner, with limits of different periods; or two layers of one name.
async fn a_period_that_alternates_refills_nothing(store: &impl Store) {
    let minute = Quota::per_minute(10).name("requests");
    let hour = Quota::per_hour(500).name("requests");
    let kinds: [fn(Quota) -> Quota; 3] =
        [|quota| quota, Quota::sliding_window, Quota::fixed_window];
    for (kind, of) in kinds.into_iter().enumerate() {
        let bucket = format!("alternating {kind}");
        let both = [[of(minute.clone())], [of(hour.clone())]];
        let mut fitted = [0; 2];
        for call in 0..60 {
            let now = NOON + call * 1000;
            for (quotas, fitted) in both.iter().zip(&mut fitted) {
                *fitted += u32::from(fits(store, take(quotas, &bucket, 1).at(now)).await[0]);
            }
        }
        assert_eq!(fitted, [10, 60], "{:?}", both[0]);
    }
}

/// The clock is an hour ahead for a moment, and then right again.
async fn a_clock_that_is_set_back_refuses_nobody_for_longer(store: &impl Store) {
    for quota in [
        Quota::per_second(10),
        Quota::per_second(10).sliding_window(),
        Quota::per_second(10).fixed_window(),
    ] {
        let bucket = format!("set back {quota:?}");
        let once = async |cost, now| {
            let take = take(std::slice::from_ref(&quota), &bucket, cost).at(now);
            fits(store, take).await == [true]
        };
        assert!(once(10, NOON + 3600 * SECOND).await, "{quota:?}");
        assert!(!once(1, NOON).await, "nothing is granted twice: {quota:?}");
        assert!(once(1, NOON + SECOND + SECOND / 2).await, "{quota:?}");
        assert!(once(10, NOON + 4 * SECOND).await, "{quota:?}");
        assert!(!once(1, NOON + 4 * SECOND).await, "{quota:?}");
    }
}

/// A configuration is loaded while calls go on.
async fn quotas_that_come_and_go_refill_nothing(store: &impl Store) {
    let [minute, day] = [
        Quota::per_minute(3),
        Quota::per_day(4).sliding_window().name("day"),
    ];
    let at = async |quotas: &[&Quota]| {
        let quotas: Vec<_> = quotas.iter().copied().cloned().collect();
        fits(store, take(&quotas, "coming and going", 1).at(NOON)).await
    };
    for _ in 0..3 {
        assert_eq!(at(&[&minute]).await, [true]);
    }
    assert_eq!(at(&[&minute, &day]).await, [false, true], "one is added");
    assert_eq!(at(&[&day, &minute]).await, [true, false], "their order");
    for fit in [true, true, true, true, false] {
        assert_eq!(at(&[&day]).await, [fit], "one is removed");
    }
    assert_eq!(at(&[&minute]).await, [false], "and comes back");
    assert_eq!(at(&[&day, &minute]).await, [false, false]);
    // Of another period it is another quota; of more units, the same.
    assert_eq!(at(&[&Quota::per_hour(3).name("per-minute")]).await, [true]);
    assert_eq!(at(&[&Quota::per_minute(9)]).await, [false], "used up still");
}

async fn a_crowd_gets_the_quota_and_no_more(store: &impl Store) {
    let quotas = [Quota::per_day(7), Quota::per_month(100)];
    let calls = (0..100).map(|_| fits(store, take(&quotas, "crowd", 1)));
    let all = futures_util::future::join_all(calls).await;
    assert_eq!(all.iter().filter(|fits| fits[0]).count(), 7);
}

async fn its_own_clock_goes_on(store: &impl Store) {
    let quota = [Quota::per_day(1000)];
    let taken = store.take(take(&quota, "clock", 1)).await;
    let first = taken.unwrap();
    // After 2026, and before the next century.
    assert!((NOON / 2..3 * NOON).contains(&first.now()));
    let taken = store.take(take(&quota, "clock", 1)).await.unwrap();
    assert!(taken.now() >= first.now());
}
