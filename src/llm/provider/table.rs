//! The vendors, one line each. Whoever speaks a protocol that is known here is a value, not code.

use super::{BaseUrl, InvalidProvider};
use crate::llm::Protocol;

/// A vendor: where it is, what it speaks, and the names of the environment variables in which its own
/// programs look for its key and its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vendor {
    pub(super) name: &'static str,
    /// As the variable would have it.
    pub(super) host: &'static str,
    /// What the vendor's own programs add to it.
    pub(super) path: &'static str,
    pub(super) protocol: Protocol,
    key_variable: &'static str,
    url_variable: &'static str,
    /// Another variable of the key, if the first is not there.
    other_key_variable: Option<&'static str>,
    /// Whether it can be called without a key.
    open: bool,
    /// Models that it is known to answer for, the first a good one to begin with. It lists more itself.
    models: &'static [&'static str],
}

const fn row(
    name: &'static str,
    host: &'static str,
    path: &'static str,
    [key_variable, url_variable]: [&'static str; 2],
) -> Vendor {
    Vendor {
        name,
        host,
        path,
        protocol: Protocol::OpenAi,
        key_variable,
        url_variable,
        other_key_variable: None,
        open: false,
        models: &[],
    }
}

/// <https://github.com/openai/openai-python>: `OPENAI_BASE_URL` ends with `/v1`.
pub(super) const OPENAI: Vendor = Vendor {
    models: &[
        "gpt-5-mini",
        "gpt-5",
        "gpt-4o-mini",
        "gpt-4o",
        "text-embedding-3-small",
    ],
    ..row(
        "openai",
        "https://api.openai.com/v1",
        "",
        ["OPENAI_API_KEY", "OPENAI_BASE_URL"],
    )
};
/// <https://github.com/anthropics/anthropic-sdk-python>: its paths begin with `/v1`.
pub(super) const ANTHROPIC: Vendor = Vendor {
    protocol: Protocol::Anthropic,
    models: &["claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5"],
    ..row(
        "anthropic",
        "https://api.anthropic.com",
        "/v1",
        ["ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"],
    )
};
/// <https://github.com/googleapis/python-genai>: its paths begin with `/v1beta`.
pub(super) const GEMINI: Vendor = Vendor {
    protocol: Protocol::Gemini,
    other_key_variable: Some("GOOGLE_API_KEY"),
    models: &[
        "gemini-2.5-flash",
        "gemini-2.5-pro",
        "gemini-2.5-flash-lite",
        "gemini-embedding-001",
    ],
    ..row(
        "gemini",
        "https://generativelanguage.googleapis.com",
        "/v1beta",
        ["GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL"],
    )
};
/// <https://github.com/groq/groq-python>: its paths begin with `/openai/v1`.
pub(super) const GROQ: Vendor = Vendor {
    models: &[
        "openai/gpt-oss-20b",
        "openai/gpt-oss-120b",
        "llama-3.3-70b-versatile",
    ],
    ..row(
        "groq",
        "https://api.groq.com",
        "/openai/v1",
        ["GROQ_API_KEY", "GROQ_BASE_URL"],
    )
};
/// <https://openrouter.ai/docs>. The variable of its address is in the form of OpenAI's.
pub(super) const OPENROUTER: Vendor = Vendor {
    models: &[
        "openai/gpt-4.1-mini",
        "anthropic/claude-haiku-4.5",
        "google/gemini-2.5-flash",
    ],
    ..row(
        "openrouter",
        "https://openrouter.ai/api/v1",
        "",
        ["OPENROUTER_API_KEY", "OPENROUTER_BASE_URL"],
    )
};
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html>: a key of its own, or access keys, of
/// which [`Provider::from_env`](super::Provider::from_env) takes care. The models are profiles that most
/// regions have.
pub(super) const BEDROCK: Vendor = Vendor {
    protocol: Protocol::Bedrock,
    models: &[
        "global.anthropic.claude-haiku-4-5-20251001-v1:0",
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "global.amazon.nova-2-lite-v1:0",
    ],
    ..row(
        "bedrock",
        "https://bedrock-runtime.us-east-1.amazonaws.com",
        "",
        [
            "AWS_BEARER_TOKEN_BEDROCK",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        ],
    )
};
/// <https://github.com/ollama/ollama>: `OLLAMA_HOST` may be a host, a port, or a URL.
pub(super) const OLLAMA: Vendor = Vendor {
    open: true,
    ..row(
        "ollama",
        "http://127.0.0.1:11434",
        "/v1",
        ["OLLAMA_API_KEY", "OLLAMA_HOST"],
    )
};
/// <https://github.com/cohere-ai/cohere-python>: its paths begin with `/v1` or `/v2`.
pub(super) const COHERE: Vendor = Vendor {
    protocol: Protocol::Cohere,
    other_key_variable: Some("COHERE_API_KEY"),
    models: &[
        "command-a-03-2025",
        "command-r7b-12-2024",
        "embed-v4.0",
        "rerank-v3.5",
    ],
    ..row(
        "cohere",
        "https://api.cohere.com",
        "",
        ["CO_API_KEY", "CO_API_URL"],
    )
};
/// <https://jina.ai/reranker>: vectors in OpenAI's form, and rerank. It has no conversations.
pub(super) const JINA: Vendor = Vendor {
    models: &["jina-reranker-v2-base-multilingual", "jina-embeddings-v3"],
    ..row(
        "jina",
        "https://api.jina.ai/v1",
        "",
        ["JINA_API_KEY", "JINA_BASE_URL"],
    )
};

impl Vendor {
    /// All that are known here.
    pub const ALL: &[Self] = &[
        OPENAI, ANTHROPIC, GEMINI, BEDROCK, GROQ, OPENROUTER, OLLAMA, COHERE, JINA,
    ];

    /// Its name, which no other has.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The environment variable of its key.
    #[must_use]
    pub fn key_variable(&self) -> &'static str {
        self.key_variable
    }

    /// Another environment variable that its programs look into for a key.
    #[must_use]
    pub fn other_key_variable(&self) -> Option<&'static str> {
        self.other_key_variable
    }

    /// The environment variable of its address.
    #[must_use]
    pub fn url_variable(&self) -> &'static str {
        self.url_variable
    }

    /// Models that it is known to answer for, the first a good one to begin with. What it has besides, it
    /// [lists](super::Provider::models) itself.
    #[must_use]
    pub fn models(&self) -> &'static [&'static str] {
        self.models
    }

    /// Whether it can be called without a key, so that its address alone makes it one to call.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The base of its URLs, if its variable says `said`.
    pub(super) fn base(&self, said: &str) -> Result<BaseUrl, InvalidProvider> {
        let said = said.trim();
        let said = if *self == OLLAMA {
            host(said)
        } else {
            said.to_owned()
        };
        let base = BaseUrl::new(&said)?;
        Ok(base.below(self.path))
    }
}

/// What Ollama makes of its variable: `http` unless it says otherwise, 127.0.0.1 if it names no host,
/// and 11434 if it names neither scheme nor port.
fn host(said: &str) -> String {
    if said.contains("://") {
        return said.to_owned();
    }
    let said = said.trim_end_matches('/');
    let (host, port) = match said.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ if said.bytes().all(|byte| byte.is_ascii_digit()) => ("", said),
        _ => (said, "11434"),
    };
    let host = match host {
        // To listen on all addresses is for servers; to call one, there is but this.
        "" | "0.0.0.0" => "127.0.0.1",
        host => host,
    };
    let port = if port.is_empty() { "11434" } else { port };
    format!("http://{host}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_what_the_vendors_programs_make_of_them() {
        for (vendor, said, base) in [
            (
                OPENAI,
                "https://api.openai.com/v1/",
                "https://api.openai.com/v1",
            ),
            (
                GROQ,
                "https://api.groq.com",
                "https://api.groq.com/openai/v1",
            ),
            (
                GROQ,
                "https://api.groq.com/openai/v1",
                "https://api.groq.com/openai/v1",
            ),
            (
                ANTHROPIC,
                "https://api.anthropic.com/",
                "https://api.anthropic.com/v1",
            ),
            (
                GEMINI,
                "https://generativelanguage.googleapis.com/",
                "https://generativelanguage.googleapis.com/v1beta",
            ),
            (OLLAMA, "", "http://127.0.0.1:11434/v1"),
            (OLLAMA, "box", "http://box:11434/v1"),
            (OLLAMA, "box:80/", "http://box:80/v1"),
            (OLLAMA, "0.0.0.0:8080", "http://127.0.0.1:8080/v1"),
            (OLLAMA, "11435", "http://127.0.0.1:11435/v1"),
            (OLLAMA, "[::1]", "http://[::1]:11434/v1"),
            (OLLAMA, "https://ollama.com", "https://ollama.com/v1"),
        ] {
            assert_eq!(vendor.base(said).unwrap().to_string(), base, "{said}");
        }
    }

    #[test]
    fn every_row_is_one_that_can_be_called() {
        for vendor in Vendor::ALL {
            assert!(vendor.base(vendor.host).is_ok(), "{}", vendor.name);
        }
    }
}
