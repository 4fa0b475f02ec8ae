//! What must hold for every codec.

use super::*;
use crate::llm::{
    Chat, ChatRequest, Content, Delta, FinishReason, Media, Message, Part, Reasoning,
    ResponseFormat, Role, Sampling, Start, Tool, ToolCall, ToolChoice, Usage,
};
use proptest::prelude::*;
use serde_json::json;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z \n\r\"\\\\é🦀{}:,]{1,12}",
        Just("[DONE]".into()),
        Just("\"usage\":{}".into())
    ]
}

fn part() -> impl Strategy<Value = Part> {
    let media = prop_oneof![
        Just(Media::Url("https://example.com/a.png".into())),
        Just(Media::Data {
            mime: "image/png".into(),
            base64: "AAAA".into()
        }),
    ];
    prop_oneof![
        3 => text().prop_map(Part::text),
        1 => media.prop_map(|source| Content::Image { source, detail: Some("low".into()) }.into()),
        1 => Just(Content::File { source: Media::Id("f".into()), name: None }.into()),
        1 => Just(Content::Other(json!({"type": "video", "x": 1})).into()),
    ]
}

fn call() -> impl Strategy<Value = Part> {
    ("[a-z0-9_]{1,8}", "[a-z_]{1,8}", text()).prop_map(|(id, name, arguments)| {
        // What is blank is written as the empty object that it means.
        let arguments = format!("{{{arguments}");
        Content::ToolCall(ToolCall {
            id,
            name,
            arguments,
        })
        .into()
    })
}

fn thoughts() -> impl Strategy<Value = Vec<Part>> {
    let thought = |reasoning| Part::from(Content::Reasoning(reasoning));
    let signed = prop::collection::vec(
        (text(), prop::option::of(text())).prop_map(move |(one, two)| {
            thought(match two {
                Some(data) if data.len() > 6 => Reasoning {
                    redacted: Some(data),
                    ..Reasoning::default()
                },
                signature => Reasoning {
                    text: one,
                    signature: signature.or(Some("s".into())),
                    redacted: None,
                },
            })
        }),
        1..3,
    );
    let plain = text().prop_map(move |text| {
        vec![thought(Reasoning {
            text,
            ..Reasoning::default()
        })]
    });
    prop_oneof![3 => Just(vec![]), 1 => plain, 1 => signed]
}

fn message() -> impl Strategy<Value = Message> {
    let said = prop_oneof![
        Just(vec![]),
        text().prop_map(|text| vec![Part::text(text)]),
        prop::collection::vec(part(), 2..4),
    ];
    let assistant = (thoughts(), said, prop::collection::vec(call(), 0..3))
        .prop_map(|(a, b, c)| Message::new(Role::Assistant, a.into_iter().chain(b).chain(c)));
    let role = prop_oneof![Just(Role::User), Just(Role::System), Just(Role::Developer)];
    let spoken = (
        role,
        prop::collection::vec(part(), 1..3),
        prop::option::of("[a-z]{1,5}"),
    )
        .prop_map(|(role, parts, name)| Message {
            name,
            ..Message::new(role, parts)
        });
    let result = (
        "[a-z0-9]{1,5}",
        prop::collection::vec(text().prop_map(Part::text), 1..3),
    )
        .prop_map(|(call_id, parts)| {
            Message::new(
                Role::Tool,
                [Content::ToolResult {
                    call_id,
                    parts,
                    is_error: None,
                }
                .into()],
            )
        });
    prop_oneof![2 => spoken, 2 => assistant, 1 => result]
}

fn chat() -> impl Strategy<Value = Chat> {
    let tool = ("[a-z_]{1,8}", prop::option::of(text()), any::<bool>()).prop_map(
        |(name, description, strict)| Tool {
            description,
            strict: strict.then_some(true),
            parameters: strict.then(|| json!({"type": "object", "properties": {"b": {}, "a": {}}})),
            ..Tool::new(name)
        },
    );
    let choice = prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::None),
        Just(ToolChoice::Required),
        "[a-z]{1,5}".prop_map(ToolChoice::Tool),
        Just(ToolChoice::Other("any".into())),
    ];
    let format = prop_oneof![
        Just(ResponseFormat::Text),
        Just(ResponseFormat::JsonObject),
        "[a-z]{1,5}".prop_map(|name| ResponseFormat::JsonSchema {
            name,
            description: None,
            schema: Some(json!({})),
            strict: Some(true)
        }),
        Just(ResponseFormat::Other(
            json!({"type": "grammar", "grammar": "x"})
        )),
    ];
    let sampling = (
        prop::option::of(0_u32..8),
        prop::option::of(1_u32..=128),
        prop::option::of(any::<i64>()),
        prop::collection::vec(text(), 0..3),
    )
        .prop_map(|(quarters, n, seed, stop)| Sampling {
            temperature: quarters.map(|quarters| f64::from(quarters) / 4.0),
            max_tokens: n.map(u64::from),
            n,
            seed,
            stop,
            ..Sampling::default()
        });
    (
        prop::collection::vec(message(), 1..4),
        prop::collection::vec(tool, 0..3),
        prop::option::of(choice),
        prop::option::of(format),
        sampling,
        prop::option::of("[a-z]{1,5}"),
    )
        .prop_map(
            |(messages, tools, tool_choice, response_format, sampling, effort)| {
                let mut chat = Chat {
                    messages,
                    tools,
                    tool_choice,
                    response_format,
                    sampling,
                    effort,
                    ..Chat::default()
                };
                chat.extra
                    .insert("unknown".into(), json!([1, {"b": 2, "a": 1}]));
                chat
            },
        )
}

/// Pieces of an answer as a vendor of this protocol can say them.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let piece = prop_oneof![
        4 => text().prop_map(Delta::Text),
        2 => text().prop_map(Delta::Reasoning),
        1 => text().prop_map(Delta::Refusal),
        1 => text().prop_map(Delta::Signature),
        1 => text().prop_map(Delta::Redacted),
        2 => text().prop_map(|arguments| Delta::ToolCall { index: 9, id: None, name: None, arguments }),
        1 => Just(Delta::Extra(json!({"logprobs": {"content": [1]}}).as_object().unwrap().clone())),
        1 => Just(Delta::Extra(json!({"message": {"annotations": [1]}}).as_object().unwrap().clone())),
    ];
    let pieces = prop::collection::vec((0_u32..2, piece, any::<bool>()), 1..20);
    (pieces, any::<bool>()).prop_map(|(pieces, usage)| {
        let mut events = vec![Event::Start(Start::new("c1", "m", 7))];
        let mut calls = [0_u32; 2];
        for (choice, mut delta, new) in pieces {
            if let Delta::ToolCall {
                index, id, name, ..
            } = &mut delta
            {
                let count = &mut calls[choice as usize];
                if new || *count == 0 {
                    *count += 1;
                    *id = Some(format!("call_{choice}{count}"));
                    *name = Some(format!("tool{count}"));
                }
                *index = *count - 1;
            }
            events.push(Event::Delta { choice, delta });
        }
        for choice in 0..2 {
            let said = events
                .iter()
                .any(|event| matches!(event, Event::Delta { choice: one, .. } if *one == choice));
            if said || choice == 0 {
                events.push(Event::Finish {
                    choice,
                    reason: FinishReason::ToolCalls,
                });
            }
        }
        if usage {
            events.push(Event::Usage(Usage {
                reasoning: Some(1),
                cache_read: Some(2),
                ..Usage::new(5, 3)
            }));
        }
        events
    })
}

proptest! {
    #[test]
    fn a_request_is_read_as_it_was_written(chat in chat(), stream in any::<bool>()) {
        let mut request = ChatRequest::new().for_model("m");
        *request.chat_mut().unwrap() = chat.clone();
        if !stream {
            request = request.whole();
        }
        let bytes = OpenAi.encode_request(&request, &maker()).unwrap().body;
        let again = OpenAi.peek(&Operation::Chat.into(), bytes.clone()).unwrap();
        prop_assert_eq!(again.streams(), stream);
        prop_assert_eq!(again.includes_usage(), stream);
        prop_assert_eq!(again.chat().unwrap(), &chat);
        prop_assert_eq!(OpenAi.encode_request(&again, &maker()).unwrap().body, bytes);
    }

    #[test]
    fn an_answer_is_read_as_it_was_written(
        events in events(),
        batch in 1_usize..5,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
    ) {
        let out = write(asked(Framing::Sse), &events, batch);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(out.len() + 1)).collect();
        cuts.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for cut in cuts.into_iter().chain([out.len()]) {
            chunks.push(&out[from..cut]);
            from = cut;
        }
        let read = read(Operation::Chat, Framing::Sse, chunks).unwrap();
        prop_assert_eq!(completion(read), completion(events.clone()));
        prop_assert_eq!(OpenAi.scan(&out, Framing::Sse, None).usage, completion(events.clone()).usage);
        let without = OpenAi.without_usage(out.freeze());
        prop_assert_eq!(OpenAi.scan(&without, Framing::Sse, None).usage, None);
    }

    #[test]
    fn a_piece_is_the_same_alone_and_where_more_might_stand_beside_it(
        events in events(),
        batch in 1_usize..5,
        legacy in any::<bool>(),
        include_usage in any::<bool>(),
    ) {
        let operation = if legacy { Operation::Completions } else { Operation::Chat };
        let asked = Asked { operation, include_usage, ..asked(Framing::Sse) };
        let (mut alone, mut beside) = (OpenAi.encoder(asked.clone()), OpenAi.encoder(asked));
        let (mut one, mut other) = (BytesMut::new(), BytesMut::new());
        for events in events.chunks(batch) {
            alone.events(events.to_vec(), &mut one);
            let and_nothing = events.iter().flat_map(|event| {
                let nothing = match event {
                    Event::Delta { choice, .. } => {
                        let delta = Delta::Extra(crate::llm::Extra::new());
                        Some(Event::Delta { choice: *choice, delta })
                    }
                    _ => None,
                };
                [Some(event.clone()), nothing]
            });
            beside.events(and_nothing.flatten().collect(), &mut other);
        }
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_stream_comes_to_the_answer_in_one_piece(events in events()) {
        let document = write(asked(Framing::Json), &events, 1);
        let whole = completion(read(Operation::Chat, Framing::Json, [&document[..]]).unwrap());
        let sum = completion(events);
        // In one piece thoughts, text and calls have an order of their own.
        prop_assert_eq!(&whole.start, &sum.start);
        prop_assert_eq!(whole.usage, sum.usage);
        for (whole, sum) in whole.choices.iter().zip(&sum.choices) {
            prop_assert_eq!(whole.message.all_text(), sum.message.all_text());
            prop_assert_eq!(&whole.finish, &sum.finish);
            prop_assert_eq!(&whole.extra, &sum.extra);
            let calls = |choice: &crate::llm::Choice| -> Vec<Content> {
                let parts = choice.message.parts.iter().map(|part| part.content.clone());
                parts.filter(|content| matches!(content, Content::ToolCall(_))).collect()
            };
            prop_assert_eq!(calls(whole), calls(sum));
        }
    }

    #[test]
    fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[{}\\[\\]\":,a-z0-9\n ]{0,60}") {
        for raw in [&bytes[..], text.as_bytes()] {
            let body = Bytes::copy_from_slice(raw);
            for operation in [Operation::Chat, Operation::Completions, Operation::Embeddings] {
                let _ = OpenAi.peek(&operation.into(), body.clone());
                let _ = OpenAi.parse(operation, raw);
                let _ = read(operation, Framing::Json, [raw]);
                let _ = read(operation, Framing::Sse, [&b"data: "[..], raw]);
            }
            let _ = OpenAi.scan(raw, Framing::Sse, None);
            let _ = OpenAi.without_usage(body.clone());
            let _ = OpenAi.decode_error(StatusCode::BAD_REQUEST, &HeaderMap::new(), &body);
        }
    }
}
