//! Where the tests find the demo model.

#![expect(clippy::print_stdout, reason = "a skipped test says why")]

use std::path::PathBuf;

use bioinstruct_engine::source::{ModelSource, Resolver};

/// The demo model's file, when it is on this machine; a test never fetches it.
pub(crate) fn smollm2() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("BIOINSTRUCT_TEST_MODEL") {
        return Some(PathBuf::from(path));
    }
    let source: ModelSource = "smollm2".parse().expect("an alias");
    let found = Resolver::new(true, None).and_then(|resolver| resolver.resolve(&source));
    found
        .map_err(|error| println!("skipped: the demo model is not here ({error})"))
        .ok()
        .map(|model| model.path)
}
