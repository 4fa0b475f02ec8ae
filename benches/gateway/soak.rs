//! Thousands of slow streams at once: memory must not grow while they last.

use crate::{
    Fallible,
    contender::Contender,
    load::{Connection, request},
    process::Process,
    setting,
};
use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// How much the mean of the last third of the samples may be above that of the first.
const GROWTH: f64 = 1.10;
/// How many streams are begun in a second.
const RAMP: usize = 500;

pub(crate) async fn run() -> Fallible<ExitCode> {
    let streams: usize = setting("STREAMS", 5_000)?;
    let seconds: usize = setting("SECONDS", 60)?;
    let contender = Contender::chosen().unwrap_or(Contender::Gateway);
    let mock = Process::start("mock", None, 1).await?;
    let (process, _) = contender.start(mock.address).await?;
    println!(
        "{}: {streams} streams, an event each second",
        contender.name()
    );
    println!("idle: {:.1} MB", megabytes(&process));

    let events = streams / RAMP + seconds + 30;
    let bytes: Arc<[u8]> = request(
        contender.path(),
        1 << 10,
        true,
        &format!("events={events},pace=1000"),
    )
    .into();
    let seen = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for begun in 0..streams {
        if begun % (RAMP / 20) == 0 {
            sleep(Duration::from_millis(50)).await;
        }
        let mut connection = Connection::open(process.address)
            .await
            .map_err(|error| format!("stream {begun}: {error}; see `ulimit -n`"))?;
        let (bytes, seen) = (bytes.clone(), seen.clone());
        tasks.spawn(async move {
            connection.send(&bytes).await?;
            loop {
                // Silence is a stream that was lost.
                let more = timeout(Duration::from_secs(15), connection.more()).await?;
                if more?.windows(5).any(|five| five == b"data:") {
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            }
            #[allow(unreachable_code)]
            Fallible::Ok(())
        });
    }
    // The last ones begin, and buffers find their size.
    sleep(Duration::from_secs(5)).await;

    let start = Instant::now();
    let mut samples = Vec::new();
    let mut before = seen.load(Ordering::Relaxed);
    while start.elapsed() < Duration::from_secs(seconds as u64) {
        sleep(Duration::from_secs(5)).await;
        if let Some(ended) = tasks.try_join_next() {
            ended??;
        }
        let now = seen.load(Ordering::Relaxed);
        samples.push(megabytes(&process));
        println!(
            "{:>4} s: {:>7.1} MB, {:>6.0} events/s, {:>6} files",
            start.elapsed().as_secs(),
            megabytes(&process),
            (now - before) as f64 / 5.0,
            process.files(),
        );
        before = now;
    }
    tasks.shutdown().await;
    sleep(Duration::from_secs(2)).await;
    println!(
        "after: {:.1} MB, {} files",
        megabytes(&process),
        process.files()
    );

    let third = (samples.len() / 3).max(1);
    let mean = |samples: &[f64]| samples.iter().sum::<f64>() / samples.len() as f64;
    let (first, last) = (
        mean(&samples[..third]),
        mean(&samples[samples.len() - third..]),
    );
    let grew = last / first;
    println!(
        "the last third against the first: {:+.1} %",
        (grew - 1.0) * 100.0
    );
    if grew > GROWTH || process.files() > streams / 10 + 100 {
        println!("FAILED: memory or connections grow");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn megabytes(process: &Process) -> f64 {
    process.memory() as f64 / f64::from(1 << 20)
}
