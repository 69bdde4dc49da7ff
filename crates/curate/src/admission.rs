//! One row at a time, while a model is still writing: [`Admission`].

use bioinstruct_core::record::{Instruction, SeedTask};
use serde::{Deserialize, Serialize};

use crate::config::Keep;
use crate::filter::{self, Evidence, Named};
use crate::{CurateConfig, CurateError, Dialect};

/// Why a row is not admitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reject {
    /// The name of the filter.
    pub filter: String,
    /// In words.
    pub reason: String,
    /// The row that it resembles, for filters that compare rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// The filters of a configuration, with what they remember of the rows admitted so far.
///
/// Rows judged in some order get the verdicts that [`crate::curate`] gives to a file with them in that order.
pub struct Admission {
    filters: Vec<Named>,
}

impl Admission {
    /// Nothing admitted yet but the seeds.
    ///
    /// # Errors
    /// When the configuration is wrong, or its dialect compares rows with later ones.
    pub fn new(config: &CurateConfig, seeds: &[SeedTask]) -> Result<Self, CurateError> {
        if config.dialect == Dialect::Alpacare {
            return Err(CurateError::Setting {
                key: "dialect",
                reason: "`alpacare` needs all rows at once; choose another one for generation"
                    .to_owned(),
            });
        }
        let rules = config.rules()?;
        if rules.keep != Keep::First {
            return Err(CurateError::Setting {
                key: "keep",
                reason: "rows that are judged one by one are kept by who comes first".to_owned(),
            });
        }
        Ok(Self { filters: filter::build_all(&rules, seeds)? })
    }

    /// Judges the next row, and remembers it when it is admitted.
    pub fn judge(&mut self, row: &Instruction) -> Result<(), Reject> {
        for (name, filter) in &mut self.filters {
            if let Some(objection) = filter.admit(row) {
                return Err(Reject {
                    filter: (*name).to_owned(),
                    reason: objection.reason,
                    evidence: objection.evidence,
                });
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.filters.iter().map(|(name, _)| name);
        formatter.debug_list().entries(names).finish()
    }
}
