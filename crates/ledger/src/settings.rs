//! Settings that must not change between the runs that share a ledger: [`Ledger::bind`].

use bioinstruct_core::hash::canonical_json;
use rusqlite::OptionalExtension;
use serde_json::Value;

use crate::{Ledger, LedgerError};

impl Ledger {
    /// Stores a setting at first use; later, an error unless the value is the same.
    ///
    /// Seeds, the model's identity and the hash of the configuration are bound before the first request is planned, so
    /// that a plan is never continued with other settings than it was begun with.
    pub fn bind(&self, name: &str, value: &Value) -> Result<(), LedgerError> {
        self.transaction(|connection| {
            let standing: Option<String> = connection
                .prepare_cached("SELECT value FROM settings WHERE name = ?1")
                .and_then(|mut query| query.query_row([name], |row| row.get(0)).optional())
                .map_err(|error| self.sqlite(error))?;
            let Some(standing) = standing else {
                return connection
                    .execute(
                        "INSERT INTO settings (name, value) VALUES (?1, ?2)",
                        [name, &canonical_json(value)],
                    )
                    .map(|_| ())
                    .map_err(|error| self.sqlite(error));
            };
            // Both sides go through text, so that a value compares equal to what was made of it.
            if standing == canonical_json(value) {
                return Ok(());
            }
            let standing: Value = serde_json::from_str(&standing)
                .map_err(|error| self.damaged(format!("setting `{name}`: {error}")))?;
            let (path, there, now) = first_difference(name, &standing, value);
            Err(LedgerError::SettingChanged {
                path: self.path.clone(),
                name: path,
                standing: shortened(&there),
                offered: shortened(&now),
            })
        })
    }

    /// The value that stands, if the setting was ever bound.
    pub fn setting(&self, name: &str) -> Result<Option<Value>, LedgerError> {
        let text: Option<String> = self
            .connection
            .query_row("SELECT value FROM settings WHERE name = ?1", [name], |row| row.get(0))
            .optional()
            .map_err(|error| self.sqlite(error))?;
        text.map(|text| {
            serde_json::from_str(&text)
                .map_err(|error| self.damaged(format!("setting `{name}`: {error}")))
        })
        .transpose()
    }
}

/// The path of the first place where two values differ, and what stands there on either side.
fn first_difference(path: &str, left: &Value, right: &Value) -> (String, Value, Value) {
    if let (Value::Object(first), Value::Object(second)) = (left, right) {
        let keys: std::collections::BTreeSet<&String> = first.keys().chain(second.keys()).collect();
        for key in keys {
            let here = first.get(key).unwrap_or(&Value::Null);
            let there = second.get(key).unwrap_or(&Value::Null);
            if here != there {
                return first_difference(&format!("{path}.{key}"), here, there);
            }
        }
    }
    (path.to_owned(), left.clone(), right.clone())
}

fn shortened(value: &Value) -> String {
    const LONGEST: usize = 120;
    let text = canonical_json(value);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
