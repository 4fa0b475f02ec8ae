//! What was read of a directory, and how it becomes prompts.

use super::{
    document::Document,
    fault::FileFault,
    labels,
    reading::{Content, Files},
    stamp::Mark,
    walk::{Found, Place},
};
use crate::prompt::{
    content::{At, Prompt},
    fault::Fault,
    memory::Table,
    name::{LabelName, PromptName},
    record::{Assignment, LabelMove, NewVersion, VersionRecord, digest, whole_millis},
    store::Imported,
    version::Version,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    num::NonZeroU32,
    path::Path,
    sync::Arc,
    time::SystemTime,
};
use tokio::time::Instant;

/// Who made what nobody signed.
const FILES: &str = "files";

/// How often prompts are looked at for those that wait for what they include.
const ROUNDS: usize = 8;

/// The most faults that are kept.
const MOST_FAULTS: usize = 1_000;

/// A directory as it was read last.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) files: Files,
    /// What was taken from each file: its digest, before partials were pinned.
    taken: BTreeMap<Arc<Path>, (Place, Box<str>)>,
    /// What is wrong with names.
    misnamed: Vec<FileFault>,
    pub(super) faults: Vec<FileFault>,
}

/// The files of a prompt.
#[derive(Default)]
struct Group {
    draft: Option<Arc<Path>>,
    versions: BTreeMap<NonZeroU32, Arc<Path>>,
    labels: Option<Arc<Path>>,
}

impl State {
    /// Reads what has changed. Whether anything has.
    pub(super) fn read(
        &mut self,
        root: &Path,
        found: Found,
        ours: impl FnOnce() -> HashSet<Mark>,
        now: Instant,
    ) -> bool {
        let changed = self.files.read(root, found.files, ours, now);
        let before = std::mem::replace(&mut self.misnamed, found.faults);
        changed || before != self.misnamed
    }

    /// Makes prompts of what was read. What cannot be used leaves what was there.
    pub(super) fn apply(&mut self, table: &mut Table) {
        let mut faults = self.misnamed.clone();
        let mut groups: BTreeMap<PromptName, Group> = BTreeMap::new();
        for (path, known) in &self.files.known {
            if let Err(wrong) = &known.read {
                faults.extend(wrong.iter().cloned());
            }
            let twice = match &known.place {
                Place::Draft(name) => {
                    let group = groups.entry(name.clone()).or_default();
                    let twice = group.draft.is_some();
                    group.draft.get_or_insert_with(|| path.clone());
                    twice
                }
                Place::Version(name, number) => {
                    let group = groups.entry(name.clone()).or_default();
                    let twice = group.versions.contains_key(number);
                    group
                        .versions
                        .entry(*number)
                        .or_insert_with(|| path.clone());
                    twice
                }
                Place::Labels(name) => {
                    let group = groups.entry(name.clone()).or_default();
                    let twice = group.labels.is_some();
                    group.labels.get_or_insert_with(|| path.clone());
                    twice
                }
            };
            if twice {
                let what = "Another file says the same of this prompt, and is used.";
                faults.push(FileFault::new(path, None, what, "Take one of them away."));
            }
        }
        for (path, (place, _)) in &self.taken {
            // One that was only moved is there.
            let group = groups.get(place.name());
            let is_there = group.is_some_and(|group| match place {
                Place::Draft(_) => true,
                Place::Version(_, number) => group.versions.contains_key(number),
                Place::Labels(_) => group.labels.is_some(),
            });
            if !is_there {
                let what = "The file is gone. What it said stays until the program ends.";
                let mend = "Put it back, or start the program anew.";
                faults.push(FileFault::new(path, None, what, mend));
            }
        }
        // What is included comes before what includes it.
        let mut waiting: BTreeSet<PromptName> = groups.keys().cloned().collect();
        for round in 0..=ROUNDS {
            let ready: Vec<_> = waiting
                .iter()
                .filter(|name| {
                    let mut needs = groups[*name].paths().flat_map(|path| self.includes(path));
                    round == ROUNDS
                        || !needs.any(|needed| *needed != **name && waiting.contains(needed))
                })
                .cloned()
                .collect();
            for name in ready {
                waiting.remove(&name);
                self.apply_prompt(&name, &groups[&name], table, &mut faults);
            }
        }
        faults.truncate(MOST_FAULTS);
        self.tell(&faults);
        self.faults = faults;
    }

    fn tell(&self, faults: &[FileFault]) {
        for fault in faults.iter().filter(|fault| !self.faults.contains(fault)) {
            tracing::error!(%fault, "a file of prompts is left as it was before");
        }
        for fault in self.faults.iter().filter(|fault| !faults.contains(fault)) {
            tracing::info!(path = %fault.path.display(), line = fault.line, "a file of prompts is mended");
        }
    }

    fn document(&self, path: &Arc<Path>) -> Option<(&Document, SystemTime)> {
        let found = self.files.document(path);
        found.map(|(document, stamp)| (document, stamp.modified()))
    }

    /// The prompts whose texts a file includes.
    fn includes<'s>(&'s self, path: &Arc<Path>) -> impl Iterator<Item = &'s PromptName> {
        let document = self.document(path).into_iter();
        let sources = document.flat_map(|(document, _)| document.prompt.unpinned());
        sources.map(|source| &source.prompt)
    }

    fn apply_prompt(
        &mut self,
        name: &PromptName,
        group: &Group,
        table: &mut Table,
        faults: &mut Vec<FileFault>,
    ) {
        for (number, path) in &group.versions {
            self.apply_version(name, *number, path, table, faults);
        }
        if let Some(path) = &group.draft {
            if group.versions.is_empty() {
                self.apply_draft(name, path, table, faults);
            } else {
                let next = group.versions.keys().next_back();
                let next = next.map_or(1, |last| u64::from(last.get()) + 1);
                let what = "The prompt has versions with numbers, and this has none.";
                let mend =
                    format!("Make it the next one: move it to where they are, as `{next}.md`.");
                faults.push(FileFault::new(path, None, what, mend));
            }
        }
        if let Some(path) = &group.labels {
            if group.versions.is_empty() && group.draft.is_some() {
                let what = "The prompt has no versions with numbers for labels to point at.";
                let mend = "Write `labels: [production]` into its front matter.";
                faults.push(FileFault::new(path, None, what, mend));
            } else {
                self.apply_labels(name, path, table, faults);
            }
        }
    }

    fn apply_version(
        &mut self,
        name: &PromptName,
        number: NonZeroU32,
        path: &Arc<Path>,
        table: &mut Table,
        faults: &mut Vec<FileFault>,
    ) {
        let Some((document, modified)) = self.document(path) else {
            return;
        };
        if !document.labels.is_empty() {
            let line = document.lines.of(&Fault::new("/labels", ""));
            let what = "The labels of versions with numbers stand in a file of theirs.";
            let mend = format!("Write them into `labels.yaml` beside it: `production: {number}`.");
            faults.push(FileFault::new(path, line, what, mend));
        }
        let said = digest(&document.prompt);
        let changed = || {
            let what = format!("Version {number} has been changed, and versions never change.");
            let mend = "Undo that, and write what is new as the next version.";
            FileFault::new(path, None, what, mend)
        };
        match self.taken.get(path) {
            Some((_, before)) if *before == said => return,
            Some(_) => return faults.push(changed()),
            None => {}
        }
        match ready(name, number, document, modified, path, table) {
            Ok(record) => match table.import(record) {
                Imported::New | Imported::Same => {
                    let place = Place::Version(name.clone(), number);
                    self.taken.insert(path.clone(), (place, said));
                }
                Imported::Taken => faults.push(changed()),
            },
            Err(wrong) => faults.extend(wrong),
        }
    }

    fn apply_draft(
        &mut self,
        name: &PromptName,
        path: &Arc<Path>,
        table: &mut Table,
        faults: &mut Vec<FileFault>,
    ) {
        let Some((document, modified)) = self.document(path) else {
            return;
        };
        let latest = table.prompts.get(name).and_then(|kept| kept.latest());
        let whole = document.prompt.unpinned().next().is_none();
        let known = latest.is_some_and(|latest| latest.digest == digest(&document.prompt));
        // What includes nothing says the same as long as it is the same.
        if !(whole && known) {
            match ready(name, NonZeroU32::MIN, document, modified, path, table) {
                Ok(record) => {
                    let new = NewVersion {
                        message: record.message,
                        created_at: record.created_at,
                        ..NewVersion::new(record.name, record.prompt, record.author)
                    };
                    // There are no more than four billion changes.
                    let _ = table.create(new);
                }
                Err(wrong) => return faults.extend(wrong),
            }
        }
        let kept = table.prompts.get(name);
        let latest = kept
            .and_then(|kept| kept.latest())
            .map(|latest| latest.version);
        if let Some(latest) = latest {
            let to = document.labels.iter().cloned();
            let to = to.map(|label| (label, Assignment::to(latest))).collect();
            point(name, &to, modified, table);
        }
        let taken = (Place::Draft(name.clone()), digest(&document.prompt));
        self.taken.insert(path.clone(), taken);
    }

    fn apply_labels(
        &mut self,
        name: &PromptName,
        path: &Arc<Path>,
        table: &mut Table,
        faults: &mut Vec<FileFault>,
    ) {
        let Some(known) = self.files.known.get(path) else {
            return;
        };
        let Ok(Content::Labels(said)) = &known.read else {
            return;
        };
        let Some(kept) = table.prompts.get(name) else {
            let what = "There is no version of this prompt.";
            let mend = "Write one beside it, as `1.md`.";
            return faults.push(FileFault::new(path, None, what, mend));
        };
        let mut there: HashMap<String, usize> = HashMap::new();
        for made in &kept.moves {
            *there.entry(labels::line(&made.moved)).or_default() += 1;
        }
        let mut wanted = said.labels.clone();
        for (label, to) in &said.labels {
            let missing = to.shares().iter().map(|share| share.version);
            let missing: Vec<_> = missing
                .filter(|number| !kept.versions.contains_key(number))
                .collect();
            if let Some(number) = missing.first() {
                let line = said.lines.get(label).copied();
                let what = format!("There is no version {number} for `{label}` to point at.");
                let mend =
                    format!("Write `{number}.md`, mend it, or let the label point elsewhere.");
                faults.push(FileFault::new(path, line, what, mend));
                // It stays where it was.
                match kept.labels.get(label) {
                    Some(before) => wanted.insert(label.clone(), before.clone()),
                    None => wanted.remove(label),
                };
            }
        }
        for moved in said.moves.iter().filter(|moved| moved.name == *name) {
            match there.get_mut(&labels::line(moved)) {
                Some(times) if *times > 0 => *times -= 1,
                _ => table.replay(moved.clone()),
            }
        }
        point(name, &wanted, known.stamp.modified(), table);
        let taken = (Place::Labels(name.clone()), Box::default());
        self.taken.insert(path.clone(), taken);
    }
}

impl Group {
    fn paths(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.draft.iter().chain(self.versions.values())
    }
}

/// A version with its partials, that was compiled once.
fn ready(
    name: &PromptName,
    number: NonZeroU32,
    document: &Document,
    modified: SystemTime,
    path: &Arc<Path>,
    table: &Table,
) -> Result<VersionRecord, Vec<FileFault>> {
    let mut prompt: Prompt = document.prompt.clone();
    let pinned = prompt.pin(|source| {
        let kept = table.prompts.get(&source.prompt)?;
        let number = match &source.at {
            At::Latest => kept.latest()?.version,
            At::Version(number) => *number,
            At::Label(label) => kept.labels.get(label)?.main(),
        };
        let record = kept.versions.get(&number)?;
        Some((number, record.prompt.clone()))
    });
    pinned.map_err(|invalid| document.lines.faults(path, &invalid))?;
    let author = document.author.clone();
    let new = NewVersion {
        message: document.message.clone(),
        created_at: document
            .created_at
            .unwrap_or_else(|| whole_millis(modified)),
        ..NewVersion::new(name.clone(), prompt, author.unwrap_or_else(|| FILES.into()))
    };
    let version = Version::compile(VersionRecord::new(new, number));
    let version = version.map_err(|invalid| document.lines.faults(path, &invalid))?;
    Ok(version.record().clone())
}

/// Lets the labels of a prompt point at these versions, and no others there be.
fn point(
    name: &PromptName,
    wanted: &BTreeMap<LabelName, Assignment>,
    modified: SystemTime,
    table: &mut Table,
) {
    let Some(kept) = table.prompts.get(name) else {
        return;
    };
    let there = kept.labels.clone();
    let labels: BTreeSet<_> = there.keys().chain(wanted.keys()).collect();
    for label in labels {
        let (from, to) = (there.get(label).cloned(), wanted.get(label).cloned());
        if from != to {
            let moved = LabelMove {
                at: whole_millis(modified),
                ..LabelMove::new(name.clone(), label.clone(), from, to, FILES)
            };
            table.move_label(moved);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{reading::Known, stamp::Stamp},
        *,
    };
    use std::time::Duration;

    #[test]
    fn many_files_are_not_looked_through_for_each_of_them() {
        let stamp = Stamp::of(&std::fs::metadata(".").unwrap());
        let name = PromptName::new("a").unwrap();
        let mut state = State::default();
        for nth in 1..=30_000 {
            let path: Arc<Path> = Path::new(&format!("a/{nth}.md")).into();
            let place = Place::Version(name.clone(), NonZeroU32::new(nth).unwrap());
            let known = Known {
                place: place.clone(),
                stamp,
                is_fresh: false,
                read: Err(Vec::new()),
            };
            state.taken.insert(path.clone(), (place, Box::default()));
            state.files.known.insert(path, known);
        }
        let start = Instant::now();
        state.apply(&mut Table::default());
        assert!(start.elapsed() < Duration::from_secs(3));
        assert_eq!(state.faults, []);
    }
}
