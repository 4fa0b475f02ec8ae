//! A conversation that came in another protocol, or with thoughts of another vendor, in the words of
//! this one: what has a place here is put there, and what has none is told.

use super::{
    carried::{self, Home},
    marked,
    request::{Written, sound, write_chat, write_embed},
};
use crate::{
    Rejection,
    llm::Protocol,
    llm::{
        Chat, ChatRequest, Content, Embed, Extra, Media, Message, Part, Reasoning, ResponseFormat,
        Role, ToolChoice,
        catalog::{Ability, Dial, Entry, Level, ModelFacts, Word},
        codec::{
            Encoded, Losses, Maker, Names, base64, literal, responses,
            translation::{NO_KIND, UNKNOWN, no_tool, says, spoken_of},
        },
    },
};
use serde_json::Value;
use std::{
    cmp::Ordering,
    fmt::{self, Display},
};

/// The request for a vendor of this protocol.
pub(super) fn encode(request: &ChatRequest, to: &Maker) -> Result<Encoded, Rejection> {
    let chat = request.chat()?;
    let known = to.facts(request);
    let facts = known.as_ref().map(Entry::facts);
    let foreign = request
        .origin()
        .is_some_and(|origin| origin != Protocol::OpenAi);
    let parts = chat.messages.iter().flat_map(|message| &message.parts);
    let mut thoughts = parts.filter_map(|part| match &part.content {
        Content::Reasoning(thought) => Some(thought),
        _ => None,
    });
    let proven = thoughts.any(|thought| thought.signature.is_some() || thought.redacted.is_some());
    if !foreign && !proven && !marked::is_in(chat) {
        return Ok(limited(write_chat(request, chat)?, facts).bytes().into());
    }
    let mut chat = chat.clone();
    let mut losses = Losses::default();
    let messages = chat.messages.iter_mut().enumerate();
    let kept: Vec<_> = messages
        .map(|(index, message)| {
            let (kept, home) = thoughts_of(message, index, request.origin(), to, &mut losses);
            if !foreign {
                marked::open(message, index, to, &mut losses);
                home.put(message);
                return (kept, Home::default());
            }
            (kept, home)
        })
        .collect();
    let mut names = Names::default();
    if foreign {
        let mut shared = match request.origin() {
            Some(Protocol::Responses) => responses::shared(&mut chat),
            _ => Extra::new(),
        };
        names = translated(&mut chat, kept, (to, facts), &mut losses);
        if chat.tools.is_empty() && shared.remove("tool_choice").is_some() {
            losses.add("tool_choice", NO_TOOL_LEFT);
        }
        chat.extra.extend(shared);
        spoken_of(chat.messages.len())?;
    }
    Ok(Encoded {
        body: limited(write_chat(request, &chat)?, facts).bytes(),
        losses: losses.into_vec(),
        names,
    })
}

/// With the most tokens under the name that the model knows, if it is known which that is.
fn limited(mut document: Written, facts: Option<&ModelFacts>) -> Written {
    const OLDER: &str = "max_tokens";
    const NEWER: &str = "max_completion_tokens";
    let older = facts.and_then(|facts| facts.ability(Ability::MaxTokens));
    let (from, to) = match older {
        Some(true) => (NEWER, OLDER),
        Some(false) => (OLDER, NEWER),
        None => return document,
    };
    let fields = &mut document.fields;
    if !fields.contains_key(to)
        && let Some(most) = fields.shift_remove(from)
    {
        fields.insert(to.into(), most);
    }
    document
}

/// Where a part stands in the view: a message, and which of its parts.
struct At(usize, usize);

impl Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "messages[{}].content[{}]", self.0, self.1)
    }
}

/// Thoughts go to their maker alone. Answers which parts are left, and what was carried in the others.
fn thoughts_of(
    message: &mut Message,
    index: usize,
    origin: Option<Protocol>,
    to: &Maker,
    losses: &mut Losses,
) -> (Vec<usize>, Home) {
    let mut at = 0;
    let mut left = Vec::with_capacity(message.parts.len());
    let mut home = Home::default();
    let calls = carried::calls(message);
    message.parts.retain_mut(|part| {
        let place = At(index, at);
        at += 1;
        let Content::Reasoning(thought) = &mut part.content else {
            left.push(place.1);
            return true;
        };
        let own = origin.is_none_or(|origin| origin == to.protocol);
        let kept = match (&mut thought.signature, &mut thought.redacted) {
            (Some(proof), _) | (None, Some(proof)) => match to.open(proof, origin) {
                Some(opened) => match home.take(opened, &thought.text, place.1, &calls) {
                    carried::Read::Other => {
                        *proof = opened.to_owned();
                        true
                    }
                    carried::Read::Taken => return false,
                    carried::Read::Beside => {
                        (thought.signature, thought.redacted) = (None, None);
                        true
                    }
                    carried::Read::Lost => false,
                },
                None => false,
            },
            (None, None) => own,
        };
        thought.signature.take_if(|proof| proof.is_empty());
        if kept {
            left.push(place.1);
        } else {
            losses.add(
                place,
                "A thought goes to the model that made it and no other.",
            );
        }
        kept
    });
    (left, home)
}

const NO_TOOL_LEFT: &str = "There is no tool left to choose.";
const AUTOMATIC: &str = "The provider decides by itself what it caches.";

fn drop_extra(place: impl Display, extra: &mut Extra, losses: &mut Losses) {
    for (key, value) in std::mem::take(extra) {
        if says(&key, &value) {
            let why = match &*key {
                "cache_control" => AUTOMATIC,
                _ => UNKNOWN,
            };
            losses.add(format_args!("{place}.{key}"), why);
        }
    }
}

fn translated(
    chat: &mut Chat,
    kept: Vec<(Vec<usize>, Home)>,
    (to, facts): (&Maker, Option<&ModelFacts>),
    losses: &mut Losses,
) -> Names {
    fields(chat, to, facts, losses);
    let mut place = 0;
    chat.tools.retain_mut(|tool| {
        let at = format!("tools[{place}]");
        place += 1;
        if tool.name.is_empty() {
            losses.add(at, no_tool(tool));
            return false;
        }
        drop_extra(at, &mut tool.extra, losses);
        true
    });
    if chat.tools.is_empty() {
        if let Some(ToolChoice::Required | ToolChoice::Tool(_)) = chat.tool_choice {
            losses.add("tool_choice", NO_TOOL_LEFT);
        }
        (chat.tool_choice, chat.parallel_tool_calls) = (None, None);
    }
    if let Some(ToolChoice::Other(_)) = chat.tool_choice {
        losses.add("tool_choice", UNKNOWN);
        chat.tool_choice = None;
    }
    if let Some(ResponseFormat::Other(_)) = chat.response_format {
        losses.add("response_format", UNKNOWN);
        chat.response_format = None;
    }
    let last = chat.messages.len().checked_sub(1);
    for (index, (message, (parts, home))) in chat.messages.iter_mut().zip(kept).enumerate() {
        if Some(index) == last && message.role == Role::Assistant {
            losses.add(
                format_args!("messages[{index}]"),
                "The provider does not go on where the last turn ends.",
            );
        }
        message_of(message, index, &parts, losses);
        home.put(message);
    }
    let says = |message: &Message| !message.parts.is_empty() || !message.extra.is_empty();
    chat.messages.retain(says);
    let names = Names::of(chat, 64);
    if !names.is_empty() {
        rename(chat, &names);
    }
    names
}

fn rename(chat: &mut Chat, names: &Names) {
    let set = |name: &mut String| *name = names.sent(name).to_owned();
    chat.tools.iter_mut().for_each(|tool| set(&mut tool.name));
    if let Some(ToolChoice::Tool(name)) = &mut chat.tool_choice {
        set(name);
    }
    for message in &mut chat.messages {
        for part in &mut message.parts {
            if let Content::ToolCall(call) = &mut part.content {
                set(&mut call.name);
            }
        }
    }
}

/// The fields at the top.
fn fields(chat: &mut Chat, to: &Maker, facts: Option<&ModelFacts>, losses: &mut Losses) {
    const MOST_STOPS: usize = 4;
    const LONGEST_USER: usize = 64;
    let thinking = chat.extra.remove("thinking");
    effort(chat, thinking.as_ref(), to, facts, losses);
    sampling(chat, facts, losses);
    let mut kept = Extra::new();
    for (key, mut value) in std::mem::take(&mut chat.extra) {
        match &*key {
            "metadata" => {
                let user = value.as_object_mut().and_then(|all| all.remove("user_id"));
                match user {
                    Some(Value::String(user)) if user.len() <= LONGEST_USER => {
                        kept.insert("user".into(), user.into());
                    }
                    Some(user) if says("user_id", &user) => losses.add(
                        "metadata.user_id",
                        "The provider takes no name of a user that is so long.",
                    ),
                    _ => {}
                }
                if says(&key, &value) {
                    losses.add(key, UNKNOWN);
                }
            }
            "service_tier" if value == "auto" => {}
            "cache_control" => losses.add(key, AUTOMATIC),
            "output_config" => {
                let inside = value.as_object().into_iter().flatten();
                for (inner, _) in inside.filter(|(key, value)| says(key, value)) {
                    losses.add(format_args!("output_config.{inner}"), UNKNOWN);
                }
            }
            _ if says(&key, &value) => losses.add(key, UNKNOWN),
            _ => {}
        }
    }
    chat.extra = kept;
    if chat.sampling.top_k.take().is_some() {
        losses.add("top_k", UNKNOWN);
    }
    if chat.sampling.stop.len() > MOST_STOPS {
        chat.sampling.stop.truncate(MOST_STOPS);
        losses.add("stop", "The provider takes four at the most.");
    }
}

/// How hard to think: in words, or in tokens.
pub(in super::super) fn effort(
    chat: &mut Chat,
    thinking: Option<&Value>,
    to: &Maker,
    facts: Option<&ModelFacts>,
    losses: &mut Losses,
) {
    let kind = thinking.and_then(|thinking| thinking.get("type")?.as_str());
    let budget = thinking.and_then(|thinking| thinking.get("budget_tokens")?.as_u64());
    let said = chat.effort.take();
    let off = kind == Some("disabled");
    let field = match said {
        Some(_) if !off => "reasoning_effort",
        _ => "thinking",
    };
    let effort = match (said, kind, budget) {
        _ if off => "none".to_owned(),
        (Some(effort), ..) => effort,
        (None, Some("enabled"), Some(budget)) => {
            losses.add(
                "thinking.budget_tokens",
                "The provider takes a word for it, not a number.",
            );
            let word = match budget {
                0..=2048 => Level::Low,
                2049..=8192 => Level::Medium,
                _ => Level::High,
            };
            word.name().to_owned()
        }
        _ => return,
    };
    let dial = facts.and_then(|facts| facts.effort);
    let thinks = match dial {
        Some(dial) => dial != Dial::None,
        None => {
            let name = to.model.rsplit('/').next().unwrap_or(&to.model);
            let never = ["gpt-4", "gpt-3.5", "chatgpt-4o"];
            !never.iter().any(|start| name.starts_with(start))
        }
    };
    if !thinks {
        if effort != Level::None.name() {
            losses.add(field, "The model does not think before it answers.");
        }
        return;
    }
    let nearest = match (dial, Level::from_name(&effort)) {
        (Some(Dial::Words(words)), Some(asked)) => words.nearest(asked).unwrap_or(asked),
        _ if off => {
            losses.add(field, "The provider thinks as it sees fit.");
            return;
        }
        (_, Some(Level::Max)) => Level::High,
        // A word that nobody knows is for the vendor to judge.
        _ => {
            chat.effort = Some(effort);
            return;
        }
    };
    match Level::from_name(&effort).map(|asked| nearest.cmp(&asked)) {
        Some(Ordering::Less) => losses.add(field, "The provider's highest is taken."),
        Some(Ordering::Greater) => losses.add(field, "The provider's lowest is taken."),
        _ => {}
    }
    chat.effort = Some(nearest.name().to_owned());
}

/// How the next token is chosen, where the model takes it as it is by default.
pub(in super::super) fn sampling(chat: &mut Chat, facts: Option<&ModelFacts>, losses: &mut Losses) {
    const NOT_TAKEN: &str = "The model takes it as it is by default.";
    const THINKS: &str = "A model that thinks takes it as it is by default.";
    let Some(facts) = facts else {
        return;
    };
    let cannot = |ability| facts.ability(ability) == Some(false);
    let thinks = match chat.effort.as_deref() {
        Some(effort) => effort != Level::None.name(),
        None => facts.ability(Ability::ThinksUnasked) == Some(true),
    };
    let why = match thinks {
        _ if cannot(Ability::Temperature) => NOT_TAKEN,
        true if cannot(Ability::TemperatureWhileThinking) => THINKS,
        _ => return,
    };
    for (field, value) in [
        ("temperature", &mut chat.sampling.temperature),
        ("top_p", &mut chat.sampling.top_p),
    ] {
        if value.take().is_some_and(|value| value != 1.0) {
            losses.add(field, why);
        }
    }
}

/// Parts of a message. What tools show beside text is shown by the user, right behind the results.
fn message_of(message: &mut Message, index: usize, at: &[usize], losses: &mut Losses) {
    drop_extra(
        format_args!("messages[{index}]"),
        &mut message.extra,
        losses,
    );
    let mut shown = Vec::new();
    let mut all = Vec::with_capacity(message.parts.len());
    for (&at, mut part) in at.iter().zip(std::mem::take(&mut message.parts)) {
        let place = At(index, at);
        drop_extra(&place, &mut part.extra, losses);
        let Content::ToolResult {
            parts, is_error, ..
        } = &mut part.content
        else {
            all.extend(part_of(part, message.role, &place, losses));
            continue;
        };
        if is_error.take() == Some(true) {
            losses.add(
                format_args!("{place}.is_error"),
                "Only the text of the result tells it.",
            );
        }
        let inner = std::mem::take(parts);
        for (deep, mut piece) in inner.into_iter().enumerate() {
            let place = format!("{place}.content[{deep}]");
            drop_extra(&place, &mut piece.extra, losses);
            let Some(piece) = part_of(piece, Role::User, &place, losses) else {
                continue;
            };
            if piece.as_text().is_some() {
                parts.push(piece);
            } else {
                losses.add(place, "It is shown by the user, behind the result.");
                shown.push(piece);
            }
        }
        all.push(part);
    }
    all.extend(shown);
    // A text of nothing, beside something else, is where another protocol puts a proof.
    let says = |part: &Part| part.as_text() != Some("");
    if message.role == Role::Assistant && all.iter().any(says) {
        all.retain(says);
    }
    message.parts = all;
}

fn part_of(mut part: Part, role: Role, place: &impl Display, losses: &mut Losses) -> Option<Part> {
    let assistant = role == Role::Assistant;
    let kept = match &mut part.content {
        Content::Audio(Media::Data { mime, .. }) if !assistant => {
            matches!(sound(mime), "mp3" | "wav")
        }
        Content::Other(_) | Content::Audio(_) => false,
        Content::Image {
            source: Media::Id(_),
            ..
        }
        | Content::File {
            source: Media::Id(_) | Media::Url(_),
            ..
        } => {
            losses.add(place, "The provider cannot see where it is.");
            return None;
        }
        Content::Image { .. } => !assistant,
        Content::File { .. } if assistant => false,
        Content::File {
            source: Media::Data { mime, base64 },
            name,
        } => {
            if mime.starts_with("text/") {
                let text = base64::decode(base64).and_then(|bytes| String::from_utf8(bytes).ok());
                let Some(text) = text else {
                    losses.add(place, NO_KIND);
                    return None;
                };
                let title = name.take().map(|name| name + "\n\n").unwrap_or_default();
                part.content = Content::Text(title + &text);
            } else {
                name.get_or_insert_with(|| "document.pdf".to_owned());
            }
            true
        }
        // A thought was judged before.
        Content::Reasoning(Reasoning { .. }) => true,
        _ => true,
    };
    if !kept {
        losses.add(place, NO_KIND);
    }
    kept.then_some(part)
}

/// A request for vectors: fields of another protocol are not sent.
pub(super) fn embed(request: &ChatRequest, embed: &Embed) -> Result<Encoded, Rejection> {
    let mut losses = Losses::default();
    let mut embed = embed.clone();
    if request
        .origin()
        .is_some_and(|origin| origin != Protocol::OpenAi)
    {
        drop_fields(&mut embed.extra, &mut losses);
    }
    Ok(Encoded {
        body: literal::document(&write_embed(request, &embed), request),
        losses: losses.into_vec(),
        names: Names::default(),
    })
}

fn drop_fields(extra: &mut Extra, losses: &mut Losses) {
    for (key, value) in std::mem::take(extra) {
        if says(&key, &value) {
            losses.add(key, UNKNOWN);
        }
    }
}
