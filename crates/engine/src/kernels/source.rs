//! [`Source`]: the right operand of a product as it is stored, row after row, in either direction; [`Source::fill`] writes the
//! strips of it that a task is about to multiply with.
//!
//! Frozen weights are kept once, in the order of their file, and serve both directions: y = x·Wᵀ reads them
//! as [`Direction::Transposed`], the input gradient as [`Direction::AsStored`]. A strip is filled once for all rows of a task,
//! so what that costs is a few per cent of the product.

use std::ops::Range;

use super::KernelPath;
use super::lanes::{Lane, from_bf16, pair, to_bf16};
use super::simd::dispatch;
use super::transpose::transpose;
use crate::format::TensorView;
use crate::format::blocks::PART;

/// Most columns of a strip: two AVX-512 registers.
pub const STRIP: usize = 32;

/// Columns of a path's strips: as many as its tiles have, so that the lanes of a tile follow one another in memory and a strip
/// fills the nearest cache evenly.
pub const fn strip(path: KernelPath) -> usize {
    match path {
        KernelPath::Avx2 => STRIP / 2,
        KernelPath::Portable | KernelPath::Avx512 | KernelPath::Avx512Bf16 => STRIP,
    }
}

/// Rows of a stored matrix.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// The upper halves of 32-bit floats.
    Bf16(&'a [u16]),
    /// Rows of a model file, in any type that it stores.
    File(&'a TensorView),
    /// Rows of lanes, as a left operand has them; they are multiplied as lanes of the same kind.
    Lanes(Lane, &'a [u32]),
}

/// Which way a stored matrix is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// B = M: k counts stored rows.
    AsStored,
    /// B = Mᵀ: k runs along a stored row.
    Transposed,
}

/// A stored matrix M (rows, width), and how it is B (k, n) of a product.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The rows, one after the other.
    pub values: Values<'a>,
    /// Values of a row.
    pub width: usize,
    /// Distance between the rows' first values.
    pub stride: usize,
    /// How many rows.
    pub rows: usize,
    /// How it is multiplied.
    pub direction: Direction,
}

impl<'a> Source<'a> {
    /// Rows of `width` values without gaps.
    pub fn new(values: Values<'a>, width: usize, direction: Direction) -> Self {
        let length = match values {
            Values::F32(values) => values.len(),
            Values::Bf16(values) => values.len(),
            Values::File(tensor) => tensor.rows() * tensor.columns(),
            Values::Lanes(lane, lanes) => lanes.len() * lane.values(),
        };
        Self { values, width, stride: width, rows: length / width.max(1), direction }
    }

    /// Length of the products' sums.
    pub fn k(&self) -> usize {
        match self.direction {
            Direction::AsStored => self.rows,
            Direction::Transposed => self.width,
        }
    }

    /// Columns of B.
    pub fn n(&self) -> usize {
        match self.direction {
            Direction::AsStored => self.width,
            Direction::Transposed => self.rows,
        }
    }

    /// Writes the strips of `columns` (whose start is a multiple of a strip's width w), one after the other, over `k` (whose
    /// start is even): lane (i, j) of a strip at `w i + j`.
    ///
    /// Columns past the last, and the second half of an odd last pair, are zero.
    pub fn fill(
        &self,
        path: KernelPath,
        lane: Lane,
        columns: Range<usize>,
        k: Range<usize>,
        out: &mut [u32],
    ) {
        let strip = strip(path);
        let length = lane.count(k.len()) * strip;
        if let (Direction::AsStored, Values::Bf16(values), Lane::Bf16Pair) =
            (self.direction, self.values, lane)
        {
            // All strips of a stored row while it passes by: it is read in the order of memory.
            let rows = Rows { values: &values[k.start * self.stride..], stride: self.stride };
            return interleave_rows(path, rows, k.len(), columns, strip, out);
        }
        for (column, out) in columns.clone().step_by(strip).zip(out.chunks_exact_mut(length)) {
            let columns = column..(column + strip).min(columns.end);
            match self.direction {
                Direction::Transposed => self.fill_transposed(path, lane, columns, k.clone(), out),
                Direction::AsStored => self.fill_as_stored(path, lane, columns, k.clone(), out),
            }
        }
    }

    fn fill_transposed(
        &self,
        path: KernelPath,
        lane: Lane,
        columns: Range<usize>,
        k: Range<usize>,
        out: &mut [u32],
    ) {
        let count = lane.count(k.len());
        let strip = strip(path);
        // Sixteen lanes of all columns at a time, turned on their side.
        let mut square = [[0u32; 16]; STRIP];
        for first in (0..count).step_by(16) {
            let lanes = (count - first).min(16);
            let start = k.start + first * lane.values();
            let part = start..(start + 16 * lane.values()).min(k.end);
            for (column, row) in columns.clone().zip(&mut square) {
                self.read(path, lane, column, part.clone(), row);
            }
            transpose(path, &square, &mut out[first * strip..(first + lanes) * strip]);
        }
    }

    /// Lanes of one stored row; lanes past the part are zero.
    #[inline]
    fn read(
        &self,
        path: KernelPath,
        lane: Lane,
        row: usize,
        part: Range<usize>,
        out: &mut [u32; 16],
    ) {
        let stored = row * self.stride + part.start..row * self.stride + part.end;
        if part.len() < 16 * lane.values() {
            out.fill(0);
        }
        match (self.values, lane) {
            (Values::F32(values), Lane::F32) => {
                for (out, value) in out.iter_mut().zip(&values[stored]) {
                    *out = value.to_bits();
                }
            }
            (Values::F32(values), Lane::Bf16Pair) => {
                super::lanes::put(path, lane, &values[stored], out);
            }
            (Values::Bf16(values), Lane::F32) => {
                for (out, value) in out.iter_mut().zip(&values[stored]) {
                    *out = from_bf16(*value).to_bits();
                }
            }
            (Values::Bf16(values), Lane::Bf16Pair) => {
                let (whole, rest) = values[stored].as_chunks::<2>();
                for (out, [low, high]) in out.iter_mut().zip(whole) {
                    *out = pair(*low, *high);
                }
                if let [last] = rest {
                    out[whole.len()] = pair(*last, 0);
                }
            }
            (Values::File(tensor), lane) => {
                let mut values = [0.0; PART];
                let skip = part.start % PART;
                let whole =
                    (skip + part.len()).next_multiple_of(PART).min(self.width - part.start + skip);
                tensor.part_to_f32(path, row, part.start - skip, &mut values[..whole]);
                super::lanes::put(path, lane, &values[skip..skip + part.len()], out);
            }
            (Values::Lanes(kept, lanes), lane) => {
                assert_eq!(kept, lane, "lanes are multiplied as what they are");
                let stored = stored.start / lane.values()..stored.end.div_ceil(lane.values());
                out[..stored.len()].copy_from_slice(&lanes[stored]);
            }
        }
    }

    fn fill_as_stored(
        &self,
        path: KernelPath,
        lane: Lane,
        columns: Range<usize>,
        k: Range<usize>,
        out: &mut [u32],
    ) {
        let row = |row: usize| row * self.stride + columns.start..row * self.stride + columns.end;
        let strip = strip(path);
        for (number, out) in out[..lane.count(k.len()) * strip].chunks_exact_mut(strip).enumerate()
        {
            let first = k.start + number * lane.values();
            let second = (first + 1 < k.end).then(|| row(first + 1));
            out[columns.len()..].fill(0);
            match (self.values, lane) {
                (Values::F32(values), Lane::F32) => {
                    for (out, value) in out.iter_mut().zip(&values[row(first)]) {
                        *out = value.to_bits();
                    }
                }
                (Values::Bf16(values), Lane::F32) => {
                    for (out, value) in out.iter_mut().zip(&values[row(first)]) {
                        *out = from_bf16(*value).to_bits();
                    }
                }
                (Values::F32(values), Lane::Bf16Pair) => {
                    let second = second.map_or(&[][..], |row| &values[row]);
                    interleave_f32(path, &values[row(first)], second, out);
                }
                (Values::Bf16(_), Lane::Bf16Pair) => unreachable!("filled all strips at once"),
                (Values::File(tensor), lane) => {
                    let (mut low, mut high) = ([0.0; PART], [0.0; PART]);
                    // A strip may be half a part; parts are read whole.
                    let skip = columns.start % PART;
                    let start = columns.start - skip;
                    let whole =
                        (skip + columns.len()).next_multiple_of(PART).min(self.width - start);
                    tensor.part_to_f32(path, first, start, &mut low[..whole]);
                    if second.is_some() {
                        tensor.part_to_f32(path, first + 1, start, &mut high[..whole]);
                    }
                    let (low, high) =
                        (&low[skip..skip + columns.len()], &high[skip..skip + columns.len()]);
                    match lane {
                        Lane::F32 => super::lanes::put(path, lane, low, out),
                        Lane::Bf16Pair => interleave_f32(path, low, high, out),
                    }
                }
                (Values::Lanes(kept, lanes), lane) => {
                    assert_eq!(kept, lane, "lanes are multiplied as what they are");
                    let part = |row: Range<usize>| {
                        &lanes[row.start / lane.values()..row.end.div_ceil(lane.values())]
                    };
                    let second = second.map_or(&[][..], part);
                    match lane {
                        Lane::F32 => out[..columns.len()].copy_from_slice(part(row(first))),
                        Lane::Bf16Pair => interleave_pairs(path, part(row(first)), second, out),
                    }
                }
            }
        }
    }
}

dispatch!(fn interleave_f32 = interleave_f32_body(first: &[f32], second: &[f32], out: &mut [u32]));

#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch!` names one")]
#[inline(always)]
fn interleave_f32_body<A: super::simd::Arithmetic>(first: &[f32], second: &[f32], out: &mut [u32]) {
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

/// Rows of bfloat16 values and the distance between them.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [u16],
    stride: usize,
}

dispatch!(fn interleave_rows = interleave_rows_body(
    rows: Rows<'_>, count: usize, columns: Range<usize>, strip: usize, out: &mut [u32]
));

#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch!` names one")]
#[inline(always)]
fn interleave_rows_body<A: super::simd::Arithmetic>(
    rows: Rows<'_>,
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
fn interleave_pairs_body<A: super::simd::Arithmetic>(
    first: &[u32],
    second: &[u32],
    out: &mut [u32],
) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use bioinstruct_core::random::Stream;

    #[test]
    fn strips_hold_the_matrix_in_both_directions() {
        let (rows, width) = (41, 37);
        let mut draws = Stream::new(1, "source").at(0);
        // Values that bfloat16 holds exactly.
        let values: Vec<f32> = (0..rows * width).map(|_| draws.below(200) as f32 - 100.0).collect();
        let halves: Vec<u16> = values.iter().map(|value| to_bf16(*value)).collect();
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            for lane in [Lane::F32, Lane::Bf16Pair] {
                for stored in [Values::F32(&values), Values::Bf16(&halves)] {
                    for direction in [Direction::AsStored, Direction::Transposed] {
                        let source = Source::new(stored, width, direction);
                        let at = |k: usize, n: usize| match direction {
                            Direction::AsStored => values[k * width + n],
                            Direction::Transposed => values[n * width + k],
                        };
                        for (column, k) in [(0, 0..source.k()), (32, 4..source.k()), (0, 2..7)] {
                            let strip = strip(path);
                            let length = lane.count(k.len()) * strip;
                            let columns = column..source.n();
                            let mut out = vec![9; columns.len().div_ceil(strip) * length];
                            source.fill(path, lane, columns, k.clone(), &mut out);
                            for (number, &found) in out.iter().enumerate() {
                                let n = column + number / length * strip + number % strip;
                                let number = number % length;
                                let expected = |k_at: usize| {
                                    let inside = n < source.n() && k_at < k.end;
                                    if inside { at(k_at, n) } else { 0.0 }
                                };
                                let first = k.start + number / strip * lane.values();
                                match lane {
                                    Lane::F32 => {
                                        assert_eq!(f32::from_bits(found), expected(first));
                                    }
                                    Lane::Bf16Pair => {
                                        assert_eq!(from_bf16(found as u16), expected(first));
                                        let high = from_bf16((found >> 16) as u16);
                                        assert_eq!(high, expected(first + 1));
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
