use std::path::PathBuf;

use serde::Deserialize;

use crate::cache::{CacheError, describe};

/// Words for the kernel command line of every test guest: a quiet start, the serial console, and
/// nothing that makes an emulated processor wait. `guests/README.md` tells what each is for.
pub const BASE_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable \
     no_timer_check random.trust_cpu=on ipv6.disable=1 nokaslr";

/// The unpacked kernel package (`setup/kernel.sh` writes this).
#[derive(Debug, Deserialize)]
pub(crate) struct Kernel {
    pub(crate) version: String,
    pub(crate) image: PathBuf,
    pub(crate) modules: PathBuf,
}

pub(crate) fn described() -> Result<Kernel, CacheError> {
    describe("kernel/kernel.toml")
}

/// The distribution's cloud kernel, for QEMU's `-kernel`.
///
/// # Errors
///
/// [`CacheError`] if `make setup` has not run.
pub fn kernel() -> Result<PathBuf, CacheError> {
    Ok(described()?.image)
}
