//! A call that is dropped at any of the places where it waits leaves nothing behind.

use super::*;
use tokio::{sync::Semaphore, task::yield_now};
use tokio_test::task;
use tower::limit::GlobalConcurrencyLimitLayer;

/// Polls a call so often, lets the time between pass, and drops it. `false`: it was over before.
async fn dropped_after(polls: usize, layer: &RetryLayer, places: &Arc<Semaphore>) -> bool {
    let service = ServiceBuilder::new()
        .layer(layer.clone())
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(places.clone()))
        .service_fn(async |_: Request<Body>| {
            yield_now().await;
            yield_now().await;
            unavailable()
        });
    let mut call = task::spawn(service.oneshot(request("PUT", "some")));
    for _ in 0..polls {
        if call.poll().is_ready() {
            return false;
        }
        tokio::time::advance(10 * MILLI).await;
    }
    true
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_after_any_poll_leaves_every_place_free() {
    let places = Arc::new(Semaphore::new(1));
    let budget = Budget::concurrent().percent(0).minimum(1);
    let layer = RetryLayer::new().budget(budget.clone());
    let mut polls = 0;
    while dropped_after(polls, &layer, &places).await {
        assert_eq!(places.available_permits(), 1, "after {polls} polls");
        let call = budget.call(Instant::now());
        let further = call.further(Instant::now());
        assert!(further.is_some(), "after {polls} polls");
        polls += 1;
    }
    assert!(polls > 6, "it waited but {polls} times");
    assert!(layer.stats().retries() > 2);
}
