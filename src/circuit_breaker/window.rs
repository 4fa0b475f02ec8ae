//! The answers that count: the last so many, or those of the last so many seconds.

use std::{collections::VecDeque, fmt};
use tokio::time::Instant;

/// How much of the past counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Calls(usize),
    Seconds(usize),
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// How many answers there are, and how many of them were bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: usize,
    pub(super) failed: usize,
    pub(super) slow: usize,
}

impl Tally {
    fn add(&mut self, answer: Answer) {
        self.calls += 1;
        self.failed += usize::from(answer.failed);
        self.slow += usize::from(answer.slow);
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.slow += other.slow;
    }

    fn subtract(&mut self, other: Self) {
        self.calls -= other.calls;
        self.failed -= other.failed;
        self.slow -= other.slow;
    }
}

impl From<Answer> for Tally {
    fn from(answer: Answer) -> Self {
        let mut tally = Self::default();
        tally.add(answer);
        tally
    }
}

/// What counts just now. Every operation takes constant time, one after a pause at most one step for each
/// second of the span.
pub(super) enum Window {
    Calls(Calls),
    Seconds(Seconds),
}

impl Window {
    pub(super) fn new(span: Span) -> Self {
        match span {
            Span::Calls(most) => Self::Calls(Calls {
                answers: VecDeque::new(),
                most,
                left: 0,
                total: Tally::default(),
            }),
            Span::Seconds(seconds) => Self::Seconds(Seconds {
                buckets: vec![Tally::default(); seconds].into(),
                origin: None,
                newest: 0,
                total: Tally::default(),
            }),
        }
    }

    /// Adds an answer, and says where it stands.
    pub(super) fn push(&mut self, answer: Answer, now: Instant) -> u64 {
        match self {
            Self::Calls(calls) => calls.push(answer),
            Self::Seconds(seconds) => seconds.push(answer, now),
        }
    }

    /// Makes a failure of an answer that was none, if it still counts.
    pub(super) fn fail(&mut self, place: u64, now: Instant) -> bool {
        match self {
            Self::Calls(calls) => calls.fail(place),
            Self::Seconds(seconds) => seconds.fail(place, now),
        }
    }

    pub(super) fn tally(&mut self, now: Instant) -> Tally {
        match self {
            Self::Calls(calls) => calls.total,
            Self::Seconds(seconds) => {
                seconds.advance(now);
                seconds.total
            }
        }
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (span, total) = match self {
            Self::Calls(calls) => (Span::Calls(calls.most), calls.total),
            Self::Seconds(seconds) => (Span::Seconds(seconds.buckets.len()), seconds.total),
        };
        f.debug_struct("Window")
            .field("span", &span)
            .field("total", &total)
            .finish()
    }
}

/// The last answers.
pub(super) struct Calls {
    answers: VecDeque<Answer>,
    most: usize,
    /// How many answers have left, which is the place of the first that has not.
    left: u64,
    total: Tally,
}

impl Calls {
    fn push(&mut self, answer: Answer) -> u64 {
        if self.answers.len() == self.most
            && let Some(oldest) = self.answers.pop_front()
        {
            self.left += 1;
            self.total.subtract(oldest.into());
        }
        let place = self.left + self.answers.len() as u64;
        self.answers.push_back(answer);
        self.total.add(answer);
        place
    }

    fn fail(&mut self, place: u64) -> bool {
        let answer = place
            .checked_sub(self.left)
            .and_then(|position| usize::try_from(position).ok())
            .and_then(|position| self.answers.get_mut(position))
            .filter(|answer| !answer.failed);
        let found = answer.map(|answer| answer.failed = true).is_some();
        self.total.failed += usize::from(found);
        found
    }
}

/// The answers of the last seconds, in one bucket for each: what leaves is subtracted, and never counted
/// anew.
pub(super) struct Seconds {
    /// In a ring, each at its second modulo their number.
    buckets: Box<[Tally]>,
    /// When the first second began.
    origin: Option<Instant>,
    /// The second of the newest bucket.
    newest: u64,
    total: Tally,
}

impl Seconds {
    /// Lets the buckets leave whose time is over. A clock that was read earlier, by another thread, moves
    /// nothing.
    fn advance(&mut self, now: Instant) {
        let origin = *self.origin.get_or_insert(now);
        let second = now.saturating_duration_since(origin).as_secs();
        let span = self.buckets.len() as u64;
        for step in 1..=second.saturating_sub(self.newest).min(span) {
            let at = self.at(self.newest + step);
            let gone = std::mem::take(&mut self.buckets[at]);
            self.total.subtract(gone);
        }
        self.newest = self.newest.max(second);
    }

    fn at(&self, second: u64) -> usize {
        (second % self.buckets.len() as u64) as usize
    }

    fn push(&mut self, answer: Answer, now: Instant) -> u64 {
        self.advance(now);
        self.buckets[self.at(self.newest)].add(answer);
        self.total.add(answer);
        self.newest
    }

    fn fail(&mut self, second: u64, now: Instant) -> bool {
        self.advance(now);
        let at = self.at(second);
        let is_here = second + self.buckets.len() as u64 > self.newest;
        let bucket = &mut self.buckets[at];
        let found = is_here && bucket.failed < bucket.calls;
        bucket.failed += usize::from(found);
        self.total.failed += usize::from(found);
        found
    }
}
