//! Usage, worked out by hand: what each recording states, and what that comes to in the one arithmetic.
//!
//! Input is all that was read: what a cache held is part of it, also where a vendor counts it apart. So
//! is what was written into one. Output is all that was written: thoughts are part of it. The last that
//! a stream tells counts, and nothing is added up.

use super::{
    all::{completion, kind, raw, read},
    exchanges,
};
use crate::llm::{
    Operation, Protocol, Usage,
    codec::{self, Framing, recordings::all::Kind},
};

/// Input and output.
fn used(input: u64, output: u64) -> Usage {
    Usage::new(input, output)
}

trait With: Sized {
    fn with(self, edit: impl FnOnce(&mut Usage)) -> Usage;

    fn read(self, count: u64) -> Usage {
        self.with(|usage| usage.cache_read = Some(count))
    }

    fn written(self, count: u64) -> Usage {
        self.with(|usage| usage.cache_write = Some(count))
    }

    fn thought(self, count: u64) -> Usage {
        self.with(|usage| usage.reasoning = Some(count))
    }

    fn heard(self, count: u64) -> Usage {
        self.with(|usage| usage.audio_input = Some(count))
    }
}

impl With for Usage {
    fn with(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }
}

/// Nothing that is told is nothing that is not told.
fn plain(usage: Usage) -> Usage {
    let told = |count: Option<u64>| count.filter(|count| *count > 0);
    let mut out = used(usage.input, usage.output);
    out.cache_read = told(usage.cache_read);
    out.cache_write = told(usage.cache_write);
    out.reasoning = told(usage.reasoning);
    out.audio_input = told(usage.audio_input);
    out.audio_output = told(usage.audio_output);
    out
}

/// The provider and the case of a recording.
fn recorded() -> Vec<(&'static str, Usage)> {
    vec![
        // Chat Completions, in the words of whoever speaks them.
        // 64 of the prompt, of which 44 are sound; 9.
        (
            "openai/chat_completions__json__test_audio_as_binary_content_input",
            used(64, 9).heard(44),
        ),
        // 4020, of which 4012 came from the cache; 4.
        (
            "openai/chat_completions__json__test_openai_chat_prompt_cache_e2e",
            used(4020, 4).read(4012),
        ),
        // The call before it, which wrote them.
        (
            "openai/chat_completions__json__test_openai_chat_prompt_cache_e2e_2",
            used(4020, 4).written(4012),
        ),
        // In a chunk of its own at the end.
        (
            "openai/chat_completions__stream__chat_streaming_logprobs_matrix_streaming_gpt_4_1_mini_stop_top_two",
            used(21, 1),
        ),
        // 128 of the 139 were thought.
        (
            "azure/chat_completions__json__chat_with_extended_thinking_azure_gpt_5_nano_preserves_thinking_signat",
            used(31, 139).thought(128),
        ),
        (
            "azure/chat_completions__stream__chat_with_extended_thinking_azure_gpt_5_nano_streams_thinking_content_",
            used(50, 4350).thought(4160),
        ),
        (
            "azure/embeddings__json__test_azure_openai_embeddings",
            used(8, 0),
        ),
        (
            "cerebras/chat_completions__json__test_cerebras_thinking_part_survives_multiturn",
            used(98, 47).thought(27),
        ),
        // 495 are 384 of a hit and 111 of a miss.
        (
            "deepseek/chat_completions__stream__chat_function_calling_deepseek_deepseek_chat_can_use_tools_with_multi_",
            used(495, 65).read(384),
        ),
        (
            "deepseek/chat_completions__json__streaming_logprobs_matrix_blocking_low_stop_top_two",
            used(18, 15).thought(13),
        ),
        (
            "groq/chat_completions__json__agent_tool_sessions_json_schema_structured_output_roundtrip",
            used(260, 100).thought(70),
        ),
        // Told twice, under two names: once is meant.
        (
            "groq/chat_completions__stream__prompt_caching_streaming_probe",
            used(1795, 16).read(1792).thought(14),
        ),
        (
            "groq/chat_completions__stream__agent_tool_sessions_parallel_tool_calls_single_turn_streaming",
            used(359, 35),
        ),
        (
            "huggingface/chat_completions__json__test_image_url_input",
            used(269, 27),
        ),
        (
            "llamacpp/chat_completions__json__typed_prompt_tools_prompt_typed_with_tool_call_verbatim_roundtrip",
            used(337, 100).read(312),
        ),
        // 585 in all, 9 of the prompt and 201 of the answer: the 375 of sound are counted apart from the
        // prompt. 9 + 375 = 384.
        (
            "mistral/chat_completions__json__chat_audio_models_mistral_voxtral_small_latest_can_understand_mp3_audi",
            used(384, 201).heard(375),
        ),
        (
            "mistral/chat_completions__json__chat_tool_choice_and_calls_control_mistral_mistral_small_latest_respec_2",
            used(144, 28).read(112),
        ),
        (
            "mistral/chat_completions__stream__chat_function_calling_mistral_mistral_small_latest_can_use_tools_with_",
            used(291, 27).read(192),
        ),
        (
            "mistralrs/chat_completions__stream__streaming_chat_completions_stream_emits_reasoning_and_text_incrementally",
            used(41, 208),
        ),
        (
            "ollama/chat_completions__json__chat_function_calling_ollama_cloud_gpt_oss_120b_can_use_tools_in_multi",
            used(300, 44),
        ),
        // 2649 are 2569 read, 79 written, and 1 of neither.
        (
            "openrouter/chat_completions__json__test_openrouter_cache_all_settings_real_api",
            used(2649, 100).read(2569).written(79),
        ),
        (
            "openrouter/chat_completions__stream__test_openrouter_stream_with_native_options",
            used(687, 187).read(679).thought(118),
        ),
        // Told six times, more each time. The last is 8 and 5.
        (
            "perplexity/chat_completions__stream__chat_streaming_responses_perplexity_sonar_supports_streaming_responses",
            used(8, 5),
        ),
        (
            "together/chat_completions__stream__test_chat_stream",
            used(41, 15),
        ),
        // 241 in all, 12 of the prompt and 1 of the answer: the 228 of thought are counted apart from the
        // answer. 1 + 228 = 229.
        (
            "xai/chat_completions__json__xai_text",
            used(12, 229).read(2).thought(228),
        ),
        // 303 - 12 = 291 = 1 + 290.
        (
            "xai/chat_completions__stream__xai_text_chunks",
            used(12, 291).read(11).thought(290),
        ),
        // Messages: `input_tokens` is what no cache held.
        // 4 + 9134 read + 237 written.
        (
            "anthropic/messages__json__test_anthropic_code_execution_files_cache_prefix_stable_messages_sonne",
            used(9375, 156).read(9134).written(237),
        ),
        // 3 + 4565 read.
        (
            "anthropic/messages__stream__prompt_caching_matrix_automatic_1h_prefix_1h_no_tools_streaming",
            used(4568, 7).read(4565),
        ),
        // 2250 + 11913 written at the end; the start said 2243 and nothing written.
        (
            "anthropic/messages__stream__streams_with_web_search_tool",
            used(14_163, 104).written(11_913),
        ),
        // 4 + 18131 written.
        (
            "bedrock/invoke__json__test_prompt_cache",
            used(18_135, 50).written(18_131),
        ),
        // Gemini: thoughts are no candidates, and what tools read is no prompt.
        // 1107 + 1171 read by a tool; 21 + 41 thought.
        (
            "gemini/generate_content__json__cached_content_matrix_edge_cached_code_execution",
            used(2278, 62).read(1081).thought(41),
        ),
        // 10 + 153 thought.
        (
            "gemini/stream_generate_content__stream__google_gemini_2_5_flash",
            used(105, 163).thought(153),
        ),
        // 310; 23 + 84 = 107; 417 in all.
        (
            "vertexai/generate_content__json__chat_function_calling_thought_signatures_vertexai_gemini_3_1_pro_previ",
            used(310, 107).thought(84),
        ),
        // The last element of an array: 11; 16 + 232 = 248; 259 in all.
        (
            "vertexai/stream_generate_content__json__test_gemini_token_counts_streaming",
            used(11, 248).thought(232),
        ),
        // 57 of the prompt, 7 of them its text; 48; 105 in all.
        (
            "vertexai/stream_generate_content__stream__streaming_success_url_context",
            used(57, 48),
        ),
        // Responses: as in Chat Completions, under other names.
        (
            "llamacpp/responses__json__unmapped_surface_responses_api",
            used(18, 6),
        ),
        (
            "openrouter/responses__json__test_openrouter_responses_prompt_cache_e2e",
            used(4020, 5).read(4012),
        ),
        (
            "xai/responses__json__chat_function_calling_xai_grok_4_1_fast_non_reasoning_can_use_tools_in",
            used(598, 98).read(192).thought(76),
        ),
        (
            "xai/responses__stream__chat_function_calling_xai_grok_4_1_fast_non_reasoning_can_use_tools_wi",
            used(708, 24).read(512).thought(16),
        ),
        // Converse: `inputTokens` is what no cache held. 3 + 2074 + 297 = 2374; 2374 + 61 = 2435 in all.
        (
            "bedrock/converse__json__test_bedrock_cache_messages_with_image_as_last_content",
            used(2374, 61).read(2074).written(297),
        ),
        (
            "bedrock/converse_stream__stream__chat_citations_with_bedrock_claude_haiku_4_5_streams_citations",
            used(670, 28),
        ),
        // Cohere: 10 and 1 are billed; 505 and 9 were read and written, 448 of them from the cache.
        (
            "cohere/cohere_chat_v2__json__agent_stop_sequences_are_forwarded",
            used(505, 9).read(448),
        ),
        (
            "cohere/cohere_chat_v2__stream__chat_function_calling_cohere_command_a_03_2025_can_use_tools_with_mult",
            used(1698, 66).read(1616),
        ),
        // Ollama's own: `prompt_eval_count` and `eval_count`.
        (
            "ollama/ollama_chat__json__agentic_native_mode",
            used(172, 32),
        ),
        (
            "ollama/ollama_chat__stream__agentic_streaming_structured_output_with_tools",
            used(655, 1092),
        ),
    ]
}

#[test]
fn rule_11_usage_of_recordings_is_right_to_the_token() {
    let name = |all: &serde_json::Value| {
        let text = |key: &str| all[key].as_str().unwrap_or_default().to_owned();
        Some((format!("{}/{}", text("provider"), text("case")), kind(all)))
    };
    let Some(exchanges) = exchanges(name) else {
        println!("recordings: skipped (no shared folder)");
        return;
    };
    let (mut right, mut unread, mut wrong) = (0, Vec::new(), Vec::new());
    for (name, expected) in recorded() {
        let found = exchanges.iter().find(|exchange| exchange.of.0 == name);
        let exchange = found.unwrap_or_else(|| panic!("no recording {name}"));
        let Ok(Kind::Answer(protocol, operation)) = exchange.of.1 else {
            unread.push(name);
            continue;
        };
        let (framing, raw) = raw(&exchange.response);
        let (events, _) = read((protocol, operation), framing, [&raw[..]]);
        let decoded = completion(events).usage.map(plain);
        let passing = codec::of(protocol)
            .scan(&raw, framing, None)
            .usage
            .map(plain);
        if (decoded, passing) == (Some(plain(expected)), Some(plain(expected))) {
            right += 1;
        } else {
            wrong.push(format!(
                "{name}\n  wants {expected:?}\n  reads {decoded:?}\n  finds {passing:?}"
            ));
        }
    }
    println!(
        "usage: {right} recordings are right, {} are not read",
        unread.len()
    );
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(right >= 45, "{right}; not read: {unread:#?}");
}

/// The same forms, in few words of our own.
#[test]
fn rule_11_usage_is_right_in_every_form_that_vendors_have() {
    use Protocol::{Anthropic, Bedrock, Cohere, Gemini, Ollama, OpenAi, Responses};
    let openai = |usage: &str| {
        let choice =
            r#"{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}"#;
        format!(r#"{{"id":"c","model":"m","choices":[{choice}],"usage":{usage}}}"#)
    };
    let chunks = |usages: &[&str]| {
        let mut out = String::new();
        for (at, usage) in usages.iter().enumerate() {
            let choice = r#"{"index":0,"delta":{"content":"a"}}"#;
            let end = r#"{"index":0,"delta":{},"finish_reason":"stop"}"#;
            let choice = if at + 1 == usages.len() { end } else { choice };
            out += &format!(
                "data: {{\"id\":\"c\",\"model\":\"m\",\"choices\":[{choice}]{usage}}}\n\n"
            );
        }
        out
    };
    let message = |usage: &str| {
        format!(
            r#"{{"type":"message","id":"m","model":"c","content":[],"stop_reason":"end_turn","usage":{usage}}}"#
        )
    };
    let messages = |first: &str, last: &str| {
        format!(
            "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{}}}\n\n\
             event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\"usage\":{last}}}\n\n",
            message(first)
        )
    };
    let google = |usage: &str| {
        let candidate = r#"{"content":{"parts":[{"text":"a"}],"role":"model"},"finishReason":"STOP","index":0}"#;
        format!(r#"{{"candidates":[{candidate}],"usageMetadata":{usage},"responseId":"r"}}"#)
    };
    let response = |usage: &str| {
        let item = r#"{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"a"}]}"#;
        format!(
            r#"{{"id":"resp_1","object":"response","created_at":1,"model":"m","status":"completed","output":[{item}],"usage":{usage}}}"#
        )
    };
    let rows = [
        // 9 and 12, of which 4 were read from the cache and 5 were thought.
        (
            OpenAi,
            Framing::Json,
            openai(
                r#"{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":5}}"#,
            ),
            used(9, 12).read(4).thought(5),
        ),
        // 30 - 9 - 1 = 20 of thought are in neither.
        (
            OpenAi,
            Framing::Json,
            openai(
                r#"{"prompt_tokens":9,"completion_tokens":1,"total_tokens":30,"completion_tokens_details":{"reasoning_tokens":20}}"#,
            ),
            used(9, 21).thought(20),
        ),
        // 40 - 9 - 1 = 30 of sound are in neither.
        (
            OpenAi,
            Framing::Json,
            openai(
                r#"{"prompt_tokens":9,"completion_tokens":1,"total_tokens":40,"prompt_tokens_details":{"audio_tokens":30}}"#,
            ),
            used(39, 1).heard(30),
        ),
        // DeepSeek's name of it.
        (
            OpenAi,
            Framing::Json,
            openai(
                r#"{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11,"prompt_cache_hit_tokens":7,"prompt_cache_miss_tokens":3}"#,
            ),
            used(10, 1).read(7),
        ),
        // In a chunk of its own, after many that say nothing of it.
        (
            OpenAi,
            Framing::Sse,
            chunks(&[r#","usage":null"#, r#","usage":null"#])
                + "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\ndata: [DONE]\n\n",
            used(3, 2),
        ),
        // More in every chunk: the last counts, and they are not added up.
        (
            OpenAi,
            Framing::Sse,
            chunks(&[
                r#","usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}"#,
                r#","usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}"#,
            ]),
            used(3, 2),
        ),
        // Under another name.
        (
            OpenAi,
            Framing::Sse,
            chunks(&[
                "",
                r#","x_groq":{"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
            ]),
            used(3, 2),
        ),
        // 4 + 90 + 6 = 100.
        (
            Anthropic,
            Framing::Json,
            message(
                r#"{"input_tokens":4,"cache_read_input_tokens":90,"cache_creation_input_tokens":6,"output_tokens":7}"#,
            ),
            used(100, 7).read(90).written(6),
        ),
        // The end takes the place of the start, where it says anything: 5 + 90, and 7.
        (
            Anthropic,
            Framing::Sse,
            messages(
                r#"{"input_tokens":4,"cache_read_input_tokens":90,"output_tokens":1}"#,
                r#"{"input_tokens":5,"output_tokens":7,"output_tokens_details":{"thinking_tokens":3}}"#,
            ),
            used(95, 7).read(90).thought(3),
        ),
        // 10 + 5; 7 + 20; 42 in all.
        (
            Gemini,
            Framing::Json,
            google(
                r#"{"promptTokenCount":10,"cachedContentTokenCount":4,"toolUsePromptTokenCount":5,"candidatesTokenCount":7,"thoughtsTokenCount":20,"totalTokenCount":42}"#,
            ),
            used(15, 27).read(4).thought(20),
        ),
        // Of an array, and of events, the last.
        (
            Gemini,
            Framing::Array,
            format!(
                "[{},\r\n{}]",
                google(r#"{"promptTokenCount":10,"totalTokenCount":10}"#),
                google(r#"{"promptTokenCount":10,"candidatesTokenCount":7,"totalTokenCount":17}"#)
            ),
            used(10, 7),
        ),
        (
            Gemini,
            Framing::Sse,
            format!(
                "data: {}\r\n\r\ndata: {}\r\n\r\n",
                google(r#"{"promptTokenCount":10,"candidatesTokenCount":100}"#),
                google(
                    r#"{"promptTokenCount":10,"candidatesTokenCount":7,"thoughtsTokenCount":2,"totalTokenCount":19}"#
                )
            ),
            used(10, 9).thought(2),
        ),
        // As in the older protocol, under other names: 20 of which 8 were read; 30 of which 25 were thought.
        (
            Responses,
            Framing::Json,
            response(r#"{"input_tokens":20,"input_tokens_details":{"cached_tokens":8},"output_tokens":30,"output_tokens_details":{"reasoning_tokens":25},"total_tokens":50}"#),
            used(20, 30).read(8).thought(25),
        ),
        // In the last event alone.
        (
            Responses,
            Framing::Sse,
            format!(
                "event: response.created\ndata: {{\"type\":\"response.created\",\"sequence_number\":0,\"response\":{}}}\n\n\
                 event: response.completed\ndata: {{\"type\":\"response.completed\",\"sequence_number\":1,\"response\":{}}}\n\n",
                response("null"),
                response(r#"{"input_tokens":20,"output_tokens":30,"total_tokens":50}"#)
            ),
            used(20, 30),
        ),
        // 3 + 90 + 7 = 100; 100 + 5 in all.
        (
            Bedrock,
            Framing::Json,
            r#"{"output":{"message":{"role":"assistant","content":[{"text":"a"}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"cacheReadInputTokens":90,"cacheWriteInputTokens":7,"outputTokens":5,"totalTokens":105},"metrics":{"latencyMs":1}}"#.to_owned(),
            used(100, 5).read(90).written(7),
        ),
        // What is billed is not what was read.
        (
            Cohere,
            Framing::Json,
            r#"{"id":"c","message":{"role":"assistant","content":[{"type":"text","text":"a"}]},"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":3,"output_tokens":1},"tokens":{"input_tokens":90,"output_tokens":2},"cached_tokens":64}}"#.to_owned(),
            used(90, 2).read(64),
        ),
        (
            Cohere,
            Framing::Sse,
            "data: {\"type\":\"message-start\",\"id\":\"c\",\"delta\":{\"message\":{\"role\":\"assistant\"}}}\n\n\
             data: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"tokens\":{\"input_tokens\":90,\"output_tokens\":2}}}}\n\n"
                .to_owned(),
            used(90, 2),
        ),
        // In the last line alone.
        (
            Ollama,
            Framing::Ndjson,
            "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":false}\n\
             {\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":9,\"eval_count\":4}\n"
                .to_owned(),
            used(9, 4),
        ),
    ];
    for (protocol, framing, raw, expected) in rows {
        let of = (protocol, Operation::Chat);
        let (events, error) = read(of, framing, [raw.as_bytes()]);
        assert!(error.is_none(), "{raw}");
        let expected = Some(plain(expected));
        assert_eq!(completion(events).usage.map(plain), expected, "{raw}");
        let passing = codec::of(protocol).scan(raw.as_bytes(), framing, None);
        assert_eq!(passing.usage.map(plain), expected, "{raw}");
    }
}
