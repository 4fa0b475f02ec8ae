//! What the one forbids and the other allows.

use super::*;
use crate::llm::Content;

#[test]
fn rule_4_a_history_with_calls_needs_no_tools_on_offer() {
    let (body, losses) = to_gemini(json!({"messages": [
        user("hi"),
        {"role": "assistant", "tool_calls": [tool_call("a", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": "x"},
        user("and?"),
    ]}));
    assert_eq!((body.get("tools"), body.get("toolConfig")), (None, None));
    assert_eq!(body["contents"][1]["parts"][0]["functionCall"]["name"], "f");
    assert!(losses.is_empty(), "{losses:?}");
    // A choice among tools that are not there would be refused.
    let (body, losses) = to_gemini(json!({"tool_choice": "required"}));
    assert_eq!(body.get("toolConfig"), None);
    assert_eq!(losses, ["tool_choice"]);
}

#[test]
fn rule_8_names_of_functions_are_those_that_the_vendor_takes_and_come_back() {
    let long = "x".repeat(65);
    let names = ["a/b", "a b", "a_b", "2d", &long, "\u{e9}"];
    let tools = names.map(|name| json!({"type": "function", "function": {"name": name}}));
    let call = |at: usize| json!({"id": format!("c{at}"), "type": "function", "function": {"name": names[at], "arguments": "{}"}});
    let body = json!({
        "model": FLASH,
        "tools": tools,
        "tool_choice": {"type": "function", "function": {"name": "2d"}},
        "messages": [
            user("hi"),
            {"role": "assistant", "tool_calls": [call(0), call(1), call(3)]},
            {"role": "tool", "tool_call_id": "c1", "content": "x"},
        ],
    });
    let request = super::sent(OPENAI, &body);
    let encoded = of(GEMINI)
        .encode_request(&request, &maker(GEMINI, FLASH))
        .unwrap();
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    let declared = body["tools"][0]["functionDeclarations"].as_array().unwrap();
    let sent: Vec<_> = declared
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(sent, ["a_b_2", "a_b_3", "a_b", "_2d", &long[..64], "_"]);
    let choice = &body["toolConfig"]["functionCallingConfig"];
    assert_eq!(choice["allowedFunctionNames"], json!(["_2d"]));
    // The history has the same names, also where a result had to be made up.
    let named = |content: &Value, key: &str| -> Vec<String> {
        let parts = content["parts"].as_array().unwrap().iter();
        parts
            .map(|part| part[key]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let expected = ["a_b_2", "a_b_3", "_2d"];
    assert_eq!(named(&body["contents"][1], "functionCall"), expected);
    assert_eq!(named(&body["contents"][2], "functionResponse"), expected);
    for (own, sent) in names.iter().zip(sent) {
        let restored = encoded.names.restored(super::call(0, Some(sent), ""));
        let Event::Delta {
            delta: Delta::ToolCall { name, .. },
            ..
        } = restored
        else {
            panic!("no call");
        };
        assert_eq!(name.as_deref(), Some(*own));
    }
}

#[test]
fn rule_13_the_most_tokens_are_told_under_each_name() {
    for key in ["max_tokens", "max_completion_tokens"] {
        let (body, losses) = to_gemini(json!({key: 7}));
        assert_eq!(body["generationConfig"], json!({"maxOutputTokens": 7}));
        assert!(losses.is_empty());
    }
    // What is not told is not made up, but for a vendor that must be told.
    assert_eq!(to_gemini(json!({})).0.get("generationConfig"), None);
    let open = from_gemini_for(CLAUDE, json!({}));
    assert_eq!(gets(ANTHROPIC, &open).0["max_tokens"], 64_000);
    let told = json!({"generationConfig": {"maxOutputTokens": 7}});
    for (model, key) in [("gpt-5", "max_completion_tokens"), ("llama", "max_tokens")] {
        let (body, _) = gets(OPENAI, &from_gemini_for(model, told.clone()));
        assert_eq!(body[key], 7, "{model}");
    }
    assert_eq!(
        gets(ANTHROPIC, &from_gemini_for(CLAUDE, told)).0["max_tokens"],
        7
    );
}

#[test]
fn rule_16_what_forbids_thinking_is_looked_at_first() {
    let thinks = |more: Value| {
        let mut body = json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 8192}, "maxOutputTokens": 9000}});
        merge(&mut body, more);
        let (body, losses) = gets(ANTHROPIC, &from_gemini_for(CLAUDE, body));
        let told = losses
            .iter()
            .any(|loss| loss == "generationConfig.thinkingConfig.thinkingBudget");
        (body["thinking"].clone(), told)
    };
    let enabled = |budget: u64| json!({"type": "enabled", "budget_tokens": budget});
    // A number of tokens is the same to both.
    assert_eq!(thinks(json!({})), (enabled(8192), false));
    // It leaves room for an answer.
    let short = json!({"generationConfig": {"maxOutputTokens": 4000}});
    assert_eq!(thinks(short), (enabled(3999), true));
    let tools = json!([{"functionDeclarations": [{"name": "f"}]}]);
    let forced = json!({"functionCallingConfig": {"mode": "ANY"}});
    for not in [
        json!({"generationConfig": {"maxOutputTokens": 1024}}),
        json!({"tools": tools, "toolConfig": forced}),
    ] {
        assert_eq!(thinks(not.clone()), (Value::Null, true), "{not}");
    }
    // And the reverse: Gemini takes what the other forbids.
    let body = json!({
        "max_tokens": 9000, "temperature": 1, "tool_choice": {"type": "any"},
        "thinking": {"type": "enabled", "budget_tokens": 5000},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    });
    let (body, losses) = crossed(ANTHROPIC, GEMINI, FLASH, body);
    let config = &body["generationConfig"];
    assert_eq!(
        config["thinkingConfig"],
        json!({"includeThoughts": true, "thinkingBudget": 5000})
    );
    assert_eq!(body["toolConfig"]["functionCallingConfig"]["mode"], "ANY");
    assert!(losses.is_empty(), "{losses:?}");
    // More than it takes is cut, and told.
    let most =
        json!({"max_tokens": 64_000, "thinking": {"type": "enabled", "budget_tokens": 50_000}});
    let (body, losses) = crossed(ANTHROPIC, GEMINI, FLASH, most);
    let config = &body["generationConfig"]["thinkingConfig"];
    assert_eq!(config["thinkingBudget"], 24_576);
    assert_eq!(losses, ["thinking.budget_tokens"]);
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

#[test]
fn rule_21_marks_of_a_cache_have_no_form_within_a_conversation() {
    let mark = json!({"type": "ephemeral"});
    let part = json!({"type": "text", "text": "a", "cache_control": mark});
    let body = json!({
        "system": [part.clone()],
        "max_tokens": 9,
        "messages": [user(json!([part]))],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": mark}],
    });
    let (body, mut losses) = crossed(ANTHROPIC, GEMINI, FLASH, body);
    assert!(!body.to_string().contains("cache_control"));
    losses.sort();
    let expected = [
        "messages[0].content[0].cache_control",
        "system[0].cache_control",
        "tools[0].cache_control",
    ];
    assert_eq!(losses, expected);
    // What lies in the vendor's own cache is nobody else's.
    let request = from_gemini(json!({"cachedContent": "cachedContents/1"}));
    for protocol in [OPENAI, ANTHROPIC] {
        let refused = encoded(&request, &maker(protocol, FLASH)).unwrap_err();
        assert_eq!(refused.param(), Some("cachedContent"));
    }
    let (own, losses) = edited(request);
    assert_eq!(own["cachedContent"], "cachedContents/1");
    assert!(losses.is_empty());
}

#[test]
fn rule_22_turns_alternate_and_none_is_empty() {
    let (body, losses) = to_gemini(json!({"messages": [
        user("a"), user(""), user("b"),
        {"role": "assistant", "content": "c"}, {"role": "assistant", "content": ""},
        {"role": "assistant", "content": "d"}, user("e"),
    ]}));
    let turn = |role: &str, texts: &[&str]| {
        let parts: Vec<_> = texts.iter().map(|text| json!({"text": text})).collect();
        json!({"role": role, "parts": parts})
    };
    let expected = json!([
        turn("user", &["a", "b"]),
        turn("model", &["c", "d"]),
        turn("user", &["e"]),
    ]);
    assert_eq!(body["contents"], expected);
    assert!(losses.is_empty(), "{losses:?}");
    for (messages, turns) in [
        (json!([{"role": "assistant", "content": "c"}, user("a")]), 3),
        (json!([{"role": "system", "content": "c"}]), 1),
        (json!([user("a"), {"role": "assistant", "content": "b"}]), 2),
    ] {
        let (body, losses) = to_gemini(json!({"messages": messages}));
        assert_eq!(body["contents"][0]["role"], "user");
        assert_eq!(body["contents"].as_array().unwrap().len(), turns);
        assert_eq!(losses.len(), 1, "{losses:?}");
    }
    // From there: turns of one in a row, a role that is left out, and a turn of nothing.
    let text = |text: &str| json!({"parts": [{"text": text}]});
    let request = from_gemini(json!({"contents": [
        text("a"), {"role": "user", "parts": []}, text("b"),
        {"role": "model", "parts": [{"text": ""}]}, text("c"),
    ]}));
    let (body, losses) = gets(ANTHROPIC, &request);
    let said: String = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .inspect(|message| assert_eq!(message["role"], "user"))
        .map(|message| message["content"].to_string())
        .collect();
    for text in ["a", "b", "c"] {
        assert!(said.contains(&format!("\"{text}\"")), "{said}");
    }
    assert_eq!(body["messages"].as_array().unwrap().len(), 1);
    assert!(losses.is_empty(), "{losses:?}");
    assert!(matches!(
        request.chat().unwrap().messages[0].parts[0].content,
        Content::Text(_)
    ));
}
