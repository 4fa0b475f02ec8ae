use super::*;

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn tool_call(id: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
}

#[test]
fn rule_1_what_the_operator_says_is_hoisted_in_blocks() {
    let (body, losses) = to_anthropic(json!({"messages": [
        {"role": "system", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
        {"role": "developer", "content": "b"},
        user("hi"),
        {"role": "system", "content": "c"},
    ]}));
    let expected = json!([
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "b"},
        {"type": "text", "text": "c"},
    ]);
    assert_eq!(body["system"], expected);
    assert_eq!(body["messages"], json!([user("hi")]));
    assert_eq!(losses, ["messages[3]"]);
    let (body, _) = to_openai(
        json!({"system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
    );
    let system = json!({"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]});
    assert_eq!(body["messages"][0], system);
}

#[test]
fn rule_2_results_of_tools_are_one_turn_and_stand_first_in_the_order_of_the_calls() {
    let (body, losses) = to_anthropic(json!({"messages": [
        user("hi"),
        {"role": "assistant", "content": null, "tool_calls": [tool_call("a", "{}"), tool_call("b", "{}")]},
        {"role": "tool", "tool_call_id": "b", "content": "two"},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        user("and?"),
    ]}));
    let expected = json!({"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "a", "content": "one"},
        {"type": "tool_result", "tool_use_id": "b", "content": "two"},
        {"type": "text", "text": "and?"},
    ]});
    assert_eq!(body["messages"][2], expected);
    assert_eq!(body["messages"].as_array().unwrap().len(), 3);
    assert!(losses.is_empty());
    let (back, losses) = to_openai(json!({"messages": body["messages"].clone()}));
    assert_eq!(
        back["messages"][2],
        json!({"role": "tool", "tool_call_id": "a", "content": "one"})
    );
    assert_eq!(back["messages"][4], user("and?"));
    assert!(losses.is_empty());
}

#[test]
fn rule_3_calls_and_results_come_in_pairs() {
    let (body, losses) = to_anthropic(json!({"messages": [
        user("hi"),
        {"role": "assistant", "tool_calls": [tool_call("a", "{}"), tool_call("b", "{}")]},
        {"role": "tool", "tool_call_id": "b", "content": "two"},
        {"role": "tool", "tool_call_id": "x", "content": "of nobody"},
        {"role": "assistant", "content": "so", "tool_calls": [tool_call("c", "{}")]},
    ]}));
    let ids = |at: usize| -> Vec<_> {
        let blocks = body["messages"][at]["content"].as_array().unwrap().iter();
        blocks
            .map(|block| block["tool_use_id"].as_str().unwrap())
            .collect()
    };
    assert_eq!(ids(2), ["a", "b"]);
    assert_eq!(body["messages"][2]["content"][0]["is_error"], true);
    assert_eq!(ids(4), ["c"]);
    assert_eq!(losses, ["messages", "messages[3]", "messages"]);
}

#[test]
fn rule_5_arguments_are_a_text_here_and_an_object_there() {
    for (text, input, lost) in [
        ("", json!({}), false),
        ("{\"a\":[1]}", json!({"a": [1]}), false),
        ("[1]", json!({"arguments": "[1]"}), true),
        ("{\"a\":", json!({"arguments": "{\"a\":"}), true),
    ] {
        let (body, losses) = to_anthropic(json!({"messages": [
            user("hi"),
            {"role": "assistant", "tool_calls": [tool_call("a", text)]},
            {"role": "tool", "tool_call_id": "a", "content": "x"},
        ]}));
        assert_eq!(body["messages"][1]["content"][0]["input"], input);
        assert_eq!(!losses.is_empty(), lost, "{losses:?}");
    }
    let (body, _) = to_openai(json!({"messages": [
        user("hi"),
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}]},
    ]}));
    assert_eq!(
        body["messages"][1]["tool_calls"][0],
        tool_call("toolu_1", "{\"a\":1}")
    );
}

#[test]
fn rule_7_names_of_calls_are_kept_where_they_can_be() {
    let (body, _) = to_anthropic(json!({"messages": [
        user("hi"),
        {"role": "assistant", "tool_calls": [tool_call("call_A-1", "{}"), tool_call("f.x:0", "{}")]},
        {"role": "tool", "tool_call_id": "f.x:0", "content": "x"},
        {"role": "tool", "tool_call_id": "call_A-1", "content": "y"},
    ]}));
    let calls = &body["messages"][1]["content"];
    let results = &body["messages"][2]["content"];
    assert_eq!(
        (&calls[0]["id"], &results[0]["tool_use_id"]),
        (&json!("call_A-1"), &json!("call_A-1"))
    );
    assert_eq!(calls[1]["id"], "f_x_0_0");
    assert_eq!(results[1]["tool_use_id"], "f_x_0_0");
}

#[test]
fn rule_9_the_choice_of_a_tool_has_other_words() {
    let tools =
        json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let own = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    for (openai, anthropic) in [
        (json!("auto"), json!({"type": "auto"})),
        (json!("none"), json!({"type": "none"})),
        (json!("required"), json!({"type": "any"})),
        (
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"type": "tool", "name": "f"}),
        ),
    ] {
        let (body, losses) = to_anthropic(json!({"tools": tools, "tool_choice": openai}));
        assert_eq!((&body["tool_choice"], &body["tools"]), (&anthropic, &own));
        assert!(losses.is_empty());
        let (body, losses) = to_openai(json!({"tools": own, "tool_choice": anthropic}));
        assert_eq!((&body["tool_choice"], &body["tools"]), (&openai, &tools));
        assert!(losses.is_empty());
    }
    let (body, _) = to_anthropic(json!({"tools": tools, "parallel_tool_calls": false}));
    let alone = json!({"type": "auto", "disable_parallel_tool_use": true});
    assert_eq!(body["tool_choice"], alone);
    let (body, _) = to_openai(json!({"tools": own, "tool_choice": alone}));
    assert_eq!(
        (&body["tool_choice"], &body["parallel_tool_calls"]),
        (&json!("auto"), &json!(false))
    );
}

#[test]
fn rule_13_the_most_tokens_are_always_told_and_have_the_name_that_is_known() {
    for (model, most) in [
        ("claude-3-haiku-20240307", 4096),
        (CLAUDE, 64_000),
        ("claude-opus-4-6", 128_000),
    ] {
        let (body, losses) = to_anthropic(json!({"model": model}));
        assert_eq!(body["max_tokens"], most);
        assert!(losses.is_empty());
    }
    let (body, _) = to_anthropic(json!({"max_completion_tokens": 7}));
    assert_eq!(body["max_tokens"], 7);
    let (body, _) = to_openai(json!({"max_tokens": 7}));
    assert_eq!(
        (&body["max_completion_tokens"], &body["max_tokens"]),
        (&json!(7), &Value::Null)
    );
    let (body, _) = to_openai(json!({"model": "llama", "max_tokens": 7}));
    assert_eq!(body["max_tokens"], 7);
}

#[test]
fn rule_14_thoughts_come_back_to_their_maker_alone() {
    let own = maker(ANTHROPIC, CLAUDE);
    let history = |proof: String, data: String| {
        json!({"messages": [
            user("hi"),
            {"role": "assistant", "content": "so", "reasoning_content": "hm", "reasoning_details": [
                {"type": "reasoning.text", "text": "hm", "signature": proof},
                {"type": "reasoning.encrypted", "data": data},
            ]},
            user("and?"),
        ]})
    };
    let (body, losses) = to_anthropic(history(own.seal("p"), own.seal("d")));
    let expected = json!([
        {"type": "thinking", "thinking": "hm", "signature": "p"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "so"},
    ]);
    assert_eq!(body["messages"][1]["content"], expected);
    assert!(losses.is_empty());
    let other = maker(ANTHROPIC, "claude-opus-4-5");
    for proof in [
        other.seal("p"),
        maker(OPENAI, CLAUDE).seal("p"),
        "p".to_owned(),
    ] {
        let (body, losses) = to_anthropic(history(proof.clone(), proof));
        assert_eq!(body["messages"][1]["content"], "so");
        let details = [0, 1].map(|at| format!("messages[1].reasoning_details[{at}]"));
        assert_eq!(losses, details);
    }
    // Without a proof it is nobody's.
    let (body, losses) = to_anthropic(json!({"messages": [
        user("hi"), {"role": "assistant", "content": "so", "reasoning_content": "hm"}, user("and?"),
    ]}));
    assert_eq!(
        (&body["messages"][1]["content"], losses.len()),
        (&json!("so"), 1)
    );
    // The bytes of a client of the same protocol do not go on as they are with another's proof in them.
    let foreign =
        json!({"type": "thinking", "thinking": "hm", "signature": maker(OPENAI, "gpt-5").seal("")});
    let history = json!({"messages": [
        user("hi"), {"role": "assistant", "content": [foreign, {"type": "text", "text": "so"}]}, user("and?"),
    ]});
    let (body, losses) = crossed(ANTHROPIC, ANTHROPIC, CLAUDE, history.clone());
    assert_eq!(
        (&body["messages"][1]["content"], losses.len()),
        (&json!("so"), 1)
    );
    // Their maker gets them, in its own field.
    let (body, losses) = to_openai(history);
    assert_eq!(body["messages"][1]["reasoning_content"], "hm");
    assert_eq!(body["messages"][1].get("reasoning_details"), None);
    assert!(losses.is_empty());
}

#[test]
fn rule_16_what_forbids_thinking_is_looked_at_first() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let thinks = |more: Value| {
        let mut body = json!({"reasoning_effort": "high"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let (body, losses) = to_anthropic(body);
        (body["thinking"].clone(), losses)
    };
    let enabled = |budget: u64| json!({"type": "enabled", "budget_tokens": budget});
    assert_eq!(thinks(json!({})).0, enabled(8192));
    assert_eq!(thinks(json!({"max_tokens": 2000})).0, enabled(1999));
    let (adaptive, _) =
        to_anthropic(json!({"model": "claude-opus-4-6", "reasoning_effort": "high"}));
    assert_eq!(adaptive["thinking"], json!({"type": "adaptive"}));
    assert_eq!(adaptive["output_config"], json!({"effort": "high"}));
    let called = json!([
        user("hi"),
        {"role": "assistant", "tool_calls": [tool_call("a", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": "x"},
    ]);
    for not in [
        json!({"max_tokens": 1024}),
        json!({"tools": tools, "tool_choice": "required"}),
        json!({"messages": called}),
        json!({"model": "claude-3-5-haiku-20241022"}),
    ] {
        assert_eq!(
            thinks(not.clone()),
            (Value::Null, vec!["reasoning_effort".to_owned()]),
            "{not}"
        );
    }
    let (body, losses) = to_anthropic(
        json!({"reasoning_effort": "low", "temperature": 0.5, "top_k": 3, "top_p": 0.5}),
    );
    assert_eq!(
        (&body["temperature"], &body["top_k"], &body["top_p"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(
        losses,
        ["reasoning_effort", "temperature", "top_p", "top_k"]
    );
}

#[test]
fn rule_17_effort_is_a_word_or_a_budget() {
    for (word, budget) in [
        ("minimal", 1024),
        ("low", 2048),
        ("medium", 4096),
        ("high", 8192),
        ("xhigh", 16_384),
    ] {
        let (body, losses) = to_anthropic(json!({"reasoning_effort": word}));
        assert_eq!(body["thinking"]["budget_tokens"], budget);
        assert_eq!(losses, ["reasoning_effort"]);
    }
    assert_eq!(
        to_anthropic(json!({"reasoning_effort": "none"})).0["thinking"],
        Value::Null
    );
    for (budget, word) in [(1024, "low"), (4096, "medium"), (10_000, "high")] {
        let thinking = json!({"type": "enabled", "budget_tokens": budget});
        let (body, losses) = to_openai(json!({"thinking": thinking, "max_tokens": 20_000}));
        assert_eq!(body["reasoning_effort"], word);
        assert_eq!(losses, ["thinking.budget_tokens"]);
    }
    let adaptive = json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}});
    let (body, losses) = to_openai(adaptive.clone());
    assert_eq!(
        (&body["reasoning_effort"], losses.len()),
        (&json!("medium"), 0)
    );
    let (body, losses) = crossed(ANTHROPIC, OPENAI, "gpt-4o", adaptive);
    assert_eq!((&body["reasoning_effort"], losses.len()), (&Value::Null, 1));
}

#[test]
fn rule_18_the_form_of_an_answer_is_a_schema_that_the_vendor_takes() {
    let schema =
        json!({"type": "object", "properties": {"minimum": {"type": "integer", "minimum": 1}}});
    let format = |schema: &Value| json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let (body, losses) = to_anthropic(json!({"response_format": format(&schema)}));
    let closed = json!({
        "type": "object",
        "properties": {"minimum": {"type": "integer"}},
        "additionalProperties": false,
    });
    let written = json!({"type": "json_schema", "schema": closed});
    assert_eq!(body["output_config"]["format"], written);
    let place = "response_format.json_schema.schema";
    assert_eq!(
        losses,
        [
            place.to_owned(),
            format!("{place}.properties.minimum.minimum")
        ]
    );
    let (body, losses) = to_openai(json!({"output_config": {"format": written}}));
    assert_eq!(body["response_format"]["json_schema"]["schema"], closed);
    assert!(losses.is_empty());
    let recursive = json!({"type": "object", "properties": {"a": {"$ref": "#"}}});
    let request = sent(
        OPENAI,
        &json!({"model": CLAUDE, "messages": [user("hi")], "response_format": format(&recursive)}),
    );
    let refused = of(ANTHROPIC)
        .encode_request(&request, &maker(ANTHROPIC, CLAUDE))
        .unwrap_err();
    assert_eq!(refused.kind(), crate::rejection::Kind::UnsupportedParameter);
    let (_, losses) = to_anthropic(json!({"response_format": {"type": "json_object"}}));
    assert_eq!(losses, ["response_format"]);
}

#[test]
fn rule_19_and_20_pictures_and_documents_have_other_envelopes() {
    let openai = json!([
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
    ]);
    let anthropic = json!([
        {"type": "text", "text": "see"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}, "title": "a.pdf"},
    ]);
    let (body, losses) = to_anthropic(json!({"messages": [user(openai.clone())]}));
    assert_eq!(
        (&body["messages"][0]["content"], losses.len()),
        (&anthropic, 0)
    );
    let (body, losses) = to_openai(json!({"messages": [user(anthropic)]}));
    assert_eq!(
        (&body["messages"][0]["content"], losses.len()),
        (&openai, 0)
    );
    // What the other cannot see is told, and not invented.
    let (_, losses) = to_anthropic(json!({"messages": [user(json!([
        {"type": "text", "text": "hear"},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": "AAAA"}},
    ]))]}));
    assert_eq!(losses, ["messages[0].content[1]"]);
    // Pictures that a tool shows.
    let picture =
        json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}});
    let (body, losses) = to_openai(json!({"messages": [
        user("hi"),
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
        user(json!([{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "x"}, picture]}])),
    ]}));
    assert_eq!(body["messages"][2]["role"], "tool");
    assert_eq!(body["messages"][3]["content"][0]["type"], "image_url");
    assert_eq!(losses, ["messages[2].content[0].content[1]"]);
}

#[test]
fn rule_21_marks_of_the_cache_are_four_at_the_most_and_nothing_where_it_is_automatic() {
    let mark = json!({"type": "ephemeral"});
    let part = json!({"type": "text", "text": "a", "cache_control": mark});
    let (body, losses) =
        to_anthropic(json!({"messages": [user(Value::from(vec![part.clone(); 6]))]}));
    let blocks = body["messages"][0]["content"].as_array().unwrap();
    assert_eq!(
        blocks
            .iter()
            .filter(|block| block["cache_control"] == mark)
            .count(),
        4
    );
    let marks = [4, 5].map(|at| format!("messages[0].content[{at}].cache_control"));
    assert_eq!(losses, marks);
    let (body, losses) = to_openai(json!({
        "system": [part.clone()],
        "messages": [user(json!([part]))],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": mark}],
    }));
    assert!(!body.to_string().contains("cache_control"));
    let expected = [
        "tools[0].cache_control",
        "system[0].cache_control",
        "messages[0].content[0].cache_control",
    ];
    assert_eq!(losses, expected);
}

#[test]
fn rule_22_turns_alternate_and_none_is_empty() {
    let (body, losses) = to_anthropic(json!({"messages": [
        user("a"), user(""), user("b"),
        {"role": "assistant", "content": "c"}, {"role": "assistant", "content": "d \n"},
    ]}));
    let text = |text: &str| json!({"type": "text", "text": text});
    let expected = json!([
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": [text("c"), text("d")]},
    ]);
    assert_eq!(body["messages"], expected);
    assert_eq!(losses, ["messages"]);
    let (body, losses) =
        to_anthropic(json!({"messages": [{"role": "assistant", "content": "c"}, user("a")]}));
    assert_eq!(
        (&body["messages"][0]["role"], losses.len()),
        (&json!("user"), 1)
    );
    let (body, losses) = to_anthropic(json!({"messages": [{"role": "system", "content": "c"}]}));
    assert_eq!(
        (&body["messages"][0]["role"], losses.len()),
        (&json!("user"), 1)
    );
    let (_, losses) =
        to_openai(json!({"messages": [user("a"), {"role": "assistant", "content": "b"}]}));
    assert_eq!(losses, ["messages[1]"]);
}

#[test]
fn rule_23_settings_that_the_other_has_not_are_told() {
    let (body, losses) = to_anthropic(json!({
        "temperature": 1.5, "seed": 1, "presence_penalty": 0.5, "frequency_penalty": 0, "logit_bias": {"1": 1},
        "stop": ["a", " \n"], "logprobs": false, "store": false, "user": "u", "n": 1, "metadata": {"a": "b"},
        "service_tier": "auto",
    }));
    assert_eq!(body["temperature"], 1.0);
    assert_eq!(body["stop_sequences"], json!(["a"]));
    assert_eq!(body["metadata"], json!({"user_id": "u"}));
    assert_eq!(
        losses,
        [
            "temperature",
            "seed",
            "presence_penalty",
            "stop",
            "logit_bias",
            "metadata"
        ]
    );
    let request = sent(
        OPENAI,
        &json!({"model": CLAUDE, "messages": [user("hi")], "n": 2}),
    );
    let refused = of(ANTHROPIC)
        .encode_request(&request, &maker(ANTHROPIC, CLAUDE))
        .unwrap_err();
    assert_eq!(refused.param(), Some("n"));
    let (body, losses) = to_openai(json!({
        "top_k": 3, "stop_sequences": ["a", "b", "c", "d", "e"], "metadata": {"user_id": "u"}, "container": "c",
        "context_management": null, "output_config": {"task_budget": {"type": "tokens", "total": 1}},
    }));
    assert_eq!(body["stop"].as_array().unwrap().len(), 4);
    assert_eq!(body["user"], "u");
    assert_eq!(
        losses,
        [
            "output_config.task_budget",
            "container",
            "top_k",
            "stop_sequences"
        ]
    );
    // Whoever edits a request of the protocol itself loses nothing.
    let mut own = sent(
        ANTHROPIC,
        &json!({
            "model": CLAUDE, "max_tokens": 5, "messages": [user("hi")], "top_k": 3, "container": "c",
            "output_config": {"effort": "high", "task_budget": {"total": 1}}, "thinking": {"type": "adaptive"},
            "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        }),
    );
    let before: Value = serde_json::from_slice(&own.wire().unwrap().bytes).unwrap();
    own.chat_mut().unwrap();
    assert_eq!(gets(ANTHROPIC, &own), (before, vec![]));
}

#[test]
fn tools_of_the_vendor_itself_go_nowhere_else() {
    let (body, losses) = to_openai(json!({
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": {"type": "any"},
        "messages": [user("hi"), {"role": "assistant", "content": [
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "text", "text": "so"},
        ]}, user("and?")],
    }));
    assert_eq!((body.get("tools"), body.get("tool_choice")), (None, None));
    assert_eq!(body["messages"][1]["content"], "so");
    assert_eq!(
        losses,
        ["tools[0]", "tool_choice", "messages[1].content[0]"]
    );
}
