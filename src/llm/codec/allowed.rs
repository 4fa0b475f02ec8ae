//! A choice among some of the tools, which is `allowed_tools` with OpenAI and `allowedFunctionNames` with
//! Gemini.

use crate::llm::{Protocol, Tool};
use serde_json::{Value, json};

const ALLOWED: &str = "allowed_tools";

/// Which may be called.
#[derive(Debug)]
pub(super) struct Allowed {
    /// One of them must be.
    pub(super) required: bool,
    tools: Vec<One>,
}

/// One that may be called.
#[derive(Debug)]
enum One {
    Named(String),
    /// One of the vendor's own, by what it is and the server that has it.
    Hosted(Value),
}

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
        let tools = inside.get("tools")?.as_array()?.iter().map(one);
        let tools = tools.collect::<Option<_>>()?;
        return Some(Allowed { required, tools });
    }
    let known = ["mode", "allowedFunctionNames"];
    if !fields.keys().all(|key| known.contains(&&**key)) {
        return None;
    }
    let mode = fields.get("mode").and_then(Value::as_str);
    let names = fields.get("allowedFunctionNames")?.as_array()?;
    let names = names.iter().map(|name| name.as_str().map(str::to_owned));
    let tools = names
        .map(|name| name.map(One::Named))
        .collect::<Option<Vec<_>>>()?;
    let required = match mode.unwrap_or_default().to_ascii_uppercase().as_str() {
        "ANY" => true,
        // Whoever names some wants no others, whatever the mode.
        "AUTO" | "VALIDATED" | "MODE_UNSPECIFIED" | "" => false,
        _ => return None,
    };
    (!tools.is_empty()).then_some(Allowed { required, tools })
}

fn one(tool: &Value) -> Option<One> {
    let kind = tool.get("type")?.as_str()?;
    if !matches!(kind, "function" | "custom") {
        return Some(One::Hosted(tool.clone()));
    }
    let name = tool.get("name").or_else(|| tool.get(kind)?.get("name"));
    Some(One::Named(name?.as_str()?.to_owned()))
}

/// The same choice, in the words of one of OpenAI's protocols.
pub(super) fn write(origin: Protocol, required: bool, names: &[&str]) -> Value {
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
    /// The name, if there is but one.
    pub(super) fn only(&self) -> Option<&str> {
        match &self.tools[..] {
            [One::Named(name)] => Some(name),
            _ => None,
        }
    }

    /// The names, if all are functions of the client's.
    pub(super) fn names(&self) -> Option<Vec<&str>> {
        let names = self.tools.iter().map(|one| match one {
            One::Named(name) => Some(&**name),
            One::Hosted(_) => None,
        });
        names.collect()
    }

    pub(super) fn allows(&self, tool: &Tool) -> bool {
        self.tools.iter().any(|one| match one {
            One::Named(name) => !name.is_empty() && *name == tool.name,
            One::Hosted(hosted) => {
                let same = |key: &str| hosted.get(key) == tool.extra.get(key);
                tool.name.is_empty() && same("type") && same("server_label")
            }
        })
    }

    /// Those of these tools that may be called, by their names.
    pub(super) fn among<'t>(&self, tools: &'t [Tool]) -> Vec<&'t str> {
        let all = tools.iter().filter(|tool| !tool.name.is_empty());
        let all = all.filter(|tool| self.allows(tool));
        all.map(|tool| &*tool.name).collect()
    }
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
            let tools = ["g", "h", "f"].map(Tool::new);
            assert_eq!(allowed.among(&tools), ["g", "f"]);
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
