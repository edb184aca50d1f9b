//! The addresses of a lab.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Which of the 256 subnets a lab has: no two labs of one machine have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subnet(u8);

/// The most hosts that a lab can have.
pub const MOST_HOSTS: usize = 64;
/// The most addresses that [`Subnet::guest`] gives.
pub const MOST_GUESTS: usize = 100;

impl Subnet {
    /// Bits of an address that all places of a lab share.
    pub const PREFIX: u8 = 24;

    /// The lowest subnet that is not among `taken`; `None` if all are.
    pub(crate) fn choose(taken: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut free = [true; 256];
        taken.into_iter().for_each(|subnet| free[usize::from(subnet.0)] = false);
        (0..=u8::MAX).map(Self).find(|subnet| free[usize::from(subnet.0)])
    }

    /// The address of the host at `index` among the lab's hosts: `10.213.N.1` and on.
    ///
    /// # Panics
    /// `index` is not below [`MOST_HOSTS`], which [`LabSpec`](crate::LabSpec) is checked for.
    #[must_use]
    pub fn host(self, index: usize) -> Ipv4Addr {
        assert!(index < MOST_HOSTS, "a lab has at most {MOST_HOSTS} hosts");
        self.address(1 + index)
    }

    /// The address of the client: `10.213.N.100`.
    #[must_use]
    pub fn client(self) -> Ipv4Addr {
        self.address(100)
    }

    /// The address for guest `index` of this lab, wherever it runs: `10.213.N.101` and on; `None`
    /// from [`MOST_GUESTS`] on.
    #[must_use]
    pub fn guest(self, index: usize) -> Option<Ipv4Addr> {
        (index < MOST_GUESTS).then(|| self.address(101 + index))
    }

    /// The hardware address of the bridge of the host at `index`, locally administered.
    ///
    /// Stated, because a bridge without one takes the lowest of its ports and so changes it when a
    /// guest's tap is plugged in: the host would fall silent until its neighbours ask again.
    pub(crate) fn hardware(self, index: usize) -> String {
        format!("02:50:4c:{:02x}:00:{index:02x}", self.0)
    }

    fn address(self, last: usize) -> Ipv4Addr {
        let last = u8::try_from(last).expect("hosts, client and guests end below 256");
        Ipv4Addr::new(10, 213, self.0, last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_chosen_subnet_is_free(taken in prop::collection::btree_set(any::<u8>(), 0..256)) {
            let taken: BTreeSet<_> = taken.into_iter().map(Subnet).collect();
            match Subnet::choose(taken.iter().copied()) {
                Some(subnet) => prop_assert!(!taken.contains(&subnet)),
                None => prop_assert_eq!(taken.len(), 256),
            }
        }
    }

    #[test]
    fn no_two_places_share_an_address() {
        let subnet = Subnet(7);
        let hosts = (0..MOST_HOSTS).map(|index| subnet.host(index));
        let guests = (0..MOST_GUESTS).filter_map(|index| subnet.guest(index));
        let all: BTreeSet<_> = hosts.chain(guests).chain([subnet.client()]).collect();
        assert_eq!(all.len(), MOST_HOSTS + MOST_GUESTS + 1);
        assert!(all.iter().all(|address| address.octets()[..3] == [10, 213, 7]));
        assert_eq!(subnet.guest(MOST_GUESTS), None);
    }
}
