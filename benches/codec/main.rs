//! What it costs to know what is in a request or an answer, and to say it in other words.
//!
//! ```sh
//! cargo bench --bench codec --features testing
//! ```
//!
//! Each codec: requests of 1 KB, 100 KB and 1 MB, read and written; answers, read; and events, read,
//! written, and passed from each vendor to each client. Of that the figure to trust is the ratio to what
//! a client's own protocol costs, which is passed on in the bytes that came.
//!
//! Beside each time stands how often the thread allocates for it, the mock's share of a connection
//! included. The allocator counts all the time, in a few plain words of the thread that asks: next to what
//! an allocation costs that is little, and it is the same for both sides of a ratio.
//!
//! Ends with status 1 if a ratio is above 1.3 times its budget, never below that: machines differ.

mod cases;
#[path = "../measure/mod.rs"]
mod measure;
mod meter;
mod wire;

use std::{env, process::ExitCode};

/// What a client may pay for another protocol, in what it pays for its own.
const BUDGET: f64 = 3.0;
/// Above so many times its budget, a figure fails the run. Below, the machine may be to blame.
const FAR: f64 = 1.3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // `cargo test --benches` only wants to see that it starts.
    if !env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let mut far = false;
    for pair in cases::measured().await {
        let ratio = pair.cost.micros / pair.own.micros;
        let verdict = match ratio / BUDGET {
            share if share <= 1.0 => "ok",
            share if share <= FAR => "over",
            _ => "FAR OVER",
        };
        far |= ratio > BUDGET * FAR;
        println!(
            "{:<44}{ratio:>9.2} of {BUDGET:>6.2} ×   {verdict}",
            pair.name
        );
    }
    match far {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}
