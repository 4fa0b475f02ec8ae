//! What a prompt is made of.

use super::{
    fault::{Fault, InvalidPrompt, what},
    form,
    name::{InvalidName, LabelName, PromptName},
};
use crate::llm::{Message, ResponseFormat, Role, Sampling, Tool, ToolChoice};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

/// What a version of a prompt says: messages whose texts are templates, and all that is asked of the
/// model beside them.
///
/// Its one serde form is the front matter of a file, the row of a database, the body of a request to the
/// management service and a line of an export:
///
/// ```
/// use tower_gateway::prompt::Prompt;
///
/// let prompt: Prompt = serde_json::from_str(r#"{
///     "description": "Translates a text.",
///     "model": "fast",
///     "messages": [
///         {"role": "system", "content": "Translate into {{ language }}."},
///         {"role": "user", "content": [{"type": "text", "text": "{{ text }}"}]}
///     ],
///     "variables": {
///         "text": {"type": "string", "maxLength": 10000},
///         "language": {"type": "string", "default": "French"}
///     },
///     "settings": {"temperature": 0.2, "max_tokens": 2000}
/// }"#)?;
/// assert_eq!(prompt.variables["language"].default(), Some(&"French".into()));
/// assert!(prompt.variables["text"].is_required());
///
/// let wrong = serde_json::json!({"messages": [{"role": "user", "content": "Hello", "nom": "x"}]});
/// let wrong = Prompt::from_json(&wrong).unwrap_err();
/// assert_eq!(&*wrong.faults()[0].pointer, "/messages/0/nom");
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Prompt {
    /// What it is for. `description`
    pub description: Option<String>,
    /// The model or the pool that answers it, unless the call names another one. `model`
    pub model: Option<String>,
    /// What is said. Texts are templates, also in results of tools, and so are the URLs of pictures, sounds
    /// and documents. A prompt has messages or a `text`. `messages`
    pub messages: Vec<Message>,
    /// The text of a partial: it is included in other prompts, and cannot be called. `text`
    pub text: Option<String>,
    /// What is filled in, by name. `variables`
    pub variables: BTreeMap<String, Variable>,
    /// Texts of other prompts that templates may `{% include "name" %}`. `partials`
    pub partials: BTreeMap<String, Partial>,
    /// What the model may call. `tools`
    pub tools: Vec<Tool>,
    /// Whether it calls tools. `tool_choice`
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once. `parallel_tool_calls`
    pub parallel_tool_calls: Option<bool>,
    /// What form the answer has, with its schema. `output`
    pub output: Option<ResponseFormat>,
    /// How the next token is chosen, and when to stop. `settings`
    pub settings: Sampling,
    /// How hard to think, in the vendor's words. `settings.effort`
    pub effort: Option<String>,
    /// What else is to be kept with it, such as a ticket: 32 texts of 1,024 bytes at the most. `metadata`
    pub metadata: BTreeMap<String, String>,
}

impl Prompt {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A partial: a text for other prompts to include.
    #[must_use]
    pub fn partial(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::default()
        }
    }

    /// Adds what the operator says.
    #[must_use]
    pub fn system(self, template: impl Into<String>) -> Self {
        self.message(Message::text(Role::System, template))
    }

    /// Adds what the person says.
    #[must_use]
    pub fn user(self, template: impl Into<String>) -> Self {
        self.message(Message::text(Role::User, template))
    }

    /// Adds a message.
    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    /// Names the model or the pool that answers.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Adds a variable: a JSON schema, such as `json!({"type": "string"})`. With a `default` it is
    /// optional.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, schema: Value) -> Self {
        self.variables.insert(name.into(), Variable { schema });
        self
    }

    /// Adds a text that templates may include by this name.
    #[must_use]
    pub fn include(mut self, name: impl Into<String>, partial: Partial) -> Self {
        self.partials.insert(name.into(), partial);
        self
    }

    /// Adds a tool.
    #[must_use]
    pub fn tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// Asks for JSON that satisfies this schema.
    #[must_use]
    pub fn output_schema(mut self, name: impl Into<String>, schema: Value) -> Self {
        self.output = Some(ResponseFormat::JsonSchema {
            name: name.into(),
            description: None,
            schema: Some(schema),
            strict: None,
        });
        self
    }

    /// Reads one, and checks all that can be told without the registry: names, sizes, templates, schemas,
    /// and that templates use what is declared. Pins that are missing are no fault of it.
    ///
    /// # Errors
    ///
    /// All that is wrong.
    pub fn from_json(value: &Value) -> Result<Self, InvalidPrompt> {
        let prompt = form::read(value)?;
        prompt.check()?;
        Ok(prompt)
    }

    /// In its one form. Fields that say nothing are left out, and all stand in one order.
    #[must_use]
    pub fn to_json(&self) -> Value {
        form::write(self)
    }

    /// Whether it is a text for others to include.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.text.is_some()
    }

    /// Where its partials come from that are not pinned yet, each once.
    pub fn unpinned(&self) -> impl Iterator<Item = &PartialSource> {
        let partials = self.partials.values();
        partials.filter_map(|partial| partial.pinned.is_none().then_some(&partial.source))
    }

    /// Puts the texts of its partials into it, so that it is whole and stays as it is. `find` gives the
    /// version that a source stands for now.
    ///
    /// # Errors
    ///
    /// Each partial that there is not, that is no partial, or that is not pinned itself.
    pub fn pin(
        &mut self,
        mut find: impl FnMut(&PartialSource) -> Option<(NonZeroU32, Arc<Prompt>)>,
    ) -> Result<(), InvalidPrompt> {
        let mut faults = Vec::new();
        for (name, partial) in &mut self.partials {
            if partial.pinned.is_some() {
                continue;
            }
            let fault = |what| Fault::new(super::fault::below("/partials", name), what);
            let Some((version, found)) = find(&partial.source) else {
                faults.push(fault(what::NO_VERSION).about(&*partial.source.prompt));
                continue;
            };
            let Some(text) = &found.text else {
                faults.push(fault(what::NO_TEXT).about(&*partial.source.prompt));
                continue;
            };
            if found.partials.values().any(|inner| inner.pinned.is_none()) {
                faults.push(
                    fault("The partial includes what is not pinned.")
                        .about(&*partial.source.prompt),
                );
                continue;
            }
            partial.pinned = Some(Pinned {
                version,
                text: text.clone(),
                partials: found.partials.clone(),
                variables: found.variables.keys().cloned().collect(),
            });
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(InvalidPrompt::new(faults))
        }
    }
}

impl Serialize for Prompt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// As [`Prompt::from_json`]. A field that is given twice is an error.
impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let crate::json::Strict(value) = Deserialize::deserialize(deserializer)?;
        Self::from_json(&value).map_err(de::Error::custom)
    }
}

/// What a caller fills in: a JSON schema, whose `default` makes it optional.
///
/// A schema may refer to its own parts (`"$ref": "#/$defs/…"`), though not in a circle, and to nothing
/// else.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    pub(super) schema: Value,
}

impl Variable {
    /// Of this JSON schema.
    #[must_use]
    pub fn new(schema: Value) -> Self {
        Self { schema }
    }

    /// Its schema.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// What it is if the caller does not say.
    #[must_use]
    pub fn default(&self) -> Option<&Value> {
        self.schema.get("default")
    }

    /// Whether the caller must say.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.default().is_none()
    }
}

/// Where the text of a partial comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartialSource {
    /// Which prompt.
    pub prompt: PromptName,
    /// Which version of it.
    pub at: At,
}

impl PartialSource {
    /// The version that a label of a prompt stands for, when the prompt that includes it is created.
    ///
    /// # Errors
    ///
    /// What a name may be made of.
    pub fn new(prompt: &str, at: At) -> Result<Self, InvalidName> {
        Ok(Self {
            prompt: PromptName::new(prompt)?,
            at,
        })
    }
}

/// Which version of a prompt is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum At {
    /// The one with the highest number.
    #[default]
    Latest,
    /// This one.
    Version(NonZeroU32),
    /// The one that the label points at. Of several, the one with the largest share.
    Label(LabelName),
}

/// A text of another prompt that templates may include.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Partial {
    /// Where it comes from.
    pub source: PartialSource,
    /// The text, once the version that includes it is created.
    pub pinned: Option<Pinned>,
}

impl Partial {
    /// From there.
    #[must_use]
    pub fn new(source: PartialSource) -> Self {
        Self {
            source,
            pinned: None,
        }
    }
}

/// The text of a partial, as it was when the version that includes it was created.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Pinned {
    /// The version that it is from.
    pub version: NonZeroU32,
    /// The text: a template.
    pub text: String,
    /// What it includes itself, pinned as well. At most four deep.
    pub partials: BTreeMap<String, Partial>,
    /// The variables that it needs.
    pub variables: Vec<String>,
}

/// An object of variables.
pub type Variables = Map<String, Value>;
