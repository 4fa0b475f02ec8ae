use super::*;
use crate::llm::{Content, FinishReason, Role, Start};

/// What clients of this protocol are told of answers of the others, and the reverse.
#[test]
fn rule_10_and_11_ends_and_usage_mean_the_same_in_all_words() {
    for (openai, anthropic, gemini, status, why) in [
        ("stop", "end_turn", "STOP", "completed", None),
        (
            "length",
            "max_tokens",
            "MAX_TOKENS",
            "incomplete",
            Some("max_output_tokens"),
        ),
        (
            "content_filter",
            "refusal",
            "SAFETY",
            "incomplete",
            Some("content_filter"),
        ),
    ] {
        let chat = json!({"id": "c", "model": "m", "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": openai}],
            "usage": {"prompt_tokens": 15, "completion_tokens": 7, "total_tokens": 22, "prompt_tokens_details": {"cached_tokens": 5}}});
        let message = json!({"type": "message", "id": "c", "model": "m", "content": [{"type": "text", "text": "a"}],
            "stop_reason": anthropic, "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 7}});
        let candidate = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": gemini}], "responseId": "c",
            "usageMetadata": {"promptTokenCount": 15, "candidatesTokenCount": 7, "totalTokenCount": 22, "cachedContentTokenCount": 5}});
        for (protocol, whole) in [(OPENAI, chat), (ANTHROPIC, message), (GEMINI, candidate)] {
            let events = read(protocol, Framing::Json, &whole.to_string()).unwrap();
            let last = stream(RESPONSES, &events).pop().unwrap();
            assert_eq!(last["type"], format!("response.{status}"));
            for response in [&last["response"], &document(RESPONSES, &events)] {
                assert_eq!(response["status"], status);
                assert_eq!(response["incomplete_details"]["reason"].as_str(), why);
                let usage = &response["usage"];
                assert_eq!(
                    (&usage["input_tokens"], &usage["output_tokens"]),
                    (&json!(15), &json!(7))
                );
                assert_eq!(usage["input_tokens_details"]["cached_tokens"], 5);
            }
            // And from here to there.
            let written = document(RESPONSES, &events).to_string();
            let again = read(RESPONSES, Framing::Json, &written).unwrap();
            assert_eq!(
                document(OPENAI, &again)["choices"][0]["finish_reason"],
                openai
            );
            assert_eq!(document(ANTHROPIC, &again)["stop_reason"], anthropic);
            assert_eq!(document(ANTHROPIC, &again)["usage"]["input_tokens"], 10);
        }
    }
}

#[test]
fn rule_16_parts_of_an_answer_keep_their_order() {
    let events = [
        Event::Start(Start::new("resp_1", "m", 7)),
        said(Delta::Reasoning("hm".into())),
        said(Delta::Signature("p".into())),
        said(Delta::Text("a".into())),
        call(0, Some("f"), "{\"x\":1}"),
        call(1, Some("g"), "{}"),
        Event::Finish {
            choice: 0,
            reason: FinishReason::ToolCalls,
        },
    ];
    let parts = |all: &Completion| -> Vec<Content> {
        let parts = all.choices[0].message.parts.iter();
        parts.map(|part| part.content.clone()).collect()
    };
    let once = completion(events.to_vec());
    for framing in [Framing::Sse, Framing::Json] {
        let written = told(RESPONSES, framing, &events, 2);
        let again = completion(read(RESPONSES, framing, &written).unwrap());
        assert_eq!(parts(&again), parts(&once));
        assert_eq!(again.choices[0].finish, once.choices[0].finish);
        assert_eq!(again.start, once.start);
        // An answer goes back as a part of the next question, and means the same.
        if framing == Framing::Json {
            let output = serde_json::from_str::<Value>(&written).unwrap()["output"].take();
            let request = from_responses("m", json!({"input": output}));
            let message = &request.chat().unwrap().messages[0];
            assert_eq!(message.role, Role::Assistant);
            let said: Vec<_> = message
                .parts
                .iter()
                .map(|part| part.content.clone())
                .collect();
            assert_eq!(said, parts(&once));
        }
    }
}
