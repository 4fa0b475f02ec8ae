use super::{super::Vendor, *};
use serde_json::json;

/// What a vendor of this name gets of a request, and what is lost.
fn sent(vendor: &str, request: &Value) -> (Value, Vec<String>) {
    let vendor = Vendor::ALL.iter().find(|row| row.name() == vendor).unwrap();
    let mut losses = Vec::new();
    let body = edited(&vendor.quirks, request.to_string().into(), &mut losses).unwrap();
    let lost = losses.iter().map(|loss| loss.field.to_string()).collect();
    (serde_json::from_slice(&body).unwrap(), lost)
}

fn said(messages: Value) -> Value {
    let mut request = json!({"model": "m"});
    request["messages"] = messages;
    request
}

#[test]
fn openai_gets_the_bytes_of_the_client() {
    let body =
        r#"{ "max_completion_tokens":1, "seed" : 2,"n":3, "messages":[{"role":"developer"}]}"#;
    let mut losses = Vec::new();
    assert_eq!(
        edited(&Quirks::NONE, body.into(), &mut losses).unwrap(),
        body
    );
    let whole = r#"{ "model":"m", "messages":[{"role":"user","content":"hi"}] ,"x":1.50}"#;
    for vendor in Vendor::ALL {
        let sent = edited(&vendor.quirks, whole.into(), &mut losses).unwrap();
        assert_eq!(sent, whole, "{}", vendor.name());
    }
    assert!(losses.is_empty());
}

#[test]
fn mistral_gets_the_names_that_it_knows() {
    let (sent, lost) = sent(
        "mistral",
        &json!({
            "model": "m", "messages": [], "max_completion_tokens": 5, "seed": 7, "n": 2,
            "stream": true, "stream_options": {"include_usage": true},
            "user": "me", "store": false, "logit_bias": {}, "tool_choice": "required",
            "web_search_options": {},
        }),
    );
    let expected = json!({
        "model": "m", "messages": [], "n": 2, "stream": true,
        "max_tokens": 5, "random_seed": 7, "tool_choice": "any",
    });
    assert_eq!(sent, expected);
    assert_eq!(lost, ["user", "web_search_options"]);
}

#[test]
fn mistral_gets_ids_of_nine_letters_and_digits() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let history = said(json!([
        {"role": "assistant", "content": null, "tool_calls": [call("call_1"), call("VB03LVVRm")]},
        {"role": "tool", "tool_call_id": "call_1", "name": "f", "content": "1"},
        {"role": "tool", "tool_call_id": "VB03LVVRm", "content": "2"},
        {"role": "assistant", "content": "so", "tool_calls": []},
    ]));
    let (first, lost) = sent("mistral", &history);
    let id = first.pointer("/messages/0/tool_calls/0/id").unwrap();
    assert!(Ids::fits(id.as_str().unwrap()));
    assert_eq!(first.pointer("/messages/1/tool_call_id"), Some(id));
    assert_eq!(first["messages"][1]["name"], "f");
    assert_eq!(first["messages"][2], history["messages"][2]);
    assert_eq!(
        first.pointer("/messages/0/tool_calls/1/id").unwrap(),
        "VB03LVVRm"
    );
    assert!(lost.is_empty());
    assert_eq!(sent("mistral", &history).0, first);
}

#[test]
fn no_two_ids_become_one() {
    let taken = Ids::made("call_1", 0);
    let mut ids = Ids::default();
    ids.keep(Some((&*taken).into()));
    ids.keep(Some("call_1".into()));
    let short = ids.short("call_1").unwrap().to_owned();
    assert!(short != taken && Ids::fits(&short));
    assert_eq!(ids.short("call_1"), Some(&*short));
    assert_ne!(ids.short("call_2"), Some(&*short));
    assert_eq!(ids.short(&taken), None);
}

#[test]
fn mistral_gets_thoughts_among_the_parts() {
    let (sent, lost) = sent(
        "mistral",
        &said(json!([
            {"role": "assistant", "reasoning_content": "hm", "content": "yes", "refusal": null, "annotations": []},
            {"role": "user", "name": "Ada", "content": "why"},
        ])),
    );
    let expected = json!([
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
            {"type": "text", "text": "yes"},
        ]},
        {"role": "user", "content": "why"},
    ]);
    assert_eq!(sent["messages"], expected);
    assert_eq!(lost, ["messages[1].name"]);
}

#[test]
fn mistral_gets_documents_under_its_own_name() {
    let data = "data:application/pdf;base64,AAAA";
    let parts = json!([
        {"type": "text", "text": "see"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": data}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]);
    let (sent, _) = sent(
        "mistral",
        &said(json!([{"role": "user", "content": parts}])),
    );
    let expected = json!([
        {"type": "text", "text": "see"},
        {"type": "document_url", "document_url": data, "document_name": "a.pdf"},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]);
    assert_eq!(sent["messages"][0]["content"], expected);
}

#[test]
fn rule_23_more_than_one_choice_is_refused_where_there_is_but_one() {
    for vendor in Vendor::ALL {
        let body = json!({"model": "m", "messages": [], "n": 2}).to_string();
        let sent = edited(&vendor.quirks, body.clone().into(), &mut Vec::new());
        match sent {
            Ok(sent) => assert_eq!(sent, body, "{}", vendor.name()),
            Err(refused) => {
                assert!(["groq", "deepseek", "ollama"].contains(&vendor.name()));
                assert_eq!(refused.kind(), Kind::UnsupportedParameter);
                assert_eq!(refused.param(), Some("n"));
            }
        }
        let one = json!({"model": "m", "messages": [], "n": 1}).to_string();
        assert!(edited(&vendor.quirks, one.into(), &mut Vec::new()).is_ok());
    }
    assert!(edited(&GROQ, r#"{"n":3}"#.into(), &mut Vec::new()).is_err());
}

#[test]
fn groq_knows_no_chances() {
    let (sent, lost) = sent(
        "groq",
        &json!({
            "model": "m", "n": 1, "logprobs": true, "top_logprobs": 3, "max_completion_tokens": 9,
            "messages": [{"role": "assistant", "content": "a", "reasoning_content": "hm"}],
        }),
    );
    let expected = json!({
        "model": "m", "max_completion_tokens": 9,
        "messages": [{"role": "assistant", "content": "a", "reasoning": "hm"}],
    });
    assert_eq!(sent, expected);
    assert_eq!(lost, ["logprobs", "top_logprobs"]);
}

#[test]
fn deepseek_gets_back_what_was_thought_beside_calls() {
    let call =
        json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let (sent, lost) = sent(
        "deepseek",
        &said(json!([
            {"role": "developer", "content": "be"},
            {"role": "assistant", "content": "", "tool_calls": call, "reasoning_content": "hm"},
            {"role": "assistant", "content": "", "tool_calls": call},
            {"role": "assistant", "content": "ah", "reasoning_content": "so"},
        ])),
    );
    let all = &sent["messages"];
    assert_eq!(all[0]["role"], "system");
    assert_eq!(all[1]["reasoning_content"], "hm");
    assert_eq!(all[2]["reasoning_content"], "");
    assert_eq!(all[3]["reasoning_content"], "so");
    assert!(lost.is_empty());
}

#[test]
fn cerebras_and_ollama_call_thoughts_reasoning() {
    for vendor in ["cerebras", "ollama"] {
        let said = said(json!([{"role": "assistant", "content": "a", "reasoning_content": "hm"}]));
        let (sent, _) = sent(vendor, &said);
        let expected = json!([{"role": "assistant", "content": "a", "reasoning": "hm"}]);
        assert_eq!(sent["messages"], expected);
    }
}

#[test]
fn whoever_runs_open_models_knows_the_older_names() {
    for vendor in [
        "together",
        "fireworks",
        "perplexity",
        "huggingface",
        "nvidia",
        "vllm",
        "llamacpp",
        "lmstudio",
        "ollama",
        "deepseek",
        "sambanova",
    ] {
        let request = json!({
            "model": "m", "max_completion_tokens": 3,
            "messages": [{"role": "developer", "content": "be"}],
        });
        let (sent, lost) = sent(vendor, &request);
        let expected = json!({
            "model": "m", "messages": [{"role": "system", "content": "be"}], "max_tokens": 3,
        });
        assert_eq!(sent, expected, "{vendor}");
        assert!(lost.is_empty());
    }
    for vendor in ["openai", "azure", "xai", "openrouter", "groq"] {
        let request =
            json!({"model": "m", "max_completion_tokens": 3, "messages": [{"role": "developer"}]});
        assert_eq!(sent(vendor, &request).0, request, "{vendor}");
    }
}

#[test]
fn what_is_no_conversation_goes_on_as_it_is() {
    let mut losses = Vec::new();
    for body in [
        "",
        "[]",
        "{\"stream_options\":",
        "{\"messages\":{\"role\":\"developer\"}}",
    ] {
        assert_eq!(edited(&MISTRAL, body.into(), &mut losses).unwrap(), body);
    }
    for body in [
        "{\"messages\":[1,{\"role\":\"developer\",\"tool_calls\":3}]}",
        "{\"n\":\"x\"}",
    ] {
        let _ = edited(&MISTRAL, body.into(), &mut losses);
        let _ = edited(&DEEPSEEK, body.into(), &mut losses);
    }
}

/// The fields of an object, as they stand there.
fn fields(text: &str) -> Vec<(String, String)> {
    let span = 0..text.len();
    let object = Object::read(text.as_bytes(), span).unwrap();
    let all = object
        .fields()
        .map(|(name, value)| (name.to_owned(), text[value].to_owned()));
    all.collect()
}

#[test]
fn what_no_quirk_names_is_the_same_to_the_byte() {
    let body = concat!(
        "{ \"model\" : \"m\",\"x\":123456789012345678901234567890 ,\"max_completion_tokens\" : 5\n,",
        "\"y\":1.50e+3, \"user\" : \"\\u00e9\",\"messages\" : [ {\"content\":\"a\\/b\" , \"role\" : \"developer\"},",
        "{ \"role\":\"assistant\" , \"tool_calls\" : [ {\"id\": \"abc123XYZ\", \"z\":0.10 }, {\"id\":\"call_1\"} ]",
        ", \"refusal\" :null,\"reasoning_content\":\"h\\u006d\"},\t7 ],\"seed\": 18446744073709551616}",
    );
    let sent = edited(&MISTRAL, body.into(), &mut Vec::new()).unwrap();
    let id = Ids::default().short("call_1").unwrap().to_owned();
    let expected = concat!(
        "{ \"model\" : \"m\",\"x\":123456789012345678901234567890 ,\"max_tokens\" : 5\n,",
        "\"y\":1.50e+3,\"messages\" : [ {\"content\":\"a\\/b\" , \"role\" : \"system\"},",
        "{ \"role\":\"assistant\" , \"tool_calls\" : [ {\"id\": \"abc123XYZ\", \"z\":0.10 }, {\"id\":\"ID\"} ]",
        ",\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\"h\\u006d\"}]}]},\t7 ]",
        ",\"random_seed\": 18446744073709551616}",
    );
    assert_eq!(sent, expected.replace("ID", &id));
}

#[test]
fn thoughts_stand_before_what_was_said_whatever_that_is() {
    let parts = |content: &str| {
        let content = match content {
            "" => String::new(),
            content => format!(r#","content":{content}"#),
        };
        let body = format!(
            r#"{{"messages":[{{"role":"assistant","reasoning":"hm"{content},"reasoning_details":[1]}}]}}"#
        );
        let (sent, lost) = sent("mistral", &serde_json::from_str(&body).unwrap());
        assert!(lost.is_empty());
        let message = sent["messages"][0].as_object().unwrap().clone();
        assert_eq!(message.len(), 2, "{message:?}");
        message["content"].clone()
    };
    let thought = json!({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]});
    let text = json!({"type": "text", "text": "a"});
    let file = r#"{"type":"file","file":{"file_data":"d"}}"#;
    let document = json!({"type": "document_url", "document_url": "d"});
    for (content, expected) in [
        ("", json!([thought])),
        ("null", json!([thought])),
        ("\"\"", json!([thought])),
        ("7", json!([thought])),
        ("\"a\"", json!([thought, text])),
        ("[ ]", json!([thought])),
        (&text.to_string(), json!([thought])),
        (&format!("[{text}]"), json!([thought, text])),
        (&format!("[{file}]"), json!([thought, document])),
    ] {
        assert_eq!(parts(content), expected, "{content}");
    }
}

mod laws {
    use super::*;
    use proptest::prelude::*;

    /// Names that quirks know, and others.
    const NAMES: [&str; 18] = [
        "max_completion_tokens",
        "max_tokens",
        "seed",
        "user",
        "stream_options",
        "logprobs",
        "n",
        "tool_choice",
        "x",
        "role",
        "content",
        "name",
        "refusal",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "tool_calls",
        "tool_call_id",
    ];
    const VALUES: [&str; 17] = [
        "null",
        "1",
        "true",
        "123456789012345678901.50",
        "\"\"",
        "\"required\"",
        "\"developer\"",
        "\"assistant\"",
        "\"tool\"",
        "\"a\\u00e9\\n\"",
        "{}",
        "{ \"a\" :1.0}",
        "[]",
        "[ {\"id\": \"call_1\" ,\"z\":1}]",
        "[ {\"type\":\"text\",\"text\":\"t\"} ]",
        "[{\"type\" : \"file\", \"file\":{\"file_data\":\"d\"}}]",
        "\"abc123XYZ\"",
    ];

    /// An object in which some of these stand, with space or without, and a name at times escaped.
    fn object() -> impl Strategy<Value = String> {
        let space = || prop::sample::select(vec!["", "", " ", "\n\t"]);
        let names = prop::sample::subsequence(NAMES.to_vec(), 0..9).prop_shuffle();
        let one = (
            prop::sample::select(VALUES.to_vec()),
            space(),
            space(),
            0..20,
        );
        (names, prop::collection::vec(one, 9), space()).prop_map(|(names, values, end)| {
            let field =
                |(name, (value, before, after, escaped)): (&&str, &(&str, &str, &str, i32))| {
                    let name = match escaped {
                        0 => format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]),
                        _ => (*name).to_owned(),
                    };
                    format!("{before}\"{name}\"{after}:{before}{value}{after}")
                };
            let all: Vec<_> = names.iter().zip(&values).map(field).collect();
            format!("{{{end}{}{end}}}", all.join(","))
        })
    }

    fn known(quirks: &Quirks, name: &str) -> bool {
        let names = quirks.renamed.iter().flat_map(|(from, to)| [from, to]);
        let mut names = names
            .chain(quirks.unknown)
            .chain(quirks.unknown_in_messages);
        names.any(|known| *known == name)
            || [
                "n",
                "stream_options",
                "tool_choice",
                "messages",
                "role",
                "content",
                "reasoning",
                "reasoning_content",
                "reasoning_details",
                "tool_calls",
                "tool_call_id",
            ]
            .contains(&name)
    }

    proptest! {
        #[test]
        fn edits_leave_json_and_all_that_they_do_not_name(
            top in object(),
            messages in prop::collection::vec(object(), 0..4),
            vendor in prop::sample::select(Vendor::ALL.to_vec()),
        ) {
            let quirks = &vendor.quirks;
            let top = top.strip_suffix('}').unwrap();
            let comma = if top.trim_end().ends_with('{') { "" } else { "," };
            let body = format!("{top}{comma}\"messages\":[{}]}}", messages.join(" ,"));
            prop_assert!(serde_json::from_str::<Value>(&body).is_ok(), "{body}");
            let Ok(sent) = edited(quirks, body.clone().into(), &mut Vec::new()) else {
                return Ok(());
            };
            let sent = std::str::from_utf8(&sent).unwrap();
            prop_assert!(serde_json::from_str::<Value>(sent).is_ok(), "{body}\n{sent}");
            let kept = |text: &str| -> Vec<_> {
                let all = fields(text).into_iter();
                all.filter(|(name, _)| !known(quirks, name)).collect()
            };
            prop_assert_eq!(kept(&body), kept(sent));
            let all = |text: &str| -> Vec<String> {
                let (_, list) = fields(text).into_iter().find(|(name, _)| name == "messages").unwrap();
                let spans = splice::array(list.as_bytes(), 0..list.len()).unwrap();
                spans.into_iter().map(|span| list[span].to_owned()).collect()
            };
            let (before, after) = (all(&body), all(sent));
            prop_assert_eq!(before.len(), after.len());
            for (before, after) in before.iter().zip(&after) {
                prop_assert_eq!(kept(before), kept(after));
            }
        }
    }
}

/// Who writes all the fields of a class writes those that say nothing, too.
#[test]
fn what_stands_as_null_under_one_name_does_not_take_the_other_away() {
    let limits =
        json!({"model": "m", "messages": [], "max_tokens": null, "max_completion_tokens": 5});
    for vendor in ["mistral", "deepseek", "ollama", "lm-studio"] {
        let Some(_) = Vendor::ALL.iter().find(|row| row.name() == vendor) else {
            continue;
        };
        let (sent, lost) = sent(vendor, &limits);
        let expected = json!({"model": "m", "messages": [], "max_tokens": 5});
        assert_eq!(sent, expected, "{vendor}");
        assert!(lost.is_empty());
    }
    let thought = |ours: Value, other: Value| {
        said(
            json!([{"role": "assistant", "content": "a", "reasoning_content": ours, "reasoning": other}]),
        )
    };
    let (mistral, _) = sent("mistral", &thought(Value::Null, "so".into()));
    assert_eq!(
        mistral["messages"][0]["content"][0]["thinking"][0]["text"],
        "so"
    );
    let (groq, _) = sent("groq", &thought("so".into(), Value::Null));
    assert_eq!(
        groq["messages"][0],
        json!({"role": "assistant", "content": "a", "reasoning": "so"})
    );
    let mut calls = thought(Value::Null, "so".into());
    calls["messages"][0]["tool_calls"] = json!([{"id": "a"}]);
    let (deepseek, _) = sent("deepseek", &calls);
    assert_eq!(deepseek["messages"][0]["reasoning_content"], "so");
}

#[test]
fn odd_json_stays_json() {
    for (vendor, body, expected) in [
        (
            "mistral",
            "{\"\\u0073eed\" : 1 ,\n\"seed\":2, \"user\":\"a\",\"\\u0075ser\":\"b\"\t}",
            json!({"random_seed": 2}),
        ),
        (
            "deepseek",
            r#"{"messages":[],"messages":[{"role":"developer","role":"devel\u006fper","tool_calls":[1]} ]}"#,
            json!({"messages": [{"role": "system", "tool_calls": [1]}]}),
        ),
        (
            "mistral",
            r#"{"messages":[{"reasoning_content":"a","role":"assistant","content":"b","reasoning":"c","refusal":null}],"n":{"user":1}}"#,
            json!({"n": {"user": 1}, "messages": [{"role": "assistant", "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "a"}]},
                {"type": "text", "text": "b"},
            ]}]}),
        ),
    ] {
        let vendor = Vendor::ALL.iter().find(|row| row.name() == vendor).unwrap();
        let body = edited(&vendor.quirks, body.into(), &mut Vec::new()).unwrap();
        let read: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(read, expected, "{}", vendor.name());
    }
}

/// Clients send back what Google answered, and others refuse it.
#[test]
fn what_google_puts_beside_a_text_is_for_nobody_who_counts_fields() {
    let request = said(json!([{
        "role": "assistant", "content": "a", "thought_signature": "AVSo",
        "extra_content": {"google": {"thought": true, "thought_signature": "AVSo"}},
    }]));
    for vendor in ["mistral", "groq"] {
        let (sent, lost) = sent(vendor, &request);
        assert_eq!(
            sent["messages"],
            json!([{"role": "assistant", "content": "a"}])
        );
        let told = ["messages[0].extra_content", "messages[0].thought_signature"];
        assert_eq!(lost, told, "{vendor}");
    }
}
