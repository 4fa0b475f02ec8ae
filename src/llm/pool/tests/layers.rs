//! Layers of entries, which stand around their circuits.

use super::*;
use crate::retry::RetryLayer;

fn circuit(calls: u16) -> CircuitBreakerLayer {
    CircuitBreakerLayer::new()
        .minimum_calls(calls)
        .probes(2)
        .cool_down(5 * SECOND)
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_one_call_though_its_entry_retries() {
    let fake = Fake::new(Act::Fails(VendorFault::Failed));
    let circuit = circuit(3);
    let entry = fake.entry("a").circuit(circuit.clone());
    let pool = Pool::new()
        .entry(entry.layer(&RetryLayer::new()))
        .first_content(2 * SECOND);
    assert!(says(&pool).await.is_err());
    // Its attempts are three for the circuit, too.
    assert_eq!((fake.calls(), circuit.state()), (3, Circuit::Open));
    assert_eq!(says(&pool).await.unwrap_err().kind(), Kind::CircuitOpen);
    tokio::time::advance(5 * SECOND).await;
    // Both are out before either has failed.
    fake.act(Act::Silent);
    let (one, two) = tokio::join!(says(&pool), says(&pool));
    for error in [one, two] {
        assert_eq!(error.unwrap_err().kind(), Kind::Timeout);
    }
    assert_eq!(fake.calls(), 3 + 2, "as many as it has permits");
    assert_eq!(circuit.state(), Circuit::Open);
}

#[tokio::test(start_paused = true)]
async fn who_opened_its_own_circuit_was_called_and_has_failed() {
    let fake = Fake::new(Act::Fails(VendorFault::Failed));
    let entry = fake.entry("a").circuit(circuit(1));
    let entry = entry.layer(&RetryLayer::new());
    let pool = Pool::new().entry(entry.clone());
    let handle = pool.handle();
    // The first attempt opens it, and the second is refused.
    let error = says(&pool).await.unwrap_err();
    assert_eq!((error.kind(), fake.calls()), (Kind::BadGateway, 1));
    let shown = handle.entry("a").unwrap();
    assert_eq!((shown.calls, shown.failures), (1, 1));
    // It was an attempt, and is told as one.
    let b = Fake::new(Act::Says("b"));
    let pool = pool.entry(b.entry("b"));
    pool.handle().reset("a");
    let mut request = ask();
    let exchange = Exchange::enter(&mut request);
    let deadline = Deadline::enter(&mut request);
    assert_eq!(says_to(&pool, request).await, "b");
    let told = exchange.facts().candidates;
    assert_eq!((told[0].verdict, told[1].verdict), ("failed", "answered"));
    assert_eq!(deadline.left(), Deadline::ATTEMPTS - 1 - 2);
    // Then it is refused before anyone is called.
    assert_eq!(says(&pool).await.unwrap(), "b");
    let shown = pool.handle().entry("a").unwrap();
    assert_eq!((shown.calls, shown.failures), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_silent_attempt_is_made_again_within_the_entry() {
    let (a, b) = (Fake::new(Act::Silent), Fake::new(Act::Says("b")));
    let counted = a.clone();
    let service = service_fn(move |request: ChatRequest| {
        let answer = counted.service().call(request);
        counted.act(Act::Says("a"));
        answer
    });
    let entry = Entry::new(service).name("a").layer(&RetryLayer::new());
    let pool = Pool::new()
        .entry(entry)
        .entry(b.entry("b"))
        .first_content(2 * SECOND);
    let start = Instant::now();
    assert_eq!(says(&pool).await.unwrap(), "a");
    assert_eq!((a.calls(), b.calls()), (2, 0));
    let took = start.elapsed();
    assert!((2 * SECOND..3 * SECOND).contains(&took), "{took:?}");
}
