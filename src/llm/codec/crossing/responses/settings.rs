use super::*;

#[test]
fn rule_8_names_that_the_vendor_refuses_are_others_there() {
    let (there, losses) = of_openai(
        json!({"tools": [{"type": "function", "function": {"name": "a.b"}}],
        "tool_choice": {"type": "function", "function": {"name": "a.b"}}}),
    );
    assert_eq!(
        (&there["tools"][0]["name"], &there["tool_choice"]["name"]),
        (&json!("a_b"), &json!("a_b"))
    );
    assert_eq!(losses, none());
}

#[test]
fn rule_9_the_choice_of_a_tool_has_other_words() {
    let parameters = json!({"type": "object"});
    let own = json!([{"type": "function", "name": "f", "parameters": parameters, "strict": false}]);
    let chat = json!([{"type": "function", "function": {"name": "f", "parameters": parameters, "strict": false}}]);
    for (responses, openai, anthropic, gemini) in [
        (
            json!("auto"),
            json!("auto"),
            json!({"type": "auto"}),
            json!({"mode": "AUTO"}),
        ),
        (
            json!("none"),
            json!("none"),
            json!({"type": "none"}),
            json!({"mode": "NONE"}),
        ),
        (
            json!("required"),
            json!("required"),
            json!({"type": "any"}),
            json!({"mode": "ANY"}),
        ),
        (
            json!({"type": "function", "name": "f"}),
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"type": "tool", "name": "f"}),
            json!({"mode": "ANY", "allowedFunctionNames": ["f"]}),
        ),
    ] {
        let body = json!({"tools": own, "tool_choice": responses});
        let (there, losses) = to(OPENAI, body.clone());
        assert_eq!((&there["tool_choice"], &there["tools"]), (&openai, &chat));
        assert_eq!(losses, none());
        let (there, losses) = to(ANTHROPIC, body.clone());
        assert_eq!((&there["tool_choice"], losses), (&anthropic, none()));
        let (there, losses) = to(GEMINI, body);
        assert_eq!(
            (&there["toolConfig"]["functionCallingConfig"], losses),
            (&gemini, none())
        );
        let (there, losses) = of_openai(json!({"tools": chat, "tool_choice": openai}));
        assert_eq!((&there["tool_choice"], &there["tools"]), (&responses, &own));
        assert_eq!(losses, none());
        let claude = json!([{"name": "f", "input_schema": parameters}]);
        let (there, losses) = of_anthropic(json!({"tools": claude, "tool_choice": anthropic}));
        assert_eq!((&there["tool_choice"], &there["tools"]), (&responses, &own));
        assert_eq!(losses, none());
    }
    let (there, _) = to(
        ANTHROPIC,
        json!({"tools": own, "parallel_tool_calls": false}),
    );
    assert_eq!(there["tool_choice"]["disable_parallel_tool_use"], true);
    let alone = json!({"type": "auto", "disable_parallel_tool_use": true});
    let claude = json!([{"name": "f", "input_schema": parameters}]);
    let (there, _) = of_anthropic(json!({"tools": claude, "tool_choice": alone}));
    assert_eq!(there["parallel_tool_calls"], false);
    // A choice among some of them is one in both protocols of the vendor.
    let some = json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]});
    let allowed =
        json!({"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]});
    let other = json!({"type": "allowed_tools", "allowed_tools": allowed});
    let (there, losses) = to(OPENAI, json!({"tools": own, "tool_choice": some}));
    assert_eq!((&there["tool_choice"], losses), (&other, none()));
    let (there, losses) = of_openai(json!({"tools": chat, "tool_choice": other}));
    assert_eq!((&there["tool_choice"], losses), (&some, none()));
    let hosted = json!([{"type": "web_search"}]);
    let (there, losses) = to(OPENAI, json!({"tools": hosted, "tool_choice": some}));
    assert_eq!(there.get("tool_choice"), None);
    assert_eq!(losses, ["tool_choice"]);
    // Tools of the vendor itself go nowhere else.
    let (there, losses) = to(
        ANTHROPIC,
        json!({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"},
        "input": [user("hi"), {"type": "web_search_call", "id": "ws_1", "status": "completed"}, user("and?")]}),
    );
    assert_eq!(there.get("tools"), None);
    assert_eq!(losses, ["input[1]", "tools[0]", "tool_choice"]);
    for protocol in [OPENAI, GEMINI] {
        let (_, losses) = to(protocol, json!({"tools": [{"type": "web_search"}]}));
        assert_eq!(losses, ["tools[0]"]);
    }
}

#[test]
fn rule_13_the_most_tokens_have_the_name_that_is_known() {
    let body = json!({"max_output_tokens": 99});
    assert_eq!(to(OPENAI, body.clone()).0["max_completion_tokens"], 99);
    assert_eq!(to(ANTHROPIC, body.clone()).0["max_tokens"], 99);
    assert_eq!(
        to(GEMINI, body).0["generationConfig"]["maxOutputTokens"],
        99
    );
    let (there, losses) = of_openai(json!({"max_completion_tokens": 99}));
    assert_eq!((&there["max_output_tokens"], losses), (&json!(99), none()));
    // The vendor takes no fewer than 16.
    let (there, losses) = of_openai(json!({"max_tokens": 5}));
    assert_eq!(there["max_output_tokens"], 16);
    assert_eq!(losses, ["max_tokens"]);
}

#[test]
fn rule_17_effort_is_a_word_or_a_budget() {
    let body = |effort: &str| json!({"reasoning": {"effort": effort, "summary": "auto"}});
    let (there, losses) = to(OPENAI, body("low"));
    assert_eq!(
        (&there["reasoning_effort"], losses),
        (&json!("low"), none())
    );
    let (there, losses) = to(ANTHROPIC, body("low"));
    assert_eq!(there["thinking"]["budget_tokens"], 2048);
    assert_eq!(losses, ["reasoning.effort"]);
    let (there, _) = to(GEMINI, body("low"));
    assert_eq!(
        there["generationConfig"]["thinkingConfig"]["includeThoughts"],
        true
    );
    let (there, losses) = of_openai(json!({"reasoning_effort": "low"}));
    assert_eq!(
        (&there["reasoning"], losses),
        (&json!({"effort": "low"}), none())
    );
    let (there, losses) =
        of_anthropic(json!({"thinking": {"type": "enabled", "budget_tokens": 4096}}));
    assert_eq!(
        there["reasoning"],
        json!({"effort": "medium", "summary": "auto"})
    );
    assert_eq!(losses, ["thinking.budget_tokens"]);
    assert_eq!(there["include"], json!(["reasoning.encrypted_content"]));
    // A model that does not reason is asked for no thought.
    let (there, losses) = crossed(
        ANTHROPIC,
        RESPONSES,
        "gpt-4o",
        json!({"thinking": {"type": "enabled", "budget_tokens": 4096}}),
    );
    assert_eq!((there.get("reasoning"), there.get("include")), (None, None));
    assert!(losses.contains(&"thinking".to_owned()));
    // How it is told is another question.
    let (_, losses) = to(OPENAI, json!({"reasoning": {"summary": "detailed"}}));
    assert_eq!(losses, ["reasoning"]);
}

#[test]
fn rule_18_the_form_of_an_answer_is_a_format_of_its_text() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "name": "n", "schema": schema, "strict": true});
    let chat = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}});
    let body = json!({"text": {"format": format}});
    let (there, losses) = to(OPENAI, body.clone());
    assert_eq!((&there["response_format"], losses), (&chat, none()));
    let (there, losses) = to(ANTHROPIC, body.clone());
    assert_eq!(
        (&there["output_config"]["format"]["schema"], losses),
        (&schema, none())
    );
    let (there, losses) = to(GEMINI, body);
    assert_eq!(
        (&there["generationConfig"]["responseJsonSchema"], losses),
        (&schema, none())
    );
    let (there, losses) = of_openai(json!({"response_format": chat, "verbosity": "low"}));
    assert_eq!(there["text"], json!({"format": format, "verbosity": "low"}));
    assert_eq!(losses, none());
    let (there, losses) = to(OPENAI, json!({"text": {"verbosity": "low"}}));
    assert_eq!((&there["verbosity"], losses), (&json!("low"), none()));
    let (_, losses) = to(ANTHROPIC, json!({"text": {"verbosity": "low"}}));
    assert_eq!(losses, ["text"]);
}

#[test]
fn rule_23_settings_that_the_other_has_not_are_told() {
    let (there, losses) = of_openai(json!({
        "temperature": 1.5, "top_p": 0.5, "seed": 1, "presence_penalty": 0.5, "frequency_penalty": 0, "logit_bias": {"1": 1},
        "stop": ["a"], "logprobs": true, "top_logprobs": 2, "store": false, "user": "u", "n": 1, "metadata": {"a": "b"},
        "service_tier": "flex", "prompt_cache_key": "k", "safety_identifier": "s", "stream_options": {"x": 1},
    }));
    assert_eq!(losses, ["seed", "stop", "presence_penalty", "logit_bias"]);
    for (key, value) in [
        ("temperature", json!(1.5)),
        ("top_p", json!(0.5)),
        ("user", json!("u")),
        ("metadata", json!({"a": "b"})),
        ("service_tier", json!("flex")),
        ("prompt_cache_key", json!("k")),
        ("safety_identifier", json!("s")),
        ("top_logprobs", json!(2)),
        ("store", json!(false)),
    ] {
        assert_eq!(there[key], value, "{key}");
    }
    let include = there["include"].as_array().unwrap();
    assert!(include.contains(&json!("message.output_text.logprobs")));
    let request = sent(
        OPENAI,
        &json!({"model": GPT, "messages": [user("hi")], "n": 2}),
    );
    let refused = of(RESPONSES)
        .encode_request(&request, &maker(RESPONSES, GPT))
        .unwrap_err();
    assert_eq!(refused.param(), Some("n"));
    let (there, losses) = of_anthropic(
        json!({"top_k": 3, "stop_sequences": ["a"], "metadata": {"user_id": "u"}, "container": "c"}),
    );
    assert_eq!(there["user"], "u");
    assert_eq!(losses, ["top_k", "stop_sequences", "container"]);
    // What a client writes out though it is so anyway is no loss, nor what the gateway does itself.
    let plain = json!({
        "metadata": {"a": "b"}, "store": false, "include": ["reasoning.encrypted_content"], "truncation": "disabled",
        "service_tier": "auto", "stream": true, "stream_options": {"include_obfuscation": false}, "background": false,
        "previous_response_id": null, "top_logprobs": 0, "reasoning": {"summary": "auto"}, "text": {"format": {"type": "text"}},
        "parallel_tool_calls": true, "temperature": 1, "top_p": 1,
    });
    for protocol in [OPENAI, ANTHROPIC, GEMINI] {
        let (there, losses) = to(protocol, plain.clone());
        assert_eq!(losses, none(), "{protocol:?}");
        for key in [
            "metadata",
            "store",
            "include",
            "truncation",
            "text",
            "reasoning",
        ] {
            assert_eq!(there.get(key), None, "{key}");
        }
    }
    let rest = json!({"store": true, "include": ["file_search_call.results"], "truncation": "auto", "max_tool_calls": 1,
        "prompt_cache_key": "k", "safety_identifier": "s", "new": 1});
    let (there, losses) = to(OPENAI, rest.clone());
    assert_eq!(
        (&there["prompt_cache_key"], &there["safety_identifier"]),
        (&json!("k"), &json!("s"))
    );
    assert_eq!(
        sorted(losses),
        ["include", "max_tool_calls", "new", "store", "truncation"]
    );
    let (there, losses) = to(ANTHROPIC, rest);
    assert_eq!(there["metadata"], json!({"user_id": "s"}));
    assert_eq!(
        sorted(losses),
        [
            "include",
            "max_tool_calls",
            "new",
            "prompt_cache_key",
            "store",
            "truncation"
        ]
    );
    let (there, losses) = to(
        OPENAI,
        json!({"include": ["message.output_text.logprobs"], "top_logprobs": 2}),
    );
    assert_eq!(
        (&there["logprobs"], &there["top_logprobs"], losses),
        (&json!(true), &json!(2), none())
    );
}

#[test]
fn an_older_completion_is_asked_as_a_conversation() {
    let body = json!({"model": GPT, "prompt": "Once", "max_tokens": 16}).to_string();
    let ask = Operation::Completions.into();
    let request = of(OPENAI).peek(&ask, Bytes::from(body)).unwrap();
    let (there, losses) = gets(RESPONSES, &request);
    assert_eq!((&there["max_output_tokens"], losses), (&json!(16), none()));
    assert_eq!(there["input"].as_array().unwrap().len(), 1);
    assert!(there["input"][0].to_string().contains("Once"), "{there}");
}
