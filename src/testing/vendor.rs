//! A vendor of language models that speaks OpenAI's protocols, Anthropic's, Gemini's, Bedrock's,
//! Cohere's and Ollama's.

mod native;

use self::native::Tongue;
use super::{
    MockUpstream, Recorded, Reply, Script, Turn, converse, embedding, gemini, messages, responses,
    turn::{Asked, Kind, error, tokens},
};
use crate::exchange::Usage;
use serde_json::{Value, json};
use std::{
    fmt, io,
    net::SocketAddr,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

impl Script<Self> for Turn {
    fn next(&mut self, _: &Recorded) -> Option<Self> {
        Some(self.clone())
    }
}

/// What a mock vendor is made of. Also a [`Script`], for a [`MockUpstream`].
///
/// It serves `…/chat/completions`, `…/completions`, `…/embeddings`, `…/models`, `…/models/{id}`,
/// `…/responses`, `…/messages` and `…/messages/count_tokens` under any prefix,
/// `…/models/{model}:{method}` of Gemini's, `…/model/{id}/converse` and what belongs to it of
/// Bedrock's, `…/rerank`, `…/v2/chat`, `…/v2/embed` and `…/v2/rerank` of Cohere's, `…/api/chat`,
/// `…/api/embed` and `…/api/tags` of Ollama's. Only completions, responses, messages, chats, and what
/// generates content or converses, take a [`Turn`] of the script.
pub struct Vendor {
    pub(super) turns: Box<dyn Script<Turn>>,
    pub(super) key: Option<String>,
    pub(super) signer: Option<converse::Keys>,
    pub(super) models: Vec<String>,
    pub(super) strict: bool,
    truth: Arc<Mutex<Vec<Usage>>>,
    pub(super) calls: u64,
}

impl Vendor {
    /// Takes any key, lists `mock-chat` and `mock-embed`, and serves any name.
    #[must_use]
    pub fn new(turns: impl Script<Turn>) -> Self {
        Self {
            turns: Box::new(turns),
            key: None,
            signer: None,
            models: vec!["mock-chat".to_owned(), "mock-embed".to_owned()],
            strict: false,
            truth: Arc::default(),
            calls: 0,
        }
    }

    /// Takes this key alone, and answers any other with 401.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// As Bedrock, takes calls alone that are signed with these keys for this region, and answers any other
    /// with 403. The signature is checked over the bytes that came.
    #[must_use]
    pub fn aws_keys(
        mut self,
        access_key: impl Into<String>,
        secret: impl Into<String>,
        region: impl Into<String>,
    ) -> Self {
        self.signer = Some(converse::Keys {
            access_key: access_key.into(),
            secret: secret.into(),
            region: region.into(),
        });
        self
    }

    /// Lists these models, and answers any other name with 404.
    #[must_use]
    pub fn models<I>(mut self, models: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.models = models.into_iter().map(Into::into).collect();
        self.strict = true;
        self
    }

    /// Listens on any free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// That of the listener.
    pub async fn start(self) -> io::Result<MockVendor> {
        self.start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Listens there.
    ///
    /// # Errors
    ///
    /// That of the listener.
    pub async fn start_at(self, address: SocketAddr) -> io::Result<MockVendor> {
        let truth = self.truth.clone();
        let upstream = MockUpstream::start_at(address, self).await?;
        Ok(MockVendor { upstream, truth })
    }

    fn serve(&mut self, request: &Recorded) -> Option<Reply> {
        if let Some(call) = converse::Call::of(request) {
            return self.converse(request, &call);
        }
        let given = request.header("authorization").unwrap_or_default();
        let route = request.route();
        let messages = route.ends_with("/messages") || route.ends_with("/messages/count_tokens");
        let given = match request.header("x-api-key") {
            Some(key) => key,
            None => given.strip_prefix("Bearer ").unwrap_or_default(),
        };
        let google = request.header("x-goog-api-key");
        let given = google.unwrap_or(given);
        let call = gemini::Call::of(request);
        if self.key.as_deref().is_some_and(|key| key != given) {
            let refused = reply_of(Turn::unauthorized(given));
            if let Some(tongue) = Tongue::of(request) {
                return Some(Self::wrong_key(given, tongue));
            }
            return Some(if messages {
                messages::refused(refused)
            } else if call.is_some() || google.is_some() {
                gemini::refused(refused)
            } else {
                refused
            });
        }
        if let Some(call) = call.filter(|_| request.method == "POST") {
            return self.generate(request, &call);
        }
        if google.is_some() || gemini::is_listed(request) {
            return Some(self.googles(request));
        }
        if let Some(tongue) = Tongue::of(request) {
            return self.native(request, tongue);
        }
        match request.method.as_str() {
            "GET" if route.ends_with("/models") => Some(Reply::json(200, self.list())),
            "GET" => Some(match route.rsplit_once("/models/") {
                Some((_, id)) if self.models.iter().any(|model| model == id) => {
                    Reply::json(200, model(id))
                }
                Some((_, id)) => {
                    let (status, error) = no_model(id);
                    Reply::json(status, error)
                }
                None => no_route(request),
            }),
            "POST" if route.ends_with("/chat/completions") => self.complete(request, true),
            "POST" if route.ends_with("/completions") => self.complete(request, false),
            "POST" if route.ends_with("/responses") => self.respond(request),
            "POST" if messages && route.ends_with("/count_tokens") => Some(self.tokens(request)),
            "POST" if messages => self.message(request),
            "POST" if route.ends_with("/embeddings") => Some(self.embed(request)),
            "POST" if route.ends_with("/rerank") => Some(self.rank(request, false)),
            _ => Some(no_route(request)),
        }
    }

    fn list(&self) -> Value {
        let models: Vec<_> = self.models.iter().map(|id| model(id)).collect();
        json!({ "object": "list", "data": models })
    }

    /// The body and its model, or the status and the document that say what is wrong with them.
    fn read(&self, request: &Recorded, needs: &str) -> Result<(Value, String), (u16, Value)> {
        let kind = "invalid_request_error";
        let body: Value = serde_json::from_slice(&request.body).map_err(|_| {
            let message = "We could not parse the JSON body of your request.";
            (400, error(kind, "", message))
        })?;
        let Some(model) = body["model"].as_str().map(str::to_owned) else {
            return Err((400, error(kind, "", "you must provide a model parameter")));
        };
        if self.strict && !self.models.contains(&model) {
            return Err(no_model(&model));
        }
        if body.get(needs).is_none() {
            let message = format!("Missing required parameter: '{needs}'.");
            let mut error = error(kind, "missing_required_parameter", &message);
            error["error"]["param"] = json!(needs);
            return Err((400, error));
        }
        Ok((body, model))
    }

    fn complete(&mut self, request: &Recorded, chat: bool) -> Option<Reply> {
        let needs = if chat { "messages" } else { "prompt" };
        let (body, model) = match self.read(request, needs) {
            Ok(read) => read,
            Err((status, error)) => return Some(Reply::json(status, error)),
        };
        let turn = self.turns.next(request)?;
        self.calls += 1;
        let prefix = if chat { "chatcmpl" } else { "cmpl" };
        let choices = body["n"].as_u64().unwrap_or(1).clamp(1, 8);
        let asked = Asked {
            id: format!("{prefix}-mock{:06}", self.calls),
            created: 1_700_000_000 + self.calls,
            model: &model,
            chat,
            choices: usize::try_from(choices).unwrap_or(1),
            include_usage: body["stream_options"]["include_usage"] == true,
            input: input(&body[needs]),
        };
        let reply = match &turn.kind {
            Kind::Reply(reply) => reply.clone(),
            Kind::Answer(answer) => {
                self.count(answer.billed(&asked));
                let reply = if body["stream"] == true {
                    answer.stream(&asked)
                } else {
                    answer.whole(&asked)
                };
                self.headers(reply)
            }
        };
        Some(turn.sent(reply))
    }

    /// A response. The vendor keeps none, and so knows none of before.
    fn respond(&mut self, request: &Recorded) -> Option<Reply> {
        let read = self.read(request, "input");
        let read = read.and_then(|(body, model)| match responses::fault(&body) {
            Some(fault) => Err((400, fault)),
            None => Ok((body, model)),
        });
        let (body, model) = match read {
            Ok(read) => read,
            Err((status, error)) => return Some(Reply::json(status, error)),
        };
        // Scripts read the one dialect.
        let mut chat = request.clone();
        chat.body = responses::as_chat(&body).to_string().into();
        let turn = self.turns.next(&chat)?;
        self.calls += 1;
        let asked = Asked {
            id: format!("resp_mock{:06}", self.calls),
            created: 1_700_000_000 + self.calls,
            model: &model,
            chat: true,
            choices: 1,
            include_usage: true,
            input: input(&body["input"]) + input(&body["instructions"]),
        };
        let reply = match &turn.kind {
            Kind::Reply(reply) => reply.clone(),
            Kind::Answer(answer) => {
                let billed = answer.billed(&asked);
                self.count(billed);
                let reply = match body["stream"] == true {
                    true => responses::stream(answer, &asked, &body, billed),
                    false => responses::whole(answer, &asked, &body, billed),
                };
                self.headers(reply)
            }
        };
        Some(turn.sent(reply))
    }

    fn message(&mut self, request: &Recorded) -> Option<Reply> {
        let read = self.read(request, "messages");
        let read = read.and_then(|(body, model)| match messages::fault(&body) {
            Some(fault) => Err((400, error("invalid_request_error", "", &fault))),
            None => Ok((body, model)),
        });
        let (body, model) = match read {
            Ok(read) => read,
            Err((status, error)) => return Some(messages::refused(Reply::json(status, error))),
        };
        // Scripts read the one dialect.
        let mut chat = request.clone();
        chat.body = messages::as_chat(&body).to_string().into();
        let turn = self.turns.next(&chat)?;
        self.calls += 1;
        let asked = Asked {
            id: format!("msg_mock{:06}", self.calls),
            created: 0,
            model: &model,
            chat: true,
            choices: 1,
            include_usage: true,
            input: input(&body["messages"]) + input(&body["system"]),
        };
        let reply = match &turn.kind {
            Kind::Reply(reply) => messages::refused(reply.clone()),
            Kind::Answer(answer) => {
                let billed = answer.billed(&asked);
                self.count(billed);
                let reply = match body["stream"] == true {
                    true => messages::stream(answer, &asked, billed),
                    false => messages::whole(answer, &asked, billed),
                };
                reply.header("request-id", &format!("req_mock{:06}", self.calls))
            }
        };
        Some(turn.sent(reply))
    }

    /// The count of a conversation in Anthropic's words.
    fn tokens(&self, request: &Recorded) -> Reply {
        match self.read(request, "messages") {
            Ok((body, _)) => {
                let count = input(&body["messages"]) + input(&body["system"]);
                Reply::json(200, json!({ "input_tokens": count }))
            }
            Err((status, error)) => messages::refused(Reply::json(status, error)),
        }
    }

    fn embed(&mut self, request: &Recorded) -> Reply {
        let (body, model) = match self.read(request, "input") {
            Ok(read) => read,
            Err((status, error)) => return Reply::json(status, error),
        };
        self.calls += 1;
        let (vectors, input) = embedding::vectors(&body);
        self.count(Usage::new(input, 0));
        let reply = json!({
            "object": "list", "data": vectors, "model": model,
            "usage": { "prompt_tokens": input, "total_tokens": input },
        });
        self.headers(Reply::json(200, reply))
    }

    /// What is asked of a model in Gemini's words.
    fn generate(&mut self, request: &Recorded, call: &gemini::Call) -> Option<Reply> {
        let refused = |status, error| Some(gemini::refused(Reply::json(status, error)));
        let invalid = |message: &str| error("invalid_request_error", "", message);
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return refused(400, invalid("Invalid JSON payload received."));
        };
        let body = gemini::camel(body);
        if self.strict && !self.models.contains(&call.model) {
            let (status, error) = no_model(&call.model);
            return refused(status, error);
        }
        match &*call.method {
            "generateContent" | "streamGenerateContent" => {}
            "countTokens" => {
                let total = gemini::counted(&body);
                return Some(Reply::json(200, json!({ "totalTokens": total })));
            }
            "embedContent" | "batchEmbedContents" => {
                let Some((asked, single)) = gemini::as_embedding(&body) else {
                    return refused(400, invalid("content is not specified"));
                };
                self.calls += 1;
                let (vectors, input) = embedding::vectors(&asked);
                self.count(Usage::new(input, 0));
                return Some(gemini::embedded(&vectors, input, single));
            }
            _ => return refused(404, invalid("Requested entity was not found.")),
        }
        if let Some(fault) = gemini::fault(&body, &call.model) {
            return refused(400, invalid(&fault));
        }
        // Scripts read the one dialect.
        let mut chat = request.clone();
        chat.body = gemini::as_chat(&body, &call.model, call.streams())
            .to_string()
            .into();
        let turn = self.turns.next(&chat)?;
        self.calls += 1;
        let choices = body["generationConfig"]["candidateCount"].as_u64();
        let asked = Asked {
            id: format!("mock{:06}", self.calls),
            created: 0,
            model: &call.model,
            chat: true,
            choices: usize::try_from(choices.unwrap_or(1).clamp(1, 8)).unwrap_or(1),
            include_usage: true,
            input: gemini::counted(&body),
        };
        let reply = match &turn.kind {
            Kind::Reply(reply) => gemini::refused(reply.clone()),
            Kind::Answer(answer) => {
                let billed = answer.billed(&asked);
                self.count(billed);
                match call.streams() {
                    true => gemini::stream(answer, &asked, billed, call),
                    false => gemini::whole(answer, &asked, billed),
                }
            }
        };
        Some(turn.sent(reply))
    }

    /// What there is, in Gemini's words.
    fn googles(&self, request: &Recorded) -> Reply {
        let route = request.route();
        if route.ends_with("/models") {
            let models: Vec<_> = self.models.iter().map(|id| gemini::model(id)).collect();
            return Reply::json(200, json!({ "models": models }));
        }
        match route.rsplit_once("/models/") {
            Some((_, id)) if self.models.iter().any(|model| model == id) => {
                Reply::json(200, gemini::model(id))
            }
            _ => gemini::refused(no_route(request)),
        }
    }

    /// What a vendor adds to good answers.
    fn headers(&self, reply: Reply) -> Reply {
        let id = format!("req_mock{:06}", self.calls);
        reply
            .header("x-request-id", &id)
            .header("openai-version", "2020-10-01")
            .header("openai-organization", "mock-organization")
            .header("x-ratelimit-limit-requests", "500")
            .header("x-ratelimit-remaining-requests", "499")
            .header("x-ratelimit-reset-requests", "120ms")
    }

    pub(super) fn count(&self, usage: Usage) {
        locked(&self.truth).push(usage);
    }
}

impl Script for Vendor {
    fn next(&mut self, request: &Recorded) -> Option<Reply> {
        self.serve(request)
    }
}

impl fmt::Debug for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vendor")
            .field("models", &self.models)
            .finish_non_exhaustive()
    }
}

/// A [`Vendor`] that is being served. It is a [`MockUpstream`] that knows the truth.
#[derive(Debug)]
pub struct MockVendor {
    upstream: MockUpstream,
    truth: Arc<Mutex<Vec<Usage>>>,
}

impl MockVendor {
    /// Starts [`Vendor::new`] on any free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// That of the listener.
    pub async fn start(turns: impl Script<Turn>) -> io::Result<Self> {
        Vendor::new(turns).start().await
    }

    /// Where clients find it: [`url`](MockUpstream::url) and `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.upstream.url())
    }

    /// What each call that was answered cost: the whole of it, also where the answer was cut on its
    /// way.
    #[must_use]
    pub fn truth(&self) -> Vec<Usage> {
        locked(&self.truth).clone()
    }

    /// What all of them cost: input and output.
    #[must_use]
    pub fn total(&self) -> Usage {
        let truth = locked(&self.truth);
        let sum = |of: fn(&Usage) -> u64| truth.iter().map(of).sum();
        Usage::new(sum(|usage| usage.input), sum(|usage| usage.output))
    }
}

impl Deref for MockVendor {
    type Target = MockUpstream;

    fn deref(&self) -> &MockUpstream {
        &self.upstream
    }
}

pub(super) fn reply_of(turn: Turn) -> Reply {
    match turn.kind {
        Kind::Reply(reply) => reply,
        Kind::Answer(_) => Reply::status(500),
    }
}

fn model(id: &str) -> Value {
    json!({ "id": id, "object": "model", "created": 1_700_000_000, "owned_by": "mock" })
}

pub(super) fn no_model(id: &str) -> (u16, Value) {
    let message = format!("The model `{id}` does not exist or you do not have access to it.");
    let error = error("invalid_request_error", "model_not_found", &message);
    (404, error)
}

fn no_route(request: &Recorded) -> Reply {
    let message = format!("Invalid URL ({} {})", request.method, request.route());
    Reply::json(404, error("invalid_request_error", "", &message))
}

/// The tokens of every text among messages, or of a prompt.
pub(super) fn input(value: &Value) -> u64 {
    match value {
        Value::String(text) => tokens(text).len() as u64,
        Value::Array(items) => items.iter().map(input).sum(),
        Value::Number(_) => 1,
        Value::Object(fields) => {
            let texts = ["content", "text"].iter();
            texts.filter_map(|name| fields.get(*name)).map(input).sum()
        }
        Value::Null | Value::Bool(_) => 0,
    }
}

fn locked(truth: &Mutex<Vec<Usage>>) -> MutexGuard<'_, Vec<Usage>> {
    truth.lock().unwrap_or_else(PoisonError::into_inner)
}
