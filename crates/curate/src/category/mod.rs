//! What kind of instruction a row is: [`fill`] labels the rows that have no [`Category`] yet.
//!
//! The paper had GPT-4 sort its rows into question answering, information extraction, generation and other (section 3.2). A
//! [`Labeller`] does that here: [`LocalClassifier`] with weights that come with the program, [`HandLabels`] from a file, or a model
//! that is asked (`ask` has the request and reads the reply; who calls the model keeps its replies). A label is metadata: the texts
//! of a row stay as they are, and a label that a row brings is never replaced.

pub mod ask;
mod by_hand;
mod features;
mod local;
pub mod train;

use bioinstruct_core::record::{Category, Instruction};
use serde::{Deserialize, Serialize};

use crate::CurateError;

pub use by_hand::HandLabels;
pub use features::InputSize;
pub use local::LocalClassifier;

/// Values of `curate.categories` that are no file.
pub mod choice {
    /// Rows keep the labels they bring.
    pub const NONE: &str = "none";
    /// The classifier that comes with the program.
    pub const LOCAL: &str = "local";
    /// A model is asked.
    pub const MODEL: &str = "llm";
}

/// Something that gives kinds to rows.
pub trait Labeller {
    /// How, in a few words for cards and reports.
    fn method(&self) -> String;

    /// A hash of everything that its labels depend on, beside the rows.
    fn digest(&self) -> String;

    /// A label for each of the rows, or none where it cannot tell.
    fn label(&mut self, rows: &[&Instruction]) -> Result<Vec<Option<Category>>, CurateError>;
}

/// Where the kinds of the kept rows come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labelling {
    /// How rows without a label got one; empty when none was looked for.
    pub method: String,
    /// Rows that brought their label.
    pub given: usize,
    /// Rows that got one now.
    pub labelled: usize,
    /// Rows that have none still.
    pub unlabelled: usize,
}

/// Labels the rows that have no kind yet.
pub fn fill(
    rows: &mut [Instruction],
    labeller: Option<&mut dyn Labeller>,
) -> Result<Labelling, CurateError> {
    let open: Vec<usize> = (0..rows.len()).filter(|&at| rows[at].category.is_none()).collect();
    let mut done = Labelling {
        given: rows.len() - open.len(),
        unlabelled: open.len(),
        ..Labelling::default()
    };
    let Some(labeller) = labeller else {
        return Ok(done);
    };
    done.method = labeller.method();
    let asked: Vec<&Instruction> = open.iter().map(|&at| &rows[at]).collect();
    let labels = labeller.label(&asked)?;
    assert_eq!(labels.len(), open.len(), "a labeller gives one answer a row");
    for (&at, label) in open.iter().zip(labels) {
        rows[at].category = label;
    }
    done.unlabelled = rows.iter().filter(|row| row.category.is_none()).count();
    done.labelled = open.len() - done.unlabelled;
    Ok(done)
}

/// The category of this name.
pub(crate) fn by_name(name: &str) -> Option<Category> {
    Category::ALL.into_iter().find(|category| category.name() == name)
}

#[cfg(test)]
mod tests {
    use bioinstruct_core::record::Provenance;

    use super::*;

    struct Odd;

    impl Labeller for Odd {
        fn method(&self) -> String {
            "odd rows".to_owned()
        }

        fn digest(&self) -> String {
            String::new()
        }

        fn label(&mut self, rows: &[&Instruction]) -> Result<Vec<Option<Category>>, CurateError> {
            Ok((0..rows.len()).map(|at| (at % 2 == 1).then_some(Category::Ie)).collect())
        }
    }

    #[test]
    fn only_rows_without_a_label_get_one() {
        let row = |text: &str, category| {
            let text = text.to_owned();
            Instruction::new(text, String::new(), String::new(), category, Provenance::default())
        };
        let rows = [row("a", None), row("b", Some(Category::Qa)), row("c", None), row("d", None)];
        let mut labelled = rows.to_vec();
        let done = fill(&mut labelled, Some(&mut Odd)).unwrap();
        assert_eq!((done.given, done.labelled, done.unlabelled), (1, 1, 2));
        let kinds: Vec<_> = labelled.iter().map(|row| row.category).collect();
        assert_eq!(kinds, [None, Some(Category::Qa), Some(Category::Ie), None]);
        assert!(labelled.iter().zip(&rows).all(|(left, right)| left.id == right.id));
        let mut untouched = rows.to_vec();
        let none = fill(&mut untouched, None).unwrap();
        assert_eq!((none.labelled, none.unlabelled, none.method.as_str()), (0, 3, ""));
        assert_eq!(untouched, rows);
    }
}
