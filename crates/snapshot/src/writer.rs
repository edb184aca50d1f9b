use std::io::{self, Seek, SeekFrom, Write};

use punctual_units::Bytes;

use crate::format::{HEADER, Header, Kind, LONGEST_PIECE, SECTION_HEAD, SectionHead};
use crate::{About, Ending, SnapshotId};

/// Writes a snapshot, a section at a time.
///
/// The header is written last: until then what is there is refused as unfinished, whatever of it
/// has come to the disk.
///
/// ```
/// # use punctual_snapshot::{About, Ending, Purpose, Reader, SnapshotId, Writer};
/// # use punctual_units::{Bytes, MemoryLayout, Region};
/// # let layout = MemoryLayout::new(vec![Region { name: "ram0".into(), size: Bytes::mib(1) }])?;
/// # let about = About { id: SnapshotId(7), purpose: Purpose::Suspended, machine: "web".into(),
/// #     host: "a".into(), taken_at: 0, layout };
/// # let ending = Ending { digest: 0, populated: Bytes::ZERO, device_state: Bytes::new(3), disks: vec![] };
/// let mut file = std::io::Cursor::new(Vec::new());
/// let mut writer = Writer::begin(&mut file, &about, b"{}")?;
/// writer.device_state(b"abc")?; // behind the pages, of which this machine has none
/// writer.finish(&ending)?;
/// assert_eq!(Reader::open(file)?.about(), &about);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Writer<W> {
    file: W,
    id: SnapshotId,
    sections: u64,
    length: u64,
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a snapshot in `file`, which is empty. `description` is the machine as its host
    /// describes it, in JSON.
    ///
    /// # Errors
    /// It could not be written, or the description is longer than a snapshot holds (4 MiB).
    pub fn begin(file: W, about: &About, description: &[u8]) -> io::Result<Self> {
        let mut writer = Self { file, id: about.id, sections: 0, length: HEADER as u64 };
        writer.file.write_all(&[0; HEADER])?;
        writer.section(Kind::About, &json(about))?;
        writer.section(Kind::Description, description)?;
        Ok(writer)
    }

    /// Appends the payload of a frame of packed pages, as [`punctual_wire::pages::Encoder`] makes
    /// them. What comes later replaces what came before.
    ///
    /// # Errors
    /// It could not be written, as on a full disk.
    pub fn pages(&mut self, payload: &[u8]) -> io::Result<()> {
        self.section(Kind::Pages, payload)
    }

    /// Appends device state, once all pages have been written.
    ///
    /// # Errors
    /// It could not be written, as on a full disk.
    pub fn device_state(&mut self, state: &[u8]) -> io::Result<()> {
        state.chunks(LONGEST_PIECE).try_for_each(|piece| self.section(Kind::DeviceState, piece))
    }

    /// How long the snapshot is by now.
    #[must_use]
    pub fn written(&self) -> Bytes {
        Bytes::new(self.length)
    }

    /// What it is written to.
    #[must_use]
    pub fn file(&self) -> &W {
        &self.file
    }

    /// Ends the snapshot. That it survives a power cut is for the caller to see to.
    ///
    /// # Errors
    /// It could not be written; what is there is no snapshot then.
    pub fn finish(mut self, ending: &Ending) -> io::Result<W> {
        let end = self.length;
        self.section(Kind::End, &json(ending))?;
        let Self { length, sections, id, .. } = self;
        let header = Header { length, end, sections, id };
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header.write())?;
        self.file.flush()?;
        Ok(self.file)
    }

    fn section(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        if payload.len() > kind.limit() {
            let (length, limit) = (payload.len(), kind.limit());
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} of {length} bytes, of at most {limit}", kind.name()),
            ));
        }
        let head = SectionHead::of(kind, self.sections, payload);
        self.file.write_all(&head.write())?;
        self.file.write_all(payload)?;
        self.sections += 1;
        self.length += (SECTION_HEAD + payload.len()) as u64;
        Ok(())
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("what is said of a snapshot is JSON")
}
