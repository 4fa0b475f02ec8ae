//! What a vendor may answer.

use super::{super::answer, Faults, Hostile, asked, of};

/// A hostile stream of each vendor, and documents.
const ANSWERS: &[(&str, &[Hostile])] = &[
    (
        "openai",
        &[
            of(
                "events",
                [
                    "",
                    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n",
                    "data: [DONE]\n\n",
                ],
            ),
            of(
                "choices",
                [
                    "",
                    "data: {\"choices\":[{\"index\":#,\"delta\":{\"content\":\"a\"}}]}\n\n",
                    "",
                ],
            ),
            of(
                "calls",
                [
                    "",
                    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":#,\"id\":\"c#\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n",
                    "",
                ],
            ),
            of(
                "calls without an index",
                [
                    "",
                    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"id\":\"c#\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n",
                    "",
                ],
            ),
            of(
                "thoughts",
                [
                    "",
                    "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_details\":[{\"type\":\"reasoning.text\",\"text\":\"a\",\"signature\":\"s\"}]}}]}\n\n",
                    "",
                ],
            ),
            of(
                "a document",
                [
                    "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"",
                    "\\\\",
                    "\"}}]}",
                ],
            ),
            of(
                "calls of a document",
                [
                    "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}",
                    ",{\"id\":\"c#\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}",
                    "]}}]}",
                ],
            ),
            of(
                "fields of a document",
                ["{\"choices\":[]", ",\"k#\":{}", "}"],
            ),
        ],
    ),
    (
        "responses",
        &[
            of(
                "events",
                [
                    "",
                    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"content_index\":0,\"delta\":\"a\"}\n\n",
                    "",
                ],
            ),
            of(
                "items",
                [
                    "",
                    "data: {\"type\":\"response.output_item.added\",\"output_index\":#,\"item\":{\"type\":\"function_call\",\"id\":\"f#\",\"call_id\":\"c#\",\"name\":\"f\",\"arguments\":\"\"}}\n\n",
                    "",
                ],
            ),
            of(
                "items that have ended",
                [
                    "",
                    "data: {\"type\":\"response.output_item.done\",\"output_index\":#,\"item\":{\"type\":\"reasoning\",\"id\":\"r#\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"a\"}],\"encrypted_content\":\"p\"}}\n\n",
                    "",
                ],
            ),
            of(
                "a document",
                [
                    "{\"object\":\"response\",\"output\":[{\"type\":\"message\",\"role\":\"assistant\",\"content\":[]}",
                    ",{\"type\":\"function_call\",\"call_id\":\"c#\",\"name\":\"f\",\"arguments\":\"{}\"}",
                    "]}",
                ],
            ),
        ],
    ),
    (
        "anthropic",
        &[
            of(
                "events",
                [
                    "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"role\":\"assistant\",\"content\":[]}}\n\n",
                    "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n",
                    "",
                ],
            ),
            of(
                "blocks",
                [
                    "",
                    "data: {\"type\":\"content_block_start\",\"index\":#,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t#\",\"name\":\"f\",\"input\":{}}}\n\n",
                    "",
                ],
            ),
            of(
                "pings",
                ["", "event: ping\ndata: {\"type\":\"ping\"}\n\n", ""],
            ),
            of(
                "a document",
                [
                    "{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}",
                    ",{\"type\":\"thinking\",\"thinking\":\"b\",\"signature\":\"p\"}",
                    "]}",
                ],
            ),
        ],
    ),
    (
        "gemini",
        &[
            of(
                "events",
                [
                    "",
                    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}\r\n\r\n",
                    "",
                ],
            ),
            of(
                "calls",
                [
                    "",
                    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f#\",\"args\":{}}}]}}]}\r\n\r\n",
                    "",
                ],
            ),
            of(
                "pieces of a call",
                [
                    "",
                    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"partialArgs\":[{\"jsonPath\":\"$.a[#]\",\"stringValue\":\"b\"}],\"willContinue\":true}}]}}]}\r\n\r\n",
                    "",
                ],
            ),
            of(
                "an array",
                [
                    "[{}",
                    ",{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}",
                    "]",
                ],
            ),
            of("an array that is not closed", ["", "[{\"a\":", ""]),
            of(
                "a document",
                [
                    "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}",
                    ",{\"text\":\"b\",\"thought\":true}",
                    "]}}]}",
                ],
            ),
        ],
    ),
    (
        "bedrock",
        &[
            of(
                "frames",
                [
                    "messageStart {\"role\":\"assistant\"}",
                    "\ncontentBlockDelta {\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\"}}",
                    "",
                ],
            ),
            of(
                "blocks",
                [
                    "messageStart {\"role\":\"assistant\"}",
                    "\ncontentBlockStart {\"contentBlockIndex\":#,\"start\":{\"toolUse\":{\"toolUseId\":\"t#\",\"name\":\"f\"}}}",
                    "",
                ],
            ),
            of("empty frames", ["", "\n", ""]),
            of(
                "a document",
                [
                    "{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[{\"text\":\"a\"}",
                    ",{\"toolUse\":{\"toolUseId\":\"t#\",\"name\":\"f\",\"input\":{}}}",
                    "]}}}",
                ],
            ),
        ],
    ),
    (
        "cohere",
        &[
            of(
                "events",
                [
                    "data: {\"type\":\"message-start\",\"id\":\"m\"}\n\n",
                    "data: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"a\"}}}}\n\n",
                    "",
                ],
            ),
            of(
                "calls",
                [
                    "",
                    "data: {\"type\":\"tool-call-start\",\"index\":#,\"delta\":{\"message\":{\"tool_calls\":{\"id\":\"c#\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}}}}\n\n",
                    "",
                ],
            ),
            of(
                "a document",
                [
                    "{\"id\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}",
                    ",{\"type\":\"text\",\"text\":\"b\"}",
                    "]}}",
                ],
            ),
        ],
    ),
    (
        "ollama",
        &[
            of(
                "lines",
                [
                    "",
                    "{\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":false}\n",
                    "",
                ],
            ),
            of(
                "calls",
                [
                    "",
                    "{\"message\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"f#\",\"arguments\":{}}}]},\"done\":false}\n",
                    "",
                ],
            ),
            of(
                "a document",
                [
                    "{\"message\":{\"role\":\"assistant\",\"content\":\"",
                    "\\n",
                    "\"},\"done\":true}",
                ],
            ),
        ],
    ),
];

/// What no vendor says.
const NOISE: &[Hostile] = &[
    of("one line", ["data: ", "a", ""]),
    of("empty lines", ["data: {}\n\n", "\n", ""]),
    of("empty fields", ["", "data:\n", "\n\n"]),
    of("comments", ["", ":\r", "\r\r"]),
    of("names", ["", "event: a\n", "\n"]),
    of("carriage returns", ["data: a", "\r", "\n"]),
    of("deep", ["data: ", "{\"a\":[", "\n\n"]),
    of("backslashes", ["data: {\"a\":\"", "\\\\", "\"}\n\n"]),
    of("spaces", ["", " ", ""]),
];

#[test]
fn no_answer_takes_the_square_of_its_length() {
    if !asked() {
        return;
    }
    let mut faults = Faults::default();
    for (protocol, (name, all)) in ANSWERS.iter().enumerate() {
        for hostile in all.iter().chain(NOISE) {
            // Streams and documents, in one piece and in many.
            for (kind, seed) in [(0, 7), (0, 0), (0x20, 7), (0x20, 1), (0x40, 2), (0x80, 3)] {
                let who = format!("{name} {kind:#x} {seed}");
                faults.hold(&who, hostile, |text| {
                    answer::check(&[&[protocol as u8 | kind, seed], text].concat());
                });
            }
        }
    }
    faults.none();
}
