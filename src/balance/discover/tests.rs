use super::*;
use crate::BoxError;
use crate::balance::Strategy;
use futures_util::{StreamExt, stream};
use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::{advance, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// A folder that is gone in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower-gateway-endpoints-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn names<S>(endpoints: &Endpoints<S>) -> Vec<String> {
    let statuses = endpoints.statuses().into_iter();
    statuses
        .map(|one| format!("{}*{}", one.name, one.weight))
        .collect()
}

async fn pass(seconds: u32) {
    for _ in 0..seconds {
        advance(SECOND).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_when_it_changes_and_the_last_good_one_stays() {
    let folder = Folder::new();
    let path = folder.0.join("endpoints");
    let endpoints = Endpoints::<()>::new(Strategy::RoundRobin);
    let feed = tokio::spawn(endpoints.feed(File::new(&path), |_| ()));
    pass(1).await;
    assert!(endpoints.is_empty(), "there is no file");
    fs::write(
        &path,
        "a\nb weight=2 priority=1 # the second\n\n# no more\n",
    )
    .unwrap();
    pass(5).await;
    assert_eq!(names(&endpoints), ["a*1", "b*2"]);
    assert_eq!(endpoints.status("b").unwrap().priority, 1);
    for bad in ["a weight=x\nc", "", "# nobody\n", "a\na\n", "a\0 b c\n"] {
        fs::write(&path, bad).unwrap();
        pass(6).await;
        assert_eq!(names(&endpoints), ["a*1", "b*2"], "{bad:?}");
    }
    fs::remove_file(&path).unwrap();
    pass(6).await;
    assert_eq!(names(&endpoints), ["a*1", "b*2"]);
    fs::write(folder.0.join("new"), "c weight=7").unwrap();
    fs::rename(folder.0.join("new"), &path).unwrap();
    pass(6).await;
    assert_eq!(names(&endpoints), ["c*7"]);
    fs::write(&path, "x".repeat(2 << 20)).unwrap();
    pass(6).await;
    assert_eq!(names(&endpoints), ["c*7"], "too large");
    drop(endpoints);
    timeout(SECOND, feed).await.unwrap().unwrap();
}

#[test]
fn a_line_that_is_none_is_named() {
    let error = |text| parse(text).unwrap_err().to_string();
    assert_eq!(
        error("a\n\nb heavy"),
        "line 3: only `weight=` and `priority=` may follow a name"
    );
    assert_eq!(
        error("a priority=16"),
        "line 1: the priority is not from 0 to 15"
    );
    assert_eq!(error("a weight=-1"), "line 1: the weight is no number");
    assert_eq!(error("weight=1"), "line 1: there is no name");
    assert_eq!(error("a\na"), "line 2: the name was there before");
    assert_eq!(parse("a#b\r\n c weight=0").unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_file_may_be_in_another_form() {
    let folder = Folder::new();
    let path = folder.0.join("endpoints.json");
    fs::write(&path, r#"["a", "b"]"#).unwrap();
    let file = File::new(&path).parser(|text| {
        let names: Vec<String> = serde_json::from_str(text)?;
        Ok(names.into_iter().map(Endpoint::new).collect())
    });
    let set = Box::pin(file).next().await.unwrap();
    assert_eq!(set, [Endpoint::new("a"), Endpoint::new("b")]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_read_again_though_it_is_the_same() {
    let folder = Folder::new();
    let path = folder.0.join("endpoints");
    fs::write(&path, "a").unwrap();
    let reads = Arc::new(AtomicU32::new(0));
    let counted = reads.clone();
    let file = File::new(&path).parser(move |text| match counted.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Err("not now".into()),
        _ => Ok(parse(text)?),
    });
    let endpoints = Endpoints::<()>::new(Strategy::RoundRobin);
    let _feed = tokio::spawn(endpoints.feed(file, |_| ()));
    pass(6).await;
    assert!(endpoints.is_empty());
    pass(5).await;
    assert_eq!(names(&endpoints), ["a*1"]);
    pass(20).await;
    assert_eq!(reads.load(Ordering::Relaxed), 3, "then it is known");
    // The longest interval is one.
    let file = File::new(&path).interval(Duration::MAX);
    assert_eq!(Box::pin(file).next().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_stream_of_sets_is_followed_to_its_end() {
    let endpoints = Endpoints::<u32>::new(Strategy::RoundRobin);
    let sets = stream::iter([vec!["a", "b"], vec!["b", "c"]]);
    let sets = sets.map(|set| set.into_iter().map(Endpoint::new).collect::<Vec<_>>());
    let mut made = 0;
    let feed = endpoints.feed(sets, move |_| {
        made += 1;
        made
    });
    feed.await;
    assert_eq!(names(&endpoints), ["b*1", "c*1"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_looked_up_is_believed_as_long_as_it_says_within_bounds() {
    type Told = Result<(Vec<&'static str>, u64), &'static str>;
    let told: Arc<Mutex<Told>> = Arc::new(Mutex::new(Ok((vec!["b", "a", "a"], 60))));
    let asked = Arc::new(AtomicU32::new(0));
    let lookups = {
        let (told, asked) = (told.clone(), asked.clone());
        Lookups::new("somewhere", move || {
            asked.fetch_add(1, Ordering::Relaxed);
            let told = told.lock().unwrap().clone();
            async move {
                let (names, seconds) = told.map_err(BoxError::from)?;
                Ok(Found {
                    endpoints: names.into_iter().map(Endpoint::from).collect(),
                    valid_for: Duration::from_secs(seconds),
                })
            }
        })
    };
    let endpoints = Endpoints::<()>::new(Strategy::RoundRobin);
    let feed = tokio::spawn(endpoints.feed(lookups, |_| ()));
    let asked = || asked.swap(0, Ordering::Relaxed);
    pass(59).await;
    assert_eq!(
        (names(&endpoints), asked()),
        (vec!["a*1".to_owned(), "b*1".to_owned()], 1)
    );
    *told.lock().unwrap() = Err("down");
    pass(13).await;
    assert_eq!(
        (endpoints.len(), asked()),
        (2, 3),
        "again every five seconds"
    );
    *told.lock().unwrap() = Ok((vec![], 1000));
    pass(5).await;
    assert_eq!((endpoints.len(), asked()), (2, 1), "nothing is no set");
    *told.lock().unwrap() = Ok((vec!["c"], 0));
    pass(10).await;
    assert_eq!(
        (names(&endpoints), asked()),
        (vec!["c*1".to_owned()], 2),
        "not more often"
    );
    *told.lock().unwrap() = Ok((vec!["c"], 100_000));
    pass(300).await;
    assert!(asked() <= 2);
    drop(endpoints);
    timeout(SECOND, feed).await.unwrap().unwrap();
}

#[cfg(feature = "dns")]
mod by_name {
    use super::*;
    use std::net::SocketAddr;
    use tokio::net::UdpSocket;

    /// Answers each question with these A records, or with a failure.
    async fn server(addresses: Arc<Mutex<Option<Vec<[u8; 4]>>>>, ttl: u32) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let addresses = addresses.lock().unwrap().clone();
                let answer = answer(&packet[..length], addresses, ttl);
                let _ = socket.send_to(&answer, from).await;
            }
        });
        address
    }

    /// RFC 1035 §4.1.
    fn answer(query: &[u8], addresses: Option<Vec<[u8; 4]>>, ttl: u32) -> Vec<u8> {
        let name = query[12..].iter().position(|&byte| byte == 0).unwrap();
        let question = &query[12..12 + name + 5];
        let is_a = question[name + 1..name + 3] == [0, 1];
        let failed = addresses.is_none();
        let records = addresses.filter(|_| is_a).unwrap_or_default();
        let mut out = query[..2].to_vec();
        out.extend([0x81, if failed { 0x82 } else { 0x80 }, 0, 1]);
        out.extend([0, records.len() as u8, 0, 0, 0, 0]);
        out.extend(question);
        for record in records {
            out.extend([0xc0, 12, 0, 1, 0, 1]);
            out.extend(ttl.to_be_bytes());
            out.extend([0, 4]);
            out.extend(record);
        }
        out
    }

    #[tokio::test]
    async fn a_name_is_resolved_and_what_was_known_stays_when_it_is_not() {
        let addresses = Arc::new(Mutex::new(Some(vec![[10, 0, 0, 2], [10, 0, 0, 1]])));
        let server = server(addresses.clone(), 0).await;
        let lookups = crate::balance::discover::dns_by(server, "upstream.test.", 8080).unwrap();
        let lookups = lookups.ttl(Duration::from_millis(20), SECOND);
        let mut lookups = Box::pin(lookups);
        let set = lookups.next().await.unwrap();
        assert_eq!(
            set,
            [
                Endpoint::new("10.0.0.1:8080"),
                Endpoint::new("10.0.0.2:8080")
            ]
        );
        *addresses.lock().unwrap() = None;
        let down = timeout(Duration::from_millis(300), lookups.next()).await;
        assert!(down.is_err(), "nothing is told while the server fails");
        *addresses.lock().unwrap() = Some(vec![[10, 0, 0, 3]]);
        let set = timeout(10 * SECOND, lookups.next()).await.unwrap().unwrap();
        assert_eq!(set, [Endpoint::new("10.0.0.3:8080")]);
    }
}
