//! Templates and schemas, compiled.

use super::{
    content::{Prompt, Variables},
    fault::{Fault, InvalidPrompt},
    version::RenderFault,
};
use crate::llm::Chat;
use serde_json::Value;
use std::sync::Arc;

pub(super) struct Compiled {}

impl Compiled {
    pub(super) fn new(prompt: &Prompt) -> Result<Self, InvalidPrompt> {
        todo!()
    }

    pub(super) fn model(&self) -> Option<&Arc<str>> {
        todo!()
    }

    pub(super) fn variables_schema(&self) -> &Value {
        todo!()
    }

    pub(super) fn output_schema(&self) -> Option<&Value> {
        todo!()
    }

    pub(super) fn check_variables(&self, variables: &Variables) -> Vec<Fault> {
        todo!()
    }

    pub(super) fn check_output(&self, answer: &Value) -> Vec<Fault> {
        todo!()
    }

    pub(super) fn render(&self, variables: &Variables) -> Result<Chat, RenderFault> {
        todo!()
    }
}
