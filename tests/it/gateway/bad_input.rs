//! What a client can get wrong.

use super::*;

#[tokio::test]
async fn bad_input_gets_a_clear_error() {
    let gateway = builder().body_limit(1 << 20).build().unwrap();
    let model = simulator::CHAT_MODEL;
    let deep = format!(r#"{{"model":"{model}","messages":{}"#, "[".repeat(100_000));
    let post = |body: String| post("/v1/chat/completions", body);
    let typed = |content_type: Option<&'static str>| {
        let mut request = chat(false);
        request.headers_mut().remove(header::CONTENT_TYPE);
        if let Some(value) = content_type {
            request
                .headers_mut()
                .insert(header::CONTENT_TYPE, value.parse().unwrap());
        }
        request
    };
    let many = format!(
        r#"{{"model":"{model}","n":1000000000,"messages":[{{"role":"user","content":"x"}}]}}"#
    );
    for (name, request, status, param, code) in [
        (
            "broken",
            post("{\"model\": \"a\",".into()),
            400,
            None,
            "invalid_request",
        ),
        ("deep", post(deep), 400, None, "invalid_request"),
        (
            "empty body",
            post(String::new()),
            400,
            None,
            "invalid_request",
        ),
        ("an array", post("[]".into()), 400, None, "invalid_request"),
        (
            "no model",
            post(r#"{"messages":[]}"#.into()),
            400,
            Some("model"),
            "invalid_request",
        ),
        (
            "model of a wrong type",
            post(r#"{"model":7}"#.into()),
            400,
            Some("model"),
            "invalid_request",
        ),
        (
            "no messages",
            post(format!(r#"{{"model":"{model}","messages":[]}}"#)),
            400,
            Some("messages"),
            "invalid_request",
        ),
        (
            "role of a wrong type",
            post(format!(
                r#"{{"model":"{model}","messages":[{{"role":7,"content":"x"}}]}}"#
            )),
            400,
            Some("messages[0].role"),
            "invalid_request",
        ),
        ("n", post(many), 400, Some("n"), "invalid_request"),
        (
            "no content type",
            typed(None),
            415,
            Some("content-type"),
            "unsupported_media_type",
        ),
        (
            "text",
            typed(Some("text/plain")),
            415,
            Some("content-type"),
            "unsupported_media_type",
        ),
        (
            "large",
            post(" ".repeat((1 << 20) + 1)),
            413,
            None,
            "request_too_large",
        ),
        (
            "method",
            get_with_key("/v1/chat/completions"),
            405,
            None,
            "method_not_allowed",
        ),
        (
            "path",
            get_with_key("/v1/assistants"),
            404,
            None,
            "not_supported",
        ),
    ] {
        let response = call(&gateway, request).await;
        assert_eq!(response.status(), status, "{name}");
        let error = json_of(response).await["error"].take();
        assert_eq!(error["code"], code, "{name}: {error}");
        assert_eq!(error["param"].as_str(), param, "{name}: {error}");
    }
}

#[tokio::test]
async fn compressed_bodies_are_read_and_bombs_are_not() {
    use std::io::Write;
    let gateway = builder().body_limit(64 << 10).build().unwrap();
    let gzip = |data: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    };
    let body =
        json!({"model": simulator::CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}]});
    let good = gzip(body.to_string().as_bytes());
    let bomb = gzip(&vec![b' '; 10 << 20]);
    for (encoding, body, status) in [
        ("gzip", good.clone(), 200),
        ("gzip", bomb, 413),
        ("gzip", b"not gzip".to_vec(), 400),
        ("br", good.clone(), 415),
        ("gzip, gzip", good, 415),
    ] {
        let mut request = post("/v1/chat/completions", body);
        request
            .headers_mut()
            .insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        assert_eq!(call(&gateway, request).await.status(), status, "{encoding}");
    }
}

#[tokio::test]
async fn the_name_of_a_model_is_bounded() {
    let gateway = builder().build().unwrap();
    let body = json!({"model": "m".repeat(1000), "messages": []});
    let response = call(&gateway, post("/v1/chat/completions", body.to_string())).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(json_of(response).await["error"]["param"], "model");
}
