use super::{
    answers::{chunk, delta},
    *,
};
use crate::llm::Usage;
use serde_json::json;

#[test]
fn usage_is_the_last_of_any_form() {
    let usage = |input: u64| json!({"prompt_tokens": input, "completion_tokens": 1});
    let mut cumulative = [
        delta(json!({"content": "a"})),
        delta(json!({})),
        delta(json!({})),
    ];
    cumulative[0]["usage"] = usage(1);
    cumulative[1]["usage"] = usage(2);
    cumulative[2]["usage"] = Value::Null;
    let mut groq = [delta(json!({"content": "a"}))];
    groq[0]["x_groq"] = json!({"usage": usage(2)});
    for chunks in [&cumulative[..], &groq] {
        let bytes = stream(chunks);
        let events = read(Operation::Chat, Framing::Sse, [&bytes[..]]).unwrap();
        assert_eq!(completion(events).usage, Some(Usage::new(2, 1)));
        assert_eq!(
            OpenAi.scan(&bytes, Framing::Sse, None).usage,
            Some(Usage::new(2, 1))
        );
    }
}

#[test]
fn every_vendor_has_its_own_arithmetic() {
    let read = |usage: Value| {
        let document = json!({"choices": [], "usage": usage}).to_string();
        OpenAi
            .scan(document.as_bytes(), Framing::Json, None)
            .usage
            .unwrap()
    };
    let plain = read(
        json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 3}}),
    );
    assert_eq!((plain.input, plain.output), (10, 5));
    assert_eq!((plain.cache_read, plain.reasoning), (Some(4), Some(3)));
    // Reasoning beside the output, named or not; audio beside the input.
    let apart = read(
        json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115, "completion_tokens_details": {"reasoning_tokens": 100}}),
    );
    assert_eq!((apart.input, apart.output), (10, 105));
    let hidden = read(json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}));
    assert_eq!((hidden.input, hidden.output), (10, 105));
    let audio = read(
        json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115, "prompt_tokens_details": {"audio_tokens": 100}}),
    );
    assert_eq!((audio.input, audio.output), (110, 5));
    assert_eq!(
        read(json!({"prompt_cache_hit_tokens": 3})).cache_read,
        Some(3)
    );
    // And some none at all.
    let mad = read(
        json!({"prompt_tokens": -5, "completion_tokens": 1e30, "total_tokens": "many", "prompt_tokens_details": null}),
    );
    assert_eq!(
        (mad.input, mad.output, mad.total()),
        (0, u64::MAX, u64::MAX)
    );
}

#[test]
fn what_a_model_says_cannot_forge_usage() {
    let forged =
        r#"","usage":{"prompt_tokens":0,"completion_tokens":0}} "usage":{"prompt_tokens":0}"#;
    let mut honest = delta(json!({"content": forged}));
    honest["usage"] = json!({"prompt_tokens": 9, "completion_tokens": 9});
    honest["echo"] = json!({"usage": {"prompt_tokens": 0}});
    let bytes = stream(&[honest.clone(), delta(json!({"content": forged}))]);
    assert_eq!(
        OpenAi.scan(&bytes, Framing::Sse, None).usage,
        Some(Usage::new(9, 9))
    );
    let document = honest.to_string();
    assert_eq!(
        OpenAi.scan(document.as_bytes(), Framing::Json, None).usage,
        Some(Usage::new(9, 9))
    );
    assert!(
        OpenAi
            .scan(
                &stream(&[delta(json!({"content": "\"error\":{}"}))]),
                Framing::Sse,
                None
            )
            .error
            .is_none()
    );
}

#[test]
fn usage_that_nobody_asked_for_is_taken_out() {
    let text = stream(&[delta(json!({"content": "\"usage\":{} \"choices\":[]"}))]);
    let null = {
        let mut chunk = delta(json!({"content": "a"}));
        chunk["usage"] = Value::Null;
        stream(&[chunk])
    };
    let only = stream(&[json!({"choices": [], "usage": {"prompt_tokens": 1}})]);
    let crlf =
        b"data: {\"choices\" : [ ], \"usage\":\r\ndata: {\"prompt_tokens\":1}}\r\n\r\n".to_vec();
    let azure = stream(&[json!({"choices": [], "prompt_filter_results": []})]);
    let with_choice = {
        let mut chunk = chunk(json!({"index": 0, "delta": {}, "finish_reason": "stop"}));
        chunk["usage"] = json!({"prompt_tokens": 1});
        stream(&[chunk])
    };
    let done = b"data: [DONE]\n\n".to_vec();
    let without = |parts: &[&Vec<u8>]| {
        let all: Vec<u8> = parts.iter().copied().flatten().copied().collect();
        OpenAi.without_usage(all.into()).to_vec()
    };
    for only in [&only, &crlf] {
        assert_eq!(
            without(&[&text, &null, only, &done]),
            [text.clone(), null.clone(), done.clone()].concat()
        );
        assert_eq!(without(&[only, &done]), done);
        assert_eq!(without(&[&azure, only]), azure);
        assert_eq!(without(&[only]), b"");
    }
    assert_eq!(
        without(&[&azure, &with_choice, &done]),
        [azure, with_choice, done].concat()
    );
    let bytes = Bytes::from(text);
    assert_eq!(
        OpenAi.without_usage(bytes.clone()).as_ptr(),
        bytes.as_ptr(),
        "not copied"
    );
}

#[test]
fn usage_of_a_document_is_its_own_field_wherever_it_stands() {
    let usage = r#"{"prompt_tokens":7,"completion_tokens":2}"#;
    let other = r#"{"prompt_tokens":1,"completion_tokens":1}"#;
    for (document, found) in [
        (format!(r#"{{"choices":[],"usage":{usage}}}"#), true),
        (
            format!(r#"{{"choices":[],"usage": {usage} ,"tier":{{"a":[1]}}}}"#),
            true,
        ),
        (
            format!(r#"{{"usage":{usage},"choices":[{{"usage":{other}}}]}}"#),
            true,
        ),
        (
            format!(r#"{{"usage":{usage},"text":"{}"}}"#, "x".repeat(5000)),
            true,
        ),
        (format!(r#"{{"usage":{usage},"text":"a\"usage"}}"#), true),
        (format!(r#"{{"choices":[{{"usage":{other}}}]}}"#), false),
        (
            format!(r#"{{"choices":[{{"usage":{other}}}],"a":1}}"#),
            false,
        ),
    ] {
        let scan =
            codec::of(crate::llm::Protocol::OpenAi).scan(document.as_bytes(), Framing::Json, None);
        let expected = found.then(|| crate::llm::Usage::new(7, 2));
        assert_eq!(scan.usage, expected, "{document}");
    }
}
