//! Requests and what became of them: planned, attempted, then replied to or failed.
//!
//! A request that is [`EntryState::Planned`] with one attempt or more was under way when the program ended: its answer
//! may have been computed, and billed, and is lost. Whether to ask again is the caller's policy.

use bioinstruct_core::hash::{ContentHash, canonical_json};
use bioinstruct_core::model::{ChatReply, ChatRequest};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;

use crate::store::{now, seal};
use crate::{Ledger, LedgerError};

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum EntryState {
    /// Nothing came back yet.
    Planned,
    /// Its reply.
    Replied(ChatReply),
    /// It failed for good, as far as the run that recorded it was concerned.
    Failed {
        /// Why.
        error: String,
        /// Whether the provider may have done, and billed, the work.
        in_doubt: bool,
    },
}

/// One planned request and its fate.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its place in the plan.
    pub plan_index: u64,
    /// What was, or will be, sent.
    pub request: ChatRequest,
    /// What the planner wanted to keep beside it, such as the ids of the seeds shown.
    pub extra: Value,
    /// How often it was sent.
    pub attempts: u32,
    /// How many of the attempts ended such that the provider may have done, and billed, the work for nothing.
    pub doubtful_attempts: u32,
    /// What became of it.
    pub state: EntryState,
}

/// How many requests are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Without reply or failure.
    pub planned: u64,
    /// With a reply.
    pub replied: u64,
    /// Failed.
    pub failed: u64,
    /// Attempts over all requests.
    pub attempts: u64,
    /// Attempts that may have been billed for nothing.
    pub doubtful_attempts: u64,
}

impl Ledger {
    /// Inserts a request at its place in the plan, before its bytes leave.
    ///
    /// Nothing happens when the same request (id and body) stands there; another one there, or the same one elsewhere, is
    /// an error. `extra` is kept from the first call.
    pub fn plan(
        &self,
        plan_index: u64,
        request: &ChatRequest,
        extra: &Value,
    ) -> Result<(), LedgerError> {
        let place = i64::try_from(plan_index).map_err(|_| LedgerError::PlanIndex { plan_index })?;
        let body = serde_json::to_value(request)
            .map(|value| canonical_json(&value))
            .map_err(|error| self.damaged(format!("request {}: {error}", request.id)))?;
        let extra = extra.to_string();
        self.transaction(|connection| {
            if let Some((id, standing)) = self.standing_at(connection, place)? {
                if id == request.id && standing == body {
                    return Ok(());
                }
                let short = |text: &str| ContentHash::of_bytes(text.as_bytes()).short().to_owned();
                return Err(LedgerError::PlanConflict {
                    plan_index,
                    standing_body: short(&standing),
                    standing: id,
                    offered: request.id.clone(),
                    offered_body: short(&body),
                });
            }
            if let Some(standing) = self.place_of(connection, &request.id)? {
                return Err(LedgerError::IdConflict {
                    id: request.id.clone(),
                    standing: standing as u64,
                    offered: plan_index,
                });
            }
            let sealed = seal(&[&request.id, &place.to_string(), &body, &extra]);
            connection
                .prepare_cached(
                    "INSERT INTO requests (id, plan_index, body, extra, planned_at, seal)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )
                .and_then(|mut insert| {
                    insert.execute((&request.id, place, &body, &extra, now(), sealed))
                })
                .map(|_| ())
                .map_err(|error| self.sqlite(error))
        })
    }

    /// Counts an attempt, before its bytes leave; gives its number, from one. A failure that stood is taken back: the
    /// request is under way again. A request that has its reply is refused.
    pub fn attempt(&self, id: &str) -> Result<u32, LedgerError> {
        self.transaction(|connection| self.begin_attempt(connection, id))
    }

    /// Counts another attempt and notes how the one before ended.
    pub fn retry(&self, id: &str, error: &str, in_doubt: bool) -> Result<u32, LedgerError> {
        self.transaction(|connection| {
            self.end_attempt(connection, id, error, in_doubt)?;
            self.begin_attempt(connection, id)
        })
    }

    /// Stores a reply, before it is parsed. Nothing happens when the same reply stands; another one is an error.
    pub fn reply(&self, reply: &ChatReply) -> Result<(), LedgerError> {
        let body = serde_json::to_string(reply)
            .map_err(|error| self.damaged(format!("reply {}: {error}", reply.id)))?;
        self.transaction(|connection| {
            self.require_planned(connection, &reply.id)?;
            if let Some(standing) = self.reply_of(connection, &reply.id)? {
                return if standing == *reply {
                    Ok(())
                } else {
                    Err(LedgerError::AlreadyReplied {
                        id: reply.id.clone(),
                    })
                };
            }
            let sealed = seal(&[&reply.id, &body]);
            let stored = connection
                .prepare_cached(
                    "INSERT INTO replies (request_id, body, received_at, seal) VALUES (?1, ?2, ?3, ?4)",
                )
                .and_then(|mut insert| insert.execute((&reply.id, &body, now(), sealed)));
            stored.map_err(|error| self.sqlite(error))?;
            self.forget_failure(connection, &reply.id)
        })
    }

    /// Stores that a request failed; a failure that stood is replaced, a reply that stands is an error.
    pub fn failure(&self, id: &str, error: &str, in_doubt: bool) -> Result<(), LedgerError> {
        self.transaction(|connection| {
            self.require_open(connection, id)?;
            self.end_attempt(connection, id, error, in_doubt)?;
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO failures (request_id, error, in_doubt, failed_at)
                     VALUES (?1, ?2, ?3, ?4)",
                )
                .and_then(|mut insert| insert.execute((id, error, in_doubt, now())))
                .map(|_| ())
                .map_err(|error| self.sqlite(error))
        })
    }

    /// Every request in plan order.
    pub fn entries(&self) -> Result<Vec<Entry>, LedgerError> {
        let stored: Vec<StoredEntry> = self
            .connection
            .prepare_cached(
                "SELECT r.plan_index, r.id, r.body, r.extra, r.seal, p.body, p.seal, f.error, f.in_doubt,
                        (SELECT COUNT(*) FROM attempts a WHERE a.request_id = r.id),
                        (SELECT COUNT(*) FROM attempts a WHERE a.request_id = r.id AND a.in_doubt)
                 FROM requests r
                 LEFT JOIN replies p ON p.request_id = r.id
                 LEFT JOIN failures f ON f.request_id = r.id
                 ORDER BY r.plan_index",
            )
            .and_then(|mut query| query.query_map([], StoredEntry::read)?.collect())
            .map_err(|error| self.sqlite(error))?;
        stored.into_iter().map(|row| self.entry(row)).collect()
    }

    /// How many requests are in which state, without reading their text.
    pub fn counts(&self) -> Result<Counts, LedgerError> {
        self.connection
            .query_row(
                "SELECT (SELECT COUNT(*) FROM requests), (SELECT COUNT(*) FROM replies),
                        (SELECT COUNT(*) FROM failures), (SELECT COUNT(*) FROM attempts),
                        (SELECT COUNT(*) FROM attempts WHERE in_doubt)",
                [],
                |row| {
                    let count = |column| row.get::<_, i64>(column).map(|value| value as u64);
                    let (all, replied, failed) = (count(0)?, count(1)?, count(2)?);
                    Ok(Counts {
                        planned: all.saturating_sub(replied + failed),
                        replied,
                        failed,
                        attempts: count(3)?,
                        doubtful_attempts: count(4)?,
                    })
                },
            )
            .map_err(|error| self.sqlite(error))
    }

    fn standing_at(
        &self,
        connection: &Connection,
        place: i64,
    ) -> Result<Option<(String, String)>, LedgerError> {
        connection
            .prepare_cached("SELECT id, body FROM requests WHERE plan_index = ?1")
            .and_then(|mut query| {
                query.query_row([place], |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })
            .map_err(|error| self.sqlite(error))
    }

    fn place_of(&self, connection: &Connection, id: &str) -> Result<Option<i64>, LedgerError> {
        connection
            .prepare_cached("SELECT plan_index FROM requests WHERE id = ?1")
            .and_then(|mut query| query.query_row([id], |row| row.get(0)).optional())
            .map_err(|error| self.sqlite(error))
    }

    fn require_planned(&self, connection: &Connection, id: &str) -> Result<(), LedgerError> {
        match self.place_of(connection, id)? {
            Some(_) => Ok(()),
            None => Err(LedgerError::UnknownRequest { id: id.to_owned() }),
        }
    }

    /// Planned, and without a reply.
    fn require_open(&self, connection: &Connection, id: &str) -> Result<(), LedgerError> {
        self.require_planned(connection, id)?;
        match self.reply_of(connection, id)? {
            Some(_) => Err(LedgerError::AlreadyReplied { id: id.to_owned() }),
            None => Ok(()),
        }
    }

    fn reply_of(
        &self,
        connection: &Connection,
        id: &str,
    ) -> Result<Option<ChatReply>, LedgerError> {
        let found: Option<(String, String)> = connection
            .prepare_cached("SELECT body, seal FROM replies WHERE request_id = ?1")
            .and_then(|mut query| {
                query.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })
            .map_err(|error| self.sqlite(error))?;
        found.map(|(body, sealed)| self.read_reply(id, &body, &sealed)).transpose()
    }

    fn read_reply(&self, id: &str, body: &str, sealed: &str) -> Result<ChatReply, LedgerError> {
        if sealed != seal(&[id, body]) {
            return Err(
                self.damaged(format!("the reply to request {id} does not match its checksum"))
            );
        }
        serde_json::from_str(body)
            .map_err(|error| self.damaged(format!("the reply to request {id}: {error}")))
    }

    fn begin_attempt(&self, connection: &Connection, id: &str) -> Result<u32, LedgerError> {
        self.require_open(connection, id)?;
        self.forget_failure(connection, id)?;
        connection
            .prepare_cached(
                "INSERT INTO attempts (request_id, number, started_at)
                 SELECT ?1, COALESCE(MAX(number), 0) + 1, ?2 FROM attempts WHERE request_id = ?1
                 RETURNING number",
            )
            .and_then(|mut insert| insert.query_row((id, now()), |row| row.get(0)))
            .map_err(|error| self.sqlite(error))
    }

    /// Notes how the latest attempt ended, if there was one.
    fn end_attempt(
        &self,
        connection: &Connection,
        id: &str,
        error: &str,
        in_doubt: bool,
    ) -> Result<(), LedgerError> {
        connection
            .prepare_cached(
                "UPDATE attempts SET error = ?2, in_doubt = ?3
                 WHERE request_id = ?1
                   AND number = (SELECT MAX(number) FROM attempts WHERE request_id = ?1)",
            )
            .and_then(|mut update| update.execute((id, error, in_doubt)))
            .map(|_| ())
            .map_err(|error| self.sqlite(error))
    }

    fn forget_failure(&self, connection: &Connection, id: &str) -> Result<(), LedgerError> {
        connection
            .prepare_cached("DELETE FROM failures WHERE request_id = ?1")
            .and_then(|mut delete| delete.execute([id]))
            .map(|_| ())
            .map_err(|error| self.sqlite(error))
    }

    fn entry(&self, row: StoredEntry) -> Result<Entry, LedgerError> {
        let id = &row.id;
        if row.seal != seal(&[id, &row.plan_index.to_string(), &row.body, &row.extra]) {
            return Err(self.damaged(format!("request {id} does not match its checksum")));
        }
        let unreadable = |error: serde_json::Error| self.damaged(format!("request {id}: {error}"));
        let request: ChatRequest = serde_json::from_str(&row.body).map_err(unreadable)?;
        let extra: Value = serde_json::from_str(&row.extra).map_err(unreadable)?;
        let state = match (row.reply, row.failure) {
            (Some((body, sealed)), _) => EntryState::Replied(self.read_reply(id, &body, &sealed)?),
            (None, Some((error, in_doubt))) => EntryState::Failed { error, in_doubt },
            (None, None) => EntryState::Planned,
        };
        Ok(Entry {
            plan_index: row.plan_index as u64,
            request,
            extra,
            attempts: row.attempts,
            doubtful_attempts: row.doubtful_attempts,
            state,
        })
    }
}

/// One row of the query in [`Ledger::entries`].
struct StoredEntry {
    plan_index: i64,
    id: String,
    body: String,
    extra: String,
    seal: String,
    reply: Option<(String, String)>,
    failure: Option<(String, bool)>,
    attempts: u32,
    doubtful_attempts: u32,
}

impl StoredEntry {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let reply: Option<String> = row.get(5)?;
        let reply_seal: Option<String> = row.get(6)?;
        let error: Option<String> = row.get(7)?;
        let in_doubt: Option<bool> = row.get(8)?;
        Ok(Self {
            plan_index: row.get(0)?,
            id: row.get(1)?,
            body: row.get(2)?,
            extra: row.get(3)?,
            seal: row.get(4)?,
            reply: reply.zip(reply_seal),
            failure: error.zip(in_doubt),
            attempts: row.get(9)?,
            doubtful_attempts: row.get(10)?,
        })
    }
}
