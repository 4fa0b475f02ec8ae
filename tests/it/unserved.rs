//! Paths that vendors document and that are not served: each answers 404 in the words of its clients, and
//! says why where that is known.

use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_gateway::{
    Body, collect,
    llm::{Simulator, serve::Serve},
};

async fn call(
    method: &str,
    path: &str,
    headers: &[(&'static str, &'static str)],
) -> Response<Bytes> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .header("content-type", "application/json")
        .body(Body::from("{}"))
        .unwrap();
    let answer = Serve::new(Simulator::new()).oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    Response::from_parts(parts, collect(body, 1 << 20).await.unwrap())
}

fn document(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

/// The words for each reason; of the last nothing is said.
const ACCOUNT: &str = "one account";
const KEPT: &str = "not kept";
const COMPACTED: &str = "not compacted";
const SESSION: &str = "Sessions";
const ANY: &str = "";

const OPENAI: &[(&str, &str, &str)] = &[
    ("GET", "/v1/chat/completions/chatcmpl_1", KEPT),
    ("POST", "/v1/chat/completions/chatcmpl_1", KEPT),
    ("DELETE", "/v1/chat/completions/chatcmpl_1", KEPT),
    ("GET", "/v1/chat/completions/chatcmpl_1/messages", KEPT),
    ("GET", "/v1/responses/resp_1", KEPT),
    ("DELETE", "/v1/responses/resp_1", KEPT),
    ("POST", "/v1/responses/resp_1/cancel", KEPT),
    ("GET", "/v1/responses/resp_1/input_items", KEPT),
    ("POST", "/v1/responses/compact", COMPACTED),
    ("POST", "/v1/conversations", ACCOUNT),
    ("GET", "/v1/conversations/conv_1/items", ACCOUNT),
    ("POST", "/v1/files", ACCOUNT),
    ("GET", "/v1/files/file-1/content", ACCOUNT),
    ("POST", "/v1/uploads/upload_1/parts", ACCOUNT),
    ("GET", "/v1/batches/batch_1", ACCOUNT),
    ("POST", "/v1/batches/batch_1/cancel", ACCOUNT),
    ("POST", "/v1/fine_tuning/jobs", ACCOUNT),
    ("POST", "/v1/fine_tuning/alpha/graders/run", ACCOUNT),
    ("GET", "/v1/evals/eval_1/runs", ACCOUNT),
    ("POST", "/v1/vector_stores/vs_1/search", ACCOUNT),
    ("POST", "/v1/containers/cntr_1/files", ACCOUNT),
    ("POST", "/v1/assistants", ACCOUNT),
    ("POST", "/v1/threads/thread_1/runs", ACCOUNT),
    ("POST", "/v1/chatkit/sessions", ACCOUNT),
    ("POST", "/v1/videos", ACCOUNT),
    ("GET", "/v1/videos/video_1/content", ACCOUNT),
    ("POST", "/v1/skills", ACCOUNT),
    ("POST", "/v1/audio/voices", ACCOUNT),
    ("GET", "/v1/audio/voice_consents", ACCOUNT),
    ("POST", "/v1/realtime/client_secrets", SESSION),
    ("GET", "/v1/realtime", SESSION),
    ("POST", "/v1/realtime/calls/call_1/hangup", SESSION),
    ("GET", "/v1/organization/usage/completions", ACCOUNT),
    ("GET", "/v1/organization/admin_api_keys", ACCOUNT),
    ("GET", "/v1/projects/proj_1/groups", ACCOUNT),
    ("POST", "/v1/edits", ANY),
    ("GET", "/v1/engines", ANY),
    ("GET", "/v1", ANY),
    ("GET", "/v1/", ANY),
];

const ANTHROPIC: &[(&str, &str, &str)] = &[
    ("POST", "/v1/messages/batches", ACCOUNT),
    ("GET", "/v1/messages/batches/msgbatch_1/results", ACCOUNT),
    ("POST", "/v1/messages/batches/msgbatch_1/cancel", ACCOUNT),
    ("POST", "/v1/files", ACCOUNT),
    ("GET", "/v1/files/file_1/content", ACCOUNT),
    ("GET", "/v1/skills/skill_1/versions", ACCOUNT),
    ("POST", "/v1/agents", ACCOUNT),
    ("POST", "/v1/sessions/session_1/events", ACCOUNT),
    ("GET", "/v1/environments", ACCOUNT),
    ("GET", "/v1/vaults/vlt_1/credentials", ACCOUNT),
    ("POST", "/v1/memory_stores", ACCOUNT),
    ("GET", "/v1/organizations/me", ACCOUNT),
    ("GET", "/v1/organizations/usage_report/messages", ACCOUNT),
    ("POST", "/v1/complete", ANY),
    ("POST", "/v1/messages/elsewhere", ANY),
];

const GEMINI: &[(&str, &str, &str)] = &[
    ("POST", "/upload/v1beta/files", ACCOUNT),
    ("GET", "/v1beta/files/f", ACCOUNT),
    ("GET", "/v1beta/files/f:download", ACCOUNT),
    ("POST", "/v1beta/files:register", ACCOUNT),
    ("GET", "/v1beta/cachedContents", ACCOUNT),
    ("GET", "/v1beta/batches/b", ACCOUNT),
    ("POST", "/v1beta/batches/b:cancel", ACCOUNT),
    ("GET", "/v1beta/corpora/c/documents", ACCOUNT),
    ("POST", "/v1beta/fileSearchStores/s:importFile", ACCOUNT),
    (
        "POST",
        "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore",
        ACCOUNT,
    ),
    ("GET", "/v1beta/generatedFiles", ACCOUNT),
    ("GET", "/v1beta/operations/o", ACCOUNT),
    ("POST", "/v1beta/interactions", ACCOUNT),
    ("GET", "/v1beta/tunedModels", ACCOUNT),
    ("POST", "/v1beta/dynamic/d:generateContent", ANY),
    ("POST", "/v1alpha/auth_tokens", SESSION),
    ("POST", "/v1beta/models/m:batchGenerateContent", ANY),
    ("POST", "/v1beta/models/m:asyncBatchEmbedContent", ANY),
    ("POST", "/v1beta/models/m:predict", ANY),
    ("POST", "/v1beta/models/m:predictLongRunning", ANY),
    ("GET", "/v1beta/models/m/operations/o", ANY),
    ("POST", "/v1beta/models/m:generateAnswer", ANY),
    ("POST", "/v1alpha/models/m:generateContent", ANY),
];

#[tokio::test]
async fn what_openai_documents_besides_is_404_in_its_words() {
    for (method, path, why) in OPENAI {
        let answer = call(method, path, &[("authorization", "Bearer k")]).await;
        let body = document(&answer);
        let error = &body["error"];
        assert_eq!(answer.status(), 404, "{path}: {body}");
        assert_eq!(error["type"], "invalid_request_error", "{path}");
        assert_eq!(error["code"], "not_supported", "{path}");
        assert!(error.as_object().unwrap().contains_key("param"), "{path}");
        assert!(
            error["message"].as_str().unwrap().contains(why),
            "{path}: {body}"
        );
    }
}

#[tokio::test]
async fn what_anthropic_documents_besides_is_404_in_its_words() {
    for (method, path, why) in ANTHROPIC {
        let answer = call(method, path, &[("anthropic-version", "2023-06-01")]).await;
        let body = document(&answer);
        let error = &body["error"];
        assert_eq!(answer.status(), 404, "{path}: {body}");
        assert_eq!(
            (&body["type"], &error["type"]),
            (&json!("error"), &json!("not_found_error"))
        );
        assert!(
            error["message"].as_str().unwrap().contains(why),
            "{path}: {body}"
        );
    }
}

#[tokio::test]
async fn what_google_documents_besides_is_404_in_its_words() {
    for (method, path, why) in GEMINI {
        let answer = call(method, path, &[("x-goog-api-key", "k")]).await;
        let body = document(&answer);
        let error = &body["error"];
        assert_eq!(answer.status(), 404, "{path}: {body}");
        assert_eq!(
            (&error["code"], &error["status"]),
            (&json!(404), &json!("NOT_FOUND"))
        );
        assert!(
            error["message"].as_str().unwrap().contains(why),
            "{path}: {body}"
        );
    }
}

/// A path that is served is not one of those, though it begins alike.
#[tokio::test]
async fn what_is_served_has_other_methods_only() {
    for (method, path, allowed) in [
        (Method::GET, "/v1/chat/completions", "POST"),
        (Method::GET, "/v1/responses", "POST"),
        (Method::DELETE, "/v1/models/a", "GET, HEAD"),
        (Method::GET, "/v1/images/generations", "POST"),
        (Method::PATCH, "/v1beta/models/a", "GET, HEAD"),
    ] {
        let answer = call(method.as_str(), path, &[]).await;
        assert_eq!(answer.status(), 405, "{path}");
        assert_eq!(answer.headers()["allow"], allowed, "{path}");
    }
}
