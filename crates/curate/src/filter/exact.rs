//! `exact`: a row whose texts are those of a row before it, or of a seed, to the last character.

use std::collections::{HashMap, HashSet};

use bioinstruct_core::record::{Instruction, SeedTask};
use foldhash::fast::FixedState;

use super::{Evidence, Filter, Objection};
use crate::CurateError;
use crate::config::Rules;

/// Rows seen so far, by their ids, which are hashes of their texts.
struct Exact {
    /// The names under which a person finds the seeds.
    seeds: HashMap<String, String, FixedState>,
    rows: HashSet<String, FixedState>,
}

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(_: &Rules, seeds: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    let seeds = seeds.iter().map(|seed| (Instruction::from(seed).id, seed.id.clone())).collect();
    Ok(Box::new(Exact { seeds, rows: HashSet::default() }))
}

impl Filter for Exact {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        let nearest = match self.seeds.get(&row.id) {
            Some(seed) => seed,
            None if self.rows.contains(&row.id) => &row.id,
            None => {
                self.rows.insert(row.id.clone());
                return None;
            }
        };
        Some(Objection {
            reason: "the same row stands before it".to_owned(),
            evidence: Some(Evidence { nearest: nearest.clone(), similarity: None }),
        })
    }

    fn admit_all(&mut self, rows: &[&Instruction]) -> Vec<Option<Objection>> {
        self.rows.reserve(rows.len());
        rows.iter().map(|row| self.admit(row)).collect()
    }
}
