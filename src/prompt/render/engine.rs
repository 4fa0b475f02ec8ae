//! The template engine: what a template can do, and how much of it.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the engine hands values to filters so, and makes texts of what is none"
)]

use minijinja::{
    Environment, Error, ErrorKind, Output, State, UndefinedBehavior, filters,
    syntax::SyntaxConfig,
    tests,
    value::{Value, ValueKind},
};
use std::{
    borrow::Cow,
    cell::Cell,
    fmt::{self, Write as _},
    io,
    sync::LazyLock,
};

/// The most steps of one rendering.
pub(super) const FUEL: u64 = 50_000;

/// As many steps there are even for the largest variables.
const LEAST_FUEL: u64 = 2_000;

/// How many bytes steps may go through: to compare two texts, to look for one in another or to count
/// its characters is one step, however long they are.
const BYTES_OF_STEPS: u64 = 2 << 30;

/// The most bytes that filters make in one rendering.
const WORK: usize = 8 << 20;

/// The same where templates give names to texts that filters have made, and can go through them again and again.
pub(super) const KEPT_WORK: usize = 512 << 10;

/// The longest list that a template counts.
const LONGEST_RANGE: usize = 10_000;

/// How deep templates and loops stand in one another; an include counts ten.
const DEEPEST: usize = 100;

/// What is left in front of what a filter says when there is too much to do.
const TOO_MUCH: &str = "too much";

/// What stands behind a `|`.
pub(super) const FILTERS: [&str; 20] = [
    "upper",
    "lower",
    "capitalize",
    "trim",
    "replace",
    "join",
    "indent",
    "tojson",
    "urlencode",
    "string",
    "length",
    "count",
    "default",
    "d",
    "abs",
    "round",
    "first",
    "last",
    "items",
    "int",
];

/// Those that make no text.
pub(super) const TEXTLESS: [&str; 10] = [
    "length", "count", "default", "d", "abs", "round", "first", "last", "items", "int",
];

/// What stands behind an `is`.
pub(super) const TESTS: [&str; 12] = [
    "defined",
    "undefined",
    "none",
    "boolean",
    "number",
    "integer",
    "string",
    "sequence",
    "mapping",
    "odd",
    "even",
    "divisibleby",
];

/// Functions.
pub(super) const FUNCTIONS: [&str; 1] = ["range"];

thread_local! {
    /// How many bytes filters may still make. A rendering does not wait, so it has the thread to itself.
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

/// How many steps there are for variables of so many bytes.
pub(super) fn fuel(bytes: usize) -> u64 {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).max(1);
    (BYTES_OF_STEPS / bytes).clamp(LEAST_FUEL, FUEL)
}

/// Takes it from what filters may make.
fn charge(bytes: usize) -> Result<(), Error> {
    LEFT.with(|left| match left.get().checked_sub(bytes) {
        Some(rest) => {
            left.set(rest);
            Ok(())
        }
        None => Err(Error::new(ErrorKind::OutOfFuel, TOO_MUCH)),
    })
}

/// Lets filters work, from the beginning.
pub(super) fn begin(keeps: bool) {
    LEFT.with(|left| left.set(if keeps { KEPT_WORK } else { WORK }));
}

/// An environment without templates, to be cloned.
pub(super) fn environment() -> Environment<'static> {
    static EMPTY: LazyLock<Environment<'static>> = LazyLock::new(empty);
    EMPTY.clone()
}

/// There is nothing in it but what is named here: no loader, no global that knows of the process.
fn empty() -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(DEEPEST);
    env.set_formatter(say);
    let mut syntax = SyntaxConfig::builder();
    syntax
        .keep_trailing_newline(true)
        .trim_blocks(true)
        .lstrip_blocks(true);
    // The delimiters are those that every template engine has.
    if let Ok(syntax) = syntax.build() {
        env.set_syntax(syntax);
    }
    env.add_function("range", range);
    env.add_filter("upper", upper);
    env.add_filter("lower", lower);
    env.add_filter("capitalize", capitalise);
    env.add_filter("trim", trim);
    env.add_filter("replace", replace);
    env.add_filter("join", join);
    env.add_filter("indent", indent);
    env.add_filter("tojson", to_json);
    env.add_filter("urlencode", url_encode);
    env.add_filter("string", shown);
    env.add_filter("length", filters::length);
    env.add_filter("count", filters::length);
    env.add_filter("default", filters::default);
    env.add_filter("d", filters::default);
    env.add_filter("abs", filters::abs);
    env.add_filter("round", filters::round);
    env.add_filter("first", filters::first);
    env.add_filter("last", last);
    env.add_filter("int", filters::int);
    env.add_filter("items", items);
    env.add_test("defined", tests::is_defined);
    env.add_test("undefined", tests::is_undefined);
    env.add_test("none", tests::is_none);
    env.add_test("boolean", tests::is_boolean);
    env.add_test("number", tests::is_number);
    env.add_test("integer", tests::is_integer);
    env.add_test("string", tests::is_string);
    env.add_test("sequence", tests::is_sequence);
    env.add_test("mapping", tests::is_mapping);
    env.add_test("odd", tests::is_odd);
    env.add_test("even", tests::is_even);
    env.add_test("divisibleby", is_divisible);
    env
}

/// How a value stands in a text: texts and numbers as they are, nothing for `none`, and lists and
/// maps as JSON.
fn say(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    write(out, value)
}

fn write(out: &mut impl fmt::Write, value: &Value) -> Result<(), Error> {
    let written = match value.kind() {
        ValueKind::None | ValueKind::Undefined => Ok(()),
        ValueKind::String => out.write_str(value.as_str().unwrap_or_default()),
        ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => write!(out, "{value}"),
        _ => {
            let mut json = serde_json::Serializer::new(Bytes(out));
            serde::Serialize::serialize(value, &mut json).map_err(|_| fmt::Error)
        }
    };
    written.map_err(|_| Error::new(ErrorKind::WriteFailure, "it cannot be written"))
}

/// Bytes that are UTF-8, each piece of them.
struct Bytes<'w, W>(&'w mut W);

impl<W: fmt::Write> io::Write for Bytes<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.write_str(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A text that takes from what filters may make.
#[derive(Default)]
struct Charged(String);

impl fmt::Write for Charged {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        charge(text.len()).map_err(|_| fmt::Error)?;
        self.0.push_str(text);
        Ok(())
    }
}

impl Charged {
    fn end(self, written: Result<(), Error>) -> Result<String, Error> {
        match written {
            Ok(()) => Ok(self.0),
            // It can only be for want of room.
            Err(_) => Err(Error::new(ErrorKind::OutOfFuel, TOO_MUCH)),
        }
    }
}

/// What a filter made of so many bytes.
fn made(text: String, of: usize) -> Result<String, Error> {
    charge(text.len().max(of))?;
    Ok(text)
}

fn upper(text: Cow<'_, str>) -> Result<String, Error> {
    made(text.to_uppercase(), text.len())
}

fn lower(text: Cow<'_, str>) -> Result<String, Error> {
    made(text.to_lowercase(), text.len())
}

fn trim(text: Cow<'_, str>) -> Result<String, Error> {
    made(text.trim().to_owned(), text.len())
}

fn shown(value: Value) -> Result<String, Error> {
    let mut out = Charged::default();
    let written = write(&mut out, &value);
    out.end(written)
}

fn capitalise(text: Cow<'_, str>) -> Result<String, Error> {
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase);
    let rest = chars.as_str().to_lowercase();
    made(
        first.into_iter().flatten().chain(rest.chars()).collect(),
        text.len(),
    )
}

fn replace(text: Cow<'_, str>, from: Cow<'_, str>, to: Cow<'_, str>) -> Result<String, Error> {
    let times = text.matches(&*from).count();
    // Before it is made: it may be many times as long.
    charge(text.len().saturating_add(times.saturating_mul(to.len())))?;
    Ok(text.replace(&*from, &to))
}

fn join(value: Value, between: Option<Cow<'_, str>>) -> Result<String, Error> {
    let mut out = Charged::default();
    let between = between.unwrap_or_default();
    for (nth, item) in value.try_iter()?.enumerate() {
        if nth > 0 && out.write_str(&between).is_err() {
            return Err(Error::new(ErrorKind::OutOfFuel, TOO_MUCH));
        }
        // An empty text costs something too.
        charge(1)?;
        if let Err(wrong) = write(&mut out, &item) {
            return out.end(Err(wrong));
        }
    }
    Ok(out.0)
}

/// All lines but the first, by so many spaces.
fn indent(text: Cow<'_, str>, width: Option<usize>) -> Result<String, Error> {
    let width = width.unwrap_or(4).min(64);
    let lines = text.matches('\n').count();
    charge(text.len().saturating_add(lines.saturating_mul(width)))?;
    let spaces = " ".repeat(width);
    Ok(text.replace('\n', &format!("\n{spaces}")))
}

/// JSON; with `true` or a number on lines of its own.
fn to_json(value: Value, pretty: Option<Value>) -> Result<String, Error> {
    let mut out = Charged::default();
    let written = if pretty.is_some_and(|pretty| pretty.is_true()) {
        let mut json = serde_json::Serializer::pretty(Bytes(&mut out));
        serde::Serialize::serialize(&value, &mut json)
    } else {
        let mut json = serde_json::Serializer::new(Bytes(&mut out));
        serde::Serialize::serialize(&value, &mut json)
    };
    let written = written.map_err(|_| Error::new(ErrorKind::OutOfFuel, TOO_MUCH));
    out.end(written)
}

/// All but the unreserved characters of RFC 3986 §2.3 in percent encoding: a part of a URL.
fn url_encode(text: Cow<'_, str>) -> Result<String, Error> {
    charge(text.len().saturating_mul(3))?;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Ok(out)
}

/// The last of a list, or the last character.
fn last(value: Value) -> Result<Value, Error> {
    charge(value.len().unwrap_or_default())?;
    filters::last(value)
}

/// The pairs of a map.
fn items(map: Value) -> Result<Value, Error> {
    charge(map.len().unwrap_or_default().saturating_mul(64))?;
    filters::items(&map)
}

/// Whether a whole number is a multiple of another one. Of nothing else, and not of 0.
fn is_divisible(value: Value, by: Value) -> bool {
    let (value, by) = (i128::try_from(value), i128::try_from(by));
    let whole = value.ok().zip(by.ok());
    whole.is_some_and(|(value, by)| value.checked_rem(by) == Some(0))
}

fn range(from: isize, to: Option<isize>, step: Option<isize>) -> Result<Value, Error> {
    let (from, to) = to.map_or((0, from), |to| (from, to));
    let step = step.unwrap_or(1);
    let length = to.checked_sub(from);
    let wrong = |what| Err(Error::new(ErrorKind::InvalidOperation, what));
    match length {
        _ if step == 0 => wrong("a range has steps"),
        Some(length) if length.unsigned_abs() <= LONGEST_RANGE => {
            let stride = step.unsigned_abs();
            let list: Vec<isize> = if step > 0 {
                (from..to).step_by(stride).collect()
            } else {
                let down = (to..from).map(|number| from - (number - to));
                down.step_by(stride).collect()
            };
            charge(list.len().saturating_mul(size_of::<Value>()))?;
            Ok(list
                .into_iter()
                .map(|number| Value::from(number as i64))
                .collect())
        }
        _ => wrong("a range is 10000 long at the most"),
    }
}

/// A text that ends where there is no more room.
pub(super) struct Capped {
    pub(super) text: Vec<u8>,
    pub(super) left: usize,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.left.checked_sub(bytes.len()) {
            Some(left) => {
                self.left = left;
                self.text.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            None => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests_of_names {
    use super::{super::values::given, *};

    #[test]
    fn what_is_let_through_is_there() {
        begin(false);
        let env = environment();
        let kind = |text: &str| {
            let context = given(&serde_json::json!({"x": "y"}));
            let rendered = env.render_str(text, context);
            rendered.map_err(|error| error.kind())
        };
        for name in FILTERS {
            let made = kind(&format!("{{{{ x|{name} }}}}"));
            assert_ne!(made, Err(ErrorKind::UnknownFilter), "{name}");
        }
        for name in TESTS {
            let made = kind(&format!("{{{{ x is {name} }}}}"));
            assert_ne!(made, Err(ErrorKind::UnknownTest), "{name}");
        }
        assert_eq!(kind("{{ range(3)|join(',') }}"), Ok("0,1,2".into()));
        assert_eq!(kind("{{ range(3, 0, -1)|join(',') }}"), Ok("3,2,1".into()));
        for unknown in [
            "x|safe",
            "x|attr('a')",
            "dict()",
            "namespace()",
            "debug()",
            "cycler()",
        ] {
            assert!(kind(&format!("{{{{ {unknown} }}}}")).is_err(), "{unknown}");
        }
    }

    #[test]
    fn each_value_has_one_way_to_stand_in_a_text() {
        begin(false);
        let env = environment();
        let context = given(&serde_json::json!({
            "text": "a\"{{b}}", "none": null, "yes": true, "whole": 7, "part": 0.5, "list": ["a", 1, {"b": null}]
        }));
        let text =
            "{{ text }}|{{ none }}|{{ yes }}|{{ whole }}|{{ part }}|{{ list }}|{{ list|tojson }}";
        let made = env.render_str(text, context).unwrap();
        assert_eq!(
            made,
            r#"a"{{b}}||true|7|0.5|["a",1,{"b":null}]|["a",1,{"b":null}]"#
        );
    }
}
