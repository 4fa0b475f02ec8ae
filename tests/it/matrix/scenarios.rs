//! The table: what is asked, what the vendor says, and what that means.

use super::meaning::{Answer, Ask, Choice, End, Fault, Said, Tool, Turn, Used};
use serde_json::json;
use std::time::Duration;
use tower_gateway::{
    exchange::Usage,
    testing::{self, Vendor},
};

pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) ask: Ask,
    /// Who answers, in whatever protocol it is asked.
    pub(super) vendor: fn() -> Vendor,
    pub(super) expected: Result<Answer, Fault>,
    /// Every dialect and every protocol has a word for all of it.
    pub(super) lossless: bool,
    /// The client sends the answer back, and asks on.
    pub(super) goes_on: bool,
    /// It is a refusal in words, for which not every vendor has a place.
    pub(super) in_words: bool,
    pub(super) model: Option<&'static str>,
}

pub(super) const THOUGHT: &str = "Hm, hm. Let me see.";
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const ALL_LETTERS: &str = "Grüße, 世界! 👩‍👩‍👧 e\u{301} \u{202e}עברית\u{202c} \u{2028} \"quotes\" \\back\\ \ttab <b>&amp;</b> \u{10ffff}";

impl Scenario {
    fn new(name: &'static str, ask: Ask, vendor: fn() -> Vendor, expected: Answer) -> Self {
        Self {
            name,
            ask,
            vendor,
            expected: Ok(expected),
            lossless: true,
            goes_on: false,
            in_words: false,
            model: None,
        }
    }

    fn fails(name: &'static str, vendor: fn() -> Vendor, fault: Fault) -> Self {
        let mut scenario = Self::new(name, hello(), vendor, Answer::default());
        scenario.expected = Err(fault);
        scenario
    }

    fn lossy(mut self) -> Self {
        self.lossless = false;
        self
    }

    fn in_words(mut self) -> Self {
        self.in_words = true;
        self
    }

    fn goes_on(mut self) -> Self {
        self.goes_on = true;
        self.lossy()
    }

    pub(super) fn thinks(&self) -> bool {
        self.ask.thinks
    }

    /// Whether the vendor is asked at all.
    pub(super) fn arrives(&self) -> bool {
        self.expected.is_ok()
    }

    pub(super) fn streams_only(&self) -> bool {
        self.expected == Err(Fault::Middle)
    }

    pub(super) fn refuses(&self) -> bool {
        matches!(&self.expected, Ok(answer) if answer.refused)
    }

    /// The model's turn that was answered, as the vendor gets it again.
    pub(super) fn answered(&self) -> Turn {
        let Ok(answer) = &self.expected else {
            return Turn::Model(Vec::new());
        };
        let mut said = vec![Said::Thought {
            text: answer.thoughts.clone(),
            proof: "bW9jaw==".to_owned(),
        }];
        if !answer.text.is_empty() {
            said.push(Said::text(&answer.text));
        }
        let calls = answer.calls.iter();
        said.extend(calls.map(|(tool, arguments)| Said::call(tool, arguments.clone())));
        Turn::Model(said)
    }

    /// What the client says next.
    pub(super) fn next(&self) -> Turn {
        let calls = match &self.expected {
            Ok(answer) => &answer.calls[..],
            Err(_) => &[],
        };
        match calls {
            [] => user("And then?"),
            calls => {
                let results = calls.iter().map(|(tool, _)| Said::result(tool, "Done."));
                Turn::User(results.collect())
            }
        }
    }
}

fn user(text: &str) -> Turn {
    Turn::User(vec![Said::text(text)])
}

fn model(text: &str) -> Turn {
    Turn::Model(vec![Said::text(text)])
}

fn hello() -> Ask {
    Ask {
        turns: vec![user("Say hello.")],
        ..Ask::default()
    }
}

fn tools() -> Vec<Tool> {
    let tool = |name: &str, field: &str| Tool {
        name: name.to_owned(),
        description: format!("The {field} somewhere."),
        schema: json!({
            "type": "object", "properties": {field: {"type": "string"}}, "required": [field],
        }),
    };
    vec![tool("get_weather", "city"), tool("get_time", "zone")]
}

fn calls() -> Vec<(String, serde_json::Value)> {
    vec![
        (
            "get_weather".to_owned(),
            json!({"city": "Paris", "days": [1, 2], "deep": {"a": null}}),
        ),
        (
            "get_time".to_owned(),
            json!({"zone": "Europe/Paris \"CET\""}),
        ),
    ]
}

fn says(turn: testing::Turn) -> Vendor {
    Vendor::new(turn).key(super::KEY)
}

fn hello_back() -> Vendor {
    says(testing::Turn::text("Hello, you there."))
}

fn calls_both() -> Vendor {
    says(testing::Turn::tool_calls(calls()))
}

fn said(text: &str) -> Answer {
    Answer {
        text: text.to_owned(),
        end: End::Stop,
        ..Answer::default()
    }
}

fn called() -> Answer {
    Answer {
        calls: calls(),
        end: End::Calls,
        ..Answer::default()
    }
}

fn ended(end: End) -> Answer {
    Answer {
        end,
        ..said("One two")
    }
}

fn schema() -> serde_json::Value {
    json!({
        "type": "object",
        "properties": {"city": {"type": "string"}, "warm": {"type": "boolean"}},
        "required": ["city", "warm"],
        "additionalProperties": false,
    })
}

pub(super) fn all() -> Vec<Scenario> {
    [asks(), ends(), uses(), thoughts(), faults()]
        .into_iter()
        .flatten()
        .collect()
}

/// What is asked.
fn asks() -> Vec<Scenario> {
    let hello_there = || said("Hello, you there.");
    let scenario = |name, ask, vendor, expected| Scenario::new(name, ask, vendor, expected);
    vec![
        scenario("a text", hello(), hello_back, hello_there()),
        scenario(
            "the system's words",
            Ask {
                system: vec!["Be brief.".to_owned(), "Be kind.".to_owned()],
                ..hello()
            },
            hello_back,
            hello_there(),
        ),
        scenario(
            "many turns",
            Ask {
                system: vec!["Be brief.".to_owned()],
                turns: vec![
                    user("One?"),
                    model("One."),
                    user("Two?"),
                    model("Two."),
                    user("Three?"),
                ],
                ..Ask::default()
            },
            hello_back,
            hello_there(),
        ),
        scenario(
            "a limit and stops",
            Ask {
                most: Some(77),
                stop: vec!["END".to_owned(), "###".to_owned()],
                ..hello()
            },
            hello_back,
            hello_there(),
        ),
        scenario(
            "all letters",
            Ask {
                system: vec![ALL_LETTERS.to_owned()],
                turns: vec![user(ALL_LETTERS)],
                ..Ask::default()
            },
            || {
                let turn = testing::Turn::text(ALL_LETTERS);
                says(turn.on_wire(|reply| reply.split_every(5)))
            },
            said(ALL_LETTERS),
        ),
        scenario(
            "a picture",
            Ask {
                turns: vec![Turn::User(vec![
                    Said::text("What is it?"),
                    Said::Image {
                        mime: "image/png".to_owned(),
                        base64: PNG.to_owned(),
                    },
                    Said::text("Look closely."),
                ])],
                ..Ask::default()
            },
            hello_back,
            hello_there(),
        ),
        scenario(
            "parallel calls",
            Ask {
                tools: tools(),
                choice: Some(Choice::Any),
                ..hello()
            },
            calls_both,
            called(),
        ),
        scenario(
            "one tool by its name",
            Ask {
                tools: tools(),
                choice: Some(Choice::One("get_time".to_owned())),
                ..hello()
            },
            || says(testing::Turn::tool_calls([("get_time", "{}")])),
            Answer {
                calls: vec![("get_time".to_owned(), json!({}))],
                end: End::Calls,
                ..Answer::default()
            },
        ),
        scenario(
            "no tool, though there are some",
            Ask {
                tools: tools(),
                choice: Some(Choice::None),
                ..hello()
            },
            hello_back,
            hello_there(),
        ),
        scenario(
            "results of parallel calls",
            Ask {
                turns: vec![
                    user("The weather and the time?"),
                    Turn::Model(
                        calls()
                            .into_iter()
                            .map(|(tool, given)| Said::call(&tool, given))
                            .collect(),
                    ),
                    Turn::User(vec![
                        Said::result("get_weather", "Rain, 9 degrees."),
                        Said::result("get_time", "12:30"),
                    ]),
                ],
                tools: tools(),
                choice: Some(Choice::Auto),
                ..Ask::default()
            },
            hello_back,
            hello_there(),
        ),
        scenario(
            "a form",
            Ask {
                schema: Some(schema()),
                ..hello()
            },
            || says(testing::Turn::text(r#"{"city": "Paris", "warm": true}"#)),
            said(r#"{"city": "Paris", "warm": true}"#),
        ),
    ]
}

/// Why an answer ends.
fn ends() -> Vec<Scenario> {
    let scenario = |name, vendor, expected| Scenario::new(name, hello(), vendor, expected);
    vec![
        scenario(
            "the end at the limit",
            || says(testing::Turn::text("One two").finish("length")),
            ended(End::Length),
        ),
        scenario(
            "the end by a filter",
            || says(testing::Turn::text("One two").finish("content_filter")),
            Answer {
                refused: true,
                ..ended(End::Filtered)
            },
        ),
        scenario(
            "an end that nobody knows",
            || says(testing::Turn::text("One two").finish("what_nobody_knows")),
            ended(End::Stop),
        ),
        scenario(
            "an answer of nothing",
            || says(testing::Turn::text("")),
            said(""),
        ),
        scenario(
            "a refusal",
            || says(testing::Turn::refusal("That I cannot do.")),
            Answer {
                refused: true,
                ..Answer {
                    end: End::Filtered,
                    ..said("That I cannot do.")
                }
            },
        )
        .in_words(),
        scenario(
            "text before a call",
            || {
                let turn = testing::Turn::tool_calls(calls());
                says(turn.says("Let me look."))
            },
            Answer {
                text: "Let me look.".to_owned(),
                ..called()
            },
        ),
    ]
}

/// What is used.
fn uses() -> Vec<Scenario> {
    fn usage() -> Usage {
        let mut usage = Usage::new(1234, 567);
        usage.cache_read = Some(1000);
        usage.cache_write = Some(34);
        usage.reasoning = Some(89);
        usage
    }
    vec![
        Scenario::new(
            "what is used, to the token",
            hello(),
            || says(testing::Turn::text("One two").usage(usage())),
            Answer {
                used: Some(Used {
                    input: 1234,
                    output: 567,
                    cache_read: 1000,
                    cache_write: 34,
                    thoughts: 89,
                }),
                ..ended(End::Stop)
            },
        ),
        Scenario::new(
            "what is used, counted by hand",
            hello(),
            || says(testing::Turn::text("One two")),
            Answer {
                // "Say hello.", and the two words.
                used: Some(Used {
                    input: 2,
                    output: 2,
                    ..Used::default()
                }),
                ..ended(End::Stop)
            },
        ),
    ]
}

/// What the model thinks first.
fn thoughts() -> Vec<Scenario> {
    let ask = Ask {
        thinks: true,
        most: Some(9000),
        ..hello()
    };
    vec![
        Scenario::new(
            "a thought and a text",
            ask.clone(),
            || says(testing::Turn::text("So it is.").reasoning(THOUGHT)),
            Answer {
                thoughts: THOUGHT.to_owned(),
                ..said("So it is.")
            },
        )
        .goes_on(),
        Scenario::new(
            "a thought and calls",
            Ask {
                tools: tools(),
                ..ask
            },
            || says(testing::Turn::tool_calls(calls()).reasoning(THOUGHT)),
            Answer {
                thoughts: THOUGHT.to_owned(),
                ..called()
            },
        )
        .goes_on(),
    ]
}

fn faults() -> Vec<Scenario> {
    use testing::Turn;
    vec![
        Scenario::fails(
            "the vendor's limit",
            || says(Turn::rate_limited(Duration::from_secs(20))),
            Fault::Limit,
        ),
        Scenario::fails("an overload", || says(Turn::overloaded()), Fault::Overload),
        Scenario::fails(
            "the key of the gateway",
            || Vendor::new(Turn::text("")).key("another"),
            Fault::Key,
        ),
        Scenario::fails(
            "no such model",
            || says(Turn::text("")).models(["mock-only"]),
            Fault::NoModel,
        ),
        Scenario::fails(
            "a conversation that is too long",
            || {
                let words = "This model's maximum context length is 8192 tokens.";
                let kind = "invalid_request_error";
                says(Turn::error(400, kind, "context_length_exceeded", words))
            },
            Fault::TooLong,
        ),
        Scenario::fails(
            "an error in the middle",
            || says(Turn::text("One two three four five six").error_after(5)),
            Fault::Middle,
        ),
        Scenario::fails(
            "a connection that breaks off",
            || {
                let turn = Turn::text("One two three four five six seven eight nine ten");
                says(turn.on_wire(|reply| {
                    let most = reply.body().len() * 2 / 3;
                    reply.cut_after(most)
                }))
            },
            Fault::Cut,
        ),
    ]
}
