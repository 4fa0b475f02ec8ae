//! No input takes the square of its length, however hostile.
//!
//! Eight times as much of the same may take thrice as long as eight times the work: a square takes 64
//! times. What is measured is how long the thread was on a processor, where the system tells that, and
//! the clock where it does not; so this belongs on a machine that does little else, and is not among the
//! tests of every day.

mod answers;
mod requests;

use super::{catalog, form};
use std::{env, fs, time::Duration};
use tokio::time::Instant;

const SHORT: usize = 32 << 10;
const TIMES: usize = 8;
/// What a machine may do besides.
const SLACK: Duration = Duration::from_millis(30);

/// Something that can be had in any length.
struct Hostile {
    name: &'static str,
    head: &'static str,
    /// Again and again; `#` stands for a number that is counted up, `~` for one that is counted down.
    again: &'static str,
    /// The same as often, behind it.
    then: &'static str,
    tail: &'static str,
}

const fn of(name: &'static str, [head, again, tail]: [&'static str; 3]) -> Hostile {
    Hostile {
        name,
        head,
        again,
        then: "",
        tail,
    }
}

impl Hostile {
    fn of_length(&self, length: usize) -> Vec<u8> {
        let once = self.again.len() + self.then.len();
        let count = length / once.max(1);
        let mut text = String::with_capacity(length * 2);
        text.push_str(self.head);
        for part in [self.again, self.then] {
            for number in 0..count {
                let down = count - 1 - number;
                for piece in part.split_inclusive(['#', '~']) {
                    match piece.strip_suffix('#') {
                        Some(plain) => text.extend([plain, &number.to_string()]),
                        None => match piece.strip_suffix('~') {
                            Some(plain) => text.extend([plain, &down.to_string()]),
                            None => text.push_str(piece),
                        },
                    }
                }
            }
        }
        text.push_str(self.tail);
        text.into_bytes()
    }
}

/// How long this thread had a processor.
fn worked() -> Option<Duration> {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = told.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos)).filter(|worked| !worked.is_zero())
}

/// What it takes to read it so many times.
fn cost(run: impl Fn(&[u8]), input: &[u8], times: usize) -> Duration {
    let once = || {
        let (start, before) = (Instant::now(), worked());
        for _ in 0..times {
            run(input);
        }
        match (before, worked()) {
            (Some(before), Some(after)) => after - before,
            _ => start.elapsed(),
        }
    };
    (0..3).map(|_| once()).min().unwrap_or_default()
}

/// What of all takes too long.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn hold(&mut self, who: &str, hostile: &Hostile, run: impl Fn(&[u8])) {
        let (short, long) = (hostile.of_length(SHORT), hostile.of_length(SHORT * TIMES));
        run(&short[..short.len().min(100)]);
        // As many bytes of both: the system may tell the time of a processor by ticks of some milliseconds.
        let (few, many) = (cost(&run, &short, TIMES), cost(&run, &long, 1));
        let most = few * 3 + SLACK;
        println!("{who}: {}: {few:?}, {many:?}", hostile.name);
        if many > most {
            self.0
                .push(format!("{who}: {}: {few:?}, {many:?}", hostile.name));
        }
    }

    #[track_caller]
    fn none(&self) {
        assert!(self.0.is_empty(), "\n{}", self.0.join("\n"));
    }
}

/// They take minutes of a quiet machine, and so only run where somebody asks for them.
fn asked() -> bool {
    let asked = env::var_os("GROWTH").is_some();
    if !asked {
        eprintln!("skipped: it takes minutes; GROWTH=1 runs it");
    }
    asked
}

#[test]
fn no_form_takes_the_square_of_its_length() {
    if !asked() {
        return;
    }
    let mut faults = Faults::default();
    let all = [
        of(
            "parts",
            [
                "",
                "--b\r\nContent-Disposition: form-data; name=\"a#\"\r\n\r\nb\r\n",
                "--b--",
            ],
        ),
        of(
            "a file",
            [
                "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n",
                "a",
                "\r\n--b--",
            ],
        ),
        of(
            "what is nearly a boundary",
            ["--b\r\n\r\n", "\r\n--", "\r\n--b--"],
        ),
        of("spaces", ["--b", " ", "\r\n"]),
        of(
            "heads",
            [
                "",
                "--b\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\n\r\n\r\n",
                "--b--",
            ],
        ),
        of(
            "parameters",
            [
                "--b\r\nContent-Disposition: form-data",
                "; name=\"\\\"\"",
                "\r\n\r\n",
            ],
        ),
        of("an end", ["--b--", "\r\n--b", ""]),
    ];
    for hostile in &all {
        for seed in [7, 0, 1] {
            faults.hold(&format!("form {seed}"), hostile, |text| {
                form::check(&[&[0, seed], text].concat());
            });
        }
    }
    faults.none();
}

#[test]
fn no_catalog_takes_the_square_of_its_length() {
    if !asked() {
        return;
    }
    let mut faults = Faults::default();
    let all = [
        of(
            "models",
            [
                "{\"vendor\":\"v\",\"models\":[{\"id\":\"m\"}",
                ",{\"id\":\"m#\"}",
                "]}",
            ],
        ),
        of(
            "one model",
            [
                "{\"vendor\":\"v\",\"models\":[{\"id\":\"m\"}",
                ",{\"id\":\"m\"}",
                "]}",
            ],
        ),
        of(
            "aliases",
            [
                "{\"vendor\":\"v\",\"models\":[{\"id\":\"m\",\"aliases\":[\"a\"",
                ",\"a#\"",
                "]}]}",
            ],
        ),
        of(
            "tiers",
            [
                "{\"vendor\":\"v\",\"models\":[{\"id\":\"m\",\"price\":{\"tiers\":[{\"above\":1}",
                ",{\"above\":2#}",
                "]}}]}",
            ],
        ),
        of(
            "fields",
            [
                "{\"vendor\":\"v\",\"models\":[{\"id\":\"m\"",
                ",\"k#\":1",
                "}]}",
            ],
        ),
        of("deep", ["{\"models\":", "[", ""]),
        of(
            "likenesses",
            [
                "{\"vendor\":\"v\",\"models\":[{\"id\":\"m\"}",
                ",{\"id\":\"m#\",\"like\":\"openai/gpt-4o\"}",
                "]}",
            ],
        ),
    ];
    for hostile in &all {
        faults.hold("catalog", hostile, catalog::check);
    }
    faults.none();
}
