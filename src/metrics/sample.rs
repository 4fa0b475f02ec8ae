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
    read: Read,
}

type All = dyn Fn() -> Vec<Vec<Sample>> + Send + Sync;

#[derive(Clone)]
enum Read {
    Own(Arc<dyn Fn() -> Vec<Sample> + Send + Sync>),
    /// Which of those that are read together.
    #[cfg_attr(not(all(feature = "gateway", feature = "prompts")), allow(dead_code))]
    Of(Arc<All>, usize),
}

/// What was read for one of several, while all of them are told.
#[derive(Default)]
struct Together(Vec<(Arc<All>, Vec<Vec<Sample>>)>);

impl Together {
    fn read(&mut self, read: &Read) -> Vec<Sample> {
        let (all, at) = match read {
            Read::Own(read) => return read(),
            Read::Of(all, at) => (all, *at),
        };
        let known = self.0.iter().position(|(known, _)| Arc::ptr_eq(known, all));
        let known = known.unwrap_or_else(|| {
            self.0.push((all.clone(), all()));
            self.0.len() - 1
        });
        let samples = self.0.get_mut(known).and_then(|(_, all)| all.get_mut(at));
        samples.map(std::mem::take).unwrap_or_default()
    }
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
        self.put(name, help, kind, Read::Own(Arc::new(read)));
    }

    /// Several families that are read at once, each time that the numbers are told.
    #[cfg(all(feature = "gateway", feature = "prompts"))]
    pub(super) fn add_together(
        &self,
        families: &[(&str, &str, MetricType)],
        read: impl Fn() -> Vec<Vec<Sample>> + Send + Sync + 'static,
    ) {
        let read: Arc<All> = Arc::new(read);
        for (at, (name, help, kind)) in families.iter().enumerate() {
            self.put(name, help, *kind, Read::Of(read.clone(), at));
        }
    }

    fn put(&self, name: &str, help: &str, kind: MetricType, read: Read) {
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
            read,
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
        let mut together = Together::default();
        for one in &all {
            let kind = match one.counts {
                true => MetricType::Counter,
                false => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(&one.name, &one.help, None, kind)?;
            let samples = together.read(&one.read);
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

#[cfg(all(test, feature = "gateway", feature = "prompts"))]
mod tests {
    use super::Sample;
    use crate::metrics::Metrics;
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    #[test]
    fn those_that_are_read_together_are_read_once_each_time() {
        let (metrics, count) = (Metrics::new(), Arc::<AtomicU64>::default());
        let read = count.clone();
        let names = [("a", "Grows"), ("b", "Does not"), ("c", "Neither")];
        metrics.together(&names, 1, move || {
            let nth = read.fetch_add(1, Ordering::Relaxed) as f64;
            (0..3)
                .map(|at| vec![Sample::new(nth * 10.0 + f64::from(at))])
                .collect()
        });
        // Of one that is replaced the others are still read.
        metrics.gauge("b", "Another", || 7);
        for nth in 0..3_u64 {
            let told = metrics.encode();
            assert_eq!(count.load(Ordering::Relaxed), nth + 1);
            let (first, last) = (
                format!("a_total {}", nth * 10),
                format!("c {}", nth * 10 + 2),
            );
            assert!(told.contains(&first) && told.contains(&last), "{told}");
            assert!(told.contains("b 7"), "{told}");
        }
    }
}
