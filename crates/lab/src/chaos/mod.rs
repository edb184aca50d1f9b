//! Faults, for real: machines under QEMU are moved between two hosts of a lab, and at a stated
//! moment a daemon or a QEMU that is not the machine is killed, the link is cut or stalled, a disk is
//! full, a bit is turned, a clock jumps. In every other case pages follow the machine.
//!
//! - [`Case::of`] a seed says which fault strikes when, and what is moved how;
//! - [`Chaos::play`] carries one out on a lab, and says in a [`Verdict`] what does not hold.
//!
//! After each: one host runs the machine and the other has nothing of it, the guest finds its
//! memory as it should be, its client's connections live, and a second attempt succeeds, its
//! digests being compared. A machine that lacks pages meanwhile may wait for them, and must have
//! all of them once hosts and links are back. `punctual chaos --seed N` shows one.
//!
//! A QEMU is killed only where it is not the machine: at the destination before the commit, at the
//! source behind it. There is nothing to ask of a move whose machine itself was killed.
//!
//! A clock that jumps and a disk that takes nothing are made for the daemons alone, by a small
//! library before the C library's: the computer has one clock, and others need it.

mod case;
mod check;
mod disguise;
mod fault;
mod play;
mod proxy;
mod stage;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use punctual_engine::Phase;
use punctual_guest_protocol::{Options, Workload};
use punctual_images::Qemu;
use punctual_units::{Bytes, BytesPerSecond};
use thiserror::Error;
use toml::Table;

pub use case::{Case, FAULTS, FOLLOWED, WHOLE};
use disguise::Disguise;
pub use fault::Fault;
use proxy::Proxy;

use crate::client::ControlError;
use crate::scene::{GuestSpec, Scene, SceneError, Witness};
use crate::{
    DownError, Lab, LabName, LabSpec, NoSuchPlace, ObstructionError, OpenError, Removed, UpError,
};

/// The machine that is moved about.
const MACHINE: &str = "web";
/// Its RAM; less, and a small Linux does not boot.
const MEMORY: Bytes = Bytes::mib(128);
/// What its content is made of, so that moving it takes some tenths of a second.
const FILL: u64 = 12 << 20;
const SET: u64 = 12 << 20;
/// Of each host's link.
const RATE: BytesPerSecond = BytesPerSecond::megabits(1000);

/// A lab with a guest in it, on which cases are played one after the other.
#[derive(Debug)]
pub struct Chaos {
    scene: Scene,
    disguise: Disguise,
    proxies: Vec<(String, Proxy)>,
    program: PathBuf,
    witness: Witness,
    /// The host that has the machine.
    home: String,
}

/// How a case ended.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// What was done and seen, in order, each with its time since the case began.
    pub course: Vec<(Duration, String)>,
    /// The phase in which the move was seen to be when its fault struck; `None`: the fault came too
    /// late for this move.
    pub struck: Option<Phase>,
    /// What does not hold; empty in a case that is well.
    pub wrong: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// Why there is nothing to play on.
#[derive(Debug, Error)]
pub enum ChaosError {
    /// The lab could not be made.
    #[error(transparent)]
    Up(#[from] UpError),
    /// It is not there any more.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be removed.
    #[error(transparent)]
    Down(#[from] DownError),
    /// There is no such host.
    #[error(transparent)]
    Place(#[from] NoSuchPlace),
    /// The scene could not be set.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// A link could not be obstructed.
    #[error(transparent)]
    Obstruction(#[from] ObstructionError),
    /// The guest does not do what it is asked.
    #[error("the guest: {0}")]
    Guest(#[from] ControlError),
    /// A file, a process or a socket of the lab.
    #[error("the lab: {0}")]
    Io(#[from] io::Error),
}

impl Chaos {
    /// Makes a lab of this name, and boots a guest in it under TCG. `program` is the command
    /// `punctual`, run as the hosts' daemons. Takes some 10 s. Needs root.
    ///
    /// # Errors
    /// Something of it could not be made; nothing is left then.
    pub fn set(name: LabName, program: &Path, qemu: Qemu) -> Result<Self, ChaosError> {
        let lab = Lab::up(&LabSpec::two_hosts(name.clone(), Some(RATE)))?;
        match Self::on(lab, program, qemu) {
            Ok(chaos) => Ok(chaos),
            Err(error) => {
                // The first error is the one to tell; where the scene had the lab, it is gone.
                let _ = Lab::take_down(&name);
                Err(error)
            }
        }
    }

    fn on(lab: Lab, program: &Path, qemu: Qemu) -> Result<Self, ChaosError> {
        let disguise = Disguise::make(&lab, program)?;
        let hosts: Vec<String> = lab.hosts().iter().map(|host| host.name.to_string()).collect();
        let mut proxies = vec![];
        for host in &hosts {
            proxies.push((host.clone(), Proxy::start(&lab, host)?));
        }
        let scene = Scene::on(lab, &disguise.program())?;
        let home = hosts[0].clone();
        let guest = scene.start_guest(&home, &guest(qemu))?;
        let witness = Witness::new(&scene, guest)?;
        let program = program.to_owned();
        Ok(Self { scene, disguise, proxies, program, witness, home })
    }

    /// Takes the lab down, with all that is in it.
    ///
    /// # Errors
    /// Some of it is left.
    pub fn take_down(self) -> Result<Removed, ChaosError> {
        let Self { scene, proxies, witness, .. } = self;
        drop((proxies, witness));
        Ok(scene.take_down()?)
    }

    /// What the daemon of each host printed, newest last.
    #[must_use]
    pub fn logs(&self) -> Vec<(String, String)> {
        let hosts = self.scene.lab().hosts().iter();
        let log = |host: &crate::LabHost| {
            let text = std::fs::read_to_string(host.log_dir.join("punctual.log"));
            (host.name.to_string(), text.unwrap_or_default())
        };
        hosts.map(log).collect()
    }
}

fn guest(qemu: Qemu) -> GuestSpec {
    let options = Options { workload: Workload::Idle, fill: FILL, set: SET, ..Options::default() };
    let mut more = Table::new();
    // Boots faster than the default.
    more.insert("cpu".to_owned(), "qemu64".into());
    GuestSpec { memory: MEMORY, more, ..GuestSpec::new(MACHINE, qemu, options) }
}
