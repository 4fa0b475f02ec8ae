//! Gateways over one store.

use super::{label, name, number, to, urls};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tower_gateway::{
    Principal,
    prompt::{Actor, Assignment, Change, Created, Prompt, Registry, RegistryError},
    store,
};

/// The time of a database cannot be paused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_see_a_moved_label_within_two_seconds() {
    for url in urls() {
        let one = Registry::open(store::prompts(&url).await.unwrap())
            .await
            .unwrap();
        let other = Registry::open(store::prompts(&url).await.unwrap())
            .await
            .unwrap();
        let code = Actor::code("test");
        for text in ["one", "two"] {
            let prompt = Prompt::new().user(text);
            one.create(&code, "a", prompt, Change::new()).await.unwrap();
        }
        for version in [1, 2] {
            let moved = one.move_label(&code, "a", "production", to(version), Change::new());
            moved.await.unwrap();
            let at = Instant::now();
            let sees = |registry: &Registry| {
                let found = registry.by_label::<str>("a", "production", None);
                found.is_some_and(|found| found.version.number() == number(version))
            };
            assert!(sees(&one), "{url}: who has moved it sees it at once");
            while !sees(&other) {
                assert!(at.elapsed() < Duration::from_secs(2), "{url}");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test]
async fn registries_share_protection_conflicts_and_history() {
    for url in urls() {
        let one = Registry::open(store::prompts(&url).await.unwrap())
            .await
            .unwrap();
        let other = Registry::open(store::prompts(&url).await.unwrap())
            .await
            .unwrap();
        let alice = Actor::of(&Principal::new("alice").with_scopes(["prompts:production"]));
        let bob = Actor::of(&Principal::new("bob"));
        let create = async |registry: &Registry, text: &str, change| {
            let prompt = Prompt::new().user(text);
            registry.create(&alice, "a", prompt, change).await
        };
        let created = create(&one, "one", Change::new().message("first"))
            .await
            .unwrap();
        assert_eq!(created, Created::New(number(1)));
        // The other one has not looked since.
        let behind = create(&other, "two", Change::new().after(0)).await;
        assert!(
            matches!(behind, Err(RegistryError::Behind(1))),
            "{behind:?}"
        );
        let created = create(&other, "two", Change::new().after(1)).await.unwrap();
        assert_eq!(created, Created::New(number(2)));
        let refused = other
            .move_label(&bob, "a", "production", to(1), Change::new())
            .await;
        assert!(matches!(refused, Err(RegistryError::Forbidden(_))));
        let moved = one
            .move_label(&alice, "a", "production", to(1), Change::new())
            .await;
        moved.unwrap();
        let seen = Change::new().from(None).message("unseen");
        let elsewhere = other
            .move_label(&alice, "a", "production", to(2), seen)
            .await;
        let Err(RegistryError::Elsewhere(there)) = elsewhere else {
            panic!("{url}: {elsewhere:?}");
        };
        assert_eq!(there, Some(Assignment::to(number(1))));
        let history = other.label_history("a", None, None, 10).await.unwrap();
        assert_eq!((history.len(), &*history[0].moved.by), (1, "alice"));
        assert_eq!(history[0].moved.label, label("production"));
        let versions = other.versions("a", None, 10).await.unwrap();
        assert_eq!(versions[1].message.as_deref(), Some("first"));
        assert_eq!(versions[0].name, name("a"));
        other.refresh().await.unwrap();
        assert_eq!(other.problems(), Vec::<String>::new());
    }
}
