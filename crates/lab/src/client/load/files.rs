use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

use super::Random;
use super::patient::Patient;

/// How many files there are (`setup/streaming.sh` makes them).
const FILES: u64 = 500;
/// From one request to the next.
const PERIOD: Duration = Duration::from_millis(50);
/// No server says more about a file.
const LONGEST_LINE: u64 = 4096;

/// Asks for one file after the other over one connection, telling `arrived` of each.
pub(super) fn ask(connection: Patient, seed: u64, arrived: impl Fn(usize)) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut random = Random(seed);
    let mut content = Vec::new();
    loop {
        let number = random.low(FILES);
        let request = format!("GET /{number} HTTP/1.1\r\nHost: server\r\n\r\n");
        connection.get_mut().write_all(request.as_bytes())?;
        let length = read_header(&mut connection)?;
        let length = length.ok_or_else(|| wrong("the answer does not say how long it is"))?;
        content.resize(length, 0);
        connection.read_exact(&mut content)?;
        arrived(length);
        connection.get_mut().pace(PERIOD)?;
    }
}

/// Reads the header of an answer over HTTP, which must be a good one; the length that it states.
pub(super) fn read_header(connection: &mut impl BufRead) -> io::Result<Option<usize>> {
    let status = read_line(connection)?;
    if status.split(' ').nth(1) != Some("200") {
        return Err(wrong(&format!("the server answers `{status}`")));
    }
    let mut length = None;
    loop {
        let line = read_line(connection)?;
        if line.is_empty() {
            return Ok(length);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            let stated = value.trim().parse();
            length = Some(stated.map_err(|_| wrong(&format!("the server says `{line}`")))?);
        }
    }
}

/// A line without its end.
pub(super) fn read_line(connection: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    connection.take(LONGEST_LINE).read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(wrong("the server sends a line that does not end")),
    }
}

pub(super) fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
