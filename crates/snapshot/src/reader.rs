use std::io::{self, Read, Seek, SeekFrom};

use punctual_units::Bytes;
use serde::de::DeserializeOwned;

use crate::format::{HEADER, Header, Kind, MAGIC, SECTION_HEAD, SectionHead, VERSION};
use crate::{About, Ending, SnapshotError, SnapshotId};

/// A part of what a machine was, in the order in which it is put in place.
#[derive(Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A payload for [`punctual_wire::pages::Decoder`].
    Pages(&'a [u8]),
    /// A piece of the device state. No pages follow.
    DeviceState(&'a [u8]),
}

/// Reads a snapshot, a section at a time.
///
/// What it is made of is checked as it is read: each section by its checksum, its place and its
/// limits. That the memory it makes is the one that was saved is for the caller to check, by
/// [`Ending::digest`].
#[derive(Debug)]
pub struct Reader<R> {
    file: R,
    header: Header,
    about: About,
    description: Vec<u8>,
    ending: Ending,
    /// Where the next section begins, and its number.
    at: u64,
    number: u64,
    /// Device state handed out so far.
    state: u64,
    buffer: Vec<u8>,
}

/// Which complete snapshot a file is. Reads its header alone.
///
/// # Errors
/// It is none, or not whole, as far as header and length tell.
pub fn identify(file: &mut (impl Read + Seek)) -> Result<SnapshotId, SnapshotError> {
    read_header(file).map(|header| header.id)
}

impl<R: Read + Seek> Reader<R> {
    /// Opens a snapshot: reads and checks its header, what it says about itself, the machine's
    /// description and the ending.
    ///
    /// # Errors
    /// It is no snapshot, not whole, or of another version, see [`SnapshotError`].
    pub fn open(mut file: R) -> Result<Self, SnapshotError> {
        let header = read_header(&mut file)?;
        let mut sections = Sections { file: &mut file, header, at: header.end };
        let mut buffer = Vec::new();
        let last = header.sections - 1;
        let ending = sections.parse::<Ending>(Kind::End, last, &mut buffer)?;
        if sections.at != header.length {
            return Err(corrupt(header.end, "it is not the last section"));
        }
        sections.at = HEADER as u64;
        let about = sections.parse::<About>(Kind::About, 0, &mut buffer)?;
        if about.id != header.id {
            return Err(corrupt(HEADER as u64, "it is of another snapshot than the header"));
        }
        sections.expect(Kind::Description, 1, &mut buffer)?;
        let (description, at) = (std::mem::take(&mut buffer), sections.at);
        Ok(Self { file, header, about, description, ending, at, number: 2, state: 0, buffer })
    }

    /// What it says about itself.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The machine as its host described it, in JSON.
    #[must_use]
    pub fn description(&self) -> &[u8] {
        &self.description
    }

    /// What was known when the machine stood.
    #[must_use]
    pub fn ending(&self) -> &Ending {
        &self.ending
    }

    /// How long the file is.
    #[must_use]
    pub fn length(&self) -> Bytes {
        Bytes::new(self.header.length)
    }

    /// How much of the file has been handed out.
    #[must_use]
    pub fn position(&self) -> Bytes {
        Bytes::new(self.at)
    }

    /// The next part; `None` once all have been handed out.
    ///
    /// # Errors
    /// It is damaged or cannot be read. Nothing of what was handed out before is to be used then.
    pub fn read_next(&mut self) -> Result<Option<Content<'_>>, SnapshotError> {
        let Self { file, header, at, number, state, buffer, .. } = self;
        let began = *at;
        if began == header.end {
            if *number + 1 != header.sections {
                return Err(corrupt(began, "another number of sections than the header states"));
            }
            if *state != self.ending.device_state.get() {
                return Err(corrupt(began, "another length of device state than it states"));
            }
            return Ok(None);
        }
        let mut sections = Sections { file, header: *header, at: began };
        let kind = sections.read(*number, buffer)?;
        (*at, *number) = (sections.at, *number + 1);
        match kind {
            _ if *at > header.end => Err(corrupt(began, "it reaches into the last section")),
            Kind::Pages if *state == 0 => Ok(Some(Content::Pages(buffer))),
            Kind::DeviceState => {
                *state += buffer.len() as u64;
                Ok(Some(Content::DeviceState(buffer)))
            }
            kind => Err(corrupt(began, &format!("{} out of place", kind.name()))),
        }
    }
}

fn corrupt(at: u64, what: &str) -> SnapshotError {
    SnapshotError::Corrupt { at, what: what.to_owned() }
}

fn read_header(file: &mut (impl Read + Seek)) -> Result<Header, SnapshotError> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = [0; HEADER];
    let there = HEADER.min(usize::try_from(length).unwrap_or(HEADER));
    file.read_exact(&mut bytes[..there])?;
    if there == HEADER && bytes == [0; HEADER] {
        return Err(SnapshotError::Unfinished);
    }
    let known = there.min(MAGIC.len());
    if known == 0 || bytes[..known] != MAGIC[..known] {
        return Err(SnapshotError::NotASnapshot);
    }
    if there < HEADER {
        return Err(SnapshotError::Truncated { missing: (HEADER - there) as u64 });
    }
    let found = u16::from_le_bytes([bytes[8], bytes[9]]);
    if found != VERSION {
        return Err(SnapshotError::OtherVersion { found });
    }
    let header = Header::read(&bytes).ok_or_else(|| corrupt(0, "the checksum of the header"))?;
    let inside = HEADER as u64 <= header.end && header.end < header.length && header.sections > 2;
    match length {
        _ if !inside => Err(corrupt(0, "an impossible header")),
        _ if length < header.length => {
            Err(SnapshotError::Truncated { missing: header.length - length })
        }
        _ if length > header.length => Err(corrupt(0, "more bytes than its header states")),
        _ => Ok(header),
    }
}

/// The sections of a file, one after the other.
struct Sections<'a, R> {
    file: &'a mut R,
    header: Header,
    at: u64,
}

impl<R: Read + Seek> Sections<'_, R> {
    /// Reads the section at hand, which has this number, into `into`.
    fn read(&mut self, number: u64, into: &mut Vec<u8>) -> Result<Kind, SnapshotError> {
        let began = self.at;
        let cut_off = || corrupt(began, "a section that reaches behind the end");
        let left = self.header.length.saturating_sub(began);
        if left < SECTION_HEAD as u64 {
            return Err(cut_off());
        }
        self.file.seek(SeekFrom::Start(began))?;
        let mut head = [0; SECTION_HEAD];
        self.take(&mut head)?;
        let head =
            SectionHead::read(&head).ok_or_else(|| corrupt(began, "no section begins there"))?;
        if (head.length as u64) > left - SECTION_HEAD as u64 {
            return Err(cut_off());
        }
        into.resize(head.length, 0);
        self.take(into)?;
        if !head.fits(number, into) {
            return Err(corrupt(began, &format!("the checksum of {}", head.kind.name())));
        }
        Ok(head.kind)
    }

    /// Reads a section that must be of this kind.
    fn expect(&mut self, kind: Kind, number: u64, into: &mut Vec<u8>) -> Result<(), SnapshotError> {
        let began = self.at;
        let found = self.read(number, into)?;
        if found == kind {
            return Ok(());
        }
        Err(corrupt(began, &format!("{} in place of {}", found.name(), kind.name())))
    }

    /// Reads a section of JSON.
    fn parse<T: DeserializeOwned>(
        &mut self,
        kind: Kind,
        number: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<T, SnapshotError> {
        let began = self.at;
        self.expect(kind, number, buffer)?;
        serde_json::from_slice(buffer).map_err(|error| corrupt(began, &error.to_string()))
    }

    fn take(&mut self, into: &mut [u8]) -> Result<(), SnapshotError> {
        self.file.read_exact(into).map_err(|error| match error.kind() {
            // It has become shorter since it was opened.
            io::ErrorKind::UnexpectedEof => SnapshotError::Truncated { missing: 1 },
            _ => SnapshotError::Io(error),
        })?;
        self.at += into.len() as u64;
        Ok(())
    }
}
