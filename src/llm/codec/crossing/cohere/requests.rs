use super::*;
use crate::rejection::Kind;

#[test]
fn rule_1_what_the_operator_says_keeps_its_place_and_its_bounds() {
    let (body, losses) = to_cohere(json!({"messages": [
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
        user("hi"),
        {"role": "system", "content": "d"},
    ]}));
    let expected = json!([
        {"role": "system", "content": "a"},
        {"role": "system", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "d"},
    ]);
    assert_eq!(body["messages"], expected);
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn rule_2_and_3_results_stand_behind_their_calls_in_order_and_in_pairs() {
    let (body, losses) = to_cohere(json!({"messages": [
        user("hi"),
        {"role": "assistant", "tool_calls": [tool_call("a", "f", "{}"), tool_call("b", "f", ""), tool_call("c", "f", "{}")]},
        {"role": "tool", "tool_call_id": "b", "content": "two"},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "tool", "tool_call_id": "x", "content": "of nobody"},
        user("and?"),
    ]}));
    let result =
        |id: &str, text: &str| json!({"role": "tool", "tool_call_id": id, "content": text});
    let calls = ["a", "b", "c"].map(|id| tool_call(id, "f", "{}"));
    let expected = json!([
        user("hi"),
        {"role": "assistant", "tool_calls": calls},
        result("a", "one"),
        result("b", "two"),
        result("c", "No result was given."),
        user("and?"),
    ]);
    assert_eq!(body["messages"], expected);
    assert_eq!(losses, ["messages", "messages[4]"]);
    // What Anthropic has in one message is several here.
    let result =
        |id: &str, text: &str| json!({"type": "tool_result", "tool_use_id": id, "content": text});
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
    let shown = json!({"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "two"}, image]});
    let (body, losses) = crossed(
        ANTHROPIC,
        COHERE,
        COMMAND,
        json!({"max_tokens": 9, "messages": [
            user("hi"),
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {"x": 1}},
            ]},
            user(json!([result("a", "one"), shown, {"type": "text", "text": "and?"}])),
        ]}),
    );
    let kinds: Vec<_> = body["messages"].as_array().unwrap()[2..]
        .iter()
        .map(|message| (message["role"].clone(), message["content"].clone()))
        .collect();
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let expected = [
        (json!("tool"), json!("one")),
        (json!("tool"), json!("two")),
        (
            json!("user"),
            json!([picture, {"type": "text", "text": "and?"}]),
        ),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(losses, ["messages[2].content[1].content[1]"]);
}

#[test]
fn rule_8_names_of_tools_have_no_hyphen_and_come_back_as_they_were() {
    let request = json!({"model": COMMAND, "messages": [user("hi")], "tools": [tool("mcp__a-b"), tool("mcp__a_b")]});
    let encoded = of(COHERE)
        .encode_request(&sent(OPENAI, &request), &maker(COHERE, COMMAND))
        .unwrap();
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    let name = |at: usize| body["tools"][at]["function"]["name"].clone();
    assert_eq!((name(0), name(1)), (json!("mcp__a_b_2"), json!("mcp__a_b")));
    let restored = encoded.names.restored(call(0, Some("mcp__a_b_2"), "{}"));
    assert!(matches!(
        restored,
        Event::Delta { delta: Delta::ToolCall { name: Some(name), .. }, .. } if name == "mcp__a-b"
    ));
}

#[test]
fn rule_9_a_tool_that_must_be_called_is_the_only_one_there_is() {
    for (choice, told, count) in [
        (json!("auto"), Value::Null, 2),
        (json!("none"), json!("NONE"), 2),
        (json!("required"), json!("REQUIRED"), 2),
        (
            json!({"type": "function", "function": {"name": "g"}}),
            json!("REQUIRED"),
            1,
        ),
    ] {
        let (body, losses) =
            to_cohere(json!({"tools": [tool("f"), tool("g")], "tool_choice": choice}));
        assert_eq!(body["tool_choice"], told);
        let tools = body["tools"].as_array().unwrap();
        assert_eq!(tools.len(), count);
        assert_eq!(tools[count - 1]["function"]["name"], "g");
        assert!(losses.is_empty(), "{losses:?}");
    }
    let (body, losses) = to_cohere(
        json!({"tools": [tool("f")], "parallel_tool_calls": false, "tool_choice": "auto"}),
    );
    assert_eq!(losses, ["parallel_tool_calls"]);
    assert_eq!(body.get("parallel_tool_calls"), None);
    // To the letter: all of them or none.
    let strict =
        |name: &str| json!({"type": "function", "function": {"name": name, "strict": true}});
    let (body, losses) = to_cohere(json!({"tools": [strict("f"), strict("g")]}));
    assert_eq!((&body["strict_tools"], losses.len()), (&json!(true), 0));
    let (body, losses) = to_cohere(json!({"tools": [tool("f"), strict("g")]}));
    assert_eq!(body.get("strict_tools"), None);
    assert_eq!(losses, ["tools[1].function.strict"]);
}

#[test]
fn rule_14_a_plan_comes_back_as_one_and_a_thought_as_one() {
    let own = maker(COHERE, REASONER);
    let history = |proof: &str| {
        let details = json!([{"type": "reasoning.text", "text": "hm", "signature": proof}]);
        json!({"messages": [
            user("hi"),
            {"role": "assistant", "reasoning_content": "hm", "reasoning_details": details,
             "tool_calls": [tool_call("a", "f", "{}")]},
            {"role": "tool", "tool_call_id": "a", "content": "x"},
        ]})
    };
    let (body, losses) = to_reasoner(history(&own.seal("tool_plan")));
    assert_eq!(body["messages"][1]["tool_plan"], "hm");
    assert_eq!(body["messages"][1].get("content"), None);
    assert!(losses.is_empty(), "{losses:?}");
    let (body, losses) = to_reasoner(history(&own.seal("")));
    let thinking = json!([{"type": "thinking", "thinking": "hm"}]);
    assert_eq!(body["messages"][1]["content"], thinking);
    assert!(losses.is_empty(), "{losses:?}");
    for other in [maker(COHERE, COMMAND), maker(ANTHROPIC, CLAUDE)] {
        let (body, losses) = to_reasoner(history(&other.seal("p")));
        assert_eq!(body["messages"][1].get("content"), None);
        assert_eq!(losses, ["messages[1].reasoning_details[0]"]);
    }
}

#[test]
fn rule_17_effort_is_a_number_of_tokens() {
    let enabled = |budget: u64| json!({"type": "enabled", "token_budget": budget});
    for (model, effort, expected, lost) in [
        (REASONER, "none", json!({"type": "disabled"}), 0),
        (REASONER, "low", enabled(2048), 1),
        (REASONER, "high", enabled(8192), 1),
        (COMMAND, "high", Value::Null, 1),
        (COMMAND, "none", Value::Null, 0),
    ] {
        let (body, losses) = crossed(OPENAI, COHERE, model, json!({"reasoning_effort": effort}));
        assert_eq!(
            (&body["thinking"], losses.len()),
            (&expected, lost),
            "{model} {effort}"
        );
    }
    for (thinking, expected) in [
        (
            json!({"type": "enabled", "budget_tokens": 3000}),
            enabled(3000),
        ),
        (json!({"type": "adaptive"}), json!({"type": "enabled"})),
        (json!({"type": "disabled"}), json!({"type": "disabled"})),
    ] {
        let body = json!({"max_tokens": 9, "thinking": thinking});
        let (body, losses) = crossed(ANTHROPIC, COHERE, REASONER, body);
        assert_eq!((&body["thinking"], losses.len()), (&expected, 0));
    }
}

#[test]
fn rule_18_a_form_is_a_schema_and_none_beside_tools() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}});
    let (body, losses) = to_cohere(json!({"response_format": format}));
    assert_eq!(
        body["response_format"],
        json!({"type": "json_object", "schema": schema})
    );
    assert!(losses.is_empty());
    let (body, _) = to_cohere(json!({"response_format": {"type": "json_object"}}));
    assert_eq!(body["response_format"], json!({"type": "json_object"}));
    let (body, losses) = to_cohere(json!({"response_format": format, "tools": [tool("f")]}));
    assert_eq!(body.get("response_format"), None);
    assert_eq!(losses, ["response_format"]);
}

#[test]
fn rule_19_and_20_pictures_go_along_and_documents_as_far_as_they_are_text() {
    let (body, losses) = to_cohere(json!({"messages": [user(json!([
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://a.example/b.jpg"}},
        {"type": "file", "file": {"filename": "n.txt", "file_data": "data:text/plain;base64,aGk="}},
        {"type": "file", "file": {"filename": "n.pdf", "file_data": "data:application/pdf;base64,aGk="}},
    ]))]}));
    let expected = json!([
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://a.example/b.jpg"}},
        {"type": "text", "text": "n.txt\n\nhi"},
    ]);
    assert_eq!(body["messages"][0]["content"], expected);
    assert_eq!(losses, ["messages[0].content[4]"]);
}

#[test]
fn rule_22_empty_texts_are_left_out_and_a_last_turn_of_the_model_is_told() {
    let (body, losses) = to_cohere(json!({"messages": [
        user("hi"), {"role": "assistant", "content": ""}, user(""), {"role": "assistant", "content": "so"},
    ]}));
    let expected = json!([user("hi"), {"role": "assistant", "content": "so"}]);
    assert_eq!(body["messages"], expected);
    assert_eq!(losses, ["messages"]);
}

#[test]
fn rule_23_settings_have_other_names_and_limits() {
    let (body, losses) = to_cohere(json!({
        "max_completion_tokens": 7, "temperature": 1.5, "top_p": 1.0, "n": 1, "seed": -3, "stop": ["a", "", "b"],
        "frequency_penalty": -1.0, "presence_penalty": 0.5, "logit_bias": {"1": 1}, "store": false, "stream": true,
    }));
    for (field, value) in [
        ("max_tokens", json!(7)),
        ("temperature", json!(1.5)),
        ("p", json!(0.99)),
        ("stop_sequences", json!(["a", "b"])),
        ("frequency_penalty", json!(0.0)),
        ("presence_penalty", json!(0.5)),
        ("stream", json!(true)),
        ("seed", Value::Null),
    ] {
        assert_eq!(body[field], value, "{field}");
    }
    let mut losses = losses;
    losses.sort();
    assert_eq!(losses, ["frequency_penalty", "logit_bias", "seed", "top_p"]);
    let (body, losses) = crossed(
        ANTHROPIC,
        COHERE,
        COMMAND,
        json!({"max_tokens": 9, "top_k": 900, "metadata": {"user_id": "u"}}),
    );
    assert_eq!((&body["k"], &body["max_tokens"]), (&json!(500), &json!(9)));
    assert_eq!(losses, ["top_k", "metadata"]);
}

#[test]
fn fields_of_the_vendor_go_along_from_any_client() {
    let documents = json!([{"id": "1", "data": {"text": "Ruby is of 1995."}}]);
    let (body, losses) = to_cohere(json!({
        "documents": documents, "citation_options": {"mode": "fast"}, "safety_mode": "NONE", "of_nobody": 1,
    }));
    assert_eq!(body["documents"], documents);
    assert_eq!(body["citation_options"], json!({"mode": "fast"}));
    assert_eq!(body["safety_mode"], "NONE");
    assert_eq!(losses, ["of_nobody"]);
}

#[test]
fn vectors_are_asked_for_as_numbers_and_only_of_texts() {
    let embed = |body: Value| {
        let bytes = Bytes::from(body.to_string());
        let request = of(OPENAI)
            .peek(&Operation::Embeddings.into(), bytes)
            .unwrap();
        let encoded = of(COHERE).encode_request(&request, &maker(COHERE, "embed-v4.0"))?;
        Ok::<Value, crate::Rejection>(serde_json::from_slice(&encoded.body).unwrap())
    };
    let body = embed(
        json!({"model": "embed-v4.0", "input": ["a", "b"], "dimensions": 256, "encoding_format": "base64"}),
    );
    let expected = json!({
        "model": "embed-v4.0", "texts": ["a", "b"], "output_dimension": 256,
        "embedding_types": ["float"], "input_type": "search_document",
    });
    assert_eq!(body.unwrap(), expected);
    let body = embed(json!({"model": "embed-v4.0", "input": "a", "input_type": "search_query"}));
    assert_eq!(body.unwrap()["input_type"], "search_query");
    let refused = embed(json!({"model": "embed-v4.0", "input": [[1, 2]]})).unwrap_err();
    assert_eq!(
        (refused.kind(), refused.param()),
        (Kind::UnsupportedParameter, Some("input"))
    );
}
