use std::io;
use tower::{Service, ServiceBuilder};
use tower_gateway::concurrency::ConcurrencyLayer;

struct Reply;

fn serve(_: impl Service<()>) {}

fn main() {
    let service = ServiceBuilder::new()
        .layer(ConcurrencyLayer::new(1))
        .service_fn(async |_: ()| Ok::<_, io::Error>(Reply));
    serve(service);
}
