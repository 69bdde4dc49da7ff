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
    LowRank { a, b, rank: RANK, scale: 2.0, first_row: 0, rows: ROWS, dropout }
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
    let sequences = [(0..2, Stream::new(1, "a")), (2..ROWS, Stream::new(1, "b"))];
    for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
        for dropout in [None, Some(Dropout { probability: 0.3, sequences: &sequences })] {
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

#[test]
fn dropout_zeroes_its_share_and_keeps_the_mean() {
    let sequences = [(0..100, Stream::new(1, "mask"))];
    let dropout = Dropout { probability: 0.25, sequences: &sequences };
    let path = KernelPath::choose().unwrap();
    let mut values = vec![1.0f32; 100 * 70];
    for (row, values) in values.chunks_exact_mut(70).enumerate() {
        dropout.mask(path, row, values);
    }
    let zeros = values.iter().filter(|value| **value == 0.0).count() as f64 / 7000.0;
    let mean = values.iter().sum::<f32>() / 7000.0;
    assert!((zeros - 0.25).abs() < 0.02 && (mean - 1.0).abs() < 0.03, "{zeros} {mean}");
    let other = sequences[0].1.fork(0);
    let mut again = vec![1.0f32; 70];
    Dropout { probability: 0.25, sequences: &[(0..1, other)] }.mask(path, 0, &mut again);
    assert_ne!(again, values[..70]);
}
