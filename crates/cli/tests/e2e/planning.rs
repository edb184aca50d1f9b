//! What a move is predicted to take, refused by it, and carried out from it.

use punctual_guest_protocol::{Options, Workload};
use serde_json::Value;

use crate::stage::{GIGABIT, Stage, guest};
use crate::told::{DONE, REFUSED, USAGE};

/// That a median and a quantile above it are what is shown.
#[track_caller]
fn expect_quantiles(quantiles: &Value) -> f64 {
    let [p50, p99] = ["p50", "p99"].map(|name| quantiles[name].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99, "{quantiles}");
    p50
}

#[test]
fn a_move_is_planned_refused_and_carried_out_as_planned() {
    let Some(stage) = Stage::set("plan", GIGABIT) else { return };
    let options =
        Options { workload: Workload::Uniform, rate: 2_000, fill: 32 << 20, ..Options::default() };
    let mut guest = stage.start(&guest(options));
    let file = stage.scratch().join("web.plan").display().to_string();

    // Nothing is that fast; it is refused before anything is touched, with what can be had.
    let asked = ["plan", "web", "--to", "b", "--downtime", "1ms", "--within", "20s"];
    let told = stage.run("a", &[&asked[..], &["--for", "1s"]].concat()).expect(REFUSED);
    assert!(told.out.contains("no way keeps"), "{}", told.out);
    let asked = ["migrate", "web", "--to", "b", "--downtime", "1ms", "--within", "20s"];
    let told = stage.run("a", &asked).expect(REFUSED);
    assert!(
        told.err.contains("refused beforehand") && told.err.contains("--force"),
        "{}",
        told.err
    );
    stage.expect_nothing("b");
    stage.expect_at("web", "a");

    // What is asked for can be kept, and the plan says how.
    let asked = ["plan", "web", "--to", "b", "--downtime", "500ms", "-o", &file];
    let told = stage.run("a", &asked).expect(DONE);
    for word in ["pre-copy", "held-back", "stop-and-copy", "restart", "KEPT", "take `"] {
        assert!(told.out.contains(word), "`{word}` is not in: {}", told.out);
    }
    let plan: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((&plan["machine"], &plan["choice"]["verdict"]), (&"web".into(), &"take".into()));
    assert_eq!(plan["ways"].as_array().unwrap().len(), 8);

    // A plan says its own limits, and is for one machine.
    let told = stage.run("a", &["migrate", "--plan", &file, "--downtime", "1s"]).expect(USAGE);
    assert!(told.err.contains("--downtime"), "{}", told.err);
    let told = stage.run("a", &["migrate", "db", "--plan", &file]).expect(USAGE);
    assert!(told.err.contains("the plan is for machine `web`"), "{}", told.err);

    let report = stage.run("a", &["migrate", "--plan", &file, "--json"]).expect(DONE).json();
    assert_eq!(report["promised"]["downtime_ms"], 500.0);
    assert_eq!(report["promise"], "kept", "{report}");
    let predicted = &report["predicted"];
    let downtime = expect_quantiles(&predicted["downtime_ms"]);
    let total = expect_quantiles(&predicted["total_s"]);
    assert!(predicted["wire_bytes"].as_u64().unwrap() > 1 << 20, "{predicted}");
    // Loose: this computer does other things meanwhile.
    let measured = &report["measured"];
    for (name, predicted) in [("downtime_ms", downtime), ("total_s", total)] {
        let ratio = measured[name].as_f64().unwrap() / predicted;
        assert!((0.1..10.0).contains(&ratio), "{name}: {measured} where {predicted} was predicted");
    }
    stage.expect_at("web", "b");
    guest.expect_well();

    // The plan was for the machine as it was; and who insists gets what cannot be kept.
    let told = stage.run("b", &["migrate", "--plan", &file, "--to", "a"]).expect(USAGE);
    assert!(told.err.contains("the plan is for a move to host `b`"), "{}", told.err);
    let forced = ["migrate", "web", "--to", "a", "--downtime", "1ms", "--within", "20s", "--force"];
    let report = stage.run("b", &[&forced[..], &["--json"]].concat()).expect(DONE).json();
    assert_eq!((&report["outcome"], &report["promise"]), (&"completed".into(), &"broken".into()));
    assert!(report["measured"]["planned_s"].as_f64().unwrap() > 2.0, "it looked for two seconds");
    stage.expect_at("web", "a");
    stage.expect_bare("b");
    guest.expect_well();
    drop(guest);
    stage.strike();
}

#[test]
fn a_trace_is_planned_for_without_a_daemon_if_the_bandwidth_is_said() {
    let Some(stage) = Stage::set("plan-trace", GIGABIT) else { return };
    let guest = stage.start(&guest(Options::default()));
    let file = stage.scratch().join("web.trace").display().to_string();
    stage.run("a", &["trace", "web", "--for", "1s", "-o", &file]).expect(DONE);
    let plan = ["plan", &file, "--to", "b", "--downtime", "500ms", "--json"];
    let planned = stage.run("a", &plan).expect(DONE).json();
    let rate = planned["basis"]["bandwidth"].as_u64().unwrap();
    // A Gigabit is 117 MB/s of payload; a busy computer measures it badly.
    assert!((30e6..250e6).contains(&(rate as f64)), "the daemon has measured the link: {planned}");

    let nobody = ["--socket", "/nonexistent/control.sock"];
    let told = stage.run("a", &[&plan[..], &nobody].concat());
    told.expect_refusal(&["could not be measured", "--bandwidth"]);
    let said = ["--bandwidth", "300Mbit"];
    let planned = stage.run("a", &[&plan[..], &nobody, &said].concat()).expect(DONE).json();
    let assumed = planned["basis"]["assumed"].to_string();
    assert!(assumed.contains("was not looked at"), "{assumed}");
    drop(guest);
    stage.strike();
}
