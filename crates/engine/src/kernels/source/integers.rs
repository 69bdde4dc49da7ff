//! Strips of pairs of 16-bit integers, and their columns' scales, from what a [`Source`] stores.
//!
//! A part of a column is read twice: for its length, which gives the scale, and, out of the second cache, for its integers.

use std::cell::RefCell;
use std::ops::Range;

use super::{Direction, PART, Rows, STRIP, Source, Values, strip};
use crate::format::TensorView;
use crate::kernels::KernelPath;
use crate::kernels::lanes::{Widen, integer, pair, power_of_two_scale};
use crate::kernels::simd::{Arithmetic, dispatch, prefetch, sum_of_squares};
use crate::kernels::transpose::transpose;

/// Columns of a strip of AVX2.
const HALF: usize = STRIP / 2;
/// Lanes that are turned at once.
const SQUARE: usize = 16;
/// How many stored rows are on their way while one is read for its length, where k counts rows.
const AHEAD: usize = 64;
/// Likewise where k runs along rows.
const ROWS_AHEAD: usize = 4;

thread_local! {
    /// A part of a file, widened.
    static WIDE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Writes one strip and the scales of its columns.
type Fill<T> = fn(KernelPath, Rows<'_, T>, Extent, (&mut [u32], &mut [f32]));

/// What a strip holds: `columns` of B and `count` values along k.
#[derive(Clone, Copy)]
struct Extent {
    path: KernelPath,
    columns: usize,
    count: usize,
}

impl Source<'_> {
    /// See [`Source::fill`].
    pub(super) fn fill_integers(
        &self,
        path: KernelPath,
        columns: Range<usize>,
        k: Range<usize>,
        out: (&mut [u32], &mut [f32]),
    ) {
        match self.values {
            Values::F32(values) => self.integers_of(path, values, (columns, k), out),
            Values::Bf16(values) => self.integers_of(path, values, (columns, k), out),
            Values::File(tensor) => self.integers_of_file(path, tensor, (columns, k), out),
        }
    }

    fn integers_of<T: Widen>(
        &self,
        path: KernelPath,
        values: &[T],
        (columns, k): (Range<usize>, Range<usize>),
        out: (&mut [u32], &mut [f32]),
    ) {
        let (row, column) = match self.direction {
            Direction::AsStored => (k.start, columns.start),
            Direction::Transposed => (columns.start, k.start),
        };
        let rows = Rows { values: &values[row * self.stride + column..], stride: self.stride };
        self.integers_of_rows((path, rows), (columns.len(), k.len()), out);
    }

    /// Fills the strips of `columns` columns and `count` values along k, which begin where `rows` do.
    fn integers_of_rows<T: Widen>(
        &self,
        (path, rows): (KernelPath, Rows<'_, T>),
        (columns, count): (usize, usize),
        (out, scales): (&mut [u32], &mut [f32]),
    ) {
        let strip = strip(path);
        let (fill, step): (Fill<T>, usize) = match self.direction {
            Direction::AsStored => (lay, 1),
            Direction::Transposed => (turn, rows.stride),
        };
        let parts = out.chunks_exact_mut(count.div_ceil(2) * strip);
        let parts = parts.zip(scales.chunks_exact_mut(strip));
        for (first, part) in (0..columns).step_by(strip).zip(parts) {
            let rows = Rows { values: &rows.values[first * step..], ..rows };
            fill(path, rows, Extent { path, columns: strip.min(columns - first), count }, part);
        }
    }

    fn integers_of_file(
        &self,
        path: KernelPath,
        tensor: &TensorView,
        (columns, k): (Range<usize>, Range<usize>),
        (out, scales): (&mut [u32], &mut [f32]),
    ) {
        if self.direction == Direction::AsStored {
            return self.widened(path, tensor, (k.clone(), columns.clone()), |wide| {
                self.integers_of_rows((path, wide), (columns.len(), k.len()), (out, scales));
            });
        }
        // Strip by strip, so that what is widened stays in the cache.
        let strip = strip(path);
        let parts = out.chunks_exact_mut(k.len().div_ceil(2) * strip);
        let starts = columns.clone().step_by(strip);
        for (column, part) in starts.zip(parts.zip(scales.chunks_exact_mut(strip))) {
            let rows = column..(column + strip).min(columns.end);
            self.widened(path, tensor, (rows.clone(), k.clone()), |wide| {
                self.integers_of_rows((path, wide), (rows.len(), k.len()), part);
            });
        }
    }

    /// Calls `then` with a part of a file's rows, widened.
    fn widened(
        &self,
        path: KernelPath,
        tensor: &TensorView,
        (rows, part): (Range<usize>, Range<usize>),
        then: impl FnOnce(Rows<'_, f32>),
    ) {
        let (stride, skip) = (part.len(), part.start % PART);
        WIDE.with_borrow_mut(|wide| {
            // A part is read from the beginning of a block, and what stands before it is moved over.
            wide.resize(wide.len().max(rows.len() * stride + 2 * PART), 0.0);
            for (number, row) in rows.enumerate() {
                let buffer = &mut wide[number * stride..];
                self.of_file(path, tensor, row, part.clone(), buffer);
                if skip > 0 {
                    buffer.copy_within(skip..skip + stride, 0);
                }
            }
            then(Rows { values: wide, stride });
        });
    }
}

dispatch!(fn lay<T: Widen> = lay_body(
    rows: Rows<'_, T>, extent: Extent, out: (&mut [u32], &mut [f32])
));

/// k counts stored rows: two of them make the pairs of one row of the strip.
#[inline(always)]
fn lay_body<A: Arithmetic>(
    rows: Rows<'_, impl Widen>,
    Extent { path, columns, count }: Extent,
    (out, scales): (&mut [u32], &mut [f32]),
) {
    let mut squares = [0.0f32; STRIP];
    for k in 0..count {
        for column in (0..columns).step_by(rows.line()) {
            prefetch(rows.values, (k + AHEAD) * rows.stride + column);
        }
        add_squares::<A>(&mut squares, &rows.values[k * rows.stride..][..columns]);
    }
    let ups = scales_of(&squares, scales);
    for (number, out) in out.chunks_exact_mut(strip(path)).enumerate() {
        let low = &rows.values[2 * number * rows.stride..][..columns];
        let odd = (2 * number + 1) * rows.stride;
        let high = if 2 * number + 1 < count { &rows.values[odd..][..columns] } else { &[] };
        lay_pairs::<A, _>(low, high, &ups, out);
    }
}

#[inline(always)]
fn add_squares<A: Arithmetic>(squares: &mut [f32; STRIP], row: &[impl Widen]) {
    if let Some(row) = row.first_chunk::<STRIP>() {
        return add_squares_of::<A, STRIP>(squares, row);
    }
    let mut done = 0;
    // A whole strip where registers are half as wide.
    if let (Some(row), Some(squares)) = (row.first_chunk::<HALF>(), squares.first_chunk_mut()) {
        add_squares_of::<A, HALF>(squares, row);
        done = HALF;
    }
    for (square, value) in squares.iter_mut().zip(row).skip(done) {
        *square = A::multiply_add(value.widen(), value.widen(), *square);
    }
}

#[inline(always)]
fn add_squares_of<A: Arithmetic, const N: usize>(squares: &mut [f32; N], row: &[impl Widen; N]) {
    for at in 0..N {
        let value = row[at].widen();
        squares[at] = A::multiply_add(value, value, squares[at]);
    }
}

/// One row of a strip, of two stored ones; `high` may be none.
#[inline(always)]
fn lay_pairs<A: Arithmetic, T: Widen>(low: &[T], high: &[T], ups: &[f32; STRIP], out: &mut [u32]) {
    if let (Some(low), Some(high), Some(out)) =
        (low.first_chunk::<STRIP>(), high.first_chunk::<STRIP>(), out.first_chunk_mut::<STRIP>())
    {
        return lay_pairs_of::<A, T, STRIP>((low, high), ups, out);
    }
    let mut done = 0;
    if let (Some(low), Some(high), Some(ups), Some(out)) =
        (low.first_chunk(), high.first_chunk(), ups.first_chunk(), out.first_chunk_mut())
    {
        lay_pairs_of::<A, T, HALF>((low, high), ups, out);
        done = HALF;
    }
    for (at, out) in out.iter_mut().enumerate().skip(done) {
        let [low, high] = [low.get(at), high.get(at)]
            .map(|value| value.map_or(0, |value| integer::<A>(value.widen(), ups[at])));
        *out = pair(low, high);
    }
}

#[inline(always)]
fn lay_pairs_of<A: Arithmetic, T: Widen, const N: usize>(
    (low, high): (&[T; N], &[T; N]),
    ups: &[f32; N],
    out: &mut [u32; N],
) {
    for at in 0..N {
        let [low, high] = [low[at].widen(), high[at].widen()];
        out[at] = pair(integer::<A>(low, ups[at]), integer::<A>(high, ups[at]));
    }
}

/// Writes the scales of columns with these sums of squares, and gives what their values are multiplied by.
#[inline(always)]
fn scales_of(squares: &[f32; STRIP], scales: &mut [f32]) -> [f32; STRIP] {
    let mut ups = [0.0; STRIP];
    for ((up, squares), scale) in ups.iter_mut().zip(squares).zip(scales) {
        (*up, *scale) = power_of_two_scale(*squares);
    }
    ups
}

dispatch!(fn turn<T: Widen> = turn_body(
    rows: Rows<'_, T>, extent: Extent, out: (&mut [u32], &mut [f32])
));

/// k runs along stored rows: sixteen lanes of all columns at a time, turned on their side.
#[inline(always)]
fn turn_body<A: Arithmetic>(
    rows: Rows<'_, impl Widen>,
    Extent { path, columns, count }: Extent,
    (out, scales): (&mut [u32], &mut [f32]),
) {
    let mut squares = [0.0f32; STRIP];
    for (column, squares) in squares.iter_mut().enumerate().take(columns) {
        for at in (0..count).step_by(rows.line()) {
            prefetch(rows.values, (column + ROWS_AHEAD) * rows.stride + at);
        }
        *squares = sum_of_squares::<A>(&rows.values[column * rows.stride..][..count]);
    }
    let ups = scales_of(&squares, scales);
    let mut square = [[0u32; SQUARE]; STRIP];
    for (number, out) in out.chunks_mut(SQUARE * strip(path)).enumerate() {
        for (column, square) in square.iter_mut().enumerate().take(columns) {
            let values = &rows.values[column * rows.stride..][2 * SQUARE * number..count];
            integers_of_row::<A>(values, ups[column], square);
        }
        transpose(path, &square, out);
    }
}

/// The lanes of the first values; lanes past the last are zero.
#[inline(always)]
fn integers_of_row<A: Arithmetic>(values: &[impl Widen], up: f32, out: &mut [u32; SQUARE]) {
    if let Some(values) = values.first_chunk::<{ 2 * SQUARE }>() {
        for at in 0..SQUARE {
            let [low, high] = [values[2 * at].widen(), values[2 * at + 1].widen()];
            out[at] = pair(integer::<A>(low, up), integer::<A>(high, up));
        }
        return;
    }
    for (at, out) in out.iter_mut().enumerate() {
        let [low, high] = [values.get(2 * at), values.get(2 * at + 1)]
            .map(|value| value.map_or(0, |value| integer::<A>(value.widen(), up)));
        *out = pair(low, high);
    }
}
