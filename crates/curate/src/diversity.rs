//! How different the rows are from one another: [`Diversity`], the data of the report's pictures of it.
//!
//! What is quadratic is done on a sample when there are many rows. A sample is the rows with the lowest content hashes: it has no
//! seed, and does not depend on the order of the rows.

use std::borrow::Cow;

use bioinstruct_core::record::Instruction;
use bioinstruct_data::rows::input_or_empty;
use bioinstruct_text::nearest::{nearest_texts, pairwise_f1};
use bioinstruct_text::numbered::NumberedTexts;
use bioinstruct_text::rouge::Tokens;
use bioinstruct_text::vocabulary::Vocabulary;
use rayon::join;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::verb_noun::{VerbNouns, extract};

/// Up to so many rows the nearest other row of every one is found.
const ALL_NEAREST: usize = 2_000;

/// Rows whose nearest other row is found when there are more.
const NEAREST_SAMPLE: usize = 250;

/// Rows that are compared pair by pair: 44,850 pairs.
const PAIR_SAMPLE: usize = 300;

/// Bars from 0 to 1.
const BARS: usize = 20;

/// One of a row's three texts.
type TextOf = fn(&Instruction) -> &str;

/// Points of a growth curve.
const POINTS: usize = 24;

/// Distances, words and actions of a set of rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Diversity {
    /// What the instructions ask for.
    pub verb_nouns: VerbNouns,
    /// ROUGE-L F1 of an instruction with the most similar other one among all kept rows.
    pub nearest: Similarities,
    /// ROUGE-L F1 of the instructions of two rows.
    pub instruction_pairs: Similarities,
    /// ROUGE-L F1 of the outputs of two rows.
    pub output_pairs: Similarities,
    /// Words of instructions, inputs and outputs.
    pub vocabulary: Vec<WordGrowth>,
}

/// A distribution of similarities.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Similarities {
    /// Rows that were compared: all of them, or a sample.
    pub rows: usize,
    /// Of so many rows.
    pub of_rows: usize,
    /// Values: one a row, or one a pair.
    pub values: usize,
    /// Their average.
    pub mean: f64,
    /// Half of them are at most this.
    pub median: f64,
    /// The highest.
    pub max: f64,
    /// Values in each of twenty bars of equal width from 0 to 1; 1 itself is in the last.
    pub histogram: Vec<usize>,
}

impl Similarities {
    fn of(mut values: Vec<f64>, rows: usize, of_rows: usize) -> Self {
        values.sort_by(f64::total_cmp);
        let mut histogram = vec![0; BARS];
        for value in &values {
            histogram[((value * BARS as f64) as usize).min(BARS - 1)] += 1;
        }
        Self {
            rows,
            of_rows,
            values: values.len(),
            mean: values.iter().sum::<f64>() / values.len().max(1) as f64,
            median: values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default(),
            max: values.last().copied().unwrap_or_default(),
            histogram,
        }
    }
}

/// How many different words one kind of text has, the more of it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WordGrowth {
    /// `instruction`, `input` or `output`.
    pub text: String,
    /// Words, as ROUGE counts them.
    pub tokens: usize,
    /// Different words.
    pub types: usize,
    /// Tokens and types after some rows, the rows in the order of their content hashes.
    pub growth: Vec<[usize; 2]>,
}

impl Diversity {
    /// Measures the kept rows; `numbered` are their instructions, where they have been numbered before.
    pub fn of(rows: &[Instruction], numbered: Option<&NumberedTexts>) -> Self {
        let by_hash = in_order_of_hashes(rows);
        let pairs = |text: TextOf| {
            let sample: Vec<&str> =
                by_hash.iter().take(PAIR_SAMPLE).map(|&at| text(&rows[at])).collect();
            Similarities::of(pairwise_f1(&sample), sample.len(), rows.len())
        };
        let verb_nouns = || {
            let found: Vec<_> = rows.par_iter().map(|row| extract(&row.instruction)).collect();
            VerbNouns::of(&found)
        };
        let instructions = || {
            let found = match numbered {
                Some(numbered) => Cow::Borrowed(numbered),
                None => Cow::Owned(numbered_instructions(rows)),
            };
            let words = FirstWords::of_numbered(&found, &by_hash).growth("instruction");
            (nearest(&found, &by_hash), words)
        };
        let other_words = || {
            let input: TextOf = |row| input_or_empty(&row.input);
            let words = |name, text| FirstWords::of(rows, &by_hash, text).growth(name);
            join(|| words("input", input), || words("output", |row| &row.output))
        };
        // Each has a part that one thread does alone, while the others go on.
        let ((nearest, instruction_words), (verb_nouns, ((input_words, output_words), pairs))) =
            join(instructions, || {
                join(verb_nouns, || {
                    join(other_words, || {
                        join(|| pairs(|row| &row.instruction), || pairs(|row| &row.output))
                    })
                })
            });
        let (instruction_pairs, output_pairs) = pairs;
        let vocabulary = vec![instruction_words, input_words, output_words];
        Self { verb_nouns, nearest, instruction_pairs, output_pairs, vocabulary }
    }
}

fn in_order_of_hashes(rows: &[Instruction]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..rows.len()).collect();
    places.par_sort_unstable_by(|&left, &right| {
        (&rows[left].id, left).cmp(&(&rows[right].id, right))
    });
    places
}

fn numbered_instructions(rows: &[Instruction]) -> NumberedTexts {
    let texts: Vec<&str> = rows.iter().map(|row| row.instruction.as_str()).collect();
    NumberedTexts::of(&texts)
}

fn nearest(instructions: &NumberedTexts, by_hash: &[usize]) -> Similarities {
    let rows = instructions.len();
    let count = if rows <= ALL_NEAREST { rows } else { NEAREST_SAMPLE };
    let found = nearest_texts(instructions, &by_hash[..count]);
    let values = found.into_iter().map(|found| found.map_or(0.0, |nearest| nearest.f1)).collect();
    Similarities::of(values, count, rows)
}

/// How many words texts have, and where each word stands first. Rows are ranked by their content hashes.
struct FirstWords {
    /// Words of each text, by rank.
    lengths: Vec<usize>,
    /// The lowest rank of a text with each word, in the order of their ids; [`NOWHERE`] for an id that no text has.
    first_ranks: Vec<usize>,
}

/// No text has a word.
const NOWHERE: usize = usize::MAX;

/// Rows whose words are counted by one task: their table fits in a cache.
const COUNTED_TOGETHER: usize = 2048;

impl FirstWords {
    fn of_numbered(texts: &NumberedTexts, by_hash: &[usize]) -> Self {
        let (mut lengths, mut first_ranks) = (Vec::with_capacity(texts.len()), Vec::new());
        for (rank, &at) in by_hash.iter().enumerate() {
            let tokens = texts.tokens(at);
            lengths.push(tokens.len());
            for &token in tokens {
                note_first(&mut first_ranks, token, rank);
            }
        }
        Self { lengths, first_ranks }
    }

    /// The rows are read in the order of memory; `by_hash` says in which order they count.
    fn of(rows: &[Instruction], by_hash: &[usize], text: TextOf) -> Self {
        let mut ranks = vec![0; rows.len()];
        for (rank, &at) in by_hash.iter().enumerate() {
            ranks[at] = rank;
        }
        let counted: Vec<WordCount> = rows
            .par_chunks(COUNTED_TOGETHER)
            .zip(ranks.par_chunks(COUNTED_TOGETHER))
            .map(|(rows, ranks)| WordCount::of(rows.iter().map(text).zip(ranks.iter().copied())))
            .collect();
        let mut known = Vocabulary::new();
        let (mut lengths, mut first_ranks) = (vec![0; rows.len()], Vec::new());
        for (count, ranks) in counted.into_iter().zip(ranks.chunks(COUNTED_TOGETHER)) {
            for (&rank, length) in ranks.iter().zip(count.tokens) {
                lengths[rank] = length;
            }
            for (id, rank) in known.absorb(count.words).into_iter().zip(count.first_ranks) {
                note_first(&mut first_ranks, id, rank);
            }
        }
        Self { lengths, first_ranks }
    }

    fn growth(self, name: &str) -> WordGrowth {
        let rows = self.lengths.len();
        let mut new_words = vec![0; rows];
        for rank in self.first_ranks.into_iter().filter(|&rank| rank != NOWHERE) {
            new_words[rank] += 1;
        }
        let (mut growth, mut tokens, mut types) = (Vec::new(), 0, 0);
        for (before, (length, new)) in self.lengths.into_iter().zip(new_words).enumerate() {
            (tokens, types) = (tokens + length, types + new);
            let is_point = (before + 1) * POINTS / rows > before * POINTS / rows;
            if is_point && growth.last() != Some(&[tokens, types]) {
                growth.push([tokens, types]);
            }
        }
        WordGrowth { text: name.to_owned(), tokens, types, growth }
    }
}

/// The words of some rows.
struct WordCount {
    /// How many each row has.
    tokens: Vec<usize>,
    words: Vocabulary,
    /// The lowest rank of a row with each word, in the order of their ids.
    first_ranks: Vec<usize>,
}

impl WordCount {
    /// Of texts and the ranks of their rows.
    fn of<'a>(texts: impl Iterator<Item = (&'a str, usize)>) -> Self {
        let (mut tokens, mut words, mut first_ranks) = (Vec::new(), Vocabulary::new(), Vec::new());
        let mut spaced = Tokens::default();
        for (text, rank) in texts {
            let mut count = 0;
            for token in spaced.read(text) {
                count += 1;
                note_first(&mut first_ranks, words.add(token), rank);
            }
            tokens.push(count);
        }
        Self { tokens, words, first_ranks }
    }
}

/// A word stands in a row of this rank.
fn note_first(first_ranks: &mut Vec<usize>, id: u32, rank: usize) {
    let id = id as usize;
    if id >= first_ranks.len() {
        first_ranks.resize(id + 1, NOWHERE);
    }
    first_ranks[id] = rank.min(first_ranks[id]);
}

#[cfg(test)]
mod tests {
    use bioinstruct_core::record::Provenance;
    use bioinstruct_text::novelty::{NoveltyFilter, NoveltyRule};

    use super::*;

    fn rows(instructions: &[&str]) -> Vec<Instruction> {
        let row = |text: &&str| {
            let texts = [(*text).to_owned(), "none".to_owned(), format!("about {text}")];
            let [instruction, input, output] = texts;
            Instruction::new(instruction, input, output, None, Provenance::default())
        };
        instructions.iter().map(row).collect()
    }

    #[test]
    fn similarities_of_known_rows() {
        let rows = rows(&["list the drugs", "list the genes", "explain fever"]);
        let measured = Diversity::of(&rows, None);
        assert_eq!((measured.nearest.values, measured.nearest.rows), (3, 3));
        assert!((measured.nearest.mean - 4.0 / 9.0).abs() < 1e-12, "2/3, 2/3 and nothing");
        assert_eq!((measured.nearest.histogram[13], measured.nearest.histogram[0]), (2, 1));
        assert_eq!(measured.instruction_pairs.values, 3);
        assert!((measured.instruction_pairs.mean - 2.0 / 9.0).abs() < 1e-12);
        assert_eq!(measured.verb_nouns.with_verb, 3);
        let words = |name: &str| measured.vocabulary.iter().find(|part| part.text == name).unwrap();
        assert_eq!((words("instruction").tokens, words("instruction").types), (8, 6));
        assert_eq!(words("input").tokens, 0, "a way of saying that there is none");
        assert_eq!(words("instruction").growth.last(), Some(&[8, 6]));
    }

    #[test]
    fn the_order_of_the_rows_changes_nothing() {
        let mut rows = rows(&["list the drugs", "list the genes", "explain fever", "write a note"]);
        let measured = Diversity::of(&rows, None);
        rows.reverse();
        assert_eq!(Diversity::of(&rows, None), measured);
        assert_eq!(Diversity::of(&[], None).nearest.values, 0);
    }

    #[test]
    fn numbers_from_elsewhere_change_nothing() {
        let rows = rows(&["list the drugs", "write a note", "list the genes"]);
        let mut filter = NoveltyFilter::new(NoveltyRule::PAPER).unwrap();
        filter.add_pool("words that no row has");
        filter.admit_all(&["list the drugs", "write a note", "write a note", "list the genes"]);
        let numbered = filter.into_kept();
        assert_eq!(Diversity::of(&rows, Some(&numbered)), Diversity::of(&rows, None));
    }

    #[test]
    fn similarities_end_in_the_last_bar() {
        let found = Similarities::of(vec![1.0, 0.0, 0.05, 0.951], 4, 9);
        assert_eq!((found.histogram[19], found.histogram[0], found.histogram[1]), (2, 1, 1));
        assert_eq!((found.median, found.max, found.of_rows), (0.05, 1.0, 9));
    }
}
