//! Whole numbers in as few bytes as they need: LEB128, seven bits a byte, the lowest first; the
//! highest bit of a byte says that more follow.

/// Why a number could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread<E> {
    /// There is no next byte.
    Byte(E),
    /// It does not end, or is more than 64 bits.
    TooLong,
}

/// Gives the bytes of `number` to `put`: one to ten of them.
#[inline]
pub fn write(mut number: u64, mut put: impl FnMut(u8)) {
    while number >= 0x80 {
        put(number as u8 | 0x80);
        number >>= 7;
    }
    put(number as u8);
}

/// Reads a number from the bytes that `next` gives.
///
/// # Errors
/// That of `next`, or the number is none of 64 bits.
#[inline]
pub fn read<E>(mut next: impl FnMut() -> Result<u8, E>) -> Result<u64, Unread<E>> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = next().map_err(Unread::Byte)?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Unread::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8]) -> Result<u64, Unread<()>> {
        let mut bytes = bytes.iter().copied();
        read(|| bytes.next().ok_or(()))
    }

    #[test]
    fn numbers_of_every_size() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            write(number, |byte| bytes.push(byte));
            assert_eq!(read_all(&bytes), Ok(number));
        }
        assert_eq!(read_all(&[0x80; 3]), Err(Unread::Byte(())));
    }

    #[test]
    fn what_is_more_than_64_bits_is_refused() {
        assert_eq!(read_all(&[0xff; 10]), Err(Unread::TooLong));
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(read_all(&most), Ok(u64::MAX));
        let more = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(read_all(&more), Err(Unread::TooLong));
    }
}
