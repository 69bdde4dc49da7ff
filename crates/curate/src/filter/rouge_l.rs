//! `rouge-l`: a row that is too like a seed or a row kept before it, by ROUGE-L F1 of their instructions.
//!
//! The decisions are those of the reference loop (every candidate against the whole pool with `rouge_score`); see
//! [`bioinstruct_text::novelty`] for how they are made without it.

use std::borrow::Cow;
use std::cmp::Reverse;

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_text::normalize::word_count;
use bioinstruct_text::novelty::{self, NoveltyFilter, NoveltyRule, Verdict, Winner, against_all};
use bioinstruct_text::numbered::NumberedTexts;
use rayon::prelude::*;

use super::{Evidence, Filter, Objection, Similarity};
use crate::config::{Keep, Rules};
use crate::scores::Scores;
use crate::{CurateError, Dialect, NoveltyKey};

struct RougeL {
    pool: NoveltyFilter,
    key: NoveltyKey,
    preference: Preference,
    seed_ids: Vec<String>,
    kept_ids: Vec<String>,
}

/// `AlpaCare`'s reading: all rows are compared with all others, later ones too, and no row is the winner.
struct AgainstAll {
    rule: NoveltyRule,
    key: NoveltyKey,
}

/// In which order rows are admitted: who comes first stays.
enum Preference {
    First,
    Longest,
    Best(Scores),
}

pub(super) fn build(rules: &Rules, seeds: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    let mut pool = empty_pool(rules.novelty)?;
    if rules.dialect == Dialect::Alpacare {
        return Ok(Box::new(AgainstAll { rule: rules.novelty, key: rules.key }));
    }
    for seed in seeds {
        pool.add_pool(&key_text(rules.key, &seed.instruction, &seed.input, &seed.output));
    }
    let preference = match rules.keep {
        Keep::First => Preference::First,
        Keep::Longest => Preference::Longest,
        Keep::Best => Preference::Best(Scores::read(rules.scores.as_ref())?),
    };
    Ok(Box::new(RougeL {
        pool,
        key: rules.key,
        preference,
        seed_ids: seeds.iter().map(|seed| seed.id.clone()).collect(),
        kept_ids: Vec::new(),
    }))
}

fn empty_pool(rule: NoveltyRule) -> Result<NoveltyFilter, CurateError> {
    NoveltyFilter::new(rule)
        .map_err(|error| CurateError::Setting { key: "rouge_threshold", reason: error.to_string() })
}

fn key_text<'a>(key: NoveltyKey, instruction: &'a str, input: &str, output: &str) -> Cow<'a, str> {
    match key {
        NoveltyKey::Instruction => Cow::Borrowed(instruction),
        NoveltyKey::InstructionAndInput => Cow::Owned(format!("{instruction}\n{input}")),
        NoveltyKey::All => Cow::Owned(format!("{instruction}\n{input}\n{output}")),
    }
}

fn key_of(key: NoveltyKey, row: &Instruction) -> Cow<'_, str> {
    key_text(key, &row.instruction, &row.input, &row.output)
}

impl Preference {
    /// Positions of `rows` in the order in which they are admitted.
    fn order(&self, rows: &[&Instruction]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        match self {
            Self::First => {}
            Self::Longest => order.sort_by_cached_key(|&at| {
                let row = rows[at];
                Reverse(
                    [&row.instruction, &row.input, &row.output]
                        .map(|text| word_count(text))
                        .iter()
                        .sum::<usize>(),
                )
            }),
            Self::Best(scores) => order.sort_by(|&left, &right| {
                let score = |at: usize| scores.of(&rows[at].id).unwrap_or(f64::NEG_INFINITY);
                score(right).total_cmp(&score(left))
            }),
        }
        order
    }
}

impl RougeL {
    /// What a verdict says, once the ids of all kept rows are known.
    fn objection(&self, verdict: &Verdict) -> Option<Objection> {
        let Verdict::Rejected(evidence) = verdict else { return None };
        let nearest = match evidence.winner {
            Winner::Pool(at) => &self.seed_ids[at],
            Winner::Kept(at) => &self.kept_ids[at],
        };
        Some(objection(self.pool.rule(), nearest, evidence))
    }
}

fn objection(rule: NoveltyRule, nearest: &str, evidence: &novelty::Evidence) -> Objection {
    let bound = match rule {
        NoveltyRule::Below(threshold) => format!("not below {threshold}"),
        NoveltyRule::AtMost(threshold) => format!("above {threshold}"),
    };
    Objection {
        reason: format!("ROUGE-L {:.4} with {nearest}, {bound}", evidence.f1),
        evidence: Some(Evidence {
            nearest: nearest.to_owned(),
            similarity: Some(Similarity {
                f: evidence.f1,
                lcs: evidence.lcs,
                m: evidence.candidate_tokens,
                n: evidence.winner_tokens,
            }),
        }),
    }
}

impl Filter for RougeL {
    fn admit(&mut self, row: &Instruction) -> Option<Objection> {
        let verdict = self.pool.admit(&key_of(self.key, row));
        if verdict == Verdict::Kept {
            self.kept_ids.push(row.id.clone());
        }
        self.objection(&verdict)
    }

    fn admit_all(&mut self, rows: &[&Instruction]) -> Vec<Option<Objection>> {
        let order = self.preference.order(rows);
        let texts: Vec<Cow<'_, str>> = order.iter().map(|&at| key_of(self.key, rows[at])).collect();
        let verdicts = self.pool.admit_all(&texts);
        let admitted =
            order.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == Verdict::Kept);
        self.kept_ids.extend(admitted.map(|(&at, _)| rows[at].id.clone()));
        let found: Vec<Option<Objection>> =
            verdicts.par_iter().map(|verdict| self.objection(verdict)).collect();
        if matches!(self.preference, Preference::First) {
            return found; // the order is that of the rows
        }
        let mut objections = vec![None; rows.len()];
        for (at, objection) in order.into_iter().zip(found) {
            objections[at] = objection;
        }
        objections
    }

    fn into_instructions(self: Box<Self>) -> Option<NumberedTexts> {
        let in_order = matches!(self.preference, Preference::First);
        (in_order && self.key == NoveltyKey::Instruction).then(|| self.pool.into_kept())
    }
}

impl Filter for AgainstAll {
    /// Without the other rows there is nothing to object to; [`crate::Admission`] refuses this dialect.
    fn admit(&mut self, _: &Instruction) -> Option<Objection> {
        None
    }

    fn admit_all(&mut self, rows: &[&Instruction]) -> Vec<Option<Objection>> {
        let texts: Vec<Cow<'_, str>> = rows.iter().map(|row| key_of(self.key, row)).collect();
        let Ok(verdicts) = against_all(self.rule, &texts) else {
            return vec![None; rows.len()]; // `build` has refused such a rule
        };
        let objection = |verdict| match verdict {
            Verdict::Rejected(evidence) => {
                let (Winner::Pool(other) | Winner::Kept(other)) = evidence.winner;
                Some(objection(self.rule, &rows[other].id, &evidence))
            }
            Verdict::Kept => None,
        };
        verdicts.into_iter().map(objection).collect()
    }
}
