//! What goes wrong at a vendor, whose fault it is, and who is told what.

use super::*;

/// Everything that could be shown of an error.
fn shown(error: &Error) -> String {
    let rejection: Rejection = error.rejection().into_owned();
    let mut shown = format!("{error} {error:?} {rejection} {rejection:?}");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        shown += &format!(" {error} {error:?}");
        source = error.source();
    }
    shown
}

#[tokio::test]
async fn a_refused_key_is_ours_and_the_vendors_words_stay_in_the_log() {
    for status in [401, 403] {
        let (log, _guard) = Log::start();
        let reply = Turn::error(
            status,
            "invalid_request_error",
            "invalid_api_key",
            "Vendor words, key sk-canary***def",
        );
        let vendor = MockVendor::start(reply).await.unwrap();
        let provider = Provider::custom("lab", vendor.base_url()).unwrap().key(KEY);
        let error = call(&provider, streamed(false)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamAuth);
        assert_eq!(error.kind().status(), 502);
        assert!(!shown(&error).contains("canary") && !shown(&error).contains("Vendor words"));
        assert!(!format!("{provider:?}").contains("canary"));
        let log = log.text();
        assert!(!log.contains("canary"), "{log}");
        assert_eq!(
            log.matches("Vendor words, key [masked]").count(),
            1,
            "{log}"
        );
        match error {
            Error::Vendor(error) => assert!(error.original(Protocol::OpenAi).is_none()),
            error => panic!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn the_vendors_limit_is_told_as_the_vendors() {
    let vendor = MockVendor::start(Turn::rate_limited(Duration::from_millis(1500)))
        .await
        .unwrap();
    let provider = Provider::custom("lab", vendor.base_url()).unwrap();
    let error = call(&provider, streamed(false)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamRateLimited);
    assert_eq!(
        error.rejection().retry_after(),
        Some(Duration::from_millis(1500))
    );
    assert!(error.rejection().message().contains("provider"), "{error}");
}

#[tokio::test]
async fn what_is_not_an_answer_is_an_error_of_the_upstream() {
    let html = "<!doctype html><title>Log in</title>";
    for (reply, kind) in [
        (Reply::html_502(), Kind::BadGateway),
        (Reply::status(500), Kind::BadGateway),
        (
            Reply::bytes(500, "application/json", "{\"error\":"),
            Kind::BadGateway,
        ),
        (
            Reply::status(302).header("location", "http://127.0.0.1:1/"),
            Kind::BadGateway,
        ),
        (
            Reply::bytes(200, "text/html", html),
            Kind::UpstreamMalformed,
        ),
        (
            Reply::bytes(200, "application/json", html),
            Kind::UpstreamMalformed,
        ),
        (
            Reply::bytes(200, "application/json", ""),
            Kind::UpstreamMalformed,
        ),
        (Reply::status(204), Kind::UpstreamMalformed),
        (
            Reply::json(200, ANSWER).header("content-encoding", "gzip"),
            Kind::UpstreamMalformed,
        ),
        (Reply::json(200, ANSWER).cut_after(10), Kind::BadGateway),
        (Reply::hang_up(), Kind::BadGateway),
        (Reply::raw("SSH-2.0-OpenSSH\r\n"), Kind::BadGateway),
    ] {
        let (upstream, provider) = upstream(reply.clone()).await;
        let error = call(&provider, whole()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{reply:?}");
        assert!(!shown(&error).contains("canary") && !error.to_string().contains("127.0.0.1"));
        assert_eq!(upstream.count(), 1, "and it is not tried again");
    }
    let closed = ClosedPort::new().unwrap();
    let provider = Provider::custom("lab", closed.url()).unwrap();
    assert_eq!(
        call(&provider, whole()).await.unwrap_err().kind(),
        Kind::BadGateway
    );
}

#[tokio::test]
async fn a_content_type_that_lies_does_no_harm() {
    for content in ["text/plain", "application/json", ""] {
        let (_upstream, provider) = upstream(Reply::pieces(content, PIECES).split_every(2)).await;
        let (text, _, _, error) = read(call(&provider, streamed(true)).await.unwrap()).await;
        assert_eq!(text, PIECES.concat(), "{content}");
        assert!(error.is_none());
    }
    for content in ["text/plain", "text/event-stream"] {
        let (_upstream, provider) = upstream(Reply::bytes(200, content, ANSWER)).await;
        let (text, ..) = read(call(&provider, whole()).await.unwrap()).await;
        assert_eq!(text, ANSWER);
    }
}

#[tokio::test]
async fn what_is_about_the_callers_request_reaches_the_caller() {
    let words = r#"{"error":{"message":"Too hot","type":"invalid_request_error","param":"temperature","code":null}}"#;
    for (status, body) in [(400, words), (422, words)] {
        let (_upstream, provider) = upstream(Reply::json(status, body)).await;
        let error = call(&provider, whole()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidRequest);
        assert_eq!(error.rejection().param(), Some("temperature"));
        match error {
            Error::Vendor(error) => {
                assert_eq!(error.original(Protocol::OpenAi).unwrap(), body);
                assert_eq!(error.status().unwrap(), status);
            }
            error => panic!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn an_error_that_repeats_our_key_is_ours_and_has_no_words() {
    let words = |code: &str| {
        format!(
            r#"{{"error":{{"message":"Too hot, {KEY}","type":"invalid_request_error","param":"{KEY}","code":"{code}"}}}}"#
        )
    };
    let stream = format!("data: {}\n\n", words("x"));
    for reply in [
        Reply::json(400, words("x")),
        Reply::json(404, words("model_not_found")),
        Reply::json(500, words("x")),
        Reply::json(200, words("x")),
        Reply::json(400, words("x").replace("sk-", "\\u0073k-")),
        Reply::pieces("text/event-stream", [stream]),
    ] {
        let (log, _guard) = Log::start();
        let (_upstream, provider) = upstream(reply).await;
        let error = match call(&provider, streamed(false)).await {
            Ok(answer) => read(answer).await.3.unwrap(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), Kind::UpstreamAuth);
        assert!(!shown(&error).contains("canary"), "{}", shown(&error));
        assert!(!log.text().contains("canary"), "{}", log.text());
        match error {
            Error::Vendor(error) => {
                assert!(error.message().is_empty() && error.param().is_none());
                assert!(error.original(Protocol::OpenAi).is_none());
            }
            error => panic!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn an_error_that_shows_part_of_a_key_keeps_its_kind_and_loses_its_words() {
    for hint in ["sk-0123...cdef", "sk-***", "gsk_ab…yz"] {
        let (log, _guard) = Log::start();
        let words = format!("Key {hint} may not do this, it is `canary`");
        let body = format!(r#"{{"error":{{"message":"{words}","type":"invalid_request_error"}}}}"#);
        let (_upstream, provider) = upstream(Reply::json(400, body)).await;
        let Err(Error::Vendor(error)) = call(&provider, whole()).await else {
            panic!("refused");
        };
        assert!(error.fault().concerns_caller() && error.message().is_empty());
        assert!(error.original(Protocol::OpenAi).is_none());
        assert!(!log.text().contains(hint), "{}", log.text());
    }
}

#[tokio::test]
async fn why_a_vendor_is_not_reached_stands_in_the_log() {
    let (log, _guard) = Log::start();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let provider = Provider::custom("gone", format!("http://{addr}/v1")).unwrap();
    let error = call(&provider, whole()).await.unwrap_err();
    assert!(!error.to_string().contains("refused"), "{error}");
    assert!(log.text().contains("refused"), "{}", log.text());
}

#[tokio::test]
async fn what_a_vendor_does_not_offer_is_not_its_failure() {
    for status in [404, 405, 501] {
        let (_upstream, provider) = upstream(Reply::json(status, "{}")).await;
        let error = call(&provider, whole()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotSupported);
        let health = <ChatResponse as tower_gateway::Health<Error>>::health(Err(&error));
        assert_eq!(health, tower_gateway::answer::Outcome::Success);
    }
    let flagged = r#"{"error":{"message":"Flagged","code":403,"metadata":{"flagged_input":"x"}}}"#;
    let (_upstream, provider) = upstream(Reply::json(403, flagged)).await;
    match call(&provider, whole()).await.unwrap_err() {
        Error::Vendor(error) => assert_eq!(error.fault(), VendorFault::ContentFilter),
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn an_error_under_a_200_is_an_error() {
    let fault = r#"{"error":{"message":"Overloaded","type":"server_error","code":503}}"#;
    let (_upstream, provider) = upstream(Reply::json(200, fault)).await;
    assert!(matches!(
        call(&provider, whole()).await,
        Err(Error::Vendor(_))
    ));
    let (_upstream, provider) = upstream(Reply::json(200, fault)).await;
    assert!(matches!(
        call(&provider, streamed(false)).await,
        Err(Error::Vendor(_))
    ));
}

#[tokio::test]
async fn a_key_that_cannot_be_sent_fails_the_call() {
    let (upstream, provider) = upstream(Reply::json(200, ANSWER)).await;
    let error = call(&provider.key("cana ry"), whole()).await.unwrap_err();
    assert_eq!((error.kind(), upstream.count()), (Kind::UpstreamAuth, 0));
    assert!(!shown(&error).contains("cana"));
}
