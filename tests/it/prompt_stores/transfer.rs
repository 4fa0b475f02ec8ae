//! From each store into each other.

use super::{Store, moves, name, number, says, stores, to};
use serde_json::json;
use std::collections::BTreeMap;
use tower_gateway::prompt::{
    Assignment, Export, Import, ImportError, LabelMove, LabelName, NewVersion, Partial,
    PartialSource, Prompt, Record, VersionRecord,
};

/// All that is in a store but for its revisions.
type Content = Vec<(
    BTreeMap<LabelName, Assignment>,
    Vec<VersionRecord>,
    Vec<LabelMove>,
)>;

async fn content(store: &Store) -> Content {
    let mut all = Vec::new();
    for head in store.heads(None, 100).await.unwrap() {
        let versions = store.versions(&head.name, None, 100).await.unwrap();
        let moves = store
            .label_history(&head.name, None, None, 100)
            .await
            .unwrap();
        let moves = moves.into_iter().map(|made| made.moved).collect();
        all.push((head.labels, versions, moves));
    }
    all
}

async fn fill(store: &Store) {
    let tone = Prompt::partial("Be {{ how }}.").variable("how", json!({"default": "brief"}));
    let tone = NewVersion::new(name("tone"), tone, "alice");
    store.create_version(tone.clone()).await.unwrap();
    let mut prompt = Prompt::new()
        .model("fast")
        .system("{% include \"tone\" %}\n\nTranslate.")
        .user("{{ text }}")
        .variable("how", json!({"type": "string", "default": "exact"}))
        .variable("text", json!({"type": "string", "maxLength": 10_000}))
        .output_schema("answer", json!({"type": "object", "required": ["text"]}));
    let source = PartialSource::new("tone", Default::default()).unwrap();
    prompt = prompt.include("tone", Partial::new(source));
    prompt
        .pin(|_| Some((number(1), tone.prompt.clone())))
        .unwrap();
    let translate = NewVersion::new(name("support.translate"), prompt, "bob").message("first");
    store.create_version(translate).await.unwrap();
    for nth in 2..=12 {
        let new = says(
            "support.translate",
            &format!("Version {nth}: it's \"better\"\n"),
        );
        store.create_version(new).await.unwrap();
    }
    let gap = VersionRecord::new(says("support.translate", "late"), number(20));
    store.import_version(gap).await.unwrap();
    let split = Assignment::split([(number(2), 9_500), (number(20), 500)]).unwrap();
    for change in [
        moves("support.translate", "production", None, to(1)),
        moves("support.translate", "staging", None, to(20)),
        moves("support.translate", "production", to(1), Some(split)).message("try it"),
        moves("support.translate", "staging", to(20), None),
        moves("tone", "stable", None, to(1)),
    ] {
        store.move_label(change).await.unwrap();
    }
}

async fn copy(from: &Store, to: &Store) -> Result<(u64, u64, u64), ImportError> {
    let mut export = Export::new(from.clone());
    let mut import = Import::new(&**to);
    while let Some(record) = export.next().await? {
        // As it goes over a wire.
        let line = serde_json::to_string(&record).unwrap();
        let record: Record = serde_json::from_str(&line).unwrap();
        import.add(record).await?;
    }
    let report = import.report();
    Ok((report.versions, report.moves, report.same))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_in_one_store_can_be_had_in_each_other() {
    let kinds = stores().await.len();
    for which in 0..kinds {
        let from = stores().await.swap_remove(which);
        fill(&from).await;
        let expected = content(&from).await;
        assert_eq!(expected.len(), 2);
        let all = stores().await;
        for into in &all {
            assert_eq!(copy(&from, into).await.unwrap(), (14, 5, 0));
            assert_eq!(content(into).await, expected, "from kind {which}");
            // To do it again does nothing more.
            assert_eq!(copy(&from, into).await.unwrap(), (0, 0, 19));
            assert_eq!(content(into).await, expected);
        }
        // What comes later is added.
        from.create_version(says("tone", "later")).await.unwrap();
        let moved = moves("tone", "stable", to(1), to(2));
        from.move_label(moved).await.unwrap();
        let expected = content(&from).await;
        for into in &all {
            assert_eq!(copy(&from, into).await.unwrap(), (1, 1, 19));
            assert_eq!(content(into).await, expected);
            go_another_way(into).await;
            assert_eq!(content(into).await, expected);
        }
    }
}

/// Stores that have gone different ways are not mixed.
async fn go_another_way(into: &Store) {
    let mut import = Import::new(&**into);
    let taken = VersionRecord::new(says("tone", "something else"), number(2));
    let refused = import.add(Record::Version(taken)).await;
    assert!(
        matches!(refused, Err(ImportError::Taken(..))),
        "{refused:?}"
    );
    let elsewhere = moves("tone", "stable", to(77), to(1));
    let refused = import.add(Record::Move(elsewhere)).await;
    assert!(
        matches!(refused, Err(ImportError::Elsewhere(_))),
        "{refused:?}"
    );
    let nowhere = moves("tone", "stable", None, to(77));
    let refused = import.add(Record::Move(nowhere)).await;
    assert!(
        matches!(refused, Err(ImportError::NoVersion(_))),
        "{refused:?}"
    );
}

/// What was edited on its way, or cannot be used, is not taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_was_changed_or_cannot_be_used_is_not_taken() {
    let good = VersionRecord::new(says("a", "Be kind."), number(1));
    let edited = good.to_json().replace("Be kind.", "Be rude.");
    let edited = VersionRecord::from_json(&edited).unwrap();
    let broken = NewVersion::new(name("a"), Prompt::new().user("{{ x ~ x }}"), "alice");
    let broken = VersionRecord::new(broken, number(2));
    for store in stores().await {
        let mut import = Import::new(&*store);
        import.add(Record::Version(good.clone())).await.unwrap();
        let refused = import.add(Record::Version(edited.clone())).await;
        let Err(ImportError::Changed(prompt, version)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((prompt, version), (name("a"), number(1)));
        let refused = import
            .add(Record::Version(broken.clone()))
            .await
            .unwrap_err();
        assert!(matches!(refused, ImportError::Invalid(..)));
        let told = refused.to_string();
        assert!(
            told.starts_with("prompt a version 2: /messages/0/content"),
            "{told}"
        );
        assert_eq!(import.report().pieces(), 1);
        assert_eq!(
            store.versions(&name("a"), None, 9).await.unwrap(),
            std::slice::from_ref(&good)
        );
    }
}
