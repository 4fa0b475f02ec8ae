//! Where prompts are kept: memory, files, SQLite and PostgreSQL.

mod broken;
mod contract;
mod following;
mod processes;
mod transfer;

use std::{
    num::NonZeroU32,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tower_gateway::{
    prompt::{
        Assignment, LabelMove, LabelName, MemoryStore, NewVersion, Prompt, PromptName,
        Store as PromptStore,
    },
    store,
};

type Store = Arc<dyn PromptStore>;

/// A folder that is nobody else's.
fn scratch() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("prompts");
    let folder = folder.join(format!("{}-{next}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// URLs of stores that several can open, empty.
fn urls() -> Vec<String> {
    let mut all = vec![format!("file:{}", scratch().display())];
    #[cfg(feature = "sqlite")]
    all.push(format!("sqlite:{}", scratch().join("prompts.db").display()));
    #[cfg(feature = "postgres")]
    all.extend(crate::services::postgres().map(|server| server.database()));
    all
}

/// An empty store of each kind.
async fn stores() -> Vec<Store> {
    let mut all: Vec<Store> = vec![Arc::new(MemoryStore::new())];
    for url in urls() {
        all.push(store::prompts(&url).await.unwrap());
    }
    all
}

fn name(name: &str) -> PromptName {
    PromptName::new(name).unwrap()
}

fn label(name: &str) -> LabelName {
    LabelName::new(name).unwrap()
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn to(version: u32) -> Option<Assignment> {
    Some(Assignment::to(number(version)))
}

fn says(prompt: &str, text: &str) -> NewVersion {
    NewVersion::new(name(prompt), Prompt::new().user(text), "alice")
}

fn moves(prompt: &str, which: &str, from: Option<Assignment>, to: Option<Assignment>) -> LabelMove {
    LabelMove::new(name(prompt), label(which), from, to, "bob")
}
