//! Bounds of numbers.

use super::Schema;
use serde_json::Value;

/// Both ends belong to it.
pub(super) struct Range {
    least: f64,
    most: f64,
}

impl Range {
    pub(super) fn of(schema: &Schema, whole: bool) -> (Self, Option<f64>) {
        let number = |word| schema.get(word).and_then(Value::as_f64);
        // Before draft 6 these were booleans beside the bounds.
        let flag = |word| schema.get(word) == Some(&Value::Bool(true));
        let mut least = number("minimum").unwrap_or(f64::NEG_INFINITY);
        let mut most = number("maximum").unwrap_or(f64::INFINITY);
        let above = number("exclusiveMinimum").or(flag("exclusiveMinimum").then_some(least));
        let below = number("exclusiveMaximum").or(flag("exclusiveMaximum").then_some(most));
        let step = number("multipleOf").filter(|step| *step > 0.0);
        if whole {
            least = least.ceil();
            most = most.floor();
            if let Some(above) = above {
                least = least.max(above.floor() + 1.0);
            }
            if let Some(below) = below {
                most = most.min(below.ceil() - 1.0);
            }
        } else {
            // Half of the way to the other bound, so that there is room on both sides.
            let (low, high) = (
                above.unwrap_or(least).max(least),
                below.unwrap_or(most).min(most),
            );
            let gap = if (high - low).is_finite() {
                (high - low) / 4.0
            } else {
                1.0
            };
            if above.is_some_and(|above| above >= least) {
                least = low + gap;
            }
            if below.is_some_and(|below| below <= most) {
                most = high - gap;
            }
        }
        (Self { least, most }, step)
    }

    pub(super) fn holds(&self, number: f64) -> bool {
        (self.least..=self.most).contains(&number)
    }

    pub(super) fn pick(&self, step: Option<f64>, wish: f64) -> f64 {
        let number = wish.min(self.most).max(self.least);
        let Some(step) = step else {
            return number;
        };
        let up = (number / step).ceil() * step;
        if self.holds(up) {
            up
        } else {
            (number / step).floor() * step
        }
    }
}
