//! Which rules hold: [`CurateConfig`] as the user writes it, [`Rules`] with everything filled in from a [`Dialect`].
//!
//! The published pipelines that this one descends from differ in details that decide about rows, so each is a dialect:
//! `BioInstruct`'s paper (Tran et al. 2024, section 3.1), Self-Instruct (Wang et al. 2023, its code), Stanford Alpaca
//! (2023, its code) and `AlpaCare` (Zhang et al. 2023, its `filter.py`).

use bioinstruct_text::novelty::NoveltyRule;
use serde::{Deserialize, Serialize};

use crate::CurateError;
use crate::category::choice;
use crate::decontaminate::against::Contaminated;
use crate::filter;

/// Value of [`CurateConfig::seeds`] for the tasks that come with the program.
pub const BUILT_IN_SEEDS: &str = "builtin";

/// In [`CurateConfig::also`]: every filter whose entry says `quality`.
pub const QUALITY: &str = "quality";

/// Whose rules hold where the configuration says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// Novel when F1 is below 0.7; 3 to 150 words; `image`, `picture` and `graph`; the output must not repeat the input.
    #[default]
    Paper,
    /// Novel when F1 is at most 0.7; 4 to 150 words; a longer list of words; rules on how an instruction begins.
    Alpaca,
    /// As Alpaca with a shorter list of words, and with rules on input and output. Novelty is judged before the output
    /// is looked at, so an instruction that is dropped for its output still keeps similar ones away.
    SelfInstruct,
    /// Novelty only, judged against all other rows: of two that are alike, both go, and seeds are not looked at.
    Alpacare,
}

impl Dialect {
    /// The name used in files and flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Alpaca => "alpaca",
            Self::SelfInstruct => "self-instruct",
            Self::Alpacare => "alpacare",
        }
    }

    /// Its filters in its order.
    pub const fn filters(self) -> &'static [&'static str] {
        match self {
            // The paper gives no order. Novelty comes last, so that a dropped row never keeps a good one away.
            Self::Paper => {
                &["exact", "empty-output", "length", "keyword", "output-repeats-input", "rouge-l"]
            }
            Self::Alpaca => &["length", "keyword", "rouge-l"],
            Self::SelfInstruct => {
                &["length", "keyword", "rouge-l", "output-repeats-input", "empty-output"]
            }
            Self::Alpacare => &["rouge-l"],
        }
    }

    fn novelty(self, threshold: f64) -> NoveltyRule {
        match self {
            Self::Paper => NoveltyRule::Below(threshold),
            Self::Alpaca | Self::SelfInstruct | Self::Alpacare => NoveltyRule::AtMost(threshold),
        }
    }

    /// The paper's "less than 3 words" is dropped there; the code of the other two drops three words as well.
    const fn min_words(self) -> usize {
        match self {
            Self::Paper => 3,
            Self::Alpaca | Self::SelfInstruct => 4,
            Self::Alpacare => 0,
        }
    }

    const fn max_words(self) -> usize {
        match self {
            Self::Alpacare => usize::MAX,
            _ => 150,
        }
    }

    /// The paper names three words as examples and gives no list; their plurals are taken with them, as in the code that
    /// the filter comes from. Wider lists drop good medical rows ("draw blood", "MAP").
    fn keywords(self) -> &'static [&'static str] {
        const PAPER: &[&str] = &["image", "images", "picture", "pictures", "graph", "graphs"];
        const SELF_INSTRUCT: &[&str] = &[
            "image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map",
            "maps", "draw", "plot", "go to",
        ];
        const ALPACA: &[&str] = &[
            "image",
            "images",
            "graph",
            "graphs",
            "picture",
            "pictures",
            "file",
            "files",
            "map",
            "maps",
            "draw",
            "plot",
            "go to",
            "video",
            "audio",
            "music",
            "flowchart",
            "diagram",
        ];
        match self {
            Self::Paper => PAPER,
            Self::Alpaca => ALPACA,
            Self::SelfInstruct => SELF_INSTRUCT,
            Self::Alpacare => &[],
        }
    }
}

/// Which text must be new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoveltyKey {
    /// The instruction, as in the paper.
    #[default]
    #[serde(rename = "instruction")]
    Instruction,
    /// The instruction and its input: for data in which few instructions are asked of many inputs.
    #[serde(rename = "instruction+input")]
    InstructionAndInput,
    /// The three texts: only rows whose answers are alike too are too alike.
    #[serde(rename = "all")]
    All,
}

/// Which of several rows that are too alike stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The first, as in all dialects' references.
    #[default]
    First,
    /// The one with the most words in its three texts; of equals the first.
    Longest,
    /// The one with the highest score in the file [`CurateConfig::scores`], rows without a score last; of equals the first.
    Best,
}

impl Keep {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    fn is_first(&self) -> bool {
        *self == Self::First
    }
}

/// Where rows of the same wording about the same kind of thing begin, by all-MiniLM-L6-v2: docs/curation.md has examples.
const ALIKE: f64 = 0.9;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_usual_threshold(threshold: &f64) -> bool {
    *threshold == ALIKE
}

/// So that a manifest written before there was a choice is that of a run without labels.
fn is_none(categories: &str) -> bool {
    categories == choice::NONE
}

/// The section `curate` of the configuration. Absent values are the dialect's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CurateConfig {
    /// Whose rules hold.
    pub dialect: Dialect,
    /// Filters beside the dialect's, applied before novelty is judged; `quality` stands for all that look at one row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Only these filters; empty for the dialect's. Nothing else drops a row then.
    pub only: Vec<String>,
    /// ROUGE-L F1 from which on (or, by dialect, above which) a row is not new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rouge_threshold: Option<f64>,
    /// Which text must be new.
    pub key: NoveltyKey,
    /// Which of several rows that are too alike stays.
    #[serde(skip_serializing_if = "Keep::is_first")]
    pub keep: Keep,
    /// JSON lines with the `id` and the `score` of rows, for `keep = "best"`; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scores: String,
    /// Fewest words of an instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_words: Option<usize>,
    /// Most words of an instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_words: Option<usize>,
    /// Words that no instruction may hold, whole and in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keywords: Option<Vec<String>>,
    /// File of the seed tasks that rows are compared with; `builtin` for the program's own, empty for none.
    pub seeds: String,
    /// Tasks whose items no row may hold: `NAME`, `NAME=PATH` with the owners' data, a task file, or a file of hashed items.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub against: Vec<String>,
    /// What happens to a row that holds an item of them: `drop` or `report`.
    #[serde(skip_serializing_if = "Contaminated::is_drop")]
    pub contaminated: Contaminated,
    /// Who gives a kind to rows that bring none: `local` for the classifier that comes with the program, `llm` for the model that
    /// is named with `--model` or `--base-url`, a file of JSON lines with `id` and `category`, or `none`.
    #[serde(skip_serializing_if = "is_none")]
    pub categories: String,
    /// Sentence encoder by whose vectors rows that are alike in meaning are reported and the map is drawn; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub embedder: String,
    /// Cosine from which on two rows are alike in meaning.
    #[serde(skip_serializing_if = "is_usual_threshold")]
    pub alike_threshold: f64,
    /// Formats in which the dataset is written beside its own files: `alpaca`, `messages`, `sharegpt`, `csv`, `parquet` or `jsonl`,
    /// with `.gz` or `.zst` behind it to be packed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub export: Vec<String>,
    /// Share of the kept rows that becomes the dev set.
    pub dev_fraction: f64,
    /// Most bad rows that a run may leave out.
    pub max_quarantine: usize,
}

impl Default for CurateConfig {
    fn default() -> Self {
        Self {
            dialect: Dialect::Paper,
            also: Vec::new(),
            only: Vec::new(),
            rouge_threshold: None,
            key: NoveltyKey::Instruction,
            keep: Keep::First,
            scores: String::new(),
            min_words: None,
            max_words: None,
            keywords: None,
            seeds: BUILT_IN_SEEDS.to_owned(),
            against: Vec::new(),
            contaminated: Contaminated::Drop,
            embedder: String::new(),
            alike_threshold: ALIKE,
            export: Vec::new(),
            categories: choice::NONE.to_owned(),
            dev_fraction: 0.1,
            max_quarantine: 0,
        }
    }
}

/// Every rule of a curation, none left open.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Whose rules they are.
    pub dialect: Dialect,
    /// Names of the filters that are applied, in order.
    pub filters: Vec<&'static str>,
    /// When a text is new.
    pub novelty: NoveltyRule,
    /// Which text must be new.
    pub key: NoveltyKey,
    /// Which of several rows that are too alike stays.
    pub keep: Keep,
    /// Where the scores of rows stand.
    pub scores: String,
    /// Fewest words of an instruction.
    pub min_words: usize,
    /// Most words of an instruction.
    pub max_words: usize,
    /// Words that no instruction may hold.
    pub keywords: Vec<String>,
}

impl CurateConfig {
    /// Fills in the dialect's values and checks all of them.
    pub fn rules(&self) -> Result<Rules, CurateError> {
        let threshold = self.rouge_threshold.unwrap_or(0.7);
        if !(threshold > 0.0 && threshold <= 1.0) {
            let reason = format!("{threshold} is not above 0 and at most 1");
            return Err(CurateError::Setting { key: "rouge_threshold", reason });
        }
        let rules = Rules {
            dialect: self.dialect,
            filters: self.filter_names()?,
            novelty: self.dialect.novelty(threshold),
            key: self.key,
            keep: self.keep,
            scores: self.scores.clone(),
            min_words: self.min_words.unwrap_or(self.dialect.min_words()),
            max_words: self.max_words.unwrap_or(self.dialect.max_words()),
            keywords: self.keywords.clone().unwrap_or_else(|| {
                self.dialect.keywords().iter().map(|&word| word.to_owned()).collect()
            }),
        };
        if rules.keep == Keep::Best && rules.scores.is_empty() {
            let reason = "`keep = \"best\"` needs a file of scores".to_owned();
            return Err(CurateError::Setting { key: "scores", reason });
        }
        if rules.keep != Keep::First && self.dialect == Dialect::Alpacare {
            let reason = "`alpacare` drops all rows that are alike".to_owned();
            return Err(CurateError::Setting { key: "keep", reason });
        }
        if rules.min_words > rules.max_words {
            let reason = format!("{} is above `max_words` {}", rules.min_words, rules.max_words);
            return Err(CurateError::Setting { key: "min_words", reason });
        }
        if rules.keywords.iter().any(|word| word.trim().is_empty()) {
            let reason = "a keyword is empty".to_owned();
            return Err(CurateError::Setting { key: "keywords", reason });
        }
        if !(0.0..1.0).contains(&self.dev_fraction) {
            let reason = format!("{} is not at least 0 and below 1", self.dev_fraction);
            return Err(CurateError::Setting { key: "dev_fraction", reason });
        }
        if !(-1.0..=1.0).contains(&self.alike_threshold) {
            let reason = format!("{} is not between -1 and 1", self.alike_threshold);
            return Err(CurateError::Setting { key: "alike_threshold", reason });
        }
        Ok(rules)
    }

    /// The dialect's filters and those of `also`, or those of `only`: in the dialect's order, the others in that of the
    /// registry before novelty is judged.
    fn filter_names(&self) -> Result<Vec<&'static str>, CurateError> {
        let known: Vec<&'static str> = filter::ALL.iter().map(|entry| entry.name).collect();
        let given = self.only.iter().chain(self.also.iter().filter(|name| *name != QUALITY));
        if let Some(name) = given.into_iter().find(|name| !known.contains(&name.as_str())) {
            return Err(CurateError::UnknownFilter { name: name.clone() });
        }
        let of_dialect = self.dialect.filters();
        let all_of_quality = self.also.iter().any(|name| name == QUALITY);
        let is_wanted = |name: &str| {
            if !self.only.is_empty() {
                return self.only.iter().any(|wanted| wanted == name);
            }
            let is_quality = |entry: &filter::Entry| entry.name == name && entry.quality;
            of_dialect.contains(&name)
                || self.also.iter().any(|wanted| wanted == name)
                || all_of_quality && filter::ALL.iter().any(is_quality)
        };
        let mut names = of_dialect.to_vec();
        let place = names.iter().position(|&name| name == "rouge-l").unwrap_or(names.len());
        names.splice(place..place, known.into_iter().filter(|name| !of_dialect.contains(name)));
        names.retain(|name| is_wanted(name));
        Ok(names)
    }

    /// The same configuration with the dialect's values written out, for manifests.
    pub fn resolved(&self) -> Result<Self, CurateError> {
        let rules = self.rules()?;
        Ok(Self {
            also: Vec::new(),
            only: rules.filters.iter().map(|&name| name.to_owned()).collect(),
            rouge_threshold: Some(rules.novelty.threshold()),
            min_words: Some(rules.min_words),
            max_words: Some(rules.max_words),
            keywords: Some(rules.keywords),
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_paper() {
        let rules = CurateConfig::default().rules().unwrap();
        assert_eq!(rules.novelty, NoveltyRule::Below(0.7));
        assert_eq!((rules.min_words, rules.max_words), (3, 150));
        assert!(rules.keywords.contains(&"picture".to_owned()));
        assert_eq!(rules.filters.last(), Some(&"rouge-l"));
    }

    #[test]
    fn what_is_typed_wins_over_the_dialect() {
        let text = "dialect = 'alpaca'\nmin_words = 2\nonly = ['exact', 'length']\nkey = 'instruction+input'";
        let config: CurateConfig = toml::from_str(text).unwrap();
        let rules = config.rules().unwrap();
        assert_eq!((rules.min_words, rules.max_words), (2, 150));
        assert_eq!(rules.filters, ["length", "exact"]);
        assert_eq!(rules.novelty, NoveltyRule::AtMost(0.7));
        assert_eq!(config.resolved().unwrap().resolved().unwrap(), config.resolved().unwrap());
        assert!(toml::from_str::<CurateConfig>("threshold = 1").is_err());
    }

    #[test]
    fn more_filters_come_before_novelty() {
        let filters = |text: &str| {
            let config: CurateConfig = toml::from_str(text).unwrap();
            assert_eq!(config.resolved().unwrap().resolved().unwrap(), config.resolved().unwrap());
            config.rules().unwrap().filters
        };
        assert_eq!(
            filters("dialect = 'alpaca'\nalso = ['truncation', 'language', 'length']"),
            ["length", "keyword", "language", "truncation", "rouge-l"]
        );
        let all = filters("also = ['quality']");
        assert_eq!(all.len(), filter::ALL.len());
        assert_eq!(all.last(), Some(&"rouge-l"));
    }

    #[test]
    fn values_without_meaning_are_refused() {
        let bad = [
            "rouge_threshold = 0.0",
            "min_words = 9\nmax_words = 8",
            "dev_fraction = 1.0",
            "keywords = ['x', ' ']",
            "only = ['rougel']",
            "also = ['good']",
            "keep = 'best'",
            "keep = 'longest'\ndialect = 'alpacare'",
        ];
        for text in bad {
            let config: CurateConfig = toml::from_str(text).unwrap();
            assert!(config.rules().is_err(), "{text}");
        }
    }
}
