//! A request on its way into a protocol: what of it goes along, what does not, and what is told.
//!
//! The writer of each protocol puts what it knows in its own form. For all that it does not know, one
//! rule holds for all of them: what came in this protocol, or was made here, goes along as it is; what
//! came in another is left out, and is a [`Loss`](crate::llm::Loss) if it said anything.

use super::{Losses, Maker, Names, responses};
use crate::{
    Rejection,
    llm::{Chat, ChatRequest, Extra, Message, Protocol, Role, Tool, ToolChoice},
    rejection::Kind,
};
use serde_json::{Map, Value};

/// A JSON object that is being written.
pub(crate) type Object = Map<String, Value>;

pub(crate) const UNKNOWN: &str = "The provider's protocol has no such field.";
pub(crate) const NO_KIND: &str = "The provider's protocol has no such content.";
pub(crate) const OPERATOR_FIRST: &str = "What the operator says stands before all turns.";
const NO_TOOL: &str = "The provider has no such tool.";
const RUN_BY_CLIENT: &str =
    "The provider has no such tool. What the client runs itself can be offered as a function.";
const NO_CHOICE: &str = "There is no tool to choose.";
const NOT_ITS_THOUGHT: &str = "A thought goes to the model that made it and no other.";
const WRAPPED: &str = "Arguments that are no JSON object are wrapped in one.";

/// What the writers of all protocols have in common.
pub(crate) struct Translation<'a> {
    to: &'a Maker,
    origin: Option<Protocol>,
    /// It came in another protocol: what this one does not know of it is not sent.
    pub(crate) foreign: bool,
    /// It came in this protocol: it is sent as it is.
    pub(crate) own: bool,
    /// Tools that have another name for the vendor.
    pub(crate) names: Names,
    pub(crate) losses: Losses,
}

impl<'a> Translation<'a> {
    /// Of this request into the protocol of `to`, where the name of a tool has so many letters at the
    /// most.
    pub(crate) fn new(
        request: &ChatRequest,
        chat: &Chat,
        to: &'a Maker,
        longest_name: usize,
    ) -> Self {
        let origin = request.origin();
        Self {
            to,
            origin,
            foreign: origin.is_some_and(|origin| origin != to.protocol),
            own: origin == Some(to.protocol),
            names: Names::of(chat, longest_name),
            losses: Losses::default(),
        }
    }

    /// The protocol that it came in.
    pub(crate) fn origin(&self) -> Option<Protocol> {
        self.origin
    }

    /// Whether something is lost with this field.
    fn is_lost(&self, key: &str, value: &Value) -> bool {
        is_lost(self.origin, key, value)
    }

    /// Tells what of a message has no place: all but its role and its parts.
    pub(crate) fn message(&mut self, message: &Message, place: &str) {
        if message.name.is_some() && message.role != Role::Tool {
            self.losses.add(format_args!("{place}.name"), UNKNOWN);
        }
        for (key, value) in &message.extra {
            if self.is_lost(key, value) {
                self.losses.add(format_args!("{place}.{key}"), UNKNOWN);
            }
        }
    }

    /// The fields of a part or a tool that go along.
    pub(crate) fn fields(&mut self, extra: &Extra, place: &str) -> Extra {
        self.fields_and(extra, place, |_, _| false)
    }

    /// The same, with fields of other protocols that this one shares.
    pub(crate) fn fields_and(
        &mut self,
        extra: &Extra,
        place: &str,
        shared: impl Fn(&str, &Value) -> bool,
    ) -> Extra {
        if !self.foreign {
            return extra.clone();
        }
        let mut kept = Extra::new();
        for (key, value) in extra {
            if shared(key, value) {
                kept.insert(key.clone(), value.clone());
            } else if self.is_lost(key, value) {
                self.losses.add(format_args!("{place}.{key}"), UNKNOWN);
            }
        }
        kept
    }

    /// The fields at the top that the view does not know. `known` says which of another protocol's it
    /// has dealt with.
    pub(crate) fn top(
        &mut self,
        extra: &Extra,
        out: &mut Object,
        mut known: impl FnMut(&str, &Value, &mut Object) -> bool,
    ) {
        for (key, value) in extra {
            if !self.foreign {
                merge(out, key, value);
            } else if !known(key, value, out) && self.is_lost(key, value) {
                self.losses.add(key, UNKNOWN);
            }
        }
    }

    /// The proof of a thought, if it is for this vendor and model. One that was never signed is empty.
    pub(crate) fn proof(&self, proof: Option<&str>) -> Option<String> {
        self.to.open(proof?, self.origin).map(str::to_owned)
    }

    pub(crate) fn lost_thought(&mut self, place: &str) {
        self.losses.add(place, NOT_ITS_THOUGHT);
    }

    pub(crate) fn lost_kind(&mut self, place: &str) {
        self.losses.add(place, NO_KIND);
    }

    pub(crate) fn wrapped_arguments(&mut self, place: &str) {
        self.losses.add(format_args!("{place}.arguments"), WRAPPED);
    }

    /// A tool of a vendor's own, whole, if it is this one's.
    pub(crate) fn vendors_tool(&mut self, tool: &Tool, place: &str) -> Option<Value> {
        if self.foreign {
            self.losses.add(place, no_tool(tool));
            return None;
        }
        Some(tool.extra.clone().into())
    }

    /// The choice of a tool, if there is something to say of it.
    pub(crate) fn choice<'c>(&mut self, chat: &'c Chat, offered: bool) -> Option<&'c ToolChoice> {
        let choice = chat.tool_choice.as_ref()?;
        let why = match choice {
            ToolChoice::Other(_) if self.foreign => UNKNOWN,
            ToolChoice::Required | ToolChoice::Tool(_) if !offered => NO_CHOICE,
            ToolChoice::Auto | ToolChoice::None if !offered && !self.own => return None,
            _ => return Some(choice),
        };
        self.losses.add("tool_choice", why);
        None
    }
}

/// Why a tool of a vendor's own is not offered by another.
pub(crate) fn no_tool(tool: &Tool) -> &'static str {
    const BY_CLIENT: [&str; 3] = ["local_shell", "shell", "apply_patch"];
    let kind = tool.extra.get("type").and_then(Value::as_str);
    match kind.is_some_and(|kind| BY_CLIENT.contains(&kind)) {
        true => RUN_BY_CLIENT,
        false => NO_TOOL,
    }
}

/// Refuses a conversation of which nothing is left to send: no provider takes an empty one.
pub(crate) fn spoken(messages: Option<&Value>) -> Result<(), Rejection> {
    match messages {
        Some(Value::Array(messages)) => spoken_of(messages.len()),
        _ => Ok(()),
    }
}

/// The same, of so many messages.
pub(crate) fn spoken_of(count: usize) -> Result<(), Rejection> {
    match count {
        0 => Err(Rejection::new(Kind::InvalidRequest)
            .with_param("messages")
            .with_detail("None of the messages says anything.")),
        _ => Ok(()),
    }
}

/// A field that is left out where there is nothing.
pub(crate) fn put(out: &mut Object, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        out.insert(key.into(), value.into());
    }
}

/// A value with the fields that nobody here knows.
pub(crate) fn with(mut value: Value, extra: Extra) -> Value {
    if let Some(fields) = value.as_object_mut() {
        for (key, value) in extra {
            fields.entry(key).or_insert(value);
        }
    }
    value
}

/// Adds what is not there yet, also within objects.
pub(crate) fn merge(out: &mut Object, key: &str, value: &Value) {
    match (out.get_mut(key), value) {
        (None, _) => {
            out.insert(key.to_owned(), value.clone());
        }
        (Some(Value::Object(inside)), Value::Object(more)) => {
            for (key, value) in more {
                merge(inside, key, value);
            }
        }
        (Some(_), _) => {}
    }
}

/// Fields that are `false` where nobody says otherwise.
const OFF: &[&str] = &[
    "background",
    "defer_loading",
    "echo",
    "eager_input_streaming",
    "includeThoughts",
    "is_error",
    "logprobs",
    "raw",
    "raw_prompting",
    "responseLogprobs",
    "safe_prompt",
    "store",
    "stream",
    "strict",
    "strict_tools",
    "thought",
];

/// Fields of which none is as good as an empty list.
const NONE_OF: &[&str] = &[
    "annotations",
    "citations",
    "content",
    "documents",
    "files",
    "functions",
    "images",
    "include",
    "logprobs",
    "mcp_servers",
    "reasoning_details",
    "safetySettings",
    "safety_settings",
    "stop",
    "stopSequences",
    "stop_sequences",
    "summary",
    "tool_calls",
    "tools",
];

/// Fields of which none is as good as an empty object.
const EMPTY: &[&str] = &[
    "additionalModelRequestFields",
    "extra_body",
    "generationConfig",
    "labels",
    "logit_bias",
    "metadata",
    "options",
    "output_config",
    "reasoning",
    "requestMetadata",
    "stream_options",
    "text",
    "item",
];

/// Whether a field says anything: `null` never does, and what is empty or `false` does unless it is known
/// to be what the field is by itself. `web_search_options: {}` asks for a search. The key may be a path.
pub(crate) fn says(key: &str, value: &Value) -> bool {
    let key = key.rsplit('.').next().unwrap_or(key);
    match value {
        Value::Null => false,
        Value::Bool(false) => !OFF.contains(&key),
        Value::Array(all) if all.is_empty() => !NONE_OF.contains(&key),
        Value::Object(all) if all.is_empty() => !EMPTY.contains(&key),
        _ => true,
    }
}

/// Whether something is lost with a field of a request of this origin.
pub(crate) fn is_lost(origin: Option<Protocol>, key: &str, value: &Value) -> bool {
    let met = origin == Some(Protocol::Responses) && responses::says_nothing(key, value);
    says(key, value) && !met
}

/// The object that the text of arguments means; what is none is wrapped, and told.
pub(crate) fn object_of(arguments: &str) -> (Value, bool) {
    // Some models write `null` where there are none.
    if matches!(arguments.trim(), "" | "null") {
        return (Map::new().into(), true);
    }
    match serde_json::from_str(arguments) {
        Ok(input @ Value::Object(_)) => (input, true),
        _ => (serde_json::json!({"arguments": arguments}), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_empty_or_false_is_lost_unless_it_is_so_by_itself() {
        let nothing = json!({
            "web_search_options": null, "store": false, "strict": false, "logprobs": false,
            "tools": [], "include": [], "metadata": {}, "logit_bias": {},
        });
        for (key, value) in nothing.as_object().unwrap() {
            assert!(!says(key, value), "{key}");
        }
        let something = json!({
            "web_search_options": {}, "enable_thinking": false, "include_reasoning": false,
            "modalities": [], "store": true, "tools": {}, "metadata": [], "n": 0, "name": "",
        });
        for (key, value) in something.as_object().unwrap() {
            assert!(says(key, value), "{key}");
        }
    }
}
