//! What there is.

use super::{Settings, failed::Failed, name, told};
use crate::{
    Rejection,
    prompt::{At, RegistryError, endpoints::Query},
    rejection::Kind,
};
use serde_json::{Value, json};
use std::num::NonZeroU32;

type Told = Result<Value, Failed>;

/// How many are listed.
const LISTED: u64 = 100;
/// How many at the most.
const MOST: u64 = 1_000;
/// The same of what comes with all of its records from the store.
const FEW: u64 = 20;
const MOST_OF_FEW: u64 = 100;

fn limit(query: &Query<'_>, usual: u64, most: u64) -> Result<usize, Rejection> {
    let limit = query.number("limit", 1, most)?.unwrap_or(usual);
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

fn number(text: &str) -> Result<NonZeroU32, Rejection> {
    let number = text.parse().ok().and_then(NonZeroU32::new);
    let number = number.filter(|_| !text.starts_with('+'));
    number.ok_or_else(|| Rejection::new(Kind::PromptNotFound))
}

impl Settings {
    pub(super) fn all(&self, query: Option<&str>) -> Told {
        let query = Query::read(query, &["after", "limit"])?;
        let (after, limit) = (query.get("after"), limit(&query, LISTED, MOST)?);
        let mut heads = self.registry.heads(after, limit + 1);
        let more = heads.len() > limit;
        heads.truncate(limit);
        let prompts: Vec<_> = heads
            .iter()
            .map(|head| told::head(&self.registry, head))
            .collect();
        Ok(json!({"prompts": prompts, "more": more, "problems": self.registry.problems()}))
    }

    pub(super) fn head(&self, asked: &str, query: Option<&str>) -> Told {
        Query::read(query, &[])?;
        let head = self.registry.head(&name(asked)?);
        let head = head.ok_or(RegistryError::NoPrompt)?;
        Ok(told::head(&self.registry, &head))
    }

    pub(super) async fn versions(&self, asked: &str, query: Option<&str>) -> Told {
        let query = Query::read(query, &["before", "limit"])?;
        let (before, limit) = (query.version("before")?, limit(&query, FEW, MOST_OF_FEW)?);
        let mut all = self
            .registry
            .versions(&name(asked)?, before, limit + 1)
            .await?;
        let more = all.len() > limit;
        all.truncate(limit);
        let versions: Vec<_> = all.iter().map(told::version).collect();
        Ok(json!({"versions": versions, "more": more}))
    }

    pub(super) async fn version(&self, asked: &str, version: &str, query: Option<&str>) -> Told {
        Query::read(query, &[])?;
        let at = At::Version(number(version)?);
        let found = self.registry.find::<str>(&name(asked)?, &at, None).await?;
        let record = found.version.record();
        let mut told = told::version(record);
        told["name"] = record.name.as_str().into();
        told["prompt"] = record.prompt.to_json();
        Ok(told)
    }

    pub(super) async fn diff(&self, asked: &str, query: Option<&str>) -> Told {
        let query = Query::read(query, &["from", "to"])?;
        let needed = |field| {
            query.version(field)?.ok_or_else(|| {
                let rejection = Rejection::new(Kind::InvalidRequest).with_param(field);
                rejection.with_detail("The number of a version is needed.")
            })
        };
        let (from, to) = (needed("from")?, needed("to")?);
        let diff = self.registry.diff(&name(asked)?, from, to).await?;
        Ok(json!({"from": from, "to": to, "diff": diff}))
    }

    pub(super) async fn history(&self, asked: &str, query: Option<&str>) -> Told {
        let query = Query::read(query, &["label", "before", "limit"])?;
        let before = query.number("before", 0, u64::MAX)?;
        let limit = limit(&query, LISTED, MOST)?;
        let label = query.get("label");
        let name = name(asked)?;
        let mut all = self
            .registry
            .label_history(&name, label, before, limit.saturating_add(1))
            .await?;
        let more = all.len() > limit;
        all.truncate(limit);
        let moves: Vec<_> = all.iter().map(|made| json!(made)).collect();
        Ok(json!({"moves": moves, "more": more}))
    }

    pub(super) fn results(&self, asked: &str, query: Option<&str>) -> Told {
        Query::read(query, &[])?;
        let name = name(asked)?;
        self.registry.head(&name).ok_or(RegistryError::NoPrompt)?;
        let all = self.registry.results(&name);
        let versions: Vec<_> = all.iter().map(told::results).collect();
        Ok(json!({"versions": versions}))
    }
}
