//! The part of a stream in memory during a search: a block and the remainder of the previous one.

use std::io;

use super::segment;

pub trait Text {
    /// As pread(2).
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Same as `read_at`, but only the newlines must be right: other bytes can be unredacted.
    fn read_newlines_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(bytes, offset)
    }
}

impl Text for std::fs::File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, bytes, offset)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The longest line that is searched as one.
    pub part: usize,
    pub block: usize,
}

pub struct Window<'a, T> {
    text: &'a T,
    end: u64,
    ended: bool,
    sizes: Sizes,
    bytes: Vec<u8>,
    base: u64,
    whole: usize,
}

impl<'a, T: Text> Window<'a, T> {
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

    /// Returns the bytes up to the end of the last whole segment.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.whole).unwrap_or_default()
    }

    pub fn offset(&self, index: usize) -> u64 {
        self.base.saturating_add(size(index))
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    /// Drops the whole segments and reads until there is another one. Returns false at the end.
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
            // The file was truncated: this is the end.
            self.end = at;
        }
        read.map(drop)
    }
}

/// Reads until `bytes` is full or the end is reached.
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

pub fn size(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
