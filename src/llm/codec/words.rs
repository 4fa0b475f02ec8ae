//! Where something stands, in the words of the client.
//!
//! What writes a request for a vendor sees the view of it, and says of what it cannot write where it stands
//! there: `messages[2].content[0]` is the first part of the third message, whatever the client's dialect
//! calls it, and settings have the names that OpenAI gives them. Before anybody is told, such a path
//! becomes the one in the client's own JSON. It is looked up there: what is told is always there to be
//! found, and where the path ends in something that the client never wrote, what it stands in is told.
//!
//! All of this is done only where something is to be told. Where the client's bytes are gone, for somebody
//! has edited what they said, the words are its dialect's and the place is as near as the view tells.

mod place;
mod shape;
#[cfg(test)]
mod tests;

use self::{place::Spot, shape::Shape};
use crate::{
    Rejection,
    llm::{Chat, ChatRequest, Loss, Operation, Protocol},
};
use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    rc::Rc,
};

/// Puts what is lost in the client's words. `tools` tells where those that are sent stood before, if not
/// all of them are.
pub(crate) fn losses(request: &ChatRequest, tools: Option<&[usize]>, losses: &mut [Loss]) {
    if losses.is_empty() {
        return;
    }
    if let Some(words) = Words::of(request, tools) {
        for loss in losses {
            loss.field = words.told(&loss.field).into();
        }
    }
}

/// The same for what a vendor's own quirks leave out of a body in OpenAI's words. Which of the client's
/// messages became which of those in it is not known.
pub(crate) fn losses_of_body(request: &ChatRequest, to: Protocol, losses: &mut [Loss]) {
    if request.origin() == Some(to) {
        return;
    }
    for loss in losses.iter_mut() {
        if loss.field.starts_with("messages[") {
            loss.field = "messages".into();
        }
    }
    self::losses(request, None, losses);
}

/// The same for what is refused.
pub(crate) fn refused(
    request: &ChatRequest,
    tools: Option<&[usize]>,
    refused: Rejection,
) -> Rejection {
    if refused.param().is_none() && refused.faults().is_empty() {
        return refused;
    }
    // What cannot be read is told in the words that it is in.
    match Words::of(request, tools) {
        Some(words) => refused.map_params(|path| words.told(path)),
        None => refused,
    }
}

/// What a client said, to look things up in.
struct Words<'a> {
    origin: Protocol,
    operation: Operation,
    chat: Option<&'a Chat>,
    said: Option<Shape<'a>>,
    tools: Option<&'a [usize]>,
    spots: RefCell<HashMap<usize, Rc<Spot>>>,
    /// Marks for a cache of which there are too many, and how many were told of.
    marks: OnceCell<Vec<String>>,
    marked: Cell<usize>,
}

impl<'a> Words<'a> {
    /// Of a request that came in some dialect, and can be read.
    fn of(request: &'a ChatRequest, tools: Option<&'a [usize]>) -> Option<Self> {
        let origin = request.origin()?;
        let chat = match request.operation() {
            Operation::Chat | Operation::CountTokens | Operation::Completions => {
                Some(request.chat().ok()?)
            }
            _ => None,
        };
        let wire = request.wire();
        Some(Self {
            origin,
            operation: request.operation(),
            chat,
            said: wire.and_then(|wire| Shape::of(&wire.bytes)),
            tools,
            spots: RefCell::default(),
            marks: OnceCell::new(),
            marked: Cell::default(),
        })
    }

    /// Whether names of fields may be spelt in either way.
    fn either(&self) -> bool {
        self.origin == Protocol::Gemini
    }

    fn told(&self, path: &str) -> String {
        if let Some((index, rest)) = indexed(path, "messages") {
            return self.message(index, rest);
        }
        if let Some((before, word)) = schema_of(path) {
            let base = self.told(before);
            let found = self
                .at(&base)
                .and_then(|schema| place::keyword(schema, word));
            return found.map_or(base.clone(), |found| base + &found);
        }
        let own = self.said.as_ref().and_then(|said| said.get(path));
        if let Some((index, rest)) = indexed(path, "tools") {
            let before = self.tools.and_then(|tools| tools.get(index));
            return self.tool(before.copied().unwrap_or(index), rest);
        }
        if path == "cache_control" && own.is_none() {
            return self.mark();
        }
        self.setting(path)
    }

    /// A message, or something in it.
    fn message(&self, index: usize, rest: &str) -> String {
        let spot = self.spot(index);
        let Some((at, rest)) = indexed(rest, ".content") else {
            return self.within(&spot.whole, rest);
        };
        let part = spot.parts.get(at).unwrap_or(&spot.whole);
        match indexed(rest, ".content") {
            Some((deep, rest)) => {
                let inner = self.inner(part, deep);
                self.within(&inner, rest)
            }
            None => self.within(part, rest),
        }
    }

    fn spot(&self, index: usize) -> Rc<Spot> {
        if let Some(spot) = self.spots.borrow().get(&index) {
            return Rc::clone(spot);
        }
        let known = !self.spots.borrow().is_empty();
        // Items are all read at once.
        let spots = match self.origin {
            Protocol::Responses if known => Vec::new(),
            _ => self.spots_of(index),
        };
        let mut all = self.spots.borrow_mut();
        for (index, spot) in spots {
            all.insert(index, Rc::new(spot));
        }
        let none = || Rc::new(Spot::of(self.messages().to_owned()));
        Rc::clone(all.entry(index).or_insert_with(none))
    }

    /// All that is said.
    fn messages(&self) -> &'static str {
        match self.origin {
            Protocol::Responses => "input",
            Protocol::Gemini => "contents",
            _ if self.operation == Operation::Completions => "prompt",
            _ => "messages",
        }
    }

    /// A tool, or something in it.
    fn tool(&self, index: usize, rest: &str) -> String {
        self.within(&self.tool_at(index), rest)
    }

    /// A field of something: under its name, or under one of those that it has elsewhere.
    fn within(&self, base: &str, rest: &str) -> String {
        let Some(rest) = rest.strip_prefix('.') else {
            return self.nearest(base).0;
        };
        let (first, more) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
        let also = match first {
            "arguments" => &[
                "function.arguments",
                "custom.input",
                "input",
                "functionCall.args",
            ][..],
            "detail" => &["image_url.detail"],
            "name" => &[
                "filename",
                "file.filename",
                "title",
                "inlineData.displayName",
                "fileData.displayName",
                "functionResponse.name",
            ],
            "is_error" => &["functionResponse.response.error"],
            "mimeType" => &["fileData.mimeType"],
            "strict" => &["function.strict"],
            "format" => &["custom.format"],
            "parameters" => &[
                "function.parameters",
                "input_schema",
                "parametersJsonSchema",
            ],
            _ => &[],
        };
        let first = std::iter::once(first).chain(also.iter().copied());
        let all = first.map(|name| format!("{base}.{name}{more}"));
        self.best(all)
    }

    /// A setting of the request.
    fn setting(&self, path: &str) -> String {
        let (head, rest) = path.split_at(path.find(['.', '[']).unwrap_or(path.len()));
        let own = place::settings(self.origin, self.operation, head);
        let inside = |name: &&str| match (head, rest) {
            // A schema has fewer names around it elsewhere.
            ("response_format", _) if self.origin != Protocol::OpenAi => {
                let deep = rest.strip_prefix(".json_schema.schema");
                match (deep, self.origin) {
                    (Some(deep), Protocol::Gemini) => format!("{name}{deep}"),
                    (Some(deep), _) => format!("{name}.schema{deep}"),
                    (None, _) => format!("{name}{rest}"),
                }
            }
            _ => format!("{name}{rest}"),
        };
        // A field that only the client's dialect has stands under its own name. What is counted may stand a
        // level deeper.
        let all = own.iter().map(inside);
        let (before, _) = self.root();
        let all = all.chain(std::iter::once(path.to_owned()));
        self.best(all.map(|path| place::under(before, &path)))
    }

    /// The first of these that is there, else the one of which most is.
    fn best(&self, all: impl Iterator<Item = String>) -> String {
        let mut best: Option<String> = None;
        let mut first = None;
        for path in all {
            if self.said.is_none() {
                return path;
            }
            let (found, whole) = self.nearest(&path);
            if whole {
                return found;
            }
            first.get_or_insert(path);
            if best.as_ref().is_none_or(|best| best.len() < found.len()) {
                best = Some(found);
            }
        }
        let best = best.filter(|best| !best.is_empty());
        best.or(first).unwrap_or_default()
    }

    /// How much of a path is there, in the client's spelling, and whether that is all of it.
    fn nearest(&self, path: &str) -> (String, bool) {
        let Some(mut at) = self.said.as_ref() else {
            return (path.to_owned(), true);
        };
        let mut out = String::with_capacity(path.len());
        let mut rest = path;
        while !rest.is_empty() {
            if let Some((index, more)) = indexed(rest, "") {
                match at.list().get(index) {
                    Some(one) => {
                        at = one;
                        out.push_str(&rest[..rest.len() - more.len()]);
                    }
                    // The one that would be in a list.
                    None if self.either() && index == 0 && !at.listed().is_empty() => {}
                    None => return (out, false),
                }
                rest = more;
                continue;
            }
            let name = rest.strip_prefix('.').unwrap_or(rest);
            let end = name.find(['.', '[']).unwrap_or(name.len());
            // What a client makes up may have any letter in it.
            let found = [name.len(), end].into_iter().find_map(|end| {
                let (key, inside) = at.field(&name[..end], self.either())?;
                Some((key, inside, &name[end..]))
            });
            let Some((key, inside, more)) = found else {
                return (out, false);
            };
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(key);
            (at, rest) = (inside, more);
        }
        (out, true)
    }

    /// What stands at a path.
    fn at(&self, path: &str) -> Option<&Shape<'a>> {
        let mut at = self.said.as_ref()?;
        let mut rest = path;
        while !rest.is_empty() {
            if let Some((index, more)) = indexed(rest, "") {
                at = at.list().get(index)?;
                rest = more;
                continue;
            }
            let name = rest.strip_prefix('.').unwrap_or(rest);
            let end = name.find(['.', '[']).unwrap_or(name.len());
            at = at.get(&name[..end])?;
            rest = &name[end..];
        }
        Some(at)
    }

    /// The next mark for a cache of which there are too many.
    fn mark(&self) -> String {
        const KEPT: usize = 4;
        const MARK: &str = "cache_control";
        let all = self.marks.get_or_init(|| {
            let mut all = Vec::new();
            for key in ["tools", "system", self.messages()] {
                if let Some(inside) = self.at(key) {
                    place::marked(inside, key, MARK, &mut all);
                }
            }
            all
        });
        let told = self.marked.replace(self.marked.get() + 1);
        let nth = all.get(KEPT + told).or(all.last()).cloned();
        nth.unwrap_or_else(|| MARK.to_owned())
    }
}

/// The number in brackets behind this name, and what comes after.
fn indexed<'p>(path: &'p str, name: &str) -> Option<(usize, &'p str)> {
    let rest = path.strip_prefix(name)?.strip_prefix('[')?;
    let (number, rest) = rest.split_once(']')?;
    Some((number.parse().ok()?, rest))
}

/// A schema, and the word in it that a path ends with.
fn schema_of(path: &str) -> Option<(&str, &str)> {
    const FORM: &str = "response_format.json_schema.schema";
    let end = match path.starts_with("tools[") {
        true => path.find("].parameters.")? + "].parameters".len(),
        false => FORM.len(),
    };
    let (before, word) = path.split_at_checked(end)?;
    let known = before == FORM || before.starts_with("tools[");
    Some((before, word.strip_prefix('.').filter(|_| known)?))
}
