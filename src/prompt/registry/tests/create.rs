//! How versions are made and found.

use super::*;

#[tokio::test]
async fn the_same_content_is_one_version_and_a_late_author_is_told() {
    let registry = Registry::in_memory();
    with_versions(&registry, "a", 2).await;
    let again = registry
        .create(&code(), "a", says("version 2"), Change::new())
        .await;
    assert_eq!(again.unwrap(), Created::Same(number(2)));
    let late = registry
        .create(&code(), "a", says("other"), Change::new().after(1))
        .await;
    let late = late.unwrap_err();
    assert!(matches!(late, RegistryError::Behind(2)));
    assert_eq!(Rejection::from(late).kind(), Kind::Conflict);
    let back = registry
        .create(&code(), "a", says("version 1"), Change::new().after(2))
        .await;
    assert_eq!(back.unwrap(), Created::New(number(3)));
    let all = registry.versions("a", Some(number(3)), 10).await.unwrap();
    let numbers: Vec<_> = all.iter().map(|record| record.version.get()).collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!((&*all[0].author, all[1].digest.len()), ("test", 64));
}

#[tokio::test]
async fn what_there_is_not_is_told_apart() {
    let registry = Registry::in_memory();
    with_versions(&registry, "a", 1).await;
    let find = async |name: &str, at: At| registry.find::<str>(name, &at, None).await.unwrap_err();
    assert!(matches!(
        find("b", At::Latest).await,
        RegistryError::NoPrompt
    ));
    let label = LabelName::new("staging").unwrap();
    assert!(matches!(
        find("a", At::Label(label)).await,
        RegistryError::NoLabel
    ));
    let missing = find("a", At::Version(number(2))).await;
    assert!(matches!(missing, RegistryError::NoVersion(two) if two == number(2)));
    assert_eq!(Rejection::from(missing).kind().status(), 404);
    let to = Some(Assignment::to(number(7)));
    let moved = registry
        .move_label(&code(), "a", "staging", to, Change::new())
        .await;
    assert!(matches!(moved, Err(RegistryError::NoVersion(_))));
    for label in ["latest", "7", "A", ""] {
        let to = Some(Assignment::to(number(1)));
        let moved = registry
            .move_label(&code(), "a", label, to, Change::new())
            .await;
        assert!(matches!(moved, Err(RegistryError::Name(_))), "{label}");
    }
    let wrong = registry
        .create(&code(), "a", says("{{ x }}"), Change::new())
        .await;
    assert!(matches!(wrong, Err(RegistryError::Invalid(_))));
    assert_eq!(registry.head("a").unwrap().latest, number(1));
}

#[tokio::test]
async fn old_versions_are_read_when_they_are_asked_for_and_then_known() {
    let store = Watched::default();
    let registry = Registry::open(store.clone()).await.unwrap();
    with_versions(&registry, "a", 50).await;
    let fresh = Registry::builder()
        .most_versions(4)
        .open(store.clone())
        .await
        .unwrap();
    let asked = || store.bodies.swap(0, Ordering::Relaxed);
    assert!(asked() > 0);
    let get = async |nth: u32| {
        let found = fresh
            .find::<str>("a", &At::Version(number(nth)), None)
            .await
            .unwrap();
        assert_eq!(found.version.number(), number(nth));
    };
    for _ in 0..10 {
        get(1).await;
        get(50).await;
    }
    assert_eq!(asked(), 1);
    for nth in 1..=50 {
        get(nth).await;
    }
    get(1).await;
    assert!(asked() >= 49, "no more than four are kept");
}

#[tokio::test]
async fn many_at_once_lose_nothing() {
    let registry = Registry::in_memory();
    let all = (0..64).map(|nth| {
        let registry = registry.clone();
        tokio::spawn(async move {
            let prompt = says(&format!("content {nth}"));
            registry
                .create(&code(), "a", prompt, Change::new())
                .await
                .unwrap()
        })
    });
    let mut numbers = HashSet::new();
    for task in all.collect::<Vec<_>>() {
        let Created::New(number) = task.await.unwrap() else {
            panic!("each says something else");
        };
        assert!(numbers.insert(number));
    }
    assert_eq!(registry.head("a").unwrap().latest, number(64));
}

#[tokio::test]
async fn a_partial_is_taken_as_its_label_stands_when_a_version_is_made() {
    let registry = Registry::in_memory();
    let partial = |text: &str| Prompt::partial(text);
    registry
        .create(&code(), "tone", partial("old"), Change::new())
        .await
        .unwrap();
    let source = || PartialSource::new("tone", At::Latest).unwrap();
    let uses = || says("{% include 'tone' %}!").include("tone", Partial::new(source()));
    registry
        .create(&code(), "a", uses(), Change::new())
        .await
        .unwrap();
    registry
        .create(&code(), "tone", partial("new"), Change::new())
        .await
        .unwrap();
    let text = async |version: u32| {
        let found = registry
            .find::<str>("a", &At::Version(number(version)), None)
            .await
            .unwrap();
        found.version.render(&Variables::new()).unwrap().messages[0].all_text()
    };
    assert_eq!(text(1).await, "old!");
    let created = registry
        .create(&code(), "a", uses(), Change::new())
        .await
        .unwrap();
    assert_eq!(created, Created::New(number(2)));
    assert_eq!(text(2).await, "new!");
    // What the first version has pinned is not carried on by whoever edits it.
    let one = At::Version(number(1));
    let first = registry.find::<str>("a", &one, None).await.unwrap();
    let first = first.version.prompt().clone();
    let again = registry.create(&code(), "a", first, Change::new()).await;
    assert_eq!(again.unwrap(), Created::Same(number(2)));
    let gone = PartialSource::new("gone", At::Latest).unwrap();
    let wrong = says("{% include 'x' %}").include("x", Partial::new(gone));
    let wrong = registry
        .create(&code(), "a", wrong, Change::new())
        .await
        .unwrap_err();
    assert!(wrong.to_string().contains("/partials/x"), "{wrong}");
    let preview = registry.preview(&code(), "a", uses()).await.unwrap();
    assert_eq!(preview.number(), number(3));
    assert_eq!(registry.head("a").unwrap().latest, number(2));
}

#[tokio::test]
async fn a_version_that_cannot_be_used_hides_no_other() {
    let store = MemoryStore::new();
    let name = |name| PromptName::new(name).unwrap();
    // As if an older version of this crate had let it in.
    let broken = NewVersion::new(name("broken"), says("{{ x ~ x }}"), "old");
    store.create_version(broken).await.unwrap();
    store
        .create_version(NewVersion::new(name("good"), says("x"), "old"))
        .await
        .unwrap();
    let registry = Registry::open(store).await.unwrap();
    assert!(registry.by_label::<str>("good", LATEST, None).is_some());
    let found = registry.find::<str>("broken", &At::Latest, None).await;
    assert!(matches!(found, Err(RegistryError::Invalid(_))));
    assert!(registry.problems()[0].starts_with("prompt broken version 1: /messages/0/content"));
}

#[tokio::test]
async fn a_diff_is_read_line_by_line() {
    let registry = Registry::in_memory();
    let one = Prompt::new().system("Be brief.\nBe kind.").model("fast");
    let other = Prompt::new().system("Be brief.\nBe exact.").model("smart");
    for prompt in [one, other] {
        registry
            .create(&code(), "a", prompt, Change::new())
            .await
            .unwrap();
    }
    let diff = registry.diff("a", number(1), number(2)).await.unwrap();
    assert_eq!(
        diff,
        "--- a version 1\n+++ a version 2\n@@ -1,5 +1,5 @@\n-model: fast\n+model: smart\n messages.0.role: system\n messages.0.content: |\n   Be brief.\n-  Be kind.\n+  Be exact.\n"
    );
    assert_eq!(registry.diff("a", number(1), number(1)).await.unwrap(), "");
}
