//! The program of the process: carries out one order after the other.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write, stdin, stdout};
use std::sync::Arc;

use super::guest::{Guest, Memory};
use super::state::DeviceState;
use super::talk::DONE;

/// Runs the program on the RAM files that are its arguments, until its input ends.
///
/// # Errors
/// The files cannot be mapped, or nobody listens any more.
pub fn run() -> io::Result<()> {
    let open = |path| OpenOptions::new().read(true).write(true).open(path);
    let files = std::env::args_os().skip(1).map(open).collect::<io::Result<Vec<File>>>()?;
    let memory = Memory::map(&files)?;
    say(DONE)?;
    let mut orders = stdin().lock();
    let Some(guest) = begin(&mut orders, &memory)? else { return Ok(()) };
    carry_out(&mut orders, &Arc::new(guest))
}

/// The first order is to begin, or to load what ran elsewhere.
fn begin(orders: &mut impl BufRead, memory: &Memory) -> io::Result<Option<Guest>> {
    while let Some(order) = next(orders)? {
        let words: Vec<&str> = order.splitn(3, ' ').collect();
        match words[..] {
            ["begin", seed, workload] => {
                let begin = seed.parse().ok().zip(serde_json::from_str(workload).ok());
                if let Some((seed, workload)) = begin {
                    let guest = Guest::begin(memory.clone(), seed, workload);
                    return say(DONE).map(|()| Some(guest));
                }
                say("not understood")?;
            }
            ["load", length] => {
                let mut bytes = vec![0; length.parse().unwrap_or(0)];
                orders.read_exact(&mut bytes)?;
                match load(memory.clone(), &bytes) {
                    Ok(guest) => return say(DONE).map(|()| Some(guest)),
                    Err(why) => say(&why)?,
                }
            }
            ["writes"] => say("0")?,
            _ => say("nothing has begun yet")?,
        }
    }
    Ok(None)
}

fn load(memory: Memory, bytes: &[u8]) -> Result<Guest, String> {
    let state: DeviceState = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if state.counters.len() as u64 != memory.pages() {
        return Err(format!("state of {} pages, not {}", state.counters.len(), memory.pages()));
    }
    Ok(Guest::load(memory, state))
}

fn carry_out(orders: &mut impl BufRead, guest: &Arc<Guest>) -> io::Result<()> {
    let gate = guest.gate();
    // Held while the guest is stopped, as it is in the beginning.
    let stop = || Some(gate.write().unwrap_or_else(std::sync::PoisonError::into_inner));
    let mut stopped = stop();
    guest.run();
    while let Some(order) = next(orders)? {
        match order.as_str() {
            "run" => {
                stopped = None;
                say(DONE)?;
            }
            "stop" => {
                if stopped.is_none() {
                    stopped = stop();
                }
                say(DONE)?;
            }
            "save" if stopped.is_some() => {
                let state = serde_json::to_vec(&guest.save()).map_err(io::Error::other)?;
                say(&state.len().to_string())?;
                stdout().write_all(&state)?;
                stdout().flush()?;
            }
            "writes" => say(&guest.writes().to_string())?,
            "check" => {
                let held = if stopped.is_none() { stop() } else { None };
                say(guest.check().as_ref().map_or_else(String::as_str, |()| DONE))?;
                drop(held);
            }
            _ => say("not understood, or not now")?,
        }
    }
    Ok(())
}

fn next(orders: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    let length = orders.read_line(&mut line)?;
    Ok((length > 0).then(|| line.trim_end().to_owned()))
}

fn say(answer: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{answer}")?;
    out.flush()
}
