//! What an expression may hold.

use cel::{
    IdedExpr,
    common::ast::{EntryExpr, Expr, IdedEntryExpr},
};

/// In bytes.
pub(super) const LONGEST: usize = 4096;
pub(super) const DEEPEST: u16 = 32;
const MOST_NODES: usize = 256;

const VARIABLES: [&str; 6] = ["principal", "request", "client", "now", "model", "prompt"];

/// What may be called beside operators.
const FUNCTIONS: [&str; 27] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "bytes",
    "type",
    "dyn",
    "duration",
    "timestamp",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    "has",
    "@in",
    "@not_strictly_false",
];

/// Names of types, which stand for themselves.
const TYPES: [&str; 11] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
    "google",
];

/// Which variables an expression reads, of those for which that matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) model: bool,
    pub(super) now: bool,
    pub(super) request: bool,
    pub(super) tokens: bool,
    pub(super) metadata: bool,
}

/// Where a fault is, by the number of its node, and what it is.
type Fault = (u64, String);

/// Judges it. There are these variables besides.
pub(super) fn check<'a>(expression: &'a IdedExpr, besides: &[&'a str]) -> Result<Reads, Fault> {
    let mut walk = Walk {
        besides: besides.to_vec(),
        ..Walk::default()
    };
    walk.node(expression)?;
    Ok(walk.reads)
}

/// Whether it is certainly no list: lists that are added would grow without a bound.
fn is_scalar(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Literal(_) => true,
        Expr::Call(call) if call.func_name == "_+_" => call.args.iter().any(is_scalar),
        Expr::Call(call) => FUNCTIONS.contains(&&*call.func_name) && call.func_name != "dyn",
        _ => false,
    }
}

#[derive(Default)]
struct Walk<'a> {
    nodes: usize,
    depth: u16,
    reads: Reads,
    /// What the macro around it has bound.
    bound: Vec<&'a str>,
    within: bool,
    besides: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    fn node(&mut self, node: &'a IdedExpr) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err((node.id, "it is nested more than 32 deep".into()));
        }
        self.inside(node)?;
        self.depth -= 1;
        Ok(())
    }

    fn inside(&mut self, node: &'a IdedExpr) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err((node.id, "it has more than 256 nodes".into()));
        }
        match &node.expr {
            Expr::Unspecified => Err((node.id, "something is missing".into())),
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(node.id, name),
            Expr::Select(select) => self.node(&select.operand),
            Expr::Call(call) => {
                let name = &*call.func_name;
                let is_operator =
                    name.contains('_') && !name.bytes().any(|b| b.is_ascii_alphanumeric());
                if !is_operator && !FUNCTIONS.contains(&name) {
                    return Err((node.id, format!("there is no function `{name}`")));
                }
                if name == "_+_" && !call.args.iter().any(is_scalar) {
                    let only = "one side of `+` must be a literal, a sum with one, or of a function: lists are \
                                not added";
                    return Err((node.id, only.into()));
                }
                call.target
                    .iter()
                    .try_for_each(|target| self.node(target))?;
                call.args.iter().try_for_each(|arg| self.node(arg))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|item| self.node(item)),
            Expr::Map(map) => self.entries(&map.entries),
            Expr::Struct(_) => Err((node.id, "there are no messages".into())),
            Expr::Comprehension(all) => {
                if self.within {
                    return Err((node.id, "a macro stands within another one".into()));
                }
                let taken = |name| VARIABLES.contains(&name) || self.besides.contains(&name);
                if taken(&*all.iter_var) {
                    let taken = format!("`{}` is the name of a variable", all.iter_var);
                    return Err((node.id, taken));
                }
                self.node(&all.iter_range)?;
                self.node(&all.accu_init)?;
                self.within = true;
                self.bound.extend([&*all.iter_var, &*all.accu_var]);
                self.bound.extend(all.iter_var2.as_deref());
                self.node(&all.loop_cond)?;
                self.node(&all.loop_step)?;
                self.node(&all.result)?;
                self.bound.clear();
                self.within = false;
                Ok(())
            }
        }
    }

    fn entries(&mut self, entries: &'a [IdedEntryExpr]) -> Result<(), Fault> {
        entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::StructField(field) => self.node(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.node(&entry.key)?;
                self.node(&entry.value)
            }
        })
    }

    fn name(&mut self, id: u64, name: &'a str) -> Result<(), Fault> {
        match name.trim_start_matches('.') {
            // They are known together.
            "model" | "prompt" => self.reads.model = true,
            "now" => self.reads.now = true,
            "request" => self.reads.request = true,
            "tokens" if self.besides.contains(&"tokens") => self.reads.tokens = true,
            "metadata" if self.besides.contains(&"metadata") => self.reads.metadata = true,
            name if VARIABLES.contains(&name) || TYPES.contains(&name) => {}
            name if self.bound.contains(&name) => {}
            _ => return Err((id, format!("there is no variable `{name}`"))),
        }
        Ok(())
    }
}
