use bioinstruct_core::random::Stream;

use super::*;
use crate::format::TensorView;
use crate::kernels::lanes::Precision;
use crate::ops::finite_difference::{check, random, weighted};

const ROWS: usize = 5;
const INPUT: usize = 24;
const OUT: usize = 40;
const RANK: usize = 3;

fn matrices(threads: &Threads) -> [Matrix; 2] {
    ["first", "second"].map(|name| {
        let tensor = TensorView::of_floats(&[OUT, INPUT], &random(OUT * INPUT, name));
        Matrix::new(threads, &tensor, Precision::F32)
    })
}

fn low_rank<'a>(a: &'a [f32], b: &'a [f32], dropout: Option<Dropout<'a>>) -> LowRank<'a> {
    LowRank { a, b, rank: RANK, scale: 2.0, magnitude: None, first_row: 0, rows: ROWS, dropout }
}

/// The first layer has an adapter, the second none: y of both, one after the other, and what is kept.
fn run(
    path: KernelPath,
    x: &[f32],
    a: &[f32],
    b: &[f32],
    dropout: Option<Dropout<'_>>,
) -> (Vec<f32>, Vec<f32>) {
    let threads = Threads::new(2).unwrap();
    let [first, second] = matrices(&threads);
    let mut y = vec![0.0; 2 * ROWS * OUT];
    let (y_first, y_second) = y.split_at_mut(ROWS * OUT);
    let mut kept = vec![0.0; ROWS * RANK];
    let mut layers = [
        Forward {
            matrix: &first,
            adapters: vec![low_rank(a, b, dropout)],
            y: y_first,
            kept: Some(&mut kept),
        },
        Forward { matrix: &second, adapters: Vec::new(), y: y_second, kept: None },
    ];
    forward((path, &threads), &mut Scratch::default(), Phase::Train, (ROWS, x), &mut layers);
    (y, kept)
}

#[test]
fn backward_is_the_slope_of_forward_with_and_without_dropout() {
    let threads = Threads::new(2).unwrap();
    let (x, a, b) = (random(ROWS * INPUT, "x"), random(RANK * INPUT, "a"), random(OUT * RANK, "b"));
    let d_y = random(2 * ROWS * OUT, "d_y");
    let (stream, rows) = (Stream::new(1, "mask"), [3, 1000, 2000, 3000, 3000]);
    for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
        for dropout in [None, Some(Dropout { probability: 0.3, stream, rows: &rows })] {
            let (_, kept) = run(path, &x, &a, &b, dropout);
            let [first, second] = matrices(&threads);
            let (mut d_a, mut d_b, mut d_x) =
                (vec![0.0; a.len()], vec![0.0; b.len()], vec![0.0; x.len()]);
            let (d_y_first, d_y_second) = d_y.split_at(ROWS * OUT);
            let adapter = AdapterBackward {
                factors: low_rank(&a, &b, dropout),
                kept: &kept,
                d_a: &mut d_a,
                d_b: &mut d_b,
                d_magnitude: None,
            };
            let mut layers = [
                Backward { matrix: &first, d_y: d_y_first, adapter: Some(adapter) },
                Backward { matrix: &second, d_y: d_y_second, adapter: None },
            ];
            let scratch = &mut Scratch::default();
            backward((path, &threads), scratch, ROWS, &x, &mut layers, Some(&mut d_x));
            check("x", &x, &d_x, |x| weighted(&d_y, &run(path, x, &a, &b, dropout).0));
            check("a", &a, &d_a, |a| weighted(&d_y, &run(path, &x, a, &b, dropout).0));
            check("b", &b, &d_b, |b| weighted(&d_y, &run(path, &x, &a, b, dropout).0));
        }
    }
}

#[test]
fn an_adapter_changes_its_own_rows_only() {
    let threads = Threads::new(1).unwrap();
    let (x, a, b) = (random(ROWS * INPUT, "x"), random(RANK * INPUT, "a"), random(OUT * RANK, "b"));
    let [matrix, _] = matrices(&threads);
    let with = |phase: Phase, adapters: Vec<LowRank<'_>>| {
        let mut y = vec![0.0; ROWS * OUT];
        let layer = Forward { matrix: &matrix, adapters, y: &mut y, kept: None };
        let context = (KernelPath::Portable, &threads);
        forward(context, &mut Scratch::default(), phase, (ROWS, &x), &mut [layer]);
        y
    };
    for phase in [Phase::Prefill, Phase::Decode] {
        let base = with(phase, Vec::new());
        let all = with(phase, vec![low_rank(&a, &b, None)]);
        let some = with(phase, vec![LowRank { first_row: 1, rows: 2, ..low_rank(&a, &b, None) }]);
        assert_eq!(some[..OUT], base[..OUT]);
        assert_eq!(some[OUT..3 * OUT], all[OUT..3 * OUT]);
        assert_eq!(some[3 * OUT..], base[3 * OUT..]);
        assert_ne!(base, all);
        let prefill = with(Phase::Prefill, vec![low_rank(&a, &b, None)]);
        assert!(all.iter().zip(prefill).all(|(found, expected)| (found - expected).abs() < 1e-5));
    }
}

/// Factors, magnitudes and row lengths of a layer with DoRA.
struct Stretched {
    a: Vec<f32>,
    b: Vec<f32>,
    m: Vec<f32>,
    norms: Vec<f32>,
}

impl Stretched {
    fn new(matrix: &Matrix) -> Self {
        let (a, b) = (random(RANK * INPUT, "a"), random(OUT * RANK, "b"));
        let m = random(OUT, "m").iter().map(|value| 2.0 + value).collect();
        let mut norms = vec![0.0; OUT];
        let context = (KernelPath::Portable, &Threads::new(1).unwrap());
        row_norms(context, matrix, (&a, &b, 2.0), &mut norms);
        Self { a, b, m, norms }
    }

    fn low_rank<'a>(&'a self, dropout: Option<Dropout<'a>>) -> LowRank<'a> {
        let magnitude = Some(Magnitude { values: &self.m, norms: &self.norms });
        LowRank { magnitude, ..low_rank(&self.a, &self.b, dropout) }
    }

    /// y of one layer, and what is kept.
    fn run(
        &self,
        path: KernelPath,
        matrix: &Matrix,
        x: &[f32],
        dropout: Option<Dropout<'_>>,
    ) -> (Vec<f32>, Vec<f32>) {
        let threads = Threads::new(2).unwrap();
        let (mut y, mut kept) = (vec![0.0; ROWS * OUT], vec![0.0; ROWS * (RANK + OUT)]);
        let adapters = vec![self.low_rank(dropout)];
        let layer = Forward { matrix, adapters, y: &mut y, kept: Some(&mut kept) };
        let scratch = &mut Scratch::default();
        forward((path, &threads), scratch, Phase::Train, (ROWS, x), &mut [layer]);
        (y, kept)
    }
}

#[test]
fn row_norms_are_the_lengths_of_merged_rows() {
    let threads = Threads::new(2).unwrap();
    let [matrix, _] = matrices(&threads);
    let (a, b) = (random(RANK * INPUT, "a"), random(OUT * RANK, "b"));
    let merge = crate::lora::Merge { a: &a, b: &b, rank: RANK, scale: 2.0, magnitudes: None };
    for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
        let mut norms = vec![0.0; OUT];
        row_norms((path, &threads), &matrix, (&a, &b, 2.0), &mut norms);
        for (row, norm) in norms.iter().enumerate() {
            let mut weights = vec![0.0; INPUT];
            matrix.row(row, &mut weights);
            merge.row(row, &mut weights);
            let expected = weights.iter().map(|weight| weight * weight).sum::<f32>().sqrt();
            assert!((norm - expected).abs() < 1e-5 * expected, "{norm}, {expected}");
        }
    }
}

/// y = W x + (g - 1) W x' + g s B A x', written out in 64 bits.
#[test]
fn dora_is_pefts_formula_with_and_without_dropout() {
    let threads = Threads::new(1).unwrap();
    let [matrix, _] = matrices(&threads);
    let (x, stretched) = (random(ROWS * INPUT, "x"), Stretched::new(&matrix));
    let Stretched { a, b, m, norms } = &stretched;
    let (stream, rows) = (Stream::new(1, "mask"), [3, 1000, 2000, 3000, 3000]);
    let product = |weights: &[f32], x: &[f32]| -> f64 {
        weights.iter().zip(x).map(|(weight, x)| f64::from(*weight) * f64::from(*x)).sum()
    };
    for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
        for dropout in [None, Some(Dropout { probability: 0.4, stream, rows: &rows })] {
            let (y, _) = stretched.run(path, &matrix, &x, dropout);
            for (row, x) in x.chunks_exact(INPUT).enumerate() {
                let mut dropped = x.to_vec();
                if let Some(dropout) = dropout {
                    dropout.mask(path, row, x, (&mut Vec::new(), &mut dropped));
                }
                for out in 0..OUT {
                    let mut weights = vec![0.0; INPUT];
                    matrix.row(out, &mut weights);
                    let gain = f64::from(m[out]) / f64::from(norms[out]);
                    let low: f64 = (0..RANK)
                        .map(|k| {
                            let inner = product(&a[k * INPUT..(k + 1) * INPUT], &dropped);
                            2.0 * f64::from(b[out * RANK + k]) * inner
                        })
                        .sum();
                    let expected = product(&weights, x)
                        + (gain - 1.0) * product(&weights, &dropped)
                        + gain * low;
                    let found = f64::from(y[row * OUT + out]);
                    assert!((found - expected).abs() < 1e-4, "{path:?}: {found}, {expected}");
                }
            }
        }
    }
}

/// The row lengths are constants of the backward, and so of the slopes here.
#[test]
fn the_backward_of_dora_is_the_slope_of_its_forward() {
    let threads = Threads::new(2).unwrap();
    let [matrix, _] = matrices(&threads);
    let (x, d_y) = (random(ROWS * INPUT, "x"), random(ROWS * OUT, "d_y"));
    let (stream, rows) = (Stream::new(1, "mask"), [3, 1000, 2000, 3000, 3000]);
    for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
        for dropout in [None, Some(Dropout { probability: 0.3, stream, rows: &rows })] {
            let stretched = Stretched::new(&matrix);
            let (_, kept) = stretched.run(path, &matrix, &x, dropout);
            let (mut d_a, mut d_b) = (vec![0.0; RANK * INPUT], vec![0.0; OUT * RANK]);
            let (mut d_m, mut d_x) = (vec![0.0; OUT], vec![0.0; x.len()]);
            let adapter = AdapterBackward {
                factors: stretched.low_rank(dropout),
                kept: &kept,
                d_a: &mut d_a,
                d_b: &mut d_b,
                d_magnitude: Some(&mut d_m),
            };
            let mut layers = [Backward { matrix: &matrix, d_y: &d_y, adapter: Some(adapter) }];
            let scratch = &mut Scratch::default();
            backward((path, &threads), scratch, ROWS, &x, &mut layers, Some(&mut d_x));
            let loss = |stretched: &Stretched, x: &[f32]| {
                weighted(&d_y, &stretched.run(path, &matrix, x, dropout).0)
            };
            let with = |change: &dyn Fn(&mut Stretched)| {
                let mut changed = Stretched::new(&matrix);
                change(&mut changed);
                loss(&changed, &x)
            };
            check("x", &x, &d_x, |x| loss(&stretched, x));
            check("a", &stretched.a, &d_a, |a| with(&|changed| changed.a = a.to_vec()));
            check("b", &stretched.b, &d_b, |b| with(&|changed| changed.b = b.to_vec()));
            check("m", &stretched.m, &d_m, |m| with(&|changed| changed.m = m.to_vec()));
        }
    }
}

#[test]
fn dora_stretches_its_own_rows_only_and_the_same_when_one_token_is_written() {
    let threads = Threads::new(1).unwrap();
    let [matrix, _] = matrices(&threads);
    let (x, stretched) = (random(ROWS * INPUT, "x"), Stretched::new(&matrix));
    let with = |phase: Phase, adapters: Vec<LowRank<'_>>| {
        let mut y = vec![0.0; ROWS * OUT];
        let layer = Forward { matrix: &matrix, adapters, y: &mut y, kept: None };
        let context = (KernelPath::Portable, &threads);
        forward(context, &mut Scratch::default(), phase, (ROWS, &x), &mut [layer]);
        y
    };
    let expected = stretched.run(KernelPath::Portable, &matrix, &x, None).0;
    for phase in [Phase::Prefill, Phase::Decode] {
        let base = with(phase, Vec::new());
        let some = LowRank { first_row: 1, rows: 2, ..stretched.low_rank(None) };
        let found = with(phase, vec![some]);
        assert_eq!(found[..OUT], base[..OUT]);
        assert_eq!(found[3 * OUT..], base[3 * OUT..]);
        let part = OUT..3 * OUT;
        let pairs = found[part.clone()].iter().zip(&expected[part]);
        assert!(pairs.clone().all(|(found, expected)| (found - expected).abs() < 1e-4));
    }
}
