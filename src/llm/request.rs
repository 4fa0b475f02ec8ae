//! A request to a language model.

use super::{
    codec,
    message::{Chat, Embed, Message, Role},
    passthrough::{Passthrough, Upload},
    rerank::Rerank,
};
use crate::{
    Rejection,
    describe::{Describe, Described},
    principal::{Carried, Extensible},
    reissue::{Kept, Reissue},
    rejection::Kind,
};
use bytes::Bytes;
use http::{Extensions, HeaderMap};
use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

/// Whose words something is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// OpenAI Chat Completions, with its embeddings and its older completions.
    OpenAi,
    /// OpenAI Responses.
    Responses,
    /// Anthropic Messages.
    Anthropic,
    /// Google's Gemini: `generateContent` and what belongs to it.
    Gemini,
    /// Amazon Bedrock's Converse and ConverseStream. It is spoken to vendors only.
    Bedrock,
    /// Cohere, the second version: spoken to vendors, and by clients that ask for a rerank.
    Cohere,
    /// Ollama's own protocol: spoken to vendors.
    Ollama,
}

/// What is asked of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// An answer to a conversation.
    #[default]
    Chat,
    /// The continuation of a text, as older clients ask for it. Its typed view is a conversation of
    /// one message.
    Completions,
    /// Vectors.
    Embeddings,
    /// How many tokens a conversation has. Nothing is generated.
    CountTokens,
    /// The order of documents, by how well they fit a question.
    Rerank,
    /// What is passed on as it is. It has no typed view.
    Passthrough(Passthrough),
}

/// The bytes that a client sent, in its words, and where in them stands what a gateway edits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Wire {
    /// Whose words.
    pub protocol: Protocol,
    /// The body.
    pub bytes: Bytes,
    /// Where the model's name stands, with its quotes. `None` where the path has it.
    pub model: Option<Range<usize>>,
    /// Where the value of `stream_options` stands, if there is one.
    pub stream_options: Option<Range<usize>>,
    /// What of the query goes on to a vendor of the same protocol.
    pub query: Option<&'static str>,
    /// A setting that the client left to the vendor and the gateway has decided: where its text is put,
    /// in the place of what.
    pub decided: Option<(Range<usize>, &'static str)>,
    /// Whether it names other models that may answer, beside the one.
    pub(crate) names_others: bool,
    /// Where the object stands that names a prompt of the gateway, if there is one.
    pub(crate) prompt: Option<Range<usize>>,
    /// A form, of which the body is the beginning.
    pub(crate) upload: Option<Upload>,
}

impl Wire {
    /// A body of which nothing is edited.
    #[must_use]
    pub fn new(protocol: Protocol, bytes: Bytes) -> Self {
        Self {
            protocol,
            bytes,
            model: None,
            stream_options: None,
            query: None,
            decided: None,
            names_others: false,
            prompt: None,
            upload: None,
        }
    }
}

/// The typed view of a request.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each request, in an `Arc`"
)]
pub(crate) enum Typed {
    Chat(Chat),
    Embed(Embed),
    Rerank(Rerank),
}

/// A request to a language model: a conversation, a text to continue, or texts to embed.
///
/// It carries the client's own bytes, if it came over the wire, beside a typed view that is parsed
/// when it is first read. Whoever edits the view gives up the bytes. `Clone` bumps counters: bytes,
/// view, headers and extensions are shared until one of the clones is edited.
///
/// ```
/// use tower_gateway::llm::ChatRequest;
///
/// let request = ChatRequest::new().for_model("gpt-5-mini").system("Be brief.").user("Hello");
/// assert_eq!(request.chat()?.messages.len(), 2);
/// # Ok::<_, tower_gateway::Rejection>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChatRequest {
    operation: Operation,
    model: Arc<str>,
    stream: bool,
    include_usage: bool,
    origin: Option<Protocol>,
    said: Arc<Said>,
    carried: Arc<Carried>,
}

/// What is asked, in the client's bytes and as it is read.
#[derive(Clone, Debug)]
struct Said {
    wire: Option<Wire>,
    typed: OnceLock<Result<Typed, Rejection>>,
}

impl ChatRequest {
    /// An empty conversation with no model named, which asks for a stream and for its usage.
    #[must_use]
    pub fn new() -> Self {
        Self::typed(Operation::Chat, Typed::Chat(Chat::default()))
    }

    /// A request for vectors.
    #[must_use]
    pub fn embed(embed: Embed) -> Self {
        let mut request = Self::typed(Operation::Embeddings, Typed::Embed(embed));
        request.stream = false;
        request
    }

    /// A request for the order of documents.
    #[must_use]
    pub fn rerank(rerank: Rerank) -> Self {
        let mut request = Self::typed(Operation::Rerank, Typed::Rerank(rerank));
        request.stream = false;
        request
    }

    fn typed(operation: Operation, typed: Typed) -> Self {
        Self {
            operation,
            model: "".into(),
            stream: true,
            include_usage: true,
            origin: None,
            said: Arc::new(Said {
                wire: None,
                typed: OnceLock::from(Ok(typed)),
            }),
            carried: Arc::default(),
        }
    }

    /// A request that came over the wire, whose typed view is parsed when it is first read.
    #[must_use]
    pub fn from_wire(
        operation: Operation,
        model: &str,
        stream: bool,
        include_usage: bool,
        wire: Wire,
    ) -> Self {
        Self {
            operation,
            model: model.into(),
            stream,
            include_usage,
            origin: Some(wire.protocol),
            said: Arc::new(Said {
                wire: Some(wire),
                typed: OnceLock::new(),
            }),
            carried: Arc::default(),
        }
    }

    /// Names the model.
    #[must_use]
    pub fn for_model(mut self, model: &str) -> Self {
        self.set_model(model);
        self
    }

    /// Adds what the operator says.
    #[must_use]
    pub fn system(self, text: impl Into<String>) -> Self {
        self.message(Message::text(Role::System, text))
    }

    /// Adds what the person says.
    #[must_use]
    pub fn user(self, text: impl Into<String>) -> Self {
        self.message(Message::text(Role::User, text))
    }

    /// Adds a message. A request that is no conversation, or cannot be read as one, stays as it is.
    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        if let Ok(chat) = self.chat_mut() {
            chat.messages.push(message);
        }
        self
    }

    /// Asks for an answer in one piece. The bytes of a client that asked for a stream are given up.
    #[must_use]
    pub fn whole(mut self) -> Self {
        if self.stream && self.said.wire.is_some() {
            // Bytes that cannot be read stay as they are: the vendor judges them.
            let _ = self.chat_mut();
        }
        self.stream = false;
        self
    }

    /// Takes over headers and extensions.
    #[must_use]
    pub fn with_carried(mut self, carried: Carried) -> Self {
        match Arc::get_mut(&mut self.carried) {
            Some(own) => *own = carried,
            None => self.carried = Arc::new(carried),
        }
        self
    }

    /// Its headers, taken, unless a clone has them too.
    #[cfg(feature = "client")]
    pub(crate) fn take_headers(&mut self) -> HeaderMap {
        let carried = Arc::get_mut(&mut self.carried);
        carried.map_or_else(HeaderMap::new, |carried| {
            std::mem::take(&mut carried.headers)
        })
    }

    /// What is asked.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The name of the model.
    #[must_use]
    pub fn model(&self) -> &Arc<str> {
        &self.model
    }

    /// Renames the model. The rest of the bytes stays as it came.
    pub fn set_model(&mut self, model: &str) {
        if *self.model != *model {
            self.model = model.into();
        }
    }

    /// The same by a name that is kept elsewhere: nothing is copied.
    #[cfg(feature = "client")]
    pub(crate) fn share_model(&mut self, model: &Arc<str>) {
        self.model.clone_from(model);
    }

    /// Whether the answer shall come piece by piece.
    #[must_use]
    pub fn streams(&self) -> bool {
        self.stream
    }

    /// Whether the client wants to see the usage of a stream.
    #[must_use]
    pub fn includes_usage(&self) -> bool {
        self.include_usage
    }

    /// The client's own bytes, unless the request was made or edited here.
    #[must_use]
    pub fn wire(&self) -> Option<&Wire> {
        self.said.wire.as_ref()
    }

    pub(crate) fn wire_mut(&mut self) -> Option<&mut Wire> {
        Arc::make_mut(&mut self.said).wire.as_mut()
    }

    /// The protocol that it came in, whether or not it was edited since: whose words are in the fields
    /// that the typed view does not know. `None`: it was made here.
    #[must_use]
    pub fn origin(&self) -> Option<Protocol> {
        self.origin
    }

    fn view(&self) -> Result<&Typed, Rejection> {
        let view = self.said.typed.get_or_init(|| match self.wire() {
            Some(wire) => codec::of(wire.protocol).parse(self.operation, &wire.bytes),
            None => Err(Kind::Internal.into()),
        });
        view.as_ref().map_err(Clone::clone)
    }

    /// The conversation: parsed when first read, once for all clones.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidRequest`] with the path of what is wrong in the client's bytes;
    /// [`Kind::NotSupported`] if the request is no conversation.
    pub fn chat(&self) -> Result<&Chat, Rejection> {
        match self.view()? {
            Typed::Chat(chat) => Ok(chat),
            _ => Err(Kind::NotSupported.into()),
        }
    }

    /// What is to be embedded: parsed when first read, once for all clones.
    ///
    /// # Errors
    ///
    /// As for [`chat`](Self::chat).
    pub fn embedding(&self) -> Result<&Embed, Rejection> {
        match self.view()? {
            Typed::Embed(embed) => Ok(embed),
            _ => Err(Kind::NotSupported.into()),
        }
    }

    /// What is to be ranked: parsed when first read, once for all clones.
    ///
    /// # Errors
    ///
    /// As for [`chat`](Self::chat).
    pub fn reranking(&self) -> Result<&Rerank, Rejection> {
        match self.view()? {
            Typed::Rerank(rerank) => Ok(rerank),
            _ => Err(Kind::NotSupported.into()),
        }
    }

    /// The conversation, to be edited. The bytes of the client are given up.
    ///
    /// # Errors
    ///
    /// As for [`chat`](Self::chat); the bytes stay.
    pub fn chat_mut(&mut self) -> Result<&mut Chat, Rejection> {
        self.chat()?;
        match self.view_mut() {
            Some(Ok(Typed::Chat(chat))) => Ok(chat),
            _ => Err(Kind::Internal.into()),
        }
    }

    /// Puts another conversation in the place of what was said. The bytes of the client are given up.
    #[cfg_attr(not(feature = "prompts"), allow(dead_code))]
    pub(crate) fn set_chat(&mut self, chat: Chat) {
        self.said = Arc::new(Said {
            wire: None,
            typed: OnceLock::from(Ok(Typed::Chat(chat))),
        });
    }

    /// The view for this request alone, without the bytes: clones keep what they share.
    fn view_mut(&mut self) -> Option<&mut Result<Typed, Rejection>> {
        if Arc::get_mut(&mut self.said).is_none() {
            let typed = self.said.typed.clone();
            self.said = Arc::new(Said { wire: None, typed });
        }
        let said = Arc::get_mut(&mut self.said)?;
        said.wire = None;
        said.typed.get_mut()
    }
}

impl Default for ChatRequest {
    fn default() -> Self {
        Self::new()
    }
}

impl Describe for ChatRequest {
    fn describe(&self) -> Described<'_> {
        Described::new(match self.operation {
            Operation::Chat => "chat",
            Operation::Completions => "text_completion",
            Operation::Embeddings => "embeddings",
            Operation::CountTokens => "count_tokens",
            Operation::Rerank => "rerank",
            Operation::Passthrough(asked) => asked.name(),
        })
    }
}

/// A call of a model changes nothing but the bill. A form that comes while it is passed on can be had once.
impl Reissue for ChatRequest {
    type Copy = Self;

    fn is_idempotent(&self) -> bool {
        true
    }

    fn is_billed(&self) -> bool {
        true
    }

    async fn keep(self, _: usize) -> Result<Kept<Self>, Rejection> {
        let upload = self.wire().and_then(|wire| wire.upload.as_ref());
        let copy = upload.is_none_or(Upload::is_whole).then(|| self.clone());
        Ok((self, copy))
    }

    fn again(copy: &Self) -> Self {
        copy.clone()
    }
}

impl Extensible for ChatRequest {
    fn headers(&self) -> &HeaderMap {
        &self.carried.headers
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut Arc::make_mut(&mut self.carried).headers
    }

    fn extensions(&self) -> &Extensions {
        &self.carried.extensions
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        &mut Arc::make_mut(&mut self.carried).extensions
    }
}

/// Asked about with the name of the model. It has no body to look at: put the layer on the HTTP plane for
/// that.
#[cfg(feature = "authorize")]
impl crate::authorize::external::Subject for ChatRequest {
    type Asked = Self;

    fn asked(self) -> Self {
        self
    }

    fn model(&self) -> Option<Arc<str>> {
        Some(self.model.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_until_one_is_edited() {
        let one = ChatRequest::new().user("a");
        let two = one.clone().user("b");
        assert_eq!(one.chat().unwrap().messages.len(), 1);
        assert_eq!(two.chat().unwrap().messages.len(), 2);
    }

    #[test]
    fn an_embedding_is_no_conversation() {
        let request = ChatRequest::embed(Embed::default());
        assert_eq!(request.chat().unwrap_err().kind(), Kind::NotSupported);
        assert!(request.embedding().is_ok());
    }
}
