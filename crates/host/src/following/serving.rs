//! At the source: what is left of a machine that runs elsewhere is kept until that has all of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use punctual_engine::post_copy::{Dial, Link, Served, Serving};
use punctual_engine::{Connection, Entry, Journal as _};
use punctual_guest::Surrendered;
use punctual_link::{Link as Channel, Timeouts};
use punctual_units::BytesPerSecond;
use punctual_wire::MigrationId;

use crate::api::{Id, MachineSummary, Problem};
use crate::host::Host;
use crate::registry::{Record, Standing};

/// Between two looks at whether the daemon is to end.
const LOOK: Duration = Duration::from_millis(100);

/// The machines whose pages are being served, by their names.
#[derive(Default)]
pub(crate) struct Servings {
    served: Mutex<BTreeMap<String, Arc<Serving>>>,
}

/// How the service of a machine's pages ended.
pub(crate) enum Followed {
    /// The machine is whole at its destination.
    Whole(Served),
    /// The daemon ends; the next one goes on.
    Ending,
    /// The machine has ended at its destination, for this reason.
    Failed(String),
}

impl Servings {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Serving>>> {
        self.served.lock().expect("no thread panics while it holds the list of served machines")
    }
}

/// Opens connections for pages to a host at this address.
pub(crate) fn dial(address: &str, rate: Option<BytesPerSecond>) -> Dial {
    let address = address.to_owned();
    Arc::new(move || {
        let link = Channel::connect(&address, &Timeouts::default())?;
        link.pace(rate)?;
        Ok(Connection::from(link))
    })
}

impl Host {
    /// Serves the pages of a machine that was committed away until it is whole; `look` is called
    /// now and then.
    pub(crate) fn serve_pages(
        &self,
        name: &str,
        serving: &Arc<Serving>,
        mut look: impl FnMut(&Serving),
    ) -> Followed {
        self.servings.lock().insert(name.to_owned(), Arc::clone(serving));
        let followed = loop {
            if self.arrivals.is_ending() {
                break Followed::Ending;
            }
            match serving.wait(LOOK) {
                Some(Ok(served)) => break Followed::Whole(served),
                Some(Err(reason)) => break Followed::Failed(reason),
                None => look(serving),
            }
        };
        self.servings.lock().remove(name);
        followed
    }

    /// Goes on, in a thread of its own, with what an earlier daemon left.
    pub(crate) fn serve_on(
        self: &Arc<Self>,
        record: Record,
        migration: MigrationId,
    ) -> Result<(), Problem> {
        let to = self.journal.offered_to(migration).ok_or_else(|| {
            Problem::failed(
                format!("machine `{}`: the journal does not say where it went", record.name),
                format!("tell it: `punctual recover {} --to ADDRESS`", record.name),
            )
        })?;
        let address = self.config.address_of(&to)?;
        let Some(left) = self.hypervisor.remains(&record.name, &record.handle)? else {
            tracing::warn!(machine = record.name, "nothing is left of what was to be served");
            return self.discard(&record);
        };
        self.stand(&record.name, Standing::Serving(migration.into()));
        tracing::warn!(machine = record.name, to, "still owes pages; its destination is sought");
        let host = Arc::clone(self);
        let thread = thread::Builder::new().name(format!("serve-{}", record.name));
        let serve = move || {
            let dial = dial(&address, None);
            let serving = Serving::reopen(Arc::clone(left.ram()), migration, dial, None);
            let serving = Arc::new(serving);
            let followed = host.serve_pages(&record.name, &serving, |_| ());
            host.followed(&record.name, migration, &followed, left);
        };
        let serving = thread.spawn(serve);
        serving.map(drop).map_err(|error| {
            Problem::failed(format!("no thread to serve pages: {error}"), "raise the limits")
        })
    }

    /// Removes what is left of a machine once nobody needs it.
    pub(crate) fn followed(
        &self,
        name: &str,
        migration: MigrationId,
        followed: &Followed,
        left: Box<dyn Surrendered>,
    ) {
        match followed {
            Followed::Ending => {}
            Followed::Failed(reason) => {
                tracing::error!(
                    machine = name,
                    reason,
                    "ended at its destination; what is left of it here is kept"
                );
                self.stand(name, Standing::Departed(migration.into()));
            }
            Followed::Whole(_) => {
                if let Err(error) = self.journal.record(&Entry::Surrendered { migration }) {
                    tracing::warn!(%error, "the journal lacks an entry");
                }
                match left.remove() {
                    Ok(()) => self.forget(name),
                    Err(error) => {
                        tracing::error!(machine = name, %error, "not all that was left could be removed");
                        self.stand(name, Standing::Departed(migration.into()));
                    }
                }
            }
        }
    }

    /// Seeks the destination of a machine whose pages are served again at once, at another address
    /// if there is one.
    pub(crate) fn recover_link(
        &self,
        name: &str,
        to: Option<&str>,
    ) -> Result<MachineSummary, Problem> {
        let record = self.registry.get(name)?;
        let Standing::Serving(id) = record.standing else {
            return Err(Problem::refused(
                format!("machine `{name}` {}: nothing of it follows from here", record.standing),
                "ask at the host that it came from",
            ));
        };
        let to = match to {
            Some(to) => to.to_owned(),
            None => self.offered_to(id, name)?,
        };
        let address = self.config.address_of(&to)?;
        match self.servings.lock().get(name) {
            Some(serving) => serving.redirect(dial(&address, None)),
            None => {
                return Err(Problem::failed(
                    format!("machine `{name}`: its pages are not being served"),
                    "start the daemon again",
                ));
            }
        }
        tracing::info!(machine = name, address, "its destination is sought anew");
        Ok(self.summary(&record))
    }

    fn offered_to(&self, id: Id, name: &str) -> Result<String, Problem> {
        self.journal.offered_to(id.into()).ok_or_else(|| {
            Problem::usage(format!("machine `{name}`: it is not known where it went"), "say --to")
        })
    }

    /// Whether the link is lost over which pages of a machine follow.
    pub(crate) fn link_is_lost(&self, name: &str) -> bool {
        let served = self.servings.lock();
        served.get(name).is_none_or(|serving| matches!(serving.state().link, Link::Lost { .. }))
    }
}
