//! What must hold when something has gone wrong and all has been mended.

use std::path::Path;
use std::time::{Duration, Instant};

use punctual_host::api::{MachineState, MachineSummary};

use crate::census;
use crate::scene::{Scene, SceneError};

/// Until the hosts have agreed on whose a machine is, and what is left of it has gone: a source
/// that has not been heard is reminded for the second time some 20 s after the first.
const AGREED: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until one host runs the machine, with all of its pages, and the other has nothing of it.
///
/// # Errors
/// Why that is not so, in words, after a minute; at once if it runs on both.
pub(super) fn settled(scene: &Scene, program: &Path, machine: &str) -> Result<String, String> {
    let deadline = Instant::now() + AGREED;
    loop {
        let looked = look(scene, program, machine);
        match &looked {
            Ok(seen) if seen.iter().all(|host| host.owns.is_some()) => {
                return Err(format!("it runs on both hosts: {seen:?}"));
            }
            Ok(seen) => {
                let owner = seen.iter().find(|host| host.owns == Some(Owns::Whole));
                let others = seen.iter().filter(|host| host.owns.is_none());
                let bare =
                    others.clone().count() == 1 && others.flat_map(|host| &host.left).count() == 0;
                if let Some(owner) = owner.filter(|_| bare) {
                    return Ok(owner.name.clone());
                }
            }
            Err(_) => {}
        }
        if Instant::now() > deadline {
            return Err(match looked {
                Ok(seen) => format!("not settled after {AGREED:?}: {seen:?}"),
                Err(error) => error.to_string(),
            });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// How a host runs a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owns {
    /// With all of its pages.
    Whole,
    /// It waits where it lacks one.
    Depending,
}

/// What there is of the machine on a host.
#[derive(Debug)]
struct Seen {
    name: String,
    owns: Option<Owns>,
    /// Records, processes, files, taps.
    left: Vec<String>,
}

fn look(scene: &Scene, program: &Path, machine: &str) -> Result<Vec<Seen>, SceneError> {
    let look = |host: &crate::LabHost| {
        let name = host.name.to_string();
        let listed = scene.ask(&name, |daemon| async move { daemon.machines().await })?;
        let at_home = |it: &&MachineSummary| it.name == machine && it.migration.is_none();
        let owns = listed.iter().find(at_home).and_then(|it| owns(it.state));
        let mut left = census::of_machines(host, program)?;
        left.extend(listed.iter().map(|it| format!("listed: {it:?}")));
        Ok(Seen { name, owns, left })
    };
    scene.lab().hosts().iter().map(look).collect()
}

fn owns(state: MachineState) -> Option<Owns> {
    match state {
        MachineState::Running => Some(Owns::Whole),
        MachineState::Depending => Some(Owns::Depending),
        _ => None,
    }
}
