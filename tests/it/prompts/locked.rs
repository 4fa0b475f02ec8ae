//! Prompts that hold against what a caller says, in all dialects.

use super::{DIALECTS, Dialect, call, openai, registry, with};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tower_gateway::{
    gateway::{Gateway, GatewayService},
    prompt::PromptLayer,
    testing::{MockVendor, Turn},
};

async fn locked(vendor: &MockVendor) -> GatewayService {
    let layer = PromptLayer::new(registry().await).locked(|_| true);
    Gateway::builder()
        .prompts(layer)
        .model("fast", [openai(vendor)])
        .build()
        .unwrap()
}

fn prompt() -> Value {
    json!({"name": "translate", "variables": {"text": "Hello"}})
}

fn dialect(name: &str) -> &'static Dialect {
    DIALECTS.iter().find(|one| one.name == name).unwrap()
}

/// Nothing beside the prompt but what cannot change what is asked.
async fn holds(name: &str, passes: &[Value], refused: &[(Value, &str)]) {
    let vendor = MockVendor::start(Turn::text("Bonjour")).await.unwrap();
    let gateway = locked(&vendor).await;
    for more in passes {
        let asked = dialect(name).ask(prompt(), more.clone(), false);
        let answer = call(&gateway, asked).await;
        assert_eq!(answer.status(), 200, "{more}: {}", answer.body());
    }
    assert_eq!(vendor.count(), passes.len());
    for (more, field) in refused {
        let asked = dialect(name).ask(prompt(), more.clone(), false);
        let answer = call(&gateway, asked).await;
        assert_eq!(answer.status(), 400, "{more}: {}", answer.body());
        assert_eq!(answer.headers()["x-gateway-prompt"], "translate@1");
        let error: Value = serde_json::from_str(answer.body()).unwrap();
        let error = &error["error"];
        match name {
            "openai" | "responses" => assert_eq!(error["param"], *field, "{error}"),
            _ => assert!(error.to_string().contains(field), "{error}"),
        }
    }
    assert_eq!(vendor.count(), passes.len());
}

#[tokio::test]
async fn what_stands_beside_a_locked_prompt_in_openais_words() {
    let passes = [
        json!({"user": "u", "safety_identifier": "s", "metadata": {"a": "b"}, "store": true}),
        json!({"prompt_cache_key": "k", "service_tier": "flex", "logprobs": true}),
        json!({"models": null, "functions": []}),
    ];
    let rm = json!({"name": "rm", "parameters": {"type": "object"}});
    let refused = [
        (json!({"models": ["expensive"]}), "models"),
        (json!({"functions": [rm], "user": "u"}), "functions"),
        (json!({"function_call": {"name": "rm"}}), "function_call"),
        (json!({"reasoning": {"effort": "high"}}), "reasoning.effort"),
        (json!({"web_search_options": {}}), "web_search_options"),
        (json!({"plugins": [{"id": "web"}]}), "plugins"),
        (json!({"logit_bias": {"50256": -100}}), "logit_bias"),
        (json!({"what_comes_next": 1}), "what_comes_next"),
    ];
    holds("openai", &passes, &refused).await;
}

#[tokio::test]
async fn what_stands_beside_a_locked_prompt_in_the_words_of_responses() {
    let passes = [
        json!({"metadata": {"a": "b"}, "include": ["reasoning.encrypted_content"]}),
        json!({"reasoning": {"summary": "auto"}, "prompt_cache_key": "k"}),
    ];
    let refused = [
        (json!({"truncation": "auto"}), "truncation"),
        (json!({"text": {"verbosity": "low"}}), "text"),
        (json!({"max_tool_calls": 9}), "max_tool_calls"),
        (json!({"models": ["expensive"]}), "models"),
    ];
    holds("responses", &passes, &refused).await;
}

#[tokio::test]
async fn what_stands_beside_a_locked_prompt_in_anthropics_words() {
    let passes = [
        json!({"metadata": {"user_id": "u"}, "service_tier": "auto"}),
        json!({"cache_control": {"type": "ephemeral"}}),
    ];
    let thinking = json!({"type": "enabled", "budget_tokens": 2048});
    let server = json!({"type": "url", "url": "https://mcp.example.com", "name": "a"});
    let refused = [
        (json!({"thinking": thinking}), "thinking"),
        (json!({"mcp_servers": [server]}), "mcp_servers"),
        (json!({"container": "c_1"}), "container"),
        (
            json!({"context_management": {"edits": []}}),
            "context_management",
        ),
        (json!({"output_config": {"other": 1}}), "output_config"),
    ];
    holds("anthropic", &passes, &refused).await;
}

#[tokio::test]
async fn what_stands_beside_a_locked_prompt_in_geminis_words() {
    let passes = [
        json!({"labels": {"a": "b"}, "generationConfig": {"responseLogprobs": true}}),
        json!({"generationConfig": {"thinkingConfig": {"includeThoughts": true}}}),
    ];
    let safety = json!({"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "OFF"});
    let thinking = "generationConfig.thinkingConfig.thinkingBudget";
    let media = "generationConfig.mediaResolution";
    let refused = [
        (
            json!({"cachedContent": "cachedContents/a"}),
            "cachedContent",
        ),
        (
            json!({"cached_content": "cachedContents/a"}),
            "cachedContent",
        ),
        (json!({"safetySettings": [safety]}), "safetySettings"),
        (
            json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 9}}}),
            thinking,
        ),
        (
            json!({"generationConfig": {"mediaResolution": "HIGH"}}),
            media,
        ),
        (
            json!({"toolConfig": {"retrievalConfig": {"languageCode": "en"}}}),
            "toolConfig.retrievalConfig",
        ),
    ];
    holds("gemini", &passes, &refused).await;
}

/// The same call of another model.
fn of_model(dialect: &Dialect, model: &str, stream: bool) -> Request<Full<Bytes>> {
    let mut request = dialect.ask(prompt(), json!({"model": model}), stream);
    if dialect.name == "gemini" {
        request = dialect.ask(prompt(), json!({}), stream);
        let path = request.uri().to_string();
        *request.uri_mut() = path.replace("/-:", &format!("/{model}:")).parse().unwrap();
    }
    request
}

#[tokio::test]
async fn an_answer_names_the_model_that_a_locked_prompt_has_asked() {
    let vendor = MockVendor::start(Turn::text("Bonjour")).await.unwrap();
    let gateway = locked(&vendor).await;
    for dialect in &DIALECTS {
        for stream in [false, true] {
            let answer: Response<String> =
                call(&gateway, of_model(dialect, "dearest", stream)).await;
            let body = answer.body();
            assert_eq!(answer.status(), 200, "{body}");
            assert_eq!(vendor.last().unwrap().json()["model"], "fast");
            assert!(!body.contains("dearest"), "{} {body}", dialect.name);
            assert!(body.contains("\"fast\""), "{} {body}", dialect.name);
        }
    }
}

#[tokio::test]
async fn a_caller_says_what_a_locked_prompt_leaves_open() {
    let vendor = MockVendor::start(Turn::text("Bonjour")).await.unwrap();
    let gateway = locked(&vendor).await;
    for dialect in &DIALECTS {
        let more = with((dialect.said)("And now?"), json!({"user": "u"}));
        let more = match dialect.name {
            "openai" | "responses" => more,
            _ => (dialect.said)("And now?"),
        };
        let answer = call(&gateway, dialect.ask(prompt(), more, false)).await;
        assert_eq!(answer.status(), 200, "{}", answer.body());
        let sent = vendor.last().unwrap().json()["messages"].clone();
        assert!(sent[0].to_string().contains("Translate for me."), "{sent}");
        let last = sent.as_array().unwrap().last().unwrap();
        assert!(last.to_string().contains("And now?"), "{sent}");
    }
}
