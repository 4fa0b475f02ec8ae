//! A vendor to try clients and gateways on, which costs nothing: speaks OpenAI's protocols, Anthropic's,
//! Gemini's, Bedrock's, Cohere's and Ollama's.
//!
//! ```sh
//! cargo run --example mock_vendor --features testing
//! OPENAI_API_KEY=sk-mock OPENAI_BASE_URL=http://127.0.0.1:9100/v1 cargo run --example minimal_gateway
//! ```
//!
//! Listens on `ADDR` (127.0.0.1:9100). With `OPENAI_API_KEY` set it takes that key alone, else any.
//! See `Turn::fitting` for what it answers, and for the names of the models that fail.

use std::{env, error::Error, net::SocketAddr};
use tower_gateway::testing::{Turn, Vendor};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:9100".to_owned());
    let address: SocketAddr = address
        .parse()
        .map_err(|error| format!("ADDR is no address such as 127.0.0.1:9100: {error}"))?;
    let mut vendor = Vendor::new(Turn::fitting);
    if let Ok(key) = env::var("OPENAI_API_KEY") {
        vendor = vendor.key(key);
    }
    let vendor = vendor.start_at(address).await?;
    println!(
        "a mock vendor, with mock-chat and mock-embed: {}",
        vendor.base_url()
    );
    tokio::signal::ctrl_c().await?;
    println!(
        "{} requests, {} tokens",
        vendor.count(),
        vendor.total().total()
    );
    Ok(())
}
