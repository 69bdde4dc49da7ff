//! The durable journal of requests and replies: [`Ledger`], one `SQLite` file.
//!
//! An answer that was paid for, or took minutes to compute, is the one thing that a rerun cannot make again. So a
//! request stands here before its bytes leave, a reply before it is parsed, and a prediction or a judgement before it is
//! used; whoever is killed and started again reads what stands and asks only for the rest.
//!
//! In the order of use: [`Ledger::open`] and [`Ledger::bind`] (`store`, `settings`), then requests and their fate
//! (`requests`), or answers found by a content hash (`answers`). Unlike published data files, the ledger holds times
//! (milliseconds since 1970, UTC).

mod answers;
mod error;
mod requests;
mod settings;
mod store;

pub use error::LedgerError;
pub use requests::{Counts, Entry, EntryState};
pub use store::Ledger;
