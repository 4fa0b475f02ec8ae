//! What every store of prompts keeps to, asked of each of them.

use super::{Store, label, moves, name, number, says, to};
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tower_gateway::prompt::{
    Assignment, Changes, Created, Imported, MOST_AT_ONCE, MemoryStore, Moved, NewVersion, Prompt,
    VersionRecord,
};

async fn memory() -> Option<Store> {
    Some(Arc::new(MemoryStore::new()))
}

async fn file() -> Option<Store> {
    let url = format!("file:{}", super::scratch().display());
    Some(tower_gateway::store::prompts(&url).await.unwrap())
}

#[cfg(feature = "sqlite")]
async fn sqlite() -> Option<Store> {
    let url = format!("sqlite:{}", super::scratch().join("prompts.db").display());
    Some(tower_gateway::store::prompts(&url).await.unwrap())
}

#[cfg(feature = "sqlite")]
async fn sqlite_in_memory() -> Option<Store> {
    let store = tower_gateway::store::prompts("sqlite::memory:").await;
    Some(store.unwrap())
}

#[cfg(feature = "postgres")]
async fn postgres() -> Option<Store> {
    let url = crate::services::postgres()?.database();
    Some(tower_gateway::store::prompts(&url).await.unwrap())
}

/// With another default of isolation, under which who waits for a lock sees nothing of who held it.
#[cfg(feature = "postgres")]
async fn postgres_that_repeats() -> Option<Store> {
    let url = crate::services::postgres()?.database();
    let url = format!("{url}?options[default_transaction_isolation]=repeatable%20read");
    Some(tower_gateway::store::prompts(&url).await.unwrap())
}

macro_rules! contract {
    ($($fact:ident)*) => {
        contract!(memory: $($fact)*);
        contract!(file: $($fact)*);
        #[cfg(feature = "sqlite")]
        contract!(sqlite: $($fact)*);
        #[cfg(feature = "sqlite")]
        contract!(sqlite_in_memory: $($fact)*);
        #[cfg(feature = "postgres")]
        contract!(postgres: $($fact)*);
        #[cfg(feature = "postgres")]
        contract!(postgres_that_repeats: $($fact)*);
    };
    ($store:ident: $($fact:ident)*) => {
        mod $store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                if let Some(store) = super::$store().await {
                    super::$fact(store).await;
                }
            })*
        }
    };
}

contract! {
    an_empty_store_knows_nothing
    a_version_is_found_as_it_was_created
    versions_are_numbered_and_paged
    what_the_latest_says_is_not_created_again
    who_has_not_seen_the_latest_creates_nothing
    an_imported_version_keeps_its_number
    a_label_moves_from_where_it_points
    moves_are_remembered_and_paged
    prompts_come_in_the_order_of_bytes
    changes_come_in_the_order_of_revisions
    what_changes_nothing_is_no_revision
    many_writers_lose_nothing
    nobody_sees_half_of_a_change
}

async fn create(store: &Store, prompt: &str, text: &str) -> Created {
    store.create_version(says(prompt, text)).await.unwrap()
}

async fn revision(store: &Store) -> u64 {
    let changes = store.changes_since(u64::MAX >> 1, 1).await.unwrap();
    assert!(changes.heads.is_empty());
    let changes = store.changes_since(0, MOST_AT_ONCE).await.unwrap();
    changes.revision
}

async fn an_empty_store_knows_nothing(store: Store) {
    let a = name("a");
    assert_eq!(store.version(&a, number(1)).await.unwrap(), None);
    assert!(store.versions(&a, None, 10).await.unwrap().is_empty());
    assert_eq!(store.head(&a).await.unwrap(), None);
    assert!(store.heads(None, 10).await.unwrap().is_empty());
    let history = store.label_history(&a, None, None, 10).await.unwrap();
    assert!(history.is_empty());
    assert_eq!(
        store.changes_since(0, 10).await.unwrap(),
        Changes::default()
    );
    // Never less than what was asked.
    let later = store.changes_since(7, 10).await.unwrap();
    assert_eq!(
        (later.revision, later.heads.len(), later.more),
        (7, 0, false)
    );
}

async fn a_version_is_found_as_it_was_created(store: Store) {
    let prompt = Prompt::from_json(&json!({
        "description": "naïve 名 % _ \\ ' \" \u{85} \u{feff}",
        "model": "fast",
        "messages": [
            {"role": "system", "content": "\n  system:\nuser:\n---\n\n"},
            {"role": "user", "name": "x", "content": [
                {"type": "text", "text": "{{ text }}\u{0}\t$1"},
                {"type": "image", "url": "https://example.com/{{ text }}.png", "detail": "low"},
            ]},
            {"role": "assistant", "content": [
                {"type": "tool_call", "id": "1", "name": "find", "arguments": "{\"a\": 1.0}"},
            ]},
            {"role": "tool", "content": [{"type": "tool_result", "call_id": "1", "content": "yes"}]},
            {"role": "user", "content": "no\n\nNo: # no"},
        ],
        "variables": {"text": {"type": "string", "default": "1e3", "pattern": "^[^|>]*$"}},
        "tools": [{"name": "find", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}],
        "output": {"schema": {"type": "object", "properties": {"no": {"const": null}}}},
        "settings": {"temperature": 0.1, "top_p": 1.0, "max_tokens": 4096, "stop": ["\n", "~"], "seed": -1},
        "metadata": {"ticket": "yes", "0": "0x10"},
    }))
    .unwrap();
    let hard = NewVersion::new(name("hard"), prompt, "o'ra\u{301}nge\nname").message("why: \"so\"");
    let plain = NewVersion::new(
        name("plain"),
        Prompt::new()
            .system("You translate.\n\nInto {{ language }}.")
            .user("{{ text }}")
            .variable("text", json!({"type": "string"}))
            .variable("language", json!({"type": "string", "default": "French"})),
        "alice",
    );
    let partial = NewVersion::new(name("tone"), Prompt::partial("Be brief."), "alice");
    for new in [hard, plain, partial] {
        let created = store.create_version(new.clone()).await.unwrap();
        assert_eq!(created, Created::New(number(1)));
        let expected = VersionRecord::new(new, number(1));
        let found = store.version(&expected.name, number(1)).await.unwrap();
        assert_eq!(found.as_ref(), Some(&expected));
        let all = store.versions(&expected.name, None, 10).await.unwrap();
        assert_eq!(all, [expected]);
    }
}

async fn versions_are_numbered_and_paged(store: Store) {
    for nth in 1..=7 {
        let created = create(&store, "a", &format!("{nth}")).await;
        assert_eq!(created, Created::New(number(nth)));
    }
    create(&store, "b", "another").await;
    let a = name("a");
    let mut all = Vec::new();
    let mut before = None;
    loop {
        let page = store.versions(&a, before, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.version);
        all.extend(page.iter().map(|version| version.version.get()));
    }
    assert_eq!(all, [7, 6, 5, 4, 3, 2, 1]);
    let none = store.versions(&a, Some(number(1)), 3).await.unwrap();
    assert!(none.is_empty());
    let first = store.versions(&a, Some(number(u32::MAX)), 1).await.unwrap();
    assert_eq!(first[0].version, number(7));
    assert_eq!(store.head(&a).await.unwrap().unwrap().latest, number(7));
    assert_eq!(store.version(&a, number(8)).await.unwrap(), None);
}

async fn what_the_latest_says_is_not_created_again(store: Store) {
    assert_eq!(create(&store, "a", "x").await, Created::New(number(1)));
    assert_eq!(create(&store, "a", "x").await, Created::Same(number(1)));
    assert_eq!(create(&store, "a", "y").await, Created::New(number(2)));
    // What an older one says is new again.
    assert_eq!(create(&store, "a", "x").await, Created::New(number(3)));
    // It is said first, whatever its author has seen.
    let same = store.create_version(says("a", "x").after(1)).await.unwrap();
    assert_eq!(same, Created::Same(number(3)));
}

async fn who_has_not_seen_the_latest_creates_nothing(store: Store) {
    let create = async |text: &str, after| {
        let new = says("a", text).after(after);
        store.create_version(new).await.unwrap()
    };
    assert_eq!(create("x", 1).await, Created::Behind(0));
    assert_eq!(store.head(&name("a")).await.unwrap(), None);
    assert_eq!(create("x", 0).await, Created::New(number(1)));
    assert_eq!(create("y", 0).await, Created::Behind(1));
    assert_eq!(create("y", 2).await, Created::Behind(1));
    assert_eq!(create("y", 1).await, Created::New(number(2)));
}

async fn an_imported_version_keeps_its_number(store: Store) {
    let record = |version, text: &str| VersionRecord::new(says("a", text), number(version));
    let import = async |record: &VersionRecord| store.import_version(record.clone()).await.unwrap();
    let (five, two) = (record(5, "five"), record(2, "two"));
    assert_eq!(import(&five).await, Imported::New);
    assert_eq!(import(&two).await, Imported::New);
    assert_eq!(import(&five).await, Imported::Same);
    assert_eq!(import(&record(5, "another")).await, Imported::Taken);
    let a = name("a");
    assert_eq!(store.versions(&a, None, 9).await.unwrap(), [five, two]);
    assert_eq!(store.head(&a).await.unwrap().unwrap().latest, number(5));
    assert_eq!(store.version(&a, number(3)).await.unwrap(), None);
    assert_eq!(create(&store, "a", "six").await, Created::New(number(6)));
}

async fn a_label_moves_from_where_it_points(store: Store) {
    let moved = async |from, to| {
        let change = moves("a", "production", from, to);
        store.move_label(change).await.unwrap()
    };
    assert_eq!(moved(None, to(1)).await, Moved::NoPrompt);
    create(&store, "a", "one").await;
    create(&store, "a", "two").await;
    assert_eq!(moved(to(1), to(3)).await, Moved::NoVersion(number(3)));
    assert_eq!(moved(to(1), to(2)).await, Moved::Elsewhere(None));
    assert_eq!(moved(None, to(1)).await, Moved::Done(3));
    assert_eq!(moved(None, to(2)).await, Moved::Elsewhere(to(1)));
    let split = Assignment::split([(number(1), 9_500), (number(2), 500)]).unwrap();
    assert_eq!(moved(to(1), Some(split.clone())).await, Moved::Done(4));
    let head = store.head(&name("a")).await.unwrap().unwrap();
    assert_eq!(head.labels[&label("production")], split);
    assert_eq!(head.revision, 4);
    assert_eq!(
        moved(to(1), None).await,
        Moved::Elsewhere(Some(split.clone()))
    );
    assert_eq!(moved(Some(split), None).await, Moved::Done(5));
    let head = store.head(&name("a")).await.unwrap().unwrap();
    assert!(head.labels.is_empty());
    assert_eq!(moved(to(1), None).await, Moved::Elsewhere(None));
}

async fn moves_are_remembered_and_paged(store: Store) {
    for text in ["one", "two"] {
        create(&store, "a", text).await;
        create(&store, "b", text).await;
    }
    let made = [
        moves("a", "x", None, to(1)),
        moves("a", "y", None, to(2)),
        moves("b", "x", None, to(1)),
        moves("a", "x", to(1), to(2)).message("it's \"better\"\u{0}\n"),
        moves("a", "x", to(2), None),
    ];
    for change in &made {
        let done = store.move_label(change.clone()).await.unwrap();
        assert!(matches!(done, Moved::Done(_)), "{done:?}");
    }
    let a = name("a");
    let history = async |which: Option<&str>, before, limit| {
        let which = which.map(label);
        let history = store.label_history(&a, which.as_ref(), before, limit);
        history.await.unwrap()
    };
    let all = history(None, None, 10).await;
    let told: Vec<_> = all.iter().map(|made| made.moved.clone()).collect();
    let of_a: Vec<_> = [4, 3, 1, 0].map(|nth| made[nth].clone()).into();
    assert_eq!(told, of_a);
    assert!(all.is_sorted_by(|one, next| one.revision > next.revision));
    assert_eq!(all[0].revision, revision(&store).await);
    let of_x = history(Some("x"), None, 2).await;
    assert_eq!(of_x, [all[0].clone(), all[1].clone()]);
    let rest = history(Some("x"), Some(of_x[1].revision), 2).await;
    assert_eq!(rest, [all[3].clone()]);
    assert_eq!(
        history(None, Some(all[1].revision), 1).await,
        [all[2].clone()]
    );
    assert!(history(Some("z"), None, 9).await.is_empty());
    assert!(history(None, Some(0), 9).await.is_empty());
    assert_eq!(history(None, Some(u64::MAX), 9).await.len(), 4);
}

async fn prompts_come_in_the_order_of_bytes(store: Store) {
    let names = ["0", "a", "a-b", "a.b", "a_b", "aa", "b"];
    for prompt in names.iter().rev() {
        create(&store, prompt, "x").await;
    }
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = store.heads(after.as_ref(), 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        paged.extend(page.iter().map(|head| head.name.to_string()));
    }
    assert_eq!(paged, names);
    let one = store.heads(Some(&name("aaa")), 3).await.unwrap();
    assert_eq!(one.len(), 1);
}

async fn changes_come_in_the_order_of_revisions(store: Store) {
    for prompt in ["a", "b", "c"] {
        create(&store, prompt, "one").await;
    }
    create(&store, "a", "two").await;
    store
        .move_label(moves("b", "x", None, to(1)))
        .await
        .unwrap();
    let told = |changes: &Changes| -> Vec<_> {
        let heads = changes.heads.iter();
        heads
            .map(|head| (head.name.to_string(), head.revision))
            .collect()
    };
    let all = store.changes_since(0, 10).await.unwrap();
    assert_eq!(
        told(&all),
        [("c".into(), 3), ("a".into(), 4), ("b".into(), 5)]
    );
    assert_eq!((all.revision, all.more), (5, false));
    for head in &all.heads {
        assert_eq!(store.head(&head.name).await.unwrap().as_ref(), Some(head));
    }
    let first = store.changes_since(0, 2).await.unwrap();
    assert_eq!(
        (told(&first).len(), first.revision, first.more),
        (2, 4, true)
    );
    let rest = store.changes_since(first.revision, 2).await.unwrap();
    assert_eq!(told(&rest), [("b".into(), 5)]);
    assert_eq!((rest.revision, rest.more), (5, false));
    let none = store.changes_since(5, 2).await.unwrap();
    assert_eq!((none.heads.len(), none.revision, none.more), (0, 5, false));
}

async fn what_changes_nothing_is_no_revision(store: Store) {
    create(&store, "a", "one").await;
    store
        .move_label(moves("a", "x", None, to(1)))
        .await
        .unwrap();
    let before = store.changes_since(0, 10).await.unwrap();
    create(&store, "a", "one").await;
    store
        .create_version(says("a", "two").after(7))
        .await
        .unwrap();
    let same = VersionRecord::new(says("a", "one"), number(1));
    store.import_version(same).await.unwrap();
    let other = VersionRecord::new(says("a", "another"), number(1));
    store.import_version(other).await.unwrap();
    store
        .move_label(moves("a", "x", None, to(1)))
        .await
        .unwrap();
    store
        .move_label(moves("a", "y", None, to(2)))
        .await
        .unwrap();
    store
        .move_label(moves("b", "y", None, to(2)))
        .await
        .unwrap();
    assert_eq!(store.changes_since(0, 10).await.unwrap(), before);
    assert_eq!(before.revision, 2);
}

async fn many_writers_lose_nothing(store: Store) {
    create(&store, "shared", "start").await;
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut made = 0;
            for nth in 0..6 {
                let text = format!("{writer} {nth}");
                let created = create(&store, "shared", &text).await;
                let Created::New(version) = created else {
                    panic!("{created:?}");
                };
                let shared = name("shared");
                let found = store.version(&shared, version).await.unwrap().unwrap();
                assert_eq!(found.prompt.messages[0].all_text(), text);
                loop {
                    let head = store.head(&shared).await.unwrap().unwrap();
                    let from = head.labels.get(&label("production")).cloned();
                    let change = moves("shared", "production", from, to(version.get()));
                    match store.move_label(change).await.unwrap() {
                        Moved::Done(_) => break made += 1,
                        Moved::Elsewhere(_) => {}
                        other => panic!("{other:?}"),
                    }
                }
                create(&store, &format!("own-{writer}"), &text).await;
            }
            made
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut made = 0;
    for writer in writers {
        made += writer.await.unwrap();
    }
    assert_eq!(made, 48);
    let shared = name("shared");
    let all = store.versions(&shared, None, 1000).await.unwrap();
    let numbers: Vec<_> = all.iter().map(|version| version.version.get()).collect();
    assert_eq!(numbers, (1..=49).rev().collect::<Vec<_>>());
    let history = store
        .label_history(&shared, None, None, 1000)
        .await
        .unwrap();
    assert_eq!(history.len(), 48);
    // Each begins where the one before has ended.
    let chain = history
        .windows(2)
        .all(|two| two[0].moved.from == two[1].moved.to);
    assert!(chain);
    let head = store.head(&shared).await.unwrap().unwrap();
    let there = head.labels.get(&label("production"));
    assert_eq!(there, history[0].moved.to.as_ref());
    assert_eq!(store.heads(None, 100).await.unwrap().len(), 9);
    assert_eq!(revision(&store).await, 1 + 48 * 3);
}

async fn nobody_sees_half_of_a_change(store: Store) {
    create(&store, "a", "start").await;
    let done = Arc::new(AtomicBool::new(false));
    let readers = (0..2).map(|_| {
        let (store, done) = (store.clone(), done.clone());
        tokio::spawn(async move {
            let mut since = 0;
            while !done.load(Ordering::Relaxed) {
                let changes = store.changes_since(since, 10).await.unwrap();
                assert!(changes.revision >= since);
                since = changes.revision;
                for head in changes.heads {
                    let labels = head.labels.values().flat_map(Assignment::shares);
                    let wanted = labels.map(|share| share.version).chain([head.latest]);
                    for version in wanted {
                        let found = store.version(&head.name, version).await.unwrap();
                        assert_eq!(found.unwrap().version, version);
                    }
                }
                tokio::task::yield_now().await;
            }
            since
        })
    });
    let readers: Vec<_> = readers.collect();
    for nth in 2..=30 {
        create(&store, "a", &format!("{nth}")).await;
        let from = (nth > 2).then(|| Assignment::to(number(nth - 1)));
        let change = moves("a", "production", from, to(nth));
        assert!(matches!(
            store.move_label(change).await.unwrap(),
            Moved::Done(_)
        ));
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(revision(&store).await, 1 + 29 * 2);
}
