//! Limits that find themselves. Plain arithmetic: no lock, no clock, no runtime.

mod aimd;
mod gradient;
#[cfg(test)]
mod simulation;

pub use self::{aimd::Aimd, gradient::Gradient};

use crate::answer::Outcome;
use std::time::Duration;
use tokio::time::Instant;

/// How a limit finds itself: [`Gradient`] or [`Aimd`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AdaptiveLimit {
    /// By how much longer answers take than they took with nothing to do.
    Gradient(Gradient),
    /// By what fails or takes too long.
    Aimd(Aimd),
}

impl From<Gradient> for AdaptiveLimit {
    fn from(gradient: Gradient) -> Self {
        Self::Gradient(gradient)
    }
}

impl From<Aimd> for AdaptiveLimit {
    fn from(aimd: Aimd) -> Self {
        Self::Aimd(aimd)
    }
}

/// One call that was let in, and what came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) begun: Instant,
    pub(super) now: Instant,
    /// How many were in flight when it ended, itself among them.
    pub(super) in_flight: usize,
    /// `Neutral`: nobody waited for its end.
    pub(super) outcome: Outcome,
}

impl Sample {
    fn took(&self) -> Duration {
        self.now.saturating_duration_since(self.begun)
    }
}

#[derive(Debug)]
pub(super) enum Core {
    Gradient(gradient::Core),
    Aimd(aimd::Core),
}

impl Core {
    pub(super) fn new(limit: &AdaptiveLimit, now: Instant) -> Self {
        match limit {
            AdaptiveLimit::Gradient(gradient) => {
                Self::Gradient(gradient::Core::new(gradient.clone(), now))
            }
            AdaptiveLimit::Aimd(aimd) => Self::Aimd(aimd::Core::new(aimd.clone())),
        }
    }

    pub(super) fn limit(&self) -> usize {
        match self {
            Self::Gradient(core) => core.limit(),
            Self::Aimd(core) => core.limit(),
        }
    }

    pub(super) fn sample(&mut self, sample: &Sample) {
        match self {
            Self::Gradient(core) => core.sample(sample),
            Self::Aimd(core) => core.sample(sample),
        }
    }
}

/// From one, as many as there may be.
fn bounds(least: usize, most: usize) -> (usize, usize) {
    let least = least.max(1);
    (least, most.max(least))
}
