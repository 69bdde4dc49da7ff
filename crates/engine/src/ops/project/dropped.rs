//! What dropout takes from an adapter's products.
//!
//! With D the values of x that are dropped, drop(x) Aᵀ = (x − D) Aᵀ / (1 − p). x Aᵀ is a product of the whole input, which all
//! layers that read it share; D has few values, and what they gave is taken from the product again, in 32 bits. So x is put into
//! lanes once, not once for each mask. The gradients of A and x likewise.

use super::{Dropout, LowRank};
use crate::kernels::KernelPath;
use crate::kernels::simd::{Arithmetic, LANES, dispatch, fold};
use crate::kernels::threads::Threads;
use crate::ops::shared::Shared;

/// Rows of a forward task.
const LOW_ROWS: usize = 32;
/// Rows of a backward task; each task sums its part of the gradient of A apart.
const ROWS: usize = 128;

/// A, turned on its side: `parts` times sixteen values of the rank for each value of the input.
#[derive(Debug, Default)]
pub(super) struct Turned {
    values: Vec<[f32; LANES]>,
    parts: usize,
}

impl Turned {
    fn put(&mut self, a: &[f32], rank: usize) {
        let input = a.len() / rank;
        self.parts = rank.div_ceil(LANES);
        self.values.clear();
        self.values.resize(input * self.parts, [0.0; LANES]);
        for (row, a) in a.chunks_exact(input).enumerate() {
            let values = self.values[row / LANES..].iter_mut().step_by(self.parts);
            for (values, a) in values.zip(a) {
                values[row % LANES] = *a;
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.values)
    }
}

/// Values of A as it is laid out here.
pub fn turned_values(input: usize, rank: usize) -> usize {
    input * rank.next_multiple_of(LANES)
}

/// Values that the tasks of a backward of `rows` rows sum apart.
pub fn task_values(rows: usize, input: usize, rank: usize) -> usize {
    rows.div_ceil(ROWS) * turned_values(input, rank)
}

/// Takes D Aᵀ from `low` (rows, rank), which is x Aᵀ.
pub(super) fn take_from_low(
    (path, threads): (KernelPath, &Threads),
    (adapter, dropout): (&LowRank<'_>, Dropout<'_>),
    turned: &mut Turned,
    x: &[f32],
    low: &mut [f32],
) {
    turned.put(adapter.a, adapter.rank);
    let (turned, input) = (&*turned, adapter.a.len() / adapter.rank);
    threads.for_rows(low, adapter.rank, LOW_ROWS, |rows, low| {
        let mut places = Vec::new();
        for (row, low) in rows.zip(low.chunks_exact_mut(adapter.rank)) {
            let row = adapter.first_row + row;
            dropout.places(path, row, input, &mut places);
            let x = &x[row * input..][..input];
            low_row(path, Row { x, places: &places, turned }, low);
        }
    });
}

/// A row of the input, which of its values are dropped, and what they are multiplied with.
#[derive(Clone, Copy)]
struct Row<'a> {
    x: &'a [f32],
    places: &'a [u32],
    turned: &'a Turned,
}

dispatch!(fn low_row = low_row_body(row: Row<'_>, low: &mut [f32]));

#[inline(always)]
fn low_row_body<A: Arithmetic>(Row { x, places, turned }: Row<'_>, low: &mut [f32]) {
    for (part, low) in low.chunks_mut(LANES).enumerate() {
        let mut sums = [0.0; LANES];
        for &place in places {
            let (x, a) = (x[place as usize], &turned.values[place as usize * turned.parts + part]);
            for at in 0..LANES {
                sums[at] = A::multiply_add(x, a[at], sums[at]);
            }
        }
        low.iter_mut().zip(sums).for_each(|(low, sum)| *low -= sum);
    }
}

/// One adapter whose gradients lose what was dropped.
pub(super) struct Taken<'a> {
    pub(super) factors: LowRank<'a>,
    pub(super) dropout: Dropout<'a>,
    /// (rows, rank): what is multiplied with A for the gradient of x, and with x for that of A.
    pub(super) low: &'a [f32],
    pub(super) turned: &'a mut Turned,
    /// The parts of tasks.
    pub(super) sums: &'a mut Vec<f32>,
    /// (rank, in).
    pub(super) d_a: &'a mut [f32],
}

/// Takes lowᵀ D from the gradient of each A, and the dropped values of low A from `d_x` (rows, in), where there is one.
pub(super) fn take_from_gradients(
    (path, threads): (KernelPath, &Threads),
    (rows, input, x): (usize, usize, &[f32]),
    layers: &mut [Taken<'_>],
    d_x: Option<&mut [f32]>,
) {
    let mut sums = Vec::with_capacity(layers.len());
    let mut operands = Vec::with_capacity(layers.len());
    for Taken { factors, dropout, low, turned, sums: parts, .. } in &mut *layers {
        turned.put(factors.a, factors.rank);
        let length = task_values(rows, input, factors.rank);
        sums.push(Shared::new(super::resized(parts, length)));
        operands.push((factors.rank, *dropout, *low, &**turned));
    }
    let d_x = d_x.map(|d_x| Shared::new(&mut d_x[..rows * input]));
    threads.for_each(rows.div_ceil(ROWS), |task| {
        let (mut places, rows) = (Vec::new(), task * ROWS..rows.min((task + 1) * ROWS));
        for ((rank, dropout, low, turned), sums) in operands.iter().zip(&sums) {
            let length = turned.values.len() * LANES;
            let sums = sums.part(task * length, length);
            sums.fill(0.0);
            for row in rows.clone() {
                dropout.places(path, row, input, &mut places);
                let d_x = d_x.as_ref().map(|d_x| d_x.part(row * input, input));
                let (x, low) = (&x[row * input..][..input], &low[row * rank..][..*rank]);
                gradient_row(path, Row { x, places: &places, turned }, low, sums, d_x);
            }
        }
    });
    drop((sums, operands));
    for Taken { turned, sums, d_a, .. } in layers {
        let (stride, length) = (turned.parts * LANES, turned.values.len() * LANES);
        let sums = &sums[..rows.div_ceil(ROWS) * length];
        threads.for_rows(d_a, input, 1, |row, d_a| {
            for (place, d_a) in d_a.iter_mut().enumerate() {
                let sums = sums[place * stride + row.start..].iter().step_by(length);
                *d_a -= sums.sum::<f32>();
            }
        });
    }
}

dispatch!(fn gradient_row = gradient_row_body(
    row: Row<'_>, low: &[f32], sums: &mut [f32], d_x: Option<&mut [f32]>
));

#[inline(always)]
fn gradient_row_body<A: Arithmetic>(
    Row { x, places, turned }: Row<'_>,
    low: &[f32],
    sums: &mut [f32],
    mut d_x: Option<&mut [f32]>,
) {
    let (sums, _) = sums.as_chunks_mut::<LANES>();
    for (part, values) in low.chunks(LANES).enumerate() {
        let mut low = [0.0; LANES];
        low[..values.len()].copy_from_slice(values);
        for &place in places {
            let at = place as usize * turned.parts + part;
            let (x, sums) = (x[place as usize], &mut sums[at]);
            for lane in 0..LANES {
                sums[lane] = A::multiply_add(x, low[lane], sums[lane]);
            }
            if let Some(d_x) = d_x.as_deref_mut() {
                let a = &turned.values[at];
                d_x[place as usize] -= fold(std::array::from_fn(|lane| a[lane] * low[lane]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bioinstruct_core::random::Stream;

    use super::*;
    use crate::ops::finite_difference::random;

    /// More values of the rank than a register holds, and more rows than a task takes: against the masked input itself.
    #[test]
    fn what_is_left_is_the_product_of_what_stays() {
        let (rows, input, rank, threads) = (2 * ROWS + 9, 24, 20, Threads::new(2).unwrap());
        let [x, a] = [(rows * input, "x"), (rank * input, "a")].map(|(n, name)| random(n, name));
        let (names, low) = ((0..rows as u64).collect::<Vec<_>>(), random(rows * rank, "low"));
        let dropout = Dropout { probability: 0.3, stream: Stream::new(1, "mask"), rows: &names };
        let near = |found: &[f32], expected: &[f32]| {
            found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-3)
        };
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let (mut places, mut stays, mut d_kept) = (Vec::new(), x.clone(), vec![0.0; x.len()]);
            let [mut inner, mut left] = [vec![0.0; rows * rank], vec![0.0; rows * rank]];
            let [mut d_a, mut d_a_left] = [vec![0.0; a.len()], vec![0.0; a.len()]];
            let mut d_x = d_kept.clone();
            for row in 0..rows {
                dropout.places(path, row, input, &mut places);
                for place in &places {
                    stays[row * input + *place as usize] = 0.0;
                }
                for (r, at) in (0..rank).flat_map(|r| (0..input).map(move |at| (r, at))) {
                    let (value, kept) = (x[row * input + at], stays[row * input + at]);
                    let (a, low) = (a[r * input + at], low[row * rank + r]);
                    inner[row * rank + r] += value * a;
                    left[row * rank + r] += kept * a;
                    d_a[r * input + at] += value * low;
                    d_a_left[r * input + at] += kept * low;
                    d_x[row * input + at] += low * a;
                    d_kept[row * input + at] += if kept == 0.0 { 0.0 } else { low * a };
                }
            }
            let factors = LowRank {
                a: &a,
                b: &[],
                rank,
                scale: 1.0,
                magnitude: None,
                first_row: 0,
                rows,
                dropout: Some(dropout),
            };
            let (context, mut turned, mut sums) = ((path, &threads), Turned::default(), Vec::new());
            take_from_low(context, (&factors, dropout), &mut turned, &x, &mut inner);
            assert!(near(&inner, &left), "{path:?}");
            let (turned, sums, d_a_of) = (&mut turned, &mut sums, &mut d_a[..]);
            let taken = Taken { factors, dropout, low: &low, turned, sums, d_a: d_a_of };
            let sizes = (rows, input, &x[..]);
            take_from_gradients(context, sizes, &mut [taken], Some(&mut d_x));
            assert!(near(&d_a, &d_a_left) && near(&d_x, &d_kept), "{path:?}");
        }
    }
}
