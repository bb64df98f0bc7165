//! Splits messages into datagrams and joins them again, and the errors of the link. Makes no system calls.

use std::cell::Cell;
use std::io;

use nix::errno::Errno;
use remit_common::caps;
use remit_common::frame::{self, FrameError};
use serde::Serialize;

/// Mark: last part of a message.
const MESSAGE: u8 = 0;
/// Mark: the next datagram continues this part.
const PART: u8 = 1;
/// Mark: last part of a content.
const CONTENT: u8 = 2;

const CONTENTS: usize = 2;
/// Maximum bytes of one joined message with its contents.
const MOST: usize = 2 * caps::LINK_PARTS;

#[derive(Debug)]
pub struct Packed {
    parts: Vec<Vec<u8>>,
    sent: Cell<usize>,
    size: usize,
}

impl Packed {
    /// Packs a message, or returns [`LinkError::Malformed`] above [`caps::LINK_PARTS`].
    pub fn new<T: Serialize>(message: &T) -> Result<Self, LinkError> {
        Self::with(message, &[])
    }

    /// Packs a message and its contents, or returns [`LinkError::Malformed`] if one exceeds [`caps::LINK_PARTS`].
    pub fn with<T: Serialize>(message: &T, contents: &[Vec<u8>]) -> Result<Self, LinkError> {
        let frame = frame::encode(message, caps::LINK_PARTS)?;
        let body = frame.get(frame::HEADER..).unwrap_or_default();
        if contents
            .iter()
            .any(|content| content.len() > caps::LINK_PARTS)
        {
            return Err(LinkError::Malformed);
        }
        let mut parts = Vec::new();
        for content in contents {
            cut(content, CONTENT, &mut parts);
        }
        cut(body, MESSAGE, &mut parts);
        Ok(Self {
            size: parts.iter().map(Vec::len).sum(),
            parts,
            sent: Cell::new(0),
        })
    }

    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    pub(crate) const fn is_at_start(&self) -> bool {
        self.sent.get() == 0
    }

    pub(crate) fn rest(&self) -> &[Vec<u8>] {
        self.parts.get(self.sent.get()..).unwrap_or_default()
    }

    /// Marks one datagram as sent. After the last one the message can be sent again.
    pub(crate) fn advance(&self) {
        let sent = self.sent.get().saturating_add(1);
        self.sent
            .set(if sent < self.parts.len() { sent } else { 0 });
    }
}

fn cut(bytes: &[u8], last: u8, parts: &mut Vec<Vec<u8>>) {
    let mut chunks = bytes.chunks(caps::LINK_MESSAGE - 1).peekable();
    if chunks.peek().is_none() {
        parts.push(vec![last]);
    }
    while let Some(chunk) = chunks.next() {
        let mark = if chunks.peek().is_some() { PART } else { last };
        let mut part = Vec::with_capacity(chunk.len() + 1);
        part.push(mark);
        part.extend_from_slice(chunk);
        parts.push(part);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Parts {
    current: Vec<u8>,
    contents: Vec<Vec<u8>>,
    size: usize,
}

pub(crate) struct Whole<'a> {
    body: std::borrow::Cow<'a, [u8]>,
    contents: Vec<Vec<u8>>,
}

impl Whole<'_> {
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn contents(&self) -> &[Vec<u8>] {
        &self.contents
    }
}

impl Parts {
    /// Takes a datagram. `None`: more must follow. Malformed: an unknown mark, too many bytes in total, or a part that is
    /// continued and not full. `cut` fills each, and the receiver reads all datagrams of a message in one go: of parts of
    /// one byte it would read millions.
    pub(crate) fn take<'a>(&mut self, datagram: &'a [u8]) -> Result<Option<Whole<'a>>, LinkError> {
        let [mark, bytes @ ..] = datagram else {
            return Err(LinkError::Malformed);
        };
        self.size = self.size.saturating_add(datagram.len());
        if self.size > MOST {
            return Err(LinkError::Malformed);
        }
        match *mark {
            MESSAGE => {
                let Self {
                    mut current,
                    contents,
                    ..
                } = std::mem::take(self);
                let body = if current.is_empty() {
                    bytes.into()
                } else {
                    current.extend_from_slice(bytes);
                    current.into()
                };
                Ok(Some(Whole { body, contents }))
            }
            PART if datagram.len() == caps::LINK_MESSAGE => {
                self.current.extend_from_slice(bytes);
                Ok(None)
            }
            CONTENT if self.contents.len() < CONTENTS => {
                let mut content = std::mem::take(&mut self.current);
                content.extend_from_slice(bytes);
                self.contents.push(content);
                Ok(None)
            }
            _ => Err(LinkError::Malformed),
        }
    }
}

#[derive(Debug)]
pub enum LinkError {
    Full,
    Empty,
    Closed,
    /// The bytes are not a message, or there are too many descriptors.
    Malformed,
    Io(io::Error),
}

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("link is full"),
            Self::Empty => f.write_str("link is empty"),
            Self::Closed => f.write_str("link is closed"),
            Self::Malformed => f.write_str("the link carried an invalid message"),
            Self::Io(error) => write!(f, "link: {error}"),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<Errno> for LinkError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EPIPE | Errno::ECONNRESET => Self::Closed,
            other => Self::Io(other.into()),
        }
    }
}

impl From<FrameError> for LinkError {
    fn from(_: FrameError) -> Self {
        Self::Malformed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_together(packed: &Packed) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
        let mut parts = Parts::default();
        let mut last = None;
        for part in packed.rest() {
            assert!(last.is_none() && part.len() <= caps::LINK_MESSAGE);
            let whole = parts.take(part).ok()?;
            last = whole.map(|whole| (whole.body().to_vec(), whole.contents().to_vec()));
            packed.advance();
        }
        assert!(packed.is_at_start());
        last
    }

    #[test]
    fn message_in_parts_is_put_together() {
        let chunk = caps::LINK_MESSAGE - 1;
        for length in [0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk] {
            for contents in [vec![], vec![vec![1; length]], vec![vec![], vec![2; 70_000]]] {
                let packed = Packed::with(&"u".repeat(length), &contents).unwrap();
                let (body, found) = put_together(&packed).unwrap();
                let back: String = frame::decode(&body).unwrap();
                assert_eq!((back.len(), found), (length, contents));
            }
        }
    }

    #[test]
    fn too_much_is_refused_before_it_is_held() {
        let mut parts = Parts::default();
        let part = [&[PART][..], &vec![0; caps::LINK_MESSAGE - 1]].concat();
        let taken = (0..).take_while(|_| parts.take(&part).is_ok()).count();
        assert_eq!(taken * part.len(), MOST);
        for length in [0, 1, caps::LINK_MESSAGE - 2, caps::LINK_MESSAGE] {
            let short = [&[PART][..], &vec![0; length]].concat();
            assert!(Parts::default().take(&short).is_err(), "{length}");
        }
        let mut parts = Parts::default();
        for _ in 0..CONTENTS {
            assert!(parts.take(&[CONTENT]).unwrap().is_none());
        }
        assert!(parts.take(&[CONTENT]).is_err());
        assert!(Parts::default().take(&[]).is_err());
        assert!(Parts::default().take(&[3]).is_err());
    }
}
