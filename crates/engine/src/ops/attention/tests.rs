use super::*;
use crate::ops::finite_difference::{check, random, weighted};

mod shared;

/// What multiplies, and in what.
type Kind = (KernelPath, Lane);

/// All paths in 32 bits, and in integers the definition and the paths that have them.
fn kinds() -> impl Iterator<Item = Kind> {
    let floats = KernelPath::ALL.map(|path| (path, Lane::F32));
    let has_integers = |path: &KernelPath| *path == KernelPath::Portable || path.has_pairs();
    let integers =
        KernelPath::ALL.into_iter().filter(has_integers).map(|path| (path, Lane::I16Pair));
    floats.into_iter().chain(integers).filter(|(path, _)| path.available())
}

/// A batch's operands.
struct Batch {
    heads: Heads,
    sequences: Vec<Range<usize>>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    d_out: Vec<f32>,
}

impl Batch {
    fn new((query, key_value, size): (usize, usize, usize), lengths: &[usize]) -> Self {
        let heads = Heads { query, key_value, size, window: None };
        let mut end = 0;
        let sequences: Vec<_> = lengths
            .iter()
            .map(|length| {
                end += length;
                end - length..end
            })
            .collect();
        let (wide, narrow) = (end * heads.query_width(), end * heads.key_value_width());
        Self {
            heads,
            sequences,
            query: random(wide, "query"),
            key: random(narrow, "key"),
            value: random(narrow, "value"),
            d_out: random(wide, "d_out"),
        }
    }

    fn with_window(mut self, window: usize) -> Self {
        self.heads.window = Some(window);
        self
    }

    fn forward(&self, (path, lane): Kind, threads: usize) -> (Vec<f32>, Vec<f32>) {
        let threads = Threads::new(threads).unwrap();
        let width = self.heads.key_value_width();
        let sequences: Vec<Attended<'_>> = self
            .sequences
            .iter()
            .map(|rows| Attended {
                rows: rows.clone(),
                past: 0,
                keys: KeyRows::Together(&self.key[rows.start * width..rows.end * width]),
                values: KeyRows::Together(&self.value[rows.start * width..rows.end * width]),
            })
            .collect();
        let mut out = vec![f32::NAN; self.query.len()];
        let mut log_sum_exp = vec![f32::NAN; self.query.len() / self.heads.size];
        let (context, products) = ((path, &threads), (lane, &mut Operands::default()));
        forward(context, products, self.heads, &self.query, &sequences, &mut out, &mut log_sum_exp);
        (out, log_sum_exp)
    }

    /// Gradients of query, key and value.
    fn backward(&self, (path, lane): Kind, threads: usize) -> [Vec<f32>; 3] {
        let (out, log_sum_exp) = self.forward((path, lane), threads);
        let threads = Threads::new(threads).unwrap();
        let [mut query, mut key, mut value] =
            [&self.query, &self.key, &self.value].map(|values| vec![f32::NAN; values.len()]);
        let keyed =
            |rows: &Range<usize>| KeyedRows { rows: rows.clone(), past: 0, first_key: rows.start };
        let sequences: Vec<KeyedRows> = self.sequences.iter().map(keyed).collect();
        backward(
            (path, &threads),
            (lane, &mut Operands::default()),
            self.heads,
            Kept {
                query: &self.query,
                key: &self.key,
                value: &self.value,
                out: &out,
                log_sum_exp: &log_sum_exp,
            },
            &sequences,
            &self.d_out,
            Gradients { query: &mut query, key: &mut key, value: &mut value },
        );
        [query, key, value]
    }

    /// The definition in double precision: out and the gradients of query, key and value.
    fn defined(&self) -> [Vec<f64>; 4] {
        let size = self.heads.size;
        let mut found =
            [&self.query, &self.query, &self.key, &self.value].map(|like| vec![0.0; like.len()]);
        for rows in &self.sequences {
            for row in rows.clone() {
                for head in 0..self.heads.query {
                    let at = row * self.heads.query_width() + head * size;
                    let seen = self.heads.window.unwrap_or(usize::MAX).min(row + 1 - rows.start);
                    self.define_row(row + 1 - seen..row + 1, head, at, &mut found);
                }
            }
        }
        found
    }

    fn define_row(&self, seen: Range<usize>, head: usize, at: usize, found: &mut [Vec<f64>; 4]) {
        let size = self.heads.size;
        let scale = 1.0 / (size as f64).sqrt();
        let [out, d_query, d_key, d_value] = found;
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let key_at =
            |row: usize| row * self.heads.key_value_width() + head / self.heads.group() * size;
        let (query, d_out) = (&self.query[at..at + size], &self.d_out[at..at + size]);
        let mut weights: Vec<f64> = seen
            .clone()
            .map(|row| (scale * dot(query, &self.key[key_at(row)..][..size])).exp())
            .collect();
        let total: f64 = weights.iter().sum();
        for weight in &mut weights {
            *weight /= total;
        }
        let d_weights: Vec<f64> =
            seen.clone().map(|row| dot(d_out, &self.value[key_at(row)..][..size])).collect();
        let mean: f64 = weights.iter().zip(&d_weights).map(|(weight, slope)| weight * slope).sum();
        for ((row, weight), slope) in seen.zip(&weights).zip(&d_weights) {
            let d_score = weight * (slope - mean) * scale;
            for i in 0..size {
                let key = key_at(row) + i;
                out[at + i] += weight * f64::from(self.value[key]);
                d_query[at + i] += d_score * f64::from(self.key[key]);
                d_key[key] += d_score * f64::from(query[i]);
                d_value[key] += weight * f64::from(d_out[i]);
            }
        }
    }
}

fn assert_near(name: &str, (_, lane): Kind, found: &[f32], expected: &[f64]) {
    let tolerance = match lane {
        Lane::F32 => 2e-5,
        Lane::I16Pair => 4e-4,
    };
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f64::from(*found) - expected).abs() <= tolerance * (1.0 + expected.abs()),
            "{name}[{at}]: {found}, expected {expected}"
        );
    }
}

#[test]
fn forward_and_backward_agree_with_the_definition() {
    let around_borders = [1, 15, 16, 17, 31, 33, 64, 65, 200];
    let shapes = [(3, 1, 8), (4, 4, 64), (6, 2, 40), (4, 2, 5), (9, 3, 64), (2, 1, 256)];
    for shape in shapes {
        let batch = Batch::new(shape, &around_borders);
        let [out, query, key, value] = batch.defined();
        for kind in kinds() {
            let name = |what: &str| format!("{shape:?} {kind:?} {what}");
            assert_near(&name("out"), kind, &batch.forward(kind, 2).0, &out);
            let found = batch.backward(kind, 2);
            assert_near(&name("d_query"), kind, &found[0], &query);
            assert_near(&name("d_key"), kind, &found[1], &key);
            assert_near(&name("d_value"), kind, &found[2], &value);
        }
    }
}

#[test]
fn keys_of_several_tasks_agree_with_the_definition() {
    let batch = Batch::new((2, 1, 16), &[3, 2 * TASK_KEYS + 70, TASK_KEYS + 1]);
    let [out, query, key, value] = batch.defined();
    for kind in kinds() {
        assert_near("out", kind, &batch.forward(kind, 2).0, &out);
        let found = batch.backward(kind, 2);
        assert_near("d_query", kind, &found[0], &query);
        assert_near("d_key", kind, &found[1], &key);
        assert_near("d_value", kind, &found[2], &value);
    }
}

/// Windows below, at and above the widths of strips, blocks and tasks.
const WINDOWS: [usize; 9] = [1, 2, 7, 16, 33, 64, 65, 150, 4096];

#[test]
fn a_window_agrees_with_the_definition() {
    for window in WINDOWS {
        for shape in [(3, 1, 8), (4, 2, 5), (9, 3, 24)] {
            let batch = Batch::new(shape, &[1, 17, 64, 200]).with_window(window);
            let [out, query, key, value] = batch.defined();
            for kind in kinds() {
                let name = |what: &str| format!("window {window}, {shape:?} {kind:?} {what}");
                assert_near(&name("out"), kind, &batch.forward(kind, 2).0, &out);
                let found = batch.backward(kind, 2);
                assert_near(&name("d_query"), kind, &found[0], &query);
                assert_near(&name("d_key"), kind, &found[1], &key);
                assert_near(&name("d_value"), kind, &found[2], &value);
            }
        }
    }
    let long = [3, 2 * TASK_KEYS + 70, TASK_KEYS + 1];
    for window in [1, 100, TASK_KEYS - 1, TASK_KEYS + 5] {
        let batch = Batch::new((2, 1, 16), &long).with_window(window);
        let [out, query, key, value] = batch.defined();
        for kind in kinds() {
            assert_near("out", kind, &batch.forward(kind, 2).0, &out);
            let found = batch.backward(kind, 2);
            assert_near(&format!("window {window} d_query"), kind, &found[0], &query);
            assert_near(&format!("window {window} d_key"), kind, &found[1], &key);
            assert_near(&format!("window {window} d_value"), kind, &found[2], &value);
        }
    }
}

#[test]
fn a_window_that_covers_the_sequence_changes_no_bit() {
    let batch = || Batch::new((6, 2, 24), &[200, TASK_KEYS + 40]);
    for kind in kinds() {
        let (plain, wide) = (batch(), batch().with_window(TASK_KEYS + 40));
        assert_eq!(plain.forward(kind, 2), wide.forward(kind, 2), "{kind:?}");
        assert_eq!(plain.backward(kind, 2), wide.backward(kind, 2), "{kind:?}");
    }
}

/// What no row of a strip sees is not read: keys there may hold anything.
#[test]
fn tokens_before_the_window_are_never_seen() {
    for kind in kinds() {
        let mut batch = Batch::new((6, 2, 24), &[300]).with_window(50);
        let before = batch.forward(kind, 2).0;
        let (narrow, wide) = (batch.heads.key_value_width(), batch.heads.query_width());
        let token = 40;
        batch.key[token * narrow..(token + 1) * narrow].fill(f32::NAN);
        batch.value[token * narrow..(token + 1) * narrow].fill(f32::INFINITY);
        let after = batch.forward(kind, 2).0;
        let (first, end) = (token * wide, (token + 50) * wide);
        assert_eq!(before[..first], after[..first], "{kind:?}");
        assert!(after[first..end].iter().all(|value| value.is_nan()), "{kind:?}");
        assert_eq!(before[end..], after[end..], "{kind:?}");
    }
}

#[test]
fn backward_is_the_slope_of_forward() {
    // Of the definition in integers, whose steps are too coarse for finite differences, other tests say the same.
    for kind in kinds().filter(|(_, lane)| *lane == Lane::F32) {
        for (shape, window) in [((4, 2, 8), 64), ((3, 1, 5), 64), ((4, 2, 8), 3)] {
            let new = || Batch::new(shape, &[3, 5, 9]).with_window(window);
            let batch = new();
            let [d_query, d_key, d_value] = batch.backward(kind, 2);
            let moved = |change: &dyn Fn(&mut Batch)| {
                let mut batch = new();
                change(&mut batch);
                weighted(&batch.d_out, &batch.forward(kind, 2).0)
            };
            check("query", &batch.query, &d_query, |to| moved(&|it| it.query = to.to_vec()));
            check("key", &batch.key, &d_key, |to| moved(&|it| it.key = to.to_vec()));
            check("value", &batch.value, &d_value, |to| moved(&|it| it.value = to.to_vec()));
        }
    }
}

#[test]
fn later_tokens_and_other_sequences_are_never_seen() {
    for kind in kinds() {
        let mut batch = Batch::new((6, 2, 24), &[3, 70]);
        let before = batch.forward(kind, 2).0;
        let (narrow, wide) = (batch.heads.key_value_width(), batch.heads.query_width());
        let token = 40;
        batch.key[token * narrow..(token + 1) * narrow].fill(f32::NAN);
        batch.value[token * narrow..(token + 1) * narrow].fill(f32::INFINITY);
        let after = batch.forward(kind, 2).0;
        assert_eq!(before[..token * wide], after[..token * wide], "{kind:?}");
        assert!(after[token * wide..].iter().all(|value| value.is_nan()), "{kind:?}");
    }
}

/// Integers cannot say that they are no numbers; what is made of them can.
#[test]
fn a_gradient_that_is_none_gives_none() {
    for kind in kinds() {
        let mut batch = Batch::new((6, 2, 24), &[90]);
        let (narrow, wide) = (batch.heads.key_value_width(), batch.heads.query_width());
        let token = 70;
        batch.d_out[token * wide..(token + 1) * wide].fill(f32::NAN);
        let [query, key, value] = batch.backward(kind, 2);
        let of_token = token * wide..(token + 1) * wide;
        assert!(query[of_token.clone()].iter().all(|value| value.is_nan()), "{kind:?}");
        assert!(query[..of_token.start].iter().all(|value| value.is_finite()), "{kind:?}");
        let seen = 0..(token + 1) * narrow;
        assert!(key[seen.clone()].iter().all(|value| value.is_nan()), "{kind:?}");
        assert!(value[seen].iter().all(|value| value.is_nan()), "{kind:?}");
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn the_number_of_threads_and_the_batch_change_no_bit() {
    for window in [usize::MAX, 40, TASK_KEYS + 7] {
        threads_and_batch_change_no_bit(window);
    }
}

fn threads_and_batch_change_no_bit(window: usize) {
    let lengths = [17, 1, TASK_KEYS + 33, 65];
    let batch = Batch::new((6, 2, 24), &lengths).with_window(window);
    for kind in kinds() {
        let (out, log_sum_exp) = batch.forward(kind, 1);
        let gradients = batch.backward(kind, 1);
        for threads in [2, 4] {
            let again = batch.forward(kind, threads);
            assert_eq!(bits(&out), bits(&again.0), "{kind:?}, {threads} threads");
            assert_eq!(bits(&log_sum_exp), bits(&again.1));
            for (first, second) in gradients.iter().zip(&batch.backward(kind, threads)) {
                assert_eq!(bits(first), bits(second), "{kind:?}, {threads} threads");
            }
        }
        for rows in &batch.sequences {
            let mut alone = Batch::new((6, 2, 24), &[rows.len()]).with_window(window);
            let (wide, narrow) = (alone.heads.query_width(), alone.heads.key_value_width());
            let (wide, narrow) =
                (rows.start * wide..rows.end * wide, rows.start * narrow..rows.end * narrow);
            alone.query = batch.query[wide.clone()].to_vec();
            alone.d_out = batch.d_out[wide.clone()].to_vec();
            alone.key = batch.key[narrow.clone()].to_vec();
            alone.value = batch.value[narrow.clone()].to_vec();
            assert_eq!(bits(&alone.forward(kind, 2).0), bits(&out[wide.clone()]), "{kind:?}");
            let found = alone.backward(kind, 2);
            for (found, (whole, range)) in
                found.iter().zip(gradients.iter().zip([wide, narrow.clone(), narrow]))
            {
                assert_eq!(bits(found), bits(&whole[range]), "{kind:?}");
            }
        }
    }
}

/// The same rows as a cache holds them.
fn pages(values: &[f32], heads: Heads) -> Vec<Vec<f32>> {
    let (size, width) = (heads.size, heads.key_value_width());
    let page = |rows: &[f32]| {
        let mut page = vec![f32::NAN; PAGE_TOKENS * width];
        for (token, row) in rows.chunks(width).enumerate() {
            for (head, values) in row.chunks(size).enumerate() {
                page[(head * PAGE_TOKENS + token) * size..][..size].copy_from_slice(values);
            }
        }
        page
    };
    values.chunks(PAGE_TOKENS * width).map(page).collect()
}

fn paged(pages: &[Vec<f32>]) -> KeyRows<'_> {
    KeyRows::Paged(pages.iter().map(Vec::as_slice).collect())
}

#[test]
fn a_cache_changes_no_bit() {
    for (shape, window) in [
        ((9, 3, 64), usize::MAX),
        ((2, 2, 5), usize::MAX),
        ((16, 2, 32), usize::MAX),
        ((9, 3, 64), 70),
        ((2, 2, 5), 5),
        ((16, 2, 32), 64),
    ] {
        let batch = Batch::new(shape, &[200]).with_window(window);
        let (wide, narrow) = (batch.heads.query_width(), batch.heads.key_value_width());
        for kind in kinds() {
            let (whole, whole_sums) = batch.forward(kind, 2);
            for pieces in [&[1; 200][..], &[3, 1, 60, 1, 2, 64, 5, 17, 47], &[64, 136], &[199, 1]] {
                let threads = Threads::new(2).unwrap();
                let mut out = vec![f32::NAN; whole.len()];
                let mut log_sum_exp = vec![f32::NAN; whole_sums.len()];
                let (mut past, mut operands) = (0, Operands::default());
                for &rows in pieces {
                    let end = past + rows;
                    let [keys, values] = [&batch.key, &batch.value]
                        .map(|values| pages(&values[..end * narrow], batch.heads));
                    let (keys, values) = (paged(&keys), paged(&values));
                    let sequence = Attended { rows: 0..rows, past, keys, values };
                    forward(
                        (kind.0, &threads),
                        (kind.1, &mut operands),
                        batch.heads,
                        &batch.query[past * wide..end * wide],
                        &[sequence],
                        &mut out[past * wide..end * wide],
                        &mut log_sum_exp[past * shape.0..end * shape.0],
                    );
                    past = end;
                }
                assert_eq!(bits(&whole), bits(&out), "{kind:?} {shape:?} {}", pieces.len());
                assert_eq!(bits(&whole_sums), bits(&log_sum_exp));
            }
        }
    }
}

#[test]
fn a_row_alone_sees_what_it_sees_in_a_strip() {
    let batches = [
        Batch::new((6, 2, 64), &[1, 40, 3]),
        Batch::new((9, 3, 80), &[33, 2]),
        Batch::new((6, 2, 40), &[200]),
        Batch::new((4, 4, 20), &[70]).with_window(5),
        Batch::new((4, 4, 64), &[150]).with_window(70),
    ];
    for (kind, batch) in kinds().flat_map(|kind| batches.iter().map(move |batch| (kind, batch))) {
        let (expected, _) = batch.forward(kind, 1);
        let (heads, width) = (batch.heads, batch.heads.key_value_width());
        let key_rows = |rows: &Range<usize>| {
            [&batch.key, &batch.value].map(|values| &values[rows.start * width..rows.end * width])
        };
        let run = |threads: usize, sequences: &[Attended<'_>]| {
            let threads = Threads::new(threads).unwrap();
            let mut out = vec![0.0; batch.query.len()];
            decode((kind.0, &threads), heads, &batch.query, sequences, &mut out);
            out
        };
        let all_pages: Vec<[Vec<Vec<f32>>; 2]> = batch
            .sequences
            .iter()
            .map(|rows| key_rows(rows).map(|values| pages(values, heads)))
            .collect();
        let whole: Vec<Attended<'_>> = (batch.sequences.iter().zip(&all_pages))
            .map(|(rows, [keys, values])| Attended {
                rows: rows.clone(),
                past: 0,
                keys: paged(keys),
                values: paged(values),
            })
            .collect();
        let found = run(1, &whole);
        for (found, expected) in found.iter().zip(&expected) {
            let tolerance = if kind.1 == Lane::F32 { 1e-5 } else { 2e-4 };
            assert!((found - expected).abs() < tolerance, "{kind:?}: {found} {expected}");
        }
        assert_eq!(found, run(3, &whole), "{kind:?}, three threads");
        let mut alone = vec![0.0; found.len()];
        for rows in &batch.sequences {
            for row in rows.clone() {
                let [keys, values] = key_rows(&(rows.start..row + 1)).map(KeyRows::Together);
                let past = row - rows.start;
                let one = run(1, &[Attended { rows: row..row + 1, past, keys, values }]);
                alone.iter_mut().zip(one).for_each(|(all, one)| *all += one);
            }
        }
        assert_eq!(found, alone, "{kind:?}, row by row");
    }
}
