//! One fault at every message and every effect of a move.

use std::time::Duration;

use proptest::prelude::*;
use punctual_model::Policy;

use super::{CALM, by, ms, run, setting};
use crate::fault::{Fault, FaultKind, Side, Way, When};
use crate::guest::{Guest, Workload};
use crate::setting::Setting;
use crate::world::{RESTART, World};

const KINDS: [FaultKind; 6] = [
    FaultKind::Reset,
    FaultKind::Cut { way: Way::Both, lasts: Duration::from_secs(12) },
    FaultKind::Cancelled,
    FaultKind::Crash { side: Side::Source, down: RESTART },
    FaultKind::Crash { side: Side::Destination, down: RESTART },
    FaultKind::EffectFails,
];

/// A small guest, so that a fault at each point takes little time.
const SMALL: Workload =
    Workload { pages: 200, writes: 3000, hot: 40, stray: 3000, requests: 2, ..CALM };

#[test]
fn a_fault_at_every_message_and_every_effect_leaves_one_owner_with_all_content() {
    let mut ended = [0, 0];
    for (kind, policy) in KINDS.into_iter().flat_map(|kind| Policy::OWN.map(|it| (kind, it))) {
        for seed in 1..=3 {
            let mut setting = by(policy, SMALL);
            (setting.seed, setting.verify) = (seed, seed == 2);
            let points = run(setting.clone()).points;
            for at in 0..points {
                setting.faults = vec![Fault { when: When::Point(at), kind }];
                let outcome = run(setting.clone());
                ended[usize::from(outcome.committed)] += 1;
            }
        }
    }
    assert!(ended[0] > 2000 && ended[1] > 400, "both ends are reached: {ended:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_guest_on_any_link_with_any_fault_has_one_owner_and_loses_nothing(
        seed in 1..u64::MAX,
        writes in 0..60_000_u64,
        hot in 1..400_u64,
        requests in 0..20_u64,
        request in 1..30_u64,
        megabits in 50..1500_u64,
        latency in 0..20_000_u64,
        at in 0..4000_u32,
        kind in proptest::sample::select(KINDS.to_vec()),
        policy in proptest::sample::select(Policy::OWN.to_vec()),
        (known, force, rounds) in (proptest::bool::ANY, proptest::bool::ANY, 0..4_u32),
    ) {
        let request = ms(request);
        let workload = Workload { pages: 400, writes, hot, requests, request, ..CALM };
        let mut setting = by(policy, workload);
        setting.seed = seed;
        setting.force = force;
        if let Some(rounds) = std::num::NonZeroU32::new(rounds) {
            setting.strategy.rounds = punctual_model::Rounds::Exactly(rounds);
        }
        setting.heat = known.then(|| Guest::watched(workload, seed ^ 1, ms(300)));
        setting.bandwidth = punctual_units::BytesPerSecond::megabits(megabits);
        setting.latency = Duration::from_micros(latency);
        setting.within = Duration::from_secs(3);
        setting.downtime = ms(80);
        setting.faults = vec![Fault { when: When::Point(at), kind }];
        run(setting);
    }
}

#[test]
fn points_are_passed_the_same_way_each_time() {
    let points = || run(setting(CALM)).points;
    assert_eq!(points(), points());
}

#[test]
fn a_second_move_that_trusts_the_marks_of_the_first_is_found_out() {
    let setting = setting(CALM);
    let cancelled = Fault { when: When::Point(60), kind: FaultKind::Cancelled };
    let first = run(Setting { faults: vec![cancelled], ..setting.clone() });
    assert!(!first.committed);
    for keeps_marks in [false, true] {
        let mut guest = first.guest.clone();
        guest.begin_anew();
        guest.keeps_marks = keeps_marks;
        let second = World::with(setting.clone(), guest).run();
        let lost = second.wrong.iter().any(|what| what.contains("old"));
        assert_eq!((lost, second.committed), (keeps_marks, true), "{:?}", second.wrong);
    }
}
