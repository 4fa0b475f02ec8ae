use axum::Router;
use tower::ServiceBuilder;
use tower_gateway::timeout::TimeoutLayer;

fn main() {
    let stack = ServiceBuilder::new().option_layer(Some(TimeoutLayer::new()));
    let _: Router = Router::new().layer(stack);
}
