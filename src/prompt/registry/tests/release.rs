//! How labels are moved.

use super::*;

#[tokio::test]
async fn a_move_is_recorded_with_who_and_from_where_to_where() {
    let registry = Registry::in_memory();
    with_versions(&registry, "a", 2).await;
    let alice = Actor::of(&Principal::new("alice"));
    let refused = registry
        .move_label(
            &alice,
            "a",
            "production",
            Some(Assignment::to(number(1))),
            Change::new(),
        )
        .await
        .unwrap_err();
    assert!(matches!(&refused, RegistryError::Forbidden(scope) if **scope == *SCOPE));
    assert_eq!(Rejection::from(refused).kind(), Kind::Forbidden);
    let staging = registry
        .move_label(
            &alice,
            "a",
            "staging",
            Some(Assignment::to(number(1))),
            Change::new(),
        )
        .await
        .unwrap();
    assert_eq!((&*staging.by, staging.from), ("alice", None));

    let bob = Actor::of(&Principal::new("bob").with_scopes([SCOPE]));
    for to in [1, 2] {
        let change = Change::new().message(format!("to {to}"));
        let to = Some(Assignment::to(number(to)));
        registry
            .move_label(&bob, "a", "production", to, change)
            .await
            .unwrap();
    }
    let late = Change::new().from(Some(Assignment::to(number(1))));
    let late = registry
        .move_label(&bob, "a", "production", None, late)
        .await
        .unwrap_err();
    assert!(matches!(late, RegistryError::Elsewhere(Some(there)) if there.main() == number(2)));
    registry
        .move_label(&bob, "a", "production", None, Change::new())
        .await
        .unwrap();
    assert!(registry.by_label::<str>("a", "production", None).is_none());

    let history = registry
        .label_history("a", Some("production"), None, 10)
        .await
        .unwrap();
    let told: Vec<_> = history
        .iter()
        .map(|made| {
            let at = |at: &Option<Assignment>| at.as_ref().map(|at| at.main().get());
            let moved = &made.moved;
            (
                &*moved.by,
                at(&moved.from),
                at(&moved.to),
                moved.message.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("bob", Some(2), None, None),
            ("bob", Some(1), Some(2), Some("to 2")),
            ("bob", None, Some(1), Some("to 1")),
        ]
    );
    assert_eq!(
        registry
            .label_history("a", None, None, 10)
            .await
            .unwrap()
            .len(),
        4
    );
    let older = registry
        .label_history("a", None, Some(history[1].revision), 10)
        .await
        .unwrap();
    assert_eq!(older.len(), 2);
}

#[test]
fn a_label_points_at_shares_that_are_a_whole() {
    for wrong in [
        json!([]),
        json!([{"version": 1, "weight": 9_999}]),
        json!([{"version": 1, "weight": 5_000}, {"version": 1, "weight": 5_000}]),
        json!([{"version": 0, "weight": 10_000}]),
        json!([{"version": 1, "weight": 10_001}]),
        json!([{"version": 1, "weight": 10_000, "more": 1}]),
        json!(0),
        json!("1"),
        json!({"version": 1}),
    ] {
        assert!(Assignment::from_json(&wrong).is_err(), "{wrong}");
    }
    let several = json!([{"version": 1, "weight": 9_500}, {"version": 2, "weight": 500}]);
    for good in [json!(3), several] {
        assert_eq!(Assignment::from_json(&good).unwrap().to_json(), good);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_moves_a_label_that_others_move_gets_through() {
    let store = Watched::default();
    let registry = Registry::open(store.clone()).await.unwrap();
    with_versions(&registry, "a", 1).await;
    store.races.store(200, Ordering::Relaxed);
    point(&registry, "staging", Assignment::to(number(1))).await;
    assert_eq!(store.races.load(Ordering::Relaxed), 0);
    assert!(registry.by_label::<str>("a", "staging", None).is_some());
    // If ever.
    store.races.store(usize::MAX, Ordering::Relaxed);
    let moved = async |change| {
        let at = Instant::now();
        let to = Some(Assignment::to(number(1)));
        let moved = registry.move_label(&code(), "a", "x", to, change).await;
        assert!(matches!(moved, Err(RegistryError::Elsewhere(None))));
        at.elapsed()
    };
    let (least, most) = (Duration::from_secs(5), Duration::from_secs(6));
    assert!((least..most).contains(&moved(Change::new()).await));
    // Who says from where is told at once.
    assert!(moved(Change::new().from(None)).await < Duration::from_millis(10));
}
