//! How a registry follows its store, and how much it holds.

use super::*;

#[tokio::test(start_paused = true)]
async fn another_registry_sees_a_moved_label_within_two_seconds() {
    let store = MemoryStore::new();
    let one = Registry::open(store.clone()).await.unwrap();
    let other = Registry::open(store).await.unwrap();
    with_versions(&one, "a", 2).await;
    point(&one, "production", Assignment::to(number(1))).await;
    assert!(other.head("a").is_none());
    sleep(Duration::from_secs(2)).await;
    let found = other.by_label::<str>("a", "production", None).unwrap();
    assert_eq!(found.version.number(), number(1));
    point(&one, "production", Assignment::to(number(2))).await;
    sleep(Duration::from_secs(2)).await;
    let found = other.by_label::<str>("a", "production", None).unwrap();
    assert_eq!(
        (found.version.number(), found.label.as_deref()),
        (number(2), Some("production"))
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_good_copy_outlives_the_store() {
    let store = Watched::default();
    let registry = Registry::open(store.clone()).await.unwrap();
    with_versions(&registry, "a", 1).await;
    store.fails.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(5)).await;
    assert!(registry.by_label::<str>("a", LATEST, None).is_some());
    assert_eq!(registry.problems(), ["the store is not available"]);
    let failed = registry
        .create(&code(), "a", says("new"), Change::new())
        .await
        .unwrap_err();
    assert_eq!(Rejection::from(failed).kind(), Kind::PromptsUnavailable);
    assert!(Registry::open(store.clone()).await.is_err());
    store.fails.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(2)).await;
    assert!(registry.problems().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_registry() {
    let store = Arc::new(MemoryStore::new());
    let registry = Registry::open(store.clone()).await.unwrap();
    let clone = registry.clone();
    drop(registry);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(Arc::strong_count(&store), 2);
    drop(clone);
    tokio::task::yield_now().await;
    assert_eq!(Arc::strong_count(&store), 1);
}

#[tokio::test]
async fn there_is_room_for_so_many_prompts_and_bytes() {
    let store = MemoryStore::new();
    let full = Registry::open(store.clone()).await.unwrap();
    for nth in 0..10 {
        with_versions(&full, &format!("p{nth}"), 1).await;
    }
    let small = Registry::builder()
        .most_prompts(3)
        .open(store.clone())
        .await
        .unwrap();
    assert_eq!(small.heads(None, 100).len(), 3);
    assert!(small.problems()[0].contains("no room"));
    let few = Registry::builder()
        .most_bytes(20_000)
        .open(store)
        .await
        .unwrap();
    assert!((1..10).contains(&few.heads(None, 100).len()));
    let page = full.heads(Some("p3"), 2);
    let names: Vec<_> = page.iter().map(|head| head.name.as_str()).collect();
    assert_eq!(names, ["p4", "p5"]);
}

#[tokio::test(start_paused = true)]
async fn a_moved_label_does_not_wait_for_all_that_came_after_it() {
    let store = Watched::default();
    let one = Registry::open(store.clone()).await.unwrap();
    with_versions(&one, "a", 2).await;
    point(&one, "production", Assignment::to(number(1))).await;
    let other = Registry::open(store.clone()).await.unwrap();
    point(&one, "production", Assignment::to(number(2))).await;
    for nth in 0..3_000 {
        let name = PromptName::new(format!("p{nth}")).unwrap();
        let new = NewVersion::new(name, says("new"), "import");
        store.create_version(new).await.unwrap();
    }
    sleep(Duration::from_secs(2)).await;
    let found = other.by_label::<str>("a", "production", None).unwrap();
    assert_eq!(found.version.number(), number(2));
    let there = other.heads(None, 10_000).len();
    assert!((2..3_001).contains(&there), "{there}");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(other.heads(None, 10_000).len(), 3_001);
}

/// Of so many bytes, and what is around them.
fn long(bytes: usize) -> Prompt {
    says(&"x".repeat(bytes))
}

#[tokio::test]
async fn what_there_is_no_room_for_is_not_served_as_it_was_and_comes_back() {
    let store = MemoryStore::new();
    let writer = Registry::open(store.clone()).await.unwrap();
    let create = async |name: &str, prompt: Prompt| {
        let created = writer.create(&code(), name, prompt, Change::new()).await;
        assert!(matches!(created.unwrap(), Created::New(_)));
    };
    create("a", long(10)).await;
    create("b", long(20_000)).await;
    point(&writer, "production", Assignment::to(number(1))).await;
    let small = Registry::builder().most_bytes(40_000);
    let small = small.open(store.clone()).await.unwrap();
    let production = || {
        let found = small.by_label::<str>("a", "production", None);
        found.map(|found| found.version.number().get())
    };
    assert_eq!(production(), Some(1));
    // What is held may become a quarter more.
    create("a", long(15_000)).await;
    point(&writer, "production", Assignment::to(number(2))).await;
    create("a", long(10)).await;
    small.refresh().await.unwrap();
    assert_eq!((production(), small.problems().len()), (Some(2), 0));
    create("a", long(30_000)).await;
    create("c", long(10)).await;
    point(&writer, "production", Assignment::to(number(3))).await;
    small.refresh().await.unwrap();
    assert_eq!(production(), None);
    assert_eq!(small.problems(), ["there is no room for prompt a"]);
    create("a", long(20)).await;
    small.refresh().await.unwrap();
    assert_eq!((production(), small.problems().len()), (Some(3), 0));
}

#[tokio::test]
async fn what_was_left_out_is_tried_again_though_it_has_not_changed() {
    let store = MemoryStore::new();
    let writer = Registry::open(store.clone()).await.unwrap();
    let create = async |name: &str, prompt: Prompt| {
        let created = writer.create(&code(), name, prompt, Change::new()).await;
        assert!(matches!(created.unwrap(), Created::New(_)));
    };
    create("a", long(20_000)).await;
    create("b", long(20_000)).await;
    let small = Registry::builder().most_bytes(40_000);
    let small = small.open(store.clone()).await.unwrap();
    assert!(small.by_label::<str>("b", LATEST, None).is_none());
    create("a", long(10)).await;
    small.refresh().await.unwrap();
    assert!(small.by_label::<str>("b", LATEST, None).is_some());
    assert_eq!(small.problems(), [""; 0]);
}
