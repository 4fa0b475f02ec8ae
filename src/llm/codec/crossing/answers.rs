use super::*;
use crate::{
    Rejection,
    llm::{Content, FinishReason, Start, VendorFault},
    rejection::Kind,
};

fn head() -> Event {
    Event::Start(Start::new("c1", "m", 7))
}

fn finish(reason: FinishReason) -> Event {
    Event::Finish { choice: 0, reason }
}

/// The order that the protocol promises.
fn assert_order(stream: &[Value]) {
    let mut open = None;
    let mut next = 0;
    for (at, event) in stream.iter().enumerate() {
        let index = event["index"].as_u64();
        match event["type"].as_str().unwrap() {
            "message_start" => assert_eq!(at, 0),
            "content_block_start" => {
                assert_eq!((open, index), (None, Some(next)));
                open = index;
                next += 1;
            }
            "content_block_delta" => assert_eq!(open, index),
            "content_block_stop" => assert_eq!(open.take(), index),
            "message_delta" => assert_eq!((open, at), (None, stream.len() - 2)),
            "message_stop" => assert_eq!(at, stream.len() - 1),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn rule_6_pieces_of_calls_that_interleave_are_held_back_until_a_block_is_closed() {
    let events = [
        head(),
        call(0, Some("a"), "{\"x\":"),
        call(1, Some("b"), "{\"y\":"),
        call(0, None, "1}"),
        call(1, None, "2}"),
        call(2, Some("c"), ""),
        finish(FinishReason::ToolCalls),
    ];
    let stream = stream(ANTHROPIC, &events);
    assert_order(&stream);
    let whole = anthropic_stream(&stream);
    let read = completion(read(ANTHROPIC, Framing::Sse, &whole).unwrap());
    let calls: Vec<_> = read
        .tool_calls()
        .map(|call| (&*call.id, &*call.arguments))
        .collect();
    assert_eq!(
        calls,
        [
            ("call_a", "{\"x\":1}"),
            ("call_b", "{\"y\":2}"),
            ("call_c", "{}")
        ]
    );
    // The second one begins as soon as the first has all of its arguments.
    let starts = stream
        .iter()
        .position(|event| event["content_block"]["name"] == "b");
    assert!(
        starts
            < stream
                .iter()
                .position(|event| event["delta"]["partial_json"] == "2}")
    );
    assert_eq!(
        document(ANTHROPIC, &events)["content"][1]["input"],
        json!({"y": 2})
    );
}

#[test]
fn rule_5_a_call_that_streams_no_arguments_has_an_empty_object() {
    let stream = anthropic_stream(&[
        json!({"type": "message_start", "message": {"id": "m", "model": "c"}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}}),
        json!({"type": "content_block_stop", "index": 0}),
    ]);
    let read = completion(read(ANTHROPIC, Framing::Sse, &stream).unwrap());
    assert_eq!(read.tool_calls().next().unwrap().arguments, "{}");
}

#[test]
fn rule_5_arguments_that_are_null_are_an_empty_object() {
    for pieces in [&["null"][..], &["nu", "ll"], &[" n", "ull "]] {
        let mut events = vec![head(), call(0, Some("a"), "")];
        events.extend(pieces.iter().map(|piece| call(0, None, piece)));
        events.push(call(1, Some("b"), "{\"null\":null}"));
        events.push(finish(FinishReason::ToolCalls));
        let streamed = anthropic_stream(&stream(ANTHROPIC, &events));
        let streamed = completion(read(ANTHROPIC, Framing::Sse, &streamed).unwrap());
        let calls: Vec<_> = streamed.tool_calls().map(|call| &*call.arguments).collect();
        assert_eq!(calls, ["{}", "{\"null\":null}"]);
        let whole = document(ANTHROPIC, &events);
        assert_eq!(whole["content"][0]["input"], json!({}));
        let whole = document(Protocol::Gemini, &events);
        let part = &whole["candidates"][0]["content"]["parts"][0];
        assert_eq!(part["functionCall"]["args"], json!({}));
    }
}

#[test]
fn rule_11_a_part_is_no_more_than_the_whole() {
    let mut usage = Usage::new(371, 40);
    (usage.cache_read, usage.cache_write) = (Some(493), Some(5));
    let events = [head(), finish(FinishReason::Stop), Event::Usage(usage)];
    let told = document(ANTHROPIC, &events)["usage"].clone();
    assert_eq!(
        (&told["input_tokens"], &told["cache_read_input_tokens"]),
        (&json!(0), &json!(371))
    );
    assert_eq!(told["cache_creation_input_tokens"], 0);
}

#[test]
fn rule_10_reasons_for_the_end_are_the_same_streamed_or_not() {
    for (anthropic, openai, again) in [
        ("end_turn", "stop", "end_turn"),
        ("stop_sequence", "stop", "stop_sequence"),
        ("max_tokens", "length", "max_tokens"),
        (
            "model_context_window_exceeded",
            "length",
            "model_context_window_exceeded",
        ),
        ("tool_use", "tool_calls", "tool_use"),
        ("refusal", "content_filter", "refusal"),
        ("pause_turn", "stop", "pause_turn"),
        ("what_nobody_knows", "stop", "end_turn"),
    ] {
        let sequence = (anthropic == "stop_sequence").then_some("x");
        let whole = json!({"type": "message", "id": "m", "model": "c", "content": [],
            "stop_reason": anthropic, "stop_sequence": sequence});
        let piecewise = anthropic_stream(&[
            json!({"type": "message_start", "message": {"id": "m", "model": "c"}}),
            json!({"type": "message_delta", "delta": {"stop_reason": anthropic, "stop_sequence": sequence}}),
            json!({"type": "message_stop"}),
        ]);
        for events in [
            read(ANTHROPIC, Framing::Json, &whole.to_string()).unwrap(),
            read(ANTHROPIC, Framing::Sse, &piecewise).unwrap(),
        ] {
            let told = &document(OPENAI, &events)["choices"][0];
            assert_eq!(told["finish_reason"], openai);
            let lossy = matches!(
                anthropic,
                "pause_turn" | "what_nobody_knows" | "model_context_window_exceeded"
            );
            assert_eq!(told.get("native_finish_reason").is_some(), lossy);
            let streamed = stream(OPENAI, &events);
            let reasons = streamed
                .iter()
                .map(|chunk| &chunk["choices"][0]["finish_reason"]);
            assert_eq!(reasons.filter(|reason| **reason == openai).count(), 1);
            assert_eq!(document(ANTHROPIC, &events)["stop_reason"], again);
            assert_eq!(
                document(ANTHROPIC, &events)["stop_sequence"],
                json!(sequence)
            );
        }
    }
    // Some vendors say `stop` where they wait for tools.
    let events = [head(), call(0, Some("a"), "{}"), finish(FinishReason::Stop)];
    assert_eq!(document(ANTHROPIC, &events)["stop_reason"], "tool_use");
}

#[test]
fn rule_11_what_the_cache_held_is_part_of_the_input_here_and_apart_there() {
    let usage = json!({"input_tokens": 4, "cache_read_input_tokens": 9134, "cache_creation_input_tokens": 237,
        "output_tokens": 156, "output_tokens_details": {"thinking_tokens": 7}});
    let whole = json!({"type": "message", "id": "m", "model": "c", "content": [], "stop_reason": "end_turn", "usage": usage});
    let events = read(ANTHROPIC, Framing::Json, &whole.to_string()).unwrap();
    let expected = json!({
        "prompt_tokens": 9375, "completion_tokens": 156, "total_tokens": 9531,
        "prompt_tokens_details": {"cached_tokens": 9134, "cache_write_tokens": 237},
        "completion_tokens_details": {"reasoning_tokens": 7},
    });
    assert_eq!(document(OPENAI, &events)["usage"], expected);
    assert_eq!(document(ANTHROPIC, &events)["usage"], usage);
    let scanned = of(ANTHROPIC).scan(whole.to_string().as_bytes(), Framing::Json, None);
    assert_eq!(scanned.usage, completion(events).usage);
}

#[test]
fn rule_12_counts_of_a_stream_are_set_and_not_added() {
    let stream = anthropic_stream(&[
        json!({"type": "message_start", "message": {"id": "m", "model": "c",
            "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1}}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}),
        json!({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ]);
    let expected = Usage {
        cache_read: Some(5),
        ..Usage::new(15, 9)
    };
    let events = read(ANTHROPIC, Framing::Sse, &stream).unwrap();
    assert_eq!(completion(events).usage, Some(expected));
    // Found in passing, event by event.
    let mut found = None;
    for event in stream.split_inclusive("\n\n") {
        let scan = of(ANTHROPIC).scan(event.as_bytes(), Framing::Sse, found);
        found = scan.usage.or(found);
    }
    assert_eq!(found, Some(expected));
    assert_eq!(
        of(ANTHROPIC)
            .scan(stream.as_bytes(), Framing::Sse, None)
            .usage,
        found
    );
}

#[test]
fn rule_14_thoughts_are_shown_with_what_proves_them() {
    let stream = anthropic_stream(&[
        json!({"type": "message_start", "message": {"id": "m", "model": CLAUDE}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "p"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "d"}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": "so"}}),
        json!({"type": "content_block_stop", "index": 2}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        json!({"type": "message_stop"}),
    ]);
    let events = read(ANTHROPIC, Framing::Sse, &stream).unwrap();
    let own = maker(ANTHROPIC, CLAUDE);
    let sealed = Sealer::new(own.clone()).sealed(events.clone());
    let message = document(OPENAI, &sealed)["choices"][0]["message"].clone();
    assert_eq!(message["reasoning_content"], "hm");
    // A client that sends back what it got gives the vendor what the vendor gave.
    let (body, losses) = to_anthropic(json!({"messages": [
        {"role": "user", "content": "hi"}, message, {"role": "user", "content": "and?"},
    ]}));
    let thoughts = json!([
        {"type": "thinking", "thinking": "hm", "signature": "p"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "so"},
    ]);
    assert_eq!(
        (&body["messages"][1]["content"], losses.len()),
        (&thoughts, 0)
    );
    assert_eq!(document(ANTHROPIC, &events)["content"], thoughts);
}

#[test]
fn rule_22_and_25_a_stream_is_in_strict_order_whatever_comes() {
    let events = [
        head(),
        said(Delta::Reasoning("a".into())),
        said(Delta::Text("b".into())),
        said(Delta::Reasoning("c".into())),
        said(Delta::Signature("p".into())),
        said(Delta::Signature("q".into())),
        said(Delta::Redacted("d".into())),
        said(Delta::Text("e".into())),
        call(0, Some("a"), "{"),
        said(Delta::Text("f".into())),
        said(Delta::Text("g".into())),
        finish(FinishReason::Length),
        Event::Usage(Usage::new(3, 4)),
    ];
    let stream = stream(ANTHROPIC, &events);
    assert_order(&stream);
    let end = &stream[stream.len() - 2];
    assert_eq!(
        (&end["delta"]["stop_reason"], &end["usage"]["input_tokens"]),
        (&json!("max_tokens"), &json!(3))
    );
    // An answer that says nothing is one, too.
    assert_order(&super::stream(ANTHROPIC, &[]));
}

#[test]
fn rule_24_errors_keep_their_status_and_have_the_form_of_the_protocol() {
    for (kind, status, name) in [
        (Kind::InvalidRequest, 400, "invalid_request_error"),
        (Kind::InvalidCredentials, 401, "authentication_error"),
        (Kind::Forbidden, 403, "permission_error"),
        (Kind::ModelNotFound, 404, "not_found_error"),
        (Kind::TooLarge, 413, "request_too_large"),
        (Kind::RateLimited, 429, "rate_limit_error"),
        (Kind::Internal, 500, "api_error"),
        (Kind::UpstreamAuth, 502, "api_error"),
        (Kind::UpstreamOverloaded, 529, "overloaded_error"),
        (Kind::Timeout, 504, "timeout_error"),
    ] {
        let error = Error::from(Rejection::new(kind));
        let answer = of(ANTHROPIC).encode_error(&error);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (answer.status.as_u16(), &body["error"]["type"]),
            (status, &json!(name))
        );
        assert_eq!(body["type"], "error");
    }
    let event = of(ANTHROPIC).encode_error_event(&Kind::Internal.into());
    assert!(event.starts_with(b"event: error\ndata: {"));
    assert!(
        of(ANTHROPIC)
            .scan(&event, Framing::Sse, None)
            .error
            .is_some()
    );
    let lost = Rejection::new(Kind::UnsupportedParameter)
        .with_fault("seed", "No such field.")
        .with_fault("n", "One answer.");
    let answer = of(OPENAI).encode_error(&lost.into());
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .ends_with("seed: No such field. n: One answer.")
    );
    assert_eq!(
        (&body["error"]["param"], &body["error"]["code"]),
        (&json!("seed"), &json!("unsupported_parameter"))
    );
    // What the vendor says.
    for (status, kind, words, fault) in [
        (
            400,
            "invalid_request_error",
            "prompt is too long: 2 tokens > 1 maximum",
            VendorFault::ContextLength,
        ),
        (
            401,
            "authentication_error",
            "invalid x-api-key",
            VendorFault::Auth,
        ),
        (
            404,
            "not_found_error",
            "model: claude-x",
            VendorFault::UnknownModel,
        ),
        (
            413,
            "request_too_large",
            "Request exceeds the maximum size",
            VendorFault::TooLarge,
        ),
        (429, "rate_limit_error", "slow", VendorFault::RateLimited),
        (
            500,
            "api_error",
            "Internal server error",
            VendorFault::Failed,
        ),
        (
            529,
            "overloaded_error",
            "Overloaded",
            VendorFault::Overloaded,
        ),
    ] {
        let body = json!({"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"}).to_string();
        let status = StatusCode::from_u16(status).unwrap();
        let error =
            of(ANTHROPIC).decode_error(status, &HeaderMap::new(), &Bytes::from(body.clone()));
        assert_eq!((error.fault(), error.code()), (fault, Some(kind)));
        assert_eq!(error.original(ANTHROPIC).is_some(), fault.concerns_caller());
        assert!(error.original(OPENAI).is_none());
        let event = format!("event: error\ndata: {body}\n\n");
        let within = of(ANTHROPIC)
            .scan(event.as_bytes(), Framing::Sse, None)
            .error
            .unwrap();
        assert_eq!(within.fault(), fault, "{kind}");
    }
}

#[test]
fn rule_24_a_model_that_is_not_there_has_one_name() {
    for (protocol, body) in [
        (
            ANTHROPIC,
            json!({"type": "error", "error": {"type": "not_found_error", "message": "model: claude-x"}}),
        ),
        (
            Protocol::Gemini,
            json!({"error": {"code": 404, "status": "NOT_FOUND", "message": "models/x is not found for API version v1beta"}}),
        ),
        (
            OPENAI,
            json!({"error": {"message": "The model `x` does not exist", "type": "invalid_request_error", "code": "model_not_found"}}),
        ),
    ] {
        let bytes = Bytes::from(body.to_string());
        let error = of(protocol).decode_error(StatusCode::NOT_FOUND, &HeaderMap::new(), &bytes);
        let other = if protocol == OPENAI {
            ANTHROPIC
        } else {
            OPENAI
        };
        let answer = of(other).encode_error(&error.into());
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (answer.status.as_u16(), &told["error"]["code"]),
            (404, &json!("model_not_found"))
        );
        if other == OPENAI {
            assert_eq!(told["error"]["param"], "model");
        }
    }
}

#[test]
fn rule_25_events_that_nobody_knows_fail_nothing() {
    let stream = anthropic_stream(&[
        json!({"type": "ping"}),
        json!({"type": "message_start", "message": {"id": "m", "model": "c", "usage": null}, "new": 1}),
        json!({"type": "what_is_this", "delta": 7}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "hologram", "input": {}}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{\"a\":1}"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "hologram_delta", "beam": "x"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "hologram_delta", "beam": "y"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_delta", "index": 9, "delta": {"type": "text_delta", "text": "so"}}),
        json!({"type": "content_block_delta", "index": 9, "delta": {"type": "text_delta", "text": 5}}),
        json!([1]),
        json!({"type": "message_start", "message": {"id": "n", "model": "c"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": 3}),
    ]) + "data: [DONE]\n\n";
    let read = completion(read(ANTHROPIC, Framing::Sse, &stream).unwrap());
    assert_eq!((&*read.start.id, read.text()), ("m", "so".to_owned()));
    let block = json!({"type": "hologram", "input": {"a": 1}, "beam": "xy"});
    assert_eq!(
        read.choices[0].extra["message"]["content_blocks"],
        json!([block])
    );
    assert!(matches!(
        read.choices[0].message.parts[0].content,
        Content::Text(_)
    ));
}
