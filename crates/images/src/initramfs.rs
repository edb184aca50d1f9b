use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use crate::cache::CacheError;
use crate::cpio::Archive;
use crate::kernel::{self, Kernel};
use crate::modules::{self, ModuleError};
use crate::workspace::{is_fresh, output, root, write_whole};

/// The platform of the guests' program. Naming it keeps the flags below from build scripts and
/// procedural macros.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Why there is no initramfs.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// The kernel is not in the cache.
    #[error(transparent)]
    Kernel(#[from] CacheError),
    /// The kernel's modules cannot be put together.
    #[error(transparent)]
    Modules(#[from] ModuleError),
    /// Cargo cannot be started.
    #[error("cargo cannot be started to build the guests' program: {0}; install a Rust toolchain")]
    Cargo(#[source] io::Error),
    /// The guests' program does not build.
    #[error("the guests' program does not build:\n{0}")]
    Build(String),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The initramfs of Linux test guests, for QEMU's `-initrd`: the guests' program as `/init`, and the
/// kernel's modules. Built first if it is not there or older than its sources.
///
/// # Errors
///
/// [`InitramfsError`] if the kernel is not in the cache or the program does not build.
///
/// # Blocking
///
/// Runs cargo: some 0.2 s if nothing has changed, up to a minute for the first build.
pub fn initramfs() -> Result<PathBuf, InitramfsError> {
    let kernel = kernel::described()?;
    let init = build_init()?;
    let target = output().join(format!("initramfs-{}.cpio", kernel.version));
    if is_fresh(&target, &[&init, &kernel.image]) {
        return Ok(target);
    }
    let content = archive(&init, &kernel)?;
    write_whole(&target, &content)
        .map_err(|source| InitramfsError::File { path: target.clone(), source })?;
    Ok(target)
}

/// Builds the guests' program: linked statically, because the initramfs has no libraries.
fn build_init() -> Result<PathBuf, InitramfsError> {
    let directory = output();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let result = Command::new(cargo)
        .current_dir(root())
        .args(["build", "--quiet", "--release", "--package", "punctual-guest-init"])
        .args(["--target", PLATFORM, "--target-dir"])
        .arg(&directory)
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .map_err(InitramfsError::Cargo)?;
    if !result.status.success() {
        let output = String::from_utf8_lossy(&result.stderr).into_owned();
        return Err(InitramfsError::Build(output));
    }
    Ok(directory.join(PLATFORM).join("release/punctual-guest-init"))
}

fn archive(init: &Path, kernel: &Kernel) -> Result<Vec<u8>, InitramfsError> {
    let program =
        fs::read(init).map_err(|source| InitramfsError::File { path: init.to_owned(), source })?;
    let mut archive = Archive::default();
    for directory in ["dev", "proc", "sys", "modules"] {
        archive.directory(directory);
    }
    archive.device("dev/console", (5, 1));
    archive.file("init", &program);
    modules::add_to(&mut archive, &kernel.modules)?;
    Ok(archive.finish())
}
