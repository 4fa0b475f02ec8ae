//! What is refused, what breaks off, and what is rewritten on its way.

use super::*;
use http::{Method, StatusCode};
use tower_gateway::{
    exchange::Usage,
    llm::{Delta, Event},
};

#[tokio::test]
async fn what_would_have_to_be_kept_is_refused_with_its_name() {
    let upstream = MockUpstream::start(Reply::json(200, DOCUMENT))
        .await
        .unwrap();
    for (more, param) in [
        (
            json!({"previous_response_id": "resp_1"}),
            "previous_response_id",
        ),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"background": true}), "background"),
    ] {
        let answer = call(openai(&upstream), ask(more)).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let error = &document(&answer)["error"];
        assert_eq!(
            (&error["code"], &error["param"]),
            (&json!("not_supported"), &json!(param))
        );
        assert_eq!(error["type"], "invalid_request_error");
    }
    let item = json!({"input": [{"type": "item_reference", "id": "msg_1"}]});
    let answer = call(openai(&upstream), ask(item)).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(document(&answer)["error"]["param"], "input[0]");
    for (method, path) in [
        (Method::GET, "/v1/responses/resp_1"),
        (Method::DELETE, "/v1/responses/resp_1"),
        (Method::POST, "/v1/responses/resp_1/cancel"),
        (Method::GET, "/v1/responses/resp_1/input_items"),
    ] {
        let mut request = post(path, "{}");
        *request.method_mut() = method;
        let answer = call(openai(&upstream), request).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let error = &document(&answer)["error"];
        assert_eq!(
            (&error["code"], &error["param"]),
            (&json!("not_supported"), &json!("response_id"))
        );
    }
    let mut request = ask(json!({}));
    *request.method_mut() = Method::GET;
    let answer = call(openai(&upstream), request).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_stream_that_breaks_ends_in_a_response_that_failed() {
    let vendor = Vendor::new(Turn::fitting).start().await.unwrap();
    let both = Provider::openai("sk-mock")
        .base_url(vendor.base_url())
        .unwrap();
    let anthropic = Provider::anthropic("sk-mock")
        .base_url(vendor.url())
        .unwrap();
    for provider in [both, chat_only(&vendor), anthropic] {
        for (model, code) in [("mock-broken", None), ("mock-cut", Some("bad_gateway"))] {
            let more = json!({"model": model, "stream": true, "input": "one two three four five"});
            let answer = call(provider.clone(), ask(more)).await;
            assert_eq!(answer.status(), 200);
            let all = data(&answer);
            for (at, event) in all.iter().enumerate() {
                assert_eq!(event["sequence_number"], at, "{event}");
            }
            let last = all.last().unwrap();
            assert_eq!(last["type"], "response.failed");
            let response = &last["response"];
            assert_eq!(response["status"], "failed");
            assert_eq!(response["id"], all[0]["response"]["id"]);
            assert!(response["error"]["message"].is_string());
            if let Some(code) = code {
                assert_eq!(response["error"]["code"], code);
            }
            assert!(
                all.iter()
                    .any(|event| event["type"] == "response.output_text.delta")
            );
        }
    }
    // Inside a 200 in one piece it is an error.
    let failed = r#"{"id":"resp_1","object":"response","status":"failed","error":{"code":"rate_limit_exceeded","message":"slow"},"output":[],"usage":{"input_tokens":3,"output_tokens":0}}"#;
    let upstream = MockUpstream::start(Reply::json(200, failed)).await.unwrap();
    let answer = call(openai(&upstream), ask(json!({}))).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(document(&answer)["error"]["code"], "upstream_rate_limited");
    // What was used until then is known.
    let failed = format!(r#"{{"type":"response.failed","sequence_number":4,"response":{failed}}}"#);
    let mut all = EVENTS[..4].to_vec();
    all.push(&failed);
    let upstream = MockUpstream::start(Reply::pieces("text/event-stream", events(&all)))
        .await
        .unwrap();
    let mut request = ask(json!({"stream": true}));
    let exchange = Exchange::enter(&mut request);
    let answer = call(openai(&upstream), request).await;
    assert_eq!(data(&answer).len(), 5);
    assert_eq!(exchange.facts().usage, Some(Usage::new(3, 0)));
    assert_eq!(exchange.facts().error, Some("upstream_rate_limited"));
}

#[tokio::test]
async fn a_stream_that_is_rewritten_keeps_its_order() {
    let upstream = MockUpstream::start(stream()).await.unwrap();
    let provider = openai(&upstream);
    let rewriting = tower::service_fn(move |request: ChatRequest| {
        let provider = provider.clone();
        async move {
            let answer = provider.oneshot(request).await?;
            Ok::<_, tower_gateway::llm::Error>(answer.map(|event| match event {
                Event::Delta {
                    choice,
                    delta: Delta::Text(text),
                } => Event::Delta {
                    choice,
                    delta: Delta::Text(text.replace("Hello", "Bye")),
                },
                event => event,
            }))
        }
    });
    let answer = call(rewriting, ask(json!({"stream": true, "temperature": 0.5}))).await;
    let all = data(&answer);
    let kinds: Vec<_> = all
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(kinds, expected);
    let last = &all[8]["response"];
    assert_eq!(last["output"][0]["content"][0]["text"], "Bye");
    assert_eq!(
        (&last["id"], &last["temperature"]),
        (&json!("resp_1"), &json!(0.5))
    );
    assert_eq!(last["usage"]["input_tokens_details"]["cached_tokens"], 5);
}
