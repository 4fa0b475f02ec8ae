//! Versions are run against a test set, and compared.

use super::{
    Manage, Settings,
    change::{number, read},
    expect::{Case, case},
    failed::Failed,
    name,
    report::Sums,
};
use crate::{
    Exchange, Extensible as _, Principal, Rejection,
    llm::{ChatRequest, ChatResponse, Completion, Error, Prompted, Usage},
    principal::Carried,
    prompt::{
        At, Fault, Found, Variables,
        endpoints::{Noted, answered, refusal, sum},
        price::price,
    },
    rejection::Kind,
};
use http::{Extensions, HeaderMap};
use serde_json::{Value, json};
use std::{collections::VecDeque, future::poll_fn, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tower_service::Service;

/// How many models are asked at the same time.
const AT_ONCE: usize = 4;

/// How many versions are compared at the most.
const MOST_VERSIONS: usize = 2;

/// What is to be run.
pub(super) struct Plan {
    versions: Vec<(Found, Arc<str>)>,
    cases: Arc<[Case]>,
}

/// How a case went.
pub(super) struct Ran {
    pub(super) answer: Result<Value, Rejection>,
    pub(super) usage: Option<Usage>,
    /// In 10⁻¹² US dollars.
    pub(super) price: Option<i128>,
    pub(super) took: Duration,
    /// What became known of its call.
    exchange: Exchange,
}

impl Ran {
    /// What it adds to what is known of the whole run.
    fn tell(&self, run: &Exchange) {
        let own = self.exchange.facts();
        run.update(|facts| {
            facts.usage = sum(facts.usage, self.usage);
            facts.attempts = facts.attempts.saturating_add(own.attempts);
            facts.model = own.model.or(facts.model.take());
            facts.upstream = own.upstream.or(facts.upstream.take());
            facts.upstream_model = own.upstream_model.or(facts.upstream_model.take());
        });
    }
}

impl Settings {
    pub(super) async fn plan(
        &self,
        principal: Option<&Principal>,
        asked: &str,
        body: &Value,
    ) -> Result<Plan, Failed> {
        let name = name(asked)?;
        let (numbers, cases, model) = read(body, |fields, faults| {
            let numbers = fields.list("versions", |value, at| number(value, at, faults));
            let cases = fields.list("cases", |value, at| case(value, at, faults));
            let model = fields.text("model");
            if numbers.is_empty() || numbers.len() > MOST_VERSIONS {
                faults.note(Fault::new(
                    "/versions",
                    "Expected the numbers of one version or two.",
                ));
            }
            if numbers.len() == 2 && numbers.first() == numbers.last() {
                faults.note(Fault::new("/versions", "A version is named twice."));
            }
            if cases.is_empty() {
                faults.note(Fault::new("/cases", "Expected one case at least."));
            }
            if cases.len() > self.most_cases {
                faults.note(Fault::new(
                    "/cases",
                    "There are more cases than a run may have.",
                ));
            }
            Some((numbers, cases, model))
        })?;
        let mut versions = Vec::new();
        for number in numbers {
            let found = self
                .registry
                .find::<str>(&name, &At::Version(number), None)
                .await?;
            let own = found.version.model().or(self.model.as_ref()).cloned();
            let model = model.as_deref().map(Arc::from).or(own);
            let model = model.ok_or_else(|| {
                let rejection = Rejection::new(Kind::InvalidRequest).with_param("/model");
                rejection.with_detail("The prompt names no model.")
            })?;
            if principal.is_some_and(|who| !who.may_use_model(&model)) {
                return Err(Rejection::new(Kind::ModelNotFound)
                    .with_param("/model")
                    .into());
            }
            versions.push((found, model));
        }
        Ok(Plan {
            versions,
            cases: cases.into(),
        })
    }
}

impl<S> Manage<S>
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    /// The same [in code](super#runs): runs versions of a prompt against a test set, both of which stand in a body
    /// of `POST …/{name}/runs`, and gives its answer. Nobody's rights are looked at, nor is a scope.
    ///
    /// ```
    /// use serde_json::json;
    /// use tower_gateway::llm::Simulator;
    /// use tower_gateway::prompt::{Actor, Change, Prompt, Registry, manage::Manage};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let registry = Registry::in_memory();
    /// for text in ["Say {{ word }}.", "Do say {{ word }}."] {
    ///     let prompt = Prompt::new().user(text).variable("word", json!({"type": "string"}));
    ///     registry.create(&Actor::code("tests"), "echo", prompt, Change::new()).await?;
    /// }
    /// let manage = Manage::new(registry).chat(Simulator::new()).model("sim-chat");
    /// let cases = json!([{"variables": {"word": "hello"}, "expect": {"contains": "hello"}}]);
    /// let told = manage.run("echo", &json!({"versions": [1, 2], "cases": cases})).await?;
    /// assert_eq!((&told["versions"][0]["passed"], &told["versions"][1]["passed"]), (&json!(1), &json!(1)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As over HTTP: 400 with what is wrong and where, 404, 503.
    pub async fn run(&self, name: &str, run: &Value) -> Result<Value, Rejection> {
        let plan = self.settings.plan(None, name, run).await?;
        let (headers, extensions) = (HeaderMap::new(), Extensions::new());
        let told = plan.run(self.chat.clone(), &headers, &extensions, &self.settings);
        Ok(told.await)
    }
}

impl Plan {
    /// Asks each case once of each version, and tells how that went.
    pub(super) async fn run<S>(
        self,
        chat: S,
        headers: &HeaderMap,
        extensions: &Extensions,
        settings: &Settings,
    ) -> Value
    where
        S: Service<ChatRequest, Response = ChatResponse, Error = Error> + Clone + Send + 'static,
        S::Future: Send,
    {
        let until = Instant::now() + settings.deadline.min(Duration::from_secs(24 * 60 * 60));
        let exchange = extensions.get::<Exchange>();
        if let Some(exchange) = exchange {
            exchange.update(|facts| facts.prompt = self.tag());
        }
        let mut ran: Vec<Vec<Option<Ran>>> = self
            .versions
            .iter()
            .map(|_| self.cases.iter().map(|_| None).collect())
            .collect();
        // Case by case: so of two versions neither has the better time of day.
        let mut waiting: VecDeque<_> = (0..self.cases.len())
            .flat_map(|case| (0..self.versions.len()).map(move |version| (version, case)))
            .collect();
        let mut running = JoinSet::new();
        loop {
            while running.len() < AT_ONCE
                && let Some((version, case)) = waiting.pop_front()
            {
                let (found, model) = self.versions[version].clone();
                let (cases, chat) = (self.cases.clone(), chat.clone());
                let carried = carried(headers, extensions);
                let catalog = settings.catalog.clone();
                running.spawn(async move {
                    let mut ran = ask(chat, &found, &model, &cases[case].variables, carried).await;
                    let cost = |usage| price(&ran.exchange, &usage, catalog.as_ref());
                    ran.price = ran.usage.and_then(cost);
                    (version, case, ran)
                });
            }
            match timeout_at(until, running.join_next()).await {
                Ok(Some(Ok((version, case, done)))) => {
                    if let Some(exchange) = exchange {
                        done.tell(exchange);
                    }
                    ran[version][case] = Some(done);
                }
                // A service that panics has no answer.
                Ok(Some(Err(_))) => {}
                Ok(None) | Err(_) => break,
            }
        }
        let is_late = Instant::now() >= until;
        running.shutdown().await;
        self.told(&ran, is_late)
    }

    /// The prompt, and the version if it is one.
    fn tag(&self) -> Option<Arc<str>> {
        Some(match &*self.versions {
            [(only, _)] => tag(only),
            several => several.first()?.0.version.name().as_arc().clone(),
        })
    }

    fn told(&self, ran: &[Vec<Option<Ran>>], is_late: bool) -> Value {
        let missing: Rejection = match is_late {
            true => Kind::Timeout.into(),
            false => Kind::Internal.into(),
        };
        let versions = self.versions.iter().zip(ran).map(|((found, model), ran)| {
            let mut sums = Sums::default();
            let cases: Vec<_> = self
                .cases
                .iter()
                .zip(ran)
                .map(|(case, ran)| sums.case(case, ran.as_ref(), &missing))
                .collect();
            sums.told(found.version.number(), model, &cases)
        });
        json!({"versions": versions.collect::<Vec<_>>()})
    }
}

/// `name@version`
fn tag(found: &Found) -> Arc<str> {
    let version = &found.version;
    format!("{}@{}", version.name(), version.number()).into()
}

/// What goes along with each call: the caller, and an exchange of its own.
fn carried(headers: &HeaderMap, extensions: &Extensions) -> Carried {
    let mut extensions = extensions.clone();
    let exchange = Exchange::new();
    if let Some(outer) = extensions.get::<Exchange>() {
        let route = outer.read(|facts| facts.route.clone());
        exchange.update(|facts| facts.route = route);
    }
    extensions.insert(exchange);
    Carried {
        headers: headers.clone(),
        extensions,
    }
}

/// What the model is asked: rendered here, so that it is no call of the prompt.
fn request(
    found: &Found,
    variables: &Variables,
    model: &Arc<str>,
    carried: Carried,
) -> Result<ChatRequest, Rejection> {
    let version = &found.version;
    let rendered = version.render(variables)?;
    let mut request = ChatRequest::new().for_model(model).with_carried(carried);
    *request.chat_mut()? = rendered;
    let exchange = Exchange::enter(&mut request);
    exchange.update(|facts| facts.prompt = Some(tag(found)));
    let name = version.name().as_arc().clone();
    let prompted = Prompted::new(name, version.number(), None, model.clone());
    request.extensions_mut().insert(prompted);
    Ok(request)
}

async fn ask<S>(
    mut chat: S,
    found: &Found,
    model: &Arc<str>,
    variables: &Variables,
    mut carried: Carried,
) -> Ran
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error>,
{
    let began = Instant::now();
    let exchange = carried.extensions.get_or_insert_with(Exchange::new).clone();
    let mut usage = None;
    let answer = async {
        let request = request(found, variables, model, carried)?.whole();
        let answer: Result<Completion, Error> = async {
            poll_fn(|cx| chat.poll_ready(cx)).await?;
            chat.call(request).await?.completion().await
        }
        .await;
        let completion = answer.map_err(|error| refusal(&error))?;
        usage = completion.usage;
        let noted = Noted { usage, attempts: 1 };
        answered(found, &completion, &noted).map_err(|flaw| flaw.into_rejection())
    };
    let answer = answer.await;
    Ran {
        answer,
        usage,
        price: None,
        took: began.elapsed(),
        exchange,
    }
}
