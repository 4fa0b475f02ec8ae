//! How hard to think, in the words of the protocol.

use super::super::model::{Ability, Sampling, Thinking};
use crate::llm::{
    Chat, Role, ToolChoice,
    catalog::{Level, Off, Set, Word},
    codec::{Losses, gemini::BUDGET, translation::put},
};
use serde_json::{Map, Value, json};
use std::cmp::Ordering;

type Object = Map<String, Value>;

const EFFORT: &str = "reasoning_effort";

/// Writes what the effort of another dialect comes to. Answers whether the model will think.
pub(crate) fn write(
    chat: &Chat,
    ability: Ability,
    max_tokens: u64,
    out: &mut Object,
    losses: &mut Losses,
) -> bool {
    let effort = match chat.effort.as_deref() {
        None => return false,
        Some("none") => return rest(ability, out, losses),
        Some(effort) => effort,
    };
    if ability.thinking == Thinking::None {
        losses.add(EFFORT, "The model does not think before it answers.");
        return false;
    }
    if ability.forced
        && let Some(ToolChoice::Required | ToolChoice::Tool(_)) = chat.tool_choice
    {
        losses.add(EFFORT, "A model that must call a tool does not think.");
        return false;
    }
    if chat
        .messages
        .last()
        .is_some_and(|last| last.role == Role::Assistant)
    {
        losses.add(EFFORT, "A model that goes on with its turn does not think.");
        return false;
    }
    let least = match ability.thinking {
        Thinking::Adaptive(words, _) => {
            let word = word(effort, words, losses);
            out.insert("thinking".into(), json!({"type": "adaptive"}));
            out.insert("output_config".into(), json!({"effort": word}));
            return true;
        }
        Thinking::Budget(least) => least,
        Thinking::None => return false,
    };
    if called_without_thought(chat) {
        losses.add(
            EFFORT,
            "A model that called a tool without a thought does not think.",
        );
        return false;
    }
    // Gemini's clients say it in tokens, too.
    let told = chat.extra.get(BUDGET).and_then(Value::as_u64);
    let budget = match (told, effort) {
        (Some(told), _) => told,
        (_, "minimal") => least,
        (_, "low") => 2048,
        (_, "medium") => 4096,
        (_, "xhigh" | "max") => 16_384,
        _ => 8192,
    };
    // Thoughts are part of the output, and leave room for an answer.
    let budget = budget.max(least).min(max_tokens.saturating_sub(1));
    if budget < least {
        losses.add(
            EFFORT,
            "The output may not be as long as the shortest thought.",
        );
        return false;
    }
    if told.is_some_and(|told| told != budget) {
        losses.add(EFFORT, "The provider's nearest is taken.");
    } else if told.is_none() {
        losses.add(EFFORT, "The provider takes a number of tokens for it.");
    }
    let thinking = json!({"type": "enabled", "budget_tokens": budget});
    out.insert("thinking".into(), thinking);
    true
}

/// The word that the model takes. One that nobody knows is for the vendor to judge.
fn word<'a>(effort: &'a str, words: Set<Level>, losses: &mut Losses) -> &'a str {
    let Some(asked) = Level::from_name(effort) else {
        return effort;
    };
    let nearest = words.nearest(asked).unwrap_or(asked);
    match nearest.cmp(&asked) {
        Ordering::Less => losses.add(EFFORT, "The provider's highest is taken."),
        Ordering::Equal => {}
        Ordering::Greater => losses.add(EFFORT, "The provider's lowest is taken."),
    }
    nearest.name()
}

/// Writes that the model shall not think. Answers whether it will.
fn rest(ability: Ability, out: &mut Object, losses: &mut Losses) -> bool {
    let Thinking::Adaptive(words, off) = ability.thinking else {
        return false;
    };
    match off {
        Off::Disabled => {
            out.insert("thinking".into(), json!({"type": "disabled"}));
            false
        }
        Off::BetweenTools => {
            losses.add(EFFORT, "The model thinks a little between calls.");
            out.insert("thinking".into(), json!({"type": "between_tools"}));
            true
        }
        Off::Never => {
            losses.add(EFFORT, "The provider's lowest is taken.");
            if let Some(least) = words.nearest(Level::Minimal) {
                out.insert("output_config".into(), json!({"effort": least.name()}));
            }
            true
        }
        _ => false,
    }
}

/// Whether the last thing the model did was to call a tool, and what it thought before is not there.
fn called_without_thought(chat: &Chat) -> bool {
    use crate::llm::Content::{Reasoning, ToolCall, ToolResult};
    let last = chat.messages.iter().rev().find(|message| {
        let answers = |part: &crate::llm::Part| matches!(part.content, ToolResult { .. });
        !(message.role == Role::Tool || message.parts.iter().all(answers))
    });
    last.is_some_and(|message| {
        let has = |of: fn(&crate::llm::Content) -> bool| {
            message.parts.iter().any(|part| of(&part.content))
        };
        message.role == Role::Assistant
            && has(|content| matches!(content, ToolCall(_)))
            && !has(|content| match content {
                Reasoning(thought) => thought.signature.is_some() || thought.redacted.is_some(),
                _ => false,
            })
    })
}

/// Takes the budget for thoughts out of a request in whose last turn a tool was called, and the thought
/// before it had to be left out: the vendor wants it there, or none at all.
pub(super) fn stop_between_calls(out: &mut Object, losses: &mut Losses) {
    let budgeted = |thinking: &Value| thinking["type"] == "enabled";
    let said = out.get("messages").and_then(Value::as_array);
    let last = said.into_iter().flatten().rev();
    let mut last = last.filter(|message| message["role"] == "assistant");
    let blocks = last.next().and_then(|last| last["content"].as_array());
    let is = |block: &Value, kinds: &[&str]| kinds.iter().any(|kind| block["type"] == *kind);
    let called = blocks.is_some_and(|blocks| {
        let thought = |first| is(first, &["thinking", "redacted_thinking"]);
        let first = blocks.first().is_some_and(thought);
        !first && blocks.iter().any(|block| is(block, &["tool_use"]))
    });
    if called && out.get("thinking").is_some_and(budgeted) {
        out.remove("thinking");
        let why = "A model that called a tool without a thought does not think.";
        losses.add("thinking", why);
    }
}

/// Writes how the next token is chosen, as far as the model takes it.
pub(crate) fn sampling(
    chat: &Chat,
    ability: Ability,
    thinks: bool,
    out: &mut Object,
    losses: &mut Losses,
) {
    const THINKS: &str = "A model that thinks takes it as it is by default.";
    const NOT_TAKEN: &str = "The model takes it as it is by default.";
    let sampling = &chat.sampling;
    let neither = ability.sampling == Sampling::Neither;
    let mut temperature = sampling.temperature;
    if temperature.is_some_and(|temperature| temperature > 1.0) {
        losses.add("temperature", "The provider's highest is 1.");
        temperature = Some(1.0);
    }
    if temperature.is_some_and(|temperature| (thinks || neither) && temperature < 1.0) {
        losses.add("temperature", if neither { NOT_TAKEN } else { THINKS });
        temperature = None;
    }
    let mut top_p = sampling.top_p;
    if top_p.is_some_and(|p| (thinks && p < 0.95) || (neither && p < 1.0)) {
        losses.add("top_p", if neither { NOT_TAKEN } else { THINKS });
        top_p = None;
    } else if ability.sampling == Sampling::One && temperature.is_some() && top_p.is_some() {
        if top_p.is_some_and(|p| p < 1.0) {
            losses.add("top_p", "The model takes it or a temperature, not both.");
        }
        top_p = None;
    }
    let mut top_k = sampling.top_k;
    if top_k.is_some() && (thinks || neither) {
        losses.add("top_k", if neither { NOT_TAKEN } else { THINKS });
        top_k = None;
    }
    put(out, "temperature", temperature);
    put(out, "top_p", top_p);
    put(out, "top_k", top_k);
    let seed = ("seed", sampling.seed.is_some());
    let frequency = (
        "frequency_penalty",
        sampling
            .frequency_penalty
            .is_some_and(|penalty| penalty != 0.0),
    );
    let presence = (
        "presence_penalty",
        sampling
            .presence_penalty
            .is_some_and(|penalty| penalty != 0.0),
    );
    for (field, said) in [seed, frequency, presence] {
        if said {
            losses.add(field, "The provider's protocol has no such field.");
        }
    }
}
