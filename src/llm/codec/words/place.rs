//! Where messages, their parts, tools and settings of the view stand in each dialect.

use super::{Shape, Words};
use crate::llm::{Content, Media, Message, Operation, Part, Protocol, Role};

/// Where a message is, and each of its parts.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) whole: String,
    pub(super) parts: Vec<String>,
}

impl Spot {
    pub(super) fn of(whole: String) -> Self {
        let parts = Vec::new();
        Self { whole, parts }
    }
}

impl Words<'_> {
    /// This message of the view, or all of them.
    pub(super) fn spots_of(&self, index: usize) -> Vec<(usize, Spot)> {
        let Some(message) = self.chat.and_then(|chat| chat.messages.get(index)) else {
            return Vec::new();
        };
        if self.said.is_none() {
            return vec![(index, self.guessed(index, message))];
        }
        let mut spot = match self.origin {
            Protocol::Responses => {
                let chat = self.chat.into_iter().flat_map(|chat| &chat.messages);
                let spots = self.items().into_iter().zip(chat);
                let checked = spots.map(|(spot, message)| fitting(spot, message));
                return checked.enumerate().collect();
            }
            Protocol::Anthropic => self.of_anthropic(index),
            Protocol::Gemini => self.of_gemini(index),
            _ => self.of_openai(index, message),
        };
        spot = fitting(spot, message);
        vec![(index, spot)]
    }

    /// Where the bytes of the client are gone.
    fn guessed(&self, index: usize, message: &Message) -> Spot {
        let first = self.chat.and_then(|chat| chat.messages.first());
        let apart = first.is_some_and(|first| first.role == Role::System);
        let parts = |of: &dyn Fn(usize) -> String| (0..message.parts.len()).map(of).collect();
        let index = match self.origin {
            Protocol::Responses if apart && index == 0 => return Spot::of("instructions".into()),
            Protocol::Responses => return Spot::of("input".into()),
            Protocol::Anthropic if apart && index == 0 => {
                let parts = parts(&|at| format!("system[{at}]"));
                let whole = "system".into();
                return Spot { whole, parts };
            }
            Protocol::Gemini if apart && index == 0 => {
                let parts = parts(&|at| format!("systemInstruction.parts[{at}]"));
                let whole = "systemInstruction".into();
                return Spot { whole, parts };
            }
            Protocol::Anthropic | Protocol::Gemini => index - usize::from(apart),
            _ => index,
        };
        let whole = format!("{}[{index}]", self.messages());
        let key = match self.origin {
            Protocol::Gemini => "parts",
            _ => "content",
        };
        let parts = parts(&|at| format!("{whole}.{key}[{at}]"));
        Spot { whole, parts }
    }

    fn of_openai(&self, index: usize, message: &Message) -> Spot {
        if self.operation == Operation::Completions {
            let whole = self.nearest("prompt[0]").0;
            let parts = vec![whole.clone()];
            return Spot { whole, parts };
        }
        let whole = format!("messages[{index}]");
        let Some(said) = self.at(&whole) else {
            return Spot::of(whole);
        };
        let mut spot = Spot::of(whole);
        let whole = &spot.whole;
        if message.role == Role::Tool {
            spot.parts.push(whole.clone());
            return spot;
        }
        let thinks = |part: &&Part| matches!(part.content, Content::Reasoning(_));
        let thoughts = message.parts.iter().take_while(thinks).count();
        let details = said.get("reasoning_details").map(Shape::list);
        for at in 0..thoughts {
            spot.parts.push(match details {
                Some(details) if details.len() == thoughts => {
                    format!("{whole}.reasoning_details[{at}]")
                }
                Some(_) => format!("{whole}.reasoning_details"),
                None if said.get("reasoning_content").is_some() => {
                    format!("{whole}.reasoning_content")
                }
                None => format!("{whole}.reasoning"),
            });
        }
        content(said, whole, "content", &mut spot.parts);
        if message.role == Role::Assistant {
            if said.get("refusal").is_some() {
                spot.parts.push(format!("{whole}.refusal"));
            }
            let id = |part: &Part| matches!(part.content, Content::Audio(Media::Id(_)));
            if message.parts.iter().any(id) {
                spot.parts.push(format!("{whole}.audio"));
            }
            let calls = said.get("tool_calls").map_or(0, |calls| calls.list().len());
            let calls = (0..calls).map(|at| format!("{whole}.tool_calls[{at}]"));
            spot.parts.extend(calls);
            if said.get("function_call").is_some() {
                spot.parts.push(format!("{whole}.function_call"));
            }
        }
        spot
    }

    fn of_anthropic(&self, index: usize) -> Spot {
        let root = self.said.as_ref();
        let apart = root.is_some_and(|root| root.get("system").is_some());
        let mut parts = Vec::new();
        if let Some(root) = root.filter(|_| apart && index == 0) {
            content(root, "", "system", &mut parts);
            let whole = "system".to_owned();
            return Spot { whole, parts };
        }
        let whole = format!("messages[{}]", index - usize::from(apart));
        if let Some(said) = self.at(&whole) {
            content(said, &whole, "content", &mut parts);
        }
        Spot { whole, parts }
    }

    /// What is counted may stand a level deeper.
    pub(super) fn root(&self) -> (&str, Option<&Shape<'_>>) {
        let root = self.said.as_ref();
        let deeper = root.and_then(|root| root.field("generateContentRequest", true));
        match deeper {
            Some((key, inside)) if self.origin == Protocol::Gemini => (key, Some(inside)),
            _ => ("", root),
        }
    }

    fn of_gemini(&self, index: usize) -> Spot {
        let (before, root) = self.root();
        let Some(root) = root else {
            return Spot::of("contents".to_owned());
        };
        let operator = root.field("systemInstruction", true);
        let apart = operator.is_some();
        let found = match operator.filter(|_| index == 0) {
            Some((key, said)) => Some((under(before, key), said)),
            None => root.field("contents", true).and_then(|(key, all)| {
                let at = index - usize::from(apart);
                let key = under(before, key);
                let whole = match all {
                    Shape::List(_) => format!("{key}[{at}]"),
                    _ => key,
                };
                Some((whole, all.listed().get(at)?))
            }),
        };
        let Some((whole, said)) = found else {
            return Spot::of(under(before, "contents"));
        };
        let mut spot = Spot::of(whole);
        if said.text().is_some() {
            spot.parts.push(spot.whole.clone());
            return spot;
        }
        let Some((key, parts)) = said.field("parts", true) else {
            return spot;
        };
        let key = format!("{}.{key}", spot.whole);
        // A thought that comes in pieces is one, and the proof of something else is one by itself.
        let mut open = false;
        for (at, part) in parts.listed().iter().enumerate() {
            let place = match parts {
                Shape::List(_) => format!("{key}[{at}]"),
                _ => key.clone(),
            };
            let kinds = [
                "text",
                "inlineData",
                "fileData",
                "functionCall",
                "functionResponse",
            ];
            let kind = kinds.into_iter().find(|kind| part.get(kind).is_some());
            let proof = part.get("thoughtSignature").and_then(Shape::text);
            let proven = proof.is_some_and(|proof| !proof.is_empty());
            let thinks = matches!(part.get("thought"), Some(Shape::Yes));
            if thinks && (kind == Some("text") || kind.is_none() && proven) {
                if !open {
                    spot.parts.push(place);
                }
                open = !proven;
                continue;
            }
            open = false;
            if proven {
                spot.parts.push(place.clone());
            }
            if !(kind.is_none() && proven && part.fields().count() == 1) {
                spot.parts.push(place);
            }
        }
        spot
    }

    /// The messages that items of a request make.
    fn items(&self) -> Vec<Spot> {
        let mut all: Vec<Spot> = Vec::new();
        let Some(root) = &self.said else {
            return all;
        };
        if root.get("instructions").is_some() {
            all.push(text("instructions"));
        }
        let items = match root.get("input") {
            Some(Shape::List(items)) => items,
            _ => {
                all.push(text("input"));
                return all;
            }
        };
        // The last is one that further items of the assistant belong to.
        let mut open = false;
        for (index, item) in items.iter().enumerate() {
            let whole = format!("input[{index}]");
            let kind = item.get("type").and_then(Shape::text);
            let mut parts = Vec::new();
            let assistant = match kind {
                None | Some("message") => {
                    content(item, &whole, "content", &mut parts);
                    item.get("role").and_then(Shape::text) == Some("assistant")
                }
                Some(kind) => {
                    parts.push(whole.clone());
                    !(kind.ends_with("_output") || kind == "mcp_approval_response")
                }
            };
            match all.last_mut() {
                Some(last) if assistant && open => last.parts.extend(parts),
                _ => all.push(Spot { whole, parts }),
            }
            open = assistant;
        }
        all
    }

    /// A part of what a tool answered.
    pub(super) fn inner(&self, part: &str, at: usize) -> String {
        let keys = match (self.origin, at.checked_sub(1)) {
            (Protocol::Gemini, None) => return format!("{part}.functionResponse.response"),
            (Protocol::Gemini, Some(at)) => {
                return format!("{part}.functionResponse.parts[{at}]");
            }
            (Protocol::Responses, _) => ["output", "content"],
            _ => ["content", "output"],
        };
        let Some(said) = self.at(part) else {
            return format!("{part}.{}[{at}]", keys[0]);
        };
        for key in keys {
            match said.get(key) {
                Some(Shape::List(_)) => return format!("{part}.{key}[{at}]"),
                Some(_) => return format!("{part}.{key}"),
                None => {}
            }
        }
        part.to_owned()
    }

    /// A tool of the view. Gemini's clients have several in one.
    pub(super) fn tool_at(&self, index: usize) -> String {
        if self.origin != Protocol::Gemini {
            return format!("tools[{index}]");
        }
        let (before, root) = self.root();
        let Some((key, tools)) = root.and_then(|root| root.field("tools", true)) else {
            return under(before, "tools");
        };
        let key = under(before, key);
        let mut left = index;
        for (at, tool) in tools.listed().iter().enumerate() {
            let place = match tools {
                Shape::List(_) => format!("{key}[{at}]"),
                _ => key.clone(),
            };
            if let Some((key, declared)) = tool.field("functionDeclarations", true) {
                let count = declared.listed().len();
                if left < count {
                    return match declared {
                        Shape::List(_) => format!("{place}.{key}[{left}]"),
                        _ => format!("{place}.{key}"),
                    };
                }
                left -= count;
            }
            let declares =
                |name: &str| matches!(name, "functionDeclarations" | "function_declarations");
            if let Some((name, _)) = tool.fields().find(|(name, _)| !declares(name)) {
                if left == 0 {
                    return format!("{place}.{name}");
                }
                left -= 1;
            }
        }
        key
    }
}

/// The parts of a message, unless there are more or fewer than the view has.
fn fitting(mut spot: Spot, message: &Message) -> Spot {
    if spot.parts.len() != message.parts.len() {
        spot.parts.clear();
    }
    spot
}

fn text(place: &str) -> Spot {
    let whole = place.to_owned();
    let parts = vec![whole.clone()];
    Spot { whole, parts }
}

pub(super) fn under(before: &str, key: &str) -> String {
    match before {
        "" => key.to_owned(),
        before => format!("{before}.{key}"),
    }
}

/// One text, or a list of parts.
fn content(said: &Shape<'_>, place: &str, key: &str, out: &mut Vec<String>) {
    let place = under(place, key);
    match said.get(key) {
        Some(Shape::List(all)) => out.extend((0..all.len()).map(|at| format!("{place}[{at}]"))),
        Some(_) => out.push(place),
        None => {}
    }
}

/// No more than these can be told of.
const MOST_MARKS: usize = 300;

/// Marks of this name, in order.
pub(super) fn marked(said: &Shape<'_>, place: &str, mark: &str, out: &mut Vec<String>) {
    if out.len() >= MOST_MARKS {
        return;
    }
    for (at, one) in said.list().iter().enumerate() {
        marked(one, &format!("{place}[{at}]"), mark, out);
    }
    if let Some(inside) = said.get("content") {
        marked(inside, &format!("{place}.content"), mark, out);
    }
    if said.get(mark).is_some() {
        out.push(format!("{place}.{mark}"));
    }
}

/// Where a word of schemas stands first in one: what names properties is no word.
pub(super) fn keyword(schema: &Shape<'_>, word: &str) -> Option<String> {
    fn within(at: &Shape<'_>, word: &str, names: bool) -> Option<String> {
        const NAMES: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
        const DATA: [&str; 4] = ["enum", "const", "default", "examples"];
        for (index, one) in at.list().iter().enumerate() {
            if let Some(rest) = within(one, word, false) {
                return Some(format!("[{index}]{rest}"));
            }
        }
        if !names && at.get(word).is_some() {
            return Some(format!(".{word}"));
        }
        let inside = at.fields().filter(|(key, _)| names || !DATA.contains(key));
        for (key, one) in inside {
            if let Some(rest) = within(one, word, !names && NAMES.contains(&key)) {
                return Some(format!(".{key}{rest}"));
            }
        }
        None
    }
    within(schema, word, false)
}

/// What a dialect calls a setting that has OpenAI's name in the view, the likeliest first. None for what
/// has one name everywhere.
pub(super) fn settings(
    origin: Protocol,
    operation: Operation,
    name: &str,
) -> &'static [&'static str] {
    match origin {
        Protocol::OpenAi => match name {
            "messages" if operation == Operation::Completions => &["prompt"],
            "max_tokens" => &["max_completion_tokens", "max_tokens"],
            "thinking" => &["thinking", "reasoning_effort"],
            _ => &[],
        },
        Protocol::Responses => match name {
            "messages" => &["input"],
            "max_tokens" | "max_completion_tokens" => &["max_output_tokens"],
            "response_format" => &["text.format"],
            "reasoning_effort" | "thinking" => &["reasoning.effort", "reasoning"],
            "verbosity" => &["text.verbosity"],
            "logprobs" => &["include", "top_logprobs"],
            _ => &[],
        },
        Protocol::Anthropic => match name {
            "stop" => &["stop_sequences"],
            "response_format" => &["output_config.format", "output_format"],
            "reasoning_effort" => &["output_config.effort", "thinking.budget_tokens", "thinking"],
            "thinking" => &["thinking", "output_config.effort"],
            "parallel_tool_calls" => &["tool_choice.disable_parallel_tool_use", "tool_choice"],
            "user" => &["metadata.user_id"],
            "max_completion_tokens" => &["max_tokens"],
            _ => &[],
        },
        Protocol::Gemini => match name {
            "messages" => &["contents"],
            "n" => &["generationConfig.candidateCount"],
            "stop" => &["generationConfig.stopSequences"],
            "temperature" => &["generationConfig.temperature"],
            "top_p" => &["generationConfig.topP"],
            "top_k" => &["generationConfig.topK"],
            "seed" => &["generationConfig.seed"],
            "frequency_penalty" => &["generationConfig.frequencyPenalty"],
            "presence_penalty" => &["generationConfig.presencePenalty"],
            "max_tokens" | "max_completion_tokens" => &["generationConfig.maxOutputTokens"],
            "response_format" => &[
                "generationConfig.responseJsonSchema",
                "generationConfig.responseSchema",
                "generationConfig.responseMimeType",
            ],
            "reasoning_effort" | "thinking" => &[
                "generationConfig.thinkingConfig.thinkingLevel",
                "generationConfig.thinkingConfig.thinkingBudget",
                "generationConfig.thinkingConfig",
            ],
            "tool_choice" | "parallel_tool_calls" => &["toolConfig.functionCallingConfig"],
            "input" => &["content", "requests"],
            "dimensions" => &["outputDimensionality", "requests"],
            _ => &[],
        },
        _ => &[],
    }
}
