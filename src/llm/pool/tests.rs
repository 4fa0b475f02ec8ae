//! Pools over services that fail as they are told.

mod care;
mod choice;
mod layers;
mod time;
mod told;

use super::*;
use crate::{
    Exchange, Extensible, Principal, Rejection,
    circuit_breaker::{CircuitBreakerLayer, State as Circuit},
    deadline::Deadline,
    exchange::Usage,
    llm::{
        Content, Delta, Event, FinishReason, Media, Message, Part, ResponseFormat, Role, Simulator,
        Tool, VendorError,
        catalog::{Ability, Modality, ModelFacts, Rate, Rates, Set},
    },
    rejection::Kind,
};
use futures_util::{StreamExt, stream};
use std::{
    future::{pending, ready},
    sync::Mutex,
};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{ServiceExt, service_fn, util::ServiceFn};

const SECOND: Duration = Duration::from_secs(1);

/// How a service answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Says(&'static str),
    Fails(VendorFault),
    Full(Duration),
    Silent,
    /// After this text.
    Stalls(&'static str),
    Breaks(&'static str),
    /// After so long.
    Slow(Duration, &'static str),
    Refuses(Kind),
}

/// A service that can be told to answer otherwise, and counts its calls.
#[derive(Clone)]
struct Fake(Arc<Mutex<(Act, usize)>>);

type Answer = Pin<Box<dyn Future<Output = Result<ChatResponse, Error>> + Send>>;

impl Fake {
    fn new(act: Act) -> Self {
        Self(Arc::new(Mutex::new((act, 0))))
    }

    fn act(&self, act: Act) {
        self.0.lock().unwrap().0 = act;
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap().1
    }

    fn entry(&self, name: &str) -> Entry {
        Entry::new(self.service()).name(name)
    }

    fn service(
        &self,
    ) -> ServiceFn<impl Fn(ChatRequest) -> Answer + Clone + Send + Sync + 'static + use<>> {
        let fake = self.0.clone();
        service_fn(move |request: ChatRequest| {
            let act = {
                let mut fake = fake.lock().unwrap();
                fake.1 += 1;
                fake.0
            };
            if let Some(exchange) = Exchange::of(&request) {
                exchange.update(|facts| facts.attempts += 1);
            }
            Box::pin(answer(act)) as Answer
        })
    }
}

fn text(text: &str) -> Result<Event, Error> {
    Ok(Event::Delta {
        choice: 0,
        delta: Delta::Text(text.into()),
    })
}

fn finish() -> Result<Event, Error> {
    Ok(Event::Finish {
        choice: 0,
        reason: FinishReason::Stop,
    })
}

async fn answer(act: Act) -> Result<ChatResponse, Error> {
    let whole = |said| {
        let usage = Ok(Event::Usage(Usage::new(1, 100)));
        ChatResponse::from_events(stream::iter([text(said), usage, finish()]))
    };
    let fails = |fault| Error::from(VendorError::new(fault));
    match act {
        Act::Says(said) => Ok(whole(said)),
        Act::Fails(fault) => Err(fails(fault)),
        Act::Full(after) => {
            let full = VendorError::new(VendorFault::RateLimited);
            Err(full.with_retry_after(Some(after)).into())
        }
        Act::Silent => pending().await,
        Act::Stalls("") => Ok(ChatResponse::from_events(stream::pending())),
        Act::Stalls(said) => {
            let begun = stream::iter([text(said)]);
            Ok(ChatResponse::from_events(begun.chain(stream::pending())))
        }
        Act::Breaks("") => {
            let broken = stream::iter([Err(fails(VendorFault::Failed))]);
            Ok(ChatResponse::from_events(broken))
        }
        Act::Breaks(said) => {
            let broken = stream::iter([text(said), Err(fails(VendorFault::Failed))]);
            Ok(ChatResponse::from_events(broken))
        }
        Act::Slow(after, said) => {
            tokio::time::sleep(after).await;
            Ok(whole(said))
        }
        Act::Refuses(kind) => Err(kind.into()),
    }
}

fn ask() -> ChatRequest {
    ChatRequest::new().for_model("fast").user("Hello")
}

async fn says(pool: &Pool) -> Result<String, Error> {
    pool.clone().oneshot(ask()).await?.text().await
}

async fn says_to(pool: &Pool, request: ChatRequest) -> String {
    let answer = pool.clone().oneshot(request).await.unwrap();
    answer.text().await.unwrap()
}

/// Two entries, `a` and `b`, of which the second one answers "b".
fn two(first: Act) -> (Fake, Fake, Pool) {
    let (a, b) = (Fake::new(first), Fake::new(Act::Says("b")));
    let pool = Pool::new().entry(a.entry("a")).entry(b.entry("b"));
    (a, b, pool)
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_before_its_first_content_falls_over() {
    for act in [
        Act::Fails(VendorFault::Failed),
        Act::Fails(VendorFault::Overloaded),
        Act::Fails(VendorFault::Auth),
        Act::Fails(VendorFault::Quota),
        Act::Fails(VendorFault::UnknownModel),
        Act::Fails(VendorFault::NotSupported),
        Act::Fails(VendorFault::TooLarge),
        Act::Full(SECOND),
        Act::Silent,
        Act::Stalls(""),
        Act::Breaks(""),
        Act::Slow(61 * SECOND, "late"),
        Act::Refuses(Kind::CircuitOpen),
        Act::Refuses(Kind::UnsupportedParameter),
    ] {
        let (_, _, pool) = two(act);
        assert_eq!(says(&pool).await.unwrap(), "b", "{act:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_begun_stands_and_counts_against_its_circuit() {
    for act in [Act::Stalls("a"), Act::Breaks("a")] {
        let (a, b) = (Fake::new(act), Fake::new(Act::Says("b")));
        let circuit = CircuitBreakerLayer::new().minimum_calls(3);
        let pool = Pool::new()
            .entry(a.entry("a").circuit(circuit.clone()))
            .entry(b.entry("b"))
            .idle(2 * SECOND);
        for _ in 0..3 {
            let answer = pool.clone().oneshot(ask()).await.unwrap();
            let events: Vec<_> = answer.collect().await;
            assert!(matches!(events[..], [Ok(_), Err(_)]), "{act:?}");
        }
        assert_eq!(circuit.state(), Circuit::Open, "{act:?}");
        // From then on nobody is sent there, and the refusal is no attempt.
        assert_eq!(says(&pool).await.unwrap(), "b");
        assert_eq!(a.calls(), 3);
        assert_eq!(pool.handle().entry("a").unwrap().calls, 3);
        // And after the cool-down it is tried again.
        a.act(Act::Says("well"));
        tokio::time::advance(30 * SECOND).await;
        assert_eq!(says(&pool).await.unwrap(), "well");
    }
}

#[tokio::test]
async fn what_the_caller_did_wrong_stands_unless_it_is_to_fall_over() {
    for fault in [VendorFault::InvalidRequest, VendorFault::ContentFilter] {
        let (_, b, pool) = two(Act::Fails(fault));
        let error = says(&pool).await.unwrap_err();
        assert!(matches!(error, Error::Vendor(error) if error.fault() == fault));
        assert_eq!(b.calls(), 0);
        assert_eq!(pool.handle().entry("a").unwrap().failures, 0);
        let pool = pool.fall_over_on([fault]);
        assert_eq!(says(&pool).await.unwrap(), "b");
    }
}

#[tokio::test]
async fn what_is_too_long_goes_to_a_larger_window_only() {
    let long = Act::Fails(VendorFault::ContextLength);
    let window = |tokens| ModelFacts::new("lab", "m").window(tokens);
    let (small, same, unknown, large) = (
        Fake::new(long),
        Fake::new(long),
        Fake::new(long),
        Fake::new(Act::Says("large")),
    );
    let pool = Pool::new()
        .entry(small.entry("small").facts(window(1000)))
        .entry(same.entry("same").facts(window(1000)))
        .entry(unknown.entry("unknown"))
        .entry(large.entry("large").facts(window(2000)));
    assert_eq!(says(&pool).await.unwrap(), "large");
    assert_eq!((small.calls(), same.calls(), unknown.calls()), (1, 0, 0));
    // What is known to be too long is not tried.
    let request = ask().user("word ".repeat(1200));
    assert_eq!(says_to(&pool, request).await, "large");
    assert_eq!((small.calls(), same.calls()), (1, 0));
    // Where nobody takes it, the first error stands.
    let pool = Pool::new()
        .entry(small.entry("small").facts(window(1000)))
        .entry(same.entry("same").facts(window(1000)));
    assert_eq!(says(&pool).await.unwrap_err().kind(), Kind::InvalidRequest);
    assert_eq!((small.calls(), same.calls()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn after_a_429_a_vendor_is_left_alone_until_the_reset_that_it_named() {
    let (a, b, pool) = two(Act::Full(7 * SECOND));
    assert_eq!(says(&pool).await.unwrap(), "b");
    a.act(Act::Says("a"));
    tokio::time::advance(6 * SECOND).await;
    assert_eq!(says(&pool).await.unwrap(), "b");
    assert_eq!(a.calls(), 1);
    assert_eq!(pool.handle().entry("a").unwrap().cooling, Some(SECOND));
    tokio::time::advance(SECOND).await;
    assert_eq!(says(&pool).await.unwrap(), "a");
    // When all are, the caller is told when the first of them is back.
    a.act(Act::Full(5 * SECOND));
    b.act(Act::Full(3 * SECOND));
    assert!(says(&pool).await.is_err());
    let error = says(&pool).await.unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamRateLimited);
    assert_eq!(error.rejection().retry_after(), Some(3 * SECOND));
    assert_eq!((a.calls(), b.calls()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn the_handle_takes_out_and_in() {
    let (a, b, pool) = two(Act::Says("a"));
    let handle = pool.handle();
    assert!(handle.drain("a") && !handle.drain("c"));
    assert_eq!(says(&pool).await.unwrap(), "b");
    assert!(handle.entry("a").unwrap().drained);
    handle.restore("a");
    assert_eq!(says(&pool).await.unwrap(), "a");
    handle.cool("a", 5 * SECOND);
    assert_eq!(says(&pool).await.unwrap(), "b");
    handle.reset("a");
    assert_eq!(says(&pool).await.unwrap(), "a");
    // Five failures open the circuit of an entry, which has its name.
    a.act(Act::Fails(VendorFault::Failed));
    for _ in 0..9 {
        assert_eq!(says(&pool).await.unwrap(), "b");
    }
    let entry = handle.entry("a").unwrap();
    assert_eq!((entry.circuit, entry.failures), (Some(Circuit::Open), 4));
    a.act(Act::Says("a"));
    handle.reset("a");
    assert_eq!(says(&pool).await.unwrap(), "a");
    handle.drain("a");
    handle.drain("b");
    assert_eq!(says(&pool).await.unwrap_err().kind(), Kind::CircuitOpen);
    assert_eq!((a.calls(), b.calls()), (7, 11));
    assert_eq!(
        Pool::new().oneshot(ask()).await.unwrap_err().kind(),
        Kind::CircuitOpen
    );
}

#[tokio::test]
async fn all_attempts_draw_on_one_budget_and_each_candidate_has_one_reserved() {
    let failing = || Fake::new(Act::Fails(VendorFault::Failed));
    let fakes: Vec<_> = (0..9).map(|_| failing()).collect();
    let pool: Pool = fakes.iter().map(Fake::service).collect();
    assert!(says(&pool).await.is_err());
    let calls: Vec<_> = fakes.iter().map(Fake::calls).collect();
    assert_eq!(calls, [1, 1, 1, 1, 1, 0, 0, 0, 0], "five in all");

    let mut request = ask();
    let exchange = Exchange::enter(&mut request);
    request.extensions_mut().insert(Deadline::new().attempts(3));
    assert!(pool.clone().oneshot(request).await.is_err());
    assert_eq!(exchange.facts().attempts, 3);

    // Whoever retries one endpoint leaves the others theirs.
    let greedy = service_fn(|request: ChatRequest| {
        let deadline = Deadline::of(&request).unwrap();
        let further = (0..9).filter(|_| deadline.take()).count();
        assert_eq!(further, 2);
        ready(Err::<ChatResponse, _>(Error::from(Kind::BadGateway)))
    });
    let (b, c) = (failing(), Fake::new(Act::Says("c")));
    let pool = Pool::new()
        .entry(greedy)
        .entry(b.service())
        .entry(c.service());
    assert_eq!(says(&pool).await.unwrap(), "c");

    // Nothing is begun after the deadline.
    let mut request = ask();
    let over = Deadline::new().until(Instant::now());
    request.extensions_mut().insert(over);
    let (a, b) = (failing(), failing());
    let pool: Pool = [a.service(), b.service()].into_iter().collect();
    assert!(pool.oneshot(request).await.is_err());
    assert_eq!((a.calls(), b.calls()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_in_flight_until_the_end_of_its_answer_or_until_it_is_dropped() {
    let fake = Fake::new(Act::Stalls("a"));
    let pool = Pool::new().entry(fake.entry("a"));
    let handle = pool.handle();
    let in_flight = || handle.entry("a").unwrap().in_flight;
    let answer = pool.clone().oneshot(ask()).await.unwrap();
    assert_eq!(in_flight(), 1);
    drop(answer);
    assert_eq!(in_flight(), 0);
    for act in [Act::Says("a"), Act::Breaks("a")] {
        fake.act(act);
        let answer = pool.clone().oneshot(ask()).await.unwrap();
        assert_eq!(in_flight(), 1);
        let _: Vec<_> = answer.collect().await;
        assert_eq!(in_flight(), 0, "{act:?}");
    }
    for act in [Act::Silent, Act::Stalls("")] {
        fake.act(act);
        let mut call = task::spawn(pool.clone().oneshot(ask()));
        assert_pending!(call.poll());
        assert_eq!(in_flight(), 1);
        drop(call);
        assert_eq!(in_flight(), 0, "{act:?}");
    }
    let all = handle.entry("a").unwrap();
    assert_eq!((all.calls, all.failures), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn dropped_after_any_poll_a_call_leaves_nothing_behind() {
    let (slow, b, pool) = two(Act::Slow(SECOND, "a"));
    slow.act(Act::Fails(VendorFault::Failed));
    b.act(Act::Slow(SECOND, "b"));
    let calls = || {
        let entries = pool.handle().entries();
        entries.iter().map(|one| one.calls).sum::<u64>()
    };
    let mut before = 0;
    for polls in 0..12 {
        let mut request = ask();
        let deadline = Deadline::enter(&mut request);
        let mut call = task::spawn(async {
            let answer = pool.clone().oneshot(request).await?;
            answer.text().await
        });
        for _ in 0..polls {
            if call.poll().is_ready() {
                break;
            }
            tokio::time::advance(SECOND / 4).await;
        }
        drop(call);
        let entries = pool.handle().entries();
        assert!(
            entries.iter().all(|one| one.in_flight == 0),
            "{polls}: {entries:?}"
        );
        let now = calls();
        let further = (now - before).saturating_sub(1) as u32;
        assert_eq!(deadline.left() + further, Deadline::ATTEMPTS - 1, "{polls}");
        before = now;
    }
}

#[tokio::test(start_paused = true)]
async fn each_candidate_is_told_of_with_its_time_and_its_end() {
    let pool = Pool::new()
        .entry(Fake::new(Act::Fails(VendorFault::Overloaded)).entry("a"))
        .entry(Fake::new(Act::Slow(3 * SECOND, "b")).entry("b"))
        .entry(Fake::new(Act::Says("c")).entry("c"))
        .entry(Fake::new(Act::Says("d")).entry("d").when(|_| false))
        .entry(Fake::new(Act::Says("e")).entry("d"));
    pool.handle().drain("d#5");
    let mut request = ask();
    let exchange = Exchange::enter(&mut request);
    says_to(&pool, request).await;
    let facts = exchange.facts();
    let told: Vec<_> = facts
        .candidates
        .iter()
        .map(|one| (&*one.entry, one.verdict))
        .collect();
    assert_eq!(
        told,
        [
            ("a", "failed"),
            ("b", "answered"),
            ("c", "spare"),
            ("d", "condition"),
            ("d#5", "drained")
        ]
    );
    let [a, b, ..] = &facts.candidates[..] else {
        panic!()
    };
    assert_eq!(&*a.pool, "fast");
    assert_eq!(a.attempt.as_ref().unwrap().outcome, "upstream_overloaded");
    let b = b.attempt.as_ref().unwrap();
    assert_eq!((b.outcome, b.took.as_secs()), ("ok", 3));
    // A call that is dropped is told of, too.
    let mut request = ask();
    let exchange = Exchange::enter(&mut request);
    let mut call = task::spawn(pool.clone().oneshot(request));
    assert_pending!(call.poll());
    drop(call);
    let told = exchange.facts().candidates;
    assert_eq!(told[1].attempt.as_ref().unwrap().outcome, "dropped");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_must_be_ready_is_waited_for() {
    let fake = Fake::new(Act::Stalls("a"));
    let limited = tower::limit::ConcurrencyLimit::new(fake.service(), 1);
    let pool = Pool::new().entry(Entry::new(limited).name("a"));
    let held = pool.clone().oneshot(ask()).await.unwrap();
    // That of tower is free again when the head is there.
    let mut next = task::spawn(pool.clone().oneshot(ask()));
    assert_ready!(next.poll()).unwrap();
    drop(held);
    let layered = Entry::new(fake.service()).layer(&tower::limit::ConcurrencyLimitLayer::new(1));
    let pool = Pool::new().entry(layered);
    fake.act(Act::Slow(SECOND, "a"));
    let (one, two) = tokio::join!(says(&pool), says(&pool));
    assert_eq!(
        (one.unwrap(), two.unwrap()),
        ("a".to_owned(), "a".to_owned())
    );
}

#[tokio::test]
async fn clones_share_how_entries_do_and_a_pool_made_of_another_does_not() {
    let (a, _, pool) = two(Act::Full(SECOND));
    says(&pool.clone()).await.unwrap();
    assert!(pool.handle().entry("a").unwrap().cooling.is_some());
    let other = pool.clone().strategy(Strategy::Weighted);
    assert!(other.handle().entry("a").unwrap().cooling.is_none());
    assert_eq!(a.calls(), 1);
    let debug = format!(
        "{pool:?} {:?} {:?}",
        pool.handle(),
        Entry::new(Simulator::new())
    );
    assert!(debug.contains("Failover"), "{debug}");
}

#[tokio::test]
async fn a_rejection_of_a_layer_around_an_entry_is_that_of_the_entry_alone() {
    let mine = service_fn(|_: ChatRequest| {
        let full = Rejection::new(Kind::RateLimited).with_retry_after(SECOND);
        ready(Err::<ChatResponse, _>(Error::from(full)))
    });
    let pool = Pool::new()
        .entry(Entry::new(mine).name("a"))
        .entry(Simulator::new().answer("b"));
    assert_eq!(says(&pool).await.unwrap(), "b");
    // Whose limit that was nobody knows: others may well be let in.
    assert_eq!(pool.handle().entry("a").unwrap().cooling, None);
}
