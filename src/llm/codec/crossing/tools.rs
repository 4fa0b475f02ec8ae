//! What clients say of tools and calls that not every vendor has a word for.

use super::{
    google::GEMINI,
    told::{VENDORS, of_client, told},
    *,
};
use crate::rejection::Kind;

const RESPONSES: Protocol = Protocol::Responses;
const COHERE: Protocol = Protocol::Cohere;
const OLLAMA: Protocol = Protocol::Ollama;

/// What a vendor gets, and what is told of it.
fn sent_to(from: Protocol, to: Protocol, body: &Value) -> (Value, Vec<String>) {
    let model = VENDORS.iter().find(|(vendor, _)| *vendor == to).unwrap().1;
    gets(to, &of_client(from, model, body.clone()).0)
}

/// The tools that a vendor may call, and its choice among them.
fn offered(to: Protocol, body: &Value) -> (Vec<String>, Value) {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (tools, choice) = match to {
        GEMINI => {
            let declared = list(&body["tools"][0]["functionDeclarations"]);
            let config = &body["toolConfig"]["functionCallingConfig"];
            let allowed = list(&config["allowedFunctionNames"]);
            let may = |tool: &Value| allowed.is_empty() || allowed.contains(&tool["name"]);
            (
                declared.into_iter().filter(may).collect(),
                config["mode"].clone(),
            )
        }
        Protocol::Bedrock => {
            let config = &body["toolConfig"];
            let specs = list(&config["tools"])
                .into_iter()
                .map(|tool| tool["toolSpec"].clone());
            let choice = config["toolChoice"].as_object();
            let choice = choice.and_then(|choice| choice.keys().next().cloned());
            (specs.collect(), choice.into())
        }
        ANTHROPIC => (list(&body["tools"]), body["tool_choice"]["type"].clone()),
        RESPONSES => (list(&body["tools"]), body["tool_choice"].clone()),
        _ => {
            let functions = list(&body["tools"])
                .into_iter()
                .map(|tool| tool["function"].clone());
            (functions.collect(), body["tool_choice"].clone())
        }
    };
    let names = tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned());
    (names.collect(), choice)
}

fn functions(from: Protocol) -> Value {
    let parameters = json!({"type": "object"});
    ["f", "g", "h"]
        .into_iter()
        .map(|name| match from {
            OPENAI => {
                json!({"type": "function", "function": {"name": name, "parameters": parameters}})
            }
            RESPONSES => {
                json!({"type": "function", "name": name, "parameters": parameters, "strict": false})
            }
            _ => json!({"name": name, "parametersJsonSchema": parameters}),
        })
        .collect()
}

/// A choice among some, as a client of this dialect says it.
fn among(from: Protocol, required: bool, names: &[&str]) -> Value {
    let mode = if required { "required" } else { "auto" };
    match from {
        GEMINI => {
            let mode = if required { "ANY" } else { "AUTO" };
            let config = json!({"mode": mode, "allowedFunctionNames": names});
            let tools = json!([{"functionDeclarations": functions(from)}]);
            json!({"tools": tools, "toolConfig": {"functionCallingConfig": config}})
        }
        RESPONSES => {
            let tools: Vec<_> = names
                .iter()
                .map(|name| json!({"type": "function", "name": name}))
                .collect();
            let choice = json!({"type": "allowed_tools", "mode": mode, "tools": tools});
            json!({"tools": functions(from), "tool_choice": choice})
        }
        _ => {
            let tools: Vec<_> = names
                .iter()
                .map(|name| json!({"type": "function", "function": {"name": name}}))
                .collect();
            let allowed = json!({"mode": mode, "tools": tools});
            let choice = json!({"type": "allowed_tools", "allowed_tools": allowed});
            json!({"tools": functions(from), "tool_choice": choice})
        }
    }
}

#[test]
fn rule_9_a_choice_among_some_of_the_tools_is_one_everywhere() {
    for from in [OPENAI, RESPONSES, GEMINI] {
        for (to, _) in VENDORS {
            let shared = [OPENAI, RESPONSES];
            // Both of them know the choice itself.
            if to == from || shared.contains(&from) && shared.contains(&to) {
                continue;
            }
            for required in [false, true] {
                let (body, losses) = sent_to(from, to, &among(from, required, &["h", "f"]));
                let (names, choice) = offered(to, &body);
                assert_eq!(names, ["f", "h"], "{from:?} to {to:?}");
                let must = match to {
                    GEMINI => json!("ANY"),
                    ANTHROPIC | Protocol::Bedrock => json!("any"),
                    COHERE => json!("REQUIRED"),
                    OLLAMA => Value::Null,
                    _ => json!("required"),
                };
                assert_eq!(
                    choice == must && !must.is_null(),
                    required && to != OLLAMA,
                    "{to:?} {choice}"
                );
                // It cannot be made to call any, but to call no other.
                let expected = match (from, required && to == OLLAMA) {
                    (_, false) => vec![],
                    (GEMINI, true) => vec!["toolConfig.functionCallingConfig"],
                    (_, true) => vec!["tool_choice"],
                };
                assert_eq!(losses, expected, "{from:?} to {to:?}");
            }
        }
    }
    // Where Gemini is told which, the others are there all the same.
    let (body, _) = sent_to(OPENAI, GEMINI, &among(OPENAI, true, &["h", "f"]));
    assert_eq!(
        body["tools"][0]["functionDeclarations"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let config = json!({"mode": "ANY", "allowedFunctionNames": ["f", "h"]});
    assert_eq!(body["toolConfig"]["functionCallingConfig"], config);
    // The one that may be called, and must be, is the one that must be called.
    let (body, losses) = sent_to(RESPONSES, ANTHROPIC, &among(RESPONSES, true, &["g"]));
    assert_eq!(body["tool_choice"], json!({"type": "tool", "name": "g"}));
    assert_eq!(
        (body["tools"].as_array().unwrap().len(), losses.len()),
        (3, 0)
    );
    // Of what is not offered none can be called.
    let (body, losses) = sent_to(OPENAI, ANTHROPIC, &among(OPENAI, true, &["x"]));
    assert_eq!(body.get("tools"), None);
    assert_eq!(losses, ["tool_choice"]);
}

#[test]
fn rule_9_what_is_told_of_a_tool_is_told_of_the_one_that_the_client_sent() {
    let mut body = among(OPENAI, false, &["h"]);
    body["tools"][2]["function"]["strict"] = true.into();
    body["tools"][0]["cache_control"] = json!({"type": "ephemeral"});
    let (_, losses) = sent_to(OPENAI, OLLAMA, &body);
    assert_eq!(
        losses,
        ["tools[2].function.strict", "tools[0].cache_control"]
    );
    // Nobody may call it, so nothing is lost with it.
    let mut body = among(OPENAI, false, &["h"]);
    body["tools"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "odd"}));
    assert!(sent_to(OPENAI, ANTHROPIC, &body).1.is_empty());
}

const GRAMMAR: &str = "start: /a+/";

/// A tool that takes any text, and a call of it with its answer, as a client of this dialect has them.
fn patched(from: Protocol) -> Value {
    let format = json!({"type": "grammar", "syntax": "lark", "definition": GRAMMAR});
    let tool = json!({"name": "apply_patch", "description": "Edits.", "format": format});
    if from == RESPONSES {
        let mut tool = tool;
        tool["type"] = "custom".into();
        return json!({"tools": [tool], "tool_choice": {"type": "custom", "name": "apply_patch"}, "input": [
            {"role": "user", "content": "hi"},
            {"type": "custom_tool_call", "id": "ctc_1", "status": "completed", "call_id": "a", "name": "apply_patch", "input": "*** \"Begin\"\n"},
            {"type": "custom_tool_call_output", "call_id": "a", "output": "done"},
            {"role": "user", "content": "and?"},
        ]});
    }
    let mut tool = tool;
    tool["format"] =
        json!({"type": "grammar", "grammar": {"syntax": "lark", "definition": GRAMMAR}});
    let call = json!({"id": "a", "type": "custom", "custom": {"name": "apply_patch", "input": "*** \"Begin\"\n"}});
    json!({"tools": [{"type": "custom", "custom": tool}],
        "tool_choice": {"type": "custom", "custom": {"name": "apply_patch"}}, "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "done"},
        {"role": "user", "content": "and?"},
    ]})
}

#[test]
fn a_tool_that_takes_any_text_is_a_function_of_one_text_elsewhere() {
    for from in [OPENAI, RESPONSES] {
        let place = match from {
            OPENAI => "tools[0].custom.format",
            _ => "tools[0].format",
        };
        for (to, model) in VENDORS {
            if to == from {
                continue;
            }
            let (request, _) = of_client(from, model, patched(from));
            let encoded = encoded(&request, &maker(to, model)).unwrap();
            let losses: Vec<_> = encoded.losses.iter().map(|loss| &*loss.field).collect();
            match to {
                // It takes no choice.
                OLLAMA => assert_eq!(losses, ["tool_choice", place]),
                _ => assert_eq!(losses, [place], "{from:?} to {to:?}"),
            }
            let body: Value = serde_json::from_slice(&encoded.body).unwrap();
            assert_eq!(offered(to, &body).0, ["apply_patch"]);
            let text = body.to_string();
            assert!(text.contains(GRAMMAR) && !text.contains("custom"), "{text}");
            let calls = match to {
                OPENAI | COHERE => {
                    body["messages"][1]["tool_calls"][0]["function"]["arguments"].clone()
                }
                RESPONSES => body["input"][1]["arguments"].clone(),
                OLLAMA => body["messages"][1]["tool_calls"][0]["function"]["arguments"].clone(),
                ANTHROPIC => body["messages"][1]["content"][0]["input"].clone(),
                GEMINI => body["contents"][1]["parts"][0]["functionCall"]["args"].clone(),
                _ => body["messages"][1]["content"][0]["toolUse"]["input"].clone(),
            };
            let arguments = match calls {
                Value::String(text) => serde_json::from_str(&text).unwrap(),
                other => other,
            };
            assert_eq!(arguments, json!({"input": "*** \"Begin\"\n"}), "{to:?}");
            assert!(text.contains("done"), "{text}");
            // And what is called comes back as the text.
            let mut inputs = custom::Inputs::default();
            let mut all = String::new();
            let pieces = [
                call(0, Some("apply_patch"), r#"{"inp"#),
                call(0, None, r#"ut": "a\"#),
                call(0, None, r#"nb"}"#),
            ];
            for event in pieces {
                let event = inputs.restored(&encoded.names, encoded.names.restored(event));
                if let Event::Delta {
                    delta: Delta::ToolCall { arguments, .. },
                    ..
                } = event
                {
                    all += &arguments;
                }
            }
            assert_eq!(all, "a\nb");
            let other = call(1, Some("f"), r#"{"input":"a"}"#);
            assert_eq!(inputs.restored(&encoded.names, other.clone()), other);
        }
    }
}

#[test]
fn what_a_tool_of_any_text_shows_goes_along() {
    let mut body = patched(RESPONSES);
    body["input"][2]["output"] = json!([{"type": "input_text", "text": "done"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]);
    let (there, losses) = sent_to(RESPONSES, ANTHROPIC, &body);
    let kinds: Vec<_> = there["messages"][2]["content"][0]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["type"].clone())
        .collect();
    assert_eq!(kinds, ["text", "image"]);
    assert_eq!(losses, ["tools[0].format"]);
    let (_, losses) = sent_to(RESPONSES, OLLAMA, &body);
    assert!(
        losses.contains(&"input[2].output[1]".to_owned()),
        "{losses:?}"
    );
}

#[test]
fn a_shell_of_the_clients_is_told_to_be_none() {
    let body = json!({"tools": [{"type": "local_shell"}], "input": [
        {"role": "user", "content": "hi"},
        {"type": "local_shell_call", "id": "l", "call_id": "a", "status": "completed", "action": {"type": "exec", "command": ["ls"], "env": {}}},
        {"type": "local_shell_call_output", "id": "l", "output": "x"},
        {"role": "user", "content": "and?"},
    ]});
    for (to, _) in VENDORS.into_iter().filter(|(to, _)| *to != RESPONSES) {
        let (request, _) = of_client(RESPONSES, "m", body.clone());
        let losses = encoded(&request, &maker(to, "m")).unwrap().losses;
        let offered = losses.iter().find(|loss| &*loss.field == "tools[0]");
        assert!(offered.unwrap().why.contains("as a function"), "{to:?}");
        let mut losses = sent_to(RESPONSES, to, &body).1;
        losses.sort();
        assert_eq!(losses, ["input[1]", "input[2]", "tools[0]"], "{to:?}");
    }
}

#[test]
fn rule_7_calls_that_have_no_name_are_given_one() {
    let called = |name: &str| {
        let call = json!({"name": name, "arguments": "{}"});
        json!({"role": "assistant", "content": null, "function_call": call})
    };
    let answer =
        |name: &str, text: &str| json!({"role": "function", "name": name, "content": text});
    let body = json!({"messages": [
        {"role": "user", "content": "hi"},
        called("f"), answer("f", "one"),
        called("g"), answer("g", "two"),
        called("f"), answer("f", "three"),
        {"role": "user", "content": "and?"},
    ]});
    for (to, _) in VENDORS.into_iter().filter(|(to, _)| *to != OPENAI) {
        let (there, losses) = sent_to(OPENAI, to, &body);
        assert!(losses.is_empty(), "{to:?} {losses:?}");
        let again = sent_to(OPENAI, to, &body).0;
        assert_eq!(there, again);
        let key = match to {
            COHERE | OLLAMA => "tool_call_id",
            RESPONSES => "call_id",
            ANTHROPIC => "tool_use_id",
            GEMINI => "id",
            _ => "toolUseId",
        };
        let mut ids = Vec::new();
        named(&there, key, &mut ids);
        ids.dedup();
        let once: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!((ids.len(), once.len()), (3, 3), "{to:?} {there}");
        assert!(ids.iter().all(|id| !id.is_empty()));
    }
}

/// All texts under this name, in order.
fn named(value: &Value, key: &str, out: &mut Vec<String>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| named(one, key, out)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == key => out.push(text.clone()),
                    value => named(value, key, out),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn rule_22_nothing_is_sent_of_a_conversation_that_says_nothing() {
    let parts = json!([{"role": "user", "parts": [{"text": ""}]}]);
    let empty = json!([{"role": "user", "content": []}]);
    for (from, body, place) in [
        (OPENAI, json!({"messages": empty}), "messages"),
        (ANTHROPIC, json!({"messages": empty}), "messages"),
        (RESPONSES, json!({"input": []}), "input"),
        (
            GEMINI,
            json!({"contents": [{"role": "user", "parts": []}]}),
            "contents",
        ),
    ] {
        for (to, model) in VENDORS.into_iter().filter(|(to, _)| *to != from) {
            let (request, _) = of_client(from, model, body.clone());
            let refused = encoded(&request, &maker(to, model)).unwrap_err();
            assert_eq!(refused.kind(), Kind::InvalidRequest, "{from:?} to {to:?}");
            assert_eq!(refused.param(), Some(place), "{from:?} to {to:?}");
        }
    }
    let (request, _) = of_client(GEMINI, "llama3.2", json!({"contents": parts}));
    assert_eq!(told(&request, OLLAMA), ["contents"]);
}
