//! Who is let in under load, and when.

use crate::follow::Reply;
use http::{Request, Response};
use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, task};
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt};
use tower_gateway::{
    Body, Principal, Rejection,
    answer::ByHealth,
    concurrency::{
        Aimd, ByScope, ConcurrencyLayer, FromHeader, Gradient, Priority, Reason, Sampled, Triage,
    },
    key::ByPrincipal,
    rejection::Kind,
};
use tower_test::mock;

const SECOND: Duration = Duration::from_secs(1);

/// A call of a priority, that takes so long.
type Call = (Priority, Duration);

fn by_call(call: &Call) -> Priority {
    call.0
}

async fn sleeps((_, time): Call) -> Result<Reply, BoxError> {
    tokio::time::sleep(time).await;
    Ok(Reply("done"))
}

fn kind(error: &BoxError) -> Kind {
    error.downcast_ref::<Rejection>().unwrap().kind()
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_answers_the_lowest_at_once_when_a_higher_one_comes() {
    let limit = ConcurrencyLayer::new(1).queue(1, SECOND).priority(by_call);
    let service = ServiceBuilder::new()
        .layer(limit.clone())
        .service_fn(sleeps);
    let call = |priority| task::spawn(service.clone().oneshot((priority, SECOND / 2)));
    let mut first = call(Priority::Sheddable);
    assert_pending!(first.poll());
    let mut sheddable = call(Priority::Sheddable);
    assert_pending!(sheddable.poll());
    let mut critical = call(Priority::Critical);
    assert_pending!(critical.poll());
    assert!(sheddable.is_woken());
    let error = assert_ready_err!(sheddable.poll());
    assert_eq!(kind(&error), Kind::Overloaded);
    let error = assert_ready_err!(call(Priority::Normal).poll());
    assert_eq!(kind(&error), Kind::Overloaded);

    let stats = limit.stats();
    assert_eq!((stats.limit(), stats.in_flight()), (1, 1));
    assert_eq!(
        Priority::ALL.map(|priority| stats.waiting(priority)),
        [1, 0, 0]
    );
    assert_eq!(Reason::ALL.map(|reason| stats.shed(reason)), [1, 1, 0, 0]);
    assert_eq!(first.await.unwrap(), Reply("done"));
    assert_eq!(critical.await.unwrap(), Reply("done"));
}

/// Ten times what can be served, of all priorities.
#[tokio::test(start_paused = true)]
async fn under_a_saturated_limit_nobody_waits_longer_than_a_later_one_of_a_lower_priority() {
    let limit = ConcurrencyLayer::new(3)
        .queue(60, 5 * SECOND)
        .priority(by_call);
    let service = ServiceBuilder::new()
        .layer(limit.clone())
        .service_fn(sleeps);
    let start = Instant::now();
    // When each came, and when its answer was there.
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut calls = Vec::new();
    for nth in 0..600_usize {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let priority = Priority::ALL[nth * 7 % 13 % 3];
        let (call, served) = (service.clone(), served.clone());
        calls.push(tokio::spawn(async move {
            let came = start.elapsed();
            let answer = call.oneshot((priority, Duration::from_millis(300))).await;
            if answer.is_ok() {
                let begun = start.elapsed() - Duration::from_millis(300);
                served.lock().unwrap().push((priority, came, begun));
            }
        }));
    }
    for call in calls {
        call.await.unwrap();
    }
    let served = served.lock().unwrap();
    let of = |priority| served.iter().filter(|one| one.0 == priority).count();
    assert!(of(Priority::Critical) > 4 * of(Priority::Sheddable) / 3);
    assert!(of(Priority::Sheddable) > 0, "in their turn");
    for (high, came, begun) in served.iter() {
        for (low, later, before) in served.iter() {
            let overtaken = (*low as u8) > (*high as u8) && later > came && before < begun;
            assert!(!overtaken, "{high} of {came:?} by {low} of {later:?}");
        }
    }
    assert_eq!((limit.available(), limit.waiting()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn those_of_a_low_priority_are_served_in_their_turn_while_higher_ones_keep_coming() {
    for (every, at_most) in [(4, 6), (0, usize::MAX)] {
        let limit = ConcurrencyLayer::new(1).queue(10, 1000 * SECOND);
        let limit = limit.priority(by_call).first_in_turn(every);
        let service = ServiceBuilder::new()
            .layer(limit.clone())
            .service_fn(sleeps);
        let _first = tokio::spawn(service.clone().oneshot((Priority::Critical, SECOND)));
        tokio::task::yield_now().await;
        let low = tokio::spawn(service.clone().oneshot((Priority::Sheddable, SECOND)));
        tokio::task::yield_now().await;
        let mut before = 0;
        while !low.is_finished() && before < 50 {
            // There are always some that wait.
            while limit.stats().waiting(Priority::Critical) < 3 {
                tokio::spawn(service.clone().oneshot((Priority::Critical, SECOND)));
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(SECOND).await;
            before += 1;
        }
        assert!(before <= at_most, "{before}");
        assert_eq!(low.is_finished(), every > 0);
        low.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_stands_lets_the_newest_in_and_turns_the_late_ones_away() {
    let limit = ConcurrencyLayer::new(1)
        .queue(100, 60 * SECOND)
        .controlled_delay(SECOND, 5 * SECOND);
    let service = ServiceBuilder::new()
        .layer(limit.clone())
        .service_fn(sleeps);
    // Twice what can be served.
    let mut calls = Vec::new();
    for _ in 0..120 {
        let service = service.clone();
        calls.push(tokio::spawn(async move {
            let came = Instant::now();
            let answer = service.oneshot((Priority::Normal, SECOND)).await;
            (answer.is_ok(), came.elapsed())
        }));
        tokio::time::sleep(SECOND / 2).await;
    }
    let mut served = 0;
    for (nth, call) in calls.into_iter().enumerate() {
        let (ok, took) = call.await.unwrap();
        served += usize::from(ok);
        // It stands no more once it is empty, and then again after an interval.
        assert!(took <= 7 * SECOND, "{nth}: {took:?}");
    }
    let stats = limit.stats();
    assert!(served >= 55, "{served}");
    assert!(stats.shed(Reason::Delayed) >= 50, "{stats:?}");
    assert_eq!(stats.shed(Reason::Late), 0);

    // It was empty, so it is in order again.
    let call = || task::spawn(service.clone().oneshot((Priority::Normal, SECOND)));
    let (mut first, mut second, mut third) = (call(), call(), call());
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    assert_pending!(third.poll());
    tokio::time::sleep(SECOND).await;
    assert_ready!(first.poll()).unwrap();
    assert!(second.is_woken() && !third.is_woken());
}

#[tokio::test]
async fn each_principal_has_a_limit_of_its_own_and_none_is_remembered() {
    let limit = ConcurrencyLayer::new(1).key(ByPrincipal).max_keys(2);
    let service = ServiceBuilder::new()
        .layer(limit.clone())
        .service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(Body::from("hello"))));
    let call = async |name: Option<&str>| {
        let mut request = Request::new(());
        if let Some(name) = name {
            request.extensions_mut().insert(Principal::new(name));
        }
        service.clone().oneshot(request).await.unwrap()
    };
    let alice = call(Some("alice")).await;
    let refused = call(Some("alice")).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    let bob = call(Some("bob")).await;
    assert_eq!(
        (alice.status(), bob.status()),
        (200.try_into().unwrap(), 200.try_into().unwrap())
    );
    // There is no room for more keys: all others share one limit, and those without a name another.
    let carol = call(Some("carol")).await;
    assert_eq!(carol.status(), 200);
    assert_eq!(call(Some("dave")).await.status(), 429);
    let nobody = call(None).await;
    assert_eq!(nobody.status(), 200);
    assert_eq!(call(None).await.status(), 429);
    let stats = limit.stats();
    assert_eq!(
        (stats.keys(), stats.in_flight(), stats.shed(Reason::Full)),
        (2, 4, 3)
    );

    drop(alice);
    assert_eq!(limit.stats().keys(), 1);
    assert_eq!(call(Some("erin")).await.status(), 200);
    drop((bob, carol, nobody));
    let stats = limit.stats();
    assert_eq!((stats.keys(), stats.in_flight()), (0, 0));
}

#[tokio::test]
async fn keys_come_and_go_under_contention_and_leave_nothing() {
    let limit = ConcurrencyLayer::new(2)
        .queue(3, SECOND)
        .key(|key: &usize| Some(*key));
    let service = ServiceBuilder::new()
        .layer(limit.clone())
        .service_fn(async |key: usize| {
            for _ in 0..key % 5 {
                tokio::task::yield_now().await;
            }
            Ok::<_, BoxError>(Reply("done"))
        });
    let calls: Vec<_> = (0..2000_usize)
        .map(|nth| {
            let call = tokio::spawn(service.clone().oneshot(nth % 37));
            if nth % 11 == 0 {
                call.abort();
            }
            call
        })
        .collect();
    for call in calls {
        let _ = call.await;
    }
    let stats = limit.stats();
    assert_eq!(
        (stats.keys(), stats.in_flight(), limit.waiting()),
        (0, 0, 0)
    );
}

/// Dropped after each poll, from none to the last.
#[tokio::test]
async fn a_call_that_is_dropped_at_any_point_leaves_nothing_behind() {
    for keyed in [false, true] {
        for polls in 0..6 {
            let limit = ConcurrencyLayer::new(1).queue(2, SECOND).priority(by_call);
            let key = move |call: &Call| keyed.then_some(call.1);
            let limit = limit.key(key);
            let inner = Arc::new(Notify::new());
            let woken = inner.clone();
            let service = ServiceBuilder::new()
                .layer(limit.clone())
                .service_fn(move |_: Call| {
                    let inner = inner.clone();
                    async move {
                        inner.notified().await;
                        tokio::task::yield_now().await;
                        Ok::<_, BoxError>(Response::new(Body::from("hello")))
                    }
                });
            let call = || task::spawn(service.clone().oneshot((Priority::Normal, SECOND)));
            let mut holds = call();
            assert_pending!(holds.poll());
            let mut dropped = call();
            let mut holds = Some(holds);
            for poll in 0..polls {
                match poll {
                    1 => drop(holds.take()),
                    3 => woken.notify_one(),
                    _ => {}
                }
                if dropped.poll().is_ready() {
                    break;
                }
            }
            drop(dropped);
            drop(holds);
            let stats = limit.stats();
            assert_eq!((stats.in_flight(), limit.waiting()), (0, 0), "{polls}");
            assert_eq!(stats.keys(), 0);
            let mut next = call();
            assert_pending!(next.poll());
            assert_eq!(limit.stats().in_flight(), 1, "{polls}");
        }
    }
}

#[tokio::test]
async fn a_permit_can_be_let_go_with_the_head() {
    let limit = ConcurrencyLayer::new(1).until_head();
    let service = ServiceBuilder::new()
        .layer(limit.clone())
        .service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(Body::from("hello"))));
    let answer = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(limit.available(), 1);
    drop(answer);
    assert_eq!(limit.available(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_finds_its_way_from_what_it_is_told() {
    let limit =
        ConcurrencyLayer::adaptive(Aimd::new(SECOND).start(10)).classify(ByHealth::default());
    let (mut service, mut upstream) = mock::spawn_layer::<Duration, Reply, _>(limit.clone());
    upstream.allow(u64::MAX);
    // A slow answer, a failure, and a caller that hung up late.
    for (time, ends) in [
        (2 * SECOND, "well"),
        (SECOND / 2, "badly"),
        (2 * SECOND, "never"),
    ] {
        let before = limit.stats().limit();
        let _ = service.poll_ready();
        let call = service.call(time);
        let (_, answer) = upstream.next_request().await.unwrap();
        tokio::time::advance(time).await;
        match ends {
            "well" => {
                answer.send_response(Reply("done"));
                call.await.unwrap();
            }
            "badly" => {
                answer.send_error("down");
                call.await.unwrap_err();
            }
            _ => drop(call),
        }
        assert!(limit.stats().limit() < before, "{ends}");
        assert_eq!(limit.stats().in_flight(), 0);
    }
}

/// A probe, and the end of it, which lets those in who wait.
#[tokio::test(start_paused = true)]
async fn whoever_waits_is_let_in_when_the_limit_grows() {
    let gradient = Gradient::new().probe(1).rest_calls(1).start(4);
    let limit = ConcurrencyLayer::adaptive(gradient).queue(10, 60 * SECOND);
    let service = ServiceBuilder::new()
        .layer(limit.clone())
        .service_fn(sleeps);
    let call = |time| task::spawn(service.clone().oneshot((Priority::Normal, time)));
    let mut first = call(SECOND);
    assert_pending!(first.poll());
    let mut others = [
        call(SECOND),
        call(SECOND),
        call(SECOND),
        call(SECOND),
        call(SECOND),
    ];
    for call in &mut others {
        assert_pending!(call.poll());
    }
    assert_eq!((limit.stats().limit(), limit.waiting()), (1, 5));
    tokio::time::sleep(SECOND).await;
    assert_ready!(first.poll()).unwrap();
    let stats = limit.stats();
    assert_eq!(
        (stats.limit(), stats.in_flight(), limit.waiting()),
        (4, 4, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_no_sample_teaches_nothing() {
    let triage = Sampled(by_call, |call: &Call| call.1 < SECOND);
    let limit = ConcurrencyLayer::adaptive(Aimd::new(SECOND).start(10)).priority(triage);
    let service = ServiceBuilder::new()
        .layer(limit.clone())
        .service_fn(sleeps);
    // It waits for news.
    service
        .oneshot((Priority::Normal, 100 * SECOND))
        .await
        .unwrap();
    assert_eq!(limit.stats().limit(), 10);
}

#[tokio::test]
async fn a_principal_may_go_first() {
    let triage = ByScope::new("pager", Priority::Critical);
    let limit = ConcurrencyLayer::new(0)
        .queue(1, SECOND)
        .priority(triage.clone());
    let service = ServiceBuilder::new()
        .layer(limit.clone())
        .service_fn(async |_: Request<()>| pending::<Result<Response<Body>, BoxError>>().await);
    let mut request = Request::new(());
    let principal = Principal::new("alice").with_scopes(["pager"]);
    request.extensions_mut().insert(principal);
    assert_eq!(triage.priority(&request), Priority::Critical);
    let mut call = task::spawn(service.oneshot(request));
    assert_pending!(call.poll());
    assert_eq!(limit.stats().waiting(Priority::Critical), 1);
}

/// Through many limits at once, from many threads, with a limit that never rests.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_contention_an_adaptive_limit_loses_nobody() {
    let aimd = Aimd::new(Duration::from_micros(50)).start(8).limits(2, 16);
    let limit = ConcurrencyLayer::adaptive(aimd)
        .queue(50, SECOND)
        .controlled_delay(Duration::from_millis(1), Duration::from_millis(2))
        .priority(|nth: &usize| Priority::ALL[nth % 3]);
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (counted, highest) = (running.clone(), most.clone());
    let service = ServiceBuilder::new()
        .layer(limit.clone())
        .service_fn(move |nth: usize| {
            let (running, most) = (counted.clone(), highest.clone());
            async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                for _ in 0..nth % 7 {
                    tokio::task::yield_now().await;
                }
                running.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, BoxError>(Reply("done"))
            }
        });
    let calls: Vec<_> = (0..2000_usize)
        .map(|nth| tokio::spawn(service.clone().oneshot(nth)))
        .collect();
    for call in calls {
        let _ = call.await.unwrap();
    }
    let stats = limit.stats();
    assert!(most.load(Ordering::SeqCst) <= 16);
    assert_eq!((stats.in_flight(), limit.waiting()), (0, 0), "{stats:?}");
    assert_eq!(running.load(Ordering::SeqCst), 0);
}

#[cfg(feature = "gateway")]
#[tokio::test]
async fn a_gateway_tells_how_its_limit_stands() {
    use tower_gateway::{gateway::Gateway, key::ByHeader};
    let limit = ConcurrencyLayer::new(1)
        .key(ByHeader::new("x-app"))
        .priority(FromHeader::new("x-priority"));
    let hello = tower::service_fn(async |_: Request<Body>| {
        Ok::<_, std::convert::Infallible>(Response::new(Body::from("hello")))
    });
    let gateway = Gateway::builder()
        .route("/hello", hello)
        .concurrency_layer(limit)
        .concurrency_layer(
            ConcurrencyLayer::adaptive(Gradient::new()).classify(ByHealth::default()),
        )
        .build()
        .unwrap();
    let line = "http  Concurrency  ConcurrencyLayer\n";
    assert!(gateway.describe().contains(&line.repeat(2)));
    let ask = async || {
        let request = Request::get("/hello").header("x-app", "a");
        let request = request.body(Body::empty()).unwrap();
        gateway.clone().oneshot(request).await.unwrap()
    };
    let first = ask().await;
    assert_eq!(
        (first.status().as_u16(), ask().await.status().as_u16()),
        (200, 429)
    );
    let text = gateway.metrics().encode();
    for line in [
        // One of each, and three while the other probes, which counts up to the head.
        "gateway_concurrency_limit 4",
        "gateway_concurrency_in_flight 1",
        "gateway_concurrency_waiting_sheddable 0",
        "gateway_concurrency_shed_full 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    drop(first);
}

#[test]
fn types_are_send_and_sync() {
    fn check<T: Send + Sync + Clone + std::fmt::Debug>(_: &T) {}
    let layer = ConcurrencyLayer::adaptive(Gradient::new())
        .queue(1, SECOND)
        .priority(ByScope::default())
        .key(ByPrincipal)
        .classify(ByHealth::default());
    check(&layer);
    check(&layer.layer(()));
    check(&layer.stats());
}
