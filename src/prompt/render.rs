//! Templates and schemas, compiled.

mod engine;
mod schema;
mod screen;
mod sizes;
mod slots;
#[cfg(test)]
mod tests;
mod values;

use self::{
    engine::Capped,
    slots::{Slot, take_templates},
    values::{Room, Root, given},
};
use super::{
    content::{Partial, Prompt, Variable, Variables},
    fault::{Fault, InvalidPrompt, MOST, below, what},
    form,
    version::RenderFault,
};
use crate::llm::{Chat, ResponseFormat};
use jsonschema::Validator;
use minijinja::{Environment, Error, ErrorKind, Value as Given};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// The largest text of a part.
const LARGEST_PART: usize = 1 << 20;

/// The largest text of all parts.
const LARGEST_SUM: usize = 4 << 20;

/// What is said of a value.
const TOO_LARGE: &str =
    "It is more than 64 deep, or with it there are more than 10000 values or 4 MiB.";

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
    /// Whether its templates give names to texts that filters have made.
    keeps: bool,
    /// How many regular expressions its schemas have.
    patterns: usize,
}

/// A variable.
struct Known {
    validator: Validator,
    default: Option<Given>,
    /// How large that is, in bytes.
    size: usize,
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
        let mut keeps = add_partials(&mut env, partials, "/partials", 0, &mut faults);
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
            let declared = Some(&prompt.variables);
            keeps |= add(&mut env, &at, template, partials, declared, &mut faults);
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
            let mut room = Room::ALL;
            if variable
                .default()
                .is_some_and(|default| !room.fits(default))
            {
                faults.push(Fault::new(below(&at, "default"), TOO_LARGE));
            }
            let known = Known {
                validator,
                default: variable.default().map(given),
                size: room.taken(),
            };
            variables.insert(name.clone(), known);
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
            keeps,
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
                faults.push(Fault::new(at, TOO_LARGE));
                continue;
            }
            schema::check(&known.validator, value, &at, &mut faults);
        }
        let mut of_defaults = 0;
        for (name, known) in &self.variables {
            if variables.contains_key(name) {
                continue;
            }
            of_defaults += known.size;
            if known.default.is_none() && faults.len() < MOST {
                faults.push(Fault::new(below("", name), "This is missing."));
            }
        }
        (faults, room.taken() + of_defaults)
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
        let kept = if self.keeps { engine::KEPT_WORK } else { 0 };
        let mut steps = engine::fuel(taken + kept);
        let mut env = Cow::Borrowed(&self.env);
        if steps < engine::FUEL {
            env.to_mut().set_fuel(Some(steps));
        }
        engine::begin(self.keeps);
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
) -> bool {
    let mut keeps = false;
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
            let template = pinned.text.clone();
            keeps |= add(env, &text, template, &pinned.partials, None, faults);
            let inner = format!("{at}/partials");
            keeps |= add_partials(env, &pinned.partials, &inner, depth + 1, faults);
        }
    }
    keeps
}

/// Compiles a template. What it uses must be declared, where that is known. Tells whether it keeps what filters
/// make.
fn add(
    env: &mut Environment<'static>,
    at: &str,
    template: String,
    partials: &BTreeMap<String, Partial>,
    declared: Option<&BTreeMap<String, Variable>>,
    faults: &mut Vec<Fault>,
) -> bool {
    let before = faults.len();
    let screen::Screened { set, keeps } = screen::screen(&template, at, partials, faults);
    if faults.len() > before {
        return keeps;
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
        return keeps;
    }
    let (Some(declared), Ok(template)) = (declared, env.get_template(at)) else {
        return keeps;
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
    keeps
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
