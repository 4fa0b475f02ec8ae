//! A conversation, written.

use crate::{
    Rejection,
    llm::{
        Chat, ChatRequest, Media, ResponseFormat, ToolChoice,
        codec::{
            Encoded, Maker, literal,
            messages::{Piece, Said, Turn, turns},
            translation::{Object, Translation, UNKNOWN, object_of, put, spoken_of},
        },
    },
    rejection::Kind,
};
use serde_json::{Map, Value, json};

const MOST_NAME: usize = 64;

/// Fields of the vendor that others have not, taken from clients of any protocol.
const OWN: [&str; 4] = ["keep_alive", "truncate", "shift", "think"];

/// Options of the vendor that may stand beside the settings of other protocols.
const OPTIONS: [&str; 7] = [
    "num_ctx",
    "num_keep",
    "repeat_last_n",
    "repeat_penalty",
    "min_p",
    "typical_p",
    "num_gpu",
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
    let mut out = Object::new();
    out.insert("model".into(), (&**request.model()).into());
    out.insert("stream".into(), request.streams().into());
    let mut messages = Vec::with_capacity(chat.messages.len());
    for turn in turns(chat, &mut base) {
        messages.push(message(turn, &mut base)?);
    }
    spoken_of(messages.len())?;
    out.insert("messages".into(), messages.into());
    tools(chat, &mut base, &mut out);
    match &chat.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject | ResponseFormat::JsonSchema { schema: None, .. }) => {
            out.insert("format".into(), "json".into());
        }
        Some(ResponseFormat::JsonSchema {
            schema: Some(schema),
            ..
        }) => {
            out.insert("format".into(), schema.clone());
        }
        Some(ResponseFormat::Other(whole)) if !base.foreign => {
            out.insert("format".into(), whole.clone());
        }
        Some(ResponseFormat::Other(_)) => base.losses.add("response_format", UNKNOWN),
    }
    thinking(chat, to, &mut base, &mut out);
    let mut options = options(chat);
    base.top(&chat.extra, &mut out, |key, value, out| match key {
        // It was looked at before.
        "thinking" => true,
        "service_tier" => value == "auto",
        "modalities" => *value == json!(["text"]),
        own if OWN.contains(&own) => {
            out.entry(own).or_insert_with(|| value.clone());
            true
        }
        "options" if value.is_object() => {
            let more = value.as_object().into_iter().flatten();
            for (key, value) in more {
                options.entry(key.clone()).or_insert_with(|| value.clone());
            }
            true
        }
        option if OPTIONS.contains(&option) && value.is_number() => {
            options.entry(option).or_insert_with(|| value.clone());
            true
        }
        _ => false,
    });
    if !options.is_empty() {
        // Those of a request that was made here stand there already, and count.
        let given = out.entry("options").or_insert_with(|| json!({}));
        if let Some(given) = given.as_object_mut() {
            for (key, value) in options {
                given.entry(key).or_insert(value);
            }
        }
    }
    Ok(Encoded {
        body: literal::document(&out, request),
        losses: base.losses.into_vec(),
        names: base.names,
    })
}

fn message(turn: Turn<'_>, base: &mut Translation<'_>) -> Result<Value, Rejection> {
    Ok(match turn {
        Turn::System(texts) => json!({"role": "system", "content": texts.join("\n\n")}),
        Turn::User(pieces) => {
            let (mut texts, mut images) = (Vec::new(), Vec::new());
            for piece in pieces {
                match piece {
                    Piece::Text(text) => texts.push(text),
                    Piece::Image {
                        source,
                        detail,
                        place,
                    } => {
                        if detail.is_some_and(|detail| detail != "auto") {
                            base.losses.add(format_args!("{place}.detail"), UNKNOWN);
                        }
                        images.push(bytes(source, &place)?);
                    }
                }
            }
            let mut message = json!({"role": "user", "content": texts.join("\n\n")});
            if !images.is_empty() {
                message["images"] = images.into();
            }
            message
        }
        Turn::Model(said) => model(&said, base),
        Turn::Result(answer) => {
            let mut message = json!({
                "role": "tool", "content": answer.text, "tool_call_id": answer.call,
            });
            if !answer.name.is_empty() {
                message["tool_name"] = answer.name.into();
            }
            message
        }
    })
}

/// A picture's bytes in base64.
fn bytes(source: &Media, place: &str) -> Result<Value, Rejection> {
    match source {
        Media::Data { base64, .. } => Ok((&**base64).into()),
        _ => Err(Rejection::new(Kind::UnsupportedParameter)
            .with_param(place)
            .with_detail(
                "The provider takes a picture as its bytes, and nothing is fetched here.",
            )),
    }
}

fn model(said: &Said<'_>, base: &mut Translation<'_>) -> Value {
    let mut out = json!({"role": "assistant", "content": said.texts.concat()});
    let thoughts: String = said.thoughts.iter().map(|thought| thought.text).collect();
    if !thoughts.is_empty() {
        out["thinking"] = thoughts.into();
    }
    let mut calls = Vec::new();
    for call in &said.calls {
        let (arguments, fits) = object_of(&call.call.arguments);
        if !fits {
            base.wrapped_arguments(&call.place);
        }
        let name = base.names.sent(&call.call.name);
        let function = json!({"name": name, "arguments": arguments});
        calls.push(json!({"id": call.call.id, "function": function}));
    }
    if !calls.is_empty() {
        out["tool_calls"] = calls.into();
    }
    out
}

/// There is no choice of a tool: those that must not be called are not offered.
fn tools(chat: &Chat, base: &mut Translation<'_>, out: &mut Object) {
    let mut all = Vec::new();
    let named = chat.tools.iter().any(|tool| !tool.name.is_empty());
    let choice = base.choice(chat, named);
    for (index, tool) in chat.tools.iter().enumerate() {
        let place = format!("tools[{index}]");
        if tool.name.is_empty() {
            all.extend(base.vendors_tool(tool, &place));
            continue;
        }
        base.fields(&tool.extra, &place);
        if tool.strict == Some(true) {
            let why = "The provider does not hold arguments to the letter.";
            base.losses.add(format_args!("{place}.strict"), why);
        }
        let wanted = match choice {
            Some(ToolChoice::None) => false,
            Some(ToolChoice::Tool(name)) => tool.name == *name,
            _ => true,
        };
        if !wanted {
            continue;
        }
        let mut function = Object::new();
        function.insert("name".into(), base.names.sent(&tool.name).into());
        put(&mut function, "description", tool.description.as_deref());
        let empty = || json!({"type": "object", "properties": {}});
        let parameters = tool.parameters.clone().unwrap_or_else(empty);
        function.insert("parameters".into(), parameters);
        all.push(json!({"type": "function", "function": function}));
    }
    if let Some(ToolChoice::Required | ToolChoice::Tool(_)) = choice {
        let why = "The provider calls a tool or does not, as it sees fit.";
        base.losses.add("tool_choice", why);
    }
    if chat.parallel_tool_calls == Some(false) && !all.is_empty() {
        let why = "The provider calls as many tools at once as it sees fit.";
        base.losses.add("parallel_tool_calls", why);
    }
    if !all.is_empty() {
        out.insert("tools".into(), all.into());
    }
}

fn options(chat: &Chat) -> Map<String, Value> {
    let sampling = &chat.sampling;
    let mut out = Map::new();
    put(&mut out, "num_predict", sampling.max_tokens);
    put(&mut out, "temperature", sampling.temperature);
    put(&mut out, "top_p", sampling.top_p);
    put(&mut out, "top_k", sampling.top_k);
    put(&mut out, "seed", sampling.seed);
    put(&mut out, "frequency_penalty", sampling.frequency_penalty);
    put(&mut out, "presence_penalty", sampling.presence_penalty);
    let mut stop = sampling.stop.clone();
    stop.retain(|text| !text.is_empty());
    if !stop.is_empty() {
        out.insert("stop".into(), stop.into());
    }
    out
}

/// Whether to think: yes or no, and for one family of models how hard.
fn thinking(chat: &Chat, to: &Maker, base: &mut Translation<'_>, out: &mut Object) {
    let said = chat.extra.get("thinking");
    let kind = said.and_then(|said| said.get("type")?.as_str());
    if said.is_some_and(|said| said.get("budget_tokens").is_some()) {
        let why = "The provider takes a word for it, not a number.";
        base.losses.add("thinking.budget_tokens", why);
    }
    let think = match (kind, chat.effort.as_deref()) {
        (Some("disabled"), _) | (None, Some("none")) => false.into(),
        (_, Some(effort)) if to.model.contains("gpt-oss") => {
            let word = match effort {
                "low" | "medium" | "high" => effort,
                "minimal" => "low",
                _ => "high",
            };
            if word != effort {
                let why = "The nearest that the provider takes is taken.";
                base.losses.add("reasoning_effort", why);
            }
            Value::from(word)
        }
        (kind, Some(_)) => {
            if kind.is_none() {
                let why = "The model thinks or does not.";
                base.losses.add("reasoning_effort", why);
            }
            true.into()
        }
        (Some(_), None) => true.into(),
        (None, None) => return,
    };
    out.insert("think".into(), think);
}
