//! Several hosts on one machine, and the client that measures what a move does to a guest.
//!
//! A [`Lab`] is made of network namespaces: hosts, each with a bridge for its guests, and a client,
//! joined by links of stated rates. It knows nothing of the daemon or of migrations: it runs
//! programs, and measures from outside. What puts daemons, guests and moves on it is the [`scene`].
//!
//! - [`LabSpec`], [`Lab`], [`Removed`]: made as a whole, removed as a whole, also after a crash;
//! - [`Lab::exec`], [`Lab::spawn`], [`Lab::tap`]: programs and guests in a host;
//! - [`Lab::set_rates`]: links that get another rate while the lab is in use;
//! - [`client`]: what a client of a guest sees;
//! - [`bandwidth`]: what a plain TCP stream moves between two hosts;
//! - [`Lab::obstruct`]: links on which nothing gets through for a while;
//! - [`chaos`], [`census`]: what goes wrong on purpose, and what must not be left then;
//! - [`scene`], [`demo`]: daemons and guests in a lab, and the demonstration played on it.
//!
//! ```no_run
//! use punctual_lab::{Lab, LabName, LabSpec};
//! use punctual_units::BytesPerSecond;
//!
//! let rate = Some(BytesPerSecond::megabits(1000));
//! let lab = Lab::up(&LabSpec::two_hosts(LabName::default(), rate))?;
//! let mut show = std::process::Command::new("ip");
//! show.args(["address", "show"]);
//! lab.exec("a", show)?;
//! println!("{}", lab.down()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bandwidth;
pub mod bench;
pub mod census;
pub mod chaos;
pub mod client;
pub mod demo;
mod iproute;
mod lab;
mod making;
mod names;
mod namespace;
mod obstruction;
mod process;
mod rates;
mod removal;
mod run;
pub mod scene;
mod shaping;
mod spec;
mod state;
mod subnet;
mod tap;

pub use iproute::NetworkError;
pub use lab::{Lab, NoSuchPlace, OpenError, UpError};
pub use making::MakeError;
pub use names::{HostName, LabName, NameError};
pub use namespace::Namespace;
pub use obstruction::{Obstruction, ObstructionError};
pub use process::{Process, ProcessId, ProcessRecord};
pub use rates::RateError;
pub use removal::{DownError, Removed};
pub use run::RunError;
pub use spec::{HostSpec, LabSpec, Sharing, SpecError};
pub use state::{LabClient, LabHost, LabState, Stage};
pub use subnet::{MOST_GUESTS, MOST_HOSTS, Subnet};
pub use tap::TapError;
