//! What a request asks for: its place below the root, and its query.

use crate::{
    Rejection,
    prompt::{At, LATEST, LabelName, PromptName},
    rejection::Kind,
};
use http::{HeaderMap, HeaderValue, Method, header};
use std::{borrow::Cow, num::NonZeroU32};

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'p> {
    /// The list of prompts.
    List,
    /// The page on which they are tried.
    Page,
    /// The OpenAPI document.
    Document,
    /// A prompt, by what may be its name.
    Prompt(&'p str),
}

/// The one name that no endpoint has.
pub(super) const DOCUMENT: &str = "openapi.json";

impl<'p> Place<'p> {
    /// What stands at a path below `root`.
    pub(super) fn of(root: &str, path: &'p str) -> Option<Self> {
        let rest = path.strip_prefix(root)?;
        if rest.is_empty() || root.is_empty() && rest == "/" {
            return Some(Self::List);
        }
        match rest.strip_prefix('/')? {
            "" => Some(Self::Page),
            DOCUMENT => Some(Self::Document),
            name if name.contains('/') => None,
            name => Some(Self::Prompt(name)),
        }
    }

    /// The same; where list and page are one path, whoever reads HTML gets the page.
    pub(super) fn asked(root: &str, path: &'p str, headers: &HeaderMap) -> Option<Self> {
        Some(match Self::of(root, path)? {
            Self::List if root.is_empty() && prefers(headers, "text/html") => Self::Page,
            place => place,
        })
    }

    /// The value of `Allow`.
    fn allow(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Prompt(_) => "GET, HEAD, OPTIONS, POST",
            _ => "GET, HEAD, OPTIONS",
        })
    }

    /// Whether it answers to a method. `Ok(None)`: to `OPTIONS`, and with nothing but this header.
    pub(super) fn method(self, method: &Method) -> Result<Option<HeaderValue>, Rejection> {
        match (self, method) {
            (_, &Method::OPTIONS) => Ok(Some(self.allow())),
            (_, &Method::GET | &Method::HEAD) | (Self::Prompt(_), &Method::POST) => Ok(None),
            _ => {
                let refused = Rejection::new(Kind::MethodNotAllowed);
                Err(refused.with_header(header::ALLOW, self.allow()))
            }
        }
    }
}

/// The name that a path has.
pub(super) fn name(text: &str) -> Result<PromptName, Rejection> {
    PromptName::new(text).map_err(|_| Kind::PromptNotFound.into())
}

/// A query of which each parameter is asked for, once, and no other may be there.
pub(crate) struct Query<'q>(Vec<(Cow<'q, str>, Cow<'q, str>)>);

impl<'q> Query<'q> {
    /// Those of a query that are known here.
    pub(crate) fn read(query: Option<&'q str>, known: &[&str]) -> Result<Self, Rejection> {
        let mut all: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        let pairs = query.unwrap_or_default().split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let wrong = |param: &str, detail| {
                let rejection = Rejection::new(Kind::InvalidRequest).with_param(param);
                Err(rejection.with_detail(detail))
            };
            let Some((key, value)) = plain(key).zip(plain(value)) else {
                return wrong("", "The query has escapes that are not valid.");
            };
            if !known.contains(&&*key) {
                return wrong(&key, "There is no such parameter.");
            }
            if all.iter().any(|(had, _)| *had == key) {
                return wrong(&key, "The parameter is there twice.");
            }
            all.push((key, value));
        }
        Ok(Self(all))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        Some(value)
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn number(
        &self,
        name: &str,
        least: u64,
        most: u64,
    ) -> Result<Option<u64>, Rejection> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u64>().ok().filter(|_| digits);
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(refused(name, "Expected a number within its bounds.")),
        }
    }

    pub(crate) fn version(&self, name: &str) -> Result<Option<NonZeroU32>, Rejection> {
        let number = self.number(name, 1, u32::MAX.into())?;
        Ok(number.and_then(|number| NonZeroU32::new(u32::try_from(number).ok()?)))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Rejection> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(refused(name, "Expected `true` or `false`.")),
        }
    }

    /// Which version is asked for, by `version` or by `label`.
    pub(super) fn chosen(&self) -> Result<Chosen, Rejection> {
        let version = self.version("version")?;
        let label = match self.get("label") {
            None => None,
            Some(LATEST) => Some(At::Latest),
            Some(label) => match LabelName::new(label) {
                Ok(label) => Some(At::Label(label)),
                // There is no label of such a name.
                Err(wrong) => {
                    let unknown = Rejection::new(Kind::PromptNotFound).with_param("label");
                    return Err(unknown.with_detail(wrong.what()));
                }
            },
        };
        Ok(Chosen { version, label })
    }
}

/// Which version a caller asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Chosen {
    /// This one.
    pub(super) version: Option<NonZeroU32>,
    /// The one that is called so. Beside a number: if it is called so.
    pub(super) label: Option<At>,
}

fn refused(param: &str, detail: &'static str) -> Rejection {
    let rejection = Rejection::new(Kind::InvalidRequest);
    rejection.with_param(param).with_detail(detail)
}

/// A piece of a query without escapes. `None`: they are not valid.
fn plain(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(text.into());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = after.get(..2)?;
                rest = &after[2..];
                let digit = |at: usize| char::from(digits[at]).to_digit(16);
                u8::try_from(digit(0)? * 16 + digit(1)?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok().map(Into::into)
}

/// Whether events are wanted: as the query says, or else as the type of event streams is accepted.
pub(super) fn wants_events(headers: &HeaderMap, query: &Query<'_>) -> Result<bool, Rejection> {
    let stream = query.flag("stream")?;
    Ok(stream.unwrap_or_else(|| prefers(headers, "text/event-stream")))
}

/// Whether this type is accepted, by its name, and no less than JSON.
fn prefers(headers: &HeaderMap, wanted: &str) -> bool {
    let (mut other, mut json) = (0, 0);
    let lines = headers.get_all(header::ACCEPT);
    let lines = lines.iter().filter_map(|line| line.to_str().ok());
    for item in lines.flat_map(|line| line.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        // In thousandths, as RFC 9110 §12.4.2 has them.
        let quality = (quality.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u32;
        if range.eq_ignore_ascii_case(wanted) {
            other = quality;
        } else if range.eq_ignore_ascii_case("application/json") {
            json = quality;
        }
    }
    other > 0 && other >= json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_one_place() {
        let of = |path| Place::of("/prompts", path);
        assert_eq!(of("/prompts"), Some(Place::List));
        assert_eq!(of("/prompts/"), Some(Place::Page));
        assert_eq!(of("/prompts/openapi.json"), Some(Place::Document));
        assert_eq!(of("/prompts/a.b"), Some(Place::Prompt("a.b")));
        for none in ["/", "/promptsx", "/prompts/a/b", "/prompt", "/prompts/a/"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn list_and_page_are_one_path_where_there_is_no_other() {
        let of = |path| Place::of("", path);
        assert_eq!(of("/"), Some(Place::List));
        assert_eq!(of("/openapi.json"), Some(Place::Document));
        assert_eq!(of("/a.b"), Some(Place::Prompt("a.b")));
        assert_eq!(of("/a/b"), None);
        let asked = |root, path, accept| {
            let accept = (header::ACCEPT, HeaderValue::from_static(accept));
            Place::asked(root, path, &HeaderMap::from_iter([accept]))
        };
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(asked("", "/", browser), Some(Place::Page));
        assert_eq!(asked("", "/", "*/*"), Some(Place::List));
        assert_eq!(asked("", "/", "application/json"), Some(Place::List));
        assert_eq!(asked("/prompts", "/prompts", browser), Some(Place::List));
    }

    #[test]
    fn a_query_is_strict() {
        let known = ["version", "label", "stream"];
        let chosen = |query| Query::read(Some(query), &known).and_then(|query| query.chosen());
        let number = |number| NonZeroU32::new(number);
        let at = |version, label| Chosen { version, label };
        assert_eq!(chosen("").unwrap(), at(None, None));
        assert_eq!(chosen("version=3").unwrap(), at(number(3), None));
        assert_eq!(chosen("label=latest").unwrap(), at(None, Some(At::Latest)));
        let staging = || Some(At::Label(LabelName::new("staging").unwrap()));
        assert_eq!(chosen("label=%73taging").unwrap(), at(None, staging()));
        let both = chosen("label=staging&version=1").unwrap();
        assert_eq!(both, at(number(1), staging()));
        for bad in [
            "version=0",
            "version=+3",
            "version=-1",
            "version=3.0",
            "version=4294967296",
            "version=",
            "version=1&version=1",
            "other=1",
            "label=%zz",
            "label=%",
            "label=%ff",
        ] {
            assert_eq!(
                chosen(bad).unwrap_err().kind(),
                Kind::InvalidRequest,
                "{bad}"
            );
        }
        for none in ["label=A", "label=12", "label="] {
            assert_eq!(
                chosen(none).unwrap_err().kind(),
                Kind::PromptNotFound,
                "{none}"
            );
        }
    }

    #[test]
    fn events_are_for_whoever_asks_for_them() {
        let wants = |accept: &[&'static str], query: &str| {
            let mut headers = HeaderMap::new();
            for line in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(line));
            }
            wants_events(&headers, &Query::read(Some(query), &["stream"]).unwrap()).unwrap()
        };
        assert!(!wants(&[], "") && !wants(&["*/*"], "") && !wants(&["application/json"], ""));
        assert!(wants(&["text/event-stream"], "") && wants(&[], "stream=true"));
        assert!(wants(&["application/json, text/event-stream"], ""));
        assert!(wants(&["application/json", "Text/Event-Stream"], ""));
        assert!(!wants(&["text/event-stream;q=0.5, application/json"], ""));
        assert!(!wants(&["text/event-stream;q=0"], ""));
        assert!(!wants(&["text/event-stream"], "stream=false"));
        assert!(wants(&["application/json"], "stream=true"));
    }
}
