//! How a plan is made: all ways are forecast, one is chosen, and it is seen how little it needs.

use std::time::Duration;

use punctual_engine::report::Predicted;
use punctual_model::Policy;
use punctual_trace::Trace;
use punctual_units::{Bytes, BytesPerSecond, Pages};

use super::{AtMost, Basis, Choice, Forecast, Plan, Reachable, Way, other_ways};
use crate::predict::{Alone, Prospect, Workers, expected};
use crate::replay::Replay;
use crate::{Ask, Facts};

/// So many moves are simulated of each way, ...
const SAMPLES: usize = 8;
/// ... of the one that takes the longest to simulate, ...
const SAMPLES_CONTINUOUS: usize = 3;
/// ... and where only a bandwidth is sought.
const FEW: usize = 2;
/// Of a machine with more pages that matter only a part is simulated: at least so many ...
const LEAST_PAGES: u64 = 1 << 15;
/// ... and at most these, ...
const MOST_PAGES: u64 = 1 << 18;
/// ... so that at least this number makes up the interruption that is asked for.
const TELLING: f64 = 32.0;
/// Where only a bandwidth is sought, of the pages simulated this part is enough.
const COARSER: u64 = 4;
/// Whole moves that differ by less than this share take as long as each other.
const AS_LONG: f64 = 0.03;
/// `continuous` chooses anew all the time, and pays for that with more scans and a longer way of each
/// portion than simulated: it has to be better than that by this share.
const CLEARLY: f64 = 0.1;
/// Interruptions that can be had are sought on a ladder with steps of this ratio, ...
const STEP: f64 = 1.5;
/// ... up to so many steps, some 660 times what was asked, and to this share of the time in all.
const STEPS: u32 = 16;
const LONGEST: f64 = 0.5;
/// A bandwidth is sought to this share of it.
const EXACT: f64 = 0.1;
/// It is not sought beyond so many times what the link carries.
const FARTHEST: u64 = 16;

/// Plans a move of the machine of `trace`: what each way would do, and which one to take.
///
/// Every live way is simulated from several moments of the trace; see [`Prospect::forecast`]. The
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
        Policy::ALL.map(|policy| prospect.forecast(policy, samples(policy), workers)).into();
    ways.push(other_ways::stop_and_copy(&prospect, SAMPLES));
    ways.push(other_ways::restart(&prospect));
    let taken = taken(&ways, ask);
    let coarse = Replay::new(trace, Pages::new(most.get() / COARSER));
    let search = Search { replay: &coarse, facts, ask, workers };
    let best = taken.or_else(|| nearest(&ways)).and_then(|forecast| forecast.way.policy());
    let cheapest_bandwidth = best.and_then(|policy| search.cheapest(policy, taken.is_some()));
    let choice = match taken {
        Some(forecast) => Choice::Take { way: forecast.way, why: why(forecast, &ways, ask) },
        None => refusal(&prospect, &ways, cheapest_bandwidth, workers),
    };
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
    let fixed = expected(&facts.fixed, ask.confidence).0.sum() + facts.round_trip;
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

/// The live way that keeps what was asked with the shortest move; of those that take as long, the
/// one with the shortest interruption.
fn taken<'a>(ways: &'a [Forecast], ask: &Ask) -> Option<&'a Forecast> {
    let live = |forecast: &&Forecast| forecast.way.policy().is_some();
    let total = |forecast: &Forecast, predicted: &Predicted| match forecast.way {
        Way::Continuous => predicted.total.p50.mul_f64(1.0 + CLEARLY),
        _ => predicted.total.p50,
    };
    let keeping: Vec<_> = ways
        .iter()
        .filter(live)
        .filter(|forecast| forecast.keeps >= ask.confidence)
        .filter_map(|forecast| Some((forecast, forecast.predicted?)))
        .map(|(forecast, predicted)| {
            (forecast, total(forecast, &predicted), predicted.downtime.p50)
        })
        .collect();
    let shortest = keeping.iter().map(|(_, total, _)| *total).min()?;
    keeping
        .into_iter()
        .filter(|(_, total, _)| *total <= shortest.mul_f64(1.0 + AS_LONG))
        .min_by_key(|(_, _, downtime)| *downtime)
        .map(|(forecast, _, _)| forecast)
}

/// The live way that keeps it most often.
fn nearest(ways: &[Forecast]) -> Option<&Forecast> {
    let live = ways.iter().filter(|forecast| forecast.way.policy().is_some());
    live.reduce(|best, other| if other.keeps > best.keeps { other } else { best })
}

fn why(taken: &Forecast, ways: &[Forecast], ask: &Ask) -> String {
    let shown = |forecast: &Forecast| {
        let predicted = forecast.predicted.as_ref();
        predicted.map_or_else(String::new, |predicted| {
            let (downtime, total) = (predicted.downtime.p50, predicted.total.p50);
            format!("{} with {} of interruption", Time(total), Time(downtime))
        })
    };
    let others: Vec<_> = (ways.iter())
        .filter(|forecast| forecast.way.policy().is_some() && forecast.way != taken.way)
        .map(|forecast| match forecast.keeps >= ask.confidence {
            true => format!("`{}` takes {}", forecast.way, shown(forecast)),
            false => format!("`{}` keeps it in {:.0} % only", forecast.way, percent(forecast)),
        })
        .collect();
    format!(
        "`{}` keeps {} of interruption and takes {}; {}",
        taken.way,
        Time(ask.downtime),
        shown(taken),
        others.join(", ")
    )
}

fn percent(forecast: &Forecast) -> f64 {
    forecast.keeps.get() * 100.0
}

/// What there is to say where no way keeps what was asked.
fn refusal(
    prospect: &Prospect<'_>,
    ways: &[Forecast],
    cheapest: Option<BytesPerSecond>,
    workers: &dyn Workers,
) -> Choice {
    let live = shortest_kept(prospect, workers);
    let saved = ways.iter().find(|forecast| forecast.way == Way::StopAndCopy);
    let saved = saved
        .and_then(|forecast| Some(Reachable { way: forecast.way, at_most: forecast.at_most? }))
        .filter(|reach| reach.at_most.total <= prospect.ask.within);
    let best = live.into_iter().chain(saved).min_by_key(|reach| reach.at_most.downtime);
    let ask = prospect.ask;
    let mut why = format!(
        "no way keeps {} of interruption within {} at {}",
        Time(ask.downtime),
        Time(ask.within),
        prospect.rate()
    );
    match &best {
        Some(Reachable { way, at_most }) => why.push_str(&format!(
            "; the best that can be had is {} by `{way}`, in {}",
            Time(at_most.downtime),
            Time(at_most.total)
        )),
        None => why.push_str("; nor does any come to its end in that time: allow more"),
    }
    match cheapest {
        Some(rate) => why.push_str(&format!("; with {rate} it could be kept")),
        None => why.push_str("; no bandwidth alone would help"),
    }
    Choice::None { best, why }
}

/// The shortest interruption that would be kept if it were asked for, on a ladder from what was.
fn shortest_kept(prospect: &Prospect<'_>, workers: &dyn Workers) -> Option<Reachable> {
    const POLICY: Policy = Policy::HeldBack;
    let way = crate::predict::way(POLICY);
    let asked = |step: u32| {
        let downtime = prospect.ask.downtime.mul_f64(STEP.powi(step as i32));
        let ask = Ask { downtime, ..prospect.ask.clone() };
        let prospect = Prospect { ask: &ask, ..*prospect };
        let samples = prospect.samples(POLICY, FEW, false, workers);
        let forecast = samples.forecast(way, prospect.facts, &ask);
        let at_most = forecast.at_most.filter(|_| forecast.keeps >= ask.confidence)?;
        Some(Reachable { way, at_most: AtMost { downtime, ..at_most } })
    };
    let longest = prospect.ask.within.mul_f64(LONGEST);
    let ratio = longest.div_duration_f64(prospect.ask.downtime).max(1.0);
    let highest = STEPS.min((ratio.ln() / STEP.ln()) as u32);
    // What was asked itself is not kept, and what is kept is kept with more as well.
    let (mut kept, mut least, mut most) = (asked(highest)?, 0, highest);
    while most - least > 1 {
        let middle = u32::midpoint(least, most);
        match asked(middle) {
            Some(reach) => (kept, most) = (reach, middle),
            None => least = middle,
        }
    }
    Some(kept)
}

/// Looks for the least bandwidth with which a promise is kept.
struct Search<'a> {
    replay: &'a Replay,
    facts: &'a Facts,
    ask: &'a Ask,
    workers: &'a dyn Workers,
}

impl Search<'_> {
    fn keeps(&self, policy: Policy, rate: BytesPerSecond) -> bool {
        let facts = Facts { bandwidth: rate.max(self.facts.bandwidth), ..self.facts.clone() };
        let ask = Ask { bandwidth: Some(rate), ..self.ask.clone() };
        let prospect = Prospect { replay: self.replay, facts: &facts, ask: &ask };
        prospect.samples(policy, FEW, false, self.workers).kept() >= self.ask.confidence
    }

    /// By halving between a rate that is too low and one that does, assuming that more never hurts.
    fn cheapest(&self, policy: Policy, kept: bool) -> Option<BytesPerSecond> {
        let link = self.facts.bandwidth;
        let given = self.ask.bandwidth.map_or(link, |asked| asked.min(link));
        let (mut low, mut high) = (self.least(), given);
        if !kept {
            low = given;
            let farthest = BytesPerSecond::new(link.get().saturating_mul(FARTHEST));
            loop {
                if high >= farthest {
                    return None;
                }
                high = BytesPerSecond::new(high.get().saturating_mul(2).min(farthest.get()));
                if self.keeps(policy, high) {
                    break;
                }
                low = high;
            }
        }
        while high.get() as f64 > low.get() as f64 * (1.0 + EXACT) {
            let middle = (low.get() as f64 * high.get() as f64).sqrt();
            let middle = BytesPerSecond::new((middle as u64).max(1));
            if self.keeps(policy, middle) { high = middle } else { low = middle }
        }
        Some(high)
    }

    /// Below this not even one round would be over in time.
    fn least(&self) -> BytesPerSecond {
        let subject = self.replay.subject();
        let pages = subject.populated.len().get() * u64::from(subject.thinning);
        let bytes = pages as f64 * subject.content.zero.complement().get() * subject.content.first;
        let rate = Bytes::new(bytes as u64).per(self.ask.within).unwrap_or_default();
        BytesPerSecond::new(rate.get().max(1000).min(self.facts.bandwidth.get()))
    }
}

/// A time as people read it.
struct Time(Duration);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds < 1.0 {
            write!(f, "{:.1} ms", seconds * 1e3)
        } else {
            write!(f, "{seconds:.1} s")
        }
    }
}
