//! What there is, and what it is.

use super::{
    Settings,
    answer::is_json,
    asked::{Chosen, Query, name},
    json,
};
use crate::{
    Body, Principal, Rejection,
    prompt::{At, Found, LATEST, PromptName, RegistryError},
    rejection::Kind,
};
use http::{Response, request::Parts};
use serde_json::{Map, Value, json as value};
use std::{num::NonZeroU32, sync::Arc};

/// How many prompts are listed, and how many at the most.
const LISTED: u64 = 100;
pub(super) const MOST: usize = 1_000;

impl Settings {
    /// The version that a call is about, if the caller may use it.
    pub(super) async fn find(
        &self,
        name: &PromptName,
        chosen: Chosen,
        parts: &Parts,
    ) -> Result<Found, Rejection> {
        let Chosen { version, label } = chosen;
        if (version.is_some() || label.is_some()) && !self.may_choose(parts) {
            return Err(Rejection::new(Kind::Forbidden)
                .with_detail("The credentials do not permit to choose a version."));
        }
        let called = version.zip(label.clone());
        let usual = || self.label().map(At::Label);
        let at = version.map(At::Version).or(label).or_else(usual);
        let at = at.unwrap_or(At::Latest);
        let key = self.key(parts);
        let found = self.registry.find(name, &at, key.as_deref()).await;
        let found = found.map_err(|error| match error {
            // What is wrong with it is no fault of the caller's, nor its business.
            RegistryError::Invalid(_) => {
                Rejection::new(Kind::PromptsUnavailable).with_source(error)
            }
            // That there is the prompt, and not this version of it, is for those who may use it.
            RegistryError::NoVersion(_) | RegistryError::NoLabel
                if !self.is_offered(name, parts) =>
            {
                Kind::PromptNotFound.into()
            }
            error => error.into(),
        })?;
        self.decide(&found.version, parts)?;
        if let Some((version, label)) = called
            && !self.is_called(name, version, &label)
        {
            return Err(Rejection::new(Kind::PromptNotFound)
                .with_param("label")
                .with_detail("The label does not point at this version."));
        }
        Ok(found)
    }

    /// Whether a caller may choose among versions.
    fn may_choose(&self, parts: &Parts) -> bool {
        let principal = parts.extensions.get::<Principal>();
        self.choice_scope
            .as_ref()
            .is_none_or(|scope| principal.is_some_and(|who| who.has_scope(scope)))
    }

    /// Whether a version is one of those that a label stands for.
    fn is_called(&self, name: &str, version: NonZeroU32, label: &At) -> bool {
        self.registry.head(name).is_some_and(|head| match label {
            At::Latest => head.latest == version,
            At::Version(own) => *own == version,
            At::Label(label) => head
                .labels
                .get(label)
                .is_some_and(|to| to.shares().iter().any(|share| share.version == version)),
        })
    }

    /// The model that is asked, where the prompt leaves that open. Empty: the prompt does not.
    pub(super) fn model_of(&self, found: &Found) -> Result<Arc<str>, Rejection> {
        if found.version.model().is_some() {
            return Ok(Arc::default());
        }
        self.model.clone().ok_or_else(|| {
            Rejection::new(Kind::ModelNotFound)
                .with_detail("The prompt names no model, and there is none for such prompts.")
        })
    }

    /// Whether a prompt is in the list of this caller.
    fn is_offered(&self, name: &str, parts: &Parts) -> bool {
        let (label, key) = (self.label(), self.key(parts));
        let label = label.as_ref().map_or(LATEST, |label| label.as_str());
        self.usual(name, label, key.as_deref(), parts).is_some()
    }

    /// The version of a prompt that is used without a word of which, for listings.
    fn usual(&self, name: &str, label: &str, key: Option<&str>, parts: &Parts) -> Option<Found> {
        let found = self.registry.by_label(name, label, key)?;
        self.may(&found.version, parts).then_some(found)
    }

    /// Those that the caller may use, in the order of their names, and whether there are more.
    pub(super) fn offered(
        &self,
        after: Option<&str>,
        limit: usize,
        parts: &Parts,
    ) -> (Vec<Found>, bool) {
        let heads = self.registry.heads(after, usize::MAX);
        let (label, key) = (self.label(), self.key(parts));
        let label = label.as_ref().map_or(LATEST, |label| label.as_str());
        let mut all = heads
            .iter()
            .filter(|head| *head.name != *super::asked::DOCUMENT)
            .filter_map(|head| self.usual(&head.name, label, key.as_deref(), parts));
        let offered: Vec<_> = all.by_ref().take(limit).collect();
        let more = all.next().is_some();
        (offered, more)
    }

    pub(super) fn list(&self, parts: &Parts) -> Result<Response<Body>, Rejection> {
        let query = Query::read(parts.uri.query(), &["after", "limit"])?;
        let limit = query.number("limit", 1, MOST as u64)?.unwrap_or(LISTED);
        let limit = usize::try_from(limit).unwrap_or(MOST);
        let (offered, more) = self.offered(query.get("after"), limit, parts);
        let prompts: Vec<_> = offered.iter().map(summary).collect();
        Ok(json(&value!({"prompts": prompts, "more": more})))
    }

    pub(super) async fn description(
        &self,
        asked: &str,
        parts: &Parts,
    ) -> Result<Response<Body>, Rejection> {
        let query = Query::read(parts.uri.query(), &["version", "label"])?;
        let found = self.find(&name(asked)?, query.chosen()?, parts).await?;
        Ok(json(&self.described(&found, parts)))
    }

    fn described(&self, found: &Found, parts: &Parts) -> Value {
        let version = &found.version;
        let prompt = version.prompt();
        let mut document = summary(found);
        let variables: Map<_, _> = prompt
            .variables
            .iter()
            .map(|(name, variable)| {
                let mut told = value!({
                    "schema": variable.schema(),
                    "required": variable.is_required(),
                });
                if let (Some(told), Some(default)) = (told.as_object_mut(), variable.default()) {
                    told.insert("default".to_owned(), default.clone());
                }
                (name.clone(), told)
            })
            .collect();
        if let Some(map) = document.as_object_mut() {
            map.insert("variables".to_owned(), Value::Object(variables));
            map.insert(
                "variables_schema".to_owned(),
                version.variables_schema().clone(),
            );
            if let Some(schema) = version.output_schema() {
                map.insert("output_schema".to_owned(), schema.clone());
            }
            map.insert(
                "labels".to_owned(),
                Value::Object(self.labels(found, parts)),
            );
        }
        document
    }

    /// The labels that the caller may choose, and where they point.
    fn labels(&self, found: &Found, parts: &Parts) -> Map<String, Value> {
        let name = found.version.name();
        let head = self.registry.head(name).filter(|_| self.may_choose(parts));
        let key = self.key(parts);
        let may = |label: &str| {
            let found = self.registry.by_label(name, label, key.as_deref());
            found.is_some_and(|found| self.may(&found.version, parts))
        };
        let labels = head.iter().flat_map(|head| &head.labels);
        let labels = labels.filter(|(label, _)| may(label.as_str()));
        labels
            .map(|(label, to)| (label.to_string(), to.to_json()))
            .collect()
    }
}

/// What a list says of a prompt.
fn summary(found: &Found) -> Value {
    let version = &found.version;
    let prompt = version.prompt();
    let mut document = value!({
        "name": version.name().as_str(),
        "version": version.number(),
    });
    if let Some(map) = document.as_object_mut() {
        if let Some(label) = &found.label {
            map.insert("label".to_owned(), label.as_str().into());
        }
        if let Some(description) = &prompt.description {
            map.insert("description".to_owned(), description.as_str().into());
        }
        let form = if is_json(prompt.output.as_ref()) {
            "json"
        } else {
            "text"
        };
        map.insert("answers".to_owned(), form.into());
    }
    document
}
