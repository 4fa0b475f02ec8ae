//! What there is in a directory of prompts.

use super::{fault::FileFault, stamp::Stamp};
use crate::{prompt::name::PromptName, storage::StoreError};
use std::{
    collections::BTreeMap,
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
};

/// How deep folders stand in one another.
const DEEPEST: usize = 8;

/// How many entries there are.
const MOST: usize = 100_000;

/// What a file is, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A prompt without a number.
    Draft(PromptName),
    /// A version of a prompt.
    Version(PromptName, NonZeroU32),
    /// The labels of a prompt.
    Labels(PromptName),
}

impl Place {
    /// Of which prompt.
    pub(super) fn name(&self) -> &PromptName {
        let (Self::Draft(name) | Self::Version(name, _) | Self::Labels(name)) = self;
        name
    }
}

/// The files of a directory, by their paths from there on, and what cannot be a prompt.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: BTreeMap<Arc<Path>, (Place, Stamp)>,
    pub(super) faults: Vec<FileFault>,
}

pub(super) fn walk(root: &Path) -> Result<Found, StoreError> {
    let unread = |error: io::Error| {
        let what = "the directory of prompts cannot be read";
        StoreError::unavailable(io::Error::new(error.kind(), what))
    };
    let entries = fs::read_dir(root).map_err(unread)?;
    let first = folder_of(&fs::metadata(root).map_err(unread)?, root);
    let mut walk = Walk {
        root,
        at: PathBuf::new(),
        inside: vec![first],
        left: MOST,
        found: Found::default(),
    };
    walk.enter(entries)?;
    Ok(walk.found)
}

/// What tells a folder from all others, whatever links lead to it.
#[cfg(unix)]
type Folder = (u64, u64);
#[cfg(not(unix))]
type Folder = PathBuf;

#[cfg(unix)]
fn folder_of(metadata: &fs::Metadata, _: &Path) -> Folder {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn folder_of(_: &fs::Metadata, path: &Path) -> Folder {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

struct Walk<'r> {
    root: &'r Path,
    /// Where it is, from the root on.
    at: PathBuf,
    /// The folders that it stands in, the root first.
    inside: Vec<Folder>,
    left: usize,
    found: Found,
}

impl Walk<'_> {
    fn enter(&mut self, entries: fs::ReadDir) -> Result<(), StoreError> {
        for entry in entries {
            // One that is gone meanwhile is not there.
            let Ok(entry) = entry else { continue };
            let name = entry.file_name();
            let bytes = name.as_encoded_bytes();
            if bytes.starts_with(b".") || bytes.starts_with(b"_") {
                continue;
            }
            self.left = self.left.checked_sub(1).ok_or_else(|| {
                StoreError::invalid("the directory of prompts has more than 100000 entries")
            })?;
            // What a link leads to.
            let Ok(metadata) = fs::metadata(entry.path()) else {
                continue;
            };
            self.at.push(&name);
            if metadata.is_dir() {
                self.folder(&metadata)?;
            } else if metadata.is_file() {
                self.file(&metadata);
            }
            self.at.pop();
        }
        Ok(())
    }

    fn folder(&mut self, metadata: &fs::Metadata) -> Result<(), StoreError> {
        let path = self.root.join(&self.at);
        let folder = folder_of(metadata, &path);
        // A link that leads back: all in there is known already.
        if self.inside.contains(&folder) {
            return Ok(());
        }
        if self.inside.len() >= DEEPEST {
            let what = "Folders stand in one another more than eight deep.";
            self.fault(what, "Move it up.");
            return Ok(());
        }
        match fs::read_dir(path) {
            Ok(entries) => {
                self.inside.push(folder);
                let entered = self.enter(entries);
                self.inside.pop();
                entered
            }
            Err(error) => {
                let what = format!("The folder cannot be read: {}.", error.kind());
                self.fault(what, "Let this program read it.");
                Ok(())
            }
        }
    }

    fn file(&mut self, metadata: &fs::Metadata) {
        match place(&self.at) {
            Ok(Some(place)) => {
                let found = (place, Stamp::of(metadata));
                self.found.files.insert(self.at.as_path().into(), found);
            }
            Ok(None) => {}
            Err((what, mend)) => self.fault(what, mend),
        }
    }

    fn fault(&mut self, what: impl Into<Box<str>>, mend: impl Into<Box<str>>) {
        let path = self.at.as_path().into();
        let fault = FileFault::new(&path, None, what, mend);
        self.found.faults.push(fault);
    }
}

/// What a file is by its name. `None`: nothing of ours.
fn place(path: &Path) -> Result<Option<Place>, (String, String)> {
    let Some(file) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(None);
    };
    let labels = ["labels.yaml", "labels.yml"].contains(&file);
    let stem = match file.strip_suffix(".md") {
        Some(stem) if !stem.eq_ignore_ascii_case("readme") => Some(stem),
        _ if labels => None,
        _ => return Ok(None),
    };
    let folders = path.parent().into_iter().flat_map(Path::components);
    let mut words: Vec<_> = folders
        .map(|word| word.as_os_str().to_string_lossy().into_owned())
        .collect();
    let number = match stem {
        Some(stem) if !words.is_empty() && stem.bytes().all(|byte| byte.is_ascii_digit()) => {
            let number = stem.parse().ok().and_then(NonZeroU32::new);
            let number = number.filter(|number| number.to_string() == stem);
            let number = number.ok_or_else(|| {
                let what = "This is no number of a version.".to_owned();
                (what, "Name the file `1.md`, `2.md` and so on.".to_owned())
            })?;
            Some(number)
        }
        Some(stem) => {
            words.push(stem.to_owned());
            None
        }
        None if words.is_empty() => {
            let what = "These are the labels of no prompt.".to_owned();
            let mend = "Move it into the folder of the prompt, where its versions are.";
            return Err((what, mend.to_owned()));
        }
        None => None,
    };
    let name = PromptName::new(words.join(".")).map_err(|wrong| {
        let what = format!("`{}` is no name of a prompt.", words.join("."));
        (what, format!("Rename it: {}", wrong.what()))
    })?;
    Ok(Some(match (number, labels) {
        (Some(number), _) => Place::Version(name, number),
        (None, true) => Place::Labels(name),
        (None, false) => Place::Draft(name),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_its_name_says() {
        let name = |name: &str| PromptName::new(name).unwrap();
        let number = |number: u32| NonZeroU32::new(number).unwrap();
        for (path, expected) in [
            ("translate.md", Some(Place::Draft(name("translate")))),
            (
                "support/triage.md",
                Some(Place::Draft(name("support.triage"))),
            ),
            ("7.md", Some(Place::Draft(name("7")))),
            (
                "translate/7.md",
                Some(Place::Version(name("translate"), number(7))),
            ),
            ("a/b/12.md", Some(Place::Version(name("a.b"), number(12)))),
            ("a.b/labels.yaml", Some(Place::Labels(name("a.b")))),
            ("README.md", None),
            ("a/readme.md", None),
            ("a/notes.txt", None),
            ("a.md~", None),
        ] {
            assert_eq!(place(Path::new(path)), Ok(expected), "{path}");
        }
        for bad in [
            "A.md",
            "a b.md",
            "a/0.md",
            "a/01.md",
            "a/4294967296.md",
            "labels.yaml",
        ] {
            assert!(place(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
