//! The kinds of losses and faults, as clients of each dialect bring them about.

use super::*;

/// A kind of loss or fault: what a client says, and where.
pub(super) type Row = (Protocol, Value, Vec<&'static str>);

pub(super) fn rows() -> Vec<Row> {
    let mut all = settings();
    all.extend(turns());
    all.extend(parts());
    all.extend(tools());
    all
}

fn settings() -> Vec<Row> {
    let many = ["a", "b", "c", "d", "e", "f", "g"];
    let schema = json!({"type": "object", "properties": {"a": {"$ref": "#"}}});
    let config = |key: &str, value: Value| json!({"generationConfig": {key: value}});
    vec![
        (OPENAI, json!({"n": 2}), vec!["n"]),
        (
            GEMINI,
            config("candidateCount", json!(2)),
            vec!["generationConfig.candidateCount"],
        ),
        (
            GEMINI,
            json!({"generation_config": {"candidate_count": 2}}),
            vec!["generation_config.candidate_count"],
        ),
        (OPENAI, json!({"stop": many}), vec!["stop"]),
        (
            ANTHROPIC,
            json!({"stop_sequences": many}),
            vec!["stop_sequences"],
        ),
        (
            GEMINI,
            config("stopSequences", json!(many)),
            vec!["generationConfig.stopSequences"],
        ),
        (OPENAI, json!({"stop": " "}), vec!["stop"]),
        (OPENAI, json!({"top_k": 900}), vec!["top_k"]),
        (ANTHROPIC, json!({"top_k": 900}), vec!["top_k"]),
        (
            GEMINI,
            config("topK", json!(900)),
            vec!["generationConfig.topK"],
        ),
        (OPENAI, json!({"temperature": 1.5}), vec!["temperature"]),
        (
            GEMINI,
            config("temperature", json!(1.5)),
            vec!["generationConfig.temperature"],
        ),
        (OPENAI, json!({"top_p": 0.001}), vec!["top_p"]),
        (
            GEMINI,
            config("topP", json!(0.001)),
            vec!["generationConfig.topP"],
        ),
        (OPENAI, json!({"seed": -1}), vec!["seed"]),
        (
            GEMINI,
            config("seed", json!(-1)),
            vec!["generationConfig.seed"],
        ),
        (
            OPENAI,
            json!({"presence_penalty": -1.0}),
            vec!["presence_penalty"],
        ),
        (
            GEMINI,
            config("presencePenalty", json!(-1.0)),
            vec!["generationConfig.presencePenalty"],
        ),
        (
            GEMINI,
            config("frequencyPenalty", json!(-1.0)),
            vec!["generationConfig.frequencyPenalty"],
        ),
        (
            OPENAI,
            json!({"max_completion_tokens": 1}),
            vec!["max_completion_tokens"],
        ),
        (OPENAI, json!({"max_tokens": 1}), vec!["max_tokens"]),
        (ANTHROPIC, json!({"max_tokens": 1}), vec!["max_tokens"]),
        (
            GEMINI,
            config("maxOutputTokens", json!(1)),
            vec!["generationConfig.maxOutputTokens"],
        ),
        (
            OPENAI,
            json!({"reasoning_effort": "high"}),
            vec!["reasoning_effort"],
        ),
        (
            RESPONSES,
            json!({"reasoning": {"effort": "high"}}),
            vec!["reasoning.effort"],
        ),
        (
            ANTHROPIC,
            json!({"output_config": {"effort": "high"}}),
            vec!["output_config.effort"],
        ),
        (
            ANTHROPIC,
            json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}),
            vec!["thinking", "thinking.budget_tokens"],
        ),
        (
            GEMINI,
            config("thinkingConfig", json!({"thinkingBudget": 2000})),
            vec!["generationConfig.thinkingConfig.thinkingBudget"],
        ),
        (
            OPENAI,
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}),
            vec!["response_format", "response_format.json_schema.schema"],
        ),
        (
            RESPONSES,
            json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": schema}}}),
            vec!["text.format", "text.format.schema"],
        ),
        (
            ANTHROPIC,
            json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}),
            vec!["output_config.format"],
        ),
        (
            GEMINI,
            config("responseJsonSchema", schema.clone()),
            vec!["generationConfig.responseJsonSchema"],
        ),
        (OPENAI, json!({"logit_bias": {"1": 1}}), vec!["logit_bias"]),
        (
            RESPONSES,
            json!({"max_tool_calls": 1}),
            vec!["max_tool_calls"],
        ),
        (
            ANTHROPIC,
            json!({"inference_geo": "eu"}),
            vec!["inference_geo"],
        ),
        (
            ANTHROPIC,
            json!({"metadata": {"user_id": "é".repeat(300)}}),
            vec!["metadata", "metadata.user_id"],
        ),
        (
            GEMINI,
            json!({"safety_settings": [{"category": "c"}]}),
            vec!["safety_settings"],
        ),
        (
            GEMINI,
            config("media_resolution", json!("LOW")),
            vec!["generationConfig.media_resolution"],
        ),
    ]
}

fn turns() -> Vec<Row> {
    let user = |content: Value| json!({"role": "user", "content": content});
    let said = |content: Value| json!({"role": "assistant", "content": content});
    let call =
        json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "[1]"}});
    let calls = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let result = json!({"role": "tool", "tool_call_id": "a", "content": "x"});
    let item = json!({"type": "function_call", "call_id": "a", "name": "f", "arguments": "[1]"});
    let output = json!({"type": "function_call_output", "call_id": "a", "output": "x"});
    let use_a = said(json!([{"type": "tool_use", "id": "a", "name": "f", "input": {}}]));
    let answer = |more: Value| {
        let mut block = json!({"type": "tool_result", "tool_use_id": "a", "content": "x"});
        block
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        user(json!([block]))
    };
    let parts = |role: &str, parts: Value| json!({"role": role, "parts": parts});
    let function = json!([{"functionCall": {"name": "f", "args": {}}}]);
    let failed = json!([{"functionResponse": {"name": "f", "response": {"error": "x"}}}]);
    let hi = || user(json!("hi"));
    vec![
        // Arguments that are no object.
        (
            OPENAI,
            json!({"messages": [hi(), calls, result]}),
            vec!["messages[1].tool_calls[0].function.arguments"],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [hi(), item, output]}),
            vec!["input[1].arguments"],
        ),
        // A call without an answer, and an answer without a call.
        (
            OPENAI,
            json!({"messages": [hi(), {"role": "assistant", "content": "a"}, result, hi()]}),
            vec!["messages[2]"],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [hi(), said(json!("a")), output, hi()]}),
            vec!["input[2]"],
        ),
        (
            ANTHROPIC,
            json!({"system": "a", "messages": [hi(), use_a]}),
            vec!["messages", "messages[1]"],
        ),
        (
            ANTHROPIC,
            json!({"system": "a", "messages": [hi(), said(json!("a")), answer(json!({})), said(json!("a")), hi()]}),
            vec!["messages[2].content[0]"],
        ),
        (
            GEMINI,
            json!({"systemInstruction": {"parts": [{"text": "a"}]}, "contents": [
                parts("user", json!([{"text": "hi"}])), parts("model", function.clone())]}),
            vec!["contents", "contents[1]"],
        ),
        // What failed.
        (
            ANTHROPIC,
            json!({"system": "a", "messages": [hi(), use_a, answer(json!({"is_error": true}))]}),
            vec!["messages[2].content[0].is_error"],
        ),
        (
            GEMINI,
            json!({"system_instruction": "a", "contents": [
                parts("user", json!([{"text": "hi"}])), parts("model", function), parts("user", failed)]}),
            vec!["contents[2].parts[0].functionResponse.response.error"],
        ),
        // The last turn is the model's.
        (
            OPENAI,
            json!({"messages": [hi(), said(json!("so"))]}),
            vec!["messages", "messages[1]"],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [hi(), said(json!("so"))]}),
            vec!["input", "input[1]"],
        ),
        (
            ANTHROPIC,
            json!({"system": "a", "messages": [hi(), said(json!("so"))]}),
            vec!["messages", "messages[1]"],
        ),
        (
            GEMINI,
            json!({"systemInstruction": "a", "contents": [
                parts("user", json!([{"text": "hi"}])), parts("model", json!([{"text": "so"}]))]}),
            vec!["contents", "contents[1]"],
        ),
        // What the operator says later.
        (
            OPENAI,
            json!({"messages": [hi(), {"role": "system", "content": "a"}, hi()]}),
            vec!["messages[1]"],
        ),
        (
            RESPONSES,
            json!({"instructions": "b", "input": [hi(), {"role": "developer", "content": "a"}, hi()]}),
            vec!["input[1]"],
        ),
        (
            ANTHROPIC,
            json!({"system": "b", "messages": [hi(), {"role": "system", "content": "a"}, hi()]}),
            vec!["messages[1]"],
        ),
        // Nothing is said.
        (
            OPENAI,
            json!({"messages": [user(json!([]))]}),
            vec!["messages"],
        ),
        (RESPONSES, json!({"input": []}), vec!["input"]),
        (
            ANTHROPIC,
            json!({"messages": [user(json!([]))]}),
            vec!["messages"],
        ),
        (
            GEMINI,
            json!({"contents": [parts("user", json!([]))]}),
            vec!["contents"],
        ),
    ]
}

fn parts() -> Vec<Row> {
    let user = |content: Value| json!({"role": "user", "content": content});
    let said = |content: Value| json!({"role": "assistant", "content": content});
    let hi = || user(json!("hi"));
    let text = json!({"type": "text", "text": "a"});
    let input = json!({"type": "input_text", "text": "a"});
    let url = "https://a.example/b.png";
    let google = |part: Value| {
        json!({"systemInstruction": {"parts": [{"text": "s"}]},
        "contents": [{"role": "user", "parts": [{"text": "a"}, part]}]})
    };
    let proof = json!({"type": "thinking", "thinking": "hm", "signature": "s"});
    vec![
        // Thoughts of another.
        (
            OPENAI,
            json!({"messages": [hi(), {"role": "assistant", "content": "a", "reasoning_content": "hm"}, hi()]}),
            vec!["messages[1].reasoning_content"],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [hi(),
                {"type": "reasoning", "summary": [], "encrypted_content": "x"}, said(json!("a")), hi()]}),
            vec!["input[1]"],
        ),
        (
            ANTHROPIC,
            json!({"system": "s", "messages": [hi(), said(json!([proof, text])), hi()]}),
            vec!["messages[1].content[0]"],
        ),
        (
            GEMINI,
            json!({"systemInstruction": "s", "contents": [
                {"role": "user", "parts": [{"text": "a"}]},
                {"role": "model", "parts": [{"text": "hm", "thought": true, "thoughtSignature": "cA=="}, {"text": "a"}]},
                {"role": "user", "parts": [{"text": "a"}]}]}),
            vec!["contents[1].parts[0]"],
        ),
        // Fields of parts.
        (
            OPENAI,
            json!({"messages": [user(json!([text, {"type": "text", "text": "b", "odd": 1}]))]}),
            vec!["messages[0].content[1].odd"],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [user(json!([input, {"type": "input_text", "text": "b", "odd": 1}]))]}),
            vec!["input[0].content[1].odd"],
        ),
        (
            ANTHROPIC,
            json!({"system": "s", "messages": [user(json!([text, {"type": "text", "text": "b", "odd": 1}]))]}),
            vec!["messages[0].content[1].odd"],
        ),
        (
            ANTHROPIC,
            json!({"system": [{"type": "text", "text": "b", "odd": 1}]}),
            vec!["system[0].odd"],
        ),
        (
            GEMINI,
            google(json!({"text": "b", "odd": 1})),
            vec!["contents[0].parts[1].odd"],
        ),
        (
            OPENAI,
            json!({"messages": [{"role": "user", "content": "a", "name": "ann"}]}),
            vec!["messages[0].name"],
        ),
        // Parts of a kind that nobody else has.
        (
            OPENAI,
            json!({"messages": [user(json!([text, {"type": "odd"}]))]}),
            vec!["messages[0].content[1]"],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [user(json!([input, {"type": "odd"}]))]}),
            vec!["input[0].content[1]"],
        ),
        (
            ANTHROPIC,
            json!({"system": "s", "messages": [user(json!([text, {"type": "odd"}]))]}),
            vec!["messages[0].content[1]"],
        ),
        (
            GEMINI,
            google(json!({"executableCode": {"code": "1"}})),
            vec!["contents[0].parts[1]"],
        ),
        // Pictures by URL, and how closely to look.
        (
            OPENAI,
            json!({"messages": [user(json!([text, {"type": "image_url", "image_url": {"url": url, "detail": "low"}}]))]}),
            vec![
                "messages[0].content[1]",
                "messages[0].content[1].image_url.detail",
            ],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [user(json!([input, {"type": "input_image", "image_url": url, "detail": "low"}]))]}),
            vec!["input[0].content[1]", "input[0].content[1].detail"],
        ),
        (
            ANTHROPIC,
            json!({"system": "s", "messages": [user(json!([text, {"type": "image", "source": {"type": "url", "url": url}}]))]}),
            vec!["messages[0].content[1]"],
        ),
        (
            GEMINI,
            google(json!({"fileData": {"fileUri": url}})),
            vec!["contents[0].parts[1]"],
        ),
        // What a vendor keeps.
        (
            OPENAI,
            json!({"messages": [user(json!([text, {"type": "file", "file": {"file_id": "file-1"}}]))]}),
            vec!["messages[0].content[1]"],
        ),
        (
            RESPONSES,
            json!({"instructions": "a", "input": [user(json!([input, {"type": "input_file", "file_id": "file-1"}]))]}),
            vec!["input[0].content[1]"],
        ),
        (
            ANTHROPIC,
            json!({"system": "s", "messages": [user(json!([text, {"type": "document", "source": {"type": "file", "file_id": "f"}}]))]}),
            vec!["messages[0].content[1]"],
        ),
        (
            GEMINI,
            google(json!({"file_data": {"file_uri": "gs://b/a.pdf"}})),
            vec!["contents[0].parts[1]"],
        ),
        (
            GEMINI,
            json!({"cached_content": "cachedContents/1"}),
            vec!["cached_content"],
        ),
    ]
}

fn tools() -> Vec<Row> {
    let parameters = json!({"type": "object"});
    let chat = json!({"type": "function", "function": {"name": "f", "parameters": parameters}});
    let strict = json!({"type": "function", "function": {"name": "g", "parameters": parameters, "strict": true}});
    let plain = json!({"type": "function", "name": "f", "parameters": parameters, "strict": false});
    let mut held = plain.clone();
    (held["name"], held["strict"]) = ("g".into(), true.into());
    let claude = json!({"name": "f", "input_schema": parameters});
    let google = json!({"functionDeclarations": [{"name": "f"}, {"name": "g", "odd": 1}]});
    vec![
        (
            OPENAI,
            json!({"tools": [chat, strict]}),
            vec!["tools[1].function.strict"],
        ),
        (
            RESPONSES,
            json!({"tools": [plain, held]}),
            vec!["tools[1].strict"],
        ),
        (
            ANTHROPIC,
            json!({"tools": [claude, {"name": "g", "input_schema": parameters, "strict": true}]}),
            vec!["tools[1].strict"],
        ),
        (
            GEMINI,
            json!({"tools": [google]}),
            vec!["tools[0].functionDeclarations[1].odd"],
        ),
        // The vendor's own.
        (
            OPENAI,
            json!({"tools": [chat, {"type": "odd"}]}),
            vec!["tools[1]"],
        ),
        (
            RESPONSES,
            json!({"tools": [plain, {"type": "web_search"}]}),
            vec!["tools[1]"],
        ),
        (
            ANTHROPIC,
            json!({"tools": [claude, {"type": "web_search_20250305", "name": "w"}]}),
            vec!["tools[1]"],
        ),
        (
            GEMINI,
            json!({"tools": [{"function_declarations": [{"name": "f"}]}, {"google_search": {}}]}),
            vec!["tools[1].google_search"],
        ),
        // A choice of none.
        (
            OPENAI,
            json!({"tool_choice": "required"}),
            vec!["tool_choice"],
        ),
        (
            RESPONSES,
            json!({"tool_choice": "required"}),
            vec!["tool_choice"],
        ),
        (
            ANTHROPIC,
            json!({"tool_choice": {"type": "any"}}),
            vec!["tool_choice"],
        ),
        (
            GEMINI,
            json!({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
            vec!["toolConfig.functionCallingConfig"],
        ),
        // One at a time.
        (
            OPENAI,
            json!({"tools": [chat], "parallel_tool_calls": false}),
            vec!["parallel_tool_calls"],
        ),
        (
            RESPONSES,
            json!({"tools": [plain], "parallel_tool_calls": false}),
            vec!["parallel_tool_calls"],
        ),
        (
            ANTHROPIC,
            json!({"tools": [claude], "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
            vec!["tool_choice.disable_parallel_tool_use"],
        ),
    ]
}
