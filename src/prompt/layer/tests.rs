use super::*;
use crate::{
    Exchange, Extensible, Principal,
    llm::{ChatResponse, Error, Event, Message, Operation, Prompted, Protocol, Usage, Wire},
    prompt::{Actor, Assignment, Change, Prompt, PromptName},
    rejection::Kind,
};
use bytes::Bytes;
use serde_json::json;
use std::{
    future::{pending, poll_fn},
    num::NonZeroU32,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
    time::Duration,
};
use tokio_test::{assert_pending, task};
use tower_service::Service;

/// What came to a model, and how it answers.
#[derive(Clone)]
struct Model {
    seen: Arc<Mutex<Vec<ChatRequest>>>,
    how: How,
}

#[derive(Clone, Copy)]
enum How {
    Answers,
    Fails,
    Hangs,
}

impl Model {
    fn new(how: How) -> Self {
        let seen = Arc::default();
        Self { seen, how }
    }

    fn last(&self) -> ChatRequest {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

impl Service<ChatRequest> for Model {
    type Response = ChatResponse;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<ChatResponse, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ChatRequest) -> Self::Future {
        self.seen.lock().unwrap().push(request);
        let how = self.how;
        Box::pin(async move {
            match how {
                How::Answers => Ok(answer()),
                How::Fails => Err(Kind::UpstreamOverloaded.into()),
                How::Hangs => pending().await,
            }
        })
    }
}

struct Once(Option<Event>);

impl futures_core::Stream for Once {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

fn answer() -> ChatResponse {
    ChatResponse::from_events(Once(Some(Event::Usage(Usage::new(30, 20)))))
}

async fn over(mut answer: ChatResponse) {
    while poll_fn(|cx| answer.poll_batch(cx)).await.is_some() {}
}

fn greet(word: &str) -> Prompt {
    Prompt::new()
        .model("fast")
        .system(format!("{word} {{{{ who }}}}."))
        .variable("who", json!({"type": "string"}))
}

async fn registry() -> Registry {
    let registry = Registry::in_memory();
    let code = Actor::code("test");
    for word in ["Greet", "Welcome"] {
        registry
            .create(&code, "greet", greet(word), Change::new())
            .await
            .unwrap();
    }
    let to = Some(Assignment::to(NonZeroU32::MIN));
    registry
        .move_label(&code, "greet", "production", to, Change::new())
        .await
        .unwrap();
    registry
}

fn call() -> Call {
    Call::new(PromptName::new("greet").unwrap()).variable("who", json!("Ada"))
}

fn named(call: Call) -> ChatRequest {
    let mut request = ChatRequest::new();
    request.extensions_mut().insert(call);
    request
}

#[tokio::test]
async fn a_request_without_a_prompt_passes_as_it_came() {
    let model = Model::new(How::Answers);
    let mut service = PromptLayer::new(registry().await).layer(model.clone());
    let bytes = Bytes::from_static(br#"{"model":"m","messages":[],"prompt":"Once upon"}"#);
    let wire = Wire::new(Protocol::OpenAi, bytes.clone());
    let request = ChatRequest::from_wire(Operation::Chat, "m", false, true, wire);
    let answer = service.call(request).await.unwrap();
    assert!(answer.headers().is_empty());
    let seen = model.last();
    assert_eq!(seen.wire().unwrap().bytes.as_ptr(), bytes.as_ptr());
    assert_eq!((&**seen.model(), seen.extensions().len()), ("m", 0));
}

#[tokio::test]
async fn a_call_in_code_is_rendered_before_what_the_request_says() {
    let registry = registry().await;
    let model = Model::new(How::Answers);
    let mut service = PromptLayer::new(registry.clone()).layer(model.clone());
    let mut request = named(call()).user("Hello");
    let exchange = Exchange::enter(&mut request);
    let answer = service.call(request).await.unwrap();
    assert_eq!(answer.headers()["x-gateway-prompt"], "greet@1");
    let prompted = answer.extensions().get::<Prompted>().unwrap().clone();
    assert_eq!((&*prompted.name, prompted.version.get()), ("greet", 1));
    assert_eq!(prompted.label.as_deref(), Some("production"));
    assert_eq!(exchange.facts().prompt.as_deref(), Some("greet@1"));

    let seen = model.last();
    assert_eq!(&**seen.model(), "fast");
    let said = &seen.chat().unwrap().messages;
    let said: Vec<_> = said.iter().map(Message::all_text).collect();
    assert_eq!(said, ["Greet Ada.", "Hello"]);
    assert_eq!(seen.extensions().get(), Some(&prompted));
    assert!(seen.extensions().get::<Call>().is_none());

    over(answer).await;
    let results = &registry.results("greet")[0];
    assert_eq!((results.calls, results.errors), (1, 0));
    assert_eq!((results.input_tokens, results.output_tokens), (30, 20));
}

#[tokio::test]
async fn what_a_version_did_is_counted_wherever_the_layer_was_applied() {
    let registry = registry().await;
    let layer = PromptLayer::new(registry.clone());
    for how in [How::Answers, How::Answers, How::Fails] {
        let mut service = layer.clone().layer(Model::new(how));
        if let Ok(answer) = service.call(named(call())).await {
            over(answer).await;
        }
    }
    let results = &registry.results("greet")[0];
    assert_eq!((results.calls, results.errors), (3, 1));
    assert_eq!(results.error_codes, [("upstream_overloaded", 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_counted_once_and_is_no_error() {
    let registry = registry().await;
    let layer = PromptLayer::new(registry.clone());
    // Before there is an answer.
    let mut hangs = task::spawn(layer.layer(Model::new(How::Hangs)).call(named(call())));
    assert_pending!(hangs.poll());
    tokio::time::advance(Duration::from_secs(2)).await;
    drop(hangs);
    // And after.
    let answers = layer.layer(Model::new(How::Answers)).call(named(call()));
    drop(answers.await.unwrap());
    // What never began is none.
    drop(layer.layer(Model::new(How::Answers)).call(named(call())));
    let results = &registry.results("greet")[0];
    assert_eq!((results.calls, results.errors), (2, 0));
    assert_eq!(results.mean_latency, Duration::from_secs(1));
}

#[tokio::test]
async fn the_price_is_that_of_the_model_which_was_called() {
    use crate::llm::catalog::{ModelFacts, Rate, Rates};
    let registry = registry().await;
    let rate = |dollars: &str| dollars.parse::<Rate>().unwrap();
    let facts = ModelFacts::new("lab", "m-1").price(Rates::new(rate("1"), rate("2")));
    let layer = PromptLayer::new(registry.clone()).catalog(Catalog::empty().with(facts));
    let mut request = named(call());
    let exchange = Exchange::enter(&mut request);
    exchange.update(|facts| {
        facts.upstream = Some("lab".into());
        facts.upstream_model = Some("m-1".into());
    });
    let answer = layer.layer(Model::new(How::Answers)).call(request).await;
    over(answer.unwrap()).await;
    // 30 of 1 $ and 20 of 2 $ for a million.
    assert_eq!(registry.results("greet")[0].price, 70_000_000);
}

#[tokio::test]
async fn the_model_is_the_one_of_the_request_or_else_of_the_prompt() {
    let registry = registry().await;
    let nobody = Prompt::new().user("Hello");
    let code = Actor::code("test");
    let created = registry.create(&code, "open", nobody, Change::new());
    created.await.unwrap();
    let ask = async |layer: PromptLayer, model: &str, call: Call, who: Option<Principal>| {
        let service = Model::new(How::Answers);
        let mut request = named(call).for_model(model);
        if let Some(who) = who {
            request.extensions_mut().insert(who);
        }
        let answer = layer.layer(service.clone()).call(request).await;
        answer
            .map(|_| service.last().model().to_string())
            .map_err(|error| error.kind())
    };
    let layer = PromptLayer::new(registry).unless_said(At::Latest);
    let plain = async |model, call| ask(layer.clone(), model, call, None).await;
    assert_eq!(plain("own", call()).await.unwrap(), "own");
    assert_eq!(plain("", call()).await.unwrap(), "fast");
    assert_eq!(plain("-", call()).await.unwrap(), "fast");
    let open = || Call::new(PromptName::new("open").unwrap());
    assert_eq!(plain("own", open()).await.unwrap(), "own");
    assert_eq!(plain("-", open()).await, Err(Kind::InvalidRequest));

    let locked = layer.clone().locked(|version| &**version.name() == "greet");
    assert_eq!(
        ask(locked.clone(), "own", call(), None).await.unwrap(),
        "fast"
    );
    assert_eq!(ask(locked, "own", open(), None).await.unwrap(), "own");

    let may = |models: [&'static str; 1]| Some(Principal::new("alice").with_models(models));
    let refused = ask(layer.clone(), "", call(), may(["slow"])).await;
    assert_eq!(refused, Err(Kind::ModelNotFound));
    assert!(ask(layer, "", call(), may(["fa*"])).await.is_ok());
}

#[tokio::test]
async fn whoever_names_a_version_in_a_body_needs_the_scope_and_code_does_not() {
    let layer = PromptLayer::new(registry().await).choice_scope("prompts:choose");
    let ask = async |request: ChatRequest, scopes: &[&'static str]| {
        let mut request = request;
        let exchange = Exchange::enter(&mut request);
        let who = Principal::new("alice").with_scopes(scopes.iter().copied());
        request.extensions_mut().insert(who);
        let answer = layer.layer(Model::new(How::Answers)).call(request).await;
        let answer = answer.map_err(|error| error.rejection().into_owned());
        (answer, exchange.facts().prompt)
    };
    let said = |at: serde_json::Value| {
        let mut request = ChatRequest::new();
        let mut prompt = json!({"name": "greet", "variables": {"who": "Ada"}});
        if let (Some(prompt), Some(at)) = (prompt.as_object_mut(), at.as_object()) {
            prompt.extend(at.clone());
        }
        let chat = request.chat_mut().unwrap();
        chat.extra.insert("prompt".into(), prompt);
        request
    };
    for (at, place) in [
        (json!({"version": 2}), "/prompt/version"),
        (json!({"label": "latest"}), "/prompt/label"),
    ] {
        let (refused, prompt) = ask(said(at.clone()), &["other"]).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), Kind::Forbidden);
        assert_eq!((refused.param(), prompt), (Some(place), None));
        let (answer, prompt) = ask(said(at), &["prompts:choose"]).await;
        assert!(answer.is_ok());
        assert_eq!(prompt.as_deref(), Some("greet@2"));
    }
    assert!(ask(said(json!({})), &[]).await.0.is_ok());
    assert!(ask(named(call().at(At::Latest)), &[]).await.0.is_ok());
}

#[tokio::test]
async fn who_calls_stays_with_a_version_as_it_grows() {
    let registry = registry().await;
    let (one, two) = (NonZeroU32::MIN, NonZeroU32::new(2).unwrap());
    let split = async |second| {
        let shares = Assignment::split([(one, 10_000 - second), (two, second)]).unwrap();
        let code = Actor::code("test");
        let moved = registry.move_label(&code, "greet", "test", Some(shares), Change::new());
        moved.await.unwrap();
    };
    let layer = PromptLayer::new(registry.clone());
    let version = async |request: ChatRequest| {
        let mut service = layer.layer(Model::new(How::Answers));
        let answer = service.call(request).await.unwrap();
        answer.extensions().get::<Prompted>().unwrap().version
    };
    let at = At::Label(LabelName::new("test").unwrap());
    let by_principal = async |nth: usize| {
        let mut request = named(call().at(at.clone()));
        let who = Principal::new(format!("caller-{nth}"));
        request.extensions_mut().insert(who);
        version(request).await
    };
    split(3_000).await;
    let mut before = Vec::new();
    for nth in 0..200 {
        before.push(by_principal(nth).await);
        assert_eq!(by_principal(nth).await, before[nth]);
    }
    let second = before.iter().filter(|&&version| version == two).count();
    assert!((35..85).contains(&second), "{second}");
    split(6_000).await;
    for (nth, &version) in before.iter().enumerate() {
        let now = by_principal(nth).await;
        assert!(version == one || now == two);
    }
    // Who has no name is known by the user.
    for nth in 0..20 {
        let user = format!("user-{nth}");
        let request = || {
            let mut request = named(call().at(at.clone()));
            let chat = request.chat_mut().unwrap();
            chat.extra.insert("user".into(), user.clone().into());
            request
        };
        assert_eq!(version(request()).await, version(request()).await);
    }
    // Or by what the operator says.
    let layer = layer.clone().sticky_by(|_, _| Some("all".into()));
    let mut seen = std::collections::HashSet::new();
    for nth in 0..20 {
        let mut request = named(call().at(at.clone()));
        request
            .extensions_mut()
            .insert(Principal::new(format!("caller-{nth}")));
        let answer = layer.layer(Model::new(How::Answers)).call(request).await;
        let answer = answer.unwrap();
        seen.insert(answer.headers()["x-gateway-prompt"].clone());
    }
    assert_eq!(seen.len(), 1);
}

#[tokio::test]
async fn a_score_is_of_the_version_that_was_called() {
    let registry = registry().await;
    let layer = PromptLayer::new(registry.clone());
    let alice = Principal::new("alice");
    let mut request = named(call());
    request.extensions_mut().insert(alice.clone());
    let answer = layer.layer(Model::new(How::Answers)).call(request).await;
    let answer = answer.unwrap();
    let id = answer.headers()["x-gateway-prompt-call"].to_str().unwrap();
    let scores = layer.scores();
    scores.score(Some(&alice), id, "helpful", 1.0).unwrap();
    let bob = Principal::new("bob");
    let refused = scores.score(Some(&bob), id, "helpful", 0.0).unwrap_err();
    assert_eq!(refused.kind(), Kind::PromptNotFound);
    let refused = scores.score(Some(&alice), id, "helpful", f64::NAN);
    assert_eq!(refused.unwrap_err().kind(), Kind::InvalidRequest);
    let given = &registry.results("greet")[0].scores[0];
    assert_eq!((&*given.name, given.count, given.mean), ("helpful", 1, 1.0));
}

#[test]
fn what_is_wrong_with_the_field_has_a_place() {
    let wrong = [
        (json!({}), Kind::InvalidRequest, "/prompt/name"),
        (json!({"name": 7}), Kind::InvalidRequest, "/prompt/name"),
        (json!({"name": "A b"}), Kind::PromptNotFound, "/prompt/name"),
        (json!({"id": "../a"}), Kind::PromptNotFound, "/prompt/id"),
        (
            json!({"id": "a", "name": "a"}),
            Kind::InvalidRequest,
            "/prompt/id",
        ),
        (
            json!({"name": "a", "version": 0}),
            Kind::InvalidRequest,
            "/prompt/version",
        ),
        (
            json!({"name": "a", "version": "0"}),
            Kind::InvalidRequest,
            "/prompt/version",
        ),
        (
            json!({"name": "a", "version": ""}),
            Kind::InvalidRequest,
            "/prompt/version",
        ),
        (
            json!({"name": "a", "version": -1}),
            Kind::InvalidRequest,
            "/prompt/version",
        ),
        (
            json!({"name": "a", "version": 1e30}),
            Kind::InvalidRequest,
            "/prompt/version",
        ),
        (
            json!({"name": "a", "version": [1]}),
            Kind::InvalidRequest,
            "/prompt/version",
        ),
        (
            json!({"name": "a", "label": 1}),
            Kind::InvalidRequest,
            "/prompt/label",
        ),
        (
            json!({"name": "a", "label": "A"}),
            Kind::PromptNotFound,
            "/prompt/label",
        ),
        (
            json!({"name": "a", "label": "b", "version": 1}),
            Kind::InvalidRequest,
            "/prompt/label",
        ),
        (
            json!({"name": "a", "variables": []}),
            Kind::InvalidRequest,
            "/prompt/variables",
        ),
        (
            json!({"name": "a", "a/b~": 1}),
            Kind::InvalidRequest,
            "/prompt/a~1b~0",
        ),
    ];
    for (named, kind, place) in wrong {
        let refused = Call::read(named.clone()).unwrap_err();
        assert_eq!(
            (refused.kind(), refused.param()),
            (kind, Some(place)),
            "{named}"
        );
    }
    let at = |named| Call::read(named).unwrap().at;
    let two = Some(At::Version(NonZeroU32::new(2).unwrap()));
    assert_eq!(at(json!({"id": "a", "version": "2"})), two);
    assert_eq!(at(json!({"name": "a", "version": 2, "label": null})), two);
    let staging = Some(At::Label(LabelName::new("staging").unwrap()));
    assert_eq!(at(json!({"id": "a", "version": "staging"})), staging);
    assert_eq!(at(json!({"id": "a", "label": "staging"})), staging);
    assert_eq!(at(json!({"id": "a", "label": "latest"})), Some(At::Latest));
    assert_eq!(at(json!({"id": "a"})), None);
}
