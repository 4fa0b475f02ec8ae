//! How an answer is made, and what beside.

use super::{super::LEAST_OUTPUT, Writer};
use crate::llm::{
    Chat, Extra, Protocol, ResponseFormat,
    catalog::Entry,
    codec::{
        openai,
        translation::{Object, UNKNOWN, put},
    },
};
use serde_json::{Value, json};

const SEALED: &str = "reasoning.encrypted_content";
const LOGPROBS: &str = "message.output_text.logprobs";
const LONGEST_USER: usize = 64;
/// Gemini's wish to see what was thought, as its view has it.
const SHOWN: &str = "generationConfig.thinkingConfig.includeThoughts";

impl Writer<'_> {
    pub(super) fn settings(&mut self, chat: &Chat, out: &mut Object) {
        let sampling = &chat.sampling;
        put(out, "temperature", sampling.temperature);
        put(out, "top_p", sampling.top_p);
        let most = sampling.max_tokens.map(|most| {
            if most < LEAST_OUTPUT {
                let why = "The provider's lowest is taken.";
                self.base.losses.add("max_tokens", why);
            }
            most.max(LEAST_OUTPUT)
        });
        put(out, "max_output_tokens", most);
        for (key, said) in [
            ("top_k", sampling.top_k.is_some()),
            ("seed", sampling.seed.is_some()),
            ("stop", !sampling.stop.is_empty()),
            (
                "frequency_penalty",
                sampling.frequency_penalty.is_some_and(|it| it != 0.0),
            ),
            (
                "presence_penalty",
                sampling.presence_penalty.is_some_and(|it| it != 0.0),
            ),
        ] {
            if said {
                self.base.losses.add(key, UNKNOWN);
            }
        }
        if let Some(format) = &chat.response_format
            && let Some(format) = self.format(format)
        {
            out.insert("text".into(), json!({"format": format}));
        }
        let mut reasoning = Object::new();
        if self.base.own {
            put(&mut reasoning, "effort", chat.effort.as_deref());
        } else {
            let thinking = chat.extra.get("thinking");
            let facts = self.known.as_ref().map(Entry::facts);
            let mut asked = Chat {
                effort: chat.effort.clone(),
                sampling: chat.sampling.clone(),
                ..Chat::default()
            };
            if !matches!(self.base.origin(), None | Some(Protocol::OpenAi)) {
                openai::effort(&mut asked, thinking, self.to, facts, &mut self.base.losses);
                openai::sampling(&mut asked, facts, &mut self.base.losses);
                if asked.sampling.temperature.is_none() {
                    out.remove("temperature");
                }
                if asked.sampling.top_p.is_none() {
                    out.remove("top_p");
                }
            }
            put(&mut reasoning, "effort", asked.effort);
            let kind = thinking.and_then(|thinking| thinking.get("type"));
            let shown = kind.is_some_and(|kind| kind != "disabled")
                || chat.extra.get(SHOWN) == Some(&Value::Bool(true));
            if shown && openai::reasons(&self.to.model) {
                reasoning.insert("summary".into(), "auto".into());
            }
            // Of another model some refuse to be asked.
            let name = self.to.model.rsplit('/').next().unwrap_or_default();
            if openai::reasons(name) || name.starts_with("grok-") {
                self.include.push(SEALED);
            }
        }
        if !reasoning.is_empty() {
            out.insert("reasoning".into(), reasoning.into());
        }
    }

    fn format(&mut self, format: &ResponseFormat) -> Option<Value> {
        Some(match format {
            ResponseFormat::Text => json!({"type": "text"}),
            ResponseFormat::JsonObject => json!({"type": "json_object"}),
            ResponseFormat::JsonSchema {
                name,
                description,
                schema,
                strict,
            } => {
                let mut out = Object::new();
                out.insert("type".into(), "json_schema".into());
                let name = if name.is_empty() { "answer" } else { name };
                out.insert("name".into(), name.into());
                put(&mut out, "description", description.as_deref());
                let schema = schema.clone();
                let made = || json!({"type": "object"});
                let schema = schema.or_else(|| (!self.base.own).then(made));
                put(&mut out, "schema", schema);
                put(&mut out, "strict", *strict);
                out.into()
            }
            ResponseFormat::Other(whole) if !self.base.foreign => whole.clone(),
            ResponseFormat::Other(_) => {
                self.base.losses.add("response_format", UNKNOWN);
                return None;
            }
        })
    }

    /// Fields at the top that the view does not know.
    pub(super) fn extra(&mut self, extra: &Extra, out: &mut Object) {
        let openai = self.base.origin() == Some(Protocol::OpenAi);
        let mut include = std::mem::take(&mut self.include);
        self.base.top(extra, out, |key, value, out| match key {
            // It was looked at before.
            "thinking" => true,
            SHOWN => *value == true && out.contains_key("reasoning"),
            "service_tier" if value == "auto" => true,
            "metadata" if !openai => match value.as_object() {
                Some(fields) if fields.keys().all(|key| key == "user_id") => {
                    let user = fields.get("user_id").and_then(Value::as_str);
                    let user = user.filter(|user| user.len() <= LONGEST_USER);
                    put(out, "user", user);
                    user.is_some() || fields.is_empty()
                }
                _ => false,
            },
            // The vendor has them under the same names in both of its protocols.
            "metadata"
            | "service_tier"
            | "user"
            | "safety_identifier"
            | "prompt_cache_key"
            | "prompt_cache_retention"
                if openai =>
            {
                out.insert(key.to_owned(), value.clone());
                true
            }
            "verbosity" if openai => {
                let text = out.entry("text").or_insert_with(|| json!({}));
                text["verbosity"] = value.clone();
                true
            }
            "logprobs" if openai => {
                if *value == true {
                    include.push(LOGPROBS);
                }
                true
            }
            "top_logprobs" if openai => {
                out.insert(key.to_owned(), value.clone());
                true
            }
            // How a stream is told is no question of what is in it.
            "stream_options" if openai => true,
            "modalities" => *value == json!(["text"]),
            _ => false,
        });
        if !include.is_empty() {
            let all = out.entry("include").or_insert_with(|| json!([]));
            if let Value::Array(all) = all {
                all.extend(include.into_iter().map(Value::from));
            }
        }
    }
}
