//! What there is in a directory of prompts.

use super::fault::FileFault;
use crate::{prompt::name::PromptName, storage::StoreError};
use std::{
    collections::BTreeMap,
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How deep folders stand in one another.
const DEEPEST: usize = 8;

/// How many entries there are.
const MOST: usize = 100_000;

/// How long after a change the time of a file cannot tell it from the next one.
const UNSETTLED: Duration = Duration::from_millis(50);

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

/// What tells one state of a file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    file: u64,
    length: u64,
    pub(super) modified: SystemTime,
    /// Whether it may have changed since without another sign.
    unsettled: bool,
}

impl Stamp {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        #[cfg(unix)]
        let file = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let file = 0;
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let age = SystemTime::now().duration_since(modified);
        Self {
            file,
            length: metadata.len(),
            modified,
            unsettled: age.is_ok_and(|age| age < UNSETTLED),
        }
    }

    /// Whether the file is still what it was with the stamp before.
    pub(super) fn is_same(&self, before: &Self) -> bool {
        !before.unsettled
            && (self.file, self.length, self.modified)
                == (before.file, before.length, before.modified)
    }
}

/// The files of a directory, by their paths from there on, and what cannot be a prompt.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: BTreeMap<Arc<Path>, (Place, Stamp)>,
    pub(super) faults: Vec<FileFault>,
}

pub(super) fn walk(root: &Path) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let mut left = MOST;
    let entries = fs::read_dir(root).map_err(|error| {
        StoreError::unavailable(io::Error::new(
            error.kind(),
            "the directory of prompts cannot be read",
        ))
    })?;
    enter(entries, &mut PathBuf::new(), root, 0, &mut left, &mut found)?;
    Ok(found)
}

fn enter(
    entries: fs::ReadDir,
    at: &mut PathBuf,
    root: &Path,
    depth: usize,
    left: &mut usize,
    found: &mut Found,
) -> Result<(), StoreError> {
    for entry in entries {
        // One that is gone meanwhile is not there.
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || name.as_encoded_bytes().starts_with(b"_") {
            continue;
        }
        *left = left.checked_sub(1).ok_or_else(|| {
            StoreError::invalid("the directory of prompts has more than 100000 entries")
        })?;
        // What a link leads to.
        let Ok(metadata) = fs::metadata(entry.path()) else {
            continue;
        };
        at.push(&name);
        if metadata.is_dir() {
            if depth + 1 >= DEEPEST {
                let what = "Folders stand in one another more than eight deep.";
                let mend = "Move it up.";
                found
                    .faults
                    .push(FileFault::new(&at.as_path().into(), None, what, mend));
            } else {
                match fs::read_dir(root.join(&*at)) {
                    Ok(entries) => enter(entries, at, root, depth + 1, left, found)?,
                    Err(error) => {
                        let what = format!("The folder cannot be read: {}.", error.kind());
                        let mend = "Let this program read it.";
                        found
                            .faults
                            .push(FileFault::new(&at.as_path().into(), None, what, mend));
                    }
                }
            }
        } else if metadata.is_file() {
            let path: Arc<Path> = at.as_path().into();
            match place(&path) {
                Ok(Some(place)) => {
                    found.files.insert(path, (place, Stamp::of(&metadata)));
                }
                Ok(None) => {}
                Err((what, mend)) => found.faults.push(FileFault::new(&path, None, what, mend)),
            }
        }
        at.pop();
    }
    Ok(())
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
