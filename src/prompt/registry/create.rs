//! How versions are made, and what differs between them.

use super::{Change, Registry, RegistryError, patiently};
use crate::prompt::{
    content::{At, PartialSource, Prompt},
    diff::diff,
    name::PromptName,
    record::{Actor, Assignment, NewVersion, VersionRecord},
    store::Created,
    version::Version,
};
use std::{num::NonZeroU32, sync::Arc};

/// The most partials that are looked for.
const MOST_PARTIALS: usize = 64;

impl Registry {
    /// Creates a version: pins its partials as they are now, whatever it has pinned before, checks and
    /// compiles it, and adds it under the next number. If the latest version says the same, it is that one. It can be found, by this
    /// registry, when this returns.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Invalid`] with all that is wrong; [`RegistryError::Behind`], if
    /// [`after`](Change::after) is not the latest one; the store's.
    pub async fn create(
        &self,
        actor: &Actor,
        name: &str,
        prompt: Prompt,
        change: Change,
    ) -> Result<Created, RegistryError> {
        let new = self.prepare(actor, name, prompt).await?;
        Version::compile(VersionRecord::new(new.clone(), NonZeroU32::MIN))?;
        let new = NewVersion {
            message: change.why()?,
            after: change.after,
            ..new
        };
        match patiently(self.0.store.create_version(new)).await? {
            Created::Behind(latest) => Err(RegistryError::Behind(latest)),
            created => {
                // It is created, whether or not it can be read back at once.
                let _ = self.refresh().await;
                Ok(created)
            }
        }
    }

    /// Pins, checks and compiles a prompt as [`create`](Self::create) would, and keeps nothing: its
    /// number is the next one. For previews.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub async fn preview(
        &self,
        actor: &Actor,
        name: &str,
        prompt: Prompt,
    ) -> Result<Version, RegistryError> {
        let new = self.prepare(actor, name, prompt).await?;
        let latest = self.head(name).map_or(0, |head| head.latest.get());
        let number = NonZeroU32::MIN.saturating_add(latest);
        Ok(Version::compile(VersionRecord::new(new, number))?)
    }

    /// Pins the partials of a prompt that is to be a version.
    async fn prepare(
        &self,
        actor: &Actor,
        name: &str,
        mut prompt: Prompt,
    ) -> Result<NewVersion, RegistryError> {
        let name = PromptName::new(name)?;
        // Whoever writes says where a partial comes from, and not what it says.
        for partial in prompt.partials.values_mut() {
            partial.pinned = None;
        }
        let mut found: Vec<(PartialSource, (NonZeroU32, Arc<Prompt>))> = Vec::new();
        for source in prompt.unpinned().take(MOST_PARTIALS) {
            if found.iter().any(|(known, _)| known == source) {
                continue;
            }
            let Some(head) = patiently(self.0.store.head(&source.prompt)).await? else {
                continue;
            };
            let number = match &source.at {
                At::Latest => Some(head.latest),
                At::Version(number) => Some(*number),
                At::Label(label) => head.labels.get(label).map(Assignment::main),
            };
            let Some(number) = number else {
                continue;
            };
            if let Some(record) = patiently(self.0.store.version(&source.prompt, number)).await? {
                found.push((source.clone(), (number, record.prompt)));
            }
        }
        prompt.pin(|source| {
            let found = found.iter().find(|(known, _)| known == source);
            found.map(|(_, found)| found.clone())
        })?;
        Ok(NewVersion::new(name, prompt, actor.name().clone()))
    }

    /// Versions of a prompt, the newest first, from the store: those with numbers below `before`.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoPrompt`], or the store's.
    pub async fn versions(
        &self,
        name: &str,
        before: Option<NonZeroU32>,
        limit: usize,
    ) -> Result<Vec<VersionRecord>, RegistryError> {
        let name = PromptName::new(name)?;
        let all = patiently(self.0.store.versions(&name, before, limit)).await?;
        if all.is_empty() {
            self.stored(&name).await?;
        }
        Ok(all)
    }

    /// What differs from one version to another, as a unified diff of their readable forms. Empty: nothing.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoVersion`], or the store's.
    pub async fn diff(
        &self,
        name: &str,
        old: NonZeroU32,
        new: NonZeroU32,
    ) -> Result<String, RegistryError> {
        let one = self.find::<str>(name, &At::Version(old), None).await?;
        let other = self.find::<str>(name, &At::Version(new), None).await?;
        let title = |version: NonZeroU32| format!("{name} version {version}");
        let (one, other) = (one.version.prompt(), other.version.prompt());
        Ok(diff(&title(old), one, &title(new), other))
    }
}
