//! Servers of models that people run themselves, beside Ollama. They have no programs of their own that
//! read variables: those of their addresses are in the form of OpenAI's. Nobody knows where they are by their
//! key.

use super::{Vendor, row};
use crate::llm::provider::quirks;

/// <https://docs.vllm.ai>: `VLLM_API_KEY` is what the server itself reads.
pub(super) const VLLM: Vendor = Vendor {
    open: true,
    general: true,
    quirks: quirks::PLAIN,
    ..row(
        "vllm",
        "http://127.0.0.1:8000/v1",
        "",
        ["VLLM_API_KEY", "VLLM_BASE_URL"],
    )
};
/// <https://github.com/ggml-org/llama.cpp>, `tools/server`: `LLAMA_API_KEY` is what the server itself
/// reads.
pub(super) const LLAMA_CPP: Vendor = Vendor {
    open: true,
    general: true,
    quirks: quirks::PLAIN,
    ..row(
        "llamacpp",
        "http://127.0.0.1:8080/v1",
        "",
        ["LLAMA_API_KEY", "LLAMA_BASE_URL"],
    )
};
/// <https://lmstudio.ai/docs/developer/openai-compat>.
pub(super) const LM_STUDIO: Vendor = Vendor {
    open: true,
    general: true,
    quirks: quirks::LM_STUDIO,
    ..row(
        "lmstudio",
        "http://127.0.0.1:1234/v1",
        "",
        ["LM_STUDIO_API_KEY", "LM_STUDIO_BASE_URL"],
    )
};
