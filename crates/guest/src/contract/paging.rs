//! Machines that are resumed before all of their pages are there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;
use crate::demand::Demand;

/// How often a thread that answers faults looks whether it is to end.
const LOOK: Duration = Duration::from_millis(10);
/// How many pages are pushed at once.
const PUSHED: u64 = 16;

/// A machine that is stopped and wholly copied, of which half of the pages are then taken away.
struct HalfMoved {
    source: Box<dyn SourceMachine>,
    destination: Box<dyn DestinationMachine>,
    copy: Copy,
    state: Vec<u8>,
    missing: PageSet,
    demand: Arc<dyn Demand>,
}

impl HalfMoved {
    fn new(rig: &mut dyn Rig) -> Result<Self, Breach> {
        let mut source = rig.source()?;
        let mut destination = rig.destination()?;
        let mut copy = Copy::begin(&mut *source, Arc::clone(destination.ram()))?;
        ensure(rig.works(End::Source)?, "it does not run while it is moved")?;
        let state = bring_to_rest(&mut *source, &mut copy)?;
        copy.ensure_equal()?;
        let missing = every_second(source.ram())?;
        spoil(destination.ram(), &missing)?;
        // Of some it was known before.
        let mut known = missing.clone();
        known.remove_range(PageRange::new(0, known.capacity().get() / 2));
        done("take pages away", destination.forget(&known))?;
        let demand = done("page on demand", destination.page_on_demand(&missing))?;
        ensure(demand.missing() == missing, "other pages are missing than those that were named")?;
        Ok(Self { source, destination, copy, state, missing, demand })
    }
}

/// Every second page, and runs of some length, populated or not, and always the last one: there
/// the devices of some machines have their rings.
fn every_second(ram: &Ram) -> Result<PageSet, Breach> {
    let pages = ram.layout().pages();
    let mut chosen = PageSet::empty(pages);
    for page in (0..pages.get()).filter(|page| page % 2 == 1 || page % 256 < 64) {
        chosen.insert(PageIndex(page));
    }
    let populated = done("find populated pages", ram.populated())?;
    let mut some = chosen.clone();
    some.intersect(&populated);
    ensure(!some.is_empty(), "the guest has written none of the pages that are to follow")?;
    Ok(chosen)
}

/// Makes every fourth of the pages one that no guest has written.
fn spoil(ram: &Ram, pages: &PageSet) -> Result<(), Breach> {
    let wrong = [0xe7; PAGE_SIZE.get() as usize];
    pages.iter().step_by(4).try_for_each(|page| done("spoil a page", ram.write(page, &wrong)))
}

/// Answers faults from `from` while `work` is done. The second result is how many there were.
fn while_answered<T>(
    demand: &dyn Demand,
    from: &Ram,
    work: impl FnOnce() -> Result<T, Breach>,
) -> Result<(T, u64), Breach> {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| {
            let mut faults = 0;
            while !ended.load(Ordering::Relaxed) {
                let fault = done("hear of a fault", demand.next_fault(LOOK))?;
                let Some((pages, _)) = fault else { continue };
                deliver(demand, from, pages)?;
                faults += 1;
            }
            Ok(faults)
        });
        let worked = work();
        ended.store(true, Ordering::Relaxed);
        let faults = answers.join().map_err(|_| Breach("the answers panicked".to_owned()))?;
        Ok((worked?, faults?))
    })
}

/// Fills pages as they are at the source, those that are zero as such.
fn deliver(demand: &dyn Demand, from: &Ram, pages: PageRange) -> Result<Pages, Breach> {
    let mut bytes = vec![0; pages.len().bytes().get() as usize];
    done("read pages", from.read(pages, &mut bytes))?;
    if crate::is_zero(&bytes) {
        return done("fill pages with zeros", demand.fill_zero(pages));
    }
    done("fill pages", demand.fill(pages, &bytes))
}

/// Delivers everything that is missing, and says how much that was.
fn push(demand: &dyn Demand, from: &Ram) -> Result<Pages, Breach> {
    let mut pushed = Pages::ZERO;
    for run in demand.missing().ranges() {
        for start in (run.start.0..run.end.0).step_by(PUSHED as usize) {
            let pages = PageRange::new(start, run.end.0.min(start + PUSHED));
            pushed += deliver(demand, from, pages)?;
        }
    }
    Ok(pushed)
}

/// Ends the paging. Who answers a fault may just be filling the last page.
fn finish(demand: &dyn Demand) -> Result<(), Breach> {
    let deadline = Instant::now() + LOADING;
    while demand.finish().is_err() && Instant::now() < deadline {
        std::thread::sleep(LOOK);
    }
    done("end the paging", demand.finish())
}

pub(super) fn runs_while_pages_follow(rig: &mut dyn Rig) -> Result<(), Breach> {
    let HalfMoved { source, mut destination, copy, state, missing, demand } = HalfMoved::new(rig)?;
    let (surrendered, faults) = while_answered(&*demand, &copy.from, || {
        load(&mut *destination, &state)?;
        ensure(!rig.works(End::Destination)?, "it runs before it was resumed")?;
        ensure(demand.finish().is_err(), "it ends although pages are missing")?;
        let surrendered = source.surrender();
        done("resume at the destination", destination.resume())?;
        ensure(rig.works(End::Destination)?, "it does not run while pages are missing")?;
        push(&*demand, &copy.from)?;
        ensure(demand.missing().is_empty(), "pages are missing after all have been pushed")?;
        finish(&*demand)?;
        Ok(surrendered)
    })?;
    ensure(faults > 0, &format!("nobody waited for one of {}", missing.len()))?;
    done("end the paging twice", demand.finish())?;
    ensure(rig.works(End::Destination)?, "it does not run when all is there")?;
    done("remove", surrendered.remove())?;
    drop(destination);
    ensure(rig.works(End::Destination)?, "it ended when the engine let go of it")
}

pub(super) fn pages_come_once(rig: &mut dyn Rig) -> Result<(), Breach> {
    let HalfMoved { source, mut destination, copy, state, missing, demand } = HalfMoved::new(rig)?;
    let pushed = push(&*demand, &copy.from)?;
    ensure(pushed == missing.len(), &format!("{pushed} pushed, {} were missing", missing.len()))?;
    for run in missing.ranges() {
        let again = deliver(&*demand, &copy.from, run)?;
        ensure(again == Pages::ZERO, &format!("{again} of {run:?} came twice"))?;
    }
    copy.ensure_equal()?;
    let ((), faults) = while_answered(&*demand, &copy.from, || {
        done("end the paging", demand.finish())?;
        load(&mut *destination, &state)
    })?;
    ensure(faults == 0, "somebody waited for a page that was there")?;
    let surrendered = source.surrender();
    done("resume at the destination", destination.resume())?;
    ensure(rig.works(End::Destination)?, "it does not run")?;
    done("remove", surrendered.remove())
}

pub(super) fn discarded_on_the_way(rig: &mut dyn Rig) -> Result<(), Breach> {
    const SHORT: Duration = Duration::from_millis(300);
    for dropped in [false, true] {
        let HalfMoved { mut source, mut destination, state, demand, .. } = HalfMoved::new(rig)?;
        let mut stream = done("take device state", destination.device_state())?;
        // Nobody answers: it may wait for a page now, whether it takes all of this or not.
        let _ = stream.write_all(&state);
        drop(stream);
        let _ = destination.wait_loaded(SHORT);
        if dropped {
            drop(destination);
        } else {
            done("discard", destination.discard())?;
        }
        ensure_gone(&*demand)?;
        let remains = rig.remains(End::Destination);
        ensure(remains.is_empty(), &format!("left at the destination: {remains:?}"))?;
        done("resume", source.resume())?;
        ensure(rig.works(End::Source)?, "it does not run after a failed attempt")?;
    }
    Ok(())
}

/// The end of the machine is told, after the faults that were told before it.
fn ensure_gone(demand: &dyn Demand) -> Result<(), Breach> {
    while let Ok(fault) = demand.next_fault(LOADING) {
        ensure(fault.is_some(), "who asks for faults is not told that the machine has ended")?;
    }
    Ok(())
}
