//! A lab as a whole: up, open, down.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::making::{self, MakeError};
use crate::names::{CLIENT, HostName, LabName, SWITCH};
use crate::namespace::Namespace;
use crate::removal::{self, DownError, Removed};
use crate::spec::{HostSpec, LabSpec, SpecError};
use crate::state::{self, LabClient, LabHost, LabState, Stage, Store};
use crate::subnet::Subnet;

/// A lab that is up.
///
/// It is the machine's, not this value's: it stays when the value is dropped, until
/// [`Lab::down`].
#[derive(Debug)]
pub struct Lab {
    pub(crate) store: Store,
    pub(crate) state: LabState,
}

/// Why a lab was not made. Nothing of it is left, unless the text says so.
#[derive(Debug, Error)]
pub enum UpError {
    /// It cannot be made as specified.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A lab of that name is there, or was left by a crash.
    #[error(
        "lab {0} is there already, or a crash left it: `punctual lab down --name {0}` removes it"
    )]
    Exists(LabName),
    /// A namespace that the lab would make is there, and no lab knows of it.
    #[error(
        "network namespace {namespace} exists, but not as part of a lab: delete it \
         (`ip netns delete {namespace}`) or give the lab another name"
    )]
    NamespaceExists {
        /// Which.
        namespace: String,
    },
    /// All subnets are in use.
    #[error("256 labs are up on this machine, and no subnet is free: take one down")]
    NoSubnet,
    /// Its state could not be written.
    #[error("cannot keep the state of lab {lab} in {}: {source}; labs need root", path.display())]
    State {
        /// Which lab.
        lab: LabName,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A part of it could not be made, and the others were taken back.
    #[error("cannot make lab {lab}: {source}; labs need root and network namespaces")]
    Make {
        /// Which lab.
        lab: LabName,
        /// What failed.
        source: MakeError,
    },
    /// A part of it could not be made, and some of the others are still there.
    #[error("cannot make lab {lab}: {source}; and what was made could not be taken back: {left}")]
    Stuck {
        /// Which lab.
        lab: LabName,
        /// What failed first.
        source: MakeError,
        /// What failed then.
        left: Box<DownError>,
    },
}

/// Why a lab cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// There is none of that name.
    #[error("there is no lab {0}: `punctual lab up --name {0}` makes it")]
    Missing(LabName),
    /// It is being made now, or whatever made it has crashed.
    #[error(
        "lab {0} is only in part there: wait if it is being made now, else remove it with \
         `punctual lab down --name {0}`"
    )]
    Unfinished(LabName),
    /// Its state cannot be read.
    #[error("cannot read the state of lab {lab} in {}: {source}", path.display())]
    State {
        /// Which lab.
        lab: LabName,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A place that a lab does not have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("lab {lab} has no {place}: it has {}", places.join(", "))]
pub struct NoSuchPlace {
    lab: LabName,
    place: String,
    places: Vec<String>,
}

impl Lab {
    /// Makes a lab, the whole of it or nothing. Blocks for some 100 ms. Needs root.
    ///
    /// # Errors
    /// See [`UpError`].
    pub fn up(spec: &LabSpec) -> Result<Self, UpError> {
        Self::up_in(Store::default(), spec)
    }

    /// The lab called `name`, which this or another process made.
    ///
    /// # Errors
    /// There is none, or it is not wholly there.
    pub fn open(name: &LabName) -> Result<Self, OpenError> {
        let store = Store::default();
        let state = read(&store, name)?;
        match state.stage {
            Stage::Up => Ok(Self { store, state }),
            Stage::Making => Err(OpenError::Unfinished(name.clone())),
        }
    }

    /// The names of the labs of this machine, also of those that a crash left.
    ///
    /// # Errors
    /// Their directory cannot be read.
    pub fn names() -> io::Result<Vec<LabName>> {
        Store::default().names()
    }

    /// Takes the lab down. See [`Lab::take_down`].
    ///
    /// # Errors
    /// Some of it is left.
    pub fn down(self) -> Result<Removed, DownError> {
        Self::take_down(&self.state.name)
    }

    /// Removes the lab called `name`, or what a crash left of it: its processes (those that it
    /// started, then all others in its namespaces; `SIGTERM`, and `SIGKILL` 3 s later), its
    /// interfaces and namespaces, its guests' RAM and its files. No lab of that name is no error.
    ///
    /// # Errors
    /// Some of it is left; the rest is gone, and it may be tried again.
    pub fn take_down(name: &LabName) -> Result<Removed, DownError> {
        let store = Store::default();
        let locked = store.lock(name).map_err(|source| {
            let file = store.state_file(name);
            DownError::State { lab: name.clone(), file, source }
        })?;
        // Without the lab's directory there is nobody to exclude.
        let _locked = locked;
        removal::take_down(&store, name)
    }

    /// What the lab is, as it was when it was made or opened.
    #[must_use]
    pub fn state(&self) -> &LabState {
        &self.state
    }

    /// Its hosts, in the order in which they were named.
    #[must_use]
    pub fn hosts(&self) -> &[LabHost] {
        &self.state.hosts
    }

    /// The host called `name`.
    ///
    /// # Errors
    /// The lab has none of that name.
    pub fn host(&self, name: &str) -> Result<&LabHost, NoSuchPlace> {
        self.state.host(name).ok_or_else(|| self.no_such(format!("host `{name}`")))
    }

    /// Its client.
    #[must_use]
    pub fn client(&self) -> &LabClient {
        &self.state.client
    }

    /// The namespace of a host, of `client` or of `switch`.
    ///
    /// # Errors
    /// The lab has no such place.
    pub fn namespace(&self, place: &str) -> Result<&Namespace, NoSuchPlace> {
        match place {
            CLIENT => Ok(&self.state.client.namespace),
            SWITCH => Ok(&self.state.switch),
            host => self
                .state
                .host(host)
                .map(|host| &host.namespace)
                .ok_or_else(|| self.no_such(format!("place `{host}`"))),
        }
    }

    fn no_such(&self, place: String) -> NoSuchPlace {
        let hosts = self.state.hosts.iter().map(|host| host.name.to_string());
        let places = hosts.chain([CLIENT.to_owned(), SWITCH.to_owned()]).collect();
        NoSuchPlace { lab: self.state.name.clone(), place, places }
    }

    fn up_in(store: Store, spec: &LabSpec) -> Result<Self, UpError> {
        spec.check()?;
        let lab = &spec.name;
        let (mut state, _locked) = claim(&store, spec)?;
        let made = making::make(&state).map_err(|source| (lab.clone(), source));
        if let Err((lab, source)) = made {
            return Err(match removal::take_down(&store, &lab) {
                Ok(_) => UpError::Make { lab, source },
                Err(left) => UpError::Stuck { lab, source, left: Box::new(left) },
            });
        }
        state.stage = Stage::Up;
        store.write(&state).map_err(|source| {
            // The first error is the one to tell; `down` names what this leaves.
            let _ = removal::take_down(&store, lab);
            state_error(&store, lab, source)
        })?;
        Ok(Self { store, state })
    }
}

/// Writes down what will be made, in a subnet that no other lab has, and locks it.
fn claim(store: &Store, spec: &LabSpec) -> Result<(LabState, state::Locked), UpError> {
    let lab = &spec.name;
    let failed = |source| state_error(store, lab, source);
    let _all = store.lock_all().map_err(failed)?;
    if store.state_file(lab).exists() {
        return Err(UpError::Exists(lab.clone()));
    }
    let others = store.names().map_err(failed)?;
    // A state that cannot be read is no reason to refuse others: labs share no network.
    let states = others.iter().filter_map(|name| store.read(name).ok().flatten());
    let subnet = Subnet::choose(states.map(|state| state.subnet)).ok_or(UpError::NoSubnet)?;
    let state = draft(store, spec, subnet).map_err(failed)?;
    if let Some(taken) = state.namespaces().find(|namespace| namespace.path().exists()) {
        return Err(UpError::NamespaceExists { namespace: taken.name().to_owned() });
    }
    store.create(&state).map_err(failed)?;
    match store.lock(lab).map_err(failed)? {
        Some(locked) => Ok((state, locked)),
        None => Err(failed(io::Error::other("the lab was taken down while it was made"))),
    }
}

fn state_error(store: &Store, lab: &LabName, source: io::Error) -> UpError {
    UpError::State { lab: lab.clone(), path: store.directory(lab), source }
}

/// All that will be made, by name.
pub(crate) fn draft(store: &Store, spec: &LabSpec, subnet: Subnet) -> io::Result<LabState> {
    let namespace = |place: &str| Namespace::new(spec.name.namespace(place));
    let host = |(index, host): (usize, &HostSpec)| draft_host(store, spec, subnet, index, host);
    Ok(LabState {
        form: LabState::form(),
        name: spec.name.clone(),
        stage: Stage::Making,
        boot: state::boot()?,
        subnet,
        sharing: spec.sharing,
        switch: namespace(SWITCH),
        client: LabClient {
            namespace: namespace(CLIENT),
            address: subnet.client(),
            rate: spec.client_rate,
        },
        hosts: spec.hosts.iter().enumerate().map(host).collect(),
        processes: Vec::new(),
    })
}

fn draft_host(
    store: &Store,
    spec: &LabSpec,
    subnet: Subnet,
    index: usize,
    host: &HostSpec,
) -> LabHost {
    let name: &HostName = &host.name;
    let run_dir = store.directory(&spec.name).join(name.as_str());
    LabHost {
        name: name.clone(),
        index,
        namespace: Namespace::new(spec.name.namespace(name.as_str())),
        address: subnet.host(index),
        rate: host.rate,
        socket: run_dir.join("punctual.sock"),
        log_dir: run_dir.join("log"),
        ram_dir: store.ram_directory(&spec.name).join(name.as_str()),
        run_dir,
    }
}

fn read(store: &Store, name: &LabName) -> Result<LabState, OpenError> {
    let state = store.read(name).map_err(|source| {
        let path = store.state_file(name);
        OpenError::State { lab: name.clone(), path, source }
    })?;
    state.ok_or_else(|| OpenError::Missing(name.clone()))
}
