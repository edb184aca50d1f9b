//! What commands that take long have in common: files that hold what there is so far, and an end
//! at Ctrl-C that loses nothing.

use std::fs;
use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::failure::{Exit, Failure};

/// An absolute path, whose directory is there: told before the first move rather than after it.
pub(super) fn writable(path: &Path, option: &str) -> Result<PathBuf, Failure> {
    let hint = format!("name another file with {option}");
    let path = absolute(path).map_err(|error| Failure::usage(error, &hint))?;
    if !path.parent().is_some_and(Path::is_dir) {
        return Err(Failure::usage(
            format!("{}: there is no such directory", path.display()),
            hint,
        ));
    }
    Ok(path)
}

/// Replaces a file as a whole: whoever reads it meanwhile sees the one or the other.
pub(super) fn write(path: &Path, text: &[u8]) -> Result<(), Failure> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    fs::write(&draft, text)
        .and_then(|()| fs::rename(&draft, path))
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display()), "make room there"))
}

/// Becomes true at Ctrl-C: the move that is under way is then the last. At the next one the
/// command leaves, and so does not take `lab` down.
pub(super) fn left_on_interrupt(lab: String) -> Arc<AtomicBool> {
    let left = Arc::new(AtomicBool::new(false));
    let leaving = Arc::clone(&left);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if leaving.swap(true, Ordering::Relaxed) {
                    eprintln!("left: `punctual lab down --name {lab}` removes the lab");
                    std::process::exit(Exit::Left as i32);
                }
                eprintln!("the move that is under way is the last; Ctrl-C again leaves at once");
            }
        });
    });
    left
}
