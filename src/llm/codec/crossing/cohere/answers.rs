use super::*;
use crate::llm::{FinishReason, VendorFault};

#[test]
fn rule_5_a_call_that_streams_no_arguments_has_an_empty_object() {
    let start = json!({"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls":
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}}}});
    let stream = stream_of(&[
        json!({"type": "message-start", "id": "m", "delta": {"message": {"role": "assistant"}}}),
        start,
        json!({"type": "tool-call-end", "index": 0}),
        end(
            json!({"finish_reason": "TOOL_CALL", "usage": {"tokens": {"input_tokens": 1, "output_tokens": 2}}}),
        ),
    ]);
    let events = read(COHERE, Framing::Sse, &stream).unwrap();
    let all = completion(events.clone());
    assert_eq!(all.tool_calls().next().unwrap().arguments, "{}");
    assert_eq!(all.choices[0].finish, Some(FinishReason::ToolCalls));
    assert_eq!(
        document(ANTHROPIC, &events)["content"][0]["input"],
        json!({})
    );
}

#[test]
fn rule_10_reasons_for_the_end_are_the_same_streamed_or_not() {
    for (cohere, openai, anthropic) in [
        ("COMPLETE", "stop", "end_turn"),
        ("STOP_SEQUENCE", "stop", "end_turn"),
        ("MAX_TOKENS", "length", "max_tokens"),
        ("ERROR_TOXIC", "content_filter", "refusal"),
        ("ERROR_LIMIT", "length", "max_tokens"),
        ("WHAT_NOBODY_KNOWS", "stop", "end_turn"),
    ] {
        let whole = json!({"id": "m", "finish_reason": cohere,
            "message": {"role": "assistant", "content": [{"type": "text", "text": "a"}]}});
        let pieces = stream_of(&[text_delta("a"), end(json!({"finish_reason": cohere}))]);
        for events in [
            read(COHERE, Framing::Json, &whole.to_string()).unwrap(),
            read(COHERE, Framing::Sse, &pieces).unwrap(),
        ] {
            let told = &document(OPENAI, &events)["choices"][0];
            assert_eq!(told["finish_reason"], openai);
            assert_eq!(document(ANTHROPIC, &events)["stop_reason"], anthropic);
        }
    }
    // An answer that ends in an error is one, and what came before it was said.
    for (word, fault) in [
        ("ERROR", VendorFault::Failed),
        ("TIMEOUT", VendorFault::Timeout),
    ] {
        let last = json!({"finish_reason": word, "usage": {}, "error": "invalid tool generation", "error_type": "INVALID_TOOL_GENERATION"});
        let stream = stream_of(&[text_delta("a"), end(last.clone())]);
        let mut whole = last;
        whole["message"] = json!({"role": "assistant", "content": [{"type": "text", "text": "a"}]});
        for (framing, raw) in [(Framing::Sse, stream), (Framing::Json, whole.to_string())] {
            let Err(Error::Vendor(error)) = read(COHERE, framing, &raw) else {
                panic!("no error");
            };
            let told = (error.fault(), error.code(), error.message());
            let expected = (
                fault,
                Some("INVALID_TOOL_GENERATION"),
                "invalid tool generation",
            );
            assert_eq!(told, expected);
            let scanned = of(COHERE)
                .scan(raw.as_bytes(), framing, None)
                .error
                .unwrap();
            assert_eq!(scanned.message(), error.message());
        }
    }
}

#[test]
fn rule_11_and_12_tokens_are_counted_and_what_is_billed_stands_beside() {
    let usage = json!({"billed_units": {"input_tokens": 8, "output_tokens": 50}, "cached_tokens": 1360,
        "tokens": {"input_tokens": 1394, "output_tokens": 55, "reasoning_tokens": 38}});
    let stream = stream_of(&[
        text_delta("a"),
        end(json!({"finish_reason": "COMPLETE", "usage": usage})),
    ]);
    let events = read(COHERE, Framing::Sse, &stream).unwrap();
    let told = document(OPENAI, &events);
    let expected = json!({
        "prompt_tokens": 1394, "completion_tokens": 55, "total_tokens": 1449,
        "prompt_tokens_details": {"cached_tokens": 1360},
        "completion_tokens_details": {"reasoning_tokens": 38},
    });
    assert_eq!(told["usage"], expected);
    assert_eq!(told["choices"][0]["billed_units"], usage["billed_units"]);
    // Anthropic's client counts what was cached apart.
    assert_eq!(document(ANTHROPIC, &events)["usage"]["input_tokens"], 34);
    assert_eq!(
        of(COHERE).scan(stream.as_bytes(), Framing::Sse, None).usage,
        completion(events).usage
    );
}

#[test]
fn rule_14_a_plan_survives_a_round_trip_through_clients_of_all_dialects() {
    let plan =
        |text: &str| json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": text}}});
    let call = json!({"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls":
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}}}});
    let stream = stream_of(&[
        plan("I "),
        plan("will."),
        call,
        json!({"type": "tool-call-end", "index": 0}),
        end(json!({"finish_reason": "TOOL_CALL"})),
    ]);
    let events = read(COHERE, Framing::Sse, &stream).unwrap();
    let sealed = Sealer::new(maker(COHERE, COMMAND)).sealed(events);
    let expected = json!({"role": "assistant", "tool_plan": "I will.", "tool_calls": [tool_call("c", "f", "{}")]});
    let message = document(OPENAI, &sealed)["choices"][0]["message"].clone();
    assert_eq!(message["reasoning_content"], "I will.");
    let result = json!({"role": "tool", "tool_call_id": "c", "content": "x"});
    let (body, losses) = to_cohere(json!({"messages": [user("hi"), message, result]}));
    assert_eq!(body["messages"][1], expected);
    assert!(losses.is_empty(), "{losses:?}");
    let content = document(ANTHROPIC, &sealed)["content"].clone();
    let result = user(json!([{"type": "tool_result", "tool_use_id": "c", "content": "x"}]));
    let body = json!({"max_tokens": 9, "messages": [user("hi"), {"role": "assistant", "content": content}, result]});
    let (body, losses) = crossed(ANTHROPIC, COHERE, COMMAND, body);
    assert_eq!(body["messages"][1], expected);
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn rule_24_errors_have_no_envelope_and_are_told_in_the_clients() {
    for (status, words, kind, fault) in [
        (
            400,
            "invalid request: message must be at least 1 token long",
            None,
            VendorFault::InvalidRequest,
        ),
        (
            400,
            "too many tokens: size limit exceeded by 1 tokens.",
            Some("TOO_MANY_TOKENS"),
            VendorFault::ContextLength,
        ),
        (401, "invalid api token", None, VendorFault::Auth),
        (
            404,
            "model 'x' not found, make sure the correct model ID was used",
            None,
            VendorFault::UnknownModel,
        ),
        (
            422,
            "unknown field: parameter 'x' is not a valid field",
            None,
            VendorFault::InvalidRequest,
        ),
        (
            429,
            "You are using a Trial key, which is limited to 10 API calls / minute.",
            None,
            VendorFault::RateLimited,
        ),
        (
            498,
            "request blocked due to safety",
            None,
            VendorFault::ContentFilter,
        ),
        (
            500,
            "internal server error, this has been reported to our developers.",
            None,
            VendorFault::Failed,
        ),
        (503, "service unavailable", None, VendorFault::Overloaded),
        (504, "request timed out", None, VendorFault::Timeout),
    ] {
        let mut body = json!({"id": "e", "message": words});
        if let Some(kind) = kind {
            body["error_type"] = kind.into();
        }
        let status = StatusCode::from_u16(status).unwrap();
        let error = of(COHERE).decode_error(status, &HeaderMap::new(), &body.to_string().into());
        assert_eq!((error.fault(), error.message()), (fault, words));
        assert_eq!(error.code(), kind);
        // Nobody speaks it here, so its body is for nobody.
        assert!(error.original(COHERE).is_none());
    }
}

#[test]
fn rule_25_events_that_nobody_knows_fail_nothing() {
    let citation = json!({"start": 0, "end": 2, "text": "so", "sources": []});
    let stream = stream_of(&[
        json!({"type": "message-start", "id": "m", "delta": {"message": {"content": []}}}),
        json!({"type": "hologram", "delta": 7}),
        json!({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}}),
        text_delta("so"),
        json!({"type": "citation-start", "index": 0, "delta": {"message": {"citations": citation}}}),
        json!({"type": "citation-end", "index": 0}),
        json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": 5}}}}),
        json!({"type": "tool-call-delta", "index": u64::MAX, "delta": {"message": {"tool_calls": {"function": {"arguments": "x"}}}}}),
        json!({"type": "debug", "prompt": "p"}),
        json!([1]),
        end(json!({"finish_reason": "COMPLETE", "usage": 3})),
    ]) + "data: [DONE]\n\n";
    let all = completion(read(COHERE, Framing::Sse, &stream).unwrap());
    assert_eq!((&*all.start.id, all.text()), ("m", "so".to_owned()));
    assert_eq!(
        all.choices[0].extra["message"]["citations"],
        json!([citation])
    );
    assert_eq!(all.tool_calls().count(), 0);
}
