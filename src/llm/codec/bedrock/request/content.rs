//! Parts of messages, as blocks.

use super::{Writer, document, media};
use crate::{
    Rejection,
    llm::{
        Content, Extra, Media, Message, Part, Reasoning, Role,
        codec::{
            translation::{Object, UNKNOWN, object_of, put, says, with},
            turns::{Answered, Turn},
        },
    },
};
use serde_json::{Value, json};

const LONGEST_ID: usize = 64;

impl Writer<'_> {
    pub(super) fn turn(&mut self, message: &Message, place: &str) -> Result<Turn, Rejection> {
        let mut turn = Turn::new(message.role == Role::Assistant);
        for (at, part) in message.parts.iter().enumerate() {
            let place = format!("{place}.content[{at}]");
            if let Content::ToolResult { .. } = &part.content {
                turn.results.extend(self.result(part, &place)?);
                continue;
            }
            let block = match &part.content {
                Content::ToolCall(call) => {
                    let (input, fits) = object_of(&call.arguments);
                    if !fits {
                        self.base.wrapped_arguments(&place);
                    }
                    let (id, name) = (self.id(&call.id), self.base.names.sent(&call.name));
                    turn.calls.push((id.clone(), name.to_owned()));
                    Some(json!({"toolUse": {"toolUseId": id, "name": name, "input": input}}))
                }
                Content::Reasoning(thought) => self.thought(thought, &place),
                Content::Image { .. } | Content::File { .. } | Content::Audio(_)
                    if turn.assistant =>
                {
                    self.base.lost_kind(&place);
                    None
                }
                _ => self.shown(part, &place)?,
            };
            let Some(block) = block else {
                continue;
            };
            let (extra, mark) = self.marked(&part.extra, &place, document::FIELDS);
            turn.parts.push(with(block, extra));
            turn.parts.extend(mark);
        }
        Ok(turn)
    }

    /// What stands beside a block: fields that go along, and the mark that what comes before it shall be
    /// cached. Those of `dealt_with` are told of elsewhere.
    pub(super) fn marked(
        &mut self,
        extra: &Extra,
        place: &str,
        dealt_with: &[&str],
    ) -> (Extra, Option<Value>) {
        let mut mark = None;
        let mut left = extra.clone();
        left.retain(|key, _| !dealt_with.contains(&&**key));
        if let Some(wish) = extra.get("cache_control").filter(|wish| wish.is_object()) {
            left.remove("cache_control");
            if self.model.caches() {
                let mut point = json!({"type": "default"});
                match wish.get("ttl").and_then(Value::as_str) {
                    Some(ttl @ "1h") if self.model.caches_for_long() => point["ttl"] = ttl.into(),
                    Some("1h") => {
                        let why = "The model keeps it for five minutes.";
                        self.base
                            .losses
                            .add(format_args!("{place}.cache_control.ttl"), why);
                    }
                    _ => {}
                }
                mark = Some(json!({"cachePoint": point}));
            } else {
                let why = "The model is not told what to cache.";
                self.base
                    .losses
                    .add(format_args!("{place}.cache_control"), why);
            }
        }
        (self.base.fields(&left, place), mark)
    }

    fn result(&mut self, part: &Part, place: &str) -> Result<Option<Answered>, Rejection> {
        let Content::ToolResult {
            call_id,
            parts,
            is_error,
        } = &part.content
        else {
            return Ok(None);
        };
        let call = self.id(call_id);
        let mut inside = Vec::with_capacity(parts.len());
        for (at, part) in parts.iter().enumerate() {
            let place = format!("{place}.content[{at}]");
            if let Content::Audio(_) | Content::ToolCall(_) | Content::Reasoning(_) = &part.content
            {
                self.base.lost_kind(&place);
                continue;
            }
            let Some(block) = self.shown(part, &place)? else {
                continue;
            };
            // There is no place for a mark in here.
            let (extra, mark) = self.marked(&part.extra, &place, document::FIELDS);
            if mark.is_some() {
                self.base
                    .losses
                    .add(format_args!("{place}.cache_control"), UNKNOWN);
            }
            inside.push(with(block, extra));
        }
        if inside.is_empty() {
            // It refuses a text that is empty.
            inside.push(json!({"json": {}}));
        }
        let mut out = Object::new();
        out.insert("toolUseId".into(), (&*call).into());
        out.insert("content".into(), inside.into());
        if *is_error == Some(true) {
            if self.model.takes_status() {
                put(&mut out, "status", Some("error"));
            } else {
                let why = "Only the text of the result tells it.";
                self.base.losses.add(format_args!("{place}.is_error"), why);
            }
        }
        let (extra, mark) = self.marked(&part.extra, place, &[]);
        let result = with(out.into(), extra);
        let mut parts = vec![json!({"toolResult": result})];
        parts.extend(mark);
        Ok(Some(Answered {
            call,
            parts,
            beside: Vec::new(),
            place: place.to_owned(),
        }))
    }

    fn thought(&mut self, thought: &Reasoning, place: &str) -> Option<Value> {
        let opened = |proof: &Option<String>| {
            let proof = self.base.proof(proof.as_deref())?;
            Some(proof).filter(|proof| !proof.is_empty())
        };
        let inside = match (opened(&thought.redacted), opened(&thought.signature)) {
            (Some(data), _) => json!({"redactedContent": data}),
            (None, Some(signature)) => {
                json!({"reasoningText": {"text": thought.text, "signature": signature}})
            }
            (None, None) => {
                self.base.lost_thought(place);
                return None;
            }
        };
        Some(json!({"reasoningContent": inside}))
    }

    /// A text, picture, sound or document. An empty text says nothing, and the vendor refuses it.
    fn shown(&mut self, part: &Part, place: &str) -> Result<Option<Value>, Rejection> {
        let block = match &part.content {
            Content::Text(text) | Content::Refusal(text) if text.trim().is_empty() => {
                return Ok(None);
            }
            Content::Text(text) | Content::Refusal(text) => Some(json!({"text": text})),
            Content::Other(block) if !self.base.foreign => Some(block.clone()),
            Content::Image { source, detail } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.base
                        .losses
                        .add(format_args!("{place}.detail"), UNKNOWN);
                }
                let (mime, bytes) = media::bytes(source, place)?;
                media::image(mime)
                    .map(|format| json!({"image": {"format": format, "source": {"bytes": bytes}}}))
            }
            Content::Audio(source) => {
                let (mime, bytes) = media::bytes(source, place)?;
                media::audio(mime)
                    .map(|format| json!({"audio": {"format": format, "source": {"bytes": bytes}}}))
            }
            Content::File { source, name } => {
                self.document(source, name.as_deref(), &part.extra, place)?
            }
            _ => None,
        };
        if block.is_none() {
            self.base.lost_kind(place);
        }
        Ok(block)
    }

    fn document(
        &mut self,
        source: &Media,
        name: Option<&str>,
        extra: &Extra,
        place: &str,
    ) -> Result<Option<Value>, Rejection> {
        let (mime, bytes) = media::bytes(source, place)?;
        let Some(format) = media::document(mime, name) else {
            self.untold(extra, place);
            return Ok(None);
        };
        let mut out = Object::new();
        out.insert("format".into(), format.into());
        out.insert("name".into(), self.titles.of(name).into());
        out.insert("source".into(), json!({"bytes": bytes}));
        for key in document::FIELDS {
            match extra.get(*key) {
                Some(value @ Value::String(_)) if *key == "context" => {
                    out.insert((*key).into(), value.clone());
                }
                Some(Value::Object(wish)) if *key == "citations" => {
                    let enabled = wish.get("enabled") == Some(&Value::Bool(true));
                    out.insert((*key).into(), json!({"enabled": enabled}));
                }
                _ => {}
            }
        }
        Ok(Some(json!({"document": out})))
    }

    /// Tells of fields that go with a document, where it does not go.
    fn untold(&mut self, extra: &Extra, place: &str) {
        for key in document::FIELDS {
            if extra.get(*key).is_some_and(|value| says(key, value)) {
                self.base.losses.add(format_args!("{place}.{key}"), UNKNOWN);
            }
        }
    }

    /// The name of a call: 64 letters, digits and `_.:-` at the most.
    fn id(&mut self, id: &str) -> String {
        let plain =
            |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.' | ':');
        if (1..=LONGEST_ID).contains(&id.len()) && id.chars().all(plain) {
            return id.to_owned();
        }
        let count = self.ids.len();
        self.ids
            .entry(id.to_owned())
            .or_insert_with(|| {
                let same = id.chars().map(|char| if plain(char) { char } else { '_' });
                let tail = format!("_{count}");
                let start: String = same.take(LONGEST_ID - tail.len()).collect();
                start + &tail
            })
            .clone()
    }
}
