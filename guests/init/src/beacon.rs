//! The beacon's thread.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use nix::libc;
use punctual_guest_protocol::Beacon;
use punctual_guest_protocol::beacon::PERIOD;

use crate::clock;
use crate::progress::Progress;

/// Starts to send a beacon to `target` every [`PERIOD`], for ever.
pub(crate) fn start(target: SocketAddrV4, boot: u64, progress: Arc<Progress>) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(target)?;
    socket.set_nonblocking(true)?;
    thread::Builder::new().name("beacon".into()).spawn(move || {
        if let Err(error) = run_before_others() {
            println!("punctual: the beacon has no real-time priority: {error}");
        }
        send_for_ever(&socket, boot, &progress);
    })?;
    Ok(())
}

fn send_for_ever(socket: &UdpSocket, boot: u64, progress: &Progress) {
    let start = clock::now();
    let (mut slot, mut sequence) = (0, 0);
    loop {
        clock::sleep_until(moment_of(start, slot));
        let guest_time = clock::now();
        let beacon = Beacon {
            sequence,
            slot,
            guest_time,
            work: progress.work(),
            check_failures: progress.check_failures(),
            boot,
            workload: progress.workload(),
        };
        // A beacon that cannot be sent (no one listens, queue full) is lost like one on the way.
        let _ = socket.send(&beacon.to_bytes());
        sequence += 1;
        slot = next_slot(start, slot, clock::now());
    }
}

fn moment_of(start: Duration, slot: u64) -> Duration {
    start + Duration::from_nanos(slot * PERIOD.as_nanos() as u64)
}

/// The first slot after `slot` that is not over yet: a guest that stood still skips what it missed
/// instead of sending it in a burst.
fn next_slot(start: Duration, slot: u64, now: Duration) -> u64 {
    let current = (now.saturating_sub(start).as_nanos() / PERIOD.as_nanos()) as u64;
    current.max(slot + 1)
}

/// The beacon shows when the guest runs, not when its workload lets others run.
fn run_before_others() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: the call reads `priority`, which lives until it returns; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(5);

    #[test]
    fn in_time_the_next_slot_follows() {
        assert_eq!(next_slot(START, 10, START + Duration::from_micros(10_100)), 11);
    }

    #[test]
    fn missed_slots_are_skipped() {
        assert_eq!(next_slot(START, 10, START + Duration::from_micros(50_500)), 50);
    }
}
