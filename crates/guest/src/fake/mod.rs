//! A machine without a process, for tests: its guest writes when the test says so, and every call
//! can be made to fail.

mod demand;
mod destination;
mod source;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use punctual_units::{Bytes, MemoryLayout, PAGE_SIZE, PageIndex, PageRange, PageSet, Probability};

use self::demand::Paging;
use crate::{MachineError, Ram, RamError, Settled};

/// What the engine can ask of a machine, at either end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`SourceMachine::start_tracing`](crate::SourceMachine::start_tracing).
    StartTracing,
    /// [`SourceMachine::collect_written`](crate::SourceMachine::collect_written).
    CollectWritten,
    /// [`SourceMachine::collect_written_among`](crate::SourceMachine::collect_written_among).
    CollectWrittenAmong,
    /// [`SourceMachine::settle`](crate::SourceMachine::settle).
    Settle,
    /// [`SourceMachine::throttle`](crate::SourceMachine::throttle).
    Throttle,
    /// [`SourceMachine::prepare_stop`](crate::SourceMachine::prepare_stop).
    PrepareStop,
    /// [`SourceMachine::stop`](crate::SourceMachine::stop).
    Stop,
    /// [`SourceMachine::save_device_state`](crate::SourceMachine::save_device_state).
    SaveDeviceState,
    /// `resume` of either end.
    Resume,
    /// [`SourceMachine::surrender`](crate::SourceMachine::surrender), which cannot fail.
    Surrender,
    /// [`Surrendered::remove`](crate::Surrendered::remove).
    Remove,
    /// [`DestinationMachine::forget`](crate::DestinationMachine::forget).
    Forget,
    /// [`DestinationMachine::page_on_demand`](crate::DestinationMachine::page_on_demand).
    PageOnDemand,
    /// [`Demand::finish`](crate::demand::Demand::finish).
    FinishPaging,
    /// [`DestinationMachine::device_state`](crate::DestinationMachine::device_state).
    DeviceState,
    /// [`DestinationMachine::wait_loaded`](crate::DestinationMachine::wait_loaded).
    WaitLoaded,
    /// [`DestinationMachine::discard`](crate::DestinationMachine::discard).
    Discard,
}

/// What a fake machine is doing.
///
/// ```text
/// source:       Running ⇄ Stopped ⇄ Saved ─surrender─► Surrendered ─remove─► Gone
/// destination:  Waiting ─state─► Loaded ─resume─► Running      (discard: Gone)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The guest runs.
    Running,
    /// The guest is stopped; its device state has begun to flow.
    Stopped,
    /// The guest is stopped and its device state has been saved.
    Saved,
    /// It may never run here again.
    Surrendered,
    /// It waits for device state.
    Waiting,
    /// It has its device state and is paused.
    Loaded,
    /// There is nothing left of it.
    Gone,
}

/// The test's hold on one machine: the guest inside and the faults outside.
#[derive(Debug, Clone)]
pub struct Fake {
    name: String,
    ram: Arc<Ram>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A page was filled or is waited for, or the machine is gone.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    status: Status,
    /// The pages written since the last look, while somebody looks.
    traced: Option<PageSet>,
    /// What a guest has besides memory: how often it has written.
    registers: u64,
    /// The share of its time that the guest is left with.
    share: Probability,
    settled: Settled,
    /// The pages that are elsewhere, from when they are named until the paging is finished.
    paging: Option<Paging>,
    faults: BTreeMap<Call, u32>,
    calls: Vec<Call>,
}

impl Fake {
    /// A running machine, its memory all zero.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn running(name: &str, layout: MemoryLayout) -> Result<Self, RamError> {
        Self::new(name, layout, Status::Running)
    }

    /// A machine that waits to be moved here.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn waiting(name: &str, layout: MemoryLayout) -> Result<Self, RamError> {
        Self::new(name, layout, Status::Waiting)
    }

    /// Another machine that waits for the state of this one, in the same memory.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self::with(&self.name, Arc::clone(&self.ram), Status::Waiting)
    }

    fn new(name: &str, layout: MemoryLayout, status: Status) -> Result<Self, RamError> {
        Ok(Self::with(name, Arc::new(Ram::in_memory(layout)?), status))
    }

    fn with(name: &str, ram: Arc<Ram>, status: Status) -> Self {
        let state = State {
            status,
            traced: None,
            registers: 0,
            share: Probability::ONE,
            settled: Settled::NoDirectIo,
            paging: None,
            faults: BTreeMap::new(),
            calls: Vec::new(),
        };
        let shared = Shared { state: Mutex::new(state), changed: Condvar::new() };
        Self { name: name.to_owned(), ram, shared: Arc::new(shared) }
    }

    /// The memory.
    #[must_use]
    pub fn ram(&self) -> &Arc<Ram> {
        &self.ram
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.lock().status
    }

    /// How often the guest has written, carried along as its device state.
    #[must_use]
    pub fn registers(&self) -> u64 {
        self.lock().registers
    }

    /// The share of its time that the guest is left with: a test that has it write does so by it.
    #[must_use]
    pub fn share(&self) -> Probability {
        self.lock().share
    }

    /// Whether somebody traces it.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.lock().traced.is_some()
    }

    /// The calls so far, failed ones too, in their order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Makes the next `times` calls of this kind fail. A stop that fails has stopped the guest
    /// all the same; every other failed call has done nothing.
    pub fn fail_next(&self, call: Call, times: u32) {
        self.lock().faults.insert(call, times);
    }

    /// What [`SourceMachine::settle`](crate::SourceMachine::settle) shall answer.
    pub fn set_settled(&self, settled: Settled) {
        self.lock().settled = settled;
    }

    /// The guest writes; only a running one can. Whether it did. If the page is missing it waits
    /// until the page is filled, or the machine gone.
    ///
    /// # Panics
    /// The machine has no such bytes.
    pub fn guest_writes(&self, page: PageIndex, offset: Bytes, bytes: &[u8]) -> bool {
        let Some(mut state) = self.guest_at(page) else { return false };
        state.registers += 1;
        self.write(&mut state, page, offset, bytes);
        true
    }

    /// The guest reads a page; only a running one can. If it is missing it waits until the page is
    /// filled, or the machine gone.
    ///
    /// # Panics
    /// The machine has no such page.
    #[must_use]
    pub fn guest_reads(&self, page: PageIndex) -> Option<Vec<u8>> {
        let _held = self.guest_at(page)?;
        Some(self.content(page))
    }

    /// A processor of the guest touches a page; only a running one can. Whether it did; if the page
    /// is missing the fault is raised, and this does not wait for the answer.
    #[must_use]
    pub fn guest_touches(&self, page: PageIndex) -> bool {
        let mut state = self.lock();
        let running = state.status == Status::Running;
        let there = running && state.paging.as_mut().is_none_or(|paging| paging.touch(page));
        self.shared.changed.notify_all();
        there
    }

    /// The guest, if it runs, as soon as a page is there; `None` if it does not.
    fn guest_at(&self, page: PageIndex) -> Option<MutexGuard<'_, State>> {
        let running = |state: &MutexGuard<'_, State>| state.status == Status::Running;
        let state = Some(self.lock()).filter(running)?;
        Some(self.touched(state, page, None)).filter(running)
    }

    fn content(&self, page: PageIndex) -> Vec<u8> {
        let mut content = vec![0; PAGE_SIZE.get() as usize];
        let only = PageRange::new(page.0, page.0 + 1);
        self.ram.read(only, &mut content).expect("a file in memory can be read");
        content
    }

    fn write(&self, state: &mut State, page: PageIndex, offset: Bytes, bytes: &[u8]) {
        self.ram.write_at(page, offset, bytes).expect("a file in memory takes what fits into it");
        if let Some(traced) = &mut state.traced {
            traced.insert(page);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked has poisoned nothing of meaning.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call, and answers with the error it shall have.
    fn called(
        &self,
        call: Call,
        action: &'static str,
    ) -> Result<MutexGuard<'_, State>, MachineError> {
        let mut state = self.lock();
        state.calls.push(call);
        match state.faults.get_mut(&call) {
            Some(times) if *times > 0 => {
                *times -= 1;
                drop(state);
                Err(self.error(action, "a fault made by the test"))
            }
            _ => Ok(state),
        }
    }

    fn wrong_state(&self, action: &'static str, status: Status) -> MachineError {
        self.error(action, &format!("not while it is {status:?}"))
    }

    fn error(&self, action: &'static str, cause: &str) -> MachineError {
        MachineError { machine: self.name.clone(), action, cause: cause.into() }
    }
}
