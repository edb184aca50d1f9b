//! Moves by the machine's own hypervisor, for machines whose memory Punctual cannot trace.
//!
//! ```text
//!  source daemon                                              destination daemon
//!  drive ── messages: Offer … Ready, Commit, Running ═══════► arrivals, as for every move
//!    │ begin, look, hand over                                     │ starts QEMU, waits for the load
//!    ▼                                                            ▼
//!  QEMU ──► carry ═══ a connection that begins with Tunnel ═══► serve ──► QEMU
//! ```
//!
//! Who owns the machine is decided as ever (`docs/protocol.md`): by the commit in the source's
//! journal, between `Ready` and `Commit`. The destination's half is that of every move, which is
//! sent no page and no device state; the source's is [`core`].

pub(crate) mod choice;
mod core;
pub(crate) mod drive;
mod ears;
pub(crate) mod estimate;
mod report;
mod shown;
mod tunnel;

pub(crate) use tunnel::serve;
