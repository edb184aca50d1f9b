//! The report of a move by the machine's own hypervisor.

use std::time::Duration;

use punctual_engine::report::{
    Ending, Engine, Holder, Measured, Mode, Phases, Promise, Report, Sample,
};
use punctual_guest::qemu::native::Look;
use punctual_units::{Bytes, Pages};

use super::core::{Marks, Why};

/// Samples are thinned out above this number.
const MOST_SAMPLES: usize = 4096;

/// What is seen of a move while it goes on.
#[derive(Debug, Default)]
pub(super) struct Course {
    last: Look,
    samples: Vec<Sample>,
}

impl Course {
    pub(super) fn looked(&mut self, at: Duration, look: &Look, sent: Bytes) {
        let dirty = look.remaining.pages();
        // A pass begins with what was written in the one before.
        let another = look.passes > self.last.passes && self.last.passes > 0;
        let written = if another { dirty } else { Pages::ZERO };
        self.samples.push(Sample { at, round: look.passes, written, dirty, sent });
        if self.samples.len() > MOST_SAMPLES {
            let mut number = 0;
            self.samples.retain(|sample| {
                number += 1;
                number % 2 == 0 || sample.written > Pages::ZERO
            });
        }
        self.last = look.clone();
    }

    /// Takes note of what the hypervisor counted in all, where it still knows.
    pub(super) fn ended(&mut self, look: Look) {
        if look.pages >= self.last.pages {
            self.last = look;
        }
    }

    fn measured(&self, marks: &Marks, total: Duration, sent: Bytes) -> Measured {
        let end = marks.running.unwrap_or(total);
        Measured {
            downtime: marks.stopped.map(|stopped| end.saturating_sub(stopped)),
            total,
            preparing: marks.begun,
            wire_bytes: sent,
            pages_sent: self.last.pages,
            // The final copy is not one.
            rounds: self.last.passes.saturating_sub(u32::from(marks.saved.is_some())),
            phases: phases(marks, end),
            ..Measured::default()
        }
    }

    /// The report of an attempt that ended `at` this time; `base` is what was asked.
    pub(super) fn report(
        self,
        base: Report,
        marks: &Marks,
        at: Duration,
        sent: Bytes,
        end: End<'_>,
    ) -> Report {
        let total = marks.running.unwrap_or(at);
        let measured = self.measured(marks, total, sent);
        let base = Report {
            engine: Engine::Native,
            mode: Mode::PreCopy,
            samples: self.samples,
            measured,
            ..base
        };
        match end {
            End::Moved(trouble) => moved(base, trouble),
            End::Stayed { why, not_resumed } => stayed(base, why, not_resumed),
            End::Unknown(reason) => Report {
                outcome: Ending::Failed,
                owner: Holder::Unknown,
                promise: Some(Promise::Broken),
                reason: format!("the machine stays paused: {reason}"),
                ..base
            },
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum End<'a> {
    Moved(Option<&'a str>),
    Stayed { why: &'a Why, not_resumed: Option<&'a str> },
    Unknown(&'a str),
}

fn moved(base: Report, trouble: Option<&str>) -> Report {
    let owner = Holder::Destination;
    match trouble {
        None => {
            let promise = Some(Promise::completed(&base.promised, &base.measured));
            let reason = String::new();
            Report { outcome: Ending::Completed, owner, promise, reason, ..base }
        }
        Some(trouble) => {
            let reason = format!(
                "the machine belongs to host `{}`, which has not said that it runs: {trouble}; \
                 look at it there",
                base.to
            );
            let promise = Some(Promise::Broken);
            Report { outcome: Ending::Failed, owner, promise, reason, ..base }
        }
    }
}

fn stayed(base: Report, why: &Why, not_resumed: Option<&str>) -> Report {
    let mut reason = why.to_string();
    if let Some(failure) = not_resumed {
        reason.push_str("; and it could not be made to run on here: ");
        reason.push_str(failure);
    }
    let stopped = base.measured.downtime.is_some();
    let promise = why.promise().or(stopped.then_some(Promise::Broken));
    let (outcome, codes) = (why.ending(), why.codes());
    Report { outcome, owner: Holder::Source, promise, reason, codes, ..base }
}

/// The parts of the downtime. Each begins where the one before it ended; what was not reached takes
/// no time, and the last one that was reached lasts until the end.
fn phases(marks: &Marks, end: Duration) -> Phases {
    let Some(stopped) = marks.stopped else { return Phases::default() };
    let reached = [marks.quiet, marks.saved, marks.loaded, marks.committed];
    let mut from = stopped;
    let mut parts = reached.map(|mark| {
        let until = mark.unwrap_or(end);
        let part = until.saturating_sub(from);
        from = until;
        part
    });
    let resume = end.saturating_sub(from);
    let [stop, final_copy, device_state, commit] = std::mem::take(&mut parts);
    Phases { stop, final_copy, device_state, commit, resume, ..Phases::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(time: u64) -> Option<Duration> {
        Some(Duration::from_millis(time))
    }

    #[test]
    fn the_parts_add_up_to_the_downtime_however_far_it_came() {
        let all = Marks {
            begun: ms(10),
            stopped: ms(100),
            quiet: ms(103),
            saved: ms(120),
            loaded: ms(128),
            committed: ms(130),
            running: ms(137),
        };
        let given_up = Marks { loaded: None, committed: None, ..all };
        for marks in [all, given_up] {
            let course = Course::default();
            let measured = course.measured(&marks, Duration::from_millis(137), Bytes::ZERO);
            assert_eq!(measured.downtime, ms(37));
            assert_eq!(Some(measured.phases.sum()), measured.downtime);
        }
        let never = Marks { begun: ms(10), ..Marks::default() };
        let measured = Course::default().measured(&never, Duration::from_millis(50), Bytes::ZERO);
        assert_eq!((measured.downtime, measured.phases.sum()), (None, Duration::ZERO));
    }
}
