//! What a whole conversation comes to.

use super::{
    Count, Source, TooLong,
    encoding::Work,
    image::{self, Size},
    model::{Family, ModelTokenizer},
    tools,
};
use crate::{
    Rejection,
    llm::{
        ChatRequest, Operation,
        message::{Chat, Content, Embed, EmbedInput, Media, Message, Part, ResponseFormat, Role},
    },
};

/// Fields of a request that the model never sees.
const SILENT: &[&str] = &[
    "logit_bias",
    "logprobs",
    "metadata",
    "prompt_cache_key",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
    "top_logprobs",
    "user",
];

/// How many tokens a request has, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChatCount {
    /// The texts, calls of tools and what these answered, with what stands between messages.
    pub messages: u64,
    /// The tools that may be called.
    pub tools: u64,
    /// The schema of the answer.
    pub schema: u64,
    /// The pictures.
    pub images: u64,
    /// Sounds and documents.
    pub files: u64,
    /// Whether the sum is known.
    pub source: Source,
}

impl ChatCount {
    /// The sum.
    #[must_use]
    pub fn total(&self) -> Count {
        let parts = [self.tools, self.schema, self.images, self.files];
        Count {
            tokens: parts.into_iter().fold(self.messages, u64::saturating_add),
            source: self.source,
        }
    }
}

/// What a vendor puts around what is said.
struct Framing {
    /// Around the conversation.
    start: u64,
    /// Around what the operator says, the role's name among it.
    system: u64,
    /// Around what the model said.
    assistant: u64,
    /// Around all else.
    message: u64,
}

impl ModelTokenizer<'_> {
    /// Counts what a request asks, whatever it asks.
    ///
    /// ```
    /// use tower_gateway::llm::{ChatRequest, tokens::ModelTokenizer};
    ///
    /// let request = ChatRequest::new().for_model("gpt-4o").user("Say this is a test");
    /// let count = ModelTokenizer::of(request.model()).request(&request)?.total();
    /// assert_eq!((count.tokens, count.is_exact()), (12, true));
    /// # Ok::<_, tower_gateway::Rejection>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Kind::TooLarge`](crate::rejection::Kind::TooLarge) for [`TooLong`], and what
    /// [`ChatRequest::chat`] says of a request that cannot be read.
    pub fn request(&self, request: &ChatRequest) -> Result<ChatCount, Rejection> {
        Ok(match request.operation() {
            Operation::Chat | Operation::CountTokens => self.chat(request.chat()?)?,
            Operation::Completions => self.completion(request.chat()?)?,
            Operation::Embeddings => self.embed(request.embedding()?)?,
            Operation::Rerank | Operation::Passthrough(_) => {
                return Err(crate::rejection::Kind::NotSupported.into());
            }
        })
    }

    /// Counts a conversation as the model is given it.
    ///
    /// Exact are conversations of text alone with those models of OpenAI's whose framing is
    /// published; all others are estimated.
    ///
    /// # Errors
    ///
    /// [`TooLong`] by all of its texts together.
    pub fn chat(&self, chat: &Chat) -> Result<ChatCount, TooLong> {
        let framing = self.framing();
        let mut tally = Tally::new(self);
        let prefilled = chat.messages.last().map(|last| last.role) == Some(Role::Assistant);
        // Claude goes on with its own words, where they come last.
        if self.family() != Family::Anthropic || !prefilled {
            tally.sum.messages = framing.start;
        }
        for message in &chat.messages {
            tally.sum.messages += match message.role {
                Role::System | Role::Developer => framing.system,
                Role::Assistant => framing.assistant,
                _ => framing.message,
            };
            tally.message(message)?;
        }
        tally.exact &= chat.tools.is_empty() && framing_is_published(self.model());
        tally.sum.tools = tools::all(self, chat, &mut tally.work)?;
        if let Some(ResponseFormat::JsonSchema { schema, name, .. }) = &chat.response_format {
            tally.exact = false;
            tally.sum.schema = tools::schema(self, name, schema.as_ref(), &mut tally.work)?;
        }
        tally.exact &= chat.extra.keys().all(|field| SILENT.contains(&&**field));
        Ok(tally.end())
    }

    /// Counts a text to be continued, which has nothing around it.
    fn completion(&self, chat: &Chat) -> Result<ChatCount, TooLong> {
        let mut tally = Tally::new(self);
        for message in &chat.messages {
            tally.message(message)?;
        }
        Ok(tally.end())
    }

    /// Counts what is to be embedded.
    ///
    /// # Errors
    ///
    /// [`TooLong`] by all of its texts together.
    pub fn embed(&self, embed: &Embed) -> Result<ChatCount, TooLong> {
        let mut tally = Tally::new(self);
        for input in &embed.inputs {
            match input {
                EmbedInput::Text(text) => tally.text(text)?,
                EmbedInput::Tokens(tokens) => tally.sum.messages += tokens.len() as u64,
            }
        }
        Ok(tally.end())
    }

    fn framing(&self) -> Framing {
        let model = self.model();
        let [start, system, message, assistant] = match self.family() {
            // Three and the role for each message, and three before the answer.
            Family::OpenAi if framing_is_published(model) => [3, 4, 4, 4],
            // Those of the harmony format name a channel in each answer. The open ones are shown
            // the preamble that says what they are.
            Family::OpenAi if model.starts_with("gpt-oss") => [68, 4, 4, 6],
            Family::OpenAi => [2, 4, 4, 6],
            Family::Anthropic => [3, 0, 4, 4],
            Family::Gemini => [0, 1, 1, 1],
            // Newer ones are told how hard to think.
            Family::Mistral => [10, 2, 2, 2],
            // The template of these names two dates.
            Family::Llama if ["3.1", "3.2", "3.3"].iter().any(|is| model.contains(is)) => {
                [30, 5, 5, 5]
            }
            Family::Llama => [5, 5, 5, 5],
            Family::DeepSeek => [2, 0, 2, 2],
            Family::Cohere | Family::Qwen => [3, 5, 5, 5],
            Family::Other => [1, 3, 3, 3],
        };
        Framing {
            start,
            system,
            message,
            assistant,
        }
    }
}

/// The chat models that answer without thinking.
fn framing_is_published(model: &str) -> bool {
    let model = model.strip_prefix("ft:").unwrap_or(model);
    let known = ["gpt-3.5", "gpt-35", "gpt-4", "chatgpt-4o"];
    let more = ["search", "audio", "realtime", "transcribe"];
    known.iter().any(|prefix| model.starts_with(prefix))
        && !more.iter().any(|part| model.contains(part))
}

struct Tally<'a> {
    model: &'a ModelTokenizer<'a>,
    work: Work,
    sum: ChatCount,
    exact: bool,
}

impl<'a> Tally<'a> {
    fn new(model: &'a ModelTokenizer<'a>) -> Self {
        let sum = ChatCount {
            messages: 0,
            tools: 0,
            schema: 0,
            images: 0,
            files: 0,
            source: Source::Exact,
        };
        Self {
            model,
            work: Work::new(),
            sum,
            exact: model.is_own(),
        }
    }

    fn end(self) -> ChatCount {
        let sum = self.sum;
        let source = match self.exact && self.work.is_exact() {
            true => Source::Exact,
            // Of pictures and documents too few are recorded.
            false if sum.images + sum.files > 0 || !self.work.is_exact() => Source::Estimated {
                error_percent: None,
            },
            false => self.model.estimated(sum.tools + sum.schema > 0),
        };
        ChatCount { source, ..sum }
    }

    fn text(&mut self, text: &str) -> Result<(), TooLong> {
        self.sum.messages += self.model.measure(text, &mut self.work)?;
        Ok(())
    }

    fn message(&mut self, message: &Message) -> Result<(), TooLong> {
        if let Some(name) = &message.name {
            self.sum.messages += 1;
            self.text(name)?;
        }
        self.exact &= message.extra.is_empty() && message.role != Role::Tool;
        // Several texts are joined in a way that is not published.
        self.exact &= message.parts.len() <= 1;
        self.parts(&message.parts)
    }

    fn parts(&mut self, parts: &[Part]) -> Result<(), TooLong> {
        for part in parts {
            self.exact &= matches!(part.content, Content::Text(_));
            match &part.content {
                Content::Text(text) | Content::Refusal(text) => self.text(text)?,
                Content::Reasoning(reasoning) => {
                    self.text(&reasoning.text)?;
                    // Sealed text: a byte of four is a token, and base64 has four letters for three.
                    let sealed = reasoning.redacted.as_ref().map_or(0, String::len);
                    self.sum.messages += sealed as u64 * 3 / 16;
                }
                Content::ToolCall(call) => {
                    self.sum.messages += tools::AROUND_A_CALL;
                    self.text(&call.name)?;
                    self.text(&call.arguments)?;
                }
                Content::ToolResult { parts, .. } => {
                    self.sum.messages += tools::AROUND_A_RESULT;
                    self.parts(parts)?;
                }
                Content::Image { source, detail } => {
                    let (family, model) = (self.model.family(), self.model.model());
                    let size = Size::of(source);
                    self.sum.images += image::tokens(family, model, size, detail.as_deref());
                }
                Content::Audio(media) | Content::File { source: media, .. } => {
                    self.sum.files += file(self.model.family(), media);
                }
                Content::Other(value) => self.text(&value.to_string())?,
            }
        }
        Ok(())
    }
}

/// By the bytes, as nothing else is known without reading it: a second of sound has 6,000 (MP3 at
/// 48 kbit/s) or 48,000 (16 bit at 24 kHz), a page of a document about 50,000, and text four for a
/// token. What is elsewhere counts as a minute, or as four pages.
fn file(family: Family, media: &Media) -> u64 {
    // Ten a second for OpenAI's, 32 for Gemini's.
    let second = match family {
        Family::OpenAi => 10,
        _ => 32,
    };
    // Text and picture of each page for Anthropic's; a picture for Gemini's.
    let page = match family {
        Family::Gemini => 258,
        _ => 2_000,
    };
    let Media::Data { mime, base64 } = media else {
        return page * 4;
    };
    let bytes = base64.len() as u64 / 4 * 3;
    let mime = mime.strip_prefix("audio/").unwrap_or(mime);
    match mime {
        "wav" | "x-wav" | "wave" | "pcm16" | "pcm" | "l16" => bytes.div_ceil(48_000) * second,
        "mp3" | "mpeg" | "mp4" | "m4a" | "aac" | "ogg" | "opus" | "webm" | "flac" => {
            bytes.div_ceil(6_000) * second
        }
        _ if mime.starts_with("text/") || mime == "application/json" => bytes.div_ceil(4),
        _ => bytes.div_ceil(50_000) * page,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::message::{Extra, Tool, ToolCall};
    use serde_json::json;

    fn of(model: &str, chat: &Chat) -> ChatCount {
        ModelTokenizer::of(model).chat(chat).unwrap()
    }

    fn said(text: &str) -> Chat {
        Chat {
            messages: vec![Message::text(Role::User, text)],
            ..Chat::default()
        }
    }

    #[test]
    fn messages_come_to_what_openais_cookbook_says() {
        let named = |name: &str, text: &str| Message {
            name: Some(name.into()),
            ..Message::text(Role::System, text)
        };
        let chat = Chat {
            messages: vec![
                Message::text(
                    Role::System,
                    "You are a helpful, pattern-following assistant that translates corporate \
                     jargon into plain English.",
                ),
                named(
                    "example_user",
                    "New synergies will help drive top-line growth.",
                ),
                named(
                    "example_assistant",
                    "Things working well together will increase revenue.",
                ),
                named(
                    "example_user",
                    "Let's circle back when we have more bandwidth to touch base on opportunities \
                     for increased leverage.",
                ),
                named(
                    "example_assistant",
                    "Let's talk later when we're less busy about how to do better.",
                ),
                Message::text(
                    Role::User,
                    "This late pivot means we don't have time to boil the ocean for the client \
                     deliverable.",
                ),
            ],
            ..Chat::default()
        };
        for (model, tokens) in [("gpt-4", 129), ("gpt-3.5-turbo", 129), ("gpt-4o", 124)] {
            let count = of(model, &chat).total();
            assert_eq!((count.tokens, count.is_exact()), (tokens, true), "{model}");
        }
    }

    #[test]
    fn tools_come_to_what_openais_cookbook_says() {
        let tool = Tool {
            description: Some("Get the current weather in a given location".into()),
            parameters: Some(json!({
                "type": "object",
                "properties": {
                    "location": {
                        "type": "string",
                        "description": "The city and state, e.g. San Francisco, CA",
                    },
                    "unit": {
                        "type": "string",
                        "description": "The unit of temperature to return",
                        "enum": ["celsius", "fahrenheit"],
                    },
                },
                "required": ["location"],
            })),
            ..Tool::new("get_current_weather")
        };
        let system = "You are a helpful assistant that can answer to questions about the weather.";
        let mut chat = said("What's the weather like in San Francisco?");
        chat.messages.insert(0, Message::text(Role::System, system));
        chat.tools = vec![tool];
        let count = of("gpt-4o", &chat);
        assert_eq!(count.total().tokens, 101);
        assert_eq!(of("gpt-4", &chat).total().tokens, 105);
        assert!(!count.total().is_exact());
        chat.tools.clear();
        assert_eq!(of("gpt-4o", &chat).messages, count.messages);
        assert_eq!(of("gpt-4o", &chat).tools, 0);
    }

    #[test]
    fn pictures_and_documents_are_told_apart() {
        let mut chat = said("What is this?");
        let text = of("gpt-4o", &chat);
        let elsewhere = Media::Url("https://x.test/a.png".into());
        chat.messages[0].parts.extend([
            Part::from(Content::Image {
                source: elsewhere.clone(),
                detail: None,
            }),
            Content::File {
                source: elsewhere,
                name: None,
            }
            .into(),
        ]);
        let count = of("gpt-4o", &chat);
        assert_eq!(count.messages, text.messages);
        assert_eq!((count.images, count.files), (765, 8_000));
        assert!(text.total().is_exact() && !count.total().is_exact());
    }

    #[test]
    fn what_openai_does_not_publish_is_no_longer_exact() {
        let plain = said("Hello");
        assert!(of("gpt-4o", &plain).total().is_exact());
        for model in ["gpt-5", "o3", "gpt-4o-search-preview", "llama-3.3-70b", "x"] {
            assert!(!of(model, &plain).total().is_exact(), "{model}");
        }
        let mut called = plain.clone();
        let call = Content::ToolCall(ToolCall::default()).into();
        called.messages.push(Message::new(Role::Assistant, [call]));
        let mut unknown = plain.clone();
        unknown.extra = Extra::from_iter([("functions".to_owned(), json!([]))]);
        let mut silent = plain.clone();
        silent.extra = Extra::from_iter([("user".to_owned(), json!("alice"))]);
        assert!(!of("gpt-4o", &called).total().is_exact());
        assert!(!of("gpt-4o", &unknown).total().is_exact());
        assert!(of("gpt-4o", &silent).total().is_exact());
    }

    #[test]
    fn what_is_embedded_has_nothing_around_it() {
        let embed = Embed {
            inputs: vec![
                EmbedInput::Text("Hello, world!".into()),
                EmbedInput::Tokens(vec![1, 2, 3]),
            ],
            ..Embed::default()
        };
        let request = ChatRequest::embed(embed).for_model("text-embedding-3-small");
        let count = super::super::count(&request).unwrap().total();
        assert_eq!((count.tokens, count.is_exact()), (7, true));
    }

    #[test]
    fn texts_are_too_long_by_their_sum() {
        let half = " ".repeat(TooLong::LIMIT / 2);
        let mut chat = said(&half);
        assert!(ModelTokenizer::of("gpt-4o").chat(&chat).is_ok());
        chat.messages.push(Message::text(Role::User, half + "x"));
        assert!(ModelTokenizer::of("gpt-4o").chat(&chat).is_err());
    }

    #[test]
    fn a_schema_of_any_depth_is_counted() {
        let mut schema = json!({"type": "string"});
        for _ in 0..100 {
            schema = json!({"type": "object", "properties": {"a": schema}});
        }
        let mut chat = said("Hello");
        let parameters = Some(schema);
        chat.tools = vec![Tool {
            parameters,
            ..Tool::new("deep")
        }];
        assert!(of("gpt-4o", &chat).tools > 100);
    }
}
