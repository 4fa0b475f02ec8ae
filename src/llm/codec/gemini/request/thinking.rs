//! How hard to think, in the words of the protocol.

use super::{
    super::model::{Ability, Thinking},
    config::THINKING,
};
use crate::llm::{Chat, codec::Losses};
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// `thinkingConfig` of a client of this protocol, put together again.
pub(super) fn own(chat: &Chat) -> Option<Value> {
    let mut out = Object::new();
    for (key, value) in &chat.extra {
        if let Some(key) = key
            .strip_prefix(THINKING)
            .and_then(|key| key.strip_prefix('.'))
        {
            out.insert(key.to_owned(), value.clone());
        }
    }
    // The word beside a number was made of it.
    if let Some(effort) = chat
        .effort
        .as_ref()
        .filter(|_| !out.contains_key("thinkingBudget"))
    {
        out.insert("thinkingLevel".into(), effort.to_ascii_uppercase().into());
    }
    (!out.is_empty()).then(|| out.into())
}

/// What the effort of another dialect comes to: a word, or Anthropic's number of tokens.
pub(super) fn foreign(chat: &Chat, ability: Ability, losses: &mut Losses) -> Option<Value> {
    let thinking = chat.extra.get("thinking");
    let kind = thinking.and_then(|thinking| thinking.get("type")?.as_str());
    let budget = thinking.and_then(|thinking| thinking.get("budget_tokens")?.as_u64());
    let field = match (thinking, &chat.effort) {
        (_, Some(_)) => "reasoning_effort",
        (Some(_), None) => "thinking",
        (None, None) => return None,
    };
    let effort = match (chat.effort.as_deref(), kind) {
        (_, Some("disabled")) => Some("none"),
        (effort, _) => effort,
    };
    if ability.thinking == Thinking::None {
        if effort != Some("none") {
            losses.add(field, "The model does not think before it answers.");
        }
        return None;
    }
    if effort == Some("none") {
        return match (ability.can_rest, ability.thinking) {
            (true, _) => Some(json!({"thinkingBudget": 0})),
            (false, Thinking::Level) => {
                losses.add(field, "The provider's lowest is taken.");
                let least = if ability.all_levels { "MINIMAL" } else { "LOW" };
                Some(json!({"thinkingLevel": least}))
            }
            (false, _) => {
                losses.add(field, "The provider's lowest is taken.");
                Some(json!({"thinkingBudget": 128}))
            }
        };
    }
    let mut config = json!({"includeThoughts": true});
    match (ability.thinking, effort, budget) {
        // As the model sees fit.
        (_, None, None) => {}
        (Thinking::Level, None, Some(budget)) => {
            losses.add(
                "thinking.budget_tokens",
                "The provider takes a word for it, not a number.",
            );
            let word = match budget {
                ..=2048 => "LOW",
                2049..=8192 if ability.all_levels => "MEDIUM",
                _ => "HIGH",
            };
            config["thinkingLevel"] = word.into();
        }
        (Thinking::Level, Some(effort), _) => {
            let (word, exact) = match effort {
                "minimal" if ability.all_levels => ("MINIMAL", true),
                "low" => ("LOW", true),
                "medium" if ability.all_levels => ("MEDIUM", true),
                "high" => ("HIGH", true),
                "minimal" => ("LOW", false),
                _ => ("HIGH", false),
            };
            if !exact {
                losses.add(field, "The provider's nearest is taken.");
            }
            config["thinkingLevel"] = word.into();
        }
        (_, None, Some(budget)) => {
            // 24,576 is the most that all of them take.
            let taken = budget.min(24_576);
            if taken < budget {
                losses.add("thinking.budget_tokens", "The provider's highest is taken.");
            }
            config["thinkingBudget"] = taken.into();
        }
        (_, Some(effort), _) => {
            losses.add(field, "The provider takes a number of tokens for it.");
            // As the vendor's own endpoint for OpenAI's clients has it.
            let budget = match effort {
                "minimal" | "low" => 1024,
                "medium" => 8192,
                _ => 24_576,
            };
            config["thinkingBudget"] = budget.into();
        }
    }
    Some(config)
}
