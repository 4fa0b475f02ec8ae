//! Who is asked first, and from when on others help.

use super::Dice;

/// The endpoints of one priority, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// How many there are.
    pub all: usize,
    /// How many of them are well and may be asked now.
    pub well: usize,
    /// How many asked to be left alone for now. These are not among the well.
    pub resting: usize,
    /// How many must not be asked, whatever happens. These are neither among the well nor those that rest.
    pub barred: usize,
}

impl Level {
    /// How many may be asked when health is ignored.
    pub(in crate::balance) fn askable(&self) -> usize {
        self.all.saturating_sub(self.resting + self.barred)
    }
}

/// How much of the calls a level takes, and whom it may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// From zero to one; of all levels together one, unless there is nobody.
    pub share: f64,
    /// So few are well that the others are asked all the same, rather than to have those few carry all of
    /// the load.
    pub panic: bool,
}

/// How the calls are shared out among priorities, as Envoy does it.
///
/// A level counts as whole as long as 1.4 times those that are well are not fewer than all of it. What it
/// cannot take flows over to the next level. When all levels together cannot take everything, a level of
/// which less than half are well panics: its health is ignored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    overprovision: f64,
    panic: f64,
}

impl Levels {
    /// Overprovisioned 1.4 times; panics below 50 %.
    #[must_use]
    pub fn new() -> Self {
        Self {
            overprovision: 1.4,
            panic: 0.5,
        }
    }

    /// Sets how many times more than its share of the load a well endpoint can take. At least 1.
    #[must_use]
    pub fn overprovision(self, times: f64) -> Self {
        let overprovision = times.max(1.0);
        Self {
            overprovision,
            ..self
        }
    }

    /// Sets below which share of well endpoints a level panics. 0: never, unless nobody is well at all.
    #[must_use]
    pub fn panic_threshold(self, share: f64) -> Self {
        let panic = share.clamp(0.0, 1.0);
        Self { panic, ..self }
    }

    /// The share of each level; the first is the one to be preferred.
    #[must_use]
    pub fn shares(&self, levels: &[Level]) -> Vec<Share> {
        let well = |level: &Level| match level.all {
            0 => 0.0,
            all => level.well as f64 / all as f64,
        };
        let health: Vec<f64> = levels
            .iter()
            .map(|level| (self.overprovision * well(level)).min(1.0))
            .collect();
        let sum: f64 = health.iter().sum();
        let whole = sum >= 1.0;
        let mut left = 1.0;
        let shares: Vec<Share> = levels
            .iter()
            .zip(&health)
            .map(|(level, &health)| {
                let share = if whole { health.min(left) } else { health };
                left -= if whole { share } else { 0.0 };
                let panic = !whole && well(level) < self.panic;
                Share { share, panic }
            })
            .collect();
        if whole {
            return shares;
        }
        if sum > 0.0 {
            let part = |one: Share| Share {
                share: one.share / sum,
                ..one
            };
            return shares.into_iter().map(part).collect();
        }
        // Nobody is well: whoever did not ask to be left alone, and else everybody.
        let some: usize = levels.iter().map(Level::askable).sum();
        let all: usize = levels.iter().map(|level| level.resting).sum();
        let part = |level: &Level| {
            let (one, of) = match some {
                0 => (level.resting, all),
                some => (level.askable(), some),
            };
            let share = one as f64 / of.max(1) as f64;
            Share { share, panic: true }
        };
        levels.iter().map(part).collect()
    }

    /// One of them, as often as its share says. `None`: there is nobody.
    pub fn pick(shares: &[Share], dice: &mut Dice) -> Option<usize> {
        if let [one] = shares {
            return (one.share > 0.0).then_some(0);
        }
        let mut left = dice.unit();
        let mut last = None;
        for (at, one) in shares.iter().enumerate().filter(|(_, one)| one.share > 0.0) {
            last = Some(at);
            if left < one.share {
                break;
            }
            left -= one.share;
        }
        last
    }
}

impl Default for Levels {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(levels: &[(usize, usize)]) -> Vec<(u32, bool)> {
        let level = |&(all, well): &(usize, usize)| Level {
            all,
            well,
            ..Level::default()
        };
        let levels: Vec<_> = levels.iter().map(level).collect();
        let shares = Levels::new().shares(&levels);
        let percent = |one: &Share| ((one.share * 100.0).round() as u32, one.panic);
        shares.iter().map(percent).collect()
    }

    // The table of Envoy's documentation on priority levels.
    #[test]
    fn what_a_level_cannot_take_flows_over() {
        assert_eq!(
            shares(&[(100, 100), (100, 100)]),
            [(100, false), (0, false)]
        );
        assert_eq!(shares(&[(100, 72), (100, 72)]), [(100, false), (0, false)]);
        assert_eq!(shares(&[(100, 71), (100, 71)]), [(99, false), (1, false)]);
        assert_eq!(shares(&[(100, 50), (100, 50)]), [(70, false), (30, false)]);
        assert_eq!(shares(&[(100, 0), (100, 100)]), [(0, false), (100, false)]);
        assert_eq!(shares(&[(100, 25), (100, 25)]), [(50, true), (50, true)]);
    }

    #[test]
    fn below_half_health_is_ignored() {
        assert_eq!(shares(&[(10, 5)]), [(100, false)]);
        assert_eq!(shares(&[(10, 4)]), [(100, true)]);
        assert_eq!(shares(&[(1, 0), (3, 0)]), [(25, true), (75, true)]);
        assert_eq!(shares(&[]), []);
        assert_eq!(shares(&[(0, 0)]), [(0, true)]);
        assert_eq!(Levels::pick(&[Share::default()], &mut Dice::new(1)), None);
    }

    #[test]
    fn who_rests_is_left_alone_while_others_do_not() {
        let levels = [
            Level {
                all: 2,
                resting: 2,
                ..Level::default()
            },
            Level {
                all: 2,
                resting: 1,
                ..Level::default()
            },
        ];
        let shares = Levels::new().shares(&levels);
        assert_eq!((shares[0].share, shares[1].share), (0.0, 1.0));
        let shares = Levels::new().shares(&levels[..1]);
        assert_eq!(
            shares[0],
            Share {
                share: 1.0,
                panic: true
            }
        );
    }

    #[test]
    fn who_is_barred_is_never_counted_on() {
        let level = |all, resting, barred| Level {
            all,
            resting,
            barred,
            ..Level::default()
        };
        let shares = |levels: &[Level]| {
            let shares = Levels::new().shares(levels).into_iter();
            shares.map(|one| one.share).collect::<Vec<_>>()
        };
        assert_eq!(shares(&[level(2, 0, 2), level(1, 0, 0)]), [0.0, 1.0]);
        assert_eq!(shares(&[level(3, 1, 2), level(3, 0, 3)]), [1.0, 0.0]);
        assert_eq!(shares(&[level(1, 0, 1)]), [0.0]);
        let mut half = [level(2, 0, 1)];
        half[0].well = 1;
        assert_eq!(shares(&half), [1.0]);
    }

    #[test]
    fn levels_are_drawn_by_their_shares() {
        let shares = [0.7, 0.0, 0.3].map(|share| Share {
            share,
            panic: false,
        });
        let mut dice = Dice::new(11);
        let mut counts = [0_u32; 3];
        for _ in 0..100_000 {
            counts[Levels::pick(&shares, &mut dice).unwrap()] += 1;
        }
        assert!(
            counts[0].abs_diff(70_000) < 1000 && counts[1] == 0,
            "{counts:?}"
        );
        assert_eq!(Levels::pick(&[], &mut dice), None);
    }
}
