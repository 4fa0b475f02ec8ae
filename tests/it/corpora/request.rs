//! A request in the words of any client is read or refused, is written for a vendor of each protocol,
//! and what is written for one that clients speak, too, is read again.

use super::{block_on, in_time, with_vendor};
use bytes::Bytes;
use http::Request;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tower::{ServiceExt, service_fn};
use tower_gateway::{
    Body,
    llm::{ChatRequest, ChatResponse, Error, Operation, Protocol, serve::Serve},
    rejection::Kind,
};

const PATHS: [&str; 12] = [
    "/v1/responses",
    "/v1/messages",
    "/v1beta/models/m:generateContent",
    "/v1beta/models/m:streamGenerateContent?alt=sse",
    "/v1/chat/completions",
    "/v1/rerank",
    "/v2/rerank",
    "/v1beta/models/m:embedContent",
    "/v1beta/models/m:batchEmbedContents",
    "/v1beta/models/m:countTokens",
    "/v1/messages/count_tokens",
    "/v1/responses/input_tokens",
];

const PROTOCOLS: [Protocol; 7] = [
    Protocol::OpenAi,
    Protocol::Responses,
    Protocol::Anthropic,
    Protocol::Gemini,
    Protocol::Bedrock,
    Protocol::Cohere,
    Protocol::Ollama,
];

pub(super) fn check(input: &[u8]) {
    let [kind, body @ ..] = input else {
        return;
    };
    // Its start is no part of what is timed.
    with_vendor(|_| ());
    let path = PATHS[usize::from(kind & 15) % PATHS.len()];
    let protocol = PROTOCOLS[usize::from(kind >> 4) % PROTOCOLS.len()];
    let Some(request) = in_time(body.len(), || read(path, body)) else {
        return;
    };
    assert_eq!(request.wire().expect("its own bytes").bytes, body);
    let read = in_time(body.len(), || match request.operation() {
        Operation::Embeddings => request.embedding().is_ok(),
        Operation::Rerank => request.reranking().is_ok(),
        _ => request.chat().is_ok(),
    });
    let document = serde_json::from_slice::<Value>(body).is_ok();
    assert!(document || !read, "a view of what is no JSON");
    let mut request = request;
    if let (true, Operation::Chat) = (read, request.operation()) {
        request.chat_mut().expect("it was read");
    }
    let sent = match request.operation() {
        // The first count loads tables, which takes seconds here.
        Operation::CountTokens => sent(&request, protocol),
        _ => in_time(body.len(), || sent(&request, protocol)),
    };
    if sent.is_empty() || !read {
        return;
    }
    serde_json::from_slice::<Value>(&sent).expect("what is sent is JSON");
    let path = match (protocol, request.operation()) {
        (Protocol::OpenAi, Operation::Chat) => "/v1/chat/completions",
        (Protocol::Responses, Operation::Chat) => "/v1/responses",
        (Protocol::Anthropic, Operation::Chat) => "/v1/messages",
        (Protocol::Gemini, Operation::Chat) => "/v1beta/models/m:generateContent",
        _ => return,
    };
    // An empty conversation is refused by some.
    let empty = request.chat().is_ok_and(|chat| chat.messages.is_empty());
    let again = self::read(path, &sent);
    if let Some(again) = again.filter(|_| !empty) {
        let unread = again.chat().err();
        // What came in the vendor's own words goes along as it is, known or not.
        assert!(
            unread.is_none() || request.origin() == Some(protocol),
            "{unread:?}"
        );
    }
}

fn read(path: &str, body: &[u8]) -> Option<ChatRequest> {
    let found = Arc::new(Mutex::new(None));
    let keep = found.clone();
    let chat = service_fn(move |request: ChatRequest| {
        *keep.lock().unwrap() = Some(request);
        async { Err::<ChatResponse, Error>(Kind::Internal.into()) }
    });
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(Bytes::copy_from_slice(body)))
        .unwrap();
    let response = block_on(Serve::new(chat).oneshot(request)).unwrap();
    let found = found.lock().unwrap().take();
    assert_eq!(
        found.is_none(),
        response.status().is_client_error(),
        "{response:?}"
    );
    found
}

/// What a vendor gets; nothing, if it cannot be said.
fn sent(request: &ChatRequest, protocol: Protocol) -> Bytes {
    with_vendor(|vendor| {
        vendor.received();
        let provider = vendor.provider.clone().speaking(protocol).key("none");
        let _ = block_on(provider.oneshot(request.clone()));
        vendor.received()
    })
}
