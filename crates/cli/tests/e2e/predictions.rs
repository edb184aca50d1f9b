//! The benchmark of predictions, in small: not how near they come, but that nothing is missing.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::skip::can_play;
use crate::stage::{PROGRAM, turn};
use crate::told::{DONE, Told};
use punctual_lab::census;

#[test]
fn a_slice_of_the_benchmark() {
    let _turn = turn();
    if !can_play() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let place = |name: &str| scratch.path().join(name).display().to_string();
    let (file, page) = (place("moves.json"), place("page.html"));
    let mut bench = Command::new(PROGRAM);
    bench.args(["bench", "predict", "--slice", "--seed", "7", "--json"]);
    bench.args(["--output", &file, "--report", &page]);
    let bench = bench.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = bench.spawn().unwrap();
    let lab = format!("predict-{}", child.id());
    let told = Told::from(child.wait_with_output().unwrap()).expect(DONE);
    assert!(told.err.contains("seed 7: 6 moves") && told.err.contains("ETA"), "{}", told.err);
    let made = told.json();

    let trips = made["trips"].as_array().unwrap();
    let warm: Vec<_> = trips.iter().filter(|trip| trip["stage"] == "warm").collect();
    assert_eq!((trips.len(), warm.len()), (6, 4));
    let asked: BTreeSet<_> =
        warm.iter().map(|trip| format!("{} {}", trip["workload"], trip["asked_ms"])).collect();
    assert_eq!(asked.len(), 4, "each workload with each downtime: {asked:?}");
    trips.iter().for_each(expect_sane);
    let digests = trips.iter().filter(|trip| trip["report"]["ram_digest_equal"] == true);
    assert_eq!(digests.count(), 2);

    let figures = &made["summary"]["warm"];
    let completed = warm.iter().filter(|trip| trip["report"]["outcome"] == "completed").count();
    assert_eq!(figures["figures"]["moves"], completed);
    assert_eq!(made["summary"]["targets"].as_array().unwrap().len(), 6);
    let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept, made, "the file has what is printed");
    assert_eq!(std::fs::read_to_string(&page).unwrap().matches("<svg").count(), 2);
    assert_eq!(census::of_name(&lab).unwrap(), Vec::<String>::new());
}

/// Made or refused, predicted, and told as it was.
#[track_caller]
fn expect_sane(trip: &Value) {
    let report = &trip["report"];
    assert_eq!(report["promised"]["downtime_ms"], trip["asked_ms"], "{trip}");
    match report["outcome"].as_str() {
        Some("completed") => {
            expect_promise(report);
            assert!(trip.get("forced").is_none(), "{trip}");
        }
        _ => {
            assert_eq!(report["promise"], "refused", "neither made nor refused: {trip}");
            expect_promise(&trip["forced"]);
        }
    }
}

/// Of a move that was made.
#[track_caller]
fn expect_promise(report: &Value) {
    assert_eq!(report["outcome"], "completed", "{report}");
    let (promised, measured) = (&report["promised"], &report["measured"]);
    let number = |value: &Value| value.as_f64().unwrap();
    let verify = measured["phases"]["verify_ms"].as_f64().unwrap_or(0.0);
    let in_time = number(&measured["downtime_ms"]) - verify <= number(&promised["downtime_ms"])
        && number(&measured["total_s"]) <= number(&promised["total_s"]);
    if verify == 0.0 {
        assert_eq!(report["promise"], if in_time { "kept" } else { "broken" }, "{report}");
    }
    assert!(number(&measured["client_gap_ms"]) > 0.0, "{report}");
}
