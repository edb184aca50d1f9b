use punctual_engine::report::{Ending, Promise};
use punctual_units::{Bytes, BytesPerSecond, MemoryLayout, Pages, Region};
use punctual_wire::{Engine, MigrationId, Refusal};

use super::*;

const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn asked() -> Asked {
    let region = Region { name: "pc.ram".to_owned(), size: Bytes::mib(256) };
    let offer = Offer {
        migration: MigrationId(7),
        machine: "web".to_owned(),
        source: "a".to_owned(),
        source_address: "10.0.0.1:7070".to_owned(),
        layout: MemoryLayout::new(vec![region]).unwrap(),
        populated: Bytes::mib(100),
        description: vec![],
        downtime: ms(50),
        bandwidth: None,
        verify: false,
        dry_run: false,
        post_copy: false,
        engine: Engine::Native,
    };
    Asked { offer, within: ms(60_000), force: false, on_miss: OnMiss::Cancel }
}

fn look(passes: u32, remaining: u64) -> Look {
    Look {
        status: "active".to_owned(),
        remaining: Bytes::new(remaining),
        passes,
        rate: BytesPerSecond::new(100_000_000),
        ..Look::default()
    }
}

fn accepted() -> Event {
    Event::Heard(DestinationMessage::Accepted { command_line: vec!["qemu".to_owned()] })
}

fn prepared() -> Event {
    Event::Heard(DestinationMessage::Prepared)
}

fn ready() -> Event {
    let message = DestinationMessage::Ready {
        digest: None,
        loading: Duration::ZERO,
        verifying: Duration::ZERO,
    };
    Event::Heard(message)
}

/// Everything up to the commit, in order, each at its time.
fn course() -> Vec<(Duration, Event)> {
    vec![
        (ms(10), accepted()),
        (ms(300), prepared()),
        (ms(400), Event::Looked(look(1, 90_000_000))),
        (ms(1400), Event::Stopped { since: ms(1395) }),
        (ms(1420), Event::Saved),
        (ms(1430), ready()),
    ]
}

struct Player {
    holding: Box<Holding>,
    effects: Vec<Effect>,
}

fn begin(asked: Asked) -> Player {
    match Holding::begin(asked) {
        Next::Hold(holding, effects) => Player { holding, effects },
        other => panic!("{other:?}"),
    }
}

impl Player {
    #[track_caller]
    fn hold(self, at: Duration, event: Event) -> Self {
        match self.holding.step(at, event) {
            Next::Hold(holding, effects) => Self { holding, effects },
            other => panic!("{other:?}"),
        }
    }

    /// Plays the first events of the course.
    fn so_far(asked: Asked, events: usize) -> Self {
        course()
            .into_iter()
            .take(events)
            .fold(begin(asked), |player, (at, event)| player.hold(at, event))
    }
}

#[test]
fn a_move_from_the_offer_to_its_end() {
    let phases: Vec<_> = (0..=course().len())
        .map(|events| {
            let Player { holding, effects } = Player::so_far(asked(), events);
            let first = effects.into_iter().next();
            (holding.phase(), first.map(|effect| format!("{effect:?}")))
        })
        .collect();
    let expected = [
        (Phase::Offering, "Say(Offer"),
        (Phase::Preparing, ""),
        (Phase::Copying, "Begin"),
        (Phase::Copying, "Say(RoundEnd { round: 1 })"),
        (Phase::FinalCopy, "HandOver"),
        (Phase::HandingOver, "Say(HandOver { device_state: Bytes(0), missing: Pages(0) })"),
        (Phase::Committing, "RecordCommit"),
    ];
    for ((phase, effect), (wanted, told)) in phases.into_iter().zip(expected) {
        assert_eq!(phase, wanted);
        assert!(effect.unwrap_or_default().starts_with(told), "{wanted}");
    }
    let Next::Committed(committed) =
        Player::so_far(asked(), 6).holding.step(ms(1435), Event::Recorded)
    else {
        panic!("what is recorded is committed")
    };
    let committed = committed.step(ms(1440), Event::TimePassed).unwrap();
    let running = DestinationMessage::Running { resuming: ms(3) };
    let moved = committed.step(ms(1450), Event::Heard(running)).unwrap_err();
    assert_eq!(moved.trouble, None);
    let marks = moved.marks;
    assert_eq!(
        (marks.stopped, marks.quiet, marks.running),
        (Some(ms(1395)), Some(ms(1400)), Some(ms(1450)))
    );
}

/// Whatever happens before the commit is being recorded, the machine is made to run here, once, and
/// nothing is ever committed.
#[test]
fn every_failure_before_the_commit_lets_the_machine_run_on_here() {
    let failures = [
        Event::Cancelled,
        Event::LinkLost("cut".to_owned()),
        Event::GaveUp("QEMU gave up (failed): Broken pipe".to_owned()),
        Event::MachineFailed("its monitor does not answer".to_owned()),
        Event::Heard(DestinationMessage::Failed { reason: "out of memory".to_owned() }),
        Event::Heard(DestinationMessage::Accepted { command_line: vec![] }),
    ];
    for events in 0..course().len() {
        for failure in &failures {
            // The one that is expected there.
            if events == 0 && matches!(failure, Event::Heard(DestinationMessage::Accepted { .. })) {
                continue;
            }
            let player = Player::so_far(asked(), events);
            let touched = events >= 2;
            let next = player.holding.step(ms(1431), failure.clone());
            let next = match next {
                Next::Hold(holding, effects) if touched => {
                    assert_eq!(effects, [Effect::Resume], "{events}: {failure:?}");
                    // What comes too late changes nothing.
                    let Next::Hold(holding, effects) = holding.step(ms(1432), ready()) else {
                        panic!("{events}: {failure:?}")
                    };
                    assert_eq!(effects, []);
                    holding.step(ms(1440), Event::Resumed)
                }
                next => next,
            };
            let Next::Stayed { not_resumed: None, .. } = next else {
                panic!("{events}: {failure:?}: {next:?}")
            };
        }
    }
}

#[test]
fn while_the_commit_is_recorded_only_the_record_decides() {
    let committing = || Player::so_far(asked(), 6);
    for late in [Event::Cancelled, Event::LinkLost("cut".to_owned()), Event::TimePassed] {
        let player = committing().hold(ms(90_000), late);
        assert_eq!((player.holding.phase(), player.effects), (Phase::Committing, vec![]));
    }
    let unknown = committing().holding.step(ms(1500), Event::RecordUnknown("fsync".to_owned()));
    assert!(matches!(unknown, Next::Unknown { .. }), "{unknown:?}");
    let stays = committing().hold(ms(1500), Event::NotRecorded("the disk is full".to_owned()));
    assert_eq!(stays.effects, [Effect::Resume]);
    // Committed on a link that is gone: nothing brings it back here, and nobody waits.
    let lost = committing().hold(ms(1500), Event::LinkLost("cut".to_owned()));
    let Next::Committed(committed) = lost.holding.step(ms(1501), Event::Recorded) else { panic!() };
    let moved = committed.step(ms(1502), Event::TimePassed).unwrap_err();
    assert_eq!(moved.trouble.as_deref(), Some("cut"));
}

#[test]
fn what_is_late_is_given_up_forced_or_extended() {
    let copying = |asked| Player::so_far(asked, 3);
    let late = copying(asked()).hold(ms(60_001), Event::TimePassed);
    assert_eq!(late.effects, [Effect::Resume]);
    let Next::Stayed { why, .. } = late.holding.step(ms(60_010), Event::Resumed) else { panic!() };
    assert_eq!(why.promise(), Some(Promise::Refused));
    assert!(why.to_string().contains("--on-miss throttle"), "{why}");

    let forced = copying(Asked { force: true, ..asked() }).hold(ms(60_001), Event::TimePassed);
    assert_eq!(forced.effects[0], Effect::AllowAny);
    let again = forced.hold(ms(60_020), Event::TimePassed);
    assert_eq!(again.effects, [], "it is allowed once");

    let extended = copying(Asked { on_miss: OnMiss::Extend, ..asked() });
    let extended = extended.hold(ms(60_001), Event::TimePassed);
    assert!(!extended.effects.contains(&Effect::AllowAny));
    let extended = extended.hold(ms(120_001), Event::TimePassed);
    assert_eq!(extended.effects[0], Effect::AllowAny);
}

#[test]
fn a_stopped_guest_is_let_run_on_here_when_it_takes_too_long() {
    let saving = || Player::so_far(asked(), 4);
    let waits = saving().hold(ms(3300), Event::TimePassed);
    assert_eq!(waits.effects, []);
    let overrun = saving().hold(ms(3400), Event::TimePassed);
    assert_eq!(overrun.effects, [Effect::Resume]);
    let Next::Stayed { why: Why::Overrun { .. }, marks, .. } =
        overrun.holding.step(ms(3410), Event::Resumed)
    else {
        panic!("it has overrun")
    };
    assert_eq!(marks.running, Some(ms(3410)));
}

#[test]
fn a_rehearsal_and_a_refusal_touch_nothing() {
    let mut rehearsal = asked();
    rehearsal.offer.dry_run = true;
    let rehearsed = begin(rehearsal).holding.step(ms(5), accepted());
    let Next::Stayed { why: Why::Rehearsed { command_line }, .. } = rehearsed else { panic!() };
    assert_eq!(command_line, ["qemu"]);
    let refusal = Refusal {
        code: "name-taken".to_owned(),
        reason: "there is a machine `web`".to_owned(),
        remedy: "rename one".to_owned(),
    };
    let refused = Event::Heard(DestinationMessage::Refused(vec![refusal]));
    let Next::Stayed { why, farewell, .. } = begin(asked()).holding.step(ms(5), refused) else {
        panic!()
    };
    assert_eq!((why.ending(), farewell), (Ending::Refused, None));
}

#[test]
fn the_destination_is_told_now_and_then_that_the_source_lives() {
    let mut player = Player::so_far(asked(), 3);
    let mut words = 0;
    for at in (500..30_000).step_by(100) {
        player = player.hold(ms(at), Event::Looked(look(1, 90_000_000)));
        words += player.effects.len();
    }
    assert_eq!(words, 5, "one in some 5 s");
    let player = player.hold(ms(30_000), Event::Looked(look(2, 1_000_000)));
    assert_eq!(player.effects, [Effect::Say(SourceMessage::RoundEnd { round: 2 })]);
    assert_eq!(player.holding.look().remaining.pages(), Pages::new(245));
}
