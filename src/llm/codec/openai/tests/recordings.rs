//! Recorded traffic of vendors, where a folder of it lies beside the project.

use super::*;
use crate::llm::{Content, VendorFault, codec::recordings};
use serde_json::json;
use std::collections::BTreeMap;

type Exchange = recordings::Exchange<Operation>;

/// All that is of this protocol, whoever the vendor is.
fn exchanges(wanted: Operation) -> Option<Vec<Exchange>> {
    recordings::exchanges(|all| {
        let path = all["request"]["path"].as_str().unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let operation = match all["endpoint"].as_str()? {
            "chat_completions" => Operation::Chat,
            // Not Ollama's own, which ends the same.
            "embeddings" if path.ends_with("/embeddings") && path != "/api/embeddings" => {
                Operation::Embeddings
            }
            _ => return None,
        };
        (operation == wanted).then_some(operation)
    })
}

#[test]
fn recorded_chats_are_read() {
    recordings::hold(exchanges(Operation::Chat), 148, Exchange::check);
}

#[test]
fn recorded_embeddings_are_read() {
    recordings::hold(exchanges(Operation::Embeddings), 10, Exchange::check);
}

impl Exchange {
    fn check(&self) {
        if self.request.is_object() {
            self.check_request();
        }
        let body = &self.response["body"];
        match self.response["sse"].as_str() {
            _ if self.status >= 400 => self.check_error(),
            Some(sse) => self.check_stream(sse.as_bytes()),
            None => self.check_document(body),
        }
    }

    fn check_request(&self) {
        let mut body = self.request.clone();
        // Azure has the name in the path.
        body.as_object_mut()
            .unwrap()
            .entry("model")
            .or_insert("m".into());
        let bytes = Bytes::from(body.to_string());
        let request = OpenAi.peek(&self.of.into(), bytes.clone()).unwrap();
        let sent = OpenAi.encode_request(&request, &maker()).unwrap().body;
        if request.streams() && !request.includes_usage() {
            let mut expected = body.clone();
            if !expected["stream_options"].is_object() {
                expected["stream_options"] = json!({});
            }
            expected["stream_options"]["include_usage"] = true.into();
            let sent: Value = serde_json::from_slice(&sent).unwrap();
            assert_eq!(sent, expected);
        } else {
            assert_eq!(sent, bytes);
        }
        let view = match OpenAi.parse(self.of, &bytes) {
            Ok(view) => view,
            Err(fault) => {
                assert!(self.status >= 400, "the vendor took it: {fault}");
                assert!(fault.param().is_some());
                return;
            }
        };
        let written = match &view {
            Typed::Chat(chat) => request::write_chat(&request, chat).unwrap().bytes(),
            Typed::Embed(embed) => request::write_embed(&request, embed).to_string().into(),
            Typed::Rerank(_) => unreachable!("no path of this protocol"),
        };
        let again = OpenAi.parse(self.of, &written);
        assert_eq!(again.unwrap(), view);
    }

    fn check_error(&self) {
        let body = match &self.response["body"] {
            Value::Null => self.response["text"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            body => body.to_string(),
        };
        let status = StatusCode::from_u16(self.status).unwrap();
        let error = OpenAi.decode_error(status, &HeaderMap::new(), &body.into());
        let fault = error.fault();
        match self.status {
            401 => assert_eq!(fault, VendorFault::Auth),
            404 => assert_eq!(fault, VendorFault::UnknownModel),
            429 => assert_eq!(fault, VendorFault::RateLimited),
            400 | 422 | 501 => assert!(fault.concerns_caller()),
            _ => assert_eq!(fault, VendorFault::Failed),
        }
        assert!(!error.message().is_empty());
        let words = error.message().to_owned();
        let answer = OpenAi.encode_error(&error.into());
        let written: Value = serde_json::from_slice(&answer.body).unwrap();
        let told = written["error"]["message"].as_str().unwrap();
        assert_eq!(told == words, fault.concerns_caller());
        assert!(answer.status.is_client_error() || answer.status.is_server_error());
    }

    fn check_stream(&self, sse: &[u8]) {
        let outcome = |chunks: Vec<&[u8]>| {
            read(self.of, Framing::Sse, chunks)
                .map(completion)
                .map_err(|error| error.to_string())
        };
        let whole = outcome(vec![sse]);
        for size in [1, 2, 3, 7, 64, 1000] {
            assert_eq!(
                outcome(sse.chunks(size).collect()),
                whole,
                "chunks of {size}"
            );
        }
        let step = (sse.len() * sse.len() / 250_000).max(1);
        for at in (0..sse.len()).step_by(step) {
            assert_eq!(outcome(vec![&sse[..at], &sse[at..]]), whole, "cut at {at}");
        }
        let chunks = chunks(sse);
        let errors = chunks.iter().any(|chunk| !chunk["error"].is_null());
        assert_eq!(OpenAi.scan(sse, Framing::Sse, None).error.is_some(), errors);
        check_usage(&chunks, OpenAi.scan(sse, Framing::Sse, None).usage);
        let only_usage =
            |chunk: &Value| chunk["choices"] == json!([]) && chunk["usage"].is_object();
        let rest = OpenAi.without_usage(Bytes::copy_from_slice(sse));
        let kept: Vec<_> = chunks.iter().filter(|chunk| !only_usage(chunk)).collect();
        assert!(self::chunks(&rest).iter().eq(kept));
        let whole = match whole {
            Ok(whole) => whole,
            Err(_) => return assert!(errors, "{whole:?}"),
        };
        assert!(!errors);
        assert_eq!(whole.usage, OpenAi.scan(sse, Framing::Sse, None).usage);
        assert_said(&whole, &chunks, "delta");
        let events = read(self.of, Framing::Sse, [sse]).unwrap();
        let written = write(asked(Framing::Sse), &events, 1);
        assert_eq!(outcome(vec![&written]).map(timeless), Ok(timeless(whole)));
    }

    fn check_document(&self, body: &Value) {
        let text = body.to_string();
        let events = read(self.of, Framing::Json, [text.as_bytes()]).unwrap();
        let whole = timeless(completion(events.clone()));
        assert_eq!(
            whole.usage,
            OpenAi.scan(text.as_bytes(), Framing::Json, None).usage
        );
        check_usage(std::slice::from_ref(body), whole.usage);
        if self.of == Operation::Embeddings {
            let rows = body["data"].as_array().unwrap();
            assert_eq!(whole.embeddings.len(), rows.len());
            assert!(whole.embeddings.iter().all(|vector| !vector.is_empty()));
            return;
        }
        assert_said(&whole, std::slice::from_ref(body), "message");
        let document = write(asked(Framing::Json), &events, 1);
        let again = read(self.of, Framing::Json, [&document[..]]).unwrap();
        assert_eq!(timeless(completion(again)), whole);
        let stream = write(asked(Framing::Sse), &events, 1);
        let again = read(self.of, Framing::Sse, [&stream[..]]).unwrap();
        assert_eq!(timeless(completion(again)), whole);
    }
}

/// Some recordings have lost their time, and are given one when they are written.
fn timeless(mut completion: Completion) -> Completion {
    completion.start.created = 0;
    completion
}

fn chunks(sse: &[u8]) -> Vec<Value> {
    let events = codec::sse::events(sse).filter(|event| event.data.as_ref() != b"[DONE]");
    events
        .map(|event| serde_json::from_slice(&event.data).unwrap())
        .collect()
}

/// What the vendor counted is what we count, where its sums are right.
fn check_usage(chunks: &[Value], usage: Option<crate::llm::Usage>) {
    let mut reported = chunks
        .iter()
        .flat_map(|chunk| [&chunk["x_groq"]["usage"], &chunk["usage"]]);
    let Some(last) = reported.rfind(|usage| usage.is_object()) else {
        return assert_eq!(usage, None);
    };
    let usage = usage.unwrap();
    let count = |key: &str| last[key].as_u64().unwrap_or(0);
    let parts = count("prompt_tokens") + count("completion_tokens");
    assert_eq!(usage.total(), parts.max(count("total_tokens")));
    assert!(usage.input >= count("prompt_tokens") && usage.output >= count("completion_tokens"));
    let cached = &last["prompt_tokens_details"]["cached_tokens"];
    if cached.is_number() {
        assert_eq!(usage.cache_read, cached.as_u64());
    }
}

/// Text, thoughts and calls of every choice, put together the simplest way.
fn assert_said(whole: &Completion, chunks: &[Value], key: &str) {
    #[derive(Debug, Default, PartialEq)]
    struct Sum {
        text: String,
        thoughts: String,
        calls: Vec<(String, String)>,
        arguments: String,
    }
    let mut expected: BTreeMap<u64, Sum> = BTreeMap::new();
    for choice in chunks
        .iter()
        .filter_map(|chunk| chunk["choices"].as_array())
        .flatten()
    {
        let sum = expected
            .entry(choice["index"].as_u64().unwrap_or(0))
            .or_default();
        let said = &choice[key];
        for name in ["reasoning_content", "reasoning"] {
            if let Some(text) = said[name].as_str() {
                sum.thoughts.push_str(text);
                break;
            }
        }
        sum.text
            .push_str(said["content"].as_str().unwrap_or_default());
        for part in said["content"].as_array().into_iter().flatten() {
            sum.text.push_str(part["text"].as_str().unwrap_or_default());
            for thought in part["thinking"].as_array().into_iter().flatten() {
                sum.thoughts
                    .push_str(thought["text"].as_str().unwrap_or_default());
            }
        }
        let calls = said["tool_calls"].as_array().into_iter().flatten();
        let calls = calls.map(|call| (&call["id"], &call["function"]));
        let legacy = &said["function_call"];
        for (id, function) in calls.chain(legacy.is_object().then_some((&Value::Null, legacy))) {
            if let Some(name) = function["name"].as_str() {
                let id = id.as_str().unwrap_or_default();
                sum.calls.push((id.to_owned(), name.to_owned()));
            }
            sum.arguments
                .push_str(function["arguments"].as_str().unwrap_or_default());
        }
    }
    let read = whole.choices.iter().map(|choice| {
        let mut sum = Sum::default();
        for part in &choice.message.parts {
            match &part.content {
                Content::Text(text) => sum.text.push_str(text),
                Content::Reasoning(thought) => sum.thoughts.push_str(&thought.text),
                Content::ToolCall(call) => {
                    sum.calls.push((call.id.clone(), call.name.clone()));
                    sum.arguments.push_str(&call.arguments);
                }
                _ => {}
            }
        }
        sum
    });
    let mut read: Vec<_> = read.collect();
    let expected: Vec<_> = expected.into_values().collect();
    for (read, expected) in read.iter_mut().zip(&expected) {
        for (call, expected) in read.calls.iter_mut().zip(&expected.calls) {
            if expected.0.is_empty() {
                assert!(!call.0.is_empty(), "a name is made up");
                call.0.clear();
            }
        }
    }
    assert_eq!(read, expected);
    assert!(whole.choices.iter().all(|choice| choice.finish.is_some()));
}
