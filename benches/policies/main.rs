//! What a decision of each policy costs, in process: no socket, no server.
//!
//! ```sh
//! cargo bench --bench policies --features jwt,prompts
//! ```
//!
//! Each figure is the best of many batches, so that other work on the machine disturbs it little. Fails if
//! the admission of a caller whose credential is known takes longer than 3 µs, the choice of an endpoint
//! longer than 300 ns, a call through a pool with circuits 1.5 µs more than without, a prompt by its label 200 ns or
//! one allocation, or its 2 KB 20 µs.

mod auth;
mod authorize;
mod balance;
mod guard;
mod load;
#[path = "../measure/mod.rs"]
mod measure;
mod pool;
mod prompt;
mod prompted;
mod retry;
mod split;

use std::{env, process::ExitCode};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // `cargo test --benches` only wants to see that it starts.
    if !env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    println!("{:<44}{:>10}", "ns", "a decision");
    if let Err(error) = authorize::run().await {
        println!("{error}");
        return ExitCode::FAILURE;
    }
    load::run().await;
    guard::run().await;
    retry::run().await;
    split::run().await;
    // All are to be seen, whatever one says.
    let (pooled, balanced) = (pool::run().await, balance::run().await);
    prompted::run().await;
    let prompted = prompt::run().await;
    if auth::run().await && pooled && balanced && prompted {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
