//! `length`: an instruction with too few or too many words, words being what white space separates.

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_text::normalize::word_count;

use super::{Filter, Objection};
use crate::CurateError;
use crate::config::Rules;

struct Length {
    fewest: usize,
    most: usize,
}

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(rules: &Rules, _: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    Ok(Box::new(Length { fewest: rules.min_words, most: rules.max_words }))
}

impl Filter for Length {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        let words = word_count(&row.instruction);
        if words < self.fewest {
            let reason = format!("the instruction has {words} words, fewer than {}", self.fewest);
            return Some(Objection::because(reason));
        }
        (words > self.most).then(|| {
            Objection::because(format!(
                "the instruction has {words} words, more than {}",
                self.most
            ))
        })
    }
}
