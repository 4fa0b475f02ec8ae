//! Where a vendor's words are not quite those of the protocol that it speaks.
//!
//! A quirk is a field, and a request is edited where one of them stands in its way: a client that speaks
//! to OpenAI says what others refuse. What is left out of a request for that is told as a loss, unless it
//! said nothing.

use crate::llm::{Loss, codec::Losses};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

type Object = Map<String, Value>;

/// What is to be edited in a conversation of OpenAI's protocol before a vendor takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quirks {
    /// Fields that have another name.
    renamed: &'static [(&'static str, &'static str)],
    /// Fields that it refuses, or takes no notice of.
    unknown: &'static [&'static str],
    /// Fields of messages that it refuses.
    unknown_in_messages: &'static [&'static str],
    /// Whether it refuses `stream_options`: it tells the usage of a stream without being asked.
    counts_unasked: bool,
    /// Whether it gives one choice and no more.
    one_choice: bool,
    /// Whether it has no role `developer`, which is `system` by another name.
    no_developer: bool,
    /// Its word for `required` as a choice of tools.
    any_tool: Option<&'static str>,
    /// Whether it wants pictures as bytes: who sends a URL is refused.
    no_urls: bool,
    /// Whether the ids of calls must have nine letters and digits.
    short_ids: bool,
    thoughts: Thoughts,
}

/// How thoughts come back to the one who had them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thoughts {
    /// In `reasoning_content`.
    Content,
    /// In a field of this name.
    Named(&'static str),
    /// In `reasoning_content`, which must not be missing where tools are called.
    BesideCalls,
    /// Among the parts of the content.
    Parts,
}

impl Quirks {
    /// OpenAI itself, and whoever takes all that it takes.
    pub(super) const NONE: Self = Self {
        renamed: &[],
        unknown: &[],
        unknown_in_messages: &[],
        counts_unasked: false,
        one_choice: false,
        no_developer: false,
        any_tool: None,
        no_urls: false,
        short_ids: false,
        thoughts: Thoughts::Content,
    };
}

/// All know the older name, and some refuse the newer.
const OLDER: &[(&str, &str)] = &[("max_completion_tokens", "max_tokens")];

/// Whoever runs open models: their templates know no `developer`.
pub(super) const PLAIN: Quirks = Quirks {
    renamed: OLDER,
    no_developer: true,
    ..Quirks::NONE
};

/// It answers 422 (`extra_forbidden`) to every field that is not in its own list:
/// <https://docs.mistral.ai/api>, and `ChatCompletionRequest` of its client. On ids it says: "must be a-z,
/// A-Z, 0-9, with a length of 9" (code 3280).
pub(super) const MISTRAL: Quirks = Quirks {
    renamed: &[
        ("max_completion_tokens", "max_tokens"),
        ("seed", "random_seed"),
    ],
    unknown: &[
        "user",
        "store",
        "logit_bias",
        "verbosity",
        "modalities",
        "web_search_options",
        "safety_identifier",
    ],
    unknown_in_messages: &["name", "refusal", "annotations", "audio", "function_call"],
    counts_unasked: true,
    any_tool: Some("any"),
    short_ids: true,
    thoughts: Thoughts::Parts,
    ..PLAIN
};

/// It answers 400 to these: <https://console.groq.com/docs/openai>. In messages it knows `reasoning`, and
/// nothing that it does not know itself.
pub(super) const GROQ: Quirks = Quirks {
    unknown: &["logprobs", "top_logprobs", "logit_bias"],
    unknown_in_messages: &[
        "name",
        "refusal",
        "annotations",
        "audio",
        "reasoning_details",
    ],
    one_choice: true,
    thoughts: Thoughts::Named("reasoning"),
    ..Quirks::NONE
};

/// <https://api-docs.deepseek.com/guides/thinking_mode>: a turn that called tools must come back with what
/// was thought, be it nothing; elsewhere it does no harm.
pub(super) const DEEPSEEK: Quirks = Quirks {
    one_choice: true,
    thoughts: Thoughts::BesideCalls,
    ..PLAIN
};

/// <https://inference-docs.cerebras.ai/resources/openai>: "does not expose developer directly". Thoughts
/// are in `reasoning`, both ways.
pub(super) const CEREBRAS: Quirks = Quirks {
    no_developer: true,
    thoughts: Thoughts::Named("reasoning"),
    ..Quirks::NONE
};

/// <https://docs.ollama.com/api/openai-compatibility>: what is not in its list it takes no notice of, and
/// a picture is "Base64 encoded".
pub(super) const OLLAMA: Quirks = Quirks {
    no_urls: true,
    unknown: &["logit_bias"],
    one_choice: true,
    thoughts: Thoughts::Named("reasoning"),
    ..PLAIN
};

/// <https://lmstudio.ai/docs>: pictures are base64.
pub(super) const LM_STUDIO: Quirks = Quirks {
    no_urls: true,
    ..PLAIN
};

const REFUSED: &str = "The provider has no such field.";
const ONE: &str = "The provider gives one choice.";

/// The conversation as the vendor takes it. What is no object goes on as it is: it is for the vendor to
/// judge.
pub(super) fn edited(quirks: &Quirks, body: Bytes, told: &mut Vec<Loss>) -> Bytes {
    if !quirks.stands_in_the_way(&body) {
        return body;
    }
    let Ok(Value::Object(mut request)) = serde_json::from_slice(&body) else {
        return body;
    };
    let mut losses = Losses::default();
    let before = request.clone();
    quirks.fields(&mut request, &mut losses);
    if let Some(Value::Array(messages)) = request.get_mut("messages") {
        quirks.messages(messages, &mut losses);
    }
    told.extend(losses.into_vec());
    match request == before {
        true => body,
        false => Value::Object(request).to_string().into(),
    }
}

impl Quirks {
    /// Whether pictures must come as bytes.
    pub(super) fn no_urls(&self) -> bool {
        self.no_urls
    }

    /// Whether the bytes may hold what is to be edited.
    fn stands_in_the_way(&self, body: &[u8]) -> bool {
        if *self == Self::NONE {
            return false;
        }
        let holds = |word: &str| memchr::memmem::find(body, word.as_bytes()).is_some();
        let names = self.renamed.iter().map(|(name, _)| name);
        names.chain(self.unknown).any(|name| holds(name))
            || self.unknown_in_messages.iter().any(|name| holds(name))
            || self.counts_unasked && holds("stream_options")
            || self.one_choice && holds("\"n\"")
            || self.no_developer && holds("developer")
            || self.any_tool.is_some() && holds("tool_choice")
            || (self.short_ids || self.thoughts == Thoughts::BesideCalls) && holds("tool_calls")
            || self.thoughts != Thoughts::Content && holds("reasoning")
    }

    fn fields(&self, request: &mut Object, losses: &mut Losses) {
        for (from, to) in self.renamed {
            if let Some(value) = request.remove(*from) {
                request.entry(*to).or_insert(value);
            }
        }
        for name in self.unknown {
            if request.remove(*name).is_some_and(|value| says(&value)) {
                losses.add(name, REFUSED);
            }
        }
        if self.counts_unasked {
            request.remove("stream_options");
        }
        if self.one_choice
            && let Some(many) = request.remove("n")
            && !many.is_null()
            && many != 1
        {
            losses.add("n", ONE);
        }
        if let Some(any) = self.any_tool
            && let Some(choice) = request.get_mut("tool_choice")
            && *choice == "required"
        {
            *choice = any.into();
        }
    }

    fn messages(&self, messages: &mut [Value], losses: &mut Losses) {
        let mut ids = Ids::of(messages);
        for (index, message) in messages.iter_mut().enumerate() {
            let Value::Object(message) = message else {
                continue;
            };
            let role = message.get("role").and_then(Value::as_str);
            let assistant = role == Some("assistant");
            // The name of a tool is known where its result stands.
            let tool = role == Some("tool");
            if self.no_developer && role == Some("developer") {
                message.insert("role".into(), "system".into());
            }
            for name in self.unknown_in_messages {
                if tool && *name == "name" {
                    continue;
                }
                if message.remove(*name).is_some_and(|value| says(&value)) {
                    losses.add(format_args!("messages[{index}].{name}"), REFUSED);
                }
            }
            if self.short_ids {
                ids.shorten(message);
            }
            if assistant {
                self.thoughts.put(message);
            }
        }
    }
}

impl Thoughts {
    fn put(self, message: &mut Object) {
        match self {
            Self::Content => {}
            Self::Named(name) => {
                if let Some(thought) = message.remove("reasoning_content")
                    && says(&thought)
                {
                    message.entry(name).or_insert(thought);
                }
            }
            Self::BesideCalls => {
                if message.get("tool_calls").is_some_and(says) {
                    let thought = message.remove("reasoning").unwrap_or_else(|| "".into());
                    message.entry("reasoning_content").or_insert(thought);
                }
            }
            Self::Parts => {
                let thought = message.remove("reasoning_content");
                let other = message.remove("reasoning");
                message.remove("reasoning_details");
                let Some(Value::String(thought)) = thought.or(other) else {
                    return;
                };
                if thought.is_empty() {
                    return;
                }
                let text = |text: &str| json!({"type": "text", "text": text});
                let mut parts = vec![json!({"type": "thinking", "thinking": [text(&thought)]})];
                match message.remove("content") {
                    Some(Value::String(said)) if !said.is_empty() => parts.push(text(&said)),
                    Some(Value::Array(said)) => parts.extend(said),
                    _ => {}
                }
                message.insert("content".into(), parts.into());
            }
        }
    }
}

/// Whether a field says anything.
fn says(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
        _ => true,
    }
}

/// Ids of calls and of their results, in nine letters and digits: the same for the same, in this request
/// and the next, and no two alike.
struct Ids {
    short: HashMap<String, String>,
    taken: HashSet<String>,
}

impl Ids {
    const LENGTH: usize = 9;

    /// Those that are short enough stay, and nobody gets one of them.
    fn of(messages: &[Value]) -> Self {
        let mut taken = HashSet::new();
        for message in messages {
            let calls = message.get("tool_calls").and_then(Value::as_array);
            let calls = calls
                .into_iter()
                .flatten()
                .filter_map(|call| call.get("id"));
            let all = calls.chain(message.get("tool_call_id"));
            let all = all.filter_map(Value::as_str).filter(|id| Self::fits(id));
            taken.extend(all.map(str::to_owned));
        }
        let short = HashMap::new();
        Self { short, taken }
    }

    fn fits(id: &str) -> bool {
        id.len() == Self::LENGTH && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    }

    fn shorten(&mut self, message: &mut Object) {
        if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
            for id in calls.iter_mut().filter_map(|call| call.get_mut("id")) {
                self.replace(id);
            }
        }
        if let Some(id) = message.get_mut("tool_call_id") {
            self.replace(id);
        }
    }

    fn replace(&mut self, id: &mut Value) {
        let Value::String(long) = id else { return };
        if Self::fits(long) {
            return;
        }
        let short = match self.short.get(&*long) {
            Some(short) => short.clone(),
            None => {
                // Whoever else has it, the next is free: there are not as many as that in a request.
                let mut free = (0_u32..).map(|salt| Self::made(long, salt));
                let free = free.find(|short| self.taken.insert(short.clone()));
                let short = free.unwrap_or_default();
                self.short.insert(long.clone(), short.clone());
                short
            }
        };
        *id = short.into();
    }

    fn made(long: &str, salt: u32) -> String {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        // Its keys are fixed: gateways that stand side by side make the same of the same.
        let mut hasher = DefaultHasher::new();
        (long, salt).hash(&mut hasher);
        let mut left = hasher.finish();
        let digit = |_| {
            let digit = DIGITS[usize::try_from(left % 62).unwrap_or(0)];
            left /= 62;
            char::from(digit)
        };
        (0..Self::LENGTH).map(digit).collect()
    }
}

#[cfg(test)]
mod tests;
