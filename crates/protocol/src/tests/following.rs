//! The same of machines whose pages follow them.

use std::collections::{BTreeSet, HashSet};

use super::{Expected, is_found, is_sound};
use crate::following::{OnLine, Word};
use crate::properties::{Breach, Violation};
use crate::step::What;
use crate::tasks::{How, Task};
use crate::world::{CopyState, Pages, Standing};
use crate::{Bounds, Deviation, Model, Moves, Rules};

const NEEDED: Violation = Violation::Never(Breach::RemovesNeededPages);
const GIVEN_UP: Violation = Violation::Never(Breach::GivenUpAlive);

#[test]
fn one_attempt_with_three_faults_ends_with_one_owner_that_has_all_pages() {
    is_sound(Moves::Following, 1, 3, 0, 150_000);
}

#[test]
fn one_attempt_with_two_faults_and_a_cancel_ends_with_one_owner_that_has_all_pages() {
    is_sound(Moves::Following, 1, 2, 1, 70_000);
}

#[test]
fn two_attempts_with_a_fault_end_with_one_owner_however_each_is_made() {
    is_sound(Moves::Either, 2, 1, 0, 400_000);
}

fn expected(
    deviations: &'static [Deviation],
    faults: u8,
    violation: Violation,
    way: &'static [&'static str],
) -> Expected {
    Expected { moves: Moves::Following, deviations, attempts: 1, faults, violation, way }
}

#[test]
fn mistakes_are_found() {
    let running_is_enough = expected(
        &[Deviation::RunningIsEnough],
        0,
        NEEDED,
        &["a1 hears Running", "a1 removes what it has of the machine"],
    );
    let owing_is_not_recorded = expected(
        &[Deviation::OwingIsNotRecorded],
        1,
        Violation::Never(Breach::RemovesTheOnlyCopy),
        &["a1 records the commit", "a  daemon is killed", "a1 removes what it has of the machine"],
    );
    let serves_on = expected(
        &[Deviation::ServesOn],
        1,
        Violation::Never(Breach::ServesWhatRuns),
        &["a1 lets the guest run", "b1 has the machine wait for pages", "a1 serves pages"],
    );
    let taken_for_whole = expected(
        &[Deviation::RecoveryTakesItForWhole],
        1,
        NEEDED,
        &[
            "b  daemon is killed",
            "b1 notes the machine as at home",
            "b1 says that nothing is missing any more",
            "a1 removes what it has of the machine",
        ],
    );
    let dials_once =
        expected(&[Deviation::DialsOnce], 1, Violation::NeverSettles, &["b  daemon is killed"]);
    let said_once =
        expected(&[Deviation::WholeIsSaidOnce], 1, Violation::NeverSettles, &["b1 says Ready"]);
    let clears = expected(
        &[Deviation::ClearsWhatIsServed],
        1,
        Violation::Never(Breach::RemovesTheOnlyCopy),
        &[
            "a1 notes the machine as serving",
            "a1 answers an inquiry: Committed",
            "a1 removes what it has of the machine",
        ],
    );
    let all = [
        running_is_enough,
        owing_is_not_recorded,
        serves_on,
        taken_for_whole,
        dials_once,
        said_once,
        clears,
    ];
    all.iter().for_each(is_found);
}

/// What the hosts once did wrong, as `docs/protocol.md` tells.
#[test]
fn what_was_mended_is_found() {
    is_found(&expected(
        &[Deviation::FailureIsTheEnd, Deviation::ClearsWhatIsOwed],
        1,
        NEEDED,
        &[
            "b1 fails to: puts a page in place",
            "a1 notes the machine as departed",
            "a1 answers an inquiry: Committed",
            "a1 removes what it has of the machine",
        ],
    ));
    is_found(&expected(
        &[Deviation::FailureIsTheEnd],
        1,
        Violation::NeverSettles,
        &["b1 fails to: puts a page in place", "a1 notes the machine as departed"],
    ));
    is_found(&expected(
        &[Deviation::WholeOnlyByItsRecord],
        1,
        GIVEN_UP,
        &["b1 says that the machine has ended", "a1 hears that the machine has ended"],
    ));
    is_found(&expected(
        &[Deviation::DependsBeforeItRuns],
        2,
        Violation::NeverSettles,
        &["b1 notes the machine as depending", "b  daemon is killed", "b1 records Whole"],
    ));
    is_found(&expected(
        &[Deviation::NothingLeftIsAnError],
        2,
        Violation::NeverSettles,
        &["a1 fails to: records Surrendered", "a1 removes what it has of the machine"],
    ));
    is_found(&expected(
        &[Deviation::NothingMissingIsDeparted],
        1,
        Violation::NeverSettles,
        &["a1 notes the machine as departed"],
    ));
    is_found(&expected(
        &[Deviation::ForgetsThatItIsWhole],
        2,
        Violation::NeverSettles,
        &["b1 records Whole", "b1 log is tidied of the attempt"],
    ));
}

#[test]
fn a_move_that_nothing_disturbs_ends_whole_at_the_destination() {
    let bounds = Bounds { attempts: 1, moves: Moves::Following, ..Bounds::default() };
    let mut model = Model::new(bounds, Rules::SOUND);
    let mut open = vec![model.first()];
    let mut seen = HashSet::new();
    let (mut settled, mut lacking) = (0, 0);
    while let Some(world) = open.pop() {
        let there = world.hosts[1].copy;
        lacking +=
            usize::from(there.is_some_and(|copy| {
                copy.state == CopyState::Running && copy.pages == Pages::Lacking
            }));
        if world.is_settled() && world.attempts.len() == 1 {
            assert_eq!(world.hosts[1].record, Some(Standing::Resident));
            settled += 1;
        }
        let next = model.next(&world).into_iter().map(|(_, next)| next);
        open.extend(next.filter(|next| seen.insert(next.clone())));
    }
    assert!(settled > 0 && lacking > 10, "{settled} settled, {lacking} run without a page");
}

#[test]
fn whatever_can_go_wrong_while_pages_follow_does() {
    let bounds = Bounds { attempts: 1, faults: 1, cancels: 0, moves: Moves::Following };
    let mut model = Model::new(bounds, Rules::SOUND);
    let mut open = vec![model.first()];
    let mut seen = HashSet::new();
    let mut kinds = BTreeSet::new();
    while let Some(world) = open.pop() {
        let follows = matches!(world.hosts[0].record, Some(Standing::Serving(_)))
            && matches!(world.hosts[1].record, Some(Standing::Depending(_)));
        for (step, next) in model.next(&world) {
            let kind = match step.what {
                What::Crashes if follows && step.host == 0 => "the source's daemon is killed",
                What::Crashes if follows => "the destination's daemon is killed",
                What::OnLine(OnLine::IsCut) if follows => "the connections for pages are cut",
                What::OnLine(OnLine::IsTold(Word::Whole)) => "it is told again that it is whole",
                What::OnLine(OnLine::IsTurnedAway) => "the source is turned away",
                What::Does(Task::RecordOwing, How::Uncertain) => "owing perhaps written",
                What::Does(Task::RecordWhole, How::Fails) => "whole not written",
                What::Does(Task::RecordSurrendered, How::Fails) => "surrendered not written",
                What::Does(Task::Stand(Standing::Serving(_)), How::Fails) => "serving not noted",
                What::Does(Task::Stand(Standing::Depending(_)), How::Fails) => {
                    "depending not noted"
                }
                What::Does(Task::AwaitWhole, How::Fails) => "a page is not put in place",
                What::Does(Task::OpenRemains, _) => "another daemon serves on",
                What::Does(Task::TakeOver, _) => "another daemon takes over",
                _ => "nothing",
            };
            kinds.insert(kind);
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    assert_eq!(kinds.len(), 14, "{kinds:#?}");
}
