//! Whoever is new gets little at first.

use crate::balance::LONGEST;
use std::time::Duration;

/// Lets an endpoint that is new, or is well again, have calls little by little, while its caches are cold:
/// for the time of a window its weight is its own times (age / window) ^ (1 / aggression), and never less
/// than a least share. Envoy's slow start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    window: Duration,
    aggression: f64,
    least: f64,
}

impl SlowStart {
    /// Grows in a straight line over this time, from 10 % on. A year at most.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            window: window.min(LONGEST),
            aggression: 1.0,
            least: 0.1,
        }
    }

    /// Sets how fast it grows at first. 1 is a straight line, more is faster at first, less is slower.
    #[must_use]
    pub fn aggression(self, aggression: f64) -> Self {
        let aggression = aggression.max(0.01);
        Self { aggression, ..self }
    }

    /// Sets the share of its weight that an endpoint has at the least, 0.1 by default.
    #[must_use]
    pub fn least(self, share: f64) -> Self {
        let least = share.clamp(0.0, 1.0);
        Self { least, ..self }
    }

    /// Which share of its weight an endpoint of this age has.
    #[must_use]
    pub fn share(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let part = age.as_secs_f64() / self.window.as_secs_f64();
        part.powf(1.0 / self.aggression).max(self.least)
    }

    /// How long the window is.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_from_a_tenth_to_all() {
        let second = Duration::from_secs(1);
        let slow = SlowStart::new(100 * second);
        let shares = [0, 5, 10, 50, 100, 1000].map(|age| slow.share(age * second));
        assert_eq!(shares, [0.1, 0.1, 0.1, 0.5, 1.0, 1.0]);
        assert!(slow.aggression(2.0).share(25 * second) == 0.5);
        assert!(slow.aggression(0.5).least(0.0).share(50 * second) == 0.25);
        assert_eq!(SlowStart::new(Duration::ZERO).share(Duration::ZERO), 1.0);
    }
}
