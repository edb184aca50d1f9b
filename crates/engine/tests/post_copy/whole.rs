//! Both ends together.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use punctual_engine::post_copy::{Depending, Link, Serving, answer_whole};
use punctual_guest::Ram;
use punctual_model::Heat;
use punctual_units::{BytesPerSecond, MemoryLayout, PageRange, PageSet, Pages};
use punctual_wire::{Faults, PageLine};

use crate::machine::{Machine, content, filled, layout};
use crate::noise::next;
use crate::road::{MOVE, Road, connect};

pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A machine that is handed over, and both hosts.
pub(crate) struct Scene {
    pub(crate) layout: MemoryLayout,
    pub(crate) ram: Arc<Ram>,
    pub(crate) road: Road,
    pub(crate) machine: Arc<Machine>,
    pub(crate) serving: Serving,
    pub(crate) depending: Depending,
}

impl Scene {
    /// Everything is ready; nothing is served yet.
    pub(crate) fn new(pages: u64, missing: &[(u64, u64)], verify: bool) -> Self {
        Self::paced(pages, missing, verify, None)
    }

    pub(crate) fn paced(
        pages: u64,
        missing: &[(u64, u64)],
        verify: bool,
        rate: Option<BytesPerSecond>,
    ) -> Self {
        let layout = layout(pages);
        let ram = filled(&layout, 42);
        let mut set = PageSet::empty(layout.pages());
        missing.iter().for_each(|(start, end)| set.insert_range(PageRange::new(*start, *end)));
        let machine = Machine::lacking(&set);
        let road = Road::new();
        let lines = road.lines();
        let serving = Serving::open(Arc::clone(&ram), MOVE, road.dial(), rate, verify).unwrap();
        let depending = Depending::begin(machine.clone(), layout.clone(), lines, verify);
        Self { layout, ram, road, machine, serving, depending }
    }

    /// Guests that read pages all over the memory and compare, each of `threads` so many.
    pub(crate) fn reading<T>(&self, threads: u64, reads: u64, meanwhile: impl FnOnce() -> T) -> T {
        let pages = self.layout.pages().get();
        thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || {
                    let mut seed = 0x9e37_79b9 * (thread + 1);
                    for _ in 0..reads {
                        let page = next(&mut seed) % pages;
                        let read = self.machine.touch(page).unwrap();
                        let there = self.machine.is_lacking_at_first(page);
                        assert!(!there || read == content(&self.ram, page), "page {page}");
                    }
                });
            }
            meanwhile()
        })
    }

    pub(crate) fn whole(&self) -> Faults {
        let ended = self.depending.wait(LONG).expect("it is whole within a minute");
        let faults = ended.unwrap();
        assert_eq!(self.machine.differs_from(&self.ram), Vec::<u64>::new());
        assert!(self.machine.is_finished());
        faults
    }
}

#[test]
fn a_machine_becomes_whole_without_a_fault() {
    let scene = Scene::new(3000, &[(0, 1000), (1001, 1002), (2900, 3000)], true);
    scene.serving.begin(None);
    assert_eq!(scene.whole().count, 0);
    let Scene { serving, depending, .. } = scene;
    assert_eq!(depending.state().missing, Pages::ZERO);
    depending.tell_whole();
    let served = serving.wait(LONG).unwrap().unwrap();
    assert_eq!(served.digest_equal, Some(true));
    assert_eq!((served.pages, served.recoveries), (Pages::new(1101), 0));
    assert!(served.bytes < Pages::new(1101).bytes(), "zeros and text are packed: {served:?}");
}

#[test]
fn a_machine_that_lacks_nothing_is_whole_at_once() {
    let scene = Scene::new(100, &[], true);
    scene.whole();
    let Scene { serving, depending, .. } = scene;
    depending.tell_whole();
    assert_eq!(serving.wait(LONG).unwrap().unwrap().digest_equal, Some(true));
}

#[test]
fn guests_that_read_all_over_get_the_right_pages_first() {
    let rate = Some(BytesPerSecond::megabits(200));
    let scene = Scene::paced(4000, &[(0, 4000)], true, rate);
    let mut heat = Heat::new(Pages::new(4000));
    for step in 1..40 {
        heat.record(Duration::from_millis(step * 50), [PageRange::new(3000, 3100)]);
    }
    scene.reading(4, 150, || scene.serving.begin(Some(heat)));
    let faults = scene.whole();
    // A page that comes just when it is first touched was not waited for.
    assert!(faults.count <= scene.machine.faults(), "{faults:?}");
    assert!(faults.count > 0 && faults.median <= faults.p99 && faults.p99 <= faults.longest);
    let state = scene.serving.state();
    assert_eq!((state.missing, state.link), (Some(Pages::ZERO), Link::Up));
    assert_eq!(scene.depending.state().waiting, 0);
    scene.depending.tell_whole();
    let served = scene.serving.wait(LONG).unwrap().unwrap();
    assert_eq!((served.digest_equal, served.faults), (Some(true), faults));
}

#[test]
fn what_the_guest_has_written_is_not_overwritten_by_what_comes_later() {
    let scene = Scene::new(2000, &[(0, 2000)], false);
    scene.serving.begin(None);
    for page in (0..2000).step_by(41) {
        scene.machine.touch(page).unwrap();
        scene.machine.write(page, b"written since");
    }
    scene.depending.wait(LONG).unwrap().unwrap();
    let written: Vec<u64> = (0..2000).step_by(41).collect();
    assert_eq!(scene.machine.differs_from(&scene.ram), written);
}

#[test]
fn a_source_that_did_not_hear_it_is_told_again() {
    let scene = Scene::new(500, &[(0, 500)], false);
    scene.serving.begin(None);
    let faults = scene.whole();
    scene.road.refuse(true);
    let lines = scene.road.lines();
    scene.road.cut(|_| true);
    drop(scene.depending);
    scene.road.refuse(false);
    let answering = thread::spawn(move || {
        while let Ok((line, connection)) = lines.recv() {
            answer_whole(connection, line, faults);
        }
    });
    let served = scene.serving.wait(LONG).unwrap().unwrap();
    assert_eq!((served.faults, served.digest_equal), (faults, None));
    drop(scene.road);
    answering.join().unwrap();
}

#[test]
fn a_machine_that_dies_is_told_to_the_source() {
    let scene = Scene::new(500, &[(0, 500)], false);
    scene.machine.die();
    let error = scene.depending.wait(LONG).unwrap().unwrap_err();
    assert!(error.to_string().contains("web"), "{error}");
    // It can only be told over a line that is there.
    while scene.depending.state().link != Link::Up {
        thread::yield_now();
    }
    scene.depending.tell_failed("its process has ended");
    let reason = scene.serving.wait(LONG).unwrap().unwrap_err();
    assert!(reason.contains("has ended"), "{reason}");
}

#[test]
fn pages_for_which_there_is_no_memory_are_filled_when_there_is() {
    let scene = Scene::new(300, &[(0, 300)], true);
    scene.machine.find_no_memory(3);
    scene.serving.begin(None);
    scene.reading(1, 20, || ());
    scene.whole();
    scene.depending.tell_whole();
    assert_eq!(scene.serving.wait(LONG).unwrap().unwrap().digest_equal, Some(true));
}

#[test]
fn a_daemon_that_ends_leaves_what_is_missing_to_the_next() {
    let rate = Some(BytesPerSecond::megabits(100));
    let scene = Scene::paced(3000, &[(0, 3000)], true, rate);
    scene.serving.begin(None);
    scene.reading(2, 20, || ());
    let lines = scene.road.lines();
    drop(scene.depending);
    assert!(!scene.machine.is_finished());
    let next = Depending::begin(scene.machine.clone(), scene.layout.clone(), lines, false);
    scene.machine.touch(2999).unwrap();
    // The source's daemon ends, too, and comes back.
    scene.serving.end();
    let ram = Arc::clone(&scene.ram);
    let serving = Serving::reopen(ram, MOVE, scene.road.dial(), None);
    next.wait(LONG).unwrap().unwrap();
    assert_eq!(scene.machine.differs_from(&scene.ram), Vec::<u64>::new());
    next.tell_whole();
    assert_eq!(serving.wait(LONG).unwrap().unwrap().digest_equal, None);
}

#[test]
fn an_answer_to_a_faults_line_is_that_it_is_closed() {
    let (mut here, there) = connect();
    answer_whole(there, PageLine::Faults, Faults::default());
    let heard = here.receiver.receive_message::<punctual_wire::DestinationMessage>();
    assert!(heard.is_err(), "{heard:?}");
}

#[test]
fn where_the_host_has_large_pages_they_are_put_together() {
    const HOST_PAGE: u64 = 64;
    let layout = layout(64 * HOST_PAGE);
    let ram = filled(&layout, 11);
    let machine = Machine::on_large_pages(&PageSet::full(layout.pages()), HOST_PAGE);
    let road = Road::new();
    let lines = road.lines();
    let rate = Some(BytesPerSecond::megabits(200));
    let serving = Serving::open(Arc::clone(&ram), MOVE, road.dial(), rate, true).unwrap();
    let depending = Depending::begin(machine.clone(), layout.clone(), lines, true);
    // Hot pages of every large page go first: more of those are begun than are kept.
    let mut heat = Heat::new(layout.pages());
    for step in 1..40 {
        let hot = (0..64).map(|at| PageRange::new(at * HOST_PAGE + 5, at * HOST_PAGE + 7));
        heat.record(Duration::from_millis(step * 50), hot);
    }
    serving.begin(Some(heat));
    assert_eq!(machine.touch(3000).unwrap(), content(&ram, 3000));
    road.cut(|line| line == PageLine::Faults);
    depending.wait(LONG).unwrap().unwrap();
    assert_eq!(machine.differs_from(&ram), Vec::<u64>::new());
    depending.tell_whole();
    assert_eq!(serving.wait(LONG).unwrap().unwrap().digest_equal, Some(true));
}

#[test]
fn lines_of_which_nobody_sends_more_are_used_to_the_end() {
    let layout = layout(200);
    let ram = filled(&layout, 7);
    let machine = Machine::lacking(&PageSet::full(layout.pages()));
    let (sender, lines) = mpsc::channel();
    let depending = Depending::begin(machine.clone(), layout, lines, false);
    let road = Road::new();
    let incoming = road.lines();
    let serving = Serving::open(Arc::clone(&ram), MOVE, road.dial(), None, false).unwrap();
    for _ in 0..2 {
        sender.send(incoming.recv().unwrap()).unwrap();
    }
    drop(sender);
    serving.begin(None);
    depending.wait(LONG).unwrap().unwrap();
    assert_eq!(machine.differs_from(&ram), Vec::<u64>::new());
}
