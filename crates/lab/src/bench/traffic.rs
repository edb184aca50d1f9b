//! What a host put on its link, by the kernel's count.

use std::fs;
use std::io;

use punctual_units::Bytes;

use crate::Lab;
use crate::names::UPLINK;

/// Bytes that a host has sent over its uplink since the lab was made, headers included.
pub(super) fn sent_by(lab: &Lab, host: &str) -> io::Result<Bytes> {
    let namespace = lab.namespace(host).map_err(io::Error::other)?;
    // The table of the thread's own namespace, whichever process reads it.
    let table = namespace.inside(|| fs::read_to_string("/proc/thread-self/net/dev"))?;
    sent(&table, UPLINK).ok_or_else(|| io::Error::other(format!("no interface {UPLINK}")))
}

/// The ninth number after the colon is what was sent (`proc_pid_net(5)`).
fn sent(table: &str, interface: &str) -> Option<Bytes> {
    let of_it =
        |line: &str| Some(line.trim().strip_prefix(interface)?.strip_prefix(':')?.to_owned());
    let numbers = table.lines().find_map(of_it)?;
    numbers.split_whitespace().nth(8)?.parse().ok().map(Bytes::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ninth_number_is_what_was_sent() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes packets\n\
                     uplink2: 1 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n\
                     \u{20}uplink: 9034 75 0 0 0 0 0 0 1502 16 0 0 0 0 0 0\n";
        assert_eq!(sent(table, "uplink"), Some(Bytes::new(1502)));
        assert_eq!(sent(table, "eth0"), None);
    }
}
