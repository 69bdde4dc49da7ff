//! What a person should look at before a dataset is published, without a row being dropped for it: [`Finding`].
//!
//! Of this kind now are questions that stand in the input files more than once with different answers: one of them is
//! wrong, or the question is not one that has an answer. They are looked for among all rows that were read, since filters
//! keep at most one of them.

use std::collections::HashSet;

use bioinstruct_core::hash::fingerprint;
use bioinstruct_core::record::Instruction;
use bioinstruct_data::rows::{LocatedRow, input_or_empty};
use bioinstruct_text::rouge::{Stemmer, Tokens, tokenize};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Tokens up to which two different answers cannot both be right.
const SHORT_ANSWER: usize = 5;

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// The same instruction and input with short answers that differ, or that differ in the yes or no they begin with.
    ContradictoryAnswers,
    /// The same instruction and input with longer answers that differ.
    DifferentAnswers,
}

impl FindingKind {
    /// The name used in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ContradictoryAnswers => "contradictory-answers",
            Self::DifferentAnswers => "different-answers",
        }
    }
}

/// A row of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingRow {
    /// Its id.
    pub id: String,
    /// The file it comes from.
    pub file: String,
    /// Where it begins there.
    pub line: usize,
    /// Its answer.
    pub output: String,
}

/// Rows that should be looked at together: a line of `findings.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was found.
    pub kind: FindingKind,
    /// The instruction of the first of the rows.
    pub instruction: String,
    /// The first row with each of the answers, in the order of the files.
    pub rows: Vec<FindingRow>,
}

/// Questions with more than one answer, in the order of their first rows. Case, punctuation and white space make no
/// difference, neither in questions nor in answers.
pub fn inconsistent_duplicates(rows: &[LocatedRow]) -> Vec<Finding> {
    // 128 bits of a hash stand for a question: the words of a million of them would take gigabytes.
    let mut keys: Vec<(u128, usize)> = rows
        .par_iter()
        .enumerate()
        .filter_map(|(at, located)| Some((question_key(&located.row)?, at)))
        .collect();
    keys.par_sort_unstable();
    let of_one_question = keys.chunk_by(|first, second| first.0 == second.0);
    let mut groups: Vec<Vec<usize>> = of_one_question
        .filter(|group| group.len() > 1)
        .map(|group| group.iter().map(|&(_, at)| at).collect())
        .collect();
    groups.sort_unstable();
    groups.into_par_iter().filter_map(|group| finding(rows, &group)).collect()
}

/// The words of instruction and input, and of what was said before them, hashed; nothing for an instruction without any.
fn question_key(row: &Instruction) -> Option<u128> {
    let mut words = String::new();
    add_words(&row.instruction, &mut words);
    if words.is_empty() {
        return None;
    }
    let before = row.history.iter().flat_map(|turn| [&turn.user, &turn.assistant]);
    let others = [input_or_empty(&row.input), row.system.as_str()].into_iter();
    for text in others.chain(before.map(String::as_str)) {
        words.push('\n'); // a token has no line break: it says where a text begins
        add_words(text, &mut words);
    }
    Some(fingerprint([words.as_bytes()]))
}

/// The words of a text, a space behind each.
fn add_words(text: &str, words: &mut String) {
    for token in Tokens::of(text).iter() {
        words.push_str(token);
        words.push(' ');
    }
}

fn finding(rows: &[LocatedRow], group: &[usize]) -> Option<Finding> {
    let mut answers: Vec<(Vec<String>, usize)> = Vec::new();
    let mut seen: HashSet<Vec<String>> = HashSet::new();
    for &at in group {
        let answer = tokenize(&rows[at].row.output, Stemmer::Off);
        if !answer.is_empty() && seen.insert(answer.clone()) {
            answers.push((answer, at));
        }
    }
    if answers.len() < 2 {
        return None;
    }
    let verdict = |answer: &[String]| {
        answer
            .first()
            .map(String::as_str)
            .filter(|first| ["yes", "no", "maybe"].contains(first))
            .map(str::to_owned)
    };
    let verdicts: Vec<Option<String>> = answers.iter().map(|(answer, _)| verdict(answer)).collect();
    let disagree =
        verdicts.iter().all(Option::is_some) && verdicts.iter().any(|other| *other != verdicts[0]);
    let all_short = answers.iter().all(|(answer, _)| answer.len() <= SHORT_ANSWER);
    let kind = if disagree || all_short {
        FindingKind::ContradictoryAnswers
    } else {
        FindingKind::DifferentAnswers
    };
    let shown = |&(_, at): &(Vec<String>, usize)| FindingRow {
        id: rows[at].row.id.clone(),
        file: rows[at].file.clone(),
        line: rows[at].line,
        output: rows[at].row.output.clone(),
    };
    Some(Finding {
        kind,
        instruction: rows[group[0]].row.instruction.clone(),
        rows: answers.iter().map(shown).collect(),
    })
}

#[cfg(test)]
mod tests {
    use bioinstruct_core::record::Provenance;

    use super::*;

    fn rows(texts: &[[&str; 3]]) -> Vec<LocatedRow> {
        let row = |(texts, line): (&[&str; 3], usize)| {
            let [instruction, input, output] = texts.map(str::to_owned);
            LocatedRow {
                row: Instruction::new(instruction, input, output, None, Provenance::default()),
                file: "rows.jsonl".to_owned(),
                line,
            }
        };
        texts.iter().zip(1..).map(row).collect()
    }

    #[test]
    fn questions_with_several_answers_are_found_once() {
        let long = |word: &str| format!("Take {word} with plenty of water in the morning");
        let rows = rows(&[
            ["Is aspirin an NSAID?", "", "Yes."],
            ["Which drug now?", "fever", &long("it")],
            ["is aspirin an NSAID", "N/A", "No, never in any of the usual senses."],
            ["Is aspirin an NSAID?", "", "yes"],
            ["Which drug now?", "Fever", &long("two")],
            ["Which drug now?", "cough", "None"],
            ["Name one vitamin.", "", "C"],
            ["Name one vitamin", "", "c."],
            ["αβγ", "", "x"],
            ["δ", "", "y"],
        ]);
        let found = inconsistent_duplicates(&rows);
        let lines = |finding: &Finding| finding.rows.iter().map(|row| row.line).collect::<Vec<_>>();
        let found: Vec<_> = found.iter().map(|finding| (finding.kind, lines(finding))).collect();
        let expected = [
            (FindingKind::ContradictoryAnswers, vec![1, 3]),
            (FindingKind::DifferentAnswers, vec![2, 5]),
        ];
        assert_eq!(found, expected);
    }
}
