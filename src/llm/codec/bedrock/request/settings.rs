//! Settings of an answer: those of the protocol, and those that only the model behind it knows.

use super::{super::model, Writer};
use crate::{
    Rejection,
    llm::{
        Chat, Protocol, ResponseFormat,
        codec::{
            anthropic::{schema, thinking},
            translation::{Object, UNKNOWN, merge, says},
        },
    },
};
use serde_json::{Map, Value, json};

/// Fields of the protocol that a client may say in any other.
const PASSED: [&str; 7] = [
    "guardrailConfig",
    "performanceConfig",
    "requestMetadata",
    "serviceTier",
    "promptVariables",
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
];
const ADDITIONAL: &str = "additionalModelRequestFields";
const METADATA: &str = "requestMetadata";
const MOST_METADATA: usize = 16;
const LONGEST_METADATA: usize = 256;

impl Writer<'_> {
    pub(super) fn settings(&mut self, chat: &Chat, out: &mut Object) -> Result<(), Rejection> {
        let mut inference = Object::new();
        let mut additional = Object::new();
        let thinks = self.thinking(chat, &mut additional);
        self.sampling(chat, thinks, &mut inference, &mut additional);
        self.format(chat, out)?;
        if !inference.is_empty() {
            out.insert("inferenceConfig".into(), inference.into());
        }
        if !additional.is_empty() {
            out.insert(ADDITIONAL.into(), additional.into());
        }
        self.top(chat, out);
        Ok(())
    }

    /// How hard to think. Answers whether the model will.
    fn thinking(&mut self, chat: &Chat, additional: &mut Object) -> bool {
        const NO_WORD: &str = "The model is not told how hard to think.";
        let said = chat.extra.get("thinking").filter(|said| said.is_object());
        let effort = chat.effort.as_deref();
        let origin = self.base.origin();
        let losses = &mut self.base.losses;
        match self.model.maker {
            model::Maker::Anthropic => {
                if said.is_none() && origin != Some(Protocol::Anthropic) {
                    let max = chat.sampling.max_tokens;
                    let max = max.unwrap_or(self.model.ability.most_output);
                    return thinking::write(chat, self.model.ability, max, additional, losses);
                }
                // In the words of its maker, as the model takes them.
                if let Some(effort) = effort {
                    additional.insert("output_config".into(), json!({"effort": effort}));
                }
                let kind = said.and_then(|said| said.get("type")?.as_str());
                if let Some(said) = said {
                    additional.insert("thinking".into(), said.clone());
                }
                matches!(kind, Some("enabled" | "adaptive"))
            }
            model::Maker::Nova(true) => {
                let effort = match effort {
                    None => None,
                    Some("none") => Some(json!({"type": "disabled"})),
                    Some(effort) => {
                        let sampling = &chat.sampling;
                        // With its highest it takes neither a limit nor any of these.
                        let bound = sampling.max_tokens.is_some()
                            || sampling.temperature.is_some()
                            || sampling.top_p.is_some()
                            || sampling.top_k.is_some();
                        let word = match effort {
                            "low" | "medium" => effort,
                            "minimal" => "low",
                            _ if bound => "medium",
                            _ => "high",
                        };
                        if word != effort {
                            losses.add(
                                "reasoning_effort",
                                "The nearest that the model knows is taken.",
                            );
                        }
                        Some(json!({"type": "enabled", "maxReasoningEffort": word}))
                    }
                };
                if let Some(effort) = effort {
                    additional.insert("reasoningConfig".into(), effort);
                }
                if said.is_some() {
                    losses.add("thinking", NO_WORD);
                }
                false
            }
            model::Maker::OpenAi => {
                if let Some(effort) = effort.filter(|effort| *effort != "none") {
                    additional.insert("reasoning_effort".into(), effort.into());
                }
                if said.is_some() {
                    losses.add("thinking", NO_WORD);
                }
                false
            }
            _ => {
                if effort.is_some_and(|effort| effort != "none") {
                    losses.add("reasoning_effort", NO_WORD);
                }
                let off = said.is_none_or(|said| said["type"] == "disabled");
                if !off {
                    losses.add("thinking", NO_WORD);
                }
                false
            }
        }
    }

    fn sampling(
        &mut self,
        chat: &Chat,
        thinks: bool,
        inference: &mut Object,
        additional: &mut Object,
    ) {
        let ability = self.model.ability;
        let mut taken = Object::new();
        thinking::sampling(chat, ability, thinks, &mut taken, &mut self.base.losses);
        let max_tokens = chat.sampling.max_tokens;
        // A budget of thoughts must leave room for an answer.
        let max_tokens = max_tokens.or(additional
            .get("thinking")
            .and_then(|thinking| thinking.get("budget_tokens"))
            .map(|_| ability.most_output));
        if let Some(max_tokens) = max_tokens {
            inference.insert("maxTokens".into(), max_tokens.into());
        }
        for (theirs, ours) in [("temperature", "temperature"), ("top_p", "topP")] {
            if let Some(value) = taken.remove(theirs) {
                inference.insert(ours.into(), value);
            }
        }
        if let Some(top_k) = taken.remove("top_k") {
            match self.model.maker {
                model::Maker::Anthropic | model::Maker::Mistral => {
                    additional.insert("top_k".into(), top_k);
                }
                model::Maker::Nova(_) => {
                    additional.insert("inferenceConfig".into(), json!({"topK": top_k}));
                }
                model::Maker::Cohere => {
                    additional.insert("k".into(), top_k);
                }
                _ => self.base.losses.add("top_k", UNKNOWN),
            }
        }
        let mut stop = chat.sampling.stop.clone();
        stop.retain(|text| !text.trim().is_empty());
        if stop.len() < chat.sampling.stop.len() {
            let why = "The provider does not stop at white space.";
            self.base.losses.add("stop", why);
        }
        if !stop.is_empty() {
            inference.insert("stopSequences".into(), stop.into());
        }
    }

    fn format(&mut self, chat: &Chat, out: &mut Object) -> Result<(), Rejection> {
        match &chat.response_format {
            None | Some(ResponseFormat::Text) => {}
            Some(ResponseFormat::JsonSchema {
                name,
                description,
                schema: Some(wanted),
                ..
            }) if self.model.ability.schemas => {
                let schema = schema::closed(wanted, &mut self.base.losses)?;
                let mut told = json!({"name": name, "schema": schema.to_string()});
                if let Some(described) = description {
                    told["description"] = (&**described).into();
                }
                let format = json!({"type": "json_schema", "structure": {"jsonSchema": told}});
                out.insert("outputConfig".into(), json!({"textFormat": format}));
            }
            Some(_) => {
                let why = "The provider cannot hold the answer to this form.";
                self.base.losses.add("response_format", why);
            }
        }
        Ok(())
    }

    /// Fields at the top that the view does not know.
    fn top(&mut self, chat: &Chat, out: &mut Object) {
        let mut metadata = Map::new();
        let mut lost = Vec::new();
        self.base
            .top(&chat.extra, out, |key, value, out| match key {
                _ if PASSED.contains(&key) && (value.is_object() || value.is_array()) => {
                    merge(out, key, value);
                    true
                }
                // It was dealt with.
                "thinking" if value.is_object() => true,
                "user" | "safety_identifier" if value.is_string() => {
                    note(key, value, &mut metadata, &mut lost);
                    true
                }
                "metadata" if value.is_object() => {
                    for (key, value) in value.as_object().into_iter().flatten() {
                        note(key, value, &mut metadata, &mut lost);
                    }
                    true
                }
                "service_tier" => match value.as_str() {
                    Some("auto") => true,
                    Some("default" | "standard_only") => tier("default", out),
                    Some(word @ ("priority" | "flex")) => tier(word, out),
                    _ => false,
                },
                _ => false,
            });
        for key in lost {
            let why = "The provider takes short plain texts, sixteen at the most.";
            self.base.losses.add(format_args!("metadata.{key}"), why);
        }
        if !metadata.is_empty() {
            merge(out, METADATA, &metadata.into());
        }
    }
}

fn tier(word: &str, out: &mut Object) -> bool {
    merge(out, "serviceTier", &json!({"type": word}));
    true
}

/// What is told of a request, for the account's own records.
fn note(key: &str, value: &Value, metadata: &mut Map<String, Value>, lost: &mut Vec<String>) {
    let plain = |text: &str| {
        text.len() <= LONGEST_METADATA
            && text.chars().all(|char| {
                char.is_ascii_alphanumeric() || char == ' ' || ":_@$#=/+,-.".contains(char)
            })
    };
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => return,
        value => value.to_string(),
    };
    if plain(key) && !key.is_empty() && plain(&text) && metadata.len() < MOST_METADATA {
        metadata.insert(key.to_owned(), text.into());
    } else if says(key, value) {
        lost.push(key.to_owned());
    }
}
