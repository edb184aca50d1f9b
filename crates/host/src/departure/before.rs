//! What is known of a machine's departure before it begins, and whether it begins at all.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use punctual_engine::report::{Ending, Predicted};
use punctual_engine::{Observer, Phase, Progress};
use punctual_guest::SourceMachine;
use punctual_model::Heat;
use punctual_plan::{Ask, Plan};
use punctual_units::{Bytes, BytesPerSecond, Pages};
use punctual_wire::Offer;

use super::Leaving;
use crate::api::Problem;
use crate::experience::{Expectation, Writes};
use crate::planning::{
    Decision, Foresight, Outlook, Refused, Subject, Unforeseen, check_plan, decide, heat_of,
};

/// What is known of a move before it begins.
pub(super) struct Before {
    /// How the machine is moved.
    pub(super) decision: Decision,
    /// How often its pages are written.
    pub(super) heat: Option<Heat>,
    /// What to find that out took; `None` where a plan was there.
    pub(super) took: Option<Duration>,
    /// What the link was seen to carry, or the plan counts on.
    pub(super) bandwidth: Option<BytesPerSecond>,
    writes: Option<Writes>,
    /// How much of the memory holds anything.
    populated: Bytes,
}

/// An attempt that ended before the engine had it.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcome: Ending,
    pub(super) problem: Problem,
    pub(super) predicted: Option<Box<Predicted>>,
}

impl Before {
    /// What the move is compared with when it is over.
    pub(super) fn expectation(&self) -> Expectation<'_> {
        Expectation {
            bandwidth: self.bandwidth,
            writes: self.writes.as_ref(),
            simulated: self.decision.simulated(),
            follows: self.decision.follows(),
            populated: self.populated,
        }
    }
}

impl Ended {
    pub(super) fn refused(problem: Problem) -> Self {
        Self { outcome: Ending::Refused, problem, predicted: None }
    }

    pub(super) fn failed(problem: Problem) -> Self {
        Self { outcome: Ending::Failed, problem, predicted: None }
    }

    pub(super) fn cancelled() -> Self {
        Self { outcome: Ending::Cancelled, ..Self::failed(Problem::failed("cancelled", "")) }
    }
}

impl From<Refused> for Ended {
    fn from(Refused { problem, predicted }: Refused) -> Self {
        Self { predicted, ..Self::refused(problem) }
    }
}

impl From<Unforeseen> for Ended {
    fn from(unforeseen: Unforeseen) -> Self {
        match unforeseen {
            Unforeseen::Refused(problem) => Self::refused(problem),
            Unforeseen::Failed(problem) => Self::failed(problem),
            Unforeseen::Cancelled => Self::cancelled(),
        }
    }
}

impl Leaving {
    /// Looks at the machine and the other host, or at the plan that came with the request, and
    /// decides how the machine is moved.
    pub(super) fn before(
        &self,
        machine: &mut dyn SourceMachine,
        processors: NonZeroU32,
        direct_io: bool,
        offer: &Offer,
    ) -> Result<Before, Ended> {
        let (request, host) = (&self.request, &*self.host);
        let populated = offer.populated;
        if let Some(plan) = &request.plan {
            return self.as_planned(plan, populated);
        }
        if request.look == Some(Duration::ZERO) && host.recent(&self.record.name).is_none() {
            // Nothing is to be foreseen, so the other host and the link need no look either.
            let decision = Decision::blind(request);
            let bandwidth = request.bandwidth;
            let (heat, took, writes) = (None, None, None);
            return Ok(Before { decision, heat, took, writes, bandwidth, populated });
        }
        let begun = Instant::now();
        let ask = self.ask();
        let (record, address, offer) = (&self.record, self.address.as_str(), offer.clone());
        let subject =
            Subject { machine, record, processors, direct_io, offer, address, moves: true };
        let observe = &mut |_| self.ticket.progress(&self.planning(begun.elapsed()));
        let foreseen = host.foresee(subject, &ask, request.look, self.ticket.cancel(), observe)?;
        let Foresight { survey, outlook } = foreseen;
        let (decision, heat, writes) = match outlook {
            Some(Outlook { plan, heat, writes }) => {
                (decide(&plan, request)?, Some(heat), Some(writes))
            }
            None => (Decision::blind(request), None, None),
        };
        let link = survey.bandwidth;
        let bandwidth = Some(request.bandwidth.map_or(link, |asked| asked.min(link)));
        let took = Some(begun.elapsed());
        Ok(Before { decision, heat, took, writes, bandwidth, populated })
    }

    fn as_planned(&self, plan: &Plan, populated: Bytes) -> Result<Before, Ended> {
        check_plan(plan, &self.host.mark(&self.record)).map_err(Ended::refused)?;
        let decision = decide(plan, &self.request)?;
        let heat = self.host.kept(&self.record.name).map(|trace| heat_of(&trace));
        let bandwidth = Some(plan.basis.bandwidth);
        Ok(Before { decision, heat, took: None, writes: None, bandwidth, populated })
    }

    pub(super) fn ask(&self) -> Ask {
        Ask {
            to: self.request.to.clone(),
            downtime: self.request.downtime,
            within: self.request.within,
            confidence: self.request.confidence,
            bandwidth: self.request.bandwidth,
            mode: self.request.mode,
            post_copy: self.request.post_copy,
        }
    }

    /// Shows that the move is being planned.
    pub(super) fn observe_planning(&self, elapsed: Duration) {
        self.ticket.progress(&self.planning(elapsed));
    }

    /// Where the move stands while it is being planned: nothing is copied yet.
    fn planning(&self, elapsed: Duration) -> Progress {
        Progress {
            machine: self.request.machine.clone(),
            phase: Phase::Planning,
            elapsed,
            round: 0,
            round_left: Pages::ZERO,
            dirty: Pages::ZERO,
            pages_sent: Pages::ZERO,
            sent: Bytes::ZERO,
            rate: BytesPerSecond::ZERO,
            round_ends_in: None,
            downtime_now: None,
            ends_in: None,
            downtime_predicted: None,
            downtime_asked: self.request.downtime,
            throttled: None,
        }
    }
}
