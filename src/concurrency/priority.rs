//! Who goes first when not all can.

use crate::{Extensible, Principal};
use http::HeaderName;
use std::{fmt, str::FromStr, sync::Arc};

/// How much it matters that a call is let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Goes before all others.
    Critical,
    /// As most.
    #[default]
    Normal,
    /// Gives way to all others.
    Sheddable,
}

impl Priority {
    /// All of them, the one that goes first first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Normal, Self::Sheddable];

    /// `critical`, `normal` or `sheddable`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Normal => "normal",
            Self::Sheddable => "sheddable",
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    pub(super) fn lane(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`Priority`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPriority;

impl fmt::Display for UnknownPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected critical, normal or sheddable")
    }
}

impl std::error::Error for UnknownPriority {}

impl FromStr for Priority {
    type Err = UnknownPriority;

    fn from_str(text: &str) -> Result<Self, UnknownPriority> {
        let mut all = Self::ALL.into_iter();
        all.find(|priority| text.eq_ignore_ascii_case(priority.as_str()))
            .ok_or(UnknownPriority)
    }
}

/// Says what a call is, before it is let in.
///
/// Closures `Fn(&Req) -> Priority` implement this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say how much a `{Req}` matters",
    note = "a closure must name its argument's type: `.priority(|req: &{Req}| Priority::Normal)`"
)]
pub trait Triage<Req> {
    /// How much it matters.
    fn priority(&self, req: &Req) -> Priority;

    /// Whether the time to its answer says anything about the load of the service. An
    /// [adaptive](super::ConcurrencyLayer::adaptive) limit learns from no other.
    fn is_sample(&self, _req: &Req) -> bool {
        true
    }
}

impl<Req, F: Fn(&Req) -> Priority> Triage<Req> for F {
    fn priority(&self, req: &Req) -> Priority {
        self(req)
    }
}

/// All calls matter as much.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllNormal;

impl<Req> Triage<Req> for AllNormal {
    fn priority(&self, _: &Req) -> Priority {
        Priority::Normal
    }
}

/// By a scope of the [`Principal`]: whoever has it is of this priority, all others are
/// [`Normal`](Priority::Normal). For several, the first scope that the principal has counts.
#[derive(Clone, Debug, Default)]
pub struct ByScope(Vec<(Arc<str>, Priority)>);

impl ByScope {
    /// Whoever has this scope is of this priority.
    #[must_use]
    pub fn new(scope: impl Into<Arc<str>>, priority: Priority) -> Self {
        Self(Vec::new()).or(scope, priority)
    }

    /// The same of another scope, if the principal has none of those before.
    #[must_use]
    pub fn or(mut self, scope: impl Into<Arc<str>>, priority: Priority) -> Self {
        self.0.push((scope.into(), priority));
        self
    }
}

impl<Req: Extensible> Triage<Req> for ByScope {
    fn priority(&self, req: &Req) -> Priority {
        let Some(principal) = Principal::of(req) else {
            return Priority::Normal;
        };
        let mut rules = self.0.iter();
        rules
            .find(|(scope, _)| principal.has_scope(scope))
            .map_or(Priority::Normal, |(_, priority)| *priority)
    }
}

/// By what a header says: `critical`, `normal` or `sheddable`, in any case.
///
/// Everyone may say that a call matters less than most. That it matters more is believed only of a
/// [`Principal`] with the scope that was [named](Self::believed_with), and of nobody by default. A header
/// that is missing, says something else or stands in two lines says `normal`.
///
/// It is read and left as it is: who forwards calls to others that read it strips or sets it itself.
#[derive(Clone, Debug)]
pub struct FromHeader {
    name: HeaderName,
    scope: Option<Arc<str>>,
}

impl FromHeader {
    /// Reads this header.
    ///
    /// # Panics
    ///
    /// If `name` is not the name of a header, in lower case. It is known when the program is written.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name: HeaderName::from_static(name),
            scope: None,
        }
    }

    /// Whoever has this scope may say `critical`.
    #[must_use]
    pub fn believed_with(mut self, scope: impl Into<Arc<str>>) -> Self {
        self.scope = Some(scope.into());
        self
    }
}

impl<Req: Extensible> Triage<Req> for FromHeader {
    fn priority(&self, req: &Req) -> Priority {
        let mut lines = req.headers().get_all(&self.name).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Priority::Normal;
        };
        let said = line.to_str().ok().and_then(|text| text.parse().ok());
        let said = said.unwrap_or_default();
        let believed = || {
            let scope = self.scope.as_ref()?;
            Principal::of(req)?.has_scope(scope).then_some(())
        };
        match said {
            Priority::Critical if believed().is_none() => Priority::Normal,
            said => said,
        }
    }
}

/// Another triage, and a closure `Fn(&Req) -> bool` that says which calls are samples: health checks and
/// calls that wait for news are none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sampled<T, F>(pub T, pub F);

impl<Req, T: Triage<Req>, F: Fn(&Req) -> bool> Triage<Req> for Sampled<T, F> {
    fn priority(&self, req: &Req) -> Priority {
        self.0.priority(req)
    }

    fn is_sample(&self, req: &Req) -> bool {
        (self.1)(req) && self.0.is_sample(req)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn asking(lines: &[&str], scopes: &[&str]) -> Request<()> {
        let mut request = Request::new(());
        for line in lines {
            let line = line.parse().unwrap();
            request.headers_mut().append("x-priority", line);
        }
        let principal = Principal::new("alice").with_scopes(scopes.iter().copied());
        request.extensions_mut().insert(principal);
        request
    }

    #[test]
    fn everyone_may_say_less_and_only_the_permitted_more() {
        let triage = FromHeader::new("x-priority").believed_with("urgent");
        let says = |lines: &[&str], scopes: &[&str]| triage.priority(&asking(lines, scopes));
        assert_eq!(says(&["sheddable"], &[]), Priority::Sheddable);
        assert_eq!(says(&["critical"], &[]), Priority::Normal);
        assert_eq!(says(&["Critical"], &["urgent"]), Priority::Critical);
        for lines in [&[][..], &["high"], &["critical", "critical"]] {
            assert_eq!(says(lines, &["urgent"]), Priority::Normal, "{lines:?}");
        }
        let nobody = FromHeader::new("x-priority");
        let asks = asking(&["critical"], &["urgent"]);
        assert_eq!(nobody.priority(&asks), Priority::Normal);
    }

    #[test]
    fn the_first_scope_that_a_principal_has_counts() {
        let triage = ByScope::new("pager", Priority::Critical).or("batch", Priority::Sheddable);
        let of = |scopes: &[&str]| triage.priority(&asking(&[], scopes));
        assert_eq!(of(&["batch"]), Priority::Sheddable);
        assert_eq!(of(&["batch", "pager"]), Priority::Critical);
        assert_eq!(of(&["chat"]), Priority::Normal);
        assert_eq!(triage.priority(&Request::new(())), Priority::Normal);
    }
}
