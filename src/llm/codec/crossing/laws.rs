use super::*;
use proptest::prelude::*;

/// What both protocols can say of a conversation.
pub(super) fn conversation() -> impl Strategy<Value = Value> {
    let text = "[a-z\"\\\\é🦀{}]{1,10}";
    let turn = (
        text,
        prop::option::of(text),
        prop::collection::vec(("[a-z]{1,6}", any::<i32>(), text), 0..3),
    );
    let tools = prop::collection::vec(("[a-z]{1,8}", prop::option::of(text)), 0..3);
    let settings = (
        prop::option::of(0_u32..=4),
        prop::option::of(1_u32..9999),
        prop::collection::vec("[a-z]{1,4}", 0..3),
        prop::option::of(text),
        any::<bool>(),
    );
    (prop::collection::vec(turn, 0..4), tools, settings).prop_map(|(turns, tools, settings)| {
        let (quarters, most, stop, system, stream) = settings;
        let mut messages = Vec::new();
        if let Some(system) = system {
            messages.push(json!({"role": "system", "content": system}));
        }
        let mut count = 0;
        for (user, said, calls) in turns {
            messages.push(json!({"role": "user", "content": user}));
            if said.is_none() && calls.is_empty() {
                messages.push(json!({"role": "assistant", "content": "ok"}));
                continue;
            }
            let mut message = json!({"role": "assistant", "content": said});
            let mut results = Vec::new();
            let mut asked = Vec::new();
            for (name, number, result) in calls {
                count += 1;
                let id = format!("call_{count}");
                let arguments = json!({"a": [number]}).to_string();
                let function = json!({"name": name, "arguments": arguments});
                asked.push(json!({"id": id, "type": "function", "function": function}));
                results.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
            }
            if !asked.is_empty() {
                message["tool_calls"] = asked.into();
            }
            messages.push(message);
            messages.extend(results);
        }
        messages.push(json!({"role": "user", "content": "and?"}));
        let mut body =
            json!({"model": "own-model", "messages": messages, "max_tokens": most.unwrap_or(9)});
        let tools: Vec<_> = tools
            .into_iter()
            .map(|(name, described)| {
                let mut function = json!({"name": name, "parameters": {"type": "object"}});
                if let Some(described) = described {
                    function["description"] = described.into();
                }
                json!({"type": "function", "function": function})
            })
            .collect();
        if !tools.is_empty() {
            body["tools"] = tools.into();
            body["tool_choice"] = "auto".into();
        }
        if let Some(quarters) = quarters {
            body["temperature"] = (f64::from(quarters) / 4.0).into();
        }
        if !stop.is_empty() {
            body["stop"] = stop.into();
        }
        if stream {
            body["stream"] = true.into();
        }
        body
    })
}

/// What is said, turn by turn: where one protocol has two messages the other may have one.
fn turns(request: &ChatRequest) -> Vec<(bool, Vec<crate::llm::Content>)> {
    let mut out: Vec<(bool, Vec<_>)> = Vec::new();
    for message in &request.chat().unwrap().messages {
        let assistant = message.role == crate::llm::Role::Assistant;
        let parts = message.parts.iter().map(|part| part.content.clone());
        match out.last_mut() {
            Some((same, all)) if *same == assistant => all.extend(parts),
            _ => out.push((assistant, parts.collect())),
        }
    }
    out
}

proptest! {
    #[test]
    fn a_request_keeps_what_both_can_say(body in conversation()) {
        let first = sent(OPENAI, &body);
        let (there, losses) = gets(ANTHROPIC, &first);
        prop_assert!(losses.is_empty(), "{losses:?}");
        let second = sent(ANTHROPIC, &there);
        prop_assert_eq!(second.streams(), first.streams());
        let (back, losses) = gets(OPENAI, &second);
        prop_assert!(losses.is_empty(), "{losses:?}");
        let third = sent(OPENAI, &back);
        let (one, two) = (first.chat().unwrap(), third.chat().unwrap());
        prop_assert_eq!(turns(&first), turns(&third));
        prop_assert_eq!((&one.tools, &one.tool_choice, &one.sampling), (&two.tools, &two.tool_choice, &two.sampling));
        prop_assert_eq!(third.streams(), first.streams());
        // And the other way round.
        let (again, losses) = gets(ANTHROPIC, &third);
        prop_assert!(losses.is_empty(), "{losses:?}");
        prop_assert_eq!(again, there);
    }

    /// What a client of either protocol says of a conversation is the same to vendors that have it as a
    /// list of messages, whichever of the two it came in.
    #[test]
    fn a_request_is_one_whichever_way_it_came(body in conversation()) {
        let first = sent(OPENAI, &body);
        let second = sent(ANTHROPIC, &gets(ANTHROPIC, &first).0);
        for protocol in [Protocol::Cohere, Protocol::Ollama] {
            let (one, losses) = gets(protocol, &first);
            prop_assert!(losses.is_empty(), "{losses:?}");
            let (other, losses) = gets(protocol, &second);
            prop_assert!(losses.is_empty(), "{losses:?}");
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn a_request_keeps_what_both_can_say_on_its_way_over_google(body in conversation()) {
        let first = sent(OPENAI, &body);
        let (there, losses) = gets(Protocol::Gemini, &first);
        prop_assert!(losses.is_empty(), "{losses:?}");
        let ask = Ask {
            operation: Operation::Chat,
            model: Some("own-model".to_owned()),
            stream: Some(first.streams()),
            query: None,
        };
        let bytes = Bytes::from(there.to_string());
        let second = of(Protocol::Gemini).peek(&ask, bytes.clone()).unwrap();
        let (back, losses) = gets(OPENAI, &second);
        prop_assert!(losses.is_empty(), "{losses:?}");
        let third = sent(OPENAI, &back);
        let (one, two) = (first.chat().unwrap(), third.chat().unwrap());
        prop_assert_eq!(turns(&first), turns(&third));
        prop_assert_eq!((&one.tools, &one.tool_choice, &one.sampling), (&two.tools, &two.tool_choice, &two.sampling));
        prop_assert_eq!(third.streams(), first.streams());
        let (again, losses) = gets(Protocol::Gemini, &third);
        prop_assert!(losses.is_empty(), "{losses:?}");
        prop_assert_eq!(&again, &there);
        // By way of the third of them, it is the same as well.
        let (over, losses) = gets(ANTHROPIC, &second);
        prop_assert!(losses.is_empty(), "{losses:?}");
        let over = sent(ANTHROPIC, &over);
        prop_assert_eq!(turns(&over), turns(&first));
        let (again, losses) = gets(Protocol::Gemini, &over);
        prop_assert!(losses.is_empty(), "{losses:?}");
        prop_assert_eq!(again, there);
    }

    #[test]
    fn nothing_that_is_sent_makes_it_panic(
        body in "[{}\\[\\]\":,a-z0-9 ]{0,60}",
        pieces in prop::collection::vec((0_u32..3, prop::option::of("[a-z]{0,3}"), "[{}\":a1]{0,5}", 0_u8..6), 0..20),
    ) {
        for protocol in [
            OPENAI,
            ANTHROPIC,
            Protocol::Gemini,
            Protocol::Responses,
            Protocol::Cohere,
            Protocol::Ollama,
        ] {
            for framing in [Framing::Sse, Framing::Json, Framing::Array, Framing::Ndjson] {
                let _ = read(protocol, framing, &body);
                let _ = read(protocol, framing, &format!("data: {body}\n\n"));
                let _ = of(protocol).scan(body.as_bytes(), framing, Some(Usage::new(u64::MAX, 1)));
            }
            let _ = of(protocol).parse(Operation::Chat, body.as_bytes());
            let _ = of(protocol).peek(&Operation::Chat.into(), Bytes::from(body.clone()));
        }
        let events: Vec<_> = pieces
            .into_iter()
            .map(|(index, name, text, kind)| match kind {
                0 => said(Delta::Text(text)),
                1 => said(Delta::Reasoning(text)),
                2 => said(Delta::Signature(text)),
                3 => said(Delta::Redacted(text)),
                _ => call(index, name.as_deref(), &text),
            })
            .collect();
        // Streamed and in one piece it says the same.
        for protocol in [ANTHROPIC, Protocol::Responses] {
            let streamed = told(protocol, Framing::Sse, &events, 2);
            let streamed = completion(read(protocol, Framing::Sse, &streamed).unwrap());
            let whole = told(protocol, Framing::Json, &events, 1);
            let whole = completion(read(protocol, Framing::Json, &whole).unwrap());
            prop_assert_eq!(whole.text(), streamed.text());
            prop_assert_eq!(whole.tool_calls().count(), streamed.tool_calls().count());
        }
    }

    #[test]
    fn a_request_keeps_through_responses_what_both_can_say(mut body in conversation()) {
        let fields = body.as_object_mut().unwrap();
        // It has no such field, and takes no fewer tokens.
        fields.remove("stop");
        let most = fields["max_tokens"].as_u64().unwrap_or(0).max(16);
        fields.insert("max_tokens".into(), most.into());
        for protocol in [OPENAI, ANTHROPIC] {
            let mut first = sent(OPENAI, &body);
            if protocol == ANTHROPIC {
                let (there, losses) = gets(ANTHROPIC, &first);
                prop_assert!(losses.is_empty(), "{losses:?}");
                first = sent(ANTHROPIC, &there);
            }
            let (there, losses) = gets(Protocol::Responses, &first);
            prop_assert!(losses.is_empty(), "{losses:?}");
            let second = sent(Protocol::Responses, &there);
            let (back, losses) = gets(protocol, &second);
            prop_assert!(losses.is_empty(), "{losses:?}");
            let third = sent(protocol, &back);
            let (one, two) = (first.chat().unwrap(), third.chat().unwrap());
            prop_assert_eq!(turns(&first), turns(&third));
            prop_assert_eq!((&one.tool_choice, &one.sampling), (&two.tool_choice, &two.sampling));
            prop_assert_eq!(third.streams(), first.streams());
            let (again, losses) = gets(Protocol::Responses, &third);
            prop_assert!(losses.is_empty(), "{losses:?}");
            prop_assert_eq!(again, there);
        }
    }
}
