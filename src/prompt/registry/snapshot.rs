//! What the registry holds: a map that nobody changes, swapped whole.

use crate::{
    prompt::{
        RegistryError,
        fault::InvalidPrompt,
        name::{LATEST, LabelName, PromptName},
        record::{Assignment, PromptHead},
        version::{Found, Version},
    },
    split::{
        bucket::{Salt, Source, any},
        plan::Plan,
    },
};
use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    num::NonZeroU32,
    sync::Arc,
};

/// What the shares of a label take, in bytes: one for each bucket.
const PLAN: usize = 10_000;

/// How much is held.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) prompts: usize,
    pub(super) bytes: usize,
}

/// All prompts, as of a revision of the store.
#[derive(Clone, Default)]
pub(super) struct Snapshot {
    pub(super) revision: u64,
    pub(super) prompts: HashMap<PromptName, Arc<Entry>>,
    /// The prompts that there is no room for, and how many bytes each would take.
    pub(super) left_out: BTreeMap<PromptName, usize>,
    /// How large all versions are together.
    pub(super) bytes: usize,
}

/// A prompt.
pub(super) struct Entry {
    pub(super) head: Arc<PromptHead>,
    latest: Option<Arc<Version>>,
    labels: HashMap<LabelName, Pointer>,
    /// What could not be had, and why.
    pub(super) broken: Vec<(NonZeroU32, InvalidPrompt)>,
    pub(super) bytes: usize,
}

/// What a label points at.
struct Pointer {
    /// A copy of the name, to be given away.
    label: LabelName,
    to: Target,
}

enum Target {
    One(Arc<Version>),
    Several {
        plan: Plan,
        salt: Salt,
        versions: Box<[Arc<Version>]>,
    },
}

impl Entry {
    /// Of versions that were read before. A label of which one is missing points at nothing.
    pub(super) fn new(
        head: PromptHead,
        versions: &HashMap<NonZeroU32, Arc<Version>>,
        broken: Vec<(NonZeroU32, InvalidPrompt)>,
    ) -> Self {
        let labels = head.labels.iter().filter_map(|(label, assignment)| {
            let to = Target::new(&head.name, label, assignment, versions)?;
            let label = label.clone();
            Some((label.clone(), Pointer { label, to }))
        });
        let labels: HashMap<_, _> = labels.collect();
        let plans = labels
            .values()
            .filter(|pointer| matches!(pointer.to, Target::Several { .. }));
        let of_plans = plans.count() * PLAN;
        let of_versions: usize = versions.values().map(|version| version.weight()).sum();
        Self {
            latest: versions.get(&head.latest).cloned(),
            labels,
            broken,
            bytes: of_versions + of_plans,
            head: Arc::new(head),
        }
    }

    /// A version, if it is the latest one or one that a label points at.
    pub(super) fn version(&self, number: NonZeroU32) -> Option<&Arc<Version>> {
        let of_labels = self
            .labels
            .values()
            .flat_map(|pointer| pointer.to.versions());
        let mut all = self.latest.iter().chain(of_labels);
        all.find(|version| version.number() == number)
    }

    /// Why a version is not here.
    pub(super) fn why_not(&self, number: NonZeroU32) -> RegistryError {
        let broken = self.broken.iter().find(|(broken, _)| *broken == number);
        match broken.or(self.broken.first()) {
            Some((_, why)) => RegistryError::Invalid(why.clone()),
            None => RegistryError::NoVersion(number),
        }
    }

    pub(super) fn by_label<K: Hash + ?Sized>(&self, label: &str, key: Option<&K>) -> Option<Found> {
        if label == LATEST {
            return Some(Found {
                version: self.latest.clone()?,
                label: None,
                is_split: false,
            });
        }
        let pointer = self.labels.get(label)?;
        let (version, is_split) = match &pointer.to {
            Target::One(version) => (version, false),
            Target::Several {
                plan,
                salt,
                versions,
            } => {
                let bucket = match key {
                    Some(key) => salt.bucket(Source::Key, &key),
                    None => any(),
                };
                (versions.get(plan.variant(bucket))?, true)
            }
        };
        Some(Found {
            version: version.clone(),
            label: Some(pointer.label.clone()),
            is_split,
        })
    }
}

impl Target {
    fn new(
        name: &PromptName,
        label: &LabelName,
        assignment: &Assignment,
        versions: &HashMap<NonZeroU32, Arc<Version>>,
    ) -> Option<Self> {
        let shares = assignment.shares();
        if let [only] = shares {
            return versions.get(&only.version).cloned().map(Self::One);
        }
        let found: Option<Box<[_]>> = shares
            .iter()
            .map(|share| versions.get(&share.version).cloned())
            .collect();
        Some(Self::Several {
            plan: Plan::new(shares.iter().map(|share| share.weight).collect()),
            // What no name has stands between them.
            salt: Salt::new(&format!("prompt {name} {label}")),
            versions: found?,
        })
    }

    fn versions(&self) -> &[Arc<Version>] {
        match self {
            Self::One(version) => std::slice::from_ref(version),
            Self::Several { versions, .. } => versions,
        }
    }
}

impl Snapshot {
    pub(super) fn by_label<K: Hash + ?Sized>(
        &self,
        name: &str,
        label: &str,
        key: Option<&K>,
    ) -> Option<Found> {
        self.prompts.get(name)?.by_label(label, key)
    }

    /// Puts a prompt in its place, if there is room for it. One that was there may take what is left of a quarter
    /// more. If it may not, it is not there any longer: nobody gets what it was before. Whether it is there.
    pub(super) fn insert(&mut self, entry: Entry, room: Room) -> bool {
        let name = entry.head.name.clone();
        let (has_place, most) = match self.prompts.remove(&name) {
            Some(before) => {
                self.bytes -= before.bytes;
                (true, room.bytes.saturating_add(room.bytes / 4))
            }
            None => (self.prompts.len() < room.prompts, room.bytes),
        };
        if has_place && self.bytes + entry.bytes <= most {
            self.left_out.remove(&name);
            self.bytes += entry.bytes;
            self.prompts.insert(name, Arc::new(entry));
            return true;
        }
        // Of more it is told when they change.
        if self.left_out.len() < room.prompts || self.left_out.contains_key(&name) {
            self.left_out.insert(name, entry.bytes);
        }
        false
    }

    /// A prompt that was left out, and that there is room for now.
    pub(super) fn fitting(&self, room: Room) -> Option<PromptName> {
        if self.prompts.len() >= room.prompts {
            return None;
        }
        let mut all = self.left_out.iter();
        let fits = all.find(|(_, bytes)| self.bytes + **bytes <= room.bytes);
        fits.map(|(name, _)| name.clone())
    }
}
