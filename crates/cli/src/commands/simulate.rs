//! `punctual simulate`

use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use comfy_table::Table;
use punctual_engine::report::{Ending, Report};
use punctual_engine::{FixedCost, Request};
use punctual_model::{HoldBack, Order, Policy, Rounds, Strategy};
use punctual_plan::Facts;
use punctual_plan::replay::{Playback, Replay};
use punctual_plan::simulate::{Costs, Link, Terms, simulate};
use punctual_plan::synthetic::Synthetic;
use punctual_trace::Trace;
use punctual_units::{BytesPerSecond, Pages, Probability};

use crate::arguments::{Global, time};
use crate::failure::Failure;
use crate::output::{self, milliseconds, plain, seconds};

/// More pages than this are simulated only in part.
const MOST_PAGES: Pages = Pages::new(1 << 20);

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// A file that `punctual trace` wrote, or a workload such as
    /// hot-cold:memory=4GiB,set=512MiB,rate=20000 (idle, uniform, hot-cold, zipf, sweep, phases)
    pub(crate) trace: String,
    /// How it is moved
    #[arg(long, value_enum, default_value_t = Way::Ordered)]
    pub(crate) policy: Way,
    /// The rate of the link
    #[arg(long, default_value = "1Gbit", value_name = "RATE")]
    pub(crate) bandwidth: BytesPerSecond,
    /// The time of a message and of its answer
    #[arg(long, default_value = "300us", value_name = "TIME", value_parser = time)]
    pub(crate) round_trip: Duration,
    /// Stop the guest after so many rounds, whatever is left [default: when the promise can be kept]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) rounds: Option<NonZeroU32>,
    /// The longest interruption
    #[arg(long, default_value = "50ms", value_name = "TIME", value_parser = time)]
    pub(crate) downtime: Duration,
    /// Give up after this time
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = time)]
    pub(crate) within: Duration,
    /// Hold back pages that are written with this probability or a higher one in the time of sending
    /// one page
    #[arg(long, value_name = "PI", value_parser = probability)]
    pub(crate) hold_back: Option<Probability>,
    /// The moment of the trace at which the move begins
    #[arg(long, default_value = "0ms", value_name = "TIME", value_parser = punctual_units::parse::duration)]
    pub(crate) start: Duration,
    /// Another number gives other moments of writing within the trace's scans
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) seed: u64,
}

/// A policy, or the order in which pages were last written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// In rounds, in the order of addresses
    PreCopy,
    /// In rounds, in the order that the model finds best
    Ordered,
    /// The same, and hot pages wait for the stop
    HeldBack,
    /// Without rounds: always what is least likely to be written again
    Continuous,
    /// In rounds, until Xen would stop
    Xen,
    /// In rounds, until QEMU would stop
    Qemu,
    /// In rounds, the least recently written pages first
    Lru,
}

impl Way {
    fn policy(self) -> Policy {
        match self {
            Self::PreCopy => Policy::PreCopy,
            Self::Ordered | Self::Lru => Policy::Ordered,
            Self::HeldBack => Policy::HeldBack,
            Self::Continuous => Policy::Continuous,
            Self::Xen => Policy::Xen,
            Self::Qemu => Policy::Qemu,
        }
    }
}

fn probability(text: &str) -> Result<Probability, String> {
    let number = text.parse().ok().and_then(Probability::new);
    number.ok_or_else(|| format!("`{text}` is no probability: write a number from 0 to 1"))
}

pub(super) fn run(global: &Global, said: &Simulate) -> Result<ExitCode, Failure> {
    let trace = trace(&said.trace)?;
    let replay = Replay::new(&trace, MOST_PAGES);
    let report = simulated(&replay, said);
    if global.json {
        output::json(&report)?;
    } else {
        output::line(course(&report))?;
        output::line(result(&replay, &report))?;
    }
    Ok(match report.outcome {
        Ending::Completed => ExitCode::SUCCESS,
        _ => Failure::of_report(&report).map_or(ExitCode::SUCCESS, |failure| {
            if !global.json {
                eprintln!("{failure}");
            }
            failure.exit.into()
        }),
    })
}

/// A file, or a workload that is described.
fn trace(text: &str) -> Result<Trace, Failure> {
    let path = Path::new(text);
    if path.exists() || text.contains('/') || text.ends_with(".trace") {
        return super::trace::read(path);
    }
    let workload: Synthetic = text.parse().map_err(|error| {
        Failure::usage(
            format!("`{text}` is no file, and as a workload: {error}"),
            "name a file that `punctual trace` wrote, or describe a workload",
        )
    })?;
    Ok(workload.trace())
}

fn simulated(replay: &Replay, said: &Simulate) -> Report {
    let policy = said.policy.policy();
    let Strategy { order, hold_back, rounds } = policy.strategy();
    let strategy = Strategy {
        order: if said.policy == Way::Lru { Order::Recency } else { order },
        hold_back: said.hold_back.map_or(hold_back, HoldBack::From),
        rounds: said.rounds.map_or(rounds, Rounds::Exactly),
    };
    let link = Link::new(said.bandwidth, said.round_trip);
    let costs = Costs::from_history(FixedCost::default(), Facts::PREPARING, &link);
    let terms = Terms { downtime: said.downtime, bandwidth: Some(said.bandwidth) };
    let request = Request {
        within: said.within,
        round_trip: said.round_trip,
        strategy,
        heat: Some(replay.heat(said.start, replay.duration())),
        ..Request::new("there", policy)
    };
    let mut writes = Playback::new(replay, said.start, 1.0, said.seed);
    simulate(replay.subject(), &mut writes, &link, &costs, terms, request)
}

/// The rounds of a move.
fn course(report: &Report) -> Table {
    let mut table = plain();
    table.set_header(["ROUND", "FROM s", "TO s", "SENT MB", "FOUND WRITTEN", "DIRTY AT ITS END"]);
    let Some(last) = report.samples.last() else { return table };
    for round in 1..=last.round {
        let of = || report.samples.iter().filter(move |sample| sample.round == round);
        let (Some(first), Some(last)) = (of().next(), of().next_back()) else { continue };
        let written: Pages = of().map(|sample| sample.written).sum();
        table.add_row([
            round.to_string(),
            format!("{:.2}", first.at.as_secs_f64()),
            format!("{:.2}", last.at.as_secs_f64()),
            format!("{:.1}", last.sent.saturating_sub(first.sent).get() as f64 / 1e6),
            written.get().to_string(),
            last.dirty.get().to_string(),
        ]);
    }
    table
}

fn result(replay: &Replay, report: &Report) -> Table {
    let measured = &report.measured;
    let mut table = plain();
    let mut row = |name: &str, value: String| _ = table.add_row([name, &value]);
    row("policy", report.policy.to_string());
    row("outcome", output::simulated_ending(report.outcome).to_owned());
    row("downtime", measured.downtime.map_or_else(|| "-".to_owned(), milliseconds));
    row("asked for", milliseconds(report.promised.downtime));
    row("final copy", milliseconds(measured.phases.final_copy));
    row("total", seconds(measured.total));
    row("sent", format!("{} in {} pages", measured.wire_bytes, measured.pages_sent.get()));
    row("rounds", measured.rounds.to_string());
    if replay.thinning().one_in() > 1 {
        row("simulated", format!("one page in {}", replay.thinning().one_in()));
    }
    table
}
