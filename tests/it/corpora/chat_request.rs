//! What is known of a request at a glance is what it says, its typed view can be written and read
//! again, and an edit changes nothing but what it edits.

use super::{block_on, with_vendor};
use bytes::Bytes;
use http::Request;
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex};
use tower::{ServiceExt, service_fn};
use tower_gateway::{
    Body, collect,
    llm::{Chat, ChatRequest, ChatResponse, Embed, Error, Operation, Simulator, serve::Serve},
    rejection::Kind,
};

pub(super) fn check(input: &[u8]) {
    let [kind, body @ ..] = input else {
        return;
    };
    let path = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"][usize::from(kind % 3)];
    let Some(request) = read(path, body) else {
        return;
    };
    let wire = request.wire().expect("its own bytes").clone();
    assert_eq!(wire.bytes, body);
    let model = wire.model.clone().expect("a name");
    let whole: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
    if let Some(whole) = &whole {
        assert_eq!(whole["model"], **request.model());
        let stream = whole.get("stream") == Some(&Value::Bool(true));
        assert_eq!(request.streams(), stream && kind % 3 != 2);
        let usage = whole.get("stream_options").map(|it| &it["include_usage"]);
        assert_eq!(request.includes_usage(), usage == Some(&Value::Bool(true)));
    } else {
        // A number may be too large to be read, and is not looked at.
        assert!(view(&request).is_none(), "a view of what is no JSON");
    }

    // On the way to a vendor.
    let asks = request.streams() && !request.includes_usage();
    let with_name = |name: &[u8]| [&body[..model.start], name, &body[model.end..]].concat();
    let sent = sent(request.clone());
    if !asks {
        // A name that was written with escapes is written without.
        let name = serde_json::to_vec(&**request.model()).unwrap();
        assert_eq!(sent, with_name(&name), "nothing was edited");
    }
    let mut renamed = request.clone();
    renamed.set_model("edited \"name\"");
    let edited = self::sent(renamed);
    let name = br#""edited \"name\"""#;
    if !asks {
        assert_eq!(edited, with_name(name));
    } else if let Some(mut whole) = whole {
        whole["model"] = "edited \"name\"".into();
        let options = whole.entry("stream_options").or_insert(Value::Null);
        if options.is_null() {
            *options = json!({});
        }
        options["include_usage"] = true.into();
        assert_eq!(serde_json::from_slice::<Map<_, _>>(&edited).unwrap(), whole);
        let span = wire.stream_options.unwrap_or(model.end..model.end);
        assert!(edited.starts_with(&body[..model.start.min(span.start)]));
        assert!(edited.ends_with(&body[model.end.max(span.end)..]));
    }

    // Written anew.
    if let Some(mut read_once) = view(&request) {
        if let (View::Chat(chat), false) = (&mut read_once, request.streams()) {
            // Options of a stream go with a stream.
            chat.extra.remove("stream_options");
        }
        let anew = match request.operation() {
            Operation::Embeddings => {
                let embed = request.embedding().unwrap().clone();
                ChatRequest::embed(embed).for_model(request.model())
            }
            _ => {
                let mut anew = request.clone();
                anew.chat_mut().expect("it was read");
                assert!(anew.wire().is_none());
                anew
            }
        };
        let written = self::sent(anew);
        let again = read(path, &written).expect("what is written is read");
        assert_eq!(again.model(), request.model());
        let read_again = view(&again);
        assert_eq!(read_again, Some(read_once), "{written:?}");
    }
    simulate(path, body);
}

#[derive(Debug, PartialEq)]
enum View {
    Chat(Box<Chat>),
    Embed(Embed),
}

fn view(request: &ChatRequest) -> Option<View> {
    Some(match request.operation() {
        Operation::Embeddings => View::Embed(request.embedding().ok()?.clone()),
        _ => View::Chat(Box::new(request.chat().ok()?.clone())),
    })
}

fn post(path: &str, body: &[u8]) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/json");
    request
        .body(Body::from(Bytes::copy_from_slice(body)))
        .unwrap()
}

fn read(path: &str, body: &[u8]) -> Option<ChatRequest> {
    let found = Arc::new(Mutex::new(None));
    let keep = found.clone();
    let chat = service_fn(move |request: ChatRequest| {
        *keep.lock().unwrap() = Some(request);
        async { Err::<ChatResponse, Error>(Kind::Internal.into()) }
    });
    let response = block_on(Serve::new(chat).oneshot(post(path, body))).unwrap();
    let found = found.lock().unwrap().take();
    assert_eq!(
        found.is_none(),
        response.status().is_client_error(),
        "{response:?}"
    );
    found
}

/// The bytes that a vendor of the same protocol gets.
fn sent(request: ChatRequest) -> Bytes {
    with_vendor(|vendor| {
        let _ = block_on(vendor.provider.clone().oneshot(request));
        vendor.received()
    })
}

fn simulate(path: &str, body: &[u8]) {
    block_on(async {
        let served = Serve::new(Simulator::new())
            .oneshot(post(path, body))
            .await
            .unwrap();
        assert_ne!(served.status(), 500);
        collect(served.into_body(), 64 << 20)
            .await
            .expect("a bounded answer");
    });
}
