//! Where a vendor's words are not quite those of the protocol that it speaks.
//!
//! A quirk is a field, and a request is edited where one of them stands in its way: a client that speaks
//! to OpenAI says what others refuse. What is left out of a request for that is told as a loss, unless it
//! said nothing.

use crate::{
    Rejection,
    llm::{
        Loss,
        codec::{Losses, says},
    },
    rejection::Kind,
};
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
    /// Its word for a document, if it is not `file`.
    documents: Option<&'static str>,
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
        documents: None,
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
    documents: Some("document_url"),
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
const ONE: &str = "The provider gives one answer to a request.";

/// The conversation as the vendor takes it. What is no object goes on as it is: it is for the vendor to
/// judge; more than one choice is refused where there is but one.
pub(super) fn edited(
    quirks: &Quirks,
    body: Bytes,
    told: &mut Vec<Loss>,
) -> Result<Bytes, Rejection> {
    if !quirks.stands_in_the_way(&body) {
        return Ok(body);
    }
    let Ok(Value::Object(mut request)) = serde_json::from_slice(&body) else {
        return Ok(body);
    };
    let mut edit = Edit {
        quirks,
        losses: Losses::default(),
        changed: false,
    };
    edit.fields(&mut request)?;
    if let Some(Value::Array(messages)) = request.get_mut("messages") {
        edit.messages(messages);
    }
    told.extend(edit.losses.into_vec());
    Ok(match edit.changed {
        true => Value::Object(request).to_string().into(),
        false => body,
    })
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
        let holds = |word: &str| {
            memchr::memmem::find_iter(body, word).any(|at| {
                let before = at.checked_sub(1).and_then(|at| body.get(at));
                before == Some(&b'"') && body.get(at + word.len()) == Some(&b'"')
            })
        };
        let names = self.renamed.iter().map(|(name, _)| name);
        names.chain(self.unknown).any(|name| holds(name))
            || self.unknown_in_messages.iter().any(|name| holds(name))
            || self.counts_unasked && holds("stream_options")
            || self.one_choice && holds("n")
            || self.no_developer && holds("developer")
            || self.any_tool.is_some() && holds("required")
            || self.documents.is_some() && holds("file")
            || (self.short_ids || self.thoughts == Thoughts::BesideCalls) && holds("tool_calls")
            || self.short_ids && holds("tool_call_id")
            || self.thoughts != Thoughts::Content
                && ["reasoning_content", "reasoning", "reasoning_details"]
                    .iter()
                    .any(|name| holds(name))
    }
}

/// One request, as it is edited.
struct Edit<'a> {
    quirks: &'a Quirks,
    losses: Losses,
    changed: bool,
}

impl Edit<'_> {
    fn fields(&mut self, request: &mut Object) -> Result<(), Rejection> {
        for (from, to) in self.quirks.renamed {
            if let Some(value) = request.remove(*from) {
                request.entry(*to).or_insert(value);
                self.changed = true;
            }
        }
        for name in self.quirks.unknown {
            if let Some(value) = request.remove(*name) {
                self.changed = true;
                if says(name, &value) {
                    self.losses.add(name, REFUSED);
                }
            }
        }
        if self.quirks.counts_unasked {
            self.changed |= request.remove("stream_options").is_some();
        }
        if self.quirks.one_choice
            && let Some(many) = request.remove("n")
        {
            self.changed = true;
            if !many.is_null() && many != 1 {
                return Err(Rejection::new(Kind::UnsupportedParameter)
                    .with_param("n")
                    .with_detail(ONE));
            }
        }
        if let Some(any) = self.quirks.any_tool
            && let Some(choice) = request.get_mut("tool_choice")
            && *choice == "required"
        {
            *choice = any.into();
            self.changed = true;
        }
        Ok(())
    }

    fn messages(&mut self, messages: &mut [Value]) {
        let mut ids = Ids::of(messages);
        for (index, message) in messages.iter_mut().enumerate() {
            let Value::Object(message) = message else {
                continue;
            };
            let role = message.get("role").and_then(Value::as_str);
            let assistant = role == Some("assistant");
            // The name of a tool is known where its result stands.
            let tool = role == Some("tool");
            if self.quirks.no_developer && role == Some("developer") {
                message.insert("role".into(), "system".into());
                self.changed = true;
            }
            for name in self.quirks.unknown_in_messages {
                if tool && *name == "name" {
                    continue;
                }
                let Some(value) = message.remove(*name) else {
                    continue;
                };
                self.changed = true;
                if says(name, &value) {
                    let place = format_args!("messages[{index}].{name}");
                    self.losses.add(place, REFUSED);
                }
            }
            if self.quirks.short_ids {
                self.changed |= ids.shorten(message);
            }
            if assistant {
                self.changed |= self.quirks.thoughts.put(message);
            }
            if let Some(name) = self.quirks.documents
                && let Some(Value::Array(parts)) = message.get_mut("content")
            {
                for part in parts {
                    self.changed |= document(part, name);
                }
            }
        }
    }
}

/// A document in the vendor's own words, with its data as a URL.
fn document(part: &mut Value, name: &str) -> bool {
    if part.get("type").is_none_or(|kind| kind != "file") {
        return false;
    }
    let file = part.get("file");
    let text = |key: &str| file?.get(key)?.as_str().map(str::to_owned);
    let Some(data) = text("file_data") else {
        return false;
    };
    let mut out = json!({"type": name});
    out[name] = data.into();
    if let Some(title) = text("filename") {
        out["document_name"] = title.into();
    }
    *part = out;
    true
}

impl Thoughts {
    /// Whether anything was put elsewhere.
    fn put(self, message: &mut Object) -> bool {
        match self {
            Self::Content => false,
            Self::Named(name) => {
                let Some(thought) = message.remove("reasoning_content") else {
                    return false;
                };
                if says("reasoning", &thought) {
                    message.entry(name).or_insert(thought);
                }
                true
            }
            Self::BesideCalls => {
                let calls = message.get("tool_calls");
                let calls = calls.is_some_and(|calls| says("tool_calls", calls));
                if !calls || message.contains_key("reasoning_content") {
                    return false;
                }
                let thought = message.remove("reasoning").unwrap_or_else(|| "".into());
                message.insert("reasoning_content".into(), thought);
                true
            }
            Self::Parts => {
                let thought = message.remove("reasoning_content");
                let other = message.remove("reasoning");
                let details = message.remove("reasoning_details");
                let changed = thought.is_some() || other.is_some() || details.is_some();
                let Some(Value::String(thought)) = thought.or(other) else {
                    return changed;
                };
                if thought.is_empty() {
                    return changed;
                }
                let text = |text: &str| json!({"type": "text", "text": text});
                let mut parts = vec![json!({"type": "thinking", "thinking": [text(&thought)]})];
                match message.remove("content") {
                    Some(Value::String(said)) if !said.is_empty() => parts.push(text(&said)),
                    Some(Value::Array(said)) => parts.extend(said),
                    _ => {}
                }
                message.insert("content".into(), parts.into());
                true
            }
        }
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

    /// Whether there was one too long.
    fn shorten(&mut self, message: &mut Object) -> bool {
        let mut changed = false;
        if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
            for id in calls.iter_mut().filter_map(|call| call.get_mut("id")) {
                changed |= self.replace(id);
            }
        }
        if let Some(id) = message.get_mut("tool_call_id") {
            changed |= self.replace(id);
        }
        changed
    }

    fn replace(&mut self, id: &mut Value) -> bool {
        let Value::String(long) = id else {
            return false;
        };
        if Self::fits(long) {
            return false;
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
        true
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
