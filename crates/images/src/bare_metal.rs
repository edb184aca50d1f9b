use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use crate::workspace::{is_fresh, output, root, write_whole};

/// One thread at a time assembles: they would do it in the same directory.
static ASSEMBLING: Mutex<()> = Mutex::new(());

/// Size of the image in bytes: firmware takes it for a hard disk.
const IMAGE: usize = 1 << 20;

/// Why there is no bare-metal image.
#[derive(Debug, thiserror::Error)]
pub enum BareMetalError {
    /// One of the binutils failed or is not installed.
    #[error(
        "{program} failed on the bare-metal guest: {reason}; is it installed? `make setup` does it"
    )]
    Tool {
        /// The program.
        program: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The disk image of the bare-metal guest, for a machine with `-drive if=ide,format=raw`. Assembled
/// first if it is not there or older than its source, `guests/bare-metal/guest.S`.
///
/// # Errors
///
/// [`BareMetalError`] if binutils are missing or a file cannot be written.
pub fn bare_metal() -> Result<PathBuf, BareMetalError> {
    let directory = root().join("guests/bare-metal");
    let (source, script) = (directory.join("guest.S"), directory.join("layout.ld"));
    let target = output().join("bare-metal.img");
    let _turn = ASSEMBLING.lock().unwrap_or_else(PoisonError::into_inner);
    if is_fresh(&target, &[&source, &script]) {
        return Ok(target);
    }
    let error = |path: &Path| {
        let path = path.to_owned();
        move |source| BareMetalError::File { path, source }
    };
    let work = output().join(format!("bare-metal.{}", std::process::id()));
    fs::create_dir_all(&work).map_err(error(&work))?;
    let image = assemble(&source, &script, &work);
    fs::remove_dir_all(&work).map_err(error(&work))?;
    let mut image = image?;
    image.resize(IMAGE, 0);
    write_whole(&target, &image).map_err(error(&target))?;
    Ok(target)
}

/// Assembles and links; the result is what the firmware loads.
fn assemble(source: &Path, script: &Path, work: &Path) -> Result<Vec<u8>, BareMetalError> {
    let (object, image) = (work.join("guest.o"), work.join("guest.bin"));
    run("as", Command::new("as").arg("--32").arg("-o").arg(&object).arg(source))?;
    let mut link = Command::new("ld");
    link.args(["-m", "elf_i386", "--oformat", "binary", "-T"]).arg(script);
    run("ld", link.arg("-o").arg(&image).arg(&object))?;
    fs::read(&image).map_err(|source| BareMetalError::File { path: image, source })
}

fn run(program: &'static str, command: &mut Command) -> Result<(), BareMetalError> {
    let failed = |reason| BareMetalError::Tool { program, reason };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}
