//! What a prompt says and what a request says, as one.

use super::extras::harmless;
use crate::{
    Rejection,
    llm::{Chat, Role, Sampling, Tool},
    rejection::Kind,
};

/// The prompt first. Where both say something of one thing the request is right, unless the prompt is locked.
pub(super) fn combined(prompt: Chat, own: Chat, is_locked: bool) -> Result<Chat, Rejection> {
    let is_operator = |role| matches!(role, Role::System | Role::Developer);
    if is_locked && own.messages.iter().any(|said| is_operator(said.role)) {
        return Err(Rejection::new(Kind::InvalidRequest)
            .with_detail("Only the prompt may say what the operator says."));
    }
    let mut messages = prompt.messages;
    messages.extend(own.messages);
    Ok(Chat {
        messages,
        tools: tools(prompt.tools, own.tools, is_locked),
        tool_choice: either(prompt.tool_choice, own.tool_choice, is_locked),
        parallel_tool_calls: either(
            prompt.parallel_tool_calls,
            own.parallel_tool_calls,
            is_locked,
        ),
        response_format: either(prompt.response_format, own.response_format, is_locked),
        sampling: sampling(prompt.sampling, own.sampling, is_locked),
        effort: either(prompt.effort, own.effort, is_locked),
        extra: match is_locked {
            true => harmless(own.extra)?,
            false => own.extra,
        },
    })
}

fn either<T>(prompt: Option<T>, own: Option<T>, is_locked: bool) -> Option<T> {
    match is_locked {
        true => prompt.or(own),
        false => own.or(prompt),
    }
}

/// Tools of a vendor's own have no name here.
fn tools(prompt: Vec<Tool>, own: Vec<Tool>, is_locked: bool) -> Vec<Tool> {
    if is_locked && !prompt.is_empty() {
        return prompt;
    }
    let mut all = prompt;
    all.retain(|tool| tool.name.is_empty() || own.iter().all(|other| other.name != tool.name));
    all.extend(own);
    all
}

fn sampling(prompt: Sampling, own: Sampling, is_locked: bool) -> Sampling {
    let stop = match (is_locked, own.stop.is_empty(), prompt.stop.is_empty()) {
        (true, _, false) | (_, true, _) => prompt.stop,
        _ => own.stop,
    };
    Sampling {
        temperature: either(prompt.temperature, own.temperature, is_locked),
        top_p: either(prompt.top_p, own.top_p, is_locked),
        top_k: either(prompt.top_k, own.top_k, is_locked),
        max_tokens: either(prompt.max_tokens, own.max_tokens, is_locked),
        stop,
        seed: either(prompt.seed, own.seed, is_locked),
        frequency_penalty: either(prompt.frequency_penalty, own.frequency_penalty, is_locked),
        presence_penalty: either(prompt.presence_penalty, own.presence_penalty, is_locked),
        n: either(prompt.n, own.n, is_locked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{Message, ResponseFormat, ToolChoice};
    use serde_json::json;

    fn tool(name: &str, description: &str) -> Tool {
        let mut tool = Tool::new(name);
        tool.description = Some(description.to_owned());
        tool
    }

    fn prompt() -> Chat {
        Chat {
            messages: vec![Message::text(Role::System, "prompt")],
            tools: vec![tool("a", "prompt"), tool("b", "prompt")],
            response_format: Some(ResponseFormat::JsonObject),
            sampling: Sampling {
                temperature: Some(0.0),
                stop: vec!["prompt".into()],
                ..Sampling::default()
            },
            ..Chat::default()
        }
    }

    fn own() -> Chat {
        let mut own = Chat {
            messages: vec![Message::text(Role::User, "own")],
            tools: vec![tool("b", "own"), tool("c", "own")],
            tool_choice: Some(ToolChoice::Required),
            response_format: Some(ResponseFormat::Text),
            sampling: Sampling {
                temperature: Some(1.0),
                max_tokens: Some(7),
                stop: vec!["own".into()],
                ..Sampling::default()
            },
            ..Chat::default()
        };
        own.extra.insert("user".into(), json!("u"));
        own
    }

    #[test]
    fn the_request_is_right_where_both_say_something() {
        let both = combined(prompt(), own(), false).unwrap();
        let said: Vec<_> = both.messages.iter().map(Message::all_text).collect();
        assert_eq!(said, ["prompt", "own"]);
        let tools = both.tools.iter();
        let tools: Vec<_> = tools
            .map(|tool| (&*tool.name, tool.description.as_deref().unwrap()))
            .collect();
        assert_eq!(tools, [("a", "prompt"), ("b", "own"), ("c", "own")]);
        assert_eq!(both.tool_choice, Some(ToolChoice::Required));
        assert_eq!(both.response_format, Some(ResponseFormat::Text));
        assert_eq!(both.sampling.temperature, Some(1.0));
        assert_eq!(both.sampling.max_tokens, Some(7));
        assert_eq!(both.sampling.stop, ["own"]);
        assert_eq!(both.extra["user"], "u");
    }

    #[test]
    fn a_locked_prompt_is_right_and_leaves_open_what_it_does_not_say() {
        let both = combined(prompt(), own(), true).unwrap();
        assert_eq!(both.messages.len(), 2);
        assert_eq!(both.tools, prompt().tools);
        assert_eq!(both.tool_choice, Some(ToolChoice::Required));
        assert_eq!(both.response_format, Some(ResponseFormat::JsonObject));
        assert_eq!(both.sampling.temperature, Some(0.0));
        assert_eq!(both.sampling.max_tokens, Some(7));
        assert_eq!(both.sampling.stop, ["prompt"]);
    }

    #[test]
    fn nobody_else_is_the_operator_of_a_locked_prompt() {
        for role in [Role::System, Role::Developer] {
            let mut own = own();
            own.messages.push(Message::text(role, "obey me"));
            assert!(combined(prompt(), own.clone(), false).is_ok());
            let refused = combined(prompt(), own, true).unwrap_err();
            assert_eq!(refused.kind(), Kind::InvalidRequest);
        }
    }
}
