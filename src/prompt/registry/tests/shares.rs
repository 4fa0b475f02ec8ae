//! Who gets which version.

use super::*;
use proptest::prelude::*;

#[tokio::test]
async fn shares_are_those_that_were_set_and_whoever_has_one_keeps_it() {
    let registry = Registry::in_memory();
    with_versions(&registry, "a", 3).await;
    let versions = || -> Vec<u32> {
        let of = |key: u32| {
            let found = registry.by_label("a", "production", Some(&key)).unwrap();
            assert!(found.is_split);
            found.version.number().get()
        };
        (0..100_000).map(of).collect()
    };
    let share = |all: &[u32], version| all.iter().filter(|&&of| of == version).count() as f64 / 1e5;
    point(&registry, "production", split(&[(1, 9_500), (2, 500)])).await;
    let five = versions();
    assert!((share(&five, 2) - 0.05).abs() < 0.01);
    // In another order: it is the versions that count.
    point(&registry, "production", split(&[(2, 1_000), (1, 9_000)])).await;
    let ten = versions();
    assert!((share(&ten, 2) - 0.10).abs() < 0.01);
    assert!(
        five.iter()
            .zip(&ten)
            .all(|(&before, &after)| before != 2 || after == 2)
    );
    point(
        &registry,
        "production",
        split(&[(1, 5_000), (2, 2_500), (3, 2_500)]),
    )
    .await;
    let three = versions();
    for (version, wanted) in [(1, 0.5), (2, 0.25), (3, 0.25)] {
        assert!((share(&three, version) - wanted).abs() < 0.01);
    }
    assert!(
        ten.iter()
            .zip(&three)
            .all(|(&before, &after)| before != 2 || after == 2)
    );
    // The baseline goes, and the others share what it had.
    let ends = split(&[(1, 0), (2, 5_000), (3, 5_000)]);
    point(&registry, "production", ends).await;
    let two = versions();
    assert!(
        three
            .iter()
            .zip(&two)
            .all(|(&before, &after)| before == 1 || before == after)
    );
    // Another label is another experiment.
    point(&registry, "staging", split(&[(1, 5_000), (2, 5_000)])).await;
    let alike = (0..10_000_u32).filter(|key| {
        let of = |label| {
            registry
                .by_label("a", label, Some(key))
                .unwrap()
                .version
                .number()
        };
        (of("production") == number(1)) == (of("staging") == number(1))
    });
    assert!((4_500..5_500).contains(&alike.count()));
    let without: HashSet<_> = (0..200)
        .map(|_| {
            registry
                .by_label::<str>("a", "production", None)
                .unwrap()
                .version
                .number()
        })
        .collect();
    assert_eq!(without.len(), 2, "without a key any");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whoever_grows_moves_nobody_out(small in 0_u32..=10_000, large in 0_u32..=10_000, keys in prop::collection::vec(".{0,12}", 1..200)) {
        let (small, large) = (small.min(large), small.max(large));
        let registry = Registry::in_memory();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(with_versions(&registry, "a", 2));
        let with = |weight: u32| -> Vec<bool> {
            let to = split(&[(1, 10_000 - weight), (2, weight)]);
            runtime.block_on(point(&registry, "production", to));
            let is_new = |key: &String| {
                let found = registry.by_label("a", "production", Some(key.as_str())).unwrap();
                found.version.number() == number(2)
            };
            keys.iter().map(is_new).collect()
        };
        let (before, after) = (with(small), with(large));
        prop_assert!(before.iter().zip(&after).all(|(before, after)| !before || *after));
        prop_assert_eq!(after, with(large));
    }
}
