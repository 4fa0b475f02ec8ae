//! Who is left alone, and what that must not do to others.

use super::*;
use crate::{
    Body,
    llm::{Operation, Passthrough, Protocol, Wire, passthrough::Upload},
};

/// Fails so if the text is "bad", and counts its calls.
fn refusing(fault: VendorFault, name: &'static str) -> (Entry, Fake) {
    let count = Fake::new(Act::Says(name));
    let counted = count.clone();
    let service = service_fn(move |request: ChatRequest| {
        let chat = request.chat().unwrap();
        let bad = chat.messages[0].parts[0].as_text() == Some("bad");
        counted.act(if bad {
            Act::Fails(fault)
        } else {
            Act::Says(name)
        });
        counted.service().call(request)
    });
    (Entry::new(service).name(name), count)
}

fn text(text: &str) -> ChatRequest {
    ChatRequest::new().for_model("fast").user(text)
}

#[tokio::test(start_paused = true)]
async fn a_request_that_all_of_them_refuse_takes_none_away_from_others() {
    for fault in [
        VendorFault::Auth,
        VendorFault::Quota,
        VendorFault::RateLimited,
    ] {
        // More than open a circuit, too.
        for times in [1, 2, 3, 9] {
            let ((a, _), (b, _)) = (refusing(fault, "a"), refusing(fault, "b"));
            let pool = Pool::new().entry(a).entry(b);
            for _ in 0..times {
                assert!(pool.clone().oneshot(text("bad")).await.is_err());
            }
            assert_eq!(says_to(&pool, text("good")).await, "a", "{fault:?}");
            // Whoever answers is in again.
            assert_eq!(pool.handle().entry("a").unwrap().cooling, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_all_are_left_alone_the_soonest_is_asked_unless_its_vendor_said_when() {
    let full = VendorFault::RateLimited;
    let ((a, first), (b, second)) = (refusing(full, "a"), refusing(full, "b"));
    let c = Fake::new(Act::Full(5 * SECOND));
    let pool = Pool::new().entry(c.entry("c")).entry(a).entry(b);
    assert!(pool.clone().oneshot(text("bad")).await.is_err());
    let handle = pool.handle();
    handle.drain("b");
    tokio::time::advance(SECOND).await;
    assert!(pool.clone().oneshot(text("bad")).await.is_err());
    handle.restore("b");
    // Now `a` is left alone for longer than `b`.
    assert_eq!((first.calls(), second.calls()), (2, 1));
    assert_eq!(says_to(&pool, text("good")).await, "b");
    assert_eq!((first.calls(), second.calls(), c.calls()), (2, 2, 1));
    // What an operator says holds whoever is left.
    for name in ["a", "b", "c"] {
        handle.cool(name, 20 * SECOND);
    }
    let error = pool.oneshot(text("good")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::CircuitOpen);
    assert_eq!(error.rejection().retry_after(), Some(20 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_left_alone_is_better_than_none() {
    // One that is no good for anybody, and one that a bad request has made look so.
    let (well, count) = refusing(VendorFault::Auth, "well");
    let dead = Fake::new(Act::Fails(VendorFault::Auth));
    let pool = Pool::new()
        .entry(dead.entry("dead").circuit(None))
        .entry(well.circuit(None));
    for _ in 0..2 {
        assert!(pool.clone().oneshot(text("bad")).await.is_err());
    }
    assert!(pool.handle().entry("well").unwrap().cooling.is_some());
    let mut request = text("good");
    let exchange = Exchange::enter(&mut request);
    assert_eq!(says_to(&pool, request).await, "well");
    let told = exchange.facts().candidates;
    let told: Vec<_> = told.iter().map(|one| (&*one.entry, one.verdict)).collect();
    assert_eq!(told, [("dead", "failed"), ("well", "answered")]);
    // Where another can be asked it is, and after it the one that is left alone.
    for _ in 0..2 {
        assert!(pool.clone().oneshot(text("bad")).await.is_err());
    }
    dead.act(Act::Says("back"));
    pool.handle().reset("dead");
    let before = count.calls();
    assert_eq!(says_to(&pool, text("good")).await, "back");
    assert_eq!(count.calls(), before);
    dead.act(Act::Fails(VendorFault::Failed));
    assert_eq!(says_to(&pool, text("good")).await, "well");
}

#[tokio::test(start_paused = true)]
async fn the_time_that_is_told_is_of_those_that_could_have_been_asked() {
    let busy = service_fn(|_: ChatRequest| {
        let busy = VendorError::new(VendorFault::Overloaded);
        let busy = busy.with_retry_after(Some(9 * SECOND));
        ready(Err::<ChatResponse, _>(Error::from(busy)))
    });
    let elsewhere = Fake::new(Act::Full(2 * SECOND));
    let pool = Pool::new()
        .entry(elsewhere.entry("us").region("us"))
        .entry(Entry::new(busy).name("eu").region("eu"))
        .needs(|call| {
            let region = call.headers().get("x-region");
            let region = region.and_then(|region| region.to_str().ok());
            Needs::new().region(region.unwrap_or("us"))
        });
    let from_eu = || {
        let mut request = ask();
        let headers = request.headers_mut();
        headers.insert("x-region", "eu".parse().unwrap());
        request
    };
    assert!(says(&pool).await.is_err());
    assert!(pool.clone().oneshot(from_eu()).await.is_err());
    let error = pool.oneshot(from_eu()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamOverloaded);
    assert_eq!(error.rejection().retry_after(), Some(9 * SECOND));
}

#[tokio::test]
async fn what_can_be_sent_once_blames_only_whom_it_was_sent_to() {
    let taken = |request: &ChatRequest| {
        let upload = request.wire().and_then(|wire| wire.upload.as_ref());
        upload.unwrap().take().is_ok()
    };
    let down = service_fn(move |request: ChatRequest| {
        assert!(taken(&request));
        let busy = VendorError::new(VendorFault::Overloaded);
        let busy = busy.with_retry_after(Some(Duration::from_millis(7)));
        ready(Err::<ChatResponse, _>(Error::from(busy)))
    });
    let well = service_fn(move |request: ChatRequest| {
        assert!(taken(&request));
        answer(Act::Says("b"))
    });
    let unable = Fake::new(Act::Refuses(Kind::NotSupported));
    let pool = Pool::new()
        .entry(unable.entry("unable"))
        .entry(Entry::new(down).name("down").circuit(None))
        .entry(Entry::new(well).name("well"));
    let handle = pool.handle();
    let asked = || {
        let mut wire = Wire::new(Protocol::OpenAi, "--b".into());
        wire.upload = Some(Upload::new("b", Some(Body::from("rest"))));
        let operation = Operation::Passthrough(Passthrough::Transcriptions);
        ChatRequest::from_wire(operation, "fast", false, false, wire)
    };
    for _ in 0..6 {
        handle.reset("down");
        // Who did not take it leaves it for the next.
        let error = pool.clone().oneshot(asked()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamOverloaded);
        let after = error.rejection().retry_after();
        assert!(after.is_some(), "its own error");
    }
    let well = handle.entry("well").unwrap();
    assert_eq!((well.calls, well.failures), (0, 0));
    assert_eq!(well.circuit, Some(Circuit::Closed));
    handle.drain("down");
    let answer = pool.oneshot(asked()).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "b");
}
