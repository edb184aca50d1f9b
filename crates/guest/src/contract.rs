//! What every machine must do, checked: the fake, a plain process, QEMU.
//!
//! A [`Rig`] makes the machines; [`CHECKS`] are run against it one by one, each with a rig of its
//! own. None of them knows what kind of machine it has, and none of them judges speed.

mod paging;

use std::fmt::Display;
use std::io::Read;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use punctual_units::{PAGE_SIZE, PageIndex, PageRange, PageSet, Pages, Probability};
use thiserror::Error;

use crate::{DestinationMachine, Ram, SourceMachine};

/// One of the two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where the machine runs at first.
    Source,
    /// Where it is moved to.
    Destination,
}

/// Makes machines of one kind, and looks at them from outside.
pub trait Rig {
    /// A hold on the machine at the source. If there is none it is started: with a guest that
    /// writes its memory all the time.
    ///
    /// # Errors
    /// It cannot be started or attached to.
    fn source(&mut self) -> Result<Box<dyn SourceMachine>, Breach>;

    /// A new machine at the destination, fit for the one at the source.
    ///
    /// # Errors
    /// It cannot be started.
    fn destination(&mut self) -> Result<Box<dyn DestinationMachine>, Breach>;

    /// Whether the guest runs at this end: it is seen to get on with its work within a second or
    /// so. Also what its own check of its memory says, where it has one.
    ///
    /// # Errors
    /// The guest has found its memory wrong.
    fn works(&mut self, end: End) -> Result<bool, Breach>;

    /// What is there of the machines of this end: processes, files, sockets, each by its name.
    fn remains(&mut self, end: End) -> Vec<String>;
}

/// What a machine did against the contract.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Breach(pub String);

impl Breach {
    /// For an error where there should be none.
    pub fn unexpected(doing: &str, error: impl Display) -> Self {
        Self(format!("{doing}: {error}"))
    }
}

/// A check: what holds, and what finds out whether it does.
pub type Check = (&'static str, fn(&mut dyn Rig) -> Result<(), Breach>);

/// All checks.
pub const CHECKS: &[Check] = &[
    ("every page written is reported", every_page_written_is_reported),
    ("pages looked for among others are reported, the others stay", pages_among_others),
    ("tracing that begins anew loses nothing", tracing_begins_anew),
    ("a machine resumes from every state", a_machine_resumes_from_every_state),
    ("a stopped machine changes nothing", a_stopped_machine_changes_nothing),
    ("a machine that is slowed down runs freely afterwards", a_slow_machine_runs_freely),
    ("dropping a traced machine leaves it running", dropping_leaves_it_running),
    ("a machine moves and has one owner all the time", a_machine_moves),
    ("a failed attempt can be repeated", a_failed_attempt_can_be_repeated),
    ("a discarded destination leaves nothing", a_discarded_destination_leaves_nothing),
    ("a machine runs while pages follow", paging::runs_while_pages_follow),
    ("pages that follow are as they were, and come once", paging::pages_come_once),
    ("a machine discarded while pages are missing leaves nothing", paging::discarded_on_the_way),
];

const LOADING: Duration = Duration::from_secs(20);
/// How often the copy is brought up to date while the guest writes.
const ROUNDS: usize = 12;

fn ensure(holds: bool, otherwise: &str) -> Result<(), Breach> {
    if holds { Ok(()) } else { Err(Breach(otherwise.to_owned())) }
}

fn done<T>(doing: &str, result: Result<T, impl Display>) -> Result<T, Breach> {
    result.map_err(|error| Breach::unexpected(doing, error))
}

/// A copy of the memory at the source that is kept up with reported pages only.
struct Copy {
    from: Arc<Ram>,
    to: Arc<Ram>,
    written: PageSet,
}

impl Copy {
    /// Begins to trace, and copies what there is.
    fn begin(source: &mut dyn SourceMachine, to: Arc<Ram>) -> Result<Self, Breach> {
        done("start tracing", source.start_tracing())?;
        let from = Arc::clone(source.ram());
        let written = done("find populated pages", from.populated())?;
        let mut copy = Self { from, to, written };
        copy.bring()?;
        Ok(copy)
    }

    /// Begins, with a place for the copy made in memory.
    fn aside(source: &mut dyn SourceMachine) -> Result<Self, Breach> {
        let place = done("make a copy", Ram::in_memory(source.ram().layout().clone()))?;
        Self::begin(source, Arc::new(place))
    }

    fn round(&mut self, source: &mut dyn SourceMachine) -> Result<(), Breach> {
        done("collect written pages", source.collect_written(&mut self.written))?;
        self.bring()
    }

    /// A round in legs: before a leg is copied, its pages are looked for, and are clean with that.
    fn round_in_legs(&mut self, source: &mut dyn SourceMachine) -> Result<(), Breach> {
        const LEG: usize = 100;
        done("collect written pages", source.collect_written(&mut self.written))?;
        let round: Vec<PageIndex> = self.written.iter().collect();
        // Far pages together, as an order other than that of addresses has them.
        let (even, odd): (Vec<_>, Vec<_>) = round.iter().partition(|page| page.0 % 7 == 0);
        let mut dirty = self.written.clone();
        self.written.clear();
        for leg in even.chunks(LEG).chain(odd.chunks(LEG)) {
            leg.iter().for_each(|page| self.written.insert(*page));
            let mut found = PageSet::empty(self.capacity());
            let collected = source.collect_written_among(&self.written, &mut found);
            done("collect among pages", collected)?;
            dirty.union(&found);
            dirty.subtract(&self.written);
            self.bring()?;
        }
        self.written = dirty;
        Ok(())
    }

    fn capacity(&self) -> Pages {
        self.from.layout().pages()
    }

    fn bring(&mut self) -> Result<(), Breach> {
        const AT_ONCE: u64 = 64;
        let mut buffer = vec![0; (AT_ONCE * PAGE_SIZE.get()) as usize];
        for run in self.written.ranges() {
            let mut at = run.start.0;
            while at < run.end.0 {
                let piece = PageRange::new(at, run.end.0.min(at + AT_ONCE));
                let bytes = &mut buffer[..piece.len().bytes().get() as usize];
                done("copy pages", self.from.read(piece, bytes))?;
                done("copy pages", self.to.write(piece.start, bytes))?;
                at = piece.end.0;
            }
        }
        self.written.clear();
        Ok(())
    }

    fn ensure_equal(&self) -> Result<(), Breach> {
        let size = PAGE_SIZE.get() as usize;
        let (mut ours, mut theirs) = (vec![0; size], vec![0; size]);
        let all = self.from.layout().pages().get();
        let mut wrong = Vec::new();
        for page in 0..all {
            done("compare", self.from.read(PageRange::new(page, page + 1), &mut theirs))?;
            done("compare", self.to.read(PageRange::new(page, page + 1), &mut ours))?;
            if ours != theirs {
                wrong.push(page);
            }
        }
        let first = wrong.first().copied().unwrap_or(0);
        let count = wrong.len();
        ensure(
            wrong.is_empty(),
            &format!("{count} of {all} pages were written unseen, the first is {first}"),
        )
    }
}

/// A stopped machine, with a thread that reads its device state.
struct Halted {
    state: JoinHandle<std::io::Result<Vec<u8>>>,
}

impl Halted {
    fn stop(source: &mut dyn SourceMachine) -> Result<Self, Breach> {
        let mut stream = done("stop", source.stop())?.device_state;
        let state = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).map(|_| bytes)
        });
        Ok(Self { state })
    }

    fn save(self, source: &mut dyn SourceMachine) -> Result<Vec<u8>, Breach> {
        done("save device state", source.save_device_state())?;
        self.finish()
    }

    fn finish(self) -> Result<Vec<u8>, Breach> {
        let read = self.state.join().map_err(|_| Breach("the reader panicked".to_owned()))?;
        done("read device state", read)
    }
}

/// The last part of an attempt at the source: it stops, and all of it is in the copy.
fn bring_to_rest(source: &mut dyn SourceMachine, copy: &mut Copy) -> Result<Vec<u8>, Breach> {
    done("settle", source.settle())?;
    copy.round(source)?;
    done("prepare to stop", source.prepare_stop())?;
    let halted = Halted::stop(source)?;
    copy.round(source)?;
    let state = halted.save(source)?;
    copy.round(source)?;
    Ok(state)
}

fn every_page_written_is_reported(rig: &mut dyn Rig) -> Result<(), Breach> {
    let mut source = rig.source()?;
    let mut copy = Copy::aside(&mut *source)?;
    for _ in 0..ROUNDS {
        ensure(rig.works(End::Source)?, "it does not run while it is traced")?;
        copy.round(&mut *source)?;
    }
    bring_to_rest(&mut *source, &mut copy)?;
    copy.ensure_equal()?;
    done("resume", source.resume())?;
    ensure(rig.works(End::Source)?, "it does not run after a stop")
}

fn pages_among_others(rig: &mut dyn Rig) -> Result<(), Breach> {
    let mut source = rig.source()?;
    let mut copy = Copy::aside(&mut *source)?;
    for _ in 0..ROUNDS {
        ensure(rig.works(End::Source)?, "it does not run while it is traced")?;
        copy.round_in_legs(&mut *source)?;
    }
    bring_to_rest(&mut *source, &mut copy)?;
    copy.ensure_equal()?;
    done("resume", source.resume())
}

fn tracing_begins_anew(rig: &mut dyn Rig) -> Result<(), Breach> {
    let mut source = rig.source()?;
    done("start tracing", source.start_tracing())?;
    ensure(rig.works(End::Source)?, "it does not run while it is traced")?;
    // Begins to trace what is traced already.
    let mut copy = Copy::aside(&mut *source)?;
    ensure(rig.works(End::Source)?, "it does not run while it is traced anew")?;
    copy.round(&mut *source)?;
    bring_to_rest(&mut *source, &mut copy)?;
    copy.ensure_equal()?;
    done("start tracing", source.start_tracing())?;
    let mut written = PageSet::empty(source.ram().layout().pages());
    done("collect written pages", source.collect_written(&mut written))?;
    ensure(written.is_empty(), "what was written before the tracing began is reported")?;
    done("resume", source.resume())?;
    ensure(rig.works(End::Source)?, "it does not run after a stop")
}

/// How far an attempt gets before it is given up.
#[derive(Debug, Clone, Copy)]
enum Progress {
    Nothing,
    Tracing,
    Prepared,
    Stopped,
    Saved,
}

impl Progress {
    const ALL: [Self; 5] =
        [Self::Nothing, Self::Tracing, Self::Prepared, Self::Stopped, Self::Saved];
}

fn attempt(source: &mut dyn SourceMachine, progress: Progress) -> Result<(), Breach> {
    if progress as usize >= Progress::Tracing as usize {
        done("start tracing", source.start_tracing())?;
    }
    if progress as usize >= Progress::Prepared as usize {
        done("prepare to stop", source.prepare_stop())?;
    }
    let halted = match progress {
        Progress::Stopped | Progress::Saved => Halted::stop(source)?,
        _ => return done("resume", source.resume()),
    };
    if matches!(progress, Progress::Saved) {
        halted.save(source)?;
        return done("resume", source.resume());
    }
    done("resume", source.resume())?;
    // The stream ends, whether well or with an error, when the attempt is given up.
    let _ = halted.finish();
    Ok(())
}

fn a_machine_resumes_from_every_state(rig: &mut dyn Rig) -> Result<(), Breach> {
    let mut source = rig.source()?;
    for progress in Progress::ALL {
        let told = |breach: Breach| Breach(format!("given up at {progress:?}: {breach}"));
        attempt(&mut *source, progress).map_err(told)?;
        ensure(rig.works(End::Source)?, "it does not run on").map_err(told)?;
    }
    Ok(())
}

fn a_stopped_machine_changes_nothing(rig: &mut dyn Rig) -> Result<(), Breach> {
    let mut source = rig.source()?;
    let mut copy = Copy::aside(&mut *source)?;
    bring_to_rest(&mut *source, &mut copy)?;
    let before = done("digest", source.ram().digest())?;
    ensure(!rig.works(End::Source)?, "it runs although it was stopped")?;
    ensure(before == done("digest", source.ram().digest())?, "its memory changed while stopped")?;
    let mut written = PageSet::empty(source.ram().layout().pages());
    done("collect written pages", source.collect_written(&mut written))?;
    ensure(written.is_empty(), "pages are reported as written while it was stopped")?;
    done("resume", source.resume())
}

fn a_slow_machine_runs_freely(rig: &mut dyn Rig) -> Result<(), Breach> {
    let mut source = rig.source()?;
    let half = Probability::saturating(0.5);
    match source.throttle(half) {
        Ok(share) => ensure(share >= half, "it is slower than it was asked to be")?,
        // Where it cannot be done it says so, and nothing has changed.
        Err(error) => ensure(
            error.to_string().contains("throttle-unavailable"),
            &format!("it does not say that it cannot be slowed down: {error}"),
        )?,
    }
    ensure(rig.works(End::Source)?, "it does not run while it is slowed down")?;
    let mut copy = Copy::aside(&mut *source)?;
    bring_to_rest(&mut *source, &mut copy)?;
    copy.ensure_equal()?;
    done("resume", source.resume())?;
    ensure(rig.works(End::Source)?, "it does not run after it was slowed down and stopped")?;
    let free = done("let it run freely", source.throttle(Probability::ONE))?;
    ensure(free == Probability::ONE, "it does not run freely again")
}

fn dropping_leaves_it_running(rig: &mut dyn Rig) -> Result<(), Breach> {
    let before = {
        let mut source = rig.source()?;
        let before = rig.remains(End::Source);
        Copy::aside(&mut *source)?;
        before
    };
    ensure(rig.works(End::Source)?, "it does not run after its tracing was dropped")?;
    let after = rig.remains(End::Source);
    ensure(before == after, &format!("left in it: {after:?} instead of {before:?}"))?;
    let mut source = rig.source()?;
    Copy::aside(&mut *source).map(drop)
}

fn a_machine_moves(rig: &mut dyn Rig) -> Result<(), Breach> {
    let source = rig.source()?;
    move_it(rig, source)
}

/// A whole move by the simplest engine there is.
fn move_it(rig: &mut dyn Rig, mut source: Box<dyn SourceMachine>) -> Result<(), Breach> {
    let mut destination = rig.destination()?;
    let populated = done("find populated pages", destination.ram().populated())?;
    ensure_all_zero(destination.ram(), &populated)?;
    let mut copy = Copy::begin(&mut *source, Arc::clone(destination.ram()))?;
    for _ in 0..3 {
        copy.round(&mut *source)?;
        ensure(rig.works(End::Source)?, "it does not run while it is moved")?;
        ensure(!rig.works(End::Destination)?, "it runs at the destination too early")?;
    }
    let state = bring_to_rest(&mut *source, &mut copy)?;
    copy.ensure_equal()?;
    load(&mut *destination, &state)?;
    ensure(!rig.works(End::Source)?, "it runs at the source after its state was loaded")?;
    ensure(!rig.works(End::Destination)?, "it runs at the destination before it was resumed")?;

    let surrendered = source.surrender();
    done("resume at the destination", destination.resume())?;
    ensure(rig.works(End::Destination)?, "it does not run at the destination")?;
    ensure(!rig.works(End::Source)?, "it runs at both ends")?;
    done("remove", surrendered.remove())?;
    let remains = rig.remains(End::Source);
    ensure(remains.is_empty(), &format!("left at the source: {remains:?}"))?;
    drop(destination);
    ensure(rig.works(End::Destination)?, "it ended when the engine let go of it")
}

fn ensure_all_zero(ram: &Ram, populated: &PageSet) -> Result<(), Breach> {
    for page in populated.iter() {
        let zero = done("read a page", ram.is_zero(page))?;
        ensure(zero, &format!("page {} of a new destination is not zero", page.0))?;
    }
    Ok(())
}

fn load(destination: &mut dyn DestinationMachine, state: &[u8]) -> Result<(), Breach> {
    let mut stream = done("take device state", destination.device_state())?;
    done("write device state", stream.write_all(state).and_then(|()| stream.flush()))?;
    drop(stream);
    done("load device state", destination.wait_loaded(LOADING))
}

fn a_failed_attempt_can_be_repeated(rig: &mut dyn Rig) -> Result<(), Breach> {
    let mut source = rig.source()?;
    let mut destination = rig.destination()?;
    let mut copy = Copy::begin(&mut *source, Arc::clone(destination.ram()))?;
    let state = bring_to_rest(&mut *source, &mut copy)?;
    // The connection breaks in the middle of the device state.
    let mut stream = done("take device state", destination.device_state())?;
    // A destination may refuse before it has been given all.
    let _ = stream.write_all(&state[..state.len() / 2]);
    drop(stream);
    let loaded = destination.wait_loaded(LOADING);
    ensure(loaded.is_err(), "half of the device state was taken for the whole")?;
    done("discard", destination.discard())?;
    let remains = rig.remains(End::Destination);
    ensure(remains.is_empty(), &format!("left at the destination: {remains:?}"))?;
    done("resume", source.resume())?;
    ensure(rig.works(End::Source)?, "it does not run after a failed attempt")?;
    move_it(rig, source)
}

fn a_discarded_destination_leaves_nothing(rig: &mut dyn Rig) -> Result<(), Breach> {
    let _source = rig.source()?;
    for dropped in [false, true] {
        let destination = rig.destination()?;
        if dropped {
            drop(destination);
        } else {
            done("discard", destination.discard())?;
        }
        let remains = rig.remains(End::Destination);
        let how = if dropped { "dropped" } else { "discarded" };
        ensure(remains.is_empty(), &format!("left of a {how} destination: {remains:?}"))?;
    }
    ensure(rig.works(End::Source)?, "it does not run at the source")
}
