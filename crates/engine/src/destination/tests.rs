use punctual_units::{MemoryLayout, PageRange, Pages, Region};
use punctual_wire::{MigrationId, PageRuns};

use super::*;

fn offer() -> Offer {
    let region = Region { name: "ram0".to_owned(), size: Bytes::mib(1) };
    Offer {
        migration: MigrationId(1),
        machine: "web".to_owned(),
        source: "a".to_owned(),
        source_address: "192.0.2.1:7000".to_owned(),
        layout: MemoryLayout::new(vec![region]).unwrap(),
        populated: Bytes::mib(1),
        description: vec![],
        downtime: Duration::from_millis(50),
        bandwidth: None,
        verify: false,
        dry_run: false,
        post_copy: false,
        engine: punctual_wire::Engine::External,
    }
}

/// Takes in events one after the other, and returns the last effects.
fn run(events: Vec<Event>) -> (Option<Box<Destination>>, Vec<Effect>, Option<End>) {
    let Next::Go(mut state, mut effects) = Destination::begin(offer()) else { panic!() };
    for event in events {
        match state.step(Duration::ZERO, event) {
            Next::Go(next, more) => (state, effects) = (next, more),
            Next::End(end, more) => return (None, more, Some(end)),
        }
    }
    (Some(state), effects, None)
}

fn until_ready() -> Vec<Event> {
    vec![
        Event::Admitted { command_line: vec![] },
        Event::Recorded,
        Event::Started,
        Event::Recorded,
        Event::StateReceived { bytes: Bytes::new(3) },
        Event::Heard(SourceMessage::HandOver { device_state: Bytes::new(3), missing: Pages::ZERO }),
        Event::Loaded { took: Duration::ZERO },
    ]
}

fn with(mut events: Vec<Event>, more: impl IntoIterator<Item = Event>) -> Vec<Event> {
    events.extend(more);
    events
}

#[test]
fn it_runs_when_the_source_says_commit() {
    let commit = Event::Heard(SourceMessage::Commit);
    let (_, effects, _) = run(with(until_ready(), [commit.clone()]));
    assert_eq!(effects, vec![Effect::Resume]);
    let took = Duration::from_millis(3);
    let (_, _, end) = run(with(until_ready(), [commit, Event::Resumed { took }, Event::Recorded]));
    assert_eq!(end, Some(End::Runs));
}

#[test]
fn nothing_but_the_commit_lets_it_run() {
    let before: Vec<_> = until_ready();
    for steps in 0..before.len() {
        let events = with(before[..steps].to_vec(), [Event::Heard(SourceMessage::Commit)]);
        let (_, effects, _) = run(events);
        assert!(!effects.contains(&Effect::Resume), "after {steps} steps");
    }
}

#[test]
fn after_ready_a_lost_link_neither_runs_nor_discards_but_asks_until_it_knows() {
    let lost = Event::LinkLost("reset".to_owned());
    let (state, effects, _) = run(with(until_ready(), [lost.clone()]));
    assert_eq!(effects, vec![Effect::Inquire { after: Duration::ZERO }]);
    assert!(state.unwrap().may_be_committed());

    let unreachable = Event::NotAnswered("timeout".to_owned());
    let (_, effects, _) = run(with(
        until_ready(),
        [lost.clone(), unreachable.clone(), Event::Answered(Outcome::Undecided)],
    ));
    assert_eq!(effects, vec![Effect::Inquire { after: ASK_AGAIN * 2 }]);

    let many = std::iter::repeat_n(unreachable, 100);
    let (_, effects, _) = run(with(with(until_ready(), [lost.clone()]), many));
    assert_eq!(effects, vec![Effect::Inquire { after: ASK_AGAIN_MOST }]);

    let committed = Event::Answered(Outcome::Committed);
    let (_, effects, _) = run(with(until_ready(), [lost.clone(), committed]));
    assert_eq!(effects, vec![Effect::Resume]);
    let (_, effects, _) = run(with(until_ready(), [lost, Event::Answered(Outcome::Aborted)]));
    assert_eq!(effects, vec![Effect::Discard]);
}

#[test]
fn before_ready_a_lost_link_discards_at_once() {
    let before = until_ready();
    for steps in 3..before.len() - 1 {
        let events = with(before[..steps].to_vec(), [Event::LinkLost("reset".to_owned())]);
        let (state, effects, end) = run(events);
        let doomed = matches!(state.as_ref().map(|s| &s.state), Some(State::Starting { .. }));
        assert!(doomed || effects.contains(&Effect::Discard), "after {steps} steps: {end:?}");
    }
}

#[test]
fn device_state_that_is_not_whole_is_not_loaded() {
    let mut events = until_ready();
    events.truncate(4);
    events.push(Event::Heard(SourceMessage::HandOver {
        device_state: Bytes::new(3),
        missing: Pages::ZERO,
    }));
    let (_, effects, _) = run(events);
    assert!(matches!(effects[0], Effect::Say(DestinationMessage::Failed { .. })));
    assert_eq!(effects[1], Effect::Discard);
}

#[test]
fn an_attempt_that_ends_while_the_process_starts_is_discarded_once_it_is_there() {
    let mut events = until_ready();
    events.truncate(2);
    events.push(Event::Heard(SourceMessage::Abort { reason: "cancelled".to_owned() }));
    let (_, effects, _) = run(events.clone());
    assert_eq!(effects, vec![]);
    events.push(Event::Started);
    let (_, effects, _) = run(events);
    assert_eq!(effects, vec![Effect::Discard]);
}

#[test]
fn a_committed_machine_that_does_not_run_is_kept() {
    let (_, effects, end) = run(with(
        until_ready(),
        [Event::Heard(SourceMessage::Commit), Event::Failed("no KVM".to_owned())],
    ));
    assert!(matches!(end, Some(End::Stuck { .. })));
    assert!(!effects.contains(&Effect::Discard));
}

/// Up to where the source says which pages follow.
fn with_missing(post_copy: bool, said: PageRuns, pages: u64) -> Next {
    let offer = Offer { post_copy, ..offer() };
    let Next::Go(mut state, _) = Destination::begin(offer) else { panic!() };
    let mut events = until_ready();
    events.truncate(5);
    events.push(Event::Heard(SourceMessage::Missing(said)));
    for event in events {
        match state.step(Duration::ZERO, event) {
            Next::Go(next, _) => state = next,
            end @ Next::End(..) => return end,
        }
    }
    let missing = Pages::new(pages);
    let hand_over = SourceMessage::HandOver { device_state: Bytes::new(3), missing };
    state.step(Duration::ZERO, Event::Heard(hand_over))
}

#[test]
fn missing_pages_are_made_to_be_waited_for_before_the_devices_load() {
    let runs = || PageRuns::one(PageRange::new(3, 7));
    let Next::Go(state, effects) = with_missing(true, runs(), 4) else { panic!() };
    let Some(Effect::PageOnDemand { missing }) = effects.first() else { panic!("{effects:?}") };
    assert_eq!(missing.ranges().collect::<Vec<_>>(), [PageRange::new(3, 7)]);
    let Next::Go(state, effects) = state.step(Duration::ZERO, Event::PagedOnDemand) else {
        panic!()
    };
    assert_eq!(effects, [Effect::Load]);
    let Next::Go(state, _) = state.step(Duration::ZERO, Event::Loaded { took: Duration::ZERO })
    else {
        panic!()
    };
    assert!(state.may_be_committed());
}

#[test]
fn a_list_of_missing_pages_that_cannot_be_right_ends_the_attempt() {
    let runs = |end| PageRuns::one(PageRange::new(3, end));
    // Nobody said that pages may follow; one more was said than came; beyond the memory.
    for next in [
        with_missing(false, runs(7), 4),
        with_missing(true, runs(7), 5),
        with_missing(true, runs(257), 254),
    ] {
        let Next::Go(state, _) = next else { panic!() };
        assert!(matches!(state.state, State::Discarding { .. }), "{state:?}");
    }
}
