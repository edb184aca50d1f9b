//! The ways behind which pages follow the machine: their interruption is the fixed part, the scans
//! and the list of what is missing; the rest of the time the machine depends on two hosts.
//!
//! The rounds before the handover of a hybrid are simulated; what follows is computed. Nothing does where
//! what the rounds leave can be copied within the interruption that is asked for.

use std::num::NonZeroU32;
use std::time::Duration;

use punctual_engine::{FixedCost, Report};
use punctual_model::{Mode, Rounds, Strategy};
use punctual_units::{Bytes, Pages};

use super::exposure::waits;
use super::other_ways::Memory;
use super::{Forecast, Way};
use crate::Ask;
use crate::predict::{
    Drawn, Missing, Prospect, Sample, Samples, WATCHED, Workers, scans_while_stopped,
};
use crate::simulate::Costs;

/// A hybrid goes on with its rounds as long as each leaves less than this share of what was left ...
const WORTHWHILE: f64 = 0.8;
/// ... and no longer than so many.
const MOST_ROUNDS: u32 = 4;
/// So many moves are simulated to find out how many rounds those are.
const FEW: usize = 2;
/// What a page missing takes in the list of all, in bytes: the distance from the one before, and how
/// many follow it. Neighbours take less.
const LISTED: f64 = 3.0;

/// The machine runs there at once, and all of its memory follows.
pub(super) fn post_copy(prospect: &Prospect<'_>, samples: usize) -> Forecast {
    let facts = &prospect.facts.if_pages_follow(Mode::PostCopy);
    let prospect = &Prospect { facts, ..*prospect };
    let memory = Memory::of(prospect.replay);
    let samples: Samples = (0..samples)
        .map(|number| {
            let Drawn { rate, fixed, preparing } = prospect.drawn(number);
            let pages = memory.zero + memory.filled;
            // Nearly all of it is missing, so that the list is as short as the memory has few holes.
            let state = rate.time_for(FixedCost::STATE);
            let downtime = fixed.sum()
                + facts.round_trip
                + scans_while_stopped(Pages::new(pages as u64))
                + state;
            let costs = Costs::default();
            let packing = costs.first.mul_f64(memory.filled) + costs.zero.mul_f64(memory.zero);
            let follows = rate.time_for(memory.packed).max(packing);
            Outcome { preparing, downtime, missing: pages, follows, sent: memory.packed }
                .judged(prospect.ask)
        })
        .collect();
    forecast(Way::PostCopy, prospect, &samples)
}

/// Rounds of copying as long as they gain anything, and then what is left follows the machine, where it
/// cannot be copied within what is asked.
pub(super) fn hybrid(prospect: &Prospect<'_>, samples: usize, workers: &dyn Workers) -> Forecast {
    let facts = &prospect.facts.if_pages_follow(Mode::Hybrid);
    let follow = Follow { standing: prospect, following: Prospect { facts, ..*prospect } };
    let rounds = follow.rounds(workers);
    let spread = prospect.expected().1;
    let samples = follow.after_rounds(rounds, samples, workers, &|number, report| {
        let downtime = report.measured.downtime.unwrap_or_default();
        match downtime + spread <= prospect.ask.downtime {
            true => Sample::of(report),
            false => follow.sample(number, report),
        }
    });
    let mut forecast = match samples.mostly_follow() {
        true => forecast(Way::Hybrid, &follow.following, &samples),
        false => forecast(Way::Hybrid, prospect, &samples),
    };
    let rounds = rounds.get();
    forecast.remarks.push(format!("the machine changes hosts after {rounds} rounds of copying"));
    forecast
}

/// A hybrid by what is known of handovers at which all is copied, and of those behind which pages follow.
struct Follow<'a> {
    standing: &'a Prospect<'a>,
    following: Prospect<'a>,
}

impl Follow<'_> {
    /// How many rounds gain anything.
    fn rounds(&self, workers: &dyn Workers) -> NonZeroU32 {
        let mut best = NonZeroU32::MIN;
        let each = |number, report| self.sample(number, report);
        let left = |rounds| self.after_rounds(rounds, FEW, workers, &each).missing();
        let mut least = left(best);
        while best.get() < MOST_ROUNDS {
            let more = best.saturating_add(1);
            let now = left(more);
            if now as f64 > least as f64 * WORTHWHILE {
                break;
            }
            (best, least) = (more, now);
        }
        best
    }

    /// Simulated moves of so many rounds, what is left being copied while the machine stands; `make`
    /// makes a sample of each.
    fn after_rounds(
        &self,
        rounds: NonZeroU32,
        samples: usize,
        workers: &dyn Workers,
        make: &(dyn Fn(usize, Report) -> Sample + Sync),
    ) -> Samples {
        let policy = Way::Hybrid.copies_by();
        let strategy = Strategy { rounds: Rounds::Exactly(rounds), ..policy.strategy() };
        // The engine is to copy all that is left while the machine stands, however long that takes.
        let ask = self.standing.ask;
        let ask = Ask { downtime: ask.within, ..ask.clone() };
        let standing = Prospect { ask: &ask, ..*self.standing };
        standing.each(samples, workers, &|number| {
            make(number, standing.simulate_by(policy, strategy, number, samples, true))
        })
    }

    /// Takes a move for one in which what was copied while the machine stood follows it instead.
    fn sample(&self, number: usize, report: Report) -> Sample {
        let prospect = self.standing;
        let content = prospect.replay.subject().content;
        let measured = &report.measured;
        let Some(standing) = measured.downtime.filter(|_| Sample::came_to_its_end(&report)) else {
            return Sample::of(report);
        };
        let Drawn { rate, fixed: ordinary, .. } = prospect.drawn(number);
        let fixed = self.following.drawn(number).fixed;
        let memory = Memory::of(prospect.replay);
        let scans = scans_while_stopped(Pages::new((memory.zero + memory.filled) as u64));
        let copied = measured.phases.final_copy.saturating_sub(scans);
        let missing = rate.bytes_in(copied).get() as f64 / content.again.max(1.0);
        let list = rate.time_for(Bytes::new((missing * LISTED) as u64));
        // They go without the fingerprints of what was sent before, and so like pages sent first.
        let bytes = Bytes::new((missing * content.first) as u64);
        let before = measured.wire_bytes.saturating_sub(rate.bytes_in(copied));
        let rest = standing.saturating_sub(copied) + list;
        let outcome = Outcome {
            preparing: measured.total.saturating_sub(standing),
            downtime: (rest + fixed.sum()).saturating_sub(ordinary.sum()),
            missing,
            follows: rate.time_for(bytes),
            sent: before + bytes,
        };
        outcome.judged(prospect.ask)
    }
}

/// What comes of one move.
struct Outcome {
    /// Before the machine is stopped.
    preparing: Duration,
    downtime: Duration,
    /// Pages, and what it takes until they are there.
    missing: f64,
    follows: Duration,
    sent: Bytes,
}

impl Outcome {
    fn judged(self, ask: &Ask) -> Sample {
        let Self { preparing, downtime, missing, follows, sent } = self;
        let total = preparing + downtime + follows;
        Sample {
            kept: downtime <= ask.downtime && total <= ask.within,
            times: Some((downtime.as_secs_f64(), total.as_secs_f64())),
            missing: Some(Missing { pages: missing as u64, follow: follows.as_secs_f64() }),
            wire_bytes: sent,
            reason: String::new(),
        }
    }
}

fn forecast(way: Way, prospect: &Prospect<'_>, samples: &Samples) -> Forecast {
    let mut forecast = samples.forecast(way, prospect.facts, prospect.ask);
    if let Some(exposure) = &mut forecast.exposure {
        let subject = prospect.replay.subject();
        let one_in = u64::from(subject.thinning);
        let missing = exposure.missing.get() / one_in;
        let slot = exposure.p50.div_f64((missing as f64).max(1.0));
        let heat = prospect.replay.heat(prospect.replay.duration(), WATCHED);
        exposure.waits = waits(&heat, missing, slot) as u64 * one_in;
        forecast.remarks.push(format!(
            "{} MB are missing at the handover; up to {} waits for pages that are written (reads are \
             not traced, and come on top)",
            exposure.missing.bytes().get() / 1_000_000,
            exposure.waits,
        ));
    }
    forecast
}
