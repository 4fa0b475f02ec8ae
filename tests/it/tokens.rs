//! Counts beside what vendors counted, in a folder of recorded traffic that lies beside the project.

use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf};
use tower_gateway::{
    llm::{
        Chat, Content, Message, Part, Reasoning, ResponseFormat, Role, Tool, ToolCall, ToolChoice,
        tokens::{Family, ModelTokenizer},
    },
    testing::Recording,
};

/// What a recorded request said, in whichever protocol, as far as a count needs it. `None` where a
/// part of it is not text, or where the vendor adds what nobody sees.
fn chat(body: &Value) -> Option<Chat> {
    const NOT_COUNTED: &[&str] = &[
        "previous_response_id",
        "context_management",
        "mcp_servers",
        "cachedContent",
        "documents",
        "thinking",
        "web_search_options",
        "plugins",
        "output_config",
        "output_format",
        "text",
        "output_schema",
        "guardrailConfig",
        "functions",
        "prompt",
        "raw",
    ];
    if NOT_COUNTED.iter().any(|field| !body[*field].is_null()) {
        return None;
    }
    let mut chat = Chat::default();
    for (field, role) in [
        ("system", Role::System),
        ("systemInstruction", Role::System),
        ("instructions", Role::System),
    ] {
        let value = match &body[field]["parts"] {
            Value::Null => &body[field],
            parts => parts,
        };
        if !value.is_null() && value != &json!([]) {
            chat.messages.push(Message::new(role, parts(value)?));
        }
    }
    let said = ["messages", "contents", "input"].map(|field| &body[field]);
    match said.into_iter().find(|said| !said.is_null())? {
        Value::String(text) => chat.messages.push(Message::text(Role::User, text)),
        Value::Array(messages) => {
            for message in messages {
                chat.messages.push(self::message(message)?);
            }
        }
        _ => return None,
    }
    let tools = match &body["toolConfig"]["tools"] {
        Value::Null => &body["tools"],
        tools => tools,
    };
    for tool in tools.as_array().into_iter().flatten() {
        let declared = &tool["functionDeclarations"];
        let several = declared.as_array().cloned();
        for tool in several.unwrap_or_else(|| vec![tool.clone()]) {
            chat.tools.push(self::tool(&tool)?);
        }
    }
    chat.tool_choice = match &body["tool_choice"] {
        Value::String(choice) if choice == "none" => Some(ToolChoice::None),
        Value::String(choice) if choice == "required" => Some(ToolChoice::Required),
        Value::Object(_) if body["tool_choice"]["type"] != "auto" => Some(ToolChoice::Required),
        _ => None,
    };
    let format = &body["response_format"];
    match format["type"].as_str() {
        Some("json_schema") => {
            let schema = &format["json_schema"];
            let mut named = ResponseFormat::JsonObject;
            if let Some(name) = schema["name"].as_str() {
                named = ResponseFormat::JsonSchema {
                    name: name.into(),
                    description: None,
                    schema: Some(schema["schema"].clone()),
                    strict: None,
                };
            }
            chat.response_format = Some(named);
        }
        Some("text") | None => {}
        Some(_) => return None,
    }
    if !body["generationConfig"]["responseJsonSchema"].is_null()
        || !body["generationConfig"]["responseSchema"].is_null()
        || !body["format"].is_null()
    {
        return None;
    }
    Some(chat)
}

fn message(message: &Value) -> Option<Message> {
    let role = match message["role"].as_str() {
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        Some("assistant" | "model") => Role::Assistant,
        Some("tool") => Role::Tool,
        Some("user") => Role::User,
        _ => return item(message),
    };
    let said = ["content", "parts"].map(|field| &message[field]);
    let mut all = match said.into_iter().find(|said| !said.is_null()) {
        Some(said) => parts(said)?,
        None => Vec::new(),
    };
    for field in ["reasoning", "reasoning_content", "thinking"] {
        if let Some(text) = message[field].as_str() {
            let text = text.to_owned();
            all.insert(
                0,
                Content::Reasoning(Reasoning {
                    text,
                    ..Reasoning::default()
                })
                .into(),
            );
        }
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        all.push(self::call(
            &call["function"]["name"],
            &call["function"]["arguments"],
        )?);
    }
    let mut said = Message::new(role, all);
    said.name = message["name"].as_str().map(Into::into);
    Some(said)
}

/// A call or its result as an item of its own.
fn item(item: &Value) -> Option<Message> {
    match item["type"].as_str()? {
        "function_call" => {
            let call = call(&item["name"], &item["arguments"])?;
            Some(Message::new(Role::Assistant, [call]))
        }
        "function_call_output" => Some(Message::text(Role::Tool, item["output"].as_str()?)),
        _ => None,
    }
}

fn call(name: &Value, arguments: &Value) -> Option<Part> {
    let arguments = match arguments {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => value.to_string(),
    };
    let call = ToolCall {
        id: String::new(),
        name: name.as_str()?.into(),
        arguments,
    };
    Some(Content::ToolCall(call).into())
}

fn parts(value: &Value) -> Option<Vec<Part>> {
    match value {
        Value::String(text) => Some(vec![Part::text(text)]),
        Value::Array(parts) => parts.iter().map(part).collect(),
        _ => None,
    }
}

fn part(part: &Value) -> Option<Part> {
    let kind = part["type"].as_str();
    if !part["cache_control"].is_null() || !part["cachePoint"].is_null() {
        return None;
    }
    if let (Some("text" | "input_text" | "output_text") | None, Some(text)) =
        (kind, part["text"].as_str())
    {
        return Some(Part::text(text));
    }
    if kind == Some("tool_use") {
        return call(&part["name"], &part["input"]);
    }
    let of = |field: &str| part.get(field).filter(|value| value.is_object());
    if let Some(inner) = of("toolUse") {
        return call(&inner["name"], &inner["input"]);
    }
    if let Some(inner) = of("functionCall") {
        return call(&inner["name"], &inner["args"]);
    }
    let result = |content: &Value| {
        let parts = match content {
            Value::Object(_) => vec![Part::text(content.to_string())],
            Value::Null => Vec::new(),
            content => parts(content)?,
        };
        let call_id = String::new();
        Some(
            Content::ToolResult {
                call_id,
                parts,
                is_error: None,
            }
            .into(),
        )
    };
    if kind == Some("tool_result") {
        return result(&part["content"]);
    }
    if let Some(inner) = of("toolResult") {
        return result(&inner["content"]);
    }
    if let Some(inner) = of("functionResponse") {
        return result(&inner["response"]);
    }
    None
}

fn tool(tool: &Value) -> Option<Tool> {
    let kind = tool["type"].as_str().unwrap_or("function");
    if kind != "function" && kind != "custom" {
        return None;
    }
    let inner = ["function", "toolSpec"].map(|field| &tool[field]);
    let tool = inner
        .into_iter()
        .find(|inner| inner.is_object())
        .unwrap_or(tool);
    if !tool["defer_loading"].is_null() {
        return None;
    }
    let mut told = Tool::new(tool["name"].as_str()?);
    told.description = tool["description"].as_str().map(Into::into);
    let schemas = ["parameters", "input_schema", "parametersJsonSchema"].map(|field| &tool[field]);
    let schema = schemas.into_iter().find(|schema| schema.is_object());
    let schema = schema.or(tool["inputSchema"].get("json"));
    told.parameters = schema.cloned();
    Some(told)
}

/// The tokens that the vendor counted in the request, unless it took some of them from a cache.
fn counted(answer: &[u8]) -> Option<u64> {
    fn find(value: &Value, found: &mut Option<u64>, cached: &mut bool) {
        const INPUT: &[&str] = &[
            "prompt_tokens",
            "input_tokens",
            "promptTokenCount",
            "inputTokens",
            "prompt_eval_count",
        ];
        const CACHED: &[&str] = &[
            "cached_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "cachedContentTokenCount",
            "cacheReadInputTokens",
            "cacheWriteInputTokens",
        ];
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let number = value.as_f64().map(|number| number as u64);
                    if found.is_none() && INPUT.contains(&&**name) {
                        *found = number.filter(|number| *number > 0);
                    }
                    *cached |= CACHED.contains(&&**name) && number.is_some_and(|number| number > 0);
                    find(value, found, cached);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| find(value, found, cached)),
            _ => {}
        }
    }
    let (mut found, mut cached) = (None, false);
    let text = std::str::from_utf8(answer).ok()?;
    match serde_json::from_str(text) {
        Ok(whole) => find(&whole, &mut found, &mut cached),
        Err(_) => {
            for line in text.lines() {
                let line = line.strip_prefix("data:").unwrap_or(line);
                if let Ok(value) = serde_json::from_str(line) {
                    find(&value, &mut found, &mut cached);
                }
            }
        }
    }
    found.filter(|_| !cached)
}

/// One recorded request, and what it was counted as.
struct Case {
    model: String,
    family: Family,
    tools: bool,
    exact: bool,
    estimate: u64,
    counted: u64,
}

impl Case {
    fn of(recording: &Recording) -> Option<Self> {
        if recording.response.status != 200 || recording.endpoint.contains("embed") {
            return None;
        }
        let body = serde_json::from_slice::<Value>(recording.request.body.as_ref()?).ok()?;
        let chat = chat(&body)?;
        let counted = counted(&recording.response.body)?;
        let path = &recording.request.path;
        let in_path = ["/models/", "/model/"]
            .into_iter()
            .find_map(|at| path.split(at).nth(1));
        let in_path = in_path.and_then(|rest| rest.split(['/', ':', '%']).next());
        let model = body["model"].as_str().or(in_path)?.to_owned();
        // It searches the web before it answers.
        if model.starts_with("compound") {
            return None;
        }
        let count = ModelTokenizer::of(&model).chat(&chat).unwrap();
        let sum = count.messages + count.tools + count.schema + count.images + count.files;
        assert_eq!(count.total().tokens, sum);
        Some(Self {
            family: Family::of(&model),
            tools: count.tools + count.schema > 0,
            exact: count.total().is_exact(),
            estimate: sum,
            counted,
            model,
        })
    }

    /// In percent of what the vendor counted.
    fn error(&self) -> u64 {
        self.estimate.abs_diff(self.counted) * 100 / self.counted
    }
}

/// The value that so many percent of them are at most.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(at).copied().unwrap_or_default()
}

#[test]
fn counts_are_near_what_vendors_counted() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/wire");
    if !folder.exists() {
        let required = std::env::var_os("TOWER_GATEWAY_REQUIRE_RECORDINGS");
        assert!(required.is_none_or(|value| value != "1"), "no {folder:?}");
        println!("tokens: skipped (no shared folder)");
        return;
    }
    let recordings = Recording::load_all(folder).unwrap();
    let cases: Vec<_> = recordings.iter().filter_map(Case::of).collect();
    let mut groups = BTreeMap::<_, Vec<u64>>::new();
    for case in &cases {
        let Case {
            model,
            estimate,
            counted,
            ..
        } = case;
        println!("{model}: {estimate} for {counted}, {} % off", case.error());
        let kind = match (case.exact, case.tools) {
            (true, _) => "exact",
            (_, false) => "text",
            (_, true) => "tools",
        };
        groups
            .entry((kind, format!("{:?}", case.family)))
            .or_default()
            .push(case.error());
        groups
            .entry((kind, "all".into()))
            .or_default()
            .push(case.error());
    }
    println!(
        "{:<8}{:<12}{:>6}{:>10}{:>10}",
        "", "family", "cases", "median %", "90th %"
    );
    for ((kind, family), errors) in &mut groups {
        errors.sort_unstable();
        let (median, most) = (percentile(errors, 50), percentile(errors, 90));
        println!(
            "{kind:<8}{family:<12}{:>6}{median:>10}{most:>10}",
            errors.len()
        );
    }
    let of = |kind| &groups[&(kind, "all".to_owned())];
    assert!(of("exact").len() >= 8 && of("text").len() >= 30 && of("tools").len() >= 30);
    assert_eq!(percentile(of("exact"), 95), 0);
    // Most of the texts are a dozen tokens, where one more is eight percent.
    assert!(percentile(of("text"), 50) <= 8);
    assert!(percentile(of("text"), 90) <= 40);
    assert!(percentile(of("tools"), 50) <= 20);
    assert!(percentile(of("tools"), 90) <= 60);
}
