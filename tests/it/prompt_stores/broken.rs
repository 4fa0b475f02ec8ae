//! Databases with a row that cannot be read, and with a machine that is gone.

use super::{label, moves, name, number, says, to};
use tower_gateway::{
    prompt::{Created, Moved, Registry, Store},
    storage::Failure,
    store,
};

/// Creates three prompts, breaks the second by this, and wants the others followed.
async fn one_row_hides_no_other(url: &str, execute: impl AsyncFn(&'static str)) {
    let store = store::prompts(url).await.unwrap();
    for prompt in ["a", "b", "c"] {
        store.create_version(says(prompt, "one")).await.unwrap();
    }
    let follower = Registry::open(store::prompts(url).await.unwrap());
    let follower = follower.await.unwrap();
    let newer = "UPDATE gateway_prompts SET labels = '{\"x\": {\"newer\": 1}}', revision = 4 WHERE name = 'b'";
    execute(newer).await;
    execute("UPDATE gateway_prompt_revision SET revision = 4").await;
    let moved = moves("c", "production", None, to(1));
    assert_eq!(store.move_label(moved).await.unwrap(), Moved::Done(5));
    let opened = Registry::open(store::prompts(url).await.unwrap());
    for (registry, prompts) in [(&follower, 3), (&opened.await.unwrap(), 2)] {
        registry.refresh().await.unwrap();
        assert!(registry.by_label::<str>("c", "production", None).is_some());
        assert_eq!(registry.heads(None, 9).len(), prompts);
        let told = registry.problems();
        assert_eq!(told, ["the labels of prompt b cannot be read"]);
    }
    // Page by page, too.
    let page = store.changes_since(1, 1).await.unwrap();
    assert_eq!((page.heads.len(), page.revision, page.more), (0, 4, true));
    let page = store.changes_since(4, 1).await.unwrap();
    assert_eq!((page.heads.len(), page.revision, page.more), (1, 5, false));
    let head = store.head(&name("b")).await.unwrap_err();
    assert_eq!(head.failure(), Failure::Corrupt);
    // Who mends it is seen.
    execute("UPDATE gateway_prompts SET labels = '{}', revision = 6 WHERE name = 'b'").await;
    execute("UPDATE gateway_prompt_revision SET revision = 6").await;
    follower.refresh().await.unwrap();
    assert_eq!(follower.problems(), [""; 0]);
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_row_that_cannot_be_read_hides_no_other_in_sqlite() {
    let url = format!("sqlite:{}", super::scratch().join("prompts.db").display());
    let pool = sqlx::SqlitePool::connect_lazy(&url).unwrap();
    let execute = async |sql: &'static str| {
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    };
    one_row_hides_no_other(&url, execute).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_be_read_hides_no_other_in_postgres() {
    let Some(server) = crate::services::postgres() else {
        return;
    };
    let url = server.database();
    let execute = async |sql: &'static str| server.execute(&url, sql);
    one_row_hides_no_other(&url, execute).await;
}

/// The URL of a database, and on the way to it machines that vanish when they are told that they changed a row.
#[cfg(feature = "postgres")]
async fn vanishing(url: &str) -> String {
    use tokio::net::{TcpListener, TcpStream};

    let (before, after) = url.rsplit_once('@').unwrap();
    let (server, database) = after.split_once('/').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = server.to_owned();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(vanish(near, far));
        }
    });
    format!("{before}@{address}/{database}")
}

#[cfg(feature = "postgres")]
async fn vanish(near: tokio::net::TcpStream, far: tokio::net::TcpStream) {
    use std::future::pending;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};

    let ((mut asks, mut hears), (mut answers, mut is_asked)) =
        (near.into_split(), far.into_split());
    let gone = tokio::sync::Notify::new();
    let asking = async {
        tokio::select! {
            _ = copy(&mut asks, &mut is_asked) => {}
            () = gone.notified() => pending().await,
        }
        let _ = is_asked.shutdown().await;
    };
    let answering = async {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(read @ 1..) = answers.read(&mut bytes).await {
            if bytes[..read].windows(8).any(|word| word == b"UPDATE 1") {
                // The sockets stay open, and nothing goes through.
                gone.notify_one();
                pending::<()>().await;
            }
            let _ = hears.write_all(&bytes[..read]).await;
        }
    };
    tokio::join!(asking, answering);
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_gone_in_the_middle_holds_nobody_up_for_long() {
    use std::time::Duration;
    use tower_gateway::store::{Pool, PostgresStore};

    let Some(server) = crate::services::postgres() else {
        return;
    };
    let url = server.database();
    let store = store::prompts(&url).await.unwrap();
    store.create_version(says("a", "one")).await.unwrap();
    let short = Pool::new().statement_timeout(Duration::from_secs(1));
    let through = vanishing(&url).await;
    let gone = PostgresStore::connect_with(&through, short).await.unwrap();
    let change = moves("a", "production", None, to(1));
    let refused = gone.move_label(change.clone()).await.unwrap_err();
    assert_eq!(refused.failure(), Failure::TimedOut);
    let created = store.create_version(says("a", "two")).await.unwrap();
    assert_eq!(created, Created::New(number(2)));
    assert_eq!(store.move_label(change).await.unwrap(), Moved::Done(3));
    let head = store.head(&name("a")).await.unwrap().unwrap();
    assert_eq!(head.labels.get(&label("production")), to(1).as_ref());
}
