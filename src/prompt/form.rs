//! The one form of a prompt in JSON, read so that each fault has a place.

mod fields;
mod said;

pub(super) use self::fields::{Faults, Fields};

use self::fields::put;
use super::{
    content::{At, Partial, PartialSource, Pinned, Prompt, Variable},
    fault::{InvalidPrompt, below, what},
    name::{LabelName, PromptName},
};
use crate::llm::{ResponseFormat, Sampling, Tool, ToolChoice};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, num::NonZeroU32};

/// How deep partials are pinned into one another.
pub(super) const DEEPEST: usize = 4;

/// Reads the shape of a prompt, and not whether it makes sense.
pub(super) fn read(value: &Value) -> Result<Prompt, InvalidPrompt> {
    let faults = Faults::default();
    let prompt = faults.object(value, "").map(|map| {
        let mut of = Fields::new(map, "", &faults);
        let prompt = Prompt {
            description: of.text("description"),
            model: of.text("model"),
            messages: of.list("messages", |value, at| said::message(value, at, &faults)),
            text: of.text("text"),
            variables: of.map("variables", |value, at| variable(value, at, &faults)),
            partials: of.map("partials", |value, at| partial(value, at, &faults, 0)),
            tools: of.list("tools", |value, at| tool(value, at, &faults)),
            tool_choice: of.one("tool_choice", |value, at| choice(value, at, &faults)),
            parallel_tool_calls: of.flag("parallel_tool_calls"),
            output: of.one("output", |value, at| output(value, at, &faults)),
            settings: Sampling::default(),
            effort: None,
            metadata: of.map("metadata", |value, at| {
                let text = value.as_str().map(str::to_owned);
                text.or_else(|| faults.add(at, "Expected a string."))
            }),
        };
        let settings = of.one("settings", |value, at| settings(value, at, &faults));
        of.finish();
        let (settings, effort) = settings.unwrap_or_default();
        Prompt {
            settings,
            effort,
            ..prompt
        }
    });
    match (prompt, faults.into_inner()) {
        (Some(prompt), faults) if faults.is_empty() => Ok(prompt),
        (_, faults) => Err(InvalidPrompt::new(faults)),
    }
}

pub(super) fn write(prompt: &Prompt) -> Value {
    let mut map = Map::new();
    put(&mut map, "description", prompt.description.as_deref());
    put(&mut map, "model", prompt.model.as_deref());
    if !prompt.messages.is_empty() {
        let messages = prompt.messages.iter().map(said::write_message);
        map.insert("messages".into(), messages.collect());
    }
    put(&mut map, "text", prompt.text.as_deref());
    if !prompt.variables.is_empty() {
        let all = prompt.variables.iter();
        let all = all.map(|(name, variable)| (name.clone(), variable.schema.clone()));
        map.insert("variables".into(), Value::Object(all.collect()));
    }
    if !prompt.partials.is_empty() {
        map.insert("partials".into(), write_partials(&prompt.partials));
    }
    if !prompt.tools.is_empty() {
        let tools = prompt.tools.iter().map(write_tool);
        map.insert("tools".into(), tools.collect());
    }
    put(
        &mut map,
        "tool_choice",
        prompt.tool_choice.as_ref().map(write_choice),
    );
    put(&mut map, "parallel_tool_calls", prompt.parallel_tool_calls);
    put(&mut map, "output", prompt.output.as_ref().map(write_output));
    let settings = write_settings(prompt);
    if !settings.is_empty() {
        map.insert("settings".into(), Value::Object(settings));
    }
    if !prompt.metadata.is_empty() {
        let all = prompt.metadata.iter();
        let all = all.map(|(name, text)| (name.clone(), text.as_str().into()));
        map.insert("metadata".into(), Value::Object(all.collect()));
    }
    Value::Object(map)
}

/// A schema; `null` stands for any text.
fn variable(value: &Value, at: &str, faults: &Faults) -> Option<Variable> {
    let schema = match value {
        Value::Null => serde_json::json!({"type": "string"}),
        Value::Object(_) => value.clone(),
        _ => return faults.add(at, "Expected a JSON schema: an object."),
    };
    Some(Variable { schema })
}

fn partial(value: &Value, at: &str, faults: &Faults, depth: usize) -> Option<Partial> {
    if depth >= DEEPEST {
        return faults.add(at, "Partials include one another more than four deep.");
    }
    let mut of = Fields::new(faults.object(value, at)?, at, faults);
    let prompt = of.needed("prompt", |value, at| {
        let name = value.as_str().and_then(|name| PromptName::new(name).ok());
        name.or_else(|| faults.add(at, "Expected the name of a prompt."))
    });
    let version = of.one("version", |value, at| number(value, at, faults));
    let label = of.one("label", |value, at| match value.as_str() {
        Some(super::name::LATEST) => Some(At::Latest),
        Some(name) => match LabelName::new(name) {
            Ok(label) => Some(At::Label(label)),
            Err(wrong) => faults.add(at, wrong.what()),
        },
        None => faults.add(at, "Expected the name of a label."),
    });
    let pinned = of.one("pinned", |value, at| {
        let mut of = Fields::new(faults.object(value, at)?, at, faults);
        let version = of.needed("version", |value, at| number(value, at, faults));
        let text = of.needed("text", |value, at| {
            let text = value.as_str().map(str::to_owned);
            text.or_else(|| faults.add(at, "Expected a string."))
        });
        let partials = of.map("partials", |value, at| {
            partial(value, at, faults, depth + 1)
        });
        let variables = of.list("variables", |value, at| {
            let name = value.as_str().map(str::to_owned);
            name.or_else(|| faults.add(at, "Expected the name of a variable."))
        });
        of.finish();
        Some(Pinned {
            version: version?,
            text: text?,
            partials,
            variables,
        })
    });
    of.finish();
    let source = match (version, label) {
        (Some(_), Some(_)) => {
            return faults.add(at, "A partial has a `version` or a `label`, and not both.");
        }
        (Some(version), None) => At::Version(version),
        (None, label) => label.unwrap_or_default(),
    };
    Some(Partial {
        source: PartialSource {
            prompt: prompt?,
            at: source,
        },
        pinned,
    })
}

fn write_partials(partials: &BTreeMap<String, Partial>) -> Value {
    let write = |(name, partial): (&String, &Partial)| {
        let mut map = Map::new();
        map.insert("prompt".into(), partial.source.prompt.as_str().into());
        match &partial.source.at {
            At::Latest => {}
            At::Version(version) => put(&mut map, "version", Some(version.get())),
            At::Label(label) => put(&mut map, "label", Some(label.as_str())),
        }
        if let Some(pinned) = &partial.pinned {
            let mut inner = Map::new();
            inner.insert("version".into(), pinned.version.get().into());
            inner.insert("text".into(), pinned.text.as_str().into());
            if !pinned.partials.is_empty() {
                inner.insert("partials".into(), write_partials(&pinned.partials));
            }
            if !pinned.variables.is_empty() {
                let names = pinned.variables.iter().map(|name| name.as_str());
                inner.insert("variables".into(), names.map(Value::from).collect());
            }
            map.insert("pinned".into(), Value::Object(inner));
        }
        (name.clone(), Value::Object(map))
    };
    Value::Object(partials.iter().map(write).collect())
}

fn number(value: &Value, at: &str, faults: &Faults) -> Option<NonZeroU32> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number
        .and_then(NonZeroU32::new)
        .or_else(|| faults.add(at, "Expected the number of a version, from 1."))
}

fn tool(value: &Value, at: &str, faults: &Faults) -> Option<Tool> {
    let mut of = Fields::new(faults.object(value, at)?, at, faults);
    let tool = Tool {
        name: of.text("name").unwrap_or_default(),
        description: of.text("description"),
        parameters: of.value("parameters"),
        strict: of.flag("strict"),
        extra: of.extra(),
    };
    of.finish();
    if tool.name.is_empty() && tool.extra.is_empty() {
        return faults.add(&below(at, "name"), what::MISSING);
    }
    Some(tool)
}

fn write_tool(tool: &Tool) -> Value {
    let mut map = Map::new();
    let name = Some(tool.name.as_str());
    put(&mut map, "name", name.filter(|name| !name.is_empty()));
    put(&mut map, "description", tool.description.as_deref());
    put(&mut map, "parameters", tool.parameters.clone());
    put(&mut map, "strict", tool.strict);
    said::put_extra(&mut map, &tool.extra);
    Value::Object(map)
}

fn choice(value: &Value, at: &str, faults: &Faults) -> Option<ToolChoice> {
    const WANTED: &str =
        "Expected `auto`, `none`, `required`, or an object with the name of a `tool`.";
    match value {
        Value::String(word) => match word.as_str() {
            "auto" => Some(ToolChoice::Auto),
            "none" => Some(ToolChoice::None),
            "required" => Some(ToolChoice::Required),
            _ => faults.add(at, WANTED),
        },
        Value::Object(map) => {
            let mut of = Fields::new(map, at, faults);
            let (tool, other) = (of.text("tool"), of.value("other"));
            of.finish();
            match (tool, other) {
                (Some(tool), None) => Some(ToolChoice::Tool(tool)),
                (None, Some(other)) => Some(ToolChoice::Other(other)),
                _ => faults.add(at, WANTED),
            }
        }
        _ => faults.add(at, WANTED),
    }
}

fn write_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Tool(name) => serde_json::json!({"tool": name}),
        ToolChoice::Other(value) => serde_json::json!({"other": value}),
    }
}

fn output(value: &Value, at: &str, faults: &Faults) -> Option<ResponseFormat> {
    let mut of = Fields::new(faults.object(value, at)?, at, faults);
    let kind = of.text("type");
    let format = match kind.as_deref() {
        Some("text") => Some(ResponseFormat::Text),
        Some("json_object") => Some(ResponseFormat::JsonObject),
        Some("other") => of.value("value").map(ResponseFormat::Other),
        None | Some("json_schema") => Some(ResponseFormat::JsonSchema {
            name: of.text("name").unwrap_or_else(|| "answer".into()),
            description: of.text("description"),
            schema: of.value("schema"),
            strict: of.flag("strict"),
        }),
        Some(_) => faults.add(
            &below(at, "type"),
            "Expected `text`, `json_object`, `json_schema` or `other`.",
        ),
    };
    of.finish();
    format
}

fn write_output(format: &ResponseFormat) -> Value {
    let mut map = Map::new();
    match format {
        ResponseFormat::Text => put(&mut map, "type", Some("text")),
        ResponseFormat::JsonObject => put(&mut map, "type", Some("json_object")),
        ResponseFormat::JsonSchema {
            name,
            description,
            schema,
            strict,
        } => {
            put(&mut map, "type", Some("json_schema"));
            put(&mut map, "name", Some(name.as_str()));
            put(&mut map, "description", description.as_deref());
            put(&mut map, "schema", schema.clone());
            put(&mut map, "strict", *strict);
        }
        ResponseFormat::Other(value) => {
            put(&mut map, "type", Some("other"));
            put(&mut map, "value", Some(value.clone()));
        }
    }
    Value::Object(map)
}

fn settings(value: &Value, at: &str, faults: &Faults) -> Option<(Sampling, Option<String>)> {
    let mut of = Fields::new(faults.object(value, at)?, at, faults);
    let sampling = Sampling {
        temperature: of.float("temperature"),
        top_p: of.float("top_p"),
        top_k: of.whole("top_k"),
        max_tokens: of.whole("max_tokens"),
        stop: of.list("stop", |value, at| {
            let text = value.as_str().map(str::to_owned);
            text.or_else(|| faults.add(at, "Expected a string."))
        }),
        seed: of.one("seed", |value, at| {
            let seed = value.as_i64();
            seed.or_else(|| faults.add(at, "Expected an integer."))
        }),
        frequency_penalty: of.float("frequency_penalty"),
        presence_penalty: of.float("presence_penalty"),
        n: of.one("n", |value, at| {
            let many = value.as_u64().and_then(|many| u32::try_from(many).ok());
            many.or_else(|| faults.add(at, "Expected a whole number."))
        }),
    };
    let effort = of.text("effort");
    of.finish();
    Some((sampling, effort))
}

fn write_settings(prompt: &Prompt) -> Map<String, Value> {
    let mut map = Map::new();
    let settings = &prompt.settings;
    put(&mut map, "temperature", settings.temperature);
    put(&mut map, "top_p", settings.top_p);
    put(&mut map, "top_k", settings.top_k);
    put(&mut map, "max_tokens", settings.max_tokens);
    if !settings.stop.is_empty() {
        put(&mut map, "stop", Some(settings.stop.clone()));
    }
    put(&mut map, "seed", settings.seed);
    put(&mut map, "frequency_penalty", settings.frequency_penalty);
    put(&mut map, "presence_penalty", settings.presence_penalty);
    put(&mut map, "n", settings.n);
    put(&mut map, "effort", prompt.effort.as_deref());
    map
}
