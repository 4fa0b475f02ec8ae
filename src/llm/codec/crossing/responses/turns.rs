use super::*;

#[test]
fn rule_1_what_the_operator_says_are_instructions() {
    let body = json!({"instructions": "i", "input": [
        {"role": "developer", "content": "d"},
        user("hi"),
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "s"}]},
    ]});
    let (there, losses) = to(OPENAI, body.clone());
    let expected = json!([
        {"role": "system", "content": "i"}, {"role": "developer", "content": "d"}, user("hi"),
        {"role": "system", "content": "s"},
    ]);
    assert_eq!((&there["messages"], losses), (&expected, none()));
    let text = |text: &str| json!({"type": "text", "text": text});
    let (there, losses) = to(ANTHROPIC, body.clone());
    assert_eq!(there["system"], json!([text("i"), text("d"), text("s")]));
    assert_eq!(losses, ["input[2]"]);
    let (there, losses) = to(GEMINI, body);
    let parts = json!([{"text": "i"}, {"text": "d"}, {"text": "s"}]);
    assert_eq!(there["systemInstruction"]["parts"], parts);
    assert_eq!(losses, ["input[2]"]);
    // And back: one text is the instructions, several keep their bounds.
    let (there, losses) = of_openai(json!({"messages": [
        {"role": "system", "content": "i"}, {"role": "developer", "content": "d"}, user("hi"),
    ]}));
    assert_eq!(there["instructions"], "i");
    let input = json!([{"role": "developer", "content": "d"}, user("hi")]);
    assert_eq!((&there["input"], losses), (&input, none()));
    let (there, losses) = of_anthropic(json!({"system": [text("a"), text("b")]}));
    let part = |text: &str| json!({"type": "input_text", "text": text});
    let system = json!({"role": "system", "content": [part("a"), part("b")]});
    assert_eq!((&there["input"][0], losses), (&system, none()));
    let (there, losses) = of_openai(json!({"messages": [{"role": "system", "content": "i"}]}));
    assert_eq!((&there["input"], losses.len()), (&json!([user("i")]), 1));
}

#[test]
fn rule_2_results_of_tools_are_one_turn_in_the_order_of_the_calls() {
    let body = json!({"input": [
        user("hi"),
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "so", "annotations": [], "logprobs": []}]},
        function_call("a", "{}"), function_call("b", "{\"x\":1}"),
        output("b", "two"), output("a", json!([{"type": "input_text", "text": "one"}])),
        user("and?"),
    ]});
    let (there, losses) = to(ANTHROPIC, body.clone());
    let said = json!([
        {"type": "text", "text": "so"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        {"type": "tool_use", "id": "b", "name": "f", "input": {"x": 1}},
    ]);
    let results = json!([
        {"type": "tool_result", "tool_use_id": "a", "content": "one"},
        {"type": "tool_result", "tool_use_id": "b", "content": "two"},
        {"type": "text", "text": "and?"},
    ]);
    let messages = there["messages"].as_array().unwrap();
    assert_eq!(
        (&messages[1]["content"], &messages[2]["content"]),
        (&said, &results)
    );
    assert_eq!((messages.len(), losses), (3, none()));
    // One message of calls, and each result right behind it.
    let (there, losses) = to(OPENAI, body.clone());
    let messages = there["messages"].as_array().unwrap();
    assert_eq!(messages[1]["content"], "so");
    assert_eq!(messages[1]["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(
        messages[2],
        json!({"role": "tool", "tool_call_id": "b", "content": "two"})
    );
    assert_eq!((messages.len(), losses), (5, none()));
    let (there, losses) = to(GEMINI, body);
    let contents = there["contents"].as_array().unwrap();
    let names = |at: usize, key: &str| -> usize {
        let parts = contents[at]["parts"].as_array().unwrap().iter();
        parts.filter(|part| part.get(key).is_some()).count()
    };
    assert_eq!(
        (names(1, "functionCall"), names(2, "functionResponse")),
        (2, 2)
    );
    assert_eq!(losses, none());
    // And back, item by item.
    let (there, losses) = of_anthropic(json!({"messages": [
        user("hi"), {"role": "assistant", "content": said}, {"role": "user", "content": results},
    ]}));
    let input = json!([
        user("hi"), {"role": "assistant", "content": "so"},
        function_call("a", "{}"), function_call("b", "{\"x\":1}"),
        output("a", "one"), output("b", "two"), user("and?"),
    ]);
    assert_eq!((&there["input"], losses), (&input, none()));
}

#[test]
fn rule_3_calls_and_results_come_in_pairs() {
    let body = json!({"input": [
        user("hi"), function_call("a", "{}"), function_call("b", "{}"),
        output("b", "two"), output("x", "of nobody"), user("and?"),
    ]});
    let (there, losses) = to(ANTHROPIC, body.clone());
    let results = there["messages"][2]["content"].as_array().unwrap();
    let ids: Vec<_> = results
        .iter()
        .filter_map(|block| block["tool_use_id"].as_str())
        .collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(losses, ["input", "input[4]"]);
    let (_, losses) = to(GEMINI, body);
    assert_eq!(losses.len(), 2, "{losses:?}");
}

#[test]
fn rule_5_and_7_arguments_are_a_text_and_names_of_calls_are_kept() {
    for (text, input, lost) in [
        ("", json!({}), false),
        ("{\"a\":[1]}", json!({"a": [1]}), false),
        ("[1]", json!({"arguments": "[1]"}), true),
    ] {
        let body = json!({"input": [user("hi"), function_call("call_A-1", text), output("call_A-1", "x")]});
        let (there, losses) = to(ANTHROPIC, body);
        let call = &there["messages"][1]["content"][0];
        assert_eq!((&call["input"], &call["id"]), (&input, &json!("call_A-1")));
        assert_eq!(!losses.is_empty(), lost, "{losses:?}");
    }
    // The item has a name of its own, which nobody else is told.
    let mut item = function_call("call_1", "{}");
    item["id"] = "fc_1".into();
    item["status"] = "completed".into();
    for protocol in [OPENAI, ANTHROPIC, GEMINI] {
        let (there, losses) = to(
            protocol,
            json!({"input": [user("hi"), item, output("call_1", "x")]}),
        );
        assert!(!there.to_string().contains("fc_1"), "{there}");
        assert_eq!(losses, none());
    }
    let (there, _) = of_openai(json!({"messages": [
        user("hi"), {"role": "assistant", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "x"},
    ]}));
    assert_eq!(there["input"][1], function_call("call_1", "{}"));
}

#[test]
fn rule_14_thoughts_come_back_to_their_maker_alone() {
    let history = |thought: Value| json!({"input": [user("hi"), thought, {"role": "assistant", "content": "so"}, user("and?")]});
    let sealed = |proof: String, shown: bool| {
        let summary = if shown {
            json!([{"type": "summary_text", "text": "hm"}])
        } else {
            json!([])
        };
        json!({"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": proof})
    };
    let claude = maker(ANTHROPIC, CLAUDE);
    let (there, losses) = to(ANTHROPIC, history(sealed(claude.seal("p"), true)));
    let thinking = json!({"type": "thinking", "thinking": "hm", "signature": "p"});
    assert_eq!(
        (&there["messages"][1]["content"][0], losses),
        (&thinking, none())
    );
    let (there, losses) = to(ANTHROPIC, history(sealed(claude.seal("d"), false)));
    let redacted = json!({"type": "redacted_thinking", "data": "d"});
    assert_eq!(
        (&there["messages"][1]["content"][0], losses),
        (&redacted, none())
    );
    for foreign in [
        "p".to_owned(),
        maker(RESPONSES, GPT).seal("p"),
        maker(ANTHROPIC, "claude-opus-4-5").seal("p"),
    ] {
        let (there, losses) = to(ANTHROPIC, history(sealed(foreign, true)));
        assert_eq!(there["messages"][1]["content"], "so");
        assert_eq!(losses, ["input[1]"]);
    }
    // Bytes with the proof of another vendor do not go on as they are, and its own do.
    let (there, losses) = to(RESPONSES, history(sealed(claude.seal("p"), true)));
    assert_eq!(there["input"].as_array().unwrap().len(), 3);
    assert_eq!(
        (losses, &there["store"]),
        (vec!["input[1]".to_owned()], &json!(false))
    );
    let own = sealed("e".into(), true);
    let (there, losses) = to(RESPONSES, history(own.clone()));
    assert_eq!((&there["input"][1], losses), (&own, none()));
    // A thought that its maker did not seal is told to that maker.
    let lab = maker(RESPONSES, GPT).seal("");
    let (there, losses) = of_openai(json!({"messages": [user("hi"),
        {"role": "assistant", "content": "so", "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": lab}]},
        user("and?")]}));
    let open = json!({"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]});
    assert_eq!((&there["input"][1], losses), (&open, none()));
}

#[test]
fn rule_19_and_20_pictures_and_documents_have_other_envelopes() {
    let responses = json!([
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
    ]);
    let openai = json!([
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
    ]);
    let (there, losses) = to(OPENAI, json!({"input": [user(responses.clone())]}));
    assert_eq!(
        (&there["messages"][0]["content"], losses),
        (&openai, none())
    );
    let (there, losses) = of_openai(json!({"messages": [user(openai)]}));
    assert_eq!(
        (&there["input"][0]["content"], losses),
        (&responses, none())
    );
    let (there, losses) = to(ANTHROPIC, json!({"input": [user(responses.clone())]}));
    let kinds: Vec<_> = there["messages"][0]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| &block["type"])
        .collect();
    assert_eq!(kinds, ["text", "image", "image", "document"]);
    assert_eq!(losses, ["input[0].content[2].detail"]);
    let (there, _) = to(GEMINI, json!({"input": [user(responses)]}));
    assert_eq!(
        there["contents"][0]["parts"][1]["inlineData"]["mimeType"],
        "image/png"
    );
    // A URL goes where URLs are taken.
    let url = json!([{"type": "input_file", "file_url": "https://example.com/a.pdf"}, {"type": "input_text", "text": "a"}]);
    let (there, losses) = to(ANTHROPIC, json!({"input": [user(url.clone())]}));
    let source = json!({"type": "url", "url": "https://example.com/a.pdf"});
    assert_eq!(
        (&there["messages"][0]["content"][0]["source"], losses),
        (&source, none())
    );
    let (_, losses) = to(OPENAI, json!({"input": [user(url)]}));
    assert_eq!(losses, ["input[0].content[0]"]);
    // What a tool shows has a place in its output.
    let shown = json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]);
    let (there, losses) = of_anthropic(json!({"messages": [user("hi"),
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
        user(json!([{"type": "tool_result", "tool_use_id": "a", "content": shown, "is_error": true}]))]}));
    let image = json!([{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]);
    assert_eq!(there["input"][2]["output"], image);
    assert_eq!(losses, ["messages[2].content[0].is_error"]);
}

#[test]
fn rule_21_and_22_marks_are_told_and_turns_are_not_made() {
    let mark = json!({"type": "ephemeral"});
    let (there, losses) = of_anthropic(json!({
        "system": [{"type": "text", "text": "a", "cache_control": mark}],
        "messages": [user(json!([{"type": "text", "text": "b", "cache_control": mark}]))],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": mark}],
    }));
    assert!(!there.to_string().contains("cache_control"));
    assert_eq!(there["instructions"], "a");
    assert_eq!(losses.len(), 3, "{losses:?}");
    let (there, losses) = of_openai(
        json!({"messages": [user("a"), user(""), user("b"), {"role": "assistant", "content": "c"}]}),
    );
    assert_eq!(there["input"].as_array().unwrap().len(), 3);
    assert_eq!(losses, ["messages[3]"]);
    let (there, losses) = to(
        ANTHROPIC,
        json!({"input": [{"role": "assistant", "content": "c"}, user("a"), user("b")]}),
    );
    assert_eq!(
        (&there["messages"][0]["role"], losses.len()),
        (&json!("user"), 1)
    );
    assert_eq!(there["messages"].as_array().unwrap().len(), 3);
}

#[test]
fn what_the_vendors_package_read_in_a_text_is_no_loss() {
    let mut call = function_call("a", "{}");
    call["parsed_arguments"] = json!({"zone": "x"});
    let text = json!({"type": "output_text", "text": "so", "annotations": [], "parsed": {"a": 1}});
    let body = json!({"input": [user("hi"), {"role": "assistant", "content": [text]}, call,
        {"type": "function_call_output", "call_id": "a", "output": "1"}]});
    for protocol in [OPENAI, ANTHROPIC, GEMINI] {
        let (there, losses) = to(protocol, body.clone());
        assert_eq!(losses, none());
        assert!(!there.to_string().contains("parsed"), "{there}");
    }
}
