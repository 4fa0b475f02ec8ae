//! A mock vendor in Gemini's words, written from the vendor's documentation.

mod request;

pub(super) use request::{as_chat, camel, fault};

use super::{
    Recorded, Reply,
    turn::{Answer, Asked, tokens},
    vendor,
};
use crate::exchange::Usage;
use serde_json::{Value, json};

/// What a path asks of a model.
pub(super) struct Call {
    pub(super) model: String,
    pub(super) method: String,
    /// A stream of events, and not an array.
    sse: bool,
}

impl Call {
    /// `…/models/{model}:{method}`.
    pub(super) fn of(request: &Recorded) -> Option<Self> {
        let (_, name) = request.route().rsplit_once("/models/")?;
        let (model, method) = name.rsplit_once(':')?;
        let (_, query) = request.path.split_once('?').unwrap_or_default();
        Some(Self {
            model: model.replace("%2F", "/"),
            method: method.to_owned(),
            sse: query.split('&').any(|pair| pair == "alt=sse"),
        })
    }

    pub(super) fn streams(&self) -> bool {
        self.method == "streamGenerateContent"
    }
}

/// Whether the vendor's own list is asked for, and not one in OpenAI's form.
pub(super) fn is_listed(request: &Recorded) -> bool {
    request.route().starts_with("/v1beta/") && request.header("authorization").is_none()
}

/// An error of OpenAI's as one of this vendor's, which says in the body when to come back.
pub(super) fn refused(reply: Reply) -> Reply {
    let after = reply.named("retry-after").map(str::to_owned);
    let reply = reply.reworded(|status, body| {
        let error: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = error["error"]["message"].clone();
        let (status, document) = match status {
            401 => (400, invalid_key()),
            429 => (429, error_of(429, "RESOURCE_EXHAUSTED", &message, after)),
            404 => (404, error_of(404, "NOT_FOUND", &message, None)),
            503 => (503, error_of(503, "UNAVAILABLE", &message, None)),
            500.. => (500, error_of(500, "INTERNAL", &message, None)),
            status => (status, error_of(status, "INVALID_ARGUMENT", &message, None)),
        };
        (status, document.to_string())
    });
    reply.only(&["content-type"])
}

fn invalid_key() -> Value {
    json!({"error": {
        "code": 400,
        "message": "API key not valid. Please pass a valid API key.",
        "status": "INVALID_ARGUMENT",
        "details": [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
        }],
    }})
}

fn error_of(code: u16, status: &str, message: &Value, after: Option<String>) -> Value {
    let mut error = json!({"code": code, "message": message, "status": status});
    if let Some(after) = after {
        let kind = "type.googleapis.com/google.rpc.RetryInfo";
        error["details"] = json!([{"@type": kind, "retryDelay": format!("{after}s")}]);
    }
    json!({"error": error})
}

fn usage(billed: Usage) -> Value {
    let thoughts = billed.reasoning.unwrap_or(0).min(billed.output);
    let mut usage = json!({
        "promptTokenCount": billed.input,
        "candidatesTokenCount": billed.output - thoughts,
        "totalTokenCount": billed.total(),
    });
    if thoughts > 0 {
        usage["thoughtsTokenCount"] = thoughts.into();
    }
    if let Some(cached @ 1..) = billed.cache_read {
        usage["cachedContentTokenCount"] = cached.into();
    }
    usage
}

fn reason(answer: &Answer) -> String {
    match answer.finish.as_deref() {
        Some("length") => "MAX_TOKENS".to_owned(),
        Some("content_filter") => "SAFETY".to_owned(),
        None if !answer.refusal.is_empty() => "PROHIBITED_CONTENT".to_owned(),
        None | Some("stop" | "tool_calls") => "STOP".to_owned(),
        Some(other) => other.to_ascii_uppercase(),
    }
}

const SIGNATURE: &str = "bW9jaw==";

/// The parts of an answer: whole, or in these pieces. What is said first is signed if it was thought
/// about.
fn parts(answer: &Answer, asked: &Asked<'_>, whole: bool) -> Vec<Value> {
    let pieces = |text: &str| match whole {
        true => vec![text.to_owned()],
        false => answer.batches(&tokens(text)),
    };
    let mut parts = Vec::new();
    if !answer.reasoning.is_empty() {
        let thoughts = pieces(&answer.reasoning).into_iter();
        parts.extend(thoughts.map(|text| json!({"text": text, "thought": true})));
    }
    let said = parts.len();
    if !answer.text.is_empty() {
        let texts = pieces(&answer.text).into_iter();
        parts.extend(texts.map(|text| json!({"text": text})));
    }
    for (n, (name, arguments)) in answer.calls.iter().enumerate() {
        let args: Value = serde_json::from_str(arguments).unwrap_or_default();
        let id = format!("{}_{n}", asked.id);
        parts.push(json!({"functionCall": {"id": id, "name": name, "args": args}}));
    }
    let thinks = !answer.reasoning.is_empty() || asked.model.starts_with("gemini-3");
    if let Some(first) = parts.get_mut(said).filter(|_| thinks) {
        first["thoughtSignature"] = SIGNATURE.into();
    }
    parts
}

fn envelope(asked: &Asked<'_>, candidates: &[Value], billed: Usage) -> Value {
    json!({
        "candidates": candidates, "usageMetadata": usage(billed),
        "modelVersion": asked.model, "responseId": asked.id,
    })
}

pub(super) fn whole(answer: &Answer, asked: &Asked<'_>, billed: Usage) -> Reply {
    let candidates = (0..asked.choices).map(|index| {
        let content = json!({"parts": parts(answer, asked, true), "role": "model"});
        json!({"content": content, "finishReason": reason(answer), "index": index})
    });
    let candidates: Vec<_> = candidates.collect();
    Reply::json(200, envelope(asked, &candidates, billed))
}

pub(super) fn stream(answer: &Answer, asked: &Asked<'_>, billed: Usage, call: &Call) -> Reply {
    let parts = parts(answer, asked, false).into_iter().map(|part| {
        let content = json!({"parts": [part], "role": "model"});
        let so_far = Usage::new(billed.input, 1);
        envelope(asked, &[json!({"content": content, "index": 0})], so_far)
    });
    let mut chunks: Vec<_> = parts.collect();
    let content = json!({"parts": [{"text": ""}], "role": "model"});
    let last = json!({"content": content, "finishReason": reason(answer), "index": 0});
    chunks.push(envelope(asked, &[last], billed));
    if let Some(after) = answer.fails_after {
        // Another vendor's stream begins with an event that says nothing.
        chunks.truncate(after.saturating_sub(1));
        let message = json!("An internal error has occurred.");
        chunks.push(error_of(500, "INTERNAL", &message, None));
    }
    if call.sse {
        let events = chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n"));
        return Reply::pieces("text/event-stream", events);
    }
    let chunks = chunks.iter().enumerate().map(|(at, chunk)| {
        let before = if at == 0 { "[" } else { ",\r\n" };
        format!("{before}{chunk}")
    });
    let end = ["]".to_owned()];
    Reply::pieces("application/json; charset=UTF-8", chunks.chain(end))
}

/// What is to be embedded in OpenAI's words, and whether one vector is asked for.
pub(super) fn as_embedding(body: &Value) -> Option<(Value, bool)> {
    let single = body.get("requests").is_none();
    let requests = match body["requests"].as_array() {
        Some(all) => all.clone(),
        None => vec![body.clone()],
    };
    let texts = requests.iter().map(|request| {
        let parts = request["content"]["parts"].as_array()?.iter();
        let texts: Option<Vec<_>> = parts.map(|part| part["text"].as_str()).collect();
        Some(texts?.join("\n"))
    });
    let mut asked = json!({"input": texts.collect::<Option<Vec<_>>>()?});
    if let Some(dimensions) = requests.first()?.get("outputDimensionality") {
        asked["dimensions"] = dimensions.clone();
    }
    Some((asked, single))
}

pub(super) fn embedded(vectors: &[Value], input: u64, single: bool) -> Reply {
    let mut vectors = vectors
        .iter()
        .map(|one| json!({"values": one["embedding"]}));
    let usage = json!({"promptTokenCount": input});
    let body = match single {
        true => json!({"embedding": vectors.next(), "usageMetadata": usage}),
        false => {
            json!({"embeddings": vectors.collect::<Vec<_>>(), "usageMetadata": usage})
        }
    };
    Reply::json(200, body)
}

/// What a conversation has: everything that is text.
pub(super) fn counted(body: &Value) -> u64 {
    let body = body.get("generateContentRequest").unwrap_or(body);
    let contents = body["contents"].as_array().into_iter().flatten();
    let contents = contents.chain(body.get("systemInstruction"));
    contents
        .map(|content| vendor::input(&content["parts"]))
        .sum()
}

pub(super) fn model(id: &str) -> Value {
    json!({
        "name": format!("models/{id}"), "version": "001", "displayName": id,
        "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent"],
    })
}
