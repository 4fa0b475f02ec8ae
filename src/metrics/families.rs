//! What is counted, under which names.

use super::series::{Labels, Series};
use crate::describe::OTHER;
use http::StatusCode;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::{fmt, sync::Arc};

/// Seconds. From a cached answer to a language model that thinks.
const DURATION: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];
/// Seconds, as OpenTelemetry proposes for language models.
const FIRST_CONTENT: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];

/// All families, as they are registered: without `_total`, with `_seconds`.
const NAMES: [&str; 10] = [
    "gateway_http_requests",
    "gateway_http_request_duration_seconds",
    "gateway_http_requests_in_flight",
    "gateway_tokens",
    "gateway_time_to_first_content_seconds",
    "gateway_upstream_attempts",
    "gateway_variant_requests",
    "gateway_variant_duration_seconds",
    "gateway_rejections",
    "gateway_authorizations",
];

/// Whether a name is that of a family, or of one of the samples a family may have.
pub(super) fn owns(name: &str) -> bool {
    let ends = ["", "_total", "_created", "_bucket", "_count", "_sum"];
    ends.iter()
        .filter_map(|end| name.strip_suffix(end))
        .any(|name| NAMES.contains(&name))
}

/// A label value that is not known.
const NONE: &str = "none";

#[derive(Clone, Debug)]
pub(super) struct Families {
    pub(super) requests: Series<Request, Counter>,
    pub(super) duration: Series<Route, Histogram>,
    pub(super) in_flight: Gauge,
    pub(super) tokens: Series<Tokens, Counter>,
    pub(super) first_content: Series<Model, Histogram>,
    pub(super) attempts: Series<Attempt, Counter>,
    pub(super) variants: Series<VariantRequest, Counter>,
    pub(super) variant_duration: Series<Variant, Histogram>,
    pub(super) rejections: Series<Code, Counter>,
    pub(super) authorizations: Series<Authorization, Counter>,
}

impl Families {
    pub(super) fn new(most: usize) -> Self {
        Self {
            requests: Series::new(most, &[]),
            duration: Series::new(most, DURATION),
            in_flight: Gauge::default(),
            tokens: Series::new(most, &[]),
            first_content: Series::new(most, FIRST_CONTENT),
            attempts: Series::new(most, &[]),
            variants: Series::new(most, &[]),
            variant_duration: Series::new(most, DURATION),
            rejections: Series::new(most, &[]),
            authorizations: Series::new(most, &[]),
        }
    }

    /// The suffixes `_total` and `_seconds` are added by the registry.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "gateway_http_requests",
            "Requests whose answer is over",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "gateway_http_request_duration",
            "From the start of a request to the end of its answer",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register(
            "gateway_http_requests_in_flight",
            "Requests whose answer is not over",
            self.in_flight.clone(),
        );
        registry.register(
            "gateway_tokens",
            "Tokens used, by the count of the vendor",
            self.tokens.clone(),
        );
        registry.register_with_unit(
            "gateway_time_to_first_content",
            "From the start of a request to the first content of its answer",
            Unit::Seconds,
            self.first_content.clone(),
        );
        registry.register(
            "gateway_upstream_attempts",
            "Calls of upstreams, told by the last one of each request",
            self.attempts.clone(),
        );
        registry.register(
            "gateway_variant_requests",
            "Requests whose answer is over, by the variant of a service",
            self.variants.clone(),
        );
        registry.register_with_unit(
            "gateway_variant_duration",
            "From the start of a request to the end of its answer, by the variant of a service",
            Unit::Seconds,
            self.variant_duration.clone(),
        );
        registry.register(
            "gateway_rejections",
            "Requests that ended with an error of the gateway",
            self.rejections.clone(),
        );
        registry.register(
            "gateway_authorizations",
            "Requests on which a policy has decided, by the rule that applied",
            self.authorizations.clone(),
        );
    }
}

/// A label value.
pub(super) type Text = Option<Arc<str>>;

fn text(text: &Text) -> &str {
    text.as_deref().unwrap_or(NONE)
}

fn other() -> Text {
    Some(OTHER.into())
}

/// Which status: one, or, where there is no room for each, its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Status {
    None,
    Class(u16),
    One(StatusCode),
}

impl Status {
    fn class(self) -> Self {
        match self {
            Self::One(status) => Self::Class(status.as_u16() / 100),
            other => other,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Request {
    pub(super) route: Text,
    pub(super) method: &'static str,
    pub(super) status: Status,
}

impl Labels for Request {
    fn other(&self) -> Self {
        Self {
            route: other(),
            method: self.method,
            status: self.status.class(),
        }
    }

    fn each(&self, label: &mut dyn FnMut(&str, &str) -> fmt::Result) -> fmt::Result {
        label("route", text(&self.route))?;
        label("method", self.method)?;
        match self.status {
            Status::None => label("status", NONE),
            Status::Class(class @ 1..=5) => label("status", &format!("{class}xx")),
            Status::Class(_) => label("status", OTHER),
            Status::One(status) => label("status", status.as_str()),
        }
    }
}

/// A family with one label of its own, and one that is written in this program.
macro_rules! labels {
    ($($name:ident { $own:ident $(, $fixed:ident as $key:literal)? })*) => {
        $(#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) struct $name {
            pub(super) $own: Text,
            $(pub(super) $fixed: &'static str,)?
        }

        impl Labels for $name {
            fn other(&self) -> Self {
                Self { $own: other() $(, $fixed: self.$fixed)? }
            }

            fn each(&self, label: &mut dyn FnMut(&str, &str) -> fmt::Result) -> fmt::Result {
                label(stringify!($own), text(&self.$own))?;
                $(label($key, self.$fixed)?;)?
                Ok(())
            }
        })*
    };
}

labels! {
    Route { route }
    Model { model }
    Tokens { model, kind as "type" }
    Attempt { upstream, outcome as "outcome" }
    VariantRequest { variant, outcome as "outcome" }
    Variant { variant }
    Authorization { rule, effect as "effect" }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Code(pub(super) &'static str);

impl Labels for Code {
    fn other(&self) -> Self {
        Self(OTHER)
    }

    fn each(&self, label: &mut dyn FnMut(&str, &str) -> fmt::Result) -> fmt::Result {
        label("code", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use prometheus_client::encoding::text;

    #[test]
    fn every_family_is_among_the_names_that_are_taken() {
        let mut registry = Registry::default();
        Families::new(1).register(&mut registry);
        let mut out = String::new();
        text::encode_registry(&mut out, &registry).unwrap();
        let typed = out.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names: Vec<&str> = typed.filter_map(|line| line.split(' ').next()).collect();
        assert!(names.iter().all(|name| NAMES.contains(name)), "{names:?}");
    }

    #[test]
    fn a_gauge_without_a_name_or_with_one_of_ours_gets_another() {
        let metrics = Metrics::new();
        metrics.gauge("", "None", || 1);
        metrics.gauge("gateway_tokens", "Ours", || 2);
        metrics.gauge("gateway_tokens_total", "Ours", || 3);
        metrics.gauge("gateway http requests in flight", "Ours", || 4);
        metrics.gauge("gateway_tokens_left", "Another", || 5);
        let text = metrics.encode();
        for line in [
            "_ 1",
            "custom_gateway_tokens 2",
            "custom_gateway_tokens_total 3",
            "custom_gateway_http_requests_in_flight 4",
            "gateway_tokens_left 5",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        }
        let typed = |name| text.matches(&format!("# TYPE {name} ")).count();
        assert!(NAMES.iter().all(|name| typed(name) <= 1), "{text}");
    }
}
