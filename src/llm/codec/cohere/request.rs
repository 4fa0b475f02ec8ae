//! A conversation, written.

use super::PLAN;
use crate::{
    Rejection,
    llm::{
        Chat, ChatRequest, Media, ResponseFormat, Tool, ToolChoice,
        codec::{
            Encoded, Maker, Names, literal,
            messages::{Piece, Said, Turn, turns},
            translation::{Object, Translation, UNKNOWN, put, spoken},
        },
    },
    rejection::Kind,
};
use serde_json::{Value, json};

const MOST_NAME: usize = 64;
const MOST_STOPS: usize = 5;
const MOST_K: u64 = 500;
const MOST_P: f64 = 0.99;

/// Fields of the vendor that others have not, taken from clients of any protocol.
const OWN: [&str; 5] = [
    "documents",
    "citation_options",
    "safety_mode",
    "strict_tools",
    "priority",
];

/// The request for a vendor of this protocol.
pub(super) fn encode(request: &ChatRequest, to: &Maker) -> Result<Encoded, Rejection> {
    let chat = request.chat()?;
    if chat.sampling.n.is_some_and(|n| n > 1) {
        return Err(Rejection::new(Kind::UnsupportedParameter)
            .with_param("n")
            .with_detail("The provider gives one answer to a request."));
    }
    let mut base = Translation::new(request, chat, to, MOST_NAME);
    base.names = Names::of_variables(chat, MOST_NAME);
    let mut out = Object::new();
    out.insert("model".into(), (&**request.model()).into());
    out.insert("stream".into(), request.streams().into());
    let turns = turns(chat, &mut base);
    if let Some(Turn::Model(_)) = turns.last() {
        let why = "The provider does not go on where the last turn ends.";
        base.losses.add("messages", why);
    }
    let messages: Vec<_> = turns
        .into_iter()
        .map(|turn| message(turn, &base.names))
        .collect();
    out.insert("messages".into(), messages.into());
    spoken(out.get("messages"))?;
    let offered = tools(chat, &mut base, &mut out);
    format(chat, offered, &mut base, &mut out);
    sampling(chat, &mut base, &mut out);
    thinking(chat, to, &mut base, &mut out);
    base.top(&chat.extra, &mut out, |key, value, out| match key {
        // It was looked at before.
        "thinking" => true,
        "service_tier" => value == "auto",
        "modalities" => *value == json!(["text"]),
        own if OWN.contains(&own) => {
            out.insert(own.to_owned(), value.clone());
            true
        }
        _ => false,
    });
    Ok(Encoded {
        body: literal::document(&out, request),
        losses: base.losses.into_vec(),
        names: base.names,
    })
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// One text stands by itself, and several in their order.
fn content(mut parts: Vec<Value>) -> Value {
    match &mut parts[..] {
        [one] if one["type"] == "text" => one["text"].take(),
        _ => parts.into(),
    }
}

fn message(turn: Turn<'_>, names: &Names) -> Value {
    match turn {
        Turn::System(texts) => {
            let texts = texts.iter().map(|one| text(one)).collect();
            json!({"role": "system", "content": content(texts)})
        }
        Turn::User(pieces) => {
            let pieces = pieces.into_iter().map(|piece| match piece {
                Piece::Text(one) => text(&one),
                Piece::Image { source, detail, .. } => {
                    let mut image = json!({"url": url(source)});
                    if let Some(detail) = detail {
                        image["detail"] = detail.into();
                    }
                    json!({"type": "image_url", "image_url": image})
                }
            });
            json!({"role": "user", "content": content(pieces.collect())})
        }
        Turn::Model(said) => model(said, names),
        Turn::Result(answer) => {
            json!({"role": "tool", "tool_call_id": answer.call, "content": answer.text})
        }
    }
}

/// Data as an address.
fn url(source: &Media) -> String {
    match source {
        Media::Url(url) | Media::Id(url) => url.clone(),
        Media::Data { mime, base64 } => format!("data:{mime};base64,{base64}"),
    }
}

/// What the model planned stands apart from what it thought.
fn model(said: Said<'_>, names: &Names) -> Value {
    let mut out = json!({"role": "assistant"});
    let mut parts = Vec::new();
    let mut plan = String::new();
    for thought in said.thoughts {
        match thought.proof == PLAN && !said.calls.is_empty() {
            true => plan.push_str(thought.text),
            false => parts.push(json!({"type": "thinking", "thinking": thought.text})),
        }
    }
    parts.extend(said.texts.iter().map(|one| text(one)));
    if !parts.is_empty() {
        out["content"] = content(parts);
    }
    if !plan.is_empty() {
        out["tool_plan"] = plan.into();
    }
    let calls = said.calls.iter().map(|call| {
        let arguments = match call.call.arguments.trim() {
            "" => "{}",
            arguments => arguments,
        };
        let name = names.sent(&call.call.name);
        let function = json!({"name": name, "arguments": arguments});
        json!({"id": call.call.id, "type": "function", "function": function})
    });
    if !said.calls.is_empty() {
        out["tool_calls"] = calls.collect();
    }
    out
}

/// Whether there are any.
fn tools(chat: &Chat, base: &mut Translation<'_>, out: &mut Object) -> bool {
    let mut own = Vec::new();
    let mut offered: Vec<(&Tool, Value)> = Vec::new();
    for (index, tool) in chat.tools.iter().enumerate() {
        let place = format!("tools[{index}]");
        if tool.name.is_empty() {
            own.extend(base.vendors_tool(tool, &place));
            continue;
        }
        base.fields(&tool.extra, &place);
        let mut function = Object::new();
        function.insert("name".into(), base.names.sent(&tool.name).into());
        put(&mut function, "description", tool.description.as_deref());
        let empty = || json!({"type": "object", "properties": {}});
        let parameters = tool.parameters.clone().unwrap_or_else(empty);
        function.insert("parameters".into(), parameters);
        offered.push((tool, json!({"type": "function", "function": function})));
    }
    if chat.parallel_tool_calls == Some(false) && !offered.is_empty() {
        let why = "The provider calls as many tools at once as it sees fit.";
        base.losses.add("parallel_tool_calls", why);
    }
    match base.choice(chat, !offered.is_empty()) {
        Some(ToolChoice::Required) => {
            out.insert("tool_choice".into(), "REQUIRED".into());
        }
        Some(ToolChoice::None) => {
            out.insert("tool_choice".into(), "NONE".into());
        }
        // It cannot be named: it is the only one to call.
        Some(ToolChoice::Tool(name)) if offered.iter().any(|(tool, _)| tool.name == *name) => {
            offered.retain(|(tool, _)| tool.name == *name);
            out.insert("tool_choice".into(), "REQUIRED".into());
        }
        Some(ToolChoice::Tool(_)) => base.losses.add("tool_choice", UNKNOWN),
        Some(ToolChoice::Other(choice)) => {
            out.insert("tool_choice".into(), choice.clone());
        }
        Some(ToolChoice::Auto) | None => {}
    }
    // All are held to the letter, or none is.
    let strict = |tool: &Tool| tool.strict == Some(true);
    if !offered.is_empty() && offered.iter().all(|(tool, _)| strict(tool)) {
        out.insert("strict_tools".into(), true.into());
    } else if let Some(at) = chat.tools.iter().position(strict) {
        let why = "The provider holds all tools to the letter, or none.";
        base.losses.add(format_args!("tools[{at}].strict"), why);
    }
    own.extend(offered.into_iter().map(|(_, tool)| tool));
    let any = !own.is_empty();
    if any {
        out.insert("tools".into(), own.into());
    }
    any
}

fn format(chat: &Chat, offered: bool, base: &mut Translation<'_>, out: &mut Object) {
    let format = match &chat.response_format {
        None | Some(ResponseFormat::Text) => return,
        Some(_) if offered => {
            let why = "The model is held to a form or has tools, not both.";
            return base.losses.add("response_format", why);
        }
        Some(ResponseFormat::JsonObject | ResponseFormat::JsonSchema { schema: None, .. }) => {
            json!({"type": "json_object"})
        }
        Some(ResponseFormat::JsonSchema {
            schema: Some(schema),
            description,
            ..
        }) => {
            let mut schema = schema.clone();
            if let (Some(text), Some(fields)) = (description, schema.as_object_mut()) {
                fields.entry("description").or_insert(text.clone().into());
            }
            json!({"type": "json_object", "schema": schema})
        }
        Some(ResponseFormat::Other(whole)) if !base.foreign => whole.clone(),
        Some(ResponseFormat::Other(_)) => return base.losses.add("response_format", UNKNOWN),
    };
    out.insert("response_format".into(), format);
}

fn sampling(chat: &Chat, base: &mut Translation<'_>, out: &mut Object) {
    let sampling = &chat.sampling;
    let mut bounded = |field: &str, value: Option<f64>, least: f64, most: f64| {
        let value = value?;
        let fits = value.clamp(least, most);
        if fits != value {
            let why = "The nearest that the provider takes is taken.";
            base.losses.add(field, why);
        }
        Some(fits)
    };
    put(out, "p", bounded("top_p", sampling.top_p, 0.01, MOST_P));
    let temperature = bounded("temperature", sampling.temperature, 0.0, f64::MAX);
    put(out, "temperature", temperature);
    for (field, value) in [
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
    ] {
        put(out, field, bounded(field, value, 0.0, 1.0));
    }
    let top_k = sampling.top_k.map(|k| k as f64);
    let top_k = bounded("top_k", top_k, 0.0, MOST_K as f64);
    put(out, "k", top_k.map(|k| k as u64));
    put(out, "max_tokens", sampling.max_tokens);
    match sampling.seed {
        Some(0..) => put(out, "seed", sampling.seed),
        Some(_) => base
            .losses
            .add("seed", "The provider takes none below zero."),
        None => {}
    }
    let mut stop = sampling.stop.clone();
    stop.retain(|text| !text.is_empty());
    if stop.len() > MOST_STOPS {
        stop.truncate(MOST_STOPS);
        base.losses
            .add("stop", "The provider takes five at the most.");
    }
    if !stop.is_empty() {
        out.insert("stop_sequences".into(), stop.into());
    }
}

/// Models that do not think before they answer, as their names tell. As the vendor's documentation has
/// it, in November 2026.
const NEVER: [&str; 6] = [
    "command-r",
    "command-light",
    "command-a-03",
    "command-a-vision",
    "command-a-translate",
    "c4ai",
];

/// How hard to think: the vendor takes a number of tokens, or the word that it shall.
fn thinking(chat: &Chat, to: &Maker, base: &mut Translation<'_>, out: &mut Object) {
    let said = chat.extra.get("thinking");
    let kind = said.and_then(|said| said.get("type")?.as_str());
    let budget = ["token_budget", "budget_tokens"];
    let budget = budget
        .iter()
        .find_map(|key| said.and_then(|said| said.get(*key)?.as_u64()));
    let (field, wanted) = match (kind, chat.effort.as_deref()) {
        (Some("disabled"), _) | (None, Some("none")) => ("thinking", None),
        (Some(_), _) if budget.is_some() => ("thinking", Some(budget)),
        (_, Some(effort)) => {
            let tokens = match effort {
                "minimal" => 1024,
                "low" => 2048,
                "medium" => 4096,
                "xhigh" | "max" => 16_384,
                _ => 8192,
            };
            ("reasoning_effort", Some(Some(tokens)))
        }
        (Some(_), None) => ("thinking", Some(None)),
        (None, None) => return,
    };
    let name = to.model.rsplit('/').next().unwrap_or(&to.model);
    let thinks = !NEVER.iter().any(|start| name.starts_with(start));
    let Some(tokens) = wanted else {
        // Who never does need not be told.
        if thinks {
            out.insert("thinking".into(), json!({"type": "disabled"}));
        }
        return;
    };
    if !thinks {
        let why = "The model does not think before it answers.";
        return base.losses.add(field, why);
    }
    let mut thinking = json!({"type": "enabled"});
    if let Some(tokens) = tokens {
        thinking["token_budget"] = tokens.into();
        if field != "thinking" {
            let why = "The provider takes a number of tokens for it.";
            base.losses.add(field, why);
        }
    }
    out.insert("thinking".into(), thinking);
}
