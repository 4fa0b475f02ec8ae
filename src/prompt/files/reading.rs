//! The files of a directory as they were read last, and those that somebody may still be writing.

use super::{
    document::{self, Document},
    fault::FileFault,
    labels::{self, Labels},
    stamp::{Mark, QUIET, Stamp},
    walk::Place,
};
use crate::prompt::name::PromptName;
use std::{
    cell::LazyCell,
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// The largest file of a prompt, and of labels with their moves.
const LARGEST: u64 = 4 << 20;
const LARGEST_LABELS: u64 = 64 << 20;

/// What is in the directory.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) known: BTreeMap<Arc<Path>, Known>,
    /// What may be half written. Where it is known too, that is what it was before.
    unread: BTreeMap<Arc<Path>, Unread>,
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) place: Place,
    pub(super) stamp: Stamp,
    /// Whether it may have changed since without another sign.
    pub(super) is_fresh: bool,
    pub(super) read: Result<Content, Vec<FileFault>>,
}

#[derive(Debug)]
struct Unread {
    place: Place,
    stamp: Stamp,
    /// Since when it has been seen like that.
    since: Instant,
}

#[derive(Debug)]
pub(super) enum Content {
    Prompt(Box<Document>),
    Labels(Labels),
}

impl Files {
    /// Reads what has changed, if it is whole: it is `ours`, or was known by another name, or has not changed since it
    /// was seen some time ago, or for long. Whether anything has changed.
    pub(super) fn read(
        &mut self,
        root: &Path,
        found: BTreeMap<Arc<Path>, (Place, Stamp)>,
        ours: impl FnOnce() -> HashSet<Mark>,
        now: Instant,
    ) -> bool {
        let mut before = std::mem::take(&mut self.known);
        let mut seen = std::mem::take(&mut self.unread);
        let mut others = Vec::new();
        for (path, (place, stamp)) in found {
            match before.remove(&path) {
                Some(same) if same.stamp == stamp && !same.is_fresh => {
                    self.known.insert(path, same);
                }
                known => others.push((path, place, stamp, known)),
            }
        }
        // What is left is gone, or has another name now.
        let mut changed = !before.is_empty();
        let whole = LazyCell::new(|| {
            let moved = before.values().map(|known| known.stamp.mark);
            moved.chain(ours()).collect::<HashSet<_>>()
        });
        for (path, place, stamp, known) in others {
            let seen = seen.remove(&path).filter(|seen| seen.stamp == stamp);
            let since = seen.map_or(now, |seen| seen.since);
            let was_whole = known.as_ref().is_some_and(|known| known.stamp == stamp);
            let is_whole = was_whole
                || stamp.is_old()
                || now.saturating_duration_since(since) >= QUIET
                || whole.contains(&stamp.mark);
            let is_fresh = stamp.is_fresh();
            let read = is_whole.then(|| read(root, &path, &place, stamp)).flatten();
            if let Some(read) = read {
                changed = true;
                let known = Known {
                    place,
                    stamp,
                    is_fresh,
                    read,
                };
                self.known.insert(path, known);
                continue;
            }
            let unread = Unread {
                place,
                stamp,
                since,
            };
            self.known.extend(known.map(|known| (path.clone(), known)));
            self.unread.insert(path, unread);
        }
        changed
    }

    /// In how long all that is unread can be read, if nobody goes on writing it. `None`: nothing is.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        wait(self.unread.values(), now)
    }

    /// The same of the files of a prompt.
    pub(super) fn wait_for(&self, name: &PromptName, now: Instant) -> Option<Duration> {
        let unread = self.unread.values();
        wait(unread.filter(|unread| unread.place.name() == name), now)
    }

    fn places(&self) -> impl Iterator<Item = (&Arc<Path>, &Place)> {
        let known = self.known.iter().map(|(path, known)| (path, &known.place));
        let unread = self.unread.iter();
        known.chain(unread.map(|(path, unread)| (path, &unread.place)))
    }

    /// What the file of a prompt says.
    pub(super) fn document(&self, path: &Arc<Path>) -> Option<(&Document, &Stamp)> {
        let known = self.known.get(path)?;
        match &known.read {
            Ok(Content::Prompt(document)) => Some((document, &known.stamp)),
            _ => None,
        }
    }

    /// Where the versions of a prompt are, from the directory on. `None`: nowhere yet.
    pub(super) fn folder(&self, name: &PromptName) -> Option<PathBuf> {
        let path = self.places().find_map(|(path, place)| match place {
            Place::Version(of, _) | Place::Labels(of) if of == name => Some(path),
            _ => None,
        });
        path?.parent().map(Path::to_owned)
    }

    /// The file of a prompt without a number.
    pub(super) fn draft(&self, name: &PromptName) -> Option<&Arc<Path>> {
        let draft = Place::Draft(name.clone());
        let found = self.places().find(|(_, place)| **place == draft);
        found.map(|(path, _)| path)
    }

    /// The highest number that a file has, whether it is good or not.
    pub(super) fn highest(&self, name: &PromptName) -> u32 {
        let numbers = self.places().filter_map(|(_, place)| match place {
            Place::Version(of, number) if of == name => Some(number.get()),
            _ => None,
        });
        numbers.max().unwrap_or_default()
    }

    /// The file of the labels of a prompt, and what is wrong with it.
    pub(super) fn labels(&self, name: &PromptName) -> Option<(&Arc<Path>, Option<&FileFault>)> {
        let labels = Place::Labels(name.clone());
        let found = self.known.iter().find(|(_, known)| known.place == labels);
        found.map(|(path, known)| (path, known.read.as_ref().err().and_then(|all| all.first())))
    }
}

fn wait<'f>(unread: impl Iterator<Item = &'f Unread>, now: Instant) -> Option<Duration> {
    let last = unread.map(|unread| unread.since).max()?;
    Some((last + QUIET).saturating_duration_since(now))
}

/// What a file says, or what is wrong with it. `None`: somebody is writing it.
fn read(
    root: &Path,
    path: &Arc<Path>,
    place: &Place,
    stamp: Stamp,
) -> Option<Result<Content, Vec<FileFault>>> {
    let one = |line, what: String, mend: &str| Err(vec![FileFault::new(path, line, what, mend)]);
    let most = match place {
        Place::Labels(_) => LARGEST_LABELS,
        _ => LARGEST,
    };
    let bytes = || -> io::Result<Option<Vec<u8>>> {
        let mut file = File::open(root.join(path))?;
        let mut bytes = Vec::new();
        io::Read::by_ref(&mut file)
            .take(most + 1)
            .read_to_end(&mut bytes)?;
        let is_same = Stamp::of(&file.metadata()?) == stamp;
        Ok(is_same.then_some(bytes))
    };
    let bytes = match bytes() {
        Ok(bytes) => bytes?,
        Err(error) => {
            let what = format!("The file cannot be read: {error}.");
            return Some(one(None, what, "Make it readable."));
        }
    };
    if bytes.len() as u64 > most {
        let what = format!("The file is larger than {} MiB.", most >> 20);
        return Some(one(None, what, "Make it smaller."));
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let before = error.as_bytes().iter().take(good);
            let line = before.filter(|byte| **byte == b'\n').count() + 1;
            let what = "The file is not UTF-8.".to_owned();
            return Some(one(Some(line), what, "Save it as UTF-8."));
        }
    };
    Some(match place {
        Place::Labels(_) => labels::read(path, &text).map(Content::Labels),
        _ => document::read(path, &text).map(|document| Content::Prompt(Box::new(document))),
    })
}
