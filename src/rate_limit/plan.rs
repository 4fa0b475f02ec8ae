//! Quotas, and all that follows from them before the first call.

use super::{
    headers::{Headers, Lines},
    memory::Decided,
    meter::Rule,
    quota::Quota,
    store::{Rules, Taken},
};
use crate::{Rejection, principal::Limit, rejection::Kind};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How many sets of limits are remembered at most.
const SETS: usize = 1000;

#[derive(Debug)]
pub(super) struct Plan {
    quotas: Arc<[Quota]>,
    pub(super) rules: Arc<Rules>,
    /// The part of the quotas that is granted here while a store is down, if not all.
    part: Option<Box<[Rule]>>,
    lines: Lines,
    /// How long it takes at most until all buckets are full, in microseconds.
    pub(super) depth: u64,
    /// Whether these are somebody's own.
    pub(super) limited: bool,
}

impl Plan {
    pub(super) fn new(quotas: Arc<[Quota]>, headers: Headers, part: Option<f64>) -> Self {
        let rules = Arc::new(Rules::new(&quotas));
        let both = quotas.iter().zip(&rules.rules);
        let part = part.map(|part| {
            both.map(|(quota, rule)| Rule {
                field: rule.field,
                ..quota.part(part).rule()
            })
            .collect()
        });
        let depths = rules.rules.iter().map(|rule| rule.meter.depth());
        Self {
            depth: depths.max().unwrap_or(0),
            rules,
            part,
            lines: Lines::new(headers, &quotas),
            limited: false,
            quotas,
        }
    }

    /// The rules for the buckets in this process.
    pub(super) fn here(&self) -> &[Rule] {
        self.part.as_deref().unwrap_or(&self.rules.rules)
    }

    /// Whether nobody is ever refused.
    pub(super) fn is_shadow(&self) -> bool {
        self.quotas.iter().all(Quota::is_shadow)
    }

    /// What to tell of what a store has decided.
    pub(super) fn told(&self, taken: &Taken, cost: u64) -> Decided {
        let rules = self.rules.rules.iter();
        let decisions = rules
            .zip(taken.buckets())
            .map(|(rule, (fits, state))| rule.meter.tell(fits, state, cost, taken.now()));
        Decided::Several(decisions.collect())
    }

    /// The quotas that would have refused a call and did not, being shadows.
    pub(super) fn shadowed<'a>(&'a self, decided: &'a Decided) -> impl Iterator<Item = &'a str> {
        let both = self.quotas.iter().zip(decided.as_slice());
        both.filter(|(quota, decision)| quota.is_shadow() && !decision.allowed)
            .map(|(quota, _)| quota.label())
    }

    /// Why a call is refused, if it is.
    pub(super) fn refusal(&self, decided: &Decided) -> Option<Rejection> {
        let decisions = decided.as_slice();
        let both = self.quotas.iter().zip(decisions);
        let mut violated = both
            .filter(|(quota, decision)| !decision.allowed && !quota.is_shadow())
            .peekable();
        violated.peek()?;
        let mut rejection = Rejection::new(Kind::RateLimited);
        let mut wait = Some(Duration::ZERO);
        for (quota, decision) in violated {
            rejection = rejection.with_violated_policy(quota.label());
            let this = decision.retry_after.map(Duration::from_micros);
            wait = wait.zip(this).map(|(all, this)| all.max(this));
        }
        let mut headers = HeaderMap::new();
        self.lines.write(decisions, &mut headers);
        for (name, value) in &headers {
            rejection = rejection.with_header(name.clone(), value.clone());
        }
        Some(match wait {
            // Never 0: a caller that comes back at once is only turned away again.
            Some(wait) => rejection.with_retry_after(wait.max(Duration::from_micros(1))),
            None => rejection
                .with_detail("The call takes more than the quota ever holds.")
                .with_header(
                    HeaderName::from_static("x-should-retry"),
                    HeaderValue::from_static("false"),
                ),
        })
    }
}

/// What callers are told of a call that was let in.
#[derive(Debug)]
pub(super) struct Told {
    plan: Arc<Plan>,
    decided: Decided,
}

impl Told {
    /// `None`: callers are told nothing.
    pub(super) fn new(plan: Arc<Plan>, decided: Decided) -> Option<Self> {
        (!plan.lines.silent()).then_some(Self { plan, decided })
    }

    pub(super) fn write(&self, headers: &mut HeaderMap) {
        self.plan.lines.write(self.decided.as_slice(), headers);
    }
}

/// The plan for everyone, and those of who has limits of their own.
#[derive(Debug)]
pub(super) struct Plans {
    all: Arc<Plan>,
    headers: Headers,
    part: Option<f64>,
    own: Mutex<HashMap<Arc<[Limit]>, Arc<Plan>>>,
}

impl Plans {
    pub(super) fn new(quotas: Arc<[Quota]>, headers: Headers, part: Option<f64>) -> Self {
        Self {
            all: Arc::new(Plan::new(quotas, headers, part)),
            headers,
            part,
            own: Mutex::default(),
        }
    }

    /// The plan for who has these limits. Those that name none of the quotas do not count.
    pub(super) fn of(&self, limits: Option<Arc<[Limit]>>) -> Arc<Plan> {
        let Some(limits) = limits else {
            return self.all.clone();
        };
        let quotas = &self.all.quotas;
        let named = |quota: &Quota| limits.iter().find(|limit| limit.name() == quota.label());
        if !quotas.iter().any(|quota| named(quota).is_some()) {
            return self.all.clone();
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = own.get(&limits) {
            return plan.clone();
        }
        if own.len() >= SETS {
            // Few have limits of their own that nobody else has.
            own.clear();
        }
        let limited = |quota: &Quota| match named(quota) {
            Some(limit) => quota.limited(limit),
            None => quota.clone(),
        };
        let plan = Arc::new(Plan {
            limited: true,
            ..Plan::new(
                quotas.iter().map(limited).collect(),
                self.headers,
                self.part,
            )
        });
        own.insert(limits, plan.clone());
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_go_by_the_name_of_a_quota() {
        let quotas = [Quota::per_minute(60), Quota::per_day(1000)];
        let plans = Plans::new(quotas.into(), Headers::All, None);
        let limit = |name: &str, units| Limit::new(name, units, Duration::from_secs(60));
        let none = plans.of(Some([limit("tokens", 5)].into()));
        assert!(!none.limited && Arc::ptr_eq(&none, &plans.of(None)));
        let own = plans.of(Some([limit("tokens", 5), limit("per-minute", 7)].into()));
        let limits: Vec<_> = own.quotas.iter().map(Quota::limit).collect();
        assert_eq!((own.limited, limits), (true, vec![7, 1000]));
        let again = plans.of(Some([limit("tokens", 5), limit("per-minute", 7)].into()));
        assert!(Arc::ptr_eq(&own, &again));
    }

    #[test]
    fn what_is_remembered_of_limits_is_bounded() {
        let plans = Plans::new([Quota::per_minute(60)].into(), Headers::All, None);
        for units in 0..3 * SETS as u64 {
            let limit = Limit::new("per-minute", units, Duration::from_secs(60));
            plans.of(Some([limit].into()));
        }
        assert!(plans.own.lock().unwrap().len() <= SETS);
    }
}
