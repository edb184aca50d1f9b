use punctual_engine::FixedCost;
use punctual_engine::report::{Interval, Intervals, Quantiles};

use super::*;
use crate::synthetic::Synthetic;
use crate::{Facts, Following};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn plan() -> Plan {
    let interval = Interval { low: ms(10), high: ms(45) };
    let predicted = Predicted {
        downtime: Quantiles { p50: ms(20), p99: ms(40) },
        total: Quantiles { p50: ms(3000), p99: ms(4000) },
        wire_bytes: Bytes::mib(300),
        interval95: Intervals { downtime: interval, total: interval },
    };
    Plan {
        plan_version: Plan::VERSION,
        machine: "web".to_owned(),
        process: Some("a/0123".to_owned()),
        ask: Ask::new("b", ms(50), ms(60_000), Probability::saturating(0.99)),
        basis: Basis {
            trace: ms(30_000),
            recorded_at: 1_795_000_000,
            populated: Bytes::mib(512),
            written_rate: 1500.0,
            bandwidth: BytesPerSecond::megabits(1000),
            samples: 24,
            thinning: 1,
            assumed: vec![],
        },
        ways: vec![Forecast {
            way: Way::Ordered,
            excluded: None,
            keeps: Probability::ONE,
            gives_up: Probability::ZERO,
            predicted: Some(predicted),
            at_most: Some(AtMost { downtime: ms(40), total: ms(4000) }),
            exposure: None,
            simulated: None,
            remarks: vec![],
        }],
        cheapest_bandwidth: Some(BytesPerSecond::megabits(400)),
        choice: Choice::Take { way: Way::Ordered, why: "it is the fastest".to_owned() },
    }
}

#[test]
fn a_plan_can_be_read_again_and_carried_out() {
    let read = Plan::decode(&plan().encode()).unwrap();
    assert_eq!(read, plan());
    let told = read.instructions().unwrap();
    assert_eq!((told.policy, told.downtime, told.to.as_str()), (Policy::Ordered, ms(50), "b"));
    assert_eq!(told.predicted.unwrap().downtime.p50, ms(20));
    assert_eq!((told.mode, told.post_copy), (Mode::PreCopy, true));
    assert_eq!(read.instructions_for(Way::Restart), None, "nothing was said of it");
}

#[test]
fn the_fields_have_the_names_that_are_promised_to_programs() {
    let json: serde_json::Value = serde_json::from_str(&plan().encode()).unwrap();
    assert_eq!(json["ask"]["downtime_ms"], 50.0);
    assert_eq!(json["ways"][0]["way"], "ordered");
    assert_eq!(json["ways"][0]["predicted"]["total_s"]["p50"], 3.0);
    assert_eq!(json["ways"][0]["at_most"]["downtime_ms"], 40.0);
    assert_eq!(json["choice"]["verdict"], "take");
    assert_eq!(json["choice"]["way"], "ordered");
}

#[test]
fn what_is_no_plan_is_told_apart() {
    let error = |text: &str| Plan::decode(text).unwrap_err().to_string();
    assert!(error("plan").contains("not JSON"));
    assert!(error("{}").contains("no `plan_version`"));
    let newer = plan().encode().replace("\"plan_version\": 1", "\"plan_version\": 2");
    assert!(error(&newer).contains("version 2, and this program reads version 1"));
    let damaged = plan().encode().replace("\"downtime_ms\": 50.0", "\"downtime_ms\": -50.0");
    assert!(error(&damaged).contains("damaged"), "{}", error(&damaged));
}

#[test]
fn a_way_has_one_name() {
    for way in Way::ALL {
        assert_eq!(serde_json::to_string(&way).unwrap(), format!("\"{way}\""));
    }
}

fn planned(workload: &str, megabits: u64, downtime: Duration) -> Plan {
    asked(workload, megabits, &Ask { downtime, ..plan().ask })
}

fn without_post_copy(workload: &str, megabits: u64, downtime: Duration) -> Plan {
    asked(workload, megabits, &Ask { downtime, post_copy: false, ..plan().ask })
}

fn asked(workload: &str, megabits: u64, ask: &Ask) -> Plan {
    let trace = workload.parse::<crate::synthetic::Synthetic>().unwrap().trace();
    let facts = crate::Facts::assumed(BytesPerSecond::megabits(megabits));
    super::plan(&trace, &facts, ask)
}

/// Writes faster than the link carries, all over its memory.
const NEVER_ENDING: &str = "uniform:memory=64MiB,set=48MiB,rate=20000,again=4096,for=4s";

#[test]
fn a_machine_that_writes_faster_than_the_link_goes_before_its_memory() {
    let plan = planned(NEVER_ENDING, 100, ms(150));
    let Choice::Take { way: Way::Hybrid, why } = &plan.choice else { panic!("{:?}", plan.choice) };
    assert!(why.contains("depends on two hosts") && why.contains("`pre-copy` keeps it in 0 %"));
    let hybrid = plan.forecast(Way::Hybrid).unwrap();
    let exposure = hybrid.exposure.unwrap();
    // 48 MiB take 4 s at 100 Mbit/s; a copy of the 64 MiB makes a fourth of them good.
    assert!(exposure.p50 > ms(2000) && exposure.p50 < ms(5500), "{exposure:?}");
    assert!(exposure.low <= exposure.p50 && exposure.p50 <= exposure.p99, "{exposure:?}");
    assert!((6_000..13_000).contains(&exposure.missing.get()), "{exposure:?}");
    assert!(0 < exposure.waits && exposure.waits <= exposure.missing.get(), "{exposure:?}");
    assert!(hybrid.predicted.unwrap().downtime.p99 <= ms(150), "{hybrid:?}");
    let all = plan.forecast(Way::PostCopy).unwrap();
    assert!(all.exposure.unwrap().missing > exposure.missing);
    assert!(all.predicted.unwrap().total.p50 < hybrid.predicted.unwrap().total.p50);
    let told = plan.instructions().unwrap();
    assert_eq!((told.mode, told.policy), (Mode::Hybrid, Policy::Ordered));
    assert_eq!(Plan::decode(&plan.encode()).unwrap().choice, plan.choice);
}

/// Handovers of which so many took this long beside the pages.
fn handovers(number: usize, device_state: Duration) -> Vec<FixedCost> {
    vec![FixedCost { device_state, ..FixedCost::default() }; number]
}

fn by_facts(workload: &str, facts: &Facts, ask: &Ask) -> Plan {
    super::plan(&workload.parse::<Synthetic>().unwrap().trace(), facts, ask)
}

#[test]
fn post_copy_is_foretold_by_what_was_seen_of_it_and_promises_no_more() {
    const QUIET: &str = "hot-cold:memory=64MiB,set=4MiB,rate=2000,for=4s";
    let ask = Ask { downtime: ms(60), mode: Some(Mode::PostCopy), ..plan().ask };
    let seen = |fixed| {
        let post_copy = Following { fixed, ..Following::default() };
        let facts = Facts::assumed(BytesPerSecond::megabits(1000));
        let facts = Facts { fixed: handovers(9, ms(3)), post_copy, ..facts };
        by_facts(QUIET, &facts, &ask)
    };
    let downtime = |plan: &Plan, way| plan.forecast(way).unwrap().predicted.unwrap().downtime.p50;
    let keeps = |plan: &Plan| plan.forecast(Way::PostCopy).unwrap().keeps;

    let (unknown, long) = (seen(vec![]), seen(handovers(9, ms(100))));
    // Pages that are touched while the state is loaded come over the link one by one.
    let ordinary = FixedCost { device_state: ms(3), ..FixedCost::default() }.sum();
    assert!(downtime(&unknown, Way::PostCopy) > ordinary + ms(10), "{unknown:?}");
    assert_eq!((keeps(&unknown), keeps(&long)), (Probability::ONE, Probability::ZERO));
    assert!(downtime(&long, Way::PostCopy) > downtime(&unknown, Way::PostCopy) + ms(70));
    assert_eq!(downtime(&long, Way::Ordered), downtime(&unknown, Way::Ordered), "nothing follows");
    assert_eq!(downtime(&long, Way::StopAndCopy), downtime(&unknown, Way::StopAndCopy));

    let mixed = seen([handovers(9, ms(3)), handovers(9, ms(100))].concat());
    assert!((0.2..0.8).contains(&keeps(&mixed).get()), "{:?}", keeps(&mixed));
    assert!(matches!(mixed.choice, Choice::None { .. }), "a toss is no promise");
}

#[test]
fn what_a_hybrid_can_copy_in_time_does_not_follow() {
    let facts = |hybrid: Vec<FixedCost>| Facts {
        fixed: handovers(9, ms(3)),
        hybrid: Following { fixed: hybrid, ..Following::default() },
        ..Facts::assumed(BytesPerSecond::megabits(1000))
    };
    let ask = |downtime| Ask { downtime, mode: Some(Mode::Hybrid), ..plan().ask };
    let hybrid = |downtime, facts| {
        let workload = "hot-cold:memory=64MiB,set=4MiB,rate=2000,for=4s";
        by_facts(workload, facts, &ask(downtime)).forecast(Way::Hybrid).unwrap().clone()
    };
    let downtime = |forecast: &Forecast| forecast.predicted.unwrap().downtime.p50;

    let (usual, slow) = (facts(handovers(9, ms(9))), facts(handovers(9, ms(90))));
    let copies = hybrid(ms(200), &slow);
    assert_eq!((copies.exposure, copies.keeps), (None, Probability::ONE));
    assert!(downtime(&copies) < ms(60), "as a pre-copy: {copies:?}");
    let follows = hybrid(ms(15), &usual);
    assert!(follows.exposure.is_some(), "{follows:?}");
    assert!(downtime(&hybrid(ms(15), &slow)) > downtime(&follows) + ms(70));
}

#[test]
fn a_mode_that_is_named_is_the_only_one() {
    let by = |mode, downtime| {
        let ask = Ask { mode: Some(mode), downtime, ..super::tests::plan().ask };
        asked("hot-cold:memory=64MiB,set=4MiB,rate=2000,for=4s", 1000, &ask)
    };
    let taken = |plan: &Plan| match &plan.choice {
        Choice::Take { way, .. } => Some(*way),
        Choice::None { .. } => None,
    };
    assert_eq!(taken(&by(Mode::PostCopy, ms(60))), Some(Way::PostCopy));
    assert_eq!(taken(&by(Mode::StopAndCopy, ms(30_000))), Some(Way::StopAndCopy));
    assert_eq!(taken(&by(Mode::Restart, ms(50_000))), Some(Way::Restart));
    let refused = by(Mode::StopAndCopy, ms(60));
    let Choice::None { best: Some(best), .. } = &refused.choice else { panic!("{refused:?}") };
    assert_eq!(best.way, Way::StopAndCopy);
    let pre_copy = refused.forecast(Way::Ordered).unwrap();
    assert!(pre_copy.keeps == Probability::ONE && pre_copy.excluded.is_some(), "{pre_copy:?}");
}

#[test]
fn the_way_taken_keeps_what_was_asked_and_could_with_less() {
    let plan = planned("hot-cold:memory=64MiB,set=4MiB,rate=2000,for=4s", 1000, ms(60));
    let Choice::Take { way, why } = &plan.choice else { panic!("{:?}", plan.choice) };
    assert!(way.policy().is_some() && why.contains("60.0 ms"), "{why}");
    assert_eq!(plan.forecast(*way).unwrap().keeps, Probability::ONE);
    assert!(plan.cheapest_bandwidth.unwrap() < BytesPerSecond::megabits(1000));
    assert_eq!(plan.ways.iter().map(|forecast| forecast.way).collect::<Vec<_>>(), Way::ALL);
    assert_eq!(Plan::decode(&plan.encode()).unwrap().choice, plan.choice);
}

#[test]
fn where_no_way_keeps_it_the_best_is_named_and_what_would_help() {
    let plan = without_post_copy(NEVER_ENDING, 100, ms(150));
    let Choice::None { best, why } = &plan.choice else { panic!("{:?}", plan.choice) };
    let best = best.unwrap();
    assert!(best.at_most.downtime > ms(150) && why.contains("the best that can be had"), "{why}");
    assert!(why.contains("`hybrid` would keep it, but") && why.contains("--no-post-copy"), "{why}");
    assert!(plan.cheapest_bandwidth.is_none_or(|rate| rate > BytesPerSecond::megabits(100)));
    assert_eq!(plan.instructions(), None);
}

/// However little time there is in all, the best that can be had is sought below it.
#[test]
fn the_best_that_can_be_had_is_one_that_a_move_would_keep() {
    let trace = "hot-cold:memory=64MiB,set=4MiB,rate=2000,for=4s";
    let trace = trace.parse::<crate::synthetic::Synthetic>().unwrap().trace();
    let facts = crate::Facts::assumed(BytesPerSecond::megabits(300));
    let ask = Ask { downtime: ms(10), within: ms(6000), ..plan().ask };
    let plan = super::plan(&trace, &facts, &ask);
    let Choice::None { best: Some(best), why } = plan.choice else { panic!("{:?}", plan.choice) };
    assert!((ms(15)..ms(120)).contains(&best.at_most.downtime), "{why}");
    let again = super::plan(&trace, &facts, &Ask { downtime: best.at_most.downtime, ..ask });
    assert!(matches!(again.choice, Choice::Take { .. }), "{:?}", again.choice);
}
