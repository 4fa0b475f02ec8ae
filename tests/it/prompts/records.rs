//! What is told and recorded of calls of prompts.

use super::{DIALECTS, anthropic, call, create, gateway, openai, post, registry};
use crate::telling::Told;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tower::{ServiceExt as _, util::MapRequestLayer};
use tower_gateway::{
    Body, Extensible as _, Principal,
    access_log::AccessLogLayer,
    auth::{AuthLayer, Credential},
    authorize::{Policy, Rule},
    exchange::Usage,
    gateway::{Gateway, GatewayBuilder, GatewayService, Slot},
    llm::{ChatRequest, Prompted},
    prompt::{Prompt, PromptLayer, Registry},
    testing::{MockVendor, Turn, Vendor},
};

type Lines = Arc<Mutex<Vec<String>>>;

fn logged(builder: GatewayBuilder) -> (GatewayBuilder, Lines) {
    let lines = Lines::default();
    let sink = lines.clone();
    let log =
        AccessLogLayer::new().sink(move |record| sink.lock().unwrap().push(record.to_string()));
    (builder.access_log(log), lines)
}

fn hello() -> Value {
    json!({"name": "translate", "variables": {"text": "Hello"}})
}

#[tokio::test]
async fn every_record_tells_the_version() {
    let registry = registry().await;
    let vendor = Vendor::new(vec![Turn::text("Bonjour"), Turn::server_error()]);
    let vendor = vendor.start().await.unwrap();
    let layer = PromptLayer::new(registry.clone());
    let scores = layer.scores();
    let builder = Gateway::builder().prompts(layer);
    let (builder, lines) = logged(builder.model("fast", [openai(&vendor)]));
    let gateway = builder.build().unwrap();
    let answer = call(&gateway, DIALECTS[0].ask(hello(), json!({}), false)).await;
    assert_eq!(answer.status(), 200);
    let id = answer.headers()["x-gateway-prompt-call"].to_str().unwrap();
    scores.score(None, id, "helpful", 0.5).unwrap();
    let failed = call(&gateway, DIALECTS[0].ask(hello(), json!({}), false)).await;
    assert!(failed.status().is_server_error());
    assert_eq!(failed.headers()["x-gateway-prompt"], "translate@1");
    for line in lines.lock().unwrap().iter() {
        assert!(line.contains(" prompt=translate@1 "), "{line}");
    }
    assert_eq!(lines.lock().unwrap().len(), 2);
    let text = gateway.metrics().encode();
    for line in [
        r#"gateway_prompt_calls_total{prompt="translate",version="1"} 2"#,
        r#"gateway_prompt_scores_total{score="helpful",prompt="translate",version="1"} 1"#,
        r#"gateway_prompt_score_mean{score="helpful",prompt="translate",version="1"} 0.5"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let results = &registry.results("translate")[0];
    assert_eq!((results.calls, results.errors), (2, 1));
    assert!(results.input_tokens > 0 && results.output_tokens > 0);
}

#[tokio::test]
async fn tokens_of_a_prompt_are_counted() {
    let registry = registry().await;
    let vendor = MockVendor::start(Turn::text("Bonjour")).await.unwrap();
    let gateway = gateway(&registry, anthropic(&vendor)).build().unwrap();
    let body = json!({"prompt": {"name": "translate", "variables": {"text": "Hello"}}});
    let answer = call(&gateway, post("/v1/messages/count_tokens", &body)).await;
    assert_eq!(answer.status(), 200, "{}", answer.body());
    let counted: Value = serde_json::from_str(answer.body()).unwrap();
    // The vendor counts words, of what is rendered: `Translate for me.` and `Text: Hello`.
    assert_eq!(counted["input_tokens"], 5, "{counted}");
    let asked = vendor.last().unwrap();
    assert_eq!(asked.route(), "/v1/messages/count_tokens");
    let sent = asked.json();
    assert!(
        sent["system"].to_string().contains("Translate for me."),
        "{sent}"
    );
    assert!(
        sent["messages"].to_string().contains("Text: Hello"),
        "{sent}"
    );
    assert_eq!(sent.get("prompt"), None);
    // It is no call of the prompt.
    assert_eq!(answer.headers()["x-gateway-prompt"], "translate@1");
    assert!(!answer.headers().contains_key("x-gateway-prompt-call"));
    assert!(registry.results("translate").is_empty());
}

/// A call, and how it ends.
struct Case {
    what: &'static str,
    who: &'static str,
    request: Request<Full<Bytes>>,
    status: u16,
    /// Whether a model was called, and whether it failed.
    called: Option<bool>,
}

fn known(builder: GatewayBuilder) -> GatewayBuilder {
    let who = AuthLayer::new(|credential: Credential| async move {
        let name = String::from_utf8_lossy(credential.expose()).into_owned();
        Ok(match &*name {
            "limited" => Principal::new(name).with_models(["slow"]),
            _ => Principal::new(name),
        })
    });
    builder.layer_at(Slot::Auth, who)
}

async fn send(gateway: &GatewayService, who: &str, mut request: Request<Full<Bytes>>) -> u16 {
    let key = format!("Bearer {who}").parse().unwrap();
    request.headers_mut().insert("authorization", key);
    let answer = gateway.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let mut body: Body = answer.into_body();
    // One that breaks off ends with an error of the transport, or tells it in words.
    while let Some(Ok(_)) = body.frame().await {}
    status
}

#[tokio::test]
async fn log_trace_and_results_know_the_version_however_a_call_ends() {
    let registry = registry().await;
    create(&registry, "open", Prompt::new().user("Hello")).await;
    let broken = || Turn::text("one two three four").on_wire(|reply| reply.cut_after(300));
    let turns = vec![
        Turn::text("Bonjour"),
        Turn::text("Bonjour"),
        broken(),
        Turn::server_error(),
        Turn::text("Bonjour"),
    ];
    let vendor = Vendor::new(turns).start().await.unwrap();
    let some = Rule::allow("some").principals(["alice", "limited"]);
    let others = Rule::allow("others").prompts(["other"]);
    let policy = Policy::new().rule(some).rule(others);
    let (builder, lines) = logged(known(gateway(&registry, openai(&vendor))));
    let gateway = builder.authorize(policy).build().unwrap();
    let told = Told::default();
    let _guard = tracing::subscriber::set_default(told.clone());
    // The span may have been met first by another test, for which nobody listens.
    send(&gateway, "bob", post("/nowhere", &json!({}))).await;
    tracing::callsite::rebuild_interest_cache();
    lines.lock().unwrap().clear();

    let chat = &DIALECTS[0];
    let case = |what, who, request, status, called| Case {
        what,
        who,
        request,
        status,
        called,
    };
    let ask = |prompt, stream| chat.ask(prompt, json!({}), stream);
    let wrong = json!({"name": "translate", "variables": {"text": 7}});
    let cases = [
        case("whole", "alice", ask(hello(), false), 200, Some(false)),
        case("stream", "alice", ask(hello(), true), 200, Some(false)),
        case("breaks off", "alice", ask(hello(), true), 200, Some(true)),
        case("fails", "alice", ask(hello(), false), 502, Some(true)),
        case("policy", "bob", ask(hello(), false), 403, None),
        case("model", "limited", ask(hello(), false), 404, None),
        case("variables", "alice", ask(wrong, false), 400, None),
    ];
    let (mut calls, mut errors) = (0, 0);
    let count = cases.len();
    for (nth, case) in cases.into_iter().enumerate() {
        let what = case.what;
        let status = send(&gateway, case.who, case.request).await;
        assert_eq!(status, case.status, "{what}");
        let line = lines.lock().unwrap().last().unwrap().clone();
        assert!(line.contains(" prompt=translate@1 "), "{what}: {line}");
        assert_eq!(lines.lock().unwrap().len(), nth + 1, "{what}");
        calls += u64::from(case.called.is_some());
        errors += u64::from(case.called == Some(true));
        let results = &registry.results("translate")[0];
        assert_eq!((results.calls, results.errors), (calls, errors), "{what}");
    }
    // Whom nobody asks a model for.
    assert_eq!(
        send(&gateway, "alice", ask(json!({"name": "open"}), false)).await,
        400
    );
    let line = lines.lock().unwrap().last().unwrap().clone();
    assert!(line.contains(" prompt=open@1 "), "{line}");
    // Who hangs up is one that called.
    let mut request = ask(hello(), true);
    let key = "Bearer alice".parse().unwrap();
    request.headers_mut().insert("authorization", key);
    let answer = gateway.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    let results = &registry.results("translate")[0];
    assert_eq!((results.calls, results.errors), (calls + 1, errors));
    let line = lines.lock().unwrap().last().unwrap().clone();
    assert!(line.contains(" prompt=translate@1 "), "{line}");

    let spans = told.closed();
    let of = |name: &str| {
        let name = Some(name);
        let spans = spans.iter();
        let told = spans.filter(|span| span.get("gateway.prompt").map(String::as_str) == name);
        told.count()
    };
    assert_eq!((of("translate@1"), of("open@1")), (count + 1, 1));
}

#[tokio::test]
async fn every_layer_around_the_models_sees_what_is_rendered() {
    let registry = registry().await;
    let vendor = MockVendor::start(Turn::text("Bonjour")).await.unwrap();
    let seen: Arc<Mutex<Vec<(&str, ChatRequest)>>> = Arc::default();
    let layer = |place: &'static str| {
        let seen = seen.clone();
        MapRequestLayer::new(move |request: ChatRequest| {
            seen.lock().unwrap().push((place, request.clone()));
            request
        })
    };
    let gateway = known(gateway(&registry, openai(&vendor)))
        .chat_layer(layer("outermost"))
        .authorize(Policy::new().rule(Rule::allow("all")))
        .chat_layer(layer("innermost"))
        .build()
        .unwrap();
    for dialect in &DIALECTS {
        let more = (dialect.said)("And now?");
        assert_eq!(
            send(&gateway, "alice", dialect.ask(hello(), more, false)).await,
            200
        );
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        let places: Vec<_> = seen.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, ["outermost", "innermost"], "{}", dialect.name);
        for (_, request) in seen {
            let chat = request.chat().unwrap();
            let said: Vec<_> = chat.messages.iter().map(|one| one.all_text()).collect();
            assert_eq!(said, ["Translate for me.", "Text: Hello", "And now?"]);
            assert!(!request.names_prompt() && request.wire().is_none());
            assert_eq!(&**request.model(), "fast");
            let prompted: &Prompted = request.extensions().get().unwrap();
            assert_eq!((&*prompted.name, prompted.version.get()), ("translate", 1));
        }
    }
}

#[tokio::test]
async fn what_an_attempt_has_used_is_told_when_its_repair_breaks_off() {
    let registry = Registry::in_memory();
    let schema = json!({"type": "object", "required": ["mood"]});
    let mood = Prompt::new()
        .model("fast")
        .user("Which mood?")
        .output_schema("mood", schema);
    create(&registry, "mood", mood).await;
    let bad = Turn::text("Good.").usage(Usage::new(30, 20));
    let broken = || Turn::text("{\"mood\":1}").on_wire(|reply| reply.cut_after(40));
    for (second, used) in [
        (broken(), "input_tokens=30 output_tokens=20"),
        (Turn::server_error(), "input_tokens=30 output_tokens=20"),
        (
            Turn::text("{\"mood\":1}").usage(Usage::new(7, 5)),
            "input_tokens=37 output_tokens=25",
        ),
    ] {
        let vendor = Vendor::new(vec![bad.clone(), second])
            .start()
            .await
            .unwrap();
        let (builder, lines) = logged(gateway(&registry, openai(&vendor)));
        let gateway = builder.build().unwrap();
        call(&gateway, post("/prompts/mood", &json!({}))).await;
        assert_eq!(vendor.count(), 2);
        let line = lines.lock().unwrap().last().unwrap().clone();
        assert!(line.contains(used), "{line}");
    }
}
