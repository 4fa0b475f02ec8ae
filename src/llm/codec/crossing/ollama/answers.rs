use super::*;
use crate::llm::{FinishReason, VendorFault};

#[test]
fn rule_6_and_7_calls_come_whole_and_are_given_a_name_and_a_place() {
    let call = |name: &str| json!({"function": {"name": name, "arguments": {"a": 1}}});
    let stream = lines_of(&[
        line(
            &json!({"role": "assistant", "content": "", "thinking": "hm"}),
            false,
        ),
        line(
            &json!({"role": "assistant", "content": "", "tool_calls": [call("f")]}),
            false,
        ),
        line(
            &json!({"role": "assistant", "content": "", "tool_calls": [call("g"), {"id": "own", "function": {"name": "h"}}]}),
            false,
        ),
        last("stop"),
    ]);
    let events = read(OLLAMA, Framing::Ndjson, &stream).unwrap();
    let all = completion(events.clone());
    let calls: Vec<_> = all
        .tool_calls()
        .map(|call| (&*call.name, &*call.arguments))
        .collect();
    assert_eq!(calls, [("f", "{\"a\":1}"), ("g", "{\"a\":1}"), ("h", "{}")]);
    let ids: Vec<_> = all.tool_calls().map(|call| &*call.id).collect();
    assert!(ids[0] != ids[1] && ids[2] == "own");
    // However often it is read, they are the same.
    assert_eq!(
        completion(read(OLLAMA, Framing::Ndjson, &stream).unwrap()),
        all
    );
    assert_eq!(all.choices[0].finish, Some(FinishReason::ToolCalls));
    assert_eq!(document(OPENAI, &events)["created"], 1_785_873_500);
    assert_eq!(document(ANTHROPIC, &events)["stop_reason"], "tool_use");
}

#[test]
fn rule_10_and_11_ends_and_counts_are_the_same_streamed_or_not() {
    for (ollama, openai) in [
        ("stop", "stop"),
        ("length", "length"),
        ("unload", "stop"),
        ("what_nobody_knows", "stop"),
    ] {
        let mut whole = last(ollama);
        whole["message"]["content"] = "a".into();
        let said = line(&json!({"role": "assistant", "content": "a"}), false);
        let stream = lines_of(&[said, last(ollama)]);
        for (framing, raw) in [
            (Framing::Json, whole.to_string()),
            (Framing::Ndjson, stream),
        ] {
            let events = read(OLLAMA, framing, &raw).unwrap();
            let told = document(OPENAI, &events);
            assert_eq!(told["choices"][0]["finish_reason"], openai);
            assert_eq!(told["choices"][0]["message"]["content"], "a");
            assert_eq!(
                told["usage"],
                json!({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})
            );
            let scanned = of(OLLAMA).scan(raw.as_bytes(), framing, None).usage;
            assert_eq!(scanned, Some(Usage::new(7, 3)));
        }
    }
}

#[test]
fn rule_24_errors_are_words_at_the_head_or_on_any_line() {
    for (status, words, fault) in [
        (
            400,
            "registry.ollama.ai/library/x does not support tools",
            VendorFault::InvalidRequest,
        ),
        (401, "unauthorized", VendorFault::Auth),
        (404, "model 'x' not found", VendorFault::UnknownModel),
        (
            500,
            "llama runner process has terminated",
            VendorFault::Failed,
        ),
        (
            503,
            "server busy, please try again. maximum pending requests exceeded",
            VendorFault::Overloaded,
        ),
    ] {
        let body = json!({"error": words}).to_string();
        let status = StatusCode::from_u16(status).unwrap();
        let error = of(OLLAMA).decode_error(status, &HeaderMap::new(), &Bytes::from(body));
        assert_eq!((error.fault(), error.message()), (fault, words));
    }
    let stream = lines_of(&[
        line(&json!({"role": "assistant", "content": "a"}), false),
        json!({"error": "an error was encountered while running the model"}),
    ]);
    let Err(Error::Vendor(error)) = read(OLLAMA, Framing::Ndjson, &stream) else {
        panic!("no error");
    };
    assert_eq!(error.fault(), VendorFault::Failed);
    let scanned = of(OLLAMA).scan(stream.as_bytes(), Framing::Ndjson, None);
    assert_eq!(scanned.error.unwrap().message(), error.message());
}

#[test]
fn rule_25_lines_and_fields_that_nobody_knows_fail_nothing() {
    let stream = format!(
        "{}\r\n\n{{\"new\":1}}\n[1]\n{}",
        line(
            &json!({"role": "assistant", "content": "so", "hologram": {"a": 1}}),
            false
        ),
        last("stop"),
    );
    let all = completion(read(OLLAMA, Framing::Ndjson, &stream).unwrap());
    assert_eq!(all.text(), "so");
    assert_eq!(all.choices[0].extra["message"]["hologram"], json!({"a": 1}));
    assert_eq!(all.choices[0].extra["new"], 1);
    assert_eq!(all.choices[0].finish, Some(FinishReason::Stop));
}
