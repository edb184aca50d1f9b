//! How a plan is made: all ways are forecast, one is chosen, and it is seen how little it needs.

use std::time::Duration;

use punctual_engine::FixedCost;
use punctual_model::Policy;
use punctual_trace::Trace;
use punctual_units::Pages;

use super::choose::{choice, nearest, taken};
use super::search::Search;
use super::{Basis, Plan, depending, other_ways};
use crate::predict::{Alone, Prospect, Workers, expected};
use crate::replay::Replay;
use crate::{Ask, Facts};

/// So many moves are simulated of each way, ...
const SAMPLES: usize = 8;
/// ... and of the one that takes the longest to simulate.
const SAMPLES_CONTINUOUS: usize = 3;
/// Of a machine with more pages that matter only a part is simulated: at least so many ...
const LEAST_PAGES: u64 = 1 << 15;
/// ... and at most these, ...
const MOST_PAGES: u64 = 1 << 18;
/// ... so that at least this number makes up the interruption that is asked for.
const TELLING: f64 = 32.0;
/// Where only a bandwidth is sought, of the pages simulated this part is enough.
const COARSER: u64 = 4;

/// Plans a move of the machine of `trace`: what each way would do, and which one to take.
///
/// Every way that copies while the machine runs is simulated from several moments of the trace; see [`Prospect::forecast`]. The
/// same arguments give the same plan.
///
/// Cost: seconds, see `docs/prediction.md`.
#[must_use]
pub fn plan(trace: &Trace, facts: &Facts, ask: &Ask) -> Plan {
    plan_with(trace, facts, ask, &Alone)
}

/// The same with the simulated moves carried out by `workers`.
#[must_use]
pub fn plan_with(trace: &Trace, facts: &Facts, ask: &Ask, workers: &dyn Workers) -> Plan {
    let most = pages(trace, facts, ask);
    let replay = Replay::new(trace, most);
    let prospect = Prospect { replay: &replay, facts, ask };
    let mut ways: Vec<_> =
        Policy::OWN.map(|policy| prospect.forecast(policy, samples(policy), workers)).into();
    ways.push(depending::hybrid(&prospect, SAMPLES, workers));
    ways.push(depending::post_copy(&prospect, SAMPLES));
    ways.push(other_ways::stop_and_copy(&prospect, SAMPLES));
    ways.push(other_ways::restart(&prospect));
    let taken = taken(&ways, ask);
    let coarse = Replay::new(trace, Pages::new(most.get() / COARSER));
    let search = Search { replay: &coarse, facts, ask, workers };
    let kept_by = taken.and_then(|forecast| forecast.way.policy());
    let best = kept_by.or_else(|| nearest(&ways)?.way.policy());
    let cheapest_bandwidth = best.and_then(|policy| search.cheapest(policy, kept_by.is_some()));
    let choice = choice(taken, &ways, &prospect, cheapest_bandwidth, workers);
    Plan {
        plan_version: Plan::VERSION,
        machine: trace.about().machine.clone(),
        process: None,
        ask: ask.clone(),
        basis: basis(trace, &prospect),
        ways,
        cheapest_bandwidth,
        choice,
    }
}

/// How many samples there are of a policy.
fn samples(policy: Policy) -> usize {
    if policy == Policy::Continuous { SAMPLES_CONTINUOUS } else { SAMPLES }
}

/// How many pages are simulated: few cost little, but too few cannot tell a short interruption from
/// none.
fn pages(trace: &Trace, facts: &Facts, ask: &Ask) -> Pages {
    let about = trace.about();
    let (fixed, _) = expected(&facts.fixed, FixedCost::default(), ask.confidence);
    let fixed = fixed.sum() + facts.round_trip;
    let copy = ask.downtime.saturating_sub(fixed).max(Duration::from_millis(1));
    let rate = ask.bandwidth.map_or(facts.bandwidth, |asked| asked.min(facts.bandwidth));
    let left = rate.bytes_in(copy).get() as f64 / about.content.again.max(64.0);
    let most = about.populated.len().get() as f64 * TELLING / left;
    Pages::new((most as u64).clamp(LEAST_PAGES, MOST_PAGES))
}

fn basis(trace: &Trace, prospect: &Prospect<'_>) -> Basis {
    let Prospect { replay, facts, .. } = prospect;
    let mut assumed = Vec::new();
    if facts.fixed.is_empty() {
        assumed.push("no move was measured here yet: fixed costs are those of small guests".into());
    }
    if facts.preparing.is_empty() {
        assumed
            .push(format!("from the offer to the first page {} ms", Facts::PREPARING.as_millis()));
    }
    Basis {
        trace: trace.duration(),
        recorded_at: trace.about().recorded_at,
        populated: trace.about().populated.len().bytes(),
        written_rate: trace.write_rate(),
        bandwidth: prospect.rate(),
        samples: SAMPLES as u32,
        thinning: replay.thinning().one_in(),
        assumed,
    }
}
