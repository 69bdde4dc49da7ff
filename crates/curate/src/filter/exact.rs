//! `exact`: a row whose three texts are those of a row before it, or of a seed, to the last character.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bioinstruct_core::record::{Instruction, SeedTask};
use rayon::prelude::*;

use super::{Evidence, Filter, Objection};
use crate::CurateError;
use crate::config::Rules;

/// Content ids seen so far, each with the name under which a person finds the row.
struct Exact {
    seen: HashMap<String, String>,
}

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(_: &Rules, seeds: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    let seen = seeds.iter().map(|seed| (Instruction::from(seed).id, seed.id.clone())).collect();
    Ok(Box::new(Exact { seen }))
}

/// The id is hashed anew: a caller may have built the row by hand.
fn content_id(row: &Instruction) -> String {
    if !row.system.is_empty() || !row.history.is_empty() {
        let (system, history) = (row.system.clone(), row.history.clone());
        return row.clone().in_conversation(system, history).id;
    }
    Instruction::content_id(&row.instruction, &row.input, &row.output)
}

impl Exact {
    fn settle(&mut self, id: String, row: &Instruction) -> Option<Objection> {
        match self.seen.entry(id) {
            Entry::Occupied(found) => Some(Objection {
                reason: "the same row stands before it".to_owned(),
                evidence: Some(Evidence { nearest: found.get().clone(), similarity: None }),
            }),
            Entry::Vacant(free) => {
                free.insert(row.id.clone());
                None
            }
        }
    }
}

impl Filter for Exact {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        self.settle(content_id(row), row)
    }

    fn admit_all(&mut self, rows: &[&Instruction]) -> Vec<Option<Objection>> {
        self.seen.reserve(rows.len());
        let ids: Vec<String> = rows.par_iter().map(|row| content_id(row)).collect();
        ids.into_iter().zip(rows).map(|(id, row)| self.settle(id, row)).collect()
    }
}
