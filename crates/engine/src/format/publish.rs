//! Publishing a model file: written to a temporary sibling, synced, read back, renamed. Main function: [`publish_checked`].

use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::Problem;

/// Writes a file of mode 0600 with `write`, lets `check` read it, and only then gives it its name.
pub(crate) fn publish_checked(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    check: impl FnOnce(&Path) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let temporary = temporary_sibling(path);
    let written = write_file(&temporary, write)
        .and_then(|()| check(&temporary))
        .and_then(|()| publish(&temporary, path));
    if written.is_err() {
        // the error that matters is the one at hand
        let _ = fs_err::remove_file(&temporary);
    }
    written
}

/// A hidden name beside `path` that no other process uses.
pub(crate) fn temporary_sibling(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

fn write_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), Problem> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use fs_err::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = std::io::BufWriter::with_capacity(1 << 20, options.open(path)?);
    write(&mut file)?;
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(())
}

/// Renames, and syncs the folder.
pub(crate) fn publish(temporary: &Path, path: &Path) -> Result<(), Problem> {
    fs_err::rename(temporary, path)?;
    #[cfg(unix)] // elsewhere a folder cannot be opened as a file
    {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs_err::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
