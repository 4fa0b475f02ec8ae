//! How versions do.

use super::*;

#[tokio::test]
async fn results_are_asked_for_by_name() {
    let registry = Registry::in_memory();
    with_versions(&registry, "a", 1).await;
    let found = registry.by_label::<str>("a", LATEST, None).unwrap();
    registry.record(&found, &CallOutcome::new(Duration::from_millis(20)));
    registry.score("a", number(1), "helpful", 0.5).unwrap();
    assert!(registry.score("a", number(2), "helpful", 0.5).is_err());
    assert!(registry.score("a", number(1), "helpful", f64::NAN).is_err());
    let results = registry.results("a");
    assert_eq!((results[0].calls, results[0].scores[0].mean), (1, 0.5));
    assert!(registry.results("b").is_empty());
}
