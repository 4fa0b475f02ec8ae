use super::*;
use Priority::{Critical, Normal, Sheddable};
use proptest::{collection::vec, prelude::*};

const RULES: Rules = Rules {
    places: 3,
    max_wait: Duration::from_secs(1),
    first_every: 0,
    delay: None,
};

const TARGET: Duration = Duration::from_millis(5);
const INTERVAL: Duration = Duration::from_millis(100);

fn controlled() -> Rules {
    let (target, interval) = (TARGET, INTERVAL);
    let delay = Some(ControlledDelay { target, interval });
    Rules { delay, ..RULES }
}

/// Whoever was displaced, or who came if it could not stay.
fn push(
    queue: &mut Queue<&'static str>,
    rules: &Rules,
    priority: Priority,
    name: &'static str,
    now: Instant,
) -> Option<&'static str> {
    match queue.push(rules, priority, name, now) {
        Pushed::Waits { displaced, .. } => displaced,
        Pushed::Full(name) => Some(name),
    }
}

fn all(queue: &mut Queue<&'static str>, rules: &Rules, now: Instant) -> Vec<&'static str> {
    std::iter::from_fn(|| queue.pop(rules, now)).collect()
}

#[test]
fn a_higher_priority_is_served_first_and_within_one_who_came_first() {
    let (mut queue, now) = (Queue::new(), Instant::now());
    let rules = Rules { places: 9, ..RULES };
    for (priority, name) in [
        (Sheddable, "s1"),
        (Normal, "n1"),
        (Critical, "c1"),
        (Normal, "n2"),
        (Critical, "c2"),
    ] {
        assert_eq!(push(&mut queue, &rules, priority, name, now), None);
    }
    assert_eq!(queue.waiting(), [2, 2, 1]);
    assert_eq!(all(&mut queue, &rules, now), ["c1", "c2", "n1", "n2", "s1"]);
}

#[test]
fn a_full_queue_sheds_the_lowest_and_of_those_who_came_last() {
    let (mut queue, now) = (Queue::new(), Instant::now());
    let mut come = |priority, name| push(&mut queue, &RULES, priority, name, now);
    assert_eq!(come(Sheddable, "s1"), None);
    assert_eq!(come(Normal, "n1"), None);
    assert_eq!(come(Sheddable, "s2"), None);
    assert_eq!(come(Sheddable, "s3"), Some("s3"), "it is the last itself");
    assert_eq!(come(Normal, "n2"), Some("s2"));
    assert_eq!(come(Critical, "c1"), Some("s1"));
    assert_eq!(come(Normal, "n3"), Some("n3"));
    assert_eq!(come(Critical, "c2"), Some("n2"));
    assert_eq!(come(Critical, "c3"), Some("n1"));
    assert_eq!(come(Critical, "c4"), Some("c4"));
}

#[test]
fn in_its_turn_the_one_who_came_first_is_served_whatever_its_priority() {
    let (mut queue, now) = (Queue::new(), Instant::now());
    let rules = Rules {
        places: 9,
        first_every: 3,
        ..RULES
    };
    for (priority, name) in [
        (Critical, "c1"),
        (Sheddable, "s1"),
        (Critical, "c2"),
        (Critical, "c3"),
        (Critical, "c4"),
    ] {
        push(&mut queue, &rules, priority, name, now);
    }
    assert_eq!(all(&mut queue, &rules, now), ["c1", "c2", "s1", "c3", "c4"]);
}

/// "Fail at Scale", ACM Queue 13(8), 2015.
#[test]
fn a_queue_that_stands_serves_the_newest_and_lets_nobody_wait_long() {
    let (mut queue, start) = (Queue::new(), Instant::now());
    let rules = Rules {
        places: 9,
        ..controlled()
    };
    let patience = |queue: &mut Queue<_>, name, now| match queue.push(&rules, Normal, name, now) {
        Pushed::Waits { patience, .. } => patience,
        Pushed::Full(_) => panic!("full"),
    };
    assert_eq!(patience(&mut queue, "a", start), RULES.max_wait);
    assert_eq!(patience(&mut queue, "b", start), RULES.max_wait);
    let before = start + INTERVAL - Duration::from_millis(1);
    assert_eq!(queue.pop_late(&rules, before), None);
    assert_eq!(queue.pop(&rules, before), Some("a"), "in order as yet");
    assert_eq!(patience(&mut queue, "c", before), RULES.max_wait);

    // It was not empty for the interval, though none of those who made it so wait any more.
    let standing = start + INTERVAL;
    assert_eq!(patience(&mut queue, "d", standing), TARGET);
    assert_eq!(queue.pop_late(&rules, standing), Some("b"));
    assert_eq!(queue.pop_late(&rules, standing), None);
    assert_eq!(queue.pop(&rules, standing), Some("d"), "the newest");
    assert_eq!(queue.pop(&rules, standing), Some("c"));
    // It was empty, and so it stands no more.
    assert_eq!(patience(&mut queue, "e", standing), RULES.max_wait);
    assert_eq!(patience(&mut queue, "f", standing), RULES.max_wait);
    assert_eq!(queue.pop(&rules, standing), Some("e"));
}

#[test]
fn a_queue_that_stands_and_is_full_sheds_who_has_waited_longest() {
    let (mut queue, start) = (Queue::new(), Instant::now());
    let rules = controlled();
    for name in ["a", "b", "c"] {
        push(&mut queue, &rules, Normal, name, start);
    }
    let late = start + INTERVAL;
    assert_eq!(push(&mut queue, &rules, Sheddable, "s", late), Some("s"));
    assert_eq!(push(&mut queue, &rules, Normal, "d", late), Some("a"));
    assert_eq!(queue.pop(&rules, late), Some("d"));
}

#[test]
fn a_place_is_let_go_once() {
    let (mut queue, now) = (Queue::new(), Instant::now());
    let place = |queue: &mut Queue<_>, name| match queue.push(&RULES, Normal, name, now) {
        Pushed::Waits { place, .. } => place,
        Pushed::Full(_) => panic!("full"),
    };
    let (a, b) = (place(&mut queue, "a"), place(&mut queue, "b"));
    assert_eq!(queue.remove(a), Some("a"));
    assert_eq!(queue.remove(a), None);
    assert_eq!(queue.pop(&RULES, now), Some("b"));
    assert_eq!(queue.remove(b), None, "its turn had come");
    assert!(queue.is_empty());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Come(Priority),
    Serve,
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::sample::select(&Priority::ALL[..]).prop_map(Step::Come),
        3 => Just(Step::Serve),
        1 => (0..9_usize).prop_map(Step::Leave),
    ];
    vec(step, 0..200)
}

proptest! {
    /// Against a list that is searched.
    #[test]
    fn nobody_is_overtaken_by_a_later_one_of_a_lower_priority(
        steps in steps(),
        places in 0..8_usize,
        first_every in 0..5_u32,
        stands in any::<bool>(),
    ) {
        let rules = Rules { places, first_every, ..RULES };
        let rules = if stands { Rules { delay: controlled().delay, ..rules } } else { rules };
        let mut now = Instant::now();
        let mut queue = Queue::new();
        let mut list: Vec<(Priority, u64, Place)> = Vec::new();
        // How often others went before the one who came first, out of several priorities.
        let mut passed = 0;
        for (number, step) in (0_u64..).zip(steps) {
            now += Duration::from_millis(10);
            match step {
                Step::Come(priority) => match queue.push(&rules, priority, number, now) {
                    Pushed::Waits { place, displaced, .. } => {
                        if let Some(gone) = displaced {
                            let at = list.iter().position(|(_, other, _)| *other == gone).unwrap();
                            let (gone, ..) = list.remove(at);
                            let lowest = list.iter().map(|(other, ..)| other.lane()).max();
                            prop_assert!(gone.lane() >= lowest.unwrap_or(0));
                            prop_assert!(gone.lane() > priority.lane() || stands);
                        }
                        list.push((priority, number, place));
                    }
                    Pushed::Full(_) => prop_assert!(list.len() >= places),
                },
                Step::Serve => {
                    let several = list.iter().any(|(other, ..)| *other != list[0].0);
                    let first = list.iter().map(|(_, number, _)| *number).min();
                    let Some(served) = queue.pop(&rules, now) else {
                        prop_assert!(list.is_empty());
                        continue;
                    };
                    let at = list.iter().position(|(_, other, _)| *other == served).unwrap();
                    let (priority, ..) = list.remove(at);
                    for (other, came, _) in &list {
                        let overtaken = other.lane() < priority.lane() && *came < served;
                        prop_assert!(!overtaken, "{other} of {came} by {priority} of {served}");
                    }
                    if first == Some(served) {
                        passed = 0;
                    } else if several {
                        passed += 1;
                        prop_assert!(first_every == 0 || passed < first_every);
                    }
                }
                Step::Leave(at) => {
                    if at < list.len() {
                        let (_, number, place) = list.remove(at);
                        prop_assert_eq!(queue.remove(place), Some(number));
                    }
                }
            }
            prop_assert!(list.len() <= places);
            prop_assert_eq!(queue.waiting().iter().sum::<usize>(), list.len());
            prop_assert_eq!(queue.is_empty(), list.is_empty());
        }
    }
}
