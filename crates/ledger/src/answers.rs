//! Answers found by a content hash: predictions, judgements, and whatever else is slow to compute twice.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use crate::store::{now, seal};
use crate::{Ledger, LedgerError};

impl Ledger {
    /// The answer that stands under this key. `kind` keeps apart what different callers store; the key is a hash of all
    /// that the answer depends on (model identity, item, profile, …).
    pub fn answer(&self, kind: &str, key: &str) -> Result<Option<Value>, LedgerError> {
        let found: Option<(String, String)> = self
            .connection
            .prepare_cached("SELECT value, seal FROM answers WHERE kind = ?1 AND key = ?2")
            .and_then(|mut query| {
                query.query_row([kind, key], |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })
            .map_err(|error| self.sqlite(error))?;
        found.map(|(value, sealed)| self.read_answer(kind, key, &value, &sealed)).transpose()
    }

    /// All answers of one kind, by key.
    pub fn answers(&self, kind: &str) -> Result<BTreeMap<String, Value>, LedgerError> {
        let rows: Vec<(String, String, String)> = self
            .connection
            .prepare_cached("SELECT key, value, seal FROM answers WHERE kind = ?1")
            .and_then(|mut query| {
                query
                    .query_map([kind], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                    .collect()
            })
            .map_err(|error| self.sqlite(error))?;
        rows.into_iter()
            .map(|(key, value, sealed)| {
                let value = self.read_answer(kind, &key, &value, &sealed)?;
                Ok((key, value))
            })
            .collect()
    }

    /// Stores one answer durably; nothing happens when the same answer stands, another one is an error.
    pub fn record_answer(&self, kind: &str, key: &str, value: &Value) -> Result<(), LedgerError> {
        self.record_answers(kind, [(key, value)])
    }

    /// Stores several answers in one transaction: all of them or, after an error or a crash, none.
    pub fn record_answers<'a>(
        &self,
        kind: &str,
        answers: impl IntoIterator<Item = (&'a str, &'a Value)>,
    ) -> Result<(), LedgerError> {
        self.transaction(|connection| {
            answers
                .into_iter()
                .try_for_each(|(key, value)| self.insert_answer(connection, kind, key, value))
        })
    }

    fn insert_answer(
        &self,
        connection: &Connection,
        kind: &str,
        key: &str,
        value: &Value,
    ) -> Result<(), LedgerError> {
        let text = value.to_string();
        let inserted = connection
            .prepare_cached(
                "INSERT INTO answers (kind, key, value, recorded_at, seal) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO NOTHING",
            )
            .and_then(|mut insert| {
                insert.execute((kind, key, &text, now(), seal(&[kind, key, &text])))
            })
            .map_err(|error| self.sqlite(error))?;
        if inserted == 1 || self.answer(kind, key)?.as_ref() == Some(value) {
            return Ok(());
        }
        Err(LedgerError::AlreadyAnswered { kind: kind.to_owned(), key: key.to_owned() })
    }

    fn read_answer(
        &self,
        kind: &str,
        key: &str,
        value: &str,
        sealed: &str,
    ) -> Result<Value, LedgerError> {
        if sealed != seal(&[kind, key, value]) {
            return Err(self.damaged(format!("`{kind}` {key} does not match its checksum")));
        }
        serde_json::from_str(value)
            .map_err(|error| self.damaged(format!("`{kind}` {key}: {error}")))
    }
}
