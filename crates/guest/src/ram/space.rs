use std::fs;

use punctual_units::Bytes;
use rustix::fs::StatFs;

use super::region::HUGETLBFS;

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
