//! A text that matches a regular expression, of the kind that schemas have: literals, classes, groups,
//! alternatives, repetition. No look-around and no back references.

use std::{iter::Peekable, str::Chars};

/// Groups in groups, and repetitions of one piece.
const DEEPEST: usize = 32;
const MOST: usize = 1024;

#[derive(Debug)]
enum Node {
    /// Any of these characters, in ranges.
    Class(Vec<(char, char)>),
    Group(Vec<Vec<Piece>>),
}

#[derive(Debug)]
struct Piece {
    node: Node,
    least: usize,
    most: usize,
}

/// A text that matches, unless the pattern is beyond what is known here.
pub(super) fn text(pattern: &str, variation: usize) -> Option<String> {
    of_length(pattern, variation, 0)
}

/// The same, and what may repeat does so until there are `least` characters, if that can be.
pub(super) fn of_length(pattern: &str, variation: usize, least: usize) -> Option<String> {
    let mut chars = pattern.chars().peekable();
    let alternatives = alternatives(&mut chars, 0)?;
    if chars.next().is_some() {
        return None;
    }
    let mut text = Writer::of(&alternatives, variation, 0);
    let short = least.saturating_sub(text.chars().count());
    if short > 0 {
        text = Writer::of(&alternatives, variation, short);
        // A pattern that is not bound at its end lets anything follow.
        let short = least.saturating_sub(text.chars().count());
        if !pattern.ends_with('$') {
            text.extend(std::iter::repeat_n('x', short));
        }
    }
    Some(text)
}

/// Whether a name has the literal beginning of a pattern such as `^x-`, or the pattern is not bound.
pub(super) fn matches_plainly(pattern: &str, name: &str) -> bool {
    let Some(start) = pattern.strip_prefix('^') else {
        return true;
    };
    let literal = start.find(|char: char| !char.is_alphanumeric() && char != '-' && char != '_');
    name.starts_with(&start[..literal.unwrap_or(start.len())])
}

struct Writer {
    text: String,
    variation: usize,
    /// Pieces may repeat and be empty, in groups that repeat.
    steps: usize,
}

impl Writer {
    fn of(alternatives: &[Vec<Piece>], variation: usize, extra: usize) -> String {
        let mut writer = Self {
            text: String::new(),
            variation,
            steps: 65_536,
        };
        writer.write(alternatives, extra);
        writer.text
    }

    fn write(&mut self, alternatives: &[Vec<Piece>], mut extra: usize) {
        let Some(pieces) = alternatives.get(self.variation % alternatives.len().max(1)) else {
            return;
        };
        for piece in pieces {
            let most = piece.most.min(piece.least.saturating_add(extra));
            for turn in 0..most {
                if self.steps == 0 || turn >= piece.least && extra == 0 {
                    break;
                }
                self.steps -= 1;
                let before = self.text.len();
                match &piece.node {
                    Node::Class(ranges) => self.text.extend(member(ranges, self.variation)),
                    Node::Group(inner) => self.write(inner, 0),
                }
                if turn >= piece.least {
                    extra = extra.saturating_sub(self.text[before..].chars().count());
                }
            }
        }
    }
}

/// The first of the ranges that can be read, and of it one that varies.
fn member(ranges: &[(char, char)], variation: usize) -> Option<char> {
    let (from, to) = *ranges.first()?;
    let span = (to as u32).saturating_sub(from as u32) + 1;
    let code = from as u32 + u32::try_from(variation).unwrap_or(0) % span;
    char::from_u32(code).or(Some(from))
}

type Source<'a> = Peekable<Chars<'a>>;

fn alternatives(chars: &mut Source<'_>, depth: usize) -> Option<Vec<Vec<Piece>>> {
    if depth > DEEPEST {
        return None;
    }
    let mut all = vec![Vec::new()];
    while let Some(char) = chars.peek().copied() {
        let node = match char {
            ')' => break,
            '|' => {
                chars.next();
                all.push(Vec::new());
                continue;
            }
            '^' | '$' => {
                chars.next();
                continue;
            }
            '(' => {
                chars.next();
                group_head(chars)?;
                let inner = alternatives(chars, depth + 1)?;
                chars.next_if_eq(&')')?;
                Node::Group(inner)
            }
            '[' => {
                chars.next();
                Node::Class(class(chars)?)
            }
            '.' => {
                chars.next();
                Node::Class(vec![('a', 'z')])
            }
            '\\' => {
                chars.next();
                match chars.next()? {
                    'b' | 'B' | 'A' | 'z' | 'Z' => continue,
                    escape => Node::Class(escaped(escape)?),
                }
            }
            '*' | '+' | '?' | '{' => return None,
            literal => {
                chars.next();
                Node::Class(vec![(literal, literal)])
            }
        };
        let (least, most) = repetition(chars)?;
        all.last_mut()?.push(Piece { node, least, most });
    }
    Some(all)
}

/// Named groups and those that do not capture.
fn group_head(chars: &mut Source<'_>) -> Option<()> {
    if chars.next_if_eq(&'?').is_none() {
        return Some(());
    }
    match chars.next()? {
        ':' => Some(()),
        'P' | '<' => {
            chars.next_if_eq(&'<');
            if matches!(chars.peek(), Some('=' | '!')) {
                return None;
            }
            chars.find(|char| *char == '>').map(|_| ())
        }
        _ => None,
    }
}

fn repetition(chars: &mut Source<'_>) -> Option<(usize, usize)> {
    let range = match chars.peek() {
        Some('*') => (0, MOST),
        Some('+') => (1, MOST),
        Some('?') => (0, 1),
        Some('{') => {
            chars.next();
            let mut inside = String::new();
            loop {
                match chars.next()? {
                    '}' => break,
                    char => inside.push(char),
                }
            }
            let (least, most) = match inside.split_once(',') {
                Some((least, "")) => (least.parse().ok()?, MOST),
                Some((least, most)) => (least.parse().ok()?, most.parse().ok()?),
                None => (inside.parse().ok()?, inside.parse().ok()?),
            };
            chars.next_if_eq(&'?');
            return (least <= most && least <= MOST).then_some((least, most.min(MOST).max(least)));
        }
        _ => return Some((1, 1)),
    };
    chars.next();
    chars.next_if(|char| matches!(char, '?' | '+'));
    Some(range)
}

fn class(chars: &mut Source<'_>) -> Option<Vec<(char, char)>> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let mut first = true;
    loop {
        let from = match chars.next()? {
            ']' if !first => break,
            '\\' => {
                let all = escaped(chars.next()?)?;
                match all[..] {
                    [(from, to)] if from == to => from,
                    _ => {
                        ranges.extend(all);
                        first = false;
                        continue;
                    }
                }
            }
            char => char,
        };
        first = false;
        let mut after = chars.clone();
        let to = match (after.next(), after.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                chars.nth(1);
                if to == '\\' { chars.next()? } else { to }
            }
            _ => from,
        };
        ranges.push((from, to));
    }
    if negated {
        let open = |char: &char| ranges.iter().all(|(from, to)| !(from..=to).contains(&char));
        let mut some = ('a'..='z')
            .chain('A'..='Z')
            .chain('0'..='9')
            .chain(['-', '_', ' ']);
        let char = some.find(open)?;
        return Some(vec![(char, char)]);
    }
    Some(ranges)
}

fn escaped(char: char) -> Option<Vec<(char, char)>> {
    Some(match char {
        'd' => vec![('0', '9')],
        'w' => vec![('a', 'z'), ('A', 'Z'), ('0', '9'), ('_', '_')],
        's' => vec![(' ', ' ')],
        'D' | 'S' => vec![('a', 'z')],
        'W' => vec![('-', '-')],
        't' => vec![('\t', '\t')],
        'n' => vec![('\n', '\n')],
        'r' => vec![('\r', '\r')],
        // References to groups, classes of Unicode, code points.
        char if char.is_alphanumeric() => return None,
        literal => vec![(literal, literal)],
    })
}
