//! The figures of all moves, and what was aimed at.

use std::collections::BTreeSet;

use punctual_engine::Report;
use serde::Serialize;

use super::figures::{Counts, Figures, Share};
use super::trip::{Outcome, Stage, Trip};
use super::{Occupation, Predictions};

/// What the moves show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The first moves, from which the hosts learnt.
    pub cold: Row,
    /// Those by which predictions are judged: the rows and targets below are of these.
    pub warm: Row,
    /// The moves, cold and warm, that were refused or given up, forced.
    pub forced: Row,
    /// By what the guest did.
    pub workloads: Vec<Row>,
    /// By the rate of the links.
    pub links: Vec<Row>,
    /// By the downtime asked for.
    pub downtimes: Vec<Row>,
    /// What was aimed at, and what was found.
    pub targets: Vec<Target>,
}

/// What some of the moves show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Which moves.
    pub name: String,
    /// What became of them.
    pub counts: Counts,
    /// How near predictions came.
    pub figures: Figures,
}

/// What was aimed at, and what was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Target {
    /// Of what.
    pub name: String,
    /// What was aimed at.
    pub aim: String,
    /// What was found.
    pub found: String,
    /// Whether it was reached; `None` where nothing was found.
    pub reached: Option<bool>,
}

impl Predictions {
    /// The figures of all moves.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let of = |stage| self.trips.iter().filter(move |trip| trip.stage == stage);
        let warm: Vec<&Trip> = of(Stage::Warm).collect();
        let row = |name: String, belongs: &dyn Fn(&Trip) -> bool| {
            Row::of(name, warm.iter().copied().filter(|trip| belongs(trip)).collect())
        };
        let workloads = Occupation::ALL
            .into_iter()
            .filter(|workload| warm.iter().any(|trip| trip.workload == *workload))
            .map(|workload| row(workload.to_string(), &|trip| trip.workload == workload));
        let links: BTreeSet<_> = warm.iter().map(|trip| trip.link).collect();
        let downtimes: BTreeSet<_> = warm.iter().map(|trip| trip.asked).collect();
        let all = Row::of("warm".to_owned(), warm.clone());
        Summary {
            cold: Row::of("cold".to_owned(), of(Stage::Cold).collect()),
            targets: targets(&all),
            warm: all,
            forced: forced(&self.trips),
            workloads: workloads.collect(),
            links: links
                .into_iter()
                .map(|link| row(link.to_string(), &|trip| trip.link == link))
                .collect(),
            downtimes: downtimes
                .into_iter()
                .map(|asked| {
                    let name = format!("{} ms asked", asked.as_secs_f64() * 1e3);
                    row(name, &|trip| trip.asked == asked)
                })
                .collect(),
        }
    }
}

impl Row {
    fn of(name: String, trips: Vec<&Trip>) -> Self {
        let outcomes: Vec<_> = trips.iter().filter_map(|trip| Outcome::of(&trip.report)).collect();
        Self { name, counts: Counts::of(&trips), figures: Figures::of(&outcomes) }
    }
}

/// What was forced was not promised, so only its figures count.
fn forced(trips: &[Trip]) -> Row {
    let reports = trips.iter().filter_map(|trip| trip.forced.as_ref());
    let outcomes: Vec<_> = reports.filter_map(|report: &Report| Outcome::of(report)).collect();
    Row { name: "forced".to_owned(), counts: Counts::default(), figures: Figures::of(&outcomes) }
}

fn targets(warm: &Row) -> Vec<Target> {
    let Row { counts, figures, .. } = warm;
    let target = |name: &str, aim: &str, found: Option<(String, bool)>| {
        let (name, aim) = (name.to_owned(), aim.to_owned());
        let reached = found.as_ref().map(|(_, reached)| *reached);
        let found = found.map_or_else(|| "no predictions".to_owned(), |(found, _)| found);
        Target { name, aim, found, reached }
    };
    let total = figures.total.map(|total| total.relative_error.median);
    let close = figures.close.ratio();
    let coverage = |share: Option<Share>| {
        let share = share?;
        let (ratio, error) = (share.ratio()?, share.standard_error()?);
        let found = format!("{} (standard error {})", percent(ratio), percent(error));
        Some((found, (0.93..=0.97).contains(&ratio)))
    };
    let kept = counts.kept.ratio();
    vec![
        target(
            "total time: median error",
            "at most 10 %",
            total.map(|error| (percent(error), error <= 0.10)),
        ),
        target(
            "downtime: moves predicted within max(5 ms, 15 %)",
            "at least half (the median error is within)",
            close.map(|ratio| (percent(ratio), ratio >= 0.5)),
        ),
        target(
            "total time: coverage of the 95 % interval",
            "93 to 97 %",
            coverage(figures.total.map(|total| total.coverage)),
        ),
        target(
            "downtime: coverage of the 95 % interval",
            "93 to 97 %",
            coverage(figures.downtime.map(|downtime| downtime.coverage)),
        ),
        target(
            "promises kept",
            "at least 99 %",
            kept.map(|ratio| {
                let Share { part, of } = counts.kept;
                (format!("{} ({part} of {of})", percent(ratio)), ratio >= 0.99)
            }),
        ),
        target("needless refusals", "none", {
            let Counts { right, needless, unchecked, .. } = counts;
            let found = format!("{needless} ({right} right, {unchecked} unchecked)");
            Some((found, *needless == 0))
        }),
    ]
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use punctual_engine::report::{
        Ending, Engine, Holder, Interval, Intervals, Measured, Policy, Predicted, Promise,
        Promised, Quantiles, Report,
    };
    use punctual_units::{Bytes, BytesPerSecond};

    use super::super::{Fate, Verdict};
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Intervals reach from half to twice the median.
    pub(in super::super) fn predicted(downtime: u64, total: u64) -> Predicted {
        let quantiles = |time: u64| Quantiles { p50: ms(time), p99: ms(time * 2) };
        let interval = |time: u64| Interval { low: ms(time / 2), high: ms(time * 2) };
        Predicted {
            downtime: quantiles(downtime),
            total: quantiles(total),
            wire_bytes: Bytes::mib(1),
            interval95: Intervals { downtime: interval(downtime), total: interval(total) },
        }
    }

    fn report(outcome: Ending, promise: Option<Promise>, downtime: u64) -> Report {
        Report {
            machine: "idle".to_owned(),
            from: "a".to_owned(),
            to: "b".to_owned(),
            engine: Engine::External,
            mode: Default::default(),
            policy: Policy::HeldBack,
            promised: Promised { downtime: ms(50), total: ms(30_000) },
            predicted: Some(predicted(20, 4000)),
            measured: Measured {
                downtime: (outcome == Ending::Completed).then(|| ms(downtime)),
                total: ms(4200),
                ..Measured::default()
            },
            ram_digest_equal: None,
            outcome,
            promise,
            owner: Holder::Destination,
            reason: String::new(),
            codes: vec![],
            samples: vec![],
        }
    }

    fn trip(stage: Stage, link: u64, report: Report, forced: Option<Report>) -> Trip {
        Trip {
            number: 1,
            stage,
            workload: Occupation::ALL[0],
            link: BytesPerSecond::megabits(link),
            asked: ms(50),
            baseline_gap: ms(2),
            report,
            forced,
        }
    }

    fn kept(downtime: u64) -> Report {
        report(Ending::Completed, Some(Promise::Kept), downtime)
    }

    #[test]
    fn a_refusal_is_judged_by_the_forced_move() {
        let refused = || report(Ending::Refused, Some(Promise::Refused), 0);
        let broken = report(Ending::Completed, Some(Promise::Broken), 80);
        let verdict = |forced| trip(Stage::Warm, 100, refused(), forced).verdict();
        assert_eq!(verdict(Some(kept(40))), Some(Verdict::Needless));
        assert_eq!(verdict(Some(broken)), Some(Verdict::Right));
        assert_eq!(verdict(Some(refused())), Some(Verdict::Unchecked));
        assert_eq!(verdict(None), Some(Verdict::Unchecked));
        assert_eq!(trip(Stage::Warm, 100, kept(1), None).verdict(), None);
        let given_up = report(Ending::Failed, Some(Promise::Refused), 0);
        assert_eq!(Fate::of(&given_up), Fate::GivenUp);
        assert_eq!(Fate::of(&report(Ending::Failed, None, 0)), Fate::Failed);
    }

    #[test]
    fn only_warm_moves_are_judged() {
        let broken = report(Ending::Completed, Some(Promise::Broken), 80);
        let refused = report(Ending::Refused, Some(Promise::Refused), 0);
        let trips = vec![
            trip(Stage::Cold, 100, broken.clone(), None),
            trip(Stage::Warm, 100, kept(24), None),
            trip(Stage::Warm, 300, kept(22), None),
            trip(Stage::Warm, 300, refused, Some(broken)),
            trip(Stage::Digest, 300, kept(900), None),
        ];
        let made =
            Predictions { qemu: "10".to_owned(), seed: 1, within: ms(30_000), planned: 5, trips };
        let summary = made.summary();
        let Counts { kept, refused, right, .. } = summary.warm.counts;
        assert_eq!((kept, refused, right), (Share { part: 2, of: 2 }, 1, 1));
        assert_eq!(summary.cold.counts.broken, 1);
        assert_eq!((summary.warm.figures.moves, summary.forced.figures.moves), (2, 1));
        assert_eq!(summary.forced.figures.close.part, 0);
        assert_eq!(summary.links.len(), 2);
        assert_eq!(summary.links[1].figures.moves, 1);
        let reached: Vec<_> = summary.targets.iter().map(|target| target.reached).collect();
        // Intervals that hold everything are too wide.
        let expected = [true, true, false, false, true, true].map(Some);
        assert_eq!(reached, expected, "{:?}", summary.targets);
        let json = serde_json::to_string(&made).unwrap();
        assert_eq!(serde_json::from_str::<Predictions>(&json).unwrap(), made);
    }

    #[test]
    fn without_predictions_nothing_is_claimed() {
        let unpredicted = Report { predicted: None, ..kept(20) };
        let trips = vec![trip(Stage::Warm, 100, unpredicted, None)];
        let made = Predictions { qemu: String::new(), seed: 1, within: ms(1), planned: 1, trips };
        let targets = made.summary().targets;
        assert!(targets[..4].iter().all(|target| target.reached.is_none()), "{targets:?}");
    }
}
