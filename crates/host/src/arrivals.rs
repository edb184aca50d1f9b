//! What comes in from other hosts: machines that are offered, questions about attempts, and looks
//! at the link.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use punctual_engine::{Admission, Connection, Immigration, Unanswered, immigrate};
use punctual_guest::DestinationMachine;
use punctual_link::{Arrival, Closer, Link, LinkError, Listener, Timeouts};
use punctual_wire::{
    DestinationMessage, Inquiry, MigrationId, Offer, Outcome, Refusal, SourceMessage,
};

use crate::api::Problem;
use crate::departure::no_room;
use crate::host::Host;
use crate::hypervisor::Handle;
use crate::journal::Left;
use crate::native;
use crate::registry::{Record, Standing, check_name};
use crate::survey;

/// How many connections are served at a time; more are closed at once.
const MOST: usize = 64;
/// How long an offer waits for an earlier attempt with the same machine to come to its end.
const TIDYING: Duration = Duration::from_secs(3);
/// When a source is first asked whether it knows that its machine runs here, and the last pause
/// between two questions, each twice as long as the one before: some two hours in all.
const REMIND_AFTER: Duration = Duration::from_secs(2);
const REMIND_LAST: Duration = Duration::from_secs(3600);
/// A source that still waits for word of its machine when it is asked removes nothing: it is asked
/// once more when it has given up waiting.
const REMIND_AGAIN: Duration = Duration::from_secs(20);
/// After a listener's error that may pass, such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);

/// The connections from other hosts that are being served.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    ending: AtomicBool,
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Closer>>,
}

impl Arrivals {
    /// Whether the daemon is to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// Ends every connection. Machines that are not committed are discarded soon after.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        self.lock().values().for_each(Closer::close);
    }

    /// How many connections are still being served.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn enter(self: &Arc<Self>, closer: Closer) -> Option<Entered> {
        let mut open = self.lock();
        if open.len() >= MOST || self.is_ending() {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        open.insert(number, closer);
        Some(Entered { arrivals: Arc::clone(self), number })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Closer>> {
        self.open.lock().expect("no thread panics while it holds the list of connections")
    }
}

/// A connection in the list, until it is dropped.
struct Entered {
    arrivals: Arc<Arrivals>,
    number: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.arrivals.lock().remove(&self.number);
    }
}

/// Accepts connections in a thread of its own until the listener is closed.
pub(crate) fn serve(host: &Arc<Host>, listener: &Arc<Listener>) -> io::Result<()> {
    let (host, listener) = (Arc::clone(host), Arc::clone(listener));
    let accept = move || {
        while !host.arrivals.is_ending() {
            match listener.accept() {
                Ok(arrival) => welcome(&host, arrival),
                Err(_) if host.arrivals.is_ending() => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections from other hosts");
                    thread::sleep(PAUSE);
                }
            }
        }
    };
    thread::Builder::new().name("arrivals".to_owned()).spawn(accept).map(drop)
}

fn welcome(host: &Arc<Host>, arrival: Arrival) {
    let peer = arrival.peer();
    let host = Arc::clone(host);
    let serve = move || {
        if let Err(error) = hear(&host, arrival) {
            tracing::info!(%error, "a connection from another host came to nothing");
        }
    };
    if let Err(error) = thread::Builder::new().name("arrival".to_owned()).spawn(serve) {
        tracing::warn!(%peer, %error, "no thread for a connection from another host");
    }
}

/// Serves one connection to its end.
fn hear(host: &Arc<Host>, arrival: Arrival) -> Result<(), LinkError> {
    let mut link = Connection::from(arrival.greet(&Timeouts::default())?);
    let Some(_entered) = host.arrivals.enter(link.closer.clone()) else { return Ok(()) };
    match link.receiver.receive_message()? {
        SourceMessage::Offer(offer) => arrive(host, link, *offer),
        SourceMessage::Inquire(inquiry) => {
            let outcome = host.outcome(inquiry.migration);
            tracing::info!(id = ?inquiry.migration, ?outcome, "answers how an attempt ended");
            // It is on record that what is left here goes before anybody may count on it.
            let left = match outcome {
                Outcome::Committed => host.take_departed(inquiry.migration),
                Outcome::Aborted | Outcome::Undecided => vec![],
            };
            let answered = link.sender.send(&DestinationMessage::Outcome(outcome));
            left.iter().for_each(|record| host.clear(record));
            answered?;
        }
        first @ (SourceMessage::Probe(_) | SourceMessage::ProbeEnd) => {
            survey::answer(link, first)?;
        }
        SourceMessage::Tunnel { migration } => native::serve(host, link, migration)?,
        SourceMessage::Serve(serve) => {
            if let Some(link) = host.lines.deliver(serve, link) {
                host.not_expected(serve, link);
            }
        }
        other => tracing::warn!(?other, "another host begins with what is no beginning"),
    }
    Ok(())
}

/// Takes in a machine, or refuses it.
fn arrive(host: &Arc<Host>, link: Connection, offer: Offer) {
    let Offer { machine, migration, dry_run, .. } = &offer;
    let (name, migration, dry_run) = (machine.clone(), *migration, *dry_run);
    tracing::info!(machine = name, from = offer.source, dry_run, "is offered");
    let source_address = offer.source_address.clone();
    let asked = source_address.clone();
    let (expected, lines) = host.lines.expect(migration);
    let ended = immigrate(
        link,
        offer,
        |offer| admit(host, offer),
        &host.journal,
        |inquiry| host.ask(&asked, inquiry),
        lines,
    );
    tracing::info!(machine = name, ?ended, "the offer has ended");
    host.tidy_journal();
    match ended {
        Immigration::Runs { machine, depending: Some(depending) } => {
            drop(machine);
            host.stand(&name, Standing::Depending(migration.into()));
            if let Err(problem) = host.depend(&name, migration, depending, expected) {
                tracing::error!(machine = name, %problem, remedy = problem.remedy, "waits for pages");
            }
        }
        Immigration::Runs { machine, depending: None } => {
            // It lets go of the monitor, by which it is looked at from now on.
            drop(machine);
            host.at_home(&name, migration);
            remind(host, source_address, migration);
        }
        Immigration::NothingStarted { .. } | Immigration::Discarded { .. } => {
            host.forget_arriving(&name, migration);
        }
        // Its record stays as it is, so that it is tried again when the daemon is started again.
        Immigration::Stuck { machine, .. } | Immigration::Undecided { machine } => {
            let_be(machine);
        }
    }
}

/// Asks the source of a machine that runs here how the attempt stands, until it answers. Nothing
/// depends on what it says; but if the word that the machine runs was lost, the question tells the
/// source that it can remove what it has kept.
pub(crate) fn remind(host: &Arc<Host>, source: String, migration: MigrationId) {
    let host = Arc::clone(host);
    let ask = move || {
        let (mut pause, mut answered) = (REMIND_AFTER, false);
        while pause <= REMIND_LAST {
            thread::sleep(pause);
            match host.ask(&source, Inquiry { migration }) {
                Ok(_) if answered => return,
                Ok(_) => (answered, pause) = (true, REMIND_AGAIN),
                Err(Unanswered::Ending) => return,
                Err(Unanswered::Later(_)) => pause *= 2,
            }
        }
        tracing::warn!(source, "cannot be told that a machine of its runs here; it keeps its RAM");
    };
    if let Err(error) = thread::Builder::new().name("reminder".to_owned()).spawn(ask) {
        tracing::warn!(%error, "no thread to remind the source of a machine that came in");
    }
}

/// Neither drops nor discards a machine: either would end it.
fn let_be(machine: Box<dyn DestinationMachine>) {
    std::mem::forget(machine);
}

/// Sees whether a machine can come in, and if it is to, takes its name for it.
fn admit(host: &Arc<Host>, offer: &Offer) -> Result<Admission, Vec<Refusal>> {
    let refuse = |code: &str, reason: String, remedy: &str| {
        let (code, remedy) = (code.to_owned(), remedy.to_owned());
        vec![Refusal { code, reason, remedy }]
    };
    let name = &offer.machine;
    check_name(name).map_err(|error| refuse("name-malformed", error.to_string(), ""))?;
    // An attempt that was just cancelled may not have been tidied up here yet.
    if let Some(record) = host.registry.wait_for_name(name, TIDYING) {
        let here = &host.config.name;
        return Err(match record.standing {
            Standing::Arriving(_) => refuse(
                "migration-under-way",
                format!("host `{here}`: a machine called `{name}` is already arriving"),
                "wait until that attempt has ended; `punctual list` shows it there",
            ),
            _ => refuse(
                "name-taken",
                format!("host `{here}` has a machine called `{name}`"),
                "stop that one, or give one of them another name",
            ),
        });
    }
    let cap = host.config.caps.incoming;
    if host.arriving_now() >= cap {
        return Err(vec![no_room(&host.config.name, cap)]);
    }
    let command_line = host.hypervisor.consider(offer)?;
    if !offer.dry_run {
        let standing = Standing::Arriving(offer.migration.into());
        let record = Record::new(name.clone(), standing, Handle::Null);
        let taken = host.registry.add(record);
        taken.map_err(|error| refuse("name-taken", error.to_string(), "migrate again"))?;
        // Two may have seen the last place free: then neither gets it, and both try again.
        if host.arriving_now() > cap {
            host.forget(name);
            return Err(vec![no_room(&host.config.name, cap)]);
        }
    }
    let (host, offer) = (Arc::clone(host), offer.clone());
    Ok(Admission { command_line, start: Box::new(move || start(&host, &offer)) })
}

fn start(
    host: &Host,
    offer: &Offer,
) -> Result<Box<dyn DestinationMachine>, Box<dyn Error + Send + Sync>> {
    let arrival = host.hypervisor.receive(offer)?;
    let standing = Standing::Arriving(offer.migration.into());
    // On an error the machine is dropped, and so discarded.
    host.registry.put(Record::new(offer.machine.clone(), standing, arrival.handle))?;
    Ok(arrival.machine)
}

impl Host {
    /// How an attempt stands of which this host is the source.
    fn outcome(&self, migration: MigrationId) -> Outcome {
        // Where a failing disk kept a record from being written, the record names the attempt for
        // longer than its thread lives: what the log will say then is not known before it is read.
        let id = migration.into();
        let named = [Standing::Undecided(id), Standing::Leaving(id)];
        let under_way = self.migrations().is_under_way(id)
            || self.registry.all().iter().any(|record| named.contains(&record.standing));
        self.journal.outcome(migration, under_way)
    }

    /// Asks the source of an attempt how it stands.
    pub(crate) fn ask(&self, address: &str, inquiry: Inquiry) -> Result<Outcome, Unanswered> {
        if self.arrivals.is_ending() {
            return Err(Unanswered::Ending);
        }
        let later = |error: LinkError| Unanswered::Later(error.to_string());
        let link = Link::connect(address, &Timeouts::default()).map_err(later)?;
        let (mut sender, mut receiver) = link.split();
        sender.send(&SourceMessage::Inquire(inquiry)).map_err(later)?;
        match receiver.receive_message().map_err(later)? {
            DestinationMessage::Outcome(outcome) => Ok(outcome),
            other => Err(Unanswered::Later(format!("{address} answers with {other:?}"))),
        }
    }

    /// How many machines are coming in.
    fn arriving_now(&self) -> usize {
        let arrives = |record: &Record| matches!(record.standing, Standing::Arriving(_));
        self.registry.all().iter().filter(|record| arrives(record)).count()
    }

    /// Notes that a machine has come in by this attempt.
    fn at_home(&self, name: &str, migration: MigrationId) {
        let Some(record) = self.arriving(name, migration) else { return };
        let put = self.make_resident(record);
        if let Err(problem) = put {
            tracing::error!(machine = name, %problem, "it runs, but its record is out of date");
        }
    }

    /// Notes that a machine which runs now is at home here.
    pub(crate) fn make_resident(&self, record: Record) -> Result<(), Problem> {
        let handle = self.hypervisor.arrived(&record.handle)?;
        Ok(self.registry.put(Record { standing: Standing::Resident, handle, ..record })?)
    }

    /// Drops the record of a machine that was to come in by this attempt.
    fn forget_arriving(&self, name: &str, migration: MigrationId) {
        if self.arriving(name, migration).is_some() {
            self.forget(name);
        }
    }

    fn arriving(&self, name: &str, migration: MigrationId) -> Option<Record> {
        let record = self.registry.get(name).ok()?;
        (record.standing == Standing::Arriving(migration.into())).then_some(record)
    }

    /// What is left of a machine that went by this attempt, to be removed: its destination has it.
    /// Whoever takes the record removes the copy, and nobody else: a second question may find
    /// another machine of this name here.
    ///
    /// Not one of which pages were owed: that it runs there does not say that it has all of them.
    fn take_departed(&self, migration: MigrationId) -> Vec<Record> {
        if self.journal.left(migration) == Some(Left::Committed { owing: true }) {
            return vec![];
        }
        let departed = Standing::Departed(migration.into());
        let is_it = |standing| standing == departed;
        let take = |record: Record| self.registry.shift(&record.name, is_it, Standing::Ending).ok();
        self.registry.all().into_iter().filter_map(take).collect()
    }

    fn clear(&self, record: &Record) {
        self.discard(record).unwrap_or_else(|problem| {
            tracing::error!(machine = record.name, %problem, "something is left of it");
        });
    }
}
