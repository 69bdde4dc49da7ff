//! How far a number can be trusted: standard errors, bootstrap intervals and exact or seeded paired tests.
//!
//! Everything is repeatable: random draws come from a named [`Stream`], and sums run in the order of the items.

use bioinstruct_core::random::Stream;

/// Differences that enter the exact sign-flip test; beyond, 2ⁿ is too many and signs are drawn.
const EXACT_LIMIT: usize = 16;

/// A two-sided 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The 2.5 % quantile.
    pub low: f64,
    /// The 97.5 % quantile.
    pub high: f64,
}

/// The mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Standard error of the mean, with n − 1 under the variance; none for fewer than two values.
pub fn standard_error(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let count = values.len() as f64;
    Some((squares / (count - 1.0) / count).sqrt())
}

/// The quantile `share` of sorted values, linear between neighbours, as numpy's default; 0 of nothing.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = share * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// Percentile bootstrap (Efron 1979): `statistic` is computed on `resamples` draws of `count` items with replacement, given by
/// their positions. The whole range is one value when there is one item.
pub fn bootstrap(
    count: usize,
    resamples: usize,
    stream: Stream,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> Interval {
    if count == 0 {
        return Interval { low: 0.0, high: 0.0 };
    }
    let mut drawn = vec![0; count];
    let mut values: Vec<f64> = (0..resamples.max(1))
        .map(|resample| {
            let mut draws = stream.at(resample as u64);
            drawn.fill_with(|| draws.below(count));
            statistic(&drawn)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    Interval { low: quantile(&values, 0.025), high: quantile(&values, 0.975) }
}

/// [`bootstrap`] of the mean.
pub fn bootstrap_mean(values: &[f64], resamples: usize, stream: Stream) -> Interval {
    bootstrap(values.len(), resamples, stream, |drawn| {
        drawn.iter().map(|&at| values[at]).sum::<f64>() / drawn.len() as f64
    })
}

/// Exact two-sided `McNemar` test (1947): of the items that exactly one side has right, is the split as even as a coin's?
pub fn mcnemar(only_first: usize, only_second: usize) -> f64 {
    let count = only_first + only_second;
    let fewer = only_first.min(only_second);
    if only_first == only_second {
        return 1.0;
    }
    // The logarithm of C(count, fewer) / 2^count, then the smaller terms by their ratios.
    let choose: f64 = (0..fewer).map(|k| ((count - k) as f64 / (k + 1) as f64).ln()).sum();
    let largest = (choose - count as f64 * std::f64::consts::LN_2).exp();
    let mut ratio = 1.0;
    let mut sum = 1.0;
    for k in (1..=fewer).rev() {
        ratio *= k as f64 / (count - k + 1) as f64;
        sum += ratio;
    }
    (2.0 * largest * sum).min(1.0)
}

/// Two-sided paired permutation test of a mean difference: under the null hypothesis each item's difference may as well have
/// the other sign. Exact for at most 16 differences that are not zero; otherwise `resamples` sign patterns are
/// drawn, and the observed one counts among them (Phipson and Smyth 2010).
pub fn sign_flip(differences: &[f64], resamples: usize, stream: Stream) -> f64 {
    let nonzero: Vec<f64> = differences.iter().copied().filter(|value| *value != 0.0).collect();
    if nonzero.is_empty() {
        return 1.0;
    }
    let observed = nonzero.iter().sum::<f64>().abs();
    // Sums that are equal but for rounding are ties.
    let threshold = observed - 1e-12 * nonzero.iter().map(|value| value.abs()).sum::<f64>();
    let flipped = |signs: &dyn Fn(usize) -> bool| {
        let sum: f64 = nonzero
            .iter()
            .enumerate()
            .map(|(at, value)| if signs(at) { -value } else { *value })
            .sum();
        sum.abs() >= threshold
    };
    if nonzero.len() <= EXACT_LIMIT {
        let patterns = 1_u32 << nonzero.len();
        let extreme = (0..patterns).filter(|pattern| flipped(&|at| pattern >> at & 1 == 1));
        return extreme.count() as f64 / f64::from(patterns);
    }
    let mut bits = vec![0_u32; nonzero.len().div_ceil(32)];
    let extreme = (0..resamples)
        .filter(|&resample| {
            let mut draws = stream.at(resample as u64);
            bits.fill_with(|| draws.next_u32());
            flipped(&|at| bits[at / 32] >> (at % 32) & 1 == 1)
        })
        .count();
    (extreme + 1) as f64 / (resamples + 1) as f64
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values are exact in doubles, or must be the same bits")]
mod tests {
    use super::*;
    use serde_json::Value;

    fn golden() -> Value {
        serde_json::from_str(include_str!("../../../tests/goldens/eval/significance.json")).unwrap()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|item| item.as_f64().unwrap()).collect()
    }

    fn close(found: f64, expected: f64, relative: f64) {
        assert!(
            (found - expected).abs() <= relative * expected.abs().max(1e-300),
            "{found} is not {expected}"
        );
    }

    #[test]
    fn mcnemar_equals_the_binomial_test() {
        for case in golden()["mcnemar"].as_array().unwrap() {
            let count = |name: &str| case[name].as_u64().unwrap() as usize;
            let expected = case["p"].as_f64().unwrap();
            close(mcnemar(count("only_a"), count("only_b")), expected, 1e-11);
            close(mcnemar(count("only_b"), count("only_a")), expected, 1e-11);
        }
    }

    #[test]
    fn small_permutation_tests_are_exact() {
        for case in golden()["sign_flip"].as_array().unwrap() {
            let (a, b) = (numbers(&case["a"]), numbers(&case["b"]));
            let differences: Vec<f64> = b.iter().zip(&a).map(|(b, a)| b - a).collect();
            close(mean(&differences), case["delta"].as_f64().unwrap(), 1e-12);
            let p = sign_flip(&differences, 0, Stream::new(1, "unused"));
            close(p, case["p"].as_f64().unwrap(), 1e-12);
        }
    }

    #[test]
    fn drawn_signs_approach_the_exact_test() {
        let differences: Vec<f64> = (0..EXACT_LIMIT).map(|at| 0.1 * (at as f64) - 0.45).collect();
        let exact = sign_flip(&differences, 0, Stream::new(1, "x"));
        // Adding a pair that cancels in the observed sum takes the test beyond the exact limit.
        let mut longer = differences.clone();
        longer.push(1e-9);
        let drawn = |seed| sign_flip(&longer, 10_000, Stream::new(seed, "x"));
        assert_eq!(drawn(1), drawn(1));
        for seed in 0..5 {
            let error = (exact * (1.0 - exact) / 10_000.0).sqrt();
            assert!((drawn(seed) - exact).abs() < 5.0 * error, "{} {exact}", drawn(seed));
        }
    }

    #[test]
    fn intervals_equal_scipys_up_to_the_draw() {
        for case in golden()["bootstrap"].as_array().unwrap() {
            let values = numbers(&case["values"]);
            close(mean(&values), case["mean"].as_f64().unwrap(), 1e-14);
            let error = standard_error(&values).unwrap();
            close(error, case["stderr"].as_f64().unwrap(), 1e-12);
            let interval = bootstrap_mean(&values, 10_000, Stream::new(3, "bootstrap"));
            assert!((interval.low - case["low"].as_f64().unwrap()).abs() < 0.1 * error);
            assert!((interval.high - case["high"].as_f64().unwrap()).abs() < 0.1 * error);
            assert_eq!(interval, bootstrap_mean(&values, 10_000, Stream::new(3, "bootstrap")));
            assert_ne!(interval, bootstrap_mean(&values, 1_000, Stream::new(4, "bootstrap")));
        }
    }

    #[test]
    fn quantiles_are_numpys() {
        for case in golden()["quantiles"].as_array().unwrap() {
            let mut values = numbers(&case["values"]);
            values.sort_by(f64::total_cmp);
            close(quantile(&values, 0.025), case["low"].as_f64().unwrap(), 1e-13);
            close(quantile(&values, 0.975), case["high"].as_f64().unwrap(), 1e-13);
        }
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn one_item_or_none_has_no_spread() {
        assert_eq!(standard_error(&[0.5]), None);
        let interval = bootstrap_mean(&[0.5], 1_000, Stream::new(1, "x"));
        assert_eq!((interval.low, interval.high), (0.5, 0.5));
        assert_eq!(bootstrap_mean(&[], 1_000, Stream::new(1, "x")).high, 0.0);
        assert_eq!(mean(&[]), 0.0);
    }
}
