use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use punctual_guest_protocol::Pattern;

/// Written at a time, in bytes.
const CHUNK: usize = 1 << 16;

/// Writes a disk image of `bytes` bytes that holds the pattern of `seed`, as the workload `reader`
/// expects it of a guest with that seed. A file that is there is replaced.
///
/// # Errors
///
/// What the file system says.
pub fn write_disk(path: &Path, bytes: u64, seed: u64) -> io::Result<()> {
    let pattern = Pattern::new(seed);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut chunk = vec![0; CHUNK];
    let mut position = 0;
    while position < bytes {
        let length = (bytes - position).min(CHUNK as u64) as usize;
        pattern.fill(position, &mut chunk[..length]);
        file.write_all(&chunk[..length])?;
        position += length as u64;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_holds_its_pattern_to_the_last_byte() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.raw");
        let bytes = 2 * CHUNK as u64 + 4096;
        write_disk(&path, bytes, 9).unwrap();
        let content = std::fs::read(&path).unwrap();
        assert_eq!(content.len() as u64, bytes);
        assert_eq!(Pattern::new(9).first_wrong(0, &content), None);
    }
}
