use http::Response;
use std::convert::Infallible;
use tower::{Service, ServiceBuilder};
use tower_gateway::timeout::TimeoutLayer;

fn serve(_: impl Service<()>) {}

fn main() {
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new())
        .service_fn(async |_: ()| Ok::<_, Infallible>(Response::new(())));
    serve(service);
}
