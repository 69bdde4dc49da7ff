//! How far raters agree beyond chance: [`cohen_kappa`] for two, [`krippendorff_alpha`] for any number with gaps.
//!
//! Labels are nominal: two of them are equal or not, and no pair is nearer than another. Both measures are 1 for full agreement and
//! 0 for what chance alone would give; they may be below zero. Where chance alone would give full agreement (everybody uses a
//! single label) neither is defined, and `None` is returned.

use std::collections::BTreeMap;

/// Share of pairs with equal labels; `None` without pairs.
pub fn accuracy<L: PartialEq>(pairs: &[(L, L)]) -> Option<f64> {
    let equal = pairs.iter().filter(|(left, right)| left == right).count();
    (!pairs.is_empty()).then(|| equal as f64 / pairs.len() as f64)
}

/// Cohen's κ of two raters who labelled the same items: `(p − e) / (1 − e)`, where p is the share of equal labels and e the share
/// expected when each draws from his own frequencies (Cohen 1960).
pub fn cohen_kappa<L: Ord + Copy>(pairs: &[(L, L)]) -> Option<f64> {
    let observed = accuracy(pairs)?;
    let mut counts: BTreeMap<L, [usize; 2]> = BTreeMap::new();
    for &(left, right) in pairs {
        counts.entry(left).or_default()[0] += 1;
        counts.entry(right).or_default()[1] += 1;
    }
    let both: usize = counts.values().map(|[left, right]| left * right).sum();
    let expected = both as f64 / (pairs.len() as f64 * pairs.len() as f64);
    (expected < 1.0).then(|| (observed - expected) / (1.0 - expected))
}

/// Krippendorff's α for nominal labels: one list of labels an item, by whichever raters labelled it (Krippendorff 2011, "Computing
/// Krippendorff's alpha-reliability"). Items with fewer than two labels say nothing and are passed over.
pub fn krippendorff_alpha<L: Ord + Copy>(items: &[Vec<L>]) -> Option<f64> {
    let mut totals: BTreeMap<L, usize> = BTreeMap::new();
    let mut disagreement = 0.0;
    for labels in items.iter().filter(|labels| labels.len() >= 2) {
        let mut counts: BTreeMap<L, usize> = BTreeMap::new();
        for &label in labels {
            *counts.entry(label).or_default() += 1;
            *totals.entry(label).or_default() += 1;
        }
        let equal: usize = counts.values().map(|count| count * (count - 1)).sum();
        let pairs = labels.len() * (labels.len() - 1);
        disagreement += (pairs - equal) as f64 / (labels.len() - 1) as f64;
    }
    let total: usize = totals.values().sum();
    let equal: usize = totals.values().map(|count| count * (count - 1)).sum();
    let expected = (total * total.saturating_sub(1) - equal) as f64;
    (expected > 0.0).then(|| 1.0 - (total - 1) as f64 * disagreement / expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: Option<f64>, expected: f64) {
        let found = found.expect("a value");
        assert!((found - expected).abs() < 5e-4, "{found} is not {expected}");
    }

    /// Two raters on 50 applications: 20 both yes, 15 both no, 5 and 10 apart; the value is worked out by hand: p = 0.7,
    /// e = 0.5 · 0.6 + 0.5 · 0.4 = 0.5, κ = 0.4.
    #[test]
    fn kappa_of_a_table() {
        let cells =
            [((true, true), 20), ((true, false), 5), ((false, true), 10), ((false, false), 15)];
        let pairs: Vec<(bool, bool)> =
            cells.iter().flat_map(|&(pair, count)| vec![pair; count]).collect();
        near(cohen_kappa(&pairs), 0.4);
        near(accuracy(&pairs), 0.7);
        assert_eq!(cohen_kappa(&[(1, 1), (1, 1)]), None);
        assert_eq!(cohen_kappa::<u8>(&[]), None);
    }

    /// The nominal example of Krippendorff's note: four observers, twelve units, some labels missing; α = 0.743.
    #[test]
    fn alpha_of_the_published_example() {
        let raters = [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
            [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
        ];
        let unit =
            |at: usize| raters.iter().map(|labels| labels[at]).filter(|&label| label > 0).collect();
        let items: Vec<Vec<u8>> = (0..12).map(unit).collect();
        near(krippendorff_alpha(&items), 0.743);
        assert_eq!(krippendorff_alpha(&[vec![1, 1], vec![2]]), None);
        assert_eq!(krippendorff_alpha::<u8>(&[]), None);
        near(krippendorff_alpha(&[vec![1, 2], vec![2, 1]]), -0.5);
    }
}
