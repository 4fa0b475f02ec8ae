//! Where a vendor's words are not quite those of the protocol that it speaks.
//!
//! A quirk is a field, and a request is edited where one of them stands in its way: a client that speaks
//! to OpenAI says what others refuse. What is left out of a request for that is told as a loss, unless it
//! said nothing.
//!
//! The edits are made in the client's own bytes: what no quirk names goes on as it came.

mod ids;

use self::ids::Ids;
use super::splice::{self, Object, Span, Splices};
use crate::{
    Rejection,
    llm::{
        Loss,
        codec::{Losses, says},
    },
    rejection::Kind,
};
use bytes::Bytes;
use serde_json::Value;
use std::borrow::Cow;

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
    unknown_in_messages: &[
        "name",
        "refusal",
        "annotations",
        "audio",
        "function_call",
        "extra_content",
        "thought_signature",
    ],
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
        "extra_content",
        "thought_signature",
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
    let Some(request) = Object::read(&body, 0..body.len()) else {
        return Ok(body);
    };
    let mut edit = Edit {
        quirks,
        text: &body,
        losses: Losses::default(),
        splices: Splices::default(),
    };
    let messages = request.get("messages");
    edit.fields(request)?;
    if let Some(messages) = messages.and_then(|span| splice::array(&body, span)) {
        edit.messages(&messages);
    }
    let Edit {
        losses,
        mut splices,
        ..
    } = edit;
    told.extend(losses.into_vec());
    let out = splices.applied(&body);
    Ok(out.unwrap_or(body))
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
    text: &'a [u8],
    losses: Losses,
    splices: Splices<'a>,
}

impl<'a> Edit<'a> {
    /// The text of a value.
    fn raw(&self, span: &Span) -> &'a [u8] {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// What a string says.
    fn string(&self, span: Option<Span>) -> Option<Cow<'a, str>> {
        splice::string(self.text, span?)
    }

    /// The value. One that cannot be is not nothing.
    fn value(&self, span: &Span) -> Value {
        serde_json::from_slice(self.raw(span)).unwrap_or(true.into())
    }

    /// Whether a field says anything.
    fn says(&self, name: &str, span: &Span) -> bool {
        match self.raw(span) {
            [b'"', ..] => true,
            [b'[' | b'{', inside @ .., _] if !inside.trim_ascii().is_empty() => true,
            _ => says(name, &self.value(span)),
        }
    }

    /// Whether a field is there, and not as `null`: who writes all that a class has writes that, too.
    fn tells(&self, object: &Object<'a>, name: &str) -> bool {
        let value = object.get(name);
        value.is_some_and(|value| self.raw(&value) != b"null")
    }

    fn fields(&mut self, mut request: Object<'a>) -> Result<(), Rejection> {
        for (from, to) in self.quirks.renamed {
            if !request.has(from) {
                continue;
            }
            if self.tells(&request, to) {
                request.remove(from);
            } else {
                request.remove(to);
                request.rename(from, to, &mut self.splices);
            }
        }
        for name in self.quirks.unknown {
            if let Some(value) = request.remove(name)
                && self.says(name, &value)
            {
                self.losses.add(name, REFUSED);
            }
        }
        if self.quirks.counts_unasked {
            request.remove("stream_options");
        }
        if self.quirks.one_choice
            && let Some(many) = request.remove("n")
        {
            let many = self.value(&many);
            if !many.is_null() && many != 1 {
                return Err(Rejection::new(Kind::UnsupportedParameter)
                    .with_param("n")
                    .with_detail(ONE));
            }
        }
        if let Some(any) = self.quirks.any_tool
            && let Some(choice) = request.get("tool_choice")
            && self.string(Some(choice.clone())).as_deref() == Some("required")
        {
            self.splices.put(choice, format!("\"{any}\"").into_bytes());
        }
        request.close(&mut self.splices);
        Ok(())
    }

    fn messages(&mut self, messages: &[Span]) {
        let mut ids = Ids::default();
        if self.quirks.short_ids {
            for message in messages {
                let message = Object::read(self.text, message.clone());
                for id in message.iter().flat_map(|message| self.ids(message)) {
                    ids.keep(self.string(Some(id)));
                }
            }
        }
        for (index, message) in messages.iter().enumerate() {
            if let Some(message) = Object::read(self.text, message.clone()) {
                self.message(index, message, &mut ids);
            }
        }
    }

    fn message(&mut self, index: usize, mut message: Object<'a>, ids: &mut Ids) {
        let place = message.get("role");
        let role = self.string(place.clone());
        // The name of a tool is known where its result stands.
        let tool = role.as_deref() == Some("tool");
        if self.quirks.no_developer
            && role.as_deref() == Some("developer")
            && let Some(place) = place
        {
            self.splices.put(place, &b"\"system\""[..]);
        }
        for name in self.quirks.unknown_in_messages {
            if tool && *name == "name" {
                continue;
            }
            if let Some(value) = message.remove(name)
                && self.says(name, &value)
            {
                let place = format_args!("messages[{index}].{name}");
                self.losses.add(place, REFUSED);
            }
        }
        if self.quirks.short_ids {
            for id in self.ids(&message) {
                let long = self.string(Some(id.clone()));
                if let Some(short) = long.and_then(|long| ids.short(&long)) {
                    self.splices.put(id, format!("\"{short}\"").into_bytes());
                }
            }
        }
        if role.as_deref() == Some("assistant") {
            self.thoughts(&mut message);
        }
        if let Some(name) = self.quirks.documents
            && let Some(content) = message.get("content")
            && let Some(parts) = splice::array(self.text, content)
        {
            for part in parts {
                self.document(part, name);
            }
        }
        message.close(&mut self.splices);
    }

    /// Where the ids of calls and of results stand.
    fn ids(&self, message: &Object<'a>) -> Vec<Span> {
        let calls = message.get("tool_calls");
        let calls = calls.and_then(|calls| splice::array(self.text, calls));
        let calls = calls.into_iter().flatten();
        calls
            .filter_map(|call| Object::read(self.text, call)?.get("id"))
            .chain(message.get("tool_call_id"))
            .collect()
    }

    /// A document in the vendor's own words, with its data as a URL.
    fn document(&mut self, part: Span, name: &str) {
        let file = || {
            let fields = Object::read(self.text, part.clone())?;
            let kind = self.string(fields.get("type"))?;
            let file = fields.get("file").filter(|_| kind == "file")?;
            let file = Object::read(self.text, file)?;
            let text = |name: &str| file.get(name).map(|span| self.raw(&span));
            let is_text = |raw: &&[u8]| raw.starts_with(b"\"");
            let data = text("file_data").filter(is_text)?;
            Some((data, text("filename").filter(is_text)))
        };
        let Some((data, title)) = file() else {
            return;
        };
        let mut out = format!(r#"{{"type":"{name}","{name}":"#).into_bytes();
        out.extend_from_slice(data);
        if let Some(title) = title {
            out.extend_from_slice(br#","document_name":"#);
            out.extend_from_slice(title);
        }
        out.push(b'}');
        self.splices.put(part, out);
    }

    /// Puts what was thought where the vendor wants it.
    fn thoughts(&mut self, message: &mut Object<'a>) {
        match self.quirks.thoughts {
            Thoughts::Content => {}
            Thoughts::Named(name) => {
                let Some(thought) = message.get(OURS) else {
                    return;
                };
                if self.says("reasoning", &thought) && !self.tells(message, name) {
                    message.remove(name);
                    message.rename(OURS, name, &mut self.splices);
                } else {
                    message.remove(OURS);
                }
            }
            Thoughts::BesideCalls => {
                let calls = message.get("tool_calls");
                let calls = calls.filter(|calls| self.says("tool_calls", calls));
                let Some(calls) = calls.filter(|_| !self.tells(message, OURS)) else {
                    return;
                };
                if self.tells(message, "reasoning") {
                    message.remove(OURS);
                    message.rename("reasoning", OURS, &mut self.splices);
                } else if let Some(null) = message.get(OURS) {
                    self.splices.put(null, &b"\"\""[..]);
                } else {
                    let nothing = format!(r#","{OURS}":"""#);
                    self.splices.put(calls.end..calls.end, nothing.into_bytes());
                }
            }
            Thoughts::Parts => self.parts(message),
        }
    }

    /// Puts what was thought before what was said.
    fn parts(&mut self, message: &mut Object<'a>) {
        let is_said = |raw: &[u8]| raw.starts_with(b"\"") && raw != b"\"\"";
        let from = [OURS, "reasoning"].into_iter();
        let thought = from
            .filter_map(|name| Some((name, message.get(name)?)))
            .find(|(_, span)| is_said(self.raw(span)));
        let content = message.get("content");
        if let Some((name, span)) = &thought {
            let mut parts = br#"[{"type":"thinking","thinking":[{"type":"text","text":"#.to_vec();
            parts.extend_from_slice(self.raw(span));
            parts.extend_from_slice(b"}]}");
            let place = content.clone().unwrap_or_else(|| span.clone());
            match content.map_or(&b""[..], |content| self.raw(&content)) {
                said if is_said(said) => {
                    parts.extend_from_slice(br#",{"type":"text","text":"#);
                    self.splices.put(place.start..place.start, parts);
                    self.splices.put(place.end..place.end, &b"}]"[..]);
                }
                [b'[', said @ .., _] => {
                    if !said.trim_ascii().is_empty() {
                        parts.push(b',');
                    }
                    self.splices.put(place.start..place.start + 1, parts);
                }
                said => {
                    parts.push(b']');
                    self.splices.put(place, parts);
                    if said.is_empty() {
                        message.rename(name, "content", &mut self.splices);
                    }
                }
            }
        }
        for name in [OURS, "reasoning", "reasoning_details"] {
            message.remove(name);
        }
    }
}

/// Where thoughts stand in what this crate writes.
const OURS: &str = "reasoning_content";

#[cfg(test)]
mod tests;
