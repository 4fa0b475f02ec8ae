//! A family of metrics that differ by their labels, so many and no more.

use prometheus_client::{
    encoding::{EncodeLabel, EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder},
    metrics::{MetricType, TypedMetric, counter::Counter, histogram::Histogram},
};
use std::{
    collections::HashMap,
    fmt::{self, Debug},
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::{Arc, PoisonError, RwLock},
};

/// Labels, as the key of one series.
pub(super) trait Labels: Hash + Ord + Clone + Debug + Send + Sync + 'static {
    /// What stands for all that found no room. Of these there must be few.
    fn other(&self) -> Self;

    /// Calls `label` with the name and the value of each.
    fn each(&self, label: &mut dyn FnMut(&str, &str) -> fmt::Result) -> fmt::Result;
}

pub(super) trait Metric:
    Clone + Debug + EncodeMetric + TypedMetric + Send + Sync + 'static
{
    fn fresh(buckets: &'static [f64]) -> Self;
}

impl Metric for Counter {
    fn fresh(_: &'static [f64]) -> Self {
        Self::default()
    }
}

impl Metric for Histogram {
    fn fresh(buckets: &'static [f64]) -> Self {
        Self::new(buckets.iter().copied())
    }
}

/// A quick hash, eight bytes at a time. Whoever could choose labels that collide would gain little:
/// there are so many and no more.
#[derive(Clone, Copy, Debug, Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let rest = rest.iter().rev();
        self.write_u64(rest.fold(0, |word, byte| word << 8 | u64::from(*byte)));
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        // The table looks at the high bits and at the low ones, which multiplying leaves poor.
        self.0 ^ self.0 >> 32
    }
}

/// The handle. All clones are of the same family.
#[derive(Debug)]
pub(super) struct Series<L, M>(Arc<Inner<L, M>>);

#[derive(Debug)]
struct Inner<L, M> {
    most: usize,
    buckets: &'static [f64],
    series: RwLock<HashMap<L, M, BuildHasherDefault<Fold>>>,
}

impl<L, M> Clone for Series<L, M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<L: Labels, M: Metric> Series<L, M> {
    pub(super) fn new(most: usize, buckets: &'static [f64]) -> Self {
        let series = RwLock::default();
        Self(Arc::new(Inner {
            most,
            buckets,
            series,
        }))
    }

    /// Calls `add` with the series of these labels, begun now if there is room.
    pub(super) fn add<T>(&self, labels: &L, add: impl FnOnce(&M) -> T) -> T {
        let series = self.0.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(metric) = series.get(labels) {
            return add(metric);
        }
        let full = series.len() >= self.0.most;
        let other = full.then(|| labels.other());
        if let Some(metric) = other.as_ref().and_then(|other| series.get(other)) {
            return add(metric);
        }
        drop(series);
        let mut series = self
            .0
            .series
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // Meanwhile others may have taken the room.
        let full = series.len() >= self.0.most && !series.contains_key(labels);
        let labels = if full { labels.other() } else { labels.clone() };
        let fresh = || M::fresh(self.0.buckets);
        add(series.entry(labels).or_insert_with(fresh))
    }
}

/// As [`prometheus_client`]'s own, but sorted, and without the lock while it is written.
impl<L: Labels, M: Metric> EncodeMetric for Series<L, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let series = self.0.series.read().unwrap_or_else(PoisonError::into_inner);
        let pair = |(labels, metric): (&L, &M)| (labels.clone(), metric.clone());
        let mut series: Vec<_> = { series }.iter().map(pair).collect();
        series.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (labels, metric) in &series {
            metric.encode(encoder.encode_family(&Set(labels))?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

struct Set<'a, L>(&'a L);

impl<L: Labels> EncodeLabelSet for Set<'_, L> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0
            .each(&mut |name, value| (name, value).encode(encoder.encode_label()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::{encoding::text, registry::Registry};

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    struct Name(String);

    impl Labels for Name {
        fn other(&self) -> Self {
            Self("other".into())
        }

        fn each(&self, label: &mut dyn FnMut(&str, &str) -> fmt::Result) -> fmt::Result {
            label("name", &self.0)
        }
    }

    fn text(family: &Series<Name, Counter>) -> String {
        let mut registry = Registry::default();
        registry.register("c", "Help", family.clone());
        let mut out = String::new();
        text::encode(&mut out, &registry).unwrap();
        out
    }

    #[test]
    fn what_finds_no_room_is_counted_as_other() {
        let family = Series::<_, Counter>::new(2, &[]);
        for name in ["b", "a", "c", "d", "a", "c"] {
            family.add(&Name(name.into()), |counter| counter.inc());
        }
        let lines = "c_total{name=\"a\"} 2\nc_total{name=\"b\"} 1\nc_total{name=\"other\"} 3\n";
        assert!(text(&family).contains(lines), "{}", text(&family));
    }

    #[test]
    fn a_value_cannot_end_its_line() {
        let family = Series::<_, Counter>::new(9, &[]);
        family.add(&Name("a\"} 9\nb\\".into()), |counter| counter.inc());
        let line = r#"c_total{name="a\"} 9\nb\\"} 1"#;
        assert!(
            text(&family).lines().any(|other| other == line),
            "{}",
            text(&family)
        );
    }
}
