//! Asks a daemon: the other end of [`crate::api`].

mod snapshots;

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use punctual_plan::Facts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;

use crate::api::{
    AttachRequest, HostFacts, Id, MachineDetails, MachineSummary, MigrateRequest, Migration,
    PlanEvent, PlanRequest, Problem, RecoverRequest, RunRequest, SurveyRequest, TraceEvent,
    TraceRequest, UpgradeRequest, VERSION,
};

/// How long a daemon may take to answer: QEMU's start is the longest that it waits for itself.
const LONGEST: Duration = Duration::from_secs(120);

/// Why a daemon gave no good answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody serves the socket.
    #[error("no daemon answers at {path}: {source}")]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon takes the connection and says nothing.
    #[error("the daemon at {path} has not answered for {LONGEST:?}")]
    Silent {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon answered that it will not or cannot.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The connection broke, or the daemon ended, before the answer was complete.
    #[error("the daemon at {path} broke off its answer: {source}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What HTTP said.
        source: hyper::Error,
    },
    /// What answered speaks something else.
    #[error("what answers at {path} does not speak this version of the API: {what}")]
    Foreign {
        /// The socket.
        path: PathBuf,
        /// What was not understood.
        what: String,
    },
}

/// A client of the daemon at one socket. Each request has a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// What a daemon tells as it happens: the states of migrations, or how a recording goes on.
#[derive(Debug)]
pub struct Events<T = Migration> {
    client: Client,
    body: Incoming,
    buffer: Vec<u8>,
    kind: PhantomData<T>,
}

impl Client {
    /// A client of the daemon that serves `socket`. Nothing is connected yet.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The host and its daemon.
    ///
    /// # Errors
    /// See [`ClientError`]; as for all that follow.
    pub async fn host(&self) -> Result<HostFacts, ClientError> {
        self.get("/host").await
    }

    /// All machines of the host.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn machines(&self) -> Result<Vec<MachineSummary>, ClientError> {
        self.get("/machines").await
    }

    /// One machine.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn machine(&self, name: &str) -> Result<MachineDetails, ClientError> {
        self.get(&format!("/machines/{}", escaped(name))).await
    }

    /// Starts a machine and returns when it runs.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn run(&self, request: &RunRequest) -> Result<MachineSummary, ClientError> {
        self.ask(Method::POST, "/machines", Some(request)).await
    }

    /// Adopts a machine that something else started.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn attach(&self, request: &AttachRequest) -> Result<MachineSummary, ClientError> {
        self.ask(Method::POST, "/machines/attach", Some(request)).await
    }

    /// Ends a machine, or forgets one that has been attached. Returns it as it was.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stop(&self, name: &str) -> Result<MachineSummary, ClientError> {
        let path = format!("/machines/{}", escaped(name));
        self.ask(Method::DELETE, &path, None::<&()>).await
    }

    /// Has the destination of a machine whose pages follow it sought at once, at another address if
    /// there is one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn recover(
        &self,
        name: &str,
        request: &RecoverRequest,
    ) -> Result<MachineSummary, ClientError> {
        let path = format!("/machines/{}/recover", escaped(name));
        self.ask(Method::POST, &path, Some(request)).await
    }

    /// Records which pages a machine writes, and tells how that goes on. To drop what is returned ends
    /// the recording.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn record(
        &self,
        name: &str,
        request: &TraceRequest,
    ) -> Result<Events<TraceEvent>, ClientError> {
        let path = format!("/machines/{}/traces", escaped(name));
        self.events(Method::POST, &path, Some(request)).await
    }

    /// Asks the recording of a machine to end early, with what there is.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn end_recording(&self, name: &str) -> Result<(), ClientError> {
        let path = format!("/machines/{}/traces", escaped(name));
        self.ask(Method::DELETE, &path, None::<&()>).await
    }

    /// The last trace of a machine, as a file.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn last_trace(&self, name: &str) -> Result<Vec<u8>, ClientError> {
        let path = format!("/machines/{}/traces/last", escaped(name));
        let answer = self.send(Method::GET, &path, None::<&()>).await?;
        let file = answer.into_body().collect().await.map_err(|e| self.broken(e))?;
        Ok(file.to_bytes().into())
    }

    /// Has a move planned, and tells how that goes on. To drop what is returned ends it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn plan(&self, request: &PlanRequest) -> Result<Events<PlanEvent>, ClientError> {
        self.events(Method::POST, "/plans", Some(request)).await
    }

    /// What is known of moves to another host, with the link to it as it is now.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn survey(&self, request: &SurveyRequest) -> Result<Facts, ClientError> {
        self.ask(Method::POST, "/surveys", Some(request)).await
    }

    /// Begins a migration and returns at once; [`Client::follow`] tells how it goes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn migrate(&self, request: &MigrateRequest) -> Result<Migration, ClientError> {
        self.ask(Method::POST, "/migrations", Some(request)).await
    }

    /// Begins to put another QEMU in a machine's place and returns at once; [`Client::follow`]
    /// tells how it goes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn upgrade(&self, request: &UpgradeRequest) -> Result<Migration, ClientError> {
        self.ask(Method::POST, "/upgrades", Some(request)).await
    }

    /// The migrations under way and lately ended.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn migrations(&self) -> Result<Vec<Migration>, ClientError> {
        self.get("/migrations").await
    }

    /// Asks a migration to end; it does so soon after, unless it is past its commit.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cancel(&self, id: Id) -> Result<Migration, ClientError> {
        self.ask(Method::DELETE, &format!("/migrations/{id}"), None::<&()>).await
    }

    /// Follows one migration until it has ended.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn follow(&self, id: Id) -> Result<Events, ClientError> {
        self.events(Method::GET, &format!("/migrations/{id}/events"), None::<&()>).await
    }

    /// Follows all migrations.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn watch(&self) -> Result<Events, ClientError> {
        self.events(Method::GET, "/events", None::<&()>).await
    }

    async fn events<T>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Events<T>, ClientError> {
        let body = self.send(method, path, body).await?.into_body();
        Ok(Events { client: self.clone(), body, buffer: Vec::new(), kind: PhantomData })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let answer = self.send(method, path, body).await?;
        let text = answer.into_body().collect().await.map_err(|e| self.broken(e))?.to_bytes();
        serde_json::from_slice(&text).map_err(|error| self.foreign(error))
    }

    /// Sends a request; an answer that is a problem becomes an error.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Incoming>, ClientError> {
        let sent = tokio::time::timeout(LONGEST, self.send_and_wait(method, path, body)).await;
        sent.unwrap_or_else(|_| Err(ClientError::Silent { path: self.socket.clone() }))
    }

    async fn send_and_wait(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ClientError::NoDaemon { path: self.socket.clone(), source })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(e))?;
        tokio::spawn(connection);
        let json = body.map(|body| serde_json::to_vec(body).expect("a request is JSON"));
        let request = Request::builder()
            .method(method)
            .uri(format!("{VERSION}{path}"))
            .header("host", "punctual")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(json.unwrap_or_default())))
            .map_err(|error| self.foreign(error))?;
        let answer = sender.send_request(request).await.map_err(|e| self.broken(e))?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer.into_body().collect().await.map_err(|e| self.broken(e))?.to_bytes();
        Err(match serde_json::from_slice::<Problem>(&text) {
            Ok(problem) => problem.into(),
            Err(_) => self.foreign(format_args!("status {status}")),
        })
    }

    fn broken(&self, source: hyper::Error) -> ClientError {
        ClientError::Broken { path: self.socket.clone(), source }
    }

    fn foreign(&self, what: impl ToString) -> ClientError {
        ClientError::Foreign { path: self.socket.clone(), what: what.to_string() }
    }
}

impl<T: DeserializeOwned> Events<T> {
    /// The next event; `None` once the stream has ended.
    ///
    /// # Errors
    /// The daemon has ended, or said something that was not understood.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let event = serde_json::from_slice(&line);
                return event.map(Some).map_err(|error| self.client.foreign(error));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| self.client.broken(error))?;
            self.buffer.extend(frame.data_ref().into_iter().flatten());
        }
    }
}

/// `name` as a part of a path.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_become_another_path() {
        assert_eq!(escaped("web-1.example"), "web-1.example");
        assert_eq!(escaped("../x y"), "..%2Fx%20y");
    }

    #[tokio::test]
    async fn that_no_daemon_runs_is_told_with_its_socket() {
        let client = Client::new("/nonexistent/control.sock");
        let error = client.host().await.unwrap_err().to_string();
        assert!(error.starts_with("no daemon answers at /nonexistent/control.sock"), "{error}");
    }
}
