use super::*;
use crate::{Body, BoxError};
use std::{
    future::{Future, Ready, ready},
    task::Waker,
};

#[derive(Clone)]
struct Broken;

impl Service<()> for Broken {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: ()) -> Self::Future {
        ready(Err("broken".into()))
    }
}

#[test]
fn an_error_frees_the_permit_though_its_future_is_kept() {
    let limit = ConcurrencyLayer::new(1);
    let mut future = Box::pin(limit.layer(Broken).call(()));
    assert_eq!(limit.available(), 0);
    let answer = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(answer, Poll::Ready(Err(_))));
    assert_eq!(limit.available(), 1);
    drop(future);
}

#[test]
fn a_permit_is_small() {
    assert!(
        size_of::<gate::Permit>() <= 24,
        "{}",
        size_of::<gate::Permit>()
    );
}
