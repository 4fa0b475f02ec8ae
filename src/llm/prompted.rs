//! A request that names a prompt of the gateway.

use super::{Chat, ChatRequest, Operation, codec, codec::value::document, request::Typed};
use crate::Rejection;
#[cfg(feature = "authorize")]
use crate::{
    Extensible as _,
    authorize::{Ask, Asked},
};
use serde_json::Value;
use std::{num::NonZeroU32, ops::Range, sync::Arc};

/// The field that names a prompt.
pub(crate) const FIELD: &str = "prompt";

/// A model of this name, or of none, is the one that the prompt names.
pub(crate) const ANY_MODEL: &str = "-";

/// From which version of which prompt a request is rendered.
///
/// In the extensions of the request, for layers further in, and of the answer, for those further out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prompted {
    /// The name of the prompt.
    pub name: Arc<str>,
    /// Which version of it.
    pub version: NonZeroU32,
    /// The label that it was found by, if it was.
    pub label: Option<Arc<str>>,
    /// The model that is asked.
    pub model: Arc<str>,
}

impl Prompted {
    /// Rendered from this version, for this model.
    #[must_use]
    pub fn new(
        name: impl Into<Arc<str>>,
        version: NonZeroU32,
        label: Option<Arc<str>>,
        model: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            name: name.into(),
            version,
            label,
            model: model.into(),
        }
    }
}

/// The name of a prompt that a request names, and that it is not rendered from: it will be refused. In its
/// extensions, for policies that decide by the name before.
#[derive(Clone)]
#[cfg_attr(not(all(feature = "prompts", feature = "authorize")), allow(dead_code))]
pub(crate) struct Unprompted(pub(crate) Arc<str>);

/// Whether a model was named, or is left to a prompt.
pub(crate) fn names_model(model: &str) -> bool {
    !model.is_empty() && model != ANY_MODEL
}

/// Whether an operation is one in which a prompt may be named: elsewhere the field is a text.
pub(crate) fn may_name(operation: Operation) -> bool {
    matches!(operation, Operation::Chat | Operation::CountTokens)
}

impl ChatRequest {
    /// Whether it names a prompt: seen when it was read, at no further cost.
    #[must_use]
    pub fn names_prompt(&self) -> bool {
        match self.wire() {
            Some(wire) => wire.prompt.is_some(),
            // It was made or edited here, so it has a view.
            None => {
                may_name(self.operation())
                    && self.chat().is_ok_and(|chat| {
                        let named = chat.extra.get(FIELD);
                        named.is_some_and(Value::is_object)
                    })
            }
        }
    }

    /// What it says beside the prompt that it names, and the field that names it. `None`: there is none.
    #[cfg_attr(not(feature = "prompts"), allow(dead_code))]
    pub(crate) fn beside_prompt(&self) -> Option<Result<(Value, Chat), Rejection>> {
        if let Some(wire) = self.wire() {
            let span = wire.prompt.clone()?;
            return Some(self.read_beside(&wire.bytes, span));
        }
        if !self.names_prompt() {
            return None;
        }
        let mut chat = self.chat().ok()?.clone();
        let named = chat.extra.remove(FIELD)?;
        Some(Ok((named, chat)))
    }

    fn read_beside(&self, bytes: &[u8], span: Range<usize>) -> Result<(Value, Chat), Rejection> {
        let internal = || Rejection::from(crate::rejection::Kind::Internal);
        let named = document(bytes.get(span.clone()).ok_or_else(internal)?)?;
        let (before, after) = (bytes.get(..span.start), bytes.get(span.end..));
        let (before, after) = before.zip(after).ok_or_else(internal)?;
        let rest = [before, b"null", after].concat();
        let protocol = self.origin().ok_or_else(internal)?;
        match codec::of(protocol).parse_beside(&rest)? {
            Typed::Chat(mut chat) => {
                chat.extra.remove(FIELD);
                Ok((named, chat))
            }
            _ => Err(internal()),
        }
    }
}

/// The model, and the prompt, if it names one; and the method, the path and the route by which it came, if it
/// came over HTTP and a layer there has seen them.
#[cfg(feature = "authorize")]
impl Ask for ChatRequest {
    fn ask(&self) -> Asked<'_> {
        let (asked, extensions) = (Asked::of(self), self.extensions());
        if let Some(Unprompted(name)) = extensions.get() {
            let asked = asked.with_prompt(name);
            // Which model the prompt would have led to nobody knows.
            return match names_model(self.model()) {
                true => asked.with_model(self.model()),
                false => asked,
            };
        }
        let asked = asked.with_model(self.model());
        match extensions.get::<Prompted>() {
            Some(prompted) => asked.with_prompt(&prompted.name),
            // Whoever finds it stands further in.
            None if self.names_prompt() => asked.with_later_prompt(),
            None => asked,
        }
    }
}
