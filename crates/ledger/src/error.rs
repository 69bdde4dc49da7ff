//! What can go wrong with a journal: [`LedgerError`].

use std::path::{Path, PathBuf};

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use rusqlite::ErrorCode;

/// A ledger that cannot be opened, or an entry that contradicts what stands.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system refused; the source names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// `SQLite` could not read or write.
    #[error("{path}: {source}", path = path.display())]
    Storage {
        /// The ledger.
        path: PathBuf,
        /// What `SQLite` says.
        source: rusqlite::Error,
    },
    /// Another process, or another handle of this one, has it open.
    #[error("{path} is in use by another process", path = path.display())]
    Locked {
        /// The ledger.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{path} is not a ledger: {reason}", path = path.display())]
    NotALedger {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A newer version of the program wrote it.
    #[error(
        "{path} has ledger format {found}; this version of the program reads up to {supported}",
        path = path.display()
    )]
    Newer {
        /// The ledger.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format known here.
        supported: i64,
    },
    /// Bytes are missing or changed.
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged {
        /// The ledger.
        path: PathBuf,
        /// Where.
        reason: String,
    },
    /// The linked `SQLite` has a known defect (before 3.51.3, a WAL reset could corrupt the file).
    #[error("SQLite {found} is too old for a ledger; 3.51.3 or newer is needed")]
    OldSqlite {
        /// The linked version.
        found: &'static str,
    },
    /// Two different requests want the same place in the plan.
    #[error(
        "request {offered} (body {offered_body}) cannot take place {plan_index} of the plan: request {standing} (body {standing_body}) stands there"
    )]
    PlanConflict {
        /// The place.
        plan_index: u64,
        /// The id that stands there.
        standing: String,
        /// Hash of its body.
        standing_body: String,
        /// The id that was offered.
        offered: String,
        /// Hash of its body.
        offered_body: String,
    },
    /// One request wants two places in the plan.
    #[error(
        "request {id} stands at place {standing} of the plan and cannot also take place {offered}"
    )]
    IdConflict {
        /// The request.
        id: String,
        /// Where it stands.
        standing: u64,
        /// Where it was offered.
        offered: u64,
    },
    /// A place in the plan that the file format cannot hold.
    #[error("place {plan_index} of the plan is too large")]
    PlanIndex {
        /// The place.
        plan_index: u64,
    },
    /// The request was never planned.
    #[error("request {id} was never planned")]
    UnknownRequest {
        /// The request.
        id: String,
    },
    /// The request has its reply, and what was offered is not that reply.
    #[error("request {id} already has another reply")]
    AlreadyReplied {
        /// The request.
        id: String,
    },
    /// The key has an answer, and what was offered is not that answer.
    #[error("`{kind}` {key} already has another answer")]
    AlreadyAnswered {
        /// The kind of answer.
        kind: String,
        /// Its key.
        key: String,
    },
    /// An earlier run that wrote this ledger had another setting.
    #[error("{path} was begun with another `{name}`: {standing} there, {offered} now", path = path.display())]
    SettingChanged {
        /// The ledger.
        path: PathBuf,
        /// The setting; for objects, the path to the first difference.
        name: String,
        /// Its value at first use.
        standing: String,
        /// Its value now.
        offered: String,
    },
}

impl LedgerError {
    /// Sorts what `SQLite` says into the classes that a user can act on.
    pub(crate) fn sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            // Without a code: a column holds what this program never writes there.
            Some(ErrorCode::DatabaseCorrupt) | None => {
                Self::Damaged { path, reason: source.to_string() }
            }
            Some(ErrorCode::NotADatabase) => {
                Self::NotALedger { path, reason: "it is not an SQLite database".to_owned() }
            }
            Some(_) => Self::Storage { path, source },
        }
    }
}

impl Diagnose for LedgerError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Io(_) | Self::Storage { .. } => FailureKind::Io,
            Self::Locked { .. } => FailureKind::Temporary,
            Self::OldSqlite { .. } => FailureKind::Unavailable,
            Self::PlanConflict { .. }
            | Self::IdConflict { .. }
            | Self::PlanIndex { .. }
            | Self::Newer { .. }
            | Self::SettingChanged { .. } => FailureKind::Configuration,
            Self::NotALedger { .. }
            | Self::Damaged { .. }
            | Self::UnknownRequest { .. }
            | Self::AlreadyReplied { .. }
            | Self::AlreadyAnswered { .. } => FailureKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Io(_) | Self::Storage { .. } => {
                "check that the disk has room and that you may write there; what was answered so far is kept"
            }
            Self::Locked { .. } => "wait for it to end, or choose another `--run DIR`",
            Self::NotALedger { .. } => "choose another `--run DIR`, or move the file away",
            Self::Newer { .. } => "update the program, or choose another `--run DIR`",
            Self::Damaged { .. } => {
                "restore the file from a backup, or move it away to begin anew; the answers in it are then asked for again"
            }
            Self::PlanConflict { .. } | Self::IdConflict { .. } | Self::SettingChanged { .. } => {
                "repeat the earlier settings to go on, or choose another `--run DIR`"
            }
            Self::OldSqlite { .. }
            | Self::PlanIndex { .. }
            | Self::UnknownRequest { .. }
            | Self::AlreadyReplied { .. }
            | Self::AlreadyAnswered { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
