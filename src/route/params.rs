//! What a path has in the place of parameters.

use super::tree::Places;
use http::uri::PathAndQuery;
use std::{borrow::Cow, fmt, str, sync::Arc};

/// The parameters of the route that matched, in the extensions of the request.
#[derive(Clone)]
pub struct PathParams {
    names: Arc<[Box<str>]>,
    path: PathAndQuery,
    places: Places,
}

impl PathParams {
    pub(super) fn new(names: Arc<[Box<str>]>, path: PathAndQuery, places: Places) -> Self {
        Self {
            names,
            path,
            places,
        }
    }

    /// The value of a parameter, without escapes.
    ///
    /// It holds no control character. It may hold slashes if it is the rest of a path, or if encoded
    /// slashes are kept.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let at = self.names.iter().position(|have| **have == *name)?;
        self.path
            .path()
            .get(self.places.get(at)?.clone())
            .map(plain)
    }

    /// All parameters in the order of the template.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let values = self
            .places
            .iter()
            .map(|place| &self.path.path()[place.clone()]);
        self.names.iter().map(|name| &**name).zip(values.map(plain))
    }
}

/// Escapes are valid and spell UTF-8 in a normal path.
fn plain(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return value.into();
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| byte == b'%');
        let escaped = escaped.and_then(|digits| str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(meant) => {
                out.push(meant);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned().into()
}

impl fmt::Debug for PathParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
