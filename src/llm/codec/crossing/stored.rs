//! What one vendor keeps is nothing to another: it is refused, and nobody answers without it.

use super::{
    google::GEMINI,
    told::{VENDORS, of_client, told},
    *,
};
use crate::rejection::Kind;

const RESPONSES: Protocol = Protocol::Responses;

/// What clients call it, and where it stands.
fn kept() -> Vec<(Protocol, Value, &'static str)> {
    let user = |content: Value| json!({"role": "user", "content": content});
    let chat =
        |part: Value| json!({"messages": [user(json!([{"type": "text", "text": "?"}, part]))]});
    let items = |part: Value| json!({"instructions": "s", "input": [user(json!([{"type": "input_text", "text": "?"}, part]))]});
    let claude = |block: Value| json!({"system": "s", "messages": [user(json!([{"type": "text", "text": "?"}, block]))]});
    let google = |part: Value| json!({"systemInstruction": "s", "contents": [{"role": "user", "parts": [{"text": "?"}, part]}]});
    let file = json!({"type": "file", "file_id": "file_1"});
    let call = json!({"type": "tool_use", "id": "a", "name": "f", "input": {}});
    let result = json!({"type": "tool_result", "tool_use_id": "a",
        "content": [{"type": "text", "text": "?"}, {"type": "document", "source": file}]});
    const API: &str = "https://generativelanguage.googleapis.com/v1beta/files/a";
    vec![
        (
            OPENAI,
            chat(json!({"type": "file", "file": {"file_id": "file-1"}})),
            "messages[0].content[1]",
        ),
        (
            OPENAI,
            chat(json!({"type": "file", "file": {"file_id": "file-1", "odd": 1}})),
            "messages[0].content[1]",
        ),
        (
            OPENAI,
            chat(json!({"type": "image_url", "image_url": {"url": "gs://b/a.png"}})),
            "messages[0].content[1]",
        ),
        (
            OPENAI,
            chat(json!({"type": "image_url", "image_url": {"url": "S3://b/a.png"}})),
            "messages[0].content[1]",
        ),
        (
            OPENAI,
            json!({"messages": [user(json!("hi")), {"role": "assistant", "content": null, "audio": {"id": "audio_1"}}, user(json!("?"))]}),
            "messages[1].audio",
        ),
        (
            RESPONSES,
            items(json!({"type": "input_file", "file_id": "file-1"})),
            "input[0].content[1]",
        ),
        (
            RESPONSES,
            items(json!({"type": "input_image", "file_id": "file-1"})),
            "input[0].content[1]",
        ),
        (
            RESPONSES,
            items(json!({"type": "input_file", "file_url": "s3://b/a.pdf"})),
            "input[0].content[1]",
        ),
        (
            ANTHROPIC,
            claude(json!({"type": "image", "source": file})),
            "messages[0].content[1]",
        ),
        (
            ANTHROPIC,
            claude(json!({"type": "document", "source": file, "title": "t"})),
            "messages[0].content[1]",
        ),
        (
            ANTHROPIC,
            claude(json!({"type": "container_upload", "file_id": "file_1"})),
            "messages[0].content[1]",
        ),
        (
            ANTHROPIC,
            json!({"messages": [user(json!("hi")), {"role": "assistant", "content": [call]}, user(json!([result]))]}),
            "messages[2].content[0].content[1]",
        ),
        (
            GEMINI,
            google(json!({"fileData": {"fileUri": "gs://b/a.pdf"}})),
            "contents[0].parts[1]",
        ),
        (
            GEMINI,
            google(json!({"fileData": {"fileUri": API, "mimeType": "application/pdf"}})),
            "contents[0].parts[1]",
        ),
        (
            GEMINI,
            google(json!({"fileData": {"fileUri": API, "mimeType": "video/mp4"}})),
            "contents[0].parts[1]",
        ),
        (
            GEMINI,
            json!({"cachedContent": "cachedContents/1"}),
            "cachedContent",
        ),
    ]
}

#[test]
fn rule_19_and_20_what_one_vendor_keeps_is_refused_at_every_other() {
    for (from, body, place) in kept() {
        for (to, model) in VENDORS {
            let (request, _) = of_client(from, model, body.clone());
            let sent = encoded(&request, &maker(to, model));
            if to == from {
                assert!(sent.unwrap().losses.is_empty(), "{from:?} {place}");
                continue;
            }
            let refused = sent.unwrap_err();
            assert_eq!(
                refused.kind(),
                Kind::UnsupportedParameter,
                "{from:?} to {to:?}"
            );
            assert_eq!(refused.param(), Some(place), "{from:?} to {to:?}");
            let words = refused.message();
            assert!(
                !words.contains("file_1") && !words.contains("b/a"),
                "{words}"
            );
        }
    }
}

#[test]
fn each_of_several_is_told() {
    let file = json!({"type": "file", "file": {"file_id": "file-1"}});
    let body = json!({"messages": [{"role": "user", "content": [file, {"type": "text", "text": "a"}, file]}]});
    for (to, model) in &VENDORS[1..] {
        let (request, _) = of_client(OPENAI, model, body.clone());
        assert_eq!(
            told(&request, *to),
            ["messages[0].content[0]", "messages[0].content[2]"]
        );
    }
}

#[test]
fn what_is_on_the_web_is_kept_by_nobody() {
    for url in ["https://example.com/a.png", "data:image/png;base64,AAAA"] {
        let image = json!({"type": "image_url", "image_url": {"url": url}});
        let body = json!({"messages": [{"role": "user", "content": [image, {"type": "text", "text": "a"}]}]});
        for protocol in [ANTHROPIC, GEMINI, RESPONSES] {
            let (request, _) = of_client(OPENAI, CLAUDE, body.clone());
            assert!(told(&request, protocol).is_empty());
        }
    }
}
