//! How a request names a prompt.

use crate::{
    Principal, Rejection,
    prompt::{
        content::{At, Variables},
        fault::{below, what},
        name::{LabelName, PromptName},
    },
    rejection::Kind,
};
use serde_json::{Map, Value};
use std::num::NonZeroU32;

/// Where it stands in the request.
const ROOT: &str = "/prompt";

/// A call of a prompt: which version, with which variables.
///
/// In the extensions of a [`ChatRequest`](crate::llm::ChatRequest) it does what the field `prompt` does in the
/// body of one. It takes the place of that field, if there is one.
///
/// ```
/// use serde_json::json;
/// use tower_gateway::{Extensible, llm::ChatRequest, prompt::{Call, PromptName}};
///
/// let call = Call::new(PromptName::new("greet")?).variable("who", json!("Ada"));
/// let mut request = ChatRequest::new();
/// request.extensions_mut().insert(call);
/// # Ok::<_, tower_gateway::prompt::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Call {
    /// Which prompt.
    pub name: PromptName,
    /// Which version. `None`: that which is meant by default.
    pub at: Option<At>,
    /// What is filled in.
    pub variables: Variables,
    /// Whether it stood in the body of a request.
    of_body: bool,
}

impl Call {
    /// Of this prompt, without variables.
    #[must_use]
    pub fn new(name: PromptName) -> Self {
        Self {
            name,
            at: None,
            variables: Map::new(),
            of_body: false,
        }
    }

    /// Of this version.
    #[must_use]
    pub fn at(mut self, at: At) -> Self {
        self.at = Some(at);
        self
    }

    /// With these variables, and no others.
    #[must_use]
    pub fn variables(mut self, variables: Variables) -> Self {
        self.variables = variables;
        self
    }

    /// With this variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: Value) -> Self {
        self.variables.insert(name.into(), value);
        self
    }

    /// What the field of a request says.
    pub(super) fn read(named: Value) -> Result<Self, Rejection> {
        let Value::Object(mut fields) = named else {
            return Err(fault("", "Expected an object."));
        };
        let mut take = |key: &str| fields.remove(key).filter(|value| !value.is_null());
        let (name, id) = (take("name"), take("id"));
        let (version, label) = (take("version"), take("label"));
        let variables = take("variables");
        if let Some(unknown) = fields.keys().next() {
            return Err(fault(&below("", unknown), what::NO_FIELD));
        }
        let (field, name) = match (name, id) {
            (Some(_), Some(_)) => {
                return Err(fault("/id", "Expected a `name` or an `id`, and not both."));
            }
            (Some(name), None) => ("/name", name),
            (None, Some(id)) => ("/id", id),
            (None, None) => return Err(fault("/name", "The name of a prompt is required.")),
        };
        let name = text(field, &name)?;
        let name = PromptName::new(name).map_err(|_| {
            // What is no name is none of a prompt.
            Rejection::new(Kind::PromptNotFound).with_param(format!("{ROOT}{field}"))
        })?;
        let at = match (version, label) {
            (Some(_), Some(_)) => {
                let what = "Expected a `version` or a `label`, and not both.";
                return Err(fault("/label", what));
            }
            (Some(version), None) => Some(numbered(&version)?),
            (None, Some(label)) => Some(labelled("/label", text("/label", &label)?)?),
            (None, None) => None,
        };
        let variables = match variables {
            None => Map::new(),
            Some(Value::Object(variables)) => variables,
            Some(_) => return Err(fault("/variables", "Expected an object.")),
        };
        Ok(Self {
            name,
            at,
            variables,
            of_body: true,
        })
    }

    /// Whether this caller may say which version it means. Code may.
    pub(super) fn may_choose(
        &self,
        who: Option<&Principal>,
        scope: Option<&str>,
    ) -> Result<(), Rejection> {
        let field = match (&self.at, scope) {
            (Some(at), Some(scope))
                if self.of_body && !who.is_some_and(|who| who.has_scope(scope)) =>
            {
                at
            }
            _ => return Ok(()),
        };
        let field = match field {
            At::Version(_) => "/version",
            At::Label(_) | At::Latest => "/label",
        };
        let refused = Rejection::new(Kind::Forbidden)
            .with_detail("The credentials do not permit to choose a version.");
        Err(self.placed(refused, field))
    }

    /// A rejection with the place in the request of what it names.
    pub(super) fn placed(&self, rejection: Rejection, field: &str) -> Rejection {
        match self.of_body {
            true => rejection.with_param(format!("{ROOT}{field}")),
            false => rejection,
        }
    }

    /// A rejection that points into the variables.
    pub(super) fn placed_variables(&self, rejection: Rejection) -> Rejection {
        match self.of_body {
            true => rejection.map_params(|pointer| format!("{ROOT}/variables{pointer}")),
            false => rejection,
        }
    }
}

fn fault(field: &str, what: &'static str) -> Rejection {
    Rejection::new(Kind::InvalidRequest)
        .with_param(format!("{ROOT}{field}"))
        .with_detail(what)
}

fn text<'v>(field: &str, value: &'v Value) -> Result<&'v str, Rejection> {
    value
        .as_str()
        .ok_or_else(|| fault(field, "Expected a string."))
}

fn labelled(field: &str, label: &str) -> Result<At, Rejection> {
    match LabelName::new(label) {
        Ok(label) => Ok(At::Label(label)),
        Err(_) if label == super::super::LATEST => Ok(At::Latest),
        Err(_) => Err(Rejection::new(Kind::PromptNotFound)
            .with_param(format!("{ROOT}{field}"))
            .with_detail("The prompt has no such label.")),
    }
}

/// A number, in digits too, as some clients know it. Any other text is a label.
fn numbered(version: &Value) -> Result<At, Rejection> {
    let number = match version {
        Value::String(text) if !text.bytes().all(|byte| byte.is_ascii_digit()) => {
            return labelled("/version", text);
        }
        Value::String(digits) => digits.parse().ok(),
        version => version
            .as_u64()
            .and_then(|number| u32::try_from(number).ok()),
    };
    number
        .and_then(NonZeroU32::new)
        .map(At::Version)
        .ok_or_else(|| fault("/version", "Expected the number of a version."))
}
