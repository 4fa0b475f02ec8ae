//! Counters and histograms, as Prometheus text.
