use super::*;
use crate::rejection::Kind;

#[test]
fn rule_2_3_and_5_results_name_their_tool_and_arguments_are_objects() {
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let (body, losses) = to_ollama(json!({"messages": [
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        user("hi"),
        {"role": "assistant", "content": "so", "tool_calls": [call("a", "f", "{\"x\":1}"), call("b", "g", "[1]"), call("c", "f", "")]},
        {"role": "tool", "tool_call_id": "b", "content": "two"},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "tool", "tool_call_id": "c", "content": "three"},
    ]}));
    let called = |id: &str, name: &str, arguments: Value| json!({"id": id, "function": {"name": name, "arguments": arguments}});
    let result = |id: &str, name: &str, text: &str| json!({"role": "tool", "tool_call_id": id, "tool_name": name, "content": text});
    let expected = json!([
        {"role": "system", "content": "a\n\nb"},
        user("hi"),
        {"role": "assistant", "content": "so", "tool_calls": [
            called("a", "f", json!({"x": 1})), called("b", "g", json!({"arguments": "[1]"})), called("c", "f", json!({})),
        ]},
        result("a", "f", "one"),
        result("b", "g", "two"),
        result("c", "f", "three"),
    ]);
    assert_eq!(body["messages"], expected);
    assert_eq!(losses, ["messages[2].tool_calls[1].function.arguments"]);
}

#[test]
fn rule_9_tools_that_must_not_be_called_are_not_offered() {
    let named = json!({"type": "function", "function": {"name": "g"}});
    for (choice, tools, lost) in [
        (json!("auto"), vec!["f", "g"], 0),
        (json!("none"), vec![], 0),
        (json!("required"), vec!["f", "g"], 1),
        (named, vec!["g"], 1),
    ] {
        let (body, losses) =
            to_ollama(json!({"tools": [tool("f"), tool("g")], "tool_choice": choice}));
        let offered = body["tools"].as_array().into_iter().flatten();
        let offered: Vec<_> = offered
            .map(|tool| tool["function"]["name"].clone())
            .collect();
        assert_eq!(
            (offered, losses.len()),
            (tools.into_iter().map(Value::from).collect(), lost)
        );
        assert_eq!(body.get("tool_choice"), None);
    }
}

#[test]
fn rule_14_thoughts_go_back_to_the_model_that_had_them() {
    let history = |proof: &str| {
        let details = json!([{"type": "reasoning.text", "text": "hm", "signature": proof}]);
        json!({"messages": [
            user("hi"),
            {"role": "assistant", "content": "so", "reasoning_content": "hm", "reasoning_details": details},
            user("and?"),
        ]})
    };
    let (body, losses) = to_ollama(history(&maker(OLLAMA, QWEN).seal("")));
    assert_eq!(
        body["messages"][1],
        json!({"role": "assistant", "content": "so", "thinking": "hm"})
    );
    assert!(losses.is_empty());
    let (body, losses) = to_ollama(history(&maker(OLLAMA, "gpt-oss:20b").seal("")));
    assert_eq!(body["messages"][1].get("thinking"), None);
    assert_eq!(losses, ["messages[1].reasoning_details[0]"]);
}

#[test]
fn rule_17_effort_is_yes_or_no_and_for_one_family_a_word() {
    for (model, effort, think, lost) in [
        (QWEN, "none", json!(false), 0),
        (QWEN, "high", json!(true), 1),
        ("gpt-oss:20b", "low", json!("low"), 0),
        ("gpt-oss:20b", "xhigh", json!("high"), 1),
    ] {
        let (body, losses) = crossed(OPENAI, OLLAMA, model, json!({"reasoning_effort": effort}));
        assert_eq!(
            (&body["think"], losses.len()),
            (&think, lost),
            "{model} {effort}"
        );
    }
    let body = json!({"max_tokens": 9, "thinking": {"type": "enabled", "budget_tokens": 2000}});
    let (body, losses) = crossed(ANTHROPIC, OLLAMA, QWEN, body);
    assert_eq!(body["think"], true);
    assert_eq!(losses, ["thinking.budget_tokens"]);
    // Who says it in the vendor's word is heard.
    assert_eq!(to_ollama(json!({"think": false})).0["think"], false);
}

#[test]
fn rule_18_a_form_is_a_schema() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let (body, losses) = to_ollama(json!({"response_format": format}));
    assert_eq!((&body["format"], losses.len()), (&schema, 0));
    let (body, _) = to_ollama(json!({"response_format": {"type": "json_object"}}));
    assert_eq!(body["format"], "json");
}

#[test]
fn rule_19_a_picture_is_its_bytes_and_never_an_address() {
    let picture = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let text = |text: &str| json!({"type": "text", "text": text});
    let content = json!([
        text("see"),
        picture("data:image/png;base64,AAAA"),
        text("this")
    ]);
    let (body, losses) = to_ollama(json!({"messages": [user(content)]}));
    let expected = json!({"role": "user", "content": "see\n\nthis", "images": ["AAAA"]});
    assert_eq!(body["messages"][0], expected);
    assert!(losses.is_empty());
    let content = json!([text("see"), picture("https://a.example/b.png")]);
    let request = sent(OPENAI, &json!({"model": QWEN, "messages": [user(content)]}));
    let refused = encoded(&request, &maker(OLLAMA, QWEN)).unwrap_err();
    assert_eq!(refused.kind(), Kind::UnsupportedParameter);
    assert_eq!(refused.param(), Some("messages[0].content[1]"));
}

#[test]
fn rule_23_settings_are_options() {
    let (body, losses) = to_ollama(json!({
        "max_completion_tokens": 7, "temperature": 1.5, "top_p": 0.5, "seed": -3, "stop": "a", "n": 1,
        "num_ctx": 8192, "options": {"mirostat": 1, "seed": 9}, "keep_alive": "5m", "logit_bias": {"1": 1},
    }));
    let expected = json!({
        "num_predict": 7, "temperature": 1.5, "top_p": 0.5, "seed": -3, "stop": ["a"], "num_ctx": 8192, "mirostat": 1,
    });
    assert_eq!(body["options"], expected);
    assert_eq!(
        (&body["keep_alive"], &body["stream"]),
        (&json!("5m"), &json!(false))
    );
    let mut losses = losses;
    losses.sort();
    assert_eq!(losses, ["logit_bias"]);
    let (body, _) = crossed(
        ANTHROPIC,
        OLLAMA,
        QWEN,
        json!({"max_tokens": 9, "top_k": 40, "stop_sequences": ["b"]}),
    );
    assert_eq!(
        body["options"],
        json!({"num_predict": 9, "top_k": 40, "stop": ["b"]})
    );
}

#[test]
fn vectors_are_asked_of_texts() {
    let embed = |input: Value| {
        let body = json!({"model": "all-minilm", "input": input, "dimensions": 64, "encoding_format": "base64"});
        let bytes = Bytes::from(body.to_string());
        let request = of(OPENAI)
            .peek(&Operation::Embeddings.into(), bytes)
            .unwrap();
        of(OLLAMA).encode_request(&request, &maker(OLLAMA, "all-minilm"))
    };
    let encoded = embed(json!(["a", "b"])).unwrap();
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    let expected = json!({"model": "all-minilm", "input": ["a", "b"], "dimensions": 64});
    assert_eq!((body, encoded.losses.len()), (expected, 0));
    let refused = embed(json!([[1, 2], [3]])).unwrap_err();
    assert_eq!(refused.kind(), Kind::UnsupportedParameter);
}
