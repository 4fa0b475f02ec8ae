//! Eight processes over one store, and such that are killed.

use super::{Store, label, moves, name, number, says, urls};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};
use tower_gateway::{
    prompt::{Assignment, Created, Moved},
    store,
};

const URL: &str = "TOWER_GATEWAY_TEST_PROMPTS";
const WRITER: &str = "TOWER_GATEWAY_TEST_WRITER";

/// Another process of this program, which runs [`a_writer_sees_what_it_has_written`].
fn process(url: &str, writer: &str) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([
        "--exact",
        "prompt_stores::processes::a_writer_sees_what_it_has_written",
        "--nocapture",
    ]);
    command.env(URL, url).env(WRITER, writer);
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.spawn().unwrap()
}

/// What a process has told of, a line each.
fn told(child: &mut Child) -> Vec<String> {
    let out = BufReader::new(child.stdout.take().unwrap());
    let lines = out.lines().map_while(Result::ok);
    lines.filter(|line| line.starts_with("told ")).collect()
}

/// It tells what the store has said is done. Other tests start it in processes of its own, over one store.
#[test]
fn a_writer_sees_what_it_has_written() {
    let url = env::var(URL).unwrap_or("sqlite::memory:".to_owned());
    let writer = env::var(WRITER).unwrap_or("alone".to_owned());
    // The name of the test may stand before.
    println!();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let store = store::prompts(&url).await.unwrap();
        let rounds = if writer.starts_with("endless") {
            u32::MAX
        } else {
            10
        };
        for nth in 0..rounds {
            write_once(&store, &writer, nth).await;
        }
    });
}

async fn write_once(store: &Store, writer: &str, nth: u32) {
    let shared = name("shared");
    let text = format!("{writer} {nth}");
    let created = store.create_version(says("shared", &text)).await.unwrap();
    let Created::New(version) = created else {
        panic!("{created:?}");
    };
    println!("told version {version} {text}");
    loop {
        let head = store.head(&shared).await.unwrap().unwrap();
        // Whatever is seen is whole.
        let labels = head.labels.values().flat_map(Assignment::shares);
        for seen in labels.map(|share| share.version).chain([head.latest]) {
            let found = store.version(&shared, seen).await.unwrap();
            assert!(found.is_some(), "version {seen} is half there");
        }
        let from = head.labels.get(&label("production")).cloned();
        let change = moves("shared", "production", from, Some(Assignment::to(version)));
        match store.move_label(change).await.unwrap() {
            Moved::Done(revision) => {
                println!("told move {revision} {version}");
                return;
            }
            Moved::Elsewhere(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// All that was told of is there, no number is missing, and each move begins where the one before has ended.
async fn check(store: &Store, told: &[String]) {
    let shared = name("shared");
    let mut versions = BTreeMap::new();
    let mut before = None;
    loop {
        let page = store.versions(&shared, before, 1000).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.version);
        for version in page {
            versions.insert(version.version, version.prompt.messages[0].all_text());
        }
    }
    let count = u32::try_from(versions.len()).unwrap();
    assert!(versions.keys().copied().eq((1..=count).map(number)));
    let texts: BTreeSet<_> = versions.values().collect();
    assert_eq!(texts.len(), versions.len(), "one was made twice");
    let mut history = Vec::new();
    let mut before = None;
    loop {
        let page = store
            .label_history(&shared, None, before, 1000)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.revision);
        history.extend(page);
    }
    let chain = history
        .windows(2)
        .all(|two| two[0].moved.from == two[1].moved.to);
    assert!(chain);
    let head = store.head(&shared).await.unwrap().unwrap();
    assert_eq!(head.latest.get(), count);
    let there = head.labels.get(&label("production"));
    assert_eq!(
        there,
        history.first().and_then(|made| made.moved.to.as_ref())
    );
    let to: Vec<_> = history
        .iter()
        .filter_map(|made| made.moved.to.clone())
        .collect();
    for line in told {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        match words[..] {
            [_, "version", version, text] => {
                let version = number(version.parse().unwrap());
                assert_eq!(versions.get(&version).map(String::as_str), Some(text));
            }
            [_, "move", _, version] => {
                let moved = Assignment::to(number(version.parse().unwrap()));
                assert!(to.contains(&moved), "the move to {version} is lost");
            }
            _ => panic!("{line}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_lose_nothing_and_show_no_half() {
    for url in urls() {
        // They start at once, and make the tables too.
        let writers: Vec<_> = (0..8)
            .map(|nth| process(&url, &format!("w{nth}")))
            .collect();
        let mut all = Vec::new();
        for mut writer in writers {
            all.extend(told(&mut writer));
            assert!(writer.wait().unwrap().success(), "{url}");
        }
        assert_eq!(all.len(), 8 * 10 * 2);
        let store = store::prompts(&url).await.unwrap();
        check(&store, &all).await;
        let head = store.head(&name("shared")).await.unwrap().unwrap();
        assert_eq!(head.latest, number(80));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_of_is_there_whenever_its_writer_is_killed() {
    for url in urls() {
        let mut all = Vec::new();
        for round in 0..8 {
            let mut two = [0, 1].map(|nth| process(&url, &format!("endless-{round}-{nth}")));
            // At another point each time, some of them while the store is opened.
            thread::sleep(Duration::from_millis(20 + 90 * round));
            for writer in &mut two {
                writer.kill().unwrap();
            }
            for writer in &mut two {
                all.extend(told(writer));
                writer.wait().unwrap();
            }
        }
        assert!(all.len() > 8, "that proves nothing: {}", all.len());
        let store = store::prompts(&url).await.unwrap();
        check(&store, &all).await;
        // And whoever comes next can go on.
        write_once(&store, "next", 0).await;
        if let Some(folder) = url.strip_prefix("file:") {
            assert_eq!(store.problems(), Vec::<String>::new());
            assert!(PathBuf::from(folder).join("shared/1.md").exists());
        }
    }
}
