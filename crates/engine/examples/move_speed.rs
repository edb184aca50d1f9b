//! How fast a machine's memory moves: an idle machine of noise or text, over loopback.
//!
//! `cargo run --release -p punctual-engine --example move_speed -- [MIB] [noise|text] [RATE]`
//!
//! With a rate, such as `1Gbit`, the link is paced to it and told to the engine.

use std::error::Error;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use punctual_engine::report::Policy;
use punctual_engine::{
    Admission, Cancel, Connection, Entry, Journal, JournalError, Request, SourceHost, emigrate,
    immigrate,
};
use punctual_guest::DestinationMachine;
use punctual_guest::fake::Fake;
use punctual_link::{Link, Listener, Timeouts};
use punctual_units::{Bytes, BytesPerSecond, MemoryLayout, PAGE_SIZE, PageIndex, Region};
use punctual_wire::{MigrationId, Offer, SourceMessage};

/// A log that forgets: nothing here survives the end of the program anyway.
struct NoLog;

impl Journal for NoLog {
    fn record(&self, _: &Entry) -> Result<(), JournalError> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let size = Bytes::mib(arguments.first().map_or(Ok(1024), |text| text.parse())?);
    let noise = arguments.get(1).is_none_or(|text| text == "noise");
    let rate = arguments.get(2).map(|text| text.parse::<BytesPerSecond>()).transpose()?;

    let region = Region { name: "ram0".to_owned(), size };
    let layout = MemoryLayout::new(vec![region])?;
    let here = Fake::running("idle", layout.clone())?;
    fill(&here, noise)?;
    let there = Fake::waiting("idle", layout.clone())?;

    let listener = Listener::bind("127.0.0.1:0")?;
    let address = listener.address().to_owned();
    let connecting = thread::spawn(move || Link::connect(&address, &Timeouts::default()));
    let other = listener.accept()?.greet(&Timeouts::default())?;
    let link = connecting.join().expect("connecting does not panic")?;
    link.pace(rate)?;
    let destination = thread::spawn(move || receive(other, &there));
    let (offer, request) = asked(layout, rate);
    let machine = Box::new(here.source());
    let host = SourceHost { journal: &NoLog, observer: &(), cancel: &Cancel::new(), dial: None };
    let moved = emigrate(machine, link, offer, &request, host);
    let measured = &moved.report().measured;
    let speed = size.per(measured.total).unwrap_or_default();
    println!(
        "{size} in {:.3} s: {speed} of memory, {} on the wire, {} rounds, downtime {:?} ({:?})",
        measured.total.as_secs_f64(),
        measured.wire_bytes,
        measured.rounds,
        measured.downtime.unwrap_or_default(),
        moved.report().outcome,
    );
    println!("{}", moved.report().reason);
    drop(destination.join());
    Ok(())
}

fn fill(machine: &Fake, noise: bool) -> Result<(), Box<dyn Error>> {
    let pages = machine.ram().layout().pages().get();
    let mut seed = 88_172_645_463_325_252_u64;
    let mut content = vec![0; PAGE_SIZE.get() as usize];
    for page in 0..pages {
        for (place, word) in content.chunks_exact_mut(8).enumerate() {
            if noise || place % 16 == 0 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
            }
            word.copy_from_slice(&seed.to_le_bytes());
        }
        machine.ram().write(PageIndex(page), &content)?;
    }
    Ok(())
}

fn receive(link: Link, machine: &Fake) {
    let mut link = Connection::from(link);
    let Ok(SourceMessage::Offer(offer)) = link.receiver.receive_message() else { return };
    let machine = machine.destination();
    let start = move || Ok(Box::new(machine) as Box<dyn DestinationMachine>);
    let admission = Admission { command_line: vec![], start: Box::new(start) };
    let arbiter = |_| Err(punctual_engine::Unanswered::Ending);
    let immigration =
        immigrate(link, *offer, |_| Ok(admission), &NoLog, arbiter, mpsc::channel().1);
    println!("{immigration:?}");
}

fn asked(layout: MemoryLayout, rate: Option<BytesPerSecond>) -> (Offer, Request) {
    let offer = Offer {
        migration: MigrationId(1),
        machine: "idle".to_owned(),
        source: "a".to_owned(),
        source_address: String::new(),
        populated: layout.pages().bytes(),
        layout,
        description: vec![],
        downtime: Duration::from_millis(100),
        bandwidth: rate.map(|rate| BytesPerSecond::new(rate.get() / 10 * 9)),
        verify: false,
        dry_run: false,
        post_copy: false,
        engine: punctual_wire::Engine::External,
    };
    let request = Request {
        within: Duration::from_secs(60),
        round_trip: Duration::from_millis(1),
        ..Request::new("b", Policy::PreCopy)
    };
    (offer, request)
}
