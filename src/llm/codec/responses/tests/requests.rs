use super::*;
use crate::llm::{Chat, Content, Media, Part, ResponseFormat, Role, ToolChoice};

fn ask(more: Value) -> Value {
    let mut body = json!({"model": "gpt-5", "input": "hi"});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

fn chat(more: Value) -> Chat {
    peeked(&ask(more)).unwrap().chat().unwrap().clone()
}

/// The parameter and the detail of what a request is refused for, before or after it is read whole.
fn refused(more: Value) -> (String, u16) {
    let error = match peeked(&ask(more)) {
        Err(error) => error,
        Ok(request) => request.chat().unwrap_err(),
    };
    let param = error.param().unwrap_or_default().to_owned();
    (param, error.kind().status().as_u16())
}

/// What a vendor of the protocol gets.
fn sent(body: &str) -> String {
    let ask = Operation::Chat.into();
    let request = Responses.peek(&ask, Bytes::from(body.to_owned())).unwrap();
    let to = maker(request.model());
    let sent = Responses.encode_request(&request, &to).unwrap();
    String::from_utf8(sent.body.to_vec()).unwrap()
}

#[test]
fn an_open_store_is_decided_in_the_smallest_edit() {
    for (body, expected) in [
        (
            r#"{ "model":"m","input":"hi"}"#,
            r#"{ "model":"m","store":false,"input":"hi"}"#,
        ),
        (
            r#"{"store" : null, "input":[],"model" : "m" }"#,
            r#"{"store" : false, "input":[],"model" : "m" }"#,
        ),
        (
            r#"{"model":"m","input":"hi","store":true,"new":{"a" : 1}}"#,
            r#"{"model":"m","input":"hi","store":true,"new":{"a" : 1}}"#,
        ),
        (
            r#"{"model":"m","store":false,"input":"\u00e9"}"#,
            r#"{"model":"m","store":false,"input":"\u00e9"}"#,
        ),
        // A name with an escape in it is a name.
        (
            r#"{"model":"m","st\u006fre":null,"input":"hi"}"#,
            r#"{"model":"m","st\u006fre":false,"input":"hi"}"#,
        ),
    ] {
        assert_eq!(sent(body), expected);
    }
    let mut request = peeked(&ask(json!({"store": true}))).unwrap();
    request.set_model("other");
    let bytes = Responses
        .encode_request(&request, &maker("other"))
        .unwrap()
        .body;
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        (&body["model"], &body["store"]),
        (&json!("other"), &json!(true))
    );
    let mut request = peeked(&ask(json!({}))).unwrap();
    request.set_model("other");
    let bytes = Responses
        .encode_request(&request, &maker("other"))
        .unwrap()
        .body;
    assert_eq!(
        &bytes[..],
        br#"{"model":"other","store":false,"input":"hi"}"#
    );
}

#[test]
fn what_would_have_to_be_kept_is_refused_before_anyone_is_asked() {
    for (more, param, status) in [
        (
            json!({"previous_response_id": "resp_1"}),
            "previous_response_id",
            404,
        ),
        (json!({"conversation": "conv_1"}), "conversation", 404),
        (
            json!({"conversation": {"id": "conv_1"}}),
            "conversation",
            404,
        ),
        (json!({"background": true}), "background", 404),
        (
            json!({"input": [{"type": "item_reference", "id": "msg_1"}]}),
            "input[0]",
            400,
        ),
        (
            json!({"input": [{"role": "user", "content": "a"}, {"id": "msg_1"}]}),
            "input[1]",
            400,
        ),
    ] {
        let error = peeked(&ask(more.clone())).unwrap_err();
        assert_eq!(error.param(), Some(param));
        assert_eq!(error.kind().status().as_u16(), status, "{more}");
    }
    for hidden in [
        r#"{"model":"m","input":[{"typ\u0065":"item_reference","id":"a"}]}"#,
        r#"{"model":"m","input":[{"type":"item\u005freference","id":"a"}]}"#,
        r#"{"model":"m","input":[{"type":"item_reference","type":"message","role":"user","id":"a"}]}"#,
        r#"{"model":"m","in\u0070ut":[{"id":"a"}]}"#,
        r#"{"model":"m","input":"","previous_response\u005fid":"a"}"#,
        r#"{"model":"m","input":"","Previous_Response_Id":"a"}"#,
    ] {
        let bytes = Bytes::from_static(hidden.as_bytes());
        assert!(
            Responses.peek(&Operation::Chat.into(), bytes).is_err(),
            "{hidden}"
        );
    }
    for fine in [
        json!({"previous_response_id": null, "conversation": null, "background": false}),
        json!({"input": [{"role": "user", "content": "item_reference", "id": "msg_1"}]}),
        json!({"input": [{"type": "message", "id": "msg_1", "role": "user", "content": []}]}),
    ] {
        assert!(peeked(&ask(fine)).is_ok());
    }
}

#[test]
fn faults_are_named_by_their_path() {
    for (more, param) in [
        (json!({"input": null}), "input"),
        (json!({"input": 5}), "input"),
        (json!({"input": ["a"]}), "input[0]"),
        (json!({"input": [{"role": "user"}]}), "input[0].content"),
        (
            json!({"input": [{"role": "robot", "content": "a"}]}),
            "input[0].role",
        ),
        (json!({"input": [{"type": 5}]}), "input[0].type"),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]}),
            "input[0].content[0].text",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"text": "a"}]}]}),
            "input[0].content[0].type",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}),
            "input[0].content[0].image_url",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}),
            "input[0].content[0].file_data",
        ),
        (
            json!({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}),
            "input[0].call_id",
        ),
        (
            json!({"input": [{"type": "function_call_output", "call_id": "c"}]}),
            "input[0].output",
        ),
        (
            json!({"input": [{"type": "reasoning", "summary": "a"}]}),
            "input[0].summary",
        ),
        (json!({"instructions": 5}), "instructions"),
        (json!({"max_output_tokens": 15}), "max_output_tokens"),
        (json!({"max_output_tokens": "many"}), "max_output_tokens"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"store": 1}), "store"),
        (json!({"tools": [{"name": "f"}]}), "tools[0].type"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
        (
            json!({"tools": [{"type": "function", "name": "f", "parameters": []}]}),
            "tools[0].parameters",
        ),
        (json!({"tool_choice": 5}), "tool_choice"),
        (json!({"text": {"format": {}}}), "text.format.type"),
        (
            json!({"text": {"format": {"type": "json_schema"}}}),
            "text.format.name",
        ),
        (json!({"reasoning": {"effort": 5}}), "reasoning.effort"),
        (json!({"prompt": {"id": "pmpt_1"}}), "prompt"),
    ] {
        assert_eq!(refused(more.clone()), (param.to_owned(), 400), "{more}");
    }
}

#[test]
fn items_of_the_assistant_that_follow_one_another_are_one_turn() {
    let input = json!([
        {"role": "developer", "content": "d"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "u"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "e"},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "a", "annotations": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "call_2", "name": "g", "arguments": "{\"a\":1}"},
        {"type": "function_call_output", "call_id": "call_2", "output": "two"},
        {"type": "function_call_output", "call_id": "call_1", "output": [
            {"type": "input_text", "text": "one"},
            {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
        ]},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"role": "assistant", "content": "so"},
    ]);
    let chat = chat(json!({"instructions": "i", "input": input}));
    let roles: Vec<_> = chat.messages.iter().map(|message| message.role).collect();
    use Role::{Assistant, Developer, System, Tool, User};
    assert_eq!(
        roles,
        [System, Developer, User, Assistant, Tool, Tool, Assistant]
    );
    let turn = &chat.messages[3].parts;
    assert!(matches!(&turn[0].content, Content::Reasoning(it)
        if (&*it.text, it.signature.as_deref()) == ("hm", Some("e"))));
    assert_eq!(turn[1].as_text(), Some("a"));
    let calls: Vec<_> = turn[2..]
        .iter()
        .map(|part| match &part.content {
            Content::ToolCall(call) => (&*call.id, &*call.name, &*call.arguments),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(calls, [("call_1", "f", "{}"), ("call_2", "g", "{\"a\":1}")]);
    assert!(matches!(&chat.messages[5].parts[0].content,
        Content::ToolResult { call_id, parts, .. } if call_id == "call_1" && parts.len() == 2));
    assert!(matches!(
        chat.messages[6].parts[0].content,
        Content::Other(_)
    ));
}

#[test]
fn rule_19_and_20_media_are_read_whatever_they_stand_in() {
    let content = json!([
        {"type": "input_image", "image_url": "https://example.com/a.png"},
        {"type": "input_image", "file_id": "file_1", "detail": "high"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
        {"type": "input_file", "file_data": "AAAA"},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "hologram", "beam": 1},
    ]);
    let chat = chat(json!({"input": [{"role": "user", "content": content}]}));
    let parts = chat.messages[0].parts.iter().map(|part| &part.content);
    let data = |mime: &str| Media::Data {
        mime: mime.into(),
        base64: "AAAA".into(),
    };
    let url = |url: &str| Media::Url(url.into());
    let expected = [
        Content::Image {
            source: url("https://example.com/a.png"),
            detail: None,
        },
        Content::Image {
            source: Media::Id("file_1".into()),
            detail: Some("high".into()),
        },
        Content::File {
            source: data("application/pdf"),
            name: Some("a.pdf".into()),
        },
        Content::File {
            source: data(""),
            name: None,
        },
        Content::File {
            source: url("https://example.com/a.pdf"),
            name: None,
        },
        Content::Audio(data("wav")),
        Content::Other(json!({"type": "hologram", "beam": 1})),
    ];
    assert!(parts.eq(&expected));
}

#[test]
fn rule_9_and_18_choices_and_forms_have_their_places() {
    let of = |choice: Value| chat(json!({"tool_choice": choice})).tool_choice.unwrap();
    assert_eq!(of(json!("auto")), ToolChoice::Auto);
    assert_eq!(of(json!("none")), ToolChoice::None);
    assert_eq!(of(json!("required")), ToolChoice::Required);
    let named = json!({"type": "function", "name": "f"});
    assert_eq!(of(named), ToolChoice::Tool("f".into()));
    for other in [
        json!({"type": "web_search_preview"}),
        json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}),
        json!({"type": "mcp", "server_label": "s", "name": "f"}),
    ] {
        assert_eq!(of(other.clone()), ToolChoice::Other(other));
    }
    let schema = json!({"type": "object"});
    let read = chat(json!({
        "text": {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": true}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"}, "max_output_tokens": 16,
    }));
    assert_eq!(
        read.response_format,
        Some(ResponseFormat::JsonSchema {
            name: "n".into(),
            description: None,
            schema: Some(schema),
            strict: Some(true),
        })
    );
    assert_eq!(read.effort.as_deref(), Some("low"));
    assert_eq!(read.sampling.max_tokens, Some(16));
    assert_eq!(read.extra["text"], json!({"verbosity": "low"}));
    assert_eq!(read.extra["reasoning"], json!({"summary": "auto"}));
}

#[test]
fn whoever_edits_a_request_loses_nothing() {
    let body = ask(json!({
        "instructions": "i",
        "input": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "u"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"},
            {"type": "reasoning", "id": "rs_2", "summary": [
                {"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}], "encrypted_content": "f"},
            {"type": "reasoning", "id": "rs_3", "summary": [], "content": [{"type": "reasoning_text", "text": "c"}]},
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "phase": "commentary",
                "content": [{"type": "output_text", "text": "a", "annotations": [{"type": "file_path", "file_id": "f"}]},
                    {"type": "refusal", "refusal": "no"}]},
            {"type": "message", "id": "msg_2", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": "b", "annotations": []}]},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}", "status": "completed"},
            {"type": "function_call_output", "call_id": "call_1", "output": "x", "id": "fco_1", "status": "completed"},
            {"type": "custom_tool_call", "call_id": "call_2", "name": "g", "input": "free"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": "y"},
            {"role": "user", "content": "and?"},
        ],
        "tools": [
            {"type": "web_search", "search_context_size": "low"},
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true, "defer_loading": true},
        ],
        "tool_choice": {"type": "web_search"},
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "detailed"},
        "metadata": {"a": "b"}, "include": ["web_search_call.action.sources"], "truncation": "auto", "store": true,
        "service_tier": "flex", "prompt_cache_key": "k", "safety_identifier": "s", "user": "u", "max_tool_calls": 3,
        "stream": true, "stream_options": {"include_obfuscation": false}, "new": {"a": 1}, "top_logprobs": 2,
    }));
    let mut request = peeked(&body).unwrap();
    request.chat_mut().unwrap();
    let encoded = Responses.encode_request(&request, &maker("gpt-5")).unwrap();
    assert!(encoded.losses.is_empty(), "{:?}", encoded.losses);
    let written: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(written, body);
}

#[test]
fn a_thought_that_was_edited_is_told_as_it_is_now() {
    let mut request = peeked(&ask(json!({"input": [
        {"type": "reasoning", "id": "rs_3", "summary": [], "content": [{"type": "reasoning_text", "text": "c"}]},
        {"role": "user", "content": "u"},
    ]})))
    .unwrap();
    let part: &mut Part = &mut request.chat_mut().unwrap().messages[0].parts[0];
    if let Content::Reasoning(thought) = &mut part.content {
        thought.text = "d".into();
    }
    let encoded = Responses.encode_request(&request, &maker("gpt-5")).unwrap();
    let written: Value = serde_json::from_slice(&encoded.body).unwrap();
    let content = json!([{"type": "reasoning_text", "text": "d"}]);
    assert_eq!(written["input"][0]["content"], content);
    assert_eq!(written["input"][0]["summary"], json!([]));
}
