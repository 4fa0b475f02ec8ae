//! A form with a file reaches a vendor as it came or not at all, however it is cut: one name of a model
//! is found in it, and no second one goes by.

use super::{Parts, block_on, in_time, pieces, with_vendor};
use bytes::Bytes;
use http::Request;
use std::sync::{Arc, Mutex};
use tower::{ServiceExt, service_fn};
use tower_gateway::{
    Body,
    llm::{ChatRequest, ChatResponse, Error, serve::Serve},
    rejection::Kind,
};

const PATHS: [&str; 4] = [
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/images/edits",
    "/v1/images/variations",
];

pub(super) fn check(input: &[u8]) {
    let [kind, seed, form @ ..] = input else {
        return;
    };
    // Its start is no part of what is timed.
    with_vendor(|_| ());
    let path = PATHS[usize::from(kind % 4)];
    let whole = in_time(form.len(), || named(path, &[form]));
    let cut = in_time(form.len(), || named(path, &pieces(form, *seed)));
    assert!(
        whole == cut || whole.is_none() || cut.is_none(),
        "another cut: {whole:?} {cut:?}"
    );
    let sent = in_time(form.len(), || sent(path, &pieces(form, *seed)));
    if let Some(sent) = sent {
        assert_eq!(sent, form, "other bytes");
        assert!(cut.is_some() || path.starts_with("/v1/images"));
    }
}

fn post(path: &str, pieces: &[&[u8]]) -> Request<Body> {
    let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece));
    Request::post(path)
        .header("content-type", "multipart/form-data; boundary=b")
        .body(Body::new(Parts::new(pieces.collect())))
        .unwrap()
}

fn named(path: &str, pieces: &[&[u8]]) -> Option<Arc<str>> {
    let found = Arc::new(Mutex::new(None));
    let keep = found.clone();
    let chat = service_fn(move |request: ChatRequest| {
        *keep.lock().unwrap() = Some(request.model().clone());
        async { Err::<ChatResponse, Error>(Kind::Internal.into()) }
    });
    let _ = block_on(Serve::new(chat).oneshot(post(path, pieces))).unwrap();
    found.lock().unwrap().take()
}

/// What a vendor got, if all of it was passed on.
fn sent(path: &str, pieces: &[&[u8]]) -> Option<Bytes> {
    with_vendor(|vendor| {
        vendor.received();
        vendor.answers(super::Answer {
            content_type: "application/json",
            pieces: vec![Bytes::from_static(b"{}")],
            broken: false,
        });
        let served = Serve::new(vendor.provider.clone()).oneshot(post(path, pieces));
        let response = block_on(served).unwrap();
        let received = vendor.received();
        (response.status() == 200).then_some(received)
    })
}
