//! What an answer says of the endpoint that gave it.

use crate::answer::{ByHealth, Health, Outcome, Remedy};

/// What an answer says of the endpoint that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// Whether the endpoint is well.
    pub outcome: Outcome,
    /// Whether a failure came about on the way to it, and is not its own answer.
    pub local: bool,
    /// [`Remedy::Again`] with a time lets it rest for so long; any but [`Remedy::Nothing`] lets it rest for
    /// a second, if the outcome is neutral.
    pub remedy: Remedy,
}

impl Verdict {
    /// This outcome, of its own answer, and no time to rest.
    #[must_use]
    pub fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            local: false,
            remedy: Remedy::Nothing,
        }
    }

    /// Says that the failure came about on the way.
    #[must_use]
    pub fn local(self) -> Self {
        Self {
            local: true,
            ..self
        }
    }

    /// Says what would mend it.
    #[must_use]
    pub fn remedy(self, remedy: Remedy) -> Self {
        Self { remedy, ..self }
    }

    /// Whether the answer is one that is worth its time.
    pub(super) fn is_well(&self) -> bool {
        self.outcome != Outcome::Failure && self.remedy == Remedy::Nothing
    }
}

/// Judges the endpoints by their answers.
///
/// Closures `Fn(Result<&Res, &E>) -> Verdict` implement this. The default is [`ByHealth`].
#[diagnostic::on_unimplemented(
    message = "nothing says what the answers `Result<{Res}, {E}>` tell of an endpoint",
    label = "`{Self}` cannot judge them",
    note = "`ByHealth`, the default, asks for `impl Health<{E}> for {Res}`",
    note = "a closure must name its argument's type: `.judge(|answer: Result<&{Res}, &{E}>| …)`"
)]
pub trait Judge<Res, E> {
    /// Judges the head of an answer, or an error, be it in its place or after it.
    fn judge(&self, answer: Result<&Res, &E>) -> Verdict;
}

impl<Res, E, F> Judge<Res, E> for F
where
    F: Fn(Result<&Res, &E>) -> Verdict,
{
    fn judge(&self, answer: Result<&Res, &E>) -> Verdict {
        self(answer)
    }
}

/// By [`Health::health`], [`Health::is_local`] and [`Health::remedy`].
impl<Res: Health<E>, E> Judge<Res, E> for ByHealth {
    fn judge(&self, answer: Result<&Res, &E>) -> Verdict {
        let outcome = Res::health(answer);
        // Most answers are well, and need no mending.
        if outcome == Outcome::Success {
            return Verdict::new(outcome);
        }
        Verdict {
            outcome,
            local: Res::is_local(answer),
            remedy: Res::remedy(answer),
        }
    }
}
