//! Holds the direction of `crate::…` between top-level modules: a module may name those of the tiers
//! below its own, never its own tier's, except within the vocabulary.

use std::{collections::BTreeMap, fs, path::Path};

/// The tiers, from the bottom. A module that is missing here fails the test.
const TIERS: &[&[&str]] = &[
    // The vocabulary. Its own order is held by `VOCABULARY`.
    &[
        "rejection",
        "admit",
        "follow",
        "answer",
        "bell",
        "body",
        "problem",
        "principal",
        "key",
        "exchange",
        "deadline",
        "reissue",
        "retry_after",
        "random",
        "identity",
        "pause",
        "describe",
        "path",
        "client_addr",
        "json",
        "tls",
        "client",
        "storage",
    ],
    // Policies never import one another.
    &[
        "access_log",
        "address_list",
        "auth",
        "authorize",
        "balance",
        "circuit_breaker",
        "concurrency",
        "fallback",
        "hedge",
        "metrics",
        "mirror",
        "rate_limit",
        "retry",
        "server_name",
        "split",
        "timeout",
        "trace",
    ],
    // Domains.
    &["llm", "proxy", "route"],
    // Policies of the language model plane.
    &["prompt"],
    // What stores are made of.
    &["store"],
    // Assembly. Nothing imports it.
    &["gateway", "testing"],
    &["lib"],
];

/// What each module of the vocabulary may name.
const VOCABULARY: &[(&str, &[&str])] = &[
    ("rejection", &["answer"]),
    ("admit", &["answer", "rejection"]),
    ("follow", &["answer", "rejection"]),
    ("answer", &["follow", "rejection"]),
    ("bell", &[]),
    ("body", &["follow", "rejection"]),
    ("retry_after", &["answer"]),
    (
        "problem",
        &["answer", "body", "follow", "rejection", "retry_after"],
    ),
    ("principal", &[]),
    ("json", &[]),
    ("tls", &[]),
    ("key", &["exchange", "principal"]),
    ("exchange", &["principal"]),
    (
        "deadline",
        &[
            "answer",
            "body",
            "exchange",
            "follow",
            "principal",
            "rejection",
        ],
    ),
    ("reissue", &["body", "rejection"]),
    ("identity", &["admit", "principal"]),
    ("pause", &[]),
    ("random", &[]),
    ("path", &["rejection"]),
    (
        "describe",
        &["exchange", "follow", "principal", "rejection"],
    ),
    (
        "client_addr",
        &[
            "answer",
            "admit",
            "exchange",
            "follow",
            "key",
            "principal",
            "rejection",
        ],
    ),
    ("client", &["bell", "body", "rejection"]),
];

/// Names that `lib.rs` re-exports, and the module each comes from.
const ROOT: &[(&str, &str)] = &[
    ("Body", "body"),
    ("BoxError", ""),
    ("CollectError", "body"),
    ("End", "follow"),
    ("Exchange", "exchange"),
    ("Extensible", "principal"),
    ("Follow", "follow"),
    ("Health", "answer"),
    ("Principal", "principal"),
    ("Reject", "answer"),
    ("Rejection", "rejection"),
    ("collect", "body"),
];

fn tier(module: &str) -> usize {
    TIERS
        .iter()
        .position(|tier| tier.contains(&module))
        .unwrap_or_else(|| panic!("{module} has no tier"))
}

fn may_use(module: &str, target: &str) -> bool {
    if tier(module) != tier(target) {
        return tier(target) < tier(module);
    }
    let vocabulary: BTreeMap<_, _> = VOCABULARY.iter().copied().collect();
    vocabulary
        .get(module)
        .is_some_and(|may| may.contains(&target))
}

#[test]
fn modules_point_one_way() {
    let root: BTreeMap<_, _> = ROOT.iter().copied().collect();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    visit(&src, &mut |path| {
        let file = path.strip_prefix(&src).unwrap().to_str().unwrap();
        let module = file.split(['/', '.']).next().unwrap();
        for name in used(&code(&fs::read_to_string(path).unwrap())) {
            let target = root.get(name).copied().unwrap_or(name);
            if !target.is_empty() && target != module && !may_use(module, target) {
                wrong.push(format!("{file} uses {target}"));
            }
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What documents a policy of its own within the module of another.
const WITHIN: &[&str] = &[
    "auth/client_cert",
    "auth/introspection",
    "auth/jwt",
    "auth/signature",
    "auth/stored",
];

/// Whoever operates a policy finds in one place what it answers, and what becomes of it without its store.
#[test]
fn each_policy_has_a_table_of_its_answers_and_says_what_if_its_store_is_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut missing = Vec::new();
    for policy in TIERS[1].iter().chain(&["client_addr"]).chain(WITHIN) {
        let files = [format!("{policy}.rs"), format!("{policy}/mod.rs")];
        let text = files
            .iter()
            .find_map(|file| fs::read_to_string(src.join(file)).ok());
        let text = text.unwrap_or_else(|| panic!("{policy} has no file"));
        let docs: Vec<_> = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        let table = docs.windows(2).any(|two| {
            let columns =
                two[0].starts_with("//! | ") && two[0].contains(" | status | code | headers");
            columns && two[1].starts_with("//! |---|--:|---|---|")
        });
        let store = docs
            .iter()
            .any(|line| line.starts_with("//! **What if its store is down**"));
        if !table {
            missing.push(format!("{policy}: | … | status | code | headers |"));
        }
        if !store {
            missing.push(format!("{policy}: **What if its store is down**"));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn names_are_found_in_nested_lists() {
    let code = "use crate::{\n    a::{B, c::D},\n    e,\n};\nuse crate::f::G;";
    assert_eq!(used(code), ["a", "e", "f"]);
}

/// The text without its comments.
fn code(text: &str) -> String {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The first name of every path after `crate::`.
fn used(code: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for path in code.split("crate::").skip(1) {
        let Some(list) = path.strip_prefix('{') else {
            names.push(name(path));
            continue;
        };
        let mut depth = 0;
        let mut start = 0;
        for (at, char) in list.char_indices() {
            match char {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    names.push(name(list[start..at].trim()));
                    start = at + 1;
                    if char == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn name(path: &str) -> &str {
    let end = path.find(|char: char| !char.is_alphanumeric() && char != '_');
    &path[..end.unwrap_or(path.len())]
}

fn visit(dir: &Path, check: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, check);
        } else {
            check(&path);
        }
    }
}
