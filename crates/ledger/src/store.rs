//! The file itself: [`Ledger::open`] makes it private, takes its lock, checks it and brings it to the current format.
//!
//! One process at a time: `SQLite`'s exclusive locking mode keeps others out and needs no shared memory, so that the
//! write-ahead log is also sound where memory cannot be shared. `synchronous=FULL` syncs the log at every commit.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bioinstruct_core::hash::ContentHash;
use fs_err::os::unix::fs::OpenOptionsExt;
use rusqlite::{Connection, OpenFlags};

use crate::LedgerError;

/// `BIOL`: tells a ledger from other `SQLite` files.
const APPLICATION_ID: i64 = 0x4249_4F4C;
/// The format that this version writes, kept in `SQLite`'s `user_version`.
pub(crate) const FORMAT: i64 = 1;
/// The first release without the WAL-reset defect.
const OLDEST_SQLITE: i32 = 3_051_003;
/// How every `SQLite` file begins; the size of a page follows in two bytes, big-endian, 1 standing for 65,536.
const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER_BYTES: usize = MAGIC.len() + 2;
/// Bytes of the smallest page.
const SMALLEST_PAGE: u64 = 512;
/// How long an open waits for a process that is just ending.
const LOCK_WAIT: Duration = Duration::from_secs(1);

const SCHEMA: &str = "
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE requests (
    id TEXT NOT NULL UNIQUE,
    plan_index INTEGER PRIMARY KEY,
    body TEXT NOT NULL,
    extra TEXT NOT NULL,
    planned_at INTEGER NOT NULL,
    seal TEXT NOT NULL
) STRICT;
CREATE TABLE attempts (
    request_id TEXT NOT NULL REFERENCES requests (id),
    number INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    error TEXT,
    in_doubt INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (request_id, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE replies (
    request_id TEXT PRIMARY KEY REFERENCES requests (id),
    body TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    seal TEXT NOT NULL
) STRICT;
CREATE TABLE failures (
    request_id TEXT PRIMARY KEY REFERENCES requests (id),
    error TEXT NOT NULL,
    in_doubt INTEGER NOT NULL,
    failed_at INTEGER NOT NULL
) STRICT;
CREATE TABLE answers (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    seal TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT;
";

/// The journal of one run. Every method that writes returns after its bytes are on the disk.
#[derive(Debug)]
pub struct Ledger {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
}

impl Ledger {
    /// Opens the ledger, or makes a new one (mode 0600) when there is no file.
    ///
    /// Refuses a file that another process has open, that a newer version wrote, that is no ledger, or that is damaged.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(LedgerError::OldSqlite { found: rusqlite::version() });
        }
        prepare_file(path)?;
        let opened = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        );
        let connection = opened.map_err(|error| LedgerError::sqlite(path, error))?;
        let ledger = Self { connection, path: path.to_owned() };
        ledger.configure().map_err(|error| ledger.sqlite(error))?;
        ledger.check_format()?;
        ledger.check_pages()?;
        Ok(ledger)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn configure(&self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(LOCK_WAIT)?;
        // The locking mode comes before the first access, so that no shared-memory file is ever made.
        self.connection.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA synchronous = FULL;
             PRAGMA fullfsync = ON;
             PRAGMA checkpoint_fullfsync = ON;
             PRAGMA foreign_keys = ON;
             PRAGMA trusted_schema = OFF;",
        )
    }

    /// Reads the format before anything is changed, so a foreign database stays as it is.
    fn check_format(&self) -> Result<(), LedgerError> {
        let application = self.pragma("application_id")?;
        let format = self.pragma("user_version")?;
        let tables = self.pragma("schema_version")?;
        if application == 0 && format == 0 && tables == 0 {
            return self.create().map_err(|error| self.sqlite(error));
        }
        if application != APPLICATION_ID {
            return Err(LedgerError::NotALedger {
                path: self.path.clone(),
                reason: "it is an SQLite database of another program".to_owned(),
            });
        }
        if format > FORMAT {
            return Err(LedgerError::Newer {
                path: self.path.clone(),
                found: format,
                supported: FORMAT,
            });
        }
        // An empty exclusive transaction takes the lock for as long as the ledger is open.
        self.connection
            .execute_batch("BEGIN EXCLUSIVE; COMMIT;")
            .map_err(|error| self.sqlite(error))
    }

    fn create(&self) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        self.connection.execute_batch(&format!(
            "BEGIN EXCLUSIVE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
        ))
    }

    /// Walks all pages: a cut or overwritten file is found now, not in the middle of a paid run.
    fn check_pages(&self) -> Result<(), LedgerError> {
        let verdict: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| self.sqlite(error))?;
        if verdict == "ok" {
            return Ok(());
        }
        Err(self.damaged(verdict))
    }

    fn pragma(&self, name: &str) -> Result<i64, LedgerError> {
        self.connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(|error| self.sqlite(error))
    }

    /// Runs `work` in one transaction; an error of either kind leaves nothing behind.
    pub(crate) fn transaction<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let transaction =
            self.connection.unchecked_transaction().map_err(|error| self.sqlite(error))?;
        let result = work(&transaction)?;
        transaction.commit().map_err(|error| self.sqlite(error))?;
        Ok(result)
    }

    pub(crate) fn sqlite(&self, error: rusqlite::Error) -> LedgerError {
        LedgerError::sqlite(&self.path, error)
    }

    pub(crate) fn damaged(&self, reason: impl Into<String>) -> LedgerError {
        LedgerError::Damaged { path: self.path.clone(), reason: reason.into() }
    }
}

/// `SQLite` has no checksums of content, so each row carries one: a flipped bit in a paid answer must not pass as an answer.
pub(crate) fn seal(parts: &[&str]) -> String {
    ContentHash::of_parts(parts.iter().map(|part| part.as_bytes())).short().to_owned()
}

/// Milliseconds since 1970, UTC; zero on a machine whose clock stands before that.
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok())
        .unwrap_or(0)
}

/// The companion files that `SQLite` keeps are named by a suffix.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Refuses what is no database, and a file that ends within a page: `SQLite` would read a cut last page as if zeros
/// followed, and a file shorter than any page as new.
fn check_length(path: &Path, length: u64) -> Result<(), LedgerError> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    fs_err::File::open(path)?.take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    if !header.starts_with(&MAGIC[..header.len().min(MAGIC.len())]) {
        return Err(LedgerError::NotALedger {
            path: path.to_owned(),
            reason: "it is not an SQLite database".to_owned(),
        });
    }
    let page = match header.get(MAGIC.len()..HEADER_BYTES) {
        Some([0, 1]) => 65_536,
        Some(&[high, low]) => u64::from(u16::from_be_bytes([high, low])),
        _ => 0,
    };
    if page >= SMALLEST_PAGE && length.is_multiple_of(page) {
        return Ok(());
    }
    Err(LedgerError::Damaged {
        path: path.to_owned(),
        reason: format!("it ends within a page, after {length} bytes"),
    })
}

/// Makes the file when it is missing, with its directory entry on the disk, and takes it away from other users.
fn prepare_file(path: &Path) -> Result<(), LedgerError> {
    let log = beside(path, "-wal");
    let log_bytes = fs_err::metadata(&log).map_or(0, |found| found.len());
    let existing = match fs_err::metadata(path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    // SQLite would take an empty file for a new database and delete the log that still holds everything.
    if log_bytes > 0 && existing.as_ref().is_none_or(|found| found.len() == 0) {
        return Err(LedgerError::Damaged {
            path: path.to_owned(),
            reason: format!("it is empty, but {} is not", log.display()),
        });
    }
    if let Some(found) = existing {
        // A log or a journal beside it mends what an interrupted write left behind.
        if found.len() > 0 && log_bytes == 0 && !beside(path, "-journal").exists() {
            check_length(path, found.len())?;
        }
        if found.permissions().mode() & 0o077 != 0 {
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        }
        return Ok(());
    }
    fs_err::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?
        .sync_all()?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            Ok(fs_err::File::open(parent)?.sync_all()?)
        }
        _ => Ok(fs_err::File::open(".")?.sync_all()?),
    }
}
