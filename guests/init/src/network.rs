//! Giving a network card its address, by the classic interface requests of `netdevice(7)`.

use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use punctual_guest_protocol::options::Network;

nix::ioctl_write_ptr_bad!(set_address, libc::SIOCSIFADDR, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_netmask, libc::SIOCSIFNETMASK, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);

/// Why a card has no address.
#[derive(Debug, thiserror::Error)]
#[error(
    "the network card {card} could not be set up ({step}): {source}; has the machine a virtio-net-pci device?"
)]
pub(crate) struct NetworkError {
    card: String,
    step: &'static str,
    source: nix::Error,
}

/// Gives `card` its address, if it is to have one, and switches it on.
pub(crate) fn raise(card: &str, network: Option<Network>) -> Result<(), NetworkError> {
    let error = |step| move |source| NetworkError { card: card.to_owned(), step, source };
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(error("socket"))?;
    if let Some(Network { address, prefix }) = network {
        request(&socket, set_address, card, with_address(address)).map_err(error("address"))?;
        request(&socket, set_netmask, card, with_address(netmask(prefix)))
            .map_err(error("netmask"))?;
    }
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    request(&socket, set_flags, card, libc::__c_anonymous_ifr_ifru { ifru_flags: flags })
        .map_err(error("up"))
}

type Request = unsafe fn(libc::c_int, *const libc::ifreq) -> nix::Result<libc::c_int>;

fn request(
    socket: &OwnedFd,
    request: Request,
    card: &str,
    content: libc::__c_anonymous_ifr_ifru,
) -> nix::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name[..libc::IFNAMSIZ - 1].iter_mut().zip(card.bytes()) {
        *to = from as libc::c_char;
    }
    let interface = libc::ifreq { ifr_name: name, ifr_ifru: content };
    // SAFETY: the request only reads `interface`, which lives until it returns.
    unsafe { request(socket.as_raw_fd(), &raw const interface) }.map(drop)
}

fn with_address(address: Ipv4Addr) -> libc::__c_anonymous_ifr_ifru {
    let internet = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: both are plain data of 16 bytes, of which every bit pattern is valid.
    let general = unsafe { mem::transmute::<libc::sockaddr_in, libc::sockaddr>(internet) };
    libc::__c_anonymous_ifr_ifru { ifru_addr: general }
}

fn netmask(prefix: u8) -> Ipv4Addr {
    let host_bits = 32 - u32::from(prefix.min(32));
    Ipv4Addr::from(u32::MAX.checked_shl(host_bits).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netmasks() {
        assert_eq!(netmask(24), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(netmask(32), Ipv4Addr::new(255, 255, 255, 255));
        assert_eq!(netmask(0), Ipv4Addr::new(0, 0, 0, 0));
    }
}
