//! What one plain TCP stream moves between two hosts: what a migration's throughput is held
//! against. Measured by iperf3.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond};
use serde::Deserialize;
use thiserror::Error;

use crate::lab::Lab;
use crate::run::RunError;

/// What a stream moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bandwidth {
    /// Payload that arrived, a second.
    pub rate: BytesPerSecond,
    /// Payload that arrived.
    pub bytes: Bytes,
    /// Segments that had to be sent again.
    pub retransmits: u64,
}

/// Why the bandwidth is not known.
#[derive(Debug, Error)]
pub enum BandwidthError {
    /// iperf3 cannot be run.
    #[error("{0}; install the package iperf3")]
    NotRun(#[from] RunError),
    /// One of its two processes cannot be talked to.
    #[error("cannot talk to iperf3: {0}")]
    Pipe(#[from] io::Error),
    /// It ran, but measured nothing.
    #[error("iperf3 from {from} to {to} measured nothing: {message}")]
    Failed {
        /// The host that sends.
        from: String,
        /// The host that receives.
        to: String,
        /// What it said.
        message: String,
    },
}

/// Sends one TCP stream from host `from` to host `to` for `time` (whole seconds, at least 1), and
/// blocks for as long.
///
/// # Errors
/// See [`BandwidthError`].
pub fn measure(
    lab: &Lab,
    from: &str,
    to: &str,
    time: Duration,
) -> Result<Bandwidth, BandwidthError> {
    let address = lab.host(to).map_err(RunError::from)?.address.to_string();
    let _server = Server::start(lab, to, &address)?;
    let seconds = time.as_secs().max(1).to_string();
    let mut client = Command::new("iperf3");
    client.args(["--client", &address, "--json", "--time", &seconds, "--connect-timeout", "3000"]);
    lab.enter(from, &mut client)?;
    let output = client.output().map_err(|source| lab.start_error(from, &client, source))?;
    read(&output).map_err(|message| failed(from, to, message))
}

fn failed(from: &str, to: &str, message: String) -> BandwidthError {
    BandwidthError::Failed { from: from.to_owned(), to: to.to_owned(), message }
}

/// A server for one client, gone when this is dropped.
struct Server(Child);

impl Server {
    fn start(lab: &Lab, host: &str, address: &str) -> Result<Self, BandwidthError> {
        let mut command = Command::new("iperf3");
        command.args(["--server", "--one-off", "--forceflush", "--bind", address]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        lab.enter(host, &mut command)?;
        let child = command.spawn().map_err(|source| lab.start_error(host, &command, source))?;
        let mut server = Self(child);
        let mut said = BufReader::new(server.0.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            if said.read_line(&mut line)? == 0 {
                let message = format!("its server in {host} ended; is the port taken?");
                return Err(failed("client", host, message));
            }
        }
        // The rest of what it says goes nowhere, and must not fill the pipe.
        std::thread::spawn(move || io::copy(&mut said, &mut io::sink()));
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, after its one client.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(output: &Output) -> Result<Bandwidth, String> {
    #[derive(Deserialize)]
    struct Report {
        #[serde(default)]
        error: Option<String>,
        #[serde(default)]
        end: End,
    }
    #[derive(Deserialize, Default)]
    struct End {
        sum_sent: Option<Sent>,
        sum_received: Option<Received>,
    }
    #[derive(Deserialize)]
    struct Sent {
        #[serde(default)]
        retransmits: u64,
    }
    #[derive(Deserialize)]
    struct Received {
        bytes: u64,
        bits_per_second: f64,
    }
    let report: Report = serde_json::from_slice(&output.stdout).map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("its report cannot be read ({error}); it says: {}", said.trim())
    })?;
    if let Some(error) = report.error {
        return Err(error);
    }
    let received = report.end.sum_received.ok_or("its report has no `end.sum_received`")?;
    Ok(Bandwidth {
        rate: BytesPerSecond::new((received.bits_per_second / 8.0) as u64),
        bytes: Bytes::new(received.bytes),
        retransmits: report.end.sum_sent.map_or(0, |sent| sent.retransmits),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn output(stdout: &str) -> Output {
        let status = ExitStatus::from_raw(0);
        Output { status, stdout: stdout.into(), stderr: b"a hint\n".to_vec() }
    }

    #[test]
    fn a_report_is_read() {
        // Shortened from iperf 3.12.
        let report = r#"{"start":{}, "end":{
            "sum_sent":{"bytes":10,"bits_per_second":1,"retransmits":45,"sender":true},
            "sum_received":{"start":0,"end":2.1,"bytes":239075328,"bits_per_second":952100000.5}}}"#;
        let bandwidth = read(&output(report)).unwrap();
        assert_eq!(bandwidth.rate, BytesPerSecond::new(119_012_500));
        assert_eq!((bandwidth.bytes, bandwidth.retransmits), (Bytes::new(239_075_328), 45));
    }

    #[test]
    fn a_failure_says_why() {
        let refused = r#"{"start":{},"end":{},"error":"unable to connect to server"}"#;
        assert_eq!(read(&output(refused)), Err("unable to connect to server".to_owned()));
        let empty = read(&output("")).unwrap_err();
        assert!(empty.ends_with("it says: a hint"), "{empty}");
    }
}
