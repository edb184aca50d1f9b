//! What `/proc/PID/maps` says (`proc_pid_maps(5)`).

/// One mapping of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapping<'a> {
    /// Its first address.
    pub(crate) start: u64,
    /// The address behind its last.
    pub(crate) end: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) executable: bool,
    /// Whether writes go to the file (`MAP_SHARED`).
    pub(crate) shared: bool,
    /// Where in the file it begins, in bytes.
    pub(crate) offset: u64,
    /// Major and minor number of the file's device.
    pub(crate) device: (u32, u32),
    /// The file's inode number; 0 for no file.
    pub(crate) inode: u64,
    /// The file's path or the kernel's word for it, such as `[vdso]`.
    pub(crate) name: &'a str,
}

/// The mappings in the text of a `maps` file, in the order of their addresses. A line that is not
/// of the known form is left out.
pub(crate) fn mappings(text: &str) -> impl Iterator<Item = Mapping<'_>> {
    text.lines().filter_map(mapping)
}

fn mapping(line: &str) -> Option<Mapping<'_>> {
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let [read, write, execute, share] = *fields.next()?.as_bytes() else { return None };
    let offset = hex(fields.next()?)?;
    let (major, minor) = fields.next()?.split_once(':')?;
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        readable: read == b'r',
        writable: write == b'w',
        executable: execute == b'x',
        shared: share == b's',
        offset,
        device: (hex(major)?.try_into().ok()?, hex(minor)?.try_into().ok()?),
        inode: fields.next()?.parse().ok()?,
        name: fields.next().unwrap_or("").trim_start(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_file_and_the_vdso_are_understood() {
        let text = "7f10a0000000-7f10c0000000 rw-s 00200000 00:1a 1029   /dev/shm/my ram\n\
                    nonsense\n\
                    7ffd3a9f2000-7ffd3a9f4000 r-xp 00000000 00:00 0    [vdso]\n\
                    7ffd3a9f5000-7ffd3a9f6000 ---p 00000000 00:00 0 \n";
        let found: Vec<_> = mappings(text).collect();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].name, "/dev/shm/my ram");
        assert_eq!((found[0].start, found[0].end), (0x7f10_a000_0000, 0x7f10_c000_0000));
        assert_eq!(
            (found[0].offset, found[0].device, found[0].inode),
            (0x20_0000, (0, 0x1a), 1029)
        );
        assert!(found[0].shared && found[0].writable && !found[0].executable);
        assert_eq!(found[1].name, "[vdso]");
        assert!(found[1].executable && !found[1].shared);
        assert_eq!(found[2].name, "");
        assert!(!found[2].readable);
    }
}
