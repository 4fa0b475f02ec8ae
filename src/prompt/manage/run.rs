//! Versions are run against a test set, and compared.

use super::{
    Settings,
    change::{number, read, variables},
    failed::Failed,
    name,
    told::milliseconds,
};
use crate::{
    Exchange, Extensible as _, Principal, Rejection,
    llm::{ChatRequest, ChatResponse, Completion, Error, Prompted, Usage},
    principal::Carried,
    prompt::{
        At, Fault, Found, Variables,
        endpoints::{Noted, answered, refusal},
        form::{Faults, Fields},
    },
    rejection::Kind,
};
use http::{Extensions, HeaderMap, request::Parts};
use serde_json::{Value, json};
use std::{collections::VecDeque, future::poll_fn, num::NonZeroU32, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tower_service::Service;

/// How many models are asked at the same time.
const AT_ONCE: usize = 4;

/// How many versions are compared at the most.
const MOST_VERSIONS: usize = 2;

/// As much of an answer is told, in bytes.
const MOST_TOLD: usize = 16 << 10;

/// One question.
struct Case {
    name: Option<String>,
    variables: Variables,
    expect: Option<Expect>,
}

/// What is expected of an answer.
enum Expect {
    Text(String),
    Contains(String),
    Output(Value),
}

/// What is to be run.
pub(super) struct Plan {
    versions: Vec<(Found, Arc<str>)>,
    cases: Arc<[Case]>,
}

/// How a case went.
struct Ran {
    answer: Result<Value, Rejection>,
    usage: Option<Usage>,
    took: Duration,
}

impl Settings {
    pub(super) async fn plan(
        &self,
        principal: &Principal,
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
            if !principal.may_use_model(&model) {
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

fn case(value: &Value, at: &str, faults: &Faults) -> Option<Case> {
    let mut fields = Fields::new(faults.object(value, at)?, at, faults);
    let name = fields.text("name");
    let variables = variables(&mut fields, faults)?;
    let expect = fields.one("expect", |value, at| {
        let mut fields = Fields::new(faults.object(value, at)?, at, faults);
        let text = fields.text("text").map(Expect::Text);
        let contains = fields.text("contains").map(Expect::Contains);
        let output = fields.value("output").map(Expect::Output);
        fields.finish();
        let mut all = [text, contains, output].into_iter().flatten();
        match (all.next(), all.next()) {
            (Some(only), None) => Some(only),
            _ => faults.add(at, "Expected one of `text`, `contains` and `output`."),
        }
    });
    fields.finish();
    Some(Case {
        name,
        variables,
        expect,
    })
}

impl Expect {
    fn holds(&self, answer: &Value) -> bool {
        match self {
            Self::Text(text) => answer.get("text").is_some_and(|said| said == text),
            Self::Contains(text) => match (answer.get("text"), answer.get("output")) {
                (Some(Value::String(said)), _) => said.contains(&**text),
                (_, Some(said)) => said.to_string().contains(&**text),
                _ => false,
            },
            Self::Output(output) => answer.get("output") == Some(output),
        }
    }
}

impl Plan {
    /// Asks each case once of each version, and tells how that went.
    pub(super) async fn run<S>(self, chat: S, parts: &Parts, deadline: Duration) -> Value
    where
        S: Service<ChatRequest, Response = ChatResponse, Error = Error> + Clone + Send + 'static,
        S::Future: Send,
    {
        let until = Instant::now() + deadline.min(Duration::from_secs(24 * 60 * 60));
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
                let carried = carried(&parts.headers, &parts.extensions);
                running.spawn(async move {
                    let ran = ask(chat, &found, &model, &cases[case].variables, carried).await;
                    (version, case, ran)
                });
            }
            match timeout_at(until, running.join_next()).await {
                Ok(Some(Ok((version, case, done)))) => ran[version][case] = Some(done),
                // A service that panics has no answer.
                Ok(Some(Err(_))) => {}
                Ok(None) | Err(_) => break,
            }
        }
        let is_late = Instant::now() >= until;
        running.shutdown().await;
        self.told(&ran, is_late)
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

/// What the cases of a version come to.
#[derive(Default)]
struct Sums {
    errors: u64,
    passed: u64,
    failed: u64,
    input: u64,
    output: u64,
    took: Duration,
    longest: Duration,
    calls: u32,
}

impl Sums {
    fn case(&mut self, case: &Case, ran: Option<&Ran>, missing: &Rejection) -> Value {
        let mut told = json!({});
        if let Some(name) = &case.name {
            told["name"] = name.as_str().into();
        }
        let answer = ran.map_or(Err(missing), |ran| ran.answer.as_ref());
        let passed = match (&case.expect, answer) {
            (None, _) => None,
            (Some(expect), Ok(answer)) => Some(expect.holds(answer)),
            (Some(_), Err(_)) => Some(false),
        };
        match passed {
            None => {}
            Some(true) => self.passed += 1,
            Some(false) => self.failed += 1,
        }
        if let Some(passed) = passed {
            told["passed"] = passed.into();
        }
        if let Some(ran) = ran {
            self.calls += 1;
            self.took += ran.took;
            self.longest = self.longest.max(ran.took);
            told["latency_ms"] = milliseconds(ran.took).into();
            if let Some(usage) = ran.usage {
                self.input = self.input.saturating_add(usage.input);
                self.output = self.output.saturating_add(usage.output);
            }
        }
        match answer {
            Ok(answer) => told["answer"] = shortened(answer),
            Err(rejection) => {
                self.errors += 1;
                let mut error = json!({
                    "code": rejection.kind().code(),
                    "detail": rejection.message(),
                });
                if !rejection.faults().is_empty() {
                    let all = rejection.faults().iter();
                    let all =
                        all.map(|fault| json!({"param": &*fault.param, "detail": fault.detail}));
                    error["errors"] = all.collect();
                }
                told["error"] = error;
            }
        }
        told
    }

    fn told(&self, version: NonZeroU32, model: &str, cases: &[Value]) -> Value {
        let mean = self.took.checked_div(self.calls).unwrap_or_default();
        json!({
            "version": version,
            "model": model,
            "calls": self.calls,
            "errors": self.errors,
            "passed": self.passed,
            "failed": self.failed,
            "input_tokens": self.input,
            "output_tokens": self.output,
            "latency_ms": {"mean": milliseconds(mean), "max": milliseconds(self.longest)},
            "cases": cases,
        })
    }
}

/// An answer that has room in a report.
fn shortened(answer: &Value) -> Value {
    let mut told = answer.clone();
    for field in ["text", "output"] {
        let text = match answer.get(field) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => continue,
        };
        if text.len() > MOST_TOLD {
            told[field] = text[..text.floor_char_boundary(MOST_TOLD)].into();
            told["cut"] = true.into();
        }
    }
    told
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
    carried: Carried,
) -> Ran
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error>,
{
    let began = Instant::now();
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
        took: began.elapsed(),
    }
}
