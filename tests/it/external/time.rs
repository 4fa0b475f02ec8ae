//! How long a decision may take, and how long it holds.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_decision_has_two_hundred_milliseconds_and_then_a_decider_is_left_alone() {
    let asked = Arc::new(AtomicUsize::new(0));
    let answers = Arc::new(Mutex::new(false));
    let (count, answering) = (asked.clone(), answers.clone());
    let layer = ExternalLayer::new(move |_: Question| {
        count.fetch_add(1, Ordering::Relaxed);
        let answers = *answering.lock().unwrap();
        async move {
            if !answers {
                pending::<()>().await;
            }
            Decision::allow()
        }
    });
    let timed = async || {
        let start = Instant::now();
        let status = ask(&layer, get("/")).await.status().as_u16();
        (status, start.elapsed().as_millis())
    };
    for _ in 0..3 {
        assert_eq!(timed().await, (503, 200));
    }
    assert!(layer.stats().is_down());
    for _ in 0..100 {
        assert_eq!(timed().await, (503, 0), "nobody waits for it");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    tokio::time::sleep(Duration::from_secs(1)).await;
    // One asks, and the others do not wait.
    let both = tokio::join!(timed(), timed());
    assert_eq!(both, ((503, 200), (503, 0)));
    assert_eq!(asked.load(Ordering::Relaxed), 4);
    tokio::time::sleep(Duration::from_secs(1)).await;
    *answers.lock().unwrap() = true;
    assert_eq!(timed().await, (200, 0));
    assert_eq!(timed().await, (200, 0));
    assert!(!layer.stats().is_down());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_drops_its_question_and_is_no_failure() {
    struct Held(Arc<AtomicUsize>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = dropped.clone();
    let layer = ExternalLayer::new(move |question: Question| {
        let held = Held(count.clone());
        async move {
            let _held = held;
            if question.uri.path() == "/slow" {
                pending::<()>().await;
            }
            Decision::allow()
        }
    });
    for n in 1..=10 {
        let call = tokio::time::timeout(Duration::from_millis(1), ask(&layer, get("/slow")));
        assert!(call.await.is_err());
        assert_eq!(dropped.load(Ordering::Relaxed), n);
    }
    assert!(!layer.stats().is_down());
    assert_eq!(layer.stats().undecided(), 0);
    assert_eq!(ask(&layer, get("/")).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for_longer_than_ten_seconds() {
    let layer =
        ExternalLayer::new(|_: Question| async { Decision::allow() }).body(10, OnLarger::Truncate);
    let never = || {
        let never = futures_util::stream::pending::<Result<http_body::Frame<Bytes>, Infallible>>();
        let body = Body::new(StreamBody::new(never));
        Request::post("/").body(body).unwrap()
    };
    let start = Instant::now();
    assert_eq!(
        refusal(&ask(&layer, never()).await),
        (408, Kind::RequestTimeout)
    );
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    let unread = ExternalLayer::new(|_: Question| async { Decision::allow() });
    assert_eq!(
        ask(&unread, never()).await.status(),
        200,
        "a stream is not waited for"
    );
    let broken = futures_util::stream::iter([Err::<http_body::Frame<Bytes>, _>("broken")]);
    let broken = Request::post("/").body(Body::new(StreamBody::new(broken)));
    let refused = ask(&layer, broken.unwrap()).await;
    assert_eq!(refusal(&refused), (400, Kind::InvalidRequest));
}

#[tokio::test(start_paused = true)]
async fn decisions_are_kept_for_each_principal_and_path_and_for_a_while() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let layer = ExternalLayer::new(move |question: Question| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            match question.principal {
                Some(who) if &**who.id() == "alice" => {
                    Decision::allow().with_header(TIER, value("gold"))
                }
                _ => Decision::deny(),
            }
        }
    })
    .upstream_headers([TIER])
    .cache(Duration::from_secs(5), 100);
    let call = async |who: &'static str, path: &'static str| {
        let before = asked.load(Ordering::Relaxed);
        let response = ask(&layer, by(Principal::new(who), path)).await;
        let tier = response
            .extensions()
            .get()
            .map(|Seen(headers)| headers[TIER].to_str().unwrap().to_owned());
        let asked = asked.load(Ordering::Relaxed) - before;
        (response.status().as_u16(), tier, asked)
    };
    let gold = || Some("gold".to_owned());
    assert_eq!(call("alice", "/a").await, (200, gold(), 1));
    assert_eq!(call("alice", "/a").await, (200, gold(), 0));
    assert_eq!(call("alice", "/a?b").await, (200, gold(), 1));
    assert_eq!(call("alice", "/b").await, (200, gold(), 1));
    assert_eq!(
        call("bob", "/a").await,
        (403, None, 1),
        "another's is not theirs"
    );
    assert_eq!(call("bob", "/a").await, (403, None, 0));
    assert_eq!(layer.stats().kept(), 4);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(call("alice", "/a").await, (200, gold(), 1));
    // Of calls of nobody nothing is kept, nor is anything without the setting.
    for _ in 0..2 {
        let before = asked.load(Ordering::Relaxed);
        assert_eq!(ask(&layer, get("/a")).await.status(), 403);
        assert_eq!(asked.load(Ordering::Relaxed), before + 1);
    }
}
