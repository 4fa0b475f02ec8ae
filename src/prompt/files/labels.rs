//! The labels of a prompt in a file of theirs, and below a line of dashes how they were moved.

use super::{fault::FileFault, yaml};
use crate::prompt::{
    name::LabelName,
    record::{Assignment, LabelMove, RecordedMove},
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::Path, sync::Arc};

const ABOVE: &str = "# What each label points at: a version, or several with shares of 10000, such as\n\
    # [{version: 1, weight: 9500}, {version: 2, weight: 500}].\n";
const BELOW: &str = "# How they were moved, the oldest first. Written by the program.\n";

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Labels {
    pub(super) labels: BTreeMap<LabelName, Assignment>,
    /// In which line each stands, from 1.
    pub(super) lines: BTreeMap<LabelName, usize>,
    pub(super) moves: Vec<LabelMove>,
}

pub(super) fn read(path: &Arc<Path>, text: &str) -> Result<Labels, Vec<FileFault>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n");
    let fault = |line, what: String, mend: &str| FileFault::new(path, line, what, mend);
    let (above, below, first) = split(&text);
    let document = yaml::read(above).map_err(|broken| {
        let mend = "Correct the YAML, such as `production: 3`.";
        vec![fault(broken.line, broken.what, mend)]
    })?;
    let map = match document.value {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        _ => {
            let mend = "Write labels and versions, such as `production: 3`.";
            return Err(vec![fault(Some(1), "There are no labels.".into(), mend)]);
        }
    };
    let mut faults = Vec::new();
    let mut all = Labels::default();
    for (name, value) in &map {
        let at = crate::prompt::fault::below("", name);
        let line = document.lines.get(&at).copied();
        let label = match LabelName::new(name) {
            Ok(label) => label,
            Err(wrong) => {
                faults.push(fault(line, wrong.what().into(), "Give it another name."));
                continue;
            }
        };
        match Assignment::from_json(value) {
            Ok(assignment) => {
                all.labels.insert(label.clone(), assignment);
                all.lines.extend(line.map(|line| (label, line)));
            }
            Err(invalid) => {
                let mend = "Write the number of a version, or a list such as \
                    `[{version: 1, weight: 9500}, {version: 2, weight: 500}]`.";
                faults.push(fault(line, invalid.to_string(), mend));
            }
        }
    }
    for (nth, line) in below.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let json = line.strip_prefix("- ").unwrap_or(line);
        match serde_json::from_str(json) {
            Ok(moved) => all.moves.push(moved),
            Err(error) => {
                let what = format!("This is no move of a label: {error}.");
                let mend = "Undo the change of this line, or take the line away.";
                faults.push(fault(Some(first + nth), what, mend));
            }
        }
    }
    if faults.is_empty() {
        Ok(all)
    } else {
        Err(faults)
    }
}

/// What stands above the line of dashes and below it, and in which line that begins.
fn split(text: &str) -> (&str, &str, usize) {
    let mut at = 0;
    let mut said = false;
    for (nth, line) in text.split_inclusive('\n').enumerate() {
        let is_line = line.trim_end() == "---";
        let below = &text[at + line.len()..];
        // One that nothing stands above begins the document, unless there are moves below: all labels were taken away.
        if is_line && (said || is_moves(below)) {
            return (&text[..at], below, nth + 2);
        }
        said |= !is_line && is_said(line);
        at += line.len();
    }
    (text, "", 0)
}

fn is_said(line: &str) -> bool {
    !line.trim().is_empty() && !line.starts_with('#')
}

fn is_moves(below: &str) -> bool {
    let first = below.lines().find(|line| is_said(line));
    first.is_some_and(|first| first.starts_with("- {"))
}

/// The file for these labels, and these moves, the oldest first.
pub(super) fn write(
    labels: &BTreeMap<LabelName, Assignment>,
    moves: &[RecordedMove],
    last: &LabelMove,
) -> String {
    let labels = labels.iter();
    let labels = labels.map(|(label, to)| (label.as_str().to_owned(), to.to_json()));
    let labels: Map<_, _> = labels.collect();
    let mut text = ABOVE.to_owned();
    // Without a word above it, the line would be the beginning.
    text.push_str(if labels.is_empty() { "{}\n" } else { "" });
    text.push_str(&yaml::write(&labels));
    text.push_str("---\n");
    text.push_str(BELOW);
    for moved in moves.iter().map(|made| &made.moved).chain([last]) {
        text.push_str("- ");
        text.push_str(&line(moved));
        text.push('\n');
    }
    text
}

/// A move in a line.
pub(super) fn line(moved: &LabelMove) -> String {
    // Texts, numbers and maps with keys of text: it cannot fail.
    serde_json::to_string(moved).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::PromptName;
    use std::num::NonZeroU32;

    #[test]
    fn labels_are_written_and_read() {
        let path: Arc<Path> = Path::new("a/labels.yaml").into();
        let two = NonZeroU32::new(2).unwrap();
        let split = Assignment::split([(NonZeroU32::MIN, 9_000), (two, 1_000)]).unwrap();
        let label = |name: &str| LabelName::new(name).unwrap();
        let name = PromptName::new("a").unwrap();
        let to = |to: &Assignment| Some(to.clone());
        let moves = [
            LabelMove::new(name.clone(), label("no"), None, to(&split), "alice"),
            LabelMove::new(name, label("x"), None, to(&Assignment::to(two)), "bo\nb"),
        ];
        let recorded = RecordedMove {
            revision: 1,
            moved: moves[0].clone(),
        };
        let labels = BTreeMap::from([(label("no"), split), (label("x"), Assignment::to(two))]);
        let text = write(&labels, &[recorded], &moves[1]);
        let back = read(&path, &text).unwrap();
        assert_eq!(back.labels, labels, "{text}");
        assert_eq!(back.moves, moves);
        assert!(read(&path, "").unwrap().labels.is_empty());
        let by_hand = read(&path, "---\nproduction: 3\n").unwrap();
        assert_eq!(by_hand.lines[&label("production")], 2);
        // All labels are taken away by hand, and the comments stay, or not.
        let begin = text.find("---\n").unwrap();
        for above in [ABOVE, ""] {
            let emptied = read(&path, &format!("{above}{}", &text[begin..])).unwrap();
            assert!(emptied.labels.is_empty());
            assert_eq!(emptied.moves, moves);
        }
    }

    #[test]
    fn each_fault_has_its_line() {
        let path: Arc<Path> = Path::new("a/labels.yaml").into();
        let text = "latest: 1\ngood: 1\nbad: [{version: 1, weight: 1}]\n---\n- {}\n";
        let faults = read(&path, text).unwrap_err();
        let lines: Vec<_> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [Some(1), Some(3), Some(5)], "{faults:?}");
        let told = faults[0].to_string();
        assert!(told.starts_with("a/labels.yaml:1: "), "{told}");
    }
}
