//! Over models: until the first word, and never after it.

use super::*;
use std::sync::Mutex;
use tower::Service;
use tower_gateway::{
    Exchange,
    llm::{ChatRequest, ChatResponse, Error, Simulator, VendorFault},
    rejection::Kind,
};

const ANSWER: &str = "One two three four five six seven.";

/// Asks one after the other, the last for good.
#[derive(Clone)]
struct Turns {
    turns: Arc<[Simulator]>,
    asked: Arc<AtomicU32>,
}

impl Turns {
    fn new(turns: impl IntoIterator<Item = Simulator>) -> Self {
        Self {
            turns: turns.into_iter().map(|turn| turn.answer(ANSWER)).collect(),
            asked: Arc::default(),
        }
    }
}

impl Service<ChatRequest> for Turns {
    type Response = ChatResponse;
    type Error = Error;
    type Future = <Simulator as Service<ChatRequest>>::Future;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ChatRequest) -> Self::Future {
        let nth = self.asked.fetch_add(1, Ordering::Relaxed) as usize;
        self.turns[nth.min(self.turns.len() - 1)]
            .clone()
            .call(request)
    }
}

fn question() -> (ChatRequest, Exchange) {
    use tower_gateway::Extensible;
    let mut request = ChatRequest::new().for_model("sim-chat").user("Count");
    let exchange = Exchange::new();
    request.extensions_mut().insert(exchange.clone());
    (request, exchange)
}

/// The words that came, what the stream broke off with, and how many attempts there were.
async fn told<L>(layer: L, turns: Turns) -> (String, Option<Kind>, u32)
where
    L: Layer<Turns>,
    L::Service: Service<ChatRequest, Response = ChatResponse, Error = Error>,
{
    use futures_util::StreamExt;
    use tower_gateway::llm::{Delta, Event};
    let (request, exchange) = question();
    let mut said = String::new();
    let mut broke_off = None;
    match layer.layer(turns).oneshot(request).await {
        Ok(mut answer) => {
            while let Some(event) = answer.next().await {
                match event {
                    Ok(Event::Delta {
                        delta: Delta::Text(text),
                        ..
                    }) => said.push_str(&text),
                    Ok(_) => {}
                    Err(error) => broke_off = Some(error.kind()),
                }
            }
        }
        Err(error) => broke_off = Some(error.kind()),
    }
    (said, broke_off, exchange.facts().attempts)
}

fn cut_after(events: usize) -> Simulator {
    Simulator::new().cut_after(events, VendorFault::Overloaded)
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_off_before_its_first_word_is_asked_again_and_later_is_not() {
    let whole = || Turns::new([Simulator::new()]);
    let (text, ..) = told(RetryLayer::new(), whole()).await;
    assert_eq!(text, ANSWER);
    let mut before = 0;
    for events in 0..12 {
        let turns = Turns::new([cut_after(events), Simulator::new()]);
        let (said, broke_off, attempts) = told(RetryLayer::new(), turns).await;
        if attempts == 2 {
            assert_eq!((&*said, broke_off), (ANSWER, None), "nothing is said twice");
            before += 1;
        } else {
            assert!(ANSWER.starts_with(&said) && !said.is_empty(), "{said}");
            let overloaded = Some(Kind::UpstreamOverloaded);
            assert!(broke_off == overloaded || said == ANSWER, "{broke_off:?}");
        }
    }
    assert!((1..6).contains(&before), "{before}");
}

#[tokio::test(start_paused = true)]
async fn each_attempt_at_a_model_is_counted() {
    let down = Simulator::new().faults(u64::MAX, VendorFault::Overloaded);
    let (said, broke_off, attempts) = told(RetryLayer::new(), Turns::new([down])).await;
    assert_eq!(
        (&*said, broke_off, attempts),
        ("", Some(Kind::UpstreamOverloaded), 3)
    );
    // What the caller asked wrong, and what the account lacks, nobody mends by asking again.
    for fault in [
        VendorFault::ContentFilter,
        VendorFault::Quota,
        VendorFault::Auth,
    ] {
        let turns = Turns::new([Simulator::new().faults(u64::MAX, fault)]);
        assert_eq!(told(RetryLayer::new(), turns).await.2, 1, "{fault:?}");
    }
}

/// Answers after a while, the first time.
#[derive(Clone)]
struct Slow(Turns, Arc<Mutex<Duration>>);

impl Service<ChatRequest> for Slow {
    type Response = ChatResponse;
    type Error = Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<ChatResponse, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ChatRequest) -> Self::Future {
        let answer = self.0.call(request);
        let wait = std::mem::take(&mut *self.1.lock().unwrap());
        Box::pin(async move {
            let answer = answer.await;
            sleep(wait).await;
            answer
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_is_asked_a_second_time_only_where_that_is_meant_and_both_count() {
    let hedge = HedgeLayer::after(SECOND);
    for (hedge, took, attempts) in [(hedge.clone(), 9, 1), (hedge.billed(), 1, 2)] {
        let slow = Slow(
            Turns::new([Simulator::new()]),
            Arc::new(Mutex::new(9 * SECOND)),
        );
        let start = Instant::now();
        let (request, exchange) = question();
        let answer = hedge.layer(slow).oneshot(request).await.unwrap();
        assert_eq!(start.elapsed(), took * SECOND);
        assert_eq!(answer.text().await.unwrap(), ANSWER);
        assert_eq!(exchange.facts().attempts, attempts);
    }
}

/// A deadline alone around a model: one that does not answer in time, and one that speaks on after it.
#[tokio::test(start_paused = true)]
async fn a_model_that_is_late_is_a_timeout() {
    let layer = DeadlineLayer::new().within(SECOND);
    let hangs = layer.layer(service_fn(async |_: ChatRequest| {
        pending::<Result<ChatResponse, Error>>().await
    }));
    let start = Instant::now();
    let error = hangs.oneshot(ChatRequest::new()).await.unwrap_err();
    assert_eq!((error.kind(), start.elapsed()), (Kind::Timeout, SECOND));
    let (words, broken, _) = told(layer, Turns::new([Simulator::new()])).await;
    assert_eq!((&*words, broken), (ANSWER, None));
}
