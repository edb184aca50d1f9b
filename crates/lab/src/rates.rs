//! Links that get another rate while a lab is in use.

use std::io;
use std::path::PathBuf;

use punctual_units::BytesPerSecond;
use thiserror::Error;

use crate::iproute::NetworkError;
use crate::lab::Lab;
use crate::making;
use crate::names::{HostName, LabName};
use crate::spec::{SpecError, check_rate};

/// Why links keep the rate that they have.
#[derive(Debug, Error)]
pub enum RateError {
    /// A rate that the kernel cannot shape a link to.
    #[error(transparent)]
    Rate(#[from] SpecError),
    /// A link was made without a rate.
    #[error(
        "the link of host {host} of lab {lab} is unshaped, and stays so: make the lab with a rate"
    )]
    Unshaped {
        /// Whose link.
        host: HostName,
        /// Of which lab.
        lab: LabName,
    },
    /// The lab has been taken down.
    #[error("lab {0} is gone: `punctual lab up --name {0}` makes it again")]
    Gone(LabName),
    /// The kernel refused; some links may have the new rate already.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The lab's state cannot be read or written.
    #[error("cannot note the rate in {}: {source}", path.display())]
    Note {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Lab {
    /// Gives the links of all hosts this rate, in either direction, from now on. What is queued
    /// stays queued, and connections live on: TCP has to find the new rate. The client's link is
    /// left alone. [`Lab::state`] goes on telling the rates that the lab was opened with. Blocks
    /// for some 20 ms.
    ///
    /// # Errors
    /// A link has no rate that could be changed, or the kernel cannot shape to this one.
    pub fn set_rates(&self, rate: BytesPerSecond) -> Result<(), RateError> {
        let lab = &self.state.name;
        let path = self.store.state_file(lab);
        let note = |source| RateError::Note { path: path.clone(), source };
        let gone = || RateError::Gone(lab.clone());
        // Not between a reading and a writing of somebody else.
        let _locked = self.store.lock(lab).map_err(note)?.ok_or_else(gone)?;
        let mut state = self.store.read(lab).map_err(note)?.ok_or_else(gone)?;
        for host in &mut state.hosts {
            check_rate(host.name.as_str(), rate)?;
            if host.rate.replace(rate).is_none() {
                return Err(RateError::Unshaped { host: host.name.clone(), lab: lab.clone() });
            }
        }
        making::reshape(&state)?;
        self.store.write(&state).map_err(note)
    }
}
