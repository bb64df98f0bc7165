//! Bounded frame codec of both client sockets. A frame is a 4-byte little-endian length and as many bytes of postcard.
//! The length is checked before any allocation, and nothing may follow the value. The broker has its own reader.

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};

/// Bytes of the length field before each frame.
pub const HEADER: usize = 4;

#[derive(Debug)]
pub enum FrameError {
    TooLong {
        length: usize,
        cap: usize,
    },
    /// The bytes are not a message of this protocol, or bytes follow it.
    Malformed,
    /// The peer closed between two frames.
    Closed,
    /// The socket failed, or closed inside a frame.
    Io(io::Error),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong { length, cap } => {
                write!(f, "frame of {length} bytes, at most {cap} are allowed")
            }
            Self::Malformed => f.write_str("frame is not a message of this protocol"),
            Self::Closed => f.write_str("connection closed"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for FrameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::TooLong { .. } | Self::Malformed | Self::Closed => None,
        }
    }
}

/// Returns the length in a header. Errors: [`FrameError::TooLong`] above `cap`, [`FrameError::Malformed`] for zero.
pub fn header(bytes: [u8; HEADER], cap: usize) -> Result<usize, FrameError> {
    // u32 always fits in usize, because remit is built only for 64-bit machines.
    let length = usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| FrameError::Malformed)?;
    if length > cap {
        return Err(FrameError::TooLong { length, cap });
    }
    if length == 0 {
        return Err(FrameError::Malformed);
    }
    Ok(length)
}

/// Decodes one message from all of `bytes`, or returns [`FrameError::Malformed`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok(_) | Err(_) => Err(FrameError::Malformed),
    }
}

/// Encodes one message as a complete frame, or returns [`FrameError::TooLong`] above `cap`.
pub fn encode<T: Serialize>(message: &T, cap: usize) -> Result<Vec<u8>, FrameError> {
    let frame = postcard::to_extend(message, vec![0; HEADER]).map_err(|_| FrameError::Malformed)?;
    seal(frame, cap)
}

fn seal(mut frame: Vec<u8>, cap: usize) -> Result<Vec<u8>, FrameError> {
    let length = frame.len().saturating_sub(HEADER);
    let field = match u32::try_from(length) {
        Ok(field) if length <= cap => field.to_le_bytes(),
        Ok(_) | Err(_) => return Err(FrameError::TooLong { length, cap }),
    };
    if let Some(start) = frame.first_chunk_mut::<HEADER>() {
        *start = field;
    }
    Ok(frame)
}

/// Reads one message, blocking. Returns [`FrameError::Closed`] if the peer closed before the first byte.
pub fn read<T: DeserializeOwned>(from: &mut impl Read, cap: usize) -> Result<T, FrameError> {
    let mut field = [0; HEADER];
    match from.read(&mut field).map_err(FrameError::Io)? {
        0 => return Err(FrameError::Closed),
        some => {
            let rest = field.get_mut(some..).ok_or(FrameError::Malformed)?;
            from.read_exact(rest).map_err(FrameError::Io)?;
        }
    }
    let mut bytes = vec![0; header(field, cap)?];
    from.read_exact(&mut bytes).map_err(FrameError::Io)?;
    decode(&bytes)
}

/// Writes one complete message. Errors are those of [`encode`] and of the writer.
pub fn write<T: Serialize>(to: &mut impl Write, message: &T, cap: usize) -> Result<(), FrameError> {
    to.write_all(&encode(message, cap)?).map_err(FrameError::Io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Order;

    fn order() -> Order {
        Order::Begin {
            version: 1,
            calls: vec!["test".into()],
        }
    }

    #[test]
    fn a_message_comes_back() {
        let mut wire = Vec::new();
        write(&mut wire, &order(), 64).unwrap();
        let back: Order = read(&mut wire.as_slice(), 64).unwrap();
        assert_eq!(back, order());
    }

    #[test]
    fn cap_and_cap_plus_one() {
        let length = encode(&order(), 1 << 10).unwrap().len() - HEADER;
        assert!(encode(&order(), length).is_ok());
        assert!(matches!(
            encode(&order(), length - 1),
            Err(FrameError::TooLong { .. })
        ));
        assert!(header(8_u32.to_le_bytes(), 8).is_ok());
        assert!(matches!(
            header(9_u32.to_le_bytes(), 8),
            Err(FrameError::TooLong { .. })
        ));
        assert!(header(u32::MAX.to_le_bytes(), 1 << 30).is_err());
    }

    #[test]
    fn every_truncation_and_any_tail_is_refused() {
        let whole = encode(&order(), 64).unwrap();
        for cut in 0..whole.len() {
            let error = read::<Order>(&mut &whole[..cut], 64).unwrap_err();
            assert_eq!(
                matches!(error, FrameError::Closed),
                cut == 0,
                "cut at {cut}"
            );
        }
        for cut in HEADER..whole.len() {
            assert!(decode::<Order>(&whole[HEADER..cut]).is_err());
        }
        let mut longer = whole[HEADER..].to_vec();
        longer.push(0);
        assert!(matches!(
            decode::<Order>(&longer),
            Err(FrameError::Malformed)
        ));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = decode::<Order>(&bytes);
            let _ = read::<Order>(&mut bytes.as_slice(), 1 << 10);
        }
    }
}
