//! Questions to a guest, over its control port.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use punctual_guest_protocol::control::{CheckReport, MAX_LINE, Reply, Request, Status};
use punctual_guest_protocol::{CONTROL_PORT, Workload};
use thiserror::Error;

use crate::Lab;

/// How long one attempt to connect may take.
const ATTEMPT: Duration = Duration::from_secs(1);
/// How long after a refused attempt the next is made.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a guest may take to answer; one without hardware support checks a gigabyte in it.
const ANSWER: Duration = Duration::from_secs(120);

/// A connection to a guest's control port.
#[derive(Debug)]
pub struct Control {
    guest: SocketAddr,
    connection: BufReader<TcpStream>,
}

/// Why a guest did not answer as it should.
#[derive(Debug, Error)]
pub enum ControlError {
    /// It cannot be reached.
    #[error("no connection to the guest's control port {guest}: {source}; is the guest up?")]
    Unreachable {
        /// Its address.
        guest: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke, or no answer came.
    #[error("the guest at {guest} does not answer `{request}`: {source}")]
    NoAnswer {
        /// Its address.
        guest: SocketAddr,
        /// What it was asked.
        request: String,
        /// Why not.
        source: io::Error,
    },
    /// It will not do what it was asked.
    #[error("the guest at {guest} refuses: {message}")]
    Refused {
        /// Its address.
        guest: SocketAddr,
        /// What it says.
        message: String,
    },
    /// It answered something else.
    #[error(
        "the guest at {guest} answers `{request}` with `{answer}`: rebuild the guest with `make guests`"
    )]
    Misunderstood {
        /// Its address.
        guest: SocketAddr,
        /// What it was asked.
        request: String,
        /// What it said.
        answer: String,
    },
}

impl Control {
    /// Connects from the client of `lab`, trying again for `patience` while the guest does not
    /// answer, because it is still starting perhaps.
    ///
    /// # Errors
    /// The guest does not answer, or the lab is gone.
    pub fn open(lab: &Lab, guest: Ipv4Addr, patience: Duration) -> Result<Self, ControlError> {
        let guest = (guest, CONTROL_PORT).into();
        let connection = lab.client().namespace.inside(|| connect(guest, patience));
        connection.and_then(Self::on).map_err(|source| ControlError::Unreachable { guest, source })
    }

    /// Talks over a connection.
    ///
    /// # Errors
    /// The connection cannot be set up.
    pub fn on(connection: TcpStream) -> io::Result<Self> {
        connection.set_read_timeout(Some(ANSWER))?;
        connection.set_write_timeout(Some(ANSWER))?;
        connection.set_nodelay(true)?;
        Ok(Self { guest: connection.peer_addr()?, connection: BufReader::new(connection) })
    }

    /// How things stand in the guest.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn status(&mut self) -> Result<Status, ControlError> {
        self.expect(&Request::Status, |reply| match reply {
            Reply::Status(status) => Ok(status),
            other => Err(other),
        })
    }

    /// Has the guest compare its memory with what it ought to be; blocks until it has.
    ///
    /// # Errors
    /// See [`ControlError`]. That something is wrong is no error.
    pub fn check(&mut self) -> Result<CheckReport, ControlError> {
        self.expect(&Request::Check, |reply| match reply {
            Reply::Check(report) => Ok(report),
            other => Err(other),
        })
    }

    /// Has the guest do something else from now on; what is `None` stays as it was. `rate` is units
    /// of work a second, `set` bytes.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn workload(
        &mut self,
        name: Workload,
        rate: Option<u64>,
        set: Option<u64>,
    ) -> Result<(), ControlError> {
        self.expect(&Request::Workload { name, rate, set }, done)
    }

    /// Has the guest go on at `rate` units of work a second.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn rate(&mut self, rate: u64) -> Result<(), ControlError> {
        self.expect(&Request::Rate { rate }, done)
    }

    fn expect<T>(
        &mut self,
        request: &Request,
        read: impl FnOnce(Reply) -> Result<T, Reply>,
    ) -> Result<T, ControlError> {
        let guest = self.guest;
        let line = serde_json::to_string(request).expect("a request has a JSON form");
        let misunderstood =
            |answer| ControlError::Misunderstood { guest, request: line.clone(), answer };
        let answer = self.exchange(&line).map_err(|source| {
            let request = line.clone();
            ControlError::NoAnswer { guest, request, source }
        })?;
        let reply = serde_json::from_str(&answer).map_err(|_| misunderstood(answer.clone()))?;
        match read(reply) {
            Ok(value) => Ok(value),
            Err(Reply::Error { message }) => Err(ControlError::Refused { guest, message }),
            Err(_) => Err(misunderstood(answer)),
        }
    }

    fn exchange(&mut self, line: &str) -> io::Result<String> {
        self.connection.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        let read = self.connection.by_ref().take(MAX_LINE as u64).read_line(&mut answer)?;
        if !answer.ends_with('\n') {
            let what =
                if read < MAX_LINE { "the connection was closed" } else { "it says too much" };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        Ok(answer.trim_end().to_owned())
    }
}

fn done(reply: Reply) -> Result<(), Reply> {
    if reply == Reply::Done { Ok(()) } else { Err(reply) }
}

/// Connects to a guest, trying again for `patience` while it does not answer.
pub(crate) fn connect(guest: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + patience;
    loop {
        match TcpStream::connect_timeout(&guest, ATTEMPT) {
            Ok(connection) => return Ok(connection),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A guest that answers each line with the next of `answers`, and then closes.
    fn guest(answers: &'static [&'static str]) -> (Control, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let guest = thread::spawn(move || {
            let mut connection = BufReader::new(listener.accept().unwrap().0);
            let mut heard = Vec::new();
            for answer in answers {
                let mut line = String::new();
                connection.read_line(&mut line).unwrap();
                heard.push(line.trim_end().to_owned());
                connection.get_mut().write_all(answer.as_bytes()).unwrap();
            }
            heard
        });
        let connection = connect(address, Duration::from_secs(20)).unwrap();
        (Control::on(connection).unwrap(), guest)
    }

    #[test]
    fn questions_are_answered() {
        let answers = &[
            "{\"reply\":\"check\",\"ok\":true,\"pages_checked\":3}\n",
            "{\"reply\":\"done\"}\n",
            "{\"reply\":\"error\",\"message\":\"no\"}\n",
        ];
        let (mut control, guest) = guest(answers);
        assert!(control.check().unwrap().ok);
        control.workload(Workload::Uniform, Some(2000), None).unwrap();
        assert!(
            matches!(control.rate(1), Err(ControlError::Refused { message, .. }) if message == "no")
        );
        let heard = guest.join().unwrap();
        assert_eq!(heard[1], r#"{"cmd":"workload","name":"uniform","rate":2000}"#);
    }

    #[test]
    fn answers_that_are_none_are_told_apart() {
        let (mut control, _guest) = guest(&["{\"reply\":\"done\"}\n", "nonsense\n", "half"]);
        let misunderstood = control.status().unwrap_err();
        assert!(matches!(misunderstood, ControlError::Misunderstood { .. }), "{misunderstood}");
        let nonsense = control.status().unwrap_err();
        assert!(matches!(nonsense, ControlError::Misunderstood { .. }), "{nonsense}");
        let closed = control.status().unwrap_err().to_string();
        assert!(
            closed.ends_with("does not answer `{\"cmd\":\"status\"}`: the connection was closed"),
            "{closed}"
        );
    }
}
