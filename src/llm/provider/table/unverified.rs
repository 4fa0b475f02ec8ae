//! Vendors that nobody has seen answer here: put together from their documentation and from what
//! programs that speak to many vendors know. Their variables are those of their documentation; where it
//! names none for the address, that is in the form of OpenAI's.

use super::{Form, Vendor, row};
use crate::llm::provider::quirks;

const fn unverified(
    name: &'static str,
    host: &'static str,
    variables: [&'static str; 2],
) -> Vendor {
    Vendor {
        verified: false,
        quirks: quirks::PLAIN,
        ..row(name, host, "", variables)
    }
}

/// <https://github.com/sambanova/sambanova-python>.
pub(super) const SAMBANOVA: Vendor = unverified(
    "sambanova",
    "https://api.sambanova.ai/v1",
    ["SAMBANOVA_API_KEY", "SAMBA_NOVA_BASE_URL"],
);
/// <https://docs.tokenfactory.nebius.com>.
pub(super) const NEBIUS: Vendor = unverified(
    "nebius",
    "https://api.studio.nebius.ai/v1",
    ["NEBIUS_API_KEY", "NEBIUS_BASE_URL"],
);
/// <https://deepinfra.com/docs/openai_api>.
pub(super) const DEEPINFRA: Vendor = Vendor {
    other_key_variable: Some("DEEPINFRA_TOKEN"),
    ..unverified(
        "deepinfra",
        "https://api.deepinfra.com/v1/openai",
        ["DEEPINFRA_API_KEY", "DEEPINFRA_BASE_URL"],
    )
};
/// <https://platform.moonshot.ai/docs>.
pub(super) const MOONSHOT: Vendor = unverified(
    "moonshot",
    "https://api.moonshot.ai/v1",
    ["MOONSHOT_API_KEY", "MOONSHOT_BASE_URL"],
);
/// GLM: <https://docs.z.ai>.
pub(super) const ZHIPU: Vendor = Vendor {
    other_key_variable: Some("ZHIPUAI_API_KEY"),
    ..unverified(
        "zhipu",
        "https://api.z.ai/api/paas/v4",
        ["ZAI_API_KEY", "ZAI_BASE_URL"],
    )
};
/// <https://platform.minimax.io/docs>.
pub(super) const MINIMAX: Vendor = unverified(
    "minimax",
    "https://api.minimax.io/v1",
    ["MINIMAX_API_KEY", "MINIMAX_BASE_URL"],
);
/// Alibaba's, in the mode that is compatible with OpenAI:
/// <https://www.alibabacloud.com/help/en/model-studio>.
pub(super) const DASHSCOPE: Vendor = unverified(
    "dashscope",
    "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    ["DASHSCOPE_API_KEY", "DASHSCOPE_BASE_URL"],
);
/// <https://docs.siliconflow.com>.
pub(super) const SILICONFLOW: Vendor = unverified(
    "siliconflow",
    "https://api.siliconflow.com/v1",
    ["SILICONFLOW_API_KEY", "SILICONFLOW_BASE_URL"],
);
/// <https://docs.github.com/github-models>. Not `GITHUB_TOKEN`, which stands in places where nobody means
/// a model.
pub(super) const GITHUB: Vendor = unverified(
    "github",
    "https://models.github.ai/inference",
    ["GITHUB_MODELS_TOKEN", "GITHUB_MODELS_BASE_URL"],
);
/// <https://novita.ai/docs>.
pub(super) const NOVITA: Vendor = unverified(
    "novita",
    "https://api.novita.ai/v3/openai",
    ["NOVITA_API_KEY", "NOVITA_BASE_URL"],
);
/// <https://docs.hyperbolic.xyz>.
pub(super) const HYPERBOLIC: Vendor = unverified(
    "hyperbolic",
    "https://api.hyperbolic.xyz/v1",
    ["HYPERBOLIC_API_KEY", "HYPERBOLIC_BASE_URL"],
);
/// <https://docs.lambda.ai>.
pub(super) const LAMBDA: Vendor = unverified(
    "lambda",
    "https://api.lambda.ai/v1",
    ["LAMBDA_API_KEY", "LAMBDA_BASE_URL"],
);
/// <https://docs.nscale.com>.
pub(super) const NSCALE: Vendor = Vendor {
    other_key_variable: Some("NSCALE_API_KEY"),
    ..unverified(
        "nscale",
        "https://inference.api.nscale.com/v1",
        ["NSCALE_SERVICE_TOKEN", "NSCALE_BASE_URL"],
    )
};
/// <https://www.scaleway.com/en/docs/generative-apis>.
pub(super) const SCALEWAY: Vendor = Vendor {
    general: true,
    ..unverified(
        "scaleway",
        "https://api.scaleway.ai/v1",
        ["SCW_SECRET_KEY", "SCW_GENERATIVE_APIS_BASE_URL"],
    )
};
/// <https://help.ovhcloud.com>, AI Endpoints.
pub(super) const OVH: Vendor = Vendor {
    other_key_variable: Some("OVHCLOUD_API_KEY"),
    ..unverified(
        "ovh",
        "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1",
        ["OVH_AI_ENDPOINTS_ACCESS_TOKEN", "OVH_AI_ENDPOINTS_BASE_URL"],
    )
};
/// <https://docs.baseten.co>.
pub(super) const BASETEN: Vendor = unverified(
    "baseten",
    "https://inference.baseten.co/v1",
    ["BASETEN_API_KEY", "BASETEN_BASE_URL"],
);
/// <https://docs.inference.net>.
pub(super) const INFERENCE_NET: Vendor = unverified(
    "inference-net",
    "https://api.inference.net/v1",
    ["INFERENCE_API_KEY", "INFERENCE_BASE_URL"],
);
/// <https://docs.venice.ai>.
pub(super) const VENICE: Vendor = Vendor {
    other_key_variable: Some("VENICE_AI_API_KEY"),
    ..unverified(
        "venice",
        "https://api.venice.ai/api/v1",
        ["VENICE_API_KEY", "VENICE_BASE_URL"],
    )
};
/// <https://console.upstage.ai/docs>.
pub(super) const UPSTAGE: Vendor = unverified(
    "upstage",
    "https://api.upstage.ai/v1",
    ["UPSTAGE_API_KEY", "UPSTAGE_BASE_URL"],
);
/// <https://friendli.ai/docs>.
pub(super) const FRIENDLI: Vendor = unverified(
    "friendli",
    "https://api.friendli.ai/serverless/v1",
    ["FRIENDLI_TOKEN", "FRIENDLI_BASE_URL"],
);
/// Volcano Engine's Ark: <https://www.volcengine.com/docs/82379>.
pub(super) const VOLCENGINE: Vendor = Vendor {
    other_key_variable: Some("VOLCENGINE_API_KEY"),
    ..unverified(
        "volcengine",
        "https://ark.cn-beijing.volces.com/api/v3",
        ["ARK_API_KEY", "ARK_BASE_URL"],
    )
};
/// <https://developers.cloudflare.com/workers-ai>: the token is for all of Cloudflare, and the address
/// has the account in it.
pub(super) const CLOUDFLARE: Vendor = Vendor {
    form: Form::Account("https://api.cloudflare.com/client/v4/accounts/{}/ai/v1"),
    general: true,
    lists: false,
    ..unverified(
        "cloudflare",
        "",
        ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID"],
    )
};
/// <https://docs.databricks.com>, model serving: the token is for all of a workspace. Models are
/// endpoints, which it does not list in this protocol.
pub(super) const DATABRICKS: Vendor = Vendor {
    path: "/serving-endpoints",
    general: true,
    lists: false,
    ..unverified("databricks", "", ["DATABRICKS_TOKEN", "DATABRICKS_HOST"])
};
