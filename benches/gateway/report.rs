//! Medians, ratios, and what they may be.

use crate::{
    contender::Contender,
    load::{Shape, Taken},
};
use std::{collections::BTreeMap, time::Duration};

/// Above so many times its budget, a figure fails the run. Below, the machine may be to blame.
const FAR: f64 = 1.3;

#[derive(Default)]
pub(crate) struct Report {
    taken: BTreeMap<(Contender, u8), Vec<(Shape, Taken)>>,
    processes: BTreeMap<Contender, Footprint>,
}

struct Footprint {
    /// Until the first answer.
    start: Duration,
    /// Resident bytes: after it, after the first load of 1 KB, and at most.
    idle: u64,
    loaded: u64,
    most: u64,
}

/// A figure that has a budget.
struct Figure {
    what: String,
    value: f64,
    budget: f64,
    unit: &'static str,
}

impl Report {
    pub(crate) fn started(&mut self, contender: Contender, start: Duration, memory: u64) {
        let footprint = Footprint {
            start,
            idle: memory,
            loaded: 0,
            most: memory,
        };
        self.processes.insert(contender, footprint);
    }

    pub(crate) fn took(&mut self, contender: Contender, shape: Shape, taken: Taken, memory: u64) {
        let key = (contender, order(shape));
        self.taken.entry(key).or_default().push((shape, taken));
        if let Some(footprint) = self.processes.get_mut(&contender) {
            // What large bodies leave behind is not for this budget.
            if footprint.loaded == 0 {
                footprint.loaded = memory;
            }
            footprint.most = memory.max(footprint.most);
        }
    }

    pub(crate) fn print(&self) {
        println!("\nmedians; × is the ratio of CPU to the floor's");
        println!(
            "{:<14}{:>9}{:>8}{:>8}{:>8}{:>6} |{:>8}{:>6} |{:>9}{:>6}{:>8} |{:>7}{:>8} |{:>6}{:>6}{:>6}{:>7}",
            "1 KB",
            "req/s",
            "p50 µs",
            "p99 µs",
            "µs/req",
            "×",
            "100 KB",
            "×",
            "µs/event",
            "×",
            "first",
            "paced",
            "added",
            "idle",
            "load",
            "most",
            "start"
        );
        for (contender, footprint) in &self.processes {
            let of =
                |shape, figure: fn(&Taken, Shape) -> f64| self.median(*contender, shape, figure);
            println!(
                "{:<14}{:>9.0}{:>8.0}{:>8.0}{:>8.1}{:>6.2} |{:>8.1}{:>6.2} |{:>9.1}{:>6.2}{:>8.0} |{:>7.0}{:>+8.0} |{:>6.1}{:>6.1}{:>6.1}{:>7.1}",
                contender.name(),
                of(Shape::Plain, |taken, _| taken.rate()),
                of(Shape::Plain, |taken, _| taken.percentile(50)),
                of(Shape::Plain, |taken, _| taken.percentile(99)),
                of(Shape::Plain, Taken::cost),
                self.ratio(*contender, Shape::Plain),
                of(Shape::Large, Taken::cost),
                self.ratio(*contender, Shape::Large),
                of(Shape::Stream, Taken::cost),
                self.ratio(*contender, Shape::Stream),
                of(Shape::Stream, |taken, _| taken.percentile(50)),
                of(Shape::Paced(0), |taken, _| taken.percentile(50)),
                self.added(*contender),
                megabytes(footprint.idle),
                megabytes(footprint.loaded),
                megabytes(footprint.most),
                footprint.start.as_secs_f64() * 1e3,
            );
        }
        println!(
            "first, paced, added: p50 in µs; idle, load (of 1 KB), most: resident MB; start: ms to the first answer\n"
        );
        for figure in self.figures() {
            let verdict = match figure.value / figure.budget {
                share if share <= 1.0 => "ok",
                share if share <= FAR => "over",
                _ => "FAR OVER",
            };
            println!(
                "{:<44}{:>9.2} of {:>6.2} {:<4}{verdict}",
                figure.what, figure.value, figure.budget, figure.unit
            );
        }
    }

    /// Whether a figure is above 1.3 times its budget.
    pub(crate) fn far_over(&self) -> bool {
        let mut figures = self.figures().into_iter();
        figures.any(|figure| figure.value > figure.budget * FAR)
    }

    fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (contender, footprint) in &self.processes {
            let mut add = |what: &str, value: f64, budget: f64, unit| {
                let what = format!("{}: {what}", contender.name());
                figures.push(Figure {
                    what,
                    value,
                    budget,
                    unit,
                });
            };
            let Some(budget) = contender.budget() else {
                continue;
            };
            add(
                "CPU per request",
                self.ratio(*contender, Shape::Plain),
                budget,
                "×",
            );
            if !contender.is_whole() {
                continue;
            }
            add(
                "CPU per request of 100 KB",
                self.ratio(*contender, Shape::Large),
                1.4,
                "×",
            );
            add(
                "CPU per streamed event",
                self.ratio(*contender, Shape::Stream),
                1.1,
                "×",
            );
            add(
                "added p50 at a fixed rate",
                self.added(*contender),
                30.0,
                "µs",
            );
            add("resident, idle", megabytes(footprint.idle), 10.0, "MB");
            add(
                "resident, under load",
                megabytes(footprint.loaded),
                20.0,
                "MB",
            );
            add(
                "start to the first answer",
                footprint.start.as_secs_f64() * 1e3,
                50.0,
                "ms",
            );
        }
        figures
    }

    fn ratio(&self, contender: Contender, shape: Shape) -> f64 {
        // Of each round, so that what slows the machine for a while slows both.
        let key = |contender| (contender, order(shape));
        let floor = self.taken.get(&key(Contender::Floor)).into_iter().flatten();
        let own = self.taken.get(&key(contender)).into_iter().flatten();
        median(
            own.zip(floor)
                .map(|((shape, own), (_, floor))| own.cost(*shape) / floor.cost(*shape)),
        )
    }

    fn added(&self, contender: Contender) -> f64 {
        let p50 =
            |contender| self.median(contender, Shape::Paced(0), |taken, _| taken.percentile(50));
        p50(contender) - p50(Contender::Floor)
    }

    fn median(
        &self,
        contender: Contender,
        shape: Shape,
        figure: impl Fn(&Taken, Shape) -> f64,
    ) -> f64 {
        let taken = self.taken.get(&(contender, order(shape)));
        median(
            taken
                .into_iter()
                .flatten()
                .map(|(shape, taken)| figure(taken, *shape)),
        )
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn order(shape: Shape) -> u8 {
    match shape {
        Shape::Plain => 0,
        Shape::Large => 1,
        Shape::Stream => 2,
        Shape::Paced(_) => 3,
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
