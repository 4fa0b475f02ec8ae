//! What a count costs: of a prompt, of a megabyte of prose, and of a megabyte of what merges slowly.
//!
//! ```sh
//! cargo bench --bench tokens --features tokens
//! ```
//!
//! Fails if a megabyte of anything takes longer than 50 ms.

mod measure;

use measure::nanos;
use std::{env, fs, hint::black_box, process::ExitCode};
use tokio::time::Instant;
use tower_gateway::llm::{
    ChatRequest,
    tokens::{self, Encoding, ModelTokenizer, Tokenizer},
};

const MEGABYTE: usize = 1_000_000;
const MOST_MILLIS: f64 = 50.0;

const PROSE: &str = "The quick brown fox jumps over the lazy dog, and then it doesn't come back \
    until 10:45; so we're done here.\n";

/// Texts that cost more than prose, a megabyte each.
fn slow() -> Vec<(&'static str, String)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u32::try_from(state % below).unwrap_or_default()
    };
    let base64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let base64 = (0..MEGABYTE).map(|_| char::from(base64[random(64) as usize]));
    let base64 = base64.collect();
    let letters = (0..MEGABYTE).map(|_| char::from(b'a' + random(26) as u8));
    let letters = letters.collect();
    let han = (0..MEGABYTE / 3).filter_map(|_| char::from_u32(0x4e00 + random(20_000)));
    let han = han.collect();
    let words = (0..MEGABYTE).map(|at| match at % 9 {
        0 => ' ',
        _ => char::from(b'a' + random(26) as u8),
    });
    let words = words.collect();
    let run = |text: &str| text.repeat(MEGABYTE / text.len());
    vec![
        ("base64", base64),
        ("letters", letters),
        ("words of random letters", words),
        ("Han characters", han),
        ("a run of a", run("a")),
        ("a run of A", run("A")),
        ("a run of spaces", run(" ")),
        ("spaces before a word", run(" ") + "x"),
        ("a run of tabs", run("\t")),
        ("spaces and newlines", run(" \n")),
        ("a run of emoji", run("😀")),
        ("families", run("👨\u{200d}👩\u{200d}👧")),
        ("zero-width joiners", run("\u{200d}")),
        ("combining marks", run("\u{301}")),
        ("a run of one Han character", run("中")),
        ("punctuation", run("!")),
        ("apostrophes", run("'")),
        ("digits", run("1")),
        ("upper and lower case", run("aB")),
        ("Cuneiform", run("\u{12000}\u{12345}")),
    ]
}

fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // `cargo test --benches` only wants to see that it starts.
    if !env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let mut too_slow = 0;
    for encoding in [Encoding::O200k, Encoding::Cl100k] {
        let (before, start) = (resident().unwrap_or_default(), Instant::now());
        encoding.preload();
        let (took, kept) = (start.elapsed(), resident().unwrap_or_default() - before);
        println!(
            "{encoding:?}: loaded in {} ms, keeps {kept} KB",
            took.as_millis()
        );
        let megabyte = PROSE.repeat(MEGABYTE / PROSE.len());
        for (name, text) in [
            ("1 KB of prose", &megabyte[..1024]),
            ("1 MB of prose", &megabyte),
        ] {
            let nanos = nanos(async || {
                black_box(encoding.count(black_box(text)).ok());
            });
            let micros = nanos.await / 1e3;
            println!("  {name:<36}{micros:>10.1} µs");
        }
        for (name, text) in slow() {
            let mut best = f64::MAX;
            let mut count = None;
            for _ in 0..10 {
                let start = Instant::now();
                count = encoding.count(black_box(&text)).ok();
                best = best.min(start.elapsed().as_secs_f64() * 1e3);
            }
            too_slow += usize::from(best > MOST_MILLIS);
            let (tokens, exact) =
                count.map_or((0, false), |count| (count.tokens, count.is_exact()));
            let said = if exact { "exact" } else { "estimated" };
            println!("  1 MB: {name:<30}{best:>10.1} ms {tokens:>9} tokens, {said}");
        }
    }
    println!("requests of 1 KB");
    for model in ["gpt-4o", "claude-sonnet-4-5"] {
        let request = ChatRequest::new().for_model(model).system("You are terse.");
        let request = request.user(PROSE.repeat(10));
        let chat = nanos(async || {
            black_box(tokens::count(black_box(&request)).ok());
        });
        println!("  {model:<36}{:>10.1} µs", chat.await / 1e3);
    }
    let look = nanos(async || {
        black_box(ModelTokenizer::of(black_box("gpt-4o-mini-2024-07-18")));
    });
    println!(
        "  {:<36}{:>10.1} µs",
        "to find the encoding of a model",
        look.await / 1e3
    );
    if too_slow > 0 {
        println!("{too_slow} took longer than {MOST_MILLIS} ms");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
