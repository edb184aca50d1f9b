use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;

use super::Random;
use super::files::{read_line, wrong};
use super::patient::Patient;

/// As many values of the mean length as a cache of 64 MiB cannot hold at once.
const KEYS: u64 = 50_000;
/// From one batch of commands to the next.
const PERIOD: Duration = Duration::from_millis(20);
/// Commands sent at once.
const BATCH: usize = 10;

/// Writes and reads keys, telling `arrived` of each batch's answers.
///
/// The protocol: <https://redis.io/docs/latest/develop/reference/protocol-spec/>
pub(super) fn ask(connection: Patient, seed: u64, arrived: impl Fn(usize)) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut random = Random(seed);
    loop {
        let mut commands = Vec::new();
        for _ in 0..BATCH {
            let key = format!("key:{}", random.low(KEYS));
            if random.below(4) == 0 {
                let value = value(&mut random);
                command(&mut commands, &[b"SET", key.as_bytes(), &value]);
            } else {
                command(&mut commands, &[b"GET", key.as_bytes()]);
            }
        }
        connection.get_mut().write_all(&commands)?;
        let mut bytes = 0;
        for _ in 0..BATCH {
            bytes += read_reply(&mut connection)?;
        }
        arrived(bytes);
        connection.get_mut().pace(PERIOD)?;
    }
}

/// 100 to 4000 bytes that do not compress.
fn value(random: &mut Random) -> Vec<u8> {
    let length = 100 + random.below(3901) as usize;
    (0..length).map(|_| random.below(256) as u8).collect()
}

/// Adds a command to those that are sent: an array of strings of stated lengths.
pub(super) fn command(commands: &mut Vec<u8>, words: &[&[u8]]) {
    commands.extend(format!("*{}\r\n", words.len()).bytes());
    for word in words {
        commands.extend(format!("${}\r\n", word.len()).bytes());
        commands.extend_from_slice(word);
        commands.extend(b"\r\n");
    }
}

/// Reads a reply: a value, no value, or a word. The length of the value.
pub(super) fn read_reply(connection: &mut impl BufRead) -> io::Result<usize> {
    let line = read_line(connection)?;
    match line.split_at_checked(1) {
        Some(("+", _)) => Ok(0),
        Some(("$", "-1")) => Ok(0),
        Some(("$", length)) => {
            let length = length.parse().map_err(|_| wrong(&format!("redis says `{line}`")))?;
            let mut value = vec![0; length];
            connection.read_exact(&mut value)?;
            read_line(connection)?;
            Ok(length)
        }
        _ => Err(wrong(&format!("redis answers `{line}`"))),
    }
}
