//! What a client may send.

use super::{
    super::{PROTOCOLS, chat_request, request},
    Faults, Hostile, asked, of,
};

const CHAT: &[Hostile] = &[
    of(
        "deep",
        [
            r#"{"model":"m","messages":[{"role":"user","content":"#,
            "[",
            "",
        ],
    ),
    of(
        "fields",
        [
            r#"{"model":"m","messages":[{"role":"user","content":"a"}]"#,
            r#","k#":{}"#,
            "}",
        ],
    ),
    of(
        "one field",
        [
            r#"{"model":"m","messages":[{"role":"user","content":"a"}]"#,
            r#","k":{}"#,
            "}",
        ],
    ),
    of(
        "backslashes",
        [
            r#"{"model":"m","messages":[{"role":"user","content":""#,
            r"\\",
            r#""}]}"#,
        ],
    ),
    of(
        "messages",
        [
            r#"{"model":"m","messages":[{"role":"user","content":"a"}"#,
            r#",{"role":"user","content":"b"}"#,
            "]}",
        ],
    ),
    of(
        "parts",
        [
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"}"#,
            r#",{"type":"text","text":"b"}"#,
            "]}]}",
        ],
    ),
    of(
        "systems",
        [
            r#"{"model":"m","messages":[{"role":"user","content":"a"}"#,
            r#",{"role":"system","content":"b"}"#,
            "]}",
        ],
    ),
    Hostile {
        name: "calls, answered the other way round",
        head: r#"{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{}"}}"#,
        again: r#",{"id":"c#","type":"function","function":{"name":"f#","arguments":"{}"}}"#,
        then: "",
        tail: r#"]},{"role":"tool","tool_call_id":"x","content":"a"}]}"#,
    },
    of(
        "answers without a call",
        [
            r#"{"model":"m","messages":[{"role":"user","content":"a"}"#,
            r#",{"role":"tool","tool_call_id":"c#","content":"a"}"#,
            "]}",
        ],
    ),
    of(
        "names that are refused",
        [
            r#"{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f"}}"#,
            r#",{"type":"function","function":{"name":"a b#"}}"#,
            "]}",
        ],
    ),
    of(
        "one tool",
        [
            r#"{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f"}}"#,
            r#",{"type":"function","function":{"name":"f"}}"#,
            "]}",
        ],
    ),
    of(
        "properties",
        [
            r#"{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{}"#,
            r#","p#":{"type":"string"}"#,
            "}}}}]}",
        ],
    ),
    of(
        "words of a schema",
        [
            r#"{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object""#,
            r#","w#":1"#,
            "}}}]}",
        ],
    ),
    of(
        "stops",
        [
            r#"{"model":"m","messages":[{"role":"user","content":"a"}],"stop":["a""#,
            r#","s#""#,
            "]}",
        ],
    ),
];

/// Calls of one turn, and their results in the other order.
const TURNED: [(&str, u8, Hostile); 4] = [
    (
        "chat",
        4,
        Hostile {
            name: "results the other way round",
            head: r#"{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{}"}}"#,
            again: r#",{"id":"c#","type":"function","function":{"name":"f","arguments":"{}"}}"#,
            then: r#"§{"role":"tool","tool_call_id":"c~","content":"a"}"#,
            tail: "]}",
        },
    ),
    (
        "responses",
        0,
        Hostile {
            name: "results the other way round",
            head: r#"{"model":"m","input":[{"role":"user","content":"a"}"#,
            again: r#",{"type":"function_call","call_id":"c#","name":"f","arguments":"{}"}"#,
            then: r#",{"type":"function_call_output","call_id":"c~","output":"a"}"#,
            tail: "]}",
        },
    ),
    (
        "messages",
        1,
        Hostile {
            name: "results the other way round",
            head: r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"text","text":"a"}"#,
            again: r#",{"type":"tool_use","id":"c#","name":"f","input":{}}"#,
            then: r#"§{"type":"tool_result","tool_use_id":"c~","content":"a"}"#,
            tail: "]}]}",
        },
    ),
    (
        "generate",
        2,
        Hostile {
            name: "results the other way round",
            head: r#"{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"text":"a"}"#,
            again: r#",{"functionCall":{"id":"c#","name":"f","args":{}}}"#,
            then: r#"§{"functionResponse":{"id":"c~","name":"f","response":{}}}"#,
            tail: "]}]}",
        },
    ),
];

const RESPONSES: &[Hostile] = &[
    of(
        "deep",
        [
            r#"{"model":"m","input":[{"role":"user","content":"#,
            r#"{"a":"#,
            "",
        ],
    ),
    of(
        "fields",
        [r#"{"model":"m","input":"a""#, r#","k#":[]"#, "}"],
    ),
    of("backslashes", [r#"{"model":"m","input":""#, r"\\", r#""}"#]),
    of(
        "items",
        [
            r#"{"model":"m","input":[{"role":"user","content":"a"}"#,
            r#",{"role":"assistant","content":"b"}"#,
            "]}",
        ],
    ),
    of(
        "thoughts",
        [
            r#"{"model":"m","input":[{"role":"user","content":"a"}"#,
            r#",{"type":"reasoning","id":"r#","summary":[],"encrypted_content":"tg1:anthropic:lab:m:p"}"#,
            "]}",
        ],
    ),
    of(
        "tools",
        [
            r#"{"model":"m","input":"a","tools":[{"type":"web_search"}"#,
            r#",{"type":"function","name":"a b#","parameters":{}}"#,
            "]}",
        ],
    ),
];

const MESSAGES: &[Hostile] = &[
    of(
        "deep",
        [
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"#,
            "[",
            "",
        ],
    ),
    of(
        "fields",
        [
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}]"#,
            r#","k#":{}"#,
            "}",
        ],
    ),
    of(
        "turns",
        [
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}"#,
            r#",{"role":"assistant","content":"b"}"#,
            "]}",
        ],
    ),
    of(
        "blocks",
        [
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"a"}"#,
            r#",{"type":"text","text":"b","cache_control":{"type":"ephemeral"}}"#,
            "]}]}",
        ],
    ),
    of(
        "systems",
        [
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}],"system":[{"type":"text","text":"a"}"#,
            r#",{"type":"text","text":"b"}"#,
            "]}",
        ],
    ),
    of(
        "thoughts",
        [
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"text","text":"a"}"#,
            r#",{"type":"thinking","thinking":"b","signature":"tg1:gemini:lab:m:p"}"#,
            "]}]}",
        ],
    ),
];

const GENERATE: &[Hostile] = &[
    of("deep", [r#"{"contents":[{"parts":[{"text":"#, "[", ""]),
    of(
        "fields",
        [
            r#"{"contents":[{"parts":[{"text":"a"}]}]"#,
            r#","k_#":{}"#,
            "}",
        ],
    ),
    of(
        "contents",
        [
            r#"{"contents":[{"parts":[{"text":"a"}]}"#,
            r#",{"role":"model","parts":[{"text":"b"}]}"#,
            "]}",
        ],
    ),
    of(
        "parts",
        [
            r#"{"contents":[{"parts":[{"text":"a"}"#,
            r#",{"text":"b","thoughtSignature":"dGcxOmE6"}"#,
            "]}]}",
        ],
    ),
    of(
        "responses without a call",
        [
            r#"{"contents":[{"parts":[{"text":"a"}"#,
            r#",{"functionResponse":{"name":"f#","response":{}}}"#,
            "]}]}",
        ],
    ),
];

#[test]
fn no_request_takes_the_square_of_its_length() {
    if !asked() {
        return;
    }
    let mut faults = Faults::default();
    for protocol in 0..7 {
        let to = PROTOCOLS[usize::from(protocol)];
        for (dialect, path, all) in [
            ("chat", 4, CHAT),
            ("responses", 0, RESPONSES),
            ("messages", 1, MESSAGES),
            ("generate", 2, GENERATE),
        ] {
            for hostile in all {
                faults.hold(&format!("{dialect} to {to}"), hostile, |text| {
                    request::check(&[&[path | protocol << 4], text].concat());
                });
            }
        }
        for (dialect, path, hostile) in &TURNED {
            faults.hold(&format!("{dialect} to {to}"), hostile, |text| {
                let text = turned(dialect, text);
                request::check(&[&[path | protocol << 4], &*text].concat());
            });
        }
    }
    for hostile in CHAT {
        faults.hold("a quick look", hostile, |text| {
            chat_request::check(&[b"\0", text].concat());
        });
    }
    faults.none();
}

/// Ends the turn of the model before the first result.
fn turned(dialect: &str, text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let end = match dialect {
        "chat" => "]},",
        "messages" => r#"]},{"role":"user","content":["#,
        _ => r#"]},{"role":"user","parts":["#,
    };
    text.replacen('§', end, 1).replace('§', ",").into_bytes()
}
