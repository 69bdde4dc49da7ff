//! The `bioinstruct` command.
fn main() {}
