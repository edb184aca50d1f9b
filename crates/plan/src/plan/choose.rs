//! Which way is taken, and what there is to say where none may be.

use std::time::Duration;

use punctual_engine::report::Predicted;
use punctual_model::{Mode, Policy};
use punctual_units::BytesPerSecond;

use super::{AtMost, Choice, Forecast, Reachable, Way};
use crate::Ask;
use crate::predict::{Prospect, Workers};

/// Where only a bandwidth or an interruption is sought, so many moves are simulated.
pub(super) const FEW: usize = 2;
/// Whole moves that differ by less than this share take as long as each other.
const AS_LONG: f64 = 0.03;
/// `continuous` chooses anew all the time, and pays for that with more scans and a longer way of each
/// portion than simulated: it has to be better than that by this share.
const CLEARLY: f64 = 0.1;
/// Interruptions that differ by less than this factor are not worth a greater risk.
const NEARLY: f64 = 2.0;
/// Interruptions that can be had are sought on a ladder with steps of this ratio, ...
const STEP: f64 = 1.5;
/// ... up to so many steps, some 660 times what was asked, and to this share of the time in all.
const STEPS: u32 = 16;
const LONGEST: f64 = 0.5;

/// What to do with what the ways were found to do.
pub(super) fn choice(
    taken: Option<&Forecast>,
    ways: &[Forecast],
    prospect: &Prospect<'_>,
    cheapest: Option<BytesPerSecond>,
    workers: &dyn Workers,
) -> Choice {
    match taken {
        Some(forecast) => {
            Choice::Take { way: forecast.way, why: why(forecast, ways, prospect.ask) }
        }
        None => refusal(prospect, ways, cheapest, workers),
    }
}

/// The way that keeps what was asked in the mode that risks the least; of several the one with the
/// shortest move, and of those that take as long, the one with the shortest interruption.
pub(super) fn taken<'a>(ways: &'a [Forecast], ask: &Ask) -> Option<&'a Forecast> {
    let keeping = || ways.iter().filter(|forecast| may_be_taken(forecast, ask));
    let mode = keeping().map(|forecast| risk(forecast.way.mode())).min()?;
    let total = |forecast: &Forecast, predicted: &Predicted| match forecast.way {
        Way::Continuous => predicted.total.p50.mul_f64(1.0 + CLEARLY),
        _ => predicted.total.p50,
    };
    let keeping: Vec<_> = keeping()
        .filter(|forecast| risk(forecast.way.mode()) == mode)
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

fn may_be_taken(forecast: &Forecast, ask: &Ask) -> bool {
    forecast.excluded.is_none() && forecast.keeps >= ask.confidence && forecast.predicted.is_some()
}

/// What a mode risks: the least first. A pre-copy can be given up at any time; a hybrid depends on two
/// hosts for as long as little is missing, a post-copy until all has come. An interruption as long as
/// the whole copy is nobody's choice but where it was allowed, and what a restart loses is lost.
const fn risk(mode: Mode) -> u8 {
    match mode {
        Mode::PreCopy => 0,
        Mode::Hybrid => 1,
        Mode::PostCopy => 2,
        Mode::StopAndCopy => 3,
        Mode::Restart => 4,
    }
}

/// The pre-copy that keeps it most often.
pub(super) fn nearest(ways: &[Forecast]) -> Option<&Forecast> {
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
    let competes = |forecast: &&Forecast| {
        let risks_more = risk(forecast.way.mode()) > risk(taken.way.mode());
        forecast.way != taken.way && forecast.excluded.is_none() && !risks_more
    };
    let mut others: Vec<_> = (ways.iter())
        .filter(competes)
        .map(|forecast| match forecast.keeps >= ask.confidence {
            true => format!("`{}` takes {}", forecast.way, shown(forecast)),
            false => format!("`{}` keeps it in {:.0} % only", forecast.way, percent(forecast)),
        })
        .collect();
    if let Some(exposure) = &taken.exposure {
        let (likely, most) = (Time(exposure.p50), Time(exposure.p99));
        others.insert(0, format!("the machine depends on two hosts for {likely} (99 %: {most})"));
    }
    let (way, downtime, taken) = (taken.way, Time(ask.downtime), shown(taken));
    let others: String = others.iter().map(|other| format!("; {other}")).collect();
    format!("`{way}` keeps {downtime} of interruption and takes {taken}{others}")
}

fn percent(forecast: &Forecast) -> f64 {
    forecast.keeps.get() * 100.0
}

/// What there is to say where no way that may be taken keeps what was asked.
fn refusal(
    prospect: &Prospect<'_>,
    ways: &[Forecast],
    cheapest: Option<BytesPerSecond>,
    workers: &dyn Workers,
) -> Choice {
    let ask = prospect.ask;
    let pre_copy = ask.mode.is_none_or(|mode| mode == Mode::PreCopy);
    let live = pre_copy.then(|| shortest_kept(prospect, workers)).flatten();
    let others = (ways.iter())
        .filter(|forecast| forecast.way.policy().is_none() && forecast.excluded.is_none())
        .filter_map(|forecast| Some(Reachable { way: forecast.way, at_most: forecast.at_most? }))
        .filter(|reach| reach.at_most.total <= ask.within);
    let best = best(&live.into_iter().chain(others).collect::<Vec<_>>());
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
        Some(rate) => why.push_str(&format!("; with {rate} a pre-copy could keep it")),
        None => why.push_str("; no bandwidth alone would help a pre-copy"),
    }
    let excluded = ways.iter().filter(|forecast| forecast.way.mode() != Mode::Restart);
    for forecast in excluded.filter(|forecast| forecast.keeps >= ask.confidence) {
        if let Some(reason) = &forecast.excluded {
            why.push_str(&format!("; `{}` would keep it, but {reason}", forecast.way));
        }
    }
    Choice::None { best, why }
}

/// The one with the shortest interruption, or one that risks less and takes nearly as short.
fn best(reachable: &[Reachable]) -> Option<Reachable> {
    let shortest = reachable.iter().map(|reach| reach.at_most.downtime).min()?;
    let nearly = |reach: &&Reachable| reach.at_most.downtime <= shortest.mul_f64(NEARLY);
    reachable.iter().filter(nearly).min_by_key(|reach| risk(reach.way.mode())).copied()
}

/// The shortest interruption that would be kept if it were asked for, on a ladder from what was.
fn shortest_kept(prospect: &Prospect<'_>, workers: &dyn Workers) -> Option<Reachable> {
    const POLICY: Policy = Policy::HeldBack;
    let way = Way::by(POLICY);
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
