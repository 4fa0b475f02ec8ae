use super::*;
use crate::llm::codec;
use bytes::Bytes;
use serde_json::{Value, json};

fn sent(protocol: Protocol, body: &Value) -> ChatRequest {
    let ask = Operation::Chat.into();
    codec::of(protocol)
        .peek(&ask, Bytes::from(body.to_string()))
        .unwrap()
}

/// Each path of the view, and what a client of this dialect is told.
fn told(protocol: Protocol, body: &Value, table: &[(&str, &str)]) {
    let request = sent(protocol, body);
    let words = Words::of(&request, None).unwrap();
    for (path, expected) in table {
        assert_eq!(words.told(path), *expected, "{path}");
    }
}

#[test]
fn openais_clients_have_their_parts_in_several_places() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let body = json!({"model": "m", "stop": "x", "max_completion_tokens": 1, "messages": [
        {"role": "system", "content": "a"},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "a"},
            {"type": "image_url", "image_url": {"url": "u", "detail": "low"}}]},
        {"role": "assistant", "reasoning_content": "hm", "content": "so", "refusal": "no", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "a"}]},
        {"role": "tool", "tool_call_id": "a", "content": "a"},
        {"role": "assistant", "content": null, "audio": {"id": "b"}},
    ], "tools": [{"type": "function", "function": {"name": "f", "strict": true}}]});
    told(
        OPENAI,
        &body,
        &[
            ("messages", "messages"),
            ("messages[0].content[0]", "messages[0].content"),
            ("messages[1].name", "messages[1].name"),
            ("messages[1].content[1]", "messages[1].content[1]"),
            (
                "messages[1].content[1].detail",
                "messages[1].content[1].image_url.detail",
            ),
            ("messages[2].content[0]", "messages[2].reasoning_content"),
            ("messages[2].content[1]", "messages[2].content"),
            ("messages[2].content[2]", "messages[2].refusal"),
            ("messages[2].content[3]", "messages[2].tool_calls[0]"),
            (
                "messages[2].content[3].arguments",
                "messages[2].tool_calls[0].function.arguments",
            ),
            ("messages[3].content[0]", "messages[3]"),
            (
                "messages[3].content[0].content[0]",
                "messages[3].content[0]",
            ),
            ("messages[4].content[0].content[0]", "messages[4].content"),
            ("messages[5].content[0]", "messages[5].audio"),
            ("tools[0].strict", "tools[0].function.strict"),
            ("max_tokens", "max_completion_tokens"),
            ("stop", "stop"),
        ],
    );
}

#[test]
fn anthropics_clients_have_the_operator_apart() {
    let body = json!({"model": "m", "max_tokens": 9, "stop_sequences": ["a"],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "is_error": true, "content": [{"type": "text", "text": "a"}]},
                {"type": "document", "title": "t", "source": {"type": "url", "url": "u"}},
            ]},
        ],
        "metadata": {"user_id": "u"}, "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "output_config": {"format": {"type": "json_schema", "schema": {"minimum": 1}}}});
    told(
        ANTHROPIC,
        &body,
        &[
            ("messages[0].content[0]", "system[0]"),
            (
                "messages[0].content[0].cache_control",
                "system[0].cache_control",
            ),
            ("messages[1].content[0]", "messages[0].content"),
            (
                "messages[2].content[0].arguments",
                "messages[1].content[0].input",
            ),
            (
                "messages[3].content[0].is_error",
                "messages[2].content[0].is_error",
            ),
            (
                "messages[3].content[0].content[0]",
                "messages[2].content[0].content[0]",
            ),
            (
                "messages[3].content[1].name",
                "messages[2].content[1].title",
            ),
            ("stop", "stop_sequences"),
            ("reasoning_effort", "thinking.budget_tokens"),
            ("thinking.budget_tokens", "thinking.budget_tokens"),
            (
                "parallel_tool_calls",
                "tool_choice.disable_parallel_tool_use",
            ),
            ("user", "metadata.user_id"),
            ("tools[0].parameters.pattern", "tools[0].input_schema"),
            (
                "response_format.json_schema.schema.minimum",
                "output_config.format.schema.minimum",
            ),
        ],
    );
}

#[test]
fn googles_clients_spell_as_they_please() {
    let ask = codec::Ask {
        operation: Operation::Chat,
        model: Some("m".to_owned()),
        stream: Some(false),
        query: None,
    };
    let body = json!({
        "system_instruction": {"parts": [{"text": "a"}]},
        "contents": [
            {"role": "user", "parts": {"text": "hi"}},
            {"role": "model", "parts": [
                {"text": "h", "thought": true}, {"text": "m", "thought": true, "thoughtSignature": "cA=="},
                {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "cA=="},
                {"text": "so"},
            ]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"error": "a"},
                "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}}]},
        ],
        "tools": [{"googleSearch": {}}, {"function_declarations": [{"name": "f"}, {"name": "g"}], "codeExecution": {}}],
        "generation_config": {"candidate_count": 2, "stopSequences": ["a"], "thinkingConfig": {"thinkingBudget": 1}},
    });
    let request = codec::of(GEMINI)
        .peek(&ask, Bytes::from(body.to_string()))
        .unwrap();
    let words = Words::of(&request, None).unwrap();
    for (path, expected) in [
        ("messages", "contents"),
        ("messages[0].content[0]", "system_instruction.parts[0]"),
        ("messages[1].content[0]", "contents[0].parts"),
        ("messages[2].content[0]", "contents[1].parts[0]"),
        ("messages[2].content[1]", "contents[1].parts[2]"),
        ("messages[2].content[2]", "contents[1].parts[2]"),
        (
            "messages[2].content[2].arguments",
            "contents[1].parts[2].functionCall.args",
        ),
        ("messages[2].content[3]", "contents[1].parts[3]"),
        (
            "messages[3].content[0].is_error",
            "contents[2].parts[0].functionResponse.response.error",
        ),
        (
            "messages[3].content[0].content[0]",
            "contents[2].parts[0].functionResponse.response",
        ),
        (
            "messages[3].content[0].content[1]",
            "contents[2].parts[0].functionResponse.parts[0]",
        ),
        ("tools[0]", "tools[0].googleSearch"),
        ("tools[2]", "tools[1].function_declarations[1]"),
        ("tools[3]", "tools[1].codeExecution"),
        ("n", "generation_config.candidate_count"),
        ("stop", "generation_config.stopSequences"),
        (
            "reasoning_effort",
            "generation_config.thinkingConfig.thinkingBudget",
        ),
        (
            "generationConfig.thinkingConfig.thinkingBudget",
            "generation_config.thinkingConfig.thinkingBudget",
        ),
    ] {
        assert_eq!(words.told(path), expected, "{path}");
    }
    let counted = json!({"generateContentRequest": {"model": "models/m", "contents": [{"parts": [{"text": "a"}]}],
        "generationConfig": {"topK": 1}}});
    let ask = codec::Ask {
        operation: Operation::CountTokens,
        ..ask
    };
    let request = codec::of(GEMINI)
        .peek(&ask, Bytes::from(counted.to_string()))
        .unwrap();
    let words = Words::of(&request, None).unwrap();
    for (path, expected) in [
        ("messages", "generateContentRequest.contents"),
        (
            "messages[0].content[0]",
            "generateContentRequest.contents[0].parts[0]",
        ),
        ("top_k", "generateContentRequest.generationConfig.topK"),
    ] {
        assert_eq!(words.told(path), expected, "{path}");
    }
}

#[test]
fn items_of_responses_are_counted_as_they_came() {
    let body = json!({"model": "m", "instructions": "a", "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}}, "max_output_tokens": 20, "input": [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "summary": [], "encrypted_content": "x"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "so"}, {"type": "output_text", "text": "and"}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "a"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "u", "detail": "low"}]},
        {"type": "custom_tool_call_output", "call_id": "a", "output": "a"},
    ]});
    told(
        RESPONSES,
        &body,
        &[
            ("messages", "input"),
            ("messages[0].content[0]", "instructions"),
            ("messages[1].content[0]", "input[0].content"),
            ("messages[2].content[0]", "input[1]"),
            ("messages[2].content[2]", "input[2].content[1]"),
            ("messages[2].content[3].arguments", "input[3].arguments"),
            ("messages[3].content[0]", "input[4]"),
            ("messages[3].content[0].content[0]", "input[4].output[0]"),
            (
                "messages[4].content[0].detail",
                "input[5].content[0].detail",
            ),
            ("messages[5].content[0].content[0]", "input[6].output"),
            ("max_tokens", "max_output_tokens"),
            ("reasoning_effort", "reasoning.effort"),
            ("response_format", "text.format"),
            ("response_format.json_schema.schema", "text.format.schema"),
        ],
    );
    told(
        RESPONSES,
        &json!({"model": "m", "input": "hi"}),
        &[("messages", "input"), ("messages[0].content[0]", "input")],
    );
}

#[test]
fn without_the_clients_bytes_the_words_are_its_own_all_the_same() {
    let body = json!({"model": "m", "max_tokens": 9, "system": "a", "messages": [{"role": "user", "content": "hi"}]});
    let mut request = sent(ANTHROPIC, &body);
    request.chat_mut().unwrap().sampling.n = Some(2);
    let words = Words::of(&request, None).unwrap();
    for (path, expected) in [
        ("stop", "stop_sequences"),
        ("messages[0].content[0]", "system[0]"),
        (
            "messages[1].content[0].cache_control",
            "messages[0].content[0].cache_control",
        ),
    ] {
        assert_eq!(words.told(path), expected, "{path}");
    }
    assert!(Words::of(&ChatRequest::new(), None).is_none());
}

const OPENAI: Protocol = Protocol::OpenAi;
const ANTHROPIC: Protocol = Protocol::Anthropic;
const GEMINI: Protocol = Protocol::Gemini;
const RESPONSES: Protocol = Protocol::Responses;
