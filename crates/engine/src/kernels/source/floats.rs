//! Strips of 32-bit floats, from what a [`Source`] stores.

use std::ops::Range;

use super::{Direction, PART, Rows, STRIP, Source, Values, strip};
use crate::format::TensorView;
use crate::kernels::KernelPath;
use crate::kernels::lanes::Widen;
use crate::kernels::simd::{Arithmetic, dispatch, prefetch};
use crate::kernels::transpose::transpose;

/// Values that are turned at once.
const SQUARE: usize = 16;
/// How many stored rows are on their way while one is spread.
const AHEAD: usize = 16;
/// Columns of a file's rows that are widened at once.
const FILE_COLUMNS: usize = 4 * STRIP;

/// Which strips are written: `columns` of B, and `count` values along k of the `length` lanes that follow one another for
/// each strip.
#[derive(Clone, Copy)]
struct Extent {
    path: KernelPath,
    columns: usize,
    count: usize,
    length: usize,
}

impl Source<'_> {
    /// See [`Source::fill`].
    pub(super) fn fill_floats(
        &self,
        path: KernelPath,
        columns: Range<usize>,
        k: Range<usize>,
        out: &mut [u32],
    ) {
        let length = k.len() * strip(path);
        let extent = Extent { path, columns: columns.len(), count: k.len(), length };
        let place = (columns, k);
        match self.values {
            Values::F32(values) => self.fill_rows(values, place, extent, out),
            Values::Bf16(values) => self.fill_rows(values, place, extent, out),
            Values::File(tensor) => match self.direction {
                Direction::AsStored => self.lay_file(tensor, place, extent, out),
                Direction::Transposed => self.turn_file(tensor, place, extent, out),
            },
        }
    }

    fn fill_rows<T: Widen>(
        &self,
        values: &[T],
        (columns, k): (Range<usize>, Range<usize>),
        extent: Extent,
        out: &mut [u32],
    ) {
        let rows = |row: usize, column: usize| {
            let values = &values[row * self.stride + column..];
            Rows { values, stride: self.stride }
        };
        match self.direction {
            Direction::AsStored => lay(extent.path, rows(k.start, columns.start), extent, out),
            Direction::Transposed => turn(extent.path, rows(columns.start, k.start), extent, out),
        }
    }

    /// k counts a file's rows.
    fn lay_file(
        &self,
        tensor: &TensorView,
        (columns, k): (Range<usize>, Range<usize>),
        extent: Extent,
        out: &mut [u32],
    ) {
        let (path, strip) = (extent.path, strip(extent.path));
        let mut buffer = [0.0; FILE_COLUMNS + PART];
        for (number, row) in k.enumerate() {
            for first in columns.clone().step_by(FILE_COLUMNS) {
                let part = first..(first + FILE_COLUMNS).min(columns.end);
                let extent = Extent { columns: part.len(), count: 1, ..extent };
                let values = self.of_file(path, tensor, row, part, &mut buffer);
                let rows = Rows { values, stride: values.len() };
                let place = (first - columns.start) / strip * extent.length + number * strip;
                lay(path, rows, extent, &mut out[place..]);
            }
        }
    }

    /// k runs along a file's rows.
    fn turn_file(
        &self,
        tensor: &TensorView,
        (columns, k): (Range<usize>, Range<usize>),
        extent: Extent,
        out: &mut [u32],
    ) {
        let (path, strip) = (extent.path, strip(extent.path));
        let mut values = [[0.0; PART]; STRIP];
        let starts = columns.clone().step_by(strip);
        for (column, out) in starts.zip(out.chunks_exact_mut(extent.length)) {
            let columns = column..(column + strip).min(columns.end);
            for start in k.clone().step_by(PART) {
                let part = start..(start + PART).min(k.end);
                for (row, values) in columns.clone().zip(&mut values) {
                    let mut buffer = [0.0; 2 * PART];
                    let found = self.of_file(path, tensor, row, part.clone(), &mut buffer);
                    values[..found.len()].copy_from_slice(found);
                }
                let rows = Rows { values: values.as_flattened(), stride: PART };
                let extent = Extent { columns: columns.len(), count: part.len(), ..extent };
                turn(path, rows, extent, &mut out[(start - k.start) * strip..]);
            }
        }
    }
}

dispatch!(fn lay<T: Widen> = lay_body(rows: Rows<'_, T>, extent: Extent, out: &mut [u32]));

/// k counts stored rows: a row's values are spread over the strips while it passes by.
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch!` names one")]
#[inline(always)]
fn lay_body<A: Arithmetic>(
    rows: Rows<'_, impl Widen>,
    Extent { path, columns, count, length }: Extent,
    out: &mut [u32],
) {
    let strip = strip(path);
    for k in 0..count {
        // Rows lie far apart, so the processor does not see the next one coming.
        for column in (0..columns).step_by(rows.line()) {
            prefetch(rows.values, (k + AHEAD) * rows.stride + column);
        }
        let row = &rows.values[k * rows.stride..][..columns];
        for (number, values) in row.chunks(strip).enumerate() {
            let out = &mut out[number * length + k * strip..][..strip];
            let (whole, rest) = values.as_chunks::<SQUARE>();
            let (out, out_rest) = out.split_at_mut(whole.len() * SQUARE);
            for (out, values) in out.as_chunks_mut::<SQUARE>().0.iter_mut().zip(whole) {
                for at in 0..SQUARE {
                    out[at] = values[at].widen().to_bits();
                }
            }
            for (at, out) in out_rest.iter_mut().enumerate() {
                *out = rest.get(at).map_or(0, |value| value.widen().to_bits());
            }
        }
    }
}

dispatch!(fn turn<T: Widen> = turn_body(rows: Rows<'_, T>, extent: Extent, out: &mut [u32]));

/// k runs along stored rows: sixteen values of all columns of a strip at a time, turned on their side.
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch!` names one")]
#[inline(always)]
fn turn_body<A: Arithmetic>(
    rows: Rows<'_, impl Widen>,
    Extent { path, columns, count, length }: Extent,
    out: &mut [u32],
) {
    let strip = strip(path);
    for (number, column) in (0..columns).step_by(strip).enumerate() {
        let mut square = [[0u32; SQUARE]; STRIP];
        let inside = strip.min(columns - column);
        for first in (0..count).step_by(SQUARE) {
            let lanes = SQUARE.min(count - first);
            for (at, square) in square.iter_mut().enumerate().take(inside) {
                let row = &rows.values[(column + at) * rows.stride + first..];
                match row.first_chunk::<SQUARE>().filter(|_| lanes == SQUARE) {
                    Some(row) => {
                        for at in 0..SQUARE {
                            square[at] = row[at].widen().to_bits();
                        }
                    }
                    None => square
                        .iter_mut()
                        .zip(&row[..lanes])
                        .for_each(|(lane, value)| *lane = value.widen().to_bits()),
                }
            }
            let place = number * length + first * strip;
            transpose(path, &square, &mut out[place..place + lanes * strip]);
        }
    }
}
