//! A request on its way to a vendor, in whatever protocol: what is the same for all writers, done once.
//!
//! A vendor gets what it can make something of. What another one keeps is refused, for a model that answers
//! without the document would not say so. Calls that have no name are given one. Tools that take
//! [any text](super::custom) become functions, and of a choice [among some](super::allowed) of the tools
//! only these are offered where the vendor has no word for it. And whatever is told of it all is told
//! [in the client's words](super::words).

use super::{Encoded, Losses, Maker, allowed, custom, words};
use crate::{
    Rejection,
    llm::{Chat, ChatRequest, Content, Loss, Media, Operation, Part, Protocol, Tool, ToolChoice},
    rejection::Kind,
};
use serde_json::Value;
use std::collections::{HashMap, HashSet, VecDeque};

/// The request for this vendor.
pub(crate) fn encoded(request: &ChatRequest, to: &Maker) -> Result<Encoded, Rejection> {
    let codec = super::of(to.protocol);
    let origin = request.origin().filter(|origin| *origin != to.protocol);
    let converses = matches!(
        request.operation(),
        Operation::Chat | Operation::Completions | Operation::CountTokens
    );
    let Some(origin) = origin.filter(|_| converses) else {
        return match codec.encode_request(request, to) {
            Ok(mut encoded) => {
                words::losses(request, None, &mut encoded.losses);
                Ok(encoded)
            }
            Err(refused) => Err(words::refused(request, None, refused)),
        };
    };
    let chat = request.chat()?;
    kept(chat).map_err(|refused| words::refused(request, None, refused))?;
    let mut edited = None;
    if is_to_be_edited(chat) {
        let mut request = request.clone();
        let edits = edit(request.chat_mut()?, origin, to.protocol);
        edited = Some((request, edits));
    }
    let (sent, edits) = match &mut edited {
        Some((sent, edits)) => (&*sent, Some(edits)),
        None => (request, None),
    };
    let tools = edits.as_ref().and_then(|edits| edits.tools.clone());
    let mut encoded = codec
        .encode_request(sent, to)
        .map_err(|refused| words::refused(request, tools.as_deref(), refused))?;
    words::losses(request, tools.as_deref(), &mut encoded.losses);
    if let Some(edits) = edits {
        let mut told = std::mem::take(&mut edits.losses);
        words::losses(request, None, &mut told);
        encoded.losses.append(&mut told);
        encoded.names.custom = std::mem::take(&mut edits.custom);
    }
    Ok(encoded)
}

const KEPT: &str =
    "It is kept by another provider, and this one cannot see it. Send what is in it.";

/// An answer that names very many helps nobody.
const MOST_KEPT: usize = 64;

/// Refuses what only the vendor has that it was given to.
fn kept(chat: &Chat) -> Result<(), Rejection> {
    let mut all = Vec::new();
    for (index, message) in chat.messages.iter().enumerate() {
        for (at, part) in message.parts.iter().enumerate() {
            let place = || format!("messages[{index}].content[{at}]");
            if let Content::ToolResult { parts, .. } = &part.content {
                let inner = parts.iter().enumerate().filter(|(_, part)| is_kept(part));
                all.extend(inner.map(|(at, _)| format!("{}.content[{at}]", place())));
            } else if is_kept(part) {
                all.push(place());
            }
        }
    }
    // The beginning of a conversation.
    const CACHED: &str = "cachedContent";
    if chat.extra.get(CACHED).is_some_and(Value::is_string) {
        all.push(CACHED.to_owned());
    }
    let refused = Rejection::new(Kind::UnsupportedParameter);
    match &all[..] {
        [] => Ok(()),
        [one] => Err(refused.with_param(one).with_detail(KEPT)),
        all => {
            let all = all.iter().take(MOST_KEPT);
            Err(all.fold(refused, |refused, place| refused.with_fault(place, KEPT)))
        }
    }
}

fn is_kept(part: &Part) -> bool {
    match &part.content {
        Content::Image { source, .. } | Content::Audio(source) | Content::File { source, .. } => {
            match source {
                Media::Id(_) => true,
                Media::Url(url) => is_store(url),
                Media::Data { .. } => false,
            }
        }
        // A part that has more to say than is known here.
        Content::Other(whole) => names_what_is_kept(whole),
        _ => false,
    }
}

/// Whether it is an address within somebody's store, and not on the web.
fn is_store(url: &str) -> bool {
    const FILES: [&str; 3] = [
        "generativelanguage.googleapis.com/",
        "api.openai.com/v1/files/",
        "api.anthropic.com/v1/files/",
    ];
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    let web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    let plain = |char: char| char.is_ascii_alphanumeric() || "+-.".contains(char);
    match web {
        true => FILES.iter().any(|files| rest.starts_with(files)),
        false => scheme.chars().all(plain),
    }
}

/// Whether a part that nobody here knows has the name of a file in it, where parts have it.
fn names_what_is_kept(part: &Value) -> bool {
    let names = |part: &Value| {
        let id = part.get("file_id").and_then(Value::as_str);
        let uri = ["fileUri", "file_uri"]
            .iter()
            .find_map(|key| part.get(key)?.as_str());
        id.is_some_and(|id| !id.is_empty()) || uri.is_some_and(is_store)
    };
    let inside = [
        "file",
        "source",
        "image_url",
        "fileData",
        "file_data",
        "output",
    ];
    names(part) || inside.iter().filter_map(|key| part.get(*key)).any(names)
}

/// What was edited.
#[derive(Default)]
struct Edits {
    /// Where the tools that are left stood before.
    tools: Option<Vec<usize>>,
    losses: Vec<Loss>,
    /// Tools whose input is any text.
    custom: HashSet<String>,
}

fn is_to_be_edited(chat: &Chat) -> bool {
    let parts = chat.messages.iter().flat_map(|message| &message.parts);
    let mut parts = parts.map(|part| match &part.content {
        Content::ToolCall(call) => call.id.is_empty(),
        Content::ToolResult { call_id, .. } => call_id.is_empty(),
        Content::Other(whole) => custom::is_one(whole),
        _ => false,
    });
    let chosen = match &chat.tool_choice {
        Some(ToolChoice::Other(choice)) => {
            custom::chosen(choice).is_some() || allowed::read(choice).is_some()
        }
        _ => false,
    };
    chosen || chat.tools.iter().any(custom::is_offered) || parts.any(|to_edit| to_edit)
}

fn edit(chat: &mut Chat, origin: Protocol, to: Protocol) -> Edits {
    let mut edits = Edits::default();
    let mut losses = Losses::default();
    for (index, tool) in chat.tools.iter_mut().enumerate() {
        let place = format!("tools[{index}]");
        if custom::is_offered(tool) && custom::as_function(tool, &place, &mut losses) {
            edits.custom.insert(tool.name.clone());
        }
    }
    for message in &mut chat.messages {
        custom::as_calls(message);
    }
    named(chat);
    if let Some(ToolChoice::Other(choice)) = &chat.tool_choice {
        if let Some(name) = custom::chosen(choice) {
            chat.tool_choice = Some(ToolChoice::Tool(name));
        } else if let Some(allowed) = allowed::read(choice) {
            edits.tools = some(chat, &allowed, origin, to, &mut losses);
        }
    }
    edits.losses = losses.into_vec();
    edits
}

/// Gives calls that have no name one, and the answers to them the same: OpenAI's older word for a call has
/// none, and others tell them apart by it.
fn named(chat: &mut Chat) {
    let mut taken: HashSet<String> = HashSet::new();
    let mut nameless = false;
    for part in chat.messages.iter().flat_map(|message| &message.parts) {
        if let Content::ToolCall(call) = &part.content {
            nameless |= call.id.is_empty();
            taken.insert(call.id.clone());
        } else if let Content::ToolResult { call_id, .. } = &part.content {
            nameless |= call_id.is_empty();
        }
    }
    if !nameless {
        return;
    }
    let mut count = 0;
    let mut fresh = || loop {
        let id = format!("call_{count}");
        count += 1;
        if taken.insert(id.clone()) {
            return id;
        }
    };
    // Calls without an answer, in order: those of each tool, and all of them.
    let mut open: HashMap<String, Vec<String>> = HashMap::new();
    let mut all: VecDeque<String> = VecDeque::new();
    let mut answered: HashSet<String> = HashSet::new();
    for message in &mut chat.messages {
        let name = message.name.clone();
        for part in &mut message.parts {
            match &mut part.content {
                Content::ToolCall(call) if call.id.is_empty() => {
                    call.id = fresh();
                    let of_tool = open.entry(call.name.clone()).or_default();
                    of_tool.push(call.id.clone());
                    all.push_back(call.id.clone());
                }
                Content::ToolResult { call_id, .. } if call_id.is_empty() => {
                    // Who answers by the name of the tool answers the last call of it.
                    let found = match &name {
                        Some(name) => open.get_mut(name).and_then(|calls| {
                            std::iter::from_fn(|| calls.pop())
                                .find(|id| answered.insert(id.clone()))
                        }),
                        None => std::iter::from_fn(|| all.pop_front())
                            .find(|id| answered.insert(id.clone())),
                    };
                    *call_id = found.unwrap_or_else(&mut fresh);
                }
                _ => {}
            }
        }
    }
}

/// Offers only those tools that may be called. Answers where they stood before, if not all are left.
fn some(
    chat: &mut Chat,
    allowed: &allowed::Allowed,
    origin: Protocol,
    to: Protocol,
    losses: &mut Losses,
) -> Option<Vec<usize>> {
    const UNOFFERED: &str = "A tool that may not be called is not offered, and not cached.";
    let names: HashSet<&str> = chat.tools.iter().map(|tool| &*tool.name).collect();
    let offered = |name: &str| names.contains(name);
    // Both of OpenAI's protocols have a word for it, among functions.
    let shared = [Protocol::OpenAi, Protocol::Responses];
    if shared.contains(&origin)
        && shared.contains(&to)
        && let Some(names) = allowed.names()
        && names.iter().all(|name| offered(name))
    {
        let choice = allowed::write(origin, allowed.required, names);
        chat.tool_choice = Some(ToolChoice::Other(choice));
        return None;
    }
    if let Some(name) = allowed
        .only()
        .filter(|name| allowed.required && offered(name))
    {
        chat.tool_choice = Some(ToolChoice::Tool(name.to_owned()));
        return None;
    }
    // So has Gemini, where one of them must be called.
    let told = to == Protocol::Gemini
        && allowed.required
        && chat
            .tools
            .iter()
            .any(|tool| !tool.name.is_empty() && allowed.allows(tool));
    if !told {
        chat.tool_choice = Some(match allowed.required {
            true => ToolChoice::Required,
            false => ToolChoice::Auto,
        });
    }
    let before = chat.tools.len();
    let mut left = Vec::with_capacity(before);
    let mut index = 0;
    chat.tools.retain(|tool: &Tool| {
        let keeps = allowed.allows(tool) || told && !tool.name.is_empty();
        match keeps {
            true => left.push(index),
            false if tool.extra.contains_key("cache_control") => {
                losses.add(format_args!("tools[{index}].cache_control"), UNOFFERED);
            }
            false => {}
        }
        index += 1;
        keeps
    });
    (left.len() < before).then_some(left)
}
