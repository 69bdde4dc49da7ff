//! The bytes of a model file: memory-mapped, or owned (for tests and fuzzing). Main type: [`FileBytes`].

use std::path::Path;

use super::error::Problem;

/// Read-only bytes of one file.
#[derive(Debug)]
pub(crate) enum FileBytes {
    /// A map of a file. Pages are loaded when touched, and shared between processes.
    Mapped(memmap2::Mmap),
    /// Bytes in memory.
    Owned(Vec<u8>),
}

impl FileBytes {
    /// Maps `path`. The size is taken from the same open file, so that every later range check is
    /// against what is mapped. An empty file gives empty bytes.
    pub(crate) fn open(path: &Path) -> Result<Self, Problem> {
        let file = fs_err::File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Problem::NotAFile);
        }
        if metadata.len() == 0 {
            return Ok(Self::Owned(Vec::new()));
        }
        #[expect(unsafe_code, reason = "a memory map is the only way to open 14 GB without a copy")]
        // SAFETY: the map is read-only and private to this value, and no reference outlives it. What
        // remains is a file shortened by somebody else while it is mapped: the cache publishes files
        // by rename and never writes to a published one, and the documentation asks the same of users.
        let map = unsafe { memmap2::Mmap::map(file.file())? };
        Ok(Self::Mapped(map))
    }
}

impl std::ops::Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}
