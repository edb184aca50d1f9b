//! The same of machines that stay where they are and get another process.

use super::{Expected, is_found, is_sound};
use crate::properties::{Breach, Violation};
use crate::{Deviation, Moves};

const OLD: Violation = Violation::Never(Breach::RunsWhatIsOld);

#[test]
fn a_replacement_with_three_faults_and_a_cancel_ends_with_one_process() {
    is_sound(Moves::Local, 1, 3, 1, 30_000);
}

#[test]
fn two_replacements_with_two_faults_end_with_one_process() {
    is_sound(Moves::Local, 2, 2, 0, 60_000);
}

fn expected(
    deviation: &'static [Deviation],
    faults: u8,
    violation: Violation,
    way: &'static [&'static str],
) -> Expected {
    let deviations = deviation;
    Expected { moves: Moves::Local, deviations, attempts: 1, faults, violation, way }
}

#[test]
fn mistakes_are_found() {
    let all = [
        expected(
            &[Deviation::CommitIsSaidFirst],
            0,
            Violation::Never(Breach::RunsUncommitted),
            &["a1 says Commit", "b1 lets the guest run"],
        ),
        expected(
            &[Deviation::RunsWhenReady],
            1,
            OLD,
            &["a1 lets the guest run", "b1 loads the device state", "b1 lets the guest run"],
        ),
        expected(
            &[Deviation::RecoveryIgnoresTheCommit],
            1,
            Violation::Never(Breach::RemovesTheOnlyCopy),
            &["a1 records the commit", "a  daemon is killed", "a1 removes process b"],
        ),
        expected(
            &[Deviation::SuccessorIsNotNoted],
            1,
            OLD,
            &["b1 lets the guest run", "a  daemon is killed", "a1 lets the guest run in process a"],
        ),
        expected(
            &[Deviation::UnknownHasStayed],
            1,
            Violation::NeverSettles,
            &[
                "a1 cannot tell whether it did: records the commit",
                "b1 removes what it has of the machine",
            ],
        ),
    ];
    all.iter().for_each(is_found);
}
