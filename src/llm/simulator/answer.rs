//! What is said, and in which pieces.

use super::{Hash, refused, schema, tokens};
use crate::{
    Rejection,
    llm::{
        Chat, ChatRequest, Content, Delta, Error, Event, FinishReason, Message, Operation,
        ResponseFormat, Role, Start, Tool, ToolChoice, Usage,
    },
};
use serde_json::{Value, json};
use std::{collections::HashSet, fmt::Write};

/// 2025-01-01T00:00:00Z.
pub(super) const CREATED: u64 = 1_735_689_600;

const MOST_CHOICES: u32 = 128;

/// As much of what was said is repeated, in characters.
const ECHO: usize = 2000;

/// The batches of an answer, each with as many tokens.
pub(super) fn batches(
    request: &ChatRequest,
    fixed: Option<&str>,
    per_event: usize,
) -> Result<Vec<Vec<Event>>, Error> {
    let chat = request.chat()?;
    let choices = check(chat)?;
    let mut hash = Hash::new();
    let _ = write!(hash, "{:?} {} ", request.operation(), request.model());
    digest(chat, &mut hash);
    let seed = hash.finish();

    let prefix = match request.operation() {
        Operation::Completions => "cmpl",
        _ => "chatcmpl",
    };
    let id = format!("{prefix}-sim{seed:016x}");
    let mut batches = vec![vec![Event::Start(Start::new(
        id,
        &**request.model(),
        CREATED,
    ))]];
    let mut output = 0;
    let mut all = Vec::new();
    let heard = heard(chat);
    let mut hops = schema::MOST_HOPS;
    for choice in 0..choices {
        let said = Said::new(chat, &heard, fixed, choice, seed, &mut hops);
        let pieces = said.pieces(&chat.sampling.stop, chat.sampling.max_tokens, per_event);
        output += pieces.tokens;
        all.push((choice, pieces.deltas.into_iter(), Some(pieces.finish)));
    }
    // Choices take turns, as those of a vendor do.
    while !all.is_empty() {
        for (choice, deltas, finish) in &mut all {
            let choice = *choice;
            let event = match deltas.next() {
                Some(delta) => Event::Delta { choice, delta },
                None => match finish.take() {
                    Some(reason) => Event::Finish { choice, reason },
                    None => continue,
                },
            };
            batches.push(vec![event]);
        }
        all.retain(|(_, _, finish)| finish.is_some());
    }
    batches.push(vec![Event::Usage(Usage::new(input(chat), output))]);
    Ok(batches)
}

/// How many tokens are asked with.
pub(super) fn tokens_of(request: &ChatRequest) -> Result<u64, Error> {
    let chat = request.chat()?;
    check(chat)?;
    Ok(input(chat))
}

/// What makes one conversation another. Texts may be long, and go in as they are.
fn digest(chat: &Chat, hash: &mut Hash) {
    for message in &chat.messages {
        let _ = write!(hash, "{:?}:", message.role);
        for part in &message.parts {
            match part.as_text() {
                Some(text) => hash.add(text.as_bytes()),
                None => {
                    let _ = write!(hash, "{:?}", part.content);
                }
            }
            hash.add(&[0xff]);
        }
    }
    let _ = write!(
        hash,
        "{:?} {:?} {:?} {:?} {:?}",
        chat.tools, chat.tool_choice, chat.response_format, chat.sampling, chat.effort
    );
}

/// Refuses what the dialect refuses, and tells how many choices there are.
fn check(chat: &Chat) -> Result<u32, Rejection> {
    if chat.messages.is_empty() {
        return Err(refused("messages", "Expected one message at least."));
    }
    let sampling = &chat.sampling;
    let n = sampling.n.unwrap_or(1);
    if !(1..=MOST_CHOICES).contains(&n) {
        return Err(refused("n", "Expected a number from 1 to 128."));
    }
    if sampling.max_tokens == Some(0) {
        return Err(refused("max_tokens", "Expected a number of 1 or more."));
    }
    let ranges = [
        (
            "temperature",
            sampling.temperature,
            0.0,
            "Expected a number from 0 to 2.",
        ),
        (
            "frequency_penalty",
            sampling.frequency_penalty,
            -2.0,
            "Expected a number from -2 to 2.",
        ),
        (
            "presence_penalty",
            sampling.presence_penalty,
            -2.0,
            "Expected a number from -2 to 2.",
        ),
    ];
    for (name, value, least, detail) in ranges {
        if value.is_some_and(|value| !(least..=2.0).contains(&value)) {
            return Err(refused(name, detail));
        }
    }
    if sampling.top_p.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
        return Err(refused("top_p", "Expected a number from 0 to 1."));
    }
    match &chat.tool_choice {
        Some(ToolChoice::Required) if chat.tools.is_empty() => {
            return Err(refused("tool_choice", "No tools are offered."));
        }
        Some(ToolChoice::Tool(name)) if chat.tools.iter().all(|tool| tool.name != *name) => {
            return Err(refused(
                "tool_choice",
                "It names a tool that is not offered.",
            ));
        }
        Some(ToolChoice::Other(_)) => {
            let detail = "Expected auto, none, required, or an object that names a tool.";
            return Err(refused("tool_choice", detail));
        }
        _ => {}
    }
    for (at, tool) in chat.tools.iter().enumerate() {
        if tool.parameters.as_ref().is_some_and(is_too_large) {
            return Err(refused(format!("tools[{at}]"), TOO_LARGE));
        }
    }
    if let Some(ResponseFormat::JsonSchema {
        schema: Some(schema),
        ..
    }) = &chat.response_format
        && is_too_large(schema)
    {
        return Err(refused("response_format", TOO_LARGE));
    }
    check_kinds(chat)?;
    let mut calls = HashSet::new();
    for (at, message) in chat.messages.iter().enumerate() {
        for part in &message.parts {
            match &part.content {
                Content::ToolCall(call) => {
                    calls.insert(&*call.id);
                }
                Content::ToolResult { call_id, .. } if !calls.contains(&**call_id) => {
                    let path = format!("messages[{at}]");
                    return Err(refused(
                        path,
                        "It is the result of a call that was not made.",
                    ));
                }
                _ => {}
            }
        }
    }
    Ok(n)
}

/// Fields that it does not use, and that a vendor would refuse all the same.
fn check_kinds(chat: &Chat) -> Result<(), Rejection> {
    match &chat.response_format {
        Some(ResponseFormat::Other(_)) => {
            let detail = "Expected an object whose type is text, json_object or json_schema.";
            return Err(refused("response_format", detail));
        }
        Some(ResponseFormat::JsonSchema {
            schema: Some(schema),
            ..
        }) if !schema.is_object() => {
            let path = "response_format.json_schema.schema";
            return Err(refused(path, "Expected an object."));
        }
        _ => {}
    }
    type Kind = fn(&Value) -> bool;
    let kinds: [(&str, Kind, &str); 6] = [
        ("logit_bias", Value::is_object, "Expected an object."),
        ("logprobs", Value::is_boolean, "Expected true or false."),
        ("modalities", Value::is_array, "Expected a list."),
        ("functions", Value::is_array, "Expected a list."),
        ("metadata", Value::is_object, "Expected an object."),
        ("store", Value::is_boolean, "Expected true or false."),
    ];
    for (name, fits, detail) in kinds {
        let given = chat.extra.get(name).filter(|value| !value.is_null());
        if given.is_some_and(|value| !fits(value)) {
            return Err(refused(name, detail));
        }
    }
    Ok(())
}

const TOO_LARGE: &str = "Expected a schema of 128 KiB or less.";

fn is_too_large(schema: &Value) -> bool {
    schema.to_string().len() > 128 << 10
}

/// The tokens of a request.
fn input(chat: &Chat) -> u64 {
    let parts = |message: &Message| {
        message
            .parts
            .iter()
            .map(|part| content(&part.content))
            .sum::<u64>()
            + 3
    };
    let messages: u64 = chat.messages.iter().map(parts).sum();
    let tools: u64 = chat
        .tools
        .iter()
        .map(|tool| {
            let described = tool.description.as_deref().unwrap_or_default();
            let parameters = tool
                .parameters
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            count(&tool.name) + count(described) + count(&parameters)
        })
        .sum();
    messages + tools + 3
}

fn content(content: &Content) -> u64 {
    match content {
        Content::Text(text) | Content::Refusal(text) => count(text),
        Content::Reasoning(thought) => count(&thought.text),
        Content::ToolCall(call) => count(&call.name) + count(&call.arguments),
        Content::ToolResult { parts, .. } => {
            parts.iter().map(|part| self::content(&part.content)).sum()
        }
        Content::Image { .. } | Content::Audio(_) | Content::File { .. } | Content::Other(_) => 85,
    }
}

fn count(text: &str) -> u64 {
    tokens(text).count() as u64
}

/// What one choice says.
enum Said {
    Text(String),
    Calls(Vec<Call>),
}

struct Call {
    id: String,
    name: String,
    arguments: String,
}

struct Pieces {
    deltas: Vec<Delta>,
    finish: FinishReason,
    tokens: u64,
}

impl Said {
    fn new(
        chat: &Chat,
        heard: &str,
        fixed: Option<&str>,
        choice: u32,
        seed: u64,
        hops: &mut usize,
    ) -> Self {
        let calls: Vec<_> = tools(chat, heard)
            .into_iter()
            .enumerate()
            .map(|(index, tool)| {
                let mut hash = Hash(seed);
                let _ = write!(hash, "{choice} {index}");
                let schema = tool.parameters.as_ref();
                let arguments = schema.map(|schema| schema::arguments(schema, heard, index, hops));
                Call {
                    id: format!("call_sim{:016x}", hash.finish()),
                    name: tool.name.clone(),
                    arguments: arguments.unwrap_or_else(|| json!({})).to_string(),
                }
            })
            .collect();
        if !calls.is_empty() {
            return Self::Calls(calls);
        }
        let text = || match fixed {
            Some(text) => text.to_owned(),
            None => echo(chat, heard, choice),
        };
        Self::Text(match &chat.response_format {
            Some(ResponseFormat::JsonSchema {
                schema: Some(schema),
                ..
            }) => schema::instance(schema, heard, choice as usize, hops).to_string(),
            Some(ResponseFormat::JsonObject | ResponseFormat::JsonSchema { .. }) => {
                json!({ "answer": text() }).to_string()
            }
            _ => text(),
        })
    }

    fn pieces(&self, stop: &[String], most: Option<u64>, per_event: usize) -> Pieces {
        let mut left = most.unwrap_or(u64::MAX);
        let before = left;
        let mut deltas = Vec::new();
        let whole = match self {
            Self::Text(text) => {
                let end = stop
                    .iter()
                    .filter(|stop| !stop.is_empty())
                    .filter_map(|stop| text.find(&**stop))
                    .min();
                let text = end.map_or(&**text, |end| &text[..end]);
                let (pieces, whole) = cut(text, &mut left, per_event);
                deltas.extend(pieces.into_iter().map(Delta::Text));
                whole.then_some(FinishReason::Stop)
            }
            Self::Calls(calls) => {
                let mut whole = true;
                for (index, call) in (0..).zip(calls) {
                    if left == 0 {
                        whole = false;
                        break;
                    }
                    deltas.push(Delta::ToolCall {
                        index,
                        id: Some(call.id.clone()),
                        name: Some(call.name.clone()),
                        arguments: String::new(),
                    });
                    let (pieces, all) = cut(&call.arguments, &mut left, per_event);
                    deltas.extend(pieces.into_iter().map(|arguments| Delta::ToolCall {
                        index,
                        id: None,
                        name: None,
                        arguments,
                    }));
                    whole &= all;
                }
                whole.then_some(FinishReason::ToolCalls)
            }
        };
        Pieces {
            deltas,
            finish: whole.unwrap_or(FinishReason::Length),
            tokens: before - left,
        }
    }
}

/// As many tokens of a text as are left, several in each piece; and whether that is all of it.
fn cut(text: &str, left: &mut u64, per_event: usize) -> (Vec<String>, bool) {
    let mut pieces: Vec<String> = Vec::new();
    let mut room = 0;
    for token in tokens(text) {
        if *left == 0 {
            return (pieces, false);
        }
        *left -= 1;
        match pieces.last_mut() {
            Some(piece) if room > 0 => piece.push_str(token),
            _ => {
                pieces.push(token.to_owned());
                room = per_event;
            }
        }
        room -= 1;
    }
    (pieces, true)
}

/// As much of it as is listened to: 64 KiB.
const MOST_HEARD: usize = 64 << 10;

/// The text that the answer is to: the last that a person said, or whatever was said last.
fn heard(chat: &Chat) -> String {
    let said = |message: &&Message| message.role == Role::User;
    let person = chat.messages.iter().rev().find(said);
    let mut text = person
        .or(chat.messages.last())
        .map(Message::all_text)
        .unwrap_or_default();
    let mut ends = (0..=MOST_HEARD.min(text.len())).rev();
    let end = ends.find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text
}

fn echo(chat: &Chat, heard: &str, choice: u32) -> String {
    let mut text = String::from("This is the simulator.");
    if choice > 0 {
        let _ = write!(text, " Choice {}.", choice + 1);
    }
    if let Some(result) = result(chat) {
        let _ = write!(text, " The tool answered: {}", shortened(&result));
        return text;
    }
    if !heard.is_empty() {
        let _ = write!(text, " You said: \"{}\"", shortened(heard));
    }
    let mut counts = [0_usize; 3];
    let last = chat
        .messages
        .last()
        .map_or(&[][..], |message| &message.parts);
    for part in last {
        match part.content {
            Content::Image { .. } => counts[0] += 1,
            Content::Audio(_) => counts[1] += 1,
            Content::File { .. } => counts[2] += 1,
            _ => {}
        }
    }
    for (count, kind) in counts.into_iter().zip(["image", "recording", "file"]) {
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            let _ = write!(text, " You sent {count} {kind}{plural}.");
        }
    }
    text
}

fn shortened(text: &str) -> &str {
    let end = text
        .char_indices()
        .nth(ECHO)
        .map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// What a tool answered, if that was the last thing said.
fn result(chat: &Chat) -> Option<String> {
    let last = chat.messages.last()?;
    let results = last
        .parts
        .iter()
        .rev()
        .find_map(|part| match &part.content {
            Content::ToolResult { parts, .. } => {
                Some(parts.iter().filter_map(|part| part.as_text()).collect())
            }
            _ => None,
        });
    results.or_else(|| (last.role == Role::Tool).then(|| last.all_text()))
}

/// Which tools are called, none if none.
fn tools<'a>(chat: &'a Chat, heard: &str) -> Vec<&'a Tool> {
    let choice = chat.tool_choice.as_ref();
    if matches!(choice, Some(ToolChoice::None)) || result(chat).is_some() {
        return Vec::new();
    }
    let mut offered: Vec<_> = chat
        .tools
        .iter()
        .filter(|tool| !tool.name.is_empty())
        .collect();
    if let Some(ToolChoice::Tool(name)) = choice {
        offered.retain(|tool| tool.name == *name);
        offered.truncate(1);
        return offered;
    }
    let heard: HashSet<_> = words(heard).collect();
    let shared = |tool: &&Tool| {
        let described = tool.description.as_deref().unwrap_or_default();
        let own: HashSet<_> = words(&tool.name).chain(words(described)).collect();
        std::cmp::Reverse(own.intersection(&heard).count())
    };
    // A stable sort: of equals the first stays first.
    offered.sort_by_cached_key(shared);
    let required = matches!(choice, Some(ToolChoice::Required)) && offered.len() > 1;
    let asked = ["two", "both", "twice"]
        .iter()
        .any(|word| heard.contains(*word));
    let two = chat.parallel_tool_calls != Some(false) && (asked || required);
    match (&offered[..], two) {
        ([only], true) => vec![*only, *only],
        ([first, second, ..], true) => vec![*first, *second],
        ([first, ..], false) => vec![*first],
        ([], _) => Vec::new(),
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|char: char| !char.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_listened_to_than_64_kib() {
        let said = "x".to_owned() + &"ä".repeat(MOST_HEARD);
        let chat = Chat {
            messages: vec![Message::text(Role::User, said)],
            ..Chat::default()
        };
        assert_eq!(heard(&chat).len(), MOST_HEARD - 1);
    }
}
