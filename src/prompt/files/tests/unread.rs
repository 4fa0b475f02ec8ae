//! What is not read: what somebody is writing, and folders that stand in themselves.

use super::*;
use std::{fs::OpenOptions, io::Write as _};

/// Writes a text in its place, a part every 100 ms.
async fn copy(path: PathBuf, text: &str) {
    fs::write(&path, "").unwrap();
    for part in text.as_bytes().chunks(text.len() / 8) {
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(part).unwrap();
        sleep(Duration::from_millis(100)).await;
    }
}

/// What followers see in the meantime: the numbers and the lengths of what the latest versions say.
async fn follow(store: &FileStore, prompt: &str) -> Vec<(u32, usize)> {
    let mut seen = Vec::new();
    for _ in 0..100 {
        store.changes_since(u64::MAX, 1).await.unwrap();
        let now = text(store, prompt).await;
        seen.extend(now.map(|(number, text)| (number, text.len())));
        sleep(Duration::from_millis(17)).await;
    }
    seen.dedup();
    seen
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_is_not_read() {
    let folder = Folder::new();
    let long = "word ".repeat(4_000);
    let length = long.trim_end().len();
    folder.write("a/1.md", "one");
    folder.write("b.md", "one");
    let store = folder.open().await;
    for (path, prompt, last) in [("a/3.md", "a", 3), ("b.md", "b", 2)] {
        let copied = copy(folder.0.join(path), &long);
        let ((), seen) = tokio::join!(copied, follow(&store, prompt));
        assert_eq!(seen, [(1, 3), (last, length)], "{path}");
        assert_eq!(faults(&store).await, [""; 0]);
    }
    // Nor by who opens the store meanwhile.
    let copied = copy(folder.0.join("c.md"), &long);
    let opened = async {
        sleep(Duration::from_millis(50)).await;
        let store = folder.open().await;
        assert_eq!(text(&store, "c").await, None);
        follow(&store, "c").await
    };
    let ((), seen) = tokio::join!(copied, opened);
    assert_eq!(seen, [(1, length)]);
}

#[tokio::test(start_paused = true)]
async fn who_changes_a_prompt_waits_for_who_writes_its_files() {
    let folder = Folder::new();
    folder.write("a/1.md", "one");
    let store = folder.open().await;
    let new = |text: &str| NewVersion::new(name("a"), Prompt::new().user(text), "alice");
    let copied = copy(folder.0.join("a/2.md"), "The second version.");
    let created = async {
        sleep(Duration::from_millis(50)).await;
        store.create_version(new("The second version.")).await
    };
    let ((), created) = tokio::join!(copied, created);
    assert_eq!(created.unwrap(), Created::Same(number(2)));
    // But not for ever.
    let endless = async {
        for nth in 1.. {
            // Longer each time: the clock of the files may stand still between two of them.
            folder.write("a/3.md", &"x".repeat(nth));
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        refused = store.create_version(new("three")) => {
            assert_eq!(refused.unwrap_err().failure(), Failure::Unavailable);
        }
        () = endless => {}
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_store_has_written_is_read_at_once() {
    let folder = Folder::new();
    let (one, other) = (folder.open().await, folder.open().await);
    let at = tokio::time::Instant::now();
    for nth in 1..=30 {
        let new = NewVersion::new(name("a"), Prompt::new().user(format!("{nth}")), "alice");
        one.create_version(new).await.unwrap();
        let seen = text(&other, "a").await.unwrap();
        assert_eq!(seen, (nth, format!("{nth}")));
    }
    assert_eq!(at.elapsed(), Duration::ZERO);
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_folder_that_stands_in_itself_is_entered_once() {
    let folder = Folder::new();
    folder.write("a.md", "one");
    folder.write("b/c.md", "one");
    let link = std::os::unix::fs::symlink::<&str, PathBuf>;
    for (to, at) in [(".", "here"), (".", "there"), ("..", "b/up")] {
        link(to, folder.0.join(at)).unwrap();
    }
    // Another way to the same is one.
    link("b", folder.0.join("d")).unwrap();
    let store = folder.open().await;
    let heads = store.heads(None, 1000).await.unwrap();
    let names: Vec<_> = heads.iter().map(|head| &*head.name).collect();
    assert_eq!(names, ["a", "b.c", "d.c"]);
    assert_eq!(faults(&store).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_last_label_can_be_taken_away_by_hand() {
    let folder = Folder::new();
    folder.write("a/1.md", "one");
    let store = folder.open().await;
    let label = LabelName::new("production").unwrap();
    let to = Some(Assignment::to(number(1)));
    let moved = LabelMove::new(name("a"), label, None, to, "alice");
    store.move_label(moved).await.unwrap();
    let text = fs::read_to_string(folder.0.join("a/labels.yaml")).unwrap();
    folder.write("a/labels.yaml", &text.replace("production: 1\n", ""));
    assert_eq!(faults(&store).await, [""; 0]);
    let head = store.head(&name("a")).await.unwrap().unwrap();
    assert!(head.labels.is_empty());
    let history = store.label_history(&head.name, None, None, 9);
    assert_eq!(history.await.unwrap().len(), 2);
}
