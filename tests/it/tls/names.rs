//! Requests for another name than that of their connection.

use super::{
    SOON,
    caller::{Authority, get},
    start, upstream,
};
use http_body_util::Empty;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tower_gateway::gateway::{Server, Tls};

/// The status of a request for `host` on a connection for `a.example`, and the code of its error.
async fn asked(tls: &Tls, authority: &Authority, host: &str, http2: bool) -> (u16, bool) {
    let upstream = upstream().await;
    let (addr, _stop, _run) = start(|server| server.tls(tls.clone()), &upstream).await;
    let request = get(host, "/told", http2).body(Empty::new()).unwrap();
    let asked = authority.ask(addr, ("a.example", None, http2), vec![request]);
    let answer = timeout(SOON, asked).await.unwrap().pop().unwrap();
    let body = String::from_utf8(answer.body().to_vec()).unwrap();
    (
        answer.status().as_u16(),
        body.contains("misdirected_request"),
    )
}

#[tokio::test]
async fn where_names_choose_a_request_for_another_one_is_misdirected() {
    let authority = Authority::new("names");
    let (certificate, key) = authority.files("a.example");
    let one = Tls::files(&certificate, &key).unwrap();
    let (certificate, key) = authority.files("b.example");
    let several = one.clone().and_files(&certificate, &key).unwrap();
    let mutual = one.clone().client_authorities(authority.file("ca.pem"));
    let mutual = mutual.unwrap().optional_client_certificates().unwrap();
    for http2 in [false, true] {
        for tls in [&one, &several, &mutual] {
            for own in ["a.example", "A.EXAMPLE:8443"] {
                assert_eq!(asked(tls, &authority, own, http2).await, (200, false));
            }
        }
        for tls in [&several, &mutual] {
            assert_eq!(
                asked(tls, &authority, "b.example", http2).await,
                (421, true)
            );
            let any = tls.clone().any_host();
            assert_eq!(
                asked(&any, &authority, "b.example", http2).await,
                (200, false)
            );
        }
        assert_eq!(
            asked(&one, &authority, "b.example", http2).await,
            (200, false)
        );
    }
}

/// The connection goes on, and other requests by it are answered.
#[tokio::test]
async fn one_that_is_misdirected_ends_nothing_else() {
    let authority = Authority::new("goes-on");
    let (certificate, key) = authority.files("a.example");
    let tls = Tls::files(&certificate, &key).unwrap();
    let tls = tls.client_authorities(authority.file("ca.pem")).unwrap();
    let upstream = upstream().await;
    let (addr, _stop, _run) = start(|server| server.tls(tls), &upstream).await;
    let alice = authority.sign("alice.example");
    for http2 in [false, true] {
        let request = |host| get(host, "/told", http2).body(Empty::new()).unwrap();
        let requests = ["a.example", "b.example", "a.example"]
            .map(request)
            .to_vec();
        let asked = authority.ask(addr, ("a.example", Some(&alice), http2), requests);
        let answers = timeout(SOON, asked).await.unwrap();
        let statuses: Vec<_> = answers.iter().map(|it| it.status().as_u16()).collect();
        assert_eq!(statuses, [200, 421, 200]);
    }
}

/// Over TLS too whoever has said nothing, or not all of what tells the protocols apart, is let go.
#[tokio::test]
async fn who_is_silent_after_the_handshake_is_closed_in_time() {
    let authority = Authority::new("silent");
    let (certificate, key) = authority.files("a.example");
    let tls = Tls::files(&certificate, &key).unwrap();
    let upstream = upstream().await;
    let set = |server: Server| server.tls(tls).header_time(Duration::from_millis(300));
    let (addr, _stop, _run) = start(set, &upstream).await;
    for http2 in [false, true] {
        for begin in ["", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let mut stream = authority.open(addr, ("a.example", None, http2)).await;
            stream.write_all(begin.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let closed = timeout(SOON, stream.read_to_end(&mut answer)).await;
            let _ = closed.expect("closed in time");
            assert!(answer.is_empty(), "{answer:?}");
        }
        let request = get("a.example", "/told", http2).body(Empty::new()).unwrap();
        let asked = authority.ask(addr, ("a.example", None, http2), vec![request]);
        let answers = timeout(SOON, asked).await.unwrap();
        assert_eq!(answers[0].status(), 200);
    }
}
