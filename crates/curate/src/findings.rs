//! What a person should look at before a dataset is published, without a row being dropped for it: [`Finding`].
//!
//! Of this kind now are questions that stand in the input files more than once with different answers: one of them is
//! wrong, or the question is not one that has an answer. They are looked for among all rows that were read, since filters
//! keep at most one of them.

use std::borrow::Cow;
use std::collections::HashSet;

use bioinstruct_core::hash::fingerprint;
use bioinstruct_core::record::Instruction;
use bioinstruct_data::rows::{LocatedRow, input_or_empty};
use bioinstruct_text::rouge::Tokens;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Tokens up to which two different answers cannot both be right.
const SHORT_ANSWER: usize = 5;

/// Words with which an answer takes a side.
const VERDICTS: [&str; 3] = ["yes", "no", "maybe"];

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
pub struct FindingRow<'a> {
    /// Its id.
    pub id: Cow<'a, str>,
    /// The file it comes from.
    pub file: Cow<'a, str>,
    /// Where it begins there.
    pub line: usize,
    /// Its answer.
    pub output: Cow<'a, str>,
}

/// Rows that should be looked at together: a line of `findings.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding<'a> {
    /// What was found.
    pub kind: FindingKind,
    /// The instruction of the first of the rows.
    pub instruction: Cow<'a, str>,
    /// The first row with each of the answers, in the order of the files.
    pub rows: Vec<FindingRow<'a>>,
}

/// A [`Finding`] without its texts, which may be as large as the rows themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Together {
    /// What was found.
    pub kind: FindingKind,
    /// The first row with the question, among all that were read.
    pub question: usize,
    /// The first row with each of the answers, in their order.
    pub rows: Vec<usize>,
}

/// Questions with more than one answer, in the order of their first rows. Case, punctuation and white space make no
/// difference, neither in questions nor in answers.
pub fn inconsistent_duplicates(rows: &[LocatedRow]) -> Vec<Together> {
    // 128 bits of a hash stand for a question: the words of a million of them would take gigabytes.
    let mut keys: Vec<(u128, usize)> = rows
        .par_iter()
        .enumerate()
        .map_init(Words::default, |words, (at, located)| Some((words.question(&located.row)?, at)))
        .flatten_iter()
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

/// The words of texts, a space behind each, in memory that is used again and again.
#[derive(Default)]
struct Words {
    tokens: Tokens,
    text: Vec<u8>,
}

impl Words {
    /// Those of instruction and input, and of what was said before them, hashed; nothing for an instruction without any.
    fn question(&mut self, row: &Instruction) -> Option<u128> {
        self.text.clear();
        self.add(&row.instruction);
        if self.text.is_empty() {
            return None;
        }
        let before = row.history.iter().flat_map(|turn| [&turn.user, &turn.assistant]);
        let others = [input_or_empty(&row.input), row.system.as_str()].into_iter();
        for text in others.chain(before.map(String::as_str)) {
            self.text.push(b'\n'); // a token has no line break: it says where a text begins
            self.add(text);
        }
        Some(fingerprint([self.text.as_slice()]))
    }

    fn add(&mut self, text: &str) {
        for token in self.tokens.read(text) {
            self.text.extend(token.as_bytes());
            self.text.push(b' ');
        }
    }
}

/// What matters of an answer when it is held against others.
struct Answer {
    place: usize,
    words: usize,
    /// The yes or no that it begins with.
    verdict: Option<&'static str>,
}

impl Answer {
    /// Of its words, a space behind each.
    fn new(place: usize, words: &[u8]) -> Self {
        let mut words = words.split(|&byte| byte == b' ');
        let first = words.next().unwrap_or_default();
        let verdict = VERDICTS.into_iter().find(|verdict| first == verdict.as_bytes());
        // What is left is the other words, and nothing behind the last space.
        Self { place, words: words.count(), verdict }
    }
}

fn finding(rows: &[LocatedRow], group: &[usize]) -> Option<Together> {
    let mut answers: Vec<Answer> = Vec::new();
    let mut seen: HashSet<u128> = HashSet::new();
    let mut words = Words::default();
    for &place in group {
        words.text.clear();
        words.add(&rows[place].row.output);
        if !words.text.is_empty() && seen.insert(fingerprint([words.text.as_slice()])) {
            answers.push(Answer::new(place, &words.text));
        }
    }
    if answers.len() < 2 {
        return None;
    }
    let disagree = answers.iter().all(|answer| answer.verdict.is_some())
        && answers.iter().any(|answer| answer.verdict != answers[0].verdict);
    let all_short = answers.iter().all(|answer| answer.words <= SHORT_ANSWER);
    let kind = if disagree || all_short {
        FindingKind::ContradictoryAnswers
    } else {
        FindingKind::DifferentAnswers
    };
    let rows = answers.into_iter().map(|answer| answer.place).collect();
    Some(Together { kind, question: group[0], rows })
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
                file: "rows.jsonl".into(),
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
        let lines = |finding: &Together| finding.rows.iter().map(|row| row + 1).collect::<Vec<_>>();
        let found: Vec<_> = found.iter().map(|finding| (finding.kind, lines(finding))).collect();
        let expected = [
            (FindingKind::ContradictoryAnswers, vec![1, 3]),
            (FindingKind::DifferentAnswers, vec![2, 5]),
        ];
        assert_eq!(found, expected);
    }
}
