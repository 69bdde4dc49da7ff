//! Parting rows into train and dev: [`split`].
//!
//! Which side a row falls on is decided by a hash of the seed and of its question (instruction and input), so it does not
//! depend on the order of the rows, and rows with one question stay together whatever their answers.

use bioinstruct_core::hash::fingerprint;
use bioinstruct_core::record::Instruction;
use bioinstruct_text::normalize::answer_key;
use rayon::prelude::*;

/// How many rows go to dev.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DevSize {
    /// This share of all rows, rounded; at least one row when it is above zero and there are two questions or more.
    Fraction(f64),
    /// This many rows.
    Count(usize),
}

/// A share that is not one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("dev fraction {fraction} is not at least 0 and below 1")]
pub struct FractionOutOfRange {
    /// As given.
    pub fraction: f64,
}

/// Positions of rows, ascending, on either side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// To learn from.
    pub train: Vec<usize>,
    /// To measure with.
    pub dev: Vec<usize>,
}

impl DevSize {
    fn rows_of(self, total: usize) -> Result<usize, FractionOutOfRange> {
        match self {
            Self::Count(count) => Ok(count.min(total)),
            Self::Fraction(fraction) if (0.0..1.0).contains(&fraction) => {
                let wanted = (fraction * total as f64).round() as usize;
                Ok(wanted.max(usize::from(fraction > 0.0)))
            }
            Self::Fraction(fraction) => Err(FractionOutOfRange { fraction }),
        }
    }
}

/// Parts `rows`; dev may come out smaller than asked when questions with many answers do not fit in, and never takes the
/// last question from train.
pub fn split(rows: &[Instruction], size: DevSize, seed: u64) -> Result<Split, FractionOutOfRange> {
    let wanted = size.rows_of(rows.len())?;
    let mut ranked: Vec<(u128, usize)> = rows
        .par_iter()
        .enumerate()
        .map(|(position, row)| (rank_of_question(row, seed), position))
        .collect();
    ranked.par_sort_unstable();
    let questions = || ranked.chunk_by(|(left, _), (right, _)| left == right);
    let mut parted = Split::default();
    let mut left = questions().count();
    for positions in questions() {
        let fits = parted.dev.len() + positions.len() <= wanted;
        let side = if fits && left > 1 { &mut parted.dev } else { &mut parted.train };
        left -= usize::from(fits && left > 1);
        side.extend(positions.iter().map(|&(_, position)| position));
    }
    parted.train.sort_unstable();
    parted.dev.sort_unstable();
    Ok(parted)
}

/// Questions that differ in case or white space only are one.
fn rank_of_question(row: &Instruction, seed: u64) -> u128 {
    fingerprint([
        b"split".as_slice(),
        &seed.to_le_bytes(),
        answer_key(&row.instruction).as_bytes(),
        answer_key(&row.input).as_bytes(),
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bioinstruct_core::record::Provenance;
    use proptest::prelude::*;

    use super::*;

    fn row(question: usize, answer: usize) -> Instruction {
        let text = format!("Question {question}?");
        Instruction::new(text, String::new(), format!("{answer}"), None, Provenance::default())
    }

    fn ids(rows: &[Instruction], positions: &[usize]) -> BTreeSet<String> {
        positions.iter().map(|&at| rows[at].id.clone()).collect()
    }

    proptest! {
        #[test]
        fn sides_share_no_question_and_do_not_depend_on_order(
            questions in proptest::collection::vec((0usize..30, 0usize..4), 1..60),
            rotation in 0usize..60,
            fraction in 0.0f64..0.9,
            seed in 0u64..5,
        ) {
            let rows: Vec<Instruction> =
                questions.iter().map(|&(question, answer)| row(question, answer)).collect();
            let parted = split(&rows, DevSize::Fraction(fraction), seed).unwrap();
            prop_assert_eq!(parted.train.len() + parted.dev.len(), rows.len());
            prop_assert!(!parted.train.is_empty());
            let on = |side: &[usize]| -> BTreeSet<&str> {
                side.iter().map(|&at| rows[at].instruction.as_str()).collect()
            };
            prop_assert!(on(&parted.train).is_disjoint(&on(&parted.dev)));

            let mut turned = rows.clone();
            turned.rotate_left(rotation % rows.len());
            let again = split(&turned, DevSize::Fraction(fraction), seed).unwrap();
            prop_assert_eq!(ids(&rows, &parted.dev), ids(&turned, &again.dev));
        }
    }

    #[test]
    fn sizes_are_met_when_questions_are_single() {
        let rows: Vec<Instruction> = (0..50).map(|question| row(question, 0)).collect();
        let dev = |size| split(&rows, size, 7).unwrap().dev.len();
        assert_eq!(dev(DevSize::Fraction(0.1)), 5);
        assert_eq!(dev(DevSize::Fraction(0.001)), 1);
        assert_eq!(dev(DevSize::Fraction(0.0)), 0);
        assert_eq!(dev(DevSize::Count(13)), 13);
        assert_eq!(dev(DevSize::Count(500)), 49);
        assert_ne!(
            split(&rows, DevSize::Count(5), 7).unwrap(),
            split(&rows, DevSize::Count(5), 8).unwrap()
        );
    }

    #[test]
    fn case_and_white_space_make_no_new_question() {
        let one = Instruction::new(
            "Name it.".into(),
            "A  b".into(),
            "x".into(),
            None,
            Provenance::default(),
        );
        let two = Instruction::new(
            "name it. ".into(),
            "a b".into(),
            "y".into(),
            None,
            Provenance::default(),
        );
        let parted = split(&[one, two], DevSize::Count(1), 1).unwrap();
        assert_eq!((parted.train, parted.dev), (vec![0, 1], vec![]));
    }

    #[test]
    fn a_fraction_of_one_is_refused() {
        for fraction in [1.0, -0.1, f64::NAN] {
            assert!(split(&[], DevSize::Fraction(fraction), 1).is_err());
        }
    }
}
