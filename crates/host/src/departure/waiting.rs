//! A migration that waits for its turn.

use std::time::{Duration, Instant};

use punctual_engine::report::{Ending, Report};
use punctual_wire::Refusal;

use super::Leaving;
use super::before::Ended;
use crate::api::{Migration, Problem, Queued};
use crate::queue::{Ahead, Turn, left_of, starts_in, takes};
use crate::registry::Standing;

/// How long a destination that has no room is left alone before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);
/// What a host calls having no room for now; see [`no_room`].
const NO_ROOM: &str = "no-room-now";

/// What a destination answers that has as many machines coming in as it takes at a time: whoever hears
/// it tries again later.
pub(crate) fn no_room(host: &str, cap: usize) -> Refusal {
    Refusal {
        code: NO_ROOM.to_owned(),
        reason: format!("host `{host}` takes no more machines at a time than {cap}"),
        remedy: "wait until one has come in, or raise its --max-incoming".to_owned(),
    }
}

impl Leaving {
    /// Waits for its turn and makes its attempt, again where the destination has no room for it.
    pub(super) fn in_turn(&self) -> Result<Report, Ended> {
        if self.request.dry_run {
            return self.attempt();
        }
        let turn = self.host.queue.enter(self.id.into(), &self.address);
        loop {
            self.wait(&turn)?;
            self.ticket.queued(None);
            let ended = self.attempt();
            let (said, codes) = match &ended {
                Ok(report) => (&report.reason, &report.codes),
                Err(ended) => (&ended.problem.what, &ended.problem.codes),
            };
            if self.request.no_wait || !codes.iter().any(|code| code == NO_ROOM) {
                return ended;
            }
            tracing::info!(machine = self.request.machine, said, "waits for room");
            turn.step_back();
            // What was refused at once has set the machine free.
            let leaving = Standing::Leaving(self.id.into());
            let free = |from| from == Standing::Resident || from == leaving;
            let claimed = self.host.registry.shift(&self.request.machine, free, leaving);
            claimed.map_err(|error| Ended::refused(error.into()))?;
            self.pause(said.clone())?;
        }
    }

    fn wait(&self, turn: &Turn<'_>) -> Result<(), Ended> {
        let caps = self.host.config.caps;
        let may = turn.wait(caps, |ahead| {
            if self.request.no_wait || self.ticket.cancel().is_cancelled() {
                return false;
            }
            let queued = self.queued(ahead);
            self.ticket.queued(Some(queued));
            true
        });
        match may {
            true => Ok(()),
            false if self.ticket.cancel().is_cancelled() => Err(Ended::cancelled()),
            false => Err(Ended::refused(Problem::refused(
                format!(
                    "machine `{}`: {} machines leave host `{}` already, at most {} at a time and {} to \
                     one host",
                    self.request.machine,
                    self.host.queue.moving(),
                    self.host.config.name,
                    caps.outgoing,
                    caps.per_link
                ),
                "leave --no-wait away, or raise --max-outgoing or --max-per-link of its daemon",
            ))),
        }
    }

    /// Where it stands in the queue, and when it is likely to begin.
    fn queued(&self, ahead: &Ahead) -> Queued {
        let all = self.host.migrations().all();
        let find = |id| all.iter().find(|migration: &&Migration| migration.id == id);
        // One that nobody has looked at yet is taken to last as long as the others do.
        let known: Vec<Duration> = all.iter().filter_map(takes_in_all).collect();
        let usual = (!known.is_empty()).then(|| {
            known.iter().sum::<Duration>() / u32::try_from(known.len()).unwrap_or(u32::MAX)
        });
        let moving: Vec<_> =
            ahead.moving.iter().map(|id| find(*id).and_then(left_of).or(usual)).collect();
        let waiting: Vec<_> =
            ahead.waiting.iter().map(|id| find(*id).and_then(takes).or(usual)).collect();
        let caps = self.host.config.caps;
        // Those before it may go elsewhere, so this is late rather than early.
        let slots = if ahead.moving.len() < caps.outgoing { caps.per_link } else { caps.outgoing };
        Queued {
            position: ahead.waiting.len() + 1,
            starts_in: starts_in(&moving, &waiting, slots.min(caps.outgoing)),
            because: "others leave first".to_owned(),
        }
    }

    /// Leaves a destination alone for a while that has no room.
    fn pause(&self, because: String) -> Result<(), Ended> {
        self.ticket.queued(Some(Queued { position: 1, starts_in: None, because }));
        let begin = Instant::now();
        while begin.elapsed() < ASK_AGAIN {
            if self.ticket.cancel().is_cancelled() {
                return Err(Ended::cancelled());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// How long a migration took, or is foretold to take.
fn takes_in_all(migration: &Migration) -> Option<Duration> {
    let report = migration.report.as_ref();
    let took = report.filter(|report| report.outcome == Ending::Completed);
    took.map(|report| report.measured.total).or_else(|| takes(migration))
}
