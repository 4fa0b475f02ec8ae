//! Eight processes and one Redis: together they let in what is granted, to the last call, and when Redis
//! dies they do what was declared.

use crate::{Answer, plain, redis_server::RedisServer};
use http::Request;
use std::{
    collections::BTreeMap,
    env,
    io::Read,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{task::JoinSet, time::Instant};
use tower::{Layer, ServiceExt};
use tower_gateway::{
    key::ByHeader,
    rate_limit::{OnStoreDown, Quota, RateLimitLayer, RedisStore, Store, Take, Taken},
    storage::Pending,
};

const PROCESSES: u64 = 8;
const KEYS: u64 = 50;
const CALLS: u64 = 200_000;
const WINDOW: u64 = 1000;
/// Calls at once, in each process.
const TASKS: u64 = 16;
const TIMEOUT: Duration = Duration::from_secs(1);
/// What a busy machine adds to it.
const SLACK: Duration = Duration::from_millis(1500);

/// A fixed window of [`WINDOW`] in so many seconds, and what GCRA grants.
const SECONDS: u64 = 20;
const RATE: u64 = 20;
const BURST: u64 = 40;

pub(crate) fn is_worker() -> bool {
    env::var_os("EXACT_WORKER").is_some()
}

fn quota(kind: &str) -> Quota {
    match kind {
        "window" => Quota::per(WINDOW, Duration::from_secs(SECONDS)).fixed_window(),
        _ => Quota::per_second(RATE).burst(BURST),
    }
}

/// What Redis said of one key in one window: calls, those that fitted, and when the first and the last of
/// these were.
#[derive(Clone, Copy, Debug)]
struct Said {
    calls: u64,
    fitted: u64,
    first: u64,
    last: u64,
}

impl Said {
    const NOTHING: Self = Self {
        calls: 0,
        fitted: 0,
        first: u64::MAX,
        last: 0,
    };

    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.fitted += other.fitted;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

type Book = BTreeMap<(String, u64), Said>;

/// Redis, and a record of what it said.
struct Recorded {
    redis: RedisStore,
    window: bool,
    book: Arc<Mutex<Book>>,
}

impl Store for Recorded {
    fn take(&self, take: Take) -> Pending<'_, Taken> {
        Box::pin(async move {
            let bucket = take.bucket().to_owned();
            let taken = self.redis.take(take).await?;
            let now = taken.now();
            for (fits, state) in taken.buckets() {
                // By the clock, and not by what the script says of it.
                let window = if self.window {
                    now - now % (SECONDS * 1_000_000)
                } else {
                    0
                };
                assert!(
                    !self.window || !fits || state.numbers()[0] == window,
                    "{now}: {state:?}"
                );
                let fitted = u64::from(fits);
                let said = Said {
                    calls: 1,
                    fitted,
                    first: if fits { now } else { u64::MAX },
                    last: if fits { now } else { 0 },
                };
                let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
                let entry = book.entry((bucket.clone(), window));
                entry.or_insert(Said::NOTHING).add(said);
            }
            Ok(taken)
        })
    }
}

/// Of each tenth of a second since 1970: answers of 200, 429, 503 and others.
type Times = BTreeMap<u64, [u64; 4]>;

fn tenth() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64 / 100)
}

/// One of the processes: calls as fast as it can, and tells what came of it.
pub(crate) async fn work() {
    let get = |name: &str| env::var(name).unwrap_or_default();
    let number = |name: &str| get(name).parse::<u64>().unwrap_or(0);
    let kind = get("EXACT_WORKER");
    let (calls, seconds) = (number("EXACT_CALLS"), number("EXACT_SECONDS"));
    let Ok(redis) = RedisStore::new(get("EXACT_URL")) else {
        panic!("not a URL");
    };
    let down = match &*get("EXACT_DOWN") {
        "allow" => OnStoreDown::Allow,
        "deny" => OnStoreDown::Deny,
        _ => OnStoreDown::LocalFallback {
            fraction: 1.0 / PROCESSES as f64,
        },
    };
    let book = Arc::new(Mutex::new(Book::new()));
    let store = Recorded {
        redis,
        window: kind == "window",
        book: book.clone(),
    };
    let layer = RateLimitLayer::new(quota(&kind))
        .key(ByHeader::new("x-key"))
        .shared("exact", store, down)
        .timeout(TIMEOUT)
        .pause(Duration::from_millis(200));
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let service = layer.layer(plain());
        tasks.spawn(async move {
            let (mut times, mut slowest) = (Times::new(), Duration::ZERO);
            let share = calls / TASKS + u64::from(task < calls % TASKS);
            for call in 0.. {
                if (calls > 0 && call >= share) || (calls == 0 && Instant::now() >= end) {
                    break;
                }
                let key = (call * TASKS + task) % KEYS;
                let request = Request::get("/").header("x-key", format!("key-{key}"));
                let Ok(request) = request.body(()) else {
                    panic!("no request");
                };
                let start = Instant::now();
                let answer: Answer = service.clone().oneshot(request).await;
                slowest = slowest.max(start.elapsed());
                let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
                let column = match status {
                    200 => 0,
                    429 => 1,
                    503 => 2,
                    _ => 3,
                };
                times.entry(tenth()).or_default()[column] += 1;
                if calls == 0 {
                    // Faster than anybody is let in, and slowly enough for eight of them.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            (times, slowest)
        });
    }
    let (mut times, mut slowest) = (Times::new(), Duration::ZERO);
    for (some, slow) in tasks.join_all().await {
        slowest = slowest.max(slow);
        for (tenth, counts) in some {
            add(&mut times, tenth, counts);
        }
    }
    println!("slowest {}", slowest.as_millis());
    for (tenth, [ok, refused, down, other]) in times {
        println!("time {tenth} {ok} {refused} {down} {other}");
    }
    let book = book.lock().unwrap_or_else(PoisonError::into_inner);
    for ((bucket, window), said) in &*book {
        let Said {
            calls,
            fitted,
            first,
            last,
        } = said;
        println!("said {bucket} {window} {calls} {fitted} {first} {last}");
    }
}

fn add(times: &mut Times, tenth: u64, counts: [u64; 4]) {
    let all = times.entry(tenth).or_default();
    for (all, count) in all.iter_mut().zip(counts) {
        *all += count;
    }
}

/// What all processes told.
#[derive(Default)]
struct Report {
    slowest: Duration,
    times: Times,
    book: Book,
}

impl Report {
    fn read(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split(' ');
            let kind = words.next().unwrap_or_default();
            let bucket = if kind == "said" { words.next() } else { None };
            let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
            match (kind, bucket, &numbers[..]) {
                ("slowest", _, [millis]) => {
                    self.slowest = self.slowest.max(Duration::from_millis(*millis));
                }
                ("time", _, [tenth, ok, refused, down, other]) => {
                    add(&mut self.times, *tenth, [*ok, *refused, *down, *other]);
                }
                ("said", Some(bucket), [window, calls, fitted, first, last]) => {
                    let entry = self.book.entry((bucket.to_owned(), *window));
                    entry.or_insert(Said::NOTHING).add(Said {
                        calls: *calls,
                        fitted: *fitted,
                        first: *first,
                        last: *last,
                    });
                }
                _ => panic!("a process said: {line}"),
            }
        }
    }

    fn sum(&self, times: impl Fn(u64) -> bool) -> [u64; 4] {
        let mut sum = [0; 4];
        for (_, counts) in self.times.iter().filter(|(tenth, _)| times(**tenth)) {
            for (sum, count) in sum.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        sum
    }
}

fn start(url: &str, kind: &str, down: &str, calls: u64, seconds: u64) -> Vec<Child> {
    let Ok(program) = env::current_exe() else {
        panic!("no program");
    };
    let process = |_| {
        let child = Command::new(&program)
            .env("EXACT_WORKER", kind)
            .env("EXACT_URL", url)
            .env("EXACT_DOWN", down)
            .env("EXACT_CALLS", (calls / PROCESSES).to_string())
            .env("EXACT_SECONDS", seconds.to_string())
            .stdout(Stdio::piped())
            .spawn();
        child.unwrap_or_else(|error| panic!("no process: {error}"))
    };
    (0..PROCESSES).map(process).collect()
}

fn finish(children: Vec<Child>) -> Report {
    let mut report = Report::default();
    for mut child in children {
        let mut text = String::new();
        let read = child
            .stdout
            .take()
            .map(|mut out| out.read_to_string(&mut text));
        assert!(matches!(read, Some(Ok(_))), "a process says nothing");
        let status = child.wait().map(|status| status.success());
        assert!(matches!(status, Ok(true)), "a process failed: {status:?}");
        report.read(&text);
    }
    report
}

pub(crate) fn run() {
    let Some(mut server) = RedisServer::start() else {
        return;
    };
    window(&server);
    let _ = server.restart();
    gcra(&server);
    for down in ["deny", "allow", "fallback"] {
        let _ = server.restart();
        killed(&mut server, down);
    }
}

fn window(server: &RedisServer) {
    let report = finish(start(&server.url(), "window", "deny", CALLS, 0));
    let [ok, refused, down, other] = report.sum(|_| true);
    let fitted: u64 = report.book.values().map(|said| said.fitted).sum();
    println!(
        "fixed window of {WINDOW} in {SECONDS} s, {KEYS} keys, {PROCESSES} processes, {CALLS} calls: \
         {ok} passed, {refused} refused, {down} without Redis; slowest {:?}",
        report.slowest
    );
    assert_eq!(ok + refused + down + other, CALLS);
    assert_eq!(
        (other, ok),
        (0, fitted),
        "what Redis lets in is let in, and nothing else"
    );
    let mut full = 0;
    for ((bucket, window), said) in &report.book {
        assert!(said.fitted <= WINDOW, "{bucket} {window}: {said:?}");
        if said.calls >= WINDOW {
            full += 1;
            assert!(
                said.fitted * 100 >= WINDOW * 99,
                "{bucket} {window}: {said:?}"
            );
        }
    }
    println!("  {full} windows were used up, none by one call too many or 1 % too few");
    assert!(full >= KEYS, "no demand");
    assert!(report.slowest <= TIMEOUT + SLACK);
}

fn gcra(server: &RedisServer) {
    let report = finish(start(&server.url(), "gcra", "deny", 0, 6));
    let (mut most, mut granted) = (0, 0);
    for ((bucket, _), said) in &report.book {
        // In microseconds, and so rounded down.
        let elapsed = said.last.saturating_sub(said.first);
        let bound = BURST + elapsed * RATE / 1_000_000;
        assert!(said.fitted <= bound, "{bucket}: {said:?} of {bound}");
        most += bound;
        granted += said.fitted;
    }
    let [_, refused, down, _] = report.sum(|_| true);
    println!(
        "GCRA, {RATE} a second and {BURST} at once: {granted} of {most} passed, {refused} refused, {down} \
         without Redis; slowest {:?}",
        report.slowest
    );
    assert!(
        granted * 100 >= most * 99 || refused == 0,
        "less than was granted"
    );
    assert!(report.slowest <= TIMEOUT + SLACK);
}

/// Redis is killed after two seconds, and started again after two more.
fn killed(server: &mut RedisServer, down: &str) {
    let children = start(&server.url(), "gcra", down, 0, 9);
    thread::sleep(Duration::from_secs(2));
    let dead = tenth();
    server.kill();
    thread::sleep(Duration::from_secs(2));
    let again = tenth();
    assert!(server.restart(), "it does not start");
    let report = finish(children);
    // A call that had begun may end as if nothing had been; a machine may be slow to notice.
    let [ok, refused, denied, other] = report.sum(|tenth| tenth > dead + 5 && tenth < again);
    println!(
        "Redis killed, {down}: {ok} passed, {refused} refused, {denied} denied meanwhile; slowest {:?}",
        report.slowest
    );
    match down {
        "deny" => assert!(denied > 0 && (ok, refused, other) == (0, 0, 0)),
        "allow" => assert!(ok > 0 && (refused, denied, other) == (0, 0, 0)),
        _ => {
            // An eighth of each quota in each process: together no more than it all, and the grain of
            // one unit each.
            let seconds = (again - dead) / 10 + 1;
            let most = KEYS * (PROCESSES * (BURST / PROCESSES + 1) + RATE * seconds);
            assert!(ok > 0 && ok <= most && refused > 0, "{ok} of {most}");
            assert_eq!((denied, other), (0, 0));
        }
    }
    let [ok, refused, denied, _] = report.sum(|tenth| tenth > again + 25);
    assert!(
        ok > 0 && refused > 0 && denied == 0,
        "it is back: {ok} {refused} {denied}"
    );
    assert!(report.slowest <= TIMEOUT + SLACK);
}
