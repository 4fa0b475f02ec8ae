//! What every store of keys keeps to, asked of each of them.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};
use tower_gateway::{
    auth::stored::{FileKeys, Grant, KeyFilter, KeyStore, MemoryKeys, Standing, StoredKey},
    storage::Failure,
};

type Store = Arc<dyn KeyStore>;

/// A file that is nobody else's, in a folder that is removed when the test program ran last before.
pub(super) fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("keys");
    let folder = folder.join(format!("{}-{next}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

async fn memory() -> Option<Store> {
    Some(Arc::new(MemoryKeys::new()))
}

async fn file() -> Option<Store> {
    Some(Arc::new(FileKeys::open(scratch("keys.json")).unwrap()))
}

#[cfg(feature = "sqlite")]
async fn sqlite() -> Option<Store> {
    let url = format!("sqlite:{}", scratch("keys.db").display());
    Some(tower_gateway::store::keys(&url).await.unwrap())
}

#[cfg(feature = "sqlite")]
async fn sqlite_in_memory() -> Option<Store> {
    Some(tower_gateway::store::keys("sqlite::memory:").await.unwrap())
}

#[cfg(feature = "postgres")]
async fn postgres() -> Option<Store> {
    let url = crate::services::postgres()?.database();
    Some(tower_gateway::store::keys(&url).await.unwrap())
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
    a_key_is_found_as_it_was_added
    an_id_is_added_once
    a_key_is_replaced_once_however_many_try
    what_is_over_is_not_replaced
    a_replaced_key_ends_with_the_overlap_or_before
    a_replacement_that_cannot_be_added_changes_nothing
    a_key_is_revoked_as_of_the_first_time
    uses_never_move_back
    pages_come_in_the_order_of_bytes
    whatever_is_asked_for_is_only_text
    many_writers_lose_nothing
}

const NOW: u64 = 1_800_000_000_000;

fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(NOW + millis)
}

/// A key as a store of one's own would read it, with more fields in JSON.
fn key(id: &str, more: &str) -> StoredKey {
    let digest = "5a".repeat(32);
    let json = format!(
        r#"{{"id":{id:?},"digest":"{digest}","pepper":7,"owner":"alice","created_at":{NOW}{more}}}"#
    );
    StoredKey::from_json(&json).unwrap()
}

async fn found(store: &Store, id: &str) -> StoredKey {
    store.find(id).await.unwrap().unwrap()
}

async fn a_key_is_found_as_it_was_added(store: Store) {
    let full = key(
        "full",
        r#","team":"röd","tenant":"a'c\"me","granted":{"name":"naïve % _ \\ 名","scopes":["b","a"],
        "models":["fast"],"routes":[],"limits":[{"name":"per-minute","units":600,"burst":20,
        "period_ms":60000}]},"not_before":1800000000001,"expires_at":1800000005000,
        "revoked_at":1800000004000,"last_used_at":1800000003999,"replaced_by":"other""#,
    );
    let bare = key("bare", "");
    for key in [&full, &bare] {
        store.insert(key.clone()).await.unwrap();
    }
    assert_eq!(found(&store, "full").await, full);
    assert_eq!(found(&store, "bare").await, bare);
    assert_eq!(store.find("Full").await.unwrap(), None);
    assert_eq!(store.find("").await.unwrap(), None);
    assert_eq!(store.list(&KeyFilter::new()).await.unwrap(), [bare, full]);
}

async fn an_id_is_added_once(store: Store) {
    let first = key("a", "");
    store.insert(first.clone()).await.unwrap();
    let error = store
        .insert(key("a", r#","team":"red""#))
        .await
        .unwrap_err();
    assert_eq!(error.failure(), Failure::Conflict);
    assert_eq!(found(&store, "a").await, first);
}

async fn a_key_is_replaced_once_however_many_try(store: Store) {
    store.insert(key("old", "")).await.unwrap();
    let tries = (0..8).map(|nth| {
        let store = store.clone();
        tokio::spawn(async move {
            let successor = key(&format!("new-{nth}"), "");
            store.replace("old", at(10), successor).await.unwrap()
        })
    });
    let tries: Vec<_> = tries.collect();
    let mut replaced = Vec::new();
    for (nth, one) in tries.into_iter().enumerate() {
        if one.await.unwrap() {
            replaced.push(format!("new-{nth}"));
        }
    }
    assert_eq!(replaced.len(), 1, "{replaced:?}");
    let old = found(&store, "old").await;
    assert_eq!(old.replaced_by().map(|id| &**id), Some(&*replaced[0]));
    let all = store.list(&KeyFilter::new()).await.unwrap();
    let ids: Vec<_> = all.iter().map(|key| &**key.id()).collect();
    assert_eq!(ids, [&*replaced[0], "old"]);
}

async fn what_is_over_is_not_replaced(store: Store) {
    for (id, more) in [
        ("expired", r#","expires_at":1800000000000"#),
        ("revoked", r#","revoked_at":1800000000000"#),
        // By a machine whose clock is ahead: it is over all the same.
        ("ahead", r#","revoked_at":1800000009000"#),
        ("replaced", r#","replaced_by":"another""#),
    ] {
        let key_before = key(id, more);
        store.insert(key_before.clone()).await.unwrap();
        let successor = key(&format!("{id}-2"), "");
        assert!(!store.replace(id, at(10), successor).await.unwrap(), "{id}");
        assert_eq!(found(&store, id).await, key_before);
        assert_eq!(store.find(&format!("{id}-2")).await.unwrap(), None);
    }
    assert!(!store.replace("nobody", at(10), key("x", "")).await.unwrap());
    let early = key("early", r#","not_before":1800000009000"#);
    store.insert(early).await.unwrap();
    assert!(store.replace("early", at(10), key("y", "")).await.unwrap());
}

async fn a_replaced_key_ends_with_the_overlap_or_before(store: Store) {
    for (id, more, end) in [
        ("endless", "", 1000),
        ("later", r#","expires_at":1800000005000"#, 1000),
        ("sooner", r#","expires_at":1800000000500"#, 500),
    ] {
        store.insert(key(id, more)).await.unwrap();
        let successor = key(&format!("{id}-2"), "");
        assert!(
            store
                .replace(id, at(1000), successor.clone())
                .await
                .unwrap()
        );
        let old = found(&store, id).await;
        assert_eq!(old.grant().expires_at, Some(at(end)), "{id}");
        assert_eq!(old.standing(at(end - 1)), Standing::Good);
        assert_eq!(old.standing(at(end)), Standing::Expired);
        assert_eq!(old.replaced_by(), Some(successor.id()));
        assert_eq!(found(&store, successor.id()).await, successor);
    }
}

async fn a_replacement_that_cannot_be_added_changes_nothing(store: Store) {
    let (old, there) = (key("old", ""), key("there", ""));
    store.insert(old.clone()).await.unwrap();
    store.insert(there.clone()).await.unwrap();
    for taken in ["there", "old"] {
        let error = store
            .replace("old", at(10), key(taken, ""))
            .await
            .unwrap_err();
        assert_eq!(error.failure(), Failure::Conflict, "{taken}");
        assert_eq!(found(&store, "old").await, old);
        assert_eq!(found(&store, "there").await, there);
    }
}

async fn a_key_is_revoked_as_of_the_first_time(store: Store) {
    store.insert(key("a", "")).await.unwrap();
    assert!(!store.revoke("b", at(1)).await.unwrap());
    assert!(store.revoke("a", at(1)).await.unwrap());
    assert!(store.revoke("a", at(2)).await.unwrap());
    let key = found(&store, "a").await;
    assert_eq!(key.revoked_at(), Some(at(1)));
    assert_eq!(key.standing(at(1)), Standing::Revoked);
}

async fn uses_never_move_back(store: Store) {
    for id in ["a", "b", "c"] {
        store.insert(key(id, "")).await.unwrap();
    }
    let uses = |uses: &[(&str, u64)]| -> Vec<(Arc<str>, SystemTime)> {
        let uses = uses.iter().map(|(id, time)| (Arc::from(*id), at(*time)));
        uses.collect()
    };
    store.used(&[]).await.unwrap();
    store
        .used(&uses(&[("a", 5), ("b", 6), ("nobody", 7)]))
        .await
        .unwrap();
    store.used(&uses(&[("a", 4), ("b", 8)])).await.unwrap();
    for (id, time) in [("a", Some(5)), ("b", Some(8)), ("c", None)] {
        assert_eq!(found(&store, id).await.last_used_at(), time.map(at), "{id}");
    }
    assert_eq!(store.find("nobody").await.unwrap(), None);
}

async fn pages_come_in_the_order_of_bytes(store: Store) {
    let ids = ["A", "Z", "_", "a", "b-1", "b1", "zz", "é"];
    for id in ids.iter().rev() {
        let tenant = if *id < "b" { "acme" } else { "other" };
        let more = format!(r#","tenant":"{tenant}","team":"red""#);
        store.insert(key(id, &more)).await.unwrap();
    }
    let list = async |filter: KeyFilter| -> Vec<String> {
        let keys = store.list(&filter).await.unwrap();
        keys.iter().map(|key| key.id().to_string()).collect()
    };
    assert_eq!(list(KeyFilter::new()).await, ids);
    let mut paged = Vec::new();
    let mut filter = KeyFilter::new().limit(3);
    loop {
        let page = list(filter.clone()).await;
        let Some(last) = page.last() else { break };
        filter = filter.after(last.as_str());
        paged.extend(page);
    }
    assert_eq!(paged, ids);
    assert_eq!(
        list(KeyFilter::new().tenant("acme")).await,
        ["A", "Z", "_", "a"]
    );
    assert_eq!(
        list(KeyFilter::new().tenant("acme").after("Z")).await,
        ["_", "a"]
    );
    assert_eq!(
        list(KeyFilter::new().owner("alice").team("red"))
            .await
            .len(),
        8
    );
    assert!(list(KeyFilter::new().owner("bob")).await.is_empty());
    assert!(list(KeyFilter::new().team("blue")).await.is_empty());
    assert!(list(KeyFilter::new().limit(0)).await.is_empty());
}

async fn whatever_is_asked_for_is_only_text(store: Store) {
    store.insert(key("a", "")).await.unwrap();
    let odd = [
        "' OR '1'='1",
        "a'; DROP TABLE gateway_api_keys; --",
        "%",
        "_",
        "$1",
        "a\\",
    ];
    for id in odd {
        assert_eq!(store.find(id).await.unwrap(), None, "{id}");
        assert!(!store.revoke(id, at(0)).await.unwrap());
        for filter in [
            KeyFilter::new().owner(id),
            KeyFilter::new().team(id),
            KeyFilter::new().tenant(id),
        ] {
            assert!(store.list(&filter).await.unwrap().is_empty(), "{id}");
        }
    }
    for id in odd {
        store.insert(key(id, "")).await.unwrap();
        assert_eq!(found(&store, id).await, key(id, ""));
    }
    assert_eq!(store.list(&KeyFilter::new()).await.unwrap().len(), 7);
}

async fn many_writers_lose_nothing(store: Store) {
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for nth in 0..8 {
                let id = format!("{writer}-{nth}");
                store.insert(key(&id, "")).await.unwrap();
                match nth % 3 {
                    0 => assert!(store.revoke(&id, at(1)).await.unwrap()),
                    1 => {
                        let successor = key(&format!("{id}-2"), "");
                        assert!(store.replace(&id, at(5), successor).await.unwrap());
                    }
                    _ => store.used(&[(id.into(), at(2))]).await.unwrap(),
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let keys = store.list(&KeyFilter::new().limit(1000)).await.unwrap();
    let ids: HashSet<_> = keys.iter().map(|key| key.id()).collect();
    assert_eq!((keys.len(), ids.len()), (88, 88));
    let revoked = keys.iter().filter(|key| key.revoked_at().is_some());
    let replaced = keys.iter().filter(|key| key.replaced_by().is_some());
    let used = keys.iter().filter(|key| key.last_used_at().is_some());
    assert_eq!(
        (revoked.count(), replaced.count(), used.count()),
        (24, 24, 16)
    );
}

#[test]
fn a_grant_that_was_made_by_hand_is_one() {
    assert_eq!(*key("a", "").grant(), Grant::new("alice"));
}
