//! Where templates stand in messages.

use crate::{
    llm::{Content, Media, Message, Part},
    prompt::fault::below,
};

/// Where the text of a template goes.
pub(super) struct Slot {
    message: usize,
    part: usize,
    /// In the result of a tool.
    inner: Option<usize>,
    /// The name of the template, which is the pointer to it.
    pub(super) at: Box<str>,
}

impl Slot {
    pub(super) fn fill(&self, messages: &mut [Message], text: String) {
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
pub(super) fn take_templates(
    messages: &mut [Message],
    templates: &mut Vec<(String, String)>,
) -> Vec<Slot> {
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
