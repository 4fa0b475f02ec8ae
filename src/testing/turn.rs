//! What a mock vendor has to say, and how it says it in OpenAI's words.

use super::Reply;
use crate::exchange::Usage;
use serde_json::{Value, json};
use std::{fmt, sync::Arc, time::Duration};

/// One answer of a mock vendor, streamed or not as the request asks.
///
/// The vendor's tokens are words: each is a run of spaces and the run of other characters after it,
/// so that their number can be told by eye.
#[derive(Clone)]
pub struct Turn {
    pub(super) kind: Kind,
    transport: Vec<Transport>,
}

type Transport = Arc<dyn Fn(Reply) -> Reply + Send + Sync>;

#[derive(Clone)]
pub(super) enum Kind {
    Answer(Box<Answer>),
    Reply(Reply),
}

#[derive(Clone, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) reasoning: String,
    pub(super) calls: Vec<(String, String)>,
    pub(super) refusal: String,
    pattern: Vec<usize>,
    pub(super) finish: Option<String>,
    usage: Option<Usage>,
    pub(super) fails_after: Option<usize>,
}

impl Turn {
    /// The model says this.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::answer(Answer {
            text: text.into(),
            ..Answer::default()
        })
    }

    /// The model calls these tools at once: each a name, and arguments as they display.
    #[must_use]
    pub fn tool_calls<N: Into<String>, A: fmt::Display>(
        calls: impl IntoIterator<Item = (N, A)>,
    ) -> Self {
        let calls = calls.into_iter();
        Self::answer(Answer {
            calls: calls
                .map(|(name, arguments)| (name.into(), arguments.to_string()))
                .collect(),
            ..Answer::default()
        })
    }

    /// The model says this instead of an answer.
    #[must_use]
    pub fn refusal(text: impl Into<String>) -> Self {
        Self::answer(Answer {
            refusal: text.into(),
            ..Answer::default()
        })
    }

    /// Any other answer, as it stands. Counts no tokens.
    #[must_use]
    pub fn reply(reply: Reply) -> Self {
        Self {
            kind: Kind::Reply(reply),
            transport: Vec::new(),
        }
    }

    /// An error document of OpenAI's. An empty code is told as `null`.
    #[must_use]
    pub fn error(status: u16, kind: &str, code: &str, message: &str) -> Self {
        Self::reply(Reply::json(status, error(kind, code, message)))
    }

    /// 429, with `retry-after` and the `x-ratelimit-…` headers. Parts of a second are rounded up in
    /// the one, and told exactly in the others.
    #[must_use]
    pub fn rate_limited(after: Duration) -> Self {
        let body = error(
            "requests",
            "rate_limit_exceeded",
            "Rate limit reached for requests. Please try again later.",
        );
        let seconds = after.as_millis().div_ceil(1000);
        let reply = Reply::json(429, body)
            .header("retry-after", &seconds.to_string())
            .header("retry-after-ms", &after.as_millis().to_string())
            .header("x-ratelimit-limit-requests", "500")
            .header("x-ratelimit-remaining-requests", "0")
            .header("x-ratelimit-reset-requests", &reset(after));
        Self::reply(reply)
    }

    /// 429 of an account without money: waiting does not help, and no header says so.
    #[must_use]
    pub fn out_of_quota() -> Self {
        Self::error(
            429,
            "insufficient_quota",
            "insufficient_quota",
            "You exceeded your current quota, please check your plan and billing details.",
        )
    }

    /// 401, which shows the ends of the key, as OpenAI's does.
    #[must_use]
    pub fn unauthorized(key: &str) -> Self {
        let shown: String = key.chars().take(7).collect();
        let end: String = key
            .chars()
            .skip(key.chars().count().saturating_sub(4))
            .collect();
        let message = format!("Incorrect API key provided: {shown}********{end}.");
        Self::error(401, "invalid_request_error", "invalid_api_key", &message)
    }

    /// 500.
    #[must_use]
    pub fn server_error() -> Self {
        Self::error(500, "server_error", "", FAULT)
    }

    /// 503.
    #[must_use]
    pub fn overloaded() -> Self {
        let message = "The engine is currently overloaded, please try again later.";
        Self::error(503, "server_error", "", message)
    }

    fn answer(answer: Answer) -> Self {
        Self {
            kind: Kind::Answer(Box::new(answer)),
            transport: Vec::new(),
        }
    }

    /// What the model thinks first, as `reasoning_content`.
    #[must_use]
    pub fn reasoning(self, text: impl Into<String>) -> Self {
        self.edit(|answer| answer.reasoning = text.into())
    }

    /// What the model says beside its calls.
    #[must_use]
    pub fn says(self, text: impl Into<String>) -> Self {
        self.edit(|answer| answer.text = text.into())
    }

    /// How many tokens each event of a stream carries: the pattern is repeated. One by default, as
    /// nobody's stream really is; a pattern of nothing but zeros is taken as one.
    #[must_use]
    pub fn tokens_per_event(self, pattern: impl IntoIterator<Item = usize>) -> Self {
        self.edit(|answer| answer.pattern = pattern.into_iter().collect())
    }

    /// Another `finish_reason` than `stop` or `tool_calls`.
    #[must_use]
    pub fn finish(self, reason: impl Into<String>) -> Self {
        self.edit(|answer| answer.finish = Some(reason.into()))
    }

    /// Another usage than what can be counted.
    #[must_use]
    pub fn usage(self, usage: Usage) -> Self {
        self.edit(|answer| answer.usage = Some(usage))
    }

    /// After so many events of a stream comes an error in its place, and no `[DONE]`.
    #[must_use]
    pub fn error_after(self, events: usize) -> Self {
        self.edit(|answer| answer.fails_after = Some(events))
    }

    /// Changes the bytes of the answer: `turn.on_wire(|reply| reply.split_every(3))`.
    #[must_use]
    pub fn on_wire(mut self, change: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> Self {
        self.transport.push(Arc::new(change));
        self
    }

    fn edit(mut self, edit: impl FnOnce(&mut Answer)) -> Self {
        if let Kind::Answer(answer) = &mut self.kind {
            edit(answer);
        }
        self
    }

    pub(super) fn sent(&self, reply: Reply) -> Reply {
        let changes = self.transport.iter();
        changes.fold(reply, |reply, change| change(reply))
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

const FAULT: &str = "The server had an error while processing your request. Sorry about that!";

pub(super) fn error(kind: &str, code: &str, message: &str) -> Value {
    let code = if code.is_empty() { None } else { Some(code) };
    json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
}

/// As in `x-ratelimit-reset-requests`: `850ms`, `1s`, `6m0s`.
fn reset(after: Duration) -> String {
    let (seconds, millis) = (after.as_secs(), after.subsec_millis());
    match (seconds / 60, seconds % 60) {
        (0, 0) => format!("{millis}ms"),
        (0, seconds) if millis > 0 => format!("{seconds}.{millis:03}s"),
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

/// The vendor's tokens: each is a run of spaces and the run of other characters after it.
pub(super) fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut start = 0;
    let mut word = false;
    for (at, char) in text.char_indices() {
        if char.is_whitespace() && word {
            tokens.push(&text[start..at]);
            start = at;
        }
        word = !char.is_whitespace();
    }
    if start < text.len() {
        tokens.push(&text[start..]);
    }
    tokens
}

/// Arguments come in tokens of four characters.
pub(super) fn fragments(arguments: &str) -> Vec<String> {
    let chars: Vec<char> = arguments.chars().collect();
    chars.chunks(4).map(|four| four.iter().collect()).collect()
}

/// What the request says that the answer depends on.
pub(super) struct Asked<'a> {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: &'a str,
    /// Chat, or else the older completions.
    pub(super) chat: bool,
    pub(super) choices: usize,
    pub(super) include_usage: bool,
    pub(super) input: u64,
}

impl Answer {
    /// What the vendor bills.
    pub(super) fn billed(&self, asked: &Asked<'_>) -> Usage {
        self.usage.unwrap_or_else(|| {
            let reasoning = tokens(&self.reasoning).len();
            let calls = self.calls.iter();
            let calls: usize = calls.map(|(_, given)| 1 + fragments(given).len()).sum();
            let said = tokens(&self.text).len() + tokens(&self.refusal).len();
            let output = (reasoning + said + calls) * asked.choices;
            let mut usage = Usage::new(asked.input, output as u64);
            usage.reasoning = (reasoning > 0).then_some((reasoning * asked.choices) as u64);
            usage
        })
    }

    pub(super) fn whole(&self, asked: &Asked<'_>) -> Reply {
        let choices = (0..asked.choices).map(|index| {
            let finish = self.finish_reason();
            if !asked.chat {
                return json!({
                    "index": index, "text": self.text, "logprobs": null, "finish_reason": finish,
                });
            }
            let mut message = json!({ "role": "assistant", "content": self.text, "refusal": null });
            if !self.reasoning.is_empty() {
                message["reasoning_content"] = json!(self.reasoning);
            }
            if !self.refusal.is_empty() {
                (message["content"], message["refusal"]) = (Value::Null, json!(self.refusal));
            }
            if !self.calls.is_empty() {
                let calls = self.calls.iter().enumerate();
                let calls = calls.map(|(n, (name, arguments))| {
                    json!({
                        "id": call_id(asked, n), "type": "function",
                        "function": { "name": name, "arguments": arguments },
                    })
                });
                message["tool_calls"] = calls.collect();
                if self.text.is_empty() {
                    message["content"] = Value::Null;
                }
            }
            json!({ "index": index, "message": message, "logprobs": null, "finish_reason": finish })
        });
        let object = if asked.chat {
            "chat.completion"
        } else {
            "text_completion"
        };
        let usage = usage(self.billed(asked)).to_string();
        Reply::json(
            200,
            envelope(asked, object, &choices.collect(), Some(&usage)),
        )
    }

    pub(super) fn stream(&self, asked: &Asked<'_>) -> Reply {
        let mut events = self.events(asked);
        match self.fails_after {
            Some(n) => {
                events.truncate(n);
                events.push(error("server_error", "", FAULT).to_string());
            }
            None => events.push("[DONE]".to_owned()),
        }
        Reply::stream(events)
    }

    fn events(&self, asked: &Asked<'_>) -> Vec<String> {
        let mut events = Vec::new();
        let null = asked.include_usage.then_some("null");
        let object = if asked.chat {
            "chat.completion.chunk"
        } else {
            "text_completion"
        };
        for index in 0..asked.choices {
            let mut event = |delta: Value, finish: Option<&str>| {
                let mut choice = json!({
                    "index": index, "logprobs": null, "finish_reason": finish,
                });
                if asked.chat {
                    choice["delta"] = delta;
                } else {
                    let text = delta.get("content").cloned();
                    choice["text"] = text.unwrap_or_else(|| json!(""));
                }
                events.push(envelope(asked, object, &json!([choice]), null));
            };
            let mut pattern = self.pattern().into_iter().cycle();
            let mut batches = |tokens: &[&str]| batches(tokens, &mut pattern);
            if asked.chat {
                event(
                    json!({ "role": "assistant", "content": "", "refusal": null }),
                    None,
                );
            }
            for piece in batches(&tokens(&self.reasoning)) {
                event(json!({ "reasoning_content": piece }), None);
            }
            for piece in batches(&tokens(&self.text)) {
                event(json!({ "content": piece }), None);
            }
            for piece in batches(&tokens(&self.refusal)) {
                event(json!({ "refusal": piece }), None);
            }
            for (n, (name, arguments)) in self.calls.iter().enumerate() {
                let call = json!([{
                    "index": n, "id": call_id(asked, n), "type": "function",
                    "function": { "name": name, "arguments": "" },
                }]);
                event(json!({ "tool_calls": call }), None);
                let fragments = fragments(arguments);
                let fragments: Vec<&str> = fragments.iter().map(String::as_str).collect();
                for piece in batches(&fragments) {
                    let call = json!([{ "index": n, "function": { "arguments": piece } }]);
                    event(json!({ "tool_calls": call }), None);
                }
            }
            event(json!({}), Some(self.finish_reason()));
        }
        if asked.include_usage {
            let usage = usage(self.billed(asked)).to_string();
            events.push(envelope(asked, object, &json!([]), Some(&usage)));
        }
        events
    }

    /// What is said, of vendors that have no place for a refusal.
    pub(super) fn words(&self) -> &str {
        match self.text.is_empty() {
            true => &self.refusal,
            false => &self.text,
        }
    }

    /// What the events of a stream carry of these tokens.
    pub(super) fn batches(&self, tokens: &[&str]) -> Vec<String> {
        batches(tokens, &mut self.pattern().into_iter().cycle())
    }

    fn pattern(&self) -> Vec<usize> {
        if self.pattern.iter().all(|n| *n == 0) {
            return vec![1];
        }
        self.pattern.clone()
    }

    fn finish_reason(&self) -> &str {
        match &self.finish {
            Some(reason) => reason,
            None if self.calls.is_empty() => "stop",
            None => "tool_calls",
        }
    }
}

fn batches(tokens: &[&str], pattern: &mut impl Iterator<Item = usize>) -> Vec<String> {
    let mut batches = Vec::new();
    let mut rest = tokens;
    while !rest.is_empty() {
        let n = pattern.next().unwrap_or(1).min(rest.len());
        batches.push(rest[..n].concat());
        rest = &rest[n..];
    }
    batches
}

/// In the order in which OpenAI writes its fields, which a map of `serde_json`'s does not keep.
fn envelope(asked: &Asked<'_>, object: &str, choices: &Value, usage: Option<&str>) -> String {
    let Asked {
        id, created, model, ..
    } = asked;
    let model = json!(model);
    let usage = usage.map_or(String::new(), |usage| format!(r#","usage":{usage}"#));
    format!(
        r#"{{"id":"{id}","object":"{object}","created":{created},"model":{model},"service_tier":"default","system_fingerprint":"fp_mock","choices":{choices}{usage}}}"#
    )
}

fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total(),
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read.unwrap_or(0),
            "audio_tokens": usage.audio_input.unwrap_or(0),
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning.unwrap_or(0),
            "audio_tokens": usage.audio_output.unwrap_or(0),
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

fn call_id(asked: &Asked<'_>, n: usize) -> String {
    format!("call_{}_{n}", asked.id.trim_start_matches("chatcmpl-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_words_with_the_space_before() {
        assert_eq!(
            tokens("Hello,  wide\nworld "),
            ["Hello,", "  wide", "\nworld", " "]
        );
        assert_eq!(tokens(""), [""; 0]);
        assert_eq!(tokens(" é"), [" é"]);
    }

    #[test]
    fn a_reset_is_told_as_openai_does() {
        let told = [850, 1_000, 1_500, 360_000].map(|ms| reset(Duration::from_millis(ms)));
        assert_eq!(told, ["850ms", "1s", "1.500s", "6m0s"]);
    }

    #[test]
    fn a_refused_key_shows_its_ends() {
        let Kind::Reply(reply) = Turn::unauthorized("sk-proj-0123456789").kind else {
            panic!("no reply")
        };
        let body = String::from_utf8(reply.body().to_vec()).unwrap();
        assert!(body.contains("sk-proj********6789"), "{body}");
    }
}
