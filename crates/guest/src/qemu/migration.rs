//! QEMU's own migration, as far as Punctual uses it: only for the state of devices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::qmp::{Event, Qmp, QmpError};

/// How long QEMU may take to save the state of devices where nobody is in its way.
const SAVE: Duration = Duration::from_secs(2);
/// How long QEMU may take to give up a migration.
const CANCEL: Duration = Duration::from_secs(10);
/// How long a machine may take to run on, disks opened again included.
const RUN: Duration = Duration::from_secs(20);
/// Between two looks at a state for which there is no event.
const LOOK: Duration = Duration::from_millis(1);

/// What was set before, to be set again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    capabilities: BTreeMap<String, bool>,
    parameters: Map<String, Value>,
}

#[derive(Deserialize)]
struct Capability {
    capability: String,
    state: bool,
}

/// The capabilities that this QEMU knows, and whether they are on.
///
/// # Errors
/// QEMU does not answer.
pub fn capabilities(qmp: &Qmp) -> Result<BTreeMap<String, bool>, QmpError> {
    let list: Vec<Capability> = qmp.query("query-migrate-capabilities", json!({}))?;
    Ok(list.into_iter().map(|entry| (entry.capability, entry.state)).collect())
}

/// Switches on exactly these capabilities and off all others; says what was changed.
///
/// # Errors
/// QEMU does not know one of them.
pub fn set_capabilities(qmp: &Qmp, on: &[&str]) -> Result<BTreeMap<String, bool>, QmpError> {
    let mut before = capabilities(qmp)?;
    before.retain(|name, state| on.contains(&name.as_str()) != *state);
    let mut wanted: BTreeMap<String, bool> =
        before.iter().map(|(name, state)| (name.clone(), !state)).collect();
    // One that is not known is asked for all the same, so that QEMU says so.
    wanted.extend(on.iter().map(|name| ((*name).to_owned(), true)));
    write_capabilities(qmp, &wanted)?;
    Ok(before)
}

fn write_capabilities(qmp: &Qmp, wanted: &BTreeMap<String, bool>) -> Result<(), QmpError> {
    let entry = |(name, state)| json!({ "capability": name, "state": state });
    let list: Vec<Value> = wanted.iter().map(entry).collect();
    qmp.execute("migrate-set-capabilities", json!({ "capabilities": list })).map(drop)
}

/// Sets capabilities and parameters; returns what was set before.
///
/// # Errors
/// QEMU does not know one of them; nothing has changed then.
pub fn set(qmp: &Qmp, on: &[&str], parameters: &Value) -> Result<Settings, QmpError> {
    let known: Map<String, Value> = qmp.query("query-migrate-parameters", json!({}))?;
    let named = |name: &String| parameters.get(name).is_some();
    let before = known.into_iter().filter(|(name, _)| named(name)).collect();
    let settings = Settings { capabilities: set_capabilities(qmp, on)?, parameters: before };
    match qmp.execute("migrate-set-parameters", parameters.clone()) {
        Ok(_) => Ok(settings),
        Err(error) => {
            write_capabilities(qmp, &settings.capabilities)?;
            Err(error)
        }
    }
}

/// Has QEMU leave out, or not, what it puts behind the state of the devices to describe it: some 100 KiB
/// of JSON for whoever looks at a stream. Nothing is loaded of it (`qemu_loadvm_state` in QEMU's
/// `migration/savevm.c`). Returns whether it was otherwise before. A machine of which it cannot be left out
/// is none the worse.
///
/// # Errors
/// QEMU does not answer.
pub(super) fn leave_out_description(qmp: &Qmp, leave_out: bool) -> Result<bool, QmpError> {
    let set = match qmp.execute("qom-get", without_description()) {
        Ok(now) if now == leave_out => return Ok(false),
        Ok(_) => qmp.execute("qom-set", set_without_description(leave_out)),
        unknown => unknown,
    };
    match set {
        Ok(_) => Ok(true),
        Err(QmpError::Command(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The same for a stream to come, without waiting for an answer.
///
/// # Errors
/// QEMU is gone.
pub(super) fn describe_again(qmp: &Arc<Qmp>) -> Result<(), QmpError> {
    qmp.begin("qom-set", set_without_description(false)).map(drop)
}

fn without_description() -> Value {
    json!({ "path": "/machine", "property": "suppress-vmdesc" })
}

fn set_without_description(leave_out: bool) -> Value {
    let mut property = without_description();
    property["value"] = leave_out.into();
    property
}

/// Sets again what was set before.
///
/// # Errors
/// QEMU does not answer, or a migration is under way.
pub fn restore(qmp: &Qmp, before: &Settings) -> Result<(), QmpError> {
    write_capabilities(qmp, &before.capabilities)?;
    qmp.execute("migrate-set-parameters", Value::Object(before.parameters.clone())).map(drop)
}

/// The status of the last migration, such as `active` or `completed`; `none` if there was none.
///
/// # Errors
/// QEMU does not answer.
pub fn status(qmp: &Qmp) -> Result<String, QmpError> {
    let answer = qmp.execute("query-migrate", json!({}))?;
    Ok(answer["status"].as_str().unwrap_or("none").to_owned())
}

/// Whether a migration of this status is over.
#[must_use]
pub fn is_over(status: &str) -> bool {
    matches!(status, "none" | "completed" | "failed" | "cancelled")
}

/// Whether an event says that the migration has come to one of these statuses, or is over.
pub(super) fn reached(event: &Event, statuses: &[&str]) -> bool {
    event.migration_status().is_some_and(|status| statuses.contains(&status) || is_over(status))
}

/// QEMU's reason for a migration that failed.
pub(super) fn failure(qmp: &Qmp) -> String {
    let answer = qmp.execute("query-migrate", json!({}));
    let reason = answer.as_ref().ok().and_then(|answer| answer["error-desc"].as_str());
    reason.unwrap_or("it gives no reason").to_owned()
}

/// Has QEMU save what it holds the guest for.
///
/// # Errors
/// QEMU does not answer, or does not hold the guest.
pub(super) fn save(qmp: &Qmp) -> Result<(), QmpError> {
    qmp.execute("migrate-continue", json!({ "state": "pre-switchover" })).map(drop)
}

/// Waits, no longer than it should take, until QEMU has saved if it does, or was `told_to` and has
/// not begun.
///
/// A migration that ends otherwise once QEMU saves has QEMUs before 8.1 let the guest run while its
/// disks are still given up (`migration_completion` in their `migration/migration.c`): they die of the
/// guest's next write to one.
fn let_save(qmp: &Qmp, told_to: bool) -> Result<(), QmpError> {
    let saved = until(Instant::now() + SAVE, "save", || {
        let status = status(qmp)?;
        let saving = status == "device" || (told_to && status == "pre-switchover");
        Ok((!saving).then_some(()))
    });
    match saved {
        Err(QmpError::Timeout { .. }) => Ok(()),
        saved => saved,
    }
}

/// Makes a machine run that is in whatever state a migration has left it, and has the network
/// relearn where it is. Cancels a migration that is under way, but for one that saves, or was
/// `told_to_save`: that is let end, and somebody has to read its stream. Harmless if it runs.
///
/// # Errors
/// QEMU does not answer, or the machine cannot run, for example since a disk cannot be opened.
pub fn run_on(qmp: &Qmp, machine: &str, told_to_save: bool) -> Result<(), QmpError> {
    let_save(qmp, told_to_save)?;
    if !is_over(&status(qmp)?) {
        qmp.execute("migrate_cancel", json!({}))?;
        let deadline = Instant::now() + CANCEL;
        until(deadline, "give up its migration", || Ok(is_over(&status(qmp)?).then_some(())))?;
    }
    let deadline = Instant::now() + RUN;
    let mut refusal = None;
    let ran = until(deadline, "run the machine", || {
        // Also where it runs: QEMUs before 8.1 may have let it run without its disks, which it has
        // again behind this. QEMU refuses as long as its migration thread has not tidied up.
        match qmp.execute("cont", json!({})) {
            Err(QmpError::Command(error)) => refusal = Some(error),
            answer => drop(answer?),
        }
        Ok((super::describe::state(qmp)? == "running").then_some(()))
    });
    match (ran, refusal) {
        (Err(QmpError::Timeout { .. }), Some(refusal)) => return Err(refusal.into()),
        (ran, _) => ran?,
    }
    super::announce::announce(qmp, machine);
    Ok(())
}

/// Switches off capabilities, where nothing is known of what was set before.
///
/// # Errors
/// QEMU does not answer, or a migration is under way.
pub fn switch_off(qmp: &Qmp, capabilities: &[&str]) -> Result<(), QmpError> {
    let off = capabilities.iter().map(|name| ((*name).to_owned(), false)).collect();
    write_capabilities(qmp, &off)
}

fn until(
    deadline: Instant,
    what: &str,
    mut look: impl FnMut() -> Result<Option<()>, QmpError>,
) -> Result<(), QmpError> {
    let began = Instant::now();
    while look()?.is_none() {
        if Instant::now() > deadline {
            return Err(QmpError::Timeout { what: what.to_owned(), after: began.elapsed() });
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
