use std::io::{self, BufReader, Read, Write};

use super::files::read_header;
use super::patient::Patient;

/// Read at once at most: more than comes between two looks.
const PIECE: usize = 64 << 10;

/// Reads an endless answer, telling `arrived` of each piece.
pub(super) fn read(mut connection: Patient, arrived: impl Fn(usize)) -> io::Result<()> {
    connection.write_all(b"GET /clip HTTP/1.0\r\n\r\n")?;
    let mut connection = BufReader::with_capacity(PIECE, connection);
    read_header(&mut connection)?;
    let mut piece = vec![0; PIECE];
    loop {
        arrived(connection.read(&mut piece)?);
    }
}
