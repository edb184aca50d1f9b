//! An archive that the kernel unpacks at boot, in the "newc" format of
//! <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>.

const DIRECTORY: u32 = 0o040_755;
const CHARACTER_DEVICE: u32 = 0o020_600;
const PROGRAM: u32 = 0o100_755;
const END: &str = "TRAILER!!!";

/// An archive under construction.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    pub(crate) fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY, (0, 0), &[]);
    }

    /// A character device with its major and minor number.
    pub(crate) fn device(&mut self, path: &str, number: (u32, u32)) {
        self.entry(path, CHARACTER_DEVICE, number, &[]);
    }

    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, (0, 0), content);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(END, 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("guests' files are smaller than 4 GiB");
        let links = if mode == DIRECTORY { 2 } else { 1 };
        let name_size = path.len() as u32 + 1;
        let (major, minor) = device;
        // inode, mode, owner, group, links, time, size, device it is on (2), device it is (2),
        // length of the name, checksum
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_archive() {
        let mut archive = Archive::default();
        archive.device("dev/console", (5, 1));
        archive.file("init", b"run");
        let bytes = archive.finish();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let console = "070701\
            0000000100002180000000000000000000000001000000000000000000000000000000000000000500000001\
            0000000C00000000dev/console\0\0\0";
        assert!(text.starts_with(console), "{text}");
        let init = "070701\
            00000002000081ED000000000000000000000001000000000000000300000000000000000000000000000000\
            0000000500000000init\0\0run\0";
        assert_eq!(&text[console.len()..][..init.len()], init);
        assert!(text.trim_end_matches('\0').ends_with(END));
        assert_eq!(bytes.len() % 4, 0);
    }
}
