//! What is found out before a machine moves: the other host, the link, the machine's writes, and
//! what follows from them.
//!
//! ```text
//!  survey ──► trace (kept, or recorded now) ──► plan ──► decide ──► move
//!   refused        heat goes along ─────────────────────────────────┘
//! ```

mod decision;
mod request;
mod workers;

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use punctual_engine::Cancel;
use punctual_guest::SourceMachine;
use punctual_model::Heat;
use punctual_plan::{Ask, Plan, plan_with};
use punctual_trace::Trace;
use punctual_units::Probability;
use punctual_wire::Offer;

pub(crate) use decision::{Decision, Refused, decide};
pub(crate) use request::check_plan;
pub use workers::Threads;

use crate::api::{MigrateRequest, PlanEvent, Problem};
use crate::experience::Writes;
use crate::host::Host;
use crate::registry::Record;
use crate::survey::{Survey, survey};
use crate::traces::kept;
use crate::traces::recording::{Wanted, record};

/// A kept trace tells what a machine does now if it is no older than this.
const RECENT: Duration = Duration::from_secs(600);
/// What a look may cost the guest.
const COST: f64 = 0.05;

/// A machine of which something is to be foreseen.
pub(crate) struct Subject<'a> {
    pub(crate) machine: &'a mut dyn SourceMachine,
    pub(crate) record: &'a Record,
    pub(crate) processors: NonZeroU32,
    pub(crate) direct_io: bool,
    /// What is offered to the other host in the rehearsal.
    pub(crate) offer: Offer,
    /// Where that is.
    pub(crate) address: &'a str,
    /// Whether it is about to move, and not only asked what a move would take.
    pub(crate) moves: bool,
}

/// What is known of a move before it begins.
pub(crate) struct Foresight {
    /// What was seen of the other host.
    pub(crate) survey: Survey,
    /// What is known of the machine's writes; `None` where it was not to be looked at.
    pub(crate) outlook: Option<Outlook>,
}

/// What is known of a machine's writes, and what follows.
pub(crate) struct Outlook {
    pub(crate) plan: Plan,
    pub(crate) heat: Heat,
    pub(crate) writes: Writes,
}

/// Why nothing could be foreseen.
#[derive(Debug)]
pub(crate) enum Unforeseen {
    /// The move itself is not possible as things are.
    Refused(Problem),
    /// It was tried to look, and did not work.
    Failed(Problem),
    /// It was not to go on.
    Cancelled,
}

impl Host {
    /// Looks at the other host and at the machine, and plans. The machine is traced from then on,
    /// if it was looked at. Blocks for as long as the look takes, and some time to plan.
    pub(crate) fn foresee(
        &self,
        subject: Subject<'_>,
        ask: &Ask,
        look: Option<Duration>,
        cancel: &Cancel,
        observe: &mut dyn FnMut(PlanEvent),
    ) -> Result<Foresight, Unforeseen> {
        let name = &subject.record.name;
        observe(PlanEvent::Surveying);
        let survey = survey(subject.address, Some(subject.offer.clone()), ask.bandwidth);
        let survey = survey
            .map_err(|error| Unforeseen::Refused(error.problem(&format!("machine `{name}`"))))?;
        if let Some(asked) = ask.bandwidth.filter(|asked| !survey.is_enough(*asked)) {
            let measured = survey.bandwidth;
            return Err(Unforeseen::Refused(Problem::refused(
                format!("machine `{name}`: the link moves {measured}, but {asked} was asked for"),
                format!("ask for at most {measured}, or mend the link"),
            )));
        }
        let kept = if look.is_none_or(|look| look.is_zero()) { self.recent(name) } else { None };
        let trace = match (kept, look) {
            (Some(trace), _) => trace,
            (None, Some(Duration::ZERO)) => return Ok(Foresight { survey, outlook: None }),
            (None, look) => {
                let length = look.unwrap_or(MigrateRequest::LOOK);
                let wanted = wanted(&subject, length);
                self.look(subject.machine, &wanted, cancel, observe)?
            }
        };
        if cancel.is_cancelled() {
            return Err(Unforeseen::Cancelled);
        }
        observe(PlanEvent::Planning);
        let facts = self.experience().facts(subject.address, &survey);
        let mut plan = plan_with(&trace, &facts, ask, &Threads);
        plan.process = Some(self.mark(subject.record));
        // The one that this is for may be one of them.
        let others = self.queue.moving().saturating_sub(usize::from(subject.moves));
        if others > 0 {
            plan.basis.assumed.push(format!(
                "{others} other machines were leaving this host while the link was measured, and go on"
            ));
        }
        tracing::info!(machine = name, choice = ?plan.choice, "its move is planned");
        let heat = heat_of(&trace);
        let writes = Writes::expected(|time| heat.expect_written_all(time).mean);
        Ok(Foresight { survey, outlook: Some(Outlook { plan, heat, writes }) })
    }

    /// Traces a machine for a short time, and keeps the trace.
    fn look(
        &self,
        machine: &mut dyn SourceMachine,
        wanted: &Wanted,
        cancel: &Cancel,
        observe: &mut dyn FnMut(PlanEvent),
    ) -> Result<Trace, Unforeseen> {
        let (name, length) = (&wanted.machine, wanted.length);
        let recorded = record(machine, wanted, cancel, &mut |seen| {
            let (elapsed, rate, cost) = (seen.elapsed, seen.rate, seen.cost);
            observe(PlanEvent::Looking { elapsed, length, rate, cost });
        });
        if cancel.is_cancelled() {
            return Err(Unforeseen::Cancelled);
        }
        let trace = recorded.map_err(|error| {
            let what = format!("machine `{name}`: its page writes cannot be traced: {error}");
            Unforeseen::Failed(Problem::failed(what, ""))
        })?;
        if let Err(error) = kept::write(&self.config.traces(), name, &trace.encode()) {
            tracing::warn!(machine = name, %error, "its trace is not kept");
        }
        Ok(trace)
    }

    /// The trace that is kept of a machine, if it is recent. It is of the process that runs: it goes
    /// with the machine's record.
    pub(crate) fn recent(&self, name: &str) -> Option<Trace> {
        self.kept(name).filter(|trace| age(trace.about().recorded_at) <= RECENT)
    }

    /// The trace that is kept of a machine, if one can be read.
    pub(crate) fn kept(&self, name: &str) -> Option<Trace> {
        let file = kept::read(&self.config.traces(), name).ok()??;
        Trace::decode(&file)
            .inspect_err(|error| tracing::warn!(machine = name, %error, "its kept trace is no use"))
            .ok()
    }

    /// What tells the process of a machine from any other, here or on another host.
    pub(crate) fn mark(&self, record: &Record) -> String {
        let handle = record.handle.to_string();
        format!("{}/{:016x}", self.config.name, xxhash_rust::xxh3::xxh3_64(handle.as_bytes()))
    }
}

fn wanted(subject: &Subject<'_>, length: Duration) -> Wanted {
    Wanted {
        machine: subject.record.name.clone(),
        processors: subject.processors,
        direct_io: subject.direct_io,
        length,
        cost: Probability::saturating(COST),
    }
}

/// How often each page was written in a trace.
pub(crate) fn heat_of(trace: &Trace) -> Heat {
    let mut heat = Heat::new(trace.about().layout.pages());
    for scan in trace.scans() {
        heat.record(scan.at, scan.written.iter().copied());
    }
    heat
}

/// How long ago a moment was that is given in seconds since 1970.
fn age(moment: u64) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(moment))
}
