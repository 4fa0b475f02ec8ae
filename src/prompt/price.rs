//! What a call cost.

use crate::{Exchange, exchange::Usage, llm::catalog::Catalog};

/// In 10⁻¹² US dollars, by the vendor that was called last, and its model. `None`: that is not known. Without
/// a catalog it is that which is built in.
pub(super) fn price(exchange: &Exchange, usage: &Usage, catalog: Option<&Catalog>) -> Option<i128> {
    let (vendor, model) = exchange.read(|facts| {
        let vendor = facts.upstream.clone();
        vendor.zip(facts.upstream_model.clone())
    })?;
    let known = match catalog {
        Some(catalog) => catalog.get(&vendor, &model)?,
        None => Catalog::builtin().get(&vendor, &model)?,
    };
    Some(known.price()?.cost(usage).ok()?.picos())
}
