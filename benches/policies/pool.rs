//! Who of a pool is asked.

use crate::measure::both;
use futures_util::stream;
use std::{
    future::{Ready, ready},
    hint::black_box,
};
use tower::{Service, ServiceExt, service_fn, util::ServiceFn};
use tower_gateway::{
    Exchange,
    answer::Begin,
    llm::{
        ChatRequest, ChatResponse, Delta, Error, Event,
        catalog::{Ability, ModelFacts, Rate, Rates},
        pool::{Entry, Pool, Strategy},
    },
    retry::RetryLayer,
};

/// What a call through a pool may cost more than one without.
const MOST: f64 = 1500.0;

type Model = ServiceFn<fn(ChatRequest) -> Ready<Result<ChatResponse, Error>>>;

fn model() -> Model {
    service_fn(|_| {
        let said = Event::Delta {
            choice: 0,
            delta: Delta::Text("Hello".into()),
        };
        ready(Ok(ChatResponse::from_events(stream::iter([Ok(said)]))))
    })
}

fn pool(entries: usize, retries: bool) -> Pool {
    let entry = |nth: usize| {
        let rate = Rate::micros_per_million(1_000_000 + nth as u64);
        let facts = ModelFacts::new("lab", "m")
            .window(100_000)
            .can(Ability::Tools);
        let entry = Entry::new(model()).facts(facts.price(Rates::new(rate, rate)));
        match retries {
            true => entry.layer(&RetryLayer::new()),
            false => entry,
        }
    };
    (0..entries).map(entry).collect()
}

async fn call<S>(service: &mut S, request: &ChatRequest)
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error>,
{
    let Ok(service) = service.ready().await else {
        panic!("not ready");
    };
    let Ok(answer) = service.call(request.clone()).await else {
        panic!("no answer");
    };
    // A pool has waited for that.
    let Ok(answer) = answer.begin().await else {
        panic!("no content");
    };
    black_box(answer);
}

/// Nanoseconds that a pool adds to a call.
async fn row(name: &str, mut pool: Pool, request: &ChatRequest) -> f64 {
    let mut base = model();
    let (base, whole) = both(
        async || call(&mut base, request).await,
        async || call(&mut pool, request).await,
    )
    .await;
    println!("{name:<44}{:>10.0}", whole - base);
    whole - base
}

/// `false`: it takes too long.
pub(crate) async fn run() -> bool {
    let mut request = ChatRequest::new().for_model("fast").user("Hello");
    Exchange::enter(&mut request);
    // Nobody wants to know more of this one than of others.
    let request = request.clone();
    for entries in [3, 30] {
        for strategy in [
            Strategy::Failover,
            Strategy::Weighted,
            Strategy::LeastBusy,
            Strategy::LowestLatency,
            Strategy::LowestPrice,
            Strategy::CheapestCapable,
            Strategy::Sticky,
        ] {
            let name = format!("pool of {entries}, circuits, {strategy:?}");
            row(&name, pool(entries, false).strategy(strategy), &request).await;
        }
    }
    let took = row("pool of 3, circuits, retries", pool(3, true), &request).await;
    if took > MOST {
        println!("a pool with circuits and retries takes {took:.0} ns, and not {MOST:.0}");
    }
    took <= MOST
}
