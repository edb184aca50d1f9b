//! Faults at every phase of a move: daemons and QEMU killed, links cut and stalled, full disks, a
//! turned bit, clocks that jump. What must hold after each is checked by [`Chaos::play`].

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use punctual_images::QemuChoice;
use punctual_lab::LabName;
use punctual_lab::census;
use punctual_lab::chaos::{Case, Chaos, FAULTS, PHASES};

use crate::skip::{can_play, find};
use crate::stage::{PROGRAM, turn};

/// Six of each phase, and each fault at three phases or more. `punctual chaos` plays all others.
const CASES: Range<u64> = 0..48;

#[test]
fn whatever_goes_wrong_one_host_has_the_machine_and_a_second_attempt_succeeds() {
    let (phases, faults) = (PHASES.len() as u64, FAULTS.len() as u64);
    assert!(CASES.end >= 40 && CASES.end >= 6 * phases && CASES.end >= 3 * faults);
    let _turn = turn();
    if !can_play() {
        return;
    }
    let Some(qemu) = find(QemuChoice::Installed) else { return };
    let name: LabName = format!("e2e-faults-{}", std::process::id()).parse().unwrap();
    let mut chaos = Chaos::set(name.clone(), Path::new(PROGRAM), qemu).unwrap();
    for case in CASES.map(Case::of) {
        let verdict = chaos.play(&case).unwrap();
        // Past the test harness, so that a long test is seen to go on.
        let _ = writeln!(std::io::stderr(), "{:5.1} s  {case}", verdict.took.as_secs_f64());
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
    assert_eq!(census::of_name(name.as_str()).unwrap(), Vec::<String>::new());
}
