//! How files become durable: [`Files`] writes a whole file through a temporary sibling, syncs it, renames it and syncs its
//! directory, and asks before each of these operations whether it may fail, so that tests can fail every one of them.

use std::fs::Permissions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// What is about to be done to the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A file is created, or emptied.
    Create,
    /// Bytes are written.
    Write,
    /// A file's bytes are made durable.
    SyncFile,
    /// A file or directory gets another name.
    Rename,
    /// The names in a directory are made durable.
    SyncDirectory,
    /// A file or a directory with all that is in it goes.
    Remove,
}

/// Called before each operation with the path it is about, for a rename the old one and the new one.
pub type Watch<'a> = dyn Fn(Operation, &Path, Option<&Path>) -> std::io::Result<()> + 'a;

/// The file system, or one that a test watches.
#[derive(Default)]
pub struct Files<'a> {
    watch: Option<&'a Watch<'a>>,
}

impl std::fmt::Debug for Files<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Files").field("watched", &self.watch.is_some()).finish()
    }
}

impl<'a> Files<'a> {
    /// A file system whose operations fail where `watch` says so.
    pub fn watched(watch: &'a Watch<'a>) -> Self {
        Self { watch: Some(watch) }
    }

    fn ask(&self, operation: Operation, path: &Path, to: Option<&Path>) -> std::io::Result<()> {
        self.watch.map_or(Ok(()), |watch| watch(operation, path, to))
    }

    /// Writes a file of mode 0600 through a temporary sibling, synced before it is renamed; the directory is synced after.
    /// Readers see the old file or the whole new one.
    pub fn publish(
        &self,
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let name =
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let written =
            self.write_synced(&temporary, write).and_then(|()| self.rename(&temporary, path));
        if let Err(error) = written {
            let _ = fs_err::remove_file(&temporary);
            return Err(error);
        }
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.sync_directory(parent),
            _ => self.sync_directory(Path::new(".")),
        }
    }

    fn write_synced(
        &self,
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        self.ask(Operation::Create, path, None)?;
        let file = fs_err::File::create(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        let watched = Watched { files: self, path, file };
        let mut buffered = BufWriter::with_capacity(1 << 16, watched);
        write(&mut buffered)?;
        buffered.flush()?;
        self.ask(Operation::SyncFile, path, None)?;
        buffered.get_ref().file.sync_all()
    }

    /// Gives a file or directory another name.
    pub fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.ask(Operation::Rename, from, Some(to))?;
        fs_err::rename(from, to)
    }

    /// Makes the names in a directory durable.
    pub fn sync_directory(&self, path: &Path) -> std::io::Result<()> {
        self.ask(Operation::SyncDirectory, path, None)?;
        fs_err::File::open(path)?.sync_all()
    }

    /// Removes a directory and what is in it, where it is there.
    pub fn remove_directory(&self, path: &Path) -> std::io::Result<()> {
        if !path.exists() {
            return Ok(());
        }
        self.ask(Operation::Remove, path, None)?;
        fs_err::remove_dir_all(path)
    }
}

/// A file whose writes are asked about.
struct Watched<'a> {
    files: &'a Files<'a>,
    path: &'a Path,
    file: fs_err::File,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Err(error) = self.files.ask(Operation::Write, self.path, None) {
            // A write that fails has often written a part.
            let _ = self.file.write_all(&bytes[..bytes.len() / 2]);
            return Err(error);
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Creates a directory and its parents, mode 0700 for those that are new.
pub fn create_private_directory(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        std::io::Error::new(
            error.kind(),
            format!("cannot create directory `{}`: {error}", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Whichever operation of a publication fails, readers see the old file or the new one, and an error that comes before
    /// the rename leaves nothing beside it.
    #[test]
    fn a_file_is_old_or_new_whatever_fails() {
        use Operation::{Create, Rename, SyncDirectory, SyncFile, Write};
        let root = std::env::temp_dir().join(format!("bioinstruct-files-{}", std::process::id()));
        create_private_directory(&root).unwrap();
        let path = root.join("a");
        let publish = |files: &Files<'_>, text: &str| {
            files.publish(&path, |out| {
                text.as_bytes().chunks(40_000).try_for_each(|piece| out.write_all(piece))
            })
        };
        let (old, new) = ("old ".repeat(20_000), "new ".repeat(30_000));
        let mut failed = Vec::new();
        for fail_at in 0.. {
            publish(&Files::default(), &old).unwrap();
            let count = Cell::new(0);
            let seen = Cell::new(None);
            let watch = |operation: Operation, _: &Path, _: Option<&Path>| {
                count.set(count.get() + 1);
                if count.get() == fail_at + 1 {
                    seen.set(Some(operation));
                    return Err(std::io::Error::other("injected"));
                }
                Ok(())
            };
            let result = publish(&Files::watched(&watch), &new);
            let found = fs_err::read_to_string(&path).unwrap();
            assert_eq!(fs_err::read_dir(&root).unwrap().count(), 1, "operation {fail_at}");
            let Some(operation) = seen.get() else {
                assert!(result.is_ok() && found == new);
                break;
            };
            assert!(result.is_err(), "{operation:?} failed and nothing was said");
            let renamed = operation == Operation::SyncDirectory;
            assert!(found == if renamed { &*new } else { &*old }, "{operation:?}");
            failed.push(operation);
        }
        assert_eq!(failed, [Create, Write, Write, Write, SyncFile, Rename, SyncDirectory]);
        fs_err::remove_dir_all(&root).unwrap();
    }
}
