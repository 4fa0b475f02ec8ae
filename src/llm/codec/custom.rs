//! Tools whose input is any text: `custom` with OpenAI, and unknown to everybody else.
//!
//! Elsewhere such a tool is a function of one text, `input`. What the model calls comes back as the text
//! itself, piece by piece as it comes. A grammar that the text must follow is told to the model, which is
//! not held to it.

use super::{Asked, Losses, Names, responses};
use crate::llm::{
    ChatRequest, Content, Delta, Event, Message, Operation, Role, Tool, ToolCall, Wire,
};
use memchr::memmem::Finder;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{Arc, LazyLock},
};

const CUSTOM: &str = "custom";
const INPUT: &str = "input";

/// Whether it is offered, in the words of either of OpenAI's protocols.
pub(super) fn is_offered(tool: &Tool) -> bool {
    tool.name.is_empty() && tool.extra.get("type").is_some_and(|kind| kind == CUSTOM)
}

/// The name of one that must be called.
pub(super) fn chosen(choice: &Value) -> Option<String> {
    let one = choice.get("type").is_some_and(|kind| kind == CUSTOM);
    let name = choice
        .get("name")
        .or_else(|| choice.get(CUSTOM)?.get("name"));
    name?.as_str().filter(|_| one).map(str::to_owned)
}

/// Makes a function of it. `false`: it has no name, and stays as it is.
pub(super) fn as_function(tool: &mut Tool, place: &str, losses: &mut Losses) -> bool {
    const UNHELD: &str = "The provider does not hold the input to a grammar.";
    let deeper = tool.extra.get(CUSTOM).and_then(Value::as_object);
    let name = deeper.unwrap_or(&tool.extra).get("name");
    let name = name.and_then(Value::as_str).filter(|name| !name.is_empty());
    let Some(name) = name.map(str::to_owned) else {
        return false;
    };
    // Chat has one level more.
    let deeper = deeper.is_some();
    let mut fields = match tool.extra.get_mut(CUSTOM) {
        Some(Value::Object(fields)) => mem::take(fields),
        _ => mem::take(&mut tool.extra),
    };
    tool.name = name;
    tool.description = match fields.remove("description") {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let format = fields.remove("format").unwrap_or_default();
    let mut input = json!({"type": "string"});
    if format.get("type").is_some_and(|kind| kind == "grammar") {
        losses.add(format_args!("{place}.format"), UNHELD);
        let inside = format.get("grammar").unwrap_or(&format);
        let text = |key: &str| inside.get(key).and_then(Value::as_str);
        if let (Some(syntax), Some(definition)) = (text("syntax"), text("definition")) {
            let told = format!("Text that follows this grammar ({syntax}):\n{definition}");
            input["description"] = told.into();
        }
    }
    tool.parameters = Some(json!({
        "type": "object",
        "properties": {INPUT: input},
        "required": [INPUT],
        "additionalProperties": false,
    }));
    for key in ["type", "name"] {
        fields.remove(key);
        tool.extra.remove(key);
    }
    if deeper {
        tool.extra.remove(CUSTOM);
        if !fields.is_empty() {
            tool.extra.insert(CUSTOM.into(), fields.into());
        }
    } else {
        tool.extra = fields;
    }
    true
}

/// Whether it is a call of such a tool, or the answer to one.
pub(super) fn is_one(part: &Value) -> bool {
    let kind = part.get("type").and_then(Value::as_str);
    matches!(
        kind,
        Some(CUSTOM | "custom_tool_call" | "custom_tool_call_output")
    )
}

/// Makes calls of functions of its calls, and answers to them of the answers.
pub(super) fn as_calls(message: &mut Message) {
    for part in &mut message.parts {
        let Content::Other(whole) = &part.content else {
            continue;
        };
        let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).map(str::to_owned);
        let (id, inside) = match whole.get("type").and_then(Value::as_str) {
            Some(CUSTOM) => ("id", whole.get(CUSTOM)),
            Some("custom_tool_call") => ("call_id", Some(whole)),
            Some("custom_tool_call_output") => {
                let answer = responses::answer(whole.clone());
                if let Some(answer) = answer {
                    *part = answer;
                    message.role = Role::Tool;
                }
                continue;
            }
            _ => continue,
        };
        let call = inside.and_then(|inside| {
            Some(ToolCall {
                id: text(whole, id)?,
                name: text(inside, "name")?,
                arguments: json!({INPUT: text(inside, INPUT)?}).to_string(),
            })
        });
        if let Some(call) = call {
            part.content = Content::ToolCall(call);
            part.extra.remove(responses::ITEM);
        }
    }
}

/// What the writer of an answer in OpenAI's chat must know: the names of such tools, as the text of an
/// array.
pub(super) fn asked(request: &ChatRequest) -> Option<Arc<str>> {
    static KIND: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"custom\""));
    let has = |wire: &Wire| KIND.find(&wire.bytes).is_some();
    if request.operation() != Operation::Chat || !request.wire().is_none_or(has) {
        return None;
    }
    let tools = &request.chat().ok()?.tools;
    let custom = tools.iter().filter(|tool| is_offered(tool));
    let names = custom.filter_map(|tool| tool.extra.get(CUSTOM)?.get("name")?.as_str());
    let names: Vec<_> = names.collect();
    (!names.is_empty()).then(|| Value::from(names).to_string().into())
}

/// The calls of such tools, in an answer of OpenAI's chat.
#[derive(Debug, Default)]
pub(super) struct Calls {
    names: Vec<String>,
    open: HashSet<(u32, u32)>,
}

impl Calls {
    pub(super) fn of(asked: &Asked) -> Self {
        let names = asked.repeated.as_deref().map(serde_json::from_str);
        Self {
            names: names.and_then(Result::ok).unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Whether this is the name of one.
    pub(super) fn names(&self, name: &str) -> bool {
        self.names.iter().any(|one| one == name)
    }

    /// Whether this is a piece of a call of one.
    pub(super) fn has(&mut self, choice: u32, delta: &Delta) -> bool {
        let Delta::ToolCall { index, name, .. } = delta else {
            return false;
        };
        if self.names.is_empty() {
            return false;
        }
        let begins = name.as_ref().is_some_and(|name| self.names(name));
        if begins && self.open.len() < MOST {
            self.open.insert((choice, *index));
        }
        self.open.contains(&(choice, *index))
    }
}

/// The inputs of calls as they come, within the arguments of functions.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    open: HashMap<(u32, u32), Input>,
}

/// A vendor that makes more calls than anybody means is not unwrapped.
const MOST: usize = 1024;

impl Inputs {
    /// Gives a call of such a tool the text of its input.
    pub(crate) fn restored(&mut self, names: &Names, mut event: Event) -> Event {
        if names.custom.is_empty() {
            return event;
        }
        if let Event::Delta {
            choice,
            delta:
                Delta::ToolCall {
                    index,
                    name,
                    arguments,
                    ..
                },
        } = &mut event
        {
            let at = (*choice, *index);
            if name
                .as_ref()
                .is_some_and(|name| names.custom.contains(name))
                && self.open.len() < MOST
            {
                self.open.entry(at).or_default();
            }
            if let Some(input) = self.open.get_mut(&at) {
                *arguments = input.push(mem::take(arguments));
            }
        }
        event
    }
}

const LONGEST_HEAD: usize = 1024;

/// One of them.
#[derive(Debug, Default)]
struct Input {
    at: At,
    /// What cannot be told yet.
    held: String,
}

#[derive(Clone, Copy, Debug, Default)]
enum At {
    /// Before the text.
    #[default]
    Head,
    Text,
    End,
    /// The arguments have another form: they are the input.
    Whole,
}

impl Input {
    /// More of the arguments; the more that there is of the text.
    fn push(&mut self, more: String) -> String {
        match self.at {
            At::Whole => return more,
            At::End => return String::new(),
            At::Head | At::Text => self.held.push_str(&more),
        }
        if let At::Head = self.at {
            match head(&self.held) {
                // Nobody means so much white space.
                Head::Open if self.held.len() > LONGEST_HEAD => {
                    self.at = At::Whole;
                    return mem::take(&mut self.held);
                }
                Head::Open => return String::new(),
                Head::Other => {
                    self.at = At::Whole;
                    return mem::take(&mut self.held);
                }
                Head::Empty => {
                    self.at = At::End;
                    self.held.clear();
                    return String::new();
                }
                Head::Text(rest) => {
                    self.at = At::Text;
                    self.held = rest.to_owned();
                }
            }
        }
        let (text, rest) = unescaped(&self.held);
        self.held = match rest {
            Some(rest) => rest.to_owned(),
            None => {
                self.at = At::End;
                String::new()
            }
        };
        text
    }
}

/// How arguments begin.
enum Head<'a> {
    /// More must come to tell.
    Open,
    Text(&'a str),
    /// There is none.
    Empty,
    Other,
}

fn head(arguments: &str) -> Head<'_> {
    let mut rest = arguments;
    for (at, token) in ["{", "\"input\"", ":", "\""].into_iter().enumerate() {
        rest = rest.trim_start();
        if at == 1 && rest.starts_with('}') {
            return Head::Empty;
        }
        match rest.strip_prefix(token) {
            Some(behind) => rest = behind,
            None if token.starts_with(rest) => return Head::Open,
            None => return Head::Other,
        }
    }
    Head::Text(rest)
}

/// The text of a JSON string, and what of it must wait for more; `None` behind its end.
fn unescaped(string: &str) -> (String, Option<&str>) {
    let mut out = String::with_capacity(string.len());
    let mut rest = string;
    loop {
        let Some(at) = rest.find(['"', '\\']) else {
            out.push_str(rest);
            return (out, Some(""));
        };
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(escape) = rest.strip_prefix('\\') else {
            return (out, None);
        };
        let Some(letter) = escape.chars().next() else {
            return (out, Some(rest));
        };
        let plain = match letter {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => match unit(rest) {
                Unit::Open => return (out, Some(rest)),
                Unit::Of(char, length) => {
                    out.push(char);
                    rest = &rest[length..];
                    continue;
                }
            },
            other => other,
        };
        out.push(plain);
        rest = &escape[letter.len_utf8()..];
    }
}

enum Unit {
    Open,
    /// A letter, and how long the escapes for it are.
    Of(char, usize),
}

/// The letter of `\u0061`, or of two of them.
fn unit(text: &str) -> Unit {
    const LENGTH: usize = 6;
    let code = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(first) = code(text) else {
        return match text.len() < LENGTH {
            true => Unit::Open,
            false => Unit::Of(char::REPLACEMENT_CHARACTER, 2),
        };
    };
    if let Some(char) = char::from_u32(first) {
        return Unit::Of(char, LENGTH);
    }
    // Half of one.
    let behind = &text[LENGTH..];
    let second = code(behind).filter(|second| (0xDC00..0xE000).contains(second));
    match second.filter(|_| first < 0xDC00) {
        Some(second) => {
            let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            let char = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            Unit::Of(char, 2 * LENGTH)
        }
        None if first < 0xDC00
            && behind.len() < LENGTH
            && "\\u".starts_with(behind.get(..2).unwrap_or(behind)) =>
        {
            Unit::Open
        }
        None => Unit::Of(char::REPLACEMENT_CHARACTER, LENGTH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(pieces: &[&str]) -> String {
        let mut input = Input::default();
        pieces
            .iter()
            .map(|piece| input.push((*piece).to_owned()))
            .collect()
    }

    #[test]
    fn what_has_another_form_is_the_input() {
        for (arguments, expected) in [
            ("{}", ""),
            (" { \"input\" : \"a\" } ", "a"),
            (
                r#"{"input":"\ud83e\udd80\u00e9\/\"\n"}"#,
                "\u{1f980}\u{e9}/\"\n",
            ),
            (r#"{"input":"\ud83e!\uzzzz"}"#, "\u{fffd}!\u{fffd}zzzz"),
            (r#"{"input":1}"#, r#"{"input":1}"#),
            (r#"{"patch":"a"}"#, r#"{"patch":"a"}"#),
            ("*** Begin", "*** Begin"),
        ] {
            assert_eq!(told(&[arguments]), expected, "{arguments}");
            let pieces: Vec<_> = arguments.split_inclusive(|_| true).collect();
            assert_eq!(told(&pieces), expected, "{arguments}");
        }
    }

    proptest! {
        #[test]
        fn an_input_comes_back_as_it_was_however_it_is_cut(
            text in "[a-z\"\\\\\n\u{1}é🦀{}:u0d]{0,30}",
            escaped in any::<bool>(),
            cuts in prop::collection::vec(0_usize..60, 0..6),
        ) {
            let mut arguments = json!({INPUT: text}).to_string();
            if escaped {
                let plain = arguments.chars();
                let units = plain.map(|char| match char.is_ascii() {
                    true => char.to_string(),
                    false => {
                        let mut units = [0; 2];
                        let units = char.encode_utf16(&mut units).iter();
                        units.map(|unit| format!("\\u{unit:04x}")).collect()
                    }
                });
                arguments = units.collect();
            }
            let mut cuts: Vec<_> = cuts.into_iter().filter(|at| arguments.is_char_boundary(*at)).collect();
            cuts.retain(|at| *at <= arguments.len());
            cuts.sort_unstable();
            let (mut pieces, mut from) = (Vec::new(), 0);
            for at in cuts.into_iter().chain([arguments.len()]) {
                pieces.push(&arguments[from..at]);
                from = at;
            }
            prop_assert_eq!(told(&pieces), text);
        }
    }
}
