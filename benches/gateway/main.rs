//! What a request costs on its way through the gateway, against a bare hyper proxy: the floor.
//!
//! ```sh
//! cargo bench --bench gateway                 # a table of ratios, under three minutes
//! SOAK=1 cargo bench --bench gateway          # 5,000 slow streams; needs `ulimit -n 20000`
//! ```
//!
//! Every contender is a process of its own on loopback, alone on core 0 where `taskset` is there;
//! the client and the mock upstream share core 1. Rounds are interleaved and their medians told. The
//! figure to trust is CPU per request, and of that the ratio to the floor: it carries over to other
//! machines. `ROUNDS` (3), `SECONDS` (2, or 60 of the soak), `ONLY` (names, comma-separated; the
//! floor is always run), `RATE` (2000 requests a second where the rate is fixed), `STREAMS` (5000).
//!
//! Ends with status 1 if a figure is above 1.3 times its budget, never below that: machines differ.

mod contender;
mod floor;
mod load;
mod mock;
mod ours;
mod process;
mod report;
mod soak;

use contender::Contender;
use load::{Load, Shape};
use process::Process;
use report::Report;
use std::{env, error::Error, process::ExitCode, time::Duration};

type Fallible<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Fallible<ExitCode> {
    if let Ok(role) = env::var("ROLE") {
        return contender::play(&role).map(|()| ExitCode::SUCCESS);
    }
    // `cargo test --benches` only wants to see that it starts.
    if !env::args().any(|arg| arg == "--bench") {
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    process::pin(std::process::id(), 1);
    if env::var_os("SOAK").is_some() {
        return runtime.block_on(soak::run());
    }
    runtime.block_on(run())
}

async fn run() -> Fallible<ExitCode> {
    let rounds: usize = setting("ROUNDS", 3)?;
    let time = Duration::from_secs_f64(setting("SECONDS", 2.0)?);
    let rate: u32 = setting("RATE", 2_000)?;
    let mock = Process::start("mock", None, 1).await?;
    let mut report = Report::default();
    let mut running = Vec::new();
    for contender in Contender::all() {
        if only(contender.name()) {
            let (process, start) = contender.start(mock.address).await?;
            report.started(contender, start, process.memory());
            running.push((contender, process));
        }
    }
    for round in 0..rounds {
        for shape in [
            Shape::Plain,
            Shape::Large,
            Shape::Stream,
            Shape::Paced(rate),
        ] {
            for (contender, process) in &running {
                eprintln!(
                    "round {} of {rounds}: {shape:?}, {}",
                    round + 1,
                    contender.name()
                );
                let load = Load::new(process.address, contender.path(), shape);
                load.run(time / 10).await?;
                let before = process.cpu();
                let mut taken = load.run(time).await?;
                taken.cpu = process.cpu().saturating_sub(before);
                report.took(*contender, shape, taken, process.memory());
            }
        }
    }
    report.print();
    Ok(if report.far_over() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn only(name: &str) -> bool {
    name == "floor" || env::var("ONLY").map_or(true, |only| only.split(',').any(|one| one == name))
}

/// A number from the environment.
fn setting<T: std::str::FromStr>(name: &str, default: T) -> Fallible<T> {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .map_err(|_| format!("{name} is no number: {text}").into()),
        Err(_) => Ok(default),
    }
}
