//! Names of tools that a vendor would refuse, and the way back.

use crate::llm::{Chat, Content, Delta, Event, ToolChoice};
use std::collections::{HashMap, HashSet};

/// Which name stands for which. Empty for most requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    sent: HashMap<String, String>,
    own: HashMap<String, String>,
    /// Tools that take any text, by the caller's names.
    pub(super) custom: HashSet<String>,
}

impl Names {
    /// Of all tools that a conversation names: letters, digits, `_` and `-`, `most` at the most.
    pub(crate) fn of(chat: &Chat, most: usize) -> Self {
        Self::made(chat, most, Form::Plain)
    }

    /// The same for a vendor that wants a letter or `_` first.
    pub(crate) fn lettered(chat: &Chat, most: usize) -> Self {
        Self::made(chat, most, Form::Lettered)
    }

    /// The same as variables are named: without `-` anywhere.
    pub(crate) fn of_variables(chat: &Chat, most: usize) -> Self {
        Self::made(chat, most, Form::Variable)
    }

    fn made(chat: &Chat, most: usize, form: Form) -> Self {
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
        let fits = |name: &str| {
            let begins = name.is_empty() || name.starts_with(|first| form.begins(first));
            begins && name.len() <= most && name.chars().all(|char| form.allows(char))
        };
        let mut names = Self::default();
        if all().all(fits) {
            return names;
        }
        let mut numbered = Numbered::new(most, '_');
        numbered
            .taken
            .extend(all().filter(|name| fits(name)).map(str::to_owned));
        for name in all() {
            if fits(name) || names.sent.contains_key(name) {
                continue;
            }
            let plain = name
                .chars()
                .map(|char| if form.allows(char) { char } else { '_' });
            let before = match plain.clone().next() {
                Some(first) if !form.begins(first) => Some('_'),
                _ => None,
            };
            let plain: String = before.into_iter().chain(plain).take(most).collect();
            let free = numbered.free(plain);
            names.sent.insert(name.to_owned(), free.clone());
            names.own.insert(free, name.to_owned());
        }
        names
    }

    /// The name under which the vendor knows it.
    pub(crate) fn sent<'a>(&'a self, name: &'a str) -> &'a str {
        self.sent.get(name).map_or(name, |sent| sent)
    }

    /// Whether all is the caller's own.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.custom.is_empty()
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

/// Names of letters that are one byte each, no two alike: the next of the same kind has a number.
#[derive(Debug)]
pub(crate) struct Numbered {
    most: usize,
    mark: char,
    taken: HashSet<String>,
    /// The next number after what stands before it, by how many digits it has. Whoever began anew would
    /// take a time that grows with the square of the names.
    next: HashMap<(String, u32), usize>,
}

impl Numbered {
    /// So many letters at the most, and this one before the number.
    pub(crate) fn new(most: usize, mark: char) -> Self {
        let (taken, next) = <_>::default();
        Self {
            most,
            mark,
            taken,
            next,
        }
    }

    /// This name if nobody has it, else the first that is free.
    pub(crate) fn free(&mut self, plain: String) -> String {
        if self.taken.insert(plain.clone()) {
            return plain;
        }
        let mut digits = 1;
        loop {
            let room = self.most.saturating_sub(1 + digits as usize);
            let stem = plain.get(..room).unwrap_or(&plain);
            let first = 10_usize.saturating_pow(digits - 1).max(2);
            let next = self.next.entry((stem.to_owned(), digits)).or_insert(first);
            while *next < 10_usize.saturating_pow(digits) {
                let free = format!("{stem}{}{next}", self.mark);
                *next += 1;
                if self.taken.insert(free.clone()) {
                    return free;
                }
            }
            digits += 1;
        }
    }
}

/// How a vendor wants names to be.
#[derive(Clone, Copy)]
enum Form {
    Plain,
    Lettered,
    Variable,
}

impl Form {
    fn allows(self, char: char) -> bool {
        let hyphen = char == '-' && !matches!(self, Self::Variable);
        char.is_ascii_alphanumeric() || char == '_' || hyphen
    }

    fn begins(self, first: char) -> bool {
        match self {
            Self::Plain => true,
            Self::Lettered | Self::Variable => !first.is_ascii_digit() && first != '-',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::Tool;

    #[test]
    fn rule_8_a_name_begins_as_the_vendor_wants_it() {
        let mut chat = Chat::default();
        for name in ["2d", "_2d", "-x", "x-2"] {
            chat.tools.push(Tool::new(name));
        }
        assert!(Names::of(&chat, 64).is_empty());
        let names = Names::lettered(&chat, 64);
        let sent = chat.tools.iter().map(|tool| names.sent(&tool.name));
        assert_eq!(sent.collect::<Vec<_>>(), ["_2d_2", "_2d", "_-x", "x-2"]);
    }

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
    fn rule_8_the_work_for_names_that_collide_grows_with_their_number_alone() {
        let mut chat = Chat::default();
        let long = "x".repeat(58);
        for count in 0..20_000 {
            // All alike when plain; and alike as soon as there is a number.
            let bits =
                |yes, no| (0..15).map(move |bit| if count >> bit & 1 == 1 { yes } else { no });
            let alike: String = bits('.', ' ').collect();
            let cut = format!("{long}{count:06}");
            chat.tools.push(Tool::new(alike));
            chat.tools.push(Tool::new(cut.clone()));
            chat.tools.push(Tool::new(cut + "!"));
        }
        let names = Names::of(&chat, 64);
        let sent = chat.tools.iter().map(|tool| names.sent(&tool.name));
        let sent: HashSet<_> = sent.collect();
        assert_eq!(sent.len(), 60_000);
        assert!(sent.iter().all(|name| name.len() <= 64));
        assert!(sent.contains(&*format!("{}_20000", "_".repeat(15))));
        assert!(!sent.contains(&*format!("{}_20001", "_".repeat(15))));
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
