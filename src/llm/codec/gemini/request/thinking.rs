//! How hard to think, in the words of the protocol.

use super::{
    super::model::{Ability, Thinking},
    config::THINKING,
};
use crate::llm::{
    Chat,
    catalog::{Level, Word},
    codec::Losses,
};
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
        if let Thinking::Budget { zero: true, .. } = ability.thinking {
            return Some(json!({"thinkingBudget": 0}));
        }
        losses.add(field, "The provider's lowest is taken.");
        return match ability.thinking {
            Thinking::Level(words) => {
                let least = words.nearest(Level::Minimal)?;
                Some(json!({"thinkingLevel": least.name().to_ascii_uppercase()}))
            }
            Thinking::Budget { least, .. } => Some(json!({"thinkingBudget": least})),
            Thinking::None => None,
        };
    }
    let mut config = json!({"includeThoughts": true});
    match (ability.thinking, effort, budget) {
        // As the model sees fit.
        (_, None, None) => {}
        (Thinking::Level(words), effort, budget) => {
            let asked = match (effort, budget) {
                (Some(effort), _) => Level::from_name(effort).unwrap_or(Level::High),
                (None, Some(..=2048)) => Level::Low,
                (None, Some(2049..=8192)) => Level::Medium,
                (None, _) => Level::High,
            };
            let nearest = words.nearest(asked).unwrap_or(Level::High);
            if effort.is_none() {
                losses.add(
                    "thinking.budget_tokens",
                    "The provider takes a word for it, not a number.",
                );
            } else if effort != Some(nearest.name()) {
                losses.add(field, "The provider's nearest is taken.");
            }
            config["thinkingLevel"] = nearest.name().to_ascii_uppercase().into();
        }
        (thinking, None, Some(budget)) => {
            let taken = within(thinking, budget);
            if taken != budget {
                let why = match taken < budget {
                    true => "The provider's highest is taken.",
                    false => "The provider's lowest is taken.",
                };
                losses.add("thinking.budget_tokens", why);
            }
            config["thinkingBudget"] = taken.into();
        }
        (thinking, Some(effort), _) => {
            losses.add(field, "The provider takes a number of tokens for it.");
            // As the vendor's own endpoint for OpenAI's clients has it.
            let budget = match effort {
                "minimal" | "low" => 1024,
                "medium" => 8192,
                _ => 24_576,
            };
            config["thinkingBudget"] = within(thinking, budget).into();
        }
    }
    Some(config)
}

/// The nearest number of tokens that the model takes.
fn within(thinking: Thinking, budget: u64) -> u64 {
    match thinking {
        Thinking::Budget { least, most, .. } => budget.clamp(least.min(most), most),
        _ => budget,
    }
}
