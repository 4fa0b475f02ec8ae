//! A prompt by its label, and rendered.

use crate::measure;
use alloc_tracker::{Allocator, Session};
use serde_json::{Value, json};
use std::{alloc::System, hint::black_box, num::NonZeroU32};
use tower_gateway::prompt::{Actor, Assignment, Change, Prompt, Registry};

#[global_allocator]
static ALLOCATOR: Allocator<System> = Allocator::system();

/// The most that a look-up may take, in ns.
const LOOK_UP: f64 = 200.0;

/// The most that a text of 2 KB may take, in ns.
const RENDER: f64 = 20_000.0;

/// How often it allocates in a hundred turns.
fn allocations(mut turn: impl FnMut()) -> u64 {
    let session = Session::new().no_stdout().no_file();
    let turns = session.operation("turns");
    let span = turns.measure_thread().iterations(100);
    for _ in 0..100 {
        turn();
    }
    drop(span);
    drop(turns);
    let report = session.to_report();
    let counts = report
        .operations()
        .map(|(_, all)| all.total_allocations_count());
    counts.sum()
}

/// 2 KB when it is rendered: instructions, a list of examples, a question.
fn prompt(nth: usize) -> Prompt {
    let examples = "{% for example in examples %}\nQ: {{ example.question }}\nA: {{ example.answer }}\n{% endfor %}";
    Prompt::new()
        .model("fast")
        .system(format!(
            "{nth} {}In {{{{ language }}}}.\n{examples}",
            "Answer as a friend would, in short. ".repeat(22)
        ))
        .user("{{ question }}")
        .variable("question", json!({"type": "string", "maxLength": 10_000}))
        .variable("language", json!({"type": "string", "default": "French"}))
        .variable(
            "examples",
            json!({"type": "array", "items": {"type": "object"}}),
        )
}

async fn registry() -> Option<Registry> {
    let registry = Registry::in_memory();
    let actor = Actor::code("bench");
    for nth in 0..1_000 {
        let name = format!("prompt-{nth}");
        registry
            .create(&actor, &name, prompt(nth), Change::new())
            .await
            .ok()?;
    }
    let (name, one) = ("prompt-500", NonZeroU32::MIN);
    registry
        .create(&actor, name, prompt(7), Change::new())
        .await
        .ok()?;
    let two = one.saturating_add(1);
    let split = Assignment::split([(one, 9_500), (two, 500)]).ok()?;
    for (label, to) in [("production", Assignment::to(two)), ("test", split)] {
        registry
            .move_label(&actor, name, label, Some(to), Change::new())
            .await
            .ok()?;
    }
    Some(registry)
}

/// Whether it takes no longer than it may.
pub(crate) async fn run() -> bool {
    let Some(registry) = registry().await else {
        panic!("no prompts");
    };
    let by_label = |label: &str| {
        let found = registry.by_label(black_box("prompt-500"), black_box(label), Some("alice"));
        let Some(found) = black_box(found) else {
            panic!("no version");
        };
        found.version
    };
    let one = measure::nanos(async || drop(by_label("production"))).await;
    let shared = measure::nanos(async || drop(by_label("test"))).await;
    let allocated = allocations(|| drop(by_label("test")));
    println!("{:<44}{one:>10.0}", "prompt by label, of 1000");
    println!(
        "{:<44}{shared:>10.0}",
        "prompt by label with shares, of 1000"
    );
    println!("{:<44}{allocated:>10}", "allocations of 100 of these");

    let example = json!({"question": "How far is the moon, about? ".repeat(4), "answer": "Some 384,400 km. ".repeat(6)});
    let variables = json!({"question": "And the sun?".repeat(10), "examples": vec![example; 5]});
    let Value::Object(variables) = variables else {
        panic!("an object");
    };
    let version = by_label("production");
    let Ok(chat) = version.render(&variables) else {
        panic!("it cannot be rendered");
    };
    let size: usize = chat
        .messages
        .iter()
        .map(|message| message.all_text().len())
        .sum();
    assert!((2_000..2_300).contains(&size), "{size}");
    let render = measure::nanos(async || {
        drop(black_box(version.render(black_box(&variables))));
    })
    .await;
    println!(
        "{:<44}{render:>10.0}",
        "prompt of 2 KB, checked and rendered"
    );
    one <= LOOK_UP && shared <= LOOK_UP && allocated == 0 && render <= RENDER
}
