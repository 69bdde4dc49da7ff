use super::left::most_lanes;
use super::*;
use crate::kernels::lanes::LENGTH;
use crate::kernels::source::{Direction, Values};
use bioinstruct_core::random::Stream;

fn random(length: usize, name: &str) -> Vec<f32> {
    let mut draws = Stream::new(1, name).at(0);
    (0..length).map(|_| draws.below(200) as f32 / 128.0 - 0.75).collect()
}

fn paths() -> impl Iterator<Item = (KernelPath, Lane)> {
    let paths = KernelPath::ALL.into_iter().filter(|path| path.available());
    paths.flat_map(|path| [(path, Lane::F32), (path, Lane::I16Pair)])
}

/// How far from the definition a sum of `k` products may be: five times what rounding both operands gives, whose values have a
/// mean square near a third.
fn tolerance(lane: Lane, k: usize) -> f64 {
    match lane {
        Lane::F32 => 1e-3,
        Lane::I16Pair => {
            let part = k.min(2 * most_lanes(KernelPath::Portable, lane)) as f64;
            let scale = (part / 3.0).sqrt() / f64::from(LENGTH);
            5.0 * (2.0 * k as f64 / 3.0 / 12.0).sqrt() * 2.0 * scale + 1e-4
        }
    }
}

/// C (m, n) = `a` (m, k) · `b`ᵀ, whose rows have k values too, on so many threads.
fn product_of(
    (path, lane): (KernelPath, Lane),
    threads: usize,
    k: usize,
    a: &[f32],
    b: &[f32],
) -> Vec<f32> {
    let (threads, rows, n) = (Threads::new(threads).unwrap(), a.len() / k, b.len() / k);
    let mut left = LeftBuffer::default();
    left.put((path, &threads), lane, a, k);
    let right = Source::new(Values::F32(b), k, Direction::Transposed);
    let mut c = vec![0.0; rows * n];
    let terms = vec![Term { left: left.left(), right, first_row: 0, rows }];
    multiply(
        (path, &threads),
        lane,
        &mut [Product { c: &mut c, n, rows, terms, output: Output::Store }],
    );
    c
}

/// `a` (m, k) · B in f64.
fn expected(a: &[f32], k: usize, right: impl Fn(usize, usize) -> f32, row: usize, n: usize) -> f64 {
    (0..k).map(|i| f64::from(a[row * k + i]) * f64::from(right(i, n))).sum()
}

#[test]
fn every_path_agrees_with_the_definition() {
    let threads = Threads::new(2).unwrap();
    for (m, n, k) in [
        (1, 1, 1),
        (3, 5, 7),
        (14, 32, 64),
        (15, 33, 65),
        (171, 70, 30),
        (2, 16, 500),
        (5, 140, 1300),
    ] {
        let (a, b) = (random(m * k, "a"), random(k * n, "b"));
        let old = random(m * n, "c");
        for (path, lane) in paths() {
            for direction in [Direction::AsStored, Direction::Transposed] {
                let at = |i: usize, j: usize| match direction {
                    Direction::AsStored => b[i * n + j],
                    Direction::Transposed => b[j * k + i],
                };
                let width = if direction == Direction::AsStored { n } else { k };
                let right = Source::new(Values::F32(&b), width, direction);
                let mut left = LeftBuffer::default();
                left.put((path, &threads), lane, &a, k);
                for output in [Output::Store, Output::Add] {
                    let mut c = old.clone();
                    let term = Term { left: left.left(), right, first_row: 0, rows: m };
                    let product = Product { c: &mut c, n, rows: m, terms: vec![term], output };
                    multiply((path, &threads), lane, &mut [product]);
                    for row in 0..m {
                        for column in 0..n {
                            let mut expected = expected(&a, k, at, row, column);
                            if output == Output::Add {
                                expected += f64::from(old[row * n + column]);
                            }
                            let found = f64::from(c[row * n + column]);
                            assert!(
                                (found - expected).abs() < tolerance(lane, k),
                                "{path:?} {lane:?} {m} {n} {k}: {found} {expected}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn terms_add_up_on_their_rows() {
    let threads = Threads::new(2).unwrap();
    let (m, n, k, narrow) = (40, 50, 20, 3);
    let (a, b) = (random(m * k, "a"), random(k * n, "b"));
    let (low, factor) = (random(7 * narrow, "low"), random(n * narrow, "factor"));
    for (path, lane) in paths() {
        let (mut left, mut low_left) = (LeftBuffer::default(), LeftBuffer::default());
        left.put((path, &threads), lane, &a, k);
        low_left.put((path, &threads), lane, &low, narrow);
        let mut c = vec![7.0; m * n];
        let right = Source::new(Values::F32(&b), n, Direction::AsStored);
        let factor_right = Source::new(Values::F32(&factor), narrow, Direction::Transposed);
        let terms = vec![
            Term { left: left.left(), right, first_row: 0, rows: m },
            Term { left: low_left.left(), right: factor_right, first_row: 30, rows: 7 },
        ];
        let product = Product { c: &mut c, n, rows: m, terms, output: Output::Store };
        multiply((path, &threads), lane, &mut [product]);
        for row in 0..m {
            for column in 0..n {
                let mut sum = expected(&a, k, |i, j| b[i * n + j], row, column);
                if (30..37).contains(&row) {
                    let at = |i: usize, j: usize| factor[j * narrow + i];
                    sum += expected(&low, narrow, at, row - 30, column);
                }
                let error = (f64::from(c[row * n + column]) - sum).abs();
                assert!(error < tolerance(lane, k), "{path:?} {lane:?} {error}");
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_batch_and_on_any_number_of_threads() {
    let (m, n, k) = (1000, 100, 1301);
    let (a, b) = (random(m * k, "a"), random(n * k, "b"));
    for (path, lane) in paths() {
        let run = |rows: Range<usize>, count: usize| {
            product_of((path, lane), count, k, &a[rows.start * k..rows.end * k], &b)
        };
        let whole = run(0..m, 2);
        assert_eq!(whole, run(0..m, 1));
        assert_eq!(whole, run(0..m, 4));
        for row in [0, 13, 14, 500, 999] {
            assert_eq!(whole[row * n..(row + 1) * n], run(row..row + 1, 2)[..]);
        }
    }
}

/// Strips are kept between tasks with the same columns: those of another product, term or call must never be taken for them.
#[test]
fn products_of_one_call_have_the_bits_of_calls_of_their_own() {
    let (m, n, k, narrow) = (1000, 100, 1301, 30);
    let (a, low) = (random(m * k, "a"), random(300 * narrow, "low"));
    let rights = ["first", "second"].map(|name| random(n * k, name));
    let factor = random(n * narrow, "factor");
    for (path, lane) in paths() {
        for count in [1, 2] {
            let threads = Threads::new(count).unwrap();
            let (mut left, mut low_left) = (LeftBuffer::default(), LeftBuffer::default());
            left.put((path, &threads), lane, &a, k);
            low_left.put((path, &threads), lane, &low, narrow);
            let product = |c, number: usize| {
                let right = Source::new(Values::F32(&rights[number]), k, Direction::Transposed);
                let mut terms = vec![Term { left: left.left(), right, first_row: 0, rows: m }];
                if number == 1 {
                    let right = Source::new(Values::F32(&factor), narrow, Direction::Transposed);
                    let left = low_left.left();
                    terms.push(Term { left, right, first_row: 400, rows: 300 });
                }
                Product { c, n, rows: m, terms, output: Output::Store }
            };
            let [mut apart, mut together] = [(); 2].map(|()| [(); 2].map(|()| vec![0.0; m * n]));
            for (number, c) in apart.iter_mut().enumerate() {
                multiply((path, &threads), lane, &mut [product(c, number)]);
            }
            let [first, second] = &mut together;
            multiply((path, &threads), lane, &mut [product(first, 0), product(second, 1)]);
            assert!(apart == together, "{path:?} {lane:?}, {count} threads");
            assert!(apart[0] != apart[1]);
        }
    }
}

/// Sums of integers are exact, so how they are computed makes no difference.
#[test]
fn integers_have_the_same_bits_on_every_path() {
    // Sums of whole numbers: their lengths, and with them the scales, have the same bits on every path too.
    let whole = |length, name| -> Vec<f32> {
        random(length, name).iter().map(|value| (value * 128.0).round()).collect()
    };
    let run = |path, k| {
        let (a, b) = (whole(30 * k, "a"), whole(70 * k, "b"));
        product_of((path, Lane::I16Pair), 2, k, &a, &b)
    };
    let paths: Vec<KernelPath> =
        KernelPath::ALL.into_iter().filter(|path| path.available()).collect();
    for pair in paths.windows(2) {
        assert_eq!(run(pair[0], 501), run(pair[1], 501), "{pair:?}");
    }
    // Two parts. The portable path multiplies and adds with two roundings, of which one value of many may become another integer.
    for pair in paths[1..].windows(2) {
        assert_eq!(run(pair[0], 1501), run(pair[1], 1501), "{pair:?}");
    }
}

/// A path with pairs of integers multiplies what is kept in 32 bits as the path does that has none.
#[test]
fn pairs_move_no_bit_of_products_in_32_bits() {
    let k = 1301;
    let (a, b) = (random(30 * k, "a"), random(70 * k, "b"));
    let run = |path| product_of((path, Lane::F32), 2, k, &a, &b);
    for path in KernelPath::ALL.into_iter().filter(|path| path.available() && path.has_pairs()) {
        assert_eq!(run(path), run(path.in_32_bits()), "{path:?}");
    }
}

#[test]
fn what_is_no_number_stays_none() {
    let (m, n, k) = (3, 40, 50);
    for kind in paths() {
        for bad in [f32::NAN, f32::INFINITY] {
            let (mut a, mut b) = (random(m * k, "a"), random(n * k, "b"));
            (a[k + 4], b[2 * k + 9]) = (bad, bad);
            let c = product_of(kind, 1, k, &a, &b);
            for (at, found) in c.iter().enumerate() {
                let touched = at / n == 1 || at % n == 2;
                assert_eq!(found.is_finite(), !touched, "{kind:?} {at}: {found}");
            }
        }
    }
}

/// A row and a column that point the same way have the greatest sum there is.
#[test]
fn no_sum_of_integers_overflows() {
    for k in [1, 1152, 1153, 4000] {
        for (value, factor) in [(1.0f32, 1.0), (3.0, -1.0), (1e-6, 1.0)] {
            let (a, b) = (vec![value; k], vec![value * factor; k]);
            for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
                let c = product_of((path, Lane::I16Pair), 1, k, &a, &b);
                let expected = k as f32 * value * value * factor;
                assert!((c[0] / expected - 1.0).abs() < 2e-3, "{path:?} {k} {value}: {}", c[0]);
            }
        }
    }
}
