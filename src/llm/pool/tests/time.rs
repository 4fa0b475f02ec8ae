//! Those that are silent, and callers that have little time.

use super::*;

fn within(time: Duration) -> ChatRequest {
    let mut request = ask();
    let deadline = Deadline::new().until(Instant::now() + time);
    request.extensions_mut().insert(deadline);
    request
}

#[tokio::test(start_paused = true)]
async fn one_that_is_silent_leaves_time_for_the_others() {
    for act in [Act::Silent, Act::Stalls("")] {
        let (a, _, pool) = two(act);
        let start = Instant::now();
        assert_eq!(says_to(&pool, within(30 * SECOND)).await, "b", "{act:?}");
        assert_eq!(start.elapsed().as_secs(), 15);
        let handle = pool.handle();
        let shown = || handle.entry("a").unwrap();
        assert_eq!((shown().failures, shown().in_flight), (1, 0));
        // It has had its time, and that counts.
        for _ in 0..4 {
            assert_eq!(says_to(&pool, within(30 * SECOND)).await, "b");
        }
        assert_eq!(shown().circuit, Some(Circuit::Open));
        assert_eq!(says_to(&pool, within(30 * SECOND)).await, "b");
        assert_eq!(a.calls(), 5);
    }
    // Of three each has a third of what is left, and the last all of it.
    let silent = || Fake::new(Act::Silent).entry("silent");
    let slow = Fake::new(Act::Slow(15 * SECOND, "slow"));
    let pool = Pool::new().entry(silent()).entry(silent());
    let pool = pool.entry(slow.entry("slow"));
    let start = Instant::now();
    let request = within(48 * SECOND).whole();
    assert_eq!(says_to(&pool, request).await, "slow");
    assert_eq!(start.elapsed().as_secs(), 16 + 16 + 15);
}

#[tokio::test(start_paused = true)]
async fn who_has_little_time_opens_no_circuit_for_others() {
    let (a, _, pool) = two(Act::Slow(SECOND, "a"));
    for _ in 0..20 {
        assert_eq!(says_to(&pool, within(SECOND)).await, "b");
    }
    let shown = pool.handle().entry("a").unwrap();
    assert_eq!((a.calls(), shown.circuit), (20, Some(Circuit::Closed)));
    assert_eq!(shown.first_content, None, "no news");
    assert_eq!(says(&pool).await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn one_that_was_fast_and_is_silent_loses_its_place_also_if_nobody_waits() {
    let (a, b, pool) = two(Act::Slow(SECOND / 10, "a"));
    b.act(Act::Slow(SECOND / 2, "b"));
    let pool = pool.strategy(Strategy::LowestLatency);
    for _ in 0..10 {
        says(&pool).await.unwrap();
    }
    let fast = a.calls();
    assert!(fast >= 8, "{fast}");
    a.act(Act::Silent);
    let call = tokio::time::timeout(5 * SECOND, says(&pool));
    assert!(call.await.is_err());
    assert_eq!(a.calls(), fast + 1);
    for _ in 0..5 {
        assert_eq!(says(&pool).await.unwrap(), "b");
    }
    // A short wait says nothing.
    let average = || pool.handle().entry("b").unwrap().first_content;
    let before = average();
    let call = tokio::time::timeout(SECOND / 4, says(&pool));
    assert!(call.await.is_err());
    assert_eq!(average(), before);
}
