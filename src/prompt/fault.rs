//! What is wrong with a prompt, and where.

use crate::{Rejection, rejection::Kind};
use std::{error::Error, fmt};

/// The most faults that are told at once.
pub(super) const MOST: usize = 32;

/// What is wrong, where other code goes by it.
pub(super) mod what {
    pub(in crate::prompt) const NO_FIELD: &str = "There is no such field.";
    pub(in crate::prompt) const MISSING: &str = "This field is missing.";
    pub(in crate::prompt) const NOT_DECLARED: &str =
        "The template uses a variable that is not declared.";
    pub(in crate::prompt) const NO_VERSION: &str = "There is no such version of this prompt.";
    pub(in crate::prompt) const NO_TEXT: &str =
        "The prompt has messages, and not a `text` to include.";
    pub(in crate::prompt) const PARTIAL_NEEDS: &str =
        "The partial needs a variable that is not declared.";
    pub(in crate::prompt) const NOTHING_SAID: &str =
        "A prompt has either `messages` or, if it is a partial, a `text`.";
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Where: a JSON pointer (RFC 6901), such as `/messages/0/content`. Empty: the whole.
    pub pointer: Box<str>,
    /// What, in a sentence that quotes nothing.
    pub what: &'static str,
    /// What it is about: the name of a field or of a variable, or what a parser said. For whoever wrote
    /// the prompt.
    pub about: Option<Box<str>>,
    /// In which line of the text at the pointer, from 1, if it is a template.
    pub line: Option<usize>,
}

impl Fault {
    /// Something that is wrong, there.
    #[must_use]
    pub fn new(pointer: impl Into<Box<str>>, what: &'static str) -> Self {
        Self {
            pointer: pointer.into(),
            what,
            about: None,
            line: None,
        }
    }

    /// Adds what it is about. It is cut at 256 bytes.
    #[must_use]
    pub fn about(mut self, about: impl AsRef<str>) -> Self {
        let about = about.as_ref();
        let end = about.floor_char_boundary(256);
        self.about = Some(about[..end].into());
        self
    }

    /// Adds the line within the text at the pointer.
    #[must_use]
    pub fn line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        f.write_str(self.what)?;
        if let Some(about) = &self.about {
            write!(f, " ({})", about.escape_debug())?;
        }
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        Ok(())
    }
}

/// What was given is not a prompt, or not a label: all that is wrong with it, 32 faults at the most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPrompt(Vec<Fault>);

impl InvalidPrompt {
    /// Of these faults. The first 32 are kept.
    #[must_use]
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self(faults.into_iter().take(MOST).collect())
    }

    /// What is wrong.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.0
    }
}

impl From<Fault> for InvalidPrompt {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl fmt::Display for InvalidPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, fault) in self.0.iter().enumerate() {
            let between = if nth == 0 { "" } else { "; " };
            write!(f, "{between}{fault}")?;
        }
        Ok(())
    }
}

impl Error for InvalidPrompt {}

/// 400, with every fault; what they are about is in its source alone.
impl From<InvalidPrompt> for Rejection {
    fn from(invalid: InvalidPrompt) -> Self {
        refuse("The prompt is not valid.", &invalid.0).with_source(invalid)
    }
}

/// 400 with these faults.
pub(super) fn refuse(detail: &'static str, faults: &[Fault]) -> Rejection {
    let rejection = Rejection::new(Kind::InvalidRequest);
    match faults {
        [only] if only.pointer.is_empty() => rejection.with_detail(only.what),
        [only] => rejection.with_param(&only.pointer).with_detail(only.what),
        _ => faults
            .iter()
            .fold(rejection.with_detail(detail), |rejection, fault| {
                rejection.with_fault(&fault.pointer, fault.what)
            }),
    }
}

/// A JSON pointer with one more token.
pub(super) fn below(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}
