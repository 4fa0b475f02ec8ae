use super::*;
use crate::llm::{Content, Delta, FinishReason, Start, Usage};

fn said(delta: Delta) -> Event {
    Event::Delta { choice: 0, delta }
}

fn text(text: &str) -> Event {
    said(Delta::Text(text.into()))
}

fn call(index: u32, name: Option<&str>, arguments: &str) -> Event {
    said(Delta::ToolCall {
        index,
        id: name.map(|name| format!("call_{name}")),
        name: name.map(str::to_owned),
        arguments: arguments.to_owned(),
    })
}

fn finish(reason: FinishReason) -> Event {
    Event::Finish { choice: 0, reason }
}

fn stream(events: &[Event]) -> Vec<Value> {
    let stream = documents(&write(asked(Framing::Sse), events, 1));
    assert_order(&stream);
    stream
}

fn document(events: &[Event]) -> Value {
    serde_json::from_slice(&write(asked(Framing::Json), events, 1)).unwrap()
}

/// A stream of these events, numbered.
fn vendors(events: &[Value]) -> String {
    let mut out = BytesMut::new();
    for (at, event) in events.iter().enumerate() {
        let mut event = event.clone();
        event["sequence_number"] = at.into();
        let name = event["type"].as_str().unwrap().to_owned();
        codec::sse::write_event(&mut out, Some(&name), event.to_string().as_bytes());
    }
    String::from_utf8(out.to_vec()).unwrap()
}

fn kinds(stream: &[Value]) -> Vec<&str> {
    let kinds = stream.iter().map(|event| event["type"].as_str().unwrap());
    kinds
        .map(|kind| kind.trim_start_matches("response."))
        .collect()
}

/// The names of fields that the vendor's own package declares as required, or that its clients read
/// without asking.
const FIELDS: [&str; 24] = [
    "id",
    "object",
    "created_at",
    "status",
    "background",
    "error",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "model",
    "output",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
    "metadata",
];

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
        kinds(&super::answers::stream(&[])),
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
    let stream = super::answers::stream(&events);
    let output = &stream.last().unwrap()["response"]["output"];
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
fn rule_24_an_error_is_found_wherever_it_stands() {
    let error = json!({"code": "rate_limit_exceeded", "message": "slow"});
    let failed = json!({"id": "resp_1", "status": "failed", "error": error, "output": [], "usage": {"input_tokens": 3, "output_tokens": 0}});
    for event in [
        json!({"type": "response.failed", "response": failed}),
        json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow", "param": null}),
        json!({"type": "error", "error": error}),
        json!({"error": error}),
    ] {
        for named in [true, false] {
            let mut out = BytesMut::new();
            let name = event["type"].as_str().filter(|_| named);
            codec::sse::write_event(&mut out, name, event.to_string().as_bytes());
            let Err(Error::Vendor(read)) = tried(Framing::Sse, [&out[..]]) else {
                panic!("{event}")
            };
            assert_eq!(
                (read.code(), read.message()),
                (Some("rate_limit_exceeded"), "slow")
            );
            assert_eq!(read.fault(), crate::llm::VendorFault::RateLimited);
            let found = Responses.scan(&out, Framing::Sse, None).error.unwrap();
            assert_eq!(found.fault(), read.fault());
        }
    }
    // Inside a 200, and with what was used.
    let raw = failed.to_string();
    assert!(tried(Framing::Json, [raw.as_bytes()]).is_err());
    let scan = Responses.scan(raw.as_bytes(), Framing::Json, None);
    assert!(scan.error.is_some() && scan.usage == Some(Usage::new(3, 0)));
    // Nothing is one because it says so.
    let fine = vendors(&[
        json!({"type": "response.created", "response": {"id": "r", "error": null}}),
        json!({"type": "response.output_text.delta", "delta": "\"type\":\"error\" response.failed \"error\""}),
    ]);
    assert!(
        Responses
            .scan(fine.as_bytes(), Framing::Sse, None)
            .error
            .is_none()
    );
    assert!(tried(Framing::Sse, [fine.as_bytes()]).is_ok());
}

#[test]
fn a_stream_that_breaks_off_ends_in_a_response_that_failed() {
    let error = Error::from(crate::rejection::Kind::BadGateway);
    let mut encoder = Responses.encoder(asked(Framing::Sse));
    let mut out = BytesMut::new();
    encoder.events(
        vec![
            Event::Start(Start::new("resp_1", "m", 7)),
            text("a"),
            call(0, Some("f"), "{"),
        ],
        &mut out,
    );
    encoder.fail(&error, &mut out);
    let written = documents(&out);
    assert_order(&written);
    let last = written.last().unwrap();
    assert_eq!(last["type"], "response.failed");
    let response = &last["response"];
    assert_eq!(
        (&response["status"], &response["id"]),
        (&json!("failed"), &json!("resp_1"))
    );
    assert_eq!(response["error"]["code"], "bad_gateway");
    // What was whole stays.
    assert_eq!(response["output"].as_array().unwrap().len(), 1);
    // Behind bytes that went out as they came it goes on with their number and their response.
    let mut trail = Trail::default();
    let passed = vendors(&[
        json!({"type": "response.created", "response": {"id": "resp_9", "model": "m", "status": "in_progress", "output": []}}),
        json!({"type": "response.output_text.delta", "delta": "\"sequence_number\":7"}),
    ]);
    trail.see(b": comment\n\n");
    for event in passed.split_inclusive("\n\n") {
        trail.see(event.as_bytes());
    }
    let last = &documents(&trail.failed(&error))[0];
    assert_eq!(
        (&last["sequence_number"], &last["response"]["id"]),
        (&json!(2), &json!("resp_9"))
    );
    assert_eq!(last["response"]["status"], "failed");
    // Of a stream of which nothing came, too.
    let last = &documents(&Responses.encode_error_event(&error))[0];
    for field in FIELDS {
        assert!(last["response"].get(field).is_some(), "{field}");
    }
}

#[test]
fn rule_25_events_and_items_that_nobody_knows_fail_nothing() {
    let search = json!({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}});
    let streamed = vendors(&[
        json!({"type": "keepalive"}),
        json!({"type": "response.created", "response": {"id": "resp_1", "model": "m"}, "new": 1}),
        json!({"type": "response.hologram.delta", "delta": {"beam": 1}, "output_index": 0}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "web_search_call", "id": "ws_1"}}),
        json!({"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws_1"}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": search}),
        json!({"type": "response.output_text.delta", "output_index": 1, "delta": "so"}),
        json!({"type": "response.output_text.delta", "output_index": "x", "delta": 5}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": {"type": "message", "content": [{"type": "output_text", "text": "so"}]}}),
        json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": [search], "usage": null}}),
        json!({"type": "response.output_text.delta", "output_index": 1, "delta": "late"}),
    ]) + "data: [DONE]\n\n";
    let events = read(Framing::Sse, [streamed.as_bytes()]);
    let whole = completion(events.clone());
    assert_eq!(
        (whole.text(), &*whole.start.id),
        ("so".to_owned(), "resp_1")
    );
    assert_eq!(
        whole.choices[0].extra["message"]["output_items"],
        json!([search])
    );
    // It is an item again where that is known.
    let stream = stream(&events);
    assert_eq!(stream.last().unwrap()["response"]["output"][0], search);
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
