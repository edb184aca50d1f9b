//! Every message has bytes in `golden/` that must never change within a version of the protocol.
//!
//! Where the protocol changes on purpose: raise `Versions::SPOKEN`, and run this with
//! `PUNCTUAL_BLESS=1` to write the files anew.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::{Debug, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond, MemoryLayout, PageRange, Pages, Region};
use punctual_wire::pages::Encoder;
use punctual_wire::{
    DestinationMessage, Engine, Faults, HEADER_LENGTH, Header, Inquiry, Kind, Message, MigrationId,
    Offer, Outcome, PageLine, PageRuns, Refusal, Serve, SourceMessage, Version, Versions, decode,
    encode,
};

const V2: Version = Version(2);

#[test]
fn messages_of_the_source() {
    let migration = MigrationId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
    for message in [
        SourceMessage::Offer(Box::new(offer(migration))),
        SourceMessage::Probe(vec![0; 5]),
        SourceMessage::ProbeEnd,
        SourceMessage::RoundEnd { round: 300 },
        SourceMessage::DeviceState(b"state".to_vec()),
        SourceMessage::Missing(PageRuns::one(PageRange::new(7, 300))),
        SourceMessage::HandOver { device_state: Bytes::new(262_144), missing: Pages::new(293) },
        SourceMessage::Commit,
        SourceMessage::Abort { reason: "cancelled".to_owned() },
        SourceMessage::Inquire(Inquiry { migration }),
        SourceMessage::Serve(Serve { migration, line: PageLine::Push }),
        SourceMessage::Tunnel { migration },
    ] {
        check_message(&message);
    }
}

#[test]
fn messages_of_the_destination() {
    for message in [
        DestinationMessage::Accepted { command_line: vec!["qemu".to_owned(), "-S".to_owned()] },
        DestinationMessage::Refused(vec![Refusal {
            code: "name-taken".to_owned(),
            reason: "there is a machine `web`".to_owned(),
            remedy: "rename one".to_owned(),
        }]),
        DestinationMessage::Probed { rate: BytesPerSecond::megabits(1000) },
        DestinationMessage::Prepared,
        DestinationMessage::Received { bytes: Bytes::mib(512) },
        DestinationMessage::Ready {
            digest: Some(0xfedc_ba98_7654_3210),
            loading: Duration::from_micros(4_500),
            verifying: Duration::from_millis(250),
        },
        DestinationMessage::Running { resuming: Duration::from_micros(3_100) },
        DestinationMessage::Failed { reason: "out of memory".to_owned() },
        DestinationMessage::Outcome(Outcome::Committed),
        DestinationMessage::Forgotten { pages: Pages::new(293) },
        DestinationMessage::Want(PageRuns::one(PageRange::new(5, 6))),
        DestinationMessage::Lacking { pages: PageRuns::one(PageRange::new(7, 300)), last: true },
        DestinationMessage::Whole {
            faults: Faults {
                count: 77,
                median: Duration::from_micros(600),
                p99: Duration::from_millis(2),
                longest: Duration::from_millis(3),
            },
            digest: Some(5),
        },
    ] {
        check_message(&message);
    }
}

#[test]
fn outcomes() {
    for (name, outcome) in [("aborted", Outcome::Aborted), ("undecided", Outcome::Undecided)] {
        let mut payload = Vec::new();
        encode(&DestinationMessage::Outcome(outcome), &mut payload).unwrap();
        check(&format!("outcome-{name}"), &frame(V2, Kind::Destination, &payload));
    }
}

#[test]
fn hello() {
    let hello = Versions::SPOKEN.to_hello();
    check("hello", &frame(Version::HANDSHAKE, Kind::Hello, &hello));
}

#[test]
fn pages() {
    let region = Region { name: "ram0".to_owned(), size: Bytes::mib(1) };
    let layout = MemoryLayout::new(vec![region]).unwrap();
    let mut encoder = Encoder::new(layout, [7; 32], Bytes::mib(1));
    let raw = encoder.raw(PageRange::new(3, 200)).unwrap();
    check("raw-pages", &frame(V2, Kind::RawPages, &raw.to_payload()));

    // Whole and remembered, then changed, then zero: one payload each.
    for round in 0..3_u8 {
        let mut payload = Vec::new();
        encoder
            .encode(
                [PageRange::new(4, 6)],
                |_, copies| {
                    copies.fill(if round < 2 { 0xaa } else { 0 });
                    copies[4096 + 700] = if round < 2 { round } else { 0 };
                    Ok::<_, ()>(())
                },
                |batch| {
                    payload.extend_from_slice(batch);
                    Ok(())
                },
            )
            .unwrap();
        check(&format!("packed-pages-{round}"), &frame(V2, Kind::PackedPages, &payload));
    }
}

fn offer(migration: MigrationId) -> Offer {
    let region = |name: &str, mib| Region { name: name.to_owned(), size: Bytes::mib(mib) };
    Offer {
        migration,
        machine: "web".to_owned(),
        source: "a".to_owned(),
        source_address: "10.0.0.1:7070".to_owned(),
        layout: MemoryLayout::new(vec![region("ram0", 512), region("dimm1", 128)]).unwrap(),
        populated: Bytes::mib(300),
        description: b"{}".to_vec(),
        downtime: Duration::from_millis(50),
        bandwidth: Some(BytesPerSecond::megabits(1000)),
        verify: true,
        dry_run: false,
        post_copy: true,
        engine: Engine::Native,
    }
}

/// Checks the bytes of a message, and that they give the message back.
fn check_message<M: Message + PartialEq + Debug>(message: &M) {
    let mut payload = Vec::new();
    encode(message, &mut payload).unwrap();
    check(&message.name().to_lowercase(), &frame(V2, M::KIND, &payload));
    assert_eq!(&decode::<M>(&payload).unwrap(), message);
    for length in 0..payload.len() {
        assert!(decode::<M>(&payload[..length]).is_err(), "{} cut to {length}", message.name());
    }
    payload.push(0);
    assert!(decode::<M>(&payload).is_err(), "{} with a byte behind it", message.name());
}

fn frame(version: Version, kind: Kind, payload: &[u8]) -> Vec<u8> {
    let header = Header::write(version, kind, payload).unwrap();
    let read = Header::read(&header, version).unwrap();
    assert_eq!((read.kind, read.length), (kind, payload.len()));
    read.check(payload).unwrap();
    [&header, payload].concat()
}

fn check(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{name}.hex"));
    let hex = hex(bytes);
    if std::env::var_os("PUNCTUAL_BLESS").is_some() {
        std::fs::write(&path, hex).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; see the top of this test", path.display()));
    assert_eq!(hex, golden, "the format of {name} has changed; see the top of this test");
}

/// The header on a line of its own, then 32 bytes a line.
fn hex(bytes: &[u8]) -> String {
    let (header, payload) = bytes.split_at(HEADER_LENGTH);
    let mut text = String::new();
    for line in std::iter::once(header).chain(payload.chunks(32)) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}
