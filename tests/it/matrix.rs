//! Clients of every dialect over vendors of every protocol: what a client asks arrives, and what a
//! vendor answers, whatever lies between them.
//!
//! One table of [scenarios](scenarios) states what is meant. Each dialect and each protocol has a
//! reader and a writer of its own in these files, which share nothing with the codecs of the crate:
//! both ends of the wire are judged by somebody else. A dialect, or a protocol, joins with one line.

mod anthropic;
mod bedrock;
mod cohere;
mod custom;
mod fields;
mod gemini;
mod meaning;
mod ollama;
mod openai;
mod responses;
mod scenarios;

use self::meaning::{Answer, Ask, Failed, Fault, Said, Turn, Used};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::Value;
use std::panic;
use tower::ServiceExt;
use tower_gateway::{
    Body, collect,
    llm::{Provider, serve::Serve},
    testing::{MockVendor, Recorded},
};

const KEY: &str = "sk-0123456789-canary";

/// What a dialect, or a protocol, has a word for, of what is used.
#[derive(Clone, Copy)]
struct Tells {
    cache_read: bool,
    cache_write: bool,
    thoughts: bool,
    /// The words of a refusal.
    refusal: bool,
}

/// How clients speak.
struct Dialect {
    name: &'static str,
    tells: Tells,
    /// What it has words for, of what is asked.
    says: fn(Ask) -> Ask,
    /// The path and the body of a request to this model, streamed or not.
    write: fn(&Ask, model: &str, stream: bool) -> (String, Value),
    read: fn(&Response<Bytes>, stream: bool) -> Result<Answer, Failed>,
    /// The status and the name of an error.
    fault: fn(Fault) -> (u16, &'static str),
}

/// How vendors speak.
struct Protocol {
    name: &'static str,
    /// A model of theirs, and one that thinks.
    models: [&'static str; 2],
    tells: Tells,
    /// It can say that an answer was held back.
    refuses: bool,
    provider: fn(&MockVendor) -> Provider,
    /// What of a request arrives, and whether it is less than was asked.
    hears: fn(Ask) -> (Ask, bool),
    asked: fn(&Recorded) -> Ask,
}

fn dialects() -> Vec<Dialect> {
    vec![
        openai::dialect(),
        responses::dialect(),
        anthropic::dialect(),
        gemini::dialect(),
    ]
}

fn protocols() -> Vec<Protocol> {
    vec![
        openai::protocol(),
        responses::protocol(),
        anthropic::protocol(),
        gemini::protocol(),
        bedrock::protocol(),
        cohere::protocol(),
        ollama::protocol(),
    ]
}

async fn call(provider: Provider, (path, body): (String, Value)) -> Response<Bytes> {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let serve = Serve::new(provider);
    let (parts, body): (_, Body) = serve.oneshot(request).await.unwrap().into_parts();
    Response::from_parts(parts, collect(body, 1 << 20).await.unwrap())
}

/// What of the truth both have a word for.
fn told(truth: Used, one: Tells, other: Tells) -> Used {
    let of = |count: u64, tells: fn(Tells) -> bool| match tells(one) && tells(other) {
        true => count,
        false => 0,
    };
    Used {
        cache_read: of(truth.cache_read, |tells| tells.cache_read),
        cache_write: of(truth.cache_write, |tells| tells.cache_write),
        thoughts: of(truth.thoughts, |tells| tells.thoughts),
        ..truth
    }
}

/// One place of the matrix: a client, a vendor, and whether it is streamed.
struct Place<'a> {
    dialect: &'a Dialect,
    protocol: &'a Protocol,
    stream: bool,
    faults: Vec<String>,
}

impl Place<'_> {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is compared is made where it is called"
    )]
    fn expect<T: PartialEq + std::fmt::Debug>(
        &mut self,
        scenario: &str,
        what: &str,
        is: T,
        expected: T,
    ) {
        if is != expected {
            let (client, vendor) = (self.dialect.name, self.protocol.name);
            let stream = if self.stream { ", streamed" } else { "" };
            self.faults.push(format!(
                "{scenario}: {client} over {vendor}{stream}: {what}\n     is {is:?}\n  wants {expected:?}"
            ));
        }
    }

    async fn hold(&mut self, scenario: &scenarios::Scenario) {
        let vendor = (scenario.vendor)().start().await.unwrap();
        let model = self.protocol.models[usize::from(scenario.thinks())];
        let model = scenario.model.unwrap_or(model);
        let provider = || (self.protocol.provider)(&vendor);
        let name = scenario.name;
        let ask = (self.dialect.says)(scenario.ask.clone());
        let request = (self.dialect.write)(&ask, model, self.stream);
        let (heard, lossy) = (self.protocol.hears)(ask);
        let answer = call(provider(), request).await;
        if let Some(recorded) = vendor.last().filter(|_| scenario.arrives()) {
            let Ok(asked) = caught(|| (self.protocol.asked)(&recorded).tidy()) else {
                return self.unread(name);
            };
            self.arrived(name, &heard, asked);
        }
        let lost = answer.headers().get("x-gateway-loss");
        let lost = lost.map(|lost| lost.to_str().unwrap().to_owned());
        if scenario.lossless {
            self.expect(
                name,
                &format!("whether {lost:?} is lost"),
                lost.is_some(),
                lossy,
            );
        }
        let Ok(read) = caught(|| (self.dialect.read)(&answer, self.stream)) else {
            return self.unread(name);
        };
        let (mut expected, read) = match (&scenario.expected, read) {
            (Ok(expected), Ok(read)) => (expected.clone(), read),
            (Err(fault), read) => return self.failed(scenario, *fault, &answer, read),
            (Ok(_), Err(failed)) => {
                let body = String::from_utf8_lossy(answer.body()).into_owned();
                return self.expect(
                    name,
                    "the answer",
                    format!("{failed:?} {body}"),
                    "one".to_owned(),
                );
            }
        };
        let (one, other) = (self.dialect.tells, self.protocol.tells);
        expected.used = expected.used.map(|used| told(used, one, other));
        if scenario.in_words && !other.refusal {
            expected.text.clear();
        }
        let used = vendor.truth().last().map(|truth| Used::from(*truth));
        let used = used.map(|used| told(used, one, other));
        self.expect(name, "what was used", read.used, expected.used.or(used));
        self.expect(name, "why it ended", read.end, expected.end);
        self.expect(name, "the text", &read.text, &expected.text);
        self.expect(name, "whether it refuses", read.refused, expected.refused);
        self.expect(name, "the thoughts", &read.thoughts, &expected.thoughts);
        self.expect(name, "the calls", &read.calls, &expected.calls);
        if scenario.goes_on {
            self.go_on(scenario, &vendor, &read).await;
        }
    }

    /// What was read is against the rules of its protocol: it is told above, where it was found.
    fn unread(&mut self, scenario: &str) {
        self.expect(scenario, "the form", "wrong", "right");
    }

    /// What reached the vendor is what the client asked.
    fn arrived(&mut self, name: &str, ask: &Ask, mut asked: Ask) {
        // Some must be told how much to say at the most.
        if ask.most.is_none() {
            asked.most = None;
        }
        self.expect(name, "the system's words", &asked.system, &ask.system);
        self.expect(name, "the turns", &asked.turns, &ask.turns);
        self.expect(name, "the tools", &asked.tools, &ask.tools);
        self.expect(name, "the choice of a tool", &asked.choice, &ask.choice);
        self.expect(name, "the schema", &asked.schema, &ask.schema);
        self.expect(name, "whether to think", asked.thinks, ask.thinks);
        self.expect(name, "the limit", asked.most, ask.most);
        self.expect(name, "the stops", &asked.stop, &ask.stop);
    }

    fn failed(
        &mut self,
        scenario: &scenarios::Scenario,
        fault: Fault,
        answer: &Response<Bytes>,
        read: Result<Answer, Failed>,
    ) {
        let name = scenario.name;
        let Err(failed) = read else {
            return self.expect(name, "the error", format!("{read:?}"), "one".to_owned());
        };
        let (status, kind) = (self.dialect.fault)(fault);
        // In the middle of a stream the head is out.
        let begun = self.stream && fault.is_in_the_middle();
        let status = if begun { 200 } else { status };
        self.expect(name, "the status", answer.status().as_u16(), status);
        self.expect(name, "the name of the error", &*failed.kind, kind);
        self.expect(name, "when to come back", failed.after, fault.after());
        self.expect(
            name,
            "whether something came before",
            !failed.before.is_empty(),
            begun,
        );
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        self.expect(
            name,
            "whether a key is told",
            text.contains("canary"),
            false,
        );
    }

    /// The client sends back what it got, as it got it, and asks on: the vendor gets its own thoughts
    /// again. Another vendor does not.
    async fn go_on(&mut self, scenario: &scenarios::Scenario, vendor: &MockVendor, read: &Answer) {
        let name = scenario.name;
        let mut ask = (self.dialect.says)(scenario.ask.clone());
        ask.turns.push(Turn::Echo(read.turn.clone()));
        ask.turns.push(scenario.next());
        let model = self.protocol.models[1];
        let (path, body) = (self.dialect.write)(&ask, model, self.stream);
        let answer = call((self.protocol.provider)(vendor), (path, body)).await;
        let Ok(again) = caught(|| (self.dialect.read)(&answer, self.stream)) else {
            return self.unread(name);
        };
        self.expect(name, "the second answer", again.is_ok(), true);
        if again.is_err() {
            let body = String::from_utf8_lossy(answer.body()).into_owned();
            return self.expect(name, "the second answer", body, String::new());
        }
        let turn = scenario.answered();
        let place = ask.turns.len() - 2;
        let echo = std::mem::replace(&mut ask.turns[place], turn);
        let heard = (self.protocol.hears)(ask.clone()).0;
        let recorded = vendor.last().unwrap();
        let Ok(asked) = caught(|| (self.protocol.asked)(&recorded).tidy()) else {
            return self.unread(name);
        };
        self.expect(
            name,
            "the turns, with the thought",
            &asked.turns,
            &heard.turns,
        );
        // Nobody else gets it, in whatever form.
        ask.turns[place] = echo;
        for other in protocols() {
            if other.name == self.protocol.name {
                continue;
            }
            let request = (self.dialect.write)(&ask, other.models[1], self.stream);
            let answer = call((other.provider)(vendor), request).await;
            self.expect(name, other.name, answer.status().as_u16(), 200);
            let body = vendor.last().unwrap().body;
            let body = String::from_utf8_lossy(&body).into_owned();
            for trace in [
                "tg1:",
                "dGcxO",
                "bW9jaw==",
                "gAAAAAmock",
                scenarios::THOUGHT,
            ] {
                self.expect(name, other.name, body.contains(trace), false);
            }
            let lost = answer.headers().get("x-gateway-loss");
            self.expect(name, "what is lost elsewhere", lost.is_some(), true);
        }
    }
}

/// One that is wrong does not hide the others.
fn caught<T>(read: impl FnOnce() -> T) -> std::thread::Result<T> {
    panic::catch_unwind(panic::AssertUnwindSafe(read))
}

async fn hold(only: impl Fn(&scenarios::Scenario) -> bool) {
    let (mut count, mut faults) = (0, Vec::new());
    let (dialects, protocols) = (dialects(), protocols());
    for scenario in scenarios::all().iter().filter(|one| only(one)) {
        for dialect in &dialects {
            for protocol in &protocols {
                for stream in [false, true] {
                    let untold = scenario.refuses() && !protocol.refuses;
                    if untold || !stream && scenario.streams_only() {
                        continue;
                    }
                    let mut place = Place {
                        dialect,
                        protocol,
                        stream,
                        faults: Vec::new(),
                    };
                    place.hold(scenario).await;
                    count += 1;
                    faults.append(&mut place.faults);
                }
            }
        }
    }
    println!("matrix: {count} places, {} faults", faults.len());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[tokio::test]
async fn what_is_asked_and_answered_means_the_same_at_both_ends() {
    hold(|scenario| scenario.expected.is_ok() && !scenario.goes_on).await;
}

#[tokio::test]
async fn thoughts_go_back_to_who_had_them_and_to_nobody_else() {
    hold(|scenario| scenario.goes_on).await;
}

#[tokio::test]
async fn errors_have_the_form_that_the_client_knows() {
    hold(|scenario| scenario.expected.is_err()).await;
}

/// The readers of these files would accept what is wrong if they did not look.
#[test]
fn every_scenario_has_a_name_of_its_own() {
    let all = scenarios::all();
    let mut names: Vec<_> = all.iter().map(|scenario| scenario.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len());
    assert_eq!((dialects().len(), protocols().len()), (4, 7));
    let said = |turn: &Turn| match turn {
        Turn::User(said) | Turn::Model(said) => said.len(),
        Turn::Echo(_) => 0,
    };
    let parts: usize = all.iter().flat_map(|one| &one.ask.turns).map(said).sum();
    assert!(parts > all.len());
    assert!(all.iter().any(|one| one.ask.turns.iter().any(|turn| {
        matches!(turn, Turn::User(said) if said.iter().any(|said| matches!(said, Said::Image { .. })))
    })));
}
