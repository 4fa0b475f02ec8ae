//! A directory of prompts, each of them an endpoint: variables in, an answer out.
//!
//! ```text
//! cargo run --features prompts --example prompt_endpoints
//! PROMPTS=some/other/directory GATEWAY_KEY=some-long-secret cargo run --features prompts --example prompt_endpoints
//! ```
//!
//! Without a vendor's key in the environment a built-in simulator answers, and with one the vendor's model
//! that `MODEL` names. What is changed in the
//! directory is served a second later. The page to try them needs the key, which it asks for. The same
//! key manages them below `/admin/prompts`, where what is in files is read, and run against test sets,
//! and not written.

use std::{env, path::PathBuf};
use tower_gateway::{
    BoxError,
    auth::{ApiKeys, Grant},
    gateway::{Env, Gateway, Server},
    llm::{Provider, Simulator},
    prompt::{FileStore, Registry, endpoints::Endpoints, manage::Manage},
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();

    let env = Env::read()?;
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/prompts");
    let directory = env::var_os("PROMPTS").map_or_else(|| here.into(), PathBuf::from);
    let files = FileStore::open(&directory).await?;
    for fault in files.faults() {
        eprintln!("{fault}");
    }
    let registry = Registry::open(files).await?;

    let owner = Grant::new("default").scopes(["prompts:admin", "prompts:release"]);
    let endpoints = Endpoints::new(registry.clone())
        .title("Prompts of the example")
        .public_page();
    let mut gateway = Gateway::builder()
        .api_keys(ApiKeys::new().add(owner, env.key()))
        .rate_limit(env.quota())
        .prompts(registry.clone())
        .prompt_endpoints(endpoints)
        .manage_prompts(Manage::new(registry.clone()));
    // What prompts call `fast` is one of the first vendor's models.
    gateway = match Provider::from_env()?.into_iter().next() {
        None => gateway.model("fast", [Simulator::new()]),
        Some(vendor) => {
            let model = env::var("MODEL").map_err(|_| {
                "MODEL: a vendor's key is there, so say which of its models answers, such as gpt-5-mini"
            })?;
            gateway.model("fast", [vendor.model(model)])
        }
    };

    let server = env.admin(Server::bind(gateway.build()?, env.addr())?)?;
    let url = format!("http://{}", server.local_addr()?);
    print!("{}", greeting(&url, &env, &registry));
    server.run().await?;
    Ok(())
}

/// What a person needs to make the first call.
fn greeting(url: &str, env: &Env, registry: &Registry) -> String {
    // A key that was given is known to whoever gave it, and need not stand in a log.
    let key = if env.key_is_made() {
        env.key()
    } else {
        "$GATEWAY_KEY"
    };
    let heads = registry.heads(None, 20);
    let names = heads.iter().map(|head| head.name.as_str());
    // A partial is for other prompts, and no endpoint.
    let names = names.filter(|name| {
        let found = registry.by_label::<str>(name, "latest", None);
        found.is_some_and(|found| !found.version.prompt().is_partial())
    });
    let names: Vec<_> = names.collect();
    format!(
        "\nListening on {url}/prompts\nPrompts: {}\nTry them: {url}/prompts/\nOpenAPI:  {url}/prompts/openapi.json\nKey:      {key}\n\n\
         curl {url}/prompts/translate \\\n  \
           -H \"Authorization: Bearer {key}\" \\\n  \
           -H \"Content-Type: application/json\" \\\n  \
           -d '{{\"text\":\"Good morning\",\"language\":\"German\"}}'\n\n",
        names.join(", ")
    )
}
