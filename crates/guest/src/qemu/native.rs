//! QEMU's own migration of whole machines, to be compared with.

use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::machine::{AttachError, Machine};
use super::migration;
use super::plan::Plan;
use super::qmp::{Qmp, QmpError};

/// A way in which QEMU migrates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Rounds over one connection.
    PreCopy,
    /// Rounds over several connections.
    Multifd,
    /// Rounds that send only what changed in a page.
    Xbzrle,
    /// Rounds that slow the guest down until it fits.
    AutoConverge,
    /// Some rounds, then the rest while the guest runs at the destination.
    PostCopy,
}

impl Mode {
    /// Every way.
    pub const ALL: [Self; 5] =
        [Self::PreCopy, Self::Multifd, Self::Xbzrle, Self::AutoConverge, Self::PostCopy];

    fn capabilities(self) -> &'static [&'static str] {
        match self {
            Self::PreCopy => &["events"],
            Self::Multifd => &["events", "multifd"],
            Self::Xbzrle => &["events", "xbzrle"],
            Self::AutoConverge => &["events", "auto-converge"],
            Self::PostCopy => &["events", "postcopy-ram"],
        }
    }
}

/// What QEMU may use, and what it shall reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The bandwidth for the whole of it.
    pub bandwidth: BytesPerSecond,
    /// How long the guest may stand still.
    pub downtime: Duration,
}

/// How far a migration is: `query-migrate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Its status, such as `active`; see [`migration::is_over`].
    pub status: String,
    /// Since its start.
    pub total: Duration,
    /// How long the machine stood still, as QEMU measures it, when it is completed.
    pub downtime: Duration,
    /// Sent so far.
    pub sent: Bytes,
    /// How often written pages were looked for.
    pub rounds: u64,
}

/// Starts a machine by a plan made by [`Plan::for_destination`] that takes over what is sent to
/// `address`, such as `tcp:10.0.0.2:4444`, and runs when it has it.
///
/// # Errors
/// It did not start; nothing is left of it then.
pub fn receive(plan: &Plan, mode: Mode, address: &str) -> Result<Machine, AttachError> {
    let mut plan = plan.clone();
    plan.arguments.retain(|word| word != "-S");
    let machine = Machine::run(&plan)?;
    let listening = migration::set_capabilities(machine.qmp(), mode.capabilities())
        .and_then(|_| machine.qmp().execute("migrate-incoming", json!({ "uri": address })));
    match listening {
        Ok(_) => Ok(machine),
        Err(error) => {
            if let Err(cause) = machine.quit() {
                tracing::warn!(machine = plan.machine, %cause, "destination not wholly removed");
            }
            Err(error.into())
        }
    }
}

/// Begins to migrate a machine to `address`. QEMU goes on by itself; see [`progress`].
///
/// # Errors
/// QEMU refuses.
pub fn send(qmp: &Qmp, mode: Mode, limits: Limits, address: &str) -> Result<(), QmpError> {
    let parameters = json!({
        "max-bandwidth": limits.bandwidth.get(),
        "max-postcopy-bandwidth": limits.bandwidth.get(),
        "downtime-limit": u64::try_from(limits.downtime.as_millis()).unwrap_or(u64::MAX),
    });
    migration::set(qmp, mode.capabilities(), &parameters)?;
    qmp.execute("migrate", json!({ "uri": address })).map(drop)
}

/// Lets the guest run at the destination from now on. For [`Mode::PostCopy`].
///
/// # Errors
/// QEMU refuses.
pub fn start_post_copy(qmp: &Qmp) -> Result<(), QmpError> {
    qmp.execute("migrate-start-postcopy", json!({})).map(drop)
}

/// How far the migration is.
///
/// # Errors
/// QEMU does not answer.
pub fn progress(qmp: &Qmp) -> Result<Progress, QmpError> {
    let answer = qmp.execute("query-migrate", json!({}))?;
    let number = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
    let ram = &answer["ram"];
    Ok(Progress {
        status: answer["status"].as_str().unwrap_or("none").to_owned(),
        total: Duration::from_millis(number(&answer["total-time"])),
        downtime: Duration::from_millis(number(&answer["downtime"])),
        sent: Bytes::new(number(&ram["transferred"])),
        rounds: number(&ram["dirty-sync-count"]),
    })
}
