//! `exact`: a row whose three texts are those of a row before it, or of a seed, to the last character.

use std::collections::BTreeMap;

use bioinstruct_core::record::{Instruction, SeedTask};

use super::{Evidence, Filter, Objection};
use crate::CurateError;
use crate::config::Rules;

/// Content ids seen so far, each with the name under which a person finds the row.
struct Exact {
    seen: BTreeMap<String, String>,
}

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(_: &Rules, seeds: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    let seen = seeds.iter().map(|seed| (Instruction::from(seed).id, seed.id.clone())).collect();
    Ok(Box::new(Exact { seen }))
}

impl Filter for Exact {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        // The id is hashed anew: a caller may have built the row by hand.
        let id = Instruction::content_id(&row.instruction, &row.input, &row.output);
        if let Some(nearest) = self.seen.get(&id) {
            return Some(Objection {
                reason: "the same row stands before it".to_owned(),
                evidence: Some(Evidence { nearest: nearest.clone(), similarity: None }),
            });
        }
        self.seen.insert(id, row.id.clone());
        None
    }
}
