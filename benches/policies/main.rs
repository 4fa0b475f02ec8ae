//! What a decision of each policy costs, in process: no socket, no server.
//!
//! ```sh
//! cargo bench --bench policies --features jwt
//! ```
//!
//! Each figure is the best of many batches, so that other work on the machine disturbs it little. Fails if
//! the admission of a caller whose credential is known takes longer than 3 µs, or a call through a pool
//! with circuits 1.5 µs more than without.

mod auth;
mod authorize;
mod guard;
mod load;
#[path = "../measure/mod.rs"]
mod measure;
mod pool;
mod retry;

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
    if !pool::run().await {
        return ExitCode::FAILURE;
    }
    retry::run().await;
    if auth::run().await {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
