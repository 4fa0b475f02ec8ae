use std::{
    io,
    task::{Context, Poll},
};
use tower::{Service, ServiceBuilder};
use tower_gateway::{End, Follow, Reject, Rejection, circuit_breaker::CircuitBreakerLayer};

struct Reply;

impl Reject<io::Error> for Reply {
    fn reject(rejection: Rejection) -> io::Result<Self> {
        Err(io::Error::other(rejection))
    }
}

impl Follow<io::Error> for Reply {
    type Followed = Self;

    fn follow(self, end: impl FnOnce(End<'_, io::Error>) + Send + 'static) -> Self {
        end(End::Complete);
        self
    }

    fn cut(self, _: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static) -> Self {
        self
    }
}

fn serve(_: impl Service<()>) {}

fn main() {
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new())
        .service_fn(async |_: ()| Ok::<_, io::Error>(Reply));
    serve(service);
}
