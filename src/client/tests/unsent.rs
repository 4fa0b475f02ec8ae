//! Which failures leave no doubt that the server has not seen the request.

use super::*;

/// What comes of a request to an HTTP/2 server that resets the stream.
async fn http2(reason: h2::Reason) -> Rejection {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        if let Some(Ok((_request, mut respond))) = connection.accept().await {
            respond.send_reset(reason);
        }
        // Writes what there is to write.
        let _ = std::future::poll_fn(|cx| connection.poll_closed(cx)).await;
    });
    let client = Client::new().http2_only();
    client.send(request(Method::POST, uri)).await.unwrap_err()
}

#[tokio::test]
async fn a_stream_that_was_refused_was_not_looked_at_and_one_that_was_reset_may_have_been() {
    let refused = http2(h2::Reason::REFUSED_STREAM).await;
    assert!(refused.is_unsent() && refused.kind() == Kind::BadGateway);
    let reset = http2(h2::Reason::INTERNAL_ERROR).await;
    assert!(!reset.is_unsent());
}

#[tokio::test]
async fn a_stream_that_a_goaway_leaves_out_was_not_looked_at() {
    // A preface of settings, and then a `GOAWAY` after which no stream was looked at; or after which the
    // first one was, and the end of the connection.
    for (last, unsent) in [(0, true), (1, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket
                .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
                .await
                .unwrap();
            let mut seen = Vec::new();
            // Until the headers of the first stream are there.
            while !seen
                .windows(6)
                .any(|frame| frame[0] == 1 && frame[2..] == [0, 0, 0, 1])
            {
                seen.push(socket.read_u8().await.unwrap());
            }
            let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0];
            socket.write_all(&goaway).await.unwrap();
        });
        let client = Client::new().http2_only();
        let gone = client.send(request(Method::POST, uri)).await.unwrap_err();
        assert_eq!(gone.is_unsent(), unsent, "{last}: {gone:?}");
    }
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent_and_with_one_it_may_have_been() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for scheme in ["http", "https"] {
        let refused = get(format_args!("{scheme}://{address}/"))
            .await
            .unwrap_err();
        assert!(refused.is_unsent(), "{scheme}");
    }
    assert!(
        get("http://nowhere.invalid/")
            .await
            .unwrap_err()
            .is_unsent()
    );
    let address = server(&[&[""]]).await;
    let broken = get(format_args!("http://{address}/")).await.unwrap_err();
    assert!(!broken.is_unsent());
}
