//! What went wrong, with all that whoever writes prompts may know of it.

use crate::{
    Body, Reject, Rejection, problem,
    prompt::{Fault, InvalidPrompt, RegistryError, RenderError, RenderFault},
};
use http::Response;
use serde_json::{Value, json};
use std::convert::Infallible;

/// Why it was not done.
pub(super) enum Failed {
    Rejected(Rejection),
    /// What is wrong with the body, and where in it.
    Invalid(Vec<Fault>),
}

impl Failed {
    /// Of what stands in a field of the body.
    pub(super) fn below(invalid: &InvalidPrompt, field: &str) -> Self {
        Self::Invalid(
            invalid
                .faults()
                .iter()
                .map(|fault| under(fault, field))
                .collect(),
        )
    }

    /// Where a prompt that came in a body is at fault.
    pub(super) fn of_prompt(error: RegistryError) -> Self {
        match error {
            RegistryError::Invalid(invalid) => Self::below(&invalid, "/prompt"),
            error => error.into(),
        }
    }

    pub(super) fn into_response(self) -> Result<Response<Body>, Infallible> {
        let faults = match self {
            Self::Rejected(rejection) => return Response::reject(rejection),
            Self::Invalid(faults) => faults,
        };
        let rejection = Rejection::from(InvalidPrompt::new(faults.iter().cloned()));
        let document = problem::document(&rejection, None);
        let response: Result<Response<Body>, Infallible> = Response::reject(rejection);
        let mut response = response?;
        // The same, with what is not for callers of prompts.
        if let Ok(mut told) = serde_json::from_slice::<Value>(&document)
            && let Some(map) = told.as_object_mut()
        {
            let all = faults.iter().map(|fault| {
                let mut told = json!({"param": &*fault.pointer, "detail": fault.what});
                if let Some(about) = &fault.about {
                    told["about"] = (**about).into();
                }
                if let Some(line) = fault.line {
                    told["line"] = line.into();
                }
                told
            });
            map.insert("errors".to_owned(), all.collect());
            *response.body_mut() = told.to_string().into();
        }
        Ok(response)
    }
}

/// A fault of what stands there.
pub(super) fn under(fault: &Fault, field: &str) -> Fault {
    let pointer = format!("{field}{}", fault.pointer);
    Fault {
        pointer: pointer.into(),
        ..fault.clone()
    }
}

impl From<Failed> for Rejection {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Rejected(rejection) => rejection,
            Failed::Invalid(faults) => InvalidPrompt::new(faults).into(),
        }
    }
}

impl From<Rejection> for Failed {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<RegistryError> for Failed {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Invalid(invalid) => Self::below(&invalid, ""),
            error => Self::Rejected(error.into()),
        }
    }
}

/// Pointers are into the `variables` of the body, and of templates into the prompt.
impl From<RenderError> for Failed {
    fn from(error: RenderError) -> Self {
        match error.why() {
            RenderFault::Variables(faults) => Self::Invalid(
                faults
                    .iter()
                    .map(|fault| under(fault, "/variables"))
                    .collect(),
            ),
            RenderFault::Template(fault) => Self::Invalid(vec![under(fault, "/prompt")]),
            RenderFault::TooLarge(_) => Self::Rejected(error.into()),
        }
    }
}
