use super::*;
use crate::llm::{Content, Delta, FinishReason, Start, Usage};

#[test]
fn rule_25_a_text_is_told_in_the_order_of_the_protocol() {
    let events = [
        Event::Start(Start::new("chatcmpl-1", "m-1", 7)),
        text("Hel"),
        text("lo"),
        finish(FinishReason::Stop),
        Event::Usage(Usage::new(3, 2)),
    ];
    let stream = stream(&events);
    assert_eq!(
        kinds(&stream),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
    );
    let last = &stream[9]["response"];
    let (first, whole) = (&stream[0]["response"], document(&events));
    for response in [first, last, &whole] {
        for field in FIELDS {
            assert!(response.get(field).is_some(), "{field}");
        }
        assert_eq!(response["id"], "resp_chatcmpl-1");
        assert_eq!(
            (&response["model"], &response["created_at"]),
            (&json!("m-1"), &json!(7))
        );
        assert_eq!(response["store"], false);
    }
    assert_eq!(
        (&first["status"], &first["usage"]),
        (&json!("in_progress"), &Value::Null)
    );
    for response in [last, &whole] {
        let item = &response["output"][0];
        assert!(item["id"].as_str().unwrap().starts_with("msg_"));
        assert_eq!(
            (&response["status"], &item["status"]),
            (&json!("completed"), &json!("completed"))
        );
        let content =
            json!([{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}]);
        assert_eq!(item["content"], content);
        let usage = json!({"input_tokens": 3, "output_tokens": 2, "total_tokens": 5,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0}});
        assert_eq!(response["usage"], usage);
    }
    // An answer that says nothing is one, too.
    assert_eq!(
        kinds(&super::stream(&[])),
        ["created", "in_progress", "completed"]
    );
}

#[test]
fn what_a_request_asks_for_its_answer_repeats() {
    let body = json!({
        "model": "m", "input": "hi", "instructions": "i", "metadata": {"a": "b"}, "temperature": 0.5, "store": true,
        "tools": [{"type": "function", "name": "f", "parameters": {}}], "tool_choice": "required",
        "text": {"verbosity": "low"}, "reasoning": {"effort": "low"}, "max_output_tokens": 99,
        "parallel_tool_calls": false, "previous_response_id": null, "new": 1, "service_tier": "auto",
    });
    let asked = Responses.asked(&peeked(&body).unwrap());
    let response: Value = serde_json::from_slice(&write(asked, &[], 1)).unwrap();
    for key in [
        "instructions",
        "metadata",
        "temperature",
        "tools",
        "tool_choice",
        "max_output_tokens",
        "parallel_tool_calls",
    ] {
        assert_eq!(response[key], body[key], "{key}");
    }
    assert_eq!(
        response["text"],
        json!({"format": {"type": "text"}, "verbosity": "low"})
    );
    assert_eq!(
        response["reasoning"],
        json!({"effort": "low", "summary": null})
    );
    assert_eq!(
        (&response["store"], &response["service_tier"]),
        (&json!(false), &json!("default"))
    );
    assert_eq!(response.get("new"), None);
}

#[test]
fn rule_6_calls_that_interleave_are_items_one_after_the_other() {
    let events = [
        Event::Start(Start::new("resp_1", "m", 7)),
        text("so"),
        call(0, Some("a"), "{\"x\":"),
        call(1, Some("b"), "{\"y\":"),
        call(0, None, "1}"),
        call(1, None, "2}"),
        call(2, Some("c"), ""),
        finish(FinishReason::ToolCalls),
    ];
    let stream = stream(&events);
    let mut open = 0;
    for event in &stream {
        match event["type"].as_str().unwrap() {
            "response.output_item.added" => open += 1,
            "response.output_item.done" => open -= 1,
            _ => {}
        }
        assert!(open <= 1, "one after the other");
    }
    let output = stream.last().unwrap()["response"]["output"].clone();
    let calls: Vec<_> = output.as_array().unwrap()[1..]
        .iter()
        .map(|item| {
            (
                item["call_id"].as_str().unwrap(),
                item["arguments"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        calls,
        [
            ("call_a", "{\"x\":1}"),
            ("call_b", "{\"y\":2}"),
            ("call_c", "{}")
        ]
    );
    for item in &output.as_array().unwrap()[1..] {
        let id = item["id"].as_str().unwrap();
        assert!(id.starts_with("fc_") && id.len() <= 64 && item["id"] != item["call_id"]);
    }
    // Streamed or not it is one.
    let whole = document(&events);
    for (one, other) in output
        .as_array()
        .unwrap()
        .iter()
        .zip(whole["output"].as_array().unwrap())
    {
        assert_eq!(
            (&one["type"], &one["arguments"]),
            (&other["type"], &other["arguments"])
        );
    }
    // What is said in the middle of a call stands beside it.
    let events = [
        call(0, Some("a"), "{"),
        text("b"),
        call(0, None, "}"),
        finish(FinishReason::ToolCalls),
    ];
    let again = super::stream(&events);
    let output = &again.last().unwrap()["response"]["output"];
    assert_eq!(
        (&output[0]["arguments"], &output[1]["content"][0]["text"]),
        (&json!("{}"), &json!("b"))
    );
}

#[test]
fn rule_10_reasons_for_the_end_are_the_same_streamed_or_not() {
    for (status, why, calls, reason) in [
        ("completed", None, false, FinishReason::Stop),
        ("completed", None, true, FinishReason::ToolCalls),
        (
            "incomplete",
            Some("max_output_tokens"),
            false,
            FinishReason::Length,
        ),
        (
            "incomplete",
            Some("max_output_tokens"),
            true,
            FinishReason::Length,
        ),
        (
            "incomplete",
            Some("content_filter"),
            false,
            FinishReason::ContentFilter,
        ),
        (
            "incomplete",
            Some("what_nobody_knows"),
            false,
            FinishReason::Stop,
        ),
    ] {
        let item = match calls {
            true => {
                json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"})
            }
            false => json!({"type": "message", "content": [{"type": "output_text", "text": "a"}]}),
        };
        let details = why.map(|why| json!({"reason": why}));
        let response = json!({"id": "resp_1", "model": "m", "status": status, "output": [item], "incomplete_details": details,
            "usage": {"input_tokens": 3, "output_tokens": 2}});
        let kind = format!("response.{status}");
        let streamed = vendors(&[
            json!({"type": "response.created", "response": {"id": "resp_1", "model": "m"}}),
            json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
            json!({"type": kind, "response": response}),
        ]);
        let whole = completion(read(Framing::Json, [response.to_string().as_bytes()]));
        let pieces = completion(read(Framing::Sse, [streamed.as_bytes()]));
        assert_eq!(whole, pieces);
        assert_eq!(whole.choices[0].finish, Some(reason.clone()));
        // Rule 12: an answer that was cut off was used all the same.
        assert_eq!(whole.usage, Some(Usage::new(3, 2)));
        assert_eq!(
            Responses
                .scan(streamed.as_bytes(), Framing::Sse, None)
                .usage,
            whole.usage
        );
    }
    for (reason, status, why) in [
        (FinishReason::Stop, "completed", Value::Null),
        (FinishReason::ToolCalls, "completed", Value::Null),
        (FinishReason::Paused, "completed", Value::Null),
        (
            FinishReason::Length,
            "incomplete",
            json!({"reason": "max_output_tokens"}),
        ),
        (
            FinishReason::ContentFilter,
            "incomplete",
            json!({"reason": "content_filter"}),
        ),
    ] {
        let events = [text("a"), finish(reason)];
        let stream = stream(&events);
        let last = stream.last().unwrap();
        assert_eq!(last["type"], format!("response.{status}"));
        for response in [&last["response"], &document(&events)] {
            assert_eq!(
                (&response["status"], &response["incomplete_details"]),
                (&json!(status), &why)
            );
            assert_eq!(response["output"][0]["status"], status);
        }
    }
}

#[test]
fn rule_14_a_thought_comes_back_as_it_went() {
    let events = [
        said(Delta::Reasoning("h".into())),
        said(Delta::Reasoning("m".into())),
        said(Delta::Signature("p".into())),
        said(Delta::Redacted("d".into())),
        said(Delta::Signature("q".into())),
        text("so"),
        said(Delta::Reasoning("open".into())),
        finish(FinishReason::Stop),
    ];
    let stream = stream(&events);
    let output = &stream.last().unwrap()["response"]["output"];
    let summary = |text: &str| json!([{"type": "summary_text", "text": text}]);
    for (at, shown, proof) in [
        (0, summary("hm"), json!("p")),
        (1, json!([]), json!("d")),
        (2, summary(""), json!("q")),
        (4, summary("open"), Value::Null),
    ] {
        assert_eq!(
            (&output[at]["summary"], &output[at]["encrypted_content"]),
            (&shown, &proof)
        );
        assert!(output[at]["id"].as_str().unwrap().starts_with("rs_"));
    }
    // Clients send the items back.
    let request = peeked(&json!({"model": "m", "input": output})).unwrap();
    let chat = request.chat().unwrap();
    let thoughts: Vec<_> = chat.messages[0]
        .parts
        .iter()
        .filter_map(|part| match &part.content {
            Content::Reasoning(it) => {
                Some((&*it.text, it.signature.as_deref(), it.redacted.as_deref()))
            }
            _ => None,
        })
        .collect();
    let expected = [
        ("hm", Some("p"), None),
        ("", None, Some("d")),
        ("", Some("q"), None),
        ("open", None, None),
    ];
    assert_eq!(thoughts, expected);
}

#[test]
fn refusals_and_what_texts_refer_to_are_parts_of_a_message() {
    let annotation = json!({"type": "url_citation", "url": "https://example.com", "title": "t", "start_index": 0, "end_index": 1});
    let streamed = vendors(&[
        json!({"type": "response.created", "response": {"id": "resp_1", "model": "m"}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "message"}}),
        json!({"type": "response.output_text.delta", "output_index": 0, "delta": "a", "logprobs": [{"token": "a", "logprob": -1}]}),
        json!({"type": "response.output_text.annotation.added", "output_index": 0, "annotation": annotation}),
        json!({"type": "response.refusal.delta", "output_index": 0, "delta": "no"}),
        json!({"type": "response.refusal.done", "output_index": 0, "refusal": "no"}),
        json!({"type": "response.completed", "response": {"status": "completed", "output": []}}),
    ]);
    let events = read(Framing::Sse, [streamed.as_bytes()]);
    let whole = completion(events.clone());
    let message = &whole.choices[0];
    assert!(matches!(&message.message.parts[1].content, Content::Refusal(text) if text == "no"));
    assert_eq!(
        message.extra["message"]["annotations"][0]["url_citation"]["title"],
        "t"
    );
    assert_eq!(message.extra["logprobs"]["content"][0]["token"], "a");
    let stream = stream(&events);
    let content = &stream.last().unwrap()["response"]["output"][0]["content"];
    assert_eq!(content[0]["annotations"][0], annotation);
    assert_eq!(content[0]["logprobs"][0]["token"], "a");
    assert_eq!(content[1], json!({"type": "refusal", "refusal": "no"}));
    assert!(kinds(&stream).contains(&"refusal.done"));
}

#[test]
fn tokens_are_counted_in_the_words_of_the_protocol() {
    let asked = Asked {
        operation: Operation::CountTokens,
        ..asked(Framing::Json)
    };
    let counted: Value = serde_json::from_slice(&write(asked, &[Event::Tokens(7)], 1)).unwrap();
    assert_eq!(
        counted,
        json!({"object": "response.input_tokens", "input_tokens": 7})
    );
    let mut decoder = Responses.decoder(Operation::CountTokens, Framing::Json);
    let mut events = Vec::new();
    decoder
        .decode(counted.to_string().as_bytes(), &mut events)
        .unwrap();
    assert_eq!(events, [Event::Tokens(7)]);
}
