//! How an answer is made: `generationConfig`.

use super::*;

impl Writer<'_> {
    pub(super) fn config(&mut self, chat: &Chat) -> Result<Object, Rejection> {
        let sampling = &chat.sampling;
        let mut out = Object::new();
        put(&mut out, "temperature", sampling.temperature);
        put(&mut out, "topP", sampling.top_p);
        put(&mut out, "topK", sampling.top_k);
        put(&mut out, "maxOutputTokens", sampling.max_tokens);
        put(
            &mut out,
            "candidateCount",
            sampling.n.filter(|n| *n > 1 || self.base.own),
        );
        put(&mut out, "seed", sampling.seed);
        put(&mut out, "presencePenalty", sampling.presence_penalty);
        put(&mut out, "frequencyPenalty", sampling.frequency_penalty);
        let mut stop = sampling.stop.clone();
        if !self.base.own {
            stop.retain(|text| !text.is_empty());
            if stop.len() > MOST_STOPS {
                stop.truncate(MOST_STOPS);
                self.base
                    .losses
                    .add("stop", "The provider takes five at the most.");
            }
        }
        if !stop.is_empty() {
            out.insert("stopSequences".into(), stop.into());
        }
        self.format(chat, &mut out)?;
        let thinking = match self.base.own {
            true => thinking::own(chat),
            false => thinking::foreign(chat, self.ability, &mut self.base.losses),
        };
        put(&mut out, "thinkingConfig", thinking);
        Ok(out)
    }

    fn format(&mut self, chat: &Chat, out: &mut Object) -> Result<(), Rejection> {
        const JSON: &str = "application/json";
        let Some(format) = &chat.response_format else {
            return Ok(());
        };
        let calls = chat.tools.iter().any(|tool| !tool.name.is_empty());
        if calls && !self.base.own && !self.ability.third && *format != ResponseFormat::Text {
            let why = "The model is held to a form or has tools, not both.";
            self.base.losses.add("response_format", why);
            return Ok(());
        }
        match format {
            ResponseFormat::Text => {
                if self.base.own {
                    out.insert("responseMimeType".into(), "text/plain".into());
                }
            }
            ResponseFormat::JsonObject | ResponseFormat::JsonSchema { schema: None, .. } => {
                out.insert("responseMimeType".into(), JSON.into());
            }
            ResponseFormat::JsonSchema {
                schema: Some(schema),
                description,
                ..
            } => {
                out.insert("responseMimeType".into(), JSON.into());
                let mut schema = schema.clone();
                if let (Some(text), Some(fields)) = (description, schema.as_object_mut()) {
                    fields.entry("description").or_insert(text.clone().into());
                }
                if self.ability.json_schema {
                    out.insert("responseJsonSchema".into(), schema);
                } else {
                    let place = "response_format.json_schema.schema";
                    let schema = schema::subset(&schema, place, &mut self.base.losses)?;
                    out.insert("responseSchema".into(), schema);
                }
            }
            ResponseFormat::Other(Value::Object(whole)) if !self.base.foreign => {
                out.extend(whole.clone());
            }
            ResponseFormat::Other(_) => self.base.losses.add("response_format", UNKNOWN),
        }
        Ok(())
    }
}
