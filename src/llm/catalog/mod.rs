//! Models: what they can, how much they take, what they cost.
//!
//! Dated facts that were compiled for this crate: each row names the page that it comes from and the
//! day on which that was looked at. What nobody could check is `None`. They decide how a request is
//! written for a model (the most tokens of an answer, how hard to think, what is not taken), what a
//! list of models says of it, and what a call cost.
//!
//! ```
//! use tower_gateway::llm::catalog::{Ability, Catalog, Dial};
//!
//! let catalog = Catalog::builtin();
//! let found = catalog.get("openai", "gpt-4o-2024-08-06").expect("a known model");
//! let facts = found.facts();
//! assert_eq!((&*facts.id, facts.window, facts.max_output), ("gpt-4o", Some(128_000), Some(16_384)));
//! assert_eq!(facts.ability(Ability::StructuredOutput), Some(true));
//! assert_eq!(facts.effort, Some(Dial::None));
//!
//! // Whoever else serves it has prices of its own.
//! assert!(found.price().is_some());
//! assert!(catalog.get("openrouter", "openai/gpt-4o").unwrap().price().is_none());
//! // Of a model that nobody knows nothing is made up.
//! assert!(catalog.get("openai", "gpt-99").is_none());
//! ```
//!
//! # How the rows were checked
//!
//! In November 2026. `source` is the vendor's page that states the facts, unless a note says otherwise.
//! Prices stand where at least two public catalogues that cite that page agree (LiteLLM's, Pydantic's
//! genai-prices and models.dev), or where the page itself was read; the page decides where they differ.
//! Where neither decides, there is `None` and a note. A price that ends on a day, or holds at some hours
//! alone, has a note that says so: [`Price::cost`] has no calendar. Prices change: a ledger that must be
//! right reads its own document.
//!
//! # One's own
//!
//! What is added stands before what is built in, and takes the place of a row of the same name.
//!
//! ```
//! use tower_gateway::llm::catalog::{Catalog, ModelFacts, Rate, Rates};
//!
//! let rates = Rates::new(Rate::micros_per_million(200_000), Rate::micros_per_million(800_000));
//! let own = ModelFacts::new("lab", "tiny").window(32_768).max_output(4_096).price(rates);
//! let catalog = Catalog::builtin().with(own).read(
//!     r#"{"vendor": "azure", "models": [
//!         {"id": "our-deployment", "like": "openai/gpt-5", "price": {"input": 1.38, "output": 11}}
//!     ]}"#,
//! )?;
//! assert_eq!(catalog.get("lab", "tiny").unwrap().facts().window, Some(32_768));
//! let ours = catalog.get("azure", "our-deployment").unwrap();
//! assert_eq!(ours.facts().max_output, Some(128_000));
//! assert_eq!(ours.price().unwrap().base.input, Some("1.38".parse()?));
//!
//! let fault = catalog.read(r#"{"vendor": "lab", "models": [{"id": "m", "window": "big"}]}"#);
//! assert_eq!(fault.unwrap_err().path(), "models[0].window");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! A document has the fields of [`ModelFacts`]; prices are dollars for a million tokens, as numbers or
//! as texts. `vendor`, `source` and `checked` may stand at the top, for all of its models. `like` names
//! a model, as `vendor/id`, whose facts hold for what is not said. A field that is not known is a fault.
//!
//! | `effort` | |
//! |---|---|
//! | `"none"` | [`Dial::None`] |
//! | `{"words": ["low", "high"]}` | [`Dial::Words`] |
//! | `{"budget": {"least": 1024}}` | [`Dial::Budget`] |
//! | `{"adaptive": ["low", "high"], "off": "disabled"}` | [`Dial::Adaptive`]; `off` is a name of [`Off`], by default `never` |
//! | `{"levels": ["low", "high"]}` | [`Dial::ThinkingLevel`] |
//! | `{"tokens": {"least": 128, "most": 32768, "zero": false, "dynamic": true}}` | [`Dial::ThinkingBudget`] |
//!
//! # Which row a name finds
//!
//! The first that there is; letters count whether they are capital or not. Prices hold for the first
//! two alone: who serves a model of others asks what it likes.
//!
//! | the name | finds |
//! |---|---|
//! | an id or an alias of the vendor | that row. Dated names that the vendor lists are aliases, or rows of their own where they differ |
//! | the same after `models/` or the vendor's own name, as in `models/gemini-2.5-pro` | that row |
//! | `us.`, `eu.`, `global.` and the like before a name of Amazon's | the row of the vendor without it |
//! | `maker/id`, `publishers/google/models/id` | the row of the maker |
//! | `us.anthropic.id-v1:0`, `anthropic.id` | the row of the maker, without region, maker and version |
//! | `id@20251101` | as `id-20251101` |
//! | `id:free` and other words after a colon | as `id` |
//! | `claude-opus-4.5` | as `claude-opus-4-5` |
//! | a date at the end that is not listed | as without it |
//! | any other name | the row of whoever makes models and has one of that name: a proxy, a deployment |
//!
//! # Who uses it
//!
//! A provider, for each model that it asks: see [`Provider::catalog`](crate::llm::Provider::catalog). A
//! gateway gives all its providers the one of its builder. It travels in the extensions of the request.
//!
//! # What it costs to have
//!
//! Nothing until something is looked up, which a call does that is written for another protocol than
//! its client's, and a list of models. Then the rows are read, once, in some milliseconds, and stay:
//! about 200 KB. A look-up takes a few microseconds at the most.

mod document;
mod effort;
mod facts;
mod money;
mod name;
mod price;
mod set;
#[cfg(test)]
mod tests;

pub use self::{
    document::InvalidCatalog,
    effort::{Dial, Level, Off},
    facts::{Ability, Date, Kind, Modality, ModelFacts, NotDate},
    money::{Money, NotDecimal},
    price::{Price, Rate, Rates, Tier, Unpriced},
    set::{Set, Word},
};

use crate::Extensible;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock},
};

/// The documents that are built in.
const BUILTIN: &[&str] = &[
    include_str!("data/openai.json"),
    include_str!("data/anthropic.json"),
    include_str!("data/gemini.json"),
    include_str!("data/mistral.json"),
    include_str!("data/cohere.json"),
    include_str!("data/deepseek.json"),
    include_str!("data/xai.json"),
    include_str!("data/perplexity.json"),
    include_str!("data/voyage.json"),
    include_str!("data/groq.json"),
    include_str!("data/cerebras.json"),
    include_str!("data/together.json"),
    include_str!("data/fireworks.json"),
    include_str!("data/bedrock.json"),
];

/// What is known of models.
///
/// See the [module docs](self). Clones share what they hold.
#[derive(Clone, Default)]
pub struct Catalog {
    own: Arc<Shelf>,
    bare: bool,
}

/// Rows, and where each name of them is.
#[derive(Clone, Default)]
struct Shelf {
    rows: Vec<Arc<ModelFacts>>,
    places: HashMap<Box<str>, usize>,
}

impl Catalog {
    /// The facts of this crate, which is also the default.
    #[must_use]
    pub fn builtin() -> Self {
        Self::default()
    }

    /// A catalog with nothing in it.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            own: Arc::default(),
            bare: true,
        }
    }

    /// That which a request carries in its extensions, else the default.
    #[must_use]
    pub fn of(carrier: &impl Extensible) -> Self {
        carrier.extensions().get().cloned().unwrap_or_default()
    }

    /// Adds a model. It takes the place of one that has a name of it at the same vendor.
    #[must_use]
    pub fn with(mut self, facts: ModelFacts) -> Self {
        Arc::make_mut(&mut self.own).add(facts);
        self
    }

    /// Adds the models of a JSON document.
    ///
    /// # Errors
    ///
    /// Where the document is no catalog, and why: a field that is not known, a value that cannot be.
    pub fn read(&self, document: &str) -> Result<Self, InvalidCatalog> {
        let models = document::read(document, self)?;
        Ok(models.into_iter().fold(self.clone(), Self::with))
    }

    /// What is known of a model at a vendor. See [which row a name finds](self#which-row-a-name-finds).
    #[must_use]
    pub fn get(&self, vendor: &str, model: &str) -> Option<Entry> {
        let own = || {
            let exact = self.row(vendor, model);
            exact.or_else(|| self.row(vendor, name::own(vendor, model)?))
        };
        let others = || {
            let regional = name::without_region(model);
            regional
                .and_then(|model| self.row(vendor, model))
                .or_else(|| self.other(vendor, model))
        };
        match own() {
            Some(facts) => Some(Entry { facts, own: true }),
            None => others().map(|facts| Entry { facts, own: false }),
        }
    }

    /// The row of a model by the name that another vendor than its maker has for it.
    fn other(&self, vendor: &str, model: &str) -> Option<Arc<ModelFacts>> {
        name::forms(model)
            .into_iter()
            .find_map(|form| match form.vendor {
                Some(maker) => self.row(maker, &form.id),
                None => {
                    let mut makers = [vendor].into_iter().chain(name::MAKERS.iter().copied());
                    makers.find_map(|maker| self.row(maker, &form.id))
                }
            })
    }

    fn row(&self, vendor: &str, model: &str) -> Option<Arc<ModelFacts>> {
        let key = key(vendor, model);
        let builtin = || (!self.bare).then(|| SHELF.find(&key)).flatten();
        self.own.find(&key).or_else(builtin).cloned()
    }

    /// All of its rows: one's own, then those that are built in and stand.
    pub fn rows(&self) -> impl Iterator<Item = &ModelFacts> {
        let builtin: &[_] = if self.bare { &[] } else { &SHELF.rows };
        let stands = |facts: &&Arc<ModelFacts>| {
            let names = std::iter::once(&facts.id).chain(&facts.aliases);
            let mut keys = names.map(|name| key(&facts.vendor, name));
            keys.all(|key| !self.own.places.contains_key(&*key))
        };
        let builtin = builtin.iter().filter(stands);
        self.own.live().chain(builtin).map(|facts| &**facts)
    }
}

/// Rows that are built in, read when they are asked for first.
static SHELF: LazyLock<Shelf> = LazyLock::new(|| {
    let mut shelf = Shelf::default();
    for document in BUILTIN {
        // A test reads them all.
        let models = document::read(document, &Catalog::empty()).unwrap_or_default();
        models.into_iter().for_each(|facts| shelf.add(facts));
    }
    shelf
});

impl Shelf {
    fn add(&mut self, facts: ModelFacts) {
        let place = self.rows.len();
        for name in std::iter::once(&facts.id).chain(&facts.aliases) {
            let key = key(&facts.vendor, name);
            self.places.insert(key.into_boxed_str(), place);
        }
        self.rows.push(Arc::new(facts));
    }

    fn find(&self, key: &str) -> Option<&Arc<ModelFacts>> {
        self.rows.get(*self.places.get(key)?)
    }

    /// Rows that their own name still finds.
    fn live(&self) -> impl Iterator<Item = &Arc<ModelFacts>> {
        let rows = self.rows.iter().enumerate();
        let finds = |(place, facts): &(usize, &Arc<ModelFacts>)| {
            self.places.get(&*key(&facts.vendor, &facts.id)) == Some(place)
        };
        rows.filter(finds).map(|(_, facts)| facts)
    }
}

fn key(vendor: &str, model: &str) -> String {
    let mut key = String::with_capacity(vendor.len() + 1 + model.len());
    for (part, end) in [(vendor, "\n"), (model, "")] {
        key.push_str(part);
        key.push_str(end);
    }
    key.make_ascii_lowercase();
    key
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("own", &self.own.rows.len())
            .field("builtin", &!self.bare)
            .finish()
    }
}

/// What a name was found to mean.
#[derive(Clone, Debug)]
pub struct Entry {
    facts: Arc<ModelFacts>,
    own: bool,
}

impl Entry {
    /// What is known of the model. Its price is that of the vendor of the row: see
    /// [`price`](Self::price).
    #[must_use]
    pub fn facts(&self) -> &ModelFacts {
        &self.facts
    }

    /// The facts, shared.
    #[must_use]
    pub fn into_facts(self) -> Arc<ModelFacts> {
        self.facts
    }

    /// What the vendor that was asked for takes for it, if that is known: not what another does.
    #[must_use]
    pub fn price(&self) -> Option<&Price> {
        self.facts.price.as_ref().filter(|_| self.own)
    }

    /// Whether the row is of the vendor that was asked for, and not of the model's maker.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own
    }
}
