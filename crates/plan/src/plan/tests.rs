use punctual_engine::report::{Interval, Intervals, Quantiles};

use super::*;

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
        ask: Ask {
            to: "b".to_owned(),
            downtime: ms(50),
            within: ms(60_000),
            confidence: Probability::saturating(0.99),
            bandwidth: None,
        },
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
            keeps: Probability::ONE,
            gives_up: Probability::ZERO,
            predicted: Some(predicted),
            at_most: Some(AtMost { downtime: ms(40), total: ms(4000) }),
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
    assert_eq!(read.instructions_for(Way::Restart), None);
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
    let trace = workload.parse::<crate::synthetic::Synthetic>().unwrap().trace();
    let facts = crate::Facts::assumed(BytesPerSecond::megabits(megabits));
    super::plan(&trace, &facts, &Ask { downtime, ..plan().ask })
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
    let workload = "uniform:memory=64MiB,set=48MiB,rate=20000,again=4096,for=4s";
    let plan = planned(workload, 100, ms(40));
    let Choice::None { best, why } = &plan.choice else { panic!("{:?}", plan.choice) };
    let best = best.unwrap();
    assert!(best.at_most.downtime > ms(40) && why.contains("the best that can be had"), "{why}");
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
