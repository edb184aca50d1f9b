//! Machines that leave this host.
use std::sync::Arc;

use crate::api::{MigrateRequest, Migration, Problem};
use crate::host::Host;

impl Host {
    /// Begins a migration, which goes on in a thread of its own.
    pub(crate) fn migrate(self: &Arc<Self>, request: MigrateRequest) -> Result<Migration, Problem> {
        Err(Problem::failed(
            format!("machine `{}`: migrations are not built in", request.machine),
            "",
        ))
    }
}
