//! What a template may not say.
//!
//! Fuel bounds how many steps a template takes, and not how much each of them makes: forty times
//! `{% set x = x ~ x %}` are a few hundred steps and a terabyte. So nothing that a template gives a
//! name to is larger than what it was given: values are not put together (`~`, `*`, `+` of anything
//! but a number that is written there, lists of anything but literals), text is not captured (`{%
//! set %}` as a block, `{% filter %}`, macros), and nothing calls itself.
//!
//! Every `{%` and every `{{` is taken for a tag, wherever it stands: also those that the template
//! engine takes for text. So whatever it takes for a tag was looked at, though some text is refused
//! that does no harm.

use super::engine::{FILTERS, TESTS, TEXTLESS};
use crate::prompt::fault::{Fault, MOST};
use std::collections::BTreeMap;

/// The most tokens of one tag.
const MOST_TOKENS: usize = 500;

/// How many `elif` a template has: the engine goes one deeper for each.
const MOST_BRANCHES: usize = 100;

/// How many signs or `not` stand in front of one value, likewise.
const MOST_UNARY: usize = 16;

/// The longest tag, in bytes.
const LONGEST: usize = 16 << 10;

/// How often each character of a template may be looked at, of those in tags within tags.
const AGAIN: usize = 8;

/// Tags that may be used, beside `set`, `for` and `include`, which are looked at more closely.
const TAGS: [&str; 9] = [
    "if", "elif", "else", "endif", "endfor", "raw", "endraw", "set", "for",
];

/// After these words an expression begins.
const WORDS: [&str; 10] = [
    "in", "not", "and", "or", "is", "if", "else", "elif", "for", "set",
];

/// Words that stand for themselves.
const LITERALS: [&str; 6] = ["true", "false", "none", "True", "False", "None"];

/// Whether a variable cannot have this name.
pub(super) fn is_word(name: &str) -> bool {
    WORDS.contains(&name) || LITERALS.contains(&name)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    Number,
    Text(&'t str),
    Sign(char),
}

/// What a template does with names.
#[derive(Default)]
pub(super) struct Screened<'t> {
    /// Those that it sets.
    pub(super) set: Vec<&'t str>,
    /// Whether it gives one to a text that a filter has made.
    pub(super) keeps: bool,
}

/// Looks through a template, which stands at this place, and may include these.
pub(super) fn screen<'t, T>(
    template: &'t str,
    at: &str,
    partials: &BTreeMap<String, T>,
    faults: &mut Vec<Fault>,
) -> Screened<'t> {
    let mut screened = Screened::default();
    let most = faults.len().saturating_add(MOST);
    let mut left = template.len().saturating_mul(AGAIN);
    let mut branches = 0;
    for (from, end, rest) in tags(template) {
        if faults.len() >= most {
            break;
        }
        let mut fault = |from: usize, what: &'static str, about: Option<&str>| {
            let fault = Fault::new(at, what).line(line_at(template, from));
            faults.push(match about {
                Some(about) => fault.about(about),
                None => fault,
            });
        };
        let read = tokens(rest, end).and_then(|(tokens, length)| {
            left = left
                .checked_sub(length)
                .ok_or("Too many tags stand in one another.")?;
            Ok(tokens)
        });
        let tokens = match read {
            Ok(tokens) => tokens,
            Err(what) => {
                fault(from, what, None);
                continue;
            }
        };
        let tag = match tokens.first() {
            Some(Token::Word(tag)) if end == "%}" => *tag,
            // The template engine says what is wrong with a tag without a name.
            _ => "",
        };
        let wrong = match tag {
            "" => None,
            "include" => match &tokens[..] {
                [_, Token::Text(name)] if partials.contains_key(*name) => None,
                [_, Token::Text(name)] => {
                    fault(from, "There is no such partial.", Some(name));
                    continue;
                }
                _ => Some("An include names a partial, as a plain text."),
            },
            "set" if !matches!(tokens[..], [_, Token::Word(_), Token::Sign('='), ..]) => {
                Some("A `set` gives one value to one name.")
            }
            "for" if tokens.contains(&Token::Word("recursive")) => {
                Some("A loop does not call itself.")
            }
            "elif" if branches == MOST_BRANCHES => Some("A template has 100 `elif` at the most."),
            tag if TAGS.contains(&tag) => {
                branches += usize::from(tag == "elif");
                if let [Token::Word("set"), Token::Word(name), ..] = tokens[..] {
                    screened.set.push(name);
                }
                None
            }
            tag => {
                fault(from, "Templates have no such tag.", Some(tag));
                continue;
            }
        };
        if let Some(what) = wrong.or_else(|| put_together(&tokens, tag)) {
            fault(from, what, None);
        }
        for (nth, _) in tokens.iter().enumerate() {
            match &tokens[nth..] {
                [Token::Sign('|'), Token::Word(name), ..] if !FILTERS.contains(name) => {
                    fault(from, "Templates have no such filter.", Some(name));
                }
                [Token::Sign('|'), Token::Word(name), ..] if tag == "set" => {
                    screened.keeps |= !TEXTLESS.contains(name);
                }
                [Token::Word("is"), rest @ ..] => {
                    let rest = rest.strip_prefix(&[Token::Word("not")]).unwrap_or(rest);
                    let name = match rest {
                        [Token::Word(name), ..] => *name,
                        _ => "",
                    };
                    if !TESTS.contains(&name) {
                        fault(from, "Templates have no such test.", Some(name));
                    }
                }
                _ => {}
            }
        }
    }
    screened
}

/// All that may be a tag: where it begins, how it ends, and what stands behind its first sign.
fn tags(template: &str) -> impl Iterator<Item = (usize, &'static str, &str)> {
    template.match_indices('{').filter_map(|(from, _)| {
        let rest = &template[from + 1..];
        let (end, rest) = match rest.strip_prefix('%') {
            Some(rest) => ("%}", rest),
            None => ("}}", rest.strip_prefix('{')?),
        };
        Some((from, end, rest.strip_prefix(['-', '+']).unwrap_or(rest)))
    })
}

fn line_at(template: &str, from: usize) -> usize {
    template[..from].matches('\n').count() + 1
}

/// In which line the tag begins that first names a variable.
pub(super) fn line_of(template: &str, variable: &str) -> Option<usize> {
    let mut tags = tags(template);
    let (from, ..) = tags.find(|(_, end, rest)| {
        let (tokens, _) = tokens(rest, end).unwrap_or_default();
        let mut named = (0..tokens.len()).filter(|nth| tokens[*nth] == Token::Word(variable));
        named.any(|nth| nth == 0 || tokens[nth - 1] != Token::Sign('.'))
    })?;
    Some(line_at(template, from))
}

/// What a bracket holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bracket {
    /// Arguments or an index.
    Call,
    /// An expression in parentheses.
    Group,
    /// A list or a map.
    Literal,
}

/// Whether values are put together that are not literals.
fn put_together(tokens: &[Token<'_>], tag: &str) -> Option<&'static str> {
    const LIST: &str = "A list, a tuple or a map of a template holds literals only.";
    let mut brackets = Vec::new();
    let mut after_in = false;
    let mut unary = 0;
    // A number after a dot is the place in a list, and a filter or an index would make another value of
    // one: they belong to it more than the `+` does.
    let is_number = |nth: Option<usize>| {
        nth.is_some_and(|nth| {
            let after_dot = nth > 0 && tokens[nth - 1] == Token::Sign('.');
            let goes_on = match tokens.get(nth + 1) {
                Some(Token::Sign(sign)) => "|.[(".contains(*sign),
                Some(Token::Word(word)) => !WORDS.contains(word),
                _ => false,
            };
            tokens.get(nth) == Some(&Token::Number) && !after_dot && !goes_on
        })
    };
    for (nth, token) in tokens.iter().enumerate() {
        let before = nth.checked_sub(1);
        // Whether a value ends here, so that what follows belongs to it.
        let after_value = before.is_some_and(|before| match tokens[before] {
            Token::Word(word) => !WORDS.contains(&word),
            Token::Text(_) | Token::Number => true,
            Token::Sign(sign) => ")]}".contains(sign),
        });
        unary = match token {
            Token::Word("not") | Token::Sign('-' | '+') => unary + 1,
            _ => 0,
        };
        if unary > MOST_UNARY {
            return Some("There are more than 16 signs in front of a value.");
        }
        match token {
            Token::Word("self" | "super" | "caller")
                if before.is_none_or(|before| tokens[before] != Token::Sign('.')) =>
            {
                return Some("A template has no blocks that could be called.");
            }
            Token::Sign('~' | '*') => {
                return Some(
                    "Values are not put together by `~` or `*`: write one after the other.",
                );
            }
            Token::Sign('+') if !is_number(before) && !is_number(Some(nth + 1)) => {
                return Some("By `+` only a number that is written there is added.");
            }
            // It would be copied, in one step.
            Token::Sign(':') if brackets.last() == Some(&Bracket::Call) => {
                return Some("Lists and texts are not cut by `[from:to]`.");
            }
            Token::Sign('(') if after_value => brackets.push(Bracket::Call),
            Token::Sign('(') => brackets.push(Bracket::Group),
            Token::Sign('[') if after_value => brackets.push(Bracket::Call),
            Token::Sign('[' | '{') => brackets.push(Bracket::Literal),
            Token::Sign(')' | ']' | '}') => {
                brackets.pop();
            }
            Token::Sign(',') => match brackets.last() {
                Some(Bracket::Group) => return Some(LIST),
                None if tag == "set" || tag == "for" && after_in => return Some(LIST),
                _ => {}
            },
            Token::Word("in") if brackets.is_empty() => after_in = true,
            Token::Word(word)
                if brackets.contains(&Bracket::Literal) && !LITERALS.contains(word) =>
            {
                return Some(LIST);
            }
            _ => {}
        }
    }
    None
}

/// The tokens of a tag up to its end, as the template engine finds them, or to the end of the text; and how
/// long that is.
fn tokens<'t>(rest: &'t str, end: &str) -> Result<(Vec<Token<'t>>, usize), &'static str> {
    let all = &rest[..rest.floor_char_boundary(LONGEST)];
    let mut rest = all;
    let mut tokens = Vec::new();
    let mut open = 0_isize;
    while let Some(first) = rest.chars().next() {
        let over = |rest: &str| {
            rest.strip_prefix(['-', '+'])
                .unwrap_or(rest)
                .starts_with(end)
        };
        if open == 0 && (rest.starts_with(end) || over(rest)) {
            return Ok((tokens, all.len() - rest.len()));
        }
        if tokens.len() >= MOST_TOKENS {
            return Err("A tag has 500 words and signs at the most.");
        }
        let length = match first {
            '"' | '\'' => {
                let length = text(rest, first);
                let inner = rest.get(1..length.saturating_sub(1)).unwrap_or_default();
                tokens.push(Token::Text(inner));
                length
            }
            '0'..='9' => {
                tokens.push(Token::Number);
                span(rest, |char| char.is_ascii_digit() || char == '_')
            }
            _ if first.is_ascii_alphabetic() || first == '_' => {
                let length = span(rest, |char| char.is_ascii_alphanumeric() || char == '_');
                tokens.push(Token::Word(&rest[..length]));
                length
            }
            _ => {
                match first {
                    '(' | '[' | '{' => open += 1,
                    ')' | ']' | '}' => open -= 1,
                    _ => {}
                }
                if !first.is_whitespace() {
                    tokens.push(Token::Sign(first));
                }
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    match all.len() < LONGEST - 3 {
        true => Ok((tokens, all.len())),
        false => Err("A tag has 16384 bytes at the most."),
    }
}

fn span(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|char| !belongs(char)).unwrap_or(text.len())
}

/// How long a text is, with its quotes. One that does not end goes on to the end.
fn text(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if char == quote => return at + char.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(template: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        let partials = BTreeMap::from([("tone".to_owned(), ())]);
        screen(template, "/text", &partials, &mut faults);
        faults
    }

    #[test]
    fn what_templates_are_for_is_let_through() {
        for template in [
            "Hello {{ name }}, {{ name|upper }}{# said {{ #} }} { { % }",
            "{% for item in items %}{{ loop.index + 1 }}. {{ item.title }}\n{% endfor %}",
            "{% for key, value in map|items %}{{ 1 + loop.index0 }}{{ key }}{% else %}-{% endfor %}",
            "{%- if kind == 'a' and not (b or c) -%}A{%+ elif kind in [\"b\", 'c', 1, none] %}B{% else %}C{% endif %}",
            "{% set first = items[0].name|default(\"x\", true) %}{{ first[1] }}",
            "{{ items[{'a': 1}.a] }}{{ n + 1 if n else m + 2 }}{{ (n|default(0)) + 1 }}",
            "{% include \"tone\" %}{%- include 'tone' -%}{{ x.self }}",
            "{{ 'a' if x is defined and y is not none and n is divisibleby(3) }}",
            "{% raw %}{{ literally }}{% endraw %}",
            "{{ {\"a\": {\"b\": [1, 2]}} | tojson }}{{ range(1, n - 1)|join(\", \") }}",
            "{{ \"~ * + %} }}\" }}{{ 'it\\'s ~' }}",
        ] {
            assert_eq!(wrong(template), [], "{template}");
        }
    }

    #[test]
    fn nothing_is_put_together_captured_or_called_again() {
        for template in [
            "{% set x = x ~ x %}",
            "{{ x ~ x }}",
            "{{ x * 100000 }}",
            "{{ x + x }}",
            "{{ x.0 + x.0 }}",
            "{{ x . 0 + x }}",
            "{% set x = x + 0|default(x, true) %}",
            "{{ x + 0 [x] }}",
            "{{ x + 1e0|default(x) }}",
            "{{ x + 0 . y }}",
            "{{ x + 0 (x) }}",
            "{{ x[1:] }}",
            "{{ x [ : ] }}",
            "{{ x[::-1] }}",
            "{{ x[a if b else c:] }}",
            "{{ (x) + (x) }}",
            "{{ 1 if x else y + z }}",
            "{{ \"}}\" ~ x }}",
            "{{ {\"a\": {}} ~ x }}",
            "{{ '\\'' ~ x }}",
            "{% set x = [x, x] %}",
            "{% set x = {\"a\": x} %}",
            "{% set x = (x, x) %}",
            "{% set x = x, x %}",
            "{% set x, y = y, x %}",
            "{% for y in [x, x] %}{% endfor %}",
            "{% for y in x, x %}{% endfor %}",
            "{% for y in not [x] %}{% endfor %}",
            "{% set x %}{{ x }}{{ x }}{% endset %}",
            "{% set x|upper %}{% endset %}",
            "{% set x.y = 1 %}",
            "{% for y in x recursive %}{{ loop(y) }}{% endfor %}",
            "{{ self.a() }}",
            "{{ super() }}",
            "{% filter upper %}{{ x }}{% endfilter %}",
            "{% macro a() %}{{ a() }}{% endmacro %}",
            "{% call a() %}{% endcall %}",
            "{% block a %}{{ self.a() }}{% endblock %}",
            "{% extends 'tone' %}",
            "{% import 'tone' as tone %}",
            "{% from 'tone' import a %}",
            "{% with a = x %}{% endwith %}",
            "{% do a() %}",
            "{% autoescape true %}{% endautoescape %}",
            "{% include name %}",
            "{% include ['tone'] %}",
            "{% include 'tone' ignore missing %}",
            "{% include '/etc/passwd' %}",
            "{%-include\n'x'-%}",
            "{%\tmacro a() %}",
        ] {
            assert_ne!(wrong(template), [], "{template}");
        }
    }

    #[test]
    fn nothing_goes_deep_in_the_engine() {
        let chain = |count: usize| {
            let branches = "{% elif x %}".repeat(count);
            format!("{{% if x %}}{branches}{{% endif %}}")
        };
        assert_eq!(wrong(&chain(MOST_BRANCHES)), []);
        assert_ne!(wrong(&chain(MOST_BRANCHES + 1)), []);
        for (sign, most) in [("-", MOST_UNARY), ("not ", MOST_UNARY)] {
            let signs = |count: usize| format!("{{{{ {}x }}}}", sign.repeat(count));
            assert_eq!(wrong(&signs(most)), [], "{sign}");
            assert_ne!(wrong(&signs(most + 1)), [], "{sign}");
        }
        // What is let through is read on the smallest of stacks.
        let deep = [
            chain(MOST_BRANCHES),
            format!("{{{{ x{} }}}}", "-x".repeat(200)),
            format!("{{{{ x{} }}}}", "|d".repeat(200)),
            format!("{{{{ x{} }}}}", ".x".repeat(200)),
            format!("{{{{ x{} }}}}", " if x else x".repeat(100)),
            format!("{{{{ x{} }}}}", " == x".repeat(160)),
            format!("{{{{ {}x }}}}", "x and not -".repeat(100)),
        ];
        for template in deep {
            assert_eq!(wrong(&template), [], "{template}");
            let read = move || {
                let mut env = super::super::engine::environment();
                let read = env.add_template_owned("t".to_owned(), template);
                if read.is_ok()
                    && let Ok(template) = env.get_template("t")
                {
                    drop(template.undeclared_variables(true));
                    drop(template.render(minijinja::context! { x => 1 }));
                }
            };
            let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(read);
            thread.unwrap().join().unwrap();
        }
    }

    #[test]
    fn tags_in_tags_take_no_time() {
        for (template, what) in [
            (
                ["{{ '", &" ".repeat(20_000)].concat().repeat(50),
                "A tag has 16384 bytes at the most.",
            ),
            (
                "{{'".repeat(300_000),
                "A tag has 500 words and signs at the most.",
            ),
            (
                "{".repeat(1 << 20),
                "A tag has 500 words and signs at the most.",
            ),
            (
                ["{{".repeat(120), "}}".repeat(120)].concat().repeat(1_000),
                "Too many tags stand in one another.",
            ),
        ] {
            let faults = wrong(&template);
            assert_eq!(faults.len(), MOST, "{what}");
            assert_eq!(faults[MOST - 1].what, what);
        }
        let quoted = ["{{ '", &"{{ }}".repeat(1_000), "' }}"].concat();
        assert_eq!(wrong(&quoted.repeat(150)), []);
    }

    #[test]
    fn a_fault_has_its_line() {
        let faults = wrong("a\nb\n{% do x %}{{ x ~ y }}\n{% include 'none' %}");
        let lines: Vec<_> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [Some(3), Some(3), Some(4)]);
        assert_eq!(faults[2].about.as_deref(), Some("none"));
        assert_eq!(line_of("a.b\n{{ a.b }}\n{% if b %}", "b"), Some(3));
        assert_eq!(line_of("{{ 'b' }} b", "b"), None);
    }
}
