//! Vendors with protocols of their own, apart from the great ones: Cohere, and Ollama.

use super::{Usage, Vendor, input, reply_of};
use crate::testing::{
    Recorded, Reply, Turn, cohere, ollama, rerank,
    turn::{Answer, Asked, Kind, error},
};
use serde_json::{Value, json};

/// Whose words a request is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tongue {
    Cohere,
    Ollama,
}

/// As they write an answer.
type Write = fn(&Answer, &Asked<'_>, Usage) -> Reply;

impl Tongue {
    pub(super) fn of(request: &Recorded) -> Option<Self> {
        let route = request.route();
        let ends = |all: &[&str]| all.iter().any(|end| route.ends_with(end));
        if ends(&["/v2/chat", "/v2/embed", "/v2/rerank"]) {
            Some(Self::Cohere)
        } else if ends(&["/api/chat", "/api/embed", "/api/tags"]) {
            Some(Self::Ollama)
        } else {
            None
        }
    }

    pub(super) fn refused(self, reply: Reply) -> Reply {
        match self {
            Self::Cohere => cohere::refused(reply),
            Self::Ollama => ollama::refused(reply),
        }
    }

    fn fault(self, body: &Value) -> Option<String> {
        match self {
            Self::Cohere => cohere::fault(body),
            Self::Ollama => ollama::fault(body),
        }
    }

    fn as_chat(self, body: &Value) -> Value {
        match self {
            Self::Cohere => cohere::as_chat(body),
            Self::Ollama => ollama::as_chat(body),
        }
    }

    /// Ollama streams unless it is told not to.
    fn writes(self, body: &Value) -> Write {
        match (self, &body["stream"]) {
            (Self::Cohere, Value::Bool(true)) => cohere::stream,
            (Self::Cohere, _) => cohere::whole,
            (Self::Ollama, Value::Bool(false)) => ollama::whole,
            (Self::Ollama, _) => ollama::stream,
        }
    }
}

impl Vendor {
    /// The order of documents, as Cohere has it or as Jina has.
    pub(super) fn rank(&mut self, request: &Recorded, cohere: bool) -> Reply {
        let answer = self.read(request, "documents").and_then(|(body, model)| {
            let answer = rerank::answer(&body, &model, cohere);
            answer.map_err(|fault| (400, error("invalid_request_error", "", &fault)))
        });
        match answer {
            Ok((answer, input)) => {
                self.calls += 1;
                self.count(Usage::new(input, 0));
                Reply::json(200, answer)
            }
            Err((status, error)) if cohere => cohere::refused(Reply::json(status, error)),
            Err((status, error)) => Reply::json(status, error),
        }
    }

    /// What is asked in these words.
    pub(super) fn native(&mut self, request: &Recorded, tongue: Tongue) -> Option<Reply> {
        let route = request.route();
        if route.ends_with("/v2/rerank") {
            return Some(self.rank(request, true));
        }
        if route.ends_with("/api/tags") {
            let models = self.models.iter();
            let models: Vec<_> = models
                .map(|id| json!({"name": id, "model": id, "size": 1}))
                .collect();
            return Some(Reply::json(200, json!({ "models": models })));
        }
        let embeds = route.ends_with("/embed");
        let needs = match tongue {
            _ if !embeds => "messages",
            Tongue::Cohere => "texts",
            Tongue::Ollama => "input",
        };
        let read = self.read(request, needs);
        let read = read.and_then(|(body, model)| match tongue.fault(&body) {
            Some(fault) if !embeds => Err((400, error("", "", &fault))),
            _ => Ok((body, model)),
        });
        let (body, model) = match read {
            Ok(read) => read,
            Err((status, error)) => return Some(tongue.refused(Reply::json(status, error))),
        };
        if embeds {
            self.calls += 1;
            let (answer, input) = match tongue {
                Tongue::Cohere => cohere::embedded(&body),
                Tongue::Ollama => ollama::embedded(&body),
            };
            self.count(Usage::new(input, 0));
            return Some(Reply::json(200, answer));
        }
        // Scripts read the one dialect.
        let mut chat = request.clone();
        chat.body = tongue.as_chat(&body).to_string().into();
        let turn = self.turns.next(&chat)?;
        self.calls += 1;
        let asked = Asked {
            id: format!("mock{:06}", self.calls),
            created: 1_700_000_000 + self.calls,
            model: &model,
            chat: true,
            choices: 1,
            include_usage: true,
            input: input(&body["messages"]),
        };
        let reply = match &turn.kind {
            Kind::Reply(reply) => tongue.refused(reply.clone()),
            Kind::Answer(answer) => {
                let billed = answer.billed(&asked);
                self.count(billed);
                tongue.writes(&body)(answer, &asked, billed)
            }
        };
        Some(turn.sent(reply))
    }

    pub(super) fn wrong_key(given: &str, tongue: Tongue) -> Reply {
        tongue.refused(reply_of(Turn::unauthorized(given)))
    }
}
