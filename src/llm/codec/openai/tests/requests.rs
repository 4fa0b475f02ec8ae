use super::*;
use crate::llm::{ChatRequest, Content, Media, Role};
use serde_json::json;

fn peek(body: &str) -> Result<ChatRequest, Rejection> {
    OpenAi.peek(
        &Operation::Chat.into(),
        Bytes::copy_from_slice(body.as_bytes()),
    )
}

fn parse(body: Value) -> Result<crate::llm::Chat, Rejection> {
    match OpenAi.parse(Operation::Chat, body.to_string().as_bytes())? {
        Typed::Chat(chat) => Ok(chat),
        _ => unreachable!(),
    }
}

/// The message of what is wrong.
#[track_caller]
fn fault(body: Value) -> String {
    parse(body).unwrap_err().message().into_owned()
}

#[track_caller]
fn sent(body: &str, edit: impl FnOnce(&mut ChatRequest)) -> String {
    let mut request = peek(body).unwrap();
    edit(&mut request);
    let bytes = OpenAi.encode_request(&request, &maker()).unwrap().body;
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_peek_finds_what_a_gateway_needs() {
    let body = r#" {"messages":[{"role":"user","content":"\"model\":\"x\""}], "mod\u0065l" : "a\u0062", "stream":true,"stream_options":{"include_usage":true}}"#;
    let request = peek(body).unwrap();
    assert_eq!((&**request.model(), request.streams()), ("ab", true));
    assert!(request.includes_usage());
    let plain = peek(r#"{"model":"m","stream":null,"stream_options":null}"#).unwrap();
    assert!(!plain.streams() && !plain.includes_usage());
}

#[test]
fn the_clients_bytes_go_on() {
    let body = r#"{"unknown": [1.0, "é"],"model":"m" , "messages":[]}"#;
    let request = peek(body).unwrap();
    let sent = OpenAi.encode_request(&request, &maker()).unwrap().body;
    assert_eq!(sent.as_ptr(), request.wire().unwrap().bytes.as_ptr());
}

#[test]
fn only_the_name_and_the_wish_for_usage_are_edited() {
    let rename = |request: &mut ChatRequest| request.set_model("b\"c");
    assert_eq!(
        sent(r#"{"z":1.50,"model" : "a","y":{}}"#, rename),
        r#"{"z":1.50,"model" : "b\"c","y":{}}"#
    );
    assert_eq!(
        sent(r#"{"model":"a","stream":true}"#, rename),
        r#"{"model":"b\"c","stream_options":{"include_usage":true},"stream":true}"#
    );
    let keep = |_: &mut ChatRequest| {};
    for (options, edited) in [
        ("null", r#"{"include_usage":true}"#),
        ("{}", r#"{"include_usage":true}"#),
        (
            r#"{"x":[1],"include_usage":false,"y":2}"#,
            r#"{"x":[1],"include_usage":true,"y":2}"#,
        ),
        (
            r#"{ "include_usage" : true }"#,
            r#"{ "include_usage" : true }"#,
        ),
    ] {
        let body =
            |options| format!(r#"{{"stream_options": {options} ,"stream":true,"model":"a"}}"#);
        assert_eq!(sent(&body(options), keep), body(edited));
    }
    // Without a stream there is nothing to ask for.
    let whole = r#"{"model":"a","stream":false}"#;
    assert_eq!(sent(whole, keep), whole);
}

#[test]
fn what_is_no_request_is_refused_with_its_place() {
    let message = |body: &str| peek(body).unwrap_err().message().into_owned();
    for (body, expected) in [
        (
            "",
            "The body ends in the middle of the JSON. (line 1, column 1)",
        ),
        (
            "{\"model\":\n",
            "The body ends in the middle of the JSON. (line 2, column 1)",
        ),
        (
            "{\"model\":\n\"a\",}",
            "The body is not valid JSON. (line 2, column 5)",
        ),
        (
            r#"{"model":"a"} x"#,
            "The body is not valid JSON. (line 1, column 15)",
        ),
        ("[]", "Expected a JSON object. (line 1, column 1)"),
        (r#"{"stream":true}"#, "model: A model is required."),
        (r#"{"model":1}"#, "model: Expected a string."),
        (
            r#"{"model":"a","stream":"yes"}"#,
            "stream: Expected true or false.",
        ),
        (
            r#"{"model":"a","stream_options":1}"#,
            "stream_options: Expected an object.",
        ),
        (
            r#"{"model":"a","stream_options":{"include_usage":true,"include_usage":false}}"#,
            "stream_options: Expected an object that gives each field once.",
        ),
    ] {
        assert_eq!(message(body), expected, "{body}");
    }
    let error = OpenAi.peek(
        &Operation::Chat.into(),
        Bytes::from_static(b"{\n\"a\":\"\xff\"}"),
    );
    let message = error.unwrap_err().message().into_owned();
    assert_eq!(message, "The body is not valid UTF-8. (line 2, column 6)");
}

#[test]
fn a_field_that_readers_could_take_for_another_is_refused() {
    for body in [
        r#"{"model":"a","model":"b"}"#,
        r#"{"model":"a","mod\u0065l":"b"}"#,
        r#"{"model":"a","messages":[],"messages":[1]}"#,
        r#"{"model":"a","x":1,"x":1}"#,
    ] {
        assert!(
            peek(body)
                .unwrap_err()
                .message()
                .starts_with("A field is given twice. (")
        );
    }
    assert!(
        peek(r#"{"model":"a","Model":"b"}"#)
            .unwrap_err()
            .message()
            .starts_with("A field differs from a known one")
    );
    let body = br#"{"messages":[{"role":"user","content":"a","content":"b"}]}"#;
    let error = OpenAi.parse(Operation::Chat, body).unwrap_err();
    assert!(
        error
            .message()
            .starts_with("A field is given twice. (line 1")
    );
    assert_eq!(
        fault(json!({"messages": [{"role": "user", "content": "a", "Content": "b"}]})),
        "messages[0].Content: Differs from a known field in upper and lower case only."
    );
    // What is known by several names is known by each of them.
    for (known, other) in [
        ("reasoning", "Reasoning_content"),
        ("reasoning_content", "Reasoning"),
        ("reasoning_content", "reasoning_Details"),
        ("reasoning", "Audio"),
    ] {
        let message = json!({"role": "assistant", "content": "a", known: "b", other: "c"});
        let expected = "Differs from a known field in upper and lower case only.";
        assert_eq!(
            fault(json!({"messages": [message]})),
            format!("messages[0].{other}: {expected}")
        );
    }
}

#[test]
fn deep_and_wide_documents_do_no_harm() {
    let deep = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"x":{open}{close},"model":"a"}}"#)
    };
    assert!(peek(&deep(126)).is_ok());
    for levels in [127, 1000, 100_000] {
        let error = peek(&deep(levels)).unwrap_err();
        assert_eq!(
            error.detail(),
            "The JSON is nested more than 127 levels deep."
        );
        let body = format!(r#"{{"messages":{}}}"#, "[".repeat(levels + 1));
        assert!(OpenAi.parse(Operation::Chat, body.as_bytes()).is_err());
    }
    let mut wide = String::from("{");
    for key in 0..100_000 {
        wide.push_str(&format!("\"{key}\":[],"));
    }
    wide.push_str(r#""model":"a"}"#);
    assert!(peek(&wide).is_ok());
    let lone = r#"{"model":"a","messages":[{"role":"user","content":"\ud800"}]}"#;
    assert!(peek(lone).unwrap().chat().is_err());
}

#[test]
fn faults_are_named_by_their_path() {
    let message = |message: Value| json!({"messages": [{"role": "user", "content": "a"}, message]});
    for (body, expected) in [
        (json!({}), "messages: At least one message is required."),
        (
            json!({"messages": []}),
            "messages: At least one message is required.",
        ),
        (json!({"messages": "a"}), "messages: Expected an array."),
        (json!({"messages": [1]}), "messages[0]: Expected an object."),
        (
            message(json!({"content": "a"})),
            "messages[1].role: A string is required.",
        ),
        (
            message(json!({"role": "robot", "content": "a"})),
            "messages[1].role: Expected system, developer, user, assistant or tool.",
        ),
        (
            message(json!({"role": "user"})),
            "messages[1].content: A content is required.",
        ),
        (
            message(json!({"role": "user", "content": 1})),
            "messages[1].content: Expected a string or an array of parts.",
        ),
        (
            message(json!({"role": "user", "content": [{"text": "a"}]})),
            "messages[1].content[0].type: A string is required.",
        ),
        (
            message(json!({"role": "user", "content": [{"type": "image_url", "image_url": {}}]})),
            "messages[1].content[0].image_url.url: A string is required.",
        ),
        (
            message(json!({"role": "tool", "content": "a"})),
            "messages[1].tool_call_id: A string is required.",
        ),
        (
            message(
                json!({"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": {}}}]}),
            ),
            "messages[1].tool_calls[0].function.arguments: Expected a string.",
        ),
    ] {
        assert_eq!(fault(body), expected);
    }
    let with = |key: &str, value: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "a"}]});
        body[key] = value;
        fault(body)
    };
    let n = "n: Expected a whole number from 1 to 128.";
    for value in [
        json!(0),
        json!(129),
        json!(1_000_000_000),
        json!(-1),
        json!("1"),
        json!(1.5),
    ] {
        assert_eq!(with("n", value), n);
    }
    assert_eq!(
        with("temperature", json!("hot")),
        "temperature: Expected a number."
    );
    assert_eq!(with("stop", json!(["a", 1])), "stop[1]: Expected a string.");
    assert_eq!(
        with(
            "tools",
            json!([{"type": "function", "function": {"name": ""}}])
        ),
        "tools[0].function.name: A name is required."
    );
    assert_eq!(
        with(
            "tools",
            json!([{"type": "function", "function": {"name": "f", "parameters": []}}])
        ),
        "tools[0].function.parameters: Expected an object."
    );
    assert_eq!(
        with("response_format", json!({"type": "json_schema"})),
        "response_format.json_schema: A schema is required."
    );
    assert_eq!(
        with("tool_choice", json!(1)),
        "tool_choice: Expected a string or an object."
    );
}

/// One request with everything in it.
fn rich() -> Value {
    json!({
        "messages": [
            {"role": "developer", "content": "Be brief.", "name": "op"},
            {"role": "system", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "data:,x", "format": "unknown"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
                {"type": "video_url", "video_url": {"url": "https://example.com"}},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"b\":1,\"a\":2}"}},
                {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}, "extra_content": {"google": {"thought_signature": "s"}}},
                {"id": "call_3", "type": "custom", "custom": {"name": "h", "input": "x"}},
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "1"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "reasoning_content": "hm", "content": "ok", "annotations": []},
            {"role": "assistant", "content": null, "refusal": "no"},
            {"role": "assistant", "content": null, "audio": {"id": "audio_1"}},
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "2"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "strict": true, "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}}},
            {"type": "function", "function": {"name": "g", "x": 1}, "cache_control": {}},
            {"type": "web_search", "depth": 3},
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": true}},
        "reasoning_effort": "low",
        "temperature": 0.5, "top_p": 0.25, "top_k": 3, "max_tokens": 7, "seed": -1,
        "frequency_penalty": 0.0, "presence_penalty": -1.5, "n": 2, "stop": ["a", "b"],
        "logprobs": true, "user": "u", "metadata": {"k": "v"}, "provider": {"order": ["x"]},
    })
}

#[test]
fn what_is_read_is_written_again() {
    let request = |body: &Value| {
        let mut body = body.clone();
        body["model"] = "m".into();
        let mut request = peek(&body.to_string()).unwrap().whole();
        request.chat_mut().unwrap();
        assert!(request.wire().is_none(), "whoever edits gives up the bytes");
        let sent = OpenAi.encode_request(&request, &maker()).unwrap().body;
        serde_json::from_slice::<Value>(&sent).unwrap()
    };
    let mut written = request(&rich());
    written.as_object_mut().unwrap().remove("model");
    assert_eq!(written, rich());
    // Schemas keep the order of their properties, in which models fill them in.
    let text = written.to_string();
    assert!(text.contains(r#""properties":{"z":{},"a":{}}"#), "{text}");
}

#[test]
fn parts_are_told_apart() {
    let chat = parse(rich()).unwrap();
    let parts = &chat.messages[2].parts;
    assert!(
        matches!(&parts[2].content, Content::Image { source: Media::Data { mime, .. }, .. } if mime == "image/png")
    );
    assert!(
        matches!(&parts[3].content, Content::Other(_)),
        "has more than we know"
    );
    assert!(matches!(
        &parts[5].content,
        Content::File {
            source: Media::Id(_),
            ..
        }
    ));
    assert!(matches!(&parts[7].content, Content::Other(_)));
    assert_eq!(chat.messages[4].role, Role::Tool);
    assert_eq!(chat.extra["user"], "u");
    assert_eq!(chat.tools[2].name, "");
}

#[test]
fn the_most_tokens_have_the_name_that_the_model_knows() {
    let body = json!({"messages": [{"role": "user", "content": "a"}], "max_completion_tokens": 5});
    let chat = parse(body).unwrap();
    for (model, key) in [
        ("gpt-4o", "max_tokens"),
        ("openai/o3-mini", "max_completion_tokens"),
        ("gpt-5-nano", "max_completion_tokens"),
        ("ollama/orca", "max_tokens"),
    ] {
        let request = ChatRequest::new().for_model(model);
        let written = request::write_chat(&request, &chat).unwrap();
        assert_eq!(written.fields[key], 5);
    }
}

#[test]
fn messages_beside_a_prompt_stay_what_they_were() {
    let body = json!({"model": "m", "prompt": "a", "messages": [1]});
    let ask = Operation::Completions.into();
    let request = OpenAi.peek(&ask, body.to_string().into()).unwrap();
    let sent = request::write_chat(&request, request.chat().unwrap()).unwrap();
    let sent: Value = serde_json::from_slice(&sent.bytes()).unwrap();
    assert_eq!(
        (&sent["prompt"], &sent["messages"]),
        (&json!("a"), &json!([1]))
    );
}

#[test]
fn results_of_tools_in_one_message_become_several() {
    let result = |id: &str| {
        Content::ToolResult {
            call_id: id.into(),
            parts: vec![crate::llm::Part::text(id)],
            is_error: None,
        }
        .into()
    };
    let parts = [result("a"), crate::llm::Part::text("and?"), result("b")];
    let request = ChatRequest::new().message(crate::llm::Message::new(Role::User, parts));
    let sent = request::write_chat(&request, request.chat().unwrap()).unwrap();
    let sent: Value = serde_json::from_slice(&sent.bytes()).unwrap();
    assert_eq!(
        sent["messages"],
        json!([
            {"role": "tool", "tool_call_id": "a", "content": "a"},
            {"role": "tool", "tool_call_id": "b", "content": "b"},
            {"role": "user", "content": "and?"},
        ])
    );
    assert_eq!(sent["stream_options"], json!({"include_usage": true}));
}

#[test]
fn an_older_completion_is_a_conversation_of_one_message() {
    let read = |body: Value| OpenAi.parse(Operation::Completions, body.to_string().as_bytes());
    for prompt in [json!("Once"), json!(["Once"])] {
        let Typed::Chat(chat) = read(json!({"prompt": prompt, "max_tokens": 3})).unwrap() else {
            panic!("a conversation");
        };
        assert_eq!(chat.messages[0].all_text(), "Once");
    }
    let error = read(json!({"prompt": ["a", "b"]})).unwrap_err();
    assert_eq!(error.message(), "prompt: Expected one text.");
}

#[test]
fn embeddings_are_asked_for_in_any_form() {
    for input in [
        json!("a"),
        json!(["a", "b"]),
        json!([[1, 2], [3]]),
        json!([["x"]]),
        json!([]),
    ] {
        let body =
            json!({"model": "m", "input": input, "encoding_format": "base64", "dimensions": 3});
        let bytes = Bytes::from(body.to_string());
        let request = OpenAi.peek(&Operation::Embeddings.into(), bytes).unwrap();
        assert!(OpenAi.asked(&request).base64);
        match request.embedding() {
            Ok(embed) => assert_eq!(request::write_embed(&request, embed), body),
            Err(error) => assert!(error.param().unwrap().starts_with("input")),
        }
    }
}
