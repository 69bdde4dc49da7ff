//! Against finite differences, against softmax in 64 bits, and with rare words against all of them.

use super::*;
use crate::format::TensorView;
use crate::kernels::lanes::{Precision, from_bf16, to_bf16};
use crate::ops::finite_difference::{check, random, weighted};

const HIDDEN: usize = 20;
const VOCABULARY: usize = 37;

fn head(values: &[f32]) -> Matrix {
    let tensor = TensorView::of_floats(&[values.len() / HIDDEN, HIDDEN], values);
    Matrix::new(&Threads::new(1).unwrap(), &tensor, Precision::F32)
}

fn run(
    path: KernelPath,
    head: &Matrix,
    (x, labels): (&[f32], &[u32]),
    words: usize,
) -> (Vec<f32>, Vec<f32>) {
    let (threads, mut d_x) = (Threads::new(2).unwrap(), vec![7.0; x.len()]);
    let (context, scratch) = ((path, &threads), &mut Scratch::default());
    let way = (2.0, Walk { words, least_share: 0.0 });
    let losses = in_parts(context, scratch, head, (x, labels), way, Some(&mut d_x));
    assert_eq!(losses, in_parts(context, scratch, head, (x, labels), way, None));
    (losses, d_x)
}

#[test]
fn backward_is_the_slope_of_forward() {
    let head = head(&random(VOCABULARY * HIDDEN, "head"));
    let (x, labels) = (random(4 * HIDDEN, "x"), [0, 36, 8, 8]);
    for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
        for words in [8, 12, 36, 100] {
            let loss = |x: &[f32]| weighted(&[2.0; 4], &run(path, &head, (x, &labels), words).0);
            let (_, d_x) = run(path, &head, (&x, &labels), words);
            check("head loss", &x, &d_x, loss);
        }
    }
}

/// Against softmax in 64 bits, in particular where the label's word is all but certain, or all but impossible.
#[test]
fn losses_and_gradients_are_those_of_softmax() {
    let values = random(VOCABULARY * HIDDEN, "head");
    let head = head(&values);
    for factor in [0.1f32, 1.0, 8.0, 40.0] {
        let x: Vec<f32> = values[5 * HIDDEN..6 * HIDDEN].iter().map(|x| x * factor).collect();
        let logits: Vec<f64> = values.chunks_exact(HIDDEN).map(|word| weighted(word, &x)).collect();
        for label in 0..VOCABULARY {
            let relative = |word: usize| (logits[word] - logits[label]).exp();
            let others = || (0..VOCABULARY).filter(|word| *word != label);
            let rest: f64 = others().map(relative).sum();
            let expected: Vec<f64> = (0..HIDDEN)
                .map(|at| {
                    let value = |word: usize| f64::from(values[word * HIDDEN + at]);
                    let term = |word: usize| relative(word) * (value(word) - value(label));
                    2.0 * others().map(term).sum::<f64>() / (1.0 + rest)
                })
                .collect();
            let size = expected.iter().map(|value| value * value).sum::<f64>().sqrt();
            for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
                let (losses, d_x) = run(path, &head, (&x, &[label as u32]), 10);
                let loss = f64::from(losses[0]);
                let what = format!("{path:?}, {factor}, {label}");
                assert!((loss - rest.ln_1p()).abs() <= 1e-4 * rest.ln_1p(), "{what}: {loss}");
                for (found, expected) in d_x.iter().zip(&expected) {
                    let error = (f64::from(*found) - expected).abs();
                    assert!(error <= 1e-4 * size, "{what}: {found}, {expected}");
                }
            }
        }
    }
}

#[test]
fn the_loss_of_even_logits_is_the_log_of_their_number() {
    let x = vec![0.0; HIDDEN];
    let (losses, _) = run(KernelPath::Portable, &head(&random(8 * HIDDEN, "head")), (&x, &[3]), 4);
    assert!((losses[0] - 8f32.ln()).abs() < 1e-6);
    let (losses, d_x) = run(KernelPath::Portable, &head(&random(HIDDEN, "word")), (&x, &[0]), 4);
    assert_eq!((losses, d_x), (vec![0.0], vec![0.0; HIDDEN]), "the only word");
}

#[test]
fn what_is_no_number_is_no_loss() {
    let head = head(&random(VOCABULARY * HIDDEN, "head"));
    let mut x = random(2 * HIDDEN, "x");
    for (bad, words) in [(f32::NAN, 8), (f32::INFINITY, 8), (f32::NAN, 100)] {
        x[HIDDEN + 3] = bad;
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let (losses, _) = run_without_comparison(path, &head, &x, words);
            assert!(losses[0].is_finite() && !losses[1].is_finite(), "{path:?}: {losses:?}");
        }
    }
}

fn run_without_comparison(
    path: KernelPath,
    head: &Matrix,
    x: &[f32],
    words: usize,
) -> (Vec<f32>, Vec<f32>) {
    let (threads, mut d_x) = (Threads::new(1).unwrap(), vec![0.0; x.len()]);
    let (context, scratch) = ((path, &threads), &mut Scratch::default());
    let (rows, way) = ((x, &[1, 2][..]), (1.0, Walk { words, least_share: 0.0 }));
    let losses = in_parts(context, scratch, head, rows, way, Some(&mut d_x));
    (losses, d_x)
}

/// The gradient where words of less than `least_share` are taken together.
fn gradient(
    (path, threads): (KernelPath, usize),
    head: &Matrix,
    (x, labels): (&[f32], &[u32]),
    least_share: f32,
) -> (Vec<f32>, Vec<f32>) {
    let (threads, mut d_x) = (Threads::new(threads).unwrap(), vec![0.0; x.len()]);
    let (context, scratch) = ((path, &threads), &mut Scratch::default());
    let way = (1.0, Walk { words: 300, least_share });
    let losses = in_parts(context, scratch, head, (x, labels), way, Some(&mut d_x));
    (losses, d_x)
}

fn length(values: impl Iterator<Item = f32>) -> f32 {
    values.map(|value| value * value).sum::<f32>().sqrt()
}

/// The same weights as 32-bit floats and as bfloat16, and how far from the gradient of all words rounding alone may lead.
fn heads(words: usize) -> [(Matrix, f32); 2] {
    let values: Vec<f32> =
        random(words * HIDDEN, "head").iter().map(|value| from_bf16(to_bf16(*value))).collect();
    let tensor = TensorView::of_floats(&[words, HIDDEN], &values);
    [(Precision::F32, 1e-5), (Precision::Bf16, 1e-3)].map(|(precision, rounding)| {
        (Matrix::new(&Threads::new(1).unwrap(), &tensor, precision), rounding)
    })
}

/// Rows that are sure of some words.
fn rows(count: usize) -> Vec<f32> {
    random(count * HIDDEN, "x").iter().map(|x| 3.0 * x).collect()
}

/// ‖found − expected‖ / ‖expected‖.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    let differences = found.iter().zip(expected).map(|(found, expected)| found - expected);
    length(differences) / length(expected.iter().copied())
}

/// The mean of rare words is weighted by what the row itself gives them when there is no other.
#[test]
fn rare_words_of_one_row_lose_nothing() {
    let row = (&rows(1)[..], &[450][..]);
    for (head, rounding) in &heads(700) {
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let (losses, exact) = gradient((path, 2), head, row, 0.0);
            for least_share in [1e-5, 1e-3, 0.1, 1.0] {
                let (found_losses, found) = gradient((path, 2), head, row, least_share);
                assert_eq!(losses, found_losses);
                let error = error(&found, &exact);
                assert!(error < *rounding, "{path:?}, {least_share}: {error}");
            }
        }
    }
}

/// Rows that differ: the error is that of the mean, which grows with the share that is called rare, and depends on no thread.
#[test]
fn rare_words_of_many_rows_lose_little() {
    let (x, labels) = (rows(40), (0..40).map(|at| at * 17).collect::<Vec<u32>>());
    for (head, _) in &heads(700) {
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let run = |threads, least_share| {
                gradient((path, threads), head, (&x, &labels), least_share).1
            };
            let exact = run(2, 0.0);
            let mut before = 0.0;
            for (least_share, most) in [(0.01, 0.02), (0.03, 0.06), (0.1, 0.2), (1.0, 1.0)] {
                let found = run(1, least_share);
                let error = error(&found, &exact);
                let what = format!("{path:?}, {least_share}: {error} after {before}");
                assert!(error > before && error < most, "{what}");
                before = error;
                assert!([2, 4].iter().all(|threads| run(*threads, least_share) == found), "{what}");
            }
        }
    }
}

/// Rows that are no numbers have no gradient, and change that of no other.
#[test]
fn rows_that_are_no_numbers_choose_no_words() {
    let (good, labels) = (rows(12), (0..14).map(|at| at * 17).collect::<Vec<u32>>());
    let mut x = good.clone();
    x.extend([f32::NAN; HIDDEN]);
    x.extend([f32::INFINITY; HIDDEN]);
    for (head, _) in &heads(700) {
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let (losses, d_x) = gradient((path, 2), head, (&x, &labels), 0.1);
            let (good_losses, good_d_x) = gradient((path, 2), head, (&good, &labels[..12]), 0.1);
            assert_eq!((&losses[..12], &d_x[..good.len()]), (&good_losses[..], &good_d_x[..]));
            assert!(losses[12..].iter().all(|loss| !loss.is_finite()), "{path:?}: {losses:?}");
            assert!(d_x[good.len()..].iter().all(|value| value.is_nan()), "{path:?}: {d_x:?}");
        }
    }
}

/// More rows than are taken at once give what each gives alone; in 32 bits, where no word is rare.
#[test]
fn rows_are_in_no_ones_way() {
    let head = head(&random(VOCABULARY * HIDDEN, "head"));
    let rows = 2 * ROWS + 3;
    let x = random(rows * HIDDEN, "x");
    let labels: Vec<u32> = (0..rows).map(|row| (row * 7 % VOCABULARY) as u32).collect();
    let threads = Threads::new(2).unwrap();
    let run = |rows: Range<usize>| {
        let (part, scratch) = (rows.start * HIDDEN..rows.end * HIDDEN, &mut Scratch::default());
        let mut d_x = vec![7.0; part.len()];
        let (context, given) = ((KernelPath::Portable, &threads), (&x[part], &labels[rows]));
        let losses = head_loss(context, scratch, &head, given, 0.5, Some(&mut d_x));
        (losses, d_x)
    };
    let (losses, d_x) = run(0..rows);
    for row in [0, ROWS - 1, ROWS, 2 * ROWS - 1, 2 * ROWS, rows - 1] {
        let found = (vec![losses[row]], d_x[row * HIDDEN..(row + 1) * HIDDEN].to_vec());
        assert_eq!(found, run(row..row + 1), "{row}");
    }
}
