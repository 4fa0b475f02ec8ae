//! What an expression can ask for: looked up when it does.

use crate::{Principal, authorize::Asked};
#[cfg(feature = "llm")]
use cel::common::types::CelInt;
use cel::{
    common::{
        types::{CelList, CelMap, CelMapKey, CelString, CelTimestamp},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use std::{borrow::Cow, collections::HashMap, time::SystemTime};

/// How long a list or a map may be.
const MOST: usize = 128;

pub(super) struct Variables<'a>(pub(super) &'a Asked<'a>);

type Boxed<'v> = Box<dyn Val + 'v>;
type Map<'v> = HashMap<CelMapKey<'v>, Boxed<'v>>;

/// Asked with the whole of a qualified name first, `principal.id`, and then with its beginnings.
impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let asked = self.0;
        let value = match name.split_once('.') {
            None => match name {
                "principal" => principal(asked.principal()?)?,
                "request" => request(asked)?,
                "client" => {
                    let mut client = Map::new();
                    put(&mut client, "address", address(asked));
                    map(client)
                }
                "now" => now(asked.now()?)?,
                "model" => text(asked.model()?),
                "prompt" => text(asked.prompt().or(asked.calls_no_prompt().then_some(""))?),
                #[cfg(feature = "llm")]
                "tokens" => Box::new(CelInt::from(i64::try_from(asked.tokens?).ok()?)),
                #[cfg(feature = "llm")]
                "metadata" => {
                    let mut all = Map::new();
                    for (name, value) in asked.metadata {
                        put(&mut all, name, Some(text(*value)));
                    }
                    map(all)
                }
                _ => return None,
            },
            Some(("principal", field)) => one_of(asked.principal()?, field)?,
            Some(("request", field)) => part_of(asked, field)?,
            Some(("client", "address")) => address(asked)?,
            #[cfg(feature = "llm")]
            Some(("metadata", field)) => {
                let mut all = asked.metadata.iter();
                text(all.find(|(name, _)| *name == field)?.1)
            }
            _ => return None,
        };
        Some(CowVal::Owned(value))
    }
}

fn text<'v>(text: impl Into<Cow<'v, str>>) -> Boxed<'v> {
    match text.into() {
        Cow::Borrowed(text) => Box::new(CelString::from(text)),
        Cow::Owned(text) => Box::new(CelString::from(text)),
    }
}

fn list<'v, T: Into<Cow<'v, str>>>(items: impl Iterator<Item = T>) -> Option<Boxed<'v>> {
    let items: Vec<_> = items.take(MOST + 1).map(text).collect();
    (items.len() <= MOST).then(|| Box::new(CelList::from(items)) as Boxed<'v>)
}

fn map(entries: Map<'_>) -> Boxed<'_> {
    Box::new(CelMap::from(entries))
}

fn put<'v>(map: &mut Map<'v>, name: &'v str, value: Option<Boxed<'v>>) {
    if let Some(value) = value {
        map.insert(CelMapKey::from(name), value);
    }
}

fn one_of<'v>(who: &'v Principal, field: &str) -> Option<Boxed<'v>> {
    match field {
        "id" => Some(text(&**who.id())),
        "team" => Some(text(&**who.team()?)),
        "tenant" => Some(text(&**who.tenant()?)),
        "scopes" => list(who.scopes()),
        "roles" => list(who.roles()),
        "attributes" => {
            let mut all = Map::new();
            for (name, values) in who.attributes() {
                let values = list(values.iter().map(|value| &**value))?;
                all.insert(CelMapKey::from(name), values);
            }
            Some(map(all))
        }
        _ => {
            let values = who.attribute(field.strip_prefix("attributes.")?)?;
            list(values.iter().map(|value| &**value))
        }
    }
}

fn principal(who: &Principal) -> Option<Boxed<'_>> {
    let mut all = Map::new();
    for field in ["id", "team", "tenant"] {
        put(&mut all, field, one_of(who, field));
    }
    // Of one that has more than can be seen, nothing is known.
    for field in ["scopes", "roles", "attributes"] {
        all.insert(CelMapKey::from(field), one_of(who, field)?);
    }
    Some(map(all))
}

fn part_of<'v>(asked: &'v Asked<'_>, field: &str) -> Option<Boxed<'v>> {
    match field {
        "method" => Some(text(asked.method()?.as_str())),
        "route" => Some(text(&**asked.route()?)),
        "path" => Some(text(asked.path()?)),
        "host" => Some(text(asked.host()?)),
        "headers" => {
            let mut all = Map::new();
            if asked.headers().keys_len() > MOST {
                return None;
            }
            for name in asked.headers().keys() {
                let lines = asked.headers().get_all(name).iter();
                // What is no UTF-8 is there all the same, lest nobody sees it.
                let lines = lines.map(|line| String::from_utf8_lossy(line.as_bytes()));
                // A header of which only some lines could be seen makes the whole not known.
                all.insert(CelMapKey::from(name.as_str()), list(lines)?);
            }
            Some(map(all))
        }
        _ => None,
    }
}

fn request<'v>(asked: &'v Asked<'_>) -> Option<Boxed<'v>> {
    let mut all = Map::new();
    for field in ["method", "route", "path", "host"] {
        put(&mut all, field, part_of(asked, field));
    }
    all.insert(CelMapKey::from("headers"), part_of(asked, "headers")?);
    Some(map(all))
}

fn address<'v>(asked: &Asked<'_>) -> Option<Boxed<'v>> {
    Some(text(asked.client()?.to_string()))
}

fn now<'v>(now: SystemTime) -> Option<Boxed<'v>> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let seconds = i64::try_from(since.as_secs()).ok()?;
    let now = chrono::DateTime::from_timestamp(seconds, since.subsec_nanos())?;
    Some(Box::new(CelTimestamp::from(now.fixed_offset())))
}
