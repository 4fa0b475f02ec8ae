use super::{super::laws::conversation, *};
use crate::rejection::Kind;
use proptest::prelude::*;

#[test]
fn rule_1_what_the_operator_says_is_in_blocks_of_its_own() {
    let (body, losses) = to_haiku(json!({"messages": [
        {"role": "system", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
        {"role": "developer", "content": "b"},
        user("hi"),
        {"role": "system", "content": "c"},
    ]}));
    let system =
        json!([{"text": "a"}, {"cachePoint": {"type": "default"}}, {"text": "b"}, {"text": "c"}]);
    assert_eq!(body["system"], system);
    assert_eq!(body["messages"], json!([user(json!([{"text": "hi"}]))]));
    assert_eq!(losses, ["messages[3]"]);
    // Who says nothing is spoken to by the operator.
    let (body, losses) = to_haiku(json!({"messages": [{"role": "system", "content": "a"}]}));
    assert_eq!(body["messages"], json!([user(json!([{"text": "a"}]))]));
    assert_eq!(
        (body.get("system"), losses),
        (None, vec!["messages".to_owned()])
    );
}

#[test]
fn rule_2_and_3_results_of_tools_are_one_turn_in_the_order_of_the_calls_and_none_is_alone() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let (body, losses) = to_haiku(json!({"tools": tools, "messages": [
        user("hi"),
        {"role": "assistant", "content": null, "tool_calls": [tool_call("a", "{}"), tool_call("b", "")]},
        {"role": "tool", "tool_call_id": "b", "content": "two"},
        {"role": "tool", "tool_call_id": "x", "content": "of nobody"},
        user("and?"),
        {"role": "assistant", "content": "so", "tool_calls": [tool_call("c", "[1]")]},
    ]}));
    let result = |id: &str, text: &str| json!({"toolResult": {"toolUseId": id, "content": [{"text": text}]}});
    let stub = |id: &str| {
        let mut stub = result(id, "No result was given.");
        stub["toolResult"]["status"] = "error".into();
        stub
    };
    let call =
        |id: &str, input: Value| json!({"toolUse": {"toolUseId": id, "name": "f", "input": input}});
    assert_eq!(
        body["messages"],
        json!([
            user(json!([{"text": "hi"}])),
            said_by(
                "assistant",
                json!([call("a", json!({})), call("b", json!({}))])
            ),
            user(json!([stub("a"), result("b", "two"), {"text": "and?"}])),
            said_by(
                "assistant",
                json!([{"text": "so"}, call("c", json!({"arguments": "[1]"}))])
            ),
            user(json!([stub("c")])),
        ])
    );
    let places = [
        "messages[5].tool_calls[0].function.arguments",
        "messages",
        "messages[3]",
        "messages",
    ];
    assert_eq!(losses, places);
}

#[test]
fn rule_4_tools_that_were_called_are_shown_though_none_is_offered() {
    let history = json!([
        user("hi"),
        {"role": "assistant", "tool_calls": [tool_call("a", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": ""},
    ]);
    let (body, losses) = to_haiku(json!({"messages": history}));
    let config = json!({"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]});
    assert_eq!(body["toolConfig"], config);
    assert!(losses.is_empty(), "{losses:?}");
    // What is empty is an object, for no text may be.
    let content = &body["messages"][2]["content"][0]["toolResult"]["content"];
    assert_eq!(content, &json!([{"json": {}}]));
    let (body, _) = to_haiku(json!({}));
    assert_eq!(body.get("toolConfig"), None);
}

#[test]
fn rule_7_and_8_names_of_calls_and_tools_are_plain() {
    let long = "x".repeat(70);
    let (body, losses) = to_haiku(json!({
        "tools": [{"type": "function", "function": {"name": "a.b", "description": "", "parameters": {}}}],
        "messages": [
            user("hi"),
            {"role": "assistant", "tool_calls": [tool_call("f.x:0", "{}"), tool_call("a b", "{}"), tool_call(&long, "{}")]},
            {"role": "tool", "tool_call_id": "f.x:0", "content": "1"},
            {"role": "tool", "tool_call_id": "a b", "content": "2"},
            {"role": "tool", "tool_call_id": long, "content": "3"},
        ],
    }));
    let cut = "x".repeat(62) + "_1";
    for (at, id) in ["f.x:0", "a_b_0", &cut].into_iter().enumerate() {
        assert_eq!(
            body["messages"][1]["content"][at]["toolUse"]["toolUseId"],
            id
        );
        assert_eq!(
            body["messages"][2]["content"][at]["toolResult"]["toolUseId"],
            id
        );
    }
    let spec = json!({"name": "a_b", "inputSchema": {"json": {"type": "object"}}});
    assert_eq!(body["toolConfig"]["tools"], json!([{"toolSpec": spec}]));
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn rule_9_not_to_call_a_tool_is_not_to_be_offered_one() {
    let tools = json!([{"type": "function", "function": {"name": "f", "strict": true, "parameters": {"type": "object"}}}]);
    for (openai, own) in [
        (json!("auto"), json!({"auto": {}})),
        (json!("required"), json!({"any": {}})),
        (
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"tool": {"name": "f"}}),
        ),
    ] {
        let (body, losses) = to_haiku(json!({"tools": tools, "tool_choice": openai}));
        assert_eq!(body["toolConfig"]["toolChoice"], own);
        assert_eq!(body["toolConfig"]["tools"][0]["toolSpec"]["strict"], true);
        assert!(losses.is_empty(), "{losses:?}");
    }
    let (body, losses) = to_haiku(json!({"tools": tools, "tool_choice": "none"}));
    assert_eq!(body.get("toolConfig"), None);
    assert!(losses.is_empty());
    // Where they were called before, they must be shown.
    let history = json!([
        user("hi"),
        {"role": "assistant", "tool_calls": [tool_call("a", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": "x"},
    ]);
    let (body, losses) =
        to_haiku(json!({"tools": tools, "tool_choice": "none", "messages": history}));
    assert!(
        body["toolConfig"]["tools"].is_array() && body["toolConfig"].get("toolChoice").is_none()
    );
    assert_eq!(losses, ["tool_choice"]);
    let (_, losses) = to_haiku(json!({"tools": tools, "parallel_tool_calls": false}));
    assert_eq!(losses, ["parallel_tool_calls"]);
    let (_, losses) = to_model(LLAMA, json!({"tools": tools}));
    assert_eq!(losses, ["tools[0].function.strict"]);
}

#[test]
fn rule_14_a_thought_goes_to_its_maker_before_the_call_it_led_to() {
    let own = maker(BEDROCK, HAIKU);
    let thought = |proof: &str| json!({"type": "thinking", "thinking": "hm", "signature": proof});
    let turn = |first: Value| {
        json!({"max_tokens": 9, "messages": [
            user("hi"),
            {"role": "assistant", "content": [
                first,
                {"type": "tool_use", "id": "a", "name": "f", "input": {}},
            ]},
            user(json!([{"type": "tool_result", "tool_use_id": "a", "content": "x"}])),
        ]})
    };
    let (body, _) = from_anthropic(turn(thought(&own.seal("proof"))));
    let first = &body["messages"][1]["content"][0];
    let expected =
        json!({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "proof"}}});
    assert_eq!(first, &expected);
    let redacted = json!({"type": "redacted_thinking", "data": own.seal("cmVk")});
    let (body, _) = from_anthropic(turn(redacted));
    let first = &body["messages"][1]["content"][0];
    assert_eq!(
        first,
        &json!({"reasoningContent": {"redactedContent": "cmVk"}})
    );
    for foreign in [
        "raw".to_owned(),
        maker(ANTHROPIC, HAIKU).seal("proof"),
        own.seal(""),
    ] {
        let (body, losses) = from_anthropic(turn(thought(&foreign)));
        assert!(body["messages"][1]["content"][0]["toolUse"].is_object());
        assert!(
            losses.contains(&"messages[1].content[0]".to_owned()),
            "{losses:?}"
        );
    }
}

#[test]
fn rule_16_and_17_how_hard_to_think_is_said_as_each_model_knows_it() {
    let additional = |model: &str, body: Value| {
        let (body, losses) = to_model(model, body);
        (
            body["additionalModelRequestFields"].clone(),
            body["inferenceConfig"].clone(),
            losses,
        )
    };
    let (told, inference, losses) = additional(
        HAIKU,
        json!({"reasoning_effort": "low", "temperature": 0.5}),
    );
    assert_eq!(
        told,
        json!({"thinking": {"type": "enabled", "budget_tokens": 2048}})
    );
    assert_eq!(inference, json!({"maxTokens": 64_000}));
    assert_eq!(losses, ["reasoning_effort", "temperature"]);
    let (told, ..) = additional(
        "global.anthropic.claude-opus-4-6-v1",
        json!({"reasoning_effort": "high"}),
    );
    assert_eq!(
        told,
        json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}})
    );
    let (told, _, losses) = additional(NOVA, json!({"reasoning_effort": "medium"}));
    assert_eq!(
        told,
        json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}})
    );
    assert!(losses.is_empty());
    for (limit, word, lost) in [(None, "high", 0), (Some(9), "medium", 1)] {
        let (told, _, losses) = additional(
            NOVA,
            json!({"reasoning_effort": "high", "max_tokens": limit}),
        );
        assert_eq!(told["reasoningConfig"]["maxReasoningEffort"], word);
        assert_eq!(losses.len(), lost, "{losses:?}");
    }
    let (told, ..) = additional(
        "openai.gpt-oss-120b-1:0",
        json!({"reasoning_effort": "high"}),
    );
    assert_eq!(told, json!({"reasoning_effort": "high"}));
    for model in [LLAMA, THREE] {
        let (told, _, losses) = additional(model, json!({"reasoning_effort": "high"}));
        assert_eq!(
            (told, losses),
            (Value::Null, vec!["reasoning_effort".to_owned()])
        );
    }
    // A client of the maker's says it in the maker's words.
    let thinking = json!({"type": "enabled", "budget_tokens": 2000});
    let (body, losses) = from_anthropic(json!({"max_tokens": 4000, "thinking": thinking}));
    assert_eq!(
        body["additionalModelRequestFields"],
        json!({"thinking": thinking})
    );
    assert_eq!(body["inferenceConfig"], json!({"maxTokens": 4000}));
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn rule_19_pictures_are_bytes_and_an_address_is_refused() {
    let image = |url: &str| json!([{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "?"}]);
    let (body, losses) = to_haiku(json!({"messages": [user(image("data:image/jpg;base64,aGk="))]}));
    let block = json!({"image": {"format": "jpeg", "source": {"bytes": "aGk="}}});
    assert_eq!(
        body["messages"][0]["content"],
        json!([block, {"text": "?"}])
    );
    assert!(losses.is_empty());
    for url in [
        "https://example.com/a.png",
        "http://169.254.169.254/",
        "s3://bucket/a.png",
    ] {
        let body = json!({"model": HAIKU, "messages": [user(image(url))]});
        let refused = encoded(&sent(OPENAI, &body), &maker(BEDROCK, HAIKU));
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), Kind::UnsupportedParameter);
        assert_eq!(refused.param(), Some("messages[0].content[0]"));
        assert!(!refused.message().contains("169.254") && !refused.message().contains("bucket"));
    }
}

#[test]
fn rule_20_a_document_has_a_name_and_a_text_beside_it() {
    let file = |name: &str, mime: &str| json!({"type": "file", "file": {"filename": name, "file_data": format!("data:{mime};base64,aGk=")}});
    let (body, losses) = to_haiku(json!({"messages": [user(json!([
        file("a.b.pdf", "application/pdf"),
        file("a.b.pdf", "application/pdf"),
        file("t.csv", "application/octet-stream"),
        file("t.zip", "application/zip"),
    ]))]}));
    let document = |format: &str, name: &str| json!({"document": {"format": format, "name": name, "source": {"bytes": "aGk="}}});
    let expected = json!([
        document("pdf", "a-b-pdf"),
        document("pdf", "a-b-pdf-2"),
        document("csv", "t-csv"),
        {"text": "."},
    ]);
    assert_eq!(body["messages"][0]["content"], expected);
    assert_eq!(losses, ["messages[0].content[3]", "messages"]);
    let (body, losses) = from_anthropic(json!({"max_tokens": 9, "messages": [user(json!([
        {"type": "document", "title": "Facts", "context": "c", "citations": {"enabled": true},
         "cache_control": {"type": "ephemeral", "ttl": "1h"},
         "source": {"type": "text", "media_type": "text/plain", "data": "hi"}},
        {"type": "text", "text": "?"},
    ]))]}));
    let mut facts = document("txt", "Facts");
    facts["document"]["context"] = "c".into();
    facts["document"]["citations"] = json!({"enabled": true});
    let mark = json!({"cachePoint": {"type": "default", "ttl": "1h"}});
    assert_eq!(
        body["messages"][0]["content"],
        json!([facts, mark, {"text": "?"}])
    );
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn rule_21_marks_of_what_to_cache_follow_their_blocks_and_are_four_at_the_most() {
    let marked =
        |text: &str| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    let body = json!({
        "max_tokens": 9,
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
        "system": [marked("s")],
        "messages": [user(json!([marked("a"), marked("b"), marked("c")]))],
    });
    let (there, losses) = from_anthropic(body.clone());
    let mark = json!({"cachePoint": {"type": "default"}});
    assert_eq!(there["toolConfig"]["tools"][1], mark);
    assert_eq!(there["system"], json!([{"text": "s"}, mark]));
    let content = json!([{"text": "a"}, mark, {"text": "b"}, mark, {"text": "c"}]);
    assert_eq!(there["messages"][0]["content"], content);
    assert_eq!(losses, ["messages[0].content[2].cache_control"]);
    let (there, losses) = crossed(ANTHROPIC, BEDROCK, NOVA, body.clone());
    assert!(!there["toolConfig"].to_string().contains("cachePoint"));
    assert_eq!(losses, ["tools[0].cache_control"]);
    let (there, losses) = crossed(ANTHROPIC, BEDROCK, LLAMA, body);
    assert!(!there.to_string().contains("cachePoint"));
    assert_eq!(losses.len(), 5);
}

#[test]
fn rule_22_turns_alternate_and_say_something() {
    let (body, losses) = to_haiku(json!({"messages": [
        {"role": "assistant", "content": "I"},
        user("a"),
        user(" "),
        user("b"),
        {"role": "assistant", "content": "go on \n"},
    ]}));
    assert_eq!(
        body["messages"],
        json!([
            user(json!([{"text": "."}])),
            said_by("assistant", json!([{"text": "I"}])),
            user(json!([{"text": "a"}, {"text": "b"}])),
            said_by("assistant", json!([{"text": "go on"}])),
        ])
    );
    assert_eq!(losses, ["messages", "messages"]);
}

#[test]
fn rule_23_settings_that_the_protocol_has_are_sent_and_others_told() {
    let (body, losses) = to_haiku(json!({
        "temperature": 1.5, "max_completion_tokens": 7, "stop": ["x", " "], "seed": 1,
        "presence_penalty": 0.5, "logit_bias": {"1": 2}, "store": false,
    }));
    let inference = json!({"maxTokens": 7, "temperature": 1.0, "stopSequences": ["x"]});
    assert_eq!(body["inferenceConfig"], inference);
    assert_eq!(
        losses,
        [
            "temperature",
            "seed",
            "presence_penalty",
            "stop",
            "logit_bias"
        ]
    );
    for (model, told) in [
        (THREE, json!({"top_k": 5})),
        (NOVA, json!({"inferenceConfig": {"topK": 5}})),
        ("cohere.command-r-v1:0", json!({"k": 5})),
    ] {
        let (body, _) = crossed(
            ANTHROPIC,
            BEDROCK,
            model,
            json!({"max_tokens": 9, "top_k": 5}),
        );
        assert_eq!(body["additionalModelRequestFields"], told);
    }
}

#[test]
fn rule_23_more_than_one_choice_is_refused_where_there_is_but_one() {
    let request = sent(
        OPENAI,
        &json!({"model": HAIKU, "n": 2, "messages": [user("hi")]}),
    );
    for to in [
        BEDROCK,
        Protocol::Anthropic,
        Protocol::Responses,
        Protocol::Cohere,
        Protocol::Ollama,
    ] {
        let refused = of(to).encode_request(&request, &maker(to, HAIKU));
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), Kind::UnsupportedParameter, "{to:?}");
        assert_eq!(refused.param(), Some("n"), "{to:?}");
    }
}

#[test]
fn fields_of_the_protocols_own_go_along_whoever_says_them() {
    let guardrail =
        json!({"guardrailIdentifier": "g", "guardrailVersion": "1", "trace": "enabled"});
    let (body, losses) = to_haiku(json!({
        "guardrailConfig": guardrail,
        "performanceConfig": {"latency": "optimized"},
        "additionalModelRequestFields": {"anthropic_beta": ["x"]},
        "metadata": {"team": "a b", "note": "no \u{1f980}"},
        "user": "u-1",
        "service_tier": "priority",
        "reasoning_effort": "low",
    }));
    assert_eq!(body["guardrailConfig"], guardrail);
    assert_eq!(body["performanceConfig"], json!({"latency": "optimized"}));
    let additional = &body["additionalModelRequestFields"];
    assert_eq!(additional["anthropic_beta"], json!(["x"]));
    assert_eq!(additional["thinking"]["type"], "enabled");
    assert_eq!(
        body["requestMetadata"],
        json!({"team": "a b", "user": "u-1"})
    );
    assert_eq!(body["serviceTier"], json!({"type": "priority"}));
    assert!(losses.contains(&"metadata.note".to_owned()), "{losses:?}");
    let (body, losses) = from_anthropic(json!({"max_tokens": 9, "metadata": {"user_id": "u"}}));
    assert_eq!(body["requestMetadata"], json!({"user_id": "u"}));
    assert!(losses.is_empty());
}

#[test]
fn the_form_of_an_answer_is_a_schema_in_a_text() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "description": "d", "schema": schema, "strict": true}});
    let (body, losses) = to_haiku(json!({"response_format": format}));
    let told = &body["outputConfig"]["textFormat"]["structure"]["jsonSchema"];
    assert_eq!(
        (&told["name"], &told["description"]),
        (&json!("x"), &json!("d"))
    );
    let sent: Value = serde_json::from_str(told["schema"].as_str().unwrap()).unwrap();
    let closed = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": false});
    assert_eq!(sent, closed);
    assert_eq!(losses.len(), 2, "{losses:?}");
    for (model, format) in [(LLAMA, format), (HAIKU, json!({"type": "json_object"}))] {
        let (body, losses) = to_model(model, json!({"response_format": format}));
        assert_eq!(
            (body.get("outputConfig"), losses),
            (None, vec!["response_format".to_owned()])
        );
    }
}

#[test]
fn a_count_asks_for_a_conversation_and_nothing_else() {
    let body = json!({
        "model": HAIKU, "system": "s", "messages": [user("hi")], "max_tokens": 9,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    });
    let request = of(ANTHROPIC).peek(&Operation::CountTokens.into(), body.to_string().into());
    let request = request.unwrap();
    let (there, _) = gets(BEDROCK, &request);
    let conversation =
        json!({"system": [{"text": "s"}], "messages": [user(json!([{"text": "hi"}]))]});
    assert_eq!(there, json!({"input": {"converse": conversation}}));
    let path = of(BEDROCK).path(&request);
    assert_eq!(
        path,
        "/model/anthropic.claude-haiku-4-5-20251001-v1%3A0/count-tokens"
    );
    let mut decoder = of(BEDROCK).decoder(Operation::CountTokens, Framing::Json);
    let mut events = Vec::new();
    decoder
        .decode(b"{\"inputTokens\":42}", &mut events)
        .unwrap();
    assert_eq!(events, [Event::Tokens(42)]);
}

/// What a conversation says, in order: texts, calls and results.
fn said(body: &Value, openai: bool) -> Vec<String> {
    let mut out = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for message in body["messages"].as_array().unwrap() {
        if openai {
            if message["role"] == "system" {
                continue;
            }
            if let Some(text) = message["content"].as_str() {
                out.push(format!("{} {text}", text_of_call(&message["tool_call_id"])));
            }
            for call in message["tool_calls"].as_array().into_iter().flatten() {
                let input: Value =
                    serde_json::from_str(&text(&call["function"]["arguments"])).unwrap();
                out.push(format!(
                    "{} {} {input}",
                    text(&call["id"]),
                    text(&call["function"]["name"])
                ));
            }
            continue;
        }
        for block in message["content"].as_array().unwrap() {
            let (call, result) = (&block["toolUse"], &block["toolResult"]);
            if call.is_object() {
                let (id, name) = (text(&call["toolUseId"]), text(&call["name"]));
                out.push(format!("{id} {name} {}", call["input"]));
            } else if result.is_object() {
                let said = text(&result["content"][0]["text"]);
                out.push(format!("{} {said}", text(&result["toolUseId"])));
            } else {
                out.push(format!(" {}", text(&block["text"])));
            }
        }
    }
    out
}

fn text_of_call(id: &Value) -> &str {
    id.as_str().unwrap_or_default()
}

proptest! {
    #[test]
    fn a_conversation_keeps_all_that_is_said_and_is_one_that_the_vendor_takes(body in conversation()) {
        let request = sent(OPENAI, &body);
        let (there, losses) = gets(BEDROCK, &request);
        let messages = there["messages"].as_array().unwrap();
        let mut roles = messages.iter().map(|message| message["role"].as_str().unwrap());
        prop_assert!(roles.clone().step_by(2).all(|role| role == "user"));
        prop_assert!(roles.all(|role| ["user", "assistant"].contains(&role)));
        let spoken_of = there.to_string().contains("toolUseId");
        let offered = body.get("tools").is_some();
        prop_assert_eq!(there.get("toolConfig").is_some(), spoken_of || offered);
        prop_assert!(losses.is_empty(), "{losses:?}");
        prop_assert_eq!(said(&there, false), said(&body, true));
        let system = body["messages"][0].get("content").filter(|_| body["messages"][0]["role"] == "system");
        prop_assert_eq!(there["system"][0].get("text"), system);
        let inference = &there["inferenceConfig"];
        prop_assert_eq!(&inference["maxTokens"], &body["max_tokens"]);
        prop_assert_eq!(inference.get("temperature"), body.get("temperature"));
        prop_assert_eq!(inference.get("stopSequences"), body.get("stop"));
    }
}
