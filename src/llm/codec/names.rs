//! Names of tools that a vendor would refuse, and the way back.

use crate::llm::{Chat, Content, Delta, Event, ToolChoice};
use std::collections::{HashMap, HashSet};

/// Which name stands for which. Empty for most requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    sent: HashMap<String, String>,
    own: HashMap<String, String>,
}

impl Names {
    /// Of all tools that a conversation names: letters, digits, `_` and `-`, `most` at the most.
    pub(crate) fn of(chat: &Chat, most: usize) -> Self {
        Self::made(chat, most, false)
    }

    /// The same as variables are named: without `-`, and with no digit at the start.
    pub(crate) fn of_variables(chat: &Chat, most: usize) -> Self {
        Self::made(chat, most, true)
    }

    fn made(chat: &Chat, most: usize, variables: bool) -> Self {
        let is_plain = |char| is_plain(char) && !(variables && char == '-');
        let begins = |name: &str| !(variables && name.starts_with(|c: char| c.is_ascii_digit()));
        let parts = chat.messages.iter().flat_map(|message| &message.parts);
        let called = parts.filter_map(|part| match &part.content {
            Content::ToolCall(call) => Some(&*call.name),
            _ => None,
        });
        let chosen = match &chat.tool_choice {
            Some(ToolChoice::Tool(name)) => Some(&**name),
            _ => None,
        };
        let offered = chat.tools.iter().map(|tool| &*tool.name);
        let all = || offered.clone().chain(called.clone()).chain(chosen);
        let fits = |name: &str| name.len() <= most && name.chars().all(is_plain) && begins(name);
        let mut names = Self::default();
        if all().all(fits) {
            return names;
        }
        let mut taken: HashSet<String> = all().filter(|name| fits(name)).map(Into::into).collect();
        for name in all() {
            if fits(name) || names.sent.contains_key(name) {
                continue;
            }
            let before = if begins(name) { "" } else { "_" };
            let plain: String = before
                .chars()
                .chain(name.chars())
                .map(|char| if is_plain(char) { char } else { '_' })
                .take(most)
                .collect();
            let mut free = plain.clone();
            let mut count = 2_usize;
            while !taken.insert(free.clone()) {
                let tail = format!("_{count}");
                free = plain[..plain.len().min(most.saturating_sub(tail.len()))].to_owned() + &tail;
                count += 1;
            }
            names.sent.insert(name.to_owned(), free.clone());
            names.own.insert(free, name.to_owned());
        }
        names
    }

    /// The name under which the vendor knows it.
    pub(crate) fn sent<'a>(&'a self, name: &'a str) -> &'a str {
        self.sent.get(name).map_or(name, |sent| sent)
    }

    /// Whether all names are the caller's own.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Gives a call the name that the caller knows.
    pub(crate) fn restored(&self, mut event: Event) -> Event {
        if let Event::Delta {
            delta: Delta::ToolCall {
                name: Some(name), ..
            },
            ..
        } = &mut event
            && let Some(own) = self.own.get(name)
        {
            name.clone_from(own);
        }
        event
    }
}

fn is_plain(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::Tool;

    #[test]
    fn rule_8_names_of_variables_have_no_hyphen_and_begin_with_no_digit() {
        let mut chat = Chat::default();
        for name in ["mcp__a-b", "2x", "plain_1"] {
            chat.tools.push(Tool::new(name));
        }
        let names = Names::of_variables(&chat, 8);
        let sent = ["mcp__a-b", "2x", "plain_1"].map(|name| names.sent(name).to_owned());
        assert_eq!(sent, ["mcp__a_b", "_2x", "plain_1"]);
    }

    #[test]
    fn rule_8_names_go_there_and_back_though_they_collide() {
        let long = "x".repeat(65);
        let mut chat = Chat::default();
        for name in ["a.b", "a b", "a_b", "\u{e9}", &long, "plain"] {
            chat.tools.push(Tool::new(name));
        }
        let names = Names::of(&chat, 64);
        let sent: Vec<_> = chat
            .tools
            .iter()
            .map(|tool| names.sent(&tool.name))
            .collect();
        assert_eq!(sent[..4], ["a_b_2", "a_b_3", "a_b", "_"]);
        assert_eq!((sent[4], sent[5]), (&"x".repeat(64)[..], "plain"));
        for (tool, sent) in chat.tools.iter().zip(sent) {
            let delta = |name: &str| Event::Delta {
                choice: 0,
                delta: Delta::ToolCall {
                    index: 0,
                    id: None,
                    name: Some(name.to_owned()),
                    arguments: String::new(),
                },
            };
            assert_eq!(names.restored(delta(sent)), delta(&tool.name));
        }
    }
}
