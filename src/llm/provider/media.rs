//! Pictures and documents by URL. Nobody fetches them here: a gateway that did could be sent anywhere.

use super::Inner;
use crate::{
    Rejection,
    llm::{ChatRequest, Content, Media, Operation, Part, Protocol, Wire, codec::words},
    rejection::Kind,
};

/// What a vendor takes by URL.
struct Takes {
    pictures: bool,
    documents: bool,
}

const BYTES: &str = "The provider takes the bytes of it, and no URL.";

/// Refuses what the vendor would have to fetch and does not. What was said in its own protocol is for it to
/// judge, also when a policy has edited it since, unless it is known to take no notice of a URL.
pub(super) fn check(
    provider: &Inner,
    protocol: Protocol,
    request: &ChatRequest,
) -> Result<(), Rejection> {
    if request.operation() != Operation::Chat {
        return Ok(());
    }
    let blind = provider
        .vendor
        .is_some_and(|vendor| vendor.quirks.no_urls());
    let wire = request.wire();
    let own = request.origin() == Some(protocol);
    // JSON may escape each letter of it.
    let may_have = |wire: &Wire| {
        let has = |word: &str| memchr::memmem::find(&wire.bytes, word.as_bytes()).is_some();
        [":/", r":\/", r"\u00"].into_iter().any(has)
    };
    if own && !blind || !wire.is_none_or(may_have) {
        return Ok(());
    }
    let takes = match protocol {
        Protocol::OpenAi => Takes {
            pictures: !blind,
            documents: false,
        },
        // Others whose words want bytes say so themselves.
        _ => return Ok(()),
    };
    // What cannot be read is told where it is written.
    let Ok(chat) = request.chat() else {
        return Ok(());
    };
    let mut refused = None;
    for (index, message) in chat.messages.iter().enumerate() {
        for (at, part) in message.parts.iter().enumerate() {
            let Some(within) = takes.refused(part) else {
                continue;
            };
            let path = format!("messages[{index}].content[{at}]{within}");
            let rejection = refused.unwrap_or_else(|| Rejection::new(Kind::UnsupportedParameter));
            refused = Some(rejection.with_fault(path, BYTES));
        }
    }
    match refused {
        Some(refused) => Err(words::refused(request, None, refused)),
        None => Ok(()),
    }
}

impl Takes {
    /// Where within a part stands what is not taken.
    fn refused(&self, part: &Part) -> Option<String> {
        match &part.content {
            Content::Image {
                source: Media::Url(_),
                ..
            } => (!self.pictures).then(String::new),
            Content::File {
                source: Media::Url(_),
                ..
            } => (!self.documents).then(String::new),
            Content::ToolResult { parts, .. } => parts
                .iter()
                .enumerate()
                .find_map(|(at, part)| Some(format!(".content[{at}]{}", self.refused(part)?))),
            _ => None,
        }
    }
}
