//! `output-repeats-input`: a row whose output is its input once more, apart from white space.
//!
//! Self-Instruct compares them to the character, and also drops inputs and outputs that end with a colon: the model was cut
//! off, or announced what never came.

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_text::normalize::words;

use super::{Filter, Objection};
use crate::config::Rules;
use crate::{CurateError, Dialect};

struct OutputRepeatsInput {
    self_instruct: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "the registry's signature")]
pub(super) fn build(rules: &Rules, _: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    Ok(Box::new(OutputRepeatsInput { self_instruct: rules.dialect == Dialect::SelfInstruct }))
}

impl Filter for OutputRepeatsInput {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        let same = if self.self_instruct {
            row.input == row.output
        } else {
            words(&row.input).eq(words(&row.output))
        };
        if same {
            return Some(Objection::because("the output repeats the input"));
        }
        let cut_off = |text: &str| self.self_instruct && text.trim().ends_with(':');
        (cut_off(&row.input) || cut_off(&row.output))
            .then(|| Objection::because("the input or the output ends with a colon"))
    }
}
