//! What a call sees of the set: it never changes, another takes its place.

use super::{
    endpoint::{Common, Node, PerLevel, Permit},
    pick::{
        Alias, Dice, LeastOutstanding, Levels, PeakEwma, Ring, Share, SmoothWeighted, bound,
        round_robin,
    },
    rules::Strategy,
};
use crate::deadline::Tried;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::time::Instant;

/// How often another one is asked for, where the one that was chosen was tried before.
const REPICKS: u32 = 3;

pub(super) struct View<S> {
    pub(super) levels: Box<[LevelView<S>]>,
    pub(super) shares: Box<[Share]>,
    /// Another one took its place.
    pub(super) retired: AtomicBool,
}

/// The endpoints of one priority.
pub(super) struct LevelView<S> {
    pub(super) rank: u8,
    pub(super) members: Box<[Member<S>]>,
    /// Which of them may be called.
    pub(super) open: Box<[u32]>,
    /// What those weigh together.
    pub(super) total: f64,
    pub(super) picker: Picker,
}

pub(super) struct Member<S> {
    pub(super) node: Arc<Node<S>>,
    pub(super) weight: f64,
    pub(super) open: bool,
}

/// A strategy over those that may be called; a ring over all.
pub(super) enum Picker {
    RoundRobin,
    SmoothWeighted(SmoothWeighted),
    LeastOutstanding(LeastOutstanding),
    PeakEwma(Alias),
    Ring(Arc<Ring>, Alias),
    Random(Alias),
}

impl Picker {
    /// `weights`: of those that may be called.
    pub(super) fn new(
        strategy: Strategy,
        weights: &[f64],
        ring: impl FnOnce() -> Arc<Ring>,
    ) -> Self {
        match strategy {
            Strategy::RoundRobin => Self::RoundRobin,
            Strategy::SmoothWeighted => {
                // Parts of a weight are there only while someone starts slowly.
                let whole = weights.iter().all(|weight| weight.fract() == 0.0);
                let scale = if whole { 1.0 } else { 1000.0 };
                let weight = |weight: &f64| (weight * scale).round().max(1.0) as u32;
                let weights: Vec<_> = weights.iter().map(weight).collect();
                Self::SmoothWeighted(SmoothWeighted::new(&weights))
            }
            Strategy::LeastOutstanding => Self::LeastOutstanding(LeastOutstanding::new(weights)),
            Strategy::PeakEwma => Self::PeakEwma(Alias::new(weights)),
            Strategy::RingHash => Self::Ring(ring(), Alias::new(weights)),
            Strategy::Random => Self::Random(Alias::new(weights)),
        }
    }
}

/// What a choice is made by.
pub(super) struct Choice<'a> {
    pub(super) common: &'a Common,
    pub(super) turns: &'a PerLevel,
    pub(super) dice: Dice,
    pub(super) key: Option<u64>,
    pub(super) tried: Option<&'a Tried>,
    pub(super) now: Instant,
}

impl<S> View<S> {
    /// Chooses an endpoint and counts a call out at it. `None`: there is nobody.
    pub(super) fn pick(&self, mut choice: Choice<'_>) -> Option<Permit<S>> {
        let first = Levels::pick(&self.shares, &mut choice.dice)?;
        if let Some(tried) = choice.tried.take_if(|tried| !tried.is_empty()) {
            // Those of another priority rather than one that was tried.
            let others = (0..self.levels.len()).filter(|&at| at != first);
            for at in [first].into_iter().chain(others) {
                let fresh = |node: &Node<S>| !tried.contains(node.id);
                if let Some(permit) = self.levels[at].pick(&mut choice, fresh) {
                    return Some(permit);
                }
            }
        }
        self.levels[first].pick(&mut choice, |_| true)
    }
}

impl<S> LevelView<S> {
    fn pick(&self, choice: &mut Choice<'_>, fresh: impl Fn(&Node<S>) -> bool) -> Option<Permit<S>> {
        if self.open.is_empty() {
            return None;
        }
        let Choice { common, now, .. } = *choice;
        let dice = &mut choice.dice;
        let member = |at: usize| &self.members[self.open[at] as usize];
        let fresh_at = |at: usize| fresh(&member(at).node);
        let permit = |member: &Member<S>| Permit::new(member.node.clone(), self.rank, now);
        if let (Picker::Ring(ring, _), Some(key)) = (&self.picker, choice.key) {
            let out = || common.out.of(self.rank).load(Ordering::Relaxed);
            // Others who choose at the same time may fill all bounds that were true a moment ago. A bound
            // is no reason to have nobody.
            let mut tries = 2;
            loop {
                let factor = common.rules.bound().filter(|_| tries > 0);
                let bounded = factor.map(|factor| (factor, out()));
                tries -= 1;
                let most = |member: &Member<S>| {
                    let (factor, out) = bounded?;
                    Some(bound(factor, out, member.weight / self.total))
                };
                // Counted as it is chosen, so that many who choose at once do not pass the bound together.
                let at = ring.pick(key, |at| {
                    let member = &self.members[at];
                    member.open && fresh(&member.node) && member.node.enter(most(member))
                });
                if at.is_some() || bounded.is_none() {
                    return at.map(|at| permit(&self.members[at]));
                }
            }
        }
        let mut chosen = None;
        for _ in 0..=REPICKS {
            let turn = || self.turn(choice.turns);
            let at = match &self.picker {
                Picker::RoundRobin => round_robin(turn(), self.open.len()),
                Picker::SmoothWeighted(smooth) => smooth.at(turn()),
                Picker::LeastOutstanding(least) => {
                    least.pick(dice, |at| fresh_at(at).then(|| member(at).node.active()))
                }
                Picker::PeakEwma(drawn) => PeakEwma::pick(drawn, dice, |at| {
                    fresh_at(at).then(|| {
                        let node = &member(at).node;
                        common.ewma.cost(node.latency(), node.active(), now)
                    })
                }),
                Picker::Ring(_, drawn) | Picker::Random(drawn) => drawn.pick(dice),
            };
            chosen = at.filter(|&at| fresh_at(at));
            if chosen.is_some() {
                break;
            }
        }
        let chosen = chosen.or_else(|| {
            let first = dice.below(self.open.len());
            (first..self.open.len())
                .chain(0..first)
                .find(|&at| fresh_at(at))
        });
        let member = member(chosen?);
        member.node.enter(None);
        Some(permit(member))
    }

    fn turn(&self, turns: &PerLevel) -> u64 {
        turns.of(self.rank).fetch_add(1, Ordering::Relaxed)
    }
}
