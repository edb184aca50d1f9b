//! Where the daemon is.

use std::path::{Path, PathBuf};

use punctual_host::client::Client;

use crate::arguments::Global;
use crate::failure::Failure;

/// Where daemons put their runtime directories unless told otherwise.
const RUNTIME: &str = "/run/punctual";

/// A client of the daemon that was named, or of the only one there is.
pub(crate) fn client(global: &Global) -> Result<Client, Failure> {
    match &global.socket {
        Some(socket) => Ok(Client::new(socket)),
        None => only_one(sockets_below(Path::new(RUNTIME))).map(Client::new),
    }
}

fn sockets_below(runtime: &Path) -> Vec<PathBuf> {
    let hosts = std::fs::read_dir(runtime).into_iter().flatten().flatten();
    let sockets = hosts.map(|host| host.path().join(punctual_host::CONTROL_SOCKET));
    let mut sockets: Vec<_> = sockets.filter(|socket| socket.exists()).collect();
    sockets.sort();
    sockets
}

fn only_one(mut sockets: Vec<PathBuf>) -> Result<PathBuf, Failure> {
    match sockets.len() {
        1 => Ok(sockets.remove(0)),
        0 => Err(Failure::failed(
            format!("no daemon runs on this machine: there is no socket below {RUNTIME}"),
            "start one with `punctual host --name a --listen ADDR:PORT`, or name its --socket",
        )),
        _ => {
            let sockets: Vec<_> = sockets.iter().map(|path| path.display().to_string()).collect();
            Err(Failure::usage(
                "several daemons run on this machine",
                format!("choose one: --socket {}", sockets.join(" or ")),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_daemon_needs_not_be_named() {
        let runtime = tempfile::tempdir().unwrap();
        assert!(only_one(sockets_below(runtime.path())).is_err());
        for host in ["a", "b"] {
            std::fs::create_dir(runtime.path().join(host)).unwrap();
        }
        let socket = runtime.path().join("a").join(punctual_host::CONTROL_SOCKET);
        std::fs::write(&socket, "").unwrap();
        assert_eq!(only_one(sockets_below(runtime.path())), Ok(socket));
        std::fs::write(runtime.path().join("b").join(punctual_host::CONTROL_SOCKET), "").unwrap();
        let error = only_one(sockets_below(runtime.path())).unwrap_err().to_string();
        assert!(error.contains("choose one: --socket"), "{error}");
    }
}
