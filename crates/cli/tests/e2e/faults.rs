//! Faults at every phase of a move: daemons and QEMU killed, links cut and stalled, full disks, a
//! turned bit, clocks that jump; of machines that are moved whole, and of machines that run before
//! their pages have come. What must hold after each is checked by [`Chaos::play`].

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use punctual_engine::Phase;
use punctual_guest_protocol::Options;
use punctual_host::api::Migration;
use punctual_images::QemuChoice;
use punctual_lab::chaos::{Case, Chaos, FAULTS, FOLLOWED, WHOLE};
use punctual_lab::{LabName, Obstruction, census};
use punctual_model::Mode;

use crate::skip::{can_play, find};
use crate::stage::{PROGRAM, Stage, guest, turn, until};
use crate::told::FAILED;

/// Half of them of machines whose pages follow: each phase of each mode, and each fault at three
/// moments. `punctual chaos` plays all others.
const CASES: Range<u64> = 0..48;
/// So many strike while the move goes on; the phases around the commit last less than a delay.
const LEAST: usize = 40;

#[test]
fn whatever_goes_wrong_one_host_has_the_machine_and_a_second_attempt_succeeds() {
    let cases: Vec<_> = CASES.map(Case::of).collect();
    let at = |fault| cases.iter().filter(|case| case.fault == fault).count();
    assert!(cases.len() >= 40 && FAULTS.into_iter().all(|fault| at(fault) >= 2));
    let is_struck =
        |moment: &(Mode, Phase)| cases.iter().any(|case| (case.mode, case.phase) == *moment);
    assert!(WHOLE.iter().chain(&FOLLOWED).all(is_struck));
    let _turn = turn();
    if !can_play() {
        return;
    }
    let Some(qemu) = find(QemuChoice::Installed) else { return };
    let name: LabName = format!("e2e-faults-{}", std::process::id()).parse().unwrap();
    let mut chaos = Chaos::set(name.clone(), Path::new(PROGRAM), qemu).unwrap();
    let mut struck = 0;
    for case in cases {
        let verdict = chaos.play(&case).unwrap();
        // Past the test harness, so that a long test is seen to go on.
        let late = if verdict.struck.is_some() { "" } else { " (too late for the move)" };
        let _ = writeln!(std::io::stderr(), "{:5.1} s  {case}{late}", verdict.took.as_secs_f64());
        struck += usize::from(verdict.struck.is_some());
        assert!(
            verdict.wrong.is_empty(),
            "{case}: {:#?}\n{:#?}\n{:#?}\n`punctual chaos --seed {}` runs it again",
            verdict.wrong,
            verdict.course,
            chaos.logs(),
            case.seed
        );
    }
    chaos.take_down().unwrap();
    assert!(struck >= LEAST, "only {struck} faults struck while the move went on");
    assert_eq!(census::of_name(name.as_str()).unwrap(), Vec::<String>::new());
}

/// On such a link all of a guest's memory takes some seconds.
const SLOW: u64 = 100;

#[test]
fn a_stop_that_overruns_what_was_promised_is_given_up_and_the_guest_runs_on() {
    let Some(stage) = Stage::set("overrun", SLOW) else { return };
    let mut guest = stage.start(&guest(Options { fill: 48 << 20, ..Options::default() }));
    // All of it is copied while the guest is stopped, so that the stop surely lasts.
    let words = ["migrate", "web", "--to", "b", "--mode", "stop-and-copy", "--look", "0", "--json"];
    let words = [&words[..], &["--downtime", "3s", "--force"]].concat();
    let migration = stage.begin("a", &words);
    wait_for_last_copy(&stage);
    // Neither the pages nor the word that they have come get through.
    let ways = [("a", "b"), ("b", "a")];
    for (from, to) in ways {
        stage.scene().lab().obstruct(from, to, Obstruction::Stall).unwrap();
    }
    let told = migration.end().expect(FAILED);
    // The link still stands: it was not waited for.
    let report = told.json();
    assert_eq!((&report["outcome"], &report["owner"]), (&"failed".into(), &"source".into()));
    assert_eq!(report["promise"], "broken", "{report}");
    assert!(report["measured"]["downtime_ms"].is_number(), "it was never stopped: {report}");
    assert!(told.err.contains("the guest had been stopped for"), "{}", told.err);
    stage.expect_at("web", "a");
    guest.expect_well();

    for (from, _) in ways {
        stage.scene().lab().clear(from).unwrap();
    }
    stage.expect_bare("b");
    stage.migrate("web", "a", "b", &["--downtime", "2s"]);
    guest.expect_well();
    drop(guest);
    stage.strike();
}

/// Returns when the guest is stopped and its last pages are being sent.
fn wait_for_last_copy(stage: &Stage) {
    until("the last pages are sent", || {
        let migrations = stage.scene().ask("a", |daemon| async move { daemon.migrations().await });
        let is_last = |migration: &Migration| {
            let progress = migration.progress.as_ref();
            progress.is_some_and(|seen| seen.phase == Phase::FinalCopy)
        };
        migrations.unwrap().iter().any(is_last)
    });
}
