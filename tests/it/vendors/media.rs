//! Pictures and documents by URL: passed on where they are taken, refused where bytes are wanted, and never
//! fetched.

use super::*;
use http::Request;
use tower_gateway::{Body, collect, llm::serve::Serve};

const PICTURE: &str = "https://pictures.example/a.png";
const DOCUMENT: &str = "https://documents.example/a.pdf";

fn openai() -> (&'static str, Value) {
    let parts = json!([
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": PICTURE}},
    ]);
    (
        "/v1/chat/completions",
        json!({"model": "m", "messages": [{"role": "user", "content": parts}]}),
    )
}

fn anthropic(kind: &str, url: &str) -> (&'static str, Value) {
    let parts = json!([
        {"type": "text", "text": "see"},
        {"type": kind, "source": {"type": "url", "url": url}},
    ]);
    let messages = json!([{"role": "user", "content": parts}]);
    (
        "/v1/messages",
        json!({"model": "m", "max_tokens": 9, "system": "be", "messages": messages}),
    )
}

fn gemini(mime: &str, url: &str) -> (&'static str, Value) {
    let parts = json!([
        {"text": "see"},
        {"fileData": {"mimeType": mime, "fileUri": url}},
    ]);
    (
        "/v1beta/models/m:generateContent",
        json!({"contents": [{"role": "user", "parts": parts}]}),
    )
}

fn responses(part: &Value) -> (&'static str, Value) {
    let parts = json!([{"type": "input_text", "text": "see"}, part]);
    let items = json!([{"role": "user", "content": parts}]);
    (
        "/v1/responses",
        json!({"model": "m", "instructions": "be", "input": items}),
    )
}

/// As some libraries write JSON: a slash may be escaped.
fn written(body: &Value) -> String {
    body.to_string().replace("://escaped", r":\/\/escaped")
}

/// The status, the body of the answer, and what the vendor was sent.
async fn asked(vendor: &str, (path, body): (&str, Value)) -> (u16, Value, Option<String>) {
    let upstream = MockUpstream::start(hello).await.unwrap();
    let provider = Provider::of(row(vendor)).base_url(upstream.url()).unwrap();
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(written(&body)))
        .unwrap();
    let answer = Serve::new(provider).oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = collect(body, 1 << 20).await.unwrap();
    let sent = upstream.last().map(|sent| sent.json().to_string());
    (
        parts.status.as_u16(),
        serde_json::from_slice(&body).unwrap(),
        sent,
    )
}

#[tokio::test]
async fn what_is_taken_by_url_is_passed_on_as_a_url() {
    for vendor in ["openai", "anthropic", "gemini", "cohere"] {
        for request in [
            openai(),
            anthropic("image", PICTURE),
            gemini("image/png", PICTURE),
        ] {
            let (status, told, sent) = asked(vendor, request).await;
            assert_eq!(status, 200, "{vendor}: {told}");
            assert!(sent.unwrap().contains(PICTURE), "{vendor}");
        }
    }
    for vendor in ["anthropic", "gemini"] {
        for request in [
            anthropic("document", DOCUMENT),
            gemini("application/pdf", DOCUMENT),
        ] {
            let (status, told, sent) = asked(vendor, request).await;
            assert_eq!(status, 200, "{vendor}: {told}");
            assert!(sent.unwrap().contains(DOCUMENT), "{vendor}");
        }
    }
}

#[tokio::test]
async fn a_document_by_url_is_refused_where_bytes_are_wanted() {
    let file = json!({"type": "input_file", "file_url": DOCUMENT});
    for (request, param) in [
        (anthropic("document", DOCUMENT), "messages[0].content[1]"),
        (gemini("application/pdf", DOCUMENT), "contents[0].parts[1]"),
        (responses(&file), "input[0].content[1]"),
    ] {
        let (status, told, sent) = asked("deepseek", request).await;
        assert_eq!((status, sent), (400, None), "{told}");
        let told = told.to_string();
        assert!(told.to_ascii_lowercase().contains("unsupported_parameter"));
        assert!(told.contains(param) && told.contains("bytes"), "{told}");
        assert!(!told.contains(DOCUMENT), "{told}");
    }
}

#[tokio::test]
async fn what_another_vendor_keeps_is_refused_and_never_left_out() {
    for vendor in ["deepseek", "cohere", "bedrock"] {
        let kept = "gs://bucket/a.pdf";
        let file = json!({"type": "input_file", "file_id": "file-1"});
        for (request, param) in [
            (anthropic("document", kept), "messages[0].content[1]"),
            (gemini("application/pdf", kept), "contents[0].parts[1]"),
            (responses(&file), "input[0].content[1]"),
        ] {
            let (status, told, sent) = asked(vendor, request).await;
            assert_eq!((status, sent), (400, None), "{vendor}: {told}");
            let told = told.to_string();
            assert!(told.to_ascii_lowercase().contains("unsupported_parameter"));
            assert!(told.contains(param), "{vendor}: {told}");
            assert!(!told.contains("bucket"), "{told}");
        }
    }
}

/// <https://docs.ollama.com/api/openai-compatibility>: "Base64 encoded image", and no URL. LM Studio likewise.
#[tokio::test]
async fn a_picture_by_url_is_refused_where_ollama_and_lm_studio_want_bytes() {
    // Bedrock wants them as well, in words of its own.
    let (status, told, sent) = asked("bedrock", openai()).await;
    assert_eq!((status, sent), (400, None), "{told}");
    assert!(told.to_string().contains("unsupported_parameter"), "{told}");
    for vendor in ["ollama", "lmstudio"] {
        let (path, mut escaped) = openai();
        escaped["messages"][0]["content"][1]["image_url"]["url"] =
            "https://escaped.example/".into();
        for request in [openai(), anthropic("image", PICTURE), (path, escaped)] {
            let (status, told, sent) = asked(vendor, request).await;
            assert_eq!((status, sent), (400, None), "{vendor}: {told}");
            let told = told.to_string();
            assert!(told.contains("unsupported_parameter"), "{told}");
            assert!(told.contains("messages[0].content[1]"), "{told}");
        }
        let (path, mut bytes) = openai();
        let data = "data:image/png;base64,AAAA";
        bytes["messages"][0]["content"][1]["image_url"]["url"] = data.into();
        let (status, _, sent) = asked(vendor, (path, bytes)).await;
        assert_eq!(status, 200);
        assert!(sent.unwrap().contains(data));
    }
}
