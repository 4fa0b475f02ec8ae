use super::*;
use crate::{
    Rejection,
    llm::{FinishReason, VendorFault},
    rejection::Kind,
};

#[test]
fn rule_6_arguments_that_stream_find_their_places() {
    let piece = |call: Value| candidate(json!([{"functionCall": call}]), None);
    let city = |text: &str, more: bool| json!([{"jsonPath": "$.city", "stringValue": text, "willContinue": more}]);
    let stream = [
        piece(json!({"name": "f", "willContinue": true})),
        piece(json!({"partialArgs": city("New ", true), "willContinue": true})),
        piece(json!({"partialArgs": city("Delhi", false), "willContinue": true})),
        piece(json!({})),
        piece(json!({"name": "g"})),
        candidate(json!([]), Some("STOP")),
    ];
    let all = completion(read(GEMINI, Framing::Sse, &events(&stream)).unwrap());
    let calls: Vec<_> = all
        .tool_calls()
        .map(|call| (&*call.name, &*call.arguments))
        .collect();
    assert_eq!(calls, [("f", "{\"city\":\"New Delhi\"}"), ("g", "{}")]);
    let ids: Vec<_> = all.tool_calls().map(|call| &*call.id).collect();
    assert_ne!(ids[0], ids[1]);
    assert_eq!(all.choices[0].finish, Some(FinishReason::ToolCalls));
}

#[test]
fn rule_10_reasons_for_the_end_are_the_same_streamed_or_not() {
    for (gemini, openai) in [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("SPII", "content_filter"),
        ("UNEXPECTED_TOOL_CALL", "stop"),
        ("WHAT_NOBODY_KNOWS", "stop"),
    ] {
        let whole = candidate(json!([{"text": "a"}]), Some(gemini));
        let pieces = [
            candidate(json!([{"text": "a"}]), None),
            candidate(json!([]), Some(gemini)),
        ];
        for events in [
            read(GEMINI, Framing::Json, &whole.to_string()).unwrap(),
            read(GEMINI, Framing::Sse, &events(&pieces)).unwrap(),
        ] {
            assert_eq!(
                document(OPENAI, &events)["choices"][0]["finish_reason"],
                openai
            );
            assert_eq!(
                document(GEMINI, &events)["candidates"][0]["finishReason"],
                gemini
            );
        }
    }
    // A call that cannot be read is an error, and what was used is told before it.
    let mut broken = candidate(json!([]), Some("MALFORMED_FUNCTION_CALL"));
    broken["usageMetadata"] = json!({"promptTokenCount": 3});
    let mut decoder = of(GEMINI).decoder(Operation::Chat, Framing::Json);
    let mut told = Vec::new();
    let Err(Error::Vendor(error)) = decoder.decode(broken.to_string().as_bytes(), &mut told) else {
        panic!("no error");
    };
    assert_eq!(error.code(), Some("MALFORMED_FUNCTION_CALL"));
    assert!(matches!(told.last(), Some(Event::Usage(_))));
    // A question that is held back has no candidates.
    let feedback = json!({"blockReason": "PROHIBITED_CONTENT"});
    let blocked = json!({"promptFeedback": feedback, "modelVersion": FLASH, "responseId": "r"});
    let events = read(GEMINI, Framing::Json, &blocked.to_string()).unwrap();
    assert_eq!(
        document(OPENAI, &events)["choices"][0]["finish_reason"],
        "content_filter"
    );
    let again = document(GEMINI, &events);
    assert_eq!(
        (&again["promptFeedback"], again.get("candidates")),
        (&feedback, None)
    );
}

#[test]
fn rule_11_and_12_thoughts_are_part_of_the_output_and_the_last_counts() {
    let mut first = candidate(json!([{"text": "a"}]), None);
    first["usageMetadata"] = json!({"promptTokenCount": 1, "candidatesTokenCount": 100});
    let mut last = candidate(json!([{"text": "b"}]), Some("STOP"));
    last["usageMetadata"] = json!({
        "promptTokenCount": 10, "cachedContentTokenCount": 4, "toolUsePromptTokenCount": 5,
        "candidatesTokenCount": 7, "thoughtsTokenCount": 20, "totalTokenCount": 42,
    });
    let raw = events(&[first, last]);
    let events = read(GEMINI, Framing::Sse, &raw).unwrap();
    let usage = &document(OPENAI, &events)["usage"];
    let counts = (
        &usage["prompt_tokens"],
        &usage["completion_tokens"],
        &usage["total_tokens"],
    );
    assert_eq!(counts, (&json!(15), &json!(27), &json!(42)));
    let own = &document(GEMINI, &events)["usageMetadata"];
    let counts = (
        &own["promptTokenCount"],
        &own["candidatesTokenCount"],
        &own["thoughtsTokenCount"],
    );
    assert_eq!(counts, (&json!(15), &json!(7), &json!(20)));
    assert_eq!(
        of(GEMINI).scan(raw.as_bytes(), Framing::Sse, None).usage,
        completion(events).usage
    );
}

#[test]
fn rule_15_signatures_survive_a_round_trip_through_clients_of_all_dialects() {
    let stream = [
        candidate(json!([{"text": "hm", "thought": true}]), None),
        candidate(
            json!([{"functionCall": {"name": "f", "args": {}, "id": "x"}, "thoughtSignature": "cHJvb2Y="}]),
            None,
        ),
        candidate(
            json!([{"functionCall": {"name": "f", "args": {}, "id": "y"}}]),
            Some("STOP"),
        ),
    ];
    let events = read(GEMINI, Framing::Sse, &events(&stream)).unwrap();
    let sealed = Sealer::new(maker(GEMINI, THIRD)).sealed(events.clone());
    let expected = json!([
        {"text": "hm", "thought": true},
        {"functionCall": {"id": "x", "name": "f", "args": {}}, "thoughtSignature": "cHJvb2Y="},
        {"functionCall": {"id": "y", "name": "f", "args": {}}},
    ]);
    let message = document(OPENAI, &sealed)["choices"][0]["message"].clone();
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "1"});
    let (body, losses) =
        to_third(json!({"messages": [user("hi"), message, result("x"), result("y")]}));
    assert_eq!(body["contents"][1]["parts"], expected);
    assert!(losses.is_empty(), "{losses:?}");
    let content = document(ANTHROPIC, &sealed)["content"].clone();
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "1"});
    let body = json!({"max_tokens": 9, "messages": [
        user("hi"), {"role": "assistant", "content": content}, user(json!([result("x"), result("y")])),
    ]});
    let (body, losses) = crossed(ANTHROPIC, GEMINI, THIRD, body);
    assert_eq!(body["contents"][1]["parts"], expected);
    assert!(losses.is_empty(), "{losses:?}");
    assert_eq!(
        document(GEMINI, &events)["candidates"][0]["content"]["parts"],
        expected
    );
}

#[test]
fn rule_24_errors_have_googles_form() {
    for (kind, status, name) in [
        (Kind::InvalidRequest, 400, "INVALID_ARGUMENT"),
        (Kind::InvalidCredentials, 401, "UNAUTHENTICATED"),
        (Kind::Forbidden, 403, "PERMISSION_DENIED"),
        (Kind::ModelNotFound, 404, "NOT_FOUND"),
        (Kind::RateLimited, 429, "RESOURCE_EXHAUSTED"),
        (Kind::UpstreamAuth, 502, "INTERNAL"),
        (Kind::UpstreamOverloaded, 503, "UNAVAILABLE"),
        (Kind::Timeout, 504, "DEADLINE_EXCEEDED"),
    ] {
        let answer = of(GEMINI).encode_error(&Error::from(Rejection::new(kind)));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let told = (&body["error"]["code"], &body["error"]["status"]);
        assert_eq!(told, (&json!(status), &json!(name)));
    }
    let element = super::super::super::gemini::error_element(&Kind::Internal.into());
    assert!(
        of(GEMINI)
            .scan(&element, Framing::Array, None)
            .error
            .is_some()
    );
    for (status, name, words, fault) in [
        (
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.",
            VendorFault::Auth,
        ),
        (
            404,
            "NOT_FOUND",
            "models/x is not found for API version v1beta",
            VendorFault::UnknownModel,
        ),
        (429, "RESOURCE_EXHAUSTED", "slow", VendorFault::RateLimited),
        (
            503,
            "UNAVAILABLE",
            "The model is overloaded.",
            VendorFault::Overloaded,
        ),
    ] {
        let document = json!({"error": {"code": status, "message": words, "status": name}});
        let status = StatusCode::from_u16(status).unwrap();
        for body in [document.clone(), json!([document])] {
            let bytes = Bytes::from(body.to_string());
            let error = of(GEMINI).decode_error(status, &HeaderMap::new(), &bytes);
            assert_eq!(
                (error.fault(), error.code()),
                (fault, Some(name)),
                "{words}"
            );
        }
    }
}

#[test]
fn rule_25_parts_and_fields_that_nobody_knows_fail_nothing() {
    let mut last = candidate(json!([{"hologram": 1}, 7, {"text": "so"}]), Some("STOP"));
    last["candidates"][0]["groundingMetadata"] = json!({"a": 1});
    let stream = [
        json!({"candidates": [{"content": {}, "index": 0}], "responseId": "r"}),
        json!({"candidates": null, "usageMetadata": 5, "new": 1}),
        last,
    ];
    let events = read(GEMINI, Framing::Sse, &events(&stream)).unwrap();
    assert_eq!(completion(events.clone()).text(), "so");
    let own = document(GEMINI, &events)["candidates"][0].clone();
    assert_eq!(own["groundingMetadata"], json!({"a": 1}));
    assert_eq!(
        own["content"]["parts"],
        json!([{"hologram": 1}, {"text": "so"}])
    );
    // As an array, it says the same.
    let array = told(GEMINI, Framing::Array, &events, 1);
    let elements: Vec<Value> = serde_json::from_str(&array).unwrap();
    assert_eq!(elements, documents(&told(GEMINI, Framing::Sse, &events, 1)));
}
