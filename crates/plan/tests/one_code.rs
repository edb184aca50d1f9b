//! Simulator and engine are one code: a fake guest is moved by the engine's drivers over loopback and
//! by the simulator, with the same writes at the same scans, and the same is decided.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::num::NonZeroU32;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use punctual_engine::report::{Ending, Report};
use punctual_engine::{
    Admission, Cancel, Connection, Entry, Journal, JournalError, Request, SourceHost, Unanswered,
    emigrate, immigrate,
};
use punctual_guest::fake::Fake;
use punctual_guest::{
    DestinationMachine, MachineError, Ram, Settled, SourceMachine, Stopped, Surrendered,
};
use punctual_link::{Listener, Timeouts};
use punctual_model::{Policy, Rounds};
use punctual_plan::simulate::{Costs, Link, Subject, Terms, Writes, simulate};
use punctual_trace::Content;
use punctual_units::{
    Bytes, BytesPerSecond, MemoryLayout, PageIndex, PageRange, PageSet, Pages, Probability, Region,
};
use punctual_wire::{MigrationId, Offer, Outcome, SourceMessage};

const PAGES: u64 = 2048;
/// Pages that the guest writes before each scan of all pages, the first of them first.
const SCRIPT: [u64; 5] = [700, 300, 300, 120, 60];

/// What is written before the scan with this number.
fn script(scan: usize) -> PageRange {
    PageRange::new(10, 10 + SCRIPT.get(scan).copied().unwrap_or(40))
}

/// A fake machine whose guest writes when it is scanned.
struct Scripted {
    guest: Fake,
    machine: Box<dyn SourceMachine>,
    scans: usize,
}

impl SourceMachine for Scripted {
    fn ram(&self) -> &Arc<Ram> {
        self.machine.ram()
    }

    fn start_tracing(&mut self) -> Result<(), MachineError> {
        self.machine.start_tracing()
    }

    fn collect_written(&mut self, written: &mut PageSet) -> Result<(), MachineError> {
        for page in script(self.scans).iter() {
            self.guest.guest_writes(page, Bytes::ZERO, &(self.scans as u64 + 1).to_le_bytes());
        }
        self.scans += 1;
        self.machine.collect_written(written)
    }

    fn collect_written_among(
        &mut self,
        pages: &PageSet,
        written: &mut PageSet,
    ) -> Result<(), MachineError> {
        self.machine.collect_written_among(pages, written)
    }

    fn settle(&mut self) -> Result<Settled, MachineError> {
        self.machine.settle()
    }

    fn throttle(&mut self, share: Probability) -> Result<Probability, MachineError> {
        self.machine.throttle(share)
    }

    fn prepare_stop(&mut self) -> Result<(), MachineError> {
        self.machine.prepare_stop()
    }

    fn stop(&mut self) -> Result<Stopped, MachineError> {
        self.machine.stop()
    }

    fn save_device_state(&mut self) -> Result<(), MachineError> {
        self.machine.save_device_state()
    }

    fn resume(&mut self) -> Result<(), MachineError> {
        self.machine.resume()
    }

    fn surrender(self: Box<Self>) -> Box<dyn Surrendered> {
        self.machine.surrender()
    }
}

/// The same writes in the simulator, which asks for them when it scans.
struct AtScans(usize);

impl Writes for AtScans {
    fn between(&mut self, from: Duration, _: Duration, written: &mut PageSet) {
        // What is written before tracing begins does not count.
        if !from.is_zero() {
            written.insert_range(script(self.0));
            self.0 += 1;
        }
    }
}

struct Forgetful;

impl Journal for Forgetful {
    fn record(&self, _: &Entry) -> Result<(), JournalError> {
        Ok(())
    }
}

fn layout() -> MemoryLayout {
    let region = Region { name: "ram0".to_owned(), size: Pages::new(PAGES).bytes() };
    MemoryLayout::new(vec![region]).unwrap()
}

fn request(rounds: u32) -> Request {
    let mut request = Request::new("b", Policy::PreCopy);
    request.strategy.rounds = NonZeroU32::new(rounds).map_or(Rounds::UntilPromise, Rounds::Exactly);
    request
}

fn driven(rounds: u32) -> Report {
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let address = listener.address().to_owned();
    let connecting = thread::spawn(move || {
        punctual_link::Link::connect(&address, &Timeouts::default()).unwrap()
    });
    let there = listener.accept().unwrap().greet(&Timeouts::default()).unwrap();
    let here = connecting.join().unwrap();
    let destination = thread::spawn(move || {
        let mut link = Connection::from(there);
        let Ok(SourceMessage::Offer(offer)) = link.receiver.receive_message() else { panic!() };
        let machine = Fake::waiting("web", offer.layout.clone()).unwrap().destination();
        let start = move || Ok(Box::new(machine) as Box<dyn DestinationMachine>);
        let admission = Admission { command_line: vec![], start: Box::new(start) };
        let arbiter = |_| -> Result<Outcome, Unanswered> { Ok(Outcome::Undecided) };
        immigrate(link, *offer, |_| Ok(admission), &Forgetful, arbiter, mpsc::channel().1)
    });
    let guest = Fake::running("web", layout()).unwrap();
    for page in 0..PAGES {
        guest.guest_writes(PageIndex(page), Bytes::ZERO, &[7; 4096]);
    }
    let offer = Offer {
        migration: MigrationId(1),
        machine: "web".to_owned(),
        source: "a".to_owned(),
        source_address: String::new(),
        layout: layout(),
        populated: layout().pages().bytes(),
        description: vec![],
        downtime: Duration::from_secs(2),
        bandwidth: None,
        verify: false,
        dry_run: false,
        post_copy: false,
        engine: punctual_wire::Engine::External,
    };
    let machine = Box::new(Scripted { machine: Box::new(guest.source()), guest, scans: 0 });
    let host =
        SourceHost { journal: &Forgetful, observer: &(), cancel: &Cancel::new(), dial: None };
    let moved = emigrate(machine, here, offer, &request(rounds), host);
    destination.join().unwrap();
    moved.report().clone()
}

fn simulated(rounds: u32) -> Report {
    let subject = Subject {
        machine: "web".to_owned(),
        populated: PageSet::full(Pages::new(PAGES)),
        content: Content::UNKNOWN,
        direct_io: false,
        thinning: 1,
    };
    let link = Link::new(BytesPerSecond::megabits(20_000), Duration::from_micros(100));
    let terms = Terms { downtime: Duration::from_secs(2), bandwidth: None };
    simulate(&subject, &mut AtScans(0), &link, &Costs::default(), terms, request(rounds))
}

/// Which round found how many pages written, in order.
fn found(report: &Report) -> Vec<(u32, u64)> {
    let samples = report.samples.iter().filter(|sample| sample.written > Pages::ZERO);
    samples.map(|sample| (sample.round, sample.written.get())).collect()
}

#[test]
fn drivers_and_simulator_decide_the_same() {
    for rounds in [1, 2, 4] {
        let (driven, simulated) = (driven(rounds), simulated(rounds));
        assert_eq!(driven.outcome, Ending::Completed, "{}", driven.reason);
        assert_eq!(simulated.outcome, Ending::Completed, "{}", simulated.reason);
        assert_eq!(driven.measured.rounds, simulated.measured.rounds);
        // The fake machine writes its last page when its state is saved: it is sent once more.
        let [driven_sent, simulated_sent] =
            [&driven, &simulated].map(|report| report.measured.pages_sent.get());
        assert_eq!(driven_sent, simulated_sent + 1);
        let [driven_found, simulated_found] = [found(&driven), found(&simulated)];
        let while_running = rounds as usize;
        assert_eq!(driven_found[..while_running], simulated_found[..while_running]);
        assert_eq!(driven_found[0], (1, SCRIPT[0]));
    }
}
