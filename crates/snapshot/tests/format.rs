//! What was written is read, and nothing else is taken for it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Cursor;

use proptest::collection::vec;
use proptest::prelude::*;
use punctual_snapshot::{
    About, Content, DiskState, Ending, LONGEST_PIECE, Purpose, Reader, SnapshotError, SnapshotId,
    Touched, Writer, identify,
};
use punctual_units::{Bytes, MemoryLayout, Region};

fn about() -> About {
    let region = |name: &str, mib| Region { name: name.to_owned(), size: Bytes::mib(mib) };
    About {
        id: SnapshotId(u128::MAX / 3),
        purpose: Purpose::Suspended,
        machine: "web".to_owned(),
        host: "a".to_owned(),
        taken_at: 1_750_000_000,
        layout: MemoryLayout::new(vec![region("ram0", 4), region("dimm1", 2)]).unwrap(),
    }
}

fn ending(state: &[u8]) -> Ending {
    let disk = |path: &str, touched| DiskState {
        path: path.into(),
        writable: true,
        size: Bytes::mib(7),
        touched,
    };
    let touched = Touched { seconds: -1, nanoseconds: 999_999_999 };
    Ending {
        digest: u128::MAX - 1,
        populated: Bytes::mib(3),
        device_state: Bytes::new(state.len() as u64),
        disks: vec![disk("/srv/web.qcow2", Some(touched)), disk("/dev/vg/web", None)],
    }
}

const DESCRIPTION: &[u8] = br#"{"name":"web"}"#;

fn file(pages: &[Vec<u8>], state: &[u8]) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let mut writer = Writer::begin(&mut file, &about(), DESCRIPTION).unwrap();
    pages.iter().for_each(|payload| writer.pages(payload).unwrap());
    writer.device_state(state).unwrap();
    let announced = writer.written().get();
    writer.finish(&ending(state)).unwrap();
    let file = file.into_inner();
    assert!(announced < file.len() as u64);
    file
}

/// A small one with everything in it.
fn sample() -> Vec<u8> {
    file(&[b"some pages".to_vec(), b"more of them".to_vec()], b"device state")
}

/// All pages and all device state.
type Contents = (Vec<Vec<u8>>, Vec<u8>);

fn read(bytes: &[u8]) -> Result<Contents, SnapshotError> {
    let mut reader = Reader::open(Cursor::new(bytes))?;
    let (mut pages, mut state) = (Vec::new(), Vec::new());
    while let Some(content) = reader.read_next()? {
        match content {
            Content::Pages(payload) => pages.push(payload.to_vec()),
            Content::DeviceState(piece) => state.extend_from_slice(piece),
        }
    }
    assert_eq!(reader.about(), &about());
    assert_eq!(reader.description(), DESCRIPTION);
    assert_eq!(reader.ending(), &ending(&state));
    assert_eq!(reader.length().get(), bytes.len() as u64);
    Ok((pages, state))
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        pages in vec(vec(any::<u8>(), 0..2000), 0..20),
        state in vec(any::<u8>(), 0..3000),
    ) {
        prop_assert_eq!(read(&file(&pages, &state)).unwrap(), (pages, state));
    }

    #[test]
    fn whatever_comes_in_nothing_panics(bytes in vec(any::<u8>(), 0..300), behind in any::<bool>()) {
        let magic: &[u8] = if behind { b"PNSNAP\r\n\x01\0" } else { b"" };
        prop_assert!(read(&[magic, &bytes].concat()).is_err());
    }
}

#[test]
fn device_state_of_any_length_goes_in_pieces() {
    let state: Vec<u8> = (0..2 * LONGEST_PIECE + 7).map(|at| (at / 251) as u8).collect();
    assert_eq!(read(&file(&[], &state)).unwrap(), (vec![], state));
}

#[test]
fn cut_off_anywhere_it_is_told_how_much_is_missing() {
    let whole = sample();
    assert!(read(&whole).is_ok());
    for length in 1..whole.len() {
        let error = read(&whole[..length]).unwrap_err();
        let header = 64;
        let expected = if length < header { header - length } else { whole.len() - length };
        let told =
            matches!(error, SnapshotError::Truncated { missing } if missing == expected as u64);
        assert!(told, "after {length} bytes: {error}");
    }
    assert!(matches!(read(&[]), Err(SnapshotError::NotASnapshot)));
}

#[test]
fn a_bit_changed_anywhere_is_found() {
    let whole = sample();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = read(&bytes).unwrap_err();
        let fits = match bit / 8 {
            0..8 => matches!(error, SnapshotError::NotASnapshot),
            8..10 => matches!(error, SnapshotError::OtherVersion { .. }),
            _ => matches!(error, SnapshotError::Corrupt { .. }),
        };
        assert!(fits, "bit {bit}: {error}");
    }
}

#[test]
fn sections_do_not_pass_for_each_other() {
    let (one, two) = (vec![b"page one".to_vec(), b"page two".to_vec()], b"state");
    let whole = file(&one, two);
    let find = |what: &[u8]| whole.windows(what.len()).position(|at| at == what).unwrap() - 16;
    let (first, second) = (find(b"page one"), find(b"page two"));
    let length = second - first;
    let mut swapped = whole.clone();
    swapped[first..second].copy_from_slice(&whole[second..second + length]);
    swapped[second..second + length].copy_from_slice(&whole[first..second]);
    let error = read(&swapped).unwrap_err();
    assert!(matches!(error, SnapshotError::Corrupt { at, .. } if at == first as u64), "{error}");
}

#[test]
fn what_was_not_finished_is_no_snapshot() {
    let mut file = Cursor::new(Vec::new());
    let mut unfinished = Writer::begin(&mut file, &about(), DESCRIPTION).unwrap();
    unfinished.pages(b"some pages").unwrap();
    unfinished.device_state(b"state").unwrap();
    let error = read(file.get_ref()).unwrap_err();
    assert!(matches!(error, SnapshotError::Unfinished), "{error}");
    assert!(identify(&mut file).is_err());
}

#[test]
fn each_error_says_what_to_do() {
    let whole = sample();
    let mut other = whole.clone();
    other[8] = 9;
    let mut longer = whole.clone();
    longer.push(0);
    let told = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert!(
        told(&other).contains("version 9") && told(&other).contains("the release that wrote it")
    );
    assert!(told(&whole[..whole.len() - 5]).contains("5 bytes too early: copy it again"));
    assert!(told(&longer).contains("more bytes than its header states; copy it again"));
    assert!(told(b"PNTRAC\r\n").contains("`punctual suspend`"));
}

#[test]
fn a_snapshot_is_known_by_its_header_alone() {
    assert_eq!(identify(&mut Cursor::new(sample())).unwrap(), about().id);
    assert_eq!(about().id.to_string().parse(), Ok(about().id));
    assert!("7".parse::<SnapshotId>().is_err());
}

#[test]
fn device_state_must_be_as_long_as_stated() {
    let mut file = Cursor::new(Vec::new());
    let mut writer = Writer::begin(&mut file, &about(), DESCRIPTION).unwrap();
    writer.device_state(b"half").unwrap();
    writer.finish(&ending(b"half of it")).unwrap();
    let error = read(file.get_ref()).unwrap_err().to_string();
    assert!(error.contains("another length of device state"), "{error}");
}

#[test]
fn pages_come_before_device_state_and_sections_have_limits() {
    let mut file = Cursor::new(Vec::new());
    let mut writer = Writer::begin(&mut file, &about(), DESCRIPTION).unwrap();
    assert!(writer.pages(&vec![0; (256 << 10) + 1]).is_err());
    writer.device_state(b"state").unwrap();
    writer.pages(b"late").unwrap();
    writer.finish(&ending(b"state")).unwrap();
    let error = read(file.get_ref()).unwrap_err().to_string();
    assert!(error.contains("pages out of place"), "{error}");
}
