use super::*;
use crate::llm::{Content, Delta, FinishReason, Usage};
use serde_json::json;

pub(super) fn chunk(choice: Value) -> Value {
    json!({"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [choice]})
}

pub(super) fn delta(delta: Value) -> Value {
    chunk(json!({"index": 0, "delta": delta}))
}

/// What a stream of these deltas comes to.
#[track_caller]
fn deltas(all: &[Value]) -> Completion {
    let chunks: Vec<_> = all.iter().cloned().map(delta).collect();
    completion(read(Operation::Chat, Framing::Sse, [&stream(&chunks)[..]]).unwrap())
}

#[track_caller]
fn whole(message: Value) -> Completion {
    let document = json!({"id": "c1", "model": "m", "created": 7, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
    let text = document.to_string();
    completion(read(Operation::Chat, Framing::Json, [text.as_bytes()]).unwrap())
}

/// Id, name and arguments of the calls.
fn calls(completion: &Completion) -> Vec<(String, String, String)> {
    let calls = completion.tool_calls();
    calls
        .map(|call| (call.id.clone(), call.name.clone(), call.arguments.clone()))
        .collect()
}

fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
    (id.into(), name.into(), arguments.into())
}

fn thought(completion: &Completion) -> String {
    let parts = completion.choices[0].message.parts.iter();
    parts
        .filter_map(|part| match &part.content {
            Content::Reasoning(thought) => Some(&*thought.text),
            _ => None,
        })
        .collect()
}

#[test]
fn a_plain_stream_is_read() {
    let chunks = [
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"content": "Hel"})),
        delta(json!({"content": "lo"})),
        chunk(json!({"index": 0, "delta": {}, "finish_reason": "stop"})),
        json!({"id": "c1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}),
    ];
    let mut bytes = stream(&chunks);
    bytes.extend_from_slice(b": comment\n\ndata: [DONE]\n\ndata: not looked at\n\n");
    let events = read(Operation::Chat, Framing::Sse, [&bytes[..]]).unwrap();
    assert_eq!(events.len(), 5);
    let all = completion(events);
    assert_eq!(
        (&*all.start.id, &*all.start.model, all.start.created),
        ("c1", "m", 7)
    );
    assert_eq!(all.text(), "Hello");
    assert_eq!(all.choices[0].finish, Some(FinishReason::Stop));
    assert_eq!(all.usage, Some(Usage::new(3, 2)));
}

#[test]
fn content_may_be_null_or_a_list_or_missing() {
    let nulls = json!({"content": null, "tool_calls": null, "refusal": null, "reasoning": null, "audio": null, "function_call": null});
    assert_eq!(
        deltas(&[nulls.clone(), json!({"content": "a"})]).text(),
        "a"
    );
    assert_eq!(
        deltas(&[json!({"content": "a", "tool_calls": []})]).text(),
        "a"
    );
    assert!(whole(nulls).choices[0].message.parts.is_empty());
    let parts = json!({"content": [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": true},
        {"type": "text", "text": "a"},
        {"type": "reference", "reference_ids": [1]},
        "b",
    ]});
    for all in [whole(parts.clone()), deltas(&[parts])] {
        assert_eq!((all.text(), thought(&all)), ("ab".into(), "hm".into()));
    }
    // A choice without a delta, and a chunk without choices.
    let odd = [
        chunk(json!({"index": 0, "delta": null})),
        json!({"choices": null}),
        delta(json!({"content": "a"})),
    ];
    let events = read(Operation::Chat, Framing::Sse, [&stream(&odd)[..]]).unwrap();
    assert_eq!(completion(events).text(), "a");
}

#[test]
fn thoughts_have_several_names() {
    for name in ["reasoning", "reasoning_content"] {
        assert_eq!(
            thought(&deltas(&[json!({name: "a"}), json!({name: "b"})])),
            "ab"
        );
    }
    let both = json!({"reasoning": "a", "reasoning_content": "a", "reasoning_details": [{"type": "reasoning.text", "text": "a", "index": 0}]});
    let all = deltas(&[both]);
    assert_eq!(thought(&all), "a", "not read twice");
    assert!(
        all.choices[0].extra["message"]["reasoning_details"].is_array(),
        "kept"
    );
}

#[test]
fn calls_come_in_pieces_or_whole() {
    let pieces = [
        json!({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
        json!({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": "[1"}}]}),
        json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}, {"index": 1, "function": {"arguments": "]"}}]}),
    ];
    assert_eq!(
        calls(&deltas(&pieces)),
        [call("a", "f", "{}"), call("b", "g", "[1]")]
    );
    // Mistral: without an index, whole.
    let whole = |id: &str| json!({"id": id, "function": {"name": "f", "arguments": "{}"}});
    let two = [call("a", "f", "{}"), call("b", "f", "{}")];
    assert_eq!(
        calls(&deltas(&[json!({"tool_calls": [whole("a"), whole("b")]})])),
        two
    );
    assert_eq!(
        calls(&deltas(&[
            json!({"tool_calls": [whole("a")]}),
            json!({"tool_calls": [whole("b")]})
        ])),
        two
    );
    // All under the same index.
    let indexed = |id: &str| json!({"tool_calls": [{"index": 0, "id": id, "function": {"name": "f", "arguments": "{}"}}]});
    assert_eq!(calls(&deltas(&[indexed("a"), indexed("b")])), two);
    // Id and name in every piece.
    let again = |text: &str| json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": text}}]});
    assert_eq!(
        calls(&deltas(&[again("{"), again("}")])),
        [call("a", "f", "{}")]
    );
    // Without an index, in pieces.
    let bare = |text: &str| json!({"tool_calls": [{"function": {"arguments": text}}]});
    assert_eq!(
        calls(&deltas(&[json!({"tool_calls": [whole("a")]}), bare("x")])),
        [call("a", "f", "{}x")]
    );
    // Arguments as an object.
    let object =
        json!({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]});
    assert_eq!(calls(&deltas(&[object])), [call("a", "f", "{\"x\":1}")]);
}

#[test]
fn a_call_without_a_name_is_given_one() {
    let call = json!({"function": {"name": "f", "arguments": "{}"}});
    let calls_in = |message: Value| calls(&deltas(&[message]));
    let made = calls_in(json!({"tool_calls": [call, call]}));
    assert_eq!(made.len(), 2);
    assert_ne!(made[0].0, made[1].0);
    assert!(
        made.iter()
            .all(|(id, ..)| id.starts_with("call_") && id.len() <= 40)
    );
    assert_eq!(
        made,
        calls(&whole(json!({"tool_calls": [call, call]}))),
        "always the same one"
    );
    let legacy = deltas(&[
        json!({"function_call": {"name": "f", "arguments": "{"}}),
        json!({"function_call": {"arguments": "}"}}),
    ]);
    assert_eq!(calls(&legacy)[0].2, "{}");
}

#[test]
fn reasons_to_end_have_many_names() {
    for (name, expected) in [
        ("stop", FinishReason::Stop),
        ("eos", FinishReason::Stop),
        ("never heard of", FinishReason::Stop),
        ("MAX_TOKENS", FinishReason::Length),
        ("function_call", FinishReason::ToolCalls),
        ("SAFETY", FinishReason::ContentFilter),
    ] {
        let chunks = [chunk(
            json!({"index": 0, "delta": {}, "finish_reason": name}),
        )];
        let events = read(Operation::Chat, Framing::Sse, [&stream(&chunks)[..]]).unwrap();
        assert_eq!(completion(events).choices[0].finish, Some(expected));
    }
}

#[test]
fn a_message_beside_a_delta_is_not_read_again() {
    let both = |text: &str, sum: &str| {
        chunk(
            json!({"index": 0, "delta": {"content": text}, "message": {"content": sum}, "text": text}),
        )
    };
    let bytes = stream(&[both("a", "a"), both("b", "ab")]);
    let events = read(Operation::Chat, Framing::Sse, [&bytes[..]]).unwrap();
    assert_eq!(completion(events).text(), "ab");
}

#[test]
fn the_head_is_that_of_the_first_chunk_that_has_one() {
    let azure =
        json!({"id": "", "model": "", "created": 0, "choices": [], "prompt_filter_results": [1]});
    let bytes = stream(&[azure, delta(json!({"content": "a"}))]);
    let all = completion(read(Operation::Chat, Framing::Sse, [&bytes[..]]).unwrap());
    assert_eq!((&*all.start.id, &*all.start.model), ("c1", "m"));
    assert_eq!(all.start.extra["prompt_filter_results"], json!([1]));
}

#[test]
fn an_error_in_the_middle_ends_the_stream() {
    let error = json!({"error": {"message": "no", "type": "invalid_request_error", "code": "tool_use_failed", "status_code": 400}});
    let mut beside = delta(json!({"content": "", "role": "assistant"}));
    beside["error"] = json!({"code": 400, "message": "no"});
    let other = json!({"object": "error", "message": "no", "code": 400});
    for last in [error, beside, other] {
        let bytes = stream(&[delta(json!({"content": "a"})), last]);
        let failed = read(Operation::Chat, Framing::Sse, [&bytes[..]]).unwrap_err();
        let Error::Vendor(failed) = failed else {
            panic!("the vendor's")
        };
        assert_eq!(failed.message(), "no");
        assert!(failed.fault().concerns_caller());
        assert_eq!(
            OpenAi
                .scan(&bytes, Framing::Sse, None)
                .error
                .unwrap()
                .message(),
            "no"
        );
    }
    let named = b"event: error\ndata: {\"message\":\"no\",\"type\":\"overloaded_error\"}\n\n";
    let failed = read(Operation::Chat, Framing::Sse, [&named[..]]).unwrap_err();
    assert_eq!(failed.kind(), crate::rejection::Kind::UpstreamOverloaded);
    assert!(OpenAi.scan(named, Framing::Sse, None).error.is_some());
    for (named, words) in [
        ("event: error\ndata: {\"message\":\"boom\"}\n\n", "boom"),
        ("event:error\ndata: all is lost\n\n", "all is lost"),
    ] {
        let error = OpenAi.scan(named.as_bytes(), Framing::Sse, None).error;
        assert_eq!(error.unwrap().message(), words);
    }
    let said = b"data: {\"choices\":[{\"delta\":{\"content\":\"event: error\"}}]}\n\n";
    assert!(OpenAi.scan(said, Framing::Sse, None).error.is_none());
    let null = {
        let mut chunk = delta(json!({"content": "a"}));
        chunk["error"] = Value::Null;
        stream(&[chunk])
    };
    assert!(read(Operation::Chat, Framing::Sse, [&null[..]]).is_ok());
}

#[test]
fn what_is_no_json_is_malformed_and_not_repeated() {
    for bytes in [
        &b"data: {\"choices\":[{\"delta\":{\"content\":\"secr\n\n"[..],
        b"data: <html>\n\n",
        b"data: 7\n\n",
    ] {
        let error = read(Operation::Chat, Framing::Sse, [bytes]).unwrap_err();
        assert_eq!(error.kind(), crate::rejection::Kind::UpstreamMalformed);
        assert!(!format!("{error} {error:?}").contains("secr"));
    }
    assert!(read(Operation::Chat, Framing::Json, [&b""[..]]).is_err());
}

#[test]
fn a_stream_is_written_as_clients_expect_it() {
    let delta = |choice, delta| Event::Delta { choice, delta };
    let mut start = crate::llm::Start::new("c1", "gpt", 7);
    start.extra.insert("system_fingerprint".into(), "fp".into());
    let events = [
        Event::Start(start),
        delta(0, Delta::Text("a".into())),
        delta(1, Delta::Text("b".into())),
        delta(0, Delta::Text("c".into())),
        Event::Finish {
            choice: 0,
            reason: FinishReason::Length,
        },
        Event::Usage(Usage::new(3, 2)),
    ];
    for batch in [1, 6] {
        let out = write(asked(Framing::Sse), &events, batch);
        let text = std::str::from_utf8(&out).unwrap();
        let (body, done) = text.split_at(text.len() - 14);
        assert_eq!(done, "data: [DONE]\n\n");
        let chunks: Vec<Value> = body
            .split_terminator("\n\n")
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect();
        let choice = |index: u32, delta: Value, finish: Value| json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        let said: Vec<_> = chunks
            .iter()
            .map(|chunk| chunk["choices"].clone())
            .collect();
        assert_eq!(
            said,
            [
                choice(0, json!({"role": "assistant", "content": "a"}), Value::Null),
                choice(1, json!({"role": "assistant", "content": "b"}), Value::Null),
                choice(0, json!({"content": "c"}), Value::Null),
                choice(0, json!({}), "length".into()),
                choice(1, json!({}), "stop".into()),
                json!([]),
            ]
        );
        assert!(
            chunks.iter().all(|chunk| chunk["id"] == "c1"
                && chunk["created"] == 7
                && chunk["model"] == "gpt")
        );
        assert_eq!(chunks[0]["system_fingerprint"], "fp");
        assert_eq!(chunks[1]["usage"], Value::Null);
        assert_eq!(chunks[5]["usage"]["total_tokens"], 5);
    }
    let mut quiet = asked(Framing::Sse);
    quiet.include_usage = false;
    let out = write(quiet, &events, 1);
    assert!(!std::str::from_utf8(&out).unwrap().contains("usage"));
}

#[test]
fn what_a_model_says_cannot_split_events() {
    let nasty = "a\n\ndata: [DONE]\n\r\n\u{2028}\u{85}\"}]}\n\n";
    let events = [Event::Delta {
        choice: 0,
        delta: Delta::Text(nasty.into()),
    }];
    let out = write(asked(Framing::Sse), &events, 1);
    assert_eq!(codec::sse::events(&out).count(), 3);
    let all = completion(read(Operation::Chat, Framing::Sse, [&out[..]]).unwrap());
    assert_eq!(all.text(), nasty);
}

#[test]
fn older_completions_have_text() {
    let chunks = [
        json!({"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": "a", "logprobs": null}]}),
        json!({"id": "c", "choices": [{"index": 0, "text": "b", "finish_reason": "length"}]}),
    ];
    let all =
        completion(read(Operation::Completions, Framing::Sse, [&stream(&chunks)[..]]).unwrap());
    assert_eq!(all.text(), "ab");
    let mut older = asked(Framing::Json);
    older.operation = Operation::Completions;
    let events = [Event::Delta {
        choice: 0,
        delta: Delta::Text("ab".into()),
    }];
    let document: Value = serde_json::from_slice(&write(older.clone(), &events, 1)).unwrap();
    assert_eq!(document["choices"][0]["text"], "ab");
    assert_eq!(document["object"], "text_completion");
    older.framing = Framing::Sse;
    let out = write(older, &events, 1);
    assert_eq!(
        completion(read(Operation::Completions, Framing::Sse, [&out[..]]).unwrap()).text(),
        "ab"
    );
}

#[test]
fn vectors_are_numbers_or_base64() {
    let vectors = [vec![0.5_f32, -1.25], vec![f32::MIN_POSITIVE, 3.0]];
    let events: Vec<_> = (0..)
        .zip(vectors.clone())
        .map(|(index, vector)| Event::Embedding { index, vector })
        .collect();
    for base64 in [false, true] {
        let mut asked = asked(Framing::Json);
        asked.operation = Operation::Embeddings;
        asked.base64 = base64;
        let out = write(asked, &events, 1);
        let document: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(document["data"][0]["embedding"].is_string(), base64);
        let all = completion(read(Operation::Embeddings, Framing::Json, [&out[..]]).unwrap());
        assert_eq!(all.embeddings, vectors);
    }
    let odd = br#"{"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":"AAAA"}]}"#;
    assert!(
        read(Operation::Embeddings, Framing::Json, [&odd[..]]).is_err(),
        "three bytes are no number"
    );
    let turned = br#"{"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":[1]}]}"#;
    let all = completion(read(Operation::Embeddings, Framing::Json, [&turned[..]]).unwrap());
    assert_eq!(all.embeddings, [[1.0], [2.0]]);
}

#[test]
fn models_are_listed_in_several_forms() {
    for body in [
        &br#"{"object":"list","data":[{"id":"a"},{"id":"b","object":"model"},{}]}"#[..],
        br#"[{"id":"a"},{"id":"b"}]"#,
        br#"{"models":[{"name":"a"},"b"]}"#,
    ] {
        assert_eq!(OpenAi.decode_models(body).unwrap(), ["a", "b"]);
    }
    assert_eq!(OpenAi.decode_models(b"<html>"), None);
    assert_eq!(OpenAi.decode_models(b"{}"), None);
    assert_eq!(OpenAi.decode_models(b"[]"), None);
    assert_eq!(OpenAi.decode_models(br#"{"data":[]}"#).unwrap().len(), 0);
}
