//! Policies, and how they decide.

use super::{
    Asked, Role, Rule,
    condition::{Condition, Truth},
};
use crate::{Rejection, exchange::Ruling, rejection::Kind};
use http::{HeaderValue, header};
use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Who may do what: rules that allow, and rules that deny.
///
/// See the [module docs](super) for how it decides. Cloning it bumps counters; every setter starts its
/// [`stats`](Self::stats) anew.
#[derive(Clone)]
pub struct Policy {
    config: Arc<Config>,
    counts: Arc<Counts>,
}

#[derive(Clone)]
struct Config {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
    conceal: bool,
    shadow: Option<Policy>,
    clock: Clock,
    reads_time: bool,
    reads_route: bool,
}

#[derive(Debug, Default)]
struct Counts {
    denied: AtomicU64,
    shadow_denied: AtomicU64,
    shadow_allowed: AtomicU64,
}

/// What a policy decides, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// Whether it is allowed.
    pub effect: Effect,
    /// By which rule. `None`: no rule that allows applies.
    pub rule: Option<Arc<str>>,
    /// The scopes that would do, where nothing but scopes is missing.
    pub missing_scopes: Vec<Arc<str>>,
}

/// Whether it is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// It is not.
    Deny,
    /// That depends on the model, which will be known [later](Asked::with_model_later).
    Undecided,
    /// It is.
    Allow,
}

impl Decision {
    fn new(effect: Effect, rule: Option<&Rule>) -> Self {
        Self {
            effect,
            rule: rule.map(|rule| rule.id().clone()),
            missing_scopes: Vec::new(),
        }
    }

    pub(super) fn ruling(&self) -> Ruling {
        static DEFAULT: LazyLock<Arc<str>> = LazyLock::new(|| "default".into());
        let rule = self.rule.as_ref().unwrap_or(&DEFAULT);
        Ruling::new(self.effect == Effect::Allow, rule.clone())
    }
}

impl Policy {
    /// Without rules, and so without rights for anybody.
    #[must_use]
    pub fn new() -> Self {
        let config = Config {
            allow: Vec::new(),
            deny: Vec::new(),
            conceal: false,
            shadow: None,
            clock: Arc::new(SystemTime::now),
            reads_time: false,
            reads_route: false,
        };
        Self {
            config: Arc::new(config),
            counts: Arc::default(),
        }
    }

    /// Adds a rule. The order of rules does not matter, but for which of several a log names.
    #[must_use]
    pub fn rule(self, rule: Rule) -> Self {
        self.set(|config| {
            config.reads_time |= rule.any(Condition::reads_time);
            config.reads_route |= rule.any(Condition::reads_route);
            if rule.denies() {
                config.deny.push(rule);
            } else {
                config.allow.push(rule);
            }
        })
    }

    /// Adds what a role may do.
    #[must_use]
    pub fn role(self, role: Role) -> Self {
        role.into_rules().into_iter().fold(self, Self::rule)
    }

    /// Answers what it denies as if it were not there: 404, over HTTP and for models.
    #[must_use]
    pub fn conceal(self) -> Self {
        self.set(|config| config.conceal = true)
    }

    /// Asks another policy as well, to no effect: what it would have decided is in the
    /// [`Exchange`](crate::Exchange), and so in the access log, the trace and the metrics, and where the two
    /// differ it is counted in [`stats`](Self::stats). Its own shadow is not asked.
    #[must_use]
    pub fn shadow(self, policy: Self) -> Self {
        self.set(|config| config.shadow = Some(policy))
    }

    /// Sets the clock, for tests.
    #[must_use]
    pub fn clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.set(|config| config.clock = Arc::new(clock))
    }

    fn set(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(Arc::make_mut(&mut self.config));
        self.counts = Arc::default();
        self
    }

    /// What it has counted so far. For gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats(self.counts.clone())
    }

    /// Decides.
    #[must_use]
    pub fn decide(&self, asked: &Asked<'_>) -> Decision {
        let Config { allow, deny, .. } = &*self.config;
        let mut later = None;
        for rule in deny {
            match rule.applies(asked) {
                Truth::Yes | Truth::Unknown => return Decision::new(Effect::Deny, Some(rule)),
                Truth::Later => later = Some(rule),
                Truth::No => {}
            }
        }
        let mut maybe = None;
        for rule in allow {
            match rule.applies(asked) {
                Truth::Yes if later.is_none() => {
                    return Decision::new(Effect::Allow, Some(rule));
                }
                Truth::Yes | Truth::Later => maybe = Some(rule),
                Truth::Unknown | Truth::No => {}
            }
        }
        if let Some(rule) = maybe {
            return Decision::new(Effect::Undecided, later.or(Some(rule)));
        }
        let mut missing = allow.iter().filter_map(|rule| rule.missing_scopes(asked));
        Decision {
            missing_scopes: missing.next().unwrap_or_default(),
            ..Decision::new(Effect::Deny, None)
        }
    }

    /// Whether it allows a model on one of these routes, for a caller who asks which models there are.
    #[cfg(feature = "llm")]
    pub(crate) fn offers(
        &self,
        headers: &http::HeaderMap,
        extensions: &http::Extensions,
        routes: &[Arc<str>],
        model: &str,
    ) -> bool {
        let now = self.now();
        let reads_route = self.config.reads_route;
        let routes = routes
            .iter()
            .take(if reads_route { routes.len() } else { 1 });
        routes.into_iter().any(|route| {
            let asked = Asked::parts(headers, extensions, None)
                .with_method(&http::Method::POST)
                .with_route(route.clone())
                .with_model(model);
            let asked = match now {
                Some(now) => asked.with_now(now),
                None => asked,
            };
            self.decide(&asked).effect == Effect::Allow
        })
    }

    /// The time, if anybody needs it.
    pub(super) fn now(&self) -> Option<SystemTime> {
        let shadow = self.config.shadow.as_ref();
        let needed =
            self.config.reads_time || shadow.is_some_and(|shadow| shadow.config.reads_time);
        needed.then(|| (self.config.clock)())
    }

    /// Whether it is that very one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }

    /// What its shadow says.
    pub(super) fn shadowed(&self, asked: &Asked<'_>) -> Option<Decision> {
        let shadow = self.config.shadow.as_ref()?;
        Some(shadow.decide(asked))
    }

    /// Counts a decision that is final.
    pub(super) fn count(&self, decided: &Decision, shadow: Option<&Decision>) {
        let denied = decided.effect != Effect::Allow;
        let add = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed);
        if denied {
            add(&self.counts.denied);
        }
        match shadow.map(|shadow| shadow.effect != Effect::Allow) {
            Some(true) if !denied => {
                add(&self.counts.shadow_denied);
            }
            Some(false) if denied => {
                add(&self.counts.shadow_allowed);
            }
            _ => {}
        }
    }

    /// What a caller hears of a call that is not allowed: nothing of the rules.
    pub(super) fn rejection(&self, decided: &Decision, asked: &Asked<'_>) -> Rejection {
        if !self.config.conceal {
            let rejection = Rejection::new(Kind::Forbidden);
            return match challenge(&decided.missing_scopes) {
                Some(challenge) => rejection.with_header(header::WWW_AUTHENTICATE, challenge),
                None => rejection,
            };
        }
        match (asked.prompt(), asked.model()) {
            // Whether or not there is one, and whatever its model.
            (Some(_), _) => Kind::PromptNotFound.into(),
            (None, Some(_)) => Rejection::new(Kind::ModelNotFound).with_param("model"),
            (None, None) => Kind::NotFound.into(),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("allow", &self.config.allow)
            .field("deny", &self.config.deny)
            .field("conceal", &self.config.conceal)
            .field("shadow", &self.config.shadow)
            .finish_non_exhaustive()
    }
}

/// RFC 6750 §3, if all of them can be named in one.
fn challenge(scopes: &[Arc<str>]) -> Option<HeaderValue> {
    let plain = |byte: u8| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~');
    let nameable = |scope: &Arc<str>| !scope.is_empty() && scope.bytes().all(plain);
    if scopes.is_empty() || !scopes.iter().all(nameable) {
        return None;
    }
    let scopes = scopes.join(" ");
    let value = format!(r#"Bearer error="insufficient_scope", scope="{scopes}""#);
    HeaderValue::try_from(value).ok()
}

/// What a policy has counted: a handle, which tells what is so now.
#[derive(Clone, Debug)]
pub struct Stats(Arc<Counts>);

impl Stats {
    /// How many calls were not allowed.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.0.denied.load(Ordering::Relaxed)
    }

    /// How many calls were allowed that the [shadow](Policy::shadow) would not have allowed.
    #[must_use]
    pub fn shadow_denied(&self) -> u64 {
        self.0.shadow_denied.load(Ordering::Relaxed)
    }

    /// How many calls were not allowed that the shadow would have allowed.
    #[must_use]
    pub fn shadow_allowed(&self) -> u64 {
        self.0.shadow_allowed.load(Ordering::Relaxed)
    }
}
