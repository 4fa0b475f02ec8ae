//! Asking again: what that costs where nobody has to.

use crate::call::layer;
use std::time::Duration;
use tower::ServiceBuilder;
use tower_gateway::{
    circuit_breaker::CircuitBreakerLayer,
    deadline::{Budget, DeadlineLayer},
    hedge::HedgeLayer,
    retry::RetryLayer,
};

pub(crate) async fn run() {
    let deadline = || DeadlineLayer::new().within(Duration::from_secs(30));
    layer("deadline", deadline()).await;
    layer("retry", RetryLayer::new()).await;
    let concurrent = RetryLayer::new().budget(Budget::concurrent());
    layer("retry, budget of what is under way", concurrent).await;
    layer("hedge after a percentile", HedgeLayer::new()).await;
    let stack = ServiceBuilder::new()
        .layer(deadline())
        .layer(RetryLayer::new())
        .layer(CircuitBreakerLayer::new());
    layer("deadline, retry, circuit breaker", stack.into_inner()).await;
}
