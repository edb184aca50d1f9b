//! Traces of this host's machines: recorded, kept, handed out.
//!
//! - [`recording`]: how a trace is recorded, whoever wants it;
//! - [`sample`]: what a machine's pages cost on a link;
//! - [`kept`]: the last trace of each machine, in the state directory.

pub(crate) mod kept;
pub(crate) mod recording;
mod sample;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use punctual_engine::Cancel;
use punctual_trace::Trace;
use punctual_units::Probability;

use crate::api::{Problem, TraceEvent, TraceRequest, TraceSummary};
use crate::host::Host;
use crate::hypervisor::Departure;
use crate::listener::{Listener, listen};
use crate::registry::{Record, Standing};

use self::recording::{Progress, RecordError, Wanted, record};

/// The longest recording: a day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The recordings that are under way, by machine.
#[derive(Debug, Default)]
pub(crate) struct Recordings {
    under_way: Mutex<BTreeMap<String, Cancel>>,
}

impl Recordings {
    /// Asks every recording to end, and tells how many have not yet.
    pub(crate) fn cancel_all(&self) -> usize {
        self.lock().values().map(Cancel::cancel).count()
    }

    /// Enters something else that takes a while with a machine, and can be ended early.
    pub(crate) fn enter(&self, machine: &str, cancel: &Cancel) {
        self.lock().insert(machine.to_owned(), cancel.clone());
    }

    /// It has ended.
    pub(crate) fn leave(&self, machine: &str) {
        self.lock().remove(machine);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Cancel>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    /// Begins to record a machine's page writes, in a thread of its own.
    pub(crate) fn record(
        self: &Arc<Self>,
        name: &str,
        request: TraceRequest,
    ) -> Result<Listener<TraceEvent>, Problem> {
        check(&request)?;
        let (session, record) = Session::begin(self, name)?;
        let (teller, listener) = listen(session.cancel.clone());
        let departure = self.hypervisor.depart(name, &record.handle);
        let Departure { machine, processors, direct_io, .. } =
            departure.map_err(|refusals| Problem::from(&refusals[..]))?;
        let TraceRequest { length, cost } = request;
        let wanted = Wanted { machine: name.to_owned(), processors, direct_io, length, cost };
        let work = move || {
            let mut machine = machine;
            let mut observe = |progress| teller.tell(seen(progress, length));
            let recorded = record_logged(&mut *machine, &wanted, &session.cancel, &mut observe);
            // The tracing has ended, and the monitor is free, before the machine is.
            drop(machine);
            let ended = recorded.and_then(|trace| session.keep(&trace));
            drop(session);
            teller.tell(ended.map_or_else(TraceEvent::Failed, TraceEvent::Recorded));
        };
        let thread = thread::Builder::new().name(format!("trace-{name}")).spawn(work);
        thread.map_err(|error| {
            Problem::failed(format!("no thread for the recording: {error}"), "raise the limits")
        })?;
        Ok(listener)
    }

    /// Ends the recording of a machine early; what there is by then is kept.
    pub(crate) fn end_recording(&self, name: &str) -> Result<(), Problem> {
        self.registry.get(name)?;
        let recordings = self.recordings.lock();
        let recording = recordings.get(name).ok_or_else(|| {
            let what = format!("machine `{name}`: no recording of its page writes is under way");
            Problem::refused(what, format!("`punctual trace {name}` begins one"))
        })?;
        recording.cancel();
        Ok(())
    }

    /// The last trace of a machine, as a file.
    pub(crate) fn last_trace(&self, name: &str) -> Result<Vec<u8>, Problem> {
        self.registry.get(name)?;
        let kept = kept::read(&self.config.traces(), name).map_err(|error| {
            Problem::failed(format!("machine `{name}`: its last trace: {error}"), "record it anew")
        })?;
        kept.ok_or_else(|| {
            let what = format!("machine `{name}`: no trace of it is kept");
            Problem::unknown(what, format!("record one: `punctual trace {name}`"))
        })
    }
}

fn check(request: &TraceRequest) -> Result<(), Problem> {
    if request.length.is_zero() || request.length > LONGEST {
        let what = format!("a trace cannot be {:?} long", request.length);
        return Err(Problem::usage(what, "record for more than no time and at most a day"));
    }
    if request.cost == Probability::ZERO {
        let what = "a trace cannot be recorded at no cost to the guest";
        return Err(Problem::usage(what, "allow some, such as 2 %"));
    }
    Ok(())
}

fn record_logged(
    machine: &mut dyn punctual_guest::SourceMachine,
    wanted: &Wanted,
    cancel: &Cancel,
    observe: &mut dyn FnMut(Progress),
) -> Result<Trace, Problem> {
    let Wanted { machine: name, length, cost, .. } = wanted;
    tracing::info!(machine = name, ?length, %cost, "its page writes are recorded");
    let recorded = record(machine, wanted, cancel, observe);
    match &recorded {
        Ok(trace) => tracing::info!(
            machine = name,
            duration = ?trace.duration(),
            scans = trace.scans().len(),
            cost = %trace.about().guest_cost,
            "recorded"
        ),
        Err(error) => tracing::warn!(machine = name, %error, "not recorded"),
    }
    recorded.map_err(|error| {
        let what = match &error {
            // It names the machine.
            RecordError::Machine(error) => error.to_string(),
            error => format!("machine `{name}`: {error}"),
        };
        Problem::failed(what, "")
    })
}

fn seen(progress: Progress, length: Duration) -> TraceEvent {
    let Progress { elapsed, scans, rate, cost } = progress;
    TraceEvent::Progress { elapsed, length, scans, rate, cost }
}

/// A look at a machine that stays where it is. However it ends, the machine is at home again after it.
pub(crate) struct Session {
    host: Arc<Host>,
    name: String,
    /// What ends it early.
    pub(crate) cancel: Cancel,
}

impl Session {
    /// Takes a machine that is at home for it.
    pub(crate) fn begin(host: &Arc<Host>, name: &str) -> Result<(Self, Record), Problem> {
        let at_home = |from| from == Standing::Resident;
        let record = host.registry.shift(name, at_home, Standing::Traced)?;
        let cancel = Cancel::new();
        host.recordings.lock().insert(name.to_owned(), cancel.clone());
        Ok((Self { host: Arc::clone(host), name: name.to_owned(), cancel }, record))
    }

    fn keep(&self, trace: &Trace) -> Result<TraceSummary, Problem> {
        let file = trace.encode();
        kept::write(&self.host.config.traces(), &self.name, &file).map_err(|error| {
            Problem::failed(
                format!("machine `{}`: its trace cannot be kept: {error}", self.name),
                "make room in the daemon's state directory",
            )
        })?;
        Ok(TraceSummary {
            duration: trace.duration(),
            scans: trace.scans().len(),
            rate: trace.write_rate(),
            cost: trace.about().guest_cost,
            size: punctual_units::Bytes::new(file.len() as u64),
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.host.recordings.lock().remove(&self.name);
        self.host.stand(&self.name, Standing::Resident);
    }
}
