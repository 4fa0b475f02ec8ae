//! What is created, moved, previewed and scored.

use super::{
    Settings,
    failed::{Failed, under},
    missing, name,
};
use crate::{
    Body, Principal,
    prompt::{
        Actor, Assignment, At, Change, Created, Fault, LATEST, LabelName, Prompt, RegistryError,
        Variables, Version, endpoints,
        fault::what,
        form::{Faults, Fields},
    },
};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use std::{num::NonZeroU32, sync::Arc};

type Done = Result<Response<Body>, Failed>;

/// The fields of a body, and all that is wrong with them.
pub(super) fn read<T>(
    body: &Value,
    read: impl FnOnce(&mut Fields<'_, '_>, &Faults) -> Option<T>,
) -> Result<T, Failed> {
    let faults = Faults::default();
    let read = faults.object(body, "").and_then(|map| {
        let mut fields = Fields::new(map, "", &faults);
        let value = read(&mut fields, &faults);
        fields.finish();
        value
    });
    match (read, faults.into_inner()) {
        (Some(value), faults) if faults.is_empty() => Ok(value),
        (_, faults) if faults.is_empty() => {
            let fault = Fault::new("", "It is not what is expected here.");
            Err(Failed::Invalid(vec![fault]))
        }
        (_, faults) => Err(Failed::Invalid(faults)),
    }
}

pub(super) fn number(value: &Value, at: &str, faults: &Faults) -> Option<NonZeroU32> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    let number = number.and_then(NonZeroU32::new);
    number.or_else(|| faults.add(at, "Expected the number of a version, from 1."))
}

pub(super) fn variables(fields: &mut Fields<'_, '_>, faults: &Faults) -> Option<Variables> {
    let variables = fields.one("variables", |value, at| faults.object(value, at).cloned());
    // A prompt need not have any.
    Some(variables.unwrap_or_default())
}

fn assignment(value: &Value, at: &str, faults: &Faults) -> Option<Assignment> {
    match Assignment::from_json(value) {
        Ok(assignment) => Some(assignment),
        Err(invalid) => {
            for fault in invalid.faults() {
                faults.note(under(fault, at));
            }
            None
        }
    }
}

fn prompt(value: &Value, at: &str, faults: &Faults) -> Option<Prompt> {
    match Prompt::from_json(value) {
        Ok(prompt) => Some(prompt),
        Err(invalid) => {
            for fault in invalid.faults() {
                faults.note(under(fault, at));
            }
            None
        }
    }
}

/// What goes with a change.
fn message(fields: &mut Fields<'_, '_>, faults: &Faults) -> Change {
    let message = fields.text("message");
    let message = message.filter(|message| {
        let fits = message.len() <= 1024;
        if !fits {
            faults.note(Fault::new(
                "/message",
                "A message has 1024 bytes at the most.",
            ));
        }
        fits
    });
    message.map_or(Change::new(), |message| Change::new().message(message))
}

impl Settings {
    pub(super) async fn create(
        &self,
        actor: &Actor,
        path: &str,
        asked: &str,
        body: &Value,
    ) -> Done {
        let name = name(asked)?;
        let (prompt, change) = read(body, |fields, faults| {
            let prompt = fields.needed("prompt", |value, at| prompt(value, at, faults));
            let change = message(fields, faults);
            let after = fields.one("after", |value, at| {
                let after = value.as_u64().and_then(|after| u32::try_from(after).ok());
                after.or_else(|| faults.add(at, "Expected the number of a version, or 0."))
            });
            let change = after.map_or(change.clone(), |after| change.after(after));
            Some((prompt?, change))
        })?;
        let created = self.registry.create(actor, &name, prompt, change).await;
        let (number, is_new) = match created.map_err(Failed::of_prompt)? {
            Created::New(number) => (number, true),
            Created::Same(number) => (number, false),
            Created::Behind(latest) => return Err(RegistryError::Behind(latest).into()),
        };
        let told = json!({"name": name.as_str(), "version": number, "created": is_new});
        let mut response = endpoints::json(&told);
        if is_new {
            *response.status_mut() = StatusCode::CREATED;
            if let Ok(place) = HeaderValue::try_from(format!("{path}/{number}")) {
                response.headers_mut().insert(header::LOCATION, place);
            }
        }
        Ok(response)
    }

    pub(super) async fn move_label(
        &self,
        principal: &Principal,
        asked: &str,
        label: &str,
        body: &Value,
    ) -> Done {
        let name = name(asked)?;
        let label = LabelName::new(label).map_err(RegistryError::from)?;
        let actor = match self.registry.scope_of(&label) {
            None => Actor::of(principal),
            // Who may release everything may release this.
            Some(own) if principal.has_scope(&self.release_scope) => {
                Actor::of(&principal.clone().with_scopes([own.clone()]))
            }
            Some(own) if principal.has_scope(own) => Actor::of(principal),
            Some(_) => return Err(missing(&self.release_scope).into()),
        };
        let names = |field| body.get(field).is_some();
        let (to, change) = read(body, |fields, faults| {
            if !names("to") {
                faults.note(Fault::new("/to", what::MISSING));
            }
            let to = fields.one("to", |value, at| assignment(value, at, faults));
            let from = fields.one("from", |value, at| assignment(value, at, faults));
            let change = message(fields, faults);
            let change = if names("from") {
                change.from(from)
            } else {
                change
            };
            Some((to, change))
        })?;
        let moved = self
            .registry
            .move_label(&actor, &name, &label, to, change)
            .await;
        let moved = moved.map_err(|error| match error {
            RegistryError::Invalid(invalid) => Failed::below(&invalid, "/to"),
            error => error.into(),
        })?;
        Ok(endpoints::json(&json!(moved)))
    }

    /// The version of a body that names one or has a whole prompt.
    pub(super) async fn preview(&self, actor: &Actor, asked: &str, body: &Value) -> Done {
        let name = name(asked)?;
        let (at, prompt, variables) = read(body, |fields, faults| {
            let version = fields.one("version", |value, at| number(value, at, faults));
            let label = fields.text("label");
            let prompt = fields.one("prompt", |value, at| prompt(value, at, faults));
            let variables = variables(fields, faults)?;
            let label = match label.as_deref() {
                None => None,
                Some(LATEST) => Some(At::Latest),
                Some(label) => match LabelName::new(label) {
                    Ok(label) => Some(At::Label(label)),
                    Err(wrong) => return faults.add("/label", wrong.what()),
                },
            };
            let many = [version.is_some(), label.is_some(), prompt.is_some()];
            if many.into_iter().filter(|is| *is).count() > 1 {
                return faults.add(
                    "",
                    "One of `version`, `label` and `prompt` can be previewed.",
                );
            }
            Some((version.map(At::Version).or(label), prompt, variables))
        })?;
        let version: Arc<Version> = match prompt {
            Some(prompt) => {
                let version = self.registry.preview(actor, &name, prompt).await;
                Arc::new(version.map_err(Failed::of_prompt)?)
            }
            None => {
                let at = at.unwrap_or(At::Latest);
                self.registry.find::<str>(&name, &at, None).await?.version
            }
        };
        let rendered = version.render(&variables)?;
        // Its form is that of a prompt, in which texts are texts.
        let form = Prompt {
            model: version.model().map(ToString::to_string),
            messages: rendered.messages,
            tools: rendered.tools,
            tool_choice: rendered.tool_choice,
            parallel_tool_calls: rendered.parallel_tool_calls,
            output: rendered.response_format,
            settings: rendered.sampling,
            effort: rendered.effort,
            ..Prompt::new()
        };
        let mut told = form.to_json();
        told["version"] = version.number().get().into();
        Ok(endpoints::json(&told))
    }

    pub(super) fn score(&self, asked: &str, body: &Value) -> Done {
        let name = name(asked)?;
        let (version, score, value) = read(body, |fields, faults| {
            let version = fields.needed("version", |value, at| number(value, at, faults));
            let score = fields.needed_text("score");
            let value = fields.needed("value", |value, at| {
                let number = value.as_f64();
                number.or_else(|| faults.add(at, "Expected a number."))
            });
            Some((version?, score?, value?))
        })?;
        self.registry.score(&name, version, &score, value)?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }
}
