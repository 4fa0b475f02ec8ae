//! Every row that is built in, and what names find.

use super::*;
use crate::llm::Usage;
use std::collections::HashSet;

fn builtin() -> Vec<ModelFacts> {
    let read = |document: &&str| document::read(document, &Catalog::empty()).unwrap();
    BUILTIN.iter().flat_map(read).collect()
}

/// A row of this vendor, which must be there.
fn row(vendor: &str, model: &str) -> Entry {
    let found = Catalog::builtin().get(vendor, model);
    found.unwrap_or_else(|| panic!("{vendor} {model}"))
}

#[test]
fn every_document_that_is_built_in_is_one() {
    assert_eq!(Catalog::builtin().rows().count(), builtin().len());
    assert!(builtin().len() >= 80, "{}", builtin().len());
}

#[test]
fn every_name_is_there_once() {
    let mut names = HashSet::new();
    for facts in builtin() {
        for name in std::iter::once(&facts.id).chain(&facts.aliases) {
            assert!(!name.is_empty() && !name.contains(char::is_whitespace));
            assert!(names.insert(key(&facts.vendor, name)), "{name}");
        }
    }
}

#[test]
fn every_row_tells_where_it_comes_from_and_when_it_was_checked() {
    let first = "2026-11-01".parse().unwrap();
    for facts in builtin() {
        let source = facts.source.as_deref().unwrap_or_default();
        let host = source.strip_prefix("https://").unwrap_or_default();
        assert!(host.contains('.') && host.contains('/'), "{}", facts.id);
        assert!(facts.checked >= Some(first), "{}", facts.id);
        assert!(facts.name.is_some(), "{}", facts.id);
    }
}

#[test]
fn numbers_of_every_row_are_sane() {
    for facts in builtin() {
        let id = &*facts.id;
        if let Some(window) = facts.window {
            assert!((512..=10_485_760).contains(&window), "{id}");
            assert!(facts.max_output.is_none_or(|most| most <= window), "{id}");
        }
        assert!(facts.max_output.is_none_or(|most| most >= 1000), "{id}");
        let embeds = facts.kind == Kind::Embeddings;
        assert_eq!(facts.dimensions.is_some(), embeds, "{id}");
        assert!(
            facts
                .dimensions
                .is_none_or(|all| (128..=8192).contains(&all))
        );
        let text = |all: Set<Modality>| all.has(Modality::Text);
        assert!(facts.input.is_some_and(text), "{id}");
        assert!(facts.output.is_some_and(text) || facts.kind != Kind::Chat);
        assert!(facts.can.iter().all(|one| !facts.cannot.has(one)), "{id}");
    }
}

#[test]
fn dials_of_every_row_fit_what_it_can() {
    for facts in builtin() {
        let id = &*facts.id;
        match facts.effort {
            Some(Dial::Words(words) | Dial::ThinkingLevel(words)) => {
                assert!(words.iter().any(|word| word != Level::None), "{id}");
            }
            Some(Dial::Adaptive { words, .. }) => assert!(!words.has(Level::None), "{id}"),
            Some(Dial::Budget { least }) => assert!(least > 0, "{id}"),
            Some(Dial::ThinkingBudget { least, most, .. }) => assert!(least < most, "{id}"),
            None | Some(Dial::None) => continue,
        }
        assert_eq!(facts.ability(Ability::Reasoning), Some(true), "{id}");
    }
}

#[test]
fn prices_of_every_row_are_sane() {
    let most = Rate::micros_per_million(1_000_000_000);
    for facts in builtin() {
        let (id, Some(price)) = (&*facts.id, &facts.price) else {
            continue;
        };
        let tiers = price.tiers.iter().map(|tier| &tier.rates);
        for rates in std::iter::once(&price.base).chain(tiers) {
            let Rates {
                input,
                output,
                cache_read,
                cache_write,
                cache_write_1h,
                ..
            } = *rates;
            for rate in [input, output, rates.audio_input, rates.audio_output] {
                assert!(rate.is_none_or(|rate| rate <= most), "{id}");
            }
            assert!(cache_read.is_none() || cache_read <= input, "{id}");
            assert!(cache_write.is_none() || cache_write >= input, "{id}");
            assert!(
                cache_write_1h.is_none() || cache_write_1h >= cache_write,
                "{id}"
            );
            assert!(output.is_none() || output >= input, "{id}");
            assert!(output.is_none() || facts.kind == Kind::Chat, "{id}");
        }
        for tier in &price.tiers {
            assert!(tier.rates.input > price.base.input, "{id}");
            assert_eq!(
                tier.rates.cache_read.is_some(),
                price.base.cache_read.is_some(),
                "{id}"
            );
            assert!(facts.window.is_none_or(|window| tier.above < window));
        }
        let asks = price.base.input.is_some() || price.search.is_some();
        assert!(asks, "{id}: a price without a price");
    }
}

#[test]
fn names_find_the_row_of_the_vendor_with_its_price() {
    for (vendor, model, id) in [
        ("openai", "gpt-4o", "gpt-4o"),
        ("openai", "GPT-4o", "gpt-4o"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("openai", "openai/gpt-5", "gpt-5"),
        (
            "anthropic",
            "claude-sonnet-4-5-20250929",
            "claude-sonnet-4-5",
        ),
        ("gemini", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("groq", "openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("bedrock", "amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
    ] {
        let found = row(vendor, model);
        assert_eq!((&*found.facts().id, found.is_own()), (id, true), "{model}");
        assert!(found.price().is_some(), "{model}");
    }
}

#[test]
fn names_of_others_find_the_row_of_the_maker_without_a_price() {
    for (vendor, model, id) in [
        ("openrouter", "anthropic/claude-opus-4.5", "claude-opus-4-5"),
        (
            "openrouter",
            "google/gemini-2.5-flash:free",
            "gemini-2.5-flash",
        ),
        (
            "bedrock",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "claude-sonnet-4-5",
        ),
        ("bedrock", "us.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("vertex", "claude-opus-4-5@20251101", "claude-opus-4-5"),
        ("azure", "gpt-4.1-mini", "gpt-4.1-mini"),
        ("openai", "gpt-5-2031-01-01", "gpt-5"),
        ("lab", "claude-opus-5-5", "claude-opus-5-5"),
    ] {
        let found = row(vendor, model);
        assert_eq!((&*found.facts().id, found.is_own()), (id, false), "{model}");
        assert!(found.price().is_none(), "{model}");
    }
}

#[test]
fn names_that_nobody_has_find_nothing() {
    for (vendor, model) in [
        ("openai", "gpt-99"),
        ("openai", ""),
        ("lab", "our-own/gpt-5"),
        ("openrouter", "anthropic/gpt-5"),
        ("openai", "gpt-5-turbo"),
        ("", "/"),
    ] {
        assert!(Catalog::builtin().get(vendor, model).is_none(), "{model}");
    }
    assert!(Catalog::empty().get("openai", "gpt-5").is_none());
}

#[test]
fn what_is_added_stands_before_what_is_built_in() {
    let own = ModelFacts::new("openai", "gpt-5").max_output(7);
    let catalog = Catalog::builtin().with(own);
    let found = |model| catalog.get("openai", model).unwrap().facts().max_output;
    assert_eq!(found("gpt-5"), Some(7));
    assert_eq!(found("gpt-5-mini"), Some(128_000));
    // Who serves it under its own name gets what was added, too.
    let routed = catalog.get("openrouter", "openai/gpt-5").unwrap();
    assert_eq!(routed.facts().max_output, Some(7));
    // One row has taken the place of another.
    assert_eq!(catalog.rows().count(), Catalog::builtin().rows().count());
    assert!(row("openai", "gpt-5").facts().max_output != Some(7));
    let again = catalog.with(ModelFacts::new("openai", "gpt-5").max_output(8));
    let found = again.get("openai", "gpt-5").unwrap();
    assert_eq!(found.facts().max_output, Some(8));
}

#[test]
fn a_document_may_start_from_a_model_that_is_known() {
    let catalog = Catalog::builtin()
        .read(
            r#"{"vendor": "azure", "checked": "2026-11-20", "models": [
                {"id": "ours", "like": "openai/gpt-5", "window": 128000, "cannot": ["tools"]},
                {"vendor": "lab", "id": "tiny", "aliases": ["small"], "kind": "embeddings",
                 "dimensions": 256, "input": ["text"], "price": {"input": "0.0115"}}
            ]}"#,
        )
        .unwrap();
    let ours = catalog.get("azure", "ours").unwrap();
    let facts = ours.facts();
    assert_eq!(
        (facts.window, facts.max_output),
        (Some(128_000), Some(128_000))
    );
    assert_eq!(facts.ability(Ability::Tools), Some(false));
    assert_eq!(facts.ability(Ability::Reasoning), Some(true));
    assert!(facts.aliases.is_empty() && ours.price().is_some());
    let tiny = catalog.get("lab", "small").unwrap();
    assert_eq!(tiny.facts().checked.unwrap().to_string(), "2026-11-20");
    let rate = tiny.price().unwrap().base.input;
    assert_eq!(rate, Some(Rate::micros_per_million(11_500)));
}

#[test]
fn a_fault_in_a_document_has_a_place() {
    for (document, path) in [
        ("", ""),
        ("[]", ""),
        (r#"{"modles": []}"#, "modles"),
        (r#"{"models": {}}"#, "models"),
        (r#"{"models": [{"id": "m"}]}"#, "models[0].vendor"),
        (r#"{"vendor": "v", "models": [1]}"#, "models[0]"),
        (r#"{"vendor": "v", "models": [{"id": ""}]}"#, "models[0].id"),
        (
            r#"{"vendor": "v", "models": [{"id": "m", "like": "v/none"}]}"#,
            "models[0].like",
        ),
        (
            r#"{"vendor": "v", "models": [{"id": "m", "window": -1}]}"#,
            "models[0].window",
        ),
        (
            r#"{"vendor": "v", "models": [{"id": "m", "can": ["fly"]}]}"#,
            "models[0].can[0]",
        ),
        (
            r#"{"vendor": "v", "models": [{"id": "m", "can": ["tools"], "cannot": ["tools"]}]}"#,
            "models[0].cannot",
        ),
        (
            r#"{"vendor": "v", "models": [{"id": "m", "effort": {"word": ["low"]}}]}"#,
            "models[0].effort",
        ),
        (
            r#"{"vendor": "v", "models": [{"id": "m", "effort": {"words": ["lo"]}}]}"#,
            "models[0].effort.words[0]",
        ),
        (
            r#"{"vendor": "v", "models": [{"id": "m", "price": {"input": -1}}]}"#,
            "models[0].price.input",
        ),
        (
            r#"{"vendor": "v", "models": [{"id": "m", "price": {"input": 0.0000001}}]}"#,
            "models[0].price.input",
        ),
        (
            r#"{"vendor": "v", "models": [{"id": "m", "price": {"tiers": [{}]}}]}"#,
            "models[0].price.tiers[0].above",
        ),
        (
            r#"{"vendor": "v", "models": [{"id": "m", "retires": "soon"}]}"#,
            "models[0].retires",
        ),
    ] {
        let fault = Catalog::builtin().read(document).unwrap_err();
        assert_eq!(fault.path(), path, "{document}: {fault}");
        assert!(!fault.to_string().is_empty());
    }
    let fault = Catalog::empty().read("{\n\"models\": [}").unwrap_err();
    assert!(fault.to_string().contains("line 2"), "{fault}");
}

/// The lists of the vendors, worked out by hand.
#[test]
fn calls_cost_what_the_lists_say() {
    let usage = |input, output, read: u64, write: u64| {
        let mut usage = Usage::new(input, output);
        (usage.cache_read, usage.cache_write) = (Some(read), Some(write));
        usage
    };
    for (vendor, model, usage, cost) in [
        // 1,000 × 1.25 + 9,000 × 0.125 + 500 × 10 microdollars.
        ("openai", "gpt-5", usage(10_000, 500, 9_000, 0), "$0.007375"),
        // Above 272,000: 300,000 × 5 + 1,000 × 22.5.
        ("openai", "gpt-5.4", usage(300_000, 1_000, 0, 0), "$1.5225"),
        // 2,000 × 3 + 3,000 × 0.30 + 5,000 × 3.75 + 100 × 15.
        (
            "anthropic",
            "claude-sonnet-4-6",
            usage(10_000, 100, 3_000, 5_000),
            "$0.02715",
        ),
        // Above 100,000: 50,001 × 0.5 + 50,000 × 0.05 + 10 × 2.5.
        (
            "anthropic",
            "claude-haiku-5-5",
            usage(100_001, 10, 50_000, 0),
            "$0.0275255",
        ),
        // At 200,000 the base holds: 200,000 × 1.25 + 0.
        ("gemini", "gemini-2.5-pro", usage(200_000, 0, 0, 0), "$0.25"),
        (
            "gemini",
            "gemini-2.5-pro",
            usage(200_001, 0, 0, 0),
            "$0.5000025",
        ),
        // From 200,000 on: 200,000 × 4.
        ("xai", "grok-4.7", usage(200_000, 0, 0, 0), "$0.8"),
    ] {
        let found = row(vendor, model);
        let told = found.price().unwrap().cost(&usage).unwrap();
        assert_eq!(told.to_string(), cost, "{model}");
    }
    let deep = row("perplexity", "sonar-deep-research");
    let mut usage = Usage::new(1_000, 1_000);
    usage.reasoning = Some(600);
    // 1,000 × 2 + 400 × 8 + 600 × 3.
    let cost = deep.price().unwrap().cost(&usage).unwrap();
    assert_eq!(cost.to_string(), "$0.007");
    assert!(deep.price().unwrap().fees);
}
