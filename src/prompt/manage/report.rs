//! How a run went.

use super::{
    expect::Case,
    run::Ran,
    told::{dollars, milliseconds},
};
use crate::Rejection;
use serde_json::{Value, json};
use std::{num::NonZeroU32, time::Duration};

/// As much of an answer is told, in bytes.
const MOST_TOLD: usize = 16 << 10;

/// What the cases of a version come to.
#[derive(Default)]
pub(super) struct Sums {
    errors: u64,
    passed: u64,
    failed: u64,
    input: u64,
    output: u64,
    price: i128,
    took: Duration,
    longest: Duration,
    calls: u32,
}

impl Sums {
    pub(super) fn case(&mut self, case: &Case, ran: Option<&Ran>, missing: &Rejection) -> Value {
        let mut told = json!({});
        if let Some(name) = &case.name {
            told["name"] = name.as_str().into();
        }
        let answer = ran.map_or(Err(missing), |ran| ran.answer.as_ref());
        let passed = match (&case.expect, answer) {
            (None, _) => None,
            (Some(expect), Ok(answer)) => Some(expect.holds(answer)),
            (Some(_), Err(_)) => Some(false),
        };
        match passed {
            None => {}
            Some(true) => self.passed += 1,
            Some(false) => self.failed += 1,
        }
        if let Some(passed) = passed {
            told["passed"] = passed.into();
        }
        if let Some(ran) = ran {
            self.calls += 1;
            self.took += ran.took;
            self.longest = self.longest.max(ran.took);
            told["latency_ms"] = milliseconds(ran.took).into();
            if let Some(usage) = ran.usage {
                self.input = self.input.saturating_add(usage.input);
                self.output = self.output.saturating_add(usage.output);
            }
            self.price = self.price.saturating_add(ran.price.unwrap_or_default());
        }
        match answer {
            Ok(answer) => told["answer"] = shortened(answer),
            Err(rejection) => {
                self.errors += 1;
                let mut error = json!({
                    "code": rejection.kind().code(),
                    "detail": rejection.message(),
                });
                if !rejection.faults().is_empty() {
                    let all = rejection.faults().iter();
                    let all =
                        all.map(|fault| json!({"param": &*fault.param, "detail": fault.detail}));
                    error["errors"] = all.collect();
                }
                told["error"] = error;
            }
        }
        told
    }

    pub(super) fn told(&self, version: NonZeroU32, model: &str, cases: &[Value]) -> Value {
        let mean = self.took.checked_div(self.calls).unwrap_or_default();
        json!({
            "version": version,
            "model": model,
            "calls": self.calls,
            "errors": self.errors,
            "passed": self.passed,
            "failed": self.failed,
            "input_tokens": self.input,
            "output_tokens": self.output,
            "price_usd": dollars(self.price),
            "latency_ms": {"mean": milliseconds(mean), "max": milliseconds(self.longest)},
            "cases": cases,
        })
    }
}

/// An answer that has room in a report.
fn shortened(answer: &Value) -> Value {
    let mut told = answer.clone();
    for field in ["text", "output"] {
        let text = match answer.get(field) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => continue,
        };
        if text.len() > MOST_TOLD {
            told[field] = text[..text.floor_char_boundary(MOST_TOLD)].into();
            told["cut"] = true.into();
        }
    }
    told
}
