//! Policies around a language model, and no server at all. Without a vendor's key in the environment
//! it asks the built-in simulator.
//!
//! ```text
//! cargo run --example llm_client -- Why is the sky blue?
//! ```

use futures_util::StreamExt;
use std::io::Write;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_gateway::{
    BoxError,
    circuit_breaker::CircuitBreakerLayer,
    concurrency::ConcurrencyLayer,
    llm::{self, ChatRequest, ChatResponse, Delta, Event, Provider, Simulator},
    timeout::TimeoutLayer,
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let question = if words.is_empty() {
        "Hello".to_owned()
    } else {
        words.join(" ")
    };
    let request = ChatRequest::new().system("Be brief.").user(question);
    match Provider::from_env()?.into_iter().next() {
        Some(vendor) => {
            let model = std::env::var("MODEL")
                .map_err(|_| "MODEL: expected the name of a model of the vendor")?;
            ask(vendor.model(model), request).await
        }
        None => {
            ask(
                Simulator::new(),
                request.for_model(llm::simulator::CHAT_MODEL),
            )
            .await
        }
    }
}

async fn ask<S>(service: S, request: ChatRequest) -> Result<(), BoxError>
where
    S: Service<ChatRequest, Response = ChatResponse, Error = llm::Error> + Clone,
{
    let chat = ServiceBuilder::new()
        .layer(ConcurrencyLayer::new(8))
        .layer(CircuitBreakerLayer::new())
        .layer(TimeoutLayer::llm())
        .service(service);
    let mut answer = chat.oneshot(request).await?;
    while let Some(event) = answer.next().await {
        match event? {
            Event::Delta {
                delta: Delta::Text(text),
                ..
            } => {
                print!("{text}");
                std::io::stdout().flush()?;
            }
            Event::Usage(usage) => println!("\n({} tokens in, {} out)", usage.input, usage.output),
            _ => {}
        }
    }
    Ok(())
}
