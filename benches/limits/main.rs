//! What a decision of the limiter costs: in this process, and in Redis; and what a key weighs.
//!
//! ```sh
//! cargo bench --features rate-limit-redis --bench limits            # nanoseconds, microseconds, bytes
//! EXACT=1 cargo bench --features rate-limit-redis --bench limits    # eight processes count as one
//! ```
//!
//! Each figure is the best of many batches, so that other work on the machine disturbs it little. What
//! needs Redis starts `redis-server` from the path, and is skipped without it.

mod exact;
#[path = "../measure/mod.rs"]
mod measure;
#[path = "../../tests/support/redis.rs"]
mod redis_server;

use bytes::Bytes;
use http::{Request, Response};
use measure::{both, nanos};
use redis_server::RedisServer;
use std::{
    convert::Infallible,
    env, fs,
    future::{Ready, ready},
    process::Command,
    time::Duration,
};
use tokio::{task::JoinSet, time::Instant};
use tower::{Layer, Service, ServiceExt, service_fn, util::ServiceFn};
use tower_gateway::{
    Principal,
    principal::Limit,
    rate_limit::{Headers, MemoryStore, OnStoreDown, Quota, RateLimitLayer, RedisStore},
};

type Answer = Result<Response<Bytes>, Infallible>;
type Plain = ServiceFn<fn(Request<()>) -> Ready<Answer>>;

fn plain() -> Plain {
    service_fn(|_| ready(Ok(Response::new(Bytes::new()))))
}

fn request(principal: &Principal) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(principal.clone());
    request
}

async fn call(
    service: &mut impl Service<Request<()>, Response = Response<Bytes>>,
    who: &Principal,
) {
    let Ok(service) = service.ready().await else {
        panic!("not ready");
    };
    let Ok(answer) = service.call(request(who)).await else {
        panic!("no answer");
    };
    assert_eq!(answer.status(), 200);
}

/// What the layer adds to a call of nothing.
async fn in_process<L>(name: &str, layer: L, who: &Principal)
where
    L: Layer<Plain, Service: Service<Request<()>, Response = Response<Bytes>>>,
{
    let (mut base, mut limited) = (plain(), layer.layer(plain()));
    let (base, whole) = both(
        async || call(&mut base, who).await,
        async || call(&mut limited, who).await,
    )
    .await;
    println!("{name:<44}{:>10.0}", whole - base);
}

async fn decisions() {
    let plenty = 999_999_999_999;
    let second = || Quota::per_second(1_000_000_000);
    let (gcra, sliding, fixed) = (
        second(),
        Quota::per_second(plenty).sliding_window(),
        Quota::per_second(plenty).fixed_window(),
    );
    let alice = Principal::new("alice").with_tenant("acme");
    println!("{:<44}{:>10}", "added ns", "a call");
    // What is decided, and what it costs to tell callers of it.
    let one = |quota: &Quota| RateLimitLayer::new(quota.clone()).headers(Headers::Off);
    in_process("GCRA, by governor", one(&gcra), &alice).await;
    let telling = RateLimitLayer::new(gcra.clone());
    in_process("GCRA, with all headers", telling, &alice).await;
    let own = Limit::new("per-second", 1_000_000_000, Duration::from_secs(1));
    let limited = alice.clone().with_limits([own]);
    in_process("GCRA, a limit of one's own", one(&gcra), &limited).await;
    in_process("sliding window", one(&sliding), &alice).await;
    in_process("fixed window", one(&fixed), &alice).await;
    in_process("month", one(&Quota::per_month(plenty)), &alice).await;
    in_process("GCRA, in shadow mode", one(&gcra.clone().shadow()), &alice).await;
    let three = [gcra.clone(), sliding.clone(), fixed.clone()];
    let three = RateLimitLayer::all(three).headers(Headers::Off);
    in_process("all three, in one take", three, &alice).await;
    let shared =
        |quota: &Quota| one(quota).shared("bench", MemoryStore::new(1000), OnStoreDown::Deny);
    in_process("GCRA, shared in this process", shared(&gcra), &alice).await;
}

async fn in_redis(server: &RedisServer) {
    let plenty = 999_999_999_999;
    let quotas = [
        ("GCRA", vec![Quota::per_second(1_000_000_000)]),
        (
            "sliding window",
            vec![Quota::per_second(plenty).sliding_window()],
        ),
        (
            "fixed window",
            vec![Quota::per_second(plenty).fixed_window()],
        ),
        (
            "all three, in one script",
            vec![
                Quota::per_second(1_000_000_000),
                Quota::per_second(plenty).sliding_window(),
                Quota::per_second(plenty).fixed_window(),
            ],
        ),
    ];
    println!(
        "\n{:<44}{:>10}{:>14}",
        "Redis, µs", "a call", "of 64 at once"
    );
    for (name, quotas) in quotas {
        let Ok(store) = RedisStore::new(server.url()) else {
            panic!("not a URL: {}", server.url());
        };
        let fallback = OnStoreDown::LocalFallback { fraction: 0.125 };
        let layer = RateLimitLayer::all(quotas).shared(name, store, fallback);
        let layer = layer.timeout(Duration::from_secs(1));
        let alice = Principal::new("alice");
        let mut service = layer.layer(plain());
        let single = nanos(async || call(&mut service, &alice).await).await;
        const CALLS: u32 = 40_000;
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for task in 0..64 {
            let mut service = layer.layer(plain());
            let who = Principal::new(format!("caller-{task}"));
            tasks.spawn(async move {
                for _ in 0..CALLS / 64 {
                    call(&mut service, &who).await;
                }
            });
        }
        tasks.join_all().await;
        let crowd = start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS);
        println!("{name:<44}{:>10.1}{crowd:>14.1}", single / 1000.0);
        assert_eq!(layer.stats().without_store(), 0, "Redis was too slow");
    }
}

/// Resident bytes of this process.
fn resident() -> Option<usize> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// So many different keys, each once.
async fn flood<L>(layer: L, keys: u64)
where
    L: Layer<Plain, Service: Service<Request<()>, Response = Response<Bytes>>>,
{
    let mut service = layer.layer(plain());
    for key in 0..keys {
        let mut request = Request::new(());
        request.extensions_mut().insert(Key(key));
        let Ok(service) = service.ready().await else {
            panic!("not ready");
        };
        drop(service.call(request));
    }
}

#[derive(Clone, Copy)]
struct Key(u64);

/// What ten million keys take, by the gauge and by the operating system. Each case in a process of its
/// own: an allocator hands out again what it was given back.
fn memory() {
    println!(
        "\n{:<44}{:>10}{:>10}{:>12}",
        "10,000,000 keys", "kept", "gauge, B", "resident, B"
    );
    let Ok(program) = env::current_exe() else {
        panic!("no program");
    };
    for case in 0..4 {
        let status = Command::new(&program)
            .env("LIMITS_MEMORY", case.to_string())
            .status();
        assert!(
            matches!(&status, Ok(status) if status.success()),
            "{status:?}"
        );
    }
}

async fn memory_of(case: &str) {
    const KEYS: u64 = 10_000_000;
    let day = || Quota::per_day(9);
    let all = KEYS as usize;
    // What the documents of the module say that a key takes at most.
    let (name, quotas, room, most) = match case {
        "0" => ("one quota, room for 100,000", vec![day()], 100_000, 40),
        "1" => ("one quota, room for all", vec![day()], all, 40),
        "2" => (
            "a window, room for all",
            vec![day().fixed_window()],
            all,
            128,
        ),
        _ => {
            let two = vec![day(), Quota::per_hour(9)];
            ("two quotas, room for all", two, all, 160)
        }
    };
    let key = |req: &Request<()>| req.extensions().get().map(|&Key(key)| key);
    let layer = RateLimitLayer::all(quotas).key(key).max_keys(room);
    let before = resident().unwrap_or_default();
    flood(layer.clone(), KEYS).await;
    let grown = resident().unwrap_or_default().saturating_sub(before);
    let stats = layer.stats();
    let kept = stats.tracked_keys();
    let bytes = stats.bytes() / kept;
    println!("{name:<44}{kept:>10}{bytes:>10}{:>12}", grown / kept);
    assert!(kept <= room, "{kept} keys are kept");
    assert!(bytes <= most, "{bytes} bytes a key");
    // While a part of the table grows there are two of it; the program itself takes 4 MB, about.
    let grown = grown.saturating_sub(8 << 20) / kept;
    assert!(grown <= most + most / 8, "{grown} resident bytes a key");
}

fn main() {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let Ok(runtime) = threads else {
        panic!("no runtime");
    };
    if exact::is_worker() {
        return runtime.block_on(exact::work());
    }
    if let Ok(case) = env::var("LIMITS_MEMORY") {
        return runtime.block_on(memory_of(&case));
    }
    // `cargo test --benches` only wants to see that it starts.
    if !env::args().any(|arg| arg == "--bench") {
        return;
    }
    if env::var_os("EXACT").is_some() {
        return exact::run();
    }
    runtime.block_on(async {
        decisions().await;
        if let Some(server) = RedisServer::start() {
            in_redis(&server).await;
        }
    });
    memory();
}
