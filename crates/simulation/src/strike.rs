//! Faults come.

use std::time::Duration;

use punctual_engine::{Phase, destination, source};

use crate::fault::{Fault, FaultKind, Side, When};
use crate::world::{Action, EFFECT, World};

/// Where something can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// A message or pages arrive at this side.
    Message(Side),
    /// This side is to do something.
    Effect(Side),
}

/// What becomes of what was to happen at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    Happens,
    Fails,
    /// Whoever it happens to is gone.
    Lost,
}

impl World {
    /// Passes a point where something may go wrong.
    pub(crate) fn point(&mut self, point: Point) -> Passed {
        let number = self.points;
        self.points += 1;
        let mut passed = Passed::Happens;
        while let Some(fault) = self.due(number) {
            let by_this = self.strike(fault.kind, point);
            if by_this != Passed::Happens {
                passed = by_this;
            }
        }
        if std::mem::take(&mut self.armed.frame) {
            match point {
                Point::Message(_) => {
                    self.reset();
                    return Passed::Lost;
                }
                Point::Effect(_) => self.armed.frame = true,
            }
        }
        passed
    }

    /// The next fault, if it comes at this point.
    fn due(&mut self, number: u32) -> Option<Fault> {
        let fault = *self.setting.faults.get(self.struck)?;
        let now = match fault.when {
            When::Point(at) => at == number,
            When::Phase { phase, points } => self.is_in(phase, number, points),
            // It is in the agenda.
            When::After(_) => false,
        };
        now.then(|| {
            self.next_fault();
            fault
        })
    }

    fn is_in(&mut self, phase: Phase, number: u32, points: u32) -> bool {
        if self.phase_at.is_none() && self.phase() >= phase {
            self.phase_at = Some(number);
        }
        self.phase_at.is_some_and(|at| number >= at + points)
    }

    fn next_fault(&mut self) {
        self.struck += 1;
        self.phase_at = None;
        if let Some(Fault { when: When::After(time), .. }) = self.setting.faults.get(self.struck) {
            self.schedule(*time, Action::Strike);
        }
    }

    /// A fault comes that has its time rather than its point.
    pub(crate) fn strike_later(&mut self) {
        let fault = self.setting.faults[self.struck];
        self.next_fault();
        self.strike(fault.kind, Point::Effect(Side::Source));
    }

    fn strike(&mut self, kind: FaultKind, point: Point) -> Passed {
        let now = Duration::ZERO;
        match kind {
            FaultKind::Reset => {
                self.reset();
                if matches!(point, Point::Message(_)) {
                    return Passed::Lost;
                }
            }
            FaultKind::Corrupted => self.armed.frame = true,
            FaultKind::Cut { way, lasts } => self.cut(way, lasts),
            FaultKind::Slow { rate, lasts } => self.link.slow_down(rate, self.now + lasts),
            FaultKind::Crash { side, down } => {
                match side {
                    Side::Source => self.crash_source(down),
                    Side::Destination => self.crash_destination(down),
                }
                let (Point::Message(whose) | Point::Effect(whose)) = point;
                if whose == side {
                    return Passed::Lost;
                }
            }
            FaultKind::Frozen { side: Side::Source, lasts } => {
                self.source_frozen = self.now + lasts;
            }
            FaultKind::Frozen { side: Side::Destination, lasts } => {
                self.destination_frozen = self.now + lasts;
            }
            FaultKind::MachineDies => self.machine_dies(),
            FaultKind::JournalFails { side: Side::Source, how } => {
                self.armed.source_log = Some(how);
            }
            FaultKind::JournalFails { side: Side::Destination, how } => {
                self.armed.destination_log = Some(how);
            }
            FaultKind::ScanFails => self.armed.scan = true,
            FaultKind::EffectFails if matches!(point, Point::Effect(_)) => return Passed::Fails,
            FaultKind::EffectFails => {}
            FaultKind::Cancelled => {
                self.schedule(now, Action::Source(source::Event::Cancelled));
            }
        }
        Passed::Happens
    }

    fn machine_dies(&mut self) {
        let may_be_committed = self.asking && self.destination.is_none()
            || self.destination.as_ref().is_some_and(|it| it.may_be_committed());
        if self.started && !may_be_committed && !self.is_committed() {
            self.machine_died = true;
            if self.starting {
                return;
            }
            let failed = destination::Event::Failed("its process has ended".to_owned());
            self.schedule(EFFECT * 4, Action::Destination(failed));
        }
    }
}
