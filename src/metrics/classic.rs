//! The text that Prometheus has always read, `text/plain; version=0.0.4`.
//!
//! OpenMetrics names a counter without `_total`, and its samples with it. In the older text the name
//! of a family is the name of its samples, and there are neither units nor a mark of the end.

/// OpenMetrics text as the older one.
pub(super) fn classic(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    // The help comes before the type, which says how the family is named.
    let mut help = None;
    for line in open.split_inclusive('\n') {
        if line.starts_with("# HELP ") {
            help = Some(line);
        } else if let Some(described) = line.strip_prefix("# TYPE ") {
            let counted = described.trim_end().strip_suffix(" counter");
            for line in help.take().into_iter().chain([line]) {
                match counted.and_then(|name| Some((name, line.find(name)?))) {
                    Some((name, at)) => {
                        let (start, end) = line.split_at(at + name.len());
                        out.extend([start, "_total", end]);
                    }
                    None => out.push_str(line),
                }
            }
        } else if !line.starts_with("# UNIT ") && line.trim_end() != "# EOF" {
            out.push_str(line);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Metrics, families::Tokens};
    use super::*;

    #[test]
    fn in_the_classic_text_a_counter_has_the_name_of_its_samples() {
        let metrics = Metrics::new();
        metrics.gauge("entries", "Entries", || 7);
        let tokens = Tokens {
            model: Some("fast".into()),
            kind: "input",
        };
        metrics.0.families.tokens.add(&tokens, |count| count.inc());
        let seconds = super::super::families::Route { route: None };
        metrics
            .0
            .families
            .duration
            .add(&seconds, |times| times.observe(1.0));
        let text = classic(&metrics.encode());
        for line in [
            "# HELP gateway_tokens_total Tokens used, by the count of the vendor.",
            "# TYPE gateway_tokens_total counter",
            r#"gateway_tokens_total{model="fast",type="input"} 1"#,
            "# TYPE gateway_http_request_duration_seconds histogram",
            r#"gateway_http_request_duration_seconds_count{route="none"} 1"#,
            "# TYPE entries gauge",
            "entries 7",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        }
        assert!(
            !text.contains("# UNIT") && !text.contains("# EOF"),
            "{text}"
        );
        assert!(!text.contains("_total_total"), "{text}");
    }
}
