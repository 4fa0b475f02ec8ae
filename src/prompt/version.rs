//! A version that is ready to be rendered.

use super::{
    content::{Prompt, Variables},
    fault::{Fault, InvalidPrompt, refuse},
    name::{LabelName, PromptName},
    record::VersionRecord,
    render::Compiled,
};
use crate::{Rejection, llm::Chat, rejection::Kind};
use serde_json::Value;
use std::{error::Error, fmt, num::NonZeroU32, sync::Arc};

/// What a version takes beside its text, in bytes, about.
const AROUND: usize = 4 << 10;

/// A version of a prompt whose templates and schemas are compiled. Immutable; shared by an `Arc`.
pub struct Version {
    record: VersionRecord,
    compiled: Compiled,
    weight: usize,
}

impl Version {
    /// Compiles a version, also one that stands in no registry: for previews and tests.
    ///
    /// # Errors
    ///
    /// All that is wrong with its templates and schemas.
    pub fn compile(record: VersionRecord) -> Result<Self, InvalidPrompt> {
        let compiled = Compiled::new(&record.prompt)?;
        let text = record.prompt.to_json().to_string().len();
        let weight = text + compiled.of_patterns() + AROUND;
        Ok(Self {
            record,
            compiled,
            weight,
        })
    }

    /// How much memory it takes, about.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Of which prompt.
    #[must_use]
    pub fn name(&self) -> &PromptName {
        &self.record.name
    }

    /// Which one.
    #[must_use]
    pub fn number(&self) -> NonZeroU32 {
        self.record.version
    }

    /// As it is kept.
    #[must_use]
    pub fn record(&self) -> &VersionRecord {
        &self.record
    }

    /// What it says.
    #[must_use]
    pub fn prompt(&self) -> &Prompt {
        &self.record.prompt
    }

    /// The model or the pool that answers it.
    #[must_use]
    pub fn model(&self) -> Option<&Arc<str>> {
        self.compiled.model()
    }

    /// The JSON schema of the object of its variables: `properties`, `required`, and no others.
    #[must_use]
    pub fn variables_schema(&self) -> &Value {
        self.compiled.variables_schema()
    }

    /// The JSON schema that its answer satisfies.
    #[must_use]
    pub fn output_schema(&self) -> Option<&Value> {
        self.compiled.output_schema()
    }

    /// What is wrong with variables: each that is missing, that is not declared, or that is not
    /// what its schema says, with a JSON pointer into the object. Empty: nothing. 32 at the most.
    #[must_use]
    pub fn check_variables(&self, variables: &Variables) -> Vec<Fault> {
        self.compiled.check_variables(variables)
    }

    /// What is wrong with an answer, by its [schema](Self::output_schema): pointers into the
    /// answer. Empty: nothing, or there is no schema. 32 at the most.
    #[must_use]
    pub fn check_output(&self, answer: &Value) -> Vec<Fault> {
        self.compiled.check_output(answer)
    }

    /// Fills the variables in. The chat has messages, tools, form and settings; the model is apart, see
    /// [`model`](Self::model).
    ///
    /// # Errors
    ///
    /// Variables that are not what they should be, and templates that fail on them.
    pub fn render(&self, variables: &Variables) -> Result<Chat, RenderError> {
        self.compiled.render(variables).map_err(|why| RenderError {
            prompt: self.record.name.clone(),
            version: self.record.version,
            why,
        })
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version")
            .field("name", self.name())
            .field("number", &self.number())
            .finish_non_exhaustive()
    }
}

/// A version that was found, and by which label.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// The version.
    pub version: Arc<Version>,
    /// The label that was asked for; `None` for a number or [`latest`](super::LATEST).
    pub label: Option<LabelName>,
    /// Whether the label points at several versions, so that this was one of them by the key.
    pub is_split: bool,
}

/// Why a version could not be rendered. It names prompt, version, and where; never a value.
#[derive(Debug)]
pub struct RenderError {
    prompt: PromptName,
    version: NonZeroU32,
    why: RenderFault,
}

/// What kept a version from being rendered.
#[derive(Debug)]
#[non_exhaustive]
pub enum RenderFault {
    /// Variables are missing, are not declared, or are not what their schemas say: pointers into the
    /// object of variables.
    Variables(Vec<Fault>),
    /// A template failed: where, in which line, and why. `about` has what the template engine said, for
    /// whoever wrote the prompt.
    Template(Fault),
    /// It became too large, or took too long: where.
    TooLarge(Fault),
}

impl RenderError {
    /// Of which prompt.
    #[must_use]
    pub fn prompt(&self) -> &PromptName {
        &self.prompt
    }

    /// Which version of it.
    #[must_use]
    pub fn version(&self) -> NonZeroU32 {
        self.version
    }

    /// What it was.
    #[must_use]
    pub fn why(&self) -> &RenderFault {
        &self.why
    }
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "prompt {} version {}: ", self.prompt, self.version)?;
        match &self.why {
            RenderFault::Variables(faults) => InvalidPrompt::new(faults.iter().cloned()).fmt(f),
            RenderFault::Template(fault) | RenderFault::TooLarge(fault) => fault.fmt(f),
        }
    }
}

impl Error for RenderError {}

/// 400 with the pointer of each variable that is at fault; 413 for what becomes too large.
impl From<RenderError> for Rejection {
    fn from(error: RenderError) -> Self {
        let rejection = match &error.why {
            RenderFault::Variables(faults) => {
                refuse("The variables are not what the prompt asks for.", faults)
            }
            RenderFault::Template(_) => Self::new(Kind::InvalidRequest)
                .with_detail("The prompt cannot be rendered with these variables."),
            RenderFault::TooLarge(_) => Self::new(Kind::TooLarge)
                .with_detail("The prompt becomes too large with these variables."),
        };
        rejection.with_source(error)
    }
}
