//! How well calls are spread, by simulation: no socket, no clock.
//!
//! ```sh
//! cargo bench --bench balance
//! ```
//!
//! Ten endpoints of which one takes twenty times as long, 1000 calls a second at random, 100,000 calls.
//! Fails if the tail of least outstanding or peak EWMA is not a fifth of that of round robin, if a share is
//! off its weight by more than 1 %, if a ring moves more than 1/n + 2 % of its keys, or if a bounded load is
//! not bounded.

#[path = "../src/balance/simulation.rs"]
mod simulation;

use simulation::{Simulated, bounded, moved, off_weight, tail};
use std::{env, process::ExitCode};
use tower_gateway::balance::pick;

const SEEDS: [u64; 3] = [1, 2, 3];

fn main() -> ExitCode {
    // `cargo test --benches` only wants to see that it starts.
    if !env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let mut good = true;
    let mut of_round_robin = f64::NAN;
    println!(
        "{:<20}{:>6}{:>10}{:>10}{:>10}{:>12}",
        "", "seed", "p50 ms", "p99 ms", "p99.9 ms", "to the slow"
    );
    for strategy in Simulated::ALL {
        for seed in SEEDS {
            let tail = tail(strategy, seed);
            let name = format!("{strategy:?}");
            println!(
                "{name:<20}{seed:>6}{:>10.1}{:>10.1}{:>10.1}{:>11.2}%",
                tail.p50,
                tail.p99,
                tail.p999,
                tail.slow_share * 100.0
            );
            match strategy {
                Simulated::RoundRobin => of_round_robin = tail.p99,
                Simulated::Random => {}
                Simulated::LeastOutstanding | Simulated::PeakEwma => {
                    good &= tail.p99 * 5.0 <= of_round_robin;
                }
            }
        }
    }
    let (in_turn, random) = off_weight();
    println!(
        "off its weight, at the most: {:.3} % in turn, {:.3} % at random",
        in_turn * 100.0,
        random * 100.0
    );
    good &= in_turn <= 0.01 && random <= 0.01;
    for n in [3, 10, 30, 100] {
        let moved = moved(n);
        let most = 1.0 / n as f64;
        println!(
            "moved when one of {n} goes: {:.2} % (1/n is {:.2} %)",
            moved * 100.0,
            most * 100.0
        );
        good &= moved <= most + 0.02;
    }
    let (with, without) = bounded();
    println!("the most loaded, in means: {with:.2} bounded to 1.25, {without:.2} without a bound");
    good &= with <= 1.25;
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
