//! What the model says, and what becomes of it.

use super::*;

fn refused(text: &str) -> Vec<Event> {
    vec![Event::Delta {
        choice: 0,
        delta: Delta::Refusal(text.into()),
    }]
}

/// The events of an answer, by their names.
async fn events<S>(endpoints: &Endpoints<S>, path: &str) -> Vec<(String, Value)>
where
    Endpoints<S>:
        Service<Request<Full<Bytes>>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let (parts, body) = raw(endpoints, question(path)).await;
    assert_eq!(parts.headers["content-type"], "text/event-stream");
    let text = String::from_utf8(body.to_vec()).unwrap();
    text.split_terminator("\n\n")
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            (name.strip_prefix("event: ").unwrap().to_owned(), data)
        })
        .collect()
}

#[tokio::test]
async fn an_output_that_is_wrong_is_repaired_once() {
    let model = Model::saying([
        said("```json\n{\"mood\": \"fine\", \"why\": \"because of it\"}\n```"),
        said("{\"mood\": \"good\"}"),
    ]);
    let registry = registry().await;
    let endpoints = Endpoints::new(registry.clone()).chat(model.clone());
    let (status, told) = ask(&endpoints, question("/prompts/mood")).await;
    assert_eq!((status, &told["output"]), (200, &json!({"mood": "good"})));
    assert_eq!(
        (&told["attempts"], &told["usage"]["input_tokens"]),
        (&json!(2), &json!(20))
    );
    let again = &model.asked()[1];
    let messages = &again.chat().unwrap().messages;
    let roles: Vec<_> = messages.iter().map(|message| message.role).collect();
    assert_eq!(
        roles,
        [Role::System, Role::User, Role::Assistant, Role::User]
    );
    assert!(messages[2].all_text().contains("because of it"));
    let told = messages[3].all_text();
    assert!(
        told.contains("- /mood: It is not one of") && told.contains("- /why: It is too long."),
        "{told}"
    );
    let results = &registry.results("mood")[0];
    assert_eq!((results.calls, results.scores[0].mean), (2, 0.5));
}

#[tokio::test]
async fn an_output_that_stays_wrong_is_an_error_of_its_own() {
    for answers in [
        ["no", "{\"mood\": 1}"],
        ["{\"mood\":\"bad\",\"mood\":\"good\"}", ""],
    ] {
        let model = Model::saying(answers.map(said));
        let endpoints = Endpoints::new(registry().await).chat(model.clone());
        let (status, problem) = ask(&endpoints, question("/prompts/mood")).await;
        assert_eq!(
            (status, &problem["code"]),
            (502, &json!("output_invalid")),
            "{problem}"
        );
        assert!(problem["errors"].is_array());
        assert_eq!(model.asked().len(), 2);
    }
}

#[tokio::test]
async fn what_cannot_be_repaired_is_not_asked_again() {
    let refusal = refused("I will not.");
    for answer in [
        ended("{\"mood\":", FinishReason::Length),
        ended("", FinishReason::ContentFilter),
        refusal,
    ] {
        let model = Model::saying([answer]);
        let endpoints = Endpoints::new(registry().await).chat(model.clone());
        let (status, problem) = ask(&endpoints, question("/prompts/mood")).await;
        assert_eq!(
            (status, &problem["code"]),
            (502, &json!("output_invalid")),
            "{problem}"
        );
        assert_eq!(model.asked().len(), 1);
    }
}

#[tokio::test]
async fn events_end_with_the_whole_answer_or_with_an_error() {
    let model = Model::saying([
        said("Hi\nthere"),
        said("{\"mood\":\"good\"}"),
        said("no"),
        vec![],
    ]);
    model
        .says
        .lock()
        .unwrap()
        .push_back(Err(VendorError::new(VendorFault::Overloaded).into()));
    let endpoints = Endpoints::new(registry().await).chat(model.clone());
    let events = async |path: &str| events(&endpoints, path).await;
    let all = events("/prompts/text?stream=true").await;
    assert_eq!(all[0], ("text".to_owned(), json!({"text": "Hi\nthere"})));
    assert_eq!(
        (&*all[1].0, &all[1].1["text"]),
        ("done", &json!("Hi\nthere"))
    );
    assert!(model.asked()[0].streams());
    let all = events("/prompts/mood?stream=true").await;
    assert_eq!(
        (&*all[1].0, &all[1].1["output"]),
        ("done", &json!({"mood": "good"}))
    );
    let all = events("/prompts/mood?stream=true").await;
    assert_eq!(
        (&*all[1].0, &all[1].1["code"]),
        ("error", &json!("output_invalid"))
    );
    assert_eq!(
        events("/prompts/text?stream=true").await.len(),
        1,
        "an answer may be empty"
    );
    // Before the first event it is a status.
    let (status, problem) = ask(&endpoints, question("/prompts/text?stream=true")).await;
    assert_eq!(
        (status, &problem["code"]),
        (503, &json!("upstream_overloaded"))
    );
}

#[tokio::test]
async fn what_breaks_off_ends_with_an_error_event() {
    let simulator = Simulator::new().cut_after(3, VendorFault::Failed);
    let endpoints = Endpoints::new(registry().await).chat(simulator);
    let (parts, body) = raw(&endpoints, question("/prompts/text?stream=true")).await;
    assert_eq!(parts.status, 200);
    let text = String::from_utf8(body.to_vec()).unwrap();
    let last = text.split_terminator("\n\n").last().unwrap();
    assert!(
        last.starts_with("event: error\n") && last.contains("\"code\":\"bad_gateway\""),
        "{text}"
    );
}

#[tokio::test]
async fn what_the_model_says_in_its_head_reaches_the_caller() {
    let model = tower::service_fn(async |_: ChatRequest| {
        let mut answer = ChatResponse::from_events(stream::iter(said("Hi")).map(Ok));
        answer
            .headers_mut()
            .insert("x-ratelimit-remaining", HeaderValue::from_static("7"));
        answer
            .headers_mut()
            .insert("content-type", HeaderValue::from_static("text/html"));
        Ok::<_, Error>(answer)
    });
    let endpoints = Endpoints::new(registry().await).chat(model);
    let (parts, _) = raw(&endpoints, question("/prompts/text")).await;
    assert_eq!(parts.headers["x-ratelimit-remaining"], "7");
    assert_eq!(parts.headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_refusal_is_an_error_of_a_text_too() {
    let model = Model::saying([
        refused("I will not."),
        [said("Well: "), refused("no.")].concat(),
        refused("I will not."),
    ]);
    let endpoints = Endpoints::new(registry().await).chat(model);
    for _ in 0..2 {
        let (status, problem) = ask(&endpoints, question("/prompts/text")).await;
        assert_eq!(
            (status, &problem["code"], &problem["detail"]),
            (
                502,
                &json!("output_invalid"),
                &json!("The model refused to answer.")
            )
        );
    }
    let all = events(&endpoints, "/prompts/text?stream=true").await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(
        (&*all[0].0, &all[0].1["code"]),
        ("error", &json!("output_invalid"))
    );
}

#[tokio::test]
async fn an_error_after_the_answer_says_which_version_it_was() {
    let model = tower::service_fn(async |_: ChatRequest| {
        let mut answer = ChatResponse::from_events(stream::iter(said("no")).map(Ok));
        for (name, value) in [
            ("x-ratelimit-remaining", "7"),
            ("content-type", "text/html"),
            ("content-length", "2"),
        ] {
            let value = HeaderValue::from_static(value);
            answer.headers_mut().insert(name, value);
        }
        Ok::<_, Error>(answer)
    });
    let endpoints = Endpoints::new(registry().await).chat(model);
    let (parts, body) = raw(&endpoints, question("/prompts/mood")).await;
    assert_eq!(parts.status, 502);
    let headers = &parts.headers;
    assert_eq!(headers["x-gateway-prompt"], "mood@1");
    assert!(headers.contains_key("x-gateway-prompt-call"));
    assert_eq!(headers["x-ratelimit-remaining"], "7");
    assert_eq!(headers["content-type"], "application/problem+json");
    assert!(
        headers
            .get("content-length")
            .is_none_or(|length| length != "2")
    );
    assert!(!body.is_empty());
}

#[tokio::test]
async fn an_answer_without_end_is_an_error_and_recorded_as_one() {
    let pieces: [fn() -> Delta; 3] = [
        || {
            Delta::Extra(
                [("logprobs".to_owned(), json!(["x".repeat(1 << 20)]))]
                    .into_iter()
                    .collect(),
            )
        },
        || Delta::Audio(json!({"data": "x".repeat(1 << 20)})),
        || Delta::Text("x".repeat(1 << 20)),
    ];
    for piece in pieces {
        let model = tower::service_fn(move |_: ChatRequest| {
            let pieces = (0..20).map(move |_| {
                Ok(Event::Delta {
                    choice: 0,
                    delta: piece(),
                })
            });
            ready(Ok::<_, Error>(ChatResponse::from_events(stream::iter(
                pieces,
            ))))
        });
        let registry = registry().await;
        let endpoints = Endpoints::new(registry.clone()).chat(model);
        let all = events(&endpoints, "/prompts/text?stream=true").await;
        let (name, problem) = all.last().unwrap();
        assert_eq!((&**name, &problem["status"]), ("error", &json!(502)));
        let results = &registry.results("text")[0];
        let code = problem["code"].as_str().unwrap();
        assert_eq!((results.calls, results.errors), (1, 1));
        assert_eq!(results.error_codes, [(code, 1)]);
    }
}
