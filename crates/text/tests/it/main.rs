//! Integration tests: the goldens of `tests/goldens/rouge`, and the novelty filter against brute force.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod join_goldens;
mod novelty;
mod rouge_goldens;

use serde_json::Value;

/// The text of a golden file.
fn golden(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/rouge/");
    fs_err::read_to_string(format!("{folder}{name}")).unwrap()
}

/// The rows of a golden JSON-lines file.
fn golden_rows(name: &str) -> Vec<Value> {
    golden(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
