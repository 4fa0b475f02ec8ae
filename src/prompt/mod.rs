//! Prompts by name: versions, labels, templates, shares.

mod content;
mod diff;
mod fault;
mod form;
mod memory;
mod name;
mod record;
mod registry;
mod render;
mod results;
mod store;
mod transfer;
mod version;

pub use self::{
    content::{At, Partial, PartialSource, Pinned, Prompt, Variable, Variables},
    diff::diff,
    fault::{Fault, InvalidPrompt},
    memory::MemoryStore,
    name::{InvalidName, LATEST, LabelName, PromptName},
    record::{
        Actor, Assignment, LabelMove, NewVersion, PromptHead, RecordedMove, Share, VersionRecord,
    },
    registry::{Change, Registry, RegistryBuilder, RegistryError},
    results::{Outcome, ScoreResults, VersionResults},
    store::{Changes, Created, Imported, MOST_AT_ONCE, Moved, Store},
    transfer::{Export, Import, ImportError, ImportReport, Record},
    version::{Found, RenderError, RenderFault, Version},
};
