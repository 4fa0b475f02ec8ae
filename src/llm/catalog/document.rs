//! Facts in a JSON document.

use super::{
    Catalog, ModelFacts,
    effort::{Dial, Level, Off},
    facts::{Ability, Modality},
    money::Money,
    price::{Price, Rate, Rates, Tier},
    set::{Set, Word},
};
use crate::{Rejection, llm::codec::value};
use serde_json::{Map, Value};
use std::{error::Error, fmt, str::FromStr};

type Object = Map<String, Value>;

/// Why a document is no catalog.
#[derive(Clone, PartialEq, Eq)]
pub struct InvalidCatalog {
    path: Box<str>,
    reason: Box<str>,
}

impl InvalidCatalog {
    fn new(path: impl Into<Box<str>>, reason: impl Into<Box<str>>) -> Self {
        let (path, reason) = (path.into(), reason.into());
        Self { path, reason }
    }

    /// Where the fault is, such as `models[3].price.input`. Empty: the whole document.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for InvalidCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.path {
            "" => f.write_str(&self.reason),
            path => write!(f, "{path}: {}", self.reason),
        }
    }
}

/// As a person reads it: this is what a `main` that returns it prints.
impl fmt::Debug for InvalidCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for InvalidCatalog {}

/// The models of a document, each after what `known` says of the one that it is like.
pub(super) fn read(text: &str, known: &Catalog) -> Result<Vec<ModelFacts>, InvalidCatalog> {
    let fault = |fault: Rejection| InvalidCatalog::new("", fault.message());
    let document = value::document(text.as_bytes()).map_err(fault)?;
    let mut document = Fields::new(String::new(), document)?;
    let vendor = document.text("vendor")?;
    let source = document.text("source")?;
    let checked = document.parsed("checked")?;
    let models = document.array("models")?;
    document.end()?;
    let mut all = Vec::with_capacity(models.len());
    for (at, model) in models.into_iter().enumerate() {
        let mut fields = Fields::new(format!("models[{at}]"), model)?;
        let like = fields.text("like")?;
        let own = fields.text("vendor")?.or_else(|| vendor.clone());
        let vendor = own.ok_or_else(|| fields.fault("vendor", "a vendor is required"))?;
        let id = fields.text("id")?;
        let id = id.ok_or_else(|| fields.fault("id", "a name is required"))?;
        if id.is_empty() || vendor.is_empty() {
            return Err(fields.fault("id", "a name is not empty"));
        }
        let start = match like {
            None => ModelFacts::new(vendor, id),
            Some(like) => {
                let fault = || fields.fault("like", "no such model is known: vendor/id");
                let (of, model) = like.split_once('/').ok_or_else(fault)?;
                let found = known.get(of, model).ok_or_else(fault)?;
                found.facts().clone().named(vendor, id)
            }
        };
        let mut facts = model_of(&mut fields, start)?;
        facts.source = facts.source.or_else(|| source.clone().map(Into::into));
        facts.checked = facts.checked.or(checked);
        fields.end()?;
        all.push(facts);
    }
    Ok(all)
}

fn model_of(fields: &mut Fields, mut facts: ModelFacts) -> Result<ModelFacts, InvalidCatalog> {
    fn set<T>(place: &mut Option<T>, said: Option<T>) {
        if said.is_some() {
            *place = said;
        }
    }
    for alias in fields.texts("aliases")? {
        facts.aliases.push(alias.into());
    }
    set(&mut facts.name, fields.text("name")?.map(Into::into));
    facts.kind = fields.word("kind")?.unwrap_or(facts.kind);
    set(&mut facts.window, fields.count("window")?);
    set(&mut facts.max_output, fields.count("max_output")?);
    let dimensions = fields.count("dimensions")?.map(u32::try_from).transpose();
    let dimensions = dimensions.map_err(|_| fields.fault("dimensions", "too many"))?;
    set(&mut facts.dimensions, dimensions);
    set(&mut facts.input, fields.set::<Modality>("input")?);
    set(&mut facts.output, fields.set::<Modality>("output")?);
    let can = fields.set::<Ability>("can")?.unwrap_or_default();
    let cannot = fields.set::<Ability>("cannot")?.unwrap_or_default();
    if can.iter().any(|ability| cannot.has(ability)) {
        return Err(fields.fault("cannot", "it can, says the same model"));
    }
    facts = can.iter().fold(facts, ModelFacts::can);
    facts = cannot.iter().fold(facts, ModelFacts::cannot);
    set(&mut facts.effort, dial(fields)?);
    if let Some(price) = fields.object("price")? {
        facts.price = Some(price_of(price)?);
    }
    set(&mut facts.retires, fields.parsed("retires")?);
    set(&mut facts.source, fields.text("source")?.map(Into::into));
    set(&mut facts.checked, fields.parsed("checked")?);
    set(&mut facts.note, fields.text("note")?.map(Into::into));
    Ok(facts)
}

/// `"none"`, or an object with one of the forms of a dial.
fn dial(fields: &mut Fields) -> Result<Option<Dial>, InvalidCatalog> {
    if fields.values.get("effort").and_then(Value::as_str) == Some("none") {
        fields.take("effort");
        return Ok(Some(Dial::None));
    }
    let Some(mut form) = fields.object("effort")? else {
        return Ok(None);
    };
    let dial = if let Some(words) = form.set::<Level>("words")? {
        Dial::Words(words)
    } else if let Some(words) = form.set::<Level>("adaptive")? {
        let off = form.word::<Off>("off")?.unwrap_or(Off::Never);
        Dial::Adaptive { words, off }
    } else if let Some(words) = form.set::<Level>("levels")? {
        Dial::ThinkingLevel(words)
    } else if let Some(mut budget) = form.object("budget")? {
        let least = budget.count("least")?.unwrap_or(1);
        budget.end()?;
        Dial::Budget { least }
    } else if let Some(mut tokens) = form.object("tokens")? {
        let (least, most) = (tokens.count("least")?, tokens.count("most")?);
        let dial = Dial::ThinkingBudget {
            least: least.unwrap_or(1),
            most: most.ok_or_else(|| tokens.fault("most", "a number is required"))?,
            zero: tokens.flag("zero")?,
            dynamic: tokens.flag("dynamic")?,
        };
        tokens.end()?;
        dial
    } else {
        let reason = "expected \"none\", or one of words, adaptive, levels, budget, tokens";
        return Err(InvalidCatalog::new(form.path, reason));
    };
    form.end()?;
    Ok(Some(dial))
}

fn price_of(mut fields: Fields) -> Result<Price, InvalidCatalog> {
    let mut price = Price::from(rates(&mut fields)?);
    for (at, tier) in fields.array("tiers")?.into_iter().enumerate() {
        let mut tier = Fields::new(format!("{}.tiers[{at}]", fields.path), tier)?;
        let above = tier.count("above")?;
        let above = above.ok_or_else(|| tier.fault("above", "a number is required"))?;
        if price.tiers.last().is_some_and(|last| last.above >= above) {
            return Err(tier.fault("above", "the shortest tier stands first"));
        }
        price.tiers.push(Tier::new(above, rates(&mut tier)?));
        tier.end()?;
    }
    price.search = fields.decimal::<Money>("search")?;
    price.fees = fields.flag("fees")?;
    fields.end()?;
    Ok(price)
}

fn rates(fields: &mut Fields) -> Result<Rates, InvalidCatalog> {
    Ok(Rates {
        input: fields.decimal::<Rate>("input")?,
        output: fields.decimal::<Rate>("output")?,
        cache_read: fields.decimal::<Rate>("cache_read")?,
        cache_write: fields.decimal::<Rate>("cache_write")?,
        cache_write_1h: fields.decimal::<Rate>("cache_write_1h")?,
        reasoning: fields.decimal::<Rate>("reasoning")?,
        image_input: fields.decimal::<Rate>("image_input")?,
        audio_input: fields.decimal::<Rate>("audio_input")?,
        audio_output: fields.decimal::<Rate>("audio_output")?,
    })
}

/// The fields of an object that nobody has read yet.
struct Fields {
    path: String,
    values: Object,
}

impl Fields {
    fn new(path: String, value: Value) -> Result<Self, InvalidCatalog> {
        match value {
            Value::Object(values) => Ok(Self { path, values }),
            _ => Err(InvalidCatalog::new(path, "expected an object")),
        }
    }

    fn fault(&self, key: &str, reason: &str) -> InvalidCatalog {
        match &*self.path {
            "" => InvalidCatalog::new(key, reason),
            path => InvalidCatalog::new(format!("{path}.{key}"), reason),
        }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.values
            .shift_remove(key)
            .filter(|value| !value.is_null())
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, InvalidCatalog> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.fault(key, "expected a text")),
        }
    }

    fn array(&mut self, key: &str) -> Result<Vec<Value>, InvalidCatalog> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(all)) => Ok(all),
            Some(_) => Err(self.fault(key, "expected a list")),
        }
    }

    fn texts(&mut self, key: &str) -> Result<Vec<String>, InvalidCatalog> {
        let all = self.array(key)?;
        let text = |(at, value)| match value {
            Value::String(text) => Ok(text),
            _ => Err(self.fault(&format!("{key}[{at}]"), "expected a text")),
        };
        all.into_iter().enumerate().map(text).collect()
    }

    fn object(&mut self, key: &str) -> Result<Option<Self>, InvalidCatalog> {
        let path = match &*self.path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        let value = self.take(key);
        value.map(|value| Self::new(path, value)).transpose()
    }

    fn count(&mut self, key: &str) -> Result<Option<u64>, InvalidCatalog> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let count = value.as_u64().filter(|count| *count > 0);
        let fault = || self.fault(key, "expected a whole number above 0");
        count.ok_or_else(fault).map(Some)
    }

    fn flag(&mut self, key: &str) -> Result<bool, InvalidCatalog> {
        match self.take(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.fault(key, "expected true or false")),
        }
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(
        &mut self,
        key: &str,
    ) -> Result<Option<T>, InvalidCatalog> {
        match self.text(key)? {
            None => Ok(None),
            Some(text) => self.parse(key, &text).map(Some),
        }
    }

    fn parse<T: FromStr<Err: fmt::Display>>(
        &self,
        key: &str,
        text: &str,
    ) -> Result<T, InvalidCatalog> {
        let fault = |reason: T::Err| self.fault(key, &reason.to_string());
        text.parse().map_err(fault)
    }

    /// A number, or the text of one. As a number it is what its shortest text says.
    fn decimal<T: FromStr<Err: fmt::Display>>(
        &mut self,
        key: &str,
    ) -> Result<Option<T>, InvalidCatalog> {
        let text = match self.take(key) {
            None => return Ok(None),
            Some(Value::String(text)) => text,
            // No exponent: `Display` of a float has none.
            Some(Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
                (Some(whole), _) => whole.to_string(),
                (None, Some(number)) => number.to_string(),
                (None, None) => String::new(),
            },
            Some(_) => return Err(self.fault(key, "expected a number")),
        };
        self.parse(key, &text).map(Some)
    }

    fn word<W: Word>(&mut self, key: &str) -> Result<Option<W>, InvalidCatalog> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        let known = W::from_name(&text);
        known
            .ok_or_else(|| self.fault(key, &one_of::<W>()))
            .map(Some)
    }

    fn set<W: Word>(&mut self, key: &str) -> Result<Option<Set<W>>, InvalidCatalog> {
        if !self.values.contains_key(key) {
            return Ok(None);
        }
        let mut set = Set::EMPTY;
        for (at, text) in self.texts(key)?.iter().enumerate() {
            let Some(word) = W::from_name(text) else {
                return Err(self.fault(&format!("{key}[{at}]"), &one_of::<W>()));
            };
            set = set.and(word);
        }
        Ok(Some(set))
    }

    /// Nothing that nobody knows is passed over: it may be a slip of the pen.
    fn end(self) -> Result<(), InvalidCatalog> {
        match self.values.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.fault(key, "there is no such field")),
        }
    }
}

fn one_of<W: Word>() -> String {
    let names: Vec<_> = W::ALL.iter().map(|word| word.name()).collect();
    format!("expected one of {}", names.join(", "))
}
