//! A call without a prompt, past the layer that would render one.

use crate::measure::both;
use std::{
    future::{Ready, ready},
    hint::black_box,
};
use tower::{Layer, Service, ServiceExt, service_fn, util::ServiceFn};
use tower_gateway::{
    llm::{ChatRequest, ChatResponse, Error, Operation, Protocol, Wire},
    prompt::{PromptLayer, Registry},
    rejection::Kind,
};

type Base = ServiceFn<fn(ChatRequest) -> Ready<Result<ChatResponse, Error>>>;

/// Refuses, as that costs the least.
fn plain() -> Base {
    service_fn(|request| {
        black_box(request);
        ready(Err(Kind::Draining.into()))
    })
}

async fn call<S>(service: &mut S)
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error>,
{
    let body = r#"{"model":"m","messages":[{"role":"user","content":"Hello"}]}"#;
    let wire = Wire::new(Protocol::OpenAi, body.into());
    let request = ChatRequest::from_wire(Operation::Chat, "m", false, true, wire);
    let Ok(service) = service.ready().await else {
        panic!("not ready");
    };
    drop(black_box(service.call(request).await));
}

pub(crate) async fn run() {
    let mut base = plain();
    let mut layered = PromptLayer::new(Registry::in_memory()).layer(plain());
    let (base, whole) = both(
        async || call(&mut base).await,
        async || call(&mut layered).await,
    )
    .await;
    println!(
        "{:<44}{:>10.0}",
        "prompt layer, a call without one",
        whole - base
    );
}
