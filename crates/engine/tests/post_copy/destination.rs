//! The destination alone: the test speaks for the source.

use std::sync::{Arc, mpsc};
use std::thread;

use punctual_engine::Connection;
use punctual_engine::post_copy::{Depending, Link};
use punctual_units::{MemoryLayout, PageRange, PageSet, Pages};
use punctual_wire::pages::Encoder;
use punctual_wire::{DestinationMessage, PageLine, PageRuns, SourceMessage};

use crate::machine::{Machine, PAGE, layout};
use crate::noise::noise;
use crate::road::{connect, heard, send};

const PAGES: u64 = 100;

struct Fed {
    layout: MemoryLayout,
    machine: Arc<Machine>,
    depending: Depending,
    lines: mpsc::Sender<(PageLine, Connection)>,
}

impl Fed {
    fn new() -> Self {
        let layout = layout(PAGES);
        let machine = Machine::lacking(&PageSet::full(layout.pages()));
        let (lines, incoming) = mpsc::channel();
        let depending = Depending::begin(machine.clone(), layout.clone(), incoming, false);
        Self { layout, machine, depending, lines }
    }

    /// The source's end of a new line.
    fn line(&self, line: PageLine) -> Connection {
        let (here, there) = connect();
        self.lines.send((line, there)).unwrap();
        here
    }

    fn send(&self, connection: &mut Connection, page: u64, content: &[u8]) {
        send(connection, &self.layout, PageRange::new(page, page + 1), content);
    }

    fn wait_for(&self, page: u64) {
        while !self.machine.is_there(page) {
            thread::yield_now();
        }
    }

    fn wait_until_lost(&self) -> String {
        loop {
            if let Link::Lost { why, .. } = self.depending.state().link
                && !why.contains("not been heard")
            {
                return why;
            }
            thread::yield_now();
        }
    }
}

#[test]
fn of_two_copies_the_first_stays() {
    let fed = Fed::new();
    let (mut faults, mut push) = (fed.line(PageLine::Faults), fed.line(PageLine::Push));
    let (first, second) = (noise(&mut 5), noise(&mut 6));
    fed.send(&mut faults, 30, &first);
    fed.wait_for(30);
    fed.send(&mut push, 30, &second);
    fed.send(&mut push, 31, &second);
    fed.send(&mut push, 31, &[0; PAGE]);
    fed.wait_for(31);
    fed.send(&mut faults, 31, &first);
    fed.send(&mut faults, 30, &[0; PAGE]);
    fed.send(&mut faults, 32, &first);
    fed.wait_for(32);
    assert_eq!(fed.machine.touch(30).unwrap(), first);
    assert_eq!(fed.machine.touch(31).unwrap(), second);
    assert_eq!(fed.depending.state().missing, Pages::new(PAGES - 3));
}

#[test]
fn what_is_waited_for_is_asked_for_once_and_again_on_a_new_line() {
    let fed = Fed::new();
    thread::scope(|scope| {
        let reader = scope.spawn(|| fed.machine.touch(55));
        while fed.depending.state().waiting == 0 {
            thread::yield_now();
        }
        let mut faults = fed.line(PageLine::Faults);
        let wanted = DestinationMessage::Want(PageRuns::one(PageRange::new(55, 56)));
        assert_eq!(heard(&mut faults), wanted);
        // A new line takes the place of this one, which is closed.
        let mut again = fed.line(PageLine::Faults);
        assert_eq!(heard(&mut again), wanted);
        assert!(faults.receiver.receive_message::<DestinationMessage>().is_err());
        let content = noise(&mut 9);
        fed.send(&mut again, 55, &content);
        assert_eq!(reader.join().unwrap().unwrap(), content);
    });
    assert_eq!(fed.depending.state().faults.count, 1);
}

#[test]
fn on_each_push_line_it_is_said_what_is_missing() {
    let fed = Fed::new();
    let mut push = fed.line(PageLine::Push);
    let all = PageRuns::one(PageRange::new(0, PAGES));
    assert_eq!(heard(&mut push), DestinationMessage::Lacking { pages: all, last: true });
    fed.send(&mut push, 0, &noise(&mut 3));
    fed.wait_for(0);
    let mut again = fed.line(PageLine::Push);
    let rest = PageRuns::one(PageRange::new(1, PAGES));
    assert_eq!(heard(&mut again), DestinationMessage::Lacking { pages: rest, last: true });
}

#[test]
fn malformed_answers_end_the_line_and_fill_nothing() {
    let fed = Fed::new();
    let changes: &[u8] = &[3, 2 << 1, 1, 8, 2, 7, 7];
    let beyond: &[u8] = &[0, 90 << 1, 0x14];
    let no_form: &[u8] = &[9, 0, 1];
    for wrong in [changes, beyond, no_form] {
        for line in [PageLine::Faults, PageLine::Push] {
            let mut connection = fed.line(line);
            connection.sender.send_packed(wrong).unwrap();
            while connection.receiver.receive_message::<DestinationMessage>().is_ok() {}
        }
    }
    let why = fed.wait_until_lost();
    assert!(!why.is_empty());
    assert_eq!(fed.depending.state().missing, Pages::new(PAGES));
    let mut push = fed.line(PageLine::Push);
    fed.send(&mut push, 1, &noise(&mut 3));
    fed.wait_for(1);
}

#[test]
fn changes_to_a_page_are_refused_even_where_they_are_well_formed() {
    let fed = Fed::new();
    let (_faults, mut push) = (fed.line(PageLine::Faults), fed.line(PageLine::Push));
    // An encoder with a history sends only what has changed the third time.
    let mut encoder = Encoder::new(fed.layout.clone(), [1; 32], Pages::new(PAGES).bytes());
    let mut content = noise(&mut 8);
    for time in 0..3 {
        content[0] = time;
        let read = |_: PageRange, into: &mut [u8]| {
            into.copy_from_slice(&content);
            Ok(())
        };
        encoder
            .encode([PageRange::new(4, 5)], read, |payload| push.sender.send_packed(payload))
            .unwrap();
    }
    let why = fed.wait_until_lost();
    assert!(why.contains("whole pages are missing"), "{why}");
    assert_eq!(fed.machine.touch(4).unwrap()[0], 0, "what came first");
}

#[test]
fn a_source_that_says_what_has_no_place_is_left() {
    let fed = Fed::new();
    let (_faults, mut push) = (fed.line(PageLine::Faults), fed.line(PageLine::Push));
    push.sender.send(&SourceMessage::Commit).unwrap();
    assert!(fed.wait_until_lost().contains("Commit"));
}
