//! The guest's end of a host's bridge.

use thiserror::Error;

use crate::iproute::{Batch, NetworkError, Tool};
use crate::lab::{Lab, NoSuchPlace};
use crate::making::plug;
use crate::names::is_interface;

/// Why a tap was not made or removed.
#[derive(Debug, Error)]
pub enum TapError {
    /// The kernel would not take the name.
    #[error("`{0}` cannot be the name of a tap: use 1 to 15 letters, digits, -, _ and .")]
    Name(String),
    /// There is no such host.
    #[error(transparent)]
    Host(#[from] NoSuchPlace),
    /// The kernel refused.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl Lab {
    /// Makes a persistent tap in a host, up, and a port of the host's bridge. A guest's monitor
    /// opens it by name, and chooses by itself whether to use virtio headers on it.
    ///
    /// # Errors
    /// There is no such host, the name cannot be, or something there has it already; nothing is
    /// left then.
    pub fn tap(&self, host: &str, name: &str) -> Result<(), TapError> {
        let mut ip = self.in_host(host, name)?;
        ip.add(format!("tuntap add dev {name} mode tap")).run()?;
        let mut ip = self.in_host(host, name)?;
        plug(name, &mut ip);
        ip.run().map_err(|error| {
            // The first error is the one to tell, and `down` finds what is left.
            let _ = self.remove_tap(host, name);
            error.into()
        })
    }

    /// Removes a tap. One that is not there is no error; what is there and no tap is left alone.
    ///
    /// # Errors
    /// There is no such host, or a guest's monitor still has the tap open.
    pub fn remove_tap(&self, host: &str, name: &str) -> Result<(), TapError> {
        let mut ip = self.in_host(host, name)?;
        Ok(ip.add(format!("tuntap del dev {name} mode tap")).run()?)
    }

    fn in_host(&self, host: &str, tap: &str) -> Result<Batch, TapError> {
        if !is_interface(tap) {
            return Err(TapError::Name(tap.to_owned()));
        }
        Ok(Batch::new(Tool::Ip, Some(self.host(host)?.namespace.name())))
    }
}
