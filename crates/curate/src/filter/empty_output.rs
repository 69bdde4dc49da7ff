//! `empty-output`: a row whose output has no character that can be seen.

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_text::normalize::words;

use super::{Filter, Objection};
use crate::CurateError;
use crate::config::Rules;

struct EmptyOutput;

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(_: &Rules, _: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    Ok(Box::new(EmptyOutput))
}

impl Filter for EmptyOutput {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        let is_empty = words(&row.output).next().is_none();
        is_empty.then(|| Objection::because("the output is empty"))
    }
}
