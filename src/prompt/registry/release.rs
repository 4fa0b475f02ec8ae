//! How labels are moved.

use super::{Change, Registry, RegistryError, patiently};
use crate::{
    prompt::{
        fault::{Fault, InvalidPrompt},
        name::{LabelName, PromptName},
        record::{Actor, Assignment, LabelMove, RecordedMove},
        store::Moved,
    },
    split::bucket::any,
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// The most labels of a prompt.
const MOST_LABELS: usize = 64;

/// For how long a label is moved again that others move too.
const PERSISTENCE: Duration = Duration::from_secs(5);

impl Registry {
    /// Moves a label, or takes it away, and records who did it. This registry sees it when this
    /// returns, others over the same store with their next refresh. Where [`from`](Change::from) is not given and
    /// others move it too, it is tried for five seconds.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Forbidden`], if the label is protected and the actor lacks the scope;
    /// [`RegistryError::Elsewhere`], if [`from`](Change::from) is given and it points elsewhere, or if
    /// others were faster all the time; [`RegistryError::NoVersion`]; the store's.
    pub async fn move_label(
        &self,
        actor: &Actor,
        name: &str,
        label: &str,
        to: Option<Assignment>,
        change: Change,
    ) -> Result<LabelMove, RegistryError> {
        let (name, label) = (PromptName::new(name)?, LabelName::new(label)?);
        if let Some(scope) = self
            .scope_of(&label)
            .filter(|scope| !actor.has_scope(scope))
        {
            return Err(RegistryError::Forbidden(scope.clone()));
        }
        let message = change.why()?;
        let mut head = self.stored(&name).await?;
        // Nobody lets a label point at what cannot be used.
        for share in to.iter().flat_map(Assignment::shares) {
            self.version(&head, None, share.version).await?;
        }
        let give_up = Instant::now() + PERSISTENCE;
        loop {
            let from = head.labels.get(&label);
            if change
                .from
                .as_ref()
                .is_some_and(|seen| seen.as_ref() != from)
            {
                return Err(RegistryError::Elsewhere(from.cloned()));
            }
            if from.is_none() && to.is_none() {
                return Err(RegistryError::NoLabel);
            }
            if from.is_none() && head.labels.len() >= MOST_LABELS {
                let what = "A prompt has 64 labels at the most.";
                return Err(InvalidPrompt::from(Fault::new("", what)).into());
            }
            let by = actor.name().clone();
            let mut moved =
                LabelMove::new(name.clone(), label.clone(), from.cloned(), to.clone(), by);
            moved.message.clone_from(&message);
            // Nothing is moved, and so there is nothing to record.
            if moved.from == moved.to {
                return Ok(moved);
            }
            match patiently(self.0.store.move_label(moved.clone())).await? {
                Moved::Done(_) => {
                    // It is moved, whether or not it can be read back at once.
                    let _ = self.refresh().await;
                    return Ok(moved);
                }
                Moved::NoPrompt => return Err(RegistryError::NoPrompt),
                Moved::NoVersion(number) => return Err(RegistryError::NoVersion(number)),
                Moved::Elsewhere(there) if change.from.is_some() || Instant::now() >= give_up => {
                    return Err(RegistryError::Elsewhere(there));
                }
                Moved::Elsewhere(_) => {
                    // Up to 10 ms, each at another time than the others.
                    sleep(Duration::from_micros(any().into())).await;
                    head = self.stored(&name).await?;
                }
            }
        }
    }

    /// The scope that moving this label needs.
    #[must_use]
    pub fn scope_of(&self, label: &str) -> Option<&Arc<str>> {
        let protected = &self.0.settings.protected;
        let found = protected.iter().find(|(known, _)| **known == *label);
        found.map(|(_, scope)| scope)
    }

    /// The moves of a label, or of all labels of a prompt, the newest first.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoPrompt`], or the store's.
    pub async fn label_history(
        &self,
        name: &str,
        label: Option<&str>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<RecordedMove>, RegistryError> {
        let name = PromptName::new(name)?;
        let label = label.map(LabelName::new).transpose()?;
        let history = self
            .0
            .store
            .label_history(&name, label.as_ref(), before, limit);
        let all = patiently(history).await?;
        if all.is_empty() {
            self.stored(&name).await?;
        }
        Ok(all)
    }
}
