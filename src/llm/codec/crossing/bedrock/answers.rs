use super::*;
use crate::llm::{FinishReason, VendorFault};
use proptest::prelude::*;

const STOPS: [(&str, FinishReason, &str, &str); 8] = [
    ("end_turn", FinishReason::Stop, "stop", "end_turn"),
    ("stop_sequence", FinishReason::Stop, "stop", "end_turn"),
    ("max_tokens", FinishReason::Length, "length", "max_tokens"),
    (
        "tool_use",
        FinishReason::ToolCalls,
        "tool_calls",
        "tool_use",
    ),
    (
        "guardrail_intervened",
        FinishReason::ContentFilter,
        "content_filter",
        "refusal",
    ),
    (
        "content_filtered",
        FinishReason::ContentFilter,
        "content_filter",
        "refusal",
    ),
    (
        "model_context_window_exceeded",
        FinishReason::Length,
        "length",
        "model_context_window_exceeded",
    ),
    ("what_nobody_knows", FinishReason::Stop, "stop", "end_turn"),
];

#[test]
fn rule_10_reasons_for_the_end_are_the_same_streamed_or_not() {
    for (own, reason, openai, anthropic) in STOPS {
        let whole = answered(&answer(json!([{"text": "a"}]), own));
        let stream = streamed(&frames(&[
            ("messageStart", json!({"role": "assistant", "p": "ab"})),
            (
                "contentBlockDelta",
                json!({"contentBlockIndex": 0, "delta": {"text": "a"}}),
            ),
            ("contentBlockStop", json!({"contentBlockIndex": 0})),
            ("messageStop", json!({"stopReason": own})),
        ]));
        for events in [whole, stream.unwrap()] {
            let all = completion(events.clone());
            assert_eq!(all.choices[0].finish, Some(reason.clone()), "{own}");
            let told = document(OPENAI, &events);
            assert_eq!(told["choices"][0]["finish_reason"], openai);
            assert_eq!(
                document(ANTHROPIC, &events)["stop_reason"],
                anthropic,
                "{own}"
            );
        }
    }
    for word in ["malformed_tool_use", "malformed_model_output"] {
        let whole = answer(json!([]), word).to_string();
        let Err(Error::Vendor(error)) = read(BEDROCK, Framing::Json, &whole) else {
            panic!("no error");
        };
        assert_eq!(
            (error.fault(), error.code()),
            (VendorFault::Failed, Some(word))
        );
    }
}

#[test]
fn rule_11_what_the_cache_held_is_part_of_the_input() {
    let mut whole = answer(json!([{"text": "a"}]), "end_turn");
    whole["usage"] = json!({
        "inputTokens": 3, "outputTokens": 2, "totalTokens": 105,
        "cacheReadInputTokens": 60, "cacheWriteInputTokens": 40,
    });
    let events = answered(&whole);
    let usage = &document(OPENAI, &events)["usage"];
    let counts = (
        &usage["prompt_tokens"],
        &usage["completion_tokens"],
        &usage["total_tokens"],
    );
    assert_eq!(counts, (&json!(103), &json!(2), &json!(105)));
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 60);
    let usage = &document(ANTHROPIC, &events)["usage"];
    let counts = (
        &usage["input_tokens"],
        &usage["cache_read_input_tokens"],
        &usage["cache_creation_input_tokens"],
    );
    assert_eq!(counts, (&json!(3), &json!(60), &json!(40)));
    let scanned = of(BEDROCK).scan(whole.to_string().as_bytes(), Framing::Json, None);
    assert_eq!(scanned.usage, completion(events).usage);
}

/// An answer of everything, in frames.
fn everything() -> Vec<(&'static str, Value)> {
    let delta = |at: u32, delta: Value| {
        (
            "contentBlockDelta",
            json!({"contentBlockIndex": at, "delta": delta, "p": "abc"}),
        )
    };
    let stop = |at: u32| ("contentBlockStop", json!({"contentBlockIndex": at}));
    let start = |at: u32, start: Value| {
        (
            "contentBlockStart",
            json!({"contentBlockIndex": at, "start": start}),
        )
    };
    let cited = json!({"title": "facts", "sourceContent": [{"text": "so"}], "location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 3}}});
    vec![
        ("messageStart", json!({"role": "assistant"})),
        delta(0, json!({"reasoningContent": {"text": "h"}})),
        delta(0, json!({"reasoningContent": {"text": "m"}})),
        delta(0, json!({"reasoningContent": {"signature": "proof"}})),
        stop(0),
        delta(1, json!({"reasoningContent": {"redactedContent": "cmVk"}})),
        stop(1),
        delta(2, json!({"citation": cited})),
        delta(2, json!({"text": "It is "})),
        delta(2, json!({"text": "so."})),
        stop(2),
        start(
            3,
            json!({"toolUse": {"toolUseId": "s", "name": "own", "type": "server_tool_use"}}),
        ),
        delta(3, json!({"toolUse": {"input": "{\"q\":1}"}})),
        stop(3),
        start(
            4,
            json!({"toolResult": {"toolUseId": "s", "type": "own_result", "status": "success"}}),
        ),
        delta(4, json!({"toolResult": [{"text": "r"}]})),
        stop(4),
        start(5, json!({"toolUse": {"toolUseId": "a", "name": "f"}})),
        delta(5, json!({"toolUse": {"input": "{\"x\""}})),
        delta(5, json!({"toolUse": {"input": ":1}"}})),
        stop(5),
        start(6, json!({"toolUse": {"toolUseId": "b", "name": "g"}})),
        stop(6),
        delta(7, json!({"hologram": {"x": 1}})),
        ("contentBlockWhatever", json!({"contentBlockIndex": 8})),
        ("messageStop", json!({"stopReason": "tool_use"})),
        (
            "metadata",
            json!({
                "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
                "metrics": {"latencyMs": 1}, "trace": {"guardrail": {"actionReason": "x"}},
            }),
        ),
    ]
}

#[test]
fn a_stream_says_what_an_answer_in_one_piece_does() {
    let cited = json!({"title": "facts", "sourceContent": [{"text": "so"}], "location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 3}}});
    let mut whole = answer(
        json!([
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "proof"}}},
            {"reasoningContent": {"redactedContent": "cmVk"}},
            {"citationsContent": {"content": [{"text": "It is "}, {"text": "so."}], "citations": [cited]}},
            {"toolUse": {"toolUseId": "s", "name": "own", "type": "server_tool_use", "input": {"q": 1}}},
            {"toolResult": {"toolUseId": "s", "type": "own_result", "status": "success", "content": [{"text": "r"}]}},
            {"toolUse": {"toolUseId": "a", "name": "f", "type": "tool_use", "input": {"x": 1}}},
            {"toolUse": {"toolUseId": "b", "name": "g", "input": {}}},
            {"hologram": {"x": 1}},
        ]),
        "tool_use",
    );
    whole["trace"] = json!({"guardrail": {"actionReason": "x"}});
    let whole = completion(answered(&whole));
    let stream = completion(streamed(&frames(&everything())).unwrap());
    assert_eq!(
        stream.choices[0].message.parts,
        whole.choices[0].message.parts
    );
    assert_eq!(stream.usage, whole.usage);
    assert_eq!(
        stream.choices[0].extra["trace"],
        whole.choices[0].extra["trace"]
    );
    let (one, two) = (
        &stream.choices[0].extra["message"],
        &whole.choices[0].extra["message"],
    );
    assert_eq!(one["citations"], two["citations"]);
    assert_eq!(one["citations"][0]["type"], "char_location");
    assert_eq!(one["bedrock_content"][0], two["bedrock_content"][0]);
    assert_eq!(one["bedrock_content"][1], two["bedrock_content"][1]);
    assert_eq!(two["bedrock_content"][2], json!({"hologram": {"x": 1}}));
    let calls: Vec<_> = stream
        .tool_calls()
        .map(|call| (&*call.id, &*call.arguments))
        .collect();
    assert_eq!(calls, [("a", "{\"x\":1}"), ("b", "{}")]);
}

#[test]
fn rule_14_a_proof_comes_back_through_clients_of_other_dialects() {
    let events = streamed(&frames(&everything())).unwrap();
    let own = maker(BEDROCK, HAIKU);
    let sealed = Sealer::new(own.clone()).sealed(events);
    let told = document(ANTHROPIC, &sealed);
    let blocks = told["content"].as_array().unwrap();
    let results = blocks
        .iter()
        .filter(|block| block["type"] == "tool_use")
        .map(|block| json!({"type": "tool_result", "tool_use_id": block["id"], "content": "x"}));
    let results: Vec<_> = results.collect();
    let (body, _) = from_anthropic(json!({"max_tokens": 9, "messages": [
        user("hi"), said_by("assistant", told["content"].clone()), user(results),
    ]}));
    let back = body["messages"][1]["content"].as_array().unwrap();
    let thought =
        json!({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "proof"}}});
    assert_eq!(back[0], thought);
    assert_eq!(
        back[1],
        json!({"reasoningContent": {"redactedContent": "cmVk"}})
    );
    assert_eq!(back[3]["toolUse"]["input"], json!({"x": 1}));
    // The same by OpenAI's.
    let told = &document(OPENAI, &sealed)["choices"][0]["message"];
    let (body, losses) = to_haiku(json!({"messages": [
        user("hi"), told,
        {"role": "tool", "tool_call_id": "a", "content": "x"},
        {"role": "tool", "tool_call_id": "b", "content": "y"},
    ]}));
    assert_eq!(body["messages"][1]["content"][0], thought, "{losses:?}");
}

#[test]
fn rule_24_an_exception_in_the_middle_of_a_stream_ends_it() {
    let said = event(
        "contentBlockDelta",
        &json!({"contentBlockIndex": 0, "delta": {"text": "a"}}),
    );
    for (name, payload, fault) in [
        (
            "throttlingException",
            json!({"message": "slow down"}),
            VendorFault::RateLimited,
        ),
        (
            "serviceUnavailableException",
            json!({"message": "slow down"}),
            VendorFault::Overloaded,
        ),
        (
            "internalServerException",
            json!({"message": "slow down"}),
            VendorFault::Failed,
        ),
        (
            "validationException",
            json!({"message": "slow down"}),
            VendorFault::InvalidRequest,
        ),
        (
            "modelTimeoutException",
            json!({"message": "slow down"}),
            VendorFault::Timeout,
        ),
        (
            "modelStreamErrorException",
            json!({"message": "slow down"}),
            VendorFault::Failed,
        ),
        (
            "modelStreamErrorException",
            json!({"originalMessage": "slow down", "originalStatusCode": 529}),
            VendorFault::Overloaded,
        ),
        (
            "nobodyKnowsException",
            json!({"message": "slow down"}),
            VendorFault::Failed,
        ),
    ] {
        let headers = [(":exception-type", name), (":message-type", "exception")];
        let raw = [said.clone(), framed(&headers, &payload)].concat();
        let Err(Error::Vendor(error)) = streamed(&raw) else {
            panic!("no error: {name}");
        };
        assert_eq!(
            (error.fault(), error.message()),
            (fault, "slow down"),
            "{name}"
        );
        assert!(error.code().unwrap().ends_with("Exception"));
        let found = of(BEDROCK)
            .scan(&raw, Framing::EventStream, None)
            .error
            .unwrap();
        assert_eq!(found.fault(), fault);
    }
    let headers = [
        (":error-code", "InternalFailure"),
        (":error-message", "oh"),
        (":message-type", "error"),
    ];
    let Err(Error::Vendor(error)) = streamed(&framed(&headers, &Value::Null)) else {
        panic!("no error");
    };
    assert_eq!(
        (error.fault(), error.message()),
        (VendorFault::Failed, "oh")
    );
}

proptest! {
    #[test]
    fn nothing_in_a_frame_makes_it_panic(
        events in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop",
                    "messageStop", "metadata", "else",
                ]),
                0_u32..3,
                prop::sample::select(vec![
                    json!({"text": "a"}), json!({"toolUse": {"input": "{"}}), json!({"toolUse": 7}),
                    json!({"toolUse": {"toolUseId": "a", "name": "f"}}), json!({"citation": {}}),
                    json!({"reasoningContent": {"signature": "s"}}), json!({"x": [1]}), json!([]),
                ]),
            ),
            0..12,
        ),
    ) {
        let all: Vec<_> = events
            .into_iter()
            .map(|(kind, at, value)| {
                let payload = json!({
                    "contentBlockIndex": at, "start": value, "delta": value,
                    "stopReason": "end_turn", "usage": value,
                });
                (kind, payload)
            })
            .collect();
        let events = streamed(&frames(&all)).unwrap();
        for protocol in [OPENAI, ANTHROPIC, Protocol::Gemini] {
            let _ = told(protocol, Framing::Json, &events, 1);
            let _ = told(protocol, Framing::Sse, &events, 2);
        }
    }
}
