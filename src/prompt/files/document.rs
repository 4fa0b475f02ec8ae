//! A prompt in a file: front matter, and below it what is said.

use super::{fault::FileFault, time, yaml};
use crate::prompt::{
    content::Prompt,
    fault::{Fault, InvalidPrompt},
    name::LabelName,
    record::VersionRecord,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::SystemTime};

/// The lines that begin a message.
const ROLES: [&str; 4] = ["system", "developer", "user", "assistant"];

/// What stands in the front matter beside the fields of a prompt.
const OURS: [&str; 5] = ["partial", "labels", "author", "message", "created_at"];

/// What a file says.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) prompt: Prompt,
    pub(super) labels: Vec<LabelName>,
    pub(super) author: Option<Arc<str>>,
    pub(super) message: Option<Box<str>>,
    pub(super) created_at: Option<SystemTime>,
    pub(super) lines: Lines,
}

/// Where the parts of a prompt stand in its file.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Lines by JSON pointers.
    known: BTreeMap<String, usize>,
    /// Those at which a text begins, so that its lines can be counted on.
    texts: BTreeMap<String, usize>,
}

impl Lines {
    /// The line of a fault.
    pub(super) fn of(&self, fault: &Fault) -> Option<usize> {
        let mut at = &*fault.pointer;
        loop {
            if let Some(first) = self.texts.get(at) {
                return Some(first + fault.line.unwrap_or(1).saturating_sub(1));
            }
            if let Some(line) = self.known.get(at) {
                return Some(*line);
            }
            at = &at[..at.rfind('/')?];
        }
    }

    pub(super) fn faults(&self, path: &Arc<Path>, invalid: &InvalidPrompt) -> Vec<FileFault> {
        let all = invalid.faults().iter();
        all.map(|fault| FileFault::of(path, self.of(fault), fault))
            .collect()
    }
}

/// Reads a file, and checks all that can be told from it alone.
pub(super) fn read(path: &Arc<Path>, text: &str) -> Result<Document, Vec<FileFault>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n");
    let one = |line, what: String, mend: &str| vec![FileFault::new(path, line, what, mend)];
    let (front, body, first) = split(&text).ok_or_else(|| {
        let mend = "Write a line of `---` below the front matter.";
        one(Some(1), "The front matter has no end.".into(), mend)
    })?;
    let document = yaml::read(front).map_err(|broken| {
        let mend = "Correct the YAML; a text with `:` or `#` stands in quotes.";
        // The front matter begins in the second line.
        one(broken.line.map(|line| line + 1), broken.what, mend)
    })?;
    let mut lines = Lines::default();
    let rows: Vec<_> = front.lines().collect();
    for (at, line) in document.lines {
        // A block is found at its first line that is not blank, and begins below its mark.
        let mut above = rows.iter().take(line - 1);
        let mark = above.rposition(|row| !row.trim().is_empty());
        if let Some(mark) = mark.filter(|mark| is_mark(rows[*mark])) {
            lines.texts.insert(at.clone(), mark + 3);
        }
        lines.known.insert(at, line + 1);
    }
    let mut map = match document.value {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        _ => {
            let mend = "Write fields such as `description: Translates a text`.";
            return Err(one(Some(2), "The front matter has no fields.".into(), mend));
        }
    };
    let mut faults = Vec::new();
    let ours: Map<String, Value> = OURS
        .iter()
        .filter_map(|key| map.shift_remove_entry(*key))
        .collect();
    let ours = Ours::read(&ours, &mut faults);
    say(&mut map, body, first, ours.partial, &mut lines, &mut faults);
    let prompt = match Prompt::from_json(&Value::Object(map)) {
        Ok(prompt) => Some(prompt),
        Err(invalid) => {
            faults.extend(invalid.faults().iter().cloned());
            None
        }
    };
    match prompt {
        Some(prompt) if faults.is_empty() => Ok(Document {
            prompt,
            labels: ours.labels,
            author: ours.author,
            message: ours.message,
            created_at: ours.created_at,
            lines,
        }),
        _ => Err(lines.faults(path, &InvalidPrompt::new(faults))),
    }
}

/// Whether the text of a block may begin below this line of YAML.
fn is_mark(line: &str) -> bool {
    let line = match line.find(" #") {
        Some(comment) => &line[..comment],
        None => line,
    };
    let line = line.trim_end();
    line.trim_end_matches(|char: char| char.is_ascii_digit() || "+-".contains(char))
        .ends_with(['|', '>'])
}

/// The front matter, what stands below it, and in which line that begins. `None`: it has no end.
fn split(text: &str) -> Option<(&str, &str, usize)> {
    let Some(rest) = text.strip_prefix("---\n") else {
        return Some(("", text, 1));
    };
    let mut at = 0;
    for (nth, line) in rest.split_inclusive('\n').enumerate() {
        if line.trim_end() == "---" {
            return Some((&rest[..at], &rest[at + line.len()..], nth + 3));
        }
        at += line.len();
    }
    None
}

/// What stands in the front matter and is not of the prompt.
#[derive(Default)]
struct Ours {
    partial: bool,
    labels: Vec<LabelName>,
    author: Option<Arc<str>>,
    message: Option<Box<str>>,
    created_at: Option<SystemTime>,
}

impl Ours {
    fn read(map: &Map<String, Value>, faults: &mut Vec<Fault>) -> Self {
        let mut this = Self::default();
        for (key, value) in map {
            let at = format!("/{key}");
            match (key.as_str(), value) {
                (_, Value::Null) => {}
                ("partial", Value::Bool(partial)) => this.partial = *partial,
                ("partial", _) => faults.push(Fault::new(at, "Expected `true` or `false`.")),
                ("labels", Value::Array(all)) => {
                    for (nth, label) in all.iter().enumerate() {
                        let name = label.as_str().map(LabelName::new);
                        match name {
                            Some(Ok(label)) => this.labels.push(label),
                            Some(Err(wrong)) => {
                                faults.push(Fault::new(format!("{at}/{nth}"), wrong.what()));
                            }
                            None => faults.push(Fault::new(
                                format!("{at}/{nth}"),
                                "Expected the name of a label.",
                            )),
                        }
                    }
                }
                ("labels", _) => faults.push(Fault::new(
                    at,
                    "Expected a list of labels, such as `[production]`.",
                )),
                ("author", Value::String(author)) => this.author = Some(author.as_str().into()),
                ("message", Value::String(message)) => {
                    this.message = Some(message.as_str().into());
                }
                ("created_at", Value::String(text)) => match time::read(text) {
                    Some(time) => this.created_at = Some(time),
                    None => faults.push(Fault::new(
                        at,
                        "Expected a time such as `2026-11-22T08:10:50Z`.",
                    )),
                },
                _ => faults.push(Fault::new(at, "Expected a string.")),
            }
        }
        this
    }
}

/// Takes what stands below the front matter as messages, or as the text of a partial.
fn say(
    map: &mut Map<String, Value>,
    body: &str,
    first: usize,
    partial: bool,
    lines: &mut Lines,
    faults: &mut Vec<Fault>,
) {
    if body.trim().is_empty() {
        return;
    }
    let key = if partial { "text" } else { "messages" };
    if map.contains_key(key) {
        let what = "This stands in the front matter and below it: leave one of them.";
        faults.push(Fault::new(format!("/{key}"), what));
        return;
    }
    if partial {
        let (text, line) = trim(body, first);
        lines.texts.insert("/text".into(), line);
        map.insert("text".into(), text.into());
        return;
    }
    let mut messages = Vec::new();
    for (nth, (role, text, line)) in messages_of(body, first).into_iter().enumerate() {
        lines.texts.insert(format!("/messages/{nth}"), line);
        messages.push(json!({"role": role, "content": text}));
    }
    lines.known.insert("/messages".into(), first);
    map.insert("messages".into(), messages.into());
}

/// Messages, each with its role and the line in which its text begins. Where the first line is no role, all is
/// what the person says.
fn messages_of(body: &str, first: usize) -> Vec<(&'static str, &str, usize)> {
    let mut all = Vec::new();
    let mut role = None;
    let (mut from, mut at) = (0, 0);
    let mut line_from = first;
    for (nth, line) in body.split_inclusive('\n').enumerate() {
        let next = role_of(line);
        if role.is_none() && next.is_none() && !line.trim().is_empty() {
            let (text, line) = trim(body, first);
            return vec![("user", text, line)];
        }
        if let Some(next) = next {
            if let Some(role) = role.replace(next) {
                let (text, line) = trim(&body[from..at], line_from);
                all.push((role, text, line));
            }
            from = at + line.len();
            line_from = first + nth + 1;
        }
        at += line.len();
    }
    if let Some(role) = role {
        let (text, line) = trim(&body[from..], line_from);
        all.push((role, text, line));
    }
    all
}

fn role_of(line: &str) -> Option<&'static str> {
    let word = line.trim_end().strip_suffix(':')?;
    ROLES.into_iter().find(|role| *role == word)
}

/// A text without blank lines around it, and in which line it begins.
fn trim(text: &str, first: usize) -> (&str, usize) {
    let mut rest = text.trim_end();
    let mut line = first;
    while let Some((blank, more)) = rest.split_once('\n') {
        if !blank.trim().is_empty() {
            break;
        }
        rest = more;
        line += 1;
    }
    (rest, line)
}

/// A version as a file says it. `None`: it cannot be said.
pub(super) fn write(record: &VersionRecord) -> Option<String> {
    let said = read_back(record, &with_body(record));
    said.or_else(|| read_back(record, &in_front(record, prompt_of(record), "")))
}

/// The text, if it says what the version does.
fn read_back(record: &VersionRecord, text: &str) -> Option<String> {
    let path: Arc<Path> = Path::new("").into();
    let back = read(&path, text).ok()?;
    let same = back.prompt == *record.prompt
        && back.author.as_deref() == Some(&*record.author)
        && back.message == record.message
        && back.created_at == Some(record.created_at);
    same.then(|| text.to_owned())
}

fn prompt_of(record: &VersionRecord) -> Map<String, Value> {
    match record.prompt.to_json() {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// With messages, or the text of a partial, below the front matter, as far as they can stand there.
fn with_body(record: &VersionRecord) -> String {
    let mut map = prompt_of(record);
    if let Some(Value::String(text)) = map.shift_remove("text") {
        map.insert("partial".into(), true.into());
        return in_front(record, map, &text);
    }
    let messages = map.shift_remove("messages").unwrap_or_default();
    let mut body = String::new();
    for message in messages.as_array().into_iter().flatten() {
        let (role, content) = (message["role"].as_str(), message["content"].as_str());
        let plain = message.as_object().is_some_and(|map| map.len() == 2);
        let (Some(role), Some(content), true) = (role, content, plain) else {
            return String::new();
        };
        if !body.is_empty() {
            body.push('\n');
        }
        body.push_str(role);
        body.push_str(":\n");
        body.push_str(content);
        body.push('\n');
    }
    in_front(record, map, &body)
}

fn in_front(record: &VersionRecord, mut map: Map<String, Value>, body: &str) -> String {
    map.insert("author".into(), (&*record.author).into());
    if let Some(message) = &record.message {
        map.insert("message".into(), (&**message).into());
    }
    let created_at = time::write(record.created_at);
    map.insert("created_at".into(), created_at.into());
    let front = yaml::write(&map);
    let end = if body.is_empty() || body.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("---\n{front}---\n{body}{end}")
}
