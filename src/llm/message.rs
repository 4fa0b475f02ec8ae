//! What is said: messages and their parts.

use serde_json::{Map, Value};

/// Fields that the model of this crate does not know, kept as they came.
pub type Extra = Map<String, Value>;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// The operator.
    System,
    /// The developer: the operator's word for models that reason.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// A name for the speaker, where there are several in one role.
    pub name: Option<String>,
    /// Unknown fields.
    pub extra: Extra,
}

impl Message {
    /// A message of these parts.
    #[must_use]
    pub fn new(role: Role, parts: impl IntoIterator<Item = Part>) -> Self {
        Self {
            role,
            parts: parts.into_iter().collect(),
            name: None,
            extra: Extra::new(),
        }
    }

    /// A message of one text.
    #[must_use]
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self::new(role, [Part::text(text)])
    }

    /// The text of all text parts, one after the other.
    #[must_use]
    pub fn all_text(&self) -> String {
        self.parts.iter().filter_map(Part::as_text).collect()
    }
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it is.
    pub content: Content,
    /// Unknown fields, and those that mark the part for a vendor, such as `cache_control`.
    pub extra: Extra,
}

impl Part {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Content::Text(text.into()).into()
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<Content> for Part {
    fn from(content: Content) -> Self {
        Self {
            content,
            extra: Extra::new(),
        }
    }
}

/// What a part is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// A text.
    Text(String),
    /// A picture.
    Image {
        /// Where it is.
        source: Media,
        /// How closely to look, in the vendor's words.
        detail: Option<String>,
    },
    /// A sound.
    Audio(Media),
    /// A document.
    File {
        /// Where it is.
        source: Media,
        /// What it is called.
        name: Option<String>,
    },
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// What a tool answered.
    ToolResult {
        /// Which call it answers.
        call_id: String,
        /// What it answered.
        parts: Vec<Part>,
        /// Whether the tool failed, where that is told.
        is_error: Option<bool>,
    },
    /// What the model thought.
    Reasoning(Reasoning),
    /// What the model said instead of an answer.
    Refusal(String),
    /// A part of a kind that is not known here, whole.
    Other(Value),
}

/// Where a picture, a sound or a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Media {
    /// On the web. It is never fetched by the gateway.
    Url(String),
    /// Here.
    Data {
        /// Its media type, such as `image/png`, or the vendor's name of a format, such as `wav`.
        mime: String,
        /// Its bytes, in base64.
        base64: String,
    },
    /// With the vendor, who gave it this name.
    Id(String),
}

/// A call of a tool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolCall {
    /// The name of the call, which its result repeats.
    pub id: String,
    /// The name of the tool.
    pub name: String,
    /// Its arguments: the text of a JSON object, as the model wrote it. Empty means `{}`.
    pub arguments: String,
}

/// What a model thought, and the proof that it was the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// The thought, where it is shown.
    pub text: String,
    /// What the vendor wants to see again, unchanged.
    pub signature: Option<String>,
    /// The thought in a form that only the vendor can read.
    pub redacted: Option<String>,
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments.
    pub parameters: Option<Value>,
    /// Whether arguments must follow the schema to the letter.
    pub strict: Option<bool>,
    /// Unknown fields. A tool of a kind that is not known here has an empty name, and is whole in
    /// here.
    pub extra: Extra,
}

impl Tool {
    /// A tool with a name, and nothing else.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: None,
            parameters: None,
            strict: None,
            extra: Extra::new(),
        }
    }
}

/// Whether the model calls tools.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ToolChoice {
    /// As it sees fit.
    Auto,
    /// No.
    None,
    /// One at least.
    Required,
    /// This one.
    Tool(String),
    /// A choice that is not known here, whole.
    Other(Value),
}

/// What form the answer has.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Any text.
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON that satisfies a schema.
    JsonSchema {
        /// The name of the schema.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Option<Value>,
        /// Whether the answer must follow it to the letter.
        strict: Option<bool>,
    },
    /// A form that is not known here, whole.
    Other(Value),
}

/// How the next token is chosen, and when to stop.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Sampling {
    /// Most often from 0 to 2.
    pub temperature: Option<f64>,
    /// From 0 to 1.
    pub top_p: Option<f64>,
    /// How many of the likeliest tokens are considered.
    pub top_k: Option<u64>,
    /// The most tokens of output, reasoning among them.
    pub max_tokens: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// For answers that can be had again.
    pub seed: Option<i64>,
    /// From -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// From -2 to 2.
    pub presence_penalty: Option<f64>,
    /// How many answers to give.
    pub n: Option<u32>,
}

/// What a chat request asks: the typed view.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Chat {
    /// What was said so far.
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it calls tools.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once.
    pub parallel_tool_calls: Option<bool>,
    /// What form the answer has.
    pub response_format: Option<ResponseFormat>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// How hard to think, in the vendor's words: `low`, `medium`, `high`.
    pub effort: Option<String>,
    /// Unknown fields, kept.
    pub extra: Extra,
}

/// What an embedding request asks: the typed view.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Embed {
    /// What is to be embedded.
    pub inputs: Vec<EmbedInput>,
    /// How many dimensions the vectors shall have.
    pub dimensions: Option<u32>,
    /// Unknown fields, kept.
    pub extra: Extra,
}

/// One input of an embedding request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmbedInput {
    /// A text.
    Text(String),
    /// A text that was cut into tokens before.
    Tokens(Vec<u32>),
}
