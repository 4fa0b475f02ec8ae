//! Expressions.

mod bounds;
#[cfg(test)]
mod tests;
mod variables;

use self::{bounds::Reads, variables::Variables};
use super::Asked;
use cel::{Context, Env, IdedExpr, Value};
use std::{
    error::Error,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
    thread,
};

/// An expression in the [Common Expression Language](https://cel.dev), for a
/// [condition](super::Rule::expression).
///
/// ```
/// use http::Request;
/// use tower_gateway::authorize::{Ask, Asked, Expression};
///
/// let expression = Expression::new(r#"request.method == "GET" && "staff" in principal.roles"#)?;
/// let request = Request::get("/").body(())?;
/// assert_eq!(expression.evaluate(&request.ask()), None, "there is no principal");
///
/// let wrong = Expression::new("request.method ==\n  principle.id").unwrap_err();
/// assert_eq!(wrong.to_string(), "there is no variable `principle` (line 2, column 3)");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// | variable | is |
/// |---|---|
/// | `principal` | a map: `id`, `team`, `tenant`, of which those are there that are known; `scopes` and `roles`, lists; `attributes`, a map of lists. It is there if there is a principal |
/// | `request` | a map: `method`, `route`, `path`, `host`, of which those are there that are known; `headers`, a map of lists, one item for each line, by names in lower case |
/// | `client` | a map: `address`, a string, if it is known |
/// | `now` | a timestamp: `now.getHours() < 18`, or `now.getHours("Europe/Berlin") < 18` |
/// | `model` | a string, on the plane of the models |
/// | `prompt` | a string, there too, and over HTTP where it is known: empty where no prompt is called |
///
/// What is not there is an error, and so is an answer that is no boolean; an expression that fails
/// [cannot be evaluated](super#what-cannot-be-evaluated). `has(principal.team)` asks whether something is
/// there, and `a || b` is true when one of them is, though the other one fails.
///
/// # Bounds
///
/// An expression has at most 4,096 bytes and 256 nodes, and is nested 32 deep at the most. It calls none but
/// the [functions of the language](https://github.com/google/cel-spec/blob/master/doc/langdef.md#list-of-standard-definitions),
/// without `matches`. Its macros `all`, `exists`, `exists_one`, `filter` and `map` do not stand within one
/// another. A list of more than 128 items, or a map of more than 128 names, is not there. So an evaluation
/// takes some ten thousand steps at the most, and most often one or two dozen.
#[derive(Clone)]
pub struct Expression(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    expression: IdedExpr,
    reads: Reads,
}

static ENV: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

impl Expression {
    /// Compiles it.
    ///
    /// # Errors
    ///
    /// [`InvalidExpression`] with the first fault, and where it is.
    pub fn new(text: &str) -> Result<Self, InvalidExpression> {
        Self::compiled(text, &[])
    }

    /// Compiles one about a call of a model, which has two variables more.
    #[cfg(feature = "llm")]
    pub(crate) fn of_call(text: &str) -> Result<Self, InvalidExpression> {
        Self::compiled(text, &["tokens", "metadata"])
    }

    fn compiled(text: &str, besides: &[&str]) -> Result<Self, InvalidExpression> {
        if text.len() > bounds::LONGEST {
            return Err(InvalidExpression::nowhere("it has more than 4096 bytes"));
        }
        // The parser is generated code, whose calls are deep and whose frames are large.
        let parsing = thread::Builder::new().stack_size(STACK);
        let compiled = thread::scope(|scope| {
            let parsing = parsing.spawn_scoped(scope, || parse(text, besides));
            parsing.ok().and_then(|parsing| parsing.join().ok())
        });
        let unreadable = || Err(InvalidExpression::nowhere("it cannot be read"));
        let (expression, reads) = compiled.unwrap_or_else(unreadable)?;
        Ok(Self(Arc::new(Compiled {
            text: text.into(),
            expression,
            reads,
        })))
    }

    /// What it says. `None`: it cannot be evaluated.
    #[must_use]
    pub fn evaluate(&self, asked: &Asked<'_>) -> Option<bool> {
        let variables = Variables(asked);
        let mut context = Context::with_env(ENV.clone());
        context.set_variable_resolver(&variables);
        // A fault of the interpreter must not end what a caller can bring about again and again.
        let evaluate = || Value::resolve(&self.0.expression, &context);
        match catch_unwind(AssertUnwindSafe(evaluate)) {
            Ok(Ok(Value::Bool(answer))) => Some(answer),
            _ => None,
        }
    }

    pub(super) fn reads_model(&self) -> bool {
        self.0.reads.model
    }

    pub(crate) fn reads_now(&self) -> bool {
        self.0.reads.now
    }

    #[cfg(feature = "llm")]
    pub(crate) fn reads_tokens(&self) -> bool {
        self.0.reads.tokens
    }

    #[cfg(feature = "llm")]
    pub(crate) fn reads_metadata(&self) -> bool {
        self.0.reads.metadata
    }

    pub(super) fn reads_request(&self) -> bool {
        self.0.reads.request
    }
}

/// For [`bounds::DEEPEST`], ten times over. Only what is used of it is real.
const STACK: usize = 64 << 20;

fn parse(text: &str, besides: &[&str]) -> Result<(IdedExpr, Reads), InvalidExpression> {
    let parser = ENV.parser().max_recursion_depth(bounds::DEEPEST);
    let (expression, source) = parser.parse_with_source_info(text).map_err(|faults| {
        let first = faults.errors.into_iter().next();
        match first {
            Some(fault) => InvalidExpression {
                detail: fault.msg.into(),
                position: position(fault.pos),
            },
            None => InvalidExpression::nowhere("it cannot be read"),
        }
    })?;
    match bounds::check(&expression, besides) {
        Ok(reads) => Ok((expression, reads)),
        Err((id, detail)) => Err(InvalidExpression {
            detail: detail.into(),
            position: source
                .offset_for(id)
                .map(|(start, _)| place(text, start as usize)),
        }),
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.0.text).finish()
    }
}

fn position((line, column): (isize, isize)) -> Option<(usize, usize)> {
    let (line, column) = (usize::try_from(line).ok()?, usize::try_from(column).ok()?);
    (line > 0).then_some((line, column.max(1)))
}

/// The line and the column of a character, counted from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let mut place = (1, 1);
    for char in text.chars().take(at) {
        if char == '\n' {
            place = (place.0 + 1, 1);
        } else {
            place.1 += 1;
        }
    }
    place
}

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidExpression {
    detail: Box<str>,
    position: Option<(usize, usize)>,
}

impl InvalidExpression {
    fn nowhere(detail: &str) -> Self {
        Self {
            detail: detail.into(),
            position: None,
        }
    }

    /// The line and the column, counted from 1.
    #[must_use]
    pub fn position(&self) -> Option<(usize, usize)> {
        self.position
    }
}

impl fmt::Display for InvalidExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        match self.position {
            Some((line, column)) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}

impl Error for InvalidExpression {}
