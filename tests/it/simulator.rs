//! The simulator, called as users call it.

use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt;
use tower_gateway::{
    Exchange, Rejection,
    llm::{
        Chat, ChatRequest, Completion, Content, Delta, Embed, EmbedInput, Error, Event,
        FinishReason, Media, Message, Part, ResponseFormat, Role, Tool, ToolChoice, VendorFault,
        simulator::Simulator,
    },
    rejection::Kind,
};

fn ask(text: &str, edit: impl FnOnce(&mut Chat)) -> ChatRequest {
    let mut request = ChatRequest::new().for_model("sim-chat").user(text);
    edit(request.chat_mut().unwrap());
    request
}

async fn answer(request: ChatRequest) -> Result<Completion, Error> {
    Simulator::new().oneshot(request).await?.completion().await
}

#[tokio::test]
async fn the_exchange_knows_the_model_that_was_asked_last() {
    let mut request = ask("Hello", |_| ());
    let exchange = Exchange::enter(&mut request);
    exchange.update(|facts| {
        facts.upstream = Some("lab".into());
        facts.upstream_model = Some("m-1".into());
    });
    answer(request).await.unwrap();
    let facts = exchange.facts();
    let told = (facts.upstream.as_deref(), facts.upstream_model.as_deref());
    assert_eq!(told, (Some("simulator"), Some("sim-chat")));
}

fn weather() -> Tool {
    let mut tool = Tool::new("get_weather");
    tool.description = Some("The weather in a city".into());
    tool.parameters = Some(json!({
        "type": "object",
        "properties": {
            "city": { "type": "string" },
            "unit": { "type": "string", "enum": ["celsius", "fahrenheit"] },
        },
        "required": ["city", "unit"],
        "additionalProperties": false,
    }));
    tool
}

fn clock() -> Tool {
    let mut tool = Tool::new("get_time");
    tool.description = Some("The time of day".into());
    tool
}

fn called(completion: &Completion) -> Vec<(String, Value)> {
    let read = |text: &str| serde_json::from_str(text).unwrap();
    let calls = completion.tool_calls();
    calls
        .map(|call| (call.name.clone(), read(&call.arguments)))
        .collect()
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer_in_pieces_and_whole() {
    let request = ask("Hello there", |_| {});
    let first = answer(request.clone()).await.unwrap();
    assert_eq!(first, answer(request.clone()).await.unwrap());
    assert_eq!(first, answer(request.clone().whole()).await.unwrap());
    let usage = first.usage.unwrap();
    assert_eq!(usage.input, 2 + 3 + 3);
    assert_eq!(
        usage.output,
        first
            .text()
            .split(' ')
            .map(|word| word.len().div_ceil(8) as u64)
            .sum::<u64>()
    );
    assert_ne!(
        first.start.id,
        answer(ask("Hello", |_| {})).await.unwrap().start.id
    );
    assert_eq!(first.choices[0].finish, Some(FinishReason::Stop));
}

#[tokio::test(start_paused = true)]
async fn a_stream_keeps_its_pace_and_a_whole_answer_does_not_wait() {
    let model = Simulator::new()
        .answer("one two three four")
        .pace(Duration::from_millis(50))
        .tokens_per_event(2);
    let begin = Instant::now();
    let mut answer = model.clone().oneshot(ask("", |_| {})).await.unwrap();
    let mut pieces = Vec::new();
    while let Some(event) = std::future::poll_fn(|cx| {
        futures_core::Stream::poll_next(std::pin::Pin::new(&mut answer), cx)
    })
    .await
    {
        if let Event::Delta {
            delta: Delta::Text(text),
            ..
        } = event.unwrap()
        {
            pieces.push((text, begin.elapsed().as_millis()));
        }
    }
    assert_eq!(
        pieces,
        [("one two".to_owned(), 50), (" three four".to_owned(), 100)]
    );

    let begin = Instant::now();
    let whole = model.oneshot(ask("", |_| {}).whole()).await.unwrap();
    assert_eq!(whole.text().await.unwrap(), "one two three four");
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn pictures_are_counted() {
    let image = Content::Image {
        source: Media::Url("https://example.com/a.png".into()),
        detail: None,
    };
    let message = Message::new(
        Role::User,
        [
            Part::text("What is this?"),
            image.clone().into(),
            image.into(),
        ],
    );
    let completion = answer(ChatRequest::new().message(message)).await.unwrap();
    assert!(
        completion.text().ends_with("You sent 2 images."),
        "{}",
        completion.text()
    );
    assert!(completion.usage.unwrap().input > 170);
}

#[tokio::test]
async fn a_tool_on_offer_is_called_with_what_was_said() {
    let request = ask("What is the weather in Paris?", |chat| {
        chat.tools = vec![clock(), weather()]
    });
    let completion = answer(request.clone()).await.unwrap();
    assert_eq!(
        called(&completion),
        [(
            "get_weather".into(),
            json!({"city": "Paris", "unit": "celsius"})
        )]
    );
    assert_eq!(completion.choices[0].finish, Some(FinishReason::ToolCalls));

    let call = completion.tool_calls().next().unwrap().clone();
    let result = Content::ToolResult {
        call_id: call.id.clone(),
        parts: vec![Part::text("sunny")],
        is_error: None,
    };
    let request = request
        .message(Message::new(
            Role::Assistant,
            [Content::ToolCall(call).into()],
        ))
        .message(Message::new(Role::Tool, [result.into()]));
    let completion = answer(request).await.unwrap();
    assert_eq!(
        completion.text(),
        "This is the simulator. The tool answered: sunny"
    );
}

#[tokio::test]
async fn two_calls_are_made_when_two_are_asked_for() {
    let tools = |chat: &mut Chat| chat.tools = vec![weather()];
    let completion = answer(ask("Compare both Paris and Rome", tools))
        .await
        .unwrap();
    let calls = called(&completion);
    assert_eq!(
        (&calls[0].1["city"], &calls[1].1["city"]),
        (&json!("Paris"), &json!("Rome"))
    );
    let ids: Vec<_> = completion.tool_calls().map(|call| &call.id).collect();
    assert_ne!(ids[0], ids[1]);

    let one = ask("Compare both Paris and Rome", |chat| {
        tools(chat);
        chat.parallel_tool_calls = Some(false);
    });
    assert_eq!(called(&answer(one).await.unwrap()).len(), 1);
    let required = ask("Go", |chat| {
        chat.tools = vec![clock(), weather()];
        chat.tool_choice = Some(ToolChoice::Required);
    });
    let names: Vec<_> = called(&answer(required).await.unwrap())
        .into_iter()
        .map(|call| call.0)
        .collect();
    assert_eq!(names, ["get_time", "get_weather"]);
}

#[tokio::test]
async fn a_choice_of_tools_is_kept() {
    let choose = |choice| {
        ask("The weather in Paris", |chat| {
            chat.tools = vec![clock(), weather()];
            chat.tool_choice = Some(choice);
        })
    };
    let none = answer(choose(ToolChoice::None)).await.unwrap();
    assert!(called(&none).is_empty() && !none.text().is_empty());
    let named = answer(choose(ToolChoice::Tool("get_time".into())))
        .await
        .unwrap();
    assert_eq!(called(&named), [("get_time".into(), json!({}))]);
    let unknown = answer(choose(ToolChoice::Tool("nothing".into()))).await;
    assert_eq!(refused(unknown).param(), Some("tool_choice"));
}

fn refused(answer: Result<Completion, Error>) -> Rejection {
    let rejection = answer.unwrap_err().rejection().into_owned();
    assert_eq!(rejection.kind(), Kind::InvalidRequest);
    rejection
}

#[tokio::test]
async fn what_the_dialect_refuses_is_refused_by_name() {
    type Edit = fn(&mut Chat);
    let wrong: [(&str, Edit); 13] = [
        ("tool_choice", |chat| {
            chat.tool_choice = Some(ToolChoice::Other("nonsense".into()))
        }),
        ("response_format", |chat| {
            chat.response_format = Some(ResponseFormat::Other(serde_json::json!({"type": "weird"})))
        }),
        ("response_format.json_schema.schema", |chat| {
            chat.response_format = Some(ResponseFormat::JsonSchema {
                name: "x".into(),
                description: None,
                schema: Some(5.into()),
                strict: None,
            })
        }),
        ("logit_bias", |chat| {
            chat.extra.insert("logit_bias".into(), 5.into());
        }),
        ("logprobs", |chat| {
            chat.extra.insert("logprobs".into(), "x".into());
        }),
        ("messages", |chat| chat.messages.clear()),
        ("n", |chat| chat.sampling.n = Some(1_000_000_000)),
        ("n", |chat| chat.sampling.n = Some(0)),
        ("max_tokens", |chat| chat.sampling.max_tokens = Some(0)),
        ("temperature", |chat| {
            chat.sampling.temperature = Some(f64::NAN)
        }),
        ("presence_penalty", |chat| {
            chat.sampling.presence_penalty = Some(-3.0)
        }),
        ("tool_choice", |chat| {
            chat.tool_choice = Some(ToolChoice::Required)
        }),
        ("messages[1]", |chat| {
            let result = Content::ToolResult {
                call_id: "x".into(),
                parts: vec![],
                is_error: None,
            };
            chat.messages
                .push(Message::new(Role::Tool, [result.into()]));
        }),
    ];
    for (param, edit) in wrong {
        assert_eq!(
            refused(answer(ask("Hello", edit)).await).param(),
            Some(param)
        );
    }
}

#[tokio::test]
async fn limits_and_stops_end_the_answer() {
    let model = Simulator::new().answer("one two three four");
    let say = async |edit: fn(&mut Chat)| {
        model
            .clone()
            .oneshot(ask("", edit))
            .await
            .unwrap()
            .completion()
            .await
            .unwrap()
    };
    let short = say(|chat| chat.sampling.max_tokens = Some(2)).await;
    assert_eq!(
        (&*short.text(), &short.choices[0].finish),
        ("one two", &Some(FinishReason::Length))
    );
    assert_eq!(short.usage.unwrap().output, 2);
    let stopped = say(|chat| chat.sampling.stop = vec!["".into(), " three".into()]).await;
    assert_eq!(
        (&*stopped.text(), &stopped.choices[0].finish),
        ("one two", &Some(FinishReason::Stop))
    );
    let whole = say(|chat| chat.sampling.max_tokens = Some(4)).await;
    assert_eq!(whole.choices[0].finish, Some(FinishReason::Stop));
}

#[tokio::test]
async fn several_choices_differ() {
    let completion = answer(ask("Hello", |chat| chat.sampling.n = Some(3)))
        .await
        .unwrap();
    let texts: std::collections::HashSet<_> = completion
        .choices
        .iter()
        .map(|choice| choice.message.all_text())
        .collect();
    assert_eq!(texts.len(), 3);
    assert!(
        completion
            .choices
            .iter()
            .all(|choice| choice.finish.is_some())
    );
}

#[tokio::test]
async fn json_is_an_object() {
    let object = ask("Hello", |chat| {
        chat.response_format = Some(ResponseFormat::JsonObject)
    });
    let text = answer(object).await.unwrap().text();
    assert!(serde_json::from_str::<Value>(&text).unwrap()["answer"].is_string());
}

#[tokio::test]
async fn texts_become_unit_vectors() {
    let embed = |edit: fn(&mut Embed)| {
        let mut embed = Embed::default();
        embed.inputs = vec![
            EmbedInput::Text("a cat".into()),
            EmbedInput::Tokens(vec![1, 2]),
        ];
        edit(&mut embed);
        answer(ChatRequest::embed(embed))
    };
    let completion = embed(|_| {}).await.unwrap();
    assert_eq!(completion.embeddings.len(), 2);
    assert_eq!(completion.usage.unwrap().input, 4);
    for vector in &completion.embeddings {
        assert_eq!(vector.len(), 256);
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    }
    let small = embed(|embed| embed.dimensions = Some(2)).await.unwrap();
    assert_eq!(small.embeddings[0].len(), 2);
    for dimensions in [0, 4097, u32::MAX] {
        let mut embed = Embed::default();
        embed.inputs = vec![EmbedInput::Text("a".into())];
        embed.dimensions = Some(dimensions);
        assert_eq!(
            refused(answer(ChatRequest::embed(embed)).await).param(),
            Some("dimensions")
        );
    }
    let many = |embed: &mut Embed| {
        embed.inputs = vec![EmbedInput::Text("a".into()); 257];
        embed.dimensions = Some(4096);
    };
    assert_eq!(refused(embed(many).await).param(), Some("input"));
    assert_eq!(
        refused(embed(|embed| embed.inputs.clear()).await).param(),
        Some("input")
    );
    let empty = embed(|embed| embed.inputs[1] = EmbedInput::Text("".into())).await;
    assert_eq!(refused(empty).param(), Some("input[1]"));
}

#[tokio::test]
async fn faults_come_when_they_are_ordered() {
    let model = Simulator::new().faults(2, VendorFault::Overloaded);
    for expected in [
        Some(Kind::UpstreamOverloaded),
        Some(Kind::UpstreamOverloaded),
        None,
    ] {
        let answer = model.clone().oneshot(ask("Hello", |_| {})).await;
        assert_eq!(answer.err().map(|error| error.kind()), expected);
    }
    let model = Simulator::new().cut_after(3, VendorFault::Failed);
    let mut answer = model.oneshot(ask("Hello", |_| {})).await.unwrap();
    for _ in 0..3 {
        assert!(
            std::future::poll_fn(|cx| answer.poll_batch(cx))
                .await
                .unwrap()
                .is_ok()
        );
    }
    let end = std::future::poll_fn(|cx| answer.poll_batch(cx))
        .await
        .unwrap();
    assert_eq!(end.unwrap_err().kind(), Kind::BadGateway);
}
