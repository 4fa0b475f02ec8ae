//! Recorded traffic of vendors, where a folder of it lies beside the project.

use super::*;
use crate::llm::{
    Completion, Content, Event,
    codec::{
        self,
        reading::{self, asked, completion},
        recordings, sse,
    },
};

type Exchange = recordings::Exchange<Ask>;

/// All that is of this protocol, whoever the vendor is.
fn exchanges() -> Option<Vec<Exchange>> {
    recordings::exchanges(|all| {
        let path = all["request"]["path"].as_str()?;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let (_, model) = path.rsplit_once("/models/")?;
        match target::of(&format!("/v1beta/models/{model}"), Some(query))? {
            (Target::Model(ask), _) => Some(ask),
            _ => None,
        }
    })
}

#[test]
fn recordings_are_read() {
    recordings::hold(exchanges(), 52, Exchange::check);
}

fn read(operation: Operation, framing: Framing, raw: &[u8], size: usize) -> Vec<Event> {
    reading::events(&Gemini, operation, framing, raw, size)
}

fn maker(request: &ChatRequest) -> Maker {
    Maker {
        protocol: Protocol::Gemini,
        vendor: "gemini".into(),
        model: request.model().clone(),
    }
}

impl Exchange {
    fn check(&self) {
        if self.request.is_object() {
            self.check_request();
        }
        if self.status >= 400 {
            return self.check_error();
        }
        let body = &self.response["body"];
        let (framing, raw) = match (self.response["sse"].as_str(), body) {
            (Some(sse), _) => (Framing::Sse, sse.to_owned()),
            (None, Value::Array(_)) => {
                (Framing::Array, serde_json::to_string_pretty(body).unwrap())
            }
            (None, body) => (Framing::Json, body.to_string()),
        };
        match self.of.operation {
            Operation::Chat => self.check_chat(framing, raw.as_bytes()),
            Operation::CountTokens => {
                let tokens =
                    completion(read(Operation::CountTokens, framing, raw.as_bytes(), 9999));
                assert_eq!(tokens.tokens, body["totalTokens"].as_u64());
            }
            _ => {
                let all = completion(read(
                    Operation::Embeddings,
                    framing,
                    raw.as_bytes(),
                    99_999_999,
                ));
                assert!(!all.embeddings.is_empty());
                assert!(all.embeddings.iter().all(|vector| vector.len() > 100));
            }
        }
    }

    fn check_request(&self) {
        let bytes = Bytes::from(self.request.to_string());
        let mut request = Gemini.peek(&self.of, bytes.clone()).unwrap();
        let sent = Gemini.encode_request(&request, &maker(&request)).unwrap();
        assert_eq!(sent.body, bytes);
        assert_eq!(request.streams(), self.of.stream == Some(true));
        if self.of.operation == Operation::Embeddings {
            return;
        }
        if request.chat_mut().is_err() {
            assert!(self.status >= 400, "the vendor took it");
            return;
        }
        // What is edited keeps the rest, and comes to the same again.
        let edited = Gemini.encode_request(&request, &maker(&request)).unwrap();
        assert!(edited.losses.is_empty(), "{:?}", edited.losses);
        let again = Gemini.peek(&self.of, edited.body.clone()).unwrap();
        let (one, two) = (request.chat().unwrap(), again.chat().unwrap());
        assert_eq!((&one.messages, &one.tools), (&two.messages, &two.tools));
        if self.of.operation == Operation::Chat {
            assert_eq!((&one.extra, &one.sampling), (&two.extra, &two.sampling));
            assert_eq!(
                (&one.response_format, &one.effort),
                (&two.response_format, &two.effort)
            );
        }
        assert_eq!(one.tool_choice, two.tool_choice);
        // It can be said to vendors of the other protocols.
        for protocol in [Protocol::OpenAi, Protocol::Anthropic] {
            let other = Maker {
                protocol,
                ..maker(&request)
            };
            let encoded = codec::of(protocol).encode_request(&request, &other);
            assert!(encoded.is_ok() || self.of.operation == Operation::CountTokens);
        }
    }

    fn check_error(&self) {
        let status = StatusCode::from_u16(self.status).unwrap();
        let body = Bytes::from(self.response["body"].to_string());
        let error = Gemini.decode_error(status, &HeaderMap::new(), &body);
        use crate::llm::VendorFault::{Auth, InvalidRequest, RateLimited, UnknownModel};
        let key = body.windows(15).any(|window| window == b"API_KEY_INVALID");
        let expected = match self.status {
            400 if key => Auth,
            400 => InvalidRequest,
            403 => Auth,
            404 => UnknownModel,
            _ => RateLimited,
        };
        assert_eq!(error.fault(), expected, "{error:?}");
        assert!(!error.message().is_empty());
    }

    fn check_chat(&self, framing: Framing, raw: &[u8]) {
        let whole = read(Operation::Chat, framing, raw, usize::MAX);
        let mut once = completion(whole.clone());
        assert!(!once.choices.is_empty());
        if framing != Framing::Json {
            for size in [1, 2, 3, 7, 64, 1000] {
                let mut again = completion(read(Operation::Chat, framing, raw, size));
                // Where the answer has no name, ids differ.
                if once.start.id.is_empty() {
                    unnamed(&mut again);
                    unnamed(&mut once);
                }
                assert_eq!(again, once, "chunks of {size}");
            }
        }
        assert_eq!(Gemini.scan(raw, framing, None).usage, once.usage);
        assert!(Gemini.scan(raw, framing, None).error.is_none());
        self.assert_said(&once, framing, raw);
        // Written again, in any form, it is the same answer.
        let once = completion(whole.clone());
        for form in [Framing::Json, Framing::Sse, Framing::Array] {
            let mut encoder = Gemini.encoder(asked(form));
            let mut out = BytesMut::new();
            for event in whole.clone() {
                encoder.events(vec![event], &mut out);
            }
            encoder.finish(&mut out);
            let again = completion(read(Operation::Chat, form, &out, 1000));
            assert_same(&again, &once, form);
        }
    }

    /// What it says, put together the simplest way.
    fn assert_said(&self, once: &Completion, framing: Framing, raw: &[u8]) {
        let documents: Vec<Value> = match framing {
            Framing::Sse => sse::events(raw)
                .map(|event| serde_json::from_slice(&event.data).unwrap())
                .collect(),
            Framing::Array => serde_json::from_slice(raw).unwrap(),
            _ => vec![serde_json::from_slice(raw).unwrap()],
        };
        let (mut text, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
        let parts = documents
            .iter()
            .filter_map(|document| document["candidates"][0]["content"]["parts"].as_array());
        for part in parts.flatten() {
            let said = part["text"].as_str().unwrap_or_default();
            match part["thought"] == true {
                true => thoughts.push_str(said),
                false => text.push_str(said),
            }
            if let Some(name) = part["functionCall"]["name"].as_str() {
                calls.push((name.to_owned(), part["functionCall"]["args"].clone()));
            }
        }
        assert_eq!(once.text(), text);
        assert_eq!(thought(once), thoughts);
        let told = once.tool_calls().map(|call| {
            let args: Value = serde_json::from_str(&call.arguments).unwrap();
            (call.name.clone(), args)
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), calls.len(), "{calls:?}");
        for (told, call) in told.iter().zip(calls) {
            assert_eq!(told.0, call.0);
            assert!(call.1.is_null() || told.1 == call.1);
        }
        let usage = documents
            .iter()
            .rev()
            .find_map(|one| one.get("usageMetadata"));
        if let Some(total) = usage.and_then(|usage| usage["totalTokenCount"].as_u64()) {
            assert_eq!(once.usage.unwrap().total(), total);
        }
    }
}

fn thought(once: &Completion) -> String {
    let parts = once.choices[0].message.parts.iter();
    let thoughts = parts.filter_map(|part| match &part.content {
        Content::Reasoning(thought) => Some(&*thought.text),
        _ => None,
    });
    thoughts.collect()
}

fn unnamed(completion: &mut Completion) {
    for part in completion
        .choices
        .iter_mut()
        .flat_map(|choice| &mut choice.message.parts)
    {
        if let Content::ToolCall(call) = &mut part.content {
            call.id.clear();
        }
    }
}

fn assert_same(one: &Completion, other: &Completion, form: Framing) {
    assert_eq!(
        (one.usage, one.text()),
        (other.usage, other.text()),
        "{form:?}"
    );
    assert_eq!(thought(one), thought(other));
    assert!(one.tool_calls().eq(other.tool_calls()));
    assert_eq!(one.choices[0].finish, other.choices[0].finish);
    let proofs = |completion: &Completion| -> Vec<_> {
        let parts = completion.choices[0].message.parts.iter();
        let proofs = parts.filter_map(|part| match &part.content {
            Content::Reasoning(thought) => thought.signature.clone(),
            _ => None,
        });
        proofs.collect()
    };
    assert_eq!(proofs(one), proofs(other));
}

/// Worked out by hand: input is the prompt (which has the cache in it) and what the vendor's own tools
/// read; output is the answer and the thoughts. Of a stream the last counts.
#[test]
fn rule_11_usage_of_recordings_is_right_to_the_token() {
    let Some(exchanges) = exchanges() else {
        println!("recordings: skipped (no shared folder)");
        return;
    };
    for (name, input, output, cached, thoughts) in [
        // 1107 + 1171, 21 + 41
        (
            "generate_content__json__cached_content_matrix_edge_cached_code_execution",
            2278,
            62,
            Some(1081),
            Some(41),
        ),
        (
            "generate_content__json__calls_tool_and_resumes_with_results",
            128,
            20,
            None,
            None,
        ),
        // 30 + 309
        (
            "generate_content__json__google_gemini_3_pro_preview",
            13,
            339,
            None,
            Some(309),
        ),
        // 332 + 643, 53 + 173
        (
            "generate_content__json__test_google_model_file_search_grounding_gemini_3_false",
            975,
            226,
            None,
            Some(173),
        ),
        (
            "generate_content__json__test_google_model_safety_settings",
            14,
            0,
            None,
            None,
        ),
        // 32 + 2395, 41 + 47
        (
            "generate_content__json__test_google_model_web_fetch_tool",
            2427,
            88,
            None,
            Some(47),
        ),
        // 89 + 167
        (
            "generate_content__json__test_mixed_content_ordering_google_2_5",
            373,
            256,
            Some(204),
            Some(167),
        ),
        (
            "stream_generate_content__json__test_tools",
            105,
            13,
            None,
            None,
        ),
        // 34 + 13
        (
            "stream_generate_content__json__test_tools_with_nested_pydantic_models",
            467,
            47,
            None,
            Some(13),
        ),
        // 10 + 153
        (
            "stream_generate_content__stream__google_gemini_2_5_flash",
            105,
            163,
            None,
            Some(153),
        ),
        // 147 + 360, 108 + 168
        (
            "stream_generate_content__stream__test_code_execution_stream",
            507,
            276,
            None,
            Some(168),
        ),
        // 78
        (
            "stream_generate_content__stream__test_native_output_with_builtin_tools_stream",
            87,
            78,
            None,
            Some(78),
        ),
        // 16 + 232, from an array
        (
            "stream_generate_content__json__test_gemini_token_counts_streaming",
            11,
            248,
            None,
            Some(232),
        ),
    ] {
        let named = |exchange: &&Exchange| exchange.name == name;
        let exchange = exchanges
            .iter()
            .find(named)
            .unwrap_or_else(|| panic!("{name}"));
        let body = &exchange.response["body"];
        let (framing, raw) = match (exchange.response["sse"].as_str(), body) {
            (Some(sse), _) => (Framing::Sse, sse.to_owned()),
            (None, Value::Array(_)) => (Framing::Array, body.to_string()),
            (None, body) => (Framing::Json, body.to_string()),
        };
        let usage = Gemini.scan(raw.as_bytes(), framing, None).usage.unwrap();
        let told = (usage.input, usage.output, usage.cache_read, usage.reasoning);
        assert_eq!(told, (input, output, cached, thoughts), "{name}");
    }
}
