//! From one store into another.

use super::*;

#[tokio::test]
async fn an_export_makes_the_same_registry_elsewhere_and_twice_is_once() {
    let registry = Registry::in_memory();
    with_versions(&registry, "a", 3).await;
    with_versions(&registry, "b", 1).await;
    point(&registry, "production", Assignment::to(number(1))).await;
    point(&registry, "production", split(&[(2, 9_000), (3, 1_000)])).await;
    point(&registry, "staging", Assignment::to(number(3))).await;
    let mut lines = Vec::new();
    let mut export = registry.export();
    while let Some(record) = export.next().await.unwrap() {
        lines.push(serde_json::to_string(&record).unwrap());
    }
    assert_eq!(lines.len(), 7);
    let store = MemoryStore::new();
    for same in [0, 7] {
        let mut import = Import::new(&store);
        for line in &lines {
            import
                .add(serde_json::from_str(line).unwrap())
                .await
                .unwrap();
        }
        assert_eq!(import.report().same, same);
    }
    let other = Registry::open(store.clone()).await.unwrap();
    let state = async |registry: &Registry| {
        let mut heads = Vec::new();
        for head in registry.heads(None, 10) {
            heads.push((head.name.clone(), head.latest, head.labels.clone()));
        }
        let history = registry.label_history("a", None, None, 100).await.unwrap();
        let history: Vec<_> = history.into_iter().map(|made| made.moved).collect();
        (
            heads,
            registry.versions("a", None, 100).await.unwrap(),
            history,
        )
    };
    assert_eq!(state(&registry).await, state(&other).await);

    point(&other, "production", Assignment::to(number(1))).await;
    point(&registry, "production", Assignment::to(number(3))).await;
    let mut import = Import::new(&store);
    let mut export = Export::new(registry.store().clone());
    let mut failed = None;
    while let Some(record) = export.next().await.unwrap() {
        if let Err(error) = import.add(record).await {
            failed = Some(error);
        }
    }
    assert!(matches!(failed, Some(ImportError::Elsewhere(_))));
    let wrong = NewVersion::new(PromptName::new("a").unwrap(), says("else"), "test");
    let wrong = Record::Version(VersionRecord::new(wrong, number(1)));
    assert!(matches!(
        import.add(wrong).await,
        Err(ImportError::Taken(_, _))
    ));
}
