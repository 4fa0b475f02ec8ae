//! Recorded traffic of vendors through the gateway's plane of models, where a folder of it lies
//! beside the project: what they answered reaches the client byte for byte.

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use std::path::PathBuf;
use tower::ServiceExt;
use tower_gateway::{
    Body, collect,
    llm::{Protocol, Provider, serve::Serve},
    testing::{MockUpstream, Recording},
};

const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";

/// Exchanges of the protocols that are served, and the path that a client would have used.
fn recordings() -> Option<Vec<(Recording, &'static str)>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/wire");
    if !folder.exists() {
        let required = std::env::var_os("TOWER_GATEWAY_REQUIRE_RECORDINGS");
        assert!(required.is_none_or(|value| value != "1"), "no {folder:?}");
        return None;
    }
    let all = Recording::load_all(folder).unwrap().into_iter();
    let served = |recording: Recording| {
        let path = recording.request.path.split('?').next().unwrap_or_default();
        let target = match &*recording.endpoint {
            "chat_completions" => "/v1/chat/completions",
            "messages" => MESSAGES,
            "responses" => RESPONSES,
            // Not Ollama's own, which ends the same.
            "embeddings" if path.ends_with("/embeddings") && path != "/api/embeddings" => {
                "/v1/embeddings"
            }
            _ => return None,
        };
        Some((recording, target))
    };
    Some(all.filter_map(served).collect())
}

#[tokio::test]
async fn recorded_answers_reach_the_client_byte_for_byte() {
    let Some(recordings) = recordings() else {
        println!("recordings: skipped (no shared folder)");
        return;
    };
    let (mut count, mut failed) = (0, Vec::new());
    for (recording, target) in &recordings {
        for (size, include_usage) in [(1_000_000, true), (97, true), (7, false)] {
            if !passes(recording, target, size, include_usage).await {
                failed.push((&*recording.case, size, include_usage));
            }
        }
        count += 1;
    }
    println!("recordings: {count} exchanges, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(count >= 239, "{count}");
}

async fn passes(recording: &Recording, target: &str, size: usize, include_usage: bool) -> bool {
    let reply = recording.reply().split_every(size);
    let upstream = MockUpstream::start(reply).await.unwrap();
    let mut provider = Provider::custom("lab", upstream.url() + "/v1").unwrap();
    // Of OpenAI's chat alone the usage of a stream is to be asked for.
    let told = target == MESSAGES || target == RESPONSES;
    let protocol = match target {
        MESSAGES => Protocol::Anthropic,
        RESPONSES => Protocol::Responses,
        _ => Protocol::OpenAi,
    };
    provider = provider.speaking(protocol);
    let mut body = request(recording, include_usage && !told);
    if target == RESPONSES {
        // The gateway would decide the one and refuse the other.
        let fields = body.as_object_mut().unwrap();
        fields.entry("store").or_insert(true.into());
        fields.remove("previous_response_id");
    }
    let request = Request::post(target)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let answer = Serve::new(provider).oneshot(request).await.unwrap();
    let status = answer.status();
    let got = collect(answer.into_body(), 64 << 20).await.unwrap();
    let sent = &recording.response.body;
    if recording.response.status >= 400 {
        let got: Value = serde_json::from_slice(&got).unwrap();
        return (status.is_client_error() || status.is_server_error())
            && got["error"]["message"].is_string();
    }
    if recording.stream && breaks(sent) {
        // All that came before, then the error, and no end that says that all is well.
        let text = String::from_utf8_lossy(&got);
        let last = text.trim_end().rsplit("\n\n").next().unwrap_or_default();
        return last.contains("\"error\"") && !text.contains("[DONE]");
    }
    let expected = match recording.stream && !include_usage && !told {
        true => without_usage(sent),
        false => sent.to_vec(),
    };
    let asked = upstream.last().unwrap();
    let same = !told || asked.body == body.to_string();
    status == 200 && got == expected && same
}

/// The recorded body, or one that asks for the same kind of answer.
fn request(recording: &Recording, include_usage: bool) -> Value {
    let recorded = recording.request.body.as_ref();
    let recorded = recorded.and_then(|body| serde_json::from_slice::<Value>(body).ok());
    let mut body = recorded.filter(Value::is_object).unwrap_or(json!({}));
    // Azure has the name in the path.
    if body["model"].is_null() {
        body["model"] = "m".into();
    }
    let fields = body.as_object_mut().unwrap();
    fields.remove("stream_options");
    fields.remove("stream");
    if recording.stream {
        fields.insert("stream".into(), true.into());
        if include_usage {
            let options = json!({"include_usage": true});
            fields.insert("stream_options".into(), options);
        }
    }
    body
}

/// The events of a recording, with the empty lines that end them.
fn events(sse: &Bytes) -> Vec<&str> {
    let text = std::str::from_utf8(sse).unwrap();
    let mut events = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        at += line.len();
        if line.trim_end().is_empty() {
            events.push(&text[start..at]);
            start = at;
        }
    }
    events.push(&text[start..]);
    events
}

fn chunk(event: &str) -> Option<Value> {
    let data = event.lines().find_map(|line| line.strip_prefix("data:"))?;
    serde_json::from_str(data).ok()
}

fn breaks(sse: &Bytes) -> bool {
    let chunks = events(sse).into_iter().filter_map(chunk);
    chunks.into_iter().any(|chunk| !chunk["error"].is_null())
}

fn without_usage(sse: &Bytes) -> Vec<u8> {
    let only_usage = |chunk: Value| chunk["choices"] == json!([]) && chunk["usage"].is_object();
    let kept = events(sse)
        .into_iter()
        .filter(|event| !chunk(event).is_some_and(only_usage));
    kept.collect::<String>().into_bytes()
}
