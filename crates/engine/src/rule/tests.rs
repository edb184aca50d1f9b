use std::num::NonZeroU32;

use punctual_model::Policy;

use super::pre_copy::{HASTE, MOST_EXTRA, PATIENCE};
use super::*;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// What a rule sees that can be put into numbers.
#[derive(Clone, Copy)]
struct Seen {
    at: Duration,
    round: u32,
    /// How long the copy would take, now and behind another round.
    copy: Duration,
    copy_after: Duration,
    /// What the copy will not exceed.
    copy_surely: Duration,
    copy_settled: Duration,
    next_round: Duration,
    lull: Option<Duration>,
    left: Pages,
    sent: Pages,
    follow: Expected,
    link_known: bool,
}

impl Seen {
    fn at(at: Duration, copy: Duration) -> Self {
        Self {
            at,
            round: 1,
            copy,
            copy_after: copy,
            copy_surely: copy,
            copy_settled: copy,
            next_round: copy,
            lull: None,
            left: Pages::new(500),
            sent: Pages::ZERO,
            follow: Expected { fixed: ms(10), copy: ms(0) },
            link_known: true,
        }
    }

    fn decide(self, rule: &mut Rule) -> Decision {
        let expected = |copy| Expected { fixed: ms(10), copy };
        let settled = expected(self.copy_settled);
        rule.decide(&Outlook {
            at: self.at,
            round: self.round,
            left: self.left,
            left_takes: self.copy,
            sent: self.sent,
            memory: Pages::new(1000),
            now: Outcome { likely: expected(self.copy), surely: expected(self.copy_surely) },
            settled: match self.copy_settled == self.copy {
                true => Outcome { likely: settled, surely: expected(self.copy_surely) },
                false => Outcome { likely: settled, surely: settled },
            },
            next_round: self.next_round,
            copy_after: &|| self.copy_after,
            lull: &|left| self.lull.filter(|lull| *lull <= left),
            follow: &|| self.follow,
            copy_slowed: &|share| self.copy.mul_f64(share),
            link_known: self.link_known,
        })
    }
}

const WITHIN: Duration = Duration::from_secs(60);

fn request() -> Request {
    Request { within: WITHIN, ..Request::new("b", Policy::PreCopy) }
}

fn rule() -> Rule {
    Rule::new(ms(50), &request())
}

fn forced() -> Rule {
    Rule::new(ms(50), &Request { force: true, ..request() })
}

/// Sees the same every second, until it is no longer told to copy on.
fn every_second(rule: &mut Rule, seen: Seen) -> (Duration, Decision) {
    for second in 0..100 {
        let at = Duration::from_secs(second);
        let decision = Seen { at, ..seen }.decide(rule);
        if !matches!(decision, Decision::Continue(_)) {
            return (at, decision);
        }
    }
    panic!("it goes on for ever");
}

#[test]
fn it_stops_when_the_promise_is_met_and_no_round_would_help() {
    let decision = Seen::at(ms(900), ms(20)).decide(&mut rule());
    let Decision::Stop(Stop::PromiseMet { expected, asked }) = decision else {
        panic!("{decision:?}");
    };
    assert_eq!((expected.total(), asked), (ms(30), ms(50)));
}

#[test]
fn it_goes_on_while_that_makes_the_interruption_shorter_but_not_for_ever() {
    let mut rule = rule();
    let seen = Seen { copy_after: ms(2), ..Seen::at(ms(900), ms(20)) };
    for _ in 0..MOST_EXTRA {
        let expected = Decision::Continue(Continue::ShrinksFurther { gain: ms(18) });
        assert_eq!(seen.decide(&mut rule), expected);
    }
    let decision = seen.decide(&mut rule);
    assert!(matches!(decision, Decision::Stop(_)), "{decision:?}");
}

#[test]
fn a_gain_that_nobody_would_notice_is_not_worth_a_round_nor_is_one_too_late() {
    let small = Seen { copy_after: ms(0), ..Seen::at(ms(900), Duration::from_micros(400)) };
    let late = Seen { copy_after: ms(2), ..Seen::at(WITHIN - ms(80), ms(20)) };
    for seen in [small, late] {
        let decision = seen.decide(&mut rule());
        assert!(matches!(decision, Decision::Stop(_)), "{decision:?}");
    }
}

#[test]
fn the_estimate_must_leave_room_for_what_cannot_be_foreseen() {
    let decision = Seen::at(ms(900), ms(38)).decide(&mut rule());
    assert_eq!(decision, Decision::Continue(Continue::NotYet));
}

#[test]
fn what_is_likely_is_not_sure_enough() {
    let seen = Seen { copy_surely: ms(60), ..Seen::at(ms(900), ms(20)) };
    assert_eq!(seen.decide(&mut rule()), Decision::Continue(Continue::NotYet));
}

#[test]
fn requests_in_flight_are_waited_for_when_only_they_are_in_the_way() {
    let seen = Seen { copy_settled: ms(5), copy_surely: ms(500), ..Seen::at(ms(900), ms(500)) };
    assert_eq!(seen.decide(&mut rule()), Decision::Settle);
}

#[test]
fn it_gives_up_in_time() {
    let decision = Seen::at(WITHIN, ms(500)).decide(&mut rule());
    assert!(matches!(decision, Decision::GiveUp(GiveUp::DeadlinePassed { .. })));
    let decision = Seen::at(ms(30_000), ms(31_000)).decide(&mut rule());
    assert!(matches!(decision, Decision::GiveUp(GiveUp::TooLittleTime { .. })));
}

#[test]
fn it_gives_up_when_nothing_is_gained_and_no_lull_is_foreseen() {
    let (at, decision) = every_second(&mut rule(), Seen::at(ms(0), ms(500)));
    let Decision::GiveUp(reason) = decision else { panic!("{decision:?}") };
    assert!(matches!(reason, GiveUp::CannotConverge { .. }));
    assert_eq!(at, PATIENCE);
    let reason = reason.to_string();
    assert!(reason.contains("510.0 ms, 50.0 ms was asked for"), "{reason}");
    assert!(reason.contains("no lull is in sight in the 30.0 s that are left"), "{reason}");
}

#[test]
fn it_waits_for_a_lull_as_long_as_one_is_foreseen() {
    let mut rule = rule();
    let seen = Seen { lull: Some(ms(20_000)), ..Seen::at(ms(0), ms(500)) };
    let waits = Seen { at: ms(35_000), ..seen };
    Seen::at(ms(0), ms(500)).decide(&mut rule);
    let foreseen = Continue::LullForeseen { wait: ms(20_000) };
    assert_eq!(waits.decide(&mut rule), Decision::Continue(foreseen));
    // It has not come, and the next one would come too late.
    let decision = Seen { at: ms(41_000), ..seen }.decide(&mut rule);
    assert!(matches!(decision, Decision::GiveUp(GiveUp::CannotConverge { .. })), "{decision:?}");
}

#[test]
fn a_move_in_any_case_stops_when_nothing_is_gained() {
    let (at, decision) = every_second(&mut forced(), Seen::at(ms(0), ms(500)));
    assert_eq!(at, PATIENCE);
    let Decision::Stop(stop @ Stop::Forced { .. }) = decision else { panic!("{decision:?}") };
    assert_eq!(stop.expected().total(), ms(510));
}

#[test]
fn a_move_in_any_case_stops_before_the_time_is_over() {
    let decision = Seen::at(WITHIN - ms(1200), ms(500)).decide(&mut forced());
    assert_eq!(decision, Decision::Continue(Continue::NotYet));
    let decision = Seen::at(WITHIN - ms(1100), ms(500)).decide(&mut forced());
    assert!(matches!(decision, Decision::Stop(Stop::Forced { .. })), "{decision:?}");
    // Even if the time has long been over.
    let decision = Seen::at(WITHIN * 2, ms(31_000)).decide(&mut forced());
    assert!(matches!(decision, Decision::Stop(Stop::Forced { .. })), "{decision:?}");
}

#[test]
fn a_number_of_rounds_is_kept_whatever_is_left() {
    let rounds = NonZeroU32::new(3).unwrap();
    let mut request = request();
    request.strategy.rounds = Rounds::Exactly(rounds);
    let mut rule = Rule::new(ms(50), &request);
    for round in 1..3 {
        let decision = Seen { round, ..Seen::at(ms(900), ms(1)) }.decide(&mut rule);
        assert_eq!(decision, Decision::Continue(Continue::NotYet));
    }
    assert!(rule.is_last(3) && !rule.is_last(2));
    let decision = Seen { round: 3, ..Seen::at(ms(900), ms(700)) }.decide(&mut rule);
    assert!(matches!(decision, Decision::Stop(Stop::RoundsDone { .. })), "{decision:?}");
}

#[test]
fn it_does_not_stop_a_guest_that_would_run_again_only_behind_the_deadline() {
    let decision = Seen::at(WITHIN - ms(10), ms(5)).decide(&mut rule());
    assert!(matches!(decision, Decision::GiveUp(GiveUp::DeadlinePassed { .. })));
}

/// The rule of a move of this mode, and what is done on a miss.
fn rule_of(mode: Mode, on_miss: OnMiss) -> Rule {
    Rule::new(ms(50), &Request { mode, on_miss, ..request() })
}

fn stops(decision: &Decision) -> Stop {
    let Decision::Stop(stop) = decision else { panic!("{decision:?}") };
    *stop
}

#[test]
fn all_is_copied_while_it_is_stopped_only_if_that_is_short_enough() {
    let mut rule = rule_of(Mode::StopAndCopy, OnMiss::Extend);
    assert!(rule.stops_at_once());
    let short = Seen { round: 0, ..Seen::at(ms(900), ms(20)) };
    assert!(matches!(stops(&short.decide(&mut rule)), Stop::PromiseMet { .. }));
    let long = Seen::at(ms(900), ms(500));
    // What can be told beforehand is a refusal, whatever is to be done on a miss.
    let Decision::GiveUp(reason) = long.decide(&mut rule) else { panic!() };
    assert!(reason.is_refusal());
    let reason = reason.to_string();
    assert!(reason.contains("510.0 ms if it is moved by stop-and-copy, 50.0 ms"), "{reason}");
    let unknown = Seen { link_known: false, ..Seen::at(ms(900), ms(0)) };
    assert_eq!(unknown.decide(&mut rule), Decision::GiveUp(GiveUp::LinkUnknown));
    let request = Request { mode: Mode::StopAndCopy, force: true, ..request() };
    for seen in [long, unknown] {
        let decision = seen.decide(&mut Rule::new(ms(50), &request));
        assert!(matches!(stops(&decision), Stop::Forced { .. }));
    }
}

#[test]
fn what_was_foreseen_is_believed_of_a_copy_of_a_stopped_guest() {
    use crate::report::{Interval, Intervals, Predicted, Quantiles};
    let foreseen = |p99| {
        let (low, high) = (ms(0), ms(100_000));
        let both = Interval { low, high };
        let (downtime, total) = (Quantiles { p50: p99, p99 }, Quantiles { p50: p99, p99 });
        let interval95 = Intervals { downtime: both, total: both };
        Predicted { downtime, total, wire_bytes: punctual_units::Bytes::ZERO, interval95 }
    };
    let decide = |p99, link_known| {
        let predicted = Some(foreseen(p99));
        let request = Request { mode: Mode::StopAndCopy, predicted, ..request() };
        // By the number of pages alone it takes ten times what was asked for.
        Seen { link_known, ..Seen::at(ms(900), ms(500)) }.decide(&mut Rule::new(ms(50), &request))
    };
    for link_known in [false, true] {
        assert_eq!(stops(&decide(ms(40), link_known)).expected().total(), ms(40));
        let too_long = GiveUp::TooLong { mode: Mode::StopAndCopy, expected: ms(60), asked: ms(50) };
        assert_eq!(decide(ms(60), link_known), Decision::GiveUp(too_long));
    }
}

#[test]
fn where_all_follows_the_fixed_part_alone_must_be_short_enough() {
    let mut rule = rule_of(Mode::PostCopy, OnMiss::Cancel);
    assert!(rule.stops_at_once());
    let seen = Seen::at(ms(900), Duration::from_secs(100));
    let stop = stops(&seen.decide(&mut rule));
    assert!(stop.leaves_pages());
    assert_eq!(stop.expected().total(), ms(10));
    let follow = Expected { fixed: ms(45), copy: ms(6) };
    let decision = Seen { follow, ..seen }.decide(&mut rule);
    let too_long = GiveUp::TooLong { mode: Mode::PostCopy, expected: ms(51), asked: ms(50) };
    assert_eq!(decision, Decision::GiveUp(too_long));
}

#[test]
fn a_hybrid_copies_for_as_long_as_that_gains_and_then_the_rest_follows() {
    let mut rule = rule_of(Mode::Hybrid, OnMiss::Cancel);
    assert!(!rule.stops_at_once());
    let gains = Seen { copy_after: ms(300), ..Seen::at(ms(900), ms(500)) };
    assert_eq!(gains.decide(&mut rule), Decision::Continue(Continue::NotYet));
    let barely = Seen { copy_after: ms(420), ..gains };
    assert!(stops(&barely.decide(&mut rule)).leaves_pages());
    // Neither for ever, nor beyond the time.
    let often = Seen { round: at_once::MOST_AHEAD, ..gains };
    assert!(stops(&often.decide(&mut rule)).leaves_pages());
    let late = Seen { at: WITHIN - ms(600), ..gains };
    assert!(stops(&late.decide(&mut rule)).leaves_pages());
    // Where the promise can be kept without, nothing has to follow.
    let met = Seen::at(ms(900), ms(20));
    assert!(matches!(stops(&met.decide(&mut rule)), Stop::PromiseMet { .. }));
}

#[test]
fn a_hybrid_switches_where_the_plan_says() {
    let mut request = Request { mode: Mode::Hybrid, ..request() };
    request.strategy.rounds = Rounds::Exactly(NonZeroU32::new(2).unwrap());
    let mut rule = Rule::new(ms(50), &request);
    let seen = Seen::at(ms(900), ms(500));
    assert_eq!(seen.decide(&mut rule), Decision::Continue(Continue::NotYet));
    assert!(stops(&Seen { round: 2, ..seen }.decide(&mut rule)).leaves_pages());
}

#[test]
fn on_a_miss_there_is_as_much_time_again_and_then_a_stop_in_any_case() {
    let mut rule = rule_of(Mode::PreCopy, OnMiss::Extend);
    assert!(rule.goes_on_late());
    // Headway all the time, but not enough: twice the time is used.
    let seen = |at, copy| Seen::at(at, copy);
    let mut copy = ms(40_000);
    for second in [0, 20, 40, 60, 80] {
        copy = copy.mul_f64(0.8);
        let decision = seen(Duration::from_secs(second), copy).decide(&mut rule);
        assert_eq!(decision, Decision::Continue(Continue::NotYet), "{second}");
    }
    let missed = rule.missed().unwrap().clone();
    assert_eq!((missed.at, missed.did), (Duration::from_secs(40), OnMiss::Extend));
    assert!(missed.why.contains("the next round alone takes"), "{missed}");
    let stop = stops(&seen(WITHIN * 2 - ms(100), ms(500)).decide(&mut rule));
    assert!(matches!(stop, Stop::Forced { .. }));
}

#[test]
fn a_guest_that_does_not_converge_is_stopped_at_the_best_moment_if_time_was_to_be_added() {
    let mut rule = rule_of(Mode::PreCopy, OnMiss::Extend);
    let (at, decision) = every_second(&mut rule, Seen::at(ms(0), ms(500)));
    assert_eq!(at, PATIENCE);
    assert!(matches!(stops(&decision), Stop::Forced { .. }));
    assert!(rule.missed().unwrap().why.contains("as fast as its pages are sent"));
}

#[test]
fn on_a_miss_what_is_left_follows() {
    let mut rule = rule_of(Mode::PreCopy, OnMiss::PostCopy);
    let (at, decision) = every_second(&mut rule, Seen::at(ms(0), ms(500)));
    assert_eq!(at, PATIENCE);
    assert!(stops(&decision).leaves_pages());
    // It is decided once more when the machine is ready for the stop, and stays decided, ...
    let again = Seen { copy_after: ms(1), ..Seen::at(at, ms(400)) };
    assert!(stops(&again.decide(&mut rule)).leaves_pages());
    // ... unless the guest has calmed down.
    assert!(!stops(&Seen::at(at, ms(10)).decide(&mut rule)).leaves_pages());
    assert_eq!(rule.missed().unwrap().did, OnMiss::PostCopy);
    // So does what is left when the time is over.
    let mut rule = rule_of(Mode::PreCopy, OnMiss::PostCopy);
    assert!(stops(&Seen::at(WITHIN, ms(500)).decide(&mut rule)).leaves_pages());
}

#[test]
fn on_a_miss_the_guest_is_slowed_down_step_by_step() {
    let mut rule = rule_of(Mode::PreCopy, OnMiss::Throttle);
    // 100 ms at full speed: 34 ms, of the 36 that are allowed, at a third.
    let seen = Seen::at(ms(0), ms(100));
    let (at, decision) = every_second(&mut rule, seen);
    assert_eq!(at, WITHIN / 4);
    let Decision::Throttle(share) = decision else { panic!("{decision:?}") };
    assert!((0.34..0.35).contains(&share.get()), "{share:?}");
    assert_eq!(rule.missed().unwrap().did, OnMiss::Throttle);
    // It has little effect: a step further, again and again, and in the end no more.
    let mut at = at;
    let mut shares = vec![rule.slowing.share];
    let last = loop {
        at += ms(500);
        match (Seen { at, ..seen }).decide(&mut rule) {
            Decision::Continue(_) => {}
            Decision::Throttle(share) => shares.push(share.get()),
            other => break other,
        }
    };
    assert!(shares.is_sorted_by(|before, after| before > after), "{shares:?}");
    assert_eq!(shares.last(), Some(&throttle::LEAST));
    let Decision::GiveUp(reason) = last else { panic!("{last:?}") };
    assert!(reason.to_string().contains("it was left 5 % of its time"), "{reason}");
}

#[test]
fn a_guest_that_cannot_be_slowed_down_stays_with_the_reason() {
    let mut rule = rule_of(Mode::PreCopy, OnMiss::Throttle);
    let (at, decision) = every_second(&mut rule, Seen::at(ms(0), ms(100)));
    assert!(matches!(decision, Decision::Throttle(_)), "{decision:?}");
    rule.not_throttled("throttle-unavailable: no controller".to_owned());
    let mut seconds = (0..100).map(|second| at + Duration::from_secs(second));
    let reason = seconds.find_map(|at| match Seen::at(at, ms(100)).decide(&mut rule) {
        Decision::GiveUp(reason) => Some(reason.to_string()),
        _ => None,
    });
    let reason = reason.unwrap();
    assert!(reason.contains("as fast as its pages are sent"), "{reason}");
    assert!(reason.contains("throttle-unavailable: no controller"), "{reason}");
    assert_eq!(rule.slowing.share, 1.0);
}

#[test]
fn no_guest_is_slowed_down_where_that_cannot_help() {
    // There is no time to see what it does ...
    let mut rule = rule_of(Mode::PreCopy, OnMiss::Throttle);
    let decision = Seen::at(ms(30_000), ms(31_000)).decide(&mut rule);
    assert!(matches!(decision, Decision::GiveUp(GiveUp::TooLittleTime { .. })), "{decision:?}");
    // ... or the promise is kept as it is.
    let mut rule = rule_of(Mode::PreCopy, OnMiss::Throttle);
    assert!(matches!(Seen::at(ms(900), ms(20)).decide(&mut rule), Decision::Stop(_)));
}

#[test]
fn while_nothing_is_gained_there_is_no_hurry() {
    let mut rule = rule();
    let first = Seen::at(ms(0), ms(500)).decide(&mut rule);
    assert!(!first.is_in_no_hurry(), "{first:?}");
    let gained = Seen::at(ms(100), ms(400)).decide(&mut rule);
    assert!(!gained.is_in_no_hurry(), "{gained:?}");
    let lately = Seen::at(ms(100) + HASTE - ms(1), ms(400)).decide(&mut rule);
    assert!(!lately.is_in_no_hurry(), "{lately:?}");
    let none = Seen::at(ms(100) + HASTE, ms(400)).decide(&mut rule);
    assert_eq!(none, Decision::Continue(Continue::NothingGained));
    assert!(none.is_in_no_hurry());
}

fn rule_by(policy: Policy) -> Rule {
    Rule::new(ms(50), &Request { within: WITHIN, ..Request::new("b", policy) })
}

#[test]
fn xen_stops_with_few_pages_or_after_much_work_whatever_the_interruption_is() {
    let goes_on = Seen { round: 28, sent: Pages::new(3000), ..Seen::at(ms(900), ms(700)) };
    let decision = goes_on.decide(&mut rule_by(Policy::Xen));
    assert!(matches!(decision, Decision::Continue(_)), "{decision:?}");
    for seen in [
        Seen { left: Pages::new(49), ..goes_on },
        Seen { round: 29, ..goes_on },
        Seen { sent: Pages::new(3001), ..goes_on },
    ] {
        let stop = stops(&seen.decide(&mut rule_by(Policy::Xen)));
        assert!(matches!(stop, Stop::ByPolicy { .. }), "{stop:?}");
    }
    // A promise that could be kept is nothing to it.
    let short = Seen { left: Pages::new(50), ..Seen::at(ms(900), ms(1)) };
    assert!(matches!(short.decide(&mut rule_by(Policy::Xen)), Decision::Continue(_)));
}

#[test]
fn qemu_stops_when_the_rest_alone_is_short_enough_and_never_otherwise() {
    // With the fixed part of 10 ms it takes longer than the 50 ms that were asked for.
    let stop = stops(&Seen::at(ms(900), ms(50)).decide(&mut rule_by(Policy::Qemu)));
    assert!(stop.expected().total() > ms(50), "{stop:?}");
    let mut rule = rule_by(Policy::Qemu);
    let (at, decision) = every_second(&mut rule, Seen::at(ms(0), ms(51)));
    assert!(matches!(decision, Decision::GiveUp(GiveUp::DeadlinePassed { .. })), "{decision:?}");
    assert_eq!(at, WITHIN);
}
