//! Who may use what.

use super::*;

#[tokio::test]
async fn a_caller_chooses_among_versions_if_it_may() {
    let model = Model::saying([
        said("{\"mood\":\"good\"}"),
        said("{\"mood\":\"good\"}"),
        said("{\"mood\":\"good\"}"),
    ]);
    let endpoints = Endpoints::new(registry().await)
        .chat(model)
        .choice_scope("prompts:choose");
    let (status, told) = ask(&endpoints, question("/prompts/mood")).await;
    assert_eq!((status, &told["version"]), (200, &json!(1)));
    assert_eq!(
        ask(&endpoints, question("/prompts/mood?version=2")).await.0,
        403
    );
    assert_eq!(
        ask(&endpoints, get("/prompts/mood?label=latest")).await.0,
        403
    );
    let chooses = |path| {
        let mut request = question(path);
        let who = Principal::new("alice").with_scopes(["prompts:choose"]);
        request.extensions_mut().insert(who);
        request
    };
    let (status, told) = ask(&endpoints, chooses("/prompts/mood?version=2")).await;
    assert_eq!(
        (status, &told["version"], &told["label"]),
        (200, &json!(2), &Value::Null)
    );
    assert_eq!(
        ask(&endpoints, chooses("/prompts/mood?version=2&label=latest"))
            .await
            .0,
        200
    );
    assert_eq!(
        ask(
            &endpoints,
            chooses("/prompts/mood?version=2&label=production")
        )
        .await
        .0,
        404
    );
}

#[tokio::test]
async fn a_prompt_that_the_caller_may_not_use_is_not_there() {
    let endpoints = Endpoints::new(registry().await).chat(Model::default());
    let held = |mut request: Request<Full<Bytes>>, who: Principal| {
        request.extensions_mut().insert(who);
        request
    };
    for who in [
        Principal::new("a").with_models(["slow"]),
        Principal::new("a").with_routes(["/v1/*"]),
    ] {
        for request in [question("/prompts/text"), get("/prompts/text")] {
            let (status, problem) = ask(&endpoints, held(request, who.clone())).await;
            assert_eq!(
                (status, &problem["code"]),
                (404, &json!("prompt_not_found"))
            );
        }
        let (_, told) = ask(&endpoints, held(get("/prompts"), who.clone())).await;
        assert_eq!(told["prompts"], json!([]));
        let (_, told) = ask(&endpoints, held(get("/prompts/openapi.json"), who)).await;
        assert_eq!(told["paths"].as_object().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn who_may_not_choose_reads_no_labels() {
    let registry = registry().await;
    let to = Some(Assignment::to(NonZeroU32::new(2).unwrap()));
    let code = Actor::code("test");
    let moved = registry.move_label(&code, "mood", "staging", to, Change::new());
    moved.await.unwrap();
    let labels = async |endpoints: Endpoints, who: Principal| {
        let mut request = get("/prompts/mood");
        request.extensions_mut().insert(who);
        let (status, told) = ask(&endpoints.chat(Model::default()), request).await;
        assert_eq!(status, 200);
        told["labels"].clone()
    };
    let all = json!({"production": 1, "staging": 2});
    let open = Endpoints::new(registry);
    assert_eq!(labels(open.clone(), Principal::new("a")).await, all);
    let held = open.choice_scope("prompts:choose");
    assert_eq!(labels(held.clone(), Principal::new("a")).await, json!({}));
    let chooser = Principal::new("a").with_scopes(["prompts:choose"]);
    assert_eq!(labels(held, chooser).await, all);
}

#[cfg(feature = "authorize")]
mod by_policy {
    use super::*;
    use crate::authorize::{Policy, Rule};

    /// Alice may use what of the moods is fast.
    fn policy() -> Policy {
        Policy::new().rule(
            Rule::allow("moods")
                .principals(["alice"])
                .routes(["/prompts/{name}"])
                .prompts(["mood", "slow*"])
                .models(["fast"]),
        )
    }

    async fn endpoints(
        policy: Policy,
    ) -> Endpoints<
        impl Service<ChatRequest, Response = ChatResponse, Error = Error, Future: Send>
        + Clone
        + Send
        + 'static,
    > {
        let registry = registry().await;
        let code = Actor::code("test");
        let slow = Prompt::new().model("slow").user("Hello.");
        let created = registry.create(&code, "slow", slow, Change::new());
        created.await.unwrap();
        let to = Some(Assignment::to(NonZeroU32::MIN));
        let moved = registry.move_label(&code, "slow", "production", to, Change::new());
        moved.await.unwrap();
        let model = Model::saying([said("{\"mood\":\"bad\"}")]);
        Endpoints::new(registry).listed_by(policy).chat(model)
    }

    fn by(mut request: Request<Full<Bytes>>, name: &str) -> Request<Full<Bytes>> {
        request.extensions_mut().insert(Principal::new(name));
        request
    }

    #[tokio::test]
    async fn one_rule_gives_call_description_and_place_in_the_list() {
        let endpoints = endpoints(policy()).await;
        let (_, told) = ask(&endpoints, by(get("/prompts"), "alice")).await;
        let listed = told["prompts"].as_array().unwrap();
        assert_eq!((listed.len(), &listed[0]["name"]), (1, &json!("mood")));
        for (request, who, wanted) in [
            (question("/prompts/mood"), "alice", 200),
            (get("/prompts/mood"), "alice", 200),
            (question("/prompts/text"), "alice", 403),
            (get("/prompts/text"), "alice", 403),
            (get("/prompts/slow"), "alice", 403),
            (question("/prompts/mood"), "bob", 403),
            (get("/prompts/mood"), "bob", 403),
            (get("/prompts/none"), "alice", 404),
        ] {
            let told = format!("{} {} {who}", request.method(), request.uri());
            let (status, problem) = ask(&endpoints, by(request, who)).await;
            assert_eq!(status, wanted, "{told}");
            if wanted == 403 {
                assert_eq!(problem["code"], "insufficient_permissions", "{told}");
            }
        }
    }

    #[tokio::test]
    async fn what_a_policy_hides_is_as_what_is_not_there() {
        let endpoints = endpoints(policy().conceal()).await;
        let (status, nothing) = ask(&endpoints, by(get("/prompts/slower"), "alice")).await;
        assert_eq!(
            (status, &nothing["code"]),
            (404, &json!("prompt_not_found"))
        );
        for path in [
            "/prompts/slow",
            "/prompts/text",
            "/prompts/slow?version=1",
            "/prompts/slow?version=9",
            "/prompts/slow?label=staging",
            "/prompts/slow?label=staging&version=1",
        ] {
            let bad = post(path, "{");
            for request in [get(path), question(path), bad] {
                let answer = ask(&endpoints, by(request, "alice")).await;
                assert_eq!(answer, (404, nothing.clone()), "{path}");
            }
        }
        // To whoever may use it more is told.
        let (_, told) = ask(&endpoints, by(get("/prompts/mood?version=9"), "alice")).await;
        assert_eq!(told["detail"], "The prompt has no such version.");
    }
}
