//! How many at once.

use crate::call::layer;
use std::time::Duration;
use tower_gateway::{
    answer::ByHealth,
    concurrency::{Aimd, ConcurrencyLayer, FromHeader, Gradient},
    key::ByPrincipal,
};

pub(crate) async fn run() {
    let second = Duration::from_secs(1);
    let limit = || ConcurrencyLayer::new(1000);
    layer("concurrency", limit()).await;
    let queue = limit()
        .queue(1000, second)
        .priority(FromHeader::new("x-priority"));
    layer("concurrency, queue, priorities", queue).await;
    layer("concurrency of each principal", limit().key(ByPrincipal)).await;
    let gradient = ConcurrencyLayer::adaptive(Gradient::new()).classify(ByHealth::default());
    layer("concurrency, gradient", gradient).await;
    let aimd = ConcurrencyLayer::adaptive(Aimd::new(second));
    layer("concurrency, AIMD", aimd).await;
}
