//! The daemon: a host with everything that serves it, from its start to its end.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use punctual_link::{LinkError, Listener};
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::arrivals;
use crate::config::{ConfigError, Directories, HostConfig};
use crate::host::Host;
use crate::hypervisor::Hypervisor;
use crate::journal::{Journal, LogError};
use crate::recovery::recover;
use crate::registry::{Registry, RegistryError};
use crate::server;

/// How long migrations have to end when the daemon is told to.
const FAREWELL: Duration = Duration::from_secs(20);

/// Why a daemon did not start, or did not go on.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Its directories.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its machine records.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Its journal.
    #[error(transparent)]
    Journal(#[from] LogError),
    /// Its control socket.
    #[error("control socket {path}: {source}: choose another with --socket")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its address.
    #[error(transparent)]
    Listen(#[from] LinkError),
    /// Its threads.
    #[error("the daemon cannot start its threads: {0}")]
    Runtime(#[source] io::Error),
}

/// A daemon that listens.
pub struct Daemon {
    host: Arc<Host>,
    control: UnixListener,
    listener: Arc<Listener>,
    runtime: Runtime,
    /// Held until the end.
    _directories: Directories,
}

impl Daemon {
    /// Reads what an earlier daemon left, puts it in order, and listens.
    ///
    /// # Errors
    /// See [`DaemonError`].
    pub fn start(config: HostConfig, hypervisor: Box<dyn Hypervisor>) -> Result<Self, DaemonError> {
        let directories = config.prepare()?;
        let registry = Registry::open(&config.machines())?;
        let journal = Journal::open(&config.journal())?;
        // Before the recovery, and before there is a socket: a port that is taken shall not leave
        // half a daemon behind.
        let listener = Arc::new(Listener::bind(&config.listen.to_string())?);
        let control = listen(&config.socket)?;
        let address = config.advertise.clone().unwrap_or_else(|| listener.address().to_owned());
        let host = Arc::new(Host::new(config, address, hypervisor, registry, journal));
        recover(&host);
        host.tidy_journal();
        arrivals::serve(&host, &listener).map_err(DaemonError::Runtime)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(16)
            .thread_stack_size(512 << 10)
            .thread_name("control")
            .enable_all()
            .build()
            .map_err(DaemonError::Runtime)?;
        Ok(Self { host, control, listener, runtime, _directories: directories })
    }

    /// Where other hosts are told to connect to.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.host.address
    }

    /// Serves until SIGTERM or SIGINT; then cancels what has not been committed and ends. The
    /// machines go on running.
    ///
    /// # Errors
    /// The control socket failed.
    pub fn serve(self) -> Result<(), DaemonError> {
        let told = {
            let _entered = self.runtime.enter();
            told_to_end().map_err(DaemonError::Runtime)?
        };
        self.serve_until(told)
    }

    /// Serves until `end` is ready, then ends as at SIGTERM.
    ///
    /// # Errors
    /// The control socket failed.
    pub fn serve_until(self, end: impl Future<Output = ()>) -> Result<(), DaemonError> {
        let Self { host, control, listener, runtime, _directories } = self;
        let socket = host.config.socket.clone();
        let served = runtime.block_on(async {
            let listener = tokio::net::UnixListener::from_std(control)?;
            let serve = axum::serve(listener, server::router(Arc::clone(&host))).into_future();
            notify(sd_notify::NotifyState::Ready);
            tracing::info!(host = host.config.name, socket = %socket.display(), "ready");
            // It still serves while it ends: whoever follows a migration learns how that ended.
            tokio::select! {
                served = serve => served,
                () = async { end.await; farewell(&host).await } => Ok(()),
            }
        });
        listener.close();
        runtime.shutdown_timeout(Duration::from_secs(1));
        // It fails where somebody has removed it.
        let _ = fs::remove_file(&socket);
        served.map_err(|source| DaemonError::Socket { path: socket, source })
    }
}

/// Cancels what has not been committed, and waits for it to end.
async fn farewell(host: &Host) {
    notify(sd_notify::NotifyState::Stopping);
    tracing::info!("ending: recordings, and migrations that are not committed, are cancelled");
    let deadline = Instant::now() + FAREWELL;
    host.arrivals.end();
    let under_way =
        || host.migrations().cancel_all() + host.recordings.cancel_all() + host.arrivals.count();
    while under_way() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // For the last lines of those who follow.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Ready on SIGTERM or SIGINT.
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Listens on the control socket, for the owner alone. One that a crash left is replaced.
fn listen(path: &Path) -> Result<UnixListener, DaemonError> {
    let failed = |source| DaemonError::Socket { path: path.to_owned(), source };
    match UnixStream::connect(path) {
        Ok(_) => return Err(failed(io::ErrorKind::AddrInUse.into())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)?;
        }
        Err(_) => {}
    }
    // Nobody else can reach it before its mode is set: its directory is the owner's too, or the
    // operator chose another.
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Tells the service manager, if there is one.
fn notify(state: sd_notify::NotifyState) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}
