//! What is meant, in nobody's words.

use serde_json::Value;
use tower_gateway::exchange::Usage;

/// What a client asks, and what reaches a vendor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ask {
    pub(super) system: Vec<String>,
    pub(super) turns: Vec<Turn>,
    pub(super) tools: Vec<Tool>,
    pub(super) choice: Option<Choice>,
    pub(super) schema: Option<Value>,
    pub(super) thinks: bool,
    pub(super) most: Option<u64>,
    pub(super) stop: Vec<String>,
}

impl Ask {
    /// What a model said is one text, though a client sends back the pieces that it got.
    pub(super) fn tidy(mut self) -> Self {
        for turn in &mut self.turns {
            let Turn::Model(said) = turn else {
                continue;
            };
            let mut whole: Vec<Said> = Vec::new();
            for one in said.drain(..) {
                match (whole.last_mut(), one) {
                    (Some(Said::Text(text)), Said::Text(more)) => text.push_str(&more),
                    (_, Said::Text(text)) if text.is_empty() => {}
                    (_, one) => whole.push(one),
                }
            }
            *said = whole;
        }
        self
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Turn {
    User(Vec<Said>),
    Model(Vec<Said>),
    /// What a client got, in its own words, to be sent back as it is.
    Echo(Value),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Text(String),
    Image {
        mime: String,
        base64: String,
    },
    Call {
        tool: String,
        arguments: Value,
    },
    /// What a tool answered, by the name of the tool that was called.
    Result {
        tool: String,
        text: String,
    },
    /// A thought with what the vendor wants to see again of it: its proof, or nothing.
    Thought {
        text: String,
        proof: String,
    },
}

impl Said {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(super) fn call(tool: &str, arguments: Value) -> Self {
        let tool = tool.to_owned();
        Self::Call { tool, arguments }
    }

    pub(super) fn result(tool: &str, text: &str) -> Self {
        let (tool, text) = (tool.to_owned(), text.to_owned());
        Self::Result { tool, text }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) schema: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Choice {
    Auto,
    None,
    Any,
    One(String),
}

/// What a vendor answers, and what reaches a client.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) thoughts: String,
    pub(super) text: String,
    pub(super) refused: bool,
    pub(super) calls: Vec<(String, Value)>,
    pub(super) end: End,
    pub(super) used: Option<Used>,
    /// The model's turn as the client sends it back.
    pub(super) turn: Value,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum End {
    /// Nothing was told.
    #[default]
    Open,
    Stop,
    Length,
    Calls,
    Filtered,
}

/// All of the input, and all of the output; the rest are parts of these.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Used {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cache_read: u64,
    pub(super) cache_write: u64,
    pub(super) thoughts: u64,
}

impl From<Usage> for Used {
    fn from(usage: Usage) -> Self {
        Self {
            input: usage.input,
            output: usage.output,
            cache_read: usage.cache_read.unwrap_or(0),
            cache_write: usage.cache_write.unwrap_or(0),
            thoughts: usage.reasoning.unwrap_or(0),
        }
    }
}

/// An error as a client reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Failed {
    /// What the SDK of the dialect tells errors apart by.
    pub(super) kind: String,
    /// When to come back, in seconds.
    pub(super) after: Option<u64>,
    /// The text that came before it.
    pub(super) before: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// The vendor's limit.
    Limit,
    Overload,
    /// The vendor refuses the gateway's key.
    Key,
    NoModel,
    /// The conversation is longer than the model's window.
    TooLong,
    /// The vendor reports an error in the middle of a stream.
    Middle,
    /// The connection breaks off.
    Cut,
}

impl Fault {
    pub(super) fn is_in_the_middle(self) -> bool {
        matches!(self, Self::Middle | Self::Cut)
    }

    pub(super) fn after(self) -> Option<u64> {
        (self == Self::Limit).then_some(20)
    }
}

/// The documents of an event stream, as the dialect frames it, with the names of the events.
pub(super) fn events(body: &[u8]) -> Vec<(Option<String>, String)> {
    let text = std::str::from_utf8(body).expect("UTF-8");
    let text = text.replace("\r\n", "\n");
    let mut out = Vec::new();
    for event in text.split("\n\n").filter(|event| !event.is_empty()) {
        let (mut name, mut data) = (None, Vec::new());
        for line in event.split('\n') {
            match line.split_once(':') {
                Some(("event", value)) => name = Some(value.trim_start().to_owned()),
                Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value)),
                // A comment.
                Some(("", _)) => {}
                _ => panic!("no line of an event stream: {line:?}"),
            }
        }
        if !data.is_empty() {
            out.push((name, data.join("\n")));
        }
    }
    out
}

pub(super) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub(super) fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
