//! What the fuzzers begin with, on any toolchain: the same checks, of the texts in `tests/corpus`.
//!
//! The checks are the fuzzers' own, which are built from these files. Theirs are bytes that say how a text is
//! to be taken, and then the text; the texts here are taken in each of the ways.

mod answer;
mod catalog;
mod chat_answer;
mod chat_request;
mod form;
mod forwarded;
mod growth;
mod header;
mod lab;
mod path;
#[cfg(feature = "prompts")]
mod prompt;
mod rate_limits;
mod request;
mod sealed;
#[cfg(feature = "prompts")]
mod template;

use self::lab::{Answer, Parts, Upstream, Vendor, block_on, framed, pieces, said, with_vendor};
use std::fs;

/// Fuzzers measure the time that something takes with an input of so many bytes. Here others want some of it.
fn in_time<T>(_: usize, run: impl FnOnce() -> T) -> T {
    run()
}

/// The texts for one of the checks, by their names.
fn texts(check: &str) -> Vec<(String, Vec<u8>)> {
    let folder = format!("{}/tests/corpus/{check}", env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(&folder).expect("a corpus");
    let mut texts: Vec<_> = files
        .map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, fs::read(file.path()).unwrap())
        })
        .collect();
    texts.sort();
    assert!(texts.len() > 3, "{folder}");
    texts
}

/// Each text in each of these ways.
fn each(check: &str, ways: &[&[u8]], run: fn(&[u8])) {
    for (name, text) in texts(check) {
        for way in ways {
            println!("{check}: {name} {way:?}");
            run(&[way, &*text].concat());
        }
    }
}

/// Which of these a text is for: its name begins so.
fn owner(name: &str, all: &[&str]) -> usize {
    let (owner, _) = name.split_once('.').expect("whose it is");
    let place = all.iter().position(|one| *one == owner);
    place.unwrap_or_else(|| panic!("{name} is nobody's"))
}

const PROTOCOLS: [&str; 7] = [
    "openai",
    "responses",
    "anthropic",
    "gemini",
    "bedrock",
    "cohere",
    "ollama",
];

#[test]
fn an_answer_of_each_vendor_means_the_same_however_it_is_cut() {
    for (name, text) in texts("answer") {
        let protocol = owner(&name, &PROTOCOLS) as u8;
        let operations: &[u8] = match name.split('.').nth(1) {
            Some(what) if what.starts_with("embed") => &[0x30],
            Some(what) if what.starts_with("rerank") => &[0x38],
            // Streams and documents, whichever it is; frames of Amazon's as they are, too; and of a type
            // that says nothing.
            _ => &[0, 0x20, 0x40, 0x80],
        };
        // Each cut is for a client of another dialect.
        for (operation, seed) in operations
            .iter()
            .flat_map(|it| (0..4).map(|seed| (*it, seed)))
        {
            println!("answer: {name} {operation:#x} {seed}");
            answer::check(&[&[protocol | operation, seed], &*text].concat());
        }
    }
}

#[test]
fn a_request_of_each_dialect_is_read_or_refused_and_written_for_each_vendor() {
    const DIALECTS: [(&str, &[u8]); 6] = [
        ("chat", &[4]),
        ("responses", &[0, 11]),
        ("messages", &[1, 10]),
        ("generate", &[2, 3, 9]),
        ("embed", &[7, 8]),
        ("rerank", &[5, 6]),
    ];
    for (name, text) in texts("request") {
        let (_, paths) = DIALECTS[owner(&name, &DIALECTS.map(|(name, _)| name))];
        for (path, protocol) in paths.iter().flat_map(|it| (0..7).map(|to| (*it, to))) {
            println!("request: {name} {path} {protocol}");
            request::check(&[&[path | protocol << 4], &*text].concat());
        }
    }
}

#[test]
fn the_quick_look_at_a_request_sees_what_it_says() {
    each(
        "chat_request",
        &[b"\x00", b"\x01", b"\x02"],
        chat_request::check,
    );
}

#[test]
fn an_answer_passes_through_as_it_came() {
    let ways: [&[u8]; 9] = [
        b"\x00\x00",
        b"\x00\x02",
        b"\x00\x07",
        b"\x02\x03",
        b"\x03\x01",
        b"\x04\x02",
        b"\x06\x01",
        b"\x08\x03",
        b"\x10\x01",
    ];
    each("chat_answer", &ways, chat_answer::check);
}

#[test]
fn a_form_names_one_model_however_it_is_cut() {
    let ways: [&[u8]; 6] = [
        b"\0\0",
        b"\0\x01",
        b"\0\x02",
        b"\x01\x03",
        b"\x02\x04",
        b"\x03\x07",
    ];
    each("form", &ways, form::check);
}

#[test]
fn limits_of_vendors_are_read_within_bounds() {
    each("rate_limits", &[b""], rate_limits::check);
}

#[test]
fn a_catalog_finds_its_rows_or_is_refused_with_the_place_of_the_fault() {
    each("catalog", &[b""], catalog::check);
}

#[test]
fn a_proof_comes_back_to_its_maker_through_any_client() {
    let vendors_and_clients =
        (0..3).flat_map(|vendor| (0..4).map(move |client| [vendor | client << 4]));
    let ways: Vec<_> = vendors_and_clients.collect();
    let ways: Vec<&[u8]> = ways.iter().map(|way| &way[..]).collect();
    each("sealed", &ways, sealed::check);
}

#[test]
fn a_normal_path_means_what_the_path_meant() {
    each(
        "path",
        &[b"\0", b"\x01", b"\x02", b"\x04", b"\x05"],
        path::check,
    );
}

#[test]
fn headers_of_one_hop_stay_there() {
    let ways: [&[u8]; 4] = [b"\0", b"\x05", b"\x12", b"\x24"];
    each("header", &ways, header::check);
}

#[test]
fn what_a_stranger_says_of_who_he_is_never_counts() {
    let ways: [&[u8]; 6] = [b"\0", b"\x01", b"\x02", b"\x04", b"\x09", b"\x0d"];
    each("forwarded", &ways, forwarded::check);
}

#[cfg(feature = "prompts")]
#[test]
fn a_template_makes_one_text_or_is_refused() {
    let ways: [&[u8]; 6] = [b"\x00", b"\x11", b"\x22", b"\x33", b"\x04", b"\x05"];
    each("template", &ways, template::check);
}

#[cfg(feature = "prompts")]
#[test]
fn a_prompt_is_read_and_written_and_read() {
    each("prompt", &[b""], prompt::check);
}
