//! A gateway over one server that is in no list of vendors, in whichever protocol that speaks: one of your
//! own, or another gateway. Clients of every dialect reach it.
//!
//! ```text
//! UPSTREAM=http://127.0.0.1:9100/v1 PROTOCOL=responses cargo run --example custom_vendor
//! ```
//!
//! | variable | what | default |
//! |---|---|---|
//! | `UPSTREAM` | the base URL, as [`Provider::speaking`] has it: most often with `/v1` at its end | none |
//! | `UPSTREAM_KEY` | the key, if it wants one | none |
//! | `PROTOCOL` | `openai`, `responses`, `anthropic`, `gemini`, `cohere` or `ollama` | `openai` |
//!
//! And those of every example: `ADDR`, `GATEWAY_KEY`, `RATE_PER_MINUTE`, `ADMIN_ADDR`.

use std::env;
use tower_gateway::{
    BoxError,
    auth::ApiKeys,
    gateway::{Env, Gateway, Server},
    llm::{Protocol, Provider},
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();

    let env = Env::read()?;
    let vendor = vendor()?;
    let gateway = Gateway::builder()
        .api_keys(ApiKeys::new().add("default", env.key()))
        .rate_limit(env.quota())
        .vendor(vendor)
        .build()?;
    let server = env.admin(Server::bind(gateway, env.addr())?)?;
    println!("Listening on http://{}/v1", server.local_addr()?);
    if env.key_is_made() {
        println!("Key: {}", env.key());
    }
    server.run().await?;
    Ok(())
}

/// A variable that says something.
fn variable(name: &str) -> Result<Option<String>, BoxError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.trim().is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(format!("{name}: {error}").into()),
    }
}

fn vendor() -> Result<Provider, BoxError> {
    let upstream = variable("UPSTREAM")?;
    let upstream =
        upstream.ok_or("UPSTREAM: expected a base URL such as http://127.0.0.1:9100/v1")?;
    let vendor =
        Provider::custom("upstream", upstream).map_err(|error| format!("UPSTREAM: {error}"))?;
    let vendor = vendor.speaking(match variable("PROTOCOL")?.as_deref() {
        None | Some("openai") => Protocol::OpenAi,
        Some("responses") => Protocol::Responses,
        Some("anthropic") => Protocol::Anthropic,
        Some("gemini") => Protocol::Gemini,
        Some("cohere") => Protocol::Cohere,
        Some("ollama") => Protocol::Ollama,
        Some(_) => {
            let names = "openai, responses, anthropic, gemini, cohere or ollama";
            return Err(format!("PROTOCOL: expected {names}").into());
        }
    });
    Ok(match variable("UPSTREAM_KEY")? {
        Some(key) => vendor.key(key),
        None => vendor,
    })
}
