//! What a lab remembers of itself between two commands, and where.
//!
//! `/run/punctual/lab/NAME/state.json` is written before the first namespace is made, so whatever a
//! crash leaves behind is named in it. A lab's directory is also its lock: `flock` on it, so that no
//! lock can be left behind either.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use punctual_units::BytesPerSecond;
use serde::{Deserialize, Serialize};

use crate::names::{HostName, LabName};
use crate::namespace::Namespace;
use crate::process::ProcessRecord;
use crate::spec::Sharing;
use crate::subnet::Subnet;

/// The number of this form of the file; another one is not read.
const FORM: u32 = 1;
const FILE: &str = "state.json";

/// All that is known of a lab, as in `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabState {
    /// The number of this form.
    pub(crate) form: u32,
    /// What the lab is called.
    pub name: LabName,
    /// Whether all of it was made.
    pub stage: Stage,
    /// Which boot of the machine made it: process numbers of an earlier one mean nothing.
    pub(crate) boot: String,
    /// Which addresses it has.
    pub subnet: Subnet,
    /// Who goes first on a shared link.
    pub sharing: Sharing,
    /// What joins the hosts and the client.
    pub switch: Namespace,
    /// What measures.
    pub client: LabClient,
    /// The hosts, in the order in which they were named.
    pub hosts: Vec<LabHost>,
    /// The processes that the lab started, also those that have ended since.
    pub processes: Vec<ProcessRecord>,
}

/// How far a lab is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Some of it may be there; if this stays so, whatever made it has crashed.
    Making,
    /// All of it is there.
    Up,
}

/// One host of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabHost {
    /// What it is called.
    pub name: HostName,
    /// Its place among the hosts, from 0.
    pub index: usize,
    /// Where its processes run.
    pub namespace: Namespace,
    /// Its address, on its bridge `br0`.
    pub address: Ipv4Addr,
    /// The rate of its link in either direction; `None` is unshaped.
    pub rate: Option<BytesPerSecond>,
    /// Where its daemon listens for commands.
    pub socket: PathBuf,
    /// Files of its daemon and its guests.
    pub run_dir: PathBuf,
    /// Output of its processes.
    pub log_dir: PathBuf,
    /// RAM of its guests, in memory.
    pub ram_dir: PathBuf,
}

/// The client of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabClient {
    /// Where it measures.
    pub namespace: Namespace,
    /// Its address.
    pub address: Ipv4Addr,
    /// The rate of its link in either direction; `None` is unshaped.
    pub rate: Option<BytesPerSecond>,
}

/// Where labs keep their files.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    /// One directory for each lab.
    pub(crate) labs: PathBuf,
    /// The same, in memory.
    pub(crate) ram: PathBuf,
}

/// Holding it keeps other processes and threads from changing the lab.
#[derive(Debug)]
pub(crate) struct Locked(#[expect(dead_code, reason = "closing it unlocks")] File);

impl Default for Store {
    fn default() -> Self {
        Self { labs: "/run/punctual/lab".into(), ram: "/dev/shm".into() }
    }
}

impl Store {
    pub(crate) fn directory(&self, lab: &LabName) -> PathBuf {
        self.labs.join(lab.as_str())
    }

    pub(crate) fn ram_directory(&self, lab: &LabName) -> PathBuf {
        self.ram.join(format!("punctual-lab-{lab}"))
    }

    pub(crate) fn state_file(&self, lab: &LabName) -> PathBuf {
        self.directory(lab).join(FILE)
    }

    /// Keeps every other lab from coming into being meanwhile.
    pub(crate) fn lock_all(&self) -> io::Result<Locked> {
        fs::create_dir_all(&self.labs)?;
        lock(&self.labs)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// `None` if there is no such lab.
    pub(crate) fn lock(&self, lab: &LabName) -> io::Result<Option<Locked>> {
        lock(&self.directory(lab))
    }

    /// The labs that have a directory, in the order of their names.
    pub(crate) fn names(&self) -> io::Result<Vec<LabName>> {
        let entries = match fs::read_dir(&self.labs) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().to_str().and_then(|name| name.parse().ok()));
        }
        names.sort();
        Ok(names)
    }

    /// Makes the lab's directory with its first state in it, both or neither.
    pub(crate) fn create(&self, state: &LabState) -> io::Result<()> {
        // No lab's name begins with a dot. What a crash left there is overwritten.
        let draft = self.labs.join(".new");
        if draft.exists() {
            fs::remove_dir_all(&draft)?;
        }
        fs::create_dir(&draft)?;
        write(&draft.join(FILE), state)?;
        fs::rename(&draft, self.directory(&state.name))
    }

    /// `None` if there is no such lab.
    pub(crate) fn read(&self, lab: &LabName) -> io::Result<Option<LabState>> {
        let text = match fs::read(self.state_file(lab)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let state: LabState = serde_json::from_slice(&text)?;
        let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
        if state.form != FORM {
            return wrong("it was written by another version of Punctual");
        }
        if state.name != *lab {
            return wrong("it is the state of another lab");
        }
        Ok(Some(state))
    }

    /// Replaces the state, in one step.
    pub(crate) fn write(&self, state: &LabState) -> io::Result<()> {
        let file = self.state_file(&state.name);
        let draft = file.with_extension("new");
        write(&draft, state)?;
        fs::rename(draft, file)
    }
}

impl LabState {
    pub(crate) fn form() -> u32 {
        FORM
    }

    /// The host called `name`.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&LabHost> {
        self.hosts.iter().find(|host| host.name.as_str() == name)
    }

    /// Every namespace of the lab: hosts, client, switch.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        let hosts = self.hosts.iter().map(|host| &host.namespace);
        hosts.chain([&self.client.namespace, &self.switch])
    }
}

/// What changes at every start of the machine.
pub(crate) fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn write(path: &Path, state: &LabState) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(state)?;
    text.push(b'\n');
    File::create(path)?.write_all(&text)
}

/// Waits for the lock of a directory; `None` if there is no such directory, also if it was removed
/// during the wait.
fn lock(directory: &Path) -> io::Result<Option<Locked>> {
    loop {
        let file = match File::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        file.lock()?;
        match fs::metadata(directory) {
            Ok(now) if now.ino() == file.metadata()?.ino() => return Ok(Some(Locked(file))),
            // Removed, perhaps made anew: what is locked is no longer what it was.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use punctual_units::BytesPerSecond;

    use super::*;
    use crate::lab::draft;
    use crate::process::ProcessId;
    use crate::spec::LabSpec;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store { labs: directory.path().join("labs"), ram: directory.path().into() };
        fs::create_dir(&store.labs).unwrap();
        (directory, store)
    }

    fn state(store: &Store) -> LabState {
        let rate = Some(BytesPerSecond::megabits(100));
        let spec = LabSpec::two_hosts(LabName::default(), rate);
        draft(store, &spec, Subnet::choose([]).unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (_directory, store) = store();
        let mut state = state(&store);
        assert_eq!(store.read(&state.name).unwrap(), None);
        store.create(&state).unwrap();
        assert!(store.create(&state).is_err(), "it is there");
        assert_eq!(store.read(&state.name).unwrap().as_ref(), Some(&state));

        state.stage = Stage::Up;
        state.processes.push(ProcessRecord {
            id: ProcessId { pid: 7, started: 9 },
            name: "host".to_owned(),
            place: "a".to_owned(),
            log: "/log".into(),
        });
        store.write(&state).unwrap();
        assert_eq!(store.names().unwrap(), [state.name.clone()]);
        assert_eq!(store.read(&state.name).unwrap(), Some(state));
    }

    #[test]
    fn others_can_read_it_too() {
        let (_directory, store) = store();
        let state = serde_json::to_value(state(&store)).unwrap();
        assert_eq!(state["hosts"][0]["namespace"], "punctual-a");
        assert_eq!(state["hosts"][1]["address"], "10.213.0.2");
        assert_eq!(state["hosts"][1]["rate"], 12_500_000);
        assert_eq!(state["client"]["address"], "10.213.0.100");
        assert_eq!(state["stage"], "making");
    }

    #[test]
    fn what_is_not_a_state_of_the_lab_is_refused() {
        let (_directory, store) = store();
        let state = state(&store);
        store.create(&state).unwrap();
        let good = serde_json::to_string(&state).unwrap();
        let later = good.replace("\"form\":1", "\"form\":2");
        let other = good.replace("\"punctual\"", "\"other\"");
        let cases = [("{", "EOF"), (&later, "another version"), (&other, "another lab")];
        for (bad, wrong) in cases {
            fs::write(store.state_file(&state.name), bad).unwrap();
            let error = store.read(&state.name).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn who_waited_for_a_lab_that_went_does_not_get_it() {
        let (_directory, store) = store();
        let state = state(&store);
        store.create(&state).unwrap();
        let locked = store.lock(&state.name).unwrap();
        assert!(locked.is_some());
        thread::scope(|scope| {
            let (waiting, waits) = mpsc::channel();
            let (store, name) = (&store, &state.name);
            let other = scope.spawn(move || {
                waiting.send(()).unwrap();
                store.lock(name).unwrap().is_some()
            });
            waits.recv().unwrap();
            fs::remove_dir_all(store.directory(name)).unwrap();
            drop(locked);
            assert!(!other.join().unwrap());
        });
    }
}
