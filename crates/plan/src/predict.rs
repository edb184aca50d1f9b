//! What a move will take, by simulating it from many moments of a recorded trace.
//!
//! Each simulated move is a sample: it begins at another moment of the trace, with fixed costs, a
//! time for preparing and a bandwidth that the host has seen or could. The samples become quantiles
//! and intervals by [`Calibration`](punctual_model::Calibration), which knows how far past
//! predictions were off.

mod fixed;
pub mod following;
mod samples;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;
use std::time::Duration;

use punctual_engine::report::{Ending, Promise};
use punctual_engine::{FixedCost, Report, Request};
use punctual_model::{Policy, Strategy};
use punctual_units::{BytesPerSecond, Pages};

pub use fixed::{Usual, expected};
pub(crate) use samples::{Missing, Sample, Samples};

use crate::replay::{Playback, Replay};
use crate::simulate::{Costs, Link, Terms, simulate};
use crate::{Ask, Facts, Forecast, Way};

/// If none of so many simulated moves keeps what was asked, no more are simulated.
const TELLING: usize = 2;
/// How much of what was watched before a move goes into it.
pub(crate) const WATCHED: Duration = Duration::from_secs(60);

/// What the two scans of a machine with so many populated pages take while it stands.
#[must_use]
pub fn scans_while_stopped(populated: Pages) -> Duration {
    Costs::default().look.mul_f64(2.0 * populated.get() as f64)
}

/// Who carries out independent jobs. The caller may have threads, this crate has none.
pub trait Workers {
    /// Calls `job` once with each number below `jobs`, in any order, and returns when all are done.
    fn each(&self, jobs: usize, job: &(dyn Fn(usize) + Sync));
}

/// One after the other.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Workers for Alone {
    fn each(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..jobs).for_each(job);
    }
}

/// A move of which it is to be known what it will take.
#[derive(Debug, Clone, Copy)]
pub struct Prospect<'a> {
    /// The machine and its writes.
    pub replay: &'a Replay,
    /// The hosts and the link.
    pub facts: &'a Facts,
    /// What is asked.
    pub ask: &'a Ask,
}

impl Prospect<'_> {
    /// Simulates `samples` moves by `policy`, and says what one will take.
    ///
    /// Cost: that of so many [`simulate`]d moves.
    #[must_use]
    pub fn forecast(&self, policy: Policy, samples: usize, workers: &dyn Workers) -> Forecast {
        self.samples(policy, samples, false, workers).forecast(
            Way::by(policy),
            self.facts,
            self.ask,
        )
    }

    /// The samples themselves. With `force` the machine is moved in any case, at the best moment.
    pub(crate) fn samples(
        &self,
        policy: Policy,
        samples: usize,
        force: bool,
        workers: &dyn Workers,
    ) -> Samples {
        self.each(samples, workers, &|number| {
            Sample::of(self.simulate(policy, number, samples, force))
        })
    }

    /// The samples that `make` makes of each number.
    pub(crate) fn each(
        &self,
        samples: usize,
        workers: &dyn Workers,
        make: &(dyn Fn(usize) -> Sample + Sync),
    ) -> Samples {
        let slots: Vec<OnceLock<Sample>> = (0..samples).map(|_| OnceLock::new()).collect();
        let each = |from: usize, jobs: usize| {
            workers.each(jobs, &|job| {
                // A number that comes twice gives the same sample.
                let _ = slots[from + job].set(make(from + job));
            });
        };
        // Moves that come to nothing take the longest to simulate: where the first do, so will more.
        let first = samples.min(TELLING);
        each(0, first);
        if slots.iter().filter_map(OnceLock::get).any(|sample| sample.kept) {
            each(first, samples - first);
        }
        slots.into_iter().filter_map(OnceLock::into_inner).collect()
    }

    /// Simulates the move that begins at the moment with this number, of so many.
    #[must_use]
    pub fn simulate(&self, policy: Policy, number: usize, of: usize, force: bool) -> Report {
        self.simulate_by(policy, policy.strategy(), number, of, force)
    }

    /// The same by a strategy that is the policy's but for a part.
    pub(crate) fn simulate_by(
        &self,
        policy: Policy,
        strategy: Strategy,
        number: usize,
        of: usize,
        force: bool,
    ) -> Report {
        let draw = Draw { number: number as u64 };
        let start = self.replay.duration().mul_f64((number as f64 + draw.unit(0)) / of as f64);
        let Drawn { rate, fixed, preparing } = draw.of(self.facts);
        let link = Link::new(rate, self.facts.round_trip);
        let costs = Costs::from_history(fixed, preparing, &link);
        let terms = Terms { downtime: self.ask.downtime, bandwidth: self.ask.bandwidth };
        let mut writes = Playback::new(self.replay, start, self.facts.writing, number as u64);
        let mut request = Request { strategy, force, ..self.request(policy) };
        request.heat = Some(self.replay.heat(start, WATCHED));
        simulate(self.replay.subject(), &mut writes, &link, &costs, terms, request)
    }

    /// What the host would ask of its engine.
    fn request(&self, policy: Policy) -> Request {
        let (fixed, fixed_spread) = self.expected();
        Request {
            within: self.ask.within,
            fixed,
            fixed_spread,
            round_trip: self.facts.round_trip,
            confidence: self.ask.confidence,
            ..Request::new(self.ask.to.clone(), policy)
        }
    }

    /// What an interruption is expected to take beside the pages, and what comes on top so that it is
    /// not exceeded with the confidence that was asked for.
    pub(crate) fn expected(&self) -> (FixedCost, Duration) {
        expected(&self.facts.fixed, FixedCost::default(), self.ask.confidence)
    }

    /// What is expected of the link.
    pub(crate) fn rate(&self) -> BytesPerSecond {
        let link = self.facts.bandwidth;
        self.ask.bandwidth.map_or(link, |asked| asked.min(link))
    }

    /// What the move with this number finds, and may use of it.
    pub(crate) fn drawn(&self, number: usize) -> Drawn {
        let drawn = Draw { number: number as u64 }.of(self.facts);
        let rate = self.ask.bandwidth.map_or(drawn.rate, |asked| asked.min(drawn.rate));
        Drawn { rate, ..drawn }
    }
}

/// What differs from sample to sample, by the sample's number alone.
#[derive(Debug, Clone, Copy)]
struct Draw {
    number: u64,
}

/// What a move finds, whatever way it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drawn {
    /// What the link carries.
    pub(crate) rate: BytesPerSecond,
    pub(crate) fixed: FixedCost,
    /// From the offer to the first page.
    pub(crate) preparing: Duration,
}

impl Draw {
    /// A number from 0 to 1; `about` tells different things of one sample apart.
    fn unit(self, about: u64) -> f64 {
        crate::chance::unit(self.number << 8 | about)
    }

    fn one<T: Copy>(self, about: u64, of: &[T]) -> Option<T> {
        of.get((self.unit(about) * of.len() as f64) as usize).copied()
    }

    fn of(self, facts: &Facts) -> Drawn {
        Drawn {
            rate: self.rate(facts),
            fixed: self.one(1, &facts.fixed).unwrap_or_default(),
            preparing: self.one(2, &facts.preparing).unwrap_or(Facts::PREPARING),
        }
    }

    /// The link's rate, scattered by a normal distribution cut at three deviations.
    fn rate(self, facts: &Facts) -> BytesPerSecond {
        let (radius, angle) = (self.unit(3).max(1e-9), self.unit(4) * std::f64::consts::TAU);
        let normal = ((-2.0 * radius.ln()).sqrt() * angle.cos()).clamp(-3.0, 3.0);
        let share = (1.0 + facts.bandwidth_spread * normal).max(0.1);
        BytesPerSecond::new((facts.bandwidth.get() as f64 * share) as u64)
    }
}

impl Sample {
    /// Whether the machine of a simulated move came to run there.
    pub(crate) fn came_to_its_end(report: &Report) -> bool {
        report.outcome == Ending::Completed
    }

    pub(crate) fn of(report: Report) -> Self {
        let completed = Self::came_to_its_end(&report);
        Self {
            kept: report.promise == Some(Promise::Kept),
            times: report
                .measured
                .downtime
                .filter(|_| completed)
                .map(|downtime| (downtime.as_secs_f64(), report.measured.total.as_secs_f64())),
            missing: None,
            wire_bytes: report.measured.wire_bytes,
            reason: report.reason,
        }
    }
}
