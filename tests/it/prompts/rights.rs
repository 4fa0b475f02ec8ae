//! Who may call which prompt, and which version of it.

use super::{DIALECTS, call, create, gateway, openai, post, registry, translate, with};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use std::num::NonZeroU32;
use tower::{ServiceBuilder, ServiceExt as _};
use tower_gateway::{
    Principal,
    auth::{AuthLayer, Credential},
    authorize::{AuthorizeLayer, Policy, Rule},
    gateway::{Gateway, GatewayBuilder, GatewayService, Slot},
    llm::{Simulator, serve::Serve},
    prompt::{
        Actor, Assignment, At, Change, LabelName, Prompt, PromptLayer, Registry,
        endpoints::Endpoints,
    },
    testing::{MockVendor, Turn},
    timeout::TimeoutLayer,
};

/// Whoever has a key has the name that it is.
fn known(builder: GatewayBuilder) -> GatewayBuilder {
    let who = AuthLayer::new(|credential: Credential| async move {
        let name = String::from_utf8_lossy(credential.expose()).into_owned();
        Ok(match name.split_once('/') {
            Some((tenant, name)) => Principal::new(name).with_tenant(tenant),
            None if name == "limited" => Principal::new(name).with_models(["slow"]),
            None if name == "chooser" => Principal::new(name).with_scopes(["prompts:choose"]),
            None => Principal::new(name),
        })
    });
    builder.layer_at(Slot::Auth, who)
}

fn from(who: &str, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let key = format!("Bearer {who}").parse().unwrap();
    request.headers_mut().insert("authorization", key);
    request
}

async fn chat(gateway: &GatewayService, who: &str, prompt: Value, more: Value) -> Response<String> {
    call(gateway, from(who, DIALECTS[0].ask(prompt, more, false))).await
}

fn status(answer: &Response<String>) -> (u16, String) {
    let error: Value = serde_json::from_str(answer.body()).unwrap();
    let told = error.get("error").unwrap_or(&error);
    let code = told["code"].as_str().unwrap_or_default();
    (answer.status().as_u16(), code.to_owned())
}

#[tokio::test]
async fn a_policy_decides_on_the_prompt_and_its_model_before_anything_is_rendered() {
    let registry = registry().await;
    create(
        &registry,
        "secret",
        Prompt::new()
            .model("fast")
            .user("{{ hidden }}")
            .variable("hidden", json!({})),
    )
    .await;
    let vendor = MockVendor::start(Turn::text("Bonjour")).await.unwrap();
    let policy = Policy::new()
        .rule(
            Rule::allow("translators")
                .principals(["alice", "limited"])
                .prompts(["trans*"]),
        )
        .rule(
            Rule::allow("slow")
                .principals(["bob"])
                .prompts(["*"])
                .models(["slow"]),
        )
        .rule(Rule::allow("plain").principals(["carol"]));
    let gateway = known(gateway(&registry, openai(&vendor)))
        .authorize(policy)
        .chat_layer(TimeoutLayer::llm())
        .build()
        .unwrap();
    let lines = "llm   DrainLayer\nllm   PromptLayer\nllm   AuthorizeLayer\nllm   PromptLayer, which renders\nllm   TimeoutLayer\n";
    assert!(gateway.describe().contains(lines), "{}", gateway.describe());

    let ask = async |who: &str, name: &str, more: Value| {
        let prompt = json!({"name": name, "variables": {"text": "Hello"}});
        chat(&gateway, who, prompt, more).await
    };
    assert_eq!(ask("alice", "translate", json!({})).await.status(), 200);
    // Nothing is said of what is in it.
    let refused = ask("alice", "secret", json!({})).await;
    assert_eq!(refused.status(), 403);
    assert!(!refused.body().contains("hidden"), "{}", refused.body());
    assert!(!refused.headers().contains_key("x-gateway-prompt"));
    assert_eq!(ask("carol", "secret", json!({})).await.status(), 400);
    // The model that the prompt leads to counts, and not that it was left out.
    assert_eq!(ask("bob", "translate", json!({})).await.status(), 403);
    let refused = ask("limited", "translate", json!({})).await;
    assert_eq!(refused.status(), 404);
    assert!(
        refused.body().contains("model_not_found"),
        "{}",
        refused.body()
    );
    // And a call without a prompt is none of one.
    let dialect = &DIALECTS[0];
    let plain = with((dialect.said)("Hello"), json!({"model": "fast"}));
    let plain = from("alice", post(dialect.whole, &plain));
    assert_eq!(call(&gateway, plain).await.status(), 403);
}

#[tokio::test]
async fn nobody_learns_which_prompts_there_are_that_he_may_not_call() {
    let registry = registry().await;
    create(&registry, "secret", translate()).await;
    create(&registry, "secret-open", Prompt::new().user("Hello")).await;
    let vendor = MockVendor::start(Turn::text("Bonjour")).await.unwrap();
    let translators = Rule::allow("translators").prompts(["trans*"]);
    let everything = Rule::allow("all").principals(["carol"]);
    let policy = Policy::new().rule(translators).rule(everything);
    let concealed = policy.clone().conceal();
    for (policy, refused) in [
        (policy, (403, "insufficient_permissions")),
        (concealed, (404, "prompt_not_found")),
    ] {
        let layer = PromptLayer::new(registry.clone()).choice_scope("prompts:choose");
        let gateway = known(
            Gateway::builder()
                .prompts(layer)
                .model("fast", [openai(&vendor)]),
        );
        let gateway = gateway.authorize(policy).build().unwrap();
        let cases = [
            json!({"name": "secret", "variables": {"text": "Hello"}}),
            json!({"name": "secret"}),
            json!({"name": "secret", "version": 1}),
            json!({"name": "secret", "version": 9}),
            json!({"name": "secret", "label": "staging"}),
            json!({"name": "secret-open"}),
            json!({"name": "nothing"}),
            json!({"name": "nothing", "version": 1}),
        ];
        for more in [
            json!({}),
            json!({"model": "fast"}),
            json!({"model": "slow"}),
        ] {
            for who in ["alice", "chooser", "limited"] {
                let mut seen = Vec::new();
                for prompt in &cases {
                    let answer = chat(&gateway, who, prompt.clone(), more.clone()).await;
                    assert!(!answer.headers().contains_key("x-gateway-prompt"));
                    seen.push((status(&answer), answer.headers().len(), answer.into_body()));
                }
                // A model that he may not use is one whatever the prompt.
                if who != "limited" || more != json!({"model": "fast"}) {
                    assert_eq!(seen[0].0, (refused.0, refused.1.to_owned()), "{who} {more}");
                }
                for one in &seen {
                    assert_eq!(*one, seen[0], "{who} {more}");
                }
            }
        }
        // Who may call them is told what is wrong.
        let ask = async |prompt| status(&chat(&gateway, "carol", prompt, json!({})).await);
        let missing = (404, "prompt_not_found".to_owned());
        assert_eq!(ask(json!({"name": "nothing"})).await, missing);
        assert_eq!(
            ask(json!({"name": "secret", "label": "staging"})).await.0,
            403
        );
        assert_eq!(ask(json!({"name": "secret"})).await.0, 400);
        assert_eq!(ask(json!({"name": "secret-open"})).await.0, 400);
    }
    assert_eq!(vendor.count(), 0);
}

#[tokio::test]
async fn a_caller_chooses_a_version_with_the_scope_alone_by_either_way() {
    let registry = registry().await;
    create(&registry, "translate", translate().system("Be exact.")).await;
    let layer = || PromptLayer::new(registry.clone());
    let endpoints = || Endpoints::new(registry.clone());
    let scope = "prompts:choose";
    let chosen = [
        json!({"version": 1}),
        json!({"version": "1"}),
        json!({"version": "production"}),
        json!({"label": "production"}),
        json!({"label": "latest"}),
    ];
    let built = |builder: GatewayBuilder| {
        known(builder.model("fast", [Simulator::new()]))
            .build()
            .unwrap()
    };
    for gateway in [
        built(Gateway::builder().prompts(layer().choice_scope(scope))),
        built(Gateway::builder().prompt_endpoints(endpoints().choice_scope(scope))),
        built(
            Gateway::builder()
                .prompts(layer())
                .prompt_endpoints(endpoints().choice_scope(scope)),
        ),
        built(
            Gateway::builder()
                .prompts(layer().choice_scope(scope))
                .prompt_endpoints(endpoints()),
        ),
    ] {
        let endpoint = async |who: &str, query: &str| {
            let request = post(
                &format!("/prompts/translate{query}"),
                &json!({"text": "Hello"}),
            );
            call(&gateway, from(who, request)).await.status().as_u16()
        };
        for chosen in &chosen {
            for dialect in &DIALECTS {
                let prompt = json!({"name": "translate", "variables": {"text": "Hello"}});
                let prompt = with(prompt, chosen.clone());
                let ask = async |who| {
                    let request = dialect.ask(prompt.clone(), json!({}), false);
                    call(&gateway, from(who, request)).await
                };
                let refused = ask("alice").await;
                assert_eq!(refused.status(), 403, "{chosen} {}", refused.body());
                assert_eq!(ask("chooser").await.status(), 200, "{chosen}");
            }
        }
        let usual = json!({"name": "translate", "variables": {"text": "Hello"}});
        assert_eq!(
            chat(&gateway, "alice", usual, json!({})).await.status(),
            200
        );
        assert_eq!(endpoint("alice", "").await, 200);
        assert_eq!(endpoint("alice", "?version=1").await, 403);
        assert_eq!(endpoint("alice", "?label=latest").await, 403);
        assert_eq!(endpoint("chooser", "?version=1").await, 200);
    }
}

async fn halved(registry: &Registry) {
    create(registry, "translate", translate().system("Be exact.")).await;
    let two = NonZeroU32::new(2).unwrap();
    let shares = Assignment::split([(NonZeroU32::MIN, 5_000), (two, 5_000)]).unwrap();
    let code = Actor::code("test");
    let moved = registry.move_label(
        &code,
        "translate",
        "production",
        Some(shares),
        Change::new(),
    );
    moved.await.unwrap();
}

/// Which version a caller has by a conversation, and by the endpoint.
async fn versions(gateway: &GatewayService, who: &str, team: &str) -> [String; 2] {
    let prompt = json!({"name": "translate", "variables": {"text": "Hello"}});
    let asked = DIALECTS[0].ask(prompt, json!({}), false);
    let posted = post("/prompts/translate", &json!({"text": "Hello"}));
    let mut told = Vec::new();
    for request in [asked, posted] {
        let mut request = from(who, request);
        let team = team.parse().unwrap();
        request.headers_mut().insert("x-team", team);
        let answer = call(gateway, request).await;
        assert_eq!(answer.status(), 200, "{}", answer.body());
        let version = answer.headers()["x-gateway-prompt"].to_str().unwrap();
        told.push(version.to_owned());
    }
    told.try_into().unwrap()
}

#[tokio::test]
async fn a_caller_has_one_version_by_either_way() {
    let registry = registry().await;
    halved(&registry).await;
    let built = |builder: GatewayBuilder| {
        known(builder.model("fast", [Simulator::new()]))
            .build()
            .unwrap()
    };
    let by_team = PromptLayer::new(registry.clone()).sticky_by(|request, _| {
        use tower_gateway::Extensible as _;
        Some(request.headers().get("x-team")?.to_str().ok()?.into())
    });
    let endpoints_by_team = Endpoints::new(registry.clone())
        .key(|headers, _| Some(headers.get("x-team")?.to_str().ok()?.into()));
    for (gateway, is_by_team) in [
        (built(Gateway::builder().prompts(registry.clone())), false),
        (built(Gateway::builder().prompts(by_team.clone())), true),
        (
            built(Gateway::builder().prompt_endpoints(endpoints_by_team)),
            true,
        ),
        (
            built(
                Gateway::builder()
                    .prompts(by_team)
                    .prompt_endpoints(Endpoints::new(registry.clone())),
            ),
            true,
        ),
    ] {
        let mut second = 0;
        for nth in 0..24 {
            // The same name in two tenants is not the same caller.
            for tenant in ["acme/", "other/", ""] {
                let who = format!("{tenant}caller-{nth}");
                let [chat, endpoint] = versions(&gateway, &who, "team").await;
                assert_eq!(chat, endpoint, "{who}");
                second += usize::from(chat == "translate@2");
            }
        }
        match is_by_team {
            false => assert!((16..=56).contains(&second), "{second}"),
            true => assert!([0, 72].contains(&second), "{second}"),
        }
    }
}

#[tokio::test]
async fn what_is_meant_by_default_is_said_once() {
    // No label points at it.
    let registry = Registry::in_memory();
    let code = Actor::code("test");
    let created = registry.create(&code, "translate", translate(), Change::new());
    created.await.unwrap();
    let built =
        |builder: GatewayBuilder| builder.model("fast", [Simulator::new()]).build().unwrap();
    let latest = || PromptLayer::new(registry.clone()).unless_said(At::Latest);
    for (gateway, works) in [
        (
            built(Gateway::builder().prompts(registry.clone())),
            [404, 404],
        ),
        (built(Gateway::builder().prompts(latest())), [200, 200]),
        (
            built(Gateway::builder().prompt_endpoints(Endpoints::new(registry.clone()).latest())),
            [200, 200],
        ),
        (
            built(Gateway::builder().prompts(latest()).prompt_endpoints(
                Endpoints::new(registry.clone()).label(LabelName::new("staging").unwrap()),
            )),
            [200, 404],
        ),
    ] {
        let prompt = json!({"name": "translate", "variables": {"text": "Hello"}});
        let asked = call(&gateway, DIALECTS[0].ask(prompt, json!({}), false)).await;
        let posted = post("/prompts/translate", &json!({"text": "Hello"}));
        let posted = call(&gateway, posted).await;
        assert_eq!([asked.status().as_u16(), posted.status().as_u16()], works);
        let list = Request::get("/prompts").body(Full::default()).unwrap();
        let list: Value = serde_json::from_str(call(&gateway, list).await.body()).unwrap();
        let listed = usize::from(works[1] == 200);
        assert_eq!(list["prompts"].as_array().unwrap().len(), listed, "{list}");
    }
}

#[tokio::test]
async fn a_label_with_shares_gives_each_caller_its_version() {
    let registry = registry().await;
    halved(&registry).await;
    let vendor = MockVendor::start(Turn::text("Bonjour")).await.unwrap();
    let gateway = known(gateway(&registry, openai(&vendor))).build().unwrap();
    let version = async |who: usize| {
        let prompt = json!({"name": "translate", "variables": {"text": "Hello"}});
        let answer = chat(&gateway, &format!("caller-{who}"), prompt, json!({})).await;
        answer.headers()["x-gateway-prompt"].clone()
    };
    let mut second = 0;
    for who in 0..30 {
        let given = version(who).await;
        assert_eq!(version(who).await, given);
        second += usize::from(given == "translate@2");
    }
    assert!((5..=25).contains(&second), "{second}");
    let results = registry.results("translate");
    assert_eq!(results.iter().map(|one| one.calls).sum::<u64>(), 60);
}

#[tokio::test]
async fn a_policy_outside_of_the_layer_lets_no_prompt_through_that_it_cannot_know() {
    let registry = registry().await;
    let policy = Policy::new()
        .rule(Rule::allow("all"))
        .rule(Rule::deny("secrets").prompts(["secret"]));
    let models = ServiceBuilder::new()
        .layer(AuthorizeLayer::new(policy))
        .layer(PromptLayer::new(registry).unless_said(At::Latest))
        .service(Simulator::new());
    let serve = Serve::new(models).prompts();
    for (body, status) in [
        (
            json!({"prompt": {"name": "translate", "variables": {"text": "x"}}}),
            403,
        ),
        (json!({"messages": [{"role": "user", "content": "x"}]}), 200),
    ] {
        let body = with(json!({"model": "-"}), body);
        let answer = serve.clone().oneshot(post("/v1/chat/completions", &body));
        assert_eq!(answer.await.unwrap().status(), status, "{body}");
    }
}
