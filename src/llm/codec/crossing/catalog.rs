//! Rules that the facts of a model decide, each with the model's name.

use super::*;
use crate::{
    Extensible,
    llm::catalog::{Ability, Catalog, Dial, Level, ModelFacts, Set},
};

const GEMINI: Protocol = Protocol::Gemini;

/// What a vendor of this name and protocol gets of a chat by a client of OpenAI's or Anthropic's.
fn asks(
    (vendor, protocol, model): (&str, Protocol, &str),
    from: Protocol,
    mut body: Value,
    catalog: Option<Catalog>,
) -> (Value, Vec<String>) {
    let hello = json!([{"role": "user", "content": "hi"}]);
    let fields = body.as_object_mut().unwrap();
    fields.insert("model".into(), model.into());
    fields.entry("messages").or_insert(hello);
    let mut request = sent(from, &body);
    if let Some(catalog) = catalog {
        request.extensions_mut().insert(catalog);
    }
    let to = Maker {
        vendor: vendor.into(),
        ..maker(protocol, model)
    };
    let encoded = encoded(&request, &to).unwrap();
    let losses = encoded.losses.iter().map(|loss| loss.field.to_string());
    let body = serde_json::from_slice(&encoded.body).unwrap();
    (body, losses.collect())
}

fn claude(model: &str, body: Value) -> (Value, Vec<String>) {
    asks(("anthropic", ANTHROPIC, model), OPENAI, body, None)
}

fn gpt(model: &str, body: Value) -> (Value, Vec<String>) {
    asks(("openai", OPENAI, model), ANTHROPIC, body, None)
}

#[test]
fn rule_13_each_model_of_anthropics_has_its_own_longest_answer() {
    for (model, most) in [
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-haiku-4-5", 64_000),
        ("claude-sonnet-4-6", 128_000),
        ("claude-opus-5-5", 128_000),
        ("claude-haiku-5-5", 128_000),
        // Nobody knows these but by their names.
        ("claude-3-opus-20240229", 4096),
        ("claude-opus-9", 128_000),
        ("own-model", 8192),
    ] {
        let (body, losses) = claude(model, json!({}));
        assert_eq!(
            (&body["max_tokens"], losses.len()),
            (&json!(most), 0),
            "{model}"
        );
    }
    // By the names that others have for them.
    for (vendor, model, most) in [
        (
            "bedrock",
            "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            64_000,
        ),
        ("vertex", "claude-opus-4-1@20250805", 32_000),
        ("openrouter", "anthropic/claude-opus-4.6", 128_000),
    ] {
        let (body, _) = asks((vendor, ANTHROPIC, model), OPENAI, json!({}), None);
        assert_eq!(body["max_tokens"], most, "{model}");
    }
}

#[test]
fn rule_13_models_of_openais_that_think_know_only_the_newer_name_of_the_most_tokens() {
    for (model, key) in [
        ("o3", "max_completion_tokens"),
        ("gpt-5-mini", "max_completion_tokens"),
        ("gpt-6.2-sol", "max_completion_tokens"),
        ("gpt-5-2025-08-07", "max_completion_tokens"),
        ("gpt-4o", "max_tokens"),
        ("gpt-4.1", "max_tokens"),
        // Nobody knows these but by their names.
        ("gpt-7-mini", "max_completion_tokens"),
        ("gpt-35-turbo", "max_tokens"),
    ] {
        let (body, _) = gpt(model, json!({"max_tokens": 7}));
        let fields = body.as_object().unwrap().keys().map(String::as_str);
        let told: Vec<_> = fields.filter(|key| key.starts_with("max")).collect();
        assert_eq!((told, &body[key]), (vec![key], &json!(7)), "{model}");
    }
    // Weights that anybody may serve are asked as others than OpenAI know it.
    let groq = ("groq", OPENAI, "openai/gpt-oss-120b");
    let (body, _) = asks(groq, ANTHROPIC, json!({"max_tokens": 7}), None);
    assert_eq!(body["max_tokens"], 7);
}

#[test]
fn rule_16_a_model_that_cannot_be_made_to_call_a_tool_may() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let one = json!({"type": "function", "function": {"name": "f"}});
    for choice in [json!("required"), one] {
        let body = json!({"tools": tools, "tool_choice": choice, "reasoning_effort": "low"});
        for model in ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-1"] {
            let (body, losses) = claude(model, body.clone());
            assert_eq!(body["tool_choice"], json!({"type": "auto"}), "{model}");
            assert_eq!(body["thinking"], json!({"type": "adaptive"}));
            assert_eq!(losses, ["tool_choice"]);
        }
        let (body, losses) = claude("claude-sonnet-4-5", body);
        assert_ne!(body["tool_choice"]["type"], "auto");
        assert_eq!((&body["thinking"], losses.len()), (&Value::Null, 1));
    }
}

#[test]
fn rule_16_a_model_that_takes_no_temperature_gets_none() {
    let said = json!({"temperature": 0.5, "top_p": 0.9});
    for (model, temperature, top_p) in [
        ("claude-opus-5-5", Value::Null, Value::Null),
        ("claude-haiku-5-5", Value::Null, Value::Null),
        ("claude-opus-4-7", Value::Null, Value::Null),
        ("claude-sonnet-4-6", json!(0.5), Value::Null),
        ("claude-sonnet-4-20250514", json!(0.5), json!(0.9)),
    ] {
        let (body, losses) = claude(model, said.clone());
        let told = (&body["temperature"], &body["top_p"]);
        assert_eq!(told, (&temperature, &top_p), "{model}");
        let gone = [&temperature, &top_p]
            .iter()
            .filter(|it| it.is_null())
            .count();
        assert_eq!(losses.len(), gone, "{model}");
    }
    for (model, effort, kept) in [
        ("gpt-5", None, false),
        ("o3", None, false),
        ("gpt-6.2-sol", None, false),
        ("gpt-4o", None, true),
        // These take it when they do not think: not by default, or not at all.
        ("gpt-5.4", None, true),
        ("gpt-5.4", Some("low"), false),
        ("gpt-6-sol", None, false),
        ("gpt-9", Some("low"), true),
    ] {
        let mut said = json!({"max_tokens": 9, "temperature": 0.5});
        if let Some(effort) = effort {
            said["output_config"] = json!({"effort": effort});
        }
        let (body, losses) = gpt(model, said);
        let told = (body["temperature"] == 0.5, losses.is_empty());
        assert_eq!(told, (kept, kept), "{model}");
    }
    let off = json!({"max_tokens": 9, "temperature": 0.5, "thinking": {"type": "disabled"}});
    let (body, losses) = gpt("gpt-6-sol", off);
    assert_eq!(
        (&body["temperature"], losses.len()),
        (&json!(0.5), 0),
        "{losses:?}"
    );
}

#[test]
fn rule_17_each_model_of_anthropics_has_its_own_dial() {
    let word = |word: &str| {
        let config = json!({"effort": word});
        (json!({"type": "adaptive"}), config)
    };
    let budget = |tokens: u64| {
        let thinking = json!({"type": "enabled", "budget_tokens": tokens});
        (thinking, Value::Null)
    };
    let only = |kind: &str| (json!({"type": kind}), Value::Null);
    let nothing = || (Value::Null, Value::Null);
    for (model, effort, (thinking, config), lost) in [
        ("claude-opus-5-5", "max", word("max"), 0),
        ("claude-opus-5-5", "minimal", word("low"), 1),
        ("claude-opus-4-6", "xhigh", word("high"), 1),
        ("claude-opus-4-7", "xhigh", word("xhigh"), 0),
        ("claude-haiku-5-5", "low", word("low"), 0),
        ("claude-haiku-4-5", "low", budget(2048), 1),
        ("claude-sonnet-4-5", "max", budget(16_384), 1),
        // A word that nobody knows is for the vendor to judge.
        ("claude-opus-5-5", "ultra", word("ultra"), 0),
        // Not to think is said in as many ways as there are models.
        ("claude-opus-4-7", "none", nothing(), 0),
        ("claude-sonnet-4-5", "none", nothing(), 0),
        ("claude-opus-5", "none", only("disabled"), 0),
        ("claude-haiku-5-5", "none", only("disabled"), 0),
        ("claude-sonnet-5-5", "none", only("between_tools"), 1),
        (
            "claude-opus-5-5",
            "none",
            (Value::Null, json!({"effort": "low"})),
            1,
        ),
    ] {
        let (body, losses) = claude(model, json!({"reasoning_effort": effort}));
        let told = (&body["thinking"], &body["output_config"], losses.len());
        assert_eq!(told, (&thinking, &config, lost), "{model} {effort}");
    }
}

#[test]
fn rule_17_each_model_of_openais_has_its_own_words() {
    for (model, effort, word, lost) in [
        ("gpt-5", "max", json!("high"), 1),
        ("gpt-5.4", "max", json!("xhigh"), 1),
        ("gpt-6-sol", "max", json!("max"), 0),
        ("gpt-5-pro", "low", json!("high"), 1),
        ("o3", "xhigh", json!("high"), 1),
        ("gpt-4.1", "high", Value::Null, 1),
        ("gpt-9", "max", json!("high"), 1),
        ("gpt-9", "xhigh", json!("xhigh"), 0),
    ] {
        let said = json!({
            "max_tokens": 9,
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": effort},
        });
        let (body, losses) = gpt(model, said);
        let told = (&body["reasoning_effort"], losses.len());
        assert_eq!(told, (&word, lost), "{model} {effort}: {losses:?}");
    }
    for (model, word, lost) in [
        ("gpt-5.4", json!("none"), 0),
        ("gpt-5", json!("minimal"), 1),
        ("gpt-6.2-sol", json!("low"), 1),
        ("gpt-4o", Value::Null, 0),
        ("gpt-9", Value::Null, 1),
    ] {
        let off = json!({"max_tokens": 9, "thinking": {"type": "disabled"}});
        let (body, losses) = gpt(model, off);
        let told = (&body["reasoning_effort"], losses.len());
        assert_eq!(told, (&word, lost), "{model}");
    }
    let budget =
        json!({"max_tokens": 9999, "thinking": {"type": "enabled", "budget_tokens": 5000}});
    for (vendor, model, word) in [
        ("openai", "gpt-5", "medium"),
        ("mistral", "mistral-medium-latest", "high"),
        ("groq", "openai/gpt-oss-20b", "medium"),
        ("xai", "grok-4.7", "medium"),
        ("deepseek", "deepseek-flash", "high"),
    ] {
        let (body, _) = asks((vendor, OPENAI, model), ANTHROPIC, budget.clone(), None);
        assert_eq!(body["reasoning_effort"], word, "{model}");
    }
}

#[test]
fn rule_17_each_model_of_geminis_has_its_own_dial() {
    let level = |level: &str| json!({"includeThoughts": true, "thinkingLevel": level});
    let budget = |tokens: u64| json!({"includeThoughts": true, "thinkingBudget": tokens});
    for (model, effort, expected, lost) in [
        ("gemini-4-argon", "minimal", level("LOW"), 1),
        ("gemini-4-argon", "max", level("HIGH"), 1),
        (
            "gemini-3.8-flash",
            "none",
            json!({"thinkingLevel": "LOW"}),
            1,
        ),
        ("gemini-3.5-flash", "minimal", level("MINIMAL"), 0),
        (
            "gemini-3.5-flash",
            "none",
            json!({"thinkingLevel": "MINIMAL"}),
            1,
        ),
        ("gemini-flash-latest", "medium", level("MEDIUM"), 0),
        ("gemini-3.1-pro-preview", "medium", level("MEDIUM"), 0),
        ("gemini-2.5-pro", "high", budget(24_576), 1),
        ("gemini-2.5-pro", "none", json!({"thinkingBudget": 128}), 1),
        (
            "gemini-2.5-flash-lite",
            "none",
            json!({"thinkingBudget": 0}),
            0,
        ),
    ] {
        let said = json!({"reasoning_effort": effort});
        let (body, losses) = asks(("gemini", GEMINI, model), OPENAI, said, None);
        let told = &body["generationConfig"]["thinkingConfig"];
        assert_eq!((told, losses.len()), (&expected, lost), "{model} {effort}");
    }
    for (model, asked, taken, lost) in [
        ("gemini-2.5-flash-lite", 100, 512, 1),
        ("gemini-2.5-pro", 30_000, 30_000, 0),
        ("gemini-2.5-pro", 50_000, 32_768, 1),
        ("gemini-2.5-flash", 30_000, 24_576, 1),
    ] {
        let thinking = json!({"type": "enabled", "budget_tokens": asked});
        let said = json!({"max_tokens": 60_000, "thinking": thinking});
        let (body, losses) = asks(("gemini", GEMINI, model), ANTHROPIC, said, None);
        let told = &body["generationConfig"]["thinkingConfig"]["thinkingBudget"];
        assert_eq!(
            (told, losses.len()),
            (&json!(taken), lost),
            "{model} {asked}"
        );
    }
}

#[test]
fn a_catalog_of_ones_own_decides() {
    let own = |facts: ModelFacts| Some(Catalog::builtin().with(facts));
    let tiny = ModelFacts::new("lab", "tiny").max_output(77);
    let words = Set::of(&[Level::Low]);
    let off = crate::llm::catalog::Off::Never;
    let tiny = tiny.effort(Dial::Adaptive { words, off });
    let said = json!({"reasoning_effort": "high"});
    let (body, losses) = asks(("lab", ANTHROPIC, "tiny"), OPENAI, said, own(tiny.clone()));
    assert_eq!((&body["max_tokens"], losses.len()), (&json!(77), 1));
    assert_eq!(body["output_config"], json!({"effort": "low"}));
    // It is another model at another vendor.
    let (body, _) = asks(("mill", ANTHROPIC, "tiny"), OPENAI, json!({}), own(tiny));
    assert_eq!(body["max_tokens"], 8192);
    let thinks = ModelFacts::new("lab", "thinks").cannot(Ability::MaxTokens);
    let said = json!({"max_tokens": 5});
    let (body, _) = asks(("lab", OPENAI, "thinks"), ANTHROPIC, said, own(thinks));
    assert_eq!(body["max_completion_tokens"], 5);
    // Nothing is known: as if there were no catalog.
    let (body, _) = asks(
        ("anthropic", ANTHROPIC, "claude-haiku-5-5"),
        OPENAI,
        json!({}),
        Some(Catalog::empty()),
    );
    assert_eq!(body["max_tokens"], 64_000);
}

#[test]
fn rules_16_and_17_hold_for_models_behind_bedrock() {
    let bedrock = |model, body| asks(("bedrock", Protocol::Bedrock, model), OPENAI, body, None);
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let body = json!({"tools": tools, "tool_choice": "required"});
    let (body, losses) = bedrock("us.anthropic.claude-opus-5-5", body);
    assert_eq!(body["toolConfig"]["toolChoice"], json!({"auto": {}}));
    assert_eq!(losses, ["tool_choice"]);
    let (body, losses) = bedrock(
        "global.anthropic.claude-opus-4-6-v1",
        json!({"reasoning_effort": "xhigh"}),
    );
    let fields = &body["additionalModelRequestFields"];
    assert_eq!(fields["thinking"], json!({"type": "adaptive"}));
    assert_ne!(fields["output_config"]["effort"], "xhigh");
    assert_eq!(losses, ["reasoning_effort"]);
}

#[test]
fn rules_16_and_17_hold_for_models_behind_responses() {
    let said = json!({
        "max_tokens": 2000, "temperature": 0.2,
        "thinking": {"type": "adaptive"}, "output_config": {"effort": "max"},
    });
    let to = ("openai", Protocol::Responses, "gpt-5.1");
    let (body, losses) = asks(to, ANTHROPIC, said, None);
    assert_eq!(body["reasoning"]["effort"], "high");
    assert_eq!(body["max_output_tokens"], 2000);
    assert_eq!(body.get("temperature"), None);
    assert_eq!(losses, ["output_config.effort", "temperature"]);
}
