//! The laws of generated requests, held by those that clients really sent.

use super::*;
use crate::llm::{
    Content, Media, Part, Role,
    codec::recordings::{
        all::{Kind, kind},
        exchanges,
    },
};

const MODELS: [(Protocol, &str); 3] = [
    (OPENAI, "gpt-4o"),
    (ANTHROPIC, CLAUDE),
    (Protocol::Gemini, "gemini-2.5-flash"),
];

fn asked(protocol: Protocol, model: &str, body: &Value) -> Option<ChatRequest> {
    let ask = Ask {
        operation: Operation::Chat,
        model: Some(model.to_owned()).filter(|_| protocol == Protocol::Gemini),
        stream: Some(false).filter(|_| protocol == Protocol::Gemini),
        query: None,
    };
    let bytes = Bytes::from(body.to_string());
    let mut request = of(protocol).peek(&ask, bytes).ok()?;
    request.chat().ok()?;
    request.set_model(model);
    Some(request)
}

/// What is said, turn by turn, in a form that all protocols have: where one has two messages, or two
/// texts, the other may have one, and JSON is spelt by each in its own way.
fn said(request: &ChatRequest) -> Vec<(bool, String)> {
    let json = |text: &str| match serde_json::from_str::<Value>(text) {
        Ok(value @ Value::Object(_)) => value.to_string(),
        _ => text.to_owned(),
    };
    let media = |source: &Media| match source {
        Media::Data { mime, base64 } => {
            // Of sounds some tell the format alone.
            let format = mime.strip_prefix("audio/").unwrap_or(mime);
            format!("[{format} {base64}]")
        }
        Media::Url(at) | Media::Id(at) => format!("[{at}]"),
    };
    let mut out: Vec<(bool, String)> = Vec::new();
    for message in &request.chat().unwrap().messages {
        let text = |parts: &[Part]| -> String { parts.iter().filter_map(Part::as_text).collect() };
        let parts = message.parts.iter().map(|part| match &part.content {
            Content::Text(text) | Content::Refusal(text) => text.clone(),
            Content::Image { source, .. } | Content::Audio(source) => media(source),
            Content::File { source, .. } => media(source),
            Content::ToolCall(call) => format!("<{} {}>", call.name, json(&call.arguments)),
            Content::ToolResult { parts, .. } => format!("<{}>", json(&text(parts))),
            Content::Reasoning(thought) => format!("<<{}>>", thought.text),
            other => format!("{other:?}"),
        });
        let said: String = parts.collect();
        let assistant = message.role == Role::Assistant;
        match out.last_mut() {
            _ if said.trim().is_empty() => {}
            Some((same, all)) if *same == assistant => all.push_str(&said),
            _ => out.push((assistant, said)),
        }
    }
    // No white space at the ends: there vendors refuse it.
    for (_, text) in &mut out {
        *text = text.trim().to_owned();
    }
    out
}

#[test]
fn a_recorded_request_keeps_what_both_can_say() {
    let chats = exchanges(|all| match kind(all) {
        Ok(Kind::Answer(protocol, Operation::Chat)) => Some(protocol),
        _ => None,
    });
    let Some(chats) = chats else {
        println!("recordings: skipped (no shared folder)");
        return;
    };
    let (mut count, mut lossless, mut faults) = (0, 0, Vec::new());
    for exchange in chats.iter().filter(|exchange| exchange.status < 400) {
        let Some((from, own)) = MODELS.iter().find(|(from, _)| *from == exchange.of) else {
            continue;
        };
        let Some(first) = asked(*from, own, &exchange.request) else {
            continue;
        };
        for (to, model) in MODELS.iter().filter(|(to, _)| to != from) {
            let mut request = first.clone();
            request.set_model(model);
            count += 1;
            // What it tells, it tells in the client's words.
            let sent = serde_json::from_slice(&first.wire().unwrap().bytes).unwrap();
            for path in told::told(&request, *to) {
                if !told::leads(&sent, &path) {
                    faults.push(format!("{} to {to:?}: {path} leads nowhere", exchange.name));
                }
            }
            let Ok(there) = encoded(&request, &maker(*to, model)) else {
                // It says which field it is that the other cannot take.
                continue;
            };
            let body: Value = serde_json::from_slice(&there.body).unwrap();
            let Some(second) = asked(*to, model, &body) else {
                faults.push(format!("{}: {to:?} cannot read it", exchange.name));
                continue;
            };
            if !there.losses.is_empty() || !there.names.is_empty() {
                continue;
            }
            lossless += 1;
            if said(&second) != said(&first) {
                faults.push(format!(
                    "{} to {to:?}\n  {:?}\n  {:?}",
                    exchange.name,
                    said(&first),
                    said(&second)
                ));
            }
            let mut request = second.clone();
            request.set_model(own);
            let back = encoded(&request, &maker(*from, own));
            let back = back.unwrap_or_else(|error| panic!("{}: {error}", exchange.name));
            let body: Value = serde_json::from_slice(&back.body).unwrap();
            let third = asked(*from, own, &body).unwrap();
            let view = |request: &ChatRequest| {
                let chat = request.chat().unwrap();
                let names = chat.tools.iter().map(|tool| tool.name.clone());
                (names.collect::<Vec<_>>(), chat.tool_choice.clone())
            };
            if said(&third) != said(&first) || view(&third) != view(&first) {
                let (one, other) = (said(&third), said(&first));
                faults.push(format!(
                    "{} to {to:?} and back\n  {other:?}\n  {one:?}",
                    exchange.name
                ));
            }
        }
    }
    println!("recordings: {count} crossings, {lossless} of them without a loss");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count >= 300 && lossless >= 60, "{lossless} of {count}");
}
