//! A reader over the header bytes of a GGUF file that can only move forward and never past the end.
//! Main type: [`Cursor`].

use std::ops::Range;

use super::error::Problem;

/// Position in `bytes`. Every read is checked against what is left before anything is allocated.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes consumed so far.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Bytes that are left.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The range of the next `length` bytes, which are skipped.
    pub(crate) fn take(
        &mut self,
        length: u64,
        what: &'static str,
    ) -> Result<Range<usize>, Problem> {
        let available = self.remaining();
        match usize::try_from(length) {
            Ok(length) if length <= available => {
                let start = self.position;
                self.position += length;
                Ok(start..self.position)
            }
            _ => Err(Problem::Truncated {
                what,
                offset: self.position as u64,
                needed: length,
                available: available as u64,
            }),
        }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Problem> {
        let range = self.take(N as u64, what)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[range]);
        Ok(array)
    }

    /// One byte.
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Problem> {
        Ok(self.array::<1>(what)?[0])
    }

    /// Two bytes, little-endian.
    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Problem> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    /// Four bytes, little-endian.
    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Problem> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// Eight bytes, little-endian.
    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Problem> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Four raw bytes.
    pub(crate) fn magic(&mut self) -> Result<[u8; 4], Problem> {
        self.array("the magic number")
    }

    /// A string: a 64-bit length, then UTF-8. Borrowed, so nothing is allocated.
    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, Problem> {
        let length = self.u64(what)?;
        let offset = self.position as u64;
        let range = self.take(length, what)?;
        std::str::from_utf8(&self.bytes[range]).map_err(|_| Problem::NotUtf8 { what, offset })
    }

    /// A count of entries that take at least `entry_bytes` each, and are at most `limit`.
    pub(crate) fn count(
        &mut self,
        what: &'static str,
        entry_bytes: usize,
        limit: u64,
    ) -> Result<usize, Problem> {
        let count = self.u64(what)?;
        let limit = limit.min((self.remaining() / entry_bytes) as u64);
        match usize::try_from(count) {
            Ok(entries) if count <= limit => Ok(entries),
            _ => Err(Problem::Count { what, count, limit }),
        }
    }
}
