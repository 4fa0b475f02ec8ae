//! Templates and schemas, compiled.

mod engine;
mod schema;
mod screen;
mod sizes;
#[cfg(test)]
mod tests;
mod values;

use self::{
    engine::Capped,
    values::{Room, Root, given},
};
use super::{
    content::{Partial, Prompt, Variable, Variables},
    fault::{Fault, InvalidPrompt, MOST, below, what},
    form,
    version::RenderFault,
};
use crate::llm::{Chat, Content, Media, Message, Part, ResponseFormat};
use jsonschema::Validator;
use minijinja::{Environment, Error, ErrorKind, Value as Given};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// The largest text of a part.
const LARGEST_PART: usize = 1 << 20;

/// The largest text of all parts.
const LARGEST_SUM: usize = 4 << 20;

/// A prompt that is ready to be rendered.
pub(super) struct Compiled {
    env: Environment<'static>,
    /// Without the texts that are rendered.
    chat: Chat,
    slots: Box<[Slot]>,
    model: Option<Arc<str>>,
    variables: BTreeMap<String, Known>,
    schema: Value,
    output: Option<(Value, Validator)>,
    is_partial: bool,
    /// How many regular expressions its schemas have.
    patterns: usize,
}

/// A variable.
struct Known {
    validator: Validator,
    default: Option<Given>,
}

/// Where the text of a template goes.
struct Slot {
    message: usize,
    part: usize,
    /// In the result of a tool.
    inner: Option<usize>,
    /// The name of the template, which is the pointer to it.
    at: Box<str>,
}

impl Compiled {
    /// Checks all that can be told without the registry.
    pub(super) fn new(prompt: &Prompt) -> Result<Self, InvalidPrompt> {
        let mut faults = sizes::check(prompt);
        if !faults.is_empty() {
            return Err(InvalidPrompt::new(faults));
        }
        let mut env = engine::environment();
        env.set_path_join_callback(join);
        let partials = &prompt.partials;
        add_partials(&mut env, partials, "/partials", 0, &mut faults);
        let mut chat = Chat {
            messages: prompt.messages.clone(),
            tools: prompt.tools.clone(),
            tool_choice: prompt.tool_choice.clone(),
            parallel_tool_calls: prompt.parallel_tool_calls,
            response_format: prompt.output.clone(),
            sampling: prompt.settings.clone(),
            effort: prompt.effort.clone(),
            ..Chat::default()
        };
        let mut templates = Vec::new();
        let slots = take_templates(&mut chat.messages, &mut templates);
        if let Some(text) = &prompt.text {
            templates.push(("/text".into(), text.clone()));
        }
        for (at, template) in templates {
            add(
                &mut env,
                &at,
                template,
                partials,
                Some(&prompt.variables),
                &mut faults,
            );
        }
        for (name, partial) in partials {
            let needed = partial.pinned.iter().flat_map(|pinned| &pinned.variables);
            for variable in needed {
                if !prompt.variables.contains_key(variable) {
                    let at = below("/partials", name);
                    faults.push(Fault::new(at, what::PARTIAL_NEEDS).about(variable));
                }
            }
        }
        let mut variables = BTreeMap::new();
        let mut patterns = schema::MOST_PATTERNS;
        for (name, variable) in &prompt.variables {
            let at = below("/variables", name);
            let compiled = schema::compile(variable.schema(), &at, &mut patterns, &mut faults);
            let Some(validator) = compiled else {
                continue;
            };
            if let Some(default) = variable.default() {
                schema::check(&validator, default, &below(&at, "default"), &mut faults);
            }
            let default = variable.default().map(given);
            variables.insert(name.clone(), Known { validator, default });
        }
        let output = match &prompt.output {
            Some(ResponseFormat::JsonSchema {
                schema: Some(schema),
                ..
            }) => schema::compile(schema, "/output/schema", &mut patterns, &mut faults)
                .map(|validator| (schema.clone(), validator)),
            _ => None,
        };
        if !faults.is_empty() {
            return Err(InvalidPrompt::new(faults));
        }
        let all = prompt.variables.iter();
        let all = all.map(|(name, variable)| (name, variable.schema(), variable.is_required()));
        Ok(Self {
            env,
            chat,
            slots: slots.into(),
            model: prompt.model.as_deref().map(Into::into),
            variables,
            schema: schema::object(all),
            output,
            is_partial: prompt.is_partial(),
            patterns: schema::MOST_PATTERNS - patterns,
        })
    }

    pub(super) fn model(&self) -> Option<&Arc<str>> {
        self.model.as_ref()
    }

    /// How much memory its regular expressions take at the most, in bytes.
    pub(super) fn of_patterns(&self) -> usize {
        self.patterns * schema::LARGEST_PATTERN
    }

    pub(super) fn variables_schema(&self) -> &Value {
        &self.schema
    }

    pub(super) fn output_schema(&self) -> Option<&Value> {
        self.output.as_ref().map(|(schema, _)| schema)
    }

    pub(super) fn check_variables(&self, variables: &Variables) -> Vec<Fault> {
        self.checked(variables).0
    }

    /// What is wrong with variables, and how large they are, in bytes.
    fn checked(&self, variables: &Variables) -> (Vec<Fault>, usize) {
        let mut faults = Vec::new();
        let mut room = Room::ALL;
        for (name, value) in variables {
            if faults.len() >= MOST {
                break;
            }
            let at = below("", name);
            let Some(known) = self.variables.get(name) else {
                faults.push(Fault::new(at, "There is no such variable."));
                continue;
            };
            if !room.fits(value) {
                let what = "It is more than 64 deep, or with it there are more than 10000 values or 4 MiB.";
                faults.push(Fault::new(at, what));
                continue;
            }
            schema::check(&known.validator, value, &at, &mut faults);
        }
        for (name, known) in &self.variables {
            if known.default.is_none() && !variables.contains_key(name) && faults.len() < MOST {
                faults.push(Fault::new(below("", name), "This is missing."));
            }
        }
        (faults, room.taken())
    }

    pub(super) fn check_output(&self, answer: &Value) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some((_, validator)) = &self.output {
            schema::check(validator, answer, "", &mut faults);
        }
        faults
    }

    pub(super) fn render(&self, variables: &Variables) -> Result<Chat, RenderFault> {
        if self.is_partial {
            let what = "It is a text for other prompts to include, and is not asked by itself.";
            return Err(RenderFault::Template(Fault::new("/text", what)));
        }
        let (faults, taken) = self.checked(variables);
        if !faults.is_empty() {
            return Err(RenderFault::Variables(faults));
        }
        let mut chat = self.chat.clone();
        if self.slots.is_empty() {
            return Ok(chat);
        }
        let all = self.variables.iter().filter_map(|(name, known)| {
            let value = match variables.get(name) {
                Some(value) => given(value),
                None => known.default.clone()?,
            };
            Some((Box::from(name.as_str()), value))
        });
        let root = Given::from_object(Root(all.collect()));
        let mut left = LARGEST_SUM;
        let mut steps = engine::fuel(taken);
        let mut env = Cow::Borrowed(&self.env);
        if steps < engine::FUEL {
            env.to_mut().set_fuel(Some(steps));
        }
        engine::begin();
        for slot in &self.slots {
            let text = text(&env, &slot.at, &root, left, &mut steps)?;
            left = left.saturating_sub(text.len());
            slot.fill(&mut chat.messages, text);
        }
        Ok(chat)
    }
}

fn text(
    env: &Environment<'static>,
    at: &str,
    root: &Given,
    left: usize,
    steps: &mut u64,
) -> Result<String, RenderFault> {
    let template = env.get_template(at).map_err(|error| failed(&error, at))?;
    let mut out = Capped {
        text: Vec::new(),
        left: left.min(LARGEST_PART),
    };
    let rendered = template
        .render_captured_to(root.clone(), &mut out)
        .map_err(|error| failed(&error, at))?;
    // Each text alone takes no more than all may.
    let taken = rendered.state().fuel_levels().map_or(0, |(taken, _)| taken);
    *steps = steps.checked_sub(taken).ok_or_else(|| {
        RenderFault::TooLarge(Fault::new(
            at,
            "The templates take too many steps together.",
        ))
    })?;
    drop(rendered);
    // It is made of pieces of text.
    String::from_utf8(out.text).map_err(|_| {
        RenderFault::Template(Fault::new(
            at,
            "The template made something else than text.",
        ))
    })
}

impl Slot {
    fn fill(&self, messages: &mut [Message], text: String) {
        let part = messages
            .get_mut(self.message)
            .and_then(|message| message.parts.get_mut(self.part));
        let part = match (part, self.inner) {
            (
                Some(Part {
                    content: Content::ToolResult { parts, .. },
                    ..
                }),
                Some(inner),
            ) => parts.get_mut(inner),
            (part, _) => part,
        };
        if let Some(place) = part.and_then(template_of) {
            *place = text;
        }
    }
}

/// The text of a part that is a template.
fn template_of(part: &mut Part) -> Option<&mut String> {
    match &mut part.content {
        Content::Text(text)
        | Content::Image {
            source: Media::Url(text),
            ..
        }
        | Content::Audio(Media::Url(text))
        | Content::File {
            source: Media::Url(text),
            ..
        } => Some(text),
        _ => None,
    }
}

/// Takes the templates out of messages. Texts in which nothing is filled in stay where they are.
fn take_templates(messages: &mut [Message], templates: &mut Vec<(String, String)>) -> Vec<Slot> {
    let mut slots = Vec::new();
    let mut take = |part: &mut Part, at: String, slot: (usize, usize, Option<usize>)| {
        let field = match part.content {
            Content::Text(_) => "text",
            _ => "url",
        };
        let Some(text) = template_of(part) else {
            return;
        };
        if ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
            let at = if at.ends_with("content") {
                at
            } else {
                below(&at, field)
            };
            templates.push((at.clone(), std::mem::take(text)));
            let (message, part, inner) = slot;
            slots.push(Slot {
                message,
                part,
                inner,
                at: at.into(),
            });
        }
    };
    for (nth, message) in messages.iter_mut().enumerate() {
        let at = format!("/messages/{nth}/content");
        let alone = is_alone(&message.parts);
        for (which, part) in message.parts.iter_mut().enumerate() {
            let at = if alone {
                at.clone()
            } else {
                format!("{at}/{which}")
            };
            if let Content::ToolResult { parts, .. } = &mut part.content {
                let alone = is_alone(parts);
                for (inner, part) in parts.iter_mut().enumerate() {
                    let at = if alone {
                        format!("{at}/content")
                    } else {
                        format!("{at}/content/{inner}")
                    };
                    take(part, at, (nth, which, Some(inner)));
                }
            } else {
                take(part, at, (nth, which, None));
            }
        }
    }
    slots
}

/// Whether the form of these parts is one text.
fn is_alone(parts: &[Part]) -> bool {
    matches!(parts, [Part { content: Content::Text(_), extra }] if extra.is_empty())
}

/// Where an included template stands: seen from another partial among those of its own, and
/// otherwise among those of the prompt.
fn join<'s>(name: &'s str, parent: &'s str) -> Cow<'s, str> {
    let within = match parent.strip_suffix("/text") {
        Some(partial) if parent.starts_with("/partials/") => partial,
        _ => "",
    };
    format!("{}/pinned/text", below(&format!("{within}/partials"), name)).into()
}

fn add_partials(
    env: &mut Environment<'static>,
    partials: &BTreeMap<String, Partial>,
    at: &str,
    depth: usize,
    faults: &mut Vec<Fault>,
) {
    for (name, partial) in partials {
        let at = below(at, name);
        if depth >= form::DEEPEST {
            let what = "Partials include one another more than four deep.";
            faults.push(Fault::new(at, what));
            continue;
        }
        if let Some(pinned) = &partial.pinned {
            let at = format!("{at}/pinned");
            let text = format!("{at}/text");
            add(
                env,
                &text,
                pinned.text.clone(),
                &pinned.partials,
                None,
                faults,
            );
            let inner = format!("{at}/partials");
            add_partials(env, &pinned.partials, &inner, depth + 1, faults);
        }
    }
}

/// Compiles a template. What it uses must be declared, where that is known.
fn add(
    env: &mut Environment<'static>,
    at: &str,
    template: String,
    partials: &BTreeMap<String, Partial>,
    declared: Option<&BTreeMap<String, Variable>>,
    faults: &mut Vec<Fault>,
) {
    let before = faults.len();
    let set = screen::screen(&template, at, partials, faults);
    if faults.len() > before {
        return;
    }
    // It may be set in a branch: whether it is there shows when it is rendered.
    let set: Vec<_> = set.into_iter().map(str::to_owned).collect();
    if let Err(error) = env.add_template_owned(at.to_owned(), template) {
        let fault = Fault::new(at, "The template cannot be read.");
        let fault = fault.about(error.detail().unwrap_or_default());
        faults.push(match error.line() {
            Some(line) => fault.line(line),
            None => fault,
        });
        return;
    }
    let (Some(declared), Ok(template)) = (declared, env.get_template(at)) else {
        return;
    };
    let mut unknown: Vec<_> = template
        .undeclared_variables(false)
        .into_iter()
        .filter(|name| {
            let is_known = declared.contains_key(name) || set.contains(name);
            !is_known && !engine::FUNCTIONS.contains(&&**name)
        })
        .collect();
    unknown.sort_unstable();
    unknown.truncate(MOST);
    for name in unknown {
        let line = screen::line_of(template.source(), &name);
        let fault = Fault::new(at, what::NOT_DECLARED).about(name);
        faults.push(match line {
            Some(line) => fault.line(line),
            None => fault,
        });
    }
}

impl Prompt {
    /// All that can be told without the registry.
    pub(super) fn check(&self) -> Result<(), InvalidPrompt> {
        Compiled::new(self).map(drop)
    }
}

/// What went wrong, innermost, without a value.
fn failed(error: &Error, at: &str) -> RenderFault {
    let mut inner = error;
    while let Some(cause) = std::error::Error::source(inner).and_then(|cause| cause.downcast_ref())
    {
        inner = cause;
    }
    let fault = |what| {
        let fault = Fault::new(inner.name().unwrap_or(at), what);
        match inner.line() {
            Some(line) => fault.line(line),
            None => fault,
        }
    };
    match inner.kind() {
        ErrorKind::OutOfFuel => RenderFault::TooLarge(fault("The template takes too many steps.")),
        ErrorKind::WriteFailure => RenderFault::TooLarge(fault("The text becomes too large.")),
        ErrorKind::UndefinedError => {
            RenderFault::Template(fault("The template uses what is not there."))
        }
        kind => RenderFault::Template(fault("The template fails.").about(kind.to_string())),
    }
}
