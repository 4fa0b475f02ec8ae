//! What stores keep: versions, and what labels point at.

use super::{
    content::Prompt,
    fault::{Fault, InvalidPrompt, below, what},
    form,
    name::{LabelName, PromptName},
};
use crate::{Principal, storage::StoreError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// All shares of a label, in basis points.
pub(super) const WHOLE: u32 = 10_000;

/// The most versions that a label points at.
const MOST_SHARES: usize = 16;

/// A version as it is kept. It never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct VersionRecord {
    /// Of which prompt.
    pub name: PromptName,
    /// Which one: from 1.
    pub version: NonZeroU32,
    /// What it says, with its partials pinned.
    #[serde(deserialize_with = "as_kept")]
    pub prompt: Arc<Prompt>,
    /// The SHA-256 of what it says, in hexadecimal: the same for the same content.
    pub digest: Box<str>,
    /// Who made it.
    pub author: Arc<str>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Box<str>>,
    /// When, in whole milliseconds.
    #[serde(with = "millis")]
    pub created_at: SystemTime,
}

impl VersionRecord {
    /// Puts a version together, for stores that keep its parts apart.
    #[must_use]
    pub fn new(new: NewVersion, version: NonZeroU32) -> Self {
        Self {
            name: new.name,
            version,
            prompt: new.prompt,
            digest: new.digest,
            author: new.author,
            message: new.message,
            created_at: new.created_at,
        }
    }

    /// As one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts, numbers and maps with keys of text: it cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What [`to_json`](Self::to_json) made.
    ///
    /// # Errors
    ///
    /// If it is anything else.
    pub fn from_json(text: &str) -> Result<Self, StoreError> {
        serde_json::from_str(text).map_err(|error| {
            StoreError::corrupt("a version of a prompt cannot be read").with_source(error)
        })
    }
}

/// What is kept was checked when it came: a later version of this program may be stricter, and reads it
/// all the same.
fn as_kept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Prompt>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    form::read(&value).map(Arc::new).map_err(de::Error::custom)
}

/// A version that is to be created: all but its number.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NewVersion {
    /// Of which prompt. If there is none of this name, it is its first.
    pub name: PromptName,
    /// What it says, with its partials pinned.
    pub prompt: Arc<Prompt>,
    /// The digest of that.
    pub digest: Box<str>,
    /// Who makes it.
    pub author: Arc<str>,
    /// Why.
    pub message: Option<Box<str>>,
    /// When, in whole milliseconds.
    pub created_at: SystemTime,
    /// The number of the latest version that its author has seen, 0 for none. If there is a newer one,
    /// nothing is created. `None`: it does not matter.
    pub after: Option<u32>,
}

impl NewVersion {
    /// One of this content, now.
    #[must_use]
    pub fn new(
        name: PromptName,
        prompt: impl Into<Arc<Prompt>>,
        author: impl Into<Arc<str>>,
    ) -> Self {
        let prompt = prompt.into();
        Self {
            name,
            digest: digest(&prompt),
            prompt,
            author: author.into(),
            message: None,
            created_at: now(),
            after: None,
        }
    }

    /// Says why.
    #[must_use]
    pub fn message(mut self, message: impl Into<Box<str>>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Creates it only if this is still the number of the latest version, 0 for none.
    #[must_use]
    pub fn after(mut self, latest: u32) -> Self {
        self.after = Some(latest);
        self
    }
}

/// The SHA-256 of what a prompt says, in hexadecimal.
pub(super) fn digest(prompt: &Prompt) -> Box<str> {
    let text = prompt.to_json().to_string();
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex.into()
}

/// Now, in whole milliseconds: what a store gives back is what it was given.
pub(super) fn now() -> SystemTime {
    whole_millis(SystemTime::now())
}

/// A time, in whole milliseconds.
pub(super) fn whole_millis(time: SystemTime) -> SystemTime {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_millis(since.as_millis() as u64)
}

/// A version and its share of a label's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Which version.
    pub version: NonZeroU32,
    /// Its share in basis points, hundredths of a percent: from 0 to 10,000.
    pub weight: u32,
}

/// What a label points at: one version, or several with shares that are 10,000 basis points together.
///
/// In JSON it is the number of the version, or a list of `{"version": 3, "weight": 9500}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Assignment(Box<[Share]>);

impl Assignment {
    /// At this version alone.
    #[must_use]
    pub fn to(version: NonZeroU32) -> Self {
        let weight = WHOLE;
        Self([Share { version, weight }].into())
    }

    /// At several versions, 16 at the most, each with a share in basis points. They are kept in the
    /// order of their numbers.
    ///
    /// # Errors
    ///
    /// If a version is named twice or the shares are not 10,000 together.
    pub fn split(
        shares: impl IntoIterator<Item = (NonZeroU32, u32)>,
    ) -> Result<Self, InvalidPrompt> {
        let shares = shares.into_iter().take(MOST_SHARES + 1);
        let mut shares: Vec<_> = shares
            .map(|(version, weight)| Share { version, weight })
            .collect();
        shares.sort_unstable();
        let twice = shares
            .windows(2)
            .any(|two| two[0].version == two[1].version);
        let sum: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
        let wrong = if shares.is_empty() {
            "A label points at one version at least."
        } else if shares.len() > MOST_SHARES {
            "A label points at 16 versions at the most."
        } else if twice {
            "A version is named twice."
        } else if sum != u64::from(WHOLE) {
            "The weights must be 10000 basis points together."
        } else {
            return Ok(Self(shares.into()));
        };
        Err(Fault::new("", wrong).into())
    }

    /// Its versions, in the order of their numbers, with their shares.
    #[must_use]
    pub fn shares(&self) -> &[Share] {
        &self.0
    }

    /// The version with the largest share; of several, the newest.
    #[must_use]
    pub fn main(&self) -> NonZeroU32 {
        let most = self
            .0
            .iter()
            .max_by_key(|share| (share.weight, share.version));
        most.map_or(NonZeroU32::MIN, |share| share.version)
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// What is wrong, and where.
    pub fn from_json(value: &Value) -> Result<Self, InvalidPrompt> {
        let number = |value: &Value, pointer: &str| {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            number
                .and_then(NonZeroU32::new)
                .ok_or_else(|| Fault::new(pointer, "Expected the number of a version."))
        };
        let Value::Array(list) = value else {
            return Ok(Self::to(number(value, "")?));
        };
        let mut shares = Vec::new();
        for (nth, share) in list.iter().take(MOST_SHARES + 1).enumerate() {
            let at = format!("/{nth}");
            let Some(share) = share.as_object() else {
                return Err(Fault::new(at, "Expected an object.").into());
            };
            if let Some(more) = share
                .keys()
                .find(|key| !["version", "weight"].contains(&key.as_str()))
            {
                return Err(Fault::new(below(&at, more), what::NO_FIELD).into());
            }
            let version = share.get("version").unwrap_or(&Value::Null);
            let version = number(version, &below(&at, "version"))?;
            let weight = share.get("weight").and_then(Value::as_u64);
            let weight = weight.and_then(|weight| u32::try_from(weight).ok());
            let weight = weight.filter(|&weight| weight <= WHOLE).ok_or_else(|| {
                Fault::new(
                    below(&at, "weight"),
                    "Expected basis points, from 0 to 10000.",
                )
            })?;
            shares.push((version, weight));
        }
        Self::split(shares)
    }

    /// In its one form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &*self.0 {
            [only] => only.version.get().into(),
            all => all
                .iter()
                .map(|share| serde_json::json!({"version": share.version, "weight": share.weight}))
                .collect(),
        }
    }
}

impl Serialize for Assignment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Assignment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let crate::json::Strict(value) = Deserialize::deserialize(deserializer)?;
        Self::from_json(&value).map_err(de::Error::custom)
    }
}

/// A label that is moved: who, when, from where to where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LabelMove {
    /// Of which prompt.
    pub name: PromptName,
    /// Which label.
    pub label: LabelName,
    /// What it points at before. `None`: there is no such label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Assignment>,
    /// What it points at from now on. `None`: the label is taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Assignment>,
    /// Who moves it.
    pub by: Arc<str>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Box<str>>,
    /// When, in whole milliseconds.
    #[serde(with = "millis")]
    pub at: SystemTime,
}

impl LabelMove {
    /// A move, now.
    #[must_use]
    pub fn new(
        name: PromptName,
        label: LabelName,
        from: Option<Assignment>,
        to: Option<Assignment>,
        by: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            name,
            label,
            from,
            to,
            by: by.into(),
            message: None,
            at: now(),
        }
    }

    /// Says why.
    #[must_use]
    pub fn message(mut self, message: impl Into<Box<str>>) -> Self {
        self.message = Some(message.into());
        self
    }
}

/// A move as a store has recorded it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedMove {
    /// The revision of the store that it made: later moves have higher ones.
    pub revision: u64,
    /// What was moved.
    #[serde(rename = "move")]
    pub moved: LabelMove,
}

/// What is known of a prompt without its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptHead {
    /// Its name.
    pub name: PromptName,
    /// The number of its newest version.
    pub latest: NonZeroU32,
    /// Its labels.
    pub labels: BTreeMap<LabelName, Assignment>,
    /// The revision of the store in which it changed last: by a version, or by a label.
    pub revision: u64,
}

/// Who changes something: its name for the record, and its scopes.
#[derive(Clone, Debug)]
pub struct Actor {
    name: Arc<str>,
    /// `None`: the code itself, which may do anything.
    principal: Option<Principal>,
}

impl Actor {
    /// The program itself, under this name. It may do anything.
    #[must_use]
    pub fn code(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            principal: None,
        }
    }

    /// A caller, with the scopes that it has.
    #[must_use]
    pub fn of(principal: &Principal) -> Self {
        Self {
            name: principal.id().clone(),
            principal: Some(principal.clone()),
        }
    }

    /// Its name for the record.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it may do what needs this scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        let principal = self.principal.as_ref();
        principal.is_none_or(|principal| principal.has_scope(scope))
    }
}

/// Times as milliseconds since 1970.
mod millis {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::time::{Duration, SystemTime};

    pub(super) fn serialize<S: Serializer>(
        at: &SystemTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let since = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        serializer.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SystemTime, D::Error> {
        let since = Duration::from_millis(u64::deserialize(deserializer)?);
        SystemTime::UNIX_EPOCH
            .checked_add(since)
            .ok_or_else(|| de::Error::custom("the time is out of range"))
    }
}
