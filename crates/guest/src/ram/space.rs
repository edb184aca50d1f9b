use std::fs;
use std::path::Path;

use punctual_units::Bytes;
use rustix::fs::{StatFs, statfs};

use super::region::HUGETLBFS;

/// `f_type` of tmpfs in `statfs(2)` (`TMPFS_MAGIC` in `linux/magic.h`).
const TMPFS: i64 = 0x0102_1994;

/// What a filesystem has free for RAM; `None` where it has no limit of its own, as a tmpfs that
/// was mounted with `size=0`.
pub(crate) fn free(system: &StatFs) -> Option<Bytes> {
    // Without a limit, tmpfs and hugetlbfs report no blocks at all.
    if system.f_blocks > 0 {
        return Some(Bytes::new(system.f_bavail.saturating_mul(system.f_bsize as u64)));
    }
    (system.f_type == HUGETLBFS).then(|| free_huge_pages(Bytes::new(system.f_bsize as u64)))
}

/// Huge pages of this size that the kernel has and has not promised to anybody
/// (`Documentation/admin-guide/mm/hugetlbpage.rst`).
fn free_huge_pages(size: Bytes) -> Bytes {
    let number = |name: &str| -> u64 {
        let pool = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", size.get() >> 10);
        let text = fs::read_to_string(format!("{pool}/{name}")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    let pages = number("free_hugepages").saturating_sub(number("resv_hugepages"));
    Bytes::new(pages * size.get())
}

/// Whether files of a directory are memory that is shared by mapping it: on tmpfs or hugetlbfs.
pub(crate) fn is_memory(directory: &Path) -> bool {
    statfs(directory).is_ok_and(|system| matches!(system.f_type, TMPFS | HUGETLBFS))
}
