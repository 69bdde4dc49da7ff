//! What can go wrong with a download: [`DownloadError`].

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::model::ModelError;

/// A file that could not be fetched. Addresses are given without their query, which may hold a signature.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The address is no URL.
    #[error("`{url}` is not an address: {reason}")]
    Address {
        /// As given.
        url: String,
        /// Why not.
        reason: String,
    },
    /// An egress rule forbids it, or the system has no certificates.
    #[error(transparent)]
    Refused(#[from] ModelError),
    /// The server cannot be reached, is busy, or the connection broke; tried several times.
    #[error("{address}: {reason}")]
    Interrupted {
        /// Where from.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The server answers, and has no such file for us.
    #[error("{address}: HTTP {status}")]
    Status {
        /// Where from.
        address: String,
        /// Its status.
        status: u16,
    },
    /// The server sends us on in a way that is not followed.
    #[error("{address} is sent on: {reason}")]
    Redirect {
        /// Where from.
        address: String,
        /// Why that is not followed.
        reason: String,
    },
    /// The file is larger than it may be.
    #[error("{address} is larger than {limit} bytes")]
    TooLarge {
        /// Where from.
        address: String,
        /// The limit.
        limit: u64,
    },
    /// The file system refused; the source names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Diagnose for DownloadError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Address { .. } => FailureKind::Usage,
            Self::Refused(error) => error.kind(),
            Self::Interrupted { .. } | Self::Status { .. } | Self::Redirect { .. } => {
                FailureKind::Unavailable
            }
            Self::TooLarge { .. } => FailureKind::Data,
            Self::Io(_) => FailureKind::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(error) => error.hint(),
            Self::Interrupted { .. } => {
                Some("check the connection, or give the path of a file on this machine".to_owned())
            }
            Self::Status { status: 401 | 403, .. } => Some(
                "accept the model's licence on its page and set HF_TOKEN, or give the path of a file on this machine"
                    .to_owned(),
            ),
            Self::Status { .. } => Some("check the name of the model and of the file".to_owned()),
            Self::Address { .. } | Self::Redirect { .. } | Self::TooLarge { .. } | Self::Io(_) => None,
        }
    }
}
