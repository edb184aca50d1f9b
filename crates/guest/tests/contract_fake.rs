//! The contract, kept by the fake machine.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use punctual_guest::contract::{Breach, CHECKS, End, Rig};
use punctual_guest::fake::{Fake, Status};
use punctual_guest::{DestinationMachine, SourceMachine};
use punctual_units::{Bytes, MemoryLayout, PageIndex, Pages, Region};

const PAGES: u64 = 600;

fn layout() -> MemoryLayout {
    let region =
        |name: &str, pages| Region { name: name.to_owned(), size: Pages::new(pages).bytes() };
    MemoryLayout::new(vec![region("ram0", PAGES - 100), region("dimm1", 100)]).unwrap()
}

/// A fake whose guest writes all the time, on a thread.
struct Guest {
    fake: Fake,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Guest {
    fn new(fake: Fake) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (inside, until) = (fake.clone(), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            let mut random = 1_u64;
            while !until.load(Ordering::Relaxed) {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let page = PageIndex((random >> 33) % PAGES);
                inside.guest_writes(page, Bytes::new(random >> 52), &[random as u8]);
                std::thread::yield_now();
            }
        });
        Self { fake, end, thread: Some(thread) }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[derive(Default)]
struct Fakes {
    source: Option<Guest>,
    destination: Option<Guest>,
}

impl Fakes {
    fn guest(&self, end: End) -> Option<&Guest> {
        match end {
            End::Source => self.source.as_ref(),
            End::Destination => self.destination.as_ref(),
        }
    }
}

impl Rig for Fakes {
    fn source(&mut self) -> Result<Box<dyn SourceMachine>, Breach> {
        let guest =
            self.source.get_or_insert_with(|| Guest::new(Fake::running("vm1", layout()).unwrap()));
        Ok(Box::new(guest.fake.source()))
    }

    fn destination(&mut self) -> Result<Box<dyn DestinationMachine>, Breach> {
        let guest = self.destination.insert(Guest::new(Fake::waiting("vm1", layout()).unwrap()));
        Ok(Box::new(guest.fake.destination()))
    }

    fn works(&mut self, end: End) -> Result<bool, Breach> {
        let Some(guest) = self.guest(end) else { return Ok(false) };
        let before = guest.fake.registers();
        let deadline = Instant::now() + Duration::from_millis(100);
        while Instant::now() < deadline {
            if guest.fake.registers() > before + 100 {
                return Ok(true);
            }
            std::thread::yield_now();
        }
        Ok(guest.fake.registers() > before)
    }

    fn remains(&mut self, end: End) -> Vec<String> {
        let Some(guest) = self.guest(end) else { return Vec::new() };
        let status = guest.fake.status();
        let traced = guest.fake.is_traced().then(|| "its tracing".to_owned());
        (status != Status::Gone).then(|| format!("{status:?}")).into_iter().chain(traced).collect()
    }
}

#[test]
fn a_fake_keeps_the_contract() {
    for (name, check) in CHECKS {
        let kept = check(&mut Fakes::default());
        kept.unwrap_or_else(|breach| panic!("{name}: {breach}"));
    }
}
