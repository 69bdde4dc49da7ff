//! Weighted mixtures: [`shares`] says how many of an epoch's draws are of which rows.
//!
//! An epoch has as many draws as there are rows. Without weights and shares each row is drawn once. A category's share is
//! its part of the draws; inside of it, and where no shares are given, the files' weights divide the draws (a file
//! without rows of the category has no part in it), and without weights the rows do. Numbers are made whole by largest
//! remainders; where two are equal, the earlier one gets the draw.

use std::collections::{BTreeMap, BTreeSet};

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::record::Category;

/// What a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Which of the files.
    pub file: usize,
    /// Its kind, when known.
    pub category: Option<Category>,
}

impl Member {
    /// How the category is called in settings.
    fn category_name(self) -> &'static str {
        self.category.map_or("unknown", Category::name)
    }
}

/// Rows that have a part of each epoch together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Which rows, ascending.
    pub rows: Vec<usize>,
    /// How many draws of an epoch are theirs.
    pub draws: usize,
}

/// Weights or shares that make no mixture.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MixtureError {
    /// A file has a part of the draws and no row to draw.
    #[error("file {file} of `--data` has a weight and no row left to draw")]
    EmptyFile {
        /// Counted from one.
        file: usize,
    },
    /// A category has a share and no row.
    #[error("`train.category_shares` gives `{category}` a share, and no row is of it")]
    EmptyCategory {
        /// Its name.
        category: String,
    },
    /// A category has rows and no share.
    #[error("`train.category_shares` does not name `{category}`, which {rows} rows are of")]
    NoShare {
        /// Its name.
        category: &'static str,
        /// How many rows.
        rows: usize,
    },
    /// No such category.
    #[error("`train.category_shares` names `{category}`, which is no category")]
    UnknownCategory {
        /// As given.
        category: String,
    },
    /// A number that is no share.
    #[error("`train.category_shares`: {value} is no share")]
    NotAShare {
        /// As given.
        value: f64,
    },
    /// A part that is too small to be seen.
    #[error(
        "{what} gets {part:.3} of the {draws} draws of an epoch, so none of its rows would be drawn"
    )]
    TooSmall {
        /// The file or category.
        what: String,
        /// Its part in draws.
        part: f64,
        /// Draws of an epoch.
        draws: usize,
    },
}

impl Diagnose for MixtureError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::EmptyFile { .. } => FailureKind::Data,
            _ => FailureKind::Configuration,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoShare { category, .. } => {
                Some(format!("`{category} = 0` leaves those rows out"))
            }
            Self::UnknownCategory { .. } => Some(
                "the categories are `qa`, `ie`, `generation`, `other` and `unknown`".to_owned(),
            ),
            Self::TooSmall { .. } => Some("raise its weight".to_owned()),
            Self::EmptyFile { .. } => Some("leave the file out, or raise the cutoff".to_owned()),
            _ => None,
        }
    }
}

/// Parts the rows. `weights` has a positive number for each file or is empty; `categories` has a share for each category.
pub fn shares(
    members: &[Member],
    weights: &[f64],
    categories: &BTreeMap<String, f64>,
) -> Result<Vec<Share>, MixtureError> {
    if weights.is_empty() && categories.is_empty() {
        let rows: Vec<usize> = (0..members.len()).collect();
        return Ok(vec![Share { draws: rows.len(), rows }]);
    }
    if let Some(file) = (0..weights.len()).find(|file| members.iter().all(|it| it.file != *file)) {
        return Err(MixtureError::EmptyFile { file: file + 1 });
    }
    check_categories(members, categories)?;
    let cells = cells(members, weights, categories);
    let parts: Vec<f64> = cells.iter().map(|cell| cell.part).collect();
    let draws = whole_parts(&parts, members.len());
    for (cell, draws) in cells.iter().zip(&draws) {
        if *draws == 0 && cell.part > 0.0 {
            let part = cell.part * members.len() as f64;
            let what = cell.name.clone();
            return Err(MixtureError::TooSmall { what, part, draws: members.len() });
        }
    }
    let shares = cells.into_iter().zip(draws).map(|(cell, draws)| Share { rows: cell.rows, draws });
    Ok(shares.filter(|share| share.draws > 0).collect())
}

/// Each category with rows has a share, and each share has rows.
fn check_categories(
    members: &[Member],
    categories: &BTreeMap<String, f64>,
) -> Result<(), MixtureError> {
    if categories.is_empty() {
        return Ok(());
    }
    let known: BTreeSet<&str> =
        Category::ALL.iter().map(|category| category.name()).chain(["unknown"]).collect();
    for (category, share) in categories {
        if !known.contains(category.as_str()) {
            return Err(MixtureError::UnknownCategory { category: category.clone() });
        }
        if !(share.is_finite() && *share >= 0.0) {
            return Err(MixtureError::NotAShare { value: *share });
        }
        if *share > 0.0 && members.iter().all(|member| member.category_name() != category) {
            return Err(MixtureError::EmptyCategory { category: category.clone() });
        }
    }
    for member in members {
        let category = member.category_name();
        if !categories.contains_key(category) {
            let rows = members.iter().filter(|it| it.category_name() == category).count();
            return Err(MixtureError::NoShare { category, rows });
        }
    }
    if categories.values().sum::<f64>() <= 0.0 {
        return Err(MixtureError::NotAShare { value: 0.0 });
    }
    Ok(())
}

/// Rows that only a share of their own draws.
struct Cell {
    name: String,
    rows: Vec<usize>,
    /// Of all draws, between zero and one.
    part: f64,
}

fn cells(members: &[Member], weights: &[f64], categories: &BTreeMap<String, f64>) -> Vec<Cell> {
    // (category, file), each only where it divides anything.
    let key = |member: &Member| {
        let category = (!categories.is_empty()).then(|| member.category_name());
        (category, (!weights.is_empty()).then_some(member.file))
    };
    let mut rows: BTreeMap<(Option<&str>, Option<usize>), Vec<usize>> = BTreeMap::new();
    for (row, member) in members.iter().enumerate() {
        rows.entry(key(member)).or_default().push(row);
    }
    let total: f64 = categories.values().sum();
    let parts: Vec<f64> = rows
        .keys()
        .map(|(category, file)| {
            let share = category.map_or(1.0, |category| categories[category] / total);
            let beside = rows.keys().filter(|(other, _)| other == category);
            let beside: f64 = beside.filter_map(|(_, file)| file.map(|file| weights[file])).sum();
            share * file.map_or(1.0, |file| weights[file] / beside)
        })
        .collect();
    rows.into_iter()
        .zip(parts)
        .map(|(((category, file), rows), part)| {
            let file = file.map(|file| format!("file {}", file + 1));
            let category = category.map(|category| format!("category `{category}`"));
            let names: Vec<String> = category.into_iter().chain(file).collect();
            Cell { name: names.join(" of "), rows, part }
        })
        .collect()
}

/// Whole numbers in proportion to `parts` that add up to `total`.
fn whole_parts(parts: &[f64], total: usize) -> Vec<usize> {
    let exact: Vec<f64> = parts.iter().map(|part| part * total as f64).collect();
    let mut whole: Vec<usize> = exact.iter().map(|part| part.floor() as usize).collect();
    let mut by_remainder: Vec<usize> = (0..parts.len()).filter(|at| parts[*at] > 0.0).collect();
    let remainder = |at: usize| exact[at] - exact[at].floor();
    by_remainder.sort_by(|a, b| remainder(*b).total_cmp(&remainder(*a)).then(a.cmp(b)));
    let left = total.saturating_sub(whole.iter().sum());
    for at in by_remainder.into_iter().take(left) {
        whole[at] += 1;
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members(list: &[(usize, Option<Category>)]) -> Vec<Member> {
        list.iter().map(|(file, category)| Member { file: *file, category: *category }).collect()
    }

    fn categories(list: &[(&str, f64)]) -> BTreeMap<String, f64> {
        list.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect()
    }

    fn draws(shares: &[Share]) -> Vec<usize> {
        shares.iter().map(|share| share.draws).collect()
    }

    #[test]
    fn without_weights_each_row_is_drawn_once() {
        let members = members(&[(0, None), (1, Some(Category::Qa)), (1, None)]);
        let shares = shares(&members, &[], &BTreeMap::new()).unwrap();
        assert_eq!(shares, [Share { rows: vec![0, 1, 2], draws: 3 }]);
    }

    #[test]
    fn weights_are_shares_of_an_epoch() {
        let mut list = vec![(0, None); 90];
        list.extend([(1, None); 10]);
        let found = shares(&members(&list), &[0.3, 0.7], &BTreeMap::new()).unwrap();
        assert_eq!(draws(&found), [30, 70]);
        assert_eq!(found[1].rows, (90..100).collect::<Vec<_>>());
        // Only the proportion counts.
        assert_eq!(found, shares(&members(&list), &[3.0, 7.0], &BTreeMap::new()).unwrap());
    }

    #[test]
    fn categories_divide_first_and_files_inside_of_them() {
        let (qa, ie) = (Some(Category::Qa), Some(Category::Ie));
        let mut list = vec![(0, qa); 6];
        list.extend([(1, qa); 2]);
        list.extend([(1, ie); 2]);
        let half = categories(&[("qa", 0.5), ("ie", 0.5)]);
        // Keys are in alphabetical order: ie, then qa of both files.
        assert_eq!(draws(&shares(&members(&list), &[], &half).unwrap()), [5, 5]);
        assert_eq!(draws(&shares(&members(&list), &[0.4, 0.6], &half).unwrap()), [5, 2, 3]);
        let none = categories(&[("qa", 1.0), ("ie", 0.0)]);
        let found = shares(&members(&list), &[], &none).unwrap();
        assert_eq!(found, [Share { rows: (0..8).collect(), draws: 10 }]);
    }

    #[test]
    fn nothing_is_left_out_unsaid() {
        let list = members(&[(0, Some(Category::Qa)), (0, None), (1, None)]);
        let refused = |weights: &[f64], list_of: &[(&str, f64)]| {
            shares(&list, weights, &categories(list_of)).unwrap_err().to_string()
        };
        assert!(refused(&[], &[("qa", 1.0)]).contains("does not name `unknown`, which 2 rows"));
        assert!(
            refused(&[], &[("qa", 1.0), ("unknown", 1.0), ("ie", 1.0)]).contains("`ie` a share")
        );
        assert!(refused(&[], &[("qqa", 1.0)]).contains("no category"));
        assert!(refused(&[], &[("qa", -1.0)]).contains("no share"));
        assert!(refused(&[1.0, 1.0, 1.0], &[]).contains("file 3"));
        assert!(refused(&[1.0, 1e-9], &[]).contains("none of its rows would be drawn"));
    }

    proptest! {
        #[test]
        fn an_epoch_has_as_many_draws_as_rows(
            files in prop::collection::vec(0usize..3, 30..200),
            weights in prop::collection::vec(0.2f64..1.0, 3),
        ) {
            let mut files = files;
            files.extend([0, 1, 2]);
            let list: Vec<_> = files.iter().map(|file| (*file, None)).collect();
            let found = shares(&members(&list), &weights, &BTreeMap::new()).unwrap();
            prop_assert_eq!(draws(&found).iter().sum::<usize>(), list.len());
            let sum: f64 = weights.iter().sum();
            for (share, weight) in found.iter().zip(&weights) {
                let exact = weight / sum * list.len() as f64;
                prop_assert!((share.draws as f64 - exact).abs() < 1.0);
            }
        }
    }
}
