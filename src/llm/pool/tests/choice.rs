//! Who is asked first.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_least_busy_and_the_fastest_are_found_by_following_answers() {
    let (a, b) = (Fake::new(Act::Stalls("a")), Fake::new(Act::Stalls("b")));
    let pool: Pool = [a.entry("a"), b.entry("b")].into_iter().collect();
    let busy = pool.strategy(Strategy::LeastBusy);
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(busy.clone().oneshot(ask()).await.unwrap());
    }
    assert_eq!((a.calls(), b.calls()), (5, 5));
    drop(held);

    a.act(Act::Slow(2 * SECOND, "a"));
    b.act(Act::Slow(SECOND / 10, "b"));
    let fast = Pool::new().entry(a.entry("a")).entry(b.entry("b"));
    let fast = fast.strategy(Strategy::LowestLatency);
    // Both are tried, and then the fast one is asked.
    for _ in 0..10 {
        says(&fast).await.unwrap();
    }
    let before = a.calls();
    assert_eq!(before, 6);
    let shown = fast.handle().entry("a").unwrap();
    let first = shown.first_content.unwrap();
    assert!((1.99..2.01).contains(&first.as_secs_f32()), "{first:?}");
    // What was slow is forgotten within minutes, so that it is tried again.
    a.act(Act::Slow(SECOND / 100, "a"));
    for _ in 0..30 {
        tokio::time::advance(10 * SECOND).await;
        says(&fast).await.unwrap();
    }
    assert!(a.calls() > before, "{} calls", a.calls());
}

#[tokio::test]
async fn the_cheapest_that_can_is_asked() {
    let price = |dollars: u64| {
        let rate = Rate::micros_per_million(dollars * 1_000_000);
        Rates::new(rate, rate)
    };
    let facts = |price| ModelFacts::new("lab", "m").window(100_000).price(price);
    let text = Set::of(&[Modality::Text]);
    let sees = text.and(Modality::Image);
    let mut cheap = facts(price(1)).cannot(Ability::Tools);
    cheap.input = Some(text);
    let mut middle = facts(price(2))
        .can(Ability::Tools)
        .cannot(Ability::StructuredOutput);
    middle.input = Some(sees);
    let mut dear = facts(price(3))
        .can(Ability::Tools)
        .can(Ability::StructuredOutput);
    dear.input = Some(sees);
    let unknown = ModelFacts::new("lab", "m");
    let pool = |strategy| {
        Pool::new()
            .entry(Entry::new(Simulator::new().answer("unknown")).facts(unknown.clone()))
            .entry(Entry::new(Simulator::new().answer("dear")).facts(dear.clone()))
            .entry(Entry::new(Simulator::new().answer("middle")).facts(middle.clone()))
            .entry(Entry::new(Simulator::new().answer("cheap")).facts(cheap.clone()))
            .strategy(strategy)
    };
    let asked = |edit: fn(&mut crate::llm::Chat)| {
        let mut request = ask();
        edit(request.chat_mut().unwrap());
        request
    };
    let tools = || asked(|chat| chat.tools.push(Tool::new("find")));
    let schema = || {
        asked(|chat| {
            chat.response_format = Some(ResponseFormat::JsonSchema {
                name: "s".into(),
                description: None,
                schema: None,
                strict: None,
            });
        })
    };
    let picture = || {
        let source = Media::Url("https://example.com/a.png".into());
        let image = Content::Image {
            source,
            detail: None,
        };
        ask().message(Message::new(Role::User, [Part::from(image)]))
    };
    let name = |pool: &Pool, request: &ChatRequest| {
        let picked = pool.0.pick(request, pool.0.now());
        ["unknown", "dear", "middle", "cheap"][picked.places()[0]]
    };
    for strategy in [Strategy::LowestPrice, Strategy::CheapestCapable] {
        let pool = pool(strategy);
        assert_eq!(name(&pool, &ask()), "cheap");
        assert_eq!(name(&pool, &tools()), "middle");
        assert_eq!(
            name(&pool, &schema()),
            if strategy == Strategy::LowestPrice {
                "cheap"
            } else {
                "dear"
            }
        );
        assert_eq!(name(&pool, &picture()), "middle");
    }
    assert_eq!(
        says_to(&pool(Strategy::CheapestCapable), ask()).await,
        "cheap"
    );

    // What nobody knows the price of may cost more than is allowed.
    let pool = pool(Strategy::Failover);
    assert_eq!(name(&pool, &ask()), "unknown");
    let most = |dollars: &str| {
        let most = dollars.parse().unwrap();
        pool.clone().needs(move |_| Needs::new().max_price(most))
    };
    assert_eq!(name(&most("0.01"), &ask()), "dear");
    assert_eq!(name(&most("0.0011"), &ask()), "middle");
    let error = says(&most("0.000001")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotSupported);
}

#[tokio::test]
async fn a_price_is_a_maximum_for_as_much_as_the_answer_may_have() {
    let rate = Rate::micros_per_million(1_000_000);
    let facts = ModelFacts::new("lab", "m").price(Rates::new(rate, rate));
    let asked = |tokens: Option<u64>, answers: Option<u32>| {
        let mut request = ask();
        let sampling = &mut request.chat_mut().unwrap().sampling;
        (sampling.max_tokens, sampling.n) = (tokens, answers);
        request
    };
    // A dollar for a million tokens: this is for a thousand and the question.
    let pool = |facts: &ModelFacts| {
        let entry = Entry::new(Simulator::new()).facts(facts.clone());
        Pool::new().entry(entry.max_price("0.0011".parse().unwrap()))
    };
    let takes = async |facts: &ModelFacts, request| pool(facts).oneshot(request).await.is_ok();
    assert!(takes(&facts, asked(None, None)).await, "512 are enough");
    assert!(takes(&facts, asked(Some(1000), None)).await);
    assert!(!takes(&facts, asked(Some(1200), None)).await);
    assert!(!takes(&facts, asked(Some(100_000), None)).await);
    assert!(!takes(&facts, asked(Some(400), Some(3))).await);
    // Where the call does not say, the model does; and it has no more than it has.
    let large = facts.clone().max_output(100_000);
    assert!(!takes(&large, asked(None, None)).await);
    assert!(takes(&large, asked(Some(1000), None)).await);
    let small = facts.max_output(1000);
    assert!(takes(&small, asked(Some(100_000), None)).await);
    // So for the limit of a call.
    let entry = Entry::new(Simulator::new()).facts(large);
    let needs = Needs::new().max_price("0.0011".parse().unwrap());
    let pool = Pool::new().entry(entry).needs(move |_| needs.clone());
    let error = pool.oneshot(asked(None, None)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotSupported);
}

#[tokio::test]
async fn a_region_is_kept_to() {
    let pool = Pool::new()
        .entry(Simulator::new().answer("anywhere"))
        .entry(Entry::new(Simulator::new().answer("us")).region("us"))
        .entry(Entry::new(Simulator::new().answer("eu")).region("eu"))
        .needs(|call| match call.headers().get("x-region") {
            Some(region) => Needs::new().region(region.to_str().unwrap_or("?")),
            None => Needs::new(),
        });
    let from = |region: &'static str| {
        let mut request = ask();
        let headers = request.headers_mut();
        headers.insert("x-region", region.parse().unwrap());
        request
    };
    assert_eq!(says_to(&pool, ask()).await, "anywhere");
    assert_eq!(says_to(&pool, from("eu")).await, "eu");
    let error = pool.oneshot(from("mars")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotSupported);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_stays_where_it_is_and_comes_back() {
    let fakes: Vec<_> = ["a", "b", "c"]
        .map(|name| (name, Fake::new(Act::Says(name))))
        .into();
    let entries = fakes.iter().map(|(name, fake)| fake.entry(name));
    let pool = entries.collect::<Pool>().strategy(Strategy::Sticky);
    let turn = |person: usize, turns: usize| {
        let request = ChatRequest::new().for_model("fast").system("Be brief.");
        let request = request.user(format!("I am number {person}."));
        (0..turns).fold(request, |request, _| request.user("And then?"))
    };
    let mut homes = std::collections::BTreeMap::<_, usize>::new();
    for person in 0..60 {
        let home = says_to(&pool, turn(person, 0)).await;
        for turns in 1..4 {
            assert_eq!(says_to(&pool, turn(person, turns)).await, home);
        }
        pool.handle().cool(&home, SECOND);
        let away = says_to(&pool, turn(person, 4)).await;
        assert_ne!(away, home);
        assert_eq!(says_to(&pool, turn(person, 5)).await, away);
        tokio::time::advance(SECOND).await;
        assert_eq!(says_to(&pool, turn(person, 6)).await, home);
        *homes.entry(home).or_default() += 1;
    }
    assert!(homes.values().all(|count| *count >= 8), "{homes:?}");
    // Callers are told apart, and a key of one's own is another way to tell.
    let pool =
        pool.sticky_by(|request: &ChatRequest| Some(request.headers().get("x-chat")?.clone()));
    let chat = |id: usize, said: &str| {
        let mut request = ChatRequest::new().user(said);
        request.headers_mut().insert("x-chat", id.into());
        request
    };
    for id in 0..20 {
        let home = says_to(&pool, chat(id, "one")).await;
        assert_eq!(says_to(&pool, chat(id, "two")).await, home);
    }
}

#[tokio::test]
async fn conditions_look_at_the_principal_headers_metadata_and_size() {
    let pool = Pool::new()
        .entry(
            Entry::new(Simulator::new().answer("batch"))
                .when(|call| call.metadata("purpose") == Some("batch")),
        )
        .entry(
            Entry::new(Simulator::new().answer("team"))
                .when(|call| call.principal().is_some_and(|who| who.team().is_some()))
                .when(|call| call.headers().contains_key("x-fast")),
        )
        .entry(Simulator::new());
    let mut request = ask();
    let metadata = serde_json::json!({"purpose": "batch"});
    request
        .chat_mut()
        .unwrap()
        .extra
        .insert("metadata".into(), metadata);
    assert_eq!(says_to(&pool, request).await, "batch");
    let mut request = ask();
    request
        .extensions_mut()
        .insert(Principal::new("alice").with_team("a"));
    assert!(says_to(&pool, request.clone()).await.starts_with("This is"));
    request.headers_mut().insert("x-fast", 1.into());
    assert_eq!(says_to(&pool, request).await, "team");
    // Where none holds, nobody may be asked.
    let pool = Pool::new().entry(Entry::new(Simulator::new()).when(|_| false));
    assert_eq!(says(&pool).await.unwrap_err().kind(), Kind::NotSupported);
}

#[cfg(feature = "cel")]
#[tokio::test]
async fn expressions_see_the_same() {
    let entry = |answer: &str, text: &str| {
        let entry = Entry::new(Simulator::new().answer(answer));
        entry.when_expression(text).unwrap()
    };
    let pool = Pool::new()
        .entry(entry(
            "batch",
            r#"metadata.purpose == "batch" && model == "fast""#,
        ))
        .entry(entry("long", "tokens > 100"))
        .entry(entry(
            "alice",
            r#"principal.id == "alice" && "x-fast" in request.headers"#,
        ))
        .entry(Simulator::new().answer("else"));
    assert_eq!(says_to(&pool, ask()).await, "else");
    let mut request = ask();
    let metadata = serde_json::json!({"purpose": "batch"});
    request
        .chat_mut()
        .unwrap()
        .extra
        .insert("metadata".into(), metadata);
    assert_eq!(says_to(&pool, request).await, "batch");
    let request = ask().user("word ".repeat(200));
    assert_eq!(says_to(&pool, request).await, "long");
    let mut request = ask();
    request.extensions_mut().insert(Principal::new("alice"));
    request.headers_mut().insert("x-fast", 1.into());
    assert_eq!(says_to(&pool, request).await, "alice");
    let wrong = Entry::new(Simulator::new())
        .when_expression("token > 100")
        .unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "there is no variable `token` (line 1, column 1)"
    );
    assert!(
        crate::authorize::Expression::new("tokens > 100").is_err(),
        "of pools alone"
    );
}
