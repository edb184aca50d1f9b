//! What the search says of the protocol, of what is known to be wrong, and of mistakes made on
//! purpose. `cargo test -p punctual-protocol -- --nocapture` shows the ways to them.

mod following;
mod local;

use std::collections::{BTreeSet, HashSet};

use crate::cores::Input;
use crate::properties::{Breach, Violation};
use crate::step::{Cost, What};
use crate::tasks::{How, Task};
use crate::world::Standing;
use crate::{Bounds, Deviation, Model, Moves, Rules, Search, search};

fn look(moves: Moves, attempts: u8, faults: u8, cancels: u8, rules: Rules) -> Search {
    let bounds = Bounds { attempts, faults, cancels, moves };
    let found = search(&mut Model::new(bounds, rules));
    println!(
        "{bounds:?}: {} worlds, {} steps, depth {}, {} settled",
        found.worlds, found.steps, found.depth, found.settled
    );
    found
}

/// Nothing is wrong within these bounds, and there was something to see.
fn is_sound(moves: Moves, attempts: u8, faults: u8, cancels: u8, at_least: usize) {
    let found = look(moves, attempts, faults, cancels, Rules::SOUND);
    if let Some((violation, trace)) = &found.violation {
        panic!("{violation}:\n{trace}");
    }
    assert!(found.worlds > at_least, "only {} worlds were seen", found.worlds);
    assert!(found.settled > 10 && found.engine_states > 50, "{found:?}");
}

#[test]
fn one_attempt_with_three_faults_and_a_cancel_ends_with_one_owner() {
    is_sound(Moves::Whole, 1, 3, 1, 40_000);
}

#[test]
fn two_attempts_with_a_fault_and_a_cancel_end_with_one_owner() {
    is_sound(Moves::Whole, 2, 1, 1, 100_000);
}

#[test]
fn two_attempts_with_two_faults_end_with_one_owner() {
    is_sound(Moves::Whole, 2, 2, 0, 300_000);
}

/// Deviations, and what the search is to find: with how many attempts, how few faults, what, and
/// which steps in this order on the way there.
struct Expected {
    moves: Moves,
    deviations: &'static [Deviation],
    attempts: u8,
    faults: u8,
    violation: Violation,
    way: &'static [&'static str],
}

fn is_found(expected: &Expected) {
    let Expected { moves, deviations, attempts, faults, violation, way } = expected;
    let rules = deviations.iter().copied().fold(Rules::SOUND, Rules::with);
    for fewer in 0..*faults {
        let found = look(*moves, *attempts, fewer, 0, rules).violation;
        let same = found.is_some_and(|(what, _)| what == *violation);
        assert!(!same, "{deviations:?} shows with {fewer} faults");
    }
    let found = look(*moves, *attempts, *faults, 0, rules);
    let (what, trace) = found.violation.unwrap_or_else(|| panic!("{deviations:?} was not noticed"));
    println!("{deviations:?}: {what}:\n{trace}");
    assert_eq!(what, *violation, "{deviations:?}:\n{trace}");
    let mut steps = trace.0.iter();
    for wanted in *way {
        assert!(steps.any(|step| step[2..] == **wanted), "{deviations:?}: no `{wanted}`:\n{trace}");
    }
}

#[test]
fn mistakes_are_found() {
    let only_copy = Violation::Never(Breach::RemovesTheOnlyCopy);
    let old = Violation::Never(Breach::RunsWhatIsOld);
    let expected = [
        Expected {
            moves: Moves::Whole,
            deviations: &[Deviation::CommitIsSaidFirst],
            attempts: 1,
            faults: 0,
            violation: Violation::Never(Breach::RunsUncommitted),
            way: &["a1 says Commit", "b1 hears Commit", "b1 lets the guest run"],
        },
        Expected {
            moves: Moves::Whole,
            deviations: &[Deviation::RunsWhenReady],
            attempts: 1,
            faults: 1,
            violation: old,
            way: &["a1 lets the guest run", "b1 loads the device state", "b1 lets the guest run"],
        },
        Expected {
            moves: Moves::Whole,
            deviations: &[Deviation::ResumesWhenUnknown],
            attempts: 1,
            faults: 2,
            violation: only_copy,
            way: &[
                "a1 cannot tell whether it did: records the commit",
                "a1 lets the guest run",
                "a  daemon is killed",
                "a1 removes what it has of the machine",
            ],
        },
        Expected {
            moves: Moves::Whole,
            deviations: &[Deviation::RecoveryIgnoresTheCommit],
            attempts: 1,
            faults: 1,
            violation: old,
            way: &["a1 records the commit", "a  daemon is killed", "a1 lets the guest run"],
        },
        Expected {
            moves: Moves::Whole,
            deviations: &[Deviation::DiscardsWhenUnsure],
            attempts: 1,
            faults: 1,
            violation: only_copy,
            way: &["b1 says Ready", "a1 records the commit", "b1 finds the link lost"],
        },
        Expected {
            moves: Moves::Whole,
            deviations: &[Deviation::RecoveryDiscardsWhatWasAskedFor],
            attempts: 1,
            faults: 1,
            violation: only_copy,
            way: &[
                "b1 lets the guest run",
                "b  daemon is killed",
                "b1 removes what it has of the machine",
            ],
        },
        Expected {
            moves: Moves::Whole,
            deviations: &[Deviation::AnswersTooEarly],
            attempts: 1,
            faults: 1,
            violation: only_copy,
            way: &["a1 answers an inquiry: Aborted", "b1 removes what it has of the machine"],
        },
        Expected {
            moves: Moves::Whole,
            deviations: &[Deviation::AskingIsNotRecorded],
            attempts: 1,
            faults: 1,
            violation: only_copy,
            way: &[
                "b1 lets the guest run",
                "b  daemon is killed",
                "b1 removes what it has of the machine",
            ],
        },
    ];
    expected.iter().for_each(is_found);
}

/// What the hosts once did wrong, as `docs/protocol.md` tells.
#[test]
fn what_was_mended_is_found() {
    is_found(&Expected {
        moves: Moves::Whole,
        deviations: &[Deviation::UndecidedOnlyByItsRecord],
        attempts: 1,
        faults: 2,
        violation: Violation::Never(Breach::RemovesTheOnlyCopy),
        way: &[
            "a1 cannot tell whether it did: records the commit",
            "a1 fails to: notes the machine as undecided",
            "a1 answers an inquiry: Aborted",
            "a1 removes what it has of the machine",
            "b1 removes what it has of the machine",
        ],
    });
    is_found(&Expected {
        moves: Moves::Whole,
        deviations: &[Deviation::ClearsTwice],
        attempts: 2,
        faults: 1,
        violation: Violation::Never(Breach::RunsWhatIsNotThere),
        way: &[
            "a1 answers an inquiry: Committed",
            "a1 answers an inquiry: Committed",
            "a2 starts its process",
            "a1 removes what it has of the machine",
            "a2 lets the guest run",
        ],
    });
    is_found(&Expected {
        moves: Moves::Whole,
        deviations: &[Deviation::PresumesAborted, Deviation::DiscardsWhatRuns],
        attempts: 1,
        faults: 2,
        violation: Violation::Never(Breach::RemovesTheOnlyCopy),
        way: &[
            "b1 says Running",
            "a1 removes what it has of the machine",
            "b  daemon is killed",
            "a1 log is tidied of the attempt",
            "b1 is answered: Aborted",
            "b1 removes what it has of the machine",
        ],
    });
    is_found(&Expected {
        moves: Moves::Whole,
        deviations: &[Deviation::TidiesWhatIsNamed],
        attempts: 1,
        faults: 2,
        violation: Violation::Never(Breach::RunsWhatIsOld),
        way: &[
            "a1 notes the end of the attempt",
            "a  daemon is killed",
            "a1 log is tidied of the attempt",
            "a1 lets the guest run",
        ],
    });
    is_found(&Expected {
        moves: Moves::Whole,
        deviations: &[Deviation::RemindersComeTooEarly],
        attempts: 1,
        faults: 1,
        violation: Violation::NeverSettles,
        way: &["a1 answers an inquiry: Committed", "a1 notes the machine as departed"],
    });
    is_found(&Expected {
        moves: Moves::Whole,
        deviations: &[Deviation::RemindersDieWithTheDaemon],
        attempts: 1,
        faults: 1,
        violation: Violation::NeverSettles,
        way: &["b  daemon is killed", "b  daemon is started", "b1 notes the machine as at home"],
    });
}

/// What `docs/protocol.md` tells under "Known limits". What is mended in the code leaves
/// [`Deviation::CODED`], and this list.
#[test]
fn what_is_known_to_be_wrong_is_found() {
    let expected = [Expected {
        moves: Moves::Whole,
        deviations: &[Deviation::ForgetsInTheEnd],
        attempts: 1,
        faults: 2,
        violation: Violation::NeverSettles,
        way: &["a1 log is tidied of the attempt"],
    }];
    let deviations = expected.iter().flat_map(|one| one.deviations);
    assert!(deviations.eq(&Deviation::CODED));
    expected.iter().for_each(is_found);
}

/// As coded, the machine is never lost and never runs twice: what is wrong is what is left over.
#[test]
fn as_coded_nothing_worse_than_a_leftover_is_found() {
    let found = look(Moves::Whole, 2, 1, 1, Rules::as_coded());
    assert_eq!(found.violation.map(|(what, _)| what), Some(Violation::NeverSettles));
}

#[test]
fn a_move_that_nothing_disturbs_ends_at_the_destination() {
    let mut model = Model::new(Bounds { attempts: 1, ..Bounds::default() }, Rules::SOUND);
    let mut open = vec![model.first()];
    let mut seen = HashSet::new();
    let mut settled = 0;
    while let Some(world) = open.pop() {
        if world.is_settled() && world.attempts.len() == 1 {
            assert_eq!(world.hosts[1].record, Some(Standing::Resident));
            settled += 1;
        }
        let next = model.next(&world).into_iter().map(|(_, next)| next);
        open.extend(next.filter(|next| seen.insert(next.clone())));
    }
    assert!(settled > 0);
}

#[test]
fn whatever_can_go_wrong_does() {
    let mut model = Model::new(
        Bounds { attempts: 1, faults: 2, cancels: 1, ..Bounds::default() },
        Rules::SOUND,
    );
    let mut open = vec![model.first()];
    let mut seen = HashSet::new();
    let mut kinds = BTreeSet::new();
    while let Some(world) = open.pop() {
        for (step, next) in model.next(&world) {
            let kind = match step.what {
                What::Crashes => "crash",
                What::IsCut => "cut",
                What::InquiryLost => "inquiry lost",
                What::Takes(Input::Late) => "delay",
                What::Takes(Input::Heard(_)) if step.cost == Cost::Fault => "repetition",
                What::Takes(Input::Cancelled) => "cancel",
                What::Does(Task::RecordCommit, How::Fails) => "commit not written",
                What::Does(Task::RecordCommit, How::Uncertain) => "commit perhaps written",
                What::Does(_, How::Uncertain) => "perhaps written",
                What::Does(Task::Stand(_), How::Fails) => "record not written",
                What::Does(Task::Start | Task::Load, How::Fails) => "machine failed",
                _ => "nothing",
            };
            kinds.insert((kind, step.host));
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    for (kind, hosts) in [
        ("crash", &[0_u8, 1][..]),
        ("cut", &[0, 1]),
        ("inquiry lost", &[1]),
        ("delay", &[0, 1]),
        ("repetition", &[0, 1]),
        ("cancel", &[0]),
        ("commit not written", &[0]),
        ("commit perhaps written", &[0]),
        ("perhaps written", &[1]),
        ("record not written", &[0]),
        ("machine failed", &[1]),
    ] {
        for host in hosts {
            assert!(kinds.contains(&(kind, *host)), "no {kind} at {host}: {kinds:?}");
        }
    }
}
