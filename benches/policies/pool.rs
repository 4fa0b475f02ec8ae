//! Who of a pool is asked.

use crate::measure::{both, within};
use futures_util::stream;
use std::{
    future::{Ready, ready},
    hint::black_box,
};
use tower::{Service, ServiceExt, service_fn, util::ServiceFn};
use tower_gateway::{
    Exchange,
    llm::{
        ChatRequest, ChatResponse, Delta, Error, Event,
        catalog::{Ability, ModelFacts, Rate, Rates},
        pool::{Entry, Pool, Strategy},
    },
    retry::RetryLayer,
};

/// What a call through a pool may cost more than one without.
const MOST: f64 = 1500.0;
/// What the choice among several may cost more than that of the only one.
const MOST_CHOICE: f64 = 300.0;

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

/// Entries of different weights and prices, whose models can do different things.
fn pool(entries: usize, retries: bool) -> Pool {
    let entry = |nth: usize| {
        let rate = Rate::micros_per_million(1_000_000 + nth as u64);
        let facts = ModelFacts::new("lab", "m")
            .window(100_000)
            .can(Ability::Tools);
        let entry = Entry::new(model())
            .facts(facts.price(Rates::new(rate, rate)))
            .weight(1 + nth as u32 % 3);
        match retries {
            true => entry.layer(&RetryLayer::new()),
            false => entry,
        }
    };
    (0..entries).map(entry).collect()
}

/// Each call is of another person, and of an exchange of its own.
fn request(turn: u64, exchange: bool) -> ChatRequest {
    let mut request = ChatRequest::new().for_model("fast");
    request = request.user(format!("I am number {}.", turn % 1000));
    if exchange {
        Exchange::enter(&mut request);
    }
    request
}

async fn call<S>(service: &mut S, request: ChatRequest)
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error>,
{
    let Ok(service) = service.ready().await else {
        panic!("not ready");
    };
    let Ok(answer) = service.call(request).await else {
        panic!("no answer");
    };
    black_box(answer);
}

/// Nanoseconds that the second adds to the first.
async fn more<S, T>(name: &str, mut base: S, mut whole: T, exchange: bool) -> f64
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error>,
    T: Service<ChatRequest, Response = ChatResponse, Error = Error>,
{
    let (mut one, mut other) = (0, 0);
    let (base, whole) = both(
        async || {
            one += 1;
            call(&mut base, request(one, exchange)).await;
        },
        async || {
            other += 1;
            call(&mut whole, request(other, exchange)).await;
        },
    )
    .await;
    println!("{name:<44}{:>10.0}", whole - base);
    whole - base
}

/// What each entry may cost that is looked at: whether it can take the call, how it does, and what is known
/// of it. Those of which a strategy asks more cost more.
fn most_for_each(strategy: Strategy) -> f64 {
    match strategy {
        // A number is made of the conversation and the entry, and its logarithm is taken.
        Strategy::Weighted | Strategy::Sticky => 40.0,
        // What the call costs there is reckoned.
        Strategy::LowestPrice | Strategy::CheapestCapable => 100.0,
        _ => 25.0,
    }
}

/// `false`: it takes too long.
pub(crate) async fn run() -> bool {
    let mut good = true;
    for strategy in [
        Strategy::Failover,
        Strategy::Weighted,
        Strategy::LeastBusy,
        Strategy::LowestLatency,
        Strategy::LowestPrice,
        Strategy::CheapestCapable,
        Strategy::Sticky,
    ] {
        for entries in [3, 30, 300] {
            let name = format!("choice of {entries}, {strategy:?}");
            let (only, all) = (pool(1, false), pool(entries, false));
            let (only, all) = (only.strategy(strategy), all.strategy(strategy));
            let took = more(&name, only, all, false).await;
            let most = MOST_CHOICE.max(most_for_each(strategy) * entries as f64);
            good &= within(took, most);
        }
    }
    for entries in [3, 30] {
        let name = format!("pool of {entries}, circuits, told");
        more(&name, model(), pool(entries, false), true).await;
    }
    let name = "pool of 3, circuits, retries, told";
    let took = more(name, model(), pool(3, true), true).await;
    good & within(took, MOST)
}
