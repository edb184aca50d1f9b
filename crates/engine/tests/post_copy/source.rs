//! The source alone: the test speaks for the destination.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use punctual_engine::Connection;
use punctual_engine::post_copy::{Dial, Link, Serving};
use punctual_link::{Incoming, LinkFault};
use punctual_units::{BytesPerSecond, MemoryLayout, PageIndex, PageRange, PageSet};
use punctual_wire::pages::{Decoder, PageSink};
use punctual_wire::{DestinationMessage, Faults, PageRuns, SourceMessage};

use crate::machine::{PAGE, content, filled, layout};
use crate::road::{MOVE, Road, both, closed, lacking};
use crate::whole::LONG;

const PAGES: u64 = 400;

/// A source that is asked by the test.
struct Asked {
    layout: MemoryLayout,
    ram: Arc<punctual_guest::Ram>,
    serving: Serving,
    faults: Connection,
    push: Connection,
    lines: std::sync::mpsc::Receiver<(punctual_wire::PageLine, Connection)>,
    road: Road,
}

fn asked(verify: bool) -> Asked {
    asked_at(None, verify)
}

/// One that pushes no faster than at this rate.
fn asked_at(rate: Option<BytesPerSecond>, verify: bool) -> Asked {
    let layout = layout(PAGES);
    let ram = filled(&layout, 3);
    let road = Road::new();
    let lines = road.lines();
    let serving = Serving::open(Arc::clone(&ram), MOVE, road.dial(), rate, verify).unwrap();
    let (faults, push) = both(&lines);
    Asked { layout, ram, serving, faults, push, lines, road }
}

fn want(connection: &mut Connection, pages: PageRange) {
    connection.sender.send(&DestinationMessage::Want(PageRuns::one(pages))).unwrap();
}

/// The pages that come, each with its content, until so many have.
fn pages(connection: &mut Connection, layout: &MemoryLayout, count: usize) -> Vec<(u64, Vec<u8>)> {
    struct Taken(Vec<(u64, Vec<u8>)>);
    impl PageSink for Taken {
        type Error = std::convert::Infallible;
        fn write(
            &mut self,
            page: PageIndex,
            offset: usize,
            bytes: &[u8],
        ) -> Result<(), Self::Error> {
            assert!(offset == 0 && bytes.len().is_multiple_of(PAGE), "part of a page");
            self.0.extend((page.0..).zip(bytes.chunks(PAGE).map(<[u8]>::to_vec)));
            Ok(())
        }
        fn zero(&mut self, pages: PageRange) -> Result<(), Self::Error> {
            self.0.extend(pages.iter().map(|page| (page.0, vec![0; PAGE])));
            Ok(())
        }
    }
    connection.receiver.set_silence(Duration::from_secs(10)).unwrap();
    let mut taken = Taken(Vec::new());
    let mut decoder = Decoder::new(layout.clone());
    while taken.0.len() < count {
        match connection.receiver.receive::<SourceMessage>(layout).unwrap() {
            Incoming::Packed(payload) => decoder.decode(payload, &mut taken).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    taken.0
}

/// Nothing comes for a while.
fn nothing_comes(connection: &mut Connection, layout: &MemoryLayout) {
    connection.receiver.set_silence(Duration::from_millis(200)).unwrap();
    let came = connection.receiver.receive::<SourceMessage>(layout);
    let silent = matches!(&came, Err(error) if matches!(error.fault, LinkFault::Silent(_)));
    assert!(silent, "{came:?}");
}

#[test]
fn nothing_is_served_before_the_machine_is_stopped() {
    let mut asked = asked(false);
    let Asked { layout, ram, serving, faults, push, .. } = &mut asked;
    want(faults, PageRange::new(7, 9));
    for message in lacking(&PageSet::full(layout.pages())) {
        push.sender.send(&message).unwrap();
    }
    nothing_comes(faults, layout);
    nothing_comes(push, layout);
    assert_eq!(serving.state().pages.get(), 0);
    serving.begin(None);
    for (page, came) in pages(faults, layout, 2) {
        assert!((7..9).contains(&page) && came == content(ram, page), "page {page}");
    }
    let mut pushed = pages(push, layout, PAGES as usize - 2);
    pushed.sort();
    let others: Vec<u64> = (0..PAGES).filter(|page| !(7..9).contains(page)).collect();
    assert_eq!(pushed.iter().map(|(page, _)| *page).collect::<Vec<_>>(), others);
    assert!(pushed.iter().all(|(page, came)| *came == content(ram, *page)));
}

#[test]
fn a_source_that_is_ended_before_it_begins_serves_nothing() {
    let mut asked = asked(false);
    want(&mut asked.faults, PageRange::new(7, 9));
    asked.serving.end();
    asked.serving.begin(None);
    closed(&mut asked.faults.receiver, &asked.layout);
    closed(&mut asked.push.receiver, &asked.layout);
    assert_eq!(asked.serving.state().pages.get(), 0);
    assert!(asked.serving.wait(LONG).is_none(), "it returns at once");
}

#[test]
fn neighbours_of_a_fault_are_pushed_before_the_rest() {
    // The last page is given out a quarter of a second and more after the first: by then the second
    // fault has been heard.
    let mut asked = asked_at(Some(BytesPerSecond::megabits(40)), false);
    let Asked { layout, serving, faults, push, .. } = &mut asked;
    want(faults, PageRange::new(331, 332));
    let mut missing = PageSet::full(layout.pages());
    // The fault is answered before anything is pushed, since only then it is said what is missing.
    serving.begin(None);
    pages(faults, layout, 1);
    missing.remove_range(PageRange::new(331, 332));
    for message in lacking(&missing) {
        push.sender.send(&message).unwrap();
    }
    let mut pushed = pages(push, layout, 1);
    want(faults, PageRange::new(395, 396));
    pages(faults, layout, 1);
    pushed.extend(pages(push, layout, PAGES as usize - 2 - pushed.len()));
    let place = |sought| pushed.iter().position(|(page, _)| *page == sought);
    assert!(place(396).unwrap() < place(394).unwrap(), "it came in the order of addresses");
}

#[test]
fn a_page_that_was_sent_over_a_lost_line_is_sent_again() {
    let mut asked = asked(false);
    let Asked { layout, serving, faults, push, lines, road, .. } = &mut asked;
    serving.begin(None);
    want(faults, PageRange::new(7, 8));
    pages(faults, layout, 1);
    for message in lacking(&PageSet::full(layout.pages())) {
        push.sender.send(&message).unwrap();
    }
    pages(push, layout, PAGES as usize - 1);
    // Whether the answer has arrived only the destination knows.
    road.cut(|line| line == punctual_wire::PageLine::Faults);
    assert_eq!(pages(push, layout, 1)[0].0, 7);
    // On a new push line everything that is said to be missing comes again.
    road.cut(|_| true);
    let (_, mut push) = both(lines);
    for message in lacking(&PageSet::full(layout.pages())) {
        push.sender.send(&message).unwrap();
    }
    pages(&mut push, layout, PAGES as usize);
}

#[test]
fn a_destination_that_breaks_the_rules_is_left_and_dialled_again() {
    let beyond = DestinationMessage::Want(PageRuns::one(PageRange::new(PAGES, PAGES + 1)));
    let too_much = DestinationMessage::Lacking {
        pages: PageRuns::one(PageRange::new(PAGES - 1, PAGES + 1)),
        last: true,
    };
    let mut asked = asked(false);
    let Asked { layout, serving, faults, push, lines, .. } = &mut asked;
    serving.begin(None);
    faults.sender.send(&beyond).unwrap();
    push.sender.send(&too_much).unwrap();
    closed(&mut faults.receiver, layout);
    closed(&mut push.receiver, layout);
    let (mut faults, mut push) = both(lines);
    faults.sender.send(&DestinationMessage::Prepared).unwrap();
    for _ in 0..2 {
        // It is said once what is missing.
        lacking(&PageSet::empty(layout.pages())).iter().for_each(|message| {
            push.sender.send(message).unwrap();
        });
    }
    closed(&mut faults.receiver, layout);
    closed(&mut push.receiver, layout);
    let (mut faults, _push) = both(lines);
    want(&mut faults, PageRange::new(0, 1));
    pages(&mut faults, layout, 1);
}

#[test]
fn a_digest_that_differs_is_told() {
    let mut asked = asked(true);
    let Asked { layout, serving, push, .. } = &mut asked;
    serving.begin(None);
    for message in lacking(&PageSet::full(layout.pages())) {
        push.sender.send(&message).unwrap();
    }
    pages(push, layout, PAGES as usize);
    let faults = Faults { count: 3, ..Faults::default() };
    let whole = DestinationMessage::Whole { faults, digest: Some(1) };
    push.sender.send(&whole).unwrap();
    let served = serving.wait(LONG).unwrap().unwrap();
    assert_eq!((served.digest_equal, served.faults), (Some(false), faults));
}

#[test]
fn a_dial_that_hangs_does_not_keep_the_source_from_ending() {
    let hanging = Arc::new((Mutex::new(true), Condvar::new()));
    let asked = asked(false);
    let (dial, hangs) = (asked.road.dial(), Arc::clone(&hanging));
    let hanging_dial: Dial = Arc::new(move || {
        let (hangs, changed) = &*hangs;
        drop(changed.wait_while(hangs.lock().unwrap(), |hangs| *hangs).unwrap());
        dial()
    });
    asked.serving.redirect(hanging_dial);
    while asked.serving.state().link == Link::Up {
        std::thread::yield_now();
    }
    // It returns, although both dials hang until it has.
    asked.serving.end();
    *hanging.0.lock().unwrap() = false;
    hanging.1.notify_all();
}

#[test]
fn a_destination_that_cannot_be_reached_is_an_error_at_first_and_dialled_later() {
    let road = Road::new();
    let nowhere = {
        let road = Road::new();
        road.dial()
    };
    let layout = layout(PAGES);
    let ram = filled(&layout, 3);
    let opened = Serving::open(Arc::clone(&ram), MOVE, Arc::clone(&nowhere), None, false);
    assert!(opened.is_err());
    let serving = Serving::reopen(ram, MOVE, nowhere, None);
    let tried = |link| matches!(link, Link::Lost { why, .. } if why.contains("no connection"));
    while !tried(serving.state().link) {
        std::thread::yield_now();
    }
    let lines = road.lines();
    serving.redirect(road.dial());
    let (mut faults, _push) = both(&lines);
    want(&mut faults, PageRange::new(0, 1));
    pages(&mut faults, &layout, 1);
}
