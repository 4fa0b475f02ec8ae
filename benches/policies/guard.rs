//! One call, guarded.

use crate::call::{layer, plain};
use http::Request;
use tower_gateway::{
    Body,
    circuit_breaker::CircuitBreakerLayer,
    fallback::{AnswerLayer, FallbackLayer},
};

pub(crate) async fn run() {
    layer("breaker, closed, 100 calls", CircuitBreakerLayer::new()).await;
    layer(
        "breaker, closed, 10 seconds",
        CircuitBreakerLayer::gateway(),
    )
    .await;
    let keyed = CircuitBreakerLayer::gateway();
    let keyed = keyed.key(|req: &Request<Body>| Some(req.uri().path().to_owned()));
    layer("breaker of each path, closed, 10 seconds", keyed).await;
    layer("fallback, the first answers", FallbackLayer::new(plain())).await;
    let fixed = AnswerLayer::new(http::StatusCode::SERVICE_UNAVAILABLE);
    layer("fixed answer, the service answers", fixed).await;
}
