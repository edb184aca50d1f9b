//! What there was at the end of a move, and what must hold then.

use std::time::Duration;

use punctual_engine::report::Report;

use crate::guest::Guest;
use crate::world::{Place, World};

/// What there was at the end.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) report: Option<Report>,
    pub(crate) committed: bool,
    pub(crate) points: u32,
    /// Pages that were sent while the guest was stopped.
    pub(crate) final_pages: u64,
    /// What was said of the end, and when.
    #[cfg_attr(not(test), expect(dead_code, reason = "seeded cases do not look at it"))]
    pub(crate) progress: Vec<(Duration, Duration)>,
    /// How many faults came.
    pub(crate) struck: usize,
    /// Whether pages followed the machine.
    pub(crate) followed: bool,
    /// Whether it needs its operator: it could not be let run, whoever has it.
    pub(crate) excused: bool,
    pub(crate) took: Duration,
    pub(crate) guest: Guest,
    /// What must not be.
    pub(crate) wrong: Vec<String>,
}

impl Outcome {
    pub(crate) fn of(mut world: World, longest_blackout: Duration) -> Self {
        let committed = world.is_committed();
        let (here, there) = match world.place {
            Place::Source => (world.guest.running, false),
            Place::Destination => (false, world.guest.running),
        };
        if !world.excused {
            world.expect(here || there, "it runs nowhere");
            world.expect(here != committed, "it runs where the log says that it does not");
        }
        if committed {
            world.expect(!world.source_has || world.excused, "is left at the source");
            world.expect(world.missing.is_empty(), "pages never came");
        } else {
            world.expect(!world.started, "is left at the destination");
        }
        let undisturbed = world.setting.faults.iter().all(|fault| !fault.keeps_waiting());
        let (blackout, longest) = (world.blackout, longest_blackout);
        world.expect(
            blackout < longest || !undisturbed,
            &format!("stopped for {blackout:.1?} and let run on, {longest:.1?} at most"),
        );
        Self {
            report: world.report,
            committed,
            points: world.points,
            final_pages: world.final_pages,
            progress: world.progress,
            struck: world.struck,
            followed: world.followed,
            excused: world.excused,
            took: world.now,
            guest: world.guest,
            wrong: world.wrong,
        }
    }
}
