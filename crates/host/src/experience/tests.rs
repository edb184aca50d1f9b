use punctual_engine::FixedCost;
use punctual_engine::report::{Ending, Mode, PostCopy, Report};
use punctual_model::quantile::Forecast;
use punctual_plan::Simulated;
use punctual_units::{Bytes, BytesPerSecond};

use super::*;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn survey() -> Survey {
    Survey { bandwidth: BytesPerSecond::megabits(1000), round_trip: ms(1) }
}

/// A move whose fixed parts took 4, 4, 1 and 3 times `step`, and which copied for a second.
fn report(step: Duration) -> Report {
    let milliseconds = |times: u32| (step * times).as_secs_f64() * 1e3;
    let sample = |at: f64, written: u64, sent: u64| serde_json::json!({ "at_s": at, "round": 1, "written": written, "dirty": 0, "sent": sent });
    let report = serde_json::json!({
        "machine": "web", "from": "a", "to": "b", "engine": "external", "policy": "ordered",
        "promised": { "downtime_ms": 50.0, "total_s": 60.0 },
        "measured": {
            "downtime_ms": 25.0 + 100.0, "total_s": 3.3 + 0.1, "preparing_s": 0.5,
            "wire_bytes": 300, "pages_sent": 7, "rounds": 2,
            "phases": {
                "stop_ms": milliseconds(4), "final_copy_ms": 5.0, "device_state_ms": milliseconds(4),
                "verify_ms": 100.0, "commit_ms": milliseconds(1), "resume_ms": milliseconds(3),
            }
        },
        "outcome": "completed", "promise": "kept", "owner": "destination", "reason": "",
        "samples": [sample(0.5, 0, 0), sample(1.0, 1000, 50_000_000), sample(1.5, 1000, 100_000_000)],
    });
    serde_json::from_value(report).unwrap()
}

fn said(seconds: f64) -> Forecast {
    Forecast::of(&[seconds]).unwrap()
}

/// The same move with all of 512 MiB following, loading the state taking so much longer, as it was
/// foreseen to.
fn followed(longer: Duration) -> Report {
    let mut report = report(ms(1));
    report.mode = Mode::PostCopy;
    report.measured.phases.device_state += longer;
    report.measured.downtime = report.measured.downtime.map(|downtime| downtime + longer);
    let missing = MEMORY.pages();
    report.measured.post_copy = Some(PostCopy { missing, ..PostCopy::default() });
    report
}

const MEMORY: Bytes = Bytes::mib(512);

fn learnt(report: &Report) -> Past {
    foreseen(report, report.measured.post_copy.is_some())
}

/// What is learnt of a move of which it was said whether pages would follow.
fn foreseen(report: &Report, follows: bool) -> Past {
    let writes = Writes::expected(|time| 1600.0 * time.as_secs_f64());
    let expectation = Expectation {
        bandwidth: Some(BytesPerSecond::new(125_000_000)),
        writes: Some(&writes),
        simulated: Some(Simulated { downtime: said(0.02), total: said(3.0) }),
        follows,
        populated: MEMORY,
    };
    Past::of("b:7070", report, expectation)
}

fn experience() -> (tempfile::TempDir, Experience) {
    let directory = tempfile::tempdir().unwrap();
    let experience = Experience::open(&directory.path().join("experience.json"));
    (directory, experience)
}

#[test]
fn a_move_tells_what_it_took_and_how_that_was_predicted() {
    let past = learnt(&report(ms(1)));
    let state = BytesPerSecond::new(125_000_000).time_for(FixedCost::STATE);
    assert_eq!(past.fixed.unwrap().sum(), ms(12) - state, "the link's part depends on the link");
    assert_eq!(past.preparing, Some(ms(500)));
    assert!((past.bandwidth.unwrap() - 0.8).abs() < 1e-9, "{past:?}");
    assert!((past.writing.unwrap() - 1.25).abs() < 0.01, "{past:?}");
    let (downtime, total) = (past.downtime.unwrap(), past.total.unwrap());
    assert_eq!(downtime.forecast, said(0.02));
    assert_eq!(downtime.actual, 0.025, "digests are not predicted");
    assert!((total.actual - 3.3).abs() < 1e-9);
}

#[test]
fn one_that_failed_tells_how_far_it_came() {
    let failed = Report { outcome: Ending::Failed, ..report(ms(1)) };
    let past = learnt(&failed);
    assert_eq!((past.fixed, past.downtime, past.total), (None, None, None));
    assert!(past.preparing.is_some() && past.bandwidth.is_some() && past.is_telling());
    let mut refused = failed;
    refused.measured.preparing = None;
    refused.samples.clear();
    assert!(!learnt(&refused).is_telling());
}

#[test]
fn facts_come_from_moves_to_the_same_host() {
    let (_directory, mut experience) = experience();
    let fresh = experience.facts("b:7070", &survey());
    assert_eq!((fresh.bandwidth, fresh.round_trip), (survey().bandwidth, ms(1)));
    assert!(fresh.fixed.is_empty() && fresh.preparing.is_empty());
    assert_eq!((fresh.writing, fresh.bandwidth_spread), (1.0, Facts::BANDWIDTH_SPREAD));

    (0..RULE).for_each(|_| experience.add(learnt(&report(ms(1)))));
    let elsewhere = Past { to: "c:7070".to_owned(), ..learnt(&report(ms(1))) };
    experience.add(Past { preparing: Some(ms(900)), ..elsewhere });
    let facts = experience.facts("b:7070", &survey());
    assert_eq!(facts.preparing, [ms(500); RULE]);
    assert_eq!(facts.fixed.len(), RULE + 1);
    assert!((facts.writing - 1.25).abs() < 0.01);
    assert_eq!(
        experience.facts("c:7070", &survey()).preparing.len(),
        RULE + 1,
        "too few of its own"
    );
    assert_eq!((facts.downtime.iter().len(), facts.total.iter().len()), (RULE + 1, RULE + 1));
}

#[test]
fn a_link_that_was_cut_is_not_what_is_expected_of_the_next_move() {
    let (_directory, mut experience) = experience();
    let cut = |seconds: u64| {
        let mut report = report(ms(1));
        report.measured.phases.resume += Duration::from_secs(seconds);
        report.measured.downtime = Some(report.measured.phases.sum());
        learnt(&report)
    };
    let sure = Probability::saturating(0.99);
    (0..3).for_each(|_| experience.add(learnt(&report(ms(1)))));
    let ((fixed, spread), before) = (experience.fixed(sure), experience.facts("b:7070", &survey()));
    (1..9).for_each(|seconds| experience.add(cut(seconds)));
    assert_eq!(experience.fixed(sure), (fixed, spread), "an ordinary move is not refused");
    let facts = experience.facts("b:7070", &survey());
    assert_eq!(facts.fixed, before.fixed, "no simulated move takes as long");
    assert_eq!(facts.downtime.iter().len(), before.downtime.iter().len());
    assert!(facts.preparing.len() > before.preparing.len(), "the rest of it tells as much as ever");
}

#[test]
fn handovers_behind_which_pages_follow_are_learnt_apart() {
    let (_directory, mut experience) = experience();
    let sure = Probability::saturating(0.99);
    let facts = |experience: &Experience| experience.facts("b:7070", &survey());
    let longer = |experience: &Experience, mode| experience.following(mode, ms(1), sure);
    (0..9).for_each(|_| experience.add(learnt(&report(ms(1)))));
    let (before, fixed) = (facts(&experience), experience.fixed(sure));
    let assumed = longer(&experience, Mode::PostCopy);
    let behind_rounds = longer(&experience, Mode::Hybrid);
    assert!(behind_rounds < assumed, "less is missing");
    assert_eq!(longer(&experience, Mode::PreCopy), behind_rounds, "as on a miss");

    (0..9).for_each(|_| experience.add(learnt(&followed(ms(80)))));
    let after = facts(&experience);
    assert_eq!(experience.fixed(sure), fixed, "no other move is foretold to take longer");
    assert_eq!(
        (&after.fixed, &after.downtime, &after.total),
        (&before.fixed, &before.downtime, &before.total)
    );
    assert_eq!(after.hybrid, before.hybrid, "nor one behind which only some pages follow");
    assert_eq!((after.post_copy.fixed.len(), after.post_copy.downtime.iter().len()), (9, 9));
    assert!(longer(&experience, Mode::PostCopy) > assumed + ms(40));

    (0..9).for_each(|_| experience.add(learnt(&report(ms(30)))));
    assert_eq!(facts(&experience).post_copy, after.post_copy, "and the other way round");
}

#[test]
fn where_pages_follow_the_copy_is_the_way_of_the_device_state() {
    let (copied, followed) = (learnt(&report(ms(1))), learnt(&followed(ms(10))));
    assert_eq!((copied.followed, followed.followed), (None, Some(Mode::PostCopy)));
    let longer = followed.fixed.unwrap().sum() - copied.fixed.unwrap().sum();
    // The report has 5 ms of copy; two scans of 512 MiB take some of them on any machine as large.
    assert!(longer > ms(13) && longer < ms(15), "{longer:?}");
}

#[test]
fn an_error_counts_for_the_kind_of_move_that_was_foreseen() {
    let missed = foreseen(&followed(ms(10)), false);
    assert_eq!((missed.downtime, missed.total), (None, None));
    assert!(missed.fixed.is_some() && learnt(&followed(ms(10))).downtime.is_some());
    let copied = foreseen(&report(ms(1)), true);
    assert_eq!((copied.followed, copied.downtime), (None, None));
}

#[test]
fn what_older_versions_learnt_is_still_read() {
    let mut past = serde_json::to_value(learnt(&report(ms(1)))).unwrap();
    past.as_object_mut().unwrap().remove("followed").unwrap();
    let read: Past = serde_json::from_value(past).unwrap();
    assert_eq!(read, learnt(&report(ms(1))));
}

#[test]
fn it_survives_the_daemon_and_stays_small() {
    let (directory, mut experience) = experience();
    (0..REMEMBERED + 9).for_each(|_| experience.add(learnt(&report(ms(1)))));
    let path = directory.path().join("experience.json");
    let read = Experience::open(&path);
    assert_eq!((read.moves.len(), &read.moves), (REMEMBERED, &experience.moves));
    assert!(fs::metadata(&path).unwrap().len() < 200_000);

    for damaged in ["no JSON", r#"{"experience_version": 2, "moves": []}"#] {
        fs::write(&path, damaged).unwrap();
        assert_eq!(Experience::open(&path).moves, [], "it begins anew");
    }
}
