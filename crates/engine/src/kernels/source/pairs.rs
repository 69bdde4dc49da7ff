//! Strips of pairs of bfloat16 values, from what a [`Source`] stores.

use std::ops::Range;

use super::{Direction, PART, Rows, STRIP, Source, Values, strip};
use crate::kernels::KernelPath;
use crate::kernels::lanes::{Lane, pair, put, to_bf16};
use crate::kernels::simd::{Arithmetic, dispatch, prefetch};
use crate::kernels::transpose::{transpose, transpose_pairs};

/// Lanes that are turned at once.
const SQUARE: usize = 16;
/// How many squares are on their way while one is turned.
const SQUARES_AHEAD: usize = 6;
/// How many pairs of stored rows are on their way while one is laid out.
const AHEAD: usize = 8;

impl Source<'_> {
    /// See [`Source::fill`].
    pub(super) fn fill_pairs(
        &self,
        path: KernelPath,
        columns: Range<usize>,
        k: Range<usize>,
        out: &mut [u32],
    ) {
        let strip = strip(path);
        let length = k.len().div_ceil(2) * strip;
        if let (Direction::AsStored, Values::Bf16(values)) = (self.direction, self.values) {
            // All strips of a stored row while it passes by: it is read in the order of memory.
            let rows = Rows { values: &values[k.start * self.stride..], stride: self.stride };
            return interleave_rows(path, rows, k.len(), columns, strip, out);
        }
        for (column, out) in columns.clone().step_by(strip).zip(out.chunks_exact_mut(length)) {
            let columns = column..(column + strip).min(columns.end);
            match self.direction {
                Direction::Transposed => self.turn_pairs(path, columns, k.clone(), out),
                Direction::AsStored => self.interleave(path, columns, k.clone(), out),
            }
        }
    }

    /// k runs along stored rows: sixteen lanes of all columns at a time, turned on their side.
    fn turn_pairs(
        &self,
        path: KernelPath,
        columns: Range<usize>,
        k: Range<usize>,
        out: &mut [u32],
    ) {
        let (count, strip) = (k.len().div_ceil(2), strip(path));
        let mut square = [[0u32; SQUARE]; STRIP];
        for first in (0..count).step_by(SQUARE) {
            let lanes = (count - first).min(SQUARE);
            let start = k.start + 2 * first;
            let part = start..(start + 2 * SQUARE).min(k.end);
            self.prefetch_ahead(columns.clone(), k.clone(), start);
            let out = &mut out[first * strip..(first + lanes) * strip];
            if let Values::Bf16(values) = self.values
                && (columns.len(), part.len()) == (STRIP, 2 * SQUARE)
                && transpose_pairs(
                    path,
                    (&values[columns.start * self.stride + start..], self.stride),
                    out,
                )
            {
                continue;
            }
            for (column, row) in columns.clone().zip(&mut square) {
                self.read_pairs(path, column, part.clone(), row);
            }
            transpose(path, &square, out);
        }
    }

    /// Asks for what is read some squares after `start`: further on in the same rows, or at the beginning of the next.
    #[inline(always)]
    fn prefetch_ahead(&self, columns: Range<usize>, k: Range<usize>, start: usize) {
        let Values::Bf16(values) = self.values else { return };
        let (mut at, mut skipped) = (start + SQUARES_AHEAD * 2 * SQUARE, 0);
        if at >= k.end {
            (at, skipped) = (at - k.len(), columns.len());
        }
        for column in columns {
            prefetch(values, (column + skipped) * self.stride + at);
        }
    }

    /// Lanes of one stored row; lanes past the part are zero.
    #[inline]
    fn read_pairs(
        &self,
        path: KernelPath,
        row: usize,
        part: Range<usize>,
        out: &mut [u32; SQUARE],
    ) {
        let stored = row * self.stride + part.start..row * self.stride + part.end;
        if part.len() < 2 * SQUARE {
            out.fill(0);
        }
        match self.values {
            Values::F32(values) => put(path, Lane::Bf16Pair, &values[stored], out),
            Values::Bf16(values) => {
                let (whole, rest) = values[stored].as_chunks::<2>();
                for (out, [low, high]) in out.iter_mut().zip(whole) {
                    *out = pair(*low, *high);
                }
                if let [last] = rest {
                    out[whole.len()] = pair(*last, 0);
                }
            }
            Values::File(tensor) => {
                let mut buffer = [0.0; 2 * PART];
                let values = self.of_file(path, tensor, row, part, &mut buffer);
                put(path, Lane::Bf16Pair, values, out);
            }
            Values::Lanes(kept, lanes) => {
                assert_eq!(kept, Lane::Bf16Pair, "lanes are multiplied as what they are");
                let stored = stored.start / 2..stored.end.div_ceil(2);
                out[..stored.len()].copy_from_slice(&lanes[stored]);
            }
        }
    }

    /// k counts stored rows: two of them make the pairs of one row of the strip.
    fn interleave(
        &self,
        path: KernelPath,
        columns: Range<usize>,
        k: Range<usize>,
        out: &mut [u32],
    ) {
        let row = |row: usize| row * self.stride + columns.start..row * self.stride + columns.end;
        let strip = strip(path);
        for (number, out) in out.chunks_exact_mut(strip).take(k.len().div_ceil(2)).enumerate() {
            let first = k.start + 2 * number;
            let second = (first + 1 < k.end).then_some(first + 1);
            out[columns.len()..].fill(0);
            match self.values {
                Values::F32(values) => {
                    let second = second.map_or(&[][..], |second| &values[row(second)]);
                    interleave_f32(path, &values[row(first)], second, out);
                }
                Values::Bf16(_) => unreachable!("filled all strips at once"),
                Values::File(tensor) => {
                    let (mut low, mut high) = ([0.0; 2 * PART], [0.0; 2 * PART]);
                    let low = self.of_file(path, tensor, first, columns.clone(), &mut low);
                    let high = second.map_or(&[][..], |second| {
                        self.of_file(path, tensor, second, columns.clone(), &mut high)
                    });
                    interleave_f32(path, low, high, out);
                }
                Values::Lanes(kept, lanes) => {
                    assert_eq!(kept, Lane::Bf16Pair, "lanes are multiplied as what they are");
                    let part = |row: Range<usize>| &lanes[row.start / 2..row.end.div_ceil(2)];
                    let second = second.map_or(&[][..], |second| part(row(second)));
                    interleave_pairs(path, part(row(first)), second, out);
                }
            }
        }
    }
}

dispatch!(fn interleave_f32 = interleave_f32_body(first: &[f32], second: &[f32], out: &mut [u32]));

#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch!` names one")]
#[inline(always)]
fn interleave_f32_body<A: Arithmetic>(first: &[f32], second: &[f32], out: &mut [u32]) {
    if second.is_empty() {
        for (out, low) in out.iter_mut().zip(first) {
            *out = pair(to_bf16(*low), 0);
        }
    } else {
        for (out, (low, high)) in out.iter_mut().zip(first.iter().zip(second)) {
            *out = pair(to_bf16(*low), to_bf16(*high));
        }
    }
}

dispatch!(fn interleave_rows = interleave_rows_body(
    rows: Rows<'_, u16>, count: usize, columns: Range<usize>, strip: usize, out: &mut [u32]
));

#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch!` names one")]
#[inline(always)]
fn interleave_rows_body<A: Arithmetic>(
    rows: Rows<'_, u16>,
    count: usize,
    columns: Range<usize>,
    strip: usize,
    out: &mut [u32],
) {
    let zeros = [0; STRIP];
    let length = count.div_ceil(2) * strip;
    for pair_number in 0..count.div_ceil(2) {
        let row = |row: usize| &rows.values[row * rows.stride..];
        let first = row(2 * pair_number);
        let second = (2 * pair_number + 1 < count).then(|| row(2 * pair_number + 1));
        for ahead in [2 * (pair_number + AHEAD), 2 * (pair_number + AHEAD) + 1] {
            for column in columns.clone().step_by(rows.line()) {
                prefetch(rows.values, ahead * rows.stride + column);
            }
        }
        for (number, column) in columns.clone().step_by(strip).enumerate() {
            let out = &mut out[number * length + pair_number * strip..][..strip];
            let width = strip.min(columns.end - column);
            let low = &first[column..column + width];
            let high = second.map_or(&zeros[..width], |row| &row[column..column + width]);
            if let (Ok(out), Ok(low), Ok(high)) = (
                <&mut [u32; STRIP]>::try_from(&mut *out),
                <&[u16; STRIP]>::try_from(low),
                <&[u16; STRIP]>::try_from(high),
            ) {
                for at in 0..STRIP {
                    out[at] = pair(low[at], high[at]);
                }
                continue;
            }
            out.fill(0);
            for (out, (low, high)) in out.iter_mut().zip(low.iter().zip(high)) {
                *out = pair(*low, *high);
            }
        }
    }
}

dispatch!(fn interleave_pairs = interleave_pairs_body(first: &[u32], second: &[u32], out: &mut [u32]));

#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch!` names one")]
#[inline(always)]
fn interleave_pairs_body<A: Arithmetic>(first: &[u32], second: &[u32], out: &mut [u32]) {
    let (out, _) = out.as_chunks_mut::<2>();
    if second.is_empty() {
        for (out, low) in out.iter_mut().zip(first) {
            *out = [low & 0xFFFF, low >> 16];
        }
    } else {
        for (out, (low, high)) in out.iter_mut().zip(first.iter().zip(second)) {
            *out = [low & 0xFFFF | high << 16, low >> 16 | high & 0xFFFF_0000];
        }
    }
}
