//! What callers may be told of how their call was answered.

use super::{catalog::Money, pool::Explain};
use crate::{
    Exchange, Extensible, Principal,
    exchange::{Considered, Facts},
};
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

/// In a request: that it is wanted. In an answer: what there is to tell, as JSON.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-gateway-explain");

/// The scope that lets a principal ask for it, unless another is set.
pub(super) const SCOPE: &str = "gateway:explain";

/// How long the header is at the most. Many servers and clients take 8 KiB of headers in all.
const LONGEST: usize = 4 << 10;
/// How much of a name is told.
const NAME: usize = 64;
const MOST_LOSSES: usize = 8;

/// Whether it is wanted, by someone who may. Then pools are told to, and there is an exchange to tell of.
///
/// Whoever may not is answered as if nothing had been asked.
pub(super) fn wanted(request: &mut impl Extensible, scope: &str) -> bool {
    let asked = request.headers().get(&HEADER);
    let wants = asked.is_some_and(|value| value == "true");
    let may = || Principal::of(request).is_some_and(|who| who.has_scope(scope));
    if !wants || !may() {
        return false;
    }
    Exchange::enter(request);
    request.extensions_mut().insert(Explain);
    true
}

/// What is known when the head of the answer goes out.
pub(super) fn header(exchange: &Exchange) -> Option<HeaderValue> {
    let took = exchange.start().elapsed().as_millis();
    let text = exchange.read(|facts| written(facts, took));
    HeaderValue::try_from(text).ok()
}

fn written(facts: &Facts, took: u128) -> String {
    let loss = facts.losses.iter().take(MOST_LOSSES);
    let loss: Vec<_> = loss.map(|loss| plain(&loss.field)).collect();
    let mut candidates = Vec::new();
    let render = |candidates: &[Value], more: usize| {
        let mut all = Map::new();
        all.insert("candidates".into(), candidates.into());
        if more > 0 {
            all.insert("more".into(), more.into());
        }
        all.insert("attempts".into(), facts.attempts.into());
        all.insert("ms".into(), whole(took));
        if let Some(upstream) = &facts.upstream {
            all.insert("upstream".into(), plain(upstream).into());
        }
        if !loss.is_empty() {
            all.insert("loss".into(), loss.clone().into());
        }
        Value::Object(all).to_string()
    };
    // With room for the number of those that are left out.
    let mut room = LONGEST.saturating_sub(render(&[], 1).len() + 8);
    for one in &facts.candidates {
        let one = candidate(one);
        let Some(rest) = room.checked_sub(one.to_string().len() + 1) else {
            break;
        };
        room = rest;
        candidates.push(one);
    }
    render(&candidates, facts.candidates.len() - candidates.len())
}

fn candidate(one: &Considered) -> Value {
    let mut all = Map::new();
    all.insert("pool".into(), plain(&one.pool).into());
    all.insert("entry".into(), plain(&one.entry).into());
    all.insert("verdict".into(), one.verdict.into());
    if let Some(price) = one.price {
        // As a number of dollars would not be exact.
        let price = Money::from_picos(price).to_string();
        all.insert("price".into(), price.into());
    }
    if let Some(attempt) = &one.attempt {
        let (at, took) = (attempt.began.as_millis(), attempt.took.as_millis());
        let told = json!({"at_ms": whole(at), "took_ms": whole(took), "outcome": attempt.outcome});
        all.insert("attempt".into(), told);
    }
    Value::Object(all)
}

fn whole(number: u128) -> Value {
    u64::try_from(number).unwrap_or(u64::MAX).into()
}

/// What can stand in a header.
fn plain(text: &str) -> String {
    let plain = |char: char| match char {
        ' '..='~' => char,
        _ => '_',
    };
    text.chars().take(NAME).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Attempt, Loss};
    use std::time::Duration;

    #[test]
    fn the_header_is_bounded_whatever_there_is_to_tell() {
        let mut facts = Facts {
            attempts: 2,
            losses: vec![Loss::new("seed", "no place"); 300],
            ..Facts::default()
        };
        let text = written(&facts, 7);
        let told: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told["attempts"], 2);
        assert_eq!(told["loss"].as_array().unwrap().len(), MOST_LOSSES);
        assert_eq!(told["candidates"], json!([]));

        let one = Considered {
            pool: "fast".into(),
            entry: "ümläut\r\nx-evil: 1 ".repeat(50).into(),
            verdict: "failed",
            price: Some(1_200_000_000),
            attempt: Some(Attempt {
                began: Duration::from_millis(3),
                took: Duration::MAX,
                outcome: "timeout",
            }),
        };
        facts.candidates = vec![one; 64];
        let text = written(&facts, u128::MAX);
        assert!(text.len() <= LONGEST, "{}", text.len());
        assert!(HeaderValue::try_from(&*text).is_ok());
        let told: Value = serde_json::from_str(&text).unwrap();
        let shown = told["candidates"].as_array().unwrap();
        assert_eq!(shown.len() as u64 + told["more"].as_u64().unwrap(), 64);
        assert_eq!(shown[0]["price"], "$0.0012");
        assert_eq!(shown[0]["attempt"]["at_ms"], 3);
    }
}
