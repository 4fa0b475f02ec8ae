use axum::Router;
use tower_gateway::{answer::Outcome, circuit_breaker::CircuitBreakerLayer};

fn main() {
    let layer = CircuitBreakerLayer::new().classify(|answer| match answer {
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failure,
    });
    let _: Router = Router::new().layer(layer);
}
