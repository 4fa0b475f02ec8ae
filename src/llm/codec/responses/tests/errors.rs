use super::*;
use crate::llm::{Start, Usage};

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
