//! Streams that end early, stall, or are none.

use super::*;

/// However it is cut: a mark is one at the very start, and nothing is named so elsewhere.
#[tokio::test]
async fn a_byte_order_mark_is_one_at_the_start_only() {
    let [text, _, usage, done] = PIECES;
    let sent = format!("\u{feff}{usage}\u{feff}data: not a field\n\n\u{feff}{usage}{text}{done}");
    for size in [1, 3, 7, usage.len() + 3, sent.len()] {
        let stream = Reply::bytes(200, "text/event-stream", sent.clone()).split_every(size);
        let (_upstream, provider) = upstream(stream).await;
        let (raw, _, told, error) = read(call(&provider, streamed(false)).await.unwrap()).await;
        assert!(error.is_none(), "{size}: {error:?}");
        assert_eq!(told, Some(Usage::new(3, 2)));
        assert_eq!(raw, sent.replacen(usage, "", 1), "{size}");
        let answer = call(&provider, streamed(false)).await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "Gr\u{fc}", "{size}");
    }
}

/// Also if empty lines come before it, in a chunk of their own.
#[tokio::test]
async fn a_document_is_no_stream_however_it_is_cut() {
    for size in [1, 2, 100] {
        let document = Reply::bytes(200, "text/event-stream", "\n\n{\"id\":1}\ndata: {}\n\n");
        let (_upstream, provider) = upstream(document.split_every(size)).await;
        let (raw, _, _, error) = read(call(&provider, streamed(true)).await.unwrap()).await;
        assert_eq!(raw.trim(), "", "{size}");
        assert_eq!(error.unwrap().kind(), Kind::UpstreamMalformed, "{size}");
    }
}

#[tokio::test]
async fn a_stream_without_an_event_is_no_answer() {
    for sent in ["", "\n\n"] {
        let (_upstream, provider) = upstream(Reply::bytes(200, "text/event-stream", sent)).await;
        let (raw, _, _, error) = read(call(&provider, streamed(true)).await.unwrap()).await;
        assert_eq!(raw, sent);
        assert_eq!(error.unwrap().kind(), Kind::UpstreamMalformed);
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_ends_with_an_error_and_no_half_event() {
    let cut = PIECES[0].len() + 30;
    let reply = Reply::pieces("text/event-stream", PIECES).cut_after(cut);
    let (_upstream, provider) = upstream(reply).await;
    let (text, _, _, error) = read(call(&provider, streamed(false)).await.unwrap()).await;
    assert_eq!(text, [PIECES[0], ": a comment\r\n\r\n"].concat());
    let error = error.unwrap();
    assert_eq!(error.kind(), Kind::BadGateway);
    assert!(error.to_string().contains("broke off"), "{error}");
}

#[tokio::test]
async fn half_an_event_at_the_end_is_none() {
    let bare = PIECES[1].trim_end();
    for (last, whole) in [
        (bare, true),
        ("data: [DONE]", true),
        (": bye", true),
        (&bare[..bare.len() - 1], false),
        ("data: [DO", false),
        ("dat", false),
    ] {
        let last = last.to_owned();
        let reply = Reply::pieces("text/event-stream", [PIECES[0].to_owned(), last.clone()]);
        let (_upstream, provider) = upstream(reply).await;
        let (text, _, _, error) = read(call(&provider, streamed(false)).await.unwrap()).await;
        assert_eq!(error.is_none(), whole, "{last}");
        if let Some(error) = error {
            assert!(!text.ends_with(&last), "{last}");
            assert!(error.to_string().contains("broke off"), "{error}");
        } else {
            assert!(text.ends_with(&last), "{text}");
        }
    }
}

#[tokio::test]
async fn what_stands_before_what_cannot_be_read_is_not_lost() {
    let chunk = [PIECES[0], PIECES[2], "data: {oops}\n\n"].concat();
    let (_upstream, provider) = upstream(Reply::pieces("text/event-stream", [chunk])).await;
    let mut answer = call(&provider, streamed(true)).await.unwrap();
    answer.want(Want::Events);
    let batch = poll_fn(|cx| answer.poll_batch(cx)).await.unwrap().unwrap();
    assert_eq!(batch.usage(), Some(Usage::new(3, 2)));
    assert!(batch.events().iter().any(|event| event.is_content()));
    let error = poll_fn(|cx| answer.poll_batch(cx)).await.unwrap();
    assert_eq!(error.unwrap_err().kind(), Kind::UpstreamMalformed);
    assert!(poll_fn(|cx| answer.poll_batch(cx)).await.is_none());
}

#[tokio::test]
async fn an_error_inside_a_stream_ends_it_after_what_came_before() {
    let fault = "data: {\"error\":{\"message\":\"Vendor words\",\"type\":\"server_error\",\"code\":null}}\n\n";
    let after = "data: [DONE]\n\n";
    let pieces = [PIECES[0], fault, after];
    for size in [1, 50, 100_000] {
        let (log, _guard) = Log::start();
        let reply = Reply::pieces("text/event-stream", pieces).split_every(size);
        let (_upstream, provider) = upstream(reply).await;
        let (text, _, _, error) = read(call(&provider, streamed(false)).await.unwrap()).await;
        assert_eq!(text, PIECES[0], "in pieces of {size}");
        match error.unwrap() {
            Error::Vendor(error) => {
                assert_eq!(
                    (error.fault(), &**error.vendor()),
                    (VendorFault::Failed, "lab")
                );
            }
            error => panic!("{error:?}"),
        }
        assert_eq!(log.text().matches("Vendor words").count(), 1);
    }
}

#[tokio::test]
async fn an_endless_line_ends_when_it_is_too_long() {
    let (_upstream, provider) = upstream(Reply::endless_line()).await;
    let (_, _, _, error) = read(call(&provider, streamed(false)).await.unwrap()).await;
    assert_eq!(error.unwrap().kind(), Kind::UpstreamTooLarge);
}

#[tokio::test]
async fn a_silent_vendor_is_given_up() {
    let script = vec![Reply::json(200, ANSWER), Reply::silent()];
    let (upstream, provider) = upstream(script).await;
    call(&provider, whole()).await.unwrap();
    // The connection is there: no timer but that of the answer.
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    let error = call(&provider, whole()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    assert_eq!(begin.elapsed().as_secs(), 600);
    tokio::time::resume();
    upstream.hung_up(1).await;
}

#[tokio::test]
async fn a_stream_that_stalls_is_given_up() {
    let stall = PIECES[0].len();
    let (upstream, provider) =
        upstream(Reply::pieces("text/event-stream", PIECES).stall_after(stall)).await;
    let limits = TimeoutLayer::llm().idle(Duration::from_millis(50));
    let answer = call(&provider.timeouts(limits), streamed(false))
        .await
        .unwrap();
    let (text, _, _, error) = read(answer).await;
    assert_eq!((&*text, error.unwrap().kind()), (PIECES[0], Kind::Timeout));
    upstream.hung_up(1).await;
}

#[tokio::test]
async fn whoever_hangs_up_hangs_up_on_the_vendor() {
    let stall = PIECES[0].len();
    let script = vec![
        Reply::pieces("text/event-stream", PIECES).stall_after(stall),
        Reply::silent(),
    ];
    let (upstream, provider) = upstream(script).await;
    let mut answer = call(&provider, streamed(false)).await.unwrap();
    poll_fn(|cx| answer.poll_batch(cx)).await.unwrap().unwrap();
    drop(answer);
    upstream.hung_up(1).await;

    let pending = tokio::spawn(provider.oneshot(whole()));
    upstream.received(2).await;
    pending.abort();
    upstream.hung_up(2).await;
}
