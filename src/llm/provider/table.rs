//! The vendors, one line each. Whoever speaks a protocol that is known here is a value, not code.

mod hosted;
mod local;
mod unverified;

pub(super) use self::hosted::{AZURE, CEREBRAS, DEEPSEEK, MISTRAL, VERTEX, VERTEX_ANTHROPIC, XAI};
use super::{
    BaseUrl, InvalidProvider,
    quirks::{self, Quirks},
};
use crate::llm::Protocol;

/// A vendor: where it is, what it speaks, and the names of the environment variables in which its own
/// programs look for its key and its address.
///
/// | name | speaks | key | address | verified |
/// |---|---|---|---|---|
/// | `openai` | OpenAi | `OPENAI_API_KEY` | `OPENAI_BASE_URL` |  |
/// | `anthropic` | Anthropic | `ANTHROPIC_API_KEY` | `ANTHROPIC_BASE_URL` |  |
/// | `gemini` | Gemini | `GOOGLE_API_KEY` or `GEMINI_API_KEY` | `GOOGLE_GEMINI_BASE_URL` |  |
/// | `bedrock` | Bedrock | `AWS_BEARER_TOKEN_BEDROCK` | `AWS_ENDPOINT_URL_BEDROCK_RUNTIME` |  |
/// | `azure` | OpenAi | `AZURE_OPENAI_API_KEY` | `AZURE_OPENAI_ENDPOINT` |  |
/// | `vertex` | Gemini | `GOOGLE_APPLICATION_CREDENTIALS` | `GOOGLE_VERTEX_BASE_URL` |  |
/// | `vertex-anthropic` | Anthropic | `ANTHROPIC_VERTEX_PROJECT_ID` | `ANTHROPIC_VERTEX_BASE_URL` |  |
/// | `mistral` | OpenAi | `MISTRAL_API_KEY` | `MISTRAL_BASE_URL` |  |
/// | `groq` | OpenAi | `GROQ_API_KEY` | `GROQ_BASE_URL` |  |
/// | `deepseek` | OpenAi | `DEEPSEEK_API_KEY` | `DEEPSEEK_BASE_URL` |  |
/// | `xai` | OpenAi | `XAI_API_KEY` | `XAI_BASE_URL` |  |
/// | `openrouter` | OpenAi | `OPENROUTER_API_KEY` | `OPENROUTER_BASE_URL` |  |
/// | `together` | OpenAi | `TOGETHER_API_KEY` | `TOGETHER_BASE_URL` |  |
/// | `fireworks` | OpenAi | `FIREWORKS_API_KEY` | `FIREWORKS_BASE_URL` |  |
/// | `perplexity` | OpenAi | `PERPLEXITY_API_KEY` | `PERPLEXITY_BASE_URL` |  |
/// | `cerebras` | OpenAi | `CEREBRAS_API_KEY` | `CEREBRAS_BASE_URL` |  |
/// | `cohere` | Cohere | `CO_API_KEY` or `COHERE_API_KEY` | `CO_API_URL` |  |
/// | `jina` | OpenAi | `JINA_API_KEY` | `JINA_BASE_URL` |  |
/// | `huggingface` | OpenAi | `HF_TOKEN` | `HF_BASE_URL` |  |
/// | `nvidia` | OpenAi | `NVIDIA_API_KEY` | `NVIDIA_BASE_URL` |  |
/// | `ollama` | OpenAi | `OLLAMA_API_KEY` | `OLLAMA_HOST` |  |
/// | `vllm` | OpenAi | `VLLM_API_KEY` | `VLLM_BASE_URL` |  |
/// | `llamacpp` | OpenAi | `LLAMA_API_KEY` | `LLAMA_BASE_URL` |  |
/// | `lmstudio` | OpenAi | `LM_STUDIO_API_KEY` | `LM_STUDIO_BASE_URL` |  |
/// | `sambanova` | OpenAi | `SAMBANOVA_API_KEY` | `SAMBA_NOVA_BASE_URL` | no |
/// | `nebius` | OpenAi | `NEBIUS_API_KEY` | `NEBIUS_BASE_URL` | no |
/// | `deepinfra` | OpenAi | `DEEPINFRA_API_KEY` or `DEEPINFRA_TOKEN` | `DEEPINFRA_BASE_URL` | no |
/// | `moonshot` | OpenAi | `MOONSHOT_API_KEY` | `MOONSHOT_BASE_URL` | no |
/// | `zhipu` | OpenAi | `ZAI_API_KEY` or `ZHIPUAI_API_KEY` | `ZAI_BASE_URL` | no |
/// | `minimax` | OpenAi | `MINIMAX_API_KEY` | `MINIMAX_BASE_URL` | no |
/// | `dashscope` | OpenAi | `DASHSCOPE_API_KEY` | `DASHSCOPE_BASE_URL` | no |
/// | `siliconflow` | OpenAi | `SILICONFLOW_API_KEY` | `SILICONFLOW_BASE_URL` | no |
/// | `github` | OpenAi | `GITHUB_MODELS_TOKEN` | `GITHUB_MODELS_BASE_URL` | no |
/// | `cloudflare` | OpenAi | `CLOUDFLARE_API_TOKEN` | `CLOUDFLARE_ACCOUNT_ID` | no |
/// | `databricks` | OpenAi | `DATABRICKS_TOKEN` | `DATABRICKS_HOST` | no |
/// | `novita` | OpenAi | `NOVITA_API_KEY` | `NOVITA_BASE_URL` | no |
/// | `hyperbolic` | OpenAi | `HYPERBOLIC_API_KEY` | `HYPERBOLIC_BASE_URL` | no |
/// | `lambda` | OpenAi | `LAMBDA_API_KEY` | `LAMBDA_BASE_URL` | no |
/// | `nscale` | OpenAi | `NSCALE_SERVICE_TOKEN` or `NSCALE_API_KEY` | `NSCALE_BASE_URL` | no |
/// | `scaleway` | OpenAi | `SCW_SECRET_KEY` | `SCW_GENERATIVE_APIS_BASE_URL` | no |
/// | `ovh` | OpenAi | `OVH_AI_ENDPOINTS_ACCESS_TOKEN` or `OVHCLOUD_API_KEY` | `OVH_AI_ENDPOINTS_BASE_URL` | no |
/// | `baseten` | OpenAi | `BASETEN_API_KEY` | `BASETEN_BASE_URL` | no |
/// | `inference-net` | OpenAi | `INFERENCE_API_KEY` | `INFERENCE_BASE_URL` | no |
/// | `venice` | OpenAi | `VENICE_API_KEY` or `VENICE_AI_API_KEY` | `VENICE_BASE_URL` | no |
/// | `upstage` | OpenAi | `UPSTAGE_API_KEY` | `UPSTAGE_BASE_URL` | no |
/// | `friendli` | OpenAi | `FRIENDLI_TOKEN` | `FRIENDLI_BASE_URL` | no |
/// | `volcengine` | OpenAi | `ARK_API_KEY` or `VOLCENGINE_API_KEY` | `ARK_BASE_URL` | no |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vendor {
    pub(super) name: &'static str,
    /// As the variable would have it.
    pub(super) host: &'static str,
    /// What the vendor's own programs add to it.
    pub(super) path: &'static str,
    pub(super) protocol: Protocol,
    /// What else it speaks, as documented.
    pub(super) besides: &'static [Protocol],
    key_variable: &'static str,
    url_variable: &'static str,
    /// Another variable of the key, if the first is not there.
    other_key_variable: Option<&'static str>,
    /// The header for the key, where it is not that of the protocol.
    pub(super) key_header: Option<&'static str>,
    /// How the address of a call is made.
    pub(super) form: Form,
    /// Where its words are not quite those of the protocol.
    pub(super) quirks: Quirks,
    /// Whether it can be called without a key.
    open: bool,
    /// Whether its key opens other doors too, so that the key alone does not mean that it is to be called.
    general: bool,
    /// Whether it tells what models it has.
    pub(super) lists: bool,
    /// Whether what stands here was held against recorded traffic, or against a fixture after its
    /// documentation.
    verified: bool,
    /// Models that it is known to answer for, the first a good one to begin with. It lists more itself.
    models: &'static [&'static str],
}

/// How the address of a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The path of the protocol, below the base.
    Plain,
    /// The same. Its variable names an account, which stands in this address at `{}`.
    Account(&'static str),
    /// What Ollama makes of its variable.
    Ollama,
    /// Azure: the newer paths of OpenAI, or those of a deployment.
    Azure,
    /// Google's cloud: a project and a location stand in it.
    Vertex,
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
        besides: &[],
        key_variable,
        url_variable,
        other_key_variable: None,
        key_header: None,
        form: Form::Plain,
        quirks: Quirks::NONE,
        open: false,
        general: false,
        lists: true,
        verified: true,
        models: &[],
    }
}

const RESPONSES: &[Protocol] = &[Protocol::Responses];

/// <https://github.com/openai/openai-python>: `OPENAI_BASE_URL` ends with `/v1`.
pub(super) const OPENAI: Vendor = Vendor {
    besides: RESPONSES,
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
/// <https://github.com/googleapis/python-genai>: its paths begin with `/v1beta`. Of two keys
/// it takes `GOOGLE_API_KEY`.
pub(super) const GEMINI: Vendor = Vendor {
    protocol: Protocol::Gemini,
    other_key_variable: Some("GEMINI_API_KEY"),
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
        ["GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"],
    )
};
/// <https://github.com/groq/groq-python>: its paths begin with `/openai/v1`.
pub(super) const GROQ: Vendor = Vendor {
    // <https://console.groq.com/docs/responses-api>
    besides: RESPONSES,
    quirks: quirks::GROQ,
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
    // <https://openrouter.ai/docs/client-sdks/typescript/sdks/responses/README>
    besides: RESPONSES,
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
    form: Form::Ollama,
    quirks: quirks::OLLAMA,
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
        OPENAI,
        ANTHROPIC,
        GEMINI,
        BEDROCK,
        AZURE,
        VERTEX,
        VERTEX_ANTHROPIC,
        MISTRAL,
        GROQ,
        DEEPSEEK,
        XAI,
        OPENROUTER,
        hosted::TOGETHER,
        hosted::FIREWORKS,
        hosted::PERPLEXITY,
        CEREBRAS,
        COHERE,
        JINA,
        hosted::HUGGING_FACE,
        hosted::NVIDIA,
        OLLAMA,
        local::VLLM,
        local::LLAMA_CPP,
        local::LM_STUDIO,
        unverified::SAMBANOVA,
        unverified::NEBIUS,
        unverified::DEEPINFRA,
        unverified::MOONSHOT,
        unverified::ZHIPU,
        unverified::MINIMAX,
        unverified::DASHSCOPE,
        unverified::SILICONFLOW,
        unverified::GITHUB,
        unverified::CLOUDFLARE,
        unverified::DATABRICKS,
        unverified::NOVITA,
        unverified::HYPERBOLIC,
        unverified::LAMBDA,
        unverified::NSCALE,
        unverified::SCALEWAY,
        unverified::OVH,
        unverified::BASETEN,
        unverified::INFERENCE_NET,
        unverified::VENICE,
        unverified::UPSTAGE,
        unverified::FRIENDLI,
        unverified::VOLCENGINE,
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

    /// What it speaks besides, as it documents.
    #[must_use]
    pub fn besides(&self) -> &'static [Protocol] {
        self.besides
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

    /// Whether its row was held against recorded traffic, or against a fixture written after its
    /// documentation. The others were put together from what its documentation and its programs say,
    /// and nobody has seen them answer.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.verified
    }

    /// Whether it is at no address that is known beforehand: its variable must say where.
    #[must_use]
    pub fn needs_address(&self) -> bool {
        self.host.is_empty()
    }

    /// What it speaks by default.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether a key without an address says nothing, for the key opens other doors too.
    pub(super) fn is_general(&self) -> bool {
        self.general
    }

    /// The base of its URLs, as its row has it. One that needs an address and has none cannot be
    /// reached: `.invalid` is a name that nobody can have (RFC 2606).
    pub(super) fn default_base(&self) -> Result<BaseUrl, InvalidProvider> {
        match self.host {
            "" => BaseUrl::new("https://address-is-missing.invalid"),
            host => self.base(host),
        }
    }

    /// The base of its URLs, if its variable says `said`.
    pub(super) fn base(&self, said: &str) -> Result<BaseUrl, InvalidProvider> {
        let said = said.trim();
        match self.form {
            Form::Ollama => Ok(BaseUrl::new(&host(said))?.below(self.path)),
            Form::Account(address) if !said.contains("://") => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                if said.is_empty() || !said.bytes().all(plain) {
                    return Err(InvalidProvider::new(
                        "neither a base URL nor the name of an account",
                    ));
                }
                BaseUrl::new(&address.replace("{}", said))
            }
            Form::Azure => {
                // People paste more of it than its programs take, and its own take less.
                let said = said.trim_end_matches('/');
                let bare = said.strip_suffix("/openai").unwrap_or(said);
                Ok(BaseUrl::new(bare)?.below(self.path))
            }
            Form::Plain | Form::Account(_) | Form::Vertex => {
                Ok(BaseUrl::new(said)?.below(self.path))
            }
        }
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
mod tests;
