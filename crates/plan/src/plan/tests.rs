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
