//! What is wrong with a file.

use crate::prompt::fault::{Fault, what};
use std::{fmt, path::Path, sync::Arc};

/// What is wrong with a file of a [`FileStore`](super::FileStore), where, and what would mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileFault {
    /// Which file, from the directory of prompts on.
    pub path: Arc<Path>,
    /// In which line, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: Box<str>,
    /// What would mend it.
    pub mend: Box<str>,
}

impl FileFault {
    pub(super) fn new(
        path: &Arc<Path>,
        line: Option<usize>,
        what: impl Into<Box<str>>,
        mend: impl Into<Box<str>>,
    ) -> Self {
        Self {
            path: path.clone(),
            line,
            what: what.into(),
            mend: mend.into(),
        }
    }

    /// What is wrong with the prompt in a file.
    pub(super) fn of(path: &Arc<Path>, line: Option<usize>, fault: &Fault) -> Self {
        let plain = Fault {
            line: None,
            ..fault.clone()
        };
        Self::new(path, line, plain.to_string(), mend(fault))
    }
}

/// `translate.md:7: /variables/text: Expected a JSON schema: an object. Write it as …`
impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {} {}", self.what, self.mend)
    }
}

fn mend(fault: &Fault) -> String {
    let name = fault.pointer.rsplit('/').next().unwrap_or_default();
    let about = fault.about.as_deref().unwrap_or_default();
    match fault.what {
        what::NO_FIELD => match about.strip_prefix("there are ") {
            Some(known) => format!("Take `{name}` away, or write one of: {known}."),
            None => format!("Take `{name}` away."),
        },
        what::MISSING => format!("Add `{name}`."),
        what::NOT_DECLARED => {
            format!("Declare `{about}` under `variables`, or correct the name.")
        }
        what::NO_VERSION => {
            format!("Add the prompt `{about}`, or correct the name under `partials`.")
        }
        what::NO_TEXT => {
            format!("Write `partial: true` into the front matter of `{about}`.")
        }
        what::PARTIAL_NEEDS => {
            format!("Declare `{about}` under `variables`.")
        }
        what::NOTHING_SAID => "Write the message below the front matter.".into(),
        what if what.starts_with("Expected") => format!("Write that as `{name}`."),
        _ if fault.pointer.starts_with("/variables") || fault.pointer.starts_with("/output") => {
            "Correct the schema.".into()
        }
        _ if fault.line.is_some() => "Correct the template.".into(),
        _ => "Correct it.".into(),
    }
}
