//! The part of a stream that is in memory while it is searched: a block, and what the last one left over.

use std::io;

use super::segment;

/// Bytes that can be read at any place: a file.
pub trait Text {
    /// As pread(2).
    ///
    /// # Errors
    /// What pread(2) says.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The same, where of all bytes the newlines count alone.
    ///
    /// # Errors
    /// What pread(2) says.
    fn read_newlines_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(bytes, offset)
    }
}

impl Text for std::fs::File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, bytes, offset)
    }
}

/// How much is taken at once.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The longest line that is searched as one.
    pub part: usize,
    /// Bytes read at once.
    pub block: usize,
}

/// A stretch of a stream that begins with a segment.
pub struct Window<'a, T> {
    text: &'a T,
    /// Bytes of the stream that can be searched.
    end: u64,
    /// Nothing will follow them.
    ended: bool,
    sizes: Sizes,
    bytes: Vec<u8>,
    base: u64,
    whole: usize,
}

impl<'a, T: Text> Window<'a, T> {
    /// An empty window at `base`, where a segment begins.
    pub fn new(text: &'a T, base: u64, end: u64, ended: bool, sizes: Sizes) -> Self {
        let bytes = Vec::with_capacity(sizes.part.saturating_add(sizes.block));
        Self {
            text,
            end,
            ended,
            sizes,
            bytes,
            base,
            whole: 0,
        }
    }

    /// Its bytes up to the end of the last whole segment.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.whole).unwrap_or_default()
    }

    /// The place in the stream of one of its bytes.
    pub fn offset(&self, index: usize) -> u64 {
        self.base.saturating_add(size(index))
    }

    /// The end of what can be searched.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Drops its whole segments and reads on until there is one more; false when there is none.
    pub fn advance(&mut self) -> io::Result<bool> {
        self.base = self.offset(self.whole);
        self.bytes.drain(..self.whole);
        self.whole = 0;
        while self.whole == 0 && self.offset(self.bytes.len()) < self.end {
            self.read()?;
            let all = self.offset(self.bytes.len()) >= self.end && self.ended;
            self.whole = if all {
                self.bytes.len()
            } else {
                segment::whole(&self.bytes, self.sizes.part)
            };
        }
        Ok(self.whole > 0)
    }

    fn read(&mut self) -> io::Result<()> {
        let at = self.offset(self.bytes.len());
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let filled = self.bytes.len();
        self.bytes.resize(filled + left.min(self.sizes.block), 0);
        let read = fill(
            |bytes, at| self.text.read_at(bytes, at),
            self.bytes.get_mut(filled..).unwrap_or_default(),
            at,
        );
        let length = *read.as_ref().unwrap_or(&0);
        self.bytes.truncate(filled + length);
        if length == 0 {
            // Cut short by somebody: this is all there is.
            self.end = at;
        }
        read.map(drop)
    }
}

/// Reads as much as there is; less than asked for at the end only.
pub fn fill(
    read_at: impl Fn(&mut [u8], u64) -> io::Result<usize>,
    bytes: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match read_at(rest, offset.saturating_add(size(filled))) {
            Ok(0) => break,
            Ok(some) => filled += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A length as a place in a stream.
pub fn size(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
