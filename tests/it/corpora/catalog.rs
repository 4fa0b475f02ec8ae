//! A document is a catalog that finds each of its own rows, or is refused with the place of the fault; and
//! what a row says can be asked for.

use super::in_time;
use tower_gateway::llm::{
    Usage,
    catalog::{Catalog, Dial, Level, ModelFacts, Word},
};

pub(super) fn check(input: &[u8]) {
    let Ok(document) = std::str::from_utf8(input) else {
        return;
    };
    // Its rows are read when they are asked for first.
    let builtin = Catalog::builtin();
    let _ = builtin.get("openai", "gpt-4o");
    for known in [Catalog::empty(), builtin] {
        match in_time(input.len(), || known.read(document)) {
            Ok(catalog) => {
                in_time(input.len(), || {
                    catalog.rows().for_each(|row| ask(&catalog, row))
                });
                assert!(serde_json::from_str::<serde_json::Value>(document).is_ok());
            }
            Err(fault) => {
                assert!(!fault.to_string().is_empty());
                assert!(fault.path().len() <= document.len() + 100, "{fault}");
            }
        }
    }
}

fn ask(catalog: &Catalog, row: &ModelFacts) {
    let found = catalog.get(&row.vendor, &row.id).expect("its own name");
    assert!(found.is_own());
    assert_eq!(found.facts(), row);
    if let Some(Dial::Words(words) | Dial::ThinkingLevel(words)) = row.effort {
        for asked in Level::ALL {
            let nearest = words.nearest(*asked);
            assert!(nearest.is_none_or(|level| words.has(level)), "{words:?}");
        }
    }
    let mut usage = Usage::new(u64::MAX, u64::MAX);
    for tokens in [None, Some(0), Some(u64::MAX)] {
        usage.cache_read = tokens;
        usage.cache_write = tokens;
        usage.cache_write_1h = tokens;
        usage.reasoning = tokens;
        usage.audio_input = tokens;
        if let Some(Ok(cost)) = found.price().map(|price| price.cost(&usage)) {
            assert!(cost.picos() >= 0);
            assert!(cost.to_string().starts_with('$'));
        }
    }
}
