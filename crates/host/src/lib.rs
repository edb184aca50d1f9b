//! The daemon of one host: its machines, their moves, the journal that decides who owns them, and
//! the API by which it is asked.
//!
//! ```text
//!  punctual list, migrate, …          other hosts
//!          │ HTTP, unix socket            │ link (TCP)
//!          ▼                              ▼
//!       server ──► Host ◄───────────── arrivals
//!                   │ ├── registry: which machines are here    (state directory)
//!                   │ ├── journal:  who owns a moving machine  (state directory)
//!                   │ ├── migrations: those under way, and who watches them
//!                   │ ├── queue:      which of them may move, and which wait
//!                   │ ├── local:      a machine gets another QEMU, and stays
//!                   │ ├── native:     moves by the machine's own hypervisor
//!                   │ ├── traces:     page writes, recorded           (state directory)
//!                   │ ├── suspended:  machines in files: saved, resumed, cloned
//!                   │ ├── experience: what past moves took            (state directory)
//!                   │ └── planning:   what a move would do, before it begins
//!                   ▼
//!              Hypervisor: QEMU, or what a test puts in its place
//! ```
//!
//! - [`api`]: the words of the API; [`client`]: asks a daemon;
//! - [`Daemon`], [`HostConfig`]: is one;
//! - [`hypervisor`]: what a daemon asks of whatever runs machines.

mod again;
pub mod api;
mod arrivals;
pub mod client;
mod config;
mod daemon;
mod departure;
mod durable;
mod experience;
mod following;
mod host;
pub mod hypervisor;
mod journal;
mod listener;
mod local;
mod migrations;
mod native;
mod planning;
mod queue;
mod ram_mount;
mod recovery;
mod registry;
mod server;
mod survey;
mod suspended;
#[cfg(test)]
mod tests;
mod traces;

pub use config::{Caps, ConfigError, HostConfig};
pub use daemon::{Daemon, DaemonError};
pub use journal::{Came, Journal, Left, LogError};
pub use planning::Threads;
pub use ram_mount::RamMount;
pub use registry::{RegistryError, Standing};

/// The name of a daemon's control socket in its runtime directory.
pub const CONTROL_SOCKET: &str = "control.sock";
