mod unread;

use super::*;
use crate::{
    prompt::{Actor, Assignment, Change, Prompt, Registry, RegistryError, record::whole_millis},
    storage::Failure,
};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower-gateway-prompts-{}-{next}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn open(&self) -> FileStore {
        FileStore::open(&self.0).await.unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn name(name: &str) -> PromptName {
    PromptName::new(name).unwrap()
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// What is wrong, as it is told.
async fn faults(store: &FileStore) -> Vec<String> {
    store.changes_since(u64::MAX, 1).await.unwrap();
    store.problems()
}

async fn text(store: &FileStore, prompt: &str) -> Option<(u32, String)> {
    let head = store.head(&name(prompt)).await.unwrap()?;
    let version = store.version(&head.name, head.latest).await.unwrap()?;
    let text = version.prompt.messages.first()?.all_text();
    Some((head.latest.get(), text.to_string()))
}

#[tokio::test(start_paused = true)]
async fn files_are_prompts() {
    let folder = Folder::new();
    folder.write("README.md", "Not a prompt.");
    folder.write("_drafts/a.md", "Not a prompt.");
    folder.write(".git/a.md", "Not a prompt.");
    folder.write("notes.txt", "Not a prompt.");
    folder.write("hello.md", "\u{feff}Say hello.\r\n\r\nTwice.\r\n");
    folder.write(
        "support/triage/1.md",
        "---\nauthor: alice\nmessage: first\ncreated_at: 2026-11-22T08:10:50.123Z\n---\nuser:\none",
    );
    folder.write(
        "support/triage/2.md",
        "---\n---\n\nsystem:\n\n  Two.\n\n\nuser:\nsystem: no\n\nassistant:\n",
    );
    folder.write("support/triage/labels.yaml", "production: 1\nstaging: 2\n");
    let store = folder.open().await;
    assert_eq!(faults(&store).await, [""; 0]);
    let heads = store.heads(None, 10).await.unwrap();
    let names: Vec<_> = heads.iter().map(|head| &*head.name).collect();
    assert_eq!(names, ["hello", "support.triage"]);
    let hello = text(&store, "hello").await.unwrap();
    assert_eq!(hello, (1, "Say hello.\n\nTwice.".into()));
    let labels = &heads[1].labels;
    assert_eq!(labels["production"], Assignment::to(number(1)));
    assert_eq!(labels["staging"], Assignment::to(number(2)));
    let triage = store
        .versions(&name("support.triage"), None, 10)
        .await
        .unwrap();
    assert_eq!(triage[0].author.as_ref(), "files");
    let said: Vec<_> = triage[0]
        .prompt
        .messages
        .iter()
        .map(|message| message.all_text().to_string())
        .collect();
    assert_eq!(said, ["  Two.", "system: no", ""]);
    let first = &triage[1];
    assert_eq!(
        (&*first.author, first.message.as_deref()),
        ("alice", Some("first"))
    );
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_335_050_123);
    assert_eq!(first.created_at, at);
    let history = store
        .label_history(&name("support.triage"), None, None, 9)
        .await
        .unwrap();
    assert_eq!((history.len(), &*history[0].moved.by), (2, "files"));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_seen_and_a_broken_file_takes_nothing_down() {
    let folder = Folder::new();
    folder.write("a.md", "---\nlabels: [production]\n---\none");
    folder.write("b.md", "good");
    let store = folder.open().await;
    let registry = Registry::open(store.clone()).await.unwrap();
    let production = || {
        let found = registry.by_label::<str>("a", "production", None).unwrap();
        found.version.prompt().messages[0].all_text().to_string()
    };
    assert_eq!(production(), "one");
    folder.write("a.md", "---\nlabels: [production]\n---\ntwo");
    registry.refresh().await.unwrap();
    assert_eq!(production(), "two");

    for (broken, told) in [
        ("---\nlabels: [production\n---\nx", "a.md:"),
        ("---\nmodel: fast\nmodel: slow\n---\nx", "a.md:3: "),
        ("---\nmodel: fast\n", "a.md:1: The front matter has no end."),
        (
            "---\nmodel: 7\n---\nx",
            "a.md:2: /model: Expected a string. Write that as `model`.",
        ),
        (
            "---\n\nmodle: fast\n---\nx",
            "a.md:3: /modle: There is no such field.",
        ),
        (
            "---\n- x\n---\nx",
            "a.md:2: The front matter has no fields.",
        ),
        ("---\nlabels: [latest]\n---\nx", "a.md:2: /labels/0: "),
        (
            "---\ncreated_at: today\n---\nx",
            "a.md:2: /created_at: Expected a time",
        ),
        (
            "---\nmessages: []\n---\nx",
            "a.md:2: /messages: This stands in the front matter and",
        ),
        (
            "---\nmodel: fast\n---\n\nx\n{{ y }}",
            "a.md:6: /messages/0/content: The template uses a variable that is not declared. (y) Declare `y` under",
        ),
        (
            "---\nmodel: fast\n---\nsystem:\nx\n\nuser:\n\n{% if %}\n",
            "a.md:9: /messages/1/content: ",
        ),
        (
            "---\nmessages:\n- role: user\n  content: |\n    one\n    {{ y }}\n---\n",
            "a.md:6: /messages/0/content: ",
        ),
        (
            "---\nmessages:\n- role: user\n  content: |-\n\n    one\n    {{ y }}\n---\n",
            "a.md:7: /messages/0/content: ",
        ),
        (
            "---\nvariables:\n  x: {type: text}\n---\nx",
            "a.md:3: /variables/x",
        ),
        (
            "---\npartials:\n  y: {prompt: y}\n---\n{% include \"y\" %}",
            "a.md:3: /partials/y: There is no such version",
        ),
        ("---\nmodel: fast\n---\n", "a.md:"),
    ] {
        folder.write("a.md", broken);
        let all = faults(&store).await;
        assert!(all[0].starts_with(told), "{broken}: {all:?}");
        assert!(
            all.iter().all(|fault| fault.starts_with("a.md:")),
            "{all:?}"
        );
        assert_eq!(registry.problems().len(), all.len());
        registry.refresh().await.unwrap();
        assert_eq!(production(), "two", "{broken}");
        assert_eq!(text(&store, "b").await.unwrap().1, "good");
    }
    folder.write("b.md", "better");
    registry.refresh().await.unwrap();
    assert_eq!(text(&store, "b").await.unwrap(), (2, "better".into()));
    folder.write("a.md", "---\nlabels: [staging]\n---\nthree");
    registry.refresh().await.unwrap();
    assert_eq!(faults(&store).await, [""; 0]);
    assert!(registry.by_label::<str>("a", "production", None).is_none());
    assert!(registry.by_label::<str>("a", "staging", None).is_some());
    let history = store
        .label_history(&name("a"), None, None, 9)
        .await
        .unwrap();
    assert_eq!(history.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_not_text_or_too_large_has_a_fault() {
    let folder = Folder::new();
    fs::write(folder.0.join("a.md"), b"one\ntwo \xff\n").unwrap();
    folder.write("b.md", &"x".repeat(5 << 20));
    folder.write("C d.md", "x");
    folder.write("labels.yaml", "x: 1");
    folder.write("e.md", "good");
    let store = folder.open().await;
    let all = faults(&store).await;
    assert_eq!(all.len(), 4, "{all:?}");
    for told in [
        "C d.md: `C d` is no name of a prompt. Rename it: ",
        "labels.yaml: These are the labels of no prompt. ",
        "a.md:2: The file is not UTF-8. Save it as UTF-8.",
        "b.md: The file is larger than 4 MiB. ",
    ] {
        assert!(
            all.iter().any(|fault| fault.starts_with(told)),
            "{told} {all:?}"
        );
    }
    assert_eq!(text(&store, "e").await.unwrap().1, "good");
}

#[tokio::test(start_paused = true)]
async fn a_version_with_a_number_never_changes() {
    let folder = Folder::new();
    folder.write("a/1.md", "one");
    folder.write("a/labels.yaml", "production: 1\n");
    let store = folder.open().await;
    folder.write("a/1.md", "another");
    let all = faults(&store).await;
    let told = "a/1.md: Version 1 has been changed, and versions never change. Undo that, ";
    assert!(all[0].starts_with(told), "{all:?}");
    assert_eq!(text(&store, "a").await.unwrap(), (1, "one".into()));
    // Another way to write the same is no change.
    folder.write("a/1.md", "---\n# One.\n---\nuser:\n\none\n\n");
    assert_eq!(faults(&store).await, [""; 0]);
    folder.write("a/3.md", "three");
    folder.write("a/labels.yaml", "production: 3\nstaging: 2\n");
    let all = faults(&store).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].starts_with("a/labels.yaml:2: There is no version 2 for `staging`"));
    let head = store.head(&name("a")).await.unwrap().unwrap();
    assert_eq!((head.latest, head.labels.len()), (number(3), 1));
    assert_eq!(head.labels["production"], Assignment::to(number(3)));
    folder.write("a/labels.yaml", "production: 3\n");
    fs::remove_file(folder.0.join("a/1.md")).unwrap();
    let all = faults(&store).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].starts_with("a/1.md: The file is gone."), "{all:?}");
    assert!(
        store
            .version(&name("a"), number(1))
            .await
            .unwrap()
            .is_some()
    );
    // A file that was only moved is not gone.
    folder.write("a/1.md", "one");
    folder.write("a.b/1.md", "other");
    assert_eq!(faults(&store).await, [""; 0]);
    fs::rename(folder.0.join("a.b"), folder.0.join("a/b")).unwrap();
    assert_eq!(faults(&store).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_without_a_number_becomes_one_with_numbers() {
    let folder = Folder::new();
    folder.write("a.md", "---\nlabels: [x]\n---\none");
    let store = folder.open().await;
    let new = NewVersion::new(name("a"), Prompt::new().user("two"), "alice");
    let refused = store.create_version(new.clone()).await.unwrap_err();
    assert_eq!(refused.failure(), Failure::Invalid);
    let told = refused.to_string();
    assert!(told.contains("a.md") && told.contains("a/1.md"), "{told}");
    let registry = Registry::open(store.clone()).await.unwrap();
    let code = Actor::code("test");
    let refused = registry.create(&code, "a", Prompt::new().user("two"), Change::new());
    let refused = refused.await.unwrap_err();
    assert!(matches!(refused, RegistryError::Store(_)));
    assert_eq!(crate::Rejection::from(refused).kind().status(), 409);

    fs::create_dir(folder.0.join("a")).unwrap();
    folder.write("a/1.md", "one");
    let all = faults(&store).await;
    assert!(
        all[0].starts_with("a.md: The prompt has versions with numbers"),
        "{all:?}"
    );
    fs::remove_file(folder.0.join("a.md")).unwrap();
    assert_eq!(faults(&store).await, [""; 0]);
    assert_eq!(
        store.create_version(new).await.unwrap(),
        Created::New(number(2))
    );
    assert!(folder.0.join("a/2.md").exists());
}

#[tokio::test(start_paused = true)]
async fn a_partial_is_read_before_what_includes_it_and_followed() {
    let folder = Folder::new();
    let include = |partial: &str, body: &str| {
        format!("---\npartials:\n  p: {{prompt: {partial}}}\n---\n{body}")
    };
    folder.write("a.md", &include("tone", "{% include \"p\" %} Hello."));
    folder.write("z/1.md", &include("tone", "{% include \"p\" %} Hello."));
    folder.write(
        "tone.md",
        "---\npartial: true\npartials:\n  p: {prompt: zzz}\n---\nBe {% include \"p\" %}.",
    );
    folder.write("zzz.md", "---\npartial: true\n---\n\nbrief\n");
    let store = folder.open().await;
    assert_eq!(faults(&store).await, [""; 0]);
    let says = async |prompt: &str| {
        let registry = Registry::open(store.clone()).await.unwrap();
        let found = registry.by_label::<str>(prompt, "latest", None).unwrap();
        let chat = found.version.render(&Default::default()).unwrap();
        let number = found.version.number().get();
        (number, chat.messages[0].all_text().to_string())
    };
    assert_eq!(says("a").await, (1, "Be brief. Hello.".into()));
    folder.write("zzz.md", "---\npartial: true\n---\nexact\n");
    assert_eq!(says("a").await, (2, "Be exact. Hello.".into()));
    assert_eq!(says("z").await, (1, "Be brief. Hello.".into()));
    // In a circle there is no first.
    folder.write("x.md", &include("y", "{% include \"p\" %}"));
    folder.write("y.md", &include("x", "{% include \"p\" %}"));
    let all = faults(&store).await;
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(says("a").await, (2, "Be exact. Hello.".into()));
}

#[tokio::test(start_paused = true)]
async fn two_stores_over_a_directory_see_what_the_other_does() {
    let folder = Folder::new();
    let (one, other) = (folder.open().await, folder.open().await);
    let a = name("a");
    for text in ["one", "two"] {
        let new = NewVersion::new(a.clone(), Prompt::new().user(text), "alice");
        one.create_version(new).await.unwrap();
    }
    let label = LabelName::new("production").unwrap();
    let to = |version| Some(Assignment::to(number(version)));
    let moved = |from, to| LabelMove::new(a.clone(), label.clone(), from, to, "bob");
    one.move_label(moved(None, to(1))).await.unwrap();
    let head = other.head(&a).await.unwrap().unwrap();
    assert_eq!(
        (head.latest, head.labels.get(&label).cloned()),
        (number(2), to(1))
    );
    let done = other.move_label(moved(to(1), to(2))).await.unwrap();
    assert!(matches!(done, Moved::Done(_)));
    let elsewhere = one.move_label(moved(to(1), to(2))).await.unwrap();
    assert_eq!(elsewhere, Moved::Elsewhere(to(2)));
    // By hand, in between.
    folder.write("a/labels.yaml", "production: 1\n");
    one.move_label(moved(to(1), to(2))).await.unwrap();
    let history = async |store: &FileStore| {
        let all = store.label_history(&a, None, None, 9).await.unwrap();
        let all = all
            .into_iter()
            .map(|made| (made.moved.by.to_string(), made.moved.to));
        all.collect::<Vec<_>>()
    };
    let by = |by: &str, version| (by.to_owned(), to(version));
    let expected = [by("bob", 2), by("files", 1), by("bob", 2), by("bob", 1)];
    assert_eq!(history(&one).await, expected);
    assert_eq!(history(&folder.open().await).await, expected);
    assert_eq!(faults(&other).await, [""; 0]);
    let names = fs::read_dir(folder.0.join("a")).unwrap();
    let mut names: Vec<_> = names.map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["1.md", "2.md", "labels.yaml"]);
    folder.write("a/labels.yaml", "production: [\n");
    let refused = one.move_label(moved(to(2), to(1))).await.unwrap_err();
    assert_eq!(refused.failure(), Failure::Corrupt);
    assert!(refused.to_string().contains("a/labels.yaml:"), "{refused}");
    // A draft that a crash left is nobody's, and the number of a broken file is taken.
    folder.write("a/.3.md.new", "half");
    folder.write("a/3.md", "---\nhalf");
    let new = NewVersion::new(a.clone(), Prompt::new().user("four"), "alice");
    assert_eq!(
        one.create_version(new).await.unwrap(),
        Created::New(number(4))
    );
}

#[tokio::test(start_paused = true)]
async fn a_directory_must_be_there_and_one_to_export_into_is_made() {
    let folder = Folder::new();
    let nowhere = folder.0.join("x/y");
    let refused = FileStore::open(&nowhere).await.unwrap_err();
    assert_eq!(refused.failure(), Failure::Unavailable);
    let store = FileStore::create(&nowhere).await.unwrap();
    assert_eq!(store.path(), nowhere);
    assert_eq!(store.changes_since(0, 1).await.unwrap(), Changes::default());
    fs::remove_dir_all(&nowhere).unwrap();
    let gone = store.changes_since(0, 1).await.unwrap_err();
    assert_eq!(gone.failure(), Failure::Unavailable);
}

#[test]
fn a_time_of_a_file_is_in_whole_milliseconds() {
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_999_999);
    let whole = SystemTime::UNIX_EPOCH + Duration::from_millis(1);
    assert_eq!(whole_millis(time), whole);
}
