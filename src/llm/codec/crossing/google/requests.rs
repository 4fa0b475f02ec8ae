use super::*;
use crate::llm::{Content, Media, ToolChoice};

#[test]
fn rule_1_what_the_operator_says_is_the_system_instruction() {
    let (body, losses) = to_gemini(json!({"messages": [
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        user("hi"),
        {"role": "system", "content": "c"},
    ]}));
    let expected = json!({"parts": [{"text": "a"}, {"text": "b"}, {"text": "c"}]});
    assert_eq!(body["systemInstruction"], expected);
    assert_eq!(
        body["contents"],
        json!([{"role": "user", "parts": [{"text": "hi"}]}])
    );
    assert_eq!(losses, ["messages[3]"]);
    let request = from_gemini(json!({"system_instruction": {"parts": {"text": "a"}}}));
    assert_eq!(gets(OPENAI, &request).0["messages"][0]["role"], "system");
    assert_eq!(request.chat().unwrap().messages[0].all_text(), "a");
}

#[test]
fn rule_2_and_3_results_are_one_turn_in_the_order_of_the_calls_and_in_pairs() {
    let (body, losses) = to_gemini(json!({"messages": [
        user("hi"),
        {"role": "assistant", "tool_calls": [tool_call("a", "{}"), tool_call("b", "{}"), tool_call("c", "{}")]},
        {"role": "tool", "tool_call_id": "b", "content": "two"},
        {"role": "tool", "tool_call_id": "a", "content": "{\"one\":1}"},
        {"role": "tool", "tool_call_id": "x", "content": "of nobody"},
        user("and?"),
    ]}));
    let answer = |id: &str, response: Value| json!({"functionResponse": {"id": id, "name": "f", "response": response}});
    let expected = json!({"role": "user", "parts": [
        answer("a", json!({"one": 1})),
        answer("b", json!({"output": "two"})),
        answer("c", json!({"error": "No result was given."})),
        {"text": "and?"},
    ]});
    assert_eq!(body["contents"][2], expected);
    assert_eq!(losses, ["messages[4]", "messages"]);
}

#[test]
fn rule_5_arguments_are_an_object_and_may_be_absent() {
    for (text, args, lost) in [
        ("", json!({}), false),
        ("{\"a\":[1]}", json!({"a": [1]}), false),
        ("[1]", json!({"arguments": "[1]"}), true),
    ] {
        let (body, losses) = to_gemini(json!({"messages": [
            user("hi"),
            {"role": "assistant", "tool_calls": [tool_call("a", text)]},
            {"role": "tool", "tool_call_id": "a", "content": "x"},
        ]}));
        assert_eq!(
            body["contents"][1]["parts"][0]["functionCall"]["args"],
            args
        );
        assert_eq!(!losses.is_empty(), lost, "{losses:?}");
    }
    let request = from_gemini(json!({"contents": [
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"function_call": {"name": "f"}}]},
    ]}));
    let (body, _) = gets(OPENAI, &request);
    assert_eq!(
        body["messages"][1]["tool_calls"][0]["function"]["arguments"],
        "{}"
    );
}

#[test]
fn rule_7_calls_without_an_id_are_given_one_and_answered_by_order_and_name() {
    let call = |name: &str| json!({"functionCall": {"name": name, "args": {}}});
    let answer = |name: &str, text: &str| json!({"functionResponse": {"name": name, "response": {"output": text}}});
    let contents = json!([
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [call("f"), call("g"), call("f")]},
        {"role": "user", "parts": [answer("f", "1"), answer("f", "3"), answer("g", "2")]},
        {"role": "model", "parts": [call("f")]},
        {"role": "user", "parts": [answer("f", "4")]},
    ]);
    let request = from_gemini(json!({"contents": contents}));
    let (body, losses) = gets(OPENAI, &request);
    assert!(losses.is_empty(), "{losses:?}");
    let messages = body["messages"].as_array().unwrap();
    let calls = messages
        .iter()
        .filter_map(|message| message["tool_calls"].as_array());
    let ids: Vec<_> = calls
        .flatten()
        .map(|call| call["id"].as_str().unwrap())
        .collect();
    let answered = messages.iter().filter(|message| message["role"] == "tool");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let answered: Vec<_> = answered
        .map(|message| (text(&message["tool_call_id"]), text(&message["content"])))
        .collect();
    let expected = [(ids[0], "1"), (ids[2], "3"), (ids[1], "2"), (ids[3], "4")];
    assert_eq!(
        answered,
        expected.map(|(id, text)| (id.to_owned(), text.to_owned()))
    );
    // Back at the vendor it is as it was.
    assert_eq!(edited(request).0["contents"], contents);
}

#[test]
fn rule_9_the_choice_of_a_tool_has_other_words() {
    let tools =
        json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let own = json!([{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}]);
    for (openai, gemini) in [
        (json!("auto"), json!({"mode": "AUTO"})),
        (json!("none"), json!({"mode": "NONE"})),
        (json!("required"), json!({"mode": "ANY"})),
        (
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"mode": "ANY", "allowedFunctionNames": ["f"]}),
        ),
    ] {
        let (body, losses) = to_gemini(json!({"tools": tools, "tool_choice": openai}));
        assert_eq!(body["toolConfig"], json!({"functionCallingConfig": gemini}));
        assert_eq!(body["tools"], own);
        assert!(losses.is_empty());
        let config = json!({"functionCallingConfig": gemini});
        let request = from_gemini(json!({"tools": own, "toolConfig": config}));
        let (body, losses) = gets(OPENAI, &request);
        assert_eq!((&body["tool_choice"], &body["tools"]), (&openai, &tools));
        assert!(losses.is_empty());
    }
    let config = json!({"functionCallingConfig": {"mode": "VALIDATED"}, "retrievalConfig": {"languageCode": "de"}});
    let request = from_gemini(json!({"tools": own, "toolConfig": config}));
    assert!(matches!(
        request.chat().unwrap().tool_choice,
        Some(ToolChoice::Other(_))
    ));
    let (_, losses) = gets(OPENAI, &request);
    assert_eq!(
        losses,
        [
            "toolConfig.retrievalConfig",
            "toolConfig.functionCallingConfig"
        ]
    );
    assert_eq!(edited(request).0["toolConfig"], config);
}

#[test]
fn rule_14_and_15_a_proof_goes_to_its_maker_on_the_first_call_of_a_turn() {
    let own = maker(GEMINI, THIRD);
    let history = |proof: &str| {
        let details = json!([{"type": "reasoning.text", "text": "hm", "signature": proof}]);
        json!({"messages": [
            user("hi"),
            {"role": "assistant", "reasoning_content": "hm", "reasoning_details": details,
             "tool_calls": [tool_call("a", "{}"), tool_call("b", "{}")]},
            {"role": "tool", "tool_call_id": "a", "content": "x"},
            {"role": "tool", "tool_call_id": "b", "content": "y"},
        ]})
    };
    let (body, losses) = to_third(history(&own.seal("cHJvb2Y=")));
    let parts = &body["contents"][1]["parts"];
    assert_eq!(parts[0], json!({"text": "hm", "thought": true}));
    assert_eq!(parts[1]["thoughtSignature"], "cHJvb2Y=");
    assert_eq!(parts[2].get("thoughtSignature"), None);
    assert!(losses.is_empty());
    // Of others it gets none, and is told so in the documented word.
    for proof in [
        maker(GEMINI, FLASH).seal("p"),
        maker(ANTHROPIC, CLAUDE).seal("p"),
    ] {
        let (body, losses) = to_third(history(&proof));
        let parts = &body["contents"][1]["parts"];
        assert_eq!(
            parts[0]["thoughtSignature"],
            "skip_thought_signature_validator"
        );
        assert_eq!(parts[1].get("thoughtSignature"), None);
        assert_eq!(losses, ["messages[1].reasoning_details[0]"]);
    }
}

#[test]
fn rule_14_envelopes_of_others_pass_through_clients_of_gemini() {
    let own = maker(ANTHROPIC, CLAUDE);
    let sealed = own.seal("proof");
    let events = [
        said(Delta::Reasoning("hm".into())),
        said(Delta::Signature(sealed.clone())),
        said(Delta::Redacted(own.seal("data"))),
        said(Delta::Text("so".into())),
    ];
    let answer = document(GEMINI, &events);
    let content = answer["candidates"][0]["content"].clone();
    // Clients decode it, so it must be base64.
    let proof = content["parts"][1]["thoughtSignature"].as_str().unwrap();
    assert_eq!(base64::decode(proof).unwrap(), sealed.as_bytes());
    let hi = |text: &str| json!({"role": "user", "parts": [{"text": text}]});
    let contents = json!([hi("hi"), content, hi("and?")]);
    let request = from_gemini_for(CLAUDE, json!({"contents": contents}));
    let (body, losses) = gets(ANTHROPIC, &request);
    let expected = json!([
        {"type": "thinking", "thinking": "hm", "signature": "proof"},
        {"type": "redacted_thinking", "data": "data"},
        {"type": "text", "text": "so"},
    ]);
    assert_eq!(body["messages"][1]["content"], expected);
    assert!(losses.is_empty());
    // The bytes do not go to Gemini as they are.
    let (body, losses) = gets(GEMINI, &request);
    assert_eq!(body["contents"][1]["parts"], json!([{"text": "so"}]));
    assert_eq!(losses.len(), 2);
}

#[test]
fn rule_17_effort_is_a_word_or_a_number_of_tokens() {
    let config = |model: &str, effort: &str| {
        let (body, losses) = crossed(OPENAI, GEMINI, model, json!({"reasoning_effort": effort}));
        (
            body["generationConfig"]["thinkingConfig"].clone(),
            losses.len(),
        )
    };
    let budget = |budget: u64| json!({"includeThoughts": true, "thinkingBudget": budget});
    let level = |level: &str| json!({"includeThoughts": true, "thinkingLevel": level});
    for (model, effort, expected, lost) in [
        (FLASH, "none", json!({"thinkingBudget": 0}), 0),
        (FLASH, "low", budget(1024), 1),
        ("gemini-2.5-pro", "none", json!({"thinkingBudget": 128}), 1),
        (THIRD, "high", level("HIGH"), 0),
        (THIRD, "minimal", level("LOW"), 1),
        ("gemini-2.0-flash", "high", Value::Null, 1),
    ] {
        assert_eq!(config(model, effort), (expected, lost), "{model} {effort}");
    }
    let thinking = json!({"thinkingConfig": {"thinkingBudget": 5000, "includeThoughts": false}});
    let request = from_gemini_for("gpt-5", json!({"generationConfig": thinking}));
    let (body, losses) = gets(OPENAI, &request);
    assert_eq!(body["reasoning_effort"], "medium");
    assert_eq!(losses, ["generationConfig.thinkingConfig.thinkingBudget"]);
    assert_eq!(edited(request).0["generationConfig"], thinking);
}

#[test]
fn rule_18_schemas_are_json_schema_where_the_model_takes_it() {
    let schema = json!({
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/A"},
            "b": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "c": {"const": "x"},
            "d": {"allOf": [{"type": "integer"}, {"minimum": 1}]},
            "e": {"type": ["number", "null"], "multipleOf": 2},
        },
        "required": ["a"], "additionalProperties": false,
        "$defs": {"A": {"type": "array", "items": {"type": "string"}}},
    });
    const OLD: &str = "gemini-1.5-flash";
    let format = |schema: &Value| json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let (body, losses) = to_gemini(json!({"response_format": format(&schema)}));
    let config = json!({"responseMimeType": "application/json", "responseJsonSchema": schema});
    assert_eq!(body["generationConfig"], config);
    assert!(losses.is_empty());
    let (body, losses) = crossed(
        OPENAI,
        GEMINI,
        OLD,
        json!({"response_format": format(&schema)}),
    );
    let expected = json!({
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "string"}},
            "b": {"nullable": true, "type": "string"},
            "c": {"enum": ["x"], "type": "string"},
            "d": {"type": "integer", "minimum": 1},
            "e": {"nullable": true, "type": "number"},
        },
        "required": ["a"],
    });
    assert_eq!(body["generationConfig"]["responseSchema"], expected);
    let place = "response_format.json_schema.schema.properties.e.multipleOf";
    assert_eq!(losses, [place]);
    let endless = json!({"type": "object", "properties": {"a": {"$ref": "#"}}});
    let body = json!({"model": OLD, "messages": [user("hi")], "response_format": format(&endless)});
    let refused = of(GEMINI).encode_request(&sent(OPENAI, &body), &maker(GEMINI, OLD));
    assert_eq!(
        refused.unwrap_err().param(),
        Some("response_format.json_schema.schema")
    );
}

/// The vendor's own client spells it so.
#[test]
fn rule_18_schemas_are_read_in_either_spelling() {
    let one =
        json!({"type": "STRING", "min_length": "2", "nullable": true, "property_ordering": ["b"]});
    let schema = json!({
        "type": "OBJECT",
        // What a tool calls its own is its own.
        "properties": {"any_of": {"any_of": [one, {"type": "INTEGER"}], "min_items": 1}},
    });
    let expected = json!({
        "type": "object",
        "properties": {"any_of": {
            "anyOf": [
                {"type": ["string", "null"], "minLength": 2, "propertyOrdering": ["b"]},
                {"type": "integer"},
            ],
            "minItems": 1,
        }},
    });
    let declared = json!([{"name": "f", "parameters": schema}]);
    let request = from_gemini(json!({
        "tools": [{"function_declarations": declared}],
        "generation_config": {"response_mime_type": "application/json", "response_schema": schema},
    }));
    let (body, losses) = gets(OPENAI, &request);
    assert_eq!(body["tools"][0]["function"]["parameters"], expected);
    let format = &body["response_format"]["json_schema"];
    assert_eq!(format["schema"], expected);
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn rule_19_and_20_pictures_and_documents_are_data_or_files() {
    let (body, losses) = to_gemini(json!({"messages": [user(json!([
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://a.example/b.jpg?c", "detail": "high"}},
    ]))]}));
    let expected = json!([
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://a.example/b.jpg?c"}},
    ]);
    assert_eq!(body["contents"][0]["parts"], expected);
    assert_eq!(losses, ["messages[0].content[1].image_url.detail"]);
    let parts = json!([
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"fileData": {"mimeType": "application/x-odd", "fileUri": "https://a.example/x"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://a.example/v"}, "videoMetadata": {"fps": 1}},
        {"executableCode": {"code": "1", "language": "PYTHON"}},
    ]);
    let request = from_gemini(json!({"contents": [{"role": "user", "parts": parts}]}));
    let Content::Image {
        source: Media::Data { .. },
        ..
    } = &request.chat().unwrap().messages[0].parts[0].content
    else {
        panic!("no picture");
    };
    let (_, losses) = gets(OPENAI, &request);
    for lost in [
        "contents[0].parts[1]",
        "contents[0].parts[2]",
        "contents[0].parts[3]",
    ] {
        assert!(losses.iter().any(|loss| loss == lost), "{losses:?}");
    }
    assert_eq!(edited(request).0["contents"][0]["parts"], parts);
    for (mime, format) in [
        ("audio/mpeg", json!("mp3")),
        ("audio/mp3", json!("mp3")),
        ("audio/x-wav", json!("wav")),
        // It knows no more than these.
        ("audio/flac", Value::Null),
    ] {
        let sound = json!([{"text": "a"}, {"inlineData": {"mimeType": mime, "data": "AAAA"}}]);
        let request = from_gemini(json!({"contents": [{"role": "user", "parts": sound}]}));
        let (body, losses) = gets(OPENAI, &request);
        let sound = &body["messages"][0]["content"][1]["input_audio"];
        assert_eq!(
            (&sound["format"], losses.len()),
            (&format, usize::from(format.is_null()))
        );
    }
}

#[test]
fn rule_23_settings_have_other_names_and_limits() {
    let (body, losses) = to_gemini(json!({
        "max_completion_tokens": 7, "temperature": 1.5, "n": 2, "seed": 3,
        "stop": ["a", "", "b", "c", "d", "e", "f"], "logit_bias": {"1": 1}, "store": false,
    }));
    let expected = json!({
        "temperature": 1.5, "maxOutputTokens": 7, "candidateCount": 2, "seed": 3,
        "stopSequences": ["a", "b", "c", "d", "e"],
    });
    assert_eq!(body["generationConfig"], expected);
    assert_eq!(losses, ["stop", "logit_bias"]);
    let request = from_gemini(json!({
        "generation_config": {"max_output_tokens": 7, "topK": 40.0, "mediaResolution": "LOW"},
        "safetySettings": [{"category": "c", "threshold": "t"}],
    }));
    let (_, losses) = gets(OPENAI, &request);
    for lost in [
        "generation_config.mediaResolution",
        "safetySettings",
        "generation_config.topK",
    ] {
        assert!(losses.iter().any(|loss| loss == lost), "{losses:?}");
    }
    let (own, losses) = edited(request);
    assert!(losses.is_empty());
    let config = json!({"topK": 40, "maxOutputTokens": 7, "mediaResolution": "LOW"});
    assert_eq!(own["generationConfig"], config);
}

/// A fuzzer found it written as it came, in a field of another form.
#[test]
fn a_form_of_answers_that_only_gemini_knows_is_told_and_not_written() {
    let request = from_gemini(json!({"generationConfig": {"responseMimeType": "text/x.enum"}}));
    for to in [
        OPENAI,
        Protocol::Responses,
        Protocol::Anthropic,
        Protocol::Bedrock,
        Protocol::Cohere,
        Protocol::Ollama,
    ] {
        let (body, losses) = gets(to, &request);
        assert!(!body.to_string().contains("x.enum"), "{to:?}: {body}");
        assert!(
            losses
                .iter()
                .any(|one| one == "generationConfig.responseMimeType"),
            "{to:?}: {losses:?}"
        );
    }
}
