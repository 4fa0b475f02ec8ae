//! Numbers that are read when they are asked for.

use super::families;
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// One number, and the labels of its series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    value: f64,
    labels: Vec<(&'static str, Arc<str>)>,
}

impl Sample {
    /// A number without labels.
    #[must_use]
    pub fn new(value: f64) -> Self {
        let labels = Vec::new();
        Self { value, labels }
    }

    /// Adds a label. There are to be few values of each: nothing that callers choose.
    #[must_use]
    pub fn label(mut self, name: &'static str, value: impl Into<Arc<str>>) -> Self {
        self.labels.push((name, value.into()));
        self
    }
}

/// What was added to the numbers.
#[derive(Clone)]
pub(super) struct Gauges {
    most: usize,
    all: Arc<Mutex<Vec<One>>>,
}

#[derive(Clone)]
struct One {
    name: Box<str>,
    help: Box<str>,
    counts: bool,
    read: Arc<dyn Fn() -> Vec<Sample> + Send + Sync>,
}

impl Gauges {
    pub(super) fn new(most: usize) -> Self {
        let all = Arc::default();
        Self { most, all }
    }

    pub(super) fn add(
        &self,
        name: &str,
        help: &str,
        kind: MetricType,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        let nameable = |(at, char): (usize, char)| match char {
            'a'..='z' | 'A'..='Z' | '_' | ':' => char,
            '0'..='9' if at > 0 => char,
            _ => '_',
        };
        let mut name: String = name.chars().enumerate().map(nameable).collect();
        if name.is_empty() {
            name.push('_');
        }
        if families::owns(&name) {
            name.insert_str(0, "custom_");
        }
        let one = One {
            help: help.replace(['\\', '\n', '\r'], " ").into(),
            counts: matches!(kind, MetricType::Counter),
            read: Arc::new(read),
            name: name.into(),
        };
        let mut all = self.lock();
        match all.iter_mut().find(|other| other.name == one.name) {
            Some(other) => *other = one,
            None => all.push(one),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<One>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauges").finish_non_exhaustive()
    }
}

impl prometheus_client::collector::Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A gauge may ask those who are just adding one: it is read without the lock.
        let all = self.lock().clone();
        for one in &all {
            let kind = match one.counts {
                true => MetricType::Counter,
                false => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(&one.name, &one.help, None, kind)?;
            let samples = (one.read)();
            if let [Sample { value, labels }] = &*samples
                && labels.is_empty()
            {
                Number(*value, one.counts).encode(family)?;
                continue;
            }
            for Sample { value, labels } in samples.iter().take(self.most) {
                let series = family.encode_family(labels)?;
                Number(*value, one.counts).encode(series)?;
            }
        }
        Ok(())
    }
}

/// Whole numbers are told as such.
struct Number(f64, bool);

impl Number {
    fn encode(&self, series: MetricEncoder<'_>) -> fmt::Result {
        let Self(value, counts) = *self;
        if counts {
            return ConstCounter::new(value as u64).encode(series);
        }
        match value.fract() == 0.0 && value.abs() < MOST_EXACT {
            true => ConstGauge::new(value as i64).encode(series),
            false => ConstGauge::new(value).encode(series),
        }
    }
}

/// 2^53: up to here a `f64` tells every whole number.
const MOST_EXACT: f64 = 9_007_199_254_740_992.0;
