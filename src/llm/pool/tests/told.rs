//! What is told of a call.

use super::*;

/// What is logged while this is in scope.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_trace_tells_who_was_asked_and_nothing_that_was_said() {
    use tracing_subscriber::util::SubscriberInitExt;
    // While there is but one subscriber the threads of other tests decide without it what is of interest.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let log = Log::default();
    let writer = log.clone();
    let _guard = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .set_default();
    let (_, _, pool) = two(Act::Fails(VendorFault::Overloaded));
    assert_eq!(says(&pool).await.unwrap(), "b");
    let told = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = told.lines().find(|line| line.contains("a pool was asked"));
    let line = line.unwrap_or_else(|| panic!("{told}"));
    assert!(
        line.contains("pool=\"fast\"") && line.contains("a=failed("),
        "{line}"
    );
    assert!(line.contains("b=answered(ok"), "{line}");
    assert!(!line.contains("Hello"), "{line}");
}

#[tokio::test]
async fn also_those_that_were_left_out_are_told_with_their_price() {
    let price = |dollars: u64| {
        let rate = Rate::micros_per_million(dollars * 1_000_000);
        ModelFacts::new("lab", "m").price(Rates::new(rate, rate))
    };
    let dear = Entry::new(Simulator::new()).name("dear").facts(price(100));
    let pool = Pool::new()
        .entry(dear.max_price("0.001".parse().unwrap()))
        .entry(Entry::new(Simulator::new()).facts(price(1)).when(|_| false))
        .entry(Entry::new(Simulator::new()).facts(price(2)))
        .entry(Simulator::new());
    let mut request = ask();
    let exchange = Exchange::enter(&mut request);
    request.extensions_mut().insert(Explain);
    says_to(&pool, request).await;
    let told = exchange.facts().candidates;
    let told: Vec<_> = told.iter().map(|one| (one.verdict, one.price)).collect();
    let [answered, spare, price, condition] = told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        [answered.0, spare.0, price.0, condition.0],
        ["answered", "spare", "price", "condition"]
    );
    // 512 tokens of an answer, and some of the question.
    assert!(answered.1 > Some(2 * 512_000_000), "{told:?}");
    assert_eq!(price.1, answered.1.map(|price| price * 50));
    assert_eq!(condition.1, answered.1.map(|price| price / 2));
    assert_eq!(spare.1, None);
}
