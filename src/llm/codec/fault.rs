//! Errors: every vendor's envelope read, whatever its protocol, and what is told of one.

use super::{Framing, sse};
use crate::llm::{Error, Protocol, RateLimits, VendorError, VendorFault, rate_limits};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// How much of a vendor's words is kept.
const MOST_WORDS: usize = 4096;

/// What a vendor says of what went wrong, whatever its envelope.
#[derive(Default)]
struct Said<'a> {
    message: Option<&'a str>,
    kind: Option<&'a str>,
    code: Option<String>,
    param: Option<&'a str>,
    /// A status within the envelope.
    status: Option<u16>,
    /// Names of reasons further in: Google's details, Azure's inner error.
    reasons: Vec<&'a str>,
    flagged: bool,
}

impl<'a> Said<'a> {
    fn read(whole: &'a Value) -> Self {
        // Google may wrap the error in an array.
        let whole = match whole {
            Value::Array(all) => all.first().unwrap_or(&Value::Null),
            whole => whole,
        };
        let mut said = Self::default();
        match whole.get("error") {
            Some(Value::String(message)) => said.message = Some(message),
            Some(inner @ Value::Object(_)) => said.fields(inner),
            _ => {}
        }
        said.fields(whole);
        if let Value::String(message) = whole {
            said.message = Some(message);
        }
        said
    }

    /// What was read first counts.
    fn fields(&mut self, object: &'a Value) {
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let detail = || match object.get("detail") {
            Some(Value::Array(all)) => all.first().and_then(|one| one.get("msg"))?.as_str(),
            detail => detail?.as_str(),
        };
        self.message = self.message.or(text("message")).or_else(detail);
        let kind = text("type").or(text("status")).or(text("error_type"));
        self.kind = self.kind.or(kind);
        self.param = self.param.or(text("param"));
        if self.code.is_none() {
            // The latter is Databricks'.
            self.code = match object.get("code").or(object.get("error_code")) {
                Some(Value::String(code)) => Some(code.clone()),
                Some(Value::Number(code)) => Some(code.to_string()),
                _ => None,
            };
        }
        let number = |key: &str| object.get(key).and_then(Value::as_u64);
        let status = number("status_code").or(number("raw_status_code"));
        let status = status.or(self.code.as_deref().and_then(|code| code.parse().ok()));
        let status = status.filter(|status| (400..600).contains(status));
        self.status = self
            .status
            .or(status.and_then(|status| status.try_into().ok()));
        if let Some(Value::Array(details)) = object.get("details") {
            let reason = |detail: &'a Value| detail.get("reason").and_then(Value::as_str);
            self.reasons.extend(details.iter().filter_map(reason));
        }
        let inner = object.get("innererror").or(object.get("inner_error"));
        let inner = inner.and_then(|inner| inner.get("code"));
        self.reasons.extend(inner.and_then(Value::as_str));
        let metadata = object.get("metadata");
        self.flagged |= metadata.is_some_and(|metadata| metadata.get("flagged_input").is_some());
    }

    fn is(&self, word: &str) -> bool {
        self.kind == Some(word)
            || self.code.as_deref() == Some(word)
            || self.reasons.contains(&word)
    }

    fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    fn fault(&self, status: u16) -> VendorFault {
        let words = self.message.unwrap_or_default().to_ascii_lowercase();
        let says = |all: &[&str]| all.iter().any(|part| words.contains(part));
        // Only how it begins is surely the vendor's own: further on it may repeat the caller.
        let begins = |all: &[&str]| all.iter().any(|start| words.starts_with(start));
        let of_request = matches!(status, 400 | 413 | 422);
        if self.is_any(&["context_length_exceeded", "exceed_context_size_error"])
            || (of_request && self.is_any(&["too_many_prompt_tokens", "TOO_MANY_TOKENS"]))
            || (of_request && says(TOO_LONG))
        {
            return VendorFault::ContextLength;
        }
        if self.flagged || self.is_any(FILTERED) || begins(FILTERED_WORDS) {
            return VendorFault::ContentFilter;
        }
        // Anthropic: the name and nothing else.
        let names_model = self.is("not_found_error") && words.starts_with("model:");
        if names_model || self.is_any(NO_MODEL) {
            return VendorFault::UnknownModel;
        }
        // It may stand under 429, as if it would help to wait, or under 400, 401 and 403.
        if status == 402 || self.is_any(USED_UP) || begins(USED_UP_WORDS) {
            return VendorFault::Quota;
        }
        if self.is_any(OUR_KEY) {
            return VendorFault::Auth;
        }
        if self.is_any(BUSY) {
            return VendorFault::Overloaded;
        }
        match status {
            400 if begins(WRONG_KEY) => VendorFault::Auth,
            400 | 404 | 422 if words.contains("model") && says(NO_SUCH) => {
                VendorFault::UnknownModel
            }
            401 | 403 => VendorFault::Auth,
            300..400 => VendorFault::Failed,
            // What was asked of it is the caller's choice, and says nothing of how it does. llama.cpp:
            // what it was asked to do is not built in.
            404 | 405 | 501 => VendorFault::NotSupported,
            408 | 504 | 524 => VendorFault::Timeout,
            413 => VendorFault::TooLarge,
            429 => VendorFault::RateLimited,
            498 | 503 | 529 => VendorFault::Overloaded,
            400..=499 => VendorFault::InvalidRequest,
            _ if self.is("invalid_request_error") => VendorFault::InvalidRequest,
            _ => VendorFault::Failed,
        }
    }

    /// The status that an error in the middle of a stream would have had.
    fn implied_status(&self) -> u16 {
        let by_name = [
            ("rate_limit_error", 429),
            ("rate_limit_exceeded", 429),
            ("insufficient_quota", 429),
            ("overloaded_error", 529),
            ("authentication_error", 401),
            ("permission_error", 403),
            ("invalid_request_error", 400),
            ("invalid_prompt", 400),
            ("timeout_error", 504),
            ("not_found_error", 404),
            ("request_too_large", 413),
            ("billing_error", 402),
            ("RateLimitReached", 429),
            // Google's.
            ("RESOURCE_EXHAUSTED", 429),
            ("UNAVAILABLE", 503),
            ("DEADLINE_EXCEEDED", 504),
            ("UNAUTHENTICATED", 401),
            ("PERMISSION_DENIED", 403),
            ("NOT_FOUND", 404),
            ("INVALID_ARGUMENT", 400),
        ];
        let named = by_name.iter().find(|(name, _)| self.is(name));
        self.status
            .or(named.map(|(_, status)| *status))
            .unwrap_or(500)
    }

    fn error(&self, status: u16) -> VendorError {
        let message = cut(self.message.unwrap_or_default());
        let mut error = VendorError::new(self.fault(status)).with_message(message);
        // A name is worth more than a number that only repeats the status.
        let code = self.code.as_deref();
        let named = code.filter(|code| code.parse::<u16>() != Ok(status));
        if let Some(code) = named.or(self.kind).or(code) {
            error = error.with_code(cut(code));
        }
        if let Some(param) = self.param {
            error = error.with_param(cut(param));
        }
        error
    }
}

const TOO_LONG: &[&str] = &[
    "context length",
    "context window",
    "context size",
    "maximum context",
    "too many tokens",
    "prompt is too long",
    "messages is too long",
    // Anthropic, with the tokens that were asked for.
    "exceed context limit",
    // Gemini.
    "exceeds the maximum number of tokens",
    // xAI.
    "maximum prompt length",
    // Cerebras, Groq.
    "reduce the length of the messages",
    // Bedrock.
    "input is too long for requested model",
    // vLLM.
    "maximum model length",
    // Hugging Face, Together.
    "`inputs` tokens + `max_new_tokens`",
];
const FILTERED: &[&str] = &[
    "content_filter",
    "content_policy_violation",
    "ResponsibleAIPolicyViolation",
    // OpenAI, of models that reason.
    "invalid_prompt",
    "moderation_blocked",
    // DashScope.
    "data_inspection_failed",
    "DataInspectionFailed",
];
const FILTERED_WORDS: &[&str] = &[
    // DeepSeek.
    "content exists risk",
    // Anthropic.
    "output blocked by content filtering policy",
    // xAI.
    "content violates usage guidelines",
];
const NO_MODEL: &[&str] = &[
    "model_not_found",
    "invalid_model",
    "DeploymentNotFound",
    "model_not_available",
    // Hugging Face's router, GitHub.
    "model_not_supported",
    "unknown_model",
];
const NO_SUCH: &[&str] = &[
    "not exist",
    "not found",
    "no such model",
    // OpenRouter.
    "is not a valid model id",
    // Bedrock.
    "model identifier is invalid",
    "has reached the end of its life",
];
const OUR_KEY: &[&str] = &["invalid_api_key", "API_KEY_INVALID", "missing_api_key"];
const WRONG_KEY: &[&str] = &[
    "incorrect api key",
    "invalid api key",
    "api key not valid",
    "api key expired",
];
const USED_UP: &[&str] = &[
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "insufficient_balance",
    "insufficient_credits",
    // Moonshot.
    "exceeded_current_quota_error",
    // DashScope.
    "Arrearage",
];
const USED_UP_WORDS: &[&str] = &[
    // Anthropic says so with 400.
    "your credit balance is too low",
    // DeepSeek, OpenRouter, Hugging Face: with 402, and where they stand in between.
    "insufficient balance",
    "insufficient credits",
    "you have exceeded your monthly included credits",
];
/// What is busy itself says so under 429, too.
const BUSY: &[&str] = &[
    "overloaded_error",
    "engine_overloaded_error",
    "server_overloaded",
    "slow_down",
];

/// Whether these words, in small letters, are of a conversation that is too long.
pub(crate) fn is_too_long(words: &str) -> bool {
    TOO_LONG.iter().any(|part| words.contains(part))
}

pub(crate) fn cut(text: &str) -> &str {
    let mut end = text.len().min(MOST_WORDS);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// An error in the middle of a stream, or inside a 200.
pub(crate) fn within(whole: &Value) -> VendorError {
    let said = Said::read(whole);
    said.error(said.implied_status())
}

/// An answer that is not a success.
pub(crate) fn read(
    protocol: Protocol,
    status: StatusCode,
    headers: &HeaderMap,
    body: &Bytes,
) -> VendorError {
    let whole: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let said = Said::read(&whole);
    let mut error = said.error(status.as_u16()).with_status(status);
    if whole.is_null()
        && matches!(
            error.fault(),
            VendorFault::InvalidRequest | VendorFault::NotSupported
        )
    {
        // Not in the words of an API: whoever says so may be no vendor at all, and a base URL wrong.
        error = VendorError::new(VendorFault::Failed).with_status(status);
    }
    // What clients of the protocol read.
    if whole
        .pointer("/error/message")
        .is_some_and(Value::is_string)
    {
        error = error.with_original(protocol, body.clone());
    }
    error
        .with_retry_after(rate_limits::retry_after(headers))
        .with_limits(RateLimits::read(headers))
}

/// The data of an event that is named an error: JSON, or the words themselves.
pub(crate) fn told(data: &[u8]) -> Value {
    serde_json::from_slice(data)
        .unwrap_or_else(|_| String::from_utf8_lossy(data).into_owned().into())
}

/// An error inside an answer that nobody decodes.
pub(crate) fn scan(raw: &[u8], framing: Framing) -> Option<Box<VendorError>> {
    static KEY: std::sync::LazyLock<memchr::memmem::Finder<'static>> =
        std::sync::LazyLock::new(|| memchr::memmem::Finder::new(b"error\""));
    static NAMES: std::sync::LazyLock<[memchr::memmem::Finder<'static>; 2]> =
        std::sync::LazyLock::new(|| {
            ["event: error", "event:error"].map(memchr::memmem::Finder::new)
        });
    #[derive(serde::Deserialize)]
    struct Top {
        #[serde(default)]
        error: Option<serde::de::IgnoredAny>,
        #[serde(default)]
        object: Option<Value>,
    }
    static WORD: std::sync::LazyLock<memchr::memmem::Finder<'static>> =
        std::sync::LazyLock::new(|| memchr::memmem::Finder::new(b"error"));
    // All that is looked for has this in it, and nearly nothing that comes by has.
    WORD.find(raw)?;
    let named = framing == Framing::Sse && NAMES.iter().any(|name| name.find(raw).is_some());
    let found = |name: Option<&[u8]>, data: &[u8]| {
        // Whatever it says, and whether or not that is JSON.
        if name == Some(b"error") && !data.trim_ascii().is_empty() {
            return Some(Box::new(within(&told(data))));
        }
        KEY.find(data)?;
        let top: Top = serde_json::from_slice(data).ok()?;
        let object = top.object.as_ref().and_then(Value::as_str);
        let failed = top.error.is_some() || object == Some("error");
        let whole = failed.then(|| serde_json::from_slice(data).ok())??;
        Some(Box::new(within(&whole)))
    };
    if !named && KEY.find(raw).is_none() {
        return None;
    }
    match framing {
        Framing::Json => found(None, raw),
        Framing::Sse => sse::events(raw).find_map(|event| found(event.event, &event.data)),
        Framing::Array => super::gemini::elements(raw).find_map(|one| found(None, one)),
        // Its codec knows its frames.
        Framing::EventStream => None,
        Framing::Ndjson => super::lines::of(raw).find_map(|line| found(None, line)),
        Framing::Opaque => None,
    }
}

/// An answer that cannot be read. What it says is not repeated, for it is what was said.
pub(crate) fn malformed(error: &serde_json::Error) -> Error {
    let place = format!(
        "{:?} error at line {} column {}",
        error.classify(),
        error.line(),
        error.column()
    );
    VendorError::new(VendorFault::Malformed)
        .with_message(place)
        .into()
}

/// The status of an answer that is an error. A vendor's is kept where it tells the caller of the
/// caller's own fault.
pub(crate) fn status(error: &Error) -> StatusCode {
    let vendors = match error {
        Error::Vendor(vendor) if vendor.fault().concerns_caller() => vendor.status(),
        _ => None,
    };
    let vendors = vendors.filter(StatusCode::is_client_error);
    vendors.unwrap_or_else(|| error.kind().status())
}

/// What a caller is told of an error, in whatever form.
pub(crate) struct Told {
    pub(crate) message: String,
    pub(crate) code: String,
    pub(crate) param: Option<String>,
}

impl Told {
    pub(crate) fn of(error: &Error) -> Self {
        let rejection = error.rejection();
        let mut told = Self {
            message: rejection.message().into_owned(),
            code: rejection.kind().code().to_owned(),
            param: rejection.param().map(str::to_owned),
        };
        for fault in rejection.faults() {
            told.message
                .push_str(&format!(" {}: {}", fault.param, fault.detail));
            told.param.get_or_insert_with(|| fault.param.to_string());
        }
        if let Error::Vendor(vendor) = error {
            told.code = match vendor.fault() {
                VendorFault::ContextLength => "context_length_exceeded".into(),
                VendorFault::ContentFilter => "content_filter".into(),
                // Programs look for the one name, and every vendor has another.
                VendorFault::UnknownModel => told.code,
                fault if fault.concerns_caller() => vendor.code().unwrap_or(&told.code).to_owned(),
                _ => told.code,
            };
            if vendor.fault().concerns_caller() && !vendor.message().is_empty() {
                told.message = vendor.message().to_owned();
                told.param = vendor.param().map(str::to_owned);
                if vendor.fault() == VendorFault::UnknownModel {
                    told.param.get_or_insert_with(|| "model".to_owned());
                }
            }
        }
        told
    }
}

#[cfg(test)]
mod tests;
