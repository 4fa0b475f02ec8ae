//! Three vendors, of which one fails in each way in turn, and what clients get through a pool of them.
//!
//! `CHAOS=1` makes 20,000 requests of it, with a stall limit of 2 seconds; without it there are about 2,000, with
//! shorter times. Half of them are streams. Each vendor is asked twice if need be, and each exchange may make four
//! calls in all, where three vendors could be asked six times.
//!
//! # What is counted
//!
//! | | is |
//! |---|---|
//! | whole | an answer that is the script of its question to the letter |
//! | broken off | a stream that had begun when its vendor stalled or was cut: a part of the script, one error event, and the end. Nobody can take such an answer over without saying something twice |
//! | failed | anything else |
//!
//! Of those that were not broken off 99.9 % must be whole. The end of one that was broken off counts against the
//! circuit of its vendor, so there are no more than open that, those that are out meanwhile, and its probes each time
//! that it is half open, which is counted.

use crate::directory::call;
use futures_util::FutureExt;
use http::Request;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    env,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower_gateway::{
    Body, Exchange,
    circuit_breaker::{CircuitBreakerLayer, State},
    deadline::Deadline,
    gateway::{Gateway, GatewayService},
    llm::{
        Provider,
        pool::{Entry, Handle, Pool, Strategy},
    },
    retry::RetryLayer,
    testing::{MockVendor, Recorded, Reply, Script, Turn, Vendor},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Well,
    ServerError,
    RateLimited,
    Refused,
    Silent,
    Stalled,
    Cut,
    Malformed,
    Slow,
}

const MODES: [Mode; 8] = [
    Mode::ServerError,
    Mode::RateLimited,
    Mode::Refused,
    Mode::Silent,
    Mode::Stalled,
    Mode::Cut,
    Mode::Malformed,
    Mode::Slow,
];

/// How it is run.
#[derive(Clone, Copy)]
struct Plan {
    /// In each way for each vendor.
    requests: usize,
    /// How many of the vendors fail in each way, one after the other.
    vendors: usize,
    at_once: usize,
    /// How long an answer may be silent.
    stall: Duration,
    /// How long a vendor is left alone.
    cool_down: Duration,
}

const SMALL: Plan = Plan {
    requests: 240,
    vendors: 1,
    at_once: 8,
    stall: Duration::from_millis(300),
    cool_down: Duration::from_millis(200),
};

const LONG: Plan = Plan {
    requests: 834,
    vendors: 3,
    at_once: 32,
    stall: Duration::from_secs(2),
    cool_down: Duration::from_secs(1),
};

/// How many failures open a circuit.
const OPENS_AFTER: u16 = 5;
const PROBES: u16 = 2;
/// How many calls an exchange may make.
const ATTEMPTS: u32 = 4;

/// What is answered to a question, which is its number.
fn script(question: &str) -> String {
    let words = (0..12).map(|nth| format!("{question}-{nth}"));
    words.collect::<Vec<_>>().join(" ")
}

/// What comes next of a vendor in this mode.
fn turn(mode: Mode, plan: Plan, request: &Recorded) -> Turn {
    let body = request.json();
    let question = body["messages"][0]["content"].as_str().unwrap_or_default();
    let says = Turn::text(script(question));
    let streams = body["stream"] == true;
    match mode {
        Mode::Well | Mode::Refused => says,
        Mode::ServerError => Turn::server_error(),
        Mode::RateLimited => Turn::rate_limited(plan.cool_down),
        Mode::Silent => Turn::reply(Reply::silent()),
        // Behind the first tokens of a stream, and in the middle of a document.
        Mode::Stalled => says.on_wire(move |reply| {
            let half = reply.body().len() / 2;
            reply.stall_after(half)
        }),
        Mode::Cut => says.on_wire(move |reply| {
            let half = reply.body().len() / 2;
            reply.cut_after(half)
        }),
        Mode::Malformed if streams && question.ends_with('4') => Turn::reply(Reply::bytes(
            200,
            "text/event-stream",
            "data: {\"choices\":[{\"index\":\n\n",
        )),
        Mode::Malformed => Turn::reply(Reply::bytes(200, "text/html", "<html>Welcome</html>")),
        Mode::Slow => says.on_wire(move |reply| reply.delay(plan.stall / 4)),
    }
}

/// A vendor whose manners can be changed, and that can be away.
struct Odd {
    name: &'static str,
    mode: Arc<Mutex<Mode>>,
    plan: Plan,
    address: SocketAddr,
    server: Option<MockVendor>,
    circuit: CircuitBreakerLayer,
}

impl Odd {
    async fn start(name: &'static str, plan: Plan) -> Self {
        let mode = Arc::new(Mutex::new(Mode::Well));
        let server = Vendor::new(Self::script(&mode, plan))
            .start()
            .await
            .unwrap();
        Self {
            name,
            mode,
            plan,
            address: server.address(),
            server: Some(server),
            circuit: CircuitBreakerLayer::new()
                .window(20)
                .minimum_calls(OPENS_AFTER)
                .probes(PROBES)
                .cool_down(plan.cool_down),
        }
    }

    fn script(mode: &Arc<Mutex<Mode>>, plan: Plan) -> impl Script<Turn> + use<> {
        let mode = mode.clone();
        move |request: &Recorded| turn(*mode.lock().unwrap(), plan, request)
    }

    async fn behave(&mut self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
        if mode == Mode::Refused {
            self.server = None;
        } else if self.server.is_none() {
            let vendor = Vendor::new(Self::script(&self.mode, self.plan));
            self.server = Some(vendor.start_at(self.address).await.unwrap());
        }
    }

    fn entry(&self) -> Entry {
        let url = format!("http://{}/v1", self.address);
        let provider = Provider::custom(self.name, url).unwrap().model("m");
        // Who asks for longer is left to the others.
        let again = RetryLayer::new()
            .retries(1)
            .longest_wait(Duration::from_millis(50));
        Entry::new(provider)
            .name(self.name)
            .circuit(self.circuit.clone())
            .layer(&again)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Whole,
    BrokenOff,
    Failed,
}

/// What a client saw, and how long went by before the call that answered it.
struct Told {
    seen: Seen,
    attempts: u32,
    lost: Duration,
}

async fn ask(gateway: &GatewayService, number: usize) -> Told {
    let streams = number.is_multiple_of(2);
    let question = format!("q{number}");
    let body = json!({
        "model": "fast",
        "stream": streams,
        "messages": [{"role": "user", "content": question}],
    });
    let mut request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let exchange = Exchange::enter(&mut request);
    let deadline = Deadline::new().attempts(ATTEMPTS);
    request.extensions_mut().insert(deadline);
    let (status, _, body) = call(gateway, request).await;
    let expected = script(&question);
    let seen = match status.as_u16() {
        200 if streams => streamed(&body, &expected),
        200 => {
            let answer: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(answer["choices"][0]["message"]["content"], *expected);
            Seen::Whole
        }
        _ => Seen::Failed,
    };
    let facts = exchange.facts();
    let tries = facts.candidates.iter();
    let mut began = tries
        .filter_map(|one| one.attempt.as_ref())
        .map(|one| one.began);
    let first = began.next().unwrap_or_default();
    let lost = began.next_back().unwrap_or(first) - first;
    Told {
        seen,
        attempts: facts.attempts,
        lost,
    }
}

/// Judges a stream: whole, or a part of what was to be said and one error.
fn streamed(body: &str, expected: &str) -> Seen {
    assert!(body.ends_with("\n\n"), "half an event: {body:?}");
    let events = body.split("\n\n").filter(|event| !event.is_empty());
    let (mut said, mut errors, mut done) = (String::new(), 0, 0);
    for event in events {
        let data = event
            .strip_prefix("data: ")
            .unwrap_or_else(|| panic!("{event:?}"));
        if data == "[DONE]" {
            done += 1;
            continue;
        }
        assert_eq!(done, 0, "something after the end: {body}");
        let event: Value = serde_json::from_str(data).unwrap();
        if event.get("error").is_some() {
            errors += 1;
            continue;
        }
        assert_eq!(errors, 0, "something after the error: {body}");
        if let Some(text) = event["choices"][0]["delta"]["content"].as_str() {
            said.push_str(text);
        }
    }
    match errors {
        0 => {
            assert_eq!((&*said, done), (expected, 1));
            Seen::Whole
        }
        1 => {
            assert!(expected.starts_with(&said), "{said:?} of {expected:?}");
            assert!(
                !said.is_empty(),
                "nothing was said: it should have fallen over"
            );
            Seen::BrokenOff
        }
        _ => panic!("{errors} errors: {body}"),
    }
}

#[derive(Default)]
struct Sum {
    whole: usize,
    broken_off: usize,
    failed: usize,
    attempts: u32,
    most: u32,
    lost: Vec<Duration>,
}

impl Sum {
    fn add(&mut self, told: &Told) {
        match told.seen {
            Seen::Whole => self.whole += 1,
            Seen::BrokenOff => self.broken_off += 1,
            Seen::Failed => self.failed += 1,
        }
        self.attempts += told.attempts;
        self.most = self.most.max(told.attempts);
        if !told.lost.is_zero() {
            self.lost.push(told.lost);
        }
    }

    fn lost(&mut self, percent: usize) -> Duration {
        self.lost.sort_unstable();
        let at = (self.lost.len() * percent / 100).min(self.lost.len().saturating_sub(1));
        self.lost.get(at).copied().unwrap_or_default()
    }
}

/// So many questions, so many at once.
async fn asked(gateway: &GatewayService, numbers: std::ops::Range<usize>, at_once: usize) -> Sum {
    let next = Arc::new(Mutex::new(numbers));
    let clients = (0..at_once).map(|_| {
        let (gateway, next) = (gateway.clone(), next.clone());
        tokio::spawn(async move {
            let mut all = Vec::new();
            loop {
                let Some(number) = next.lock().unwrap().next() else {
                    return all;
                };
                all.push(ask(&gateway, number).await);
            }
        })
    });
    let mut sum = Sum::default();
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap().iter().for_each(|told| sum.add(told));
    }
    sum
}

/// How long it takes until a vendor that is well again has answered.
async fn recovery(
    gateway: &GatewayService,
    handle: &Handle,
    name: &str,
    number: &mut usize,
) -> Duration {
    let good = |handle: &Handle| {
        let entry = handle.entry(name).unwrap();
        entry.calls - entry.failures
    };
    let (start, before) = (Instant::now(), good(handle));
    while good(handle) == before {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{name} gets nothing"
        );
        *number += 1;
        assert_eq!(ask(gateway, *number).await.seen, Seen::Whole);
        sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_pool_get_whole_answers_while_one_of_three_vendors_fails_in_any_way() {
    let plan = if env::var_os("CHAOS").is_some() {
        LONG
    } else {
        SMALL
    };
    let mut vendors = [
        Odd::start("a", plan).await,
        Odd::start("b", plan).await,
        Odd::start("c", plan).await,
    ];
    let pool = vendors.iter().map(Odd::entry).collect::<Pool>();
    let pool = pool
        .strategy(Strategy::Weighted)
        .first_content(plan.stall)
        .idle(plan.stall)
        .whole_within(plan.stall);
    let handle = pool.handle();
    let gateway = Gateway::builder().pool("fast", pool).build().unwrap();
    println!(
        "{:<14}{:>9}{:>9}{:>8}{:>12}{:>12}{:>12}{:>12}",
        "", "requests", "broken", "failed", "attempts", "lost p50", "lost p99", "back after"
    );
    let mut sums: BTreeMap<Mode, (Sum, Duration)> = BTreeMap::new();
    let mut number = 0;
    for (nth, mode) in MODES.into_iter().enumerate() {
        for vendor in 0..plan.vendors {
            let at = (nth + vendor) % 3;
            vendors[at].behave(mode).await;
            let mut changes = vendors[at].circuit.handle().changes();
            let numbers = number..number + plan.requests;
            number = numbers.end;
            let sum = asked(&gateway, numbers, plan.at_once).await;
            let mut half_open = 0;
            while let Some(Some(change)) = changes.changed().now_or_never() {
                half_open += usize::from(change.to() == State::HalfOpen);
            }
            let probes = usize::from(PROBES) * half_open;
            let most = usize::from(OPENS_AFTER) + plan.at_once + probes;
            assert!(
                sum.broken_off <= most,
                "{mode:?}: {} broke off, and {most} may have",
                sum.broken_off
            );
            vendors[at].behave(Mode::Well).await;
            let back = recovery(&gateway, &handle, vendors[at].name, &mut number).await;
            let stated = plan.cool_down + plan.stall + Duration::from_secs(1);
            assert!(back <= stated, "{mode:?}: back after {back:?}");
            let (all, longest) = sums.entry(mode).or_default();
            all.whole += sum.whole;
            all.broken_off += sum.broken_off;
            all.failed += sum.failed;
            all.attempts += sum.attempts;
            all.most = all.most.max(sum.most);
            all.lost.extend(sum.lost);
            *longest = back.max(*longest);
        }
    }
    let (mut whole, mut broken, mut failed) = (0, 0, 0);
    for (mode, (sum, back)) in &mut sums {
        let requests = sum.whole + sum.broken_off + sum.failed;
        let (median, tail) = (sum.lost(50), sum.lost(99));
        println!(
            "{:<14}{requests:>9}{:>9}{:>8}{:>12}{:>12.1?}{:>12.1?}{:>12.1?}",
            format!("{mode:?}"),
            sum.broken_off,
            sum.failed,
            sum.attempts,
            median,
            tail,
            back,
        );
        assert!(sum.most <= ATTEMPTS, "{mode:?}: {} attempts", sum.most);
        if !matches!(mode, Mode::Stalled | Mode::Cut) {
            assert_eq!(sum.broken_off, 0, "{mode:?}");
        }
        whole += sum.whole;
        broken += sum.broken_off;
        failed += sum.failed;
    }
    let success = whole as f64 / (whole + failed) as f64;
    let of_all = whole as f64 / (whole + broken + failed) as f64;
    println!(
        "{whole} whole, {broken} broken off, {failed} failed: {:.3} %, with those broken off {:.3} %",
        success * 100.0,
        of_all * 100.0
    );
    assert!(success >= 0.999, "{failed} failed");
    assert!(of_all >= 0.97, "{broken} broken off");
    for entry in handle.entries() {
        assert_eq!(entry.in_flight, 0, "{entry:?}");
    }
}
