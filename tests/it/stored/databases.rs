//! What databases keep to beside the contract.

use super::contract::scratch;
use std::sync::Arc;
use tower_gateway::{
    auth::stored::{FileKeys, Grant, KeyFilter, KeyLookup as _, KeyStore as _, Keyring, Pepper},
    storage::Failure,
    store,
};

fn pepper() -> Pepper {
    Pepper::new(1, "a secret of the tests, of 32 bytes and more").unwrap()
}

/// What changes a database behind the program's back.
type Change = Box<dyn Fn(&'static str)>;

/// The URL of a new database of each kind.
fn databases() -> Vec<(String, Change)> {
    let mut all: Vec<(String, Change)> = Vec::new();
    #[cfg(feature = "postgres")]
    if let Some(server) = crate::services::postgres() {
        let url = server.database();
        let of = url.clone();
        all.push((url, Box::new(move |sql| server.execute(&of, sql))));
    }
    // Another default of isolation, under which who waits for a lock sees nothing of who held it.
    #[cfg(feature = "postgres")]
    if let Some(server) = crate::services::postgres() {
        let url = server.database();
        let strict = "options[default_transaction_isolation]=repeatable%20read";
        all.push((format!("{url}?{strict}"), Box::new(|_| {})));
    }
    #[cfg(feature = "sqlite")]
    {
        let file = scratch("keys.db");
        let url = format!("sqlite:{}", file.display());
        all.push((url, Box::new(|_| {})));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_start_at_once_make_the_tables_once() {
    for (url, _) in databases() {
        let url: Arc<str> = url.into();
        let start = Arc::new(tokio::sync::Barrier::new(8));
        let starts = (0..8).map(|nth| {
            let (url, start) = (url.clone(), start.clone());
            tokio::spawn(async move {
                start.wait().await;
                let keyring = Keyring::new(store::keys(&url).await.unwrap(), pepper());
                keyring.issue(Grant::new(format!("{nth}"))).await.unwrap();
            })
        });
        let starts: Vec<_> = starts.collect();
        for one in starts {
            one.await.unwrap();
        }
        let store = store::keys(&url).await.unwrap();
        assert_eq!(store.list(&KeyFilter::new()).await.unwrap().len(), 8);
    }
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn tables_of_a_newer_program_are_left_alone() {
    for (url, change) in databases()
        .into_iter()
        .filter(|(url, _)| url.starts_with("postgres") && !url.contains('?'))
    {
        store::keys(&url).await.unwrap();
        change("INSERT INTO gateway_schema VALUES (999, 'of tomorrow', 0)");
        let Err(error) = store::keys(&url).await else {
            panic!("it was opened");
        };
        assert_eq!(error.failure(), Failure::Newer);
        assert!(error.to_string().contains("version 999"), "{error}");
    }
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn the_right_to_read_and_write_will_do_where_the_tables_are_there() {
    for (url, change) in databases()
        .into_iter()
        .filter(|(url, _)| url.starts_with("postgres") && !url.contains('?'))
    {
        store::keys(&url).await.unwrap();
        change(
            "DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
             REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
             GRANT SELECT ON gateway_api_keys, gateway_schema TO reader",
        );
        let url = url.replace("postgres:canary@", "reader@");
        let store = store::keys(&url).await.unwrap();
        assert_eq!(store.find("nobody").await.unwrap(), None);
        let issued = Keyring::new(store, pepper())
            .issue(Grant::new("alice"))
            .await;
        assert_eq!(issued.unwrap_err().failure(), Failure::Unavailable);
    }
}

#[tokio::test]
async fn abuse_51_no_error_and_nothing_printed_shows_the_url() {
    for url in [
        "postgres://user:canary@127.0.0.1:1/canary",
        "postgres://user:canary@127.0.0.1:port/canary",
        "postgres://user:canary@[::canary/canary",
        "sqlite:/canary/canary.db?mode=canary",
        "sqlite:/proc/nowhere/keys.db",
        "canary://user:canary@host",
        "canary",
        "",
    ] {
        let Err(error) = store::keys(url).await else {
            panic!("it was opened");
        };
        let text = format!("{error} {error:?}");
        assert!(!text.contains("canary"), "{url}: {text}");
    }
    #[cfg(feature = "postgres")]
    if let Some(server) = crate::services::postgres() {
        let store = store::PostgresStore::connect(&server.database())
            .await
            .unwrap();
        let text = format!("{store:?}");
        assert!(
            !text.contains("canary") && text.contains("connections"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_change_to_the_file_by_another_process_is_seen_at_once() {
    let path = scratch("keys.json");
    let (one, other) = (
        FileKeys::open(&path).unwrap(),
        FileKeys::open(&path).unwrap(),
    );
    let keyring = Keyring::new(Arc::new(one), pepper());
    for _ in 0..3 {
        let (key, _) = keyring.issue(Grant::new("alice")).await.unwrap();
        assert_eq!(other.find(key.id()).await.unwrap(), Some(key));
    }
    std::fs::write(&path, "{").unwrap();
    let torn = other.list(&KeyFilter::new()).await.unwrap_err();
    assert_eq!(torn.failure(), Failure::Corrupt);
    std::fs::write(&path, r#"{"version": 2, "keys": []}"#).unwrap();
    let newer = other.list(&KeyFilter::new()).await.unwrap_err();
    assert_eq!(newer.failure(), Failure::Newer);
    std::fs::remove_file(&path).unwrap();
    assert!(other.list(&KeyFilter::new()).await.unwrap().is_empty());
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_for_its_owner_alone_and_no_draft_is_left() {
    use std::os::unix::fs::PermissionsExt as _;

    let path = scratch("keys.json");
    let keyring = Keyring::new(Arc::new(FileKeys::open(&path).unwrap()), pepper());
    let (_, secret) = keyring.issue(Grant::new("alice")).await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(&secret.expose()[..secret.expose().len() - 6]));
    let folder = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let mut names: Vec<_> = folder.map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["keys.json", "keys.json.lock"]);
    #[cfg(feature = "sqlite")]
    {
        let path = scratch("keys.db");
        let store = store::keys(&format!("sqlite:{}", path.display()))
            .await
            .unwrap();
        Keyring::new(store, pepper())
            .issue(Grant::new("alice"))
            .await
            .unwrap();
        for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
