use super::{super::base64, *};
use proptest::prelude::*;
use serde_json::{Value, json};

const ANTHROPIC: Protocol = Protocol::Anthropic;
const GEMINI: Protocol = Protocol::Gemini;
const RESPONSES: Protocol = Protocol::Responses;
const CHAT: Protocol = Protocol::OpenAi;

fn maker(protocol: Protocol, vendor: &str, model: &str) -> Maker {
    Maker {
        protocol,
        vendor: vendor.into(),
        model: model.into(),
    }
}

fn lab(protocol: Protocol) -> Maker {
    maker(protocol, "lab", "thinker")
}

fn marked(maker: &Maker, raw: &str, framing: Framing) -> String {
    let raw = Marker::new(maker).marked(Bytes::copy_from_slice(raw.as_bytes()), framing);
    String::from_utf8(raw.into()).unwrap()
}

/// What the lab answers, with `¦` where a mark is to be.
const ANSWERS: &[(Protocol, Framing, &str)] = &[
    (
        ANTHROPIC,
        Framing::Json,
        r#"{"id":"m","content":[{"type":"thinking","thinking":"a \"signature\":","signature":"¦p1=="},{"signature":"¦p2","type":"thinking"},{"type":"redacted_thinking","data":"¦p3"},{"type":"tool_use","input":{"signature":"no","type":"thinking","data":"no"}},{"type":"thinking","signature":""},{"type":"image","data":"no"}]}"#,
    ),
    (
        ANTHROPIC,
        Framing::Sse,
        concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[]}}\n\n",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
            ": a comment with \"signature\"\n\n",
            "event: content_block_delta\r\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"¦EqQ\\/B=\"}   }\r\n\r\n",
            "data:{\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"signature\\\":\\\"no\\\"\"}}\n\n",
            "data: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"redacted_thinking\",\"data\":\"¦d\"}}\n\n",
            "data: {\"type\":\"content_block_delta\",\ndata: \"delta\":{\"type\":\"signature_delta\",\ndata:  \"signature\": \"¦two lines\"}}\n\n",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ),
    ),
    (
        GEMINI,
        Framing::Json,
        r#"{"candidates":[{"content":{"parts":[{"text":"a"},{"thoughtSignature":"¦cHJvb2Y=","functionCall":{"args":{"thoughtSignature":"no"}}}]}},{"content":{"parts":[{"text":"","thoughtSignature":"¦YQ"}]}}],"thoughtSignature":"no"}"#,
    ),
    (
        GEMINI,
        Framing::Array,
        concat!(
            "[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"thoughtSignature\"}]}}]}\n,\r\n",
            "{\"candidates\":[{\"content\":{\"parts\":[{\"thoughtSignature\":\"¦YWI=\"}]}}]}\n]",
        ),
    ),
    (
        GEMINI,
        Framing::Sse,
        "\u{feff}data: {\"candidates\":[{\"content\":{\"parts\":[{\"thoughtSignature\":\"¦YWI\\u003d\"}]}}]}\r\n\r\n",
    ),
    (
        RESPONSES,
        Framing::Json,
        r#"{"output":[{"type":"reasoning","encrypted_content":"¦gAAA"},{"type":"function_call","arguments":"{\"encrypted_content\":\"no\"}"},{"type":"compaction","encrypted_content":"¦gAAB"},{"encrypted_content":null}]}"#,
    ),
    (
        RESPONSES,
        Framing::Sse,
        concat!(
            "event: response.output_item.added\ndata: {\"item\":{\"type\":\"reasoning\",\"encrypted_content\":\"¦g1\",\"summary\":[]}}\n\n",
            "event: response.output_text.delta\ndata: {\"delta\":\"\\\"encrypted_content\\\"\"}\n\n",
            "event: response.output_item.done\ndata: {\"item\":{\"encrypted_content\":\"¦g2\"}}\n\n",
            "event: response.completed\ndata: {\"response\":{\"output\":[{\"encrypted_content\":\"¦g2\"}]}}\n\n",
        ),
    ),
    (
        CHAT,
        Framing::Sse,
        concat!(
            "data: {\"choices\":[{\"delta\":{\"reasoning_details\":[{\"type\":\"reasoning.text\",\"text\":\"data\",\"signature\":\"¦s\",\"index\":0}]}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"reasoning_details\":[{\"type\":\"reasoning.encrypted\",\"data\":\"¦d\",\"signature\":null}]}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"extra_content\":{\"google\":{\"thought_signature\":\"¦g\"}},\"function\":{\"arguments\":\"{\\\"thought_signature\\\":1\"}}]}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\",\"extra_content\":{\"google\":{\"thought\":true,\"thought_signature\":\"¦g2\"}}}}]}\n\n",
            "data: [DONE]\n\n",
        ),
    ),
    (
        CHAT,
        Framing::Json,
        r#"{"choices":[{"message":{"content":"a","extra_content":{"google":{"thought":true,"thought_signature":"¦AVSo"}},"role":"assistant","thought_signature":"¦AVSo"}}]}"#,
    ),
];

fn mark_of(protocol: Protocol) -> String {
    String::from_utf8(mark(&lab(protocol))).unwrap()
}

#[test]
fn a_mark_stands_before_each_proof_and_nowhere_else() {
    for (protocol, framing, answer) in ANSWERS {
        let raw = answer.replace('¦', "");
        let expected = answer.replace('¦', &mark_of(*protocol));
        let marked = marked(&lab(*protocol), &raw, *framing);
        assert_eq!(marked, expected, "{protocol:?}, {framing:?}");
    }
}

#[test]
fn a_stream_is_marked_alike_wherever_it_is_cut() {
    for (protocol, framing, answer) in ANSWERS {
        let raw = answer.replace('¦', "");
        let expected = answer.replace('¦', &mark_of(*protocol));
        let marker = Marker::new(&lab(*protocol));
        for cut in 0..=raw.len() {
            let pieces = [&raw.as_bytes()[..cut], &raw.as_bytes()[cut..]];
            let mut out = Vec::new();
            let mut push = |whole: Option<Bytes>| {
                out.extend(whole.map(|raw| marker.marked(raw, *framing)));
            };
            match framing {
                Framing::Sse => {
                    let mut framer = sse::Framer::new();
                    for piece in pieces {
                        push(framer.push(Bytes::copy_from_slice(piece)).unwrap());
                    }
                    push(framer.finish());
                }
                Framing::Array => {
                    let mut cutter = gemini::Cutter::default();
                    for piece in pieces {
                        push(cutter.push(Bytes::copy_from_slice(piece)).unwrap());
                    }
                    push(cutter.finish().0);
                }
                _ => continue,
            }
            assert_eq!(
                out.concat(),
                expected.as_bytes(),
                "{protocol:?}, cut at {cut}"
            );
        }
    }
}

#[test]
fn what_proves_nothing_is_not_copied() {
    for (protocol, framing, raw) in [
        (ANTHROPIC, Framing::Sse, "data: {\"type\":\"ping\"}\n\n"),
        (
            ANTHROPIC,
            Framing::Sse,
            "data: {\"content_block\":{\"type\":\"thinking\",\"signature\":\"\"}}\n\n",
        ),
        (
            GEMINI,
            Framing::Json,
            r#"{"candidates":[{"thoughtSignature":"no"}]}"#,
        ),
        (
            RESPONSES,
            Framing::Json,
            r#"{"output":[{"encrypted_content":"cut of"#,
        ),
        (
            RESPONSES,
            Framing::Json,
            r#"{"output":[{"encrypted_content":"x"}]} x"#,
        ),
        (
            CHAT,
            Framing::Json,
            r#"{"signature":"x","thought_signature":"x"}"#,
        ),
        (Protocol::Cohere, Framing::Json, r#"{"signature":"x"}"#),
    ] {
        let raw = Bytes::from_static(raw.as_bytes());
        let same = Marker::new(&lab(protocol)).marked(raw.clone(), framing);
        assert_eq!(same.as_ptr(), raw.as_ptr(), "{raw:?}");
    }
}

/// A request that holds these proofs.
fn request(protocol: Protocol, proofs: &[String]) -> Value {
    let proofs = proofs.iter();
    match protocol {
        ANTHROPIC => {
            let blocks = proofs.enumerate().map(|(at, proof)| match at % 2 {
                0 => json!({"type": "thinking", "thinking": "hm", "signature": proof}),
                _ => json!({"type": "redacted_thinking", "data": proof}),
            });
            let blocks: Vec<_> = blocks.collect();
            json!({"model": "m", "messages": [
                {"role": "user", "content": "\"signature\""},
                {"role": "assistant", "content": blocks},
            ]})
        }
        GEMINI => {
            let parts = proofs.map(|proof| json!({"text": "x", "thoughtSignature": proof}));
            let parts: Vec<_> = parts.collect();
            json!({"contents": [{"role": "model", "parts": parts}], "tools": []})
        }
        CHAT => {
            let details = proofs.enumerate().map(|(at, proof)| {
                json!({"type": "reasoning.encrypted", "data": proof, "format": "x", "index": at})
            });
            let details: Vec<_> = details.collect();
            json!({"model": "m", "messages": [
                {"role": "assistant", "content": null, "reasoning_details": details},
            ]})
        }
        _ => {
            let items = proofs.map(
                |proof| json!({"type": "reasoning", "summary": [], "encrypted_content": proof}),
            );
            let items: Vec<_> = items.collect();
            json!({"model": "m", "input": items, "store": false})
        }
    }
}

proptest! {
    /// The law: what is marked for a maker goes home to it as the very bytes that it was.
    #[test]
    fn what_was_marked_goes_home_as_it_was(
        protocol in prop::sample::select(vec![ANTHROPIC, GEMINI, RESPONSES, CHAT]),
        vendor in "[^/\\s\\p{C}]{1,12}",
        model in "\\PC{1,16}",
        proofs in prop::collection::vec("[A-Za-z0-9+/_\"\\\\é-]{1,40}={0,2}", 1..5),
        pretty in any::<bool>(),
    ) {
        let to = maker(protocol, &vendor, &model);
        let request = request(protocol, &proofs);
        let raw = match pretty {
            true => serde_json::to_vec_pretty(&request).unwrap(),
            false => serde_json::to_vec(&request).unwrap(),
        };
        let raw = Bytes::from(raw);
        let sent = Marker::new(&to).marked(raw.clone(), Framing::Json);
        prop_assert!(sent.len() > raw.len());
        prop_assert!(serde_json::from_slice::<Value>(&sent).is_ok());
        prop_assert_eq!(homeward(sent, &to), Some(raw));
    }

    #[test]
    fn any_bytes_are_marked_and_opened_without_a_fault(
        protocol in prop::sample::select(vec![ANTHROPIC, GEMINI, RESPONSES, CHAT]),
        framing in prop::sample::select(vec![Framing::Sse, Framing::Json, Framing::Array]),
        words in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", "\"signature\"", "\"type\"", "\"thinking\"", "\"delta\"",
            "\"thoughtSignature\"", "\"parts\"", "\"contents\"", "\"encrypted_content\"", "\"input\"",
            "\"tg1:x\"", "\"dGcyOm\"", "data:", "\n", "\r", " ", "\\", "\u{feff}", "é",
        ]), 0..40),
    ) {
        let raw = Bytes::from(words.concat());
        let to = lab(protocol);
        let _ = Marker::new(&to).marked(raw.clone(), framing);
        if let Some(same) = homeward(raw.clone(), &to) {
            prop_assert!(same.len() <= raw.len());
        }
    }
}

fn sent(protocol: Protocol, proofs: &[String]) -> Bytes {
    request(protocol, proofs).to_string().into()
}

#[test]
fn what_is_anothers_is_for_those_who_read_it_all() {
    for protocol in [ANTHROPIC, GEMINI, RESPONSES] {
        let sealed =
            |maker: &Maker| String::from_utf8([&mark(maker)[..], b"cHJvb2Y="].concat()).unwrap();
        let own = sealed(&lab(protocol));
        for other in [
            maker(protocol, "other", "thinker"),
            maker(protocol, "lab", "other"),
            maker(protocol, "lab", "thinker-2"),
        ] {
            let body = sent(protocol, &[own.clone(), sealed(&other)]);
            assert_eq!(homeward(body, &lab(protocol)), None, "{other:?}");
        }
        // In the form in which another protocol's are kept, and one that is empty.
        let foreign = maker(Protocol::Bedrock, "lab", "thinker").seal("p");
        let foreign = match protocol {
            GEMINI => base64::encode(foreign.as_bytes()),
            _ => foreign,
        };
        for other in [foreign, mark_of(protocol)] {
            let body = sent(protocol, &[own.clone(), other]);
            assert_eq!(homeward(body, &lab(protocol)), None);
        }
        // Of what has no mark nobody knows whose it is.
        let raw = sent(protocol, &["cHJvb2Y=".into()]);
        let same = homeward(raw.clone(), &lab(protocol)).unwrap();
        assert_eq!(same.as_ptr(), raw.as_ptr());
        let body = sent(protocol, &["cHJvb2Y=".into(), own]);
        let opened = homeward(body, &lab(protocol)).unwrap();
        assert_eq!(
            opened,
            sent(protocol, &["cHJvb2Y=".into(), "cHJvb2Y=".into()])
        );
    }
}

#[test]
fn whoever_only_says_the_words_of_a_mark_is_passed_on() {
    let body = r#"{"messages":[{"role":"user","content":"tg1:anthropic:lab:thinker:x"}]}"#;
    let raw = Bytes::from_static(body.as_bytes());
    let same = homeward(raw.clone(), &lab(ANTHROPIC)).unwrap();
    assert_eq!(same.as_ptr(), raw.as_ptr());
    // What is not plainly read may have one.
    let escaped = body.replace("role", "r\\u006fle");
    assert_eq!(homeward(escaped.into(), &lab(ANTHROPIC)), None);
}

#[test]
fn a_version_of_the_same_model_is_the_same() {
    let (dated, plain) = ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5");
    let raw = sent(ANTHROPIC, &["p".into()]);
    let sent = Marker::new(&maker(ANTHROPIC, "lab", dated)).marked(raw.clone(), Framing::Json);
    assert_eq!(homeward(sent, &maker(ANTHROPIC, "lab", plain)), Some(raw));
}

#[test]
fn a_client_may_write_base64_in_either_alphabet() {
    // Letters that differ: `>` and `?` in the name make `+` and `/` of it.
    let to = maker(GEMINI, "a>>>???b", "m");
    let raw = sent(GEMINI, &["-_-_".into()]);
    let marked = Marker::new(&to).marked(raw.clone(), Framing::Json);
    let text = String::from_utf8(marked.to_vec()).unwrap();
    assert!(text.contains(['+', '/']));
    let url = text.replace('+', "-").replace('/', "_");
    assert_eq!(homeward(url.into(), &to), Some(raw));
}

#[test]
fn what_a_client_wrote_with_escapes_is_read_whole() {
    let to = maker(ANTHROPIC, "büro", "m");
    let raw = sent(ANTHROPIC, &["p".into()]);
    let marked = Marker::new(&to).marked(raw, Framing::Json);
    let text = String::from_utf8(marked.to_vec()).unwrap();
    assert_eq!(homeward(text.replace('ü', "\\u00fc").into(), &to), None);
}

#[test]
fn a_proof_within_another_gateways_mark_keeps_that() {
    for protocol in [ANTHROPIC, GEMINI, RESPONSES] {
        let (inner, outer) = (lab(protocol), maker(protocol, "behind", "thinker"));
        let raw = sent(protocol, &["cHJvb2Y=".into()]);
        let once = Marker::new(&inner).marked(raw, Framing::Json);
        let twice = Marker::new(&outer).marked(once.clone(), Framing::Json);
        assert_eq!(homeward(twice, &outer), Some(once));
    }
}

#[test]
fn the_typed_view_reads_a_mark_as_the_same_envelope() {
    for protocol in [ANTHROPIC, GEMINI, RESPONSES] {
        let raw = sent(protocol, &["cHJvb2Y=".into()]);
        let marked = Marker::new(&lab(protocol)).marked(raw, Framing::Json);
        let chat = super::super::of(protocol).parse(crate::llm::Operation::Chat, &marked);
        let Ok(crate::llm::request::Typed::Chat(chat)) = chat else {
            panic!("not a conversation");
        };
        let parts = chat.messages.iter().flat_map(|message| &message.parts);
        let mut proofs = parts.filter_map(|part| match &part.content {
            crate::llm::Content::Reasoning(thought) => {
                thought.signature.clone().or(thought.redacted.clone())
            }
            _ => None,
        });
        assert_eq!(proofs.next(), Some(lab(protocol).seal("cHJvb2Y=")));
    }
}

/// Recorded traffic: what is marked is read as the same but for the marks, and goes home as it was.
#[test]
fn recorded_proofs_are_marked_wherever_a_decoder_finds_them() {
    use crate::llm::{
        Delta, Event, Operation,
        codec::{
            self, reading,
            recordings::{self, all},
        },
    };
    let exchanges = recordings::exchanges(|file| match all::kind(file) {
        Ok(all::Kind::Answer(protocol, Operation::Chat)) => Known::of(protocol).map(|_| protocol),
        _ => None,
    });
    let found = std::sync::atomic::AtomicUsize::new(0);
    recordings::hold(exchanges, 280, |exchange| {
        let protocol = exchange.of;
        let (to, mark) = (lab(protocol), mark_of(protocol));
        let marker = Marker::new(&to);
        let request = Bytes::from(exchange.request.to_string());
        let sent = marker.marked(request.clone(), Framing::Json);
        assert_eq!(homeward(sent, &to), Some(request));
        if exchange.status >= 400 {
            return;
        }
        let (framing, raw) = all::raw(&exchange.response);
        let marked = marker.marked(raw.clone().into(), framing);
        let text = String::from_utf8(marked.to_vec()).unwrap();
        assert_eq!(text.replace(&mark, "").into_bytes(), raw);
        let read =
            |raw: &[u8]| reading::read(codec::of(protocol), Operation::Chat, framing, [raw]).0;
        let (before, after) = (read(&raw), read(&marked));
        let told = format!("{after:?}").replace(&mark, "");
        assert_eq!(told, format!("{before:?}"));
        for event in after {
            if let Event::Delta {
                delta: Delta::Signature(proof) | Delta::Redacted(proof),
                ..
            } = event
            {
                assert!(proof.is_empty() || proof.starts_with(&mark), "{proof}");
            }
        }
        let marks = text.matches(&mark).count();
        found.fetch_add(marks, std::sync::atomic::Ordering::Relaxed);
    });
    println!("{} proofs", found.into_inner());
}
