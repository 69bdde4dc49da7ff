//! Rules that hold for the repository as a whole: [`dependencies`] and their licences, the [`sources`] that we write, the
//! [`documents`] that describe them, and the [`seeds`] and [`configs`] that come with the program. None needs a network.

mod configs;
mod dependencies;
mod documents;
mod seeds;
mod sources;

use std::path::PathBuf;

/// Where the repository begins.
fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
