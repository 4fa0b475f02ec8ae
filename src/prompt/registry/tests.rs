use super::{builder::SCOPE, *};
use crate::{
    Principal, Rejection,
    prompt::{Changes, Export, Import, ImportError, Imported, Partial, Record, Variables},
    rejection::Kind,
    storage::Pending,
};
use proptest::prelude::*;
use serde_json::json;
use std::{
    collections::HashSet,
    future::ready,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn code() -> Actor {
    Actor::code("test")
}

fn says(text: &str) -> Prompt {
    Prompt::new().user(text)
}

fn split(shares: &[(u32, u32)]) -> Assignment {
    Assignment::split(
        shares
            .iter()
            .map(|&(version, weight)| (number(version), weight)),
    )
    .unwrap()
}

async fn with_versions(registry: &Registry, name: &str, versions: u32) {
    for nth in 1..=versions {
        let prompt = says(&format!("version {nth}"));
        let created = registry
            .create(&code(), name, prompt, Change::new())
            .await
            .unwrap();
        assert_eq!(created, Created::New(number(nth)));
    }
}

async fn point(registry: &Registry, label: &str, to: Assignment) -> LabelMove {
    let code = code();
    let moved = registry.move_label(&code, "a", label, Some(to), Change::new());
    moved.await.unwrap()
}

/// Counts what it is asked, and fails when it is told to.
#[derive(Clone, Default)]
struct Watched {
    store: MemoryStore,
    fails: Arc<AtomicBool>,
    bodies: Arc<AtomicUsize>,
}

impl Watched {
    fn or_fail<'a, T: Send + 'a>(&self, answer: Pending<'a, T>) -> Pending<'a, T> {
        if self.fails.load(Ordering::Relaxed) {
            return Box::pin(ready(Err(StoreError::unavailable("down"))));
        }
        answer
    }
}

impl Store for Watched {
    fn create_version(&self, version: NewVersion) -> Pending<'_, Created> {
        self.or_fail(self.store.create_version(version))
    }
    fn import_version(&self, version: VersionRecord) -> Pending<'_, Imported> {
        self.or_fail(self.store.import_version(version))
    }
    fn version<'a>(
        &'a self,
        name: &'a PromptName,
        version: NonZeroU32,
    ) -> Pending<'a, Option<VersionRecord>> {
        self.bodies.fetch_add(1, Ordering::Relaxed);
        self.or_fail(self.store.version(name, version))
    }
    fn versions<'a>(
        &'a self,
        name: &'a PromptName,
        before: Option<NonZeroU32>,
        limit: usize,
    ) -> Pending<'a, Vec<VersionRecord>> {
        self.or_fail(self.store.versions(name, before, limit))
    }
    fn head<'a>(&'a self, name: &'a PromptName) -> Pending<'a, Option<PromptHead>> {
        self.or_fail(self.store.head(name))
    }
    fn heads<'a>(
        &'a self,
        after: Option<&'a PromptName>,
        limit: usize,
    ) -> Pending<'a, Vec<PromptHead>> {
        self.or_fail(self.store.heads(after, limit))
    }
    fn move_label(&self, change: LabelMove) -> Pending<'_, Moved> {
        self.or_fail(self.store.move_label(change))
    }
    fn label_history<'a>(
        &'a self,
        name: &'a PromptName,
        label: Option<&'a LabelName>,
        before: Option<u64>,
        limit: usize,
    ) -> Pending<'a, Vec<RecordedMove>> {
        self.or_fail(self.store.label_history(name, label, before, limit))
    }
    fn changes_since(&self, revision: u64, limit: usize) -> Pending<'_, Changes> {
        self.or_fail(self.store.changes_since(revision, limit))
    }
}

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

#[tokio::test(start_paused = true)]
async fn another_registry_sees_a_moved_label_within_two_seconds() {
    let store = MemoryStore::new();
    let one = Registry::open(store.clone()).await.unwrap();
    let other = Registry::open(store).await.unwrap();
    with_versions(&one, "a", 2).await;
    point(&one, "production", Assignment::to(number(1))).await;
    assert!(other.head("a").is_none());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let found = other.by_label::<str>("a", "production", None).unwrap();
    assert_eq!(found.version.number(), number(1));
    point(&one, "production", Assignment::to(number(2))).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
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
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(registry.by_label::<str>("a", LATEST, None).is_some());
    assert_eq!(registry.problems(), ["the store is not available"]);
    let failed = registry
        .create(&code(), "a", says("new"), Change::new())
        .await
        .unwrap_err();
    assert_eq!(Rejection::from(failed).kind(), Kind::PromptsUnavailable);
    assert!(Registry::open(store.clone()).await.is_err());
    store.fails.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(registry.problems().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_registry() {
    let store = Arc::new(MemoryStore::new());
    let registry = Registry::open(store.clone()).await.unwrap();
    let clone = registry.clone();
    drop(registry);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(Arc::strong_count(&store), 2);
    drop(clone);
    tokio::task::yield_now().await;
    assert_eq!(Arc::strong_count(&store), 1);
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
async fn results_are_asked_for_by_name() {
    let registry = Registry::in_memory();
    with_versions(&registry, "a", 1).await;
    let found = registry.by_label::<str>("a", LATEST, None).unwrap();
    registry.record(&found, Outcome::new(Duration::from_millis(20)));
    registry.score("a", number(1), "helpful", 0.5).unwrap();
    assert!(registry.score("a", number(2), "helpful", 0.5).is_err());
    assert!(registry.score("a", number(1), "helpful", f64::NAN).is_err());
    let results = registry.results("a");
    assert_eq!((results[0].calls, results[0].scores[0].mean), (1, 0.5));
    assert!(registry.results("b").is_empty());
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
