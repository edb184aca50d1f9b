//! When to stop the guest, when to go on copying, and when to give up. Each decision says why.

use std::fmt;
use std::time::Duration;

use punctual_units::Pages;
use thiserror::Error;

/// Of the time that the fixed part leaves, the copy may take so much by its estimate: the rest is
/// for what cannot be foreseen.
const SHARE: f64 = 0.9;
/// Another round is worth its time if it shrinks what is left at least by this share ...
const WORTHWHILE: f64 = 0.2;
/// ... and what is left takes at least this long.
const NOTICEABLE: Duration = Duration::from_millis(1);
/// So many rounds may be spent on making an interruption shorter that already meets the promise.
const MOST_EXTRA: u32 = 3;
/// Copying goes on so long without coming nearer to the promise before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// An estimate that is better by less than this share is no headway.
const HEADWAY: f64 = 0.05;

/// What is known at the end of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outlook {
    /// Now, since the beginning.
    pub(crate) at: Duration,
    /// The interruption that a stop now would make.
    pub(crate) expected: Expected,
    /// The same if every disk request had just settled: less, with direct I/O.
    pub(crate) expected_settled: Expected,
    /// Pages known to be dirty, and those of the round before.
    pub(crate) dirty: Pages,
    /// Pages that were found dirty one round earlier.
    pub(crate) dirty_before: Pages,
    /// How long sending the dirty pages would take.
    pub(crate) next_round: Duration,
}

/// The parts of an expected interruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Stop, device state and resume, and the way of the messages.
    pub fixed: Duration,
    /// Sending what is left.
    pub copy: Duration,
}

impl Expected {
    /// The whole interruption.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.fixed.saturating_add(self.copy)
    }
}

/// What to do at the end of a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Stop the guest.
    Stop(Stop),
    /// Wait for the disk requests in flight, then copy what they may have changed.
    Settle,
    /// Copy one more round.
    Continue(Continue),
    /// Let the machine run on at the source.
    GiveUp(GiveUp),
}

/// Why the guest is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The interruption will be as short as was asked for, and a further round would not make it
    /// noticeably shorter.
    PromiseMet {
        /// What is expected.
        expected: Expected,
        /// What was asked for.
        asked: Duration,
    },
}

/// Why one more round is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continue {
    /// Stopping now would take longer than was asked for.
    NotYet,
    /// The promise could be kept; this round makes the interruption shorter still.
    ShrinksFurther,
}

/// Why a move was given up, with the machine running on at the source.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GiveUp {
    /// The time is over.
    #[error(
        "the move was not ready within {}: a stop now would have interrupted the guest for \
         {}, {} was asked for; allow more time, a longer interruption or more bandwidth",
        Shown(*within), Shown(*expected), Shown(*asked)
    )]
    DeadlinePassed {
        /// The time that it had.
        within: Duration,
        /// The interruption that a stop would have made.
        expected: Duration,
        /// What was asked for.
        asked: Duration,
    },
    /// What is left cannot be sent in the time that is left.
    #[error(
        "the next round alone takes {}, and {} of the time allowed is left; allow more time or \
         more bandwidth",
        Shown(*next_round), Shown(*left)
    )]
    TooLittleTime {
        /// What sending the dirty pages takes.
        next_round: Duration,
        /// What is left of the time.
        left: Duration,
    },
    /// Copying more does not help: the guest writes as fast as its pages are sent.
    #[error(
        "the guest writes as fast as its pages are sent: at best a stop would have interrupted \
         it for {}, {} was asked for, and nothing was gained in the last {}; allow a \
         longer interruption or more bandwidth, or move it when it writes less",
        Shown(*best), Shown(*asked), Shown(*without_headway)
    )]
    CannotConverge {
        /// The shortest interruption that was in sight.
        best: Duration,
        /// What was asked for.
        asked: Duration,
        /// For how long nothing was gained.
        without_headway: Duration,
    },
}

/// The rule of one move, with what it has seen so far.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    asked: Duration,
    within: Duration,
    extra: u32,
    /// The best estimate so far, and when there was last headway.
    best: Option<(Duration, Duration)>,
}

impl Rule {
    pub(crate) fn new(asked: Duration, within: Duration) -> Self {
        Self { asked, within, extra: 0, best: None }
    }

    /// The shortest interruption that can be promised of which so much cannot be avoided.
    pub(crate) fn least(unavoidable: Expected) -> Duration {
        unavoidable.fixed.saturating_add(unavoidable.copy.div_f64(SHARE))
    }

    fn is_met(&self, expected: &Expected) -> bool {
        expected.copy <= self.asked.saturating_sub(expected.fixed).mul_f64(SHARE)
    }

    /// Decides at the end of a round.
    pub(crate) fn decide(&mut self, now: &Outlook) -> Decision {
        if now.at.saturating_add(self.asked) > self.within {
            return Decision::GiveUp(self.deadline_passed(now.expected_settled.total()));
        }
        if self.is_met(&now.expected) {
            return self.stop_or_shrink(now);
        }
        if let Some(reason) = self.hopeless(now) {
            return Decision::GiveUp(reason);
        }
        if self.is_met(&now.expected_settled) {
            return Decision::Settle;
        }
        Decision::Continue(Continue::NotYet)
    }

    fn stop_or_shrink(&mut self, now: &Outlook) -> Decision {
        let shrinks = now.dirty.get() as f64 <= now.dirty_before.get() as f64 * (1.0 - WORTHWHILE);
        let in_time = now.at.saturating_add(now.next_round.saturating_mul(2)) < self.within;
        // With direct I/O a round adds to what has to be sent again: it makes nothing shorter.
        let adds = now.expected != now.expected_settled;
        let noticeable = now.next_round > NOTICEABLE;
        if shrinks && in_time && !adds && noticeable && self.extra < MOST_EXTRA {
            self.extra += 1;
            return Decision::Continue(Continue::ShrinksFurther);
        }
        Decision::Stop(Stop::PromiseMet { expected: now.expected, asked: self.asked })
    }

    fn hopeless(&mut self, now: &Outlook) -> Option<GiveUp> {
        let expected = now.expected_settled.total();
        let left = self.within.saturating_sub(now.at);
        if now.next_round > left.saturating_add(self.asked) {
            return Some(GiveUp::TooLittleTime { next_round: now.next_round, left });
        }
        match self.best {
            Some((best, since))
                if expected.as_secs_f64() > best.as_secs_f64() * (1.0 - HEADWAY) =>
            {
                let without_headway = now.at.saturating_sub(since);
                (without_headway >= PATIENCE.max(now.next_round.saturating_mul(3)))
                    .then_some(GiveUp::CannotConverge { best, asked: self.asked, without_headway })
            }
            _ => {
                self.best = Some((expected, now.at));
                None
            }
        }
    }

    pub(crate) fn deadline_passed(&self, expected: Duration) -> GiveUp {
        GiveUp::DeadlinePassed { within: self.within, expected, asked: self.asked }
    }
}

/// A time as people read it.
pub(crate) struct Shown(pub(crate) Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if self.0 == Duration::MAX {
            f.write_str("for ever")
        } else if seconds < 1.0 {
            write!(f, "{:.1} ms", seconds * 1e3)
        } else {
            write!(f, "{seconds:.1} s")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn outlook(at: Duration, copy: Duration, dirty: u64, dirty_before: u64) -> Outlook {
        let expected = Expected { fixed: ms(10), copy };
        Outlook {
            at,
            expected,
            expected_settled: expected,
            dirty: Pages::new(dirty),
            dirty_before: Pages::new(dirty_before),
            next_round: copy,
        }
    }

    fn rule() -> Rule {
        Rule::new(ms(50), Duration::from_secs(60))
    }

    #[test]
    fn it_stops_when_the_promise_is_met_and_no_round_would_help() {
        let decision = rule().decide(&outlook(ms(900), ms(20), 95, 100));
        let Decision::Stop(Stop::PromiseMet { expected, asked }) = decision else {
            panic!("{decision:?}");
        };
        assert_eq!((expected.total(), asked), (ms(30), ms(50)));
    }

    #[test]
    fn it_goes_on_while_that_makes_the_interruption_shorter_but_not_for_ever() {
        let mut rule = rule();
        for _ in 0..MOST_EXTRA {
            let decision = rule.decide(&outlook(ms(900), ms(20), 10, 100));
            assert_eq!(decision, Decision::Continue(Continue::ShrinksFurther));
        }
        let decision = rule.decide(&outlook(ms(900), ms(20), 10, 100));
        assert!(matches!(decision, Decision::Stop(_)), "{decision:?}");
    }

    #[test]
    fn a_remainder_that_nobody_would_notice_is_not_worth_a_round() {
        let decision = rule().decide(&outlook(ms(900), ms(1), 10, 100));
        assert!(matches!(decision, Decision::Stop(_)), "{decision:?}");
    }

    #[test]
    fn the_estimate_must_leave_room_for_what_cannot_be_foreseen() {
        let decision = rule().decide(&outlook(ms(900), ms(38), 100, 100));
        assert_eq!(decision, Decision::Continue(Continue::NotYet));
    }

    #[test]
    fn requests_in_flight_are_waited_for_when_only_they_are_in_the_way() {
        let mut now = outlook(ms(900), ms(500), 10, 100);
        now.expected_settled.copy = ms(5);
        assert_eq!(rule().decide(&now), Decision::Settle);
    }

    #[test]
    fn it_gives_up_in_time() {
        let decision = rule().decide(&outlook(ms(60_000), ms(500), 100, 100));
        assert!(matches!(decision, Decision::GiveUp(GiveUp::DeadlinePassed { .. })));
        let decision = rule().decide(&outlook(ms(30_000), ms(31_000), 100, 100));
        assert!(matches!(decision, Decision::GiveUp(GiveUp::TooLittleTime { .. })));
    }

    #[test]
    fn it_gives_up_when_nothing_is_gained() {
        let mut rule = rule();
        let mut decision = Decision::Settle;
        for step in 0..40 {
            decision = rule.decide(&outlook(ms(1000 * step), ms(500), 100, 100));
            if matches!(decision, Decision::GiveUp(_)) {
                break;
            }
        }
        let Decision::GiveUp(reason) = decision else { panic!("{decision:?}") };
        assert!(matches!(reason, GiveUp::CannotConverge { .. }));
        assert!(reason.to_string().contains("510.0 ms, 50.0 ms was asked for"), "{reason}");
    }

    #[test]
    fn it_does_not_stop_a_guest_that_would_run_again_only_behind_the_deadline() {
        let decision = rule().decide(&outlook(ms(59_990), ms(5), 10, 10));
        assert!(matches!(decision, Decision::GiveUp(GiveUp::DeadlinePassed { .. })));
    }
}
