//! What test guests start from: a QEMU, the distribution's kernel, an initramfs with the guests' one
//! program, a bare-metal image, and disks whose every byte is known.
//!
//! `make setup` fills a cache (`PUNCTUAL_CACHE`, else `~/.cache/punctual`) with unpacked packages;
//! this crate finds what is there ([`qemu()`], [`kernel()`]) and builds the rest from the tree
//! ([`initramfs()`], [`bare_metal()`]) whenever its sources have changed. How a guest is told what
//! to do stands in `guests/README.md`.

mod bare_metal;
mod cache;
mod cpio;
mod disk;
mod initramfs;
mod kernel;
mod modules;
mod qemu;
mod streaming;
mod workspace;

pub use bare_metal::{BareMetalError, bare_metal};
pub use cache::CacheError;
pub use disk::write_disk;
pub use initramfs::{InitramfsError, initramfs};
pub use kernel::{BASE_ARGUMENTS, kernel};
pub use qemu::{Qemu, QemuChoice, QemuError, qemu};
pub use streaming::{StreamingError, StreamingImage, make_streaming, streaming};
