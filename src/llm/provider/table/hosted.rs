//! Vendors on the network, each held against recorded traffic or a fixture.

use super::{Form, RESPONSES, Vendor, row};
use crate::llm::{Protocol, provider::quirks};

/// <https://github.com/openai/openai-python>, `lib/azure.py`: the endpoint of a resource, the header
/// `api-key`, and a version of the API for the paths of deployments. Which deployments there are it does
/// not tell: its list is of the models that could be deployed.
pub(in super::super) const AZURE: Vendor = Vendor {
    form: Form::Azure,
    key_header: Some("api-key"),
    lists: false,
    ..row(
        "azure",
        "",
        "/openai/v1",
        ["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"],
    )
};
/// Gemini's models on Vertex AI: <https://github.com/googleapis/python-genai>, which reads the project and
/// the location from variables too.
pub(in super::super) const VERTEX: Vendor = Vendor {
    protocol: Protocol::Gemini,
    form: Form::Vertex,
    lists: false,
    models: &[
        "gemini-2.5-flash",
        "gemini-2.5-pro",
        "gemini-2.5-flash-lite",
    ],
    ..row(
        "vertex",
        "https://aiplatform.googleapis.com",
        "/v1",
        ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_VERTEX_BASE_URL"],
    )
};
/// Anthropic's models on Vertex AI: <https://github.com/anthropics/anthropic-sdk-python>,
/// `lib/vertex/_client.py`. Its first variable names the project.
pub(in super::super) const VERTEX_ANTHROPIC: Vendor = Vendor {
    protocol: Protocol::Anthropic,
    form: Form::Vertex,
    lists: false,
    models: &["claude-haiku-4-5@20251001", "claude-sonnet-4-5@20250929"],
    ..row(
        "vertex-anthropic",
        "https://aiplatform.googleapis.com",
        "/v1",
        ["ANTHROPIC_VERTEX_PROJECT_ID", "ANTHROPIC_VERTEX_BASE_URL"],
    )
};
/// <https://github.com/mistralai/client-python>. The variable of its address is in the form of
/// OpenAI's.
pub(in super::super) const MISTRAL: Vendor = Vendor {
    quirks: quirks::MISTRAL,
    models: &[
        "mistral-small-latest",
        "mistral-medium-latest",
        "mistral-large-latest",
        "mistral-embed",
    ],
    ..row(
        "mistral",
        "https://api.mistral.ai/v1",
        "",
        ["MISTRAL_API_KEY", "MISTRAL_BASE_URL"],
    )
};
/// <https://api-docs.deepseek.com>. The variable of its address is in the form of OpenAI's.
pub(in super::super) const DEEPSEEK: Vendor = Vendor {
    quirks: quirks::DEEPSEEK,
    models: &["deepseek-v4-flash"],
    ..row(
        "deepseek",
        "https://api.deepseek.com",
        "",
        ["DEEPSEEK_API_KEY", "DEEPSEEK_BASE_URL"],
    )
};
/// <https://docs.x.ai/docs/guides/chat>; the key as in <https://github.com/xai-org/xai-sdk-python>. The variable of its
/// address is in the form of OpenAI's.
pub(in super::super) const XAI: Vendor = Vendor {
    besides: RESPONSES,
    models: &["grok-4.3"],
    ..row(
        "xai",
        "https://api.x.ai/v1",
        "",
        ["XAI_API_KEY", "XAI_BASE_URL"],
    )
};
/// <https://github.com/togethercomputer/together-py>: its paths begin with `/v1`.
pub(in super::super) const TOGETHER: Vendor = Vendor {
    quirks: quirks::PLAIN,
    models: &["meta-llama/Llama-3.3-70B-Instruct-Turbo"],
    ..row(
        "together",
        "https://api.together.ai",
        "/v1",
        ["TOGETHER_API_KEY", "TOGETHER_BASE_URL"],
    )
};
/// <https://github.com/fw-ai-external/python-sdk>: where its address is given, `/v1` follows.
pub(in super::super) const FIREWORKS: Vendor = Vendor {
    quirks: quirks::PLAIN,
    ..row(
        "fireworks",
        "https://api.fireworks.ai/inference",
        "/v1",
        ["FIREWORKS_API_KEY", "FIREWORKS_BASE_URL"],
    )
};
/// <https://github.com/perplexityai/perplexity-py>. It lists models of others.
pub(in super::super) const PERPLEXITY: Vendor = Vendor {
    quirks: quirks::PLAIN,
    lists: false,
    models: &[
        "sonar",
        "sonar-pro",
        "sonar-reasoning-pro",
        "sonar-deep-research",
    ],
    ..row(
        "perplexity",
        "https://api.perplexity.ai",
        "",
        ["PERPLEXITY_API_KEY", "PERPLEXITY_BASE_URL"],
    )
};
/// <https://github.com/Cerebras/cerebras-cloud-sdk-python>: its paths begin with `/v1`.
pub(in super::super) const CEREBRAS: Vendor = Vendor {
    quirks: quirks::CEREBRAS,
    models: &["gpt-oss-120b"],
    ..row(
        "cerebras",
        "https://api.cerebras.ai",
        "/v1",
        ["CEREBRAS_API_KEY", "CEREBRAS_BASE_URL"],
    )
};
/// The router: <https://huggingface.co/docs/inference-providers>; the token as in
/// <https://github.com/huggingface/huggingface_hub>. The variable of its address is in the form of
/// OpenAI's.
pub(in super::super) const HUGGING_FACE: Vendor = Vendor {
    quirks: quirks::PLAIN,
    ..row(
        "huggingface",
        "https://router.huggingface.co/v1",
        "",
        ["HF_TOKEN", "HF_BASE_URL"],
    )
};
/// <https://docs.api.nvidia.com/nim>; the names as in
/// <https://github.com/langchain-ai/langchain-nvidia>.
pub(in super::super) const NVIDIA: Vendor = Vendor {
    quirks: quirks::PLAIN,
    ..row(
        "nvidia",
        "https://integrate.api.nvidia.com/v1",
        "",
        ["NVIDIA_API_KEY", "NVIDIA_BASE_URL"],
    )
};
