//! Recorded traffic of vendors, where a folder of it lies beside the project.

use super::*;
use crate::llm::{
    Completion, Content, Event,
    codec::{
        self,
        reading::{self, asked, completion},
        recordings,
    },
};

/// `()`: all is of one operation.
type Exchange = recordings::Exchange<()>;

/// All that is of this protocol, whoever the vendor is.
fn exchanges() -> Option<Vec<Exchange>> {
    recordings::exchanges(|all| (all["endpoint"] == "messages").then_some(()))
}

#[test]
fn recordings_are_read() {
    recordings::hold(exchanges(), 51, Exchange::check);
}

fn read<'a>(framing: Framing, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let (events, error) = reading::read(&Anthropic, Operation::Chat, framing, chunks);
    assert!(error.is_none(), "{error:?}");
    events
}

fn maker(request: &ChatRequest) -> Maker {
    Maker {
        protocol: Protocol::Anthropic,
        vendor: "anthropic".into(),
        model: request.model().clone(),
    }
}

impl Exchange {
    fn check(&self) {
        if self.request.is_object() {
            self.check_request();
        }
        match self.response["sse"].as_str() {
            _ if self.status >= 400 => self.check_error(),
            Some(sse) => check_stream(sse),
            None => check_document(&self.response["body"]),
        }
    }

    fn check_request(&self) {
        let bytes = Bytes::from(self.request.to_string());
        let ask = Operation::Chat.into();
        let mut request = Anthropic.peek(&ask, bytes.clone()).unwrap();
        let sent = Anthropic.encode_request(&request, &maker(&request));
        assert_eq!(sent.unwrap().body, bytes);
        // What is edited keeps the rest, and comes to the same again.
        request.chat_mut().unwrap();
        let edited = Anthropic
            .encode_request(&request, &maker(&request))
            .unwrap();
        assert!(edited.losses.is_empty(), "{:?}", edited.losses);
        let again = Anthropic.peek(&ask, edited.body.clone()).unwrap();
        let written: Value = serde_json::from_slice(&edited.body).unwrap();
        for (key, value) in self.request.as_object().unwrap() {
            let moved = [
                "system",
                "messages",
                "output_format",
                "output_config",
                "stream",
                "tools",
            ];
            if !moved.contains(&&**key) && !value.is_null() {
                assert_eq!(written.get(key), Some(value), "{key}");
            }
        }
        let view = |request: &ChatRequest| {
            let chat = request.chat().unwrap();
            let parts = chat
                .messages
                .iter()
                .flat_map(|message| message.parts.clone());
            (
                parts.collect::<Vec<_>>(),
                chat.tools.clone(),
                chat.extra.clone(),
            )
        };
        assert_eq!(view(&again), view(&request));
        // It can be said to a vendor of the other protocol.
        let other = Maker {
            protocol: Protocol::OpenAi,
            ..maker(&request)
        };
        codec::of(Protocol::OpenAi)
            .encode_request(&request, &other)
            .unwrap();
    }

    fn check_error(&self) {
        let status = StatusCode::from_u16(self.status).unwrap();
        let body = Bytes::from(self.response["body"].to_string());
        let error = Anthropic.decode_error(status, &HeaderMap::new(), &body);
        assert!(!error.message().is_empty() && error.code().is_some());
    }
}

fn check_stream(sse: &str) {
    let whole = read(Framing::Sse, [sse.as_bytes()]);
    let once = completion(whole.clone());
    assert!(!once.start.id.is_empty() && once.choices[0].finish.is_some());
    for size in [1, 2, 3, 7, 64, 1000] {
        assert_eq!(
            completion(read(Framing::Sse, sse.as_bytes().chunks(size))),
            once
        );
    }
    // What it says, put together the simplest way.
    let (mut text, mut thoughts, mut arguments) = (String::new(), String::new(), String::new());
    let mut foreign = std::collections::HashSet::new();
    let data = sse.lines().filter_map(|line| line.strip_prefix("data:"));
    for event in data.filter_map(|data| serde_json::from_str::<Value>(data).ok()) {
        let block = &event["content_block"];
        if event["type"] == "content_block_start" && block["type"] != "tool_use" {
            foreign.insert(event["index"].as_u64());
        }
        text.push_str(block["text"].as_str().unwrap_or_default());
        let delta = &event["delta"];
        text.push_str(delta["text"].as_str().unwrap_or_default());
        thoughts.push_str(delta["thinking"].as_str().unwrap_or_default());
        if !foreign.contains(&event["index"].as_u64()) {
            arguments.push_str(delta["partial_json"].as_str().unwrap_or_default());
        }
    }
    assert_eq!(once.text(), text);
    let parts = once.choices[0].message.parts.iter();
    let thought: String = parts
        .filter_map(|part| match &part.content {
            Content::Reasoning(thought) => Some(&*thought.text),
            _ => None,
        })
        .collect();
    assert_eq!(thought, thoughts);
    let called: String = once.tool_calls().map(|call| &*call.arguments).collect();
    assert!(called.replace("{}", "") == arguments.replace("{}", ""));
    assert_eq!(
        Anthropic.scan(sse.as_bytes(), Framing::Sse, None).usage,
        once.usage
    );
    // In one piece it is the same answer.
    let mut encoder = Anthropic.encoder(asked(Framing::Json));
    let mut out = bytes::BytesMut::new();
    encoder.events(whole.clone(), &mut out);
    encoder.finish(&mut out);
    assert_same(&completion(read(Framing::Json, [&out[..]])), &once);
    // And streamed again.
    let mut encoder = Anthropic.encoder(asked(Framing::Sse));
    let mut out = bytes::BytesMut::new();
    for event in whole {
        encoder.events(vec![event], &mut out);
    }
    encoder.finish(&mut out);
    assert_same(&completion(read(Framing::Sse, [&out[..]])), &once);
}

fn assert_same(one: &Completion, other: &Completion) {
    assert_eq!(
        (&one.start, one.usage, one.text()),
        (&other.start, other.usage, other.text())
    );
    let calls = |all: &Completion| -> Vec<_> {
        let input = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let calls = all.tool_calls();
        calls
            .map(|call| (call.id.clone(), call.name.clone(), input(&call.arguments)))
            .collect()
    };
    assert_eq!(calls(one), calls(other));
    assert_eq!(one.choices[0].finish, other.choices[0].finish);
}

fn check_document(body: &Value) {
    let raw = body.to_string();
    let whole = completion(read(Framing::Json, [raw.as_bytes()]));
    let blocks = body["content"].as_array().unwrap();
    let texts = blocks.iter().filter_map(|block| block["text"].as_str());
    assert_eq!(whole.text(), texts.collect::<String>());
    let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
    assert_eq!(whole.tool_calls().count(), calls.count());
    assert_eq!(
        Anthropic.scan(raw.as_bytes(), Framing::Json, None).usage,
        whole.usage
    );
    let pretty = serde_json::to_vec_pretty(body).unwrap();
    assert_eq!(
        Anthropic.scan(&pretty, Framing::Json, None).usage,
        whole.usage
    );
}

/// Worked out by hand: input is `input_tokens` and what the cache held, and of a stream the last
/// counts.
#[test]
fn rule_11_usage_of_recordings_is_right_to_the_token() {
    let Some(exchanges) = exchanges() else {
        println!("recordings: skipped (no shared folder)");
        return;
    };
    for (name, input, output, read_, written, thought) in [
        (
            "messages__json__anthropic_claude_sonnet_4_5",
            853,
            72,
            0,
            0,
            None,
        ),
        // 4 + 9134 read + 237 written.
        (
            "messages__json__test_anthropic_code_execution_files_cache_prefix_stable",
            9375,
            156,
            9134,
            237,
            None,
        ),
        // 6 + 1069 read + 85 written.
        (
            "messages__json__test_anthropic_to_google_deferred_capability_history_replay",
            1160,
            110,
            1069,
            85,
            None,
        ),
        (
            "messages__json__opus_4_8_web_search_with_dynamic_filtering_succeeds",
            22_205,
            1552,
            0,
            0,
            Some(0),
        ),
        (
            "messages__json__test_anthropic_model_thinking_part_redacted",
            168,
            232,
            0,
            0,
            None,
        ),
        // The start said 100 and 1.
        (
            "messages__stream__messages_thinking_redacted_thinking_streaming",
            100,
            13,
            0,
            0,
            Some(7),
        ),
        // 3 + 4565 read.
        (
            "messages__stream__prompt_caching_matrix_automatic_1h",
            4568,
            7,
            4565,
            0,
            None,
        ),
        // 2250 + 11913 written; the start said 2243 and nothing written.
        (
            "messages__stream__streams_with_web_search_tool",
            14_163,
            104,
            0,
            11_913,
            None,
        ),
        // The start said 690.
        (
            "messages__stream__test_anthropic_mcp_servers_stream",
            3042,
            354,
            0,
            0,
            None,
        ),
        // The start said 0 and null.
        (
            "messages__stream__streaming_gateway_message_delta_metadata",
            32,
            16,
            0,
            0,
            Some(0),
        ),
        ("messages__stream__test_tools", 542, 62, 0, 0, None),
    ] {
        let exchange = exchanges.iter().find(|one| one.name.starts_with(name));
        let response = &exchange.expect(name).response;
        let (raw, framing) = match response["sse"].as_str() {
            Some(sse) => (sse.to_owned(), Framing::Sse),
            None => (response["body"].to_string(), Framing::Json),
        };
        let expected = Usage {
            cache_read: Some(read_),
            cache_write: Some(written),
            reasoning: thought,
            ..Usage::new(input, output)
        };
        let read = completion(read(framing, [raw.as_bytes()]));
        assert_eq!(read.usage, Some(expected), "{name}");
    }
}
