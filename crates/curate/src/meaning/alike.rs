//! Rows that say nearly the same in other words: [`alike`] finds them by the vectors of an
//! [`Embedder`](bioinstruct_core::model::Embedder).
//!
//! They are reported and never dropped: in medicine one dose or one negation makes another task, and vectors hardly see
//! it. So each pair says which numbers and negations stand in one of its texts only ([`differences`]).

use std::collections::BTreeSet;

use bioinstruct_core::model::Embeddings;
use bioinstruct_core::record::Instruction;
use bioinstruct_data::rows::input_or_empty;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Rows that are compared with all earlier ones in one task.
const ROWS: usize = 64;
/// Earlier rows that stay in the caches while the rows of a task pass by.
const BLOCK: usize = 256;
/// Partial sums of a scalar product.
const LANES: usize = 16;

/// Words that turn a statement around.
const NEGATIONS: [&str; 12] = [
    "no", "not", "never", "without", "none", "neither", "nor", "cannot", "except", "absent",
    "negative", "denies",
];

/// Two rows that are alike: a line of `alike.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alike {
    /// Id of the later row.
    pub id: String,
    /// Id of the earlier row that is nearest to it.
    pub nearest: String,
    /// Cosine of the angle between their vectors.
    pub similarity: f32,
    /// Numbers and negations that stand in one of them only.
    pub differs_in: Vec<String>,
    /// The later row's instruction and input.
    pub text: String,
    /// The earlier one's.
    pub nearest_text: String,
}

/// What is embedded of a row: instruction, and input where there is one.
pub fn text_of(row: &Instruction) -> String {
    match input_or_empty(&row.input) {
        "" => row.instruction.clone(),
        input => format!("{}\n{input}", row.instruction),
    }
}

/// Each row whose nearest earlier row has at least this similarity, most alike first, then in the order of the rows. Of
/// earlier rows that are equally near it is the first.
pub fn alike(rows: &[Instruction], embeddings: &Embeddings, threshold: f32) -> Vec<Alike> {
    let mut found: Vec<(usize, usize, f32)> = nearest_earlier(embeddings)
        .into_iter()
        .enumerate()
        .filter_map(|(row, nearest)| {
            let (nearest, similarity) = nearest?;
            (similarity >= threshold).then_some((row, nearest, similarity))
        })
        .collect();
    found.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
    let pair = |(row, nearest, similarity): (usize, usize, f32)| {
        let (text, nearest_text) = (text_of(&rows[row]), text_of(&rows[nearest]));
        Alike {
            id: rows[row].id.clone(),
            nearest: rows[nearest].id.clone(),
            similarity,
            differs_in: differences(&text, &nearest_text),
            text,
            nearest_text,
        }
    };
    found.into_iter().map(pair).collect()
}

/// For each vector the earlier one with the greatest scalar product, and that product. Every pair is computed: n² / 2
/// products, each one chain of additions, whatever the number of threads.
pub fn nearest_earlier(embeddings: &Embeddings) -> Vec<Option<(usize, f32)>> {
    let width = embeddings.width;
    let row = |at: usize| &embeddings.values[at * width..(at + 1) * width];
    let count = embeddings.rows().len();
    let task = |first: usize| {
        let rows = first..(first + ROWS).min(count);
        let mut nearest: Vec<Option<(usize, f32)>> = vec![None; rows.len()];
        for block in (0..rows.end).step_by(BLOCK) {
            for (nearest, later) in nearest.iter_mut().zip(rows.clone()) {
                for earlier in block..(block + BLOCK).min(later) {
                    let similarity = dot(row(earlier), row(later));
                    if nearest.is_none_or(|(_, most)| similarity > most) {
                        *nearest = Some((earlier, similarity));
                    }
                }
            }
        }
        nearest
    };
    let tasks: Vec<usize> = (0..count).step_by(ROWS).collect();
    tasks.into_par_iter().flat_map_iter(task).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

/// Numbers (with the unit or word behind them) and negations that stand in one text and not in the other, in order.
pub fn differences(a: &str, b: &str) -> Vec<String> {
    let (a, b) = (marks(a), marks(b));
    a.symmetric_difference(&b).cloned().collect()
}

fn marks(text: &str) -> BTreeSet<String> {
    let lower = text.to_lowercase();
    let trimmed = |word: &str| {
        let outer = |character: char| !character.is_alphanumeric() && character != '%';
        word.trim_matches(outer).to_owned()
    };
    let words: Vec<String> =
        lower.split_whitespace().map(trimmed).filter(|word| !word.is_empty()).collect();
    let mut marks = BTreeSet::new();
    for (at, word) in words.iter().enumerate() {
        if NEGATIONS.contains(&word.as_str()) || word.ends_with("n't") || word.ends_with("n’t") {
            marks.insert(word.clone());
        } else if word.chars().any(|character| character.is_ascii_digit()) {
            let unit = words.get(at + 1).filter(|_| word.chars().all(|c| !c.is_alphabetic()));
            marks.insert(unit.map_or_else(|| word.clone(), |unit| format!("{word} {unit}")));
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use bioinstruct_core::record::Provenance;

    use super::*;

    fn row(instruction: &str) -> Instruction {
        let text = instruction.to_owned();
        Instruction::new(text, String::new(), "x".to_owned(), None, Provenance::default())
    }

    #[test]
    fn numbers_and_negations_are_named() {
        let found = differences(
            "Give 5 mg of warfarin; the patient isn't febrile.",
            "Give 10 mg of warfarin; the patient is febrile.",
        );
        assert_eq!(found, ["10 mg", "5 mg", "isn't"]);
        assert_eq!(differences("No fever on day 3.", "no fever, on day 3"), Vec::<String>::new());
        assert_eq!(differences("BRCA1 variant", "BRCA2 variant"), ["brca1", "brca2"]);
    }

    #[test]
    fn the_nearest_earlier_row_is_found_and_the_first_of_equals() {
        let embeddings =
            Embeddings { width: 2, values: vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.8, 0.6, 0.0, 0.0] };
        let expected = [None, Some((0, 0.0)), Some((0, 1.0)), Some((0, 0.8)), Some((0, 0.0))];
        assert_eq!(nearest_earlier(&embeddings), expected);
        let rows = ["a", "b 1", "a not", "c", ""].map(row);
        let found = alike(&rows, &embeddings, 0.75);
        let pairs: Vec<_> = found
            .iter()
            .map(|pair| (pair.text.as_str(), pair.nearest_text.as_str(), &pair.differs_in[..]))
            .collect();
        assert_eq!(pairs, [("a not", "a", &["not".to_owned()][..]), ("c", "a", &[])]);
    }

    #[test]
    fn blocks_and_threads_change_nothing() {
        let (count, width) = (700, 19);
        let values: Vec<f32> =
            (0..count * width).map(|at| (at as f32 * 0.37).sin() * (at % 7) as f32).collect();
        let embeddings = Embeddings { width, values };
        let row = |at: usize| &embeddings.values[at * width..(at + 1) * width];
        let mut expected = vec![None];
        for later in 1..count {
            let mut best = (0, dot(row(0), row(later)));
            for earlier in 1..later {
                let similarity = dot(row(earlier), row(later));
                if similarity > best.1 {
                    best = (earlier, similarity);
                }
            }
            expected.push(Some(best));
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| nearest_earlier(&embeddings)), expected);
        }
    }
}
