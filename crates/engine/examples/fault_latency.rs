//! How long a page is waited for that is still elsewhere, while all others are being pushed.
//!
//! `cargo run --release -p punctual-engine --example fault_latency -- [MIB] [THREADS] [RATE]`
//!
//! A machine in memory lacks every page; its threads read pages of a quarter of it, at random or (with
//! `THREADS` given as `1s`) in order, until it is whole. Both ends run in this process over loopback:
//! to measure a link, run it in a network namespace whose loopback is shaped, as in
//!
//! ```text
//! ip netns add slow && ip -n slow link set lo up
//! ip netns exec slow tc qdisc add dev lo root handle 1: htb default 1
//! ip netns exec slow tc class add dev lo parent 1: classid 1:1 htb rate 1gbit
//! ip netns exec slow fault_latency 512 2 1Gbit
//! ```

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use punctual_engine::Connection;
use punctual_engine::post_copy::{Depending, Dial, Serving};
use punctual_guest::fake::Fake;
use punctual_guest::{DestinationMachine as _, SourceMachine};
use punctual_link::{Link, Listener, Timeouts};
use punctual_units::{Bytes, BytesPerSecond, MemoryLayout, PAGE_SIZE, PageIndex, PageSet, Region};
use punctual_wire::{Faults, MigrationId, Serve, SourceMessage};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let size = Bytes::mib(arguments.first().map_or(Ok(256), |text| text.parse())?);
    let threads = arguments.get(1).map_or("2", String::as_str);
    let in_order = threads.ends_with('s');
    let threads: u64 = threads.trim_end_matches('s').parse()?;
    let rate = arguments.get(2).map(|text| text.parse::<BytesPerSecond>()).transpose()?;

    let layout = MemoryLayout::new(vec![Region { name: "ram0".to_owned(), size }])?;
    let here = Fake::running("busy", layout.clone())?;
    fill(&here)?;
    let device_state = stop(&here)?;
    let there = Fake::waiting("busy", layout.clone())?;
    let mut destination = there.destination();
    let demand = destination.page_on_demand(&PageSet::full(layout.pages()))?;

    let listener = Arc::new(Listener::bind("127.0.0.1:0")?);
    let (round_trip, lines) = (Arc::new(AtomicU64::new(0)), take_in(Arc::clone(&listener)));
    let (address, least) = (listener.address().to_owned(), Arc::clone(&round_trip));
    let dial: Dial = Arc::new(move || {
        let link = Connection::from(Link::connect(&address, &Timeouts::default())?);
        least.store(link.sender.way()?.least_round_trip.as_micros() as u64, Ordering::Relaxed);
        Ok(link)
    });
    let serving = Serving::open(Arc::clone(here.ram()), MigrationId(1), dial, rate, true)?;
    let depending = Depending::begin(demand, layout.clone(), lines, true);
    let begin = Instant::now();
    serving.begin(None);
    destination.device_state()?.write_all(&device_state)?;
    destination.wait_loaded(Duration::from_secs(10))?;
    destination.resume()?;
    let working_set = layout.pages().get() / 4;
    let faults = thread::scope(|scope| {
        for thread in 0..threads {
            let (there, share) = (&there, working_set / threads);
            scope.spawn(move || read(there, share * thread, share, in_order));
        }
        depending.wait(Duration::from_secs(600)).expect("it is whole in ten minutes")
    })?;
    let took = begin.elapsed();
    depending.tell_whole();
    let served = serving.wait(Duration::from_secs(5)).ok_or("the source has not heard it")??;
    listener.close();
    show(faults, working_set, Duration::from_micros(round_trip.load(Ordering::Relaxed)));
    println!(
        "whole after {took:.2?}: {} sent, {}, digests equal: {:?}",
        served.bytes,
        served.bytes.per(took).unwrap_or_default(),
        served.digest_equal
    );
    Ok(())
}

/// Stops the machine that is handed over.
fn stop(machine: &Fake) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut source = machine.source();
    let mut stream = source.stop()?.device_state;
    source.save_device_state()?;
    let mut state = Vec::new();
    stream.read_to_end(&mut state)?;
    // It is not to run on when it is dropped.
    drop((Box::new(source) as Box<dyn SourceMachine>).surrender());
    Ok(state)
}

fn show(faults: Faults, working_set: u64, round_trip: Duration) {
    println!(
        "{} faults ({:.1} % of the working set of {working_set} pages), round trip {round_trip:?}: \
         median {:?}, p99 {:?}, longest {:?}",
        faults.count,
        100.0 * faults.count as f64 / working_set as f64,
        faults.median,
        faults.p99,
        faults.longest,
    );
}

/// Pages that nothing can compress.
fn fill(machine: &Fake) -> Result<(), Box<dyn Error>> {
    let mut seed = 88_172_645_463_325_252_u64;
    let mut content = vec![0; PAGE_SIZE.get() as usize];
    for page in 0..machine.ram().layout().pages().get() {
        for word in content.chunks_exact_mut(8) {
            word.copy_from_slice(&next(&mut seed).to_le_bytes());
        }
        machine.ram().write(PageIndex(page), &content)?;
    }
    Ok(())
}

fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Uses as many pages as there are in the share, some of them again.
fn read(machine: &Fake, first: u64, share: u64, in_order: bool) {
    let mut seed = 0x9e37_79b9_7f4a_7c15 ^ first;
    for step in 0..share {
        let page = if in_order { step } else { next(&mut seed) % share };
        if machine.guest_reads(PageIndex(first + page)).is_none() {
            return;
        }
    }
}

/// Hands on what comes in, until the listener is closed.
fn take_in(listener: Arc<Listener>) -> mpsc::Receiver<(punctual_wire::PageLine, Connection)> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        while let Ok(arrival) = listener.accept() {
            let Ok(link) = arrival.greet(&Timeouts::default()) else { continue };
            let mut link = Connection::from(link);
            if let Ok(SourceMessage::Serve(Serve { line, .. })) = link.receiver.receive_message() {
                // Nobody takes it in any more when the machine is whole.
                let _ = sender.send((line, link));
            }
        }
    });
    lines
}
