//! A choice among some of the tools, which is `allowed_tools` with OpenAI and `allowedFunctionNames` with
//! Gemini.

use crate::llm::{Chat, Protocol, Tool, ToolChoice};
use serde_json::{Value, json};
use std::collections::HashSet;

const ALLOWED: &str = "allowed_tools";

/// Which may be called.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    /// One of them must be.
    pub(super) required: bool,
    /// The client's own, in the order in which they are named.
    names: Vec<String>,
    named: HashSet<String>,
    hosted: HashSet<Hosted>,
}

/// One of the vendor's own: what it is, and the server that has it.
type Hosted = (String, Option<String>);

/// Reads a choice of any dialect, if it is one among some.
pub(super) fn read(choice: &Value) -> Option<Allowed> {
    let fields = choice.as_object()?;
    if fields.get("type").is_some_and(|kind| kind == ALLOWED) {
        let inside = fields.get(ALLOWED).unwrap_or(choice);
        let required = match inside.get("mode")?.as_str()? {
            "auto" => false,
            "required" => true,
            _ => return None,
        };
        let mut allowed = Allowed {
            required,
            ..Allowed::default()
        };
        for tool in inside.get("tools")?.as_array()? {
            allowed.add(tool)?;
        }
        return Some(allowed);
    }
    let known = ["mode", "allowedFunctionNames"];
    if !fields.keys().all(|key| known.contains(&&**key)) {
        return None;
    }
    let mode = fields.get("mode").and_then(Value::as_str);
    let required = match mode.unwrap_or_default().to_ascii_uppercase().as_str() {
        "ANY" => true,
        // Whoever names some wants no others, whatever the mode.
        "AUTO" | "VALIDATED" | "MODE_UNSPECIFIED" | "" => false,
        _ => return None,
    };
    let mut allowed = Allowed {
        required,
        ..Allowed::default()
    };
    for name in fields.get("allowedFunctionNames")?.as_array()? {
        allowed.name(name.as_str()?);
    }
    (!allowed.names.is_empty()).then_some(allowed)
}

fn hosted(fields: impl Fn(&str) -> Option<String>) -> Option<Hosted> {
    Some((fields("type")?, fields("server_label")))
}

/// The same choice, in the words of one of OpenAI's protocols.
pub(super) fn write(origin: Protocol, required: bool, names: &[String]) -> Value {
    let mode = if required { "required" } else { "auto" };
    let names = names.iter();
    if origin == Protocol::Responses {
        let tools = names.map(|name| json!({"type": "function", "name": name}));
        return json!({"type": ALLOWED, "mode": mode, "tools": tools.collect::<Vec<_>>()});
    }
    let tools = names.map(|name| json!({"type": "function", "function": {"name": name}}));
    let inside = json!({"mode": mode, "tools": tools.collect::<Vec<_>>()});
    json!({"type": ALLOWED, ALLOWED: inside})
}

impl Allowed {
    fn add(&mut self, tool: &Value) -> Option<()> {
        let kind = tool.get("type")?.as_str()?;
        if matches!(kind, "function" | "custom") {
            let name = tool.get("name").or_else(|| tool.get(kind)?.get("name"));
            self.name(name?.as_str()?);
        } else {
            let text = |key: &str| Some(tool.get(key)?.as_str()?.to_owned());
            self.hosted.extend(hosted(text));
        }
        Some(())
    }

    fn name(&mut self, name: &str) {
        if self.named.insert(name.to_owned()) {
            self.names.push(name.to_owned());
        }
    }

    /// The name, if there is but one.
    pub(super) fn only(&self) -> Option<&str> {
        match &self.names[..] {
            [name] if self.hosted.is_empty() => Some(name),
            _ => None,
        }
    }

    /// The names, if all are functions of the client's.
    pub(super) fn names(&self) -> Option<&[String]> {
        self.hosted.is_empty().then_some(&self.names)
    }

    pub(super) fn allows(&self, tool: &Tool) -> bool {
        if !tool.name.is_empty() {
            return self.named.contains(&tool.name);
        }
        let text = |key: &str| Some(tool.extra.get(key)?.as_str()?.to_owned());
        hosted(text).is_some_and(|one| self.hosted.contains(&one))
    }
}

/// The names of the tools of which one must be called, where some are named and offered.
pub(super) fn required(chat: &Chat) -> Option<impl Iterator<Item = &str>> {
    let Some(ToolChoice::Other(choice)) = &chat.tool_choice else {
        return None;
    };
    let allowed = read(choice).filter(|allowed| allowed.required)?;
    let named = chat.tools.iter().filter(|tool| !tool.name.is_empty());
    let mut names = named
        .filter(move |tool| allowed.allows(tool))
        .map(|tool| &*tool.name)
        .peekable();
    names.peek().is_some().then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_among_some_is_read_in_every_dialect() {
        let chat = json!({"mode": "auto", "tools": [
            {"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "g"}},
        ]});
        let responses = json!({"type": ALLOWED, "mode": "auto", "tools": [
            {"type": "function", "name": "f"}, {"type": "custom", "name": "g"},
        ]});
        for choice in [
            json!({"type": ALLOWED, ALLOWED: chat}),
            responses,
            json!({"mode": "VALIDATED", "allowedFunctionNames": ["f", "g"]}),
        ] {
            let allowed = read(&choice).unwrap();
            assert!(!allowed.required);
            assert_eq!(allowed.names().unwrap(), ["f", "g"]);
        }
        for other in [
            json!({"type": "function", "name": "f"}),
            json!({"type": ALLOWED, "mode": "never", "tools": []}),
            json!({"mode": "VALIDATED"}),
            json!({"mode": "ANY", "allowedFunctionNames": ["f"], "streamFunctionCallArguments": true}),
        ] {
            assert!(read(&other).is_none(), "{other}");
        }
        let hosted = json!({"type": ALLOWED, "mode": "required", "tools": [
            {"type": "mcp", "server_label": "a"}, {"type": "function", "name": "f"},
        ]});
        let allowed = read(&hosted).unwrap();
        assert!(allowed.required && allowed.names().is_none() && allowed.only().is_none());
        let mut tool = Tool::new("");
        tool.extra.insert("type".into(), "mcp".into());
        tool.extra.insert("server_label".into(), "b".into());
        assert!(!allowed.allows(&tool));
        tool.extra.insert("server_label".into(), "a".into());
        assert!(allowed.allows(&tool) && allowed.allows(&Tool::new("f")));
    }
}
