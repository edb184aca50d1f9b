//! Orders to the process and its answers, each one line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::ProcessError;
use crate::trace::Pid;

/// The answer to an order that was carried out.
pub(super) const DONE: &str = "done";

#[derive(Debug)]
pub(super) struct Talk {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Talk {
    pub(super) fn start(worker: &Path, ram: &[PathBuf]) -> Result<Self, ProcessError> {
        let failed = |cause| ProcessError::Start { program: worker.to_owned(), cause };
        let mut child = Command::new(worker)
            .args(ram)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let orders = child.stdin.take().expect("stdin was asked for as a pipe");
        let answers = child.stdout.take().expect("stdout was asked for as a pipe");
        let mut talk = Self { child, orders, answers: BufReader::new(answers) };
        talk.answer("start")?;
        Ok(talk)
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Tells it to do something and waits until it is done.
    pub(super) fn order(&mut self, order: &str) -> Result<(), ProcessError> {
        let answer = self.ask(order)?;
        if answer == DONE {
            return Ok(());
        }
        Err(ProcessError::Refused { order: order.to_owned(), answer })
    }

    /// Waits for the answer to an order.
    pub(super) fn ask(&mut self, order: &str) -> Result<String, ProcessError> {
        writeln!(self.orders, "{order}")?;
        self.answer(order)
    }

    /// Asks for bytes.
    pub(super) fn fetch(&mut self, order: &str) -> Result<Vec<u8>, ProcessError> {
        let answer = self.ask(order)?;
        let Ok(length) = answer.parse() else {
            return Err(ProcessError::Refused { order: order.to_owned(), answer });
        };
        let mut bytes = vec![0; length];
        self.answers.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Gives it bytes.
    pub(super) fn give(&mut self, order: &str, bytes: &[u8]) -> Result<(), ProcessError> {
        writeln!(self.orders, "{order} {}", bytes.len())?;
        self.orders.write_all(bytes)?;
        let answer = self.answer(order)?;
        if answer == DONE {
            return Ok(());
        }
        Err(ProcessError::Refused { order: order.to_owned(), answer })
    }

    pub(super) fn end(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn answer(&mut self, order: &str) -> Result<String, ProcessError> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let ended = format!("it ended when told `{order}`");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, ended).into());
        }
        Ok(line.trim_end().to_owned())
    }
}
