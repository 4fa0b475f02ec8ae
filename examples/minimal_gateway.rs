//! A gateway for clients of OpenAI (Chat Completions and Responses), of Anthropic and of Gemini, set up by
//! its environment.
//!
//! Without a vendor's key in the environment it serves a built-in simulator; with keys, those
//! vendors. Then change `base_url` and `api_key` in any client of these; any of them reaches any model.
//!
//! ```text
//! cargo run --example minimal_gateway
//! OPENAI_API_KEY=sk-… GATEWAY_KEY=some-long-secret cargo run --example minimal_gateway
//! ```

use tower_gateway::{
    BoxError,
    auth::ApiKeys,
    gateway::{Env, Gateway, Server},
    llm::{Provider, Simulator, simulator},
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();

    let env = Env::read()?;
    let vendors = Provider::from_env()?;
    let served = served(&vendors);

    let mut gateway = Gateway::builder()
        .api_keys(ApiKeys::new().add("default", env.key()))
        .rate_limit(env.quota());
    if vendors.is_empty() {
        gateway = gateway.simulator(Simulator::new());
    }
    for vendor in vendors {
        gateway = gateway.vendor(vendor);
    }

    let server = env.admin(Server::bind(gateway.build()?, env.addr())?)?;
    let url = format!("http://{}", server.local_addr()?);
    print!("{}", greeting(&url, &env, served));
    if let Some(admin) = server.admin_addr() {
        println!("Metrics on http://{admin}/metrics\n");
    }
    server.run().await?;
    Ok(())
}

/// What is served, in words, and a model to begin with.
fn served(vendors: &[Provider]) -> (String, &'static str) {
    let Some(first) = vendors.first() else {
        let models = Simulator::models().join(", ");
        let words = format!("{models} (simulated: no vendor's key is set)");
        return (words, simulator::CHAT_MODEL);
    };
    let names: Vec<_> = vendors.iter().map(Provider::name).collect();
    let model = first.known_models().first().copied();
    (
        format!("those of {}, see /v1/models", names.join(", ")),
        model.unwrap_or("MODEL"),
    )
}

/// What a person needs to make the first call.
fn greeting(url: &str, env: &Env, (models, model): (String, &str)) -> String {
    // A key that was given is known to whoever gave it, and need not stand in a log.
    let key = if env.key_is_made() {
        env.key()
    } else {
        "$GATEWAY_KEY"
    };
    format!(
        "\nListening on {url}/v1\nModels: {models}\nKey:    {key}\n\n\
         curl {url}/v1/chat/completions \\\n  \
           -H \"Authorization: Bearer {key}\" \\\n  \
           -H \"Content-Type: application/json\" \\\n  \
           -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n\n"
    )
}
