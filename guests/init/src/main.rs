//! The one program that a test guest runs: as `/init` of an initramfs it brings the guest up, does
//! the workload named on the kernel command line, and checks the guest's own memory.
//!
//! ```text
//!   boot ──► beacon thread (1 kHz, real-time priority)
//!     │
//!     └─ fill memory ──► worker thread ── step, every millisecond ──► World ◄── control port
//!                    └─► streamer: a thread for each client             (set, fill, workload)
//! ```
//!
//! The control port opens last: a guest that answers there is ready. See `guests/README.md`.

mod beacon;
mod boot;
mod clock;
mod control;
mod memory;
mod network;
mod pace;
mod progress;
mod streamer;
mod worker;
mod workload;
mod world;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::{panic, thread};

use punctual_guest_protocol::Options;

use crate::progress::Progress;
use crate::world::World;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("punctual-guest-init is the init of a test guest: see guests/README.md");
        return ExitCode::from(2);
    }
    match run() {
        Ok(never) => match never {},
        Err(error) => {
            println!("punctual: the guest cannot go on: {error}");
            boot::power_off()
        }
    }
}

/// Why a guest cannot do what it was started for.
#[derive(Debug, thiserror::Error)]
enum CannotRun {
    #[error(transparent)]
    Boot(#[from] boot::BootError),
    #[error("the kernel command line: {0}")]
    Options(#[from] punctual_guest_protocol::options::BadOption),
    #[error(transparent)]
    Network(#[from] network::NetworkError),
    #[error(transparent)]
    World(#[from] world::CannotBuild),
    #[error("{0} could not be set up: {1}")]
    Service(&'static str, #[source] std::io::Error),
}

fn run() -> Result<std::convert::Infallible, CannotRun> {
    boot::mount_file_systems()?;
    let options = Options::parse(&boot::command_line()?)?;
    boot::load_modules()?;
    network::raise("lo", None)?;
    if let Some(address) = options.ip {
        network::raise("eth0", Some(address))?;
    }

    let progress = Arc::new(Progress::new(options.workload));
    report_panics(&progress);
    if let Some(target) = options.beacon {
        let boot = boot::boot_number()?;
        beacon::start(target, boot, Arc::clone(&progress))
            .map_err(|error| CannotRun::Service("the beacon", error))?;
    }

    println!("punctual: filling memory");
    let world = Arc::new(Mutex::new(World::build(&options, Arc::clone(&progress))?));
    streamer::start(&options, Arc::clone(&progress))
        .map_err(|error| CannotRun::Service("the stream", error))?;
    let work_on = Arc::clone(&world);
    thread::spawn(move || worker::work(&work_on));
    println!("punctual: ready, workload {}", options.workload);
    control::serve(&world).map_err(|error| CannotRun::Service("the control port", error))
}

/// Makes a panic visible from outside: on the console, and as a failure in the beacon.
fn report_panics(progress: &Arc<Progress>) {
    let progress = Arc::clone(progress);
    panic::set_hook(Box::new(move |panic| {
        println!("punctual: PANIC: {panic}");
        progress.count_failure();
    }));
}
