//! What a decision of each policy costs, in process: no socket, no server.
//!
//! ```sh
//! cargo bench --bench policies --features jwt,prompts
//! ```
//!
//! Each figure is the best of many batches, so that other work on the machine disturbs it little. The
//! budgets: 3 µs for the admission of a caller whose credential is known, 300 ns for the choice of an endpoint,
//! 1.5 µs for a call through a pool with circuits and retries more than without, 200 ns and no allocation for a
//! prompt by its label, 20 µs for its 2 KB. What is over is said, and beyond 1.3 times the budget it fails.

mod auth;
mod authorize;
mod balance;
mod call;
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
