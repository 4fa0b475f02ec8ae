//! Sets of methods.

use http::{HeaderValue, Method};

/// The methods of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Methods(Option<Vec<Method>>);

impl Methods {
    /// Every method, but for those to which another route of the same template answers.
    pub const ANY: Self = Self(None);

    pub(super) fn named(&self) -> Option<&[Method]> {
        self.0.as_deref()
    }
}

impl From<Method> for Methods {
    fn from(method: Method) -> Self {
        Self(Some(vec![method]))
    }
}

impl<const N: usize> From<[Method; N]> for Methods {
    fn from(methods: [Method; N]) -> Self {
        Self(Some(methods.into()))
    }
}

impl From<Vec<Method>> for Methods {
    fn from(methods: Vec<Method>) -> Self {
        Self(Some(methods))
    }
}

/// What is served at one template, by method.
#[derive(Clone, Debug)]
pub(super) struct ByMethod<T> {
    named: Vec<(Method, T)>,
    any: Option<T>,
}

impl<T: Copy> ByMethod<T> {
    pub(super) const fn new() -> Self {
        Self {
            named: Vec::new(),
            any: None,
        }
    }

    /// Whether all of the methods were free.
    #[must_use]
    pub(super) fn add(&mut self, methods: &Methods, item: T) -> bool {
        let Some(methods) = methods.named() else {
            return self.any.replace(item).is_none();
        };
        let before = self.named.len();
        for method in methods {
            if !self.named[..before].iter().any(|(have, _)| have == method) {
                self.named.push((method.clone(), item));
            }
        }
        self.named.len() - before == methods.len()
    }

    /// `HEAD` is answered by who answers `GET`.
    pub(super) fn get(&self, method: &Method) -> Option<T> {
        let named = |wanted: &Method| {
            let mut named = self.named.iter();
            named.find(|(method, _)| method == wanted)
        };
        let found = named(method).or_else(|| match *method {
            Method::HEAD => named(&Method::GET),
            _ => None,
        });
        found.map(|(_, item)| *item).or(self.any)
    }

    /// The value of `Allow`.
    pub(super) fn allow(&self) -> HeaderValue {
        let mut names: Vec<_> = self.named.iter().map(|(name, _)| name.as_str()).collect();
        if names.contains(&"GET") && !names.contains(&"HEAD") {
            names.push("HEAD");
        }
        names.sort_unstable();
        // Methods are tokens, so it always is a value.
        HeaderValue::try_from(names.join(", ")).unwrap_or(HeaderValue::from_static(""))
    }
}
