//! The bytes of a model file: memory-mapped, or owned (for tests and fuzzing). Main types: [`FileBytes`] and its
//! [`FilePart`]s, which keep the file open.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

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

/// A stretch of a file, such as a tensor's rows.
#[derive(Debug, Clone)]
pub(crate) struct FilePart {
    file: Arc<FileBytes>,
    range: Range<usize>,
}

impl FilePart {
    /// These bytes of the file.
    pub(crate) fn new(file: &Arc<FileBytes>, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= file.len(), "a part lies inside the file");
        Self { file: Arc::clone(file), range }
    }

    /// Bytes in memory.
    pub(crate) fn owned(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { file: Arc::new(FileBytes::Owned(bytes)), range }
    }
}

impl std::ops::Deref for FilePart {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.file[self.range.clone()]
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
