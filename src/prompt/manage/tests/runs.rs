//! Runs against test sets.

use super::*;

#[tokio::test]
async fn two_versions_are_compared_by_a_test_set() {
    let registry = with_two().await;
    let manage = Manage::new(registry.clone()).chat(Simulator::new());
    let body = json!({"versions": [1, 2], "cases": [
        {"name": "it says one", "variables": {"text": "x"}, "expect": {"contains": "One: x"}},
        {"variables": {"text": "y"}},
        {"variables": {}, "expect": {"text": "?"}},
    ]});
    let (status, told, _) = ask(&manage, Some(admin()), "POST", "/a/runs", &body).await;
    assert_eq!(status, 200, "{told}");
    let of = |nth: usize| &told["versions"][nth];
    assert_eq!((&of(0)["passed"], &of(1)["passed"]), (&json!(1), &json!(0)));
    assert_eq!((&of(0)["failed"], &of(1)["failed"]), (&json!(1), &json!(2)));
    assert_eq!(
        (&of(0)["errors"], &of(0)["version"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(of(0)["cases"][2]["error"]["code"], "invalid_request");
    assert!(registry.results("a").is_empty(), "tests are no calls");
    for bad in [
        json!({"versions": [1, 1], "cases": [{}]}),
        json!({"versions": [1, 2, 3], "cases": [{}]}),
        json!({"versions": [], "cases": [{}]}),
        json!({"versions": [1], "cases": []}),
        json!({"versions": [1], "cases": vec![json!({}); 51]}),
        json!({"versions": [1], "cases": [{"expects": 1}]}),
        json!({"versions": [1], "cases": [{"expect": {"text": "a", "contains": "a"}}]}),
    ] {
        let (status, told, _) = ask(&manage, Some(admin()), "POST", "/a/runs", &bad).await;
        assert_eq!(status, 400, "{told}");
    }
    let held = admin().with_models(["other"]);
    let one = json!({"versions": [1], "cases": [{"variables": {"text": "x"}}]});
    assert_eq!(
        ask(&manage, Some(held), "POST", "/a/runs", &one).await.0,
        404
    );
    let without = Manage::new(registry);
    let (_, told, _) = ask(&without, Some(admin()), "POST", "/a/runs", &one).await;
    assert_eq!(
        told["versions"][0]["cases"][0]["error"]["code"],
        "model_not_found"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_in_time_whatever_the_model_does() {
    #[derive(Clone)]
    struct Slow;
    impl Service<ChatRequest> for Slow {
        type Response = ChatResponse;
        type Error = Error;
        type Future = Pin<Box<dyn Future<Output = Result<ChatResponse, Error>> + Send>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: ChatRequest) -> Self::Future {
            Box::pin(std::future::pending())
        }
    }
    let manage = Manage::new(with_two().await).chat(Slow);
    let body = json!({"versions": [1], "cases": vec![json!({"variables": {"text": "x"}}); 9]});
    let began = tokio::time::Instant::now();
    let (status, told, _) = ask(&manage, Some(admin()), "POST", "/a/runs", &body).await;
    assert_eq!((status, &told["versions"][0]["errors"]), (200, &json!(9)));
    assert_eq!(told["versions"][0]["cases"][8]["error"]["code"], "timeout");
    assert!(began.elapsed() < Duration::from_secs(121));
}

#[tokio::test]
async fn a_run_tells_what_it_used_and_what_that_cost() {
    use crate::{
        Exchange,
        llm::catalog::{Catalog, ModelFacts, Rate, Rates},
    };
    let model = tower::service_fn(async |request: ChatRequest| {
        let exchange = Exchange::of(&request).unwrap();
        assert!(
            exchange
                .facts()
                .prompt
                .is_some_and(|tag| tag.starts_with("a@"))
        );
        exchange.update(|facts| {
            facts.model = Some("sim-chat".into());
            facts.upstream = Some("lab".into());
            facts.upstream_model = Some("m-1".into());
            facts.attempts = 1;
        });
        let used = crate::llm::Event::Usage(crate::llm::Usage::new(30, 20));
        let events = futures_util::stream::iter([Ok(used)]);
        Ok::<_, Error>(ChatResponse::from_events(events))
    });
    let rate = |dollars: &str| dollars.parse::<Rate>().unwrap();
    let facts = ModelFacts::new("lab", "m-1").price(Rates::new(rate("1"), rate("2")));
    let manage = Manage::new(with_two().await)
        .catalog(Catalog::empty().with(facts))
        .chat(model);
    for (versions, tag, calls) in [(json!([2]), "a@2", 2_u64), (json!([1, 2]), "a", 4)] {
        let cases = json!([{"variables": {"text": "x"}}, {"variables": {"text": "y"}}]);
        let body = json!({"versions": versions, "cases": cases}).to_string();
        let exchange = Exchange::new();
        let request = Request::post("/admin/prompts/a/runs")
            .header("content-type", "application/json")
            .extension(admin())
            .extension(exchange.clone())
            .body(Full::from(body))
            .unwrap();
        let response = manage.clone().call(request).await.unwrap();
        let told = response.into_body().collect().await.unwrap().to_bytes();
        let told: Value = serde_json::from_slice(&told).unwrap();
        for version in told["versions"].as_array().unwrap() {
            // 30 of 1 $ and 20 of 2 $ for a million, twice.
            assert_eq!(version["price_usd"], 140e-6, "{told}");
        }
        let facts = exchange.facts();
        assert_eq!(facts.prompt.as_deref(), Some(tag));
        assert_eq!(facts.model.as_deref(), Some("sim-chat"));
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input, usage.output), (30 * calls, 20 * calls));
        assert_eq!(u64::from(facts.attempts), calls);
    }
}
