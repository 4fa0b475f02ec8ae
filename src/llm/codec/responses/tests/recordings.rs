//! Recorded traffic of vendors, where a folder of it lies beside the project.

use super::*;
use crate::llm::{Content, Usage, codec::recordings};

/// All is of one operation.
struct Chat;

type Exchange = recordings::Exchange<Chat>;

/// All that is of this protocol, whoever the vendor is.
fn exchanges() -> Option<Vec<Exchange>> {
    recordings::exchanges(|all| (all["endpoint"] == "responses").then_some(Chat))
}

#[test]
fn recordings_are_read() {
    recordings::hold(exchanges(), 40, Exchange::check);
}

impl Exchange {
    fn check(&self) {
        if self.request.is_object() {
            self.check_request();
        }
        match self.response["sse"].as_str() {
            _ if self.status >= 400 => self.check_error(),
            Some(sse) if sse.contains("response.failed") => check_failed(sse),
            Some(sse) => check_stream(sse),
            None => check_document(&self.response["body"]),
        }
    }

    fn check_request(&self) {
        let bytes = Bytes::from(self.request.to_string());
        let ask = Operation::Chat.into();
        if self.request.get("previous_response_id").is_some() {
            let refused = Responses.peek(&ask, bytes).unwrap_err();
            assert_eq!(refused.param(), Some("previous_response_id"));
            return;
        }
        let mut request = Responses.peek(&ask, bytes.clone()).unwrap();
        let to = maker(request.model());
        // As it came, but for what the gateway has decided.
        let sent = Responses.encode_request(&request, &to).unwrap().body;
        let mut expected = self.request.clone();
        if expected.get("store").is_none() {
            expected["store"] = false.into();
            assert_eq!(sent.len(), bytes.len() + ",\"store\":false".len());
        } else {
            assert_eq!(sent, bytes);
        }
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!(sent, expected);
        // What is edited keeps the rest, and comes to the same again.
        request.chat_mut().unwrap();
        let edited = Responses.encode_request(&request, &to).unwrap();
        assert!(edited.losses.is_empty(), "{:?}", edited.losses);
        let again = Responses.peek(&ask, edited.body.clone()).unwrap();
        let written: Value = serde_json::from_slice(&edited.body).unwrap();
        for (key, value) in expected.as_object().unwrap() {
            let moved = ["input", "stream"];
            if !moved.contains(&&**key) && !value.is_null() {
                assert_eq!(plain(&written[key]), plain(value), "{key}");
            }
        }
        // Item by item it says the same.
        if let (Some(before), Some(after)) = (
            self.request["input"].as_array(),
            written["input"].as_array(),
        ) {
            assert_eq!(before.len(), after.len(), "{after:#?}");
            for (before, after) in before.iter().zip(after) {
                for (key, value) in before.as_object().unwrap() {
                    let same = key == "content" || key == "type" || after.get(key) == Some(value);
                    assert!(same || value.is_null(), "{key}: {value} {after}");
                }
            }
        }
        assert_eq!(again.chat().unwrap(), request.chat().unwrap());
        // It can be said to vendors of the other protocols.
        for protocol in [Protocol::OpenAi, Protocol::Anthropic, Protocol::Gemini] {
            let other = Maker {
                protocol,
                ..maker(request.model())
            };
            codec::of(protocol)
                .encode_request(&request, &other)
                .unwrap();
        }
    }

    fn check_error(&self) {
        let status = StatusCode::from_u16(self.status).unwrap();
        let body = match self.response.get("body") {
            Some(body) if !body.is_null() => body.to_string(),
            _ => self.response["sse"].as_str().unwrap().to_owned(),
        };
        let error = Responses.decode_error(status, &HeaderMap::new(), &Bytes::from(body));
        assert!(!error.message().is_empty(), "{error:?}");
    }
}

/// Without what is null, and with numbers of one kind.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), plain(value)))
            .collect(),
        Value::Array(all) => all.iter().map(plain).collect(),
        Value::Number(number) => number.as_f64().into(),
        value => value.clone(),
    }
}

fn check_failed(sse: &str) {
    let error = tried(Framing::Sse, [sse.as_bytes()]).unwrap_err();
    let Error::Vendor(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.code(), Some("insufficient_quota"));
    let found = Responses.scan(sse.as_bytes(), Framing::Sse, None);
    assert_eq!(found.error.unwrap().fault(), error.fault());
    // The other event of the two tells it as well.
    let (_, last) = sse.trim_end().rsplit_once("\n\n").unwrap();
    let found = Responses.scan(last.as_bytes(), Framing::Sse, None);
    assert_eq!(found.error.unwrap().fault(), error.fault());
}

fn check_stream(sse: &str) {
    let whole = read(Framing::Sse, [sse.as_bytes()]);
    let once = completion(whole.clone());
    assert!(!once.start.id.is_empty());
    assert!(once.choices[0].finish.is_some() && once.usage.is_some());
    for size in [1, 2, 3, 7, 64, 1000] {
        let pieces = sse.as_bytes().chunks(size);
        assert_eq!(completion(read(Framing::Sse, pieces)), once);
    }
    // What the last event says of all of it.
    let data = sse.lines().filter_map(|line| line.strip_prefix("data:"));
    let events = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let last = events.collect::<Vec<_>>().pop().unwrap()["response"].clone();
    let document = completion(read(Framing::Json, [last.to_string().as_bytes()]));
    assert_same(&document, &once);
    // A thought is sealed anew whenever it is told.
    let told = |all: &Completion| -> Vec<_> {
        let thoughts = thoughts(all).into_iter();
        thoughts
            .map(|it| (it.text, it.signature.is_some(), it.redacted.is_some()))
            .collect()
    };
    assert_eq!(told(&document), told(&once));
    let scan = Responses.scan(sse.as_bytes(), Framing::Sse, None);
    assert_eq!((scan.usage, scan.error.is_none()), (once.usage, true));
    assert!(Responses.is_end(sse.as_bytes()));
    // In one piece it is the same answer, and streamed again.
    let written = write(asked(Framing::Json), &whole, 3);
    assert_same(&completion(read(Framing::Json, [&written[..]])), &once);
    for batch in [1, 5] {
        let written = write(asked(Framing::Sse), &whole, batch);
        assert_order(&documents(&written));
        let again = completion(read(Framing::Sse, [&written[..]]));
        assert_same(&again, &once);
        assert_eq!(thoughts(&again), thoughts(&once));
    }
}

fn check_document(body: &Value) {
    let raw = body.to_string();
    let events = read(Framing::Json, [raw.as_bytes()]);
    let whole = completion(events.clone());
    let output = body["output"].as_array().unwrap();
    let said: String = output
        .iter()
        .flat_map(|item| item["content"].as_array().cloned().unwrap_or_default())
        .filter(|part| part["type"] == "output_text")
        .filter_map(|part| part["text"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(whole.text(), said);
    let calls = output.iter().filter(|item| item["type"] == "function_call");
    assert_eq!(whole.tool_calls().count(), calls.count());
    let pretty = serde_json::to_vec_pretty(body).unwrap();
    for raw in [raw.as_bytes(), &pretty] {
        assert_eq!(Responses.scan(raw, Framing::Json, None).usage, whole.usage);
    }
    let written = write(asked(Framing::Json), &events, 1);
    let again = completion(read(Framing::Json, [&written[..]]));
    assert_same(&again, &whole);
    assert_eq!(thoughts(&again), thoughts(&whole));
}

fn assert_same(one: &Completion, other: &Completion) {
    let id = |all: &Completion| all.start.id.trim_start_matches("resp_").to_owned();
    assert_eq!(id(one), id(other));
    assert_eq!(one.start.model, other.start.model);
    assert_eq!(
        (one.usage.map(|usage| usage.total()), one.text()),
        (other.usage.map(|usage| usage.total()), other.text())
    );
    let calls = |all: &Completion| -> Vec<_> { all.tool_calls().cloned().collect() };
    assert_eq!(calls(one), calls(other));
    assert_eq!(one.choices[0].finish, other.choices[0].finish);
    // How likely a token was is told more closely at the end.
    let extra = |all: &Completion| {
        let mut extra = all.choices[0].extra.clone();
        extra.remove("logprobs");
        extra
    };
    assert_eq!(extra(one), extra(other));
}

fn thoughts(all: &Completion) -> Vec<crate::llm::Reasoning> {
    let parts = all.choices[0].message.parts.iter();
    let thoughts = parts.filter_map(|part| match &part.content {
        Content::Reasoning(thought) => Some(thought.clone()),
        _ => None,
    });
    thoughts.collect()
}

/// Worked out by hand: input holds what the cache held, output holds the reasoning.
#[test]
fn rule_11_and_12_usage_of_recordings_is_right_to_the_token() {
    let Some(exchanges) = exchanges() else {
        println!("recordings: skipped (no shared folder)");
        return;
    };
    for (name, input, output, read_, written, thought) in [
        (
            "responses__json__chat_web_search_with_openai_gpt_5_2",
            4565,
            5,
            Some(4352),
            Some(0),
            Some(0),
        ),
        ("responses__json__sync_2", 210, 44, Some(0), None, Some(0)),
        // 4418 of the input went into the cache.
        (
            "responses__json__test_openai_responses_model_web_search_tool_without",
            8576,
            52,
            Some(0),
            Some(4418),
            Some(32),
        ),
        (
            "responses__json__unmapped_surface_responses_api",
            18,
            6,
            Some(0),
            None,
            None,
        ),
        (
            "responses__json__responses_api_responses_api_multi_turn",
            80,
            6,
            None,
            None,
            None,
        ),
        (
            "responses__stream__chat_function_calling_openai_gpt_5_nano",
            197,
            224,
            Some(0),
            Some(0),
            Some(192),
        ),
        (
            "responses__stream__test_openai_responses_model_mcp_server",
            1401,
            480,
            Some(0),
            None,
            Some(256),
        ),
        (
            "responses__stream__test_openai_responses_raw_cot_stream",
            78,
            37,
            Some(0),
            None,
            Some(22),
        ),
        // What was thought is within the 364.
        (
            "responses__stream__permission_control_permission_control",
            296,
            364,
            Some(256),
            None,
            Some(352),
        ),
    ] {
        let found = exchanges.iter().find(|it| it.name.starts_with(name));
        let found = found.unwrap_or_else(|| panic!("{name}"));
        let usage = match found.response["sse"].as_str() {
            Some(sse) => Responses.scan(sse.as_bytes(), Framing::Sse, None).usage,
            None => {
                let raw = found.response["body"].to_string();
                Responses.scan(raw.as_bytes(), Framing::Json, None).usage
            }
        };
        let expected = Usage {
            cache_read: read_,
            cache_write: written,
            reasoning: thought,
            ..Usage::new(input, output)
        };
        assert_eq!(usage, Some(expected), "{name}");
    }
}
