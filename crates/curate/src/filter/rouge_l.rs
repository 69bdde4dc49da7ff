//! `rouge-l`: a row that is too like a seed or a row kept before it, by ROUGE-L F1 of their instructions.
//!
//! The decisions are those of the reference loop (every candidate against the whole pool with `rouge_score`); see
//! [`bioinstruct_text::novelty`] for how they are made without it.

use std::borrow::Cow;

use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_text::novelty::{self, NoveltyFilter, NoveltyRule, Verdict, Winner};

use super::{Evidence, Filter, Objection, Similarity};
use crate::config::Rules;
use crate::{CurateError, Dialect, NoveltyKey};

struct RougeL {
    pool: NoveltyFilter,
    key: NoveltyKey,
    seed_ids: Vec<String>,
    kept_ids: Vec<String>,
}

/// `AlpaCare`'s reading: all rows are compared with all others, later ones too, and no row is the winner.
struct AgainstAll {
    rule: NoveltyRule,
    key: NoveltyKey,
}

pub(super) fn build(rules: &Rules, seeds: &[SeedTask]) -> Result<Box<dyn Filter>, CurateError> {
    let mut pool = empty_pool(rules.novelty)?;
    if rules.dialect == Dialect::Alpacare {
        return Ok(Box::new(AgainstAll { rule: rules.novelty, key: rules.key }));
    }
    for seed in seeds {
        pool.add_pool(&key_text(rules.key, &seed.instruction, &seed.input));
    }
    Ok(Box::new(RougeL {
        pool,
        key: rules.key,
        seed_ids: seeds.iter().map(|seed| seed.id.clone()).collect(),
        kept_ids: Vec::new(),
    }))
}

fn empty_pool(rule: NoveltyRule) -> Result<NoveltyFilter, CurateError> {
    NoveltyFilter::new(rule)
        .map_err(|error| CurateError::Setting { key: "rouge_threshold", reason: error.to_string() })
}

fn key_text<'a>(key: NoveltyKey, instruction: &'a str, input: &str) -> Cow<'a, str> {
    match key {
        NoveltyKey::Instruction => Cow::Borrowed(instruction),
        NoveltyKey::InstructionAndInput => Cow::Owned(format!("{instruction}\n{input}")),
    }
}

impl RougeL {
    fn settle(&mut self, row: &Instruction, verdict: Verdict) -> Option<Objection> {
        match verdict {
            Verdict::Kept => {
                self.kept_ids.push(row.id.clone());
                None
            }
            Verdict::Rejected(evidence) => {
                let nearest = match evidence.winner {
                    Winner::Pool(at) => &self.seed_ids[at],
                    Winner::Kept(at) => &self.kept_ids[at],
                };
                Some(objection(self.pool.rule(), nearest, &evidence))
            }
        }
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
        let verdict = self.pool.admit(&key_text(self.key, &row.instruction, &row.input));
        self.settle(row, verdict)
    }

    fn admit_all(&mut self, rows: &[&Instruction]) -> Vec<Option<Objection>> {
        let texts: Vec<Cow<'_, str>> =
            rows.iter().map(|row| key_text(self.key, &row.instruction, &row.input)).collect();
        let verdicts = self.pool.admit_all(&texts);
        rows.iter().zip(verdicts).map(|(row, verdict)| self.settle(row, verdict)).collect()
    }
}

impl Filter for AgainstAll {
    /// Without the other rows there is nothing to object to; [`crate::Admission`] refuses this dialect.
    fn admit(&mut self, _: &Instruction) -> Option<Objection> {
        None
    }

    fn admit_all(&mut self, rows: &[&Instruction]) -> Vec<Option<Objection>> {
        let texts: Vec<Cow<'_, str>> =
            rows.iter().map(|row| key_text(self.key, &row.instruction, &row.input)).collect();
        let last = rows.len().saturating_sub(1);
        let earlier = against_earlier(self.rule, texts.iter());
        let later = against_earlier(self.rule, texts.iter().rev());
        (0..rows.len())
            .map(|at| {
                let before = earlier[at];
                let after = later[last - at].map(|found| (last - found.0, found.1));
                let (other, evidence) = stronger(before, after)?;
                Some(objection(self.rule, &rows[other].id, &evidence))
            })
            .collect()
    }
}

type Found = (usize, novelty::Evidence);

/// For each text the position of the one before it that it resembles most, when that breaks the rule.
fn against_earlier<'a>(
    rule: NoveltyRule,
    texts: impl Iterator<Item = &'a Cow<'a, str>>,
) -> Vec<Option<Found>> {
    let Ok(mut pool) = empty_pool(rule) else {
        return texts.map(|_| None).collect(); // `build` has refused such a rule
    };
    texts
        .map(|text| {
            let verdict = pool.judge(text);
            pool.add_pool(text);
            match verdict {
                Verdict::Rejected(evidence) => match evidence.winner {
                    Winner::Pool(at) | Winner::Kept(at) => Some((at, evidence)),
                },
                Verdict::Kept => None,
            }
        })
        .collect()
}

/// The higher F1; of equals the earlier row.
fn stronger(before: Option<Found>, after: Option<Found>) -> Option<Found> {
    match (before, after) {
        (Some(first), Some(second)) if second.1.f1 > first.1.f1 => Some(second),
        (Some(first), _) => Some(first),
        (None, second) => second,
    }
}
