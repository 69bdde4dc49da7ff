//! Conventions of prompting and scoring: [`Profile`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Fixes how a task is put to a model and how many solved examples go before it; every score names its profile.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Instruction and input under the template that the model was tuned with.
    #[default]
    Default,
    /// Raw text, byte for byte as lm-evaluation-harness writes it.
    LmEval,
    /// The protocol of the `BioInstruct` paper, as far as it states one: no example for question answering, one for extraction
    /// and generation (arXiv 2310.19975v3, section 4).
    Paper,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Default, Self::LmEval, Self::Paper];

    /// The name used in flags and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::LmEval => "lm-eval",
            Self::Paper => "paper",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A name that is no [`Profile`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown profile `{name}`: expected `default`, `lm-eval` or `paper`")]
pub struct UnknownProfile {
    /// As given.
    pub name: String,
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name() == name)
            .ok_or_else(|| UnknownProfile { name: name.to_owned() })
    }
}
